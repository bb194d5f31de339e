/* SPDX-License-Identifier: MIT */
/* Conformance: the objects' rules: windows, resize, re-registration, busy, limits, extended CQs. */
#include <string.h>
#include <sys/mman.h>

#include "vt.h"

#define HALF   (vt_p.len / 2)
#define A(off) (vt_p.buf + (off))
#define B(off) (vt_p.buf + HALF + (off))
#define KEY    (vt_p.mr->lkey)

static int
write_b(uint64_t id, size_t off, uint32_t len, uint32_t rkey)
{
	struct ibv_wc wc;

	if (vt_send(vt_p.a, IBV_WR_RDMA_WRITE, id, A(0), len, KEY, B(off), rkey, 0) ||
	    vt_poll(vt_p.acq, &wc) != 1 || wc.wr_id != id)
		return -1;
	return wc.status;
}

static void
mw_type1(void)
{
	struct ibv_mw_bind bind = {.wr_id = 5, .send_flags = IBV_SEND_SIGNALED};
	struct ibv_mw *mw;
	struct ibv_wc wc;

	CHECK(!vt_pair_open(&vt_p, &(struct vt_opts){0}));
	mw = ibv_alloc_mw(vt.pd, IBV_MW_TYPE_1);
	CHECK(mw);
	bind.bind_info = (struct ibv_mw_bind_info){.mr = vt_p.mr,
						   .addr = (uintptr_t)B(100),
						   .length = 50,
						   .mw_access_flags = IBV_ACCESS_REMOTE_WRITE};
	CHECK(!ibv_bind_mw(vt_p.b, mw, &bind));
	CHECK(vt_poll(vt_p.bcq, &wc) == 1 && wc.status == 0 && wc.wr_id == 5);
	CHECK(wc.opcode == IBV_WC_BIND_MW);
	CHECK(write_b(1, 100, 50, mw->rkey) == IBV_WC_SUCCESS);
	CHECK(ibv_dereg_mr(vt_p.mr) && errno == EBUSY);
	CHECK(write_b(2, 100, 51, mw->rkey) == IBV_WC_REM_ACCESS_ERR);
	CHECK(!ibv_dealloc_mw(mw));
}

static int
post_mw2(struct ibv_mw *mw, uint32_t rkey, size_t off, uint32_t len, enum ibv_wr_opcode op)
{
	struct ibv_send_wr wr = {.wr_id = 7, .opcode = op, .send_flags = IBV_SEND_SIGNALED}, *bad;
	struct ibv_wc wc;

	if (op == IBV_WR_BIND_MW) {
		wr.bind_mw.mw = mw;
		wr.bind_mw.rkey = rkey;
		wr.bind_mw.bind_info = (struct ibv_mw_bind_info){
			.mr = vt_p.mr,
			.addr = (uintptr_t)B(off),
			.length = len,
			.mw_access_flags = IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ};
	} else {
		wr.invalidate_rkey = rkey;
	}
	if (ibv_post_send(vt_p.b, &wr, &bad) || vt_poll(vt_p.bcq, &wc) != 1 || wc.wr_id != 7)
		return -1;
	return wc.status;
}

static void
mw_type2(void)
{
	struct ibv_mw *mw;
	uint32_t k1, k2;

	CHECK(!vt_pair_open(&vt_p, &(struct vt_opts){0}));
	mw = ibv_alloc_mw(vt.pd, IBV_MW_TYPE_2);
	CHECK(mw);
	k1 = ibv_inc_rkey(mw->rkey);
	CHECK(post_mw2(mw, k1, 0, 64, IBV_WR_BIND_MW) == IBV_WC_SUCCESS);
	CHECK(write_b(1, 0, 64, k1) == IBV_WC_SUCCESS);
	CHECK(post_mw2(mw, k1, 0, 0, IBV_WR_LOCAL_INV) == IBV_WC_SUCCESS);
	k2 = ibv_inc_rkey(k1);
	CHECK(post_mw2(mw, k2, 64, 64, IBV_WR_BIND_MW) == IBV_WC_SUCCESS);
	CHECK(write_b(2, 64, 64, k2) == IBV_WC_SUCCESS);
	CHECK(write_b(3, 0, 64, k1) == IBV_WC_REM_ACCESS_ERR);
	CHECK(!ibv_dealloc_mw(mw));
}

/* SEND with invalidate takes a type 2 window away. */
static void
send_with_inv(void)
{
	struct ibv_send_wr wr = {.wr_id = 3,
				 .opcode = IBV_WR_SEND_WITH_INV,
				 .send_flags = IBV_SEND_SIGNALED},
			   *bad;
	struct ibv_mw *mw;
	struct ibv_wc wc;
	uint32_t k;

	CHECK(!vt_pair_open(&vt_p, &(struct vt_opts){0}));
	mw = ibv_alloc_mw(vt.pd, IBV_MW_TYPE_2);
	CHECK(mw);
	k = ibv_inc_rkey(mw->rkey);
	CHECK(post_mw2(mw, k, 0, 64, IBV_WR_BIND_MW) == IBV_WC_SUCCESS);
	CHECK(!vt_recv(&vt_p, 9, NULL, 0));
	wr.invalidate_rkey = k;
	CHECK(!ibv_post_send(vt_p.a, &wr, &bad));
	CHECK(vt_poll(vt_p.bcq, &wc) == 1 && wc.status == 0 && wc.wr_id == 9);
	CHECK((wc.wc_flags & IBV_WC_WITH_INV) && wc.invalidated_rkey == k);
	CHECK(vt_poll(vt_p.acq, &wc) == 1 && wc.status == 0);
	CHECK(write_b(4, 0, 8, k) == IBV_WC_REM_ACCESS_ERR);
	CHECK(!ibv_dealloc_mw(mw));
}

static void
resize_cq(void)
{
	struct ibv_wc wc;

	CHECK(!vt_pair_open(&vt_p, &(struct vt_opts){.cqe = 16, .max_wr = 256}));
	for (unsigned i = 0; i < 10; i++)
		CHECK(!vt_send(vt_p.a, IBV_WR_RDMA_WRITE, i, A(0), 8, KEY, B(0), vt_p.mr->rkey, 0));
	for (unsigned i = 0; i < 3; i++)
		CHECK(vt_poll(vt_p.acq, &wc) == 1 && wc.wr_id == i);
	CHECK(!ibv_resize_cq(vt_p.acq, 500) && vt_p.acq->cqe >= 500);
	for (unsigned i = 10; i < 200; i++)
		CHECK(!vt_send(vt_p.a, IBV_WR_RDMA_WRITE, i, A(0), 8, KEY, B(0), vt_p.mr->rkey, 0));
	for (unsigned i = 3; i < 200; i++)
		CHECK(vt_poll(vt_p.acq, &wc) == 1 && wc.wr_id == i && wc.status == 0);
	CHECK(!ibv_resize_cq(vt_p.acq, 20));
	CHECK(write_b(1000, 0, 8, vt_p.mr->rkey) == IBV_WC_SUCCESS);
}

static void
resize_srq(void)
{
	struct ibv_srq_attr attr = {.max_wr = 200};
	struct ibv_wc wc;

	CHECK(!vt_pair_open(&vt_p, &(struct vt_opts){.srq = true}));
	for (unsigned i = 0; i < 40; i++)
		CHECK(!vt_recv(&vt_p, i, B(0), 8));
	CHECK(!ibv_modify_srq(vt_p.srq, &attr, IBV_SRQ_MAX_WR));
	for (unsigned i = 40; i < 150; i++)
		CHECK(!vt_recv(&vt_p, i, B(0), 8));
	for (unsigned i = 0; i < 150; i++) {
		CHECK(!vt_send(vt_p.a, IBV_WR_SEND, i, A(0), 8, KEY, NULL, 0, 0));
		CHECK(vt_poll(vt_p.bcq, &wc) == 1 && wc.status == 0 && wc.wr_id == i);
		CHECK(vt_poll(vt_p.acq, &wc) == 1);
	}
}

static void
rereg_mr(void)
{
	CHECK(!vt_pair_open(&vt_p, &(struct vt_opts){0}));
	CHECK(write_b(1, 0, 64, vt_p.mr->rkey) == IBV_WC_SUCCESS);
	errno = 0;
	if (ibv_rereg_mr(vt_p.mr, IBV_REREG_MR_CHANGE_TRANSLATION, NULL, A(0), HALF, 0)) {
		CHECK(errno == EOPNOTSUPP);
		snprintf(vt_skip, sizeof(vt_skip), "this rdma-core's rxe provider has no rereg_mr");
		return;
	}
	CHECK(write_b(2, 0, 64, vt_p.mr->rkey) == IBV_WC_REM_ACCESS_ERR);
}

static void
busy(void)
{
	struct ibv_pd *pd = vt.pd;

	CHECK(!vt_pair_open(&vt_p, &(struct vt_opts){.srq = true}));
	CHECK(ibv_dealloc_pd(pd) == EBUSY);
	CHECK(ibv_destroy_cq(vt_p.acq) == EBUSY);
	CHECK(ibv_destroy_srq(vt_p.srq) == EBUSY);
	CHECK(write_b(1, 0, 8, vt_p.mr->rkey) == IBV_WC_SUCCESS);
}

static void
bad_registrations(void)
{
	void *ro = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct ibv_mr *mr;

	errno = 0;
	CHECK(!ibv_reg_mr(vt.pd, (void *)0x10000, 4096, IBV_ACCESS_LOCAL_WRITE));
	CHECK(errno == EFAULT);
	CHECK(!ibv_reg_mr(vt.pd, ro, 4096, IBV_ACCESS_LOCAL_WRITE) && errno == EFAULT);
	mr = ibv_reg_mr(vt.pd, ro, 4096, 0);
	CHECK(mr && !ibv_dereg_mr(mr));
	CHECK(!ibv_reg_mr(vt.pd, ro, 4096, IBV_ACCESS_REMOTE_WRITE) && errno == EINVAL);
	munmap(ro, 4096);
}

static void
bad_creations(void)
{
	struct ibv_cq *cq = ibv_create_cq(vt.ctx, 10, NULL, NULL, 0);
	struct ibv_qp_init_attr a = {.send_cq = cq,
				     .recv_cq = cq,
				     .qp_type = IBV_QPT_RC,
				     .cap = {.max_send_wr = 1u << 20,
					     .max_recv_wr = 1,
					     .max_send_sge = 1,
					     .max_recv_sge = 1}};
	struct ibv_qp *qp;

	CHECK(cq);
	CHECK(!ibv_create_qp(vt.pd, &a) && errno == EINVAL);
	a.cap.max_send_wr = 1;
	a.cap.max_send_sge = 100;
	CHECK(!ibv_create_qp(vt.pd, &a) && errno == EINVAL);
	a.cap.max_send_sge = 1;
	qp = ibv_create_qp(vt.pd, &a);
	CHECK(qp && !ibv_destroy_qp(qp));
	CHECK(!ibv_destroy_cq(cq));
	CHECK(!ibv_create_cq(vt.ctx, 1 << 24, NULL, NULL, 0) && errno == EINVAL);
}

static void
extended_cq(void)
{
	struct ibv_cq_init_attr_ex ca = {.cqe = 64,
					 .wc_flags = IBV_WC_EX_WITH_BYTE_LEN | IBV_WC_EX_WITH_IMM};
	struct ibv_poll_cq_attr pa = {0};
	struct ibv_cq_ex *cq = ibv_create_cq_ex(vt.ctx, &ca);
	struct ibv_qp_init_attr_ex qa;
	struct ibv_qp *qp;

	CHECK(cq);
	CHECK(ibv_start_poll(cq, &pa) == ENOENT);
	qa = (struct ibv_qp_init_attr_ex){
		.send_cq = ibv_cq_ex_to_cq(cq),
		.recv_cq = ibv_cq_ex_to_cq(cq),
		.qp_type = IBV_QPT_RC,
		.pd = vt.pd,
		.comp_mask = IBV_QP_INIT_ATTR_PD | IBV_QP_INIT_ATTR_SEND_OPS_FLAGS,
		.send_ops_flags = IBV_QP_EX_WITH_SEND | IBV_QP_EX_WITH_RDMA_WRITE,
		.cap = {.max_send_wr = 4, .max_recv_wr = 4, .max_send_sge = 1, .max_recv_sge = 1}};
	qp = ibv_create_qp_ex(vt.ctx, &qa);
	CHECK(qp && ibv_qp_to_qp_ex(qp));
	CHECK(!ibv_destroy_qp(qp));
	CHECK(!ibv_destroy_cq(ibv_cq_ex_to_cq(cq)));
}

static void
device_attributes(void)
{
	struct ibv_device_attr_ex ex;
	struct ibv_device_attr d;
	struct ibv_port_attr p;

	CHECK(!ibv_query_device(vt.ctx, &d) && d.vendor_id != 0 && d.max_qp > 1000);
	CHECK(d.max_qp_wr >= 16384 && d.max_sge >= 32 && d.phys_port_cnt == 1);
	CHECK(!ibv_query_device_ex(vt.ctx, NULL, &ex) && ex.orig_attr.max_qp == d.max_qp);
	CHECK(!ibv_query_port(vt.ctx, 1, &p) && p.state == IBV_PORT_ACTIVE);
	CHECK(p.link_layer == IBV_LINK_LAYER_ETHERNET && p.max_msg_sz >= 1u << 30);
	CHECK(ibv_query_port(vt.ctx, 2, &p));
}

void
vt_object_cases(void)
{
	vt_run("mw_type1", mw_type1);
	vt_run("mw_type2", mw_type2);
	vt_run("send_with_inv", send_with_inv);
	vt_run("resize_cq", resize_cq);
	vt_run("resize_srq", resize_srq);
	vt_run("rereg_mr", rereg_mr);
	vt_run("busy", busy);
	vt_run("bad_registrations", bad_registrations);
	vt_run("bad_creations", bad_creations);
	vt_run("extended_cq", extended_cq);
	vt_run("device_attributes", device_attributes);
}
