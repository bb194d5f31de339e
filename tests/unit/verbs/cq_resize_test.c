/* SPDX-License-Identifier: MIT */
/* RESIZE_CQ: completions that are there and those that come meanwhile are carried over. */
#include "cq_util.h"

static void
test_resize(void)
{
	struct ib_uverbs_resize_cq_resp resp;
	struct rxe_resize_cq_resp drv;
	uint64_t old_off, next = 0, want = 0;
	struct ib_uverbs_wc wc;
	struct ff_cq *cq;
	uint32_t h;

	world_open();
	h = make_cq(7, -1);
	cq = cq_of(h);
	old_off = cq->q.mmap_off;
	for (; next < 12; next++) { /* wraps */
		CU_ASSERT_EQUAL(post(cq, next, 0, false), 0);
		if (next >= 5) {
			CU_ASSERT_TRUE(take(cq, &wc));
			CU_ASSERT_EQUAL(wc.wr_id, want++);
		}
	}
	atomic_store(annex(cq), FF_CQ_ARM_SOLICITED);
	CU_ASSERT_EQUAL(resize(h, 3, &resp), -EINVAL); /* five are in it */
	CU_ASSERT_EQUAL(cq->q.mmap_off, old_off);
	CU_ASSERT_EQUAL(resize(h, 0, &resp), -EINVAL);
	CU_ASSERT_EQUAL(resize(h, FF_MAX_CQE + 1, &resp), -EINVAL);
	CU_ASSERT_EQUAL(resize(h + 1, 9, &resp), -EINVAL);
	CU_ASSERT(resize(h, 20, &resp) > 0);
	CU_ASSERT_EQUAL(resp.cqe, 31);
	memcpy(&drv, w.out + sizeof(resp), sizeof(drv));
	CU_ASSERT_EQUAL(drv.mi.offset, cq->q.mmap_off);
	CU_ASSERT_NOT_EQUAL(drv.mi.offset, old_off);
	CU_ASSERT_EQUAL(w.rep.num_fds, 1);
	CU_ASSERT_EQUAL(w.rep.fds[0].role, FF_QUEUE_CQ);
	CU_ASSERT_EQUAL(atomic_load(annex(cq)), FF_CQ_ARM_SOLICITED);
	for (unsigned i = 0; i < 26; i++)
		CU_ASSERT_EQUAL(post(cq, next++, 0, false), 0);
	while (take(cq, &wc))
		CU_ASSERT_EQUAL(wc.wr_id, want++);
	CU_ASSERT_EQUAL(want, next);
	/* Smaller again; its memory is given back. */
	cq->consumer = 5;
	CU_ASSERT(resize(h, 1, &resp) > 0);
	CU_ASSERT_EQUAL(resp.cqe, 1);
	CU_ASSERT_EQUAL(w.c.used[FF_QUOTA_PINNED], 4096);
	/* What was known of the old queue's reader says nothing of the new one's. */
	CU_ASSERT_EQUAL(post(cq, next, 0, false), 0);
	CU_ASSERT_EQUAL(post(cq, next, 0, false), -EOVERFLOW);
	world_close();
}

static struct ff_cq *busy_cq;
static uint64_t busy_next;

static void
busy_post(void)
{
	post(busy_cq, busy_next++, 0, false);
}

/* The worker goes on posting: nothing is lost, and what does not fit is seen in the end too. */
static void
test_resize_busy(void)
{
	struct ib_uverbs_resize_cq_resp resp;
	struct ib_uverbs_wc wc;
	uint64_t want = 0;
	uint32_t h;

	world_open();
	h = make_cq(15, -1);
	busy_cq = cq_of(h);
	for (busy_next = 0; busy_next < 5;)
		busy_post();
	w.meanwhile = busy_post;
	CU_ASSERT(resize(h, 7, &resp) > 0);
	CU_ASSERT_EQUAL(busy_next, 7);
	w.meanwhile = NULL;
	while (take(busy_cq, &wc))
		CU_ASSERT_EQUAL(wc.wr_id, want++);
	CU_ASSERT_EQUAL(want, 7);
	/* Six fit when the copy begins; eight are there when it is to be taken. */
	CU_ASSERT(resize(h, 15, &resp) > 0);
	for (unsigned i = 0; i < 6; i++)
		busy_post();
	w.meanwhile = busy_post;
	CU_ASSERT_EQUAL(resize(h, 7, &resp), -EINVAL);
	w.meanwhile = NULL;
	CU_ASSERT_EQUAL(busy_cq->cqe, 15);
	while (take(busy_cq, &wc))
		CU_ASSERT_EQUAL(wc.wr_id, want++);
	CU_ASSERT_EQUAL(want, busy_next);
	world_close();
}

int
main(void)
{
	static const struct test_case cases[] = {
		{"resize", test_resize},
		{"resize while busy", test_resize_busy},
	};

	return run_suite("verbs cq resize", cases, COUNT_OF(cases));
}
