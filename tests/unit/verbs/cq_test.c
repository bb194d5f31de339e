/* SPDX-License-Identifier: MIT */
/* CQs: geometry, completions and their events, resize, poll and arm by command, overrun. */
#include "cq_util.h"

static void
test_create(void)
{
	struct ib_uverbs_create_cq req = {.user_handle = 7, .cqe = 100, .comp_channel = -1};
	struct {
		struct ib_uverbs_create_cq_resp core;
		struct rxe_create_cq_resp drv;
	} resp;
	struct rxe_queue_buf *buf;

	world_open();
	CU_ASSERT(command(IB_USER_VERBS_CMD_CREATE_CQ, &req, sizeof(req), sizeof(resp)) > 0);
	CU_ASSERT_EQUAL(w.rep.out_len, sizeof(resp));
	memcpy(&resp, w.out, sizeof(resp));
	CU_ASSERT_EQUAL(resp.core.cqe, 127);
	CU_ASSERT_EQUAL_FATAL(w.rep.num_fds, 1);
	CU_ASSERT_EQUAL(w.rep.fds[0].kind, FF_FD_QUEUE);
	CU_ASSERT_EQUAL(w.rep.fds[0].role, FF_QUEUE_CQ);
	CU_ASSERT_EQUAL(w.rep.fds[0].handle, resp.core.cq_handle);
	CU_ASSERT_EQUAL(w.rep.fds[0].mmap_off, resp.drv.mi.offset);
	CU_ASSERT_EQUAL(w.rep.fds[0].size, resp.drv.mi.size);
	CU_ASSERT_EQUAL(resp.drv.mi.offset % 4096, 0);
	CU_ASSERT_EQUAL(resp.drv.mi.size % 4096, 0);
	CU_ASSERT_TRUE(w.rep.close_fd[0]); /* one fd per queue would soon be too many */
	CU_ASSERT_EQUAL(cq_of(resp.core.cq_handle)->q.memfd, -1);
	/* What the provider maps: 64-byte elements behind the header. */
	buf = mmap(NULL, resp.drv.mi.size, PROT_READ, MAP_SHARED, w.rep.fd[0], 0);
	CU_ASSERT_PTR_NOT_EQUAL_FATAL(buf, MAP_FAILED);
	CU_ASSERT_EQUAL(buf->log2_elem_size, 6);
	CU_ASSERT_EQUAL(buf->index_mask, 127);
	CU_ASSERT(resp.drv.mi.size >= sizeof(*buf) + 128 * 64);
	munmap(buf, resp.drv.mi.size);
	/* The container can neither shrink nor grow it. */
	CU_ASSERT_EQUAL(ftruncate(w.rep.fd[0], 0), -1);
	CU_ASSERT_EQUAL(ftruncate(w.rep.fd[0], 1 << 20), -1);
	CU_ASSERT_EQUAL(w.c.used[FF_QUOTA_PINNED], resp.drv.mi.size);
	world_close();
}

static int
create(uint32_t cqe, uint32_t vector, int32_t channel, uint32_t out)
{
	struct ib_uverbs_create_cq req = {
		.cqe = cqe, .comp_vector = vector, .comp_channel = channel};

	return command(IB_USER_VERBS_CMD_CREATE_CQ, &req, sizeof(req), out);
}

static void
test_create_refused(void)
{
	const uint32_t out =
		sizeof(struct ib_uverbs_create_cq_resp) + sizeof(struct rxe_create_cq_resp);
	struct ib_uverbs_ex_create_cq x = {.cqe = 4, .comp_channel = -1};

	world_open();
	CU_ASSERT_EQUAL(create(0, 0, -1, out), -EINVAL);
	CU_ASSERT_EQUAL(create(FF_MAX_CQE + 1, 0, -1, out), -EINVAL);
	CU_ASSERT(create(FF_MAX_CQE, 0, -1, out) > 0);
	CU_ASSERT_EQUAL(cq_of(0)->cqe, FF_MAX_CQE);
	CU_ASSERT_EQUAL(create(4, 1, -1, out), -EINVAL);
	CU_ASSERT_EQUAL(create(4, 0, 3, out), -EBADF);
	CU_ASSERT_EQUAL(create(4, 0, -1, out - 4), -EINVAL);
	x.flags = IB_UVERBS_CQ_FLAGS_TIMESTAMP_COMPLETION;
	CU_ASSERT_EQUAL(command_ex(IB_USER_VERBS_EX_CMD_CREATE_CQ, &x, sizeof(x), NULL, 0, 16, 16),
			-EOPNOTSUPP);
	x.flags = 0;
	x.comp_mask = 1;
	CU_ASSERT_EQUAL(command_ex(IB_USER_VERBS_EX_CMD_CREATE_CQ, &x, sizeof(x), NULL, 0, 16, 16),
			-EINVAL);
	x.comp_mask = 0;
	CU_ASSERT(command_ex(IB_USER_VERBS_EX_CMD_CREATE_CQ, &x, sizeof(x), NULL, 0, 16, 16) > 0);
	CU_ASSERT_EQUAL(w.rep.out_len, 32);
	w.c.conf.limits.cq_entries = 10;
	CU_ASSERT_EQUAL(create(11, 0, -1, out), -EINVAL);
	CU_ASSERT(create(10, 0, -1, out) > 0);
	w.c.limits[FF_QUOTA_CQS] = 3;
	CU_ASSERT_EQUAL(create(4, 0, -1, out), -ENOMEM);
	w.c.limits[FF_QUOTA_CQS] = 9;
	w.c.limits[FF_QUOTA_PINNED] = w.c.used[FF_QUOTA_PINNED];
	CU_ASSERT_EQUAL(create(4, 0, -1, out), -ENOMEM);
	CU_ASSERT_EQUAL(w.c.used[FF_QUOTA_CQS], 3);
	world_close();
}

static void
test_post(void)
{
	struct ib_uverbs_wc wc;
	struct ff_cq *cq;

	world_open();
	cq = cq_of(make_cq(3, -1));
	for (unsigned round = 0; round < 10; round++) {
		for (unsigned i = 0; i < 3; i++)
			CU_ASSERT_EQUAL(post(cq, round * 10 + i, 0, false), 0);
		for (unsigned i = 0; i < 3; i++) {
			CU_ASSERT_TRUE(take(cq, &wc));
			CU_ASSERT_EQUAL(wc.wr_id, round * 10 + i);
		}
		CU_ASSERT_FALSE(take(cq, &wc));
	}
	CU_ASSERT_EQUAL(cq->completions, 30);
	world_close();
}

static void
test_events(void)
{
	uint32_t chan, comp, async;
	uint64_t rec;
	struct ff_cq *cq;
	uint32_t h;
	int fd;

	world_open();
	fd = make_channel(&chan);
	h = make_cq(16, (int32_t)chan);
	cq = cq_of(h);
	post(cq, 1, 0, true);
	CU_ASSERT_EQUAL(readable(fd, 8), 0); /* not armed */
	atomic_store(annex(cq), FF_CQ_ARM_NEXT);
	post(cq, 2, 0, false);
	CU_ASSERT_EQUAL(readable(fd, 8), 1);
	CU_ASSERT_EQUAL(atomic_load(annex(cq)), FF_CQ_DISARMED);
	post(cq, 3, 0, false);
	CU_ASSERT_EQUAL(readable(fd, 8), 1); /* once per arming */
	atomic_store(annex(cq), FF_CQ_ARM_SOLICITED);
	post(cq, 4, 0, false);
	CU_ASSERT_EQUAL(readable(fd, 8), 1);
	CU_ASSERT_EQUAL(atomic_load(annex(cq)), FF_CQ_ARM_SOLICITED);
	post(cq, 5, 0, true);
	CU_ASSERT_EQUAL(readable(fd, 8), 2);
	atomic_store(annex(cq), FF_CQ_ARM_SOLICITED);
	post(cq, 6, FF_WC_WR_FLUSH_ERR, false); /* errors are solicited */
	CU_ASSERT_EQUAL(readable(fd, 8), 3);
	CU_ASSERT_EQUAL(read(fd, &rec, 8), 8);
	CU_ASSERT_EQUAL(rec, cq->obj.user_handle);
	/* Two unread ones die with it: the program has one to acknowledge. */
	CU_ASSERT(destroy_cq(h, &comp, &async) > 0);
	CU_ASSERT_EQUAL(comp, 1);
	CU_ASSERT_EQUAL(async, 0);
	CU_ASSERT_EQUAL(readable(fd, 8), 0);
	close(fd);
	world_close();
}

static void
test_shared_channel(void)
{
	uint32_t chan, a, b, comp;
	uint64_t rec[3];
	int fd;

	world_open();
	fd = make_channel(&chan);
	a = make_cq(16, (int32_t)chan);
	b = make_cq(17, (int32_t)chan);
	for (unsigned i = 0; i < 3; i++) {
		atomic_store(annex(cq_of(a)), FF_CQ_ARM_NEXT);
		atomic_store(annex(cq_of(b)), FF_CQ_ARM_NEXT);
		post(cq_of(a), i, 0, false);
		post(cq_of(b), i, 0, false);
	}
	CU_ASSERT(destroy_cq(a, &comp, NULL) > 0);
	CU_ASSERT_EQUAL(comp, 0);
	CU_ASSERT_EQUAL(readable(fd, 8), 3);
	CU_ASSERT_EQUAL(read(fd, rec, 24), 24);
	for (unsigned i = 0; i < 3; i++)
		CU_ASSERT_EQUAL(rec[i], cq_of(b)->obj.user_handle);
	CU_ASSERT(destroy_cq(b, &comp, NULL) > 0);
	CU_ASSERT_EQUAL(comp, 3);
	close(fd);
	world_close();
}

/* The pipe is full: events wait for the control thread, and none is lost or told twice. */
static void
test_full_pipe(void)
{
	const unsigned num = 200000;
	uint32_t chan, h, comp, seen = 0;
	uint64_t rec;
	struct ff_cq *cq;
	int fd;

	world_open();
	fd = make_channel(&chan);
	h = make_cq(3, (int32_t)chan);
	cq = cq_of(h);
	for (unsigned i = 0; i < num; i++) {
		struct ib_uverbs_wc wc;

		atomic_store(annex(cq), FF_CQ_ARM_NEXT);
		CU_ASSERT_EQUAL_FATAL(post(cq, i, 0, false), 0);
		CU_ASSERT_TRUE(take(cq, &wc));
		if (i == num / 4 && w.control_msg) {
			struct ff_msg *m = w.control_msg;

			w.control_msg = NULL;
			m->fn(m);
		}
	}
	CU_ASSERT_PTR_NOT_NULL_FATAL(w.control_msg);
	w.control_msg->fn(w.control_msg);
	CU_ASSERT(readable(fd, 8) > 65536 / 8); /* it has grown */
	/* 64 Ki records are kept beside the pipe; the rest is counted as dropped. */
	CU_ASSERT(cq->comp->dropped > 0);
	for (; seen < 1000; seen++)
		CU_ASSERT_EQUAL(read(fd, &rec, 8), 8);
	CU_ASSERT(destroy_cq(h, &comp, NULL) > 0);
	CU_ASSERT_EQUAL(comp, 1000);
	CU_ASSERT_EQUAL(readable(fd, 8), 0);
	close(fd);
	world_close();
}

static void
test_closed_channel(void)
{
	uint32_t chan, h, comp;
	struct ff_cq *cq;
	int fd;

	world_open();
	fd = make_channel(&chan);
	h = make_cq(8, (int32_t)chan);
	cq = cq_of(h);
	close(fd);
	atomic_store(annex(cq), FF_CQ_ARM_NEXT);
	CU_ASSERT_EQUAL(post(cq, 1, 0, false), 0); /* SIGPIPE would have ended us */
	CU_ASSERT(destroy_cq(h, &comp, NULL) > 0);
	CU_ASSERT_EQUAL(comp, 0);
	/* Channels that were closed do not pile up. */
	for (unsigned i = 0; i < 1000; i++)
		close(make_channel(&chan));
	CU_ASSERT(w.uc->num_comp_channels < 64);
	world_close();
}

static void
test_overrun(void)
{
	struct ib_uverbs_async_event_desc ev;
	struct ib_uverbs_create_qp_resp live, reset;
	struct ib_uverbs_wc wc;
	uint32_t pd, h, async;
	struct ff_cq *cq;

	world_open();
	pd = make_pd();
	h = make_cq(3, -1);
	cq = cq_of(h);
	live = make_qp(pd, h, IBV_QPT_RC);
	reset = make_qp(pd, h, IBV_QPT_RC);
	qp_to_rts(live.qp_handle);
	for (unsigned i = 0; i < 3; i++)
		CU_ASSERT_EQUAL(post(cq, i, 0, false), 0);
	CU_ASSERT_EQUAL(post(cq, 3, 0, false), -EOVERFLOW);
	CU_ASSERT_EQUAL(post(cq, 4, 0, false), -EOVERFLOW);
	CU_ASSERT_TRUE(take(cq, &wc));
	CU_ASSERT_EQUAL(post(cq, 5, 0, false), -EOVERFLOW); /* it stays broken */
	CU_ASSERT_PTR_NOT_NULL_FATAL(w.control_msg);
	w.control_msg->fn(w.control_msg);
	CU_ASSERT_EQUAL(qp_of(live.qp_handle)->attr.state, FF_QPS_ERR);
	CU_ASSERT_EQUAL(qp_of(reset.qp_handle)->attr.state, FF_QPS_RESET);
	CU_ASSERT_EQUAL(readable(async_fd, sizeof(ev)), 1);
	CU_ASSERT_EQUAL(read(async_fd, &ev, sizeof(ev)), sizeof(ev));
	CU_ASSERT_EQUAL(ev.event_type, IBV_EVENT_CQ_ERR);
	CU_ASSERT_EQUAL(ev.element, cq->obj.user_handle);
	CU_ASSERT_EQUAL(destroy_cq(h, NULL, NULL), -EBUSY);
	CU_ASSERT(destroy_qp(live.qp_handle, NULL) > 0);
	CU_ASSERT(destroy_qp(reset.qp_handle, NULL) > 0);
	CU_ASSERT(destroy_cq(h, NULL, &async) > 0);
	CU_ASSERT_EQUAL(async, 1);
	CU_ASSERT_EQUAL(destroy_cq(h, NULL, NULL), -ENOENT);
	world_close();
}

/* What a container can write cannot move the router out of its queue. */
static void
test_forged_indices(void)
{
	struct ib_uverbs_resize_cq_resp resp;
	struct ib_uverbs_poll_cq req = {.ne = 100};
	struct ff_cq *cq;
	uint32_t h;

	world_open();
	h = make_cq(7, -1);
	cq = cq_of(h);
	cq->q.buf->consumer_index = 0xfffffff3;
	cq->q.buf->producer_index = 0x80000000;
	cq->q.buf->index_mask = 0xffffffff;
	cq->q.buf->log2_elem_size = 31;
	for (unsigned i = 0; i < 20; i++)
		post(cq, i, 0, false);
	req.cq_handle = h;
	CU_ASSERT(command(IB_USER_VERBS_CMD_POLL_CQ, &req, sizeof(req), 8 + 48 * 20) > 0);
	cq->q.buf->consumer_index = 0xdeadbeef;
	CU_ASSERT(resize(h, 7, &resp) > 0);
	world_close();
}

static void
test_poll_command(void)
{
	struct ib_uverbs_poll_cq req = {.ne = 5};
	struct ib_uverbs_poll_cq_resp resp;
	struct ib_uverbs_wc wc;
	struct ff_cq *cq;

	world_open();
	req.cq_handle = make_cq(7, -1);
	cq = cq_of(req.cq_handle);
	for (unsigned i = 0; i < 7; i++)
		post(cq, i, 0, false);
	/* Room for four, though five are wanted. */
	CU_ASSERT(command(IB_USER_VERBS_CMD_POLL_CQ, &req, sizeof(req), 8 + 4 * 48 + 40) > 0);
	memcpy(&resp, w.out, sizeof(resp));
	CU_ASSERT_EQUAL(resp.count, 4);
	memcpy(&wc, w.out + 8 + 3 * 48, sizeof(wc));
	CU_ASSERT_EQUAL(wc.wr_id, 3);
	CU_ASSERT(command(IB_USER_VERBS_CMD_POLL_CQ, &req, sizeof(req), 8 + 8 * 48) > 0);
	memcpy(&resp, w.out, sizeof(resp));
	CU_ASSERT_EQUAL(resp.count, 3);
	CU_ASSERT_FALSE(take(cq, &wc));
	req.cq_handle++;
	CU_ASSERT_EQUAL(command(IB_USER_VERBS_CMD_POLL_CQ, &req, sizeof(req), 64), -EINVAL);
	world_close();
}

static void
test_notify_command(void)
{
	struct ib_uverbs_req_notify_cq req = {.solicited_only = 1};
	struct ff_cq *cq;

	world_open();
	req.cq_handle = make_cq(7, -1);
	cq = cq_of(req.cq_handle);
	CU_ASSERT(command(IB_USER_VERBS_CMD_REQ_NOTIFY_CQ, &req, sizeof(req), 0) > 0);
	CU_ASSERT_EQUAL(atomic_load(annex(cq)), FF_CQ_ARM_SOLICITED);
	req.solicited_only = 0;
	CU_ASSERT(command(IB_USER_VERBS_CMD_REQ_NOTIFY_CQ, &req, sizeof(req), 0) > 0);
	req.solicited_only = 1; /* does not weaken it */
	CU_ASSERT(command(IB_USER_VERBS_CMD_REQ_NOTIFY_CQ, &req, sizeof(req), 0) > 0);
	CU_ASSERT_EQUAL(atomic_load(annex(cq)), FF_CQ_ARM_NEXT);
	req.cq_handle++;
	CU_ASSERT_EQUAL(command(IB_USER_VERBS_CMD_REQ_NOTIFY_CQ, &req, sizeof(req), 0), -EINVAL);
	world_close();
}

int
main(void)
{
	static const struct test_case cases[] = {
		{"create", test_create},
		{"create refused", test_create_refused},
		{"post", test_post},
		{"events", test_events},
		{"shared channel", test_shared_channel},
		{"full pipe", test_full_pipe},
		{"closed channel", test_closed_channel},
		{"overrun", test_overrun},
		{"forged indices", test_forged_indices},
		{"poll by command", test_poll_command},
		{"notify by command", test_notify_command},
	};

	return run_suite("verbs cq", cases, COUNT_OF(cases));
}
