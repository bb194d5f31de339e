/* SPDX-License-Identifier: MIT */
/* QPs and SRQs: geometry, refusals, async events and their count, posting by command. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "harness.h"

static uint32_t pd, cq;

static void
open_with_pd(void)
{
	world_open();
	pd = make_pd();
	cq = make_cq(16, -1);
}

static void
good_qp(struct ib_uverbs_create_qp *req, uint8_t type)
{
	*req = (struct ib_uverbs_create_qp){
		.pd_handle = pd,
		.send_cq_handle = cq,
		.recv_cq_handle = cq,
		.max_send_wr = 10,
		.max_recv_wr = 20,
		.max_send_sge = 3,
		.max_recv_sge = 2,
		.qp_type = type,
	};
}

struct created {
	struct ib_uverbs_create_qp_resp core;
	struct rxe_create_qp_resp drv;
};

static int
create(const struct ib_uverbs_create_qp *req, struct created *out)
{
	int rc = command(IB_USER_VERBS_CMD_CREATE_QP, req, sizeof(*req), sizeof(*out));

	if (out)
		memcpy(out, w.out, sizeof(*out));
	return rc;
}

static int
refused(const struct ib_uverbs_create_qp *req)
{
	struct created c;

	return create(req, &c);
}

/* log2 of the element, elements - 1, as the provider finds them in the queue. */
static void
check_queue(const struct ff_fd_desc *d, int fd, const struct mminfo *mi, uint32_t log2_elem,
	    uint32_t mask)
{
	struct rxe_queue_buf *buf = mmap(NULL, mi->size, PROT_READ, MAP_SHARED, fd, 0);

	CU_ASSERT_PTR_NOT_EQUAL_FATAL(buf, MAP_FAILED);
	CU_ASSERT_EQUAL(d->kind, FF_FD_QUEUE);
	CU_ASSERT_EQUAL(d->mmap_off, mi->offset);
	CU_ASSERT_EQUAL(d->size, mi->size);
	CU_ASSERT_EQUAL(buf->log2_elem_size, log2_elem);
	CU_ASSERT_EQUAL(buf->index_mask, mask);
	CU_ASSERT(mi->size >= sizeof(*buf) + ((size_t)(mask + 1) << log2_elem));
	munmap(buf, mi->size);
}

static void
test_geometry(void)
{
	struct ib_uverbs_create_qp req;
	struct created c;

	open_with_pd();
	good_qp(&req, IBV_QPT_RC);
	CU_ASSERT(create(&req, &c) > 0);
	CU_ASSERT_EQUAL_FATAL(w.rep.num_fds, 2);
	CU_ASSERT_EQUAL(w.rep.out_len, sizeof(c));
	CU_ASSERT_EQUAL(w.rep.fds[0].role, FF_QUEUE_SQ);
	CU_ASSERT_EQUAL(w.rep.fds[0].qpn, c.core.qpn);
	CU_ASSERT_EQUAL(w.rep.fds[0].handle, c.core.qp_handle);
	CU_ASSERT_EQUAL(w.rep.fds[1].role, FF_QUEUE_RQ);
	CU_ASSERT_EQUAL(c.core.max_send_wr, 15);
	CU_ASSERT_EQUAL(c.core.max_recv_wr, 31);
	CU_ASSERT_EQUAL(c.core.max_send_sge, 3);
	CU_ASSERT_EQUAL(c.core.max_recv_sge, 2);
	CU_ASSERT_EQUAL(c.core.max_inline_data, 48);
	/* 208 + 48 bytes; 16 + 24 + 32 bytes. */
	check_queue(&w.rep.fds[0], w.rep.fd[0], &c.drv.sq_mi, 8, 15);
	check_queue(&w.rep.fds[1], w.rep.fd[1], &c.drv.rq_mi, 7, 31);
	CU_ASSERT(c.core.qpn > 1 && c.core.qpn < 1u << 24);
	CU_ASSERT_PTR_EQUAL(ff_idtab_get(&ff_qps, c.core.qpn), qp_of(c.core.qp_handle));
	/* Inline data takes the SGEs' place. */
	req.max_inline_data = 100;
	CU_ASSERT(create(&req, &c) > 0);
	CU_ASSERT_EQUAL(c.core.max_send_sge, 6);
	CU_ASSERT_EQUAL(c.core.max_inline_data, 100);
	check_queue(&w.rep.fds[0], w.rep.fd[0], &c.drv.sq_mi, 9, 15);
	/* The most there is, and nothing. */
	req.max_inline_data = FF_MAX_INLINE;
	req.max_send_sge = req.max_recv_sge = FF_MAX_SGE;
	req.max_send_wr = req.max_recv_wr = FF_MAX_QP_WR;
	CU_ASSERT(create(&req, &c) > 0);
	CU_ASSERT(c.core.max_send_wr >= FF_MAX_QP_WR);
	CU_ASSERT_EQUAL(c.core.max_send_sge, FF_MAX_SGE);
	check_queue(&w.rep.fds[0], w.rep.fd[0], &c.drv.sq_mi, 10, 32767);
	good_qp(&req, IBV_QPT_UD);
	req.max_inline_data = req.max_send_sge = req.max_recv_sge = 0;
	req.max_send_wr = req.max_recv_wr = 0;
	CU_ASSERT(create(&req, &c) > 0);
	CU_ASSERT_EQUAL(c.core.max_send_wr, 0);
	world_close();
}

static void
test_refused(void)
{
	struct ib_uverbs_create_qp q;

	open_with_pd();
#define WITH(field, value)               \
	({                               \
		good_qp(&q, IBV_QPT_RC); \
		q.field = (value);       \
		&q;                      \
	})
	CU_ASSERT_EQUAL(refused(WITH(pd_handle, 9)), -EINVAL);
	CU_ASSERT_EQUAL(refused(WITH(send_cq_handle, 9)), -EINVAL);
	CU_ASSERT_EQUAL(refused(WITH(recv_cq_handle, 9)), -EINVAL);
	CU_ASSERT_EQUAL(refused(WITH(is_srq, 1)), -EINVAL);
	CU_ASSERT_EQUAL(refused(WITH(max_send_wr, FF_MAX_QP_WR + 1)), -EINVAL);
	CU_ASSERT_EQUAL(refused(WITH(max_recv_wr, UINT32_MAX)), -EINVAL);
	CU_ASSERT_EQUAL(refused(WITH(max_send_sge, FF_MAX_SGE + 1)), -EINVAL);
	CU_ASSERT_EQUAL(refused(WITH(max_recv_sge, UINT32_MAX)), -EINVAL);
	CU_ASSERT_EQUAL(refused(WITH(max_inline_data, FF_MAX_INLINE + 1)), -EINVAL);
	CU_ASSERT_EQUAL(refused(WITH(qp_type, IBV_QPT_RAW_PACKET)), -EPERM);
	CU_ASSERT_EQUAL(refused(WITH(qp_type, IBV_QPT_XRC_SEND)), -EOPNOTSUPP);
	CU_ASSERT_EQUAL(refused(WITH(qp_type, IBV_QPT_XRC_RECV)), -EINVAL);
	CU_ASSERT_EQUAL(refused(WITH(qp_type, IBV_QPT_DRIVER)), -EOPNOTSUPP);
	CU_ASSERT_EQUAL(refused(WITH(qp_type, 0)), -EINVAL);
	CU_ASSERT_EQUAL(refused(WITH(qp_type, 1)), -EINVAL); /* GSI */
#undef WITH
	good_qp(&q, IBV_QPT_RC);
	CU_ASSERT_EQUAL(
		command(IB_USER_VERBS_CMD_CREATE_QP, &q, sizeof(q), sizeof(struct created) - 4),
		-EINVAL);
	w.nic_create_rc = -ENOMEM;
	CU_ASSERT_EQUAL(refused(&q), -ENOMEM);
	w.nic_create_rc = 0;
	w.c.conf.limits.sge = 2;
	CU_ASSERT_EQUAL(refused(&q), -EINVAL);
	w.c.conf.limits.sge = 0;
	w.c.conf.limits.qp_wr = 15;
	CU_ASSERT_EQUAL(refused(&q), -EINVAL);
	w.c.conf.limits.qp_wr = 0;
	w.c.limits[FF_QUOTA_QPS] = 0;
	CU_ASSERT_EQUAL(refused(&q), -ENOMEM);
	w.c.limits[FF_QUOTA_QPS] = 1;
	/* Room for the send queue, none for the receive queue. */
	w.c.limits[FF_QUOTA_PINNED] = w.c.used[FF_QUOTA_PINNED] + 8192;
	CU_ASSERT_EQUAL(refused(&q), -ENOMEM);
	CU_ASSERT_EQUAL(w.c.used[FF_QUOTA_QPS], 0);
	/* Nothing has kept a reference. */
	CU_ASSERT(destroy_cq(cq, NULL, NULL) > 0);
	CU_ASSERT(dealloc_pd(pd) > 0);
	world_close();
}

static void
test_create_ex(void)
{
	struct ib_uverbs_ex_create_qp x = {
		.pd_handle = pd, .max_send_wr = 1, .max_send_sge = 1, .qp_type = IBV_QPT_RC};
	const uint32_t core = sizeof(struct ib_uverbs_ex_create_qp_resp);
	const uint32_t drv = sizeof(struct rxe_create_qp_resp);
	struct ib_uverbs_ex_create_qp_resp resp;
	struct rxe_create_qp_resp mi;
	uint64_t more = 0;

	open_with_pd();
	x.pd_handle = pd;
	x.send_cq_handle = x.recv_cq_handle = cq;
#define EX(...) command_ex(IB_USER_VERBS_EX_CMD_CREATE_QP, &x, sizeof(x), __VA_ARGS__)
	CU_ASSERT(EX(NULL, 0, core, drv) > 0);
	CU_ASSERT_EQUAL(w.rep.out_len, core + drv);
	memcpy(&resp, w.out, core);
	memcpy(&mi, w.out + core, drv);
	CU_ASSERT_EQUAL(resp.response_length, core);
	CU_ASSERT_EQUAL(mi.sq_mi.offset, w.rep.fds[0].mmap_off);
	CU_ASSERT_EQUAL(mi.rq_mi.offset, w.rep.fds[1].mmap_off);
	/* A response that grows: the provider's part stays behind the whole of it. */
	CU_ASSERT(EX(NULL, 0, core + 16, drv) > 0);
	memcpy(&mi, w.out + core + 16, drv);
	CU_ASSERT_EQUAL(mi.sq_mi.offset, w.rep.fds[0].mmap_off);
	x.comp_mask = 1;
	CU_ASSERT_EQUAL(EX(NULL, 0, core, drv), -EINVAL);
	x.comp_mask = 0;
	x.reserved = 1;
	CU_ASSERT_EQUAL(EX(NULL, 0, core, drv), -EINVAL);
	x.reserved = 0;
	x.create_flags = 1u << 1; /* block loopback of multicast */
	CU_ASSERT_EQUAL(EX(NULL, 0, core, drv), -EOPNOTSUPP);
	x.create_flags = 1u << 31;
	CU_ASSERT_EQUAL(EX(NULL, 0, core, drv), -EINVAL);
	x.create_flags = 0;
	CU_ASSERT_EQUAL(EX(&more, 8, core, drv), -EINVAL);
#undef EX
	world_close();
}

static void
test_references(void)
{
	uint32_t srq, cq2, key;
	struct ib_uverbs_create_qp q;
	struct created c;

	open_with_pd();
	cq2 = make_cq(9, -1);
	srq = make_srq(pd, 10, 1);
	good_qp(&q, IBV_QPT_RC);
	q.recv_cq_handle = cq2;
	q.is_srq = 1;
	q.srq_handle = srq;
	CU_ASSERT(create(&q, &c) > 0);
	CU_ASSERT_EQUAL(w.rep.num_fds, 1); /* no receive queue */
	CU_ASSERT_EQUAL(c.drv.rq_mi.size, 0);
	CU_ASSERT_EQUAL(destroy_cq(cq, NULL, NULL), -EBUSY);
	CU_ASSERT_EQUAL(destroy_cq(cq2, NULL, NULL), -EBUSY);
	CU_ASSERT_EQUAL(destroy_srq(srq, NULL), -EBUSY);
	CU_ASSERT_EQUAL(dealloc_pd(pd), -EBUSY);
	CU_ASSERT(destroy_qp(c.core.qp_handle, NULL) > 0);
	CU_ASSERT_EQUAL(destroy_qp(c.core.qp_handle, NULL), -ENOENT);
	CU_ASSERT_EQUAL(w.detached, 1);
	CU_ASSERT_EQUAL(w.retired, 1);
	CU_ASSERT(destroy_cq(cq, NULL, NULL) > 0);
	CU_ASSERT(destroy_cq(cq2, NULL, NULL) > 0);
	CU_ASSERT_EQUAL(dealloc_pd(pd), -EBUSY);
	CU_ASSERT(destroy_srq(srq, NULL) > 0);
	CU_ASSERT(dealloc_pd(pd) > 0);
	pd = make_pd();
	make_mr(pd, 0x1000, 1, 0, &key);
	world_close();
}

static void
deliver(void)
{
	if (w.control_msg)
		w.control_msg->fn(w.control_msg);
	w.control_msg = NULL;
}

static void
test_async(void)
{
	struct ib_uverbs_async_event_desc ev;
	struct ib_uverbs_create_qp_resp a, b;
	uint32_t events;

	open_with_pd();
	a = make_qp(pd, cq, IBV_QPT_RC);
	b = make_qp(pd, cq, IBV_QPT_RC);
	qp_of(b.qp_handle)->obj.user_handle = 0x2222;
	ff_async_qp(qp_of(a.qp_handle), IBV_EVENT_COMM_EST);
	ff_async_qp(qp_of(b.qp_handle), IBV_EVENT_QP_ACCESS_ERR);
	ff_async_qp(qp_of(a.qp_handle), IBV_EVENT_QP_FATAL);
	ff_async_qp(qp_of(a.qp_handle), IBV_EVENT_QP_FATAL); /* the same, not yet told: one */
	ff_async_qp(qp_of(a.qp_handle), 77);
	CU_ASSERT_EQUAL(readable(async_fd, sizeof(ev)), 0);
	deliver();
	CU_ASSERT_EQUAL(readable(async_fd, sizeof(ev)), 3);
	CU_ASSERT_EQUAL(read(async_fd, &ev, sizeof(ev)), sizeof(ev));
	CU_ASSERT_EQUAL(ev.element, 0x2000);
	CU_ASSERT_EQUAL(ev.event_type, IBV_EVENT_QP_FATAL);
	/* Left by the worker, taken along by destroy, unread, and taken back. */
	ff_async_qp(qp_of(a.qp_handle), IBV_EVENT_QP_LAST_WQE_REACHED);
	CU_ASSERT(destroy_qp(a.qp_handle, &events) > 0);
	CU_ASSERT_EQUAL(events, 1);
	CU_ASSERT_EQUAL(readable(async_fd, sizeof(ev)), 1);
	CU_ASSERT_EQUAL(read(async_fd, &ev, sizeof(ev)), sizeof(ev));
	CU_ASSERT_EQUAL(ev.element, 0x2222);
	CU_ASSERT_EQUAL(ev.event_type, IBV_EVENT_QP_ACCESS_ERR);
	CU_ASSERT(destroy_qp(b.qp_handle, &events) > 0);
	CU_ASSERT_EQUAL(events, 1);
	/* Port events go to all, and are nobody's to take back. */
	ff_async_container(&w.c, IBV_EVENT_GID_CHANGE);
	ff_async_ucontext(w.uc, IBV_EVENT_DEVICE_FATAL, 0);
	CU_ASSERT_EQUAL(readable(async_fd, sizeof(ev)), 2);
	CU_ASSERT_EQUAL(read(async_fd, &ev, sizeof(ev)), sizeof(ev));
	CU_ASSERT_EQUAL(ev.event_type, IBV_EVENT_GID_CHANGE);
	CU_ASSERT_EQUAL(ev.element, 1);
	world_close();
}

/* The queue to the control thread is full: nothing is lost. */
static void
test_async_ring_full(void)
{
	struct ib_uverbs_create_qp_resp a;
	uint32_t events;

	open_with_pd();
	a = make_qp(pd, cq, IBV_QPT_RC);
	w.on_worker = true;
	w.control_full = 2;
	ff_async_qp(qp_of(a.qp_handle), IBV_EVENT_COMM_EST);
	CU_ASSERT_PTR_NULL(w.control_msg);
	ff_async_ucontext(w.uc, IBV_EVENT_PORT_ERR, 1);
	ff_async_ucontext(w.uc, IBV_EVENT_PORT_ACTIVE, 1);
	CU_ASSERT_PTR_NULL(w.control_msg);
	ff_async_cq(cq_of(cq), IBV_EVENT_CQ_ERR);
	CU_ASSERT_PTR_NOT_NULL(w.control_msg);
	w.on_worker = false;
	deliver();
	CU_ASSERT_EQUAL(readable(async_fd, 16), 4);
	CU_ASSERT(destroy_qp(a.qp_handle, &events) > 0);
	CU_ASSERT_EQUAL(events, 0);
	CU_ASSERT_EQUAL(readable(async_fd, 16), 3);
	world_close();
}

static int
post(uint32_t cmd, uint32_t handle, uint32_t wrs, uint32_t sges, uint32_t wqe)
{
	struct ib_uverbs_post_send req = {
		.qp_handle = handle, .wr_count = wrs, .sge_count = sges, .wqe_size = wqe};

	return command(cmd, &req, sizeof(req), 4);
}

static void
test_post(void)
{
	struct ib_uverbs_create_qp q;
	struct created c;
	uint32_t h, srq;

	open_with_pd();
	h = make_qp(pd, cq, IBV_QPT_RC).qp_handle;
	srq = make_srq(pd, 10, 1);
	/* The provider's doorbell: no WRs, wqe_size of its own struct. */
	CU_ASSERT_EQUAL(post(IB_USER_VERBS_CMD_POST_SEND, h, 0, 0, 128), -EINVAL); /* in reset */
	CU_ASSERT_EQUAL(post(IB_USER_VERBS_CMD_POST_RECV, h, 0, 0, 16), -EINVAL);
	qp_to_rts(h);
	CU_ASSERT(post(IB_USER_VERBS_CMD_POST_SEND, h, 0, 0, 128) > 0);
	CU_ASSERT_EQUAL(w.posts, 1);
	CU_ASSERT_EQUAL(qp_of(h)->counters[FF_QC_DOORBELLS], 1);
	CU_ASSERT_EQUAL(w.rep.out_len, 4);
	CU_ASSERT(post(IB_USER_VERBS_CMD_POST_RECV, h, 0, 0, 16) > 0);
	CU_ASSERT(post(IB_USER_VERBS_CMD_POST_SRQ_RECV, srq, 0, 0, 16) > 0);
	CU_ASSERT_EQUAL(w.srq_changes, 1);
	/* Nothing behind the command that says there is. */
	CU_ASSERT_EQUAL(post(IB_USER_VERBS_CMD_POST_SEND, h, 1, 0, 128), -ENOSPC);
	CU_ASSERT_EQUAL(post(IB_USER_VERBS_CMD_POST_SEND, h, UINT32_MAX, UINT32_MAX, UINT32_MAX),
			-ENOSPC);
	CU_ASSERT_EQUAL(post(IB_USER_VERBS_CMD_POST_RECV, h, 0, UINT32_MAX, 16), -ENOSPC);
	CU_ASSERT_EQUAL(post(IB_USER_VERBS_CMD_POST_RECV, h, 0, 0, 15), -EINVAL);
	CU_ASSERT_EQUAL(post(IB_USER_VERBS_CMD_POST_SEND, h + 1, 0, 0, 128), -EINVAL);
	CU_ASSERT_EQUAL(post(IB_USER_VERBS_CMD_POST_RECV, h + 1, 0, 0, 16), -EINVAL);
	CU_ASSERT_EQUAL(post(IB_USER_VERBS_CMD_POST_SRQ_RECV, srq + 1, 0, 0, 16), -EINVAL);
	/* WRs by command are refused, not dropped. */
	struct {
		struct ib_uverbs_post_send req;
		struct ib_uverbs_send_wr wr;
	} full = {.req = {.qp_handle = h, .wr_count = 1, .wqe_size = sizeof(full.wr)}};
	CU_ASSERT_EQUAL(command(IB_USER_VERBS_CMD_POST_SEND, &full, sizeof(full), 4), -EINVAL);
	/* A QP with an SRQ has no receive queue. */
	good_qp(&q, IBV_QPT_UD);
	q.is_srq = 1;
	q.srq_handle = srq;
	CU_ASSERT(create(&q, &c) > 0);
	qp_to_rts(c.core.qp_handle);
	CU_ASSERT_EQUAL(post(IB_USER_VERBS_CMD_POST_RECV, c.core.qp_handle, 0, 0, 16), -EINVAL);
	world_close();
}

int
main(void)
{
	static const struct test_case cases[] = {
		{"geometry", test_geometry},	  {"refused", test_refused},
		{"create_qp_ex", test_create_ex}, {"references", test_references},
		{"async events", test_async},	  {"async, ring full", test_async_ring_full},
		{"post by command", test_post},
	};

	return run_suite("verbs qp", cases, COUNT_OF(cases));
}
