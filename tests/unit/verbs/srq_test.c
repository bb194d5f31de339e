/* SPDX-License-Identifier: MIT */
/* SRQs: geometry, resize with what is in it, limit, events. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "harness.h"

struct created {
	struct ib_uverbs_create_srq_resp core;
	struct rxe_create_srq_resp drv;
};

static int
create(uint32_t pd, uint32_t wr, uint32_t sge)
{
	struct ib_uverbs_create_srq req = {
		.pd_handle = pd, .max_wr = wr, .max_sge = sge, .srq_limit = UINT32_MAX};

	return command(IB_USER_VERBS_CMD_CREATE_SRQ, &req, sizeof(req), sizeof(struct created));
}

static void
test_create(void)
{
	struct ib_uverbs_create_xsrq x = {.max_wr = 5, .max_sge = 1};
	struct created c;
	struct ff_srq *srq;
	uint32_t pd;

	world_open();
	pd = make_pd();
	/* srq_limit counts only in modify: a program may leave anything in it. */
	CU_ASSERT(create(pd, 100, 3) > 0);
	memcpy(&c, w.out, sizeof(c));
	CU_ASSERT_EQUAL(w.rep.out_len, sizeof(c));
	CU_ASSERT_EQUAL(c.core.max_wr, 127);
	CU_ASSERT_EQUAL(c.core.max_sge, 3);
	CU_ASSERT_EQUAL(w.rep.fds[0].role, FF_QUEUE_SRQ);
	CU_ASSERT_EQUAL(w.rep.fds[0].mmap_off, c.drv.mi.offset);
	srq = srq_of(c.core.srq_handle);
	CU_ASSERT_EQUAL(srq->limit, 0);
	CU_ASSERT_EQUAL(srq->q.log2_elem, 7); /* 40 + 48 bytes */
	CU_ASSERT_EQUAL(create(pd + 1, 1, 1), -EINVAL);
	CU_ASSERT_EQUAL(create(pd, 0, 1), -EINVAL);
	CU_ASSERT_EQUAL(create(pd, FF_MAX_SRQ_WR + 1, 1), -EINVAL);
	CU_ASSERT_EQUAL(create(pd, 1, FF_MAX_SRQ_SGE + 1), -EINVAL);
	CU_ASSERT(create(pd, 1, 0) > 0);
	memcpy(&c, w.out, sizeof(c));
	CU_ASSERT_EQUAL(c.core.max_sge, 1);
	x.pd_handle = pd;
	CU_ASSERT(command(IB_USER_VERBS_CMD_CREATE_XSRQ, &x, sizeof(x), sizeof(c)) > 0);
	x.srq_type = IBV_SRQT_XRC;
	CU_ASSERT_EQUAL(command(IB_USER_VERBS_CMD_CREATE_XSRQ, &x, sizeof(x), sizeof(c)),
			-EOPNOTSUPP);
	CU_ASSERT_EQUAL(dealloc_pd(pd), -EBUSY);
	w.c.limits[FF_QUOTA_SRQS] = 3;
	CU_ASSERT_EQUAL(create(pd, 1, 1), -ENOMEM);
	w.c.limits[FF_QUOTA_SRQS] = 4;
	w.c.limits[FF_QUOTA_PINNED] = w.c.used[FF_QUOTA_PINNED];
	CU_ASSERT_EQUAL(create(pd, 1, 1), -ENOMEM);
	CU_ASSERT_EQUAL(w.c.used[FF_QUOTA_SRQS], 3);
	world_close();
}

static int
modify_srq(uint32_t h, uint32_t mask, uint32_t wr, uint32_t limit)
{
	struct {
		struct ib_uverbs_modify_srq core;
		struct rxe_modify_srq_cmd drv;
	} req = {.core = {.srq_handle = h, .attr_mask = mask, .max_wr = wr, .srq_limit = limit}};

	return command(IB_USER_VERBS_CMD_MODIFY_SRQ, &req, sizeof(req), 0);
}

/* The program posts a receive WQE. */
static void
post(struct ff_srq *srq, uint64_t wr_id)
{
	struct rxe_queue_buf *buf = srq->q.buf;
	struct rxe_recv_wqe *wqe;

	wqe = (struct rxe_recv_wqe *)(buf->data +
				      ((size_t)buf->producer_index << buf->log2_elem_size));
	wqe->wr_id = wr_id;
	wqe->dma.num_sge = 1;
	wqe->dma.sge[0].length = (uint32_t)wr_id * 2;
	buf->producer_index = (buf->producer_index + 1) & buf->index_mask;
}

/* The worker takes one. */
static uint64_t
take(struct ff_srq *srq)
{
	struct rxe_recv_wqe *wqe = ff_queue_elem(&srq->q, srq->q.index);

	CU_ASSERT_NOT_EQUAL_FATAL(ff_queue_producer(&srq->q), srq->q.index);
	CU_ASSERT_EQUAL(wqe->dma.sge[0].length, (uint32_t)wqe->wr_id * 2);
	srq->q.index = (srq->q.index + 1) & srq->q.mask;
	ff_queue_publish_consumer(&srq->q);
	return wqe->wr_id;
}

static void
test_resize(void)
{
	uint64_t next = 0, want = 0, off;
	struct ff_srq *srq;
	uint32_t pd, h;

	world_open();
	pd = make_pd();
	h = make_srq(pd, 7, 1);
	srq = srq_of(h);
	for (; next < 11; next++) { /* wraps, five stay */
		post(srq, next);
		if (next >= 5)
			CU_ASSERT_EQUAL(take(srq), want++);
	}
	off = srq->q.mmap_off;
	CU_ASSERT_EQUAL(modify_srq(h, IBV_SRQ_MAX_WR, 3, 0), -EINVAL);
	CU_ASSERT_EQUAL(srq->q.mmap_off, off);
	CU_ASSERT_EQUAL(modify_srq(h, IBV_SRQ_MAX_WR, 0, 0), -EINVAL);
	CU_ASSERT_EQUAL(modify_srq(h, IBV_SRQ_MAX_WR, FF_MAX_SRQ_WR + 1, 0), -EINVAL);
	CU_ASSERT_EQUAL(modify_srq(h, IBV_SRQ_MAX_WR | IBV_SRQ_LIMIT, 20, 32), -EINVAL);
	CU_ASSERT_EQUAL(srq->q.mmap_off, off);
	CU_ASSERT(modify_srq(h, IBV_SRQ_MAX_WR | IBV_SRQ_LIMIT, 20, 31) > 0);
	CU_ASSERT_EQUAL(w.rep.num_fds, 1);
	CU_ASSERT_EQUAL(w.rep.out_len, 0); /* the shim tells the provider where it is */
	CU_ASSERT_EQUAL(w.rep.fds[0].mmap_off, srq->q.mmap_off);
	CU_ASSERT_NOT_EQUAL(srq->q.mmap_off, off);
	CU_ASSERT_EQUAL(srq->max_wr, 31);
	CU_ASSERT_EQUAL(srq->limit, 31);
	CU_ASSERT_EQUAL(w.srq_changes, 1);
	for (unsigned i = 0; i < 20; i++)
		post(srq, next++);
	while (want < next)
		CU_ASSERT_EQUAL(take(srq), want++);
	/* Not below the limit that is set. */
	CU_ASSERT_EQUAL(modify_srq(h, IBV_SRQ_MAX_WR, 15, 0), -EINVAL);
	CU_ASSERT(modify_srq(h, IBV_SRQ_MAX_WR | IBV_SRQ_LIMIT, 1, 0) > 0);
	CU_ASSERT_EQUAL(w.c.used[FF_QUOTA_PINNED], 4096);
	world_close();
}

static struct ff_srq *busy_srq;
static uint64_t busy_want;

static void
busy_take(void)
{
	CU_ASSERT_EQUAL(take(busy_srq), busy_want++);
}

/* The worker goes on taking WQEs: none is taken twice, none is left out. */
static void
test_resize_busy(void)
{
	uint32_t pd, h;

	world_open();
	pd = make_pd();
	h = make_srq(pd, 7, 1);
	busy_srq = srq_of(h);
	busy_want = 0;
	for (unsigned i = 0; i < 6; i++)
		post(busy_srq, i);
	w.meanwhile = busy_take;
	CU_ASSERT(modify_srq(h, IBV_SRQ_MAX_WR, 15, 0) > 0);
	w.meanwhile = NULL;
	CU_ASSERT_EQUAL(busy_want, 2);
	CU_ASSERT_EQUAL(busy_srq->q.buf->consumer_index, busy_srq->q.index);
	post(busy_srq, 6);
	while (busy_want < 7)
		busy_take();
	CU_ASSERT_EQUAL(ff_queue_producer(&busy_srq->q), busy_srq->q.index);
	world_close();
}

static void
test_limit_and_query(void)
{
	struct ib_uverbs_modify_srq old = {.attr_mask = IBV_SRQ_LIMIT};
	struct ib_uverbs_query_srq q = {0};
	struct ib_uverbs_query_srq_resp r;
	uint32_t pd, h;

	world_open();
	pd = make_pd();
	h = make_srq(pd, 7, 2);
	CU_ASSERT(modify_srq(h, IBV_SRQ_LIMIT, 0, 5) > 0);
	CU_ASSERT_EQUAL(w.rep.num_fds, 0);
	CU_ASSERT_EQUAL(w.srq_changes, 1);
	CU_ASSERT_EQUAL(modify_srq(h, IBV_SRQ_LIMIT, 0, 8), -EINVAL);
	CU_ASSERT_EQUAL(modify_srq(h, 4, 0, 0), -EINVAL);
	CU_ASSERT_EQUAL(modify_srq(h + 1, IBV_SRQ_LIMIT, 0, 1), -EINVAL);
	old.srq_handle = h;
	CU_ASSERT_EQUAL(command(IB_USER_VERBS_CMD_MODIFY_SRQ, &old, sizeof(old), 0), -EINVAL);
	q.srq_handle = h;
	CU_ASSERT(command(IB_USER_VERBS_CMD_QUERY_SRQ, &q, sizeof(q), sizeof(r)) > 0);
	memcpy(&r, w.out, sizeof(r));
	CU_ASSERT_EQUAL(r.max_wr, 7);
	CU_ASSERT_EQUAL(r.max_sge, 2);
	CU_ASSERT_EQUAL(r.srq_limit, 5);
	srq_of(h)->error = true;
	CU_ASSERT_EQUAL(command(IB_USER_VERBS_CMD_QUERY_SRQ, &q, sizeof(q), sizeof(r)), -EINVAL);
	CU_ASSERT_EQUAL(modify_srq(h, IBV_SRQ_LIMIT, 0, 1), -EINVAL);
	q.srq_handle++;
	CU_ASSERT_EQUAL(command(IB_USER_VERBS_CMD_QUERY_SRQ, &q, sizeof(q), sizeof(r)), -EINVAL);
	world_close();
}

static void
test_events(void)
{
	struct ib_uverbs_async_event_desc ev;
	uint32_t pd, h, events;

	world_open();
	pd = make_pd();
	h = make_srq(pd, 7, 2);
	ff_async_srq(srq_of(h), IBV_EVENT_SRQ_LIMIT_REACHED);
	w.control_msg->fn(w.control_msg);
	CU_ASSERT_EQUAL(read(async_fd, &ev, sizeof(ev)), sizeof(ev));
	CU_ASSERT_EQUAL(ev.event_type, IBV_EVENT_SRQ_LIMIT_REACHED);
	CU_ASSERT_EQUAL(ev.element, 0x3000);
	ff_async_srq(srq_of(h), IBV_EVENT_SRQ_ERR);
	CU_ASSERT(destroy_srq(h, &events) > 0);
	CU_ASSERT_EQUAL(events, 1);
	CU_ASSERT_EQUAL(readable(async_fd, sizeof(ev)), 0);
	CU_ASSERT_EQUAL(destroy_srq(h, &events), -ENOENT);
	world_close();
}

int
main(void)
{
	static const struct test_case cases[] = {
		{"create", test_create},
		{"resize", test_resize},
		{"resize while busy", test_resize_busy},
		{"limit and query", test_limit_and_query},
		{"events", test_events},
	};

	return run_suite("verbs srq", cases, COUNT_OF(cases));
}
