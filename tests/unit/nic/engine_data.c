/* SPDX-License-Identifier: MIT */
/* Engine cases: what arrives, in which order, with which completions. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <CUnit/Basic.h>

#include "engine_cases.h"

void
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
	h_post_send(a, &(struct h_wr){.opcode = IB_UVERBS_WR_ATOMIC_FETCH_AND_ADD,
				      .wr_id = 4,
				      .addr = src,
				      .len = 8,
				      .lkey = lkey,
				      .raddr = (uint64_t)dst,
				      .rkey = rkey,
				      .compare_add = 2});
	h_post_send(a, &(struct h_wr){.opcode = IB_UVERBS_WR_ATOMIC_CMP_AND_SWP,
				      .wr_id = 5,
				      .addr = src + 8,
				      .len = 8,
				      .lkey = lkey,
				      .raddr = (uint64_t)dst,
				      .rkey = rkey,
				      .compare_add = 42,
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

void
run_inline_and_order(void)
{
	uint8_t small[72];

	setup(IB_UVERBS_QPT_RC);
	fill(small, 64, 5);
	for (unsigned i = 0; i < 12; i++)
		h_post_recv(b, 200 + i, dst + i * 64, 64, rkey);
	for (unsigned i = 0; i < 12; i++)
		h_post_send(a, &(struct h_wr){.opcode = IB_UVERBS_WR_SEND,
					      .wr_id = i,
					      .addr = small,
					      .len = 64,
					      .flags = FF_SEND_INLINE | FF_SEND_SOLICITED});
	h_settle();
	for (unsigned i = 0; i < 12; i++) {
		expect(&a->scq, i, 0);
		expect(&b->rcq, 200 + i, 0);
		CU_ASSERT_EQUAL(memcmp(dst + i * 64, small, 64), 0);
	}
	CU_ASSERT_TRUE(b->rcq.solicited[0]);
	/* Longer than max_inline: this one fails, the QP is in error. */
	h_post_send(a, &(struct h_wr){.opcode = IB_UVERBS_WR_SEND,
				      .wr_id = 50,
				      .addr = small,
				      .len = 65,
				      .flags = FF_SEND_INLINE});
	post(51, 8);
	h_settle();
	expect(&a->scq, 50, FF_WC_LOC_QP_OP_ERR);
	expect(&a->scq, 51, FF_WC_WR_FLUSH_ERR);
	CU_ASSERT_EQUAL(a->qp.attr.state, FF_QPS_ERR);
	teardown();
}

void
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
	h_post_send(a, &(struct h_wr){.opcode = IB_UVERBS_WR_SEND,
				      .wr_id = 3,
				      .addr = src,
				      .len = 10,
				      .lkey = lkey + 1000});
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

void
run_ud(void)
{
	struct h_wr wr;

	setup(IB_UVERBS_QPT_UD);
	wr = (struct h_wr){.opcode = IB_UVERBS_WR_SEND_WITH_IMM,
			   .wr_id = 1,
			   .addr = src,
			   .len = 100,
			   .lkey = lkey,
			   .raddr = 2,
			   .remote_qpn = b->qp.qpn,
			   .qkey = 0x11,
			   .imm = 5};
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

void
run_local_ops(void)
{
	setup(IB_UVERBS_QPT_RC);
	rdma(IB_UVERBS_WR_RDMA_WRITE, 1, LEN);
	h_post_send(a, &(struct h_wr){.opcode = IB_UVERBS_WR_BIND_MW, .wr_id = 2});
	h_post_recv(b, 100, dst, 10, rkey);
	h_post_send(a, &(struct h_wr){.opcode = IB_UVERBS_WR_SEND_WITH_INV,
				      .wr_id = 3,
				      .addr = src,
				      .len = 10,
				      .lkey = lkey,
				      .imm = 12});
	h_post_send(a, &(struct h_wr){.opcode = IB_UVERBS_WR_RDMA_WRITE,
				      .flags = FF_SEND_FENCE,
				      .wr_id = 4,
				      .addr = src,
				      .len = 10,
				      .lkey = lkey,
				      .raddr = (uint64_t)dst,
				      .rkey = rkey});
	h_post_send(a, &(struct h_wr){.opcode = IB_UVERBS_WR_BIND_MW, .wr_id = 5, .len = 13});
	h_settle();
	for (unsigned i = 1; i <= 4; i++)
		expect(&a->scq, i, 0);
	expect(&a->scq, 5, FF_WC_MW_BIND_ERR);
	expect(&b->rcq, 100, 0);
	CU_ASSERT_EQUAL(b->rcq.wc[0].wc_flags, FF_WC_WITH_INV);
	teardown();
}

void
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
void
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
	h_post_send(a, &(struct h_wr){.opcode = IB_UVERBS_WR_RDMA_WRITE,
				      .wr_id = 1,
				      .addr = big,
				      .len = 8u << 20,
				      .lkey = big_l,
				      .raddr = (uint64_t)big,
				      .rkey = big_r});
	h_pass(0);
	h_pass(1);
	h_post_send(c, &(struct h_wr){.opcode = IB_UVERBS_WR_RDMA_WRITE,
				      .wr_id = 2,
				      .addr = x,
				      .len = 2,
				      .lkey = k1,
				      .raddr = (uint64_t)y,
				      .rkey = k2});
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

void
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
