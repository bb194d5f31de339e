/* SPDX-License-Identifier: MIT */
/* Engine cases: errors, time-outs, state changes, ends that vanish. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <CUnit/Basic.h>

#include "engine_cases.h"

void
run_rnr(void)
{
	setup(IB_UVERBS_QPT_RC);
	post(1, 100);
	h_settle();
	CU_ASSERT_PTR_NULL(h_wc(&a->scq));
	h_post_recv(b, 100, dst, 100, rkey);
	h_settle();
	expect(&a->scq, 1, 0);
	expect(&b->rcq, 100, 0);
	post(2, 100);
	post(3, 100);
	for (unsigned i = 0; i < 3; i++) {
		h_settle();
		CU_ASSERT_TRUE(i == 2 || !a->scq.wc[1].wr_id);
		h_now += roce_rnr_ns(12);
	}
	h_settle();
	expect(&a->scq, 2, FF_WC_RNR_RETRY_EXC_ERR);
	expect(&a->scq, 3, FF_WC_WR_FLUSH_ERR);
	CU_ASSERT_EQUAL(b->qp.attr.state, FF_QPS_RTS);
	teardown();
}

void
run_retry(void)
{
	setup(IB_UVERBS_QPT_RC);
	h_set_state(b, FF_QPS_ERR);
	post(1, 8);
	post(2, 8);
	h_settle();
	CU_ASSERT_PTR_NULL(h_wc(&a->scq));
	for (unsigned i = 0; i < 4; i++) {
		h_now += roce_timeout_ns(14) + 1;
		h_settle();
	}
	expect(&a->scq, 1, FF_WC_RETRY_EXC_ERR);
	expect(&a->scq, 2, FF_WC_WR_FLUSH_ERR);
	CU_ASSERT_EQUAL(a->qp.counters[FF_QC_RETRY], 3);
	teardown();
}

void
run_remote_errors(void)
{
	static const struct {
		uint32_t key_delta, len;
		uint8_t opcode;
		uint64_t misalign;
		uint32_t want;
		int event;
	} c[] = {
		{1000, 64, IB_UVERBS_WR_RDMA_WRITE, 0, FF_WC_REM_ACCESS_ERR,
		 FF_EVENT_QP_ACCESS_ERR},
		{1000, 64, IB_UVERBS_WR_RDMA_READ, 0, FF_WC_REM_ACCESS_ERR, FF_EVENT_QP_ACCESS_ERR},
		{0, LEN, IB_UVERBS_WR_RDMA_WRITE, 1, FF_WC_REM_ACCESS_ERR, FF_EVENT_QP_ACCESS_ERR},
		{0, 8, IB_UVERBS_WR_ATOMIC_FETCH_AND_ADD, 4, FF_WC_REM_INV_REQ_ERR,
		 FF_EVENT_QP_REQ_ERR},
	};

	for (unsigned i = 0; i < sizeof(c) / sizeof(c[0]); i++) {
		setup(IB_UVERBS_QPT_RC);
		h_post_send(a, &(struct h_wr){.opcode = c[i].opcode,
					      .wr_id = 1,
					      .addr = src,
					      .len = c[i].len,
					      .lkey = lkey,
					      .raddr = (uint64_t)dst + c[i].misalign,
					      .rkey = rkey + c[i].key_delta});
		post(2, 8);
		h_settle();
		expect(&a->scq, 1, c[i].want);
		expect(&a->scq, 2, FF_WC_WR_FLUSH_ERR);
		CU_ASSERT_EQUAL(h_events[c[i].event], 1);
		CU_ASSERT_EQUAL(b->qp.attr.state, FF_QPS_ERR);
		teardown();
	}
}

void
run_recv_errors(void)
{
	setup(IB_UVERBS_QPT_RC); /* too long */
	h_post_recv(b, 100, dst, 10, rkey);
	h_post_recv(b, 101, dst, 10, rkey);
	post(1, 11);
	h_settle();
	expect(&a->scq, 1, FF_WC_REM_INV_REQ_ERR);
	expect(&b->rcq, 100, FF_WC_LOC_LEN_ERR);
	expect(&b->rcq, 101, FF_WC_WR_FLUSH_ERR);
	teardown();

	setup(IB_UVERBS_QPT_RC); /* receiver's key is bad */
	h_post_recv(b, 100, dst, 10, rkey + 1000);
	post(1, 10);
	h_settle();
	expect(&a->scq, 1, FF_WC_REM_OP_ERR);
	expect(&b->rcq, 100, FF_WC_LOC_PROT_ERR);
	teardown();

	setup(IB_UVERBS_QPT_RC); /* sender's key is bad: the receiver never hears of it */
	h_post_recv(b, 100, dst, 10, rkey);
	h_post_send(a, &(struct h_wr){.opcode = IB_UVERBS_WR_SEND,
				      .wr_id = 1,
				      .addr = src,
				      .len = 10,
				      .lkey = lkey + 1000});
	h_settle();
	expect(&a->scq, 1, FF_WC_LOC_PROT_ERR);
	CU_ASSERT_PTR_NULL(h_wc(&b->rcq));
	CU_ASSERT_EQUAL(b->qp.attr.state, FF_QPS_RTS);
	teardown();
}

void
run_flush(void)
{
	setup(IB_UVERBS_QPT_RC);
	h_post_recv(b, 100, dst, 10, rkey);
	h_post_recv(b, 101, dst, 10, rkey);
	h_set_state(b, FF_QPS_ERR);
	expect(&b->rcq, 100, FF_WC_WR_FLUSH_ERR);
	expect(&b->rcq, 101, FF_WC_WR_FLUSH_ERR);
	h_post_recv(b, 102, dst, 10, rkey);
	h_now += LOCAL_ERR_SCAN_NS + 1;
	h_settle();
	expect(&b->rcq, 102, FF_WC_WR_FLUSH_ERR);
	teardown();

	setup(IB_UVERBS_QPT_RC); /* RNR-waiting operations are flushed with the requester */
	for (unsigned i = 0; i < 10; i++)
		post(i, 10);
	h_settle();
	h_set_state(a, FF_QPS_ERR);
	h_settle();
	for (unsigned i = 0; i < 10; i++)
		expect(&a->scq, i, FF_WC_WR_FLUSH_ERR);
	CU_ASSERT_PTR_NULL(h_wc(&a->scq));
	teardown();
}

/* Every moment of a message's life at which either end goes away; nothing may hang or leak. */
void
run_vanish(void)
{
	for (unsigned when = 0; when < 12; when++) {
		for (unsigned who = 0; who < 2; who++) {
			setup(IB_UVERBS_QPT_RC);
			h_post_recv(b, 100, dst, LEN, rkey);
			post(1, LEN);
			rdma(IB_UVERBS_WR_RDMA_WRITE, 2, LEN);
			for (unsigned i = 0; i < when; i++)
				h_pass(i & 1);
			if (who) {
				h_qp_free(b);
				for (unsigned i = 0; i < 6; i++) {
					h_settle();
					h_now += roce_timeout_ns(14) + 1;
				}
				CU_ASSERT_EQUAL(a->scq.n, 2);
				b = h_qp_new(IB_UVERBS_QPT_RC, 1, worker_b);
			} else {
				h_qp_free(a);
				h_settle();
				CU_ASSERT_TRUE(TAILQ_EMPTY(&((struct lqp *)b->qp.nic)->inq));
				a = h_qp_new(IB_UVERBS_QPT_RC, 0, 0);
			}
			teardown();
		}
	}
}

void
run_stuck_copier(void)
{
	setup(IB_UVERBS_QPT_RC);
	h_hold_jobs = true;
	rdma(IB_UVERBS_WR_RDMA_WRITE, 1, LEN);
	h_settle();
	CU_ASSERT_PTR_NULL(h_wc(&a->scq));
	h_set_state(a, FF_QPS_RESET);
	h_connect(a, b); /* a new life while the old job is still out */
	h_hold_jobs = false;
	h_settle();
	CU_ASSERT_EQUAL(a->scq.n, 0);
	rdma(IB_UVERBS_WR_RDMA_WRITE, 2, 64);
	for (unsigned i = 0; i < 5; i++) {
		h_settle();
		h_now += roce_timeout_ns(14) + 1;
	}
	CU_ASSERT_EQUAL(a->scq.n, 1);
	teardown();
}

void
run_sqd_reset(void)
{
	struct ff_qp_attr attr;

	setup(IB_UVERBS_QPT_RC);
	attr = a->qp.attr;
	attr.state = FF_QPS_SQD;
	attr.sq_draining = 1;
	post(1, 10);
	h_settle(); /* RNR */
	ff_nic_local.qp_modify(&a->qp, &attr, FF_QPM_STATE);
	post(2, 10);
	h_post_recv(b, 100, dst, 10, rkey);
	h_post_recv(b, 101, dst, 10, rkey);
	h_settle();
	expect(&a->scq, 1, 0);
	CU_ASSERT_PTR_NULL(h_wc(&a->scq));
	CU_ASSERT_EQUAL(h_events[FF_EVENT_SQ_DRAINED], 1);
	h_set_state(a, FF_QPS_RTS);
	h_settle();
	expect(&a->scq, 2, 0);
	post(3, 10);
	h_set_state(a, FF_QPS_RESET);
	h_settle();
	CU_ASSERT_PTR_NULL(h_wc(&a->scq));
	teardown();
}
