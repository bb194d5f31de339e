/* SPDX-License-Identifier: MIT */
/*
 * The local backend without threads: every case runs with both QPs on one worker and with one on
 * each, so that list moves and messages between workers give the same answers.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <CUnit/Basic.h>

#include "../../../dataplane/nic/local/local_priv.h"
#include "harness.h"

#define ALL (FF_ACCESS_REMOTE_WRITE | FF_ACCESS_REMOTE_READ | FF_ACCESS_REMOTE_ATOMIC)
#define LEN (300u * 1024)

static struct h_qp *a, *b;
static uint8_t *src, *dst;
static uint32_t lkey, rkey;
static unsigned worker_b;
static bool mapped = true;

static void
fill(uint8_t *p, size_t n, unsigned seed)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)(i * 31 + seed + (i >> 8));
}

static void
setup(uint8_t type)
{
	memset(h_events, 0, sizeof(h_events));
	src = malloc(LEN);
	dst = malloc(LEN);
	fill(src, LEN, 1);
	memset(dst, 0, LEN);
	a = h_qp_new(type, 0, 0);
	b = h_qp_new(type, 1, worker_b);
	lkey = h_mr(a, src, LEN, ALL, mapped);
	rkey = h_mr(b, dst, LEN, ALL, mapped);
	h_connect(a, b);
}

static void
teardown(void)
{
	h_qp_free(a);
	h_qp_free(b);
	h_settle();
	h_mr_drop(lkey);
	h_mr_drop(rkey);
	free(src);
	free(dst);
}

static void
expect(struct h_cq *cq, uint64_t wr_id, uint32_t status)
{
	const struct ib_uverbs_wc *wc = h_wc(cq);

	CU_ASSERT_PTR_NOT_NULL_FATAL(wc);
	CU_ASSERT_EQUAL(wc->wr_id, wr_id);
	CU_ASSERT_EQUAL(wc->status, status);
	if (wc->wr_id != wr_id || wc->status != status)
		printf("[wr %lu status %u, want %lu %u]", (unsigned long)wc->wr_id, wc->status,
		       (unsigned long)wr_id, status);
}

static void
post(uint64_t id, uint32_t len)
{
	h_post_send(a, &(struct h_wr){.opcode = IB_UVERBS_WR_SEND, .wr_id = id, .addr = src,
				      .len = len, .lkey = lkey});
}

static void
rdma(uint8_t opcode, uint64_t id, uint32_t len)
{
	h_post_send(a, &(struct h_wr){.opcode = opcode, .wr_id = id, .addr = src, .len = len,
				      .lkey = lkey, .raddr = (uint64_t)dst, .rkey = rkey,
				      .imm = 0x1234});
}

static void
run_data(void)
{
	uint64_t *counter;

	setup(IB_UVERBS_QPT_RC);
	h_post_recv(b, 100, dst, LEN, rkey);
	post(1, LEN);
	h_settle();
	expect(&a->scq, 1, 0);
	expect(&b->rcq, 100, 0);
	CU_ASSERT_EQUAL(memcmp(src, dst, LEN), 0);
	CU_ASSERT_EQUAL(b->rcq.wc[0].byte_len, LEN);

	memset(dst, 0, LEN);
	rdma(IB_UVERBS_WR_RDMA_WRITE, 2, LEN);
	h_settle();
	expect(&a->scq, 2, 0);
	CU_ASSERT_EQUAL(memcmp(src, dst, LEN), 0);

	fill(dst, LEN, 9);
	rdma(IB_UVERBS_WR_RDMA_READ, 3, LEN);
	h_settle();
	expect(&a->scq, 3, 0);
	CU_ASSERT_EQUAL(memcmp(src, dst, LEN), 0);

	counter = (uint64_t *)dst;
	*counter = 40;
	h_post_send(a, &(struct h_wr){.opcode = IB_UVERBS_WR_ATOMIC_FETCH_AND_ADD, .wr_id = 4,
				      .addr = src, .len = 8, .lkey = lkey, .raddr = (uint64_t)dst,
				      .rkey = rkey, .compare_add = 2});
	h_post_send(a, &(struct h_wr){.opcode = IB_UVERBS_WR_ATOMIC_CMP_AND_SWP, .wr_id = 5,
				      .addr = src + 8, .len = 8, .lkey = lkey,
				      .raddr = (uint64_t)dst, .rkey = rkey, .compare_add = 42,
				      .swap = 7});
	h_settle();
	expect(&a->scq, 4, 0);
	expect(&a->scq, 5, 0);
	CU_ASSERT_EQUAL(*(uint64_t *)src, 40);
	CU_ASSERT_EQUAL(*(uint64_t *)(src + 8), 42);
	CU_ASSERT_EQUAL(*counter, 7);

	h_post_recv(b, 101, NULL, 0, 0);
	rdma(IB_UVERBS_WR_RDMA_WRITE_WITH_IMM, 6, 0);
	h_settle();
	expect(&a->scq, 6, 0);
	expect(&b->rcq, 101, 0);
	CU_ASSERT_EQUAL(b->rcq.wc[1].ex.imm_data, 0x1234);
	CU_ASSERT_EQUAL(b->rcq.wc[1].opcode, FF_WC_RECV_RDMA_WITH_IMM);
	CU_ASSERT_TRUE(h_sleepy(0) && h_sleepy(1));
	teardown();
}

static void
run_inline_and_order(void)
{
	uint8_t small[72];

	setup(IB_UVERBS_QPT_RC);
	fill(small, 64, 5);
	for (unsigned i = 0; i < 12; i++)
		h_post_recv(b, 200 + i, dst + i * 64, 64, rkey);
	for (unsigned i = 0; i < 12; i++)
		h_post_send(a, &(struct h_wr){.opcode = IB_UVERBS_WR_SEND, .wr_id = i,
					      .addr = small, .len = 64,
					      .flags = FF_SEND_INLINE | FF_SEND_SOLICITED});
	h_settle();
	for (unsigned i = 0; i < 12; i++) {
		expect(&a->scq, i, 0);
		expect(&b->rcq, 200 + i, 0);
		CU_ASSERT_EQUAL(memcmp(dst + i * 64, small, 64), 0);
	}
	CU_ASSERT_TRUE(b->rcq.solicited[0]);
	/* Longer than max_inline: this one fails, the QP is in error. */
	h_post_send(a, &(struct h_wr){.opcode = IB_UVERBS_WR_SEND, .wr_id = 50, .addr = small,
				      .len = 65, .flags = FF_SEND_INLINE});
	post(51, 8);
	h_settle();
	expect(&a->scq, 50, FF_WC_LOC_QP_OP_ERR);
	expect(&a->scq, 51, FF_WC_WR_FLUSH_ERR);
	CU_ASSERT_EQUAL(a->qp.attr.state, FF_QPS_ERR);
	teardown();
}

static void
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
		h_now += lrnr_ns(12);
	}
	h_settle();
	expect(&a->scq, 2, FF_WC_RNR_RETRY_EXC_ERR);
	expect(&a->scq, 3, FF_WC_WR_FLUSH_ERR);
	CU_ASSERT_EQUAL(b->qp.attr.state, FF_QPS_RTS);
	teardown();
}

static void
run_retry(void)
{
	setup(IB_UVERBS_QPT_RC);
	h_set_state(b, FF_QPS_ERR);
	post(1, 8);
	post(2, 8);
	h_settle();
	CU_ASSERT_PTR_NULL(h_wc(&a->scq));
	for (unsigned i = 0; i < 4; i++) {
		h_now += ltimeout_ns(14) + 1;
		h_settle();
	}
	expect(&a->scq, 1, FF_WC_RETRY_EXC_ERR);
	expect(&a->scq, 2, FF_WC_WR_FLUSH_ERR);
	CU_ASSERT_EQUAL(a->qp.counters[FF_QC_RETRY], 3);
	teardown();
}

static void
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
		{1000, 64, IB_UVERBS_WR_RDMA_READ, 0, FF_WC_REM_ACCESS_ERR,
		 FF_EVENT_QP_ACCESS_ERR},
		{0, LEN, IB_UVERBS_WR_RDMA_WRITE, 1, FF_WC_REM_ACCESS_ERR, FF_EVENT_QP_ACCESS_ERR},
		{0, 8, IB_UVERBS_WR_ATOMIC_FETCH_AND_ADD, 4, FF_WC_REM_INV_REQ_ERR,
		 FF_EVENT_QP_REQ_ERR},
	};

	for (unsigned i = 0; i < sizeof(c) / sizeof(c[0]); i++) {
		setup(IB_UVERBS_QPT_RC);
		h_post_send(a, &(struct h_wr){.opcode = c[i].opcode, .wr_id = 1, .addr = src,
					      .len = c[i].len, .lkey = lkey,
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

static void
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
	h_post_send(a, &(struct h_wr){.opcode = IB_UVERBS_WR_SEND, .wr_id = 1, .addr = src,
				      .len = 10, .lkey = lkey + 1000});
	h_settle();
	expect(&a->scq, 1, FF_WC_LOC_PROT_ERR);
	CU_ASSERT_PTR_NULL(h_wc(&b->rcq));
	CU_ASSERT_EQUAL(b->qp.attr.state, FF_QPS_RTS);
	teardown();
}

static void
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
static void
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
					h_now += ltimeout_ns(14) + 1;
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

static void
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
		h_now += ltimeout_ns(14) + 1;
	}
	CU_ASSERT_EQUAL(a->scq.n, 1);
	teardown();
}

static void
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

static void
run_uc(void)
{
	setup(IB_UVERBS_QPT_UC);
	post(1, 10); /* no receive WQE: lost, and nobody knows */
	h_settle();
	expect(&a->scq, 1, 0);
	h_post_recv(b, 100, dst, 100, rkey);
	post(2, 100);
	h_settle();
	expect(&a->scq, 2, 0);
	expect(&b->rcq, 100, 0);
	h_post_send(a, &(struct h_wr){.opcode = IB_UVERBS_WR_SEND, .wr_id = 3, .addr = src,
				      .len = 10, .lkey = lkey + 1000});
	post(4, 10);
	h_settle();
	expect(&a->scq, 3, FF_WC_LOC_PROT_ERR);
	expect(&a->scq, 4, FF_WC_WR_FLUSH_ERR);
	CU_ASSERT_EQUAL(a->qp.attr.state, FF_QPS_SQE);
	h_set_state(a, FF_QPS_RTS);
	h_post_recv(b, 101, dst, 100, rkey);
	post(5, 10);
	h_settle();
	expect(&a->scq, 5, 0);
	expect(&b->rcq, 101, 0);
	teardown();
}

static void
run_ud(void)
{
	struct h_wr wr;

	setup(IB_UVERBS_QPT_UD);
	wr = (struct h_wr){.opcode = IB_UVERBS_WR_SEND_WITH_IMM, .wr_id = 1, .addr = src,
			   .len = 100, .lkey = lkey, .raddr = 2, .remote_qpn = b->qp.qpn,
			   .qkey = 0x11, .imm = 5};
	h_post_recv(b, 100, dst, 140, rkey);
	h_post_send(a, &wr);
	h_settle();
	expect(&a->scq, 1, 0);
	expect(&b->rcq, 100, 0);
	CU_ASSERT_EQUAL(b->rcq.wc[0].byte_len, 140);
	CU_ASSERT_EQUAL(b->rcq.wc[0].src_qp, a->qp.qpn);
	CU_ASSERT_TRUE(b->rcq.wc[0].wc_flags & FF_WC_GRH);
	CU_ASSERT_EQUAL(memcmp(dst + 40, src, 100), 0);
	/* Wrong qkey, wrong address, no room, no receive WQE: lost. */
	h_post_recv(b, 101, dst, 139, rkey);
	wr.qkey = 0x12;
	h_post_send(a, &wr);
	wr.qkey = 0x11;
	wr.raddr = 1;
	h_post_send(a, &wr);
	wr.raddr = 2;
	h_post_send(a, &wr);
	h_settle();
	CU_ASSERT_EQUAL(a->scq.n, 4);
	CU_ASSERT_PTR_NULL(h_wc(&b->rcq));
	CU_ASSERT_EQUAL(b->qp.attr.state, FF_QPS_RTS);
	wr.len = 99;
	h_post_send(a, &wr);
	h_settle();
	expect(&b->rcq, 101, 0);
	/* Multicast: all UD QPs that there are, the sender too. */
	h_post_recv(b, 102, dst, 200, rkey);
	h_post_recv(a, 103, src + 1000, 200, lkey);
	wr.raddr = 1000;
	wr.wr_id = 9;
	h_post_send(a, &wr);
	h_settle();
	expect(&b->rcq, 102, 0);
	expect(&a->rcq, 103, 0);
	CU_ASSERT_EQUAL(a->scq.n, 6);
	teardown();
}

static void
run_local_ops(void)
{
	setup(IB_UVERBS_QPT_RC);
	rdma(IB_UVERBS_WR_RDMA_WRITE, 1, LEN);
	h_post_send(a, &(struct h_wr){.opcode = IB_UVERBS_WR_BIND_MW, .wr_id = 2});
	h_post_recv(b, 100, dst, 10, rkey);
	h_post_send(a, &(struct h_wr){.opcode = IB_UVERBS_WR_SEND_WITH_INV, .wr_id = 3,
				      .addr = src, .len = 10, .lkey = lkey, .imm = 12});
	h_post_send(a, &(struct h_wr){.opcode = IB_UVERBS_WR_RDMA_WRITE, .flags = FF_SEND_FENCE,
				      .wr_id = 4, .addr = src, .len = 10, .lkey = lkey,
				      .raddr = (uint64_t)dst, .rkey = rkey});
	h_post_send(a, &(struct h_wr){.opcode = IB_UVERBS_WR_BIND_MW, .wr_id = 5, .len = 13});
	h_settle();
	for (unsigned i = 1; i <= 4; i++)
		expect(&a->scq, i, 0);
	expect(&a->scq, 5, FF_WC_MW_BIND_ERR);
	expect(&b->rcq, 100, 0);
	CU_ASSERT_EQUAL(b->rcq.wc[0].wc_flags, FF_WC_WITH_INV);
	teardown();
}

static void
run_hostile_wqe(void)
{
	setup(IB_UVERBS_QPT_RC);
	h_post_send(a, &(struct h_wr){.opcode = 200, .wr_id = 1});
	h_settle();
	expect(&a->scq, 1, FF_WC_LOC_QP_OP_ERR);
	teardown();

	setup(IB_UVERBS_QPT_RC);
	h_post_send(a, &(struct h_wr){.opcode = IB_UVERBS_WR_SEND, .wr_id = 1, .num_sge = 5});
	h_settle();
	expect(&a->scq, 1, FF_WC_LOC_QP_OP_ERR);
	teardown();

	setup(IB_UVERBS_QPT_RC);
	h_post_recv(b, 100, dst, 10, rkey);
	((struct rxe_recv_wqe *)b->qp.rq.data)->dma.num_sge = 0x80000000u;
	post(1, 10);
	h_settle();
	expect(&a->scq, 1, FF_WC_REM_OP_ERR);
	expect(&b->rcq, 100, FF_WC_LOC_QP_OP_ERR);
	teardown();
	/* Indices that jump: at most what the queue holds is looked at. */
	setup(IB_UVERBS_QPT_RC);
	a->qp.sq.buf->producer_index = 0xfffffff7;
	ff_nic_local.post(&a->qp);
	h_settle();
	CU_ASSERT_TRUE(a->scq.n <= 16);
	teardown();
}

/* A long WRITE of one QP and short ones of another share the pass. */
static void
run_fairness(void)
{
	struct h_qp *c, *d;
	uint8_t *big = malloc(8u << 20);
	uint32_t big_l, big_r, k1, k2;
	uint8_t x[2] = {1, 2}, y[2] = {0};

	setup(IB_UVERBS_QPT_RC);
	big_l = h_mr(a, big, 8u << 20, ALL, true);
	big_r = h_mr(b, big, 8u << 20, ALL, true);
	c = h_qp_new(IB_UVERBS_QPT_RC, 0, 0);
	d = h_qp_new(IB_UVERBS_QPT_RC, 1, worker_b);
	h_connect(c, d);
	k1 = h_mr(c, x, 2, ALL, true);
	k2 = h_mr(d, y, 2, ALL, true);
	h_post_send(a, &(struct h_wr){.opcode = IB_UVERBS_WR_RDMA_WRITE, .wr_id = 1, .addr = big,
				      .len = 8u << 20, .lkey = big_l, .raddr = (uint64_t)big,
				      .rkey = big_r});
	h_pass(0);
	h_pass(1);
	h_post_send(c, &(struct h_wr){.opcode = IB_UVERBS_WR_RDMA_WRITE, .wr_id = 2, .addr = x,
				      .len = 2, .lkey = k1, .raddr = (uint64_t)y, .rkey = k2});
	for (unsigned i = 0; i < 3; i++) {
		h_pass(0);
		h_pass(1);
	}
	CU_ASSERT_EQUAL(c->scq.n, 1);
	CU_ASSERT_EQUAL(a->scq.n, 0);
	h_settle();
	expect(&a->scq, 1, 0);
	h_qp_free(c);
	h_qp_free(d);
	h_mr_drop(big_l);
	h_mr_drop(big_r);
	h_mr_drop(k1);
	h_mr_drop(k2);
	teardown();
	free(big);
}

static void
run_loopback(void)
{
	setup(IB_UVERBS_QPT_RC);
	h_qp_free(b);
	b = a;
	rkey = lkey;
	h_set_state(a, FF_QPS_RESET);
	h_connect(a, a);
	h_post_recv(a, 100, src + 1000, 100, lkey);
	post(1, 100);
	h_settle();
	expect(&a->scq, 1, 0);
	expect(&a->rcq, 100, 0);
	CU_ASSERT_EQUAL(memcmp(src, src + 1000, 100), 0);
	post(2, 100);
	h_settle();
	h_set_state(a, FF_QPS_ERR);
	expect(&a->scq, 2, FF_WC_WR_FLUSH_ERR);
	b = h_qp_new(IB_UVERBS_QPT_RC, 1, worker_b);
	teardown();
}

#define CASES(X)                                                                                   \
	X(data) X(inline_and_order) X(rnr) X(retry) X(remote_errors) X(recv_errors) X(flush)       \
	X(vanish) X(sqd_reset) X(uc) X(ud) X(local_ops) X(hostile_wqe) X(fairness) X(loopback)

#define X(name)                                                                                    \
	static void name##_one_worker(void) { worker_b = 0; mapped = true; run_##name(); }         \
	static void name##_two_workers(void) { worker_b = 1; mapped = true; run_##name(); }
CASES(X)
#undef X

static void
data_process_vm(void)
{
	mapped = false;
	for (worker_b = 0; worker_b < 2; worker_b++) {
		run_data();
		run_ud();
		run_vanish();
		run_recv_errors();
		run_stuck_copier();
	}
	mapped = true;
}

int
main(void)
{
	CU_pSuite s;
	unsigned failed;

	if (h_init() || CU_initialize_registry())
		return 1;
	s = CU_add_suite("local engine", NULL, NULL);
#define X(name)                                                                                    \
	CU_add_test(s, #name " (one worker)", name##_one_worker);                                  \
	CU_add_test(s, #name " (two workers)", name##_two_workers);
	CASES(X)
#undef X
	CU_add_test(s, "process_vm", data_process_vm);
	CU_basic_set_mode(CU_BRM_VERBOSE);
	CU_basic_run_tests();
	failed = CU_get_number_of_tests_failed();
	CU_cleanup_registry();
	h_fini();
	return failed != 0;
}
