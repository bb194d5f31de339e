/* SPDX-License-Identifier: MIT */
/* Conformance: what goes wrong goes wrong as IBTA says, on the right side, with the right state. */
#include <arpa/inet.h>
#include <string.h>

#include "vt.h"

#define HALF   (vt_p.len / 2)
#define A(off) (vt_p.buf + (off))
#define B(off) (vt_p.buf + HALF + (off))
#define KEY    (vt_p.mr->lkey)

static void
expect_dead(struct ibv_qp *qp, struct ibv_cq *cq, uint64_t id, enum ibv_wc_status status)
{
	struct ibv_wc wc;

	CHECK(vt_poll(cq, &wc) == 1);
	if (wc.wr_id != id || wc.status != status)
		snprintf(vt_why, sizeof(vt_why), "wr %lu: %s, want wr %lu: %s",
			 (unsigned long)wc.wr_id, ibv_wc_status_str(wc.status), (unsigned long)id,
			 ibv_wc_status_str(status));
	else if (vt_state(qp) != IBV_QPS_ERR)
		snprintf(vt_why, sizeof(vt_why), "QP is in state %d, not ERR", vt_state(qp));
}
#define EXPECT_DEAD(...)                  \
	do {                              \
		expect_dead(__VA_ARGS__); \
		if (vt_why[0])            \
			return;           \
	} while (0)

static void
bad_lkey(void)
{
	CHECK(!vt_pair_open(&vt_p, &(struct vt_opts){0}));
	CHECK(!vt_send(vt_p.a, IBV_WR_SEND, 1, A(0), 10, KEY ^ 0x10000, NULL, 0, 0));
	CHECK(!vt_send(vt_p.a, IBV_WR_SEND, 2, A(0), 10, KEY, NULL, 0, 0));
	EXPECT_DEAD(vt_p.a, vt_p.acq, 1, IBV_WC_LOC_PROT_ERR);
	EXPECT_DEAD(vt_p.a, vt_p.acq, 2, IBV_WC_WR_FLUSH_ERR);
	CHECK(vt_state(vt_p.b) == IBV_QPS_RTS);
}

static void
sge_beyond_mr(void)
{
	CHECK(!vt_pair_open(&vt_p, &(struct vt_opts){0}));
	CHECK(!vt_send(vt_p.a, IBV_WR_RDMA_WRITE, 1, A(vt_p.len - 4), 8, KEY, B(0), vt_p.mr->rkey,
		       0));
	EXPECT_DEAD(vt_p.a, vt_p.acq, 1, IBV_WC_LOC_PROT_ERR);
}

static void
bad_rkey(void)
{
	static const enum ibv_wr_opcode ops[] = {IBV_WR_RDMA_WRITE, IBV_WR_RDMA_READ};

	for (unsigned i = 0; i < 2; i++) {
		CHECK(!vt_pair_open(&vt_p, &(struct vt_opts){0}));
		CHECK(!vt_recv(&vt_p, 9, B(0), 10));
		CHECK(!vt_send(vt_p.a, ops[i], 1, A(0), 10, KEY, B(0), vt_p.mr->rkey ^ 0x10000, 0));
		EXPECT_DEAD(vt_p.a, vt_p.acq, 1, IBV_WC_REM_ACCESS_ERR);
		EXPECT_DEAD(vt_p.b, vt_p.bcq, 9, IBV_WC_WR_FLUSH_ERR);
		CHECK(vt_async(IBV_EVENT_QP_ACCESS_ERR));
		vt_pair_close(&vt_p);
	}
}

static void
no_remote_right(void)
{
	struct ibv_mr *ro;

	CHECK(!vt_pair_open(&vt_p, &(struct vt_opts){0}));
	ro = ibv_reg_mr(vt.pd, B(0), 100, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ);
	CHECK(ro);
	CHECK(!vt_send(vt_p.a, IBV_WR_RDMA_READ, 1, A(0), 10, KEY, B(0), ro->rkey, 0));
	CHECK(vt_poll(vt_p.acq, &(struct ibv_wc){0}) == 1);
	CHECK(!vt_send(vt_p.a, IBV_WR_RDMA_WRITE, 2, A(0), 10, KEY, B(0), ro->rkey, 0));
	expect_dead(vt_p.a, vt_p.acq, 2, IBV_WC_REM_ACCESS_ERR);
	ibv_dereg_mr(ro);
}

/* A key of another PD is as good as none. */
static void
other_pd(void)
{
	struct ibv_pd *pd = ibv_alloc_pd(vt.ctx);
	struct ibv_mr *mr;

	CHECK(pd);
	CHECK(!vt_pair_open(&vt_p, &(struct vt_opts){0}));
	mr = ibv_reg_mr(pd, B(0), 100, VT_ACCESS);
	CHECK(mr);
	CHECK(!vt_send(vt_p.a, IBV_WR_RDMA_WRITE, 1, A(0), 10, KEY, B(0), mr->rkey, 0));
	expect_dead(vt_p.a, vt_p.acq, 1, IBV_WC_REM_ACCESS_ERR);
	ibv_dereg_mr(mr);
	ibv_dealloc_pd(pd);
}

static void
recv_too_small(void)
{
	CHECK(!vt_pair_open(&vt_p, &(struct vt_opts){0}));
	CHECK(!vt_recv(&vt_p, 9, B(0), 10));
	CHECK(!vt_send(vt_p.a, IBV_WR_SEND, 1, A(0), 11, KEY, NULL, 0, 0));
	EXPECT_DEAD(vt_p.a, vt_p.acq, 1, IBV_WC_REM_INV_REQ_ERR);
	EXPECT_DEAD(vt_p.b, vt_p.bcq, 9, IBV_WC_LOC_LEN_ERR);
}

static void
recv_bad_key(void)
{
	struct ibv_sge sge = {0, 10, 0};
	struct ibv_recv_wr wr = {.wr_id = 9, .sg_list = &sge, .num_sge = 1}, *bad;

	CHECK(!vt_pair_open(&vt_p, &(struct vt_opts){0}));
	sge = (struct ibv_sge){(uintptr_t)B(0), 10, KEY ^ 0x10000};
	CHECK(!ibv_post_recv(vt_p.b, &wr, &bad));
	CHECK(!vt_send(vt_p.a, IBV_WR_SEND, 1, A(0), 10, KEY, NULL, 0, 0));
	EXPECT_DEAD(vt_p.a, vt_p.acq, 1, IBV_WC_REM_OP_ERR);
	EXPECT_DEAD(vt_p.b, vt_p.bcq, 9, IBV_WC_LOC_PROT_ERR);
}

static void
misaligned_atomic(void)
{
	struct ibv_sge sge;
	struct ibv_send_wr wr = {.wr_id = 1,
				 .sg_list = &sge,
				 .num_sge = 1,
				 .opcode = IBV_WR_ATOMIC_FETCH_AND_ADD,
				 .send_flags = IBV_SEND_SIGNALED},
			   *bad;

	CHECK(!vt_pair_open(&vt_p, &(struct vt_opts){0}));
	sge = (struct ibv_sge){(uintptr_t)A(0), 8, KEY};
	wr.wr.atomic.remote_addr = (uintptr_t)B(4);
	wr.wr.atomic.rkey = vt_p.mr->rkey;
	if (ibv_post_send(vt_p.a, &wr, &bad)) { /* rdma-core 44's provider looks itself */
		CHECK(errno);
		return;
	}
	EXPECT_DEAD(vt_p.a, vt_p.acq, 1, IBV_WC_REM_INV_REQ_ERR);
}

static void
rnr_waits(void)
{
	struct ibv_wc wc;

	CHECK(!vt_pair_open(&vt_p, &(struct vt_opts){0}));
	CHECK(!vt_send(vt_p.a, IBV_WR_SEND, 1, A(0), 10, KEY, NULL, 0, 0));
	CHECK(vt_silent(vt_p.acq));
	CHECK(!vt_recv(&vt_p, 9, B(0), 10));
	CHECK(vt_poll(vt_p.acq, &wc) == 1 && wc.status == 0);
	CHECK(vt_poll(vt_p.bcq, &wc) == 1 && wc.status == 0 && wc.wr_id == 9);
}

static void
rnr_exceeded(void)
{
	CHECK(!vt_pair_open(&vt_p, &(struct vt_opts){.no_rnr_retry = true}));
	CHECK(!vt_send(vt_p.a, IBV_WR_SEND, 1, A(0), 10, KEY, NULL, 0, 0));
	EXPECT_DEAD(vt_p.a, vt_p.acq, 1, IBV_WC_RNR_RETRY_EXC_ERR);
	vt_pair_close(&vt_p);
	CHECK(!vt_pair_open(&vt_p, &(struct vt_opts){.rnr_retry = 3, .min_rnr_timer = 14}));
	CHECK(!vt_send(vt_p.a, IBV_WR_SEND, 1, A(0), 10, KEY, NULL, 0, 0));
	EXPECT_DEAD(vt_p.a, vt_p.acq, 1, IBV_WC_RNR_RETRY_EXC_ERR);
	CHECK(vt_state(vt_p.b) == IBV_QPS_RTS);
}

static void
peer_gone(void)
{
	CHECK(!vt_pair_open(&vt_p, &(struct vt_opts){.timeout = 10, .retry_cnt = 3}));
	CHECK(!ibv_destroy_qp(vt_p.b));
	vt_p.b = NULL;
	CHECK(!vt_send(vt_p.a, IBV_WR_SEND, 1, A(0), 10, KEY, NULL, 0, 0));
	CHECK(!vt_send(vt_p.a, IBV_WR_SEND, 2, A(0), 10, KEY, NULL, 0, 0));
	EXPECT_DEAD(vt_p.a, vt_p.acq, 1, IBV_WC_RETRY_EXC_ERR);
	EXPECT_DEAD(vt_p.a, vt_p.acq, 2, IBV_WC_WR_FLUSH_ERR);
}

static void
flush_both(void)
{
	struct ibv_wc wc;

	CHECK(!vt_pair_open(&vt_p, &(struct vt_opts){0}));
	for (unsigned i = 0; i < 20; i++)
		CHECK(!vt_send(vt_p.a, IBV_WR_SEND, i, A(0), 10, KEY, NULL, 0, 0));
	CHECK(vt_silent(vt_p.acq));
	CHECK(!vt_to_state(vt_p.a, IBV_QPS_ERR));
	for (unsigned i = 0; i < 20; i++) {
		CHECK(vt_poll(vt_p.acq, &wc) == 1);
		CHECK(wc.wr_id == i && wc.status == IBV_WC_WR_FLUSH_ERR);
	}
	CHECK(!vt_send(vt_p.a, IBV_WR_SEND, 20, A(0), 10, KEY, NULL, 0, 0));
	EXPECT_DEAD(vt_p.a, vt_p.acq, 20, IBV_WC_WR_FLUSH_ERR);
	CHECK(!vt_recv(&vt_p, 30, B(0), 10));
	CHECK(!vt_to_state(vt_p.b, IBV_QPS_ERR));
	CHECK(!vt_recv(&vt_p, 31, B(0), 10));
	EXPECT_DEAD(vt_p.b, vt_p.bcq, 30, IBV_WC_WR_FLUSH_ERR);
	EXPECT_DEAD(vt_p.b, vt_p.bcq, 31, IBV_WC_WR_FLUSH_ERR);
}

static void
query_attributes(void)
{
	struct ibv_qp_attr a = {.qp_state = IBV_QPS_RTS};
	struct ibv_qp_init_attr init;

	CHECK(!vt_pair_open(&vt_p, &(struct vt_opts){.timeout = 10, .retry_cnt = 1}));
	CHECK(!ibv_query_qp(vt_p.a, &a, IBV_QP_RQ_PSN, &init) && a.rq_psn == 0xfffff0);
	CHECK(a.path_mtu == IBV_MTU_1024 && a.dest_qp_num == vt_p.b->qp_num);
	CHECK(a.timeout == 10 && a.retry_cnt == 1 && a.rnr_retry == 7);
}

static void
cq_overrun(void)
{
	CHECK(!vt_pair_open(&vt_p, &(struct vt_opts){.cqe = 2, .max_wr = 256}));
	for (unsigned i = 0; i < 200; i++)
		CHECK(!vt_send(vt_p.a, IBV_WR_RDMA_WRITE, i, A(0), 10, KEY, B(0), vt_p.mr->rkey,
			       0));
	CHECK(vt_async(IBV_EVENT_CQ_ERR));
	CHECK(vt_async(IBV_EVENT_QP_FATAL));
	CHECK(vt_state(vt_p.a) == IBV_QPS_ERR);
}

static void
reset_and_reuse(void)
{
	CHECK(!vt_pair_open(&vt_p, &(struct vt_opts){0}));
	CHECK(!vt_send(vt_p.a, IBV_WR_SEND, 1, A(0), 10, KEY, NULL, 0, 0));
	CHECK(!vt_recv(&vt_p, 9, B(0), 10));
	CHECK(!vt_to_state(vt_p.a, IBV_QPS_RESET));
	CHECK(!vt_to_state(vt_p.b, IBV_QPS_RESET));
	CHECK(vt_state(vt_p.a) == IBV_QPS_RESET);
	CHECK(vt_to_state(vt_p.a, IBV_QPS_RTS)); /* not from here */
	CHECK(errno == EINVAL);
}

void
vt_error_cases(void)
{
	vt_run("bad_lkey", bad_lkey);
	vt_run("sge_beyond_mr", sge_beyond_mr);
	vt_run("bad_rkey", bad_rkey);
	vt_run("no_remote_right", no_remote_right);
	vt_run("other_pd", other_pd);
	vt_run("recv_too_small", recv_too_small);
	vt_run("recv_bad_key", recv_bad_key);
	vt_run("misaligned_atomic", misaligned_atomic);
	vt_run("rnr_waits", rnr_waits);
	vt_run("rnr_exceeded", rnr_exceeded);
	vt_run("peer_gone", peer_gone);
	vt_run("flush_both", flush_both);
	vt_run("query_attributes", query_attributes);
	vt_run("cq_overrun", cq_overrun);
	vt_run("reset_and_reuse", reset_and_reuse);
}
