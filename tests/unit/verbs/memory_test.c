/* SPDX-License-Identifier: MIT */
/* Memory regions and windows: registration, keys, binding rules. */
#include <errno.h>
#include <string.h>

#include "harness.h"

#define LW IBV_ACCESS_LOCAL_WRITE
#define RW IBV_ACCESS_REMOTE_WRITE
#define RR IBV_ACCESS_REMOTE_READ
#define RA IBV_ACCESS_REMOTE_ATOMIC
#define MB IBV_ACCESS_MW_BIND
#define ZB IBV_ACCESS_ZERO_BASED

static struct ff_mr *mr_out;
static uint64_t off_out;

static int
local(const struct ff_mr *mr, uint32_t key, uint64_t va, uint64_t len, uint32_t want)
{
	return ff_key_check_local(mr->pd_id, key, va, len, want, &mr_out, &off_out);
}

static int
reg(uint32_t pd, uint64_t start, uint64_t len, uint64_t iova, uint32_t access)
{
	struct ib_uverbs_reg_mr req = {.start = start,
				       .length = len,
				       .hca_va = iova,
				       .pd_handle = pd,
				       .access_flags = access};

	return command(IB_USER_VERBS_CMD_REG_MR, &req, sizeof(req),
		       sizeof(struct ib_uverbs_reg_mr_resp));
}

static void
test_reg(void)
{
	uint32_t pd, h, key;
	struct ff_mr *mr;

	world_open();
	pd = make_pd();
	h = make_mr(pd, 0x10010, 5000, LW | RR, &key);
	mr = mr_of(h);
	CU_ASSERT_EQUAL(w.c.used[FF_QUOTA_MRS], 1);
	CU_ASSERT_EQUAL(w.c.used[FF_QUOTA_PINNED], 8192);
	CU_ASSERT_TRUE(w.umem_write);
	CU_ASSERT_EQUAL(w.mrs, 1);
	CU_ASSERT_EQUAL(local(mr, key, 0x10010, 5000, LW), 0);
	CU_ASSERT_PTR_EQUAL(mr_out, mr);
	CU_ASSERT_EQUAL(off_out, 0);
	CU_ASSERT_EQUAL(local(mr, key, 0x10011, 1, 0), 0);
	CU_ASSERT_EQUAL(off_out, 1);
	CU_ASSERT_EQUAL(local(mr, key, 0x1000f, 1, 0), -ERANGE);
	CU_ASSERT_EQUAL(local(mr, key, 0x10011, 5000, 0), -ERANGE);
	CU_ASSERT_EQUAL(local(mr, key, 0x10010 + 5000, 1, 0), -ERANGE);
	CU_ASSERT_EQUAL(local(mr, key, UINT64_MAX, 2, 0), -ERANGE);
	CU_ASSERT_EQUAL(local(mr, key, 0x10010, UINT64_MAX, 0), -ERANGE);
	CU_ASSERT_EQUAL(local(mr, key ^ 1, 0x10010, 1, 0), -EACCES);
	CU_ASSERT_EQUAL(local(mr, key ^ 0x100, 0x10010, 1, 0), -EACCES);
	/* Nothing at all needs no key. */
	CU_ASSERT_EQUAL(local(mr, 0, 0, 0, LW), 0);
	CU_ASSERT_PTR_NULL(mr_out);
	CU_ASSERT_EQUAL(ff_key_check_local(mr->pd_id + 1, key, 0x10010, 1, 0, &mr_out, &off_out),
			-EACCES);
	CU_ASSERT_EQUAL(ff_key_check_remote(mr->pd_id, 5, key, 0x10010, 8, RR, &mr_out, &off_out),
			0);
	CU_ASSERT_EQUAL(ff_key_check_remote(mr->pd_id, 5, key, 0x10010, 8, RW, &mr_out, &off_out),
			-EACCES);
	CU_ASSERT(destroy(IB_USER_VERBS_CMD_DEREG_MR, h) > 0);
	CU_ASSERT_EQUAL(destroy(IB_USER_VERBS_CMD_DEREG_MR, h), -ENOENT);
	CU_ASSERT_EQUAL(w.c.used[FF_QUOTA_PINNED], 0);
	world_close();
}

static void
test_reg_refused(void)
{
	uint32_t pd;

	world_open();
	pd = make_pd();
	CU_ASSERT_EQUAL(reg(pd + 1, 0x1000, 4096, 0x1000, 0), -EINVAL);
	CU_ASSERT_EQUAL(reg(pd, 0x1000, 4096, 0x1001, 0), -EINVAL);
	CU_ASSERT(reg(pd, 0x1008, 4096, 0x7008, 0) > 0);
	CU_ASSERT_EQUAL(reg(pd, 0x1000, 0, 0x1000, 0), -EINVAL);
	CU_ASSERT_EQUAL(reg(pd, 0x1000, UINT64_MAX, 0x1000, 0), -EINVAL);
	CU_ASSERT_EQUAL(reg(pd, UINT64_MAX - 4095, 4095, UINT64_MAX - 4095, 0), -EINVAL);
	CU_ASSERT_EQUAL(reg(pd, 0x1000, 8192, UINT64_MAX - 4095, 0), -EINVAL);
	CU_ASSERT_EQUAL(reg(pd, 0x1000, 4096, 0x1000, RW), -EINVAL);
	CU_ASSERT_EQUAL(reg(pd, 0x1000, 4096, 0x1000, RA), -EINVAL);
	CU_ASSERT(reg(pd, 0x1000, 4096, 0x1000, RR) > 0);
	CU_ASSERT_FALSE(w.umem_write);
	CU_ASSERT_EQUAL(reg(pd, 0x1000, 4096, 0x1000, 1u << 6), -EOPNOTSUPP); /* on demand */
	CU_ASSERT_EQUAL(reg(pd, 0x1000, 4096, 0x1000, 1u << 12), -EINVAL);
	CU_ASSERT(reg(pd, 0x1000, 4096, 0x1000, 1u << 20) > 0); /* relaxed ordering: a hint */
	w.umem_rc = -EFAULT;
	CU_ASSERT_EQUAL(reg(pd, 0x1000, 4096, 0x1000, 0), -EFAULT);
	w.umem_rc = 0;
	w.mr_reg_rc = -ENOSPC;
	CU_ASSERT_EQUAL(reg(pd, 0x1000, 4096, 0x1000, 0), -ENOSPC);
	w.mr_reg_rc = 0;
	w.c.limits[FF_QUOTA_PINNED] = w.c.used[FF_QUOTA_PINNED] + 4096;
	CU_ASSERT_EQUAL(reg(pd, 0x1fff, 2, 0x1fff, 0), -ENOMEM);
	CU_ASSERT(reg(pd, 0x1000, 4096, 0x1000, 0) > 0);
	w.c.limits[FF_QUOTA_MRS] = w.c.used[FF_QUOTA_MRS];
	CU_ASSERT_EQUAL(reg(pd, 0x1000, 1, 0x1000, 0), -ENOMEM);
	world_close();
}

static void
test_zero_based(void)
{
	uint32_t pd, key;
	struct ff_mr *mr;

	world_open();
	pd = make_pd();
	mr = mr_of(make_mr(pd, 0x10010, 100, RR | ZB, &key));
	CU_ASSERT_EQUAL(local(mr, key, 0, 100, 0), 0);
	CU_ASSERT_EQUAL(local(mr, key, 99, 1, 0), 0);
	CU_ASSERT_EQUAL(off_out, 99);
	CU_ASSERT_EQUAL(local(mr, key, 100, 1, 0), -ERANGE);
	CU_ASSERT_EQUAL(local(mr, key, 0x10010, 1, 0), -ERANGE);
	world_close();
}

static int
rereg(const struct ib_uverbs_rereg_mr *req, uint32_t *key)
{
	int rc = command(IB_USER_VERBS_CMD_REREG_MR, req, sizeof(*req),
			 sizeof(struct ib_uverbs_rereg_mr_resp));

	if (rc > 0)
		memcpy(key, w.out, sizeof(*key));
	return rc;
}

static void
test_rereg(void)
{
	uint32_t pd, pd2, h, key, new = 0;
	struct ff_mr *mr;

	world_open();
	pd = make_pd();
	pd2 = make_pd();
	h = make_mr(pd, 0x10000, 4096, 0, &key);
	CU_ASSERT_EQUAL(rereg(&(struct ib_uverbs_rereg_mr){.mr_handle = h}, &new), -EINVAL);
	CU_ASSERT_EQUAL(rereg(&(struct ib_uverbs_rereg_mr){.mr_handle = h, .flags = 8}, &new),
			-EOPNOTSUPP);
	CU_ASSERT_EQUAL(rereg(&(struct ib_uverbs_rereg_mr){.mr_handle = h + 1, .flags = 4}, &new),
			-ENOENT);
	CU_ASSERT_EQUAL(
		rereg(&(struct ib_uverbs_rereg_mr){.mr_handle = h, .flags = 2, .pd_handle = 99},
		      &new),
		-EINVAL);
	/* Rights that need no other look at the memory. */
	CU_ASSERT(
		rereg(&(struct ib_uverbs_rereg_mr){.mr_handle = h, .flags = 4, .access_flags = RR},
		      &new) > 0);
	mr = mr_of(h);
	CU_ASSERT_EQUAL(local(mr, key, 0x10000, 1, 0), -EACCES);
	CU_ASSERT_EQUAL(local(mr, new, 0x10000, 4096, RR), 0);
	CU_ASSERT_EQUAL(w.umems, 1);
	CU_ASSERT_EQUAL(w.mrs, 1);
	/* Writing needs one. */
	CU_ASSERT(
		rereg(&(struct ib_uverbs_rereg_mr){.mr_handle = h, .flags = 4, .access_flags = LW},
		      &key) > 0);
	CU_ASSERT_TRUE(w.umem_write);
	CU_ASSERT_EQUAL(w.umems, 1);
	/* Another PD, another place. */
	CU_ASSERT(rereg(&(struct ib_uverbs_rereg_mr){.mr_handle = h,
						     .flags = 3,
						     .pd_handle = pd2,
						     .start = 0x20000,
						     .length = 10000,
						     .hca_va = 0x50000},
			&key) > 0);
	mr = mr_of(h);
	CU_ASSERT_EQUAL(local(mr, key, 0x50000, 10000, LW), 0);
	CU_ASSERT_EQUAL(w.c.used[FF_QUOTA_PINNED], 12288);
	CU_ASSERT_EQUAL(w.c.used[FF_QUOTA_MRS], 1);
	CU_ASSERT(dealloc_pd(pd) > 0);
	CU_ASSERT_EQUAL(dealloc_pd(pd2), -EBUSY);
	/* A failure leaves it as it was. */
	w.umem_rc = -EFAULT;
	CU_ASSERT_EQUAL(rereg(&(struct ib_uverbs_rereg_mr){.mr_handle = h,
							   .flags = 1,
							   .start = 0x1000,
							   .length = 1,
							   .hca_va = 0x1000},
			      &new),
			-EFAULT);
	CU_ASSERT_EQUAL(local(mr, key, 0x50000, 10000, LW), 0);
	world_close();
}

/* ---- windows ---- */

struct bed {
	uint32_t pd, mr_h, lkey;
	struct ff_qp *qp, *qp2;
	struct ff_mr *mr;
};

static struct bed
bed_make(void)
{
	struct bed b;
	uint32_t cq;

	world_open();
	b.pd = make_pd();
	cq = make_cq(4, -1);
	b.qp = qp_of(make_qp(b.pd, cq, IBV_QPT_RC).qp_handle);
	b.qp2 = qp_of(make_qp(b.pd, cq, IBV_QPT_RC).qp_handle);
	b.mr_h = make_mr(b.pd, 0x10000, 0x4000, LW | RR | MB, &b.lkey);
	b.mr = mr_of(b.mr_h);
	return b;
}

static int
bind_mw(struct ff_qp *qp, uint32_t lkey, uint32_t rkey, uint64_t addr, uint64_t len,
	uint32_t access)
{
	struct ff_mw_bind b = {.addr = addr,
			       .length = len,
			       .mr_lkey = lkey,
			       .mw_rkey = rkey,
			       .rkey = (rkey & ~0xffu) | ((rkey + 1) & 0xff),
			       .access = access};

	return ff_mw_bind(qp, &b);
}

static uint32_t
next_key(uint32_t rkey)
{
	return (rkey & ~0xffu) | ((rkey + 1) & 0xff);
}

static int
remote(const struct ff_qp *qp, uint32_t rkey, uint64_t va, uint64_t len, uint32_t want)
{
	return ff_key_check_remote(qp->pd->id, qp->qpn, rkey, va, len, want, &mr_out, &off_out);
}

static void
test_mw_type1(void)
{
	struct bed b = bed_make();
	uint32_t rkey, k1, h = make_mw(b.pd, IBV_MW_TYPE_1, &rkey);

	CU_ASSERT_EQUAL(remote(b.qp, rkey, 0x10000, 1, RR), -EACCES); /* bound to nothing */
	CU_ASSERT_EQUAL(bind_mw(b.qp, b.lkey, rkey, 0x11000, 0x100, RR | RW), 0);
	k1 = next_key(rkey);
	CU_ASSERT_EQUAL(b.mr->mws, 1);
	CU_ASSERT_EQUAL(remote(b.qp, rkey, 0x11000, 1, RR), -EACCES);
	CU_ASSERT_EQUAL(remote(b.qp, k1, 0x11000, 0x100, RR), 0);
	CU_ASSERT_EQUAL(off_out, 0x1000);
	CU_ASSERT_PTR_EQUAL(mr_out, b.mr);
	CU_ASSERT_EQUAL(remote(b.qp2, k1, 0x110ff, 1, RW), 0); /* any QP of the PD */
	CU_ASSERT_EQUAL(remote(b.qp, k1, 0x11000, 1, RA), -EACCES);
	CU_ASSERT_EQUAL(remote(b.qp, k1, 0x110ff, 2, RR), -ERANGE);
	CU_ASSERT_EQUAL(remote(b.qp, k1, 0x10fff, 1, RR), -ERANGE);
	CU_ASSERT_EQUAL(ff_key_check_remote(b.qp->pd->id + 1, b.qp->qpn, k1, 0x11000, 1, RR,
					    &mr_out, &off_out),
			-EACCES);
	/* A window is no lkey. */
	CU_ASSERT_EQUAL(local(b.mr, k1, 0x11000, 1, 0), -EACCES);
	/* The region is in use. */
	CU_ASSERT_EQUAL(destroy(IB_USER_VERBS_CMD_DEREG_MR, b.mr_h), -EBUSY);
	CU_ASSERT_EQUAL(local(b.mr, b.lkey, 0x10000, 1, 0), 0);
	/* Rebound, then unbound with length 0. */
	CU_ASSERT_EQUAL(bind_mw(b.qp, b.lkey, k1, 0x12000, 0x10, RR), 0);
	CU_ASSERT_EQUAL(b.mr->mws, 1);
	k1 = next_key(k1);
	CU_ASSERT_EQUAL(remote(b.qp, k1, 0x12000, 0x10, RR), 0);
	CU_ASSERT_EQUAL(ff_key_invalidate(b.qp, k1, false), -EINVAL);
	CU_ASSERT_EQUAL(bind_mw(b.qp, 0, k1, 0, 0, 0), 0);
	k1 = next_key(k1);
	CU_ASSERT_EQUAL(b.mr->mws, 0);
	CU_ASSERT_EQUAL(remote(b.qp, k1, 0x12000, 1, RR), -EACCES);
	CU_ASSERT_EQUAL(bind_mw(b.qp, b.lkey, k1, 0x12000, 0x10, RR), 0);
	CU_ASSERT(destroy(IB_USER_VERBS_CMD_DEALLOC_MW, h) > 0);
	CU_ASSERT_EQUAL(b.mr->mws, 0);
	CU_ASSERT_EQUAL(destroy(IB_USER_VERBS_CMD_DEALLOC_MW, h), -ENOENT);
	CU_ASSERT(destroy(IB_USER_VERBS_CMD_DEREG_MR, b.mr_h) > 0);
	world_close();
}

static void
test_mw_type2(void)
{
	struct bed b = bed_make();
	uint32_t rkey, k1;

	make_mw(b.pd, IBV_MW_TYPE_2, &rkey);
	CU_ASSERT_EQUAL(bind_mw(b.qp, b.lkey, rkey, 0x10000, 0, RR), -EINVAL);
	CU_ASSERT_EQUAL(bind_mw(b.qp, b.lkey, rkey, 0x10000, 0x10, RR), 0);
	k1 = next_key(rkey);
	CU_ASSERT_EQUAL(remote(b.qp, k1, 0x10000, 0x10, RR), 0);
	CU_ASSERT_EQUAL(remote(b.qp2, k1, 0x10000, 0x10, RR), -EACCES); /* not its QP */
	/* Bound is bound, until it is invalidated by its QP. */
	CU_ASSERT_EQUAL(bind_mw(b.qp, b.lkey, k1, 0x10000, 0x10, RR), -EINVAL);
	CU_ASSERT_EQUAL(ff_key_invalidate(b.qp2, k1, true), -EACCES);
	CU_ASSERT_EQUAL(ff_key_invalidate(b.qp2, k1, false), -EINVAL);
	CU_ASSERT_EQUAL(ff_key_invalidate(b.qp, rkey, false), -EINVAL);
	CU_ASSERT_EQUAL(ff_key_invalidate(b.qp, k1, true), 0);
	CU_ASSERT_EQUAL(b.mr->mws, 0);
	CU_ASSERT_EQUAL(ff_key_invalidate(b.qp, k1, false), -EINVAL);
	CU_ASSERT_EQUAL(remote(b.qp, k1, 0x10000, 1, RR), -EACCES);
	CU_ASSERT_EQUAL(bind_mw(b.qp, b.lkey, k1, 0x10000, 0x10, RR | ZB), 0);
	k1 = next_key(k1);
	CU_ASSERT_EQUAL(remote(b.qp, k1, 0, 0x10, RR), 0);
	CU_ASSERT_EQUAL(remote(b.qp, k1, 0x10000, 1, RR), -ERANGE);
	CU_ASSERT_PTR_EQUAL(LIST_FIRST(&b.qp->windows)->ent.mw, LIST_FIRST(&b.qp->windows));
	/* The QP's end frees it. */
	CU_ASSERT(destroy_qp(b.qp->obj.handle, NULL) > 0);
	CU_ASSERT_EQUAL(b.mr->mws, 0);
	CU_ASSERT_EQUAL(bind_mw(b.qp2, b.lkey, k1, 0x10000, 0x10, RR), 0);
	world_close();
}

static void
test_mw_rules(void)
{
	struct bed b = bed_make();
	uint32_t rkey, ro, nobind, zb, foreign, pd2, cq, k = 0;
	struct ff_qp *other_pd, *ud;

	make_mw(b.pd, IBV_MW_TYPE_1, &rkey);
	pd2 = make_pd();
	cq = make_cq(5, -1);
	other_pd = qp_of(make_qp(pd2, cq, IBV_QPT_RC).qp_handle);
	ud = qp_of(make_qp(b.pd, cq, IBV_QPT_UD).qp_handle);
	make_mr(b.pd, 0x10000, 0x1000, MB, &ro);
	make_mr(b.pd, 0x10000, 0x1000, LW, &nobind);
	make_mr(b.pd, 0x10000, 0x1000, LW | MB | ZB, &zb);
	make_mr(pd2, 0x10000, 0x1000, LW | MB, &foreign);
	CU_ASSERT_EQUAL(bind_mw(other_pd, b.lkey, rkey, 0x10000, 1, RR), -EINVAL);
	CU_ASSERT_EQUAL(bind_mw(ud, b.lkey, rkey, 0x10000, 1, RR), -EINVAL);
	CU_ASSERT_EQUAL(bind_mw(b.qp, b.lkey, rkey ^ 1, 0x10000, 1, RR), -EINVAL);
	CU_ASSERT_EQUAL(bind_mw(b.qp, b.lkey ^ 1, rkey, 0x10000, 1, RR), -EINVAL);
	CU_ASSERT_EQUAL(bind_mw(b.qp, b.lkey, b.lkey, 0x10000, 1, RR), -EINVAL);
	CU_ASSERT_EQUAL(bind_mw(b.qp, rkey, rkey, 0x10000, 1, RR), -EINVAL);
	CU_ASSERT_EQUAL(bind_mw(b.qp, foreign, rkey, 0x10000, 1, RR), -EINVAL);
	CU_ASSERT_EQUAL(bind_mw(b.qp, nobind, rkey, 0x10000, 1, RR), -EACCES);
	CU_ASSERT_EQUAL(bind_mw(b.qp, zb, rkey, 0, 1, RR), -EACCES);
	CU_ASSERT_EQUAL(bind_mw(b.qp, ro, rkey, 0x10000, 1, RW), -EACCES);
	CU_ASSERT_EQUAL(bind_mw(b.qp, ro, rkey, 0x10000, 1, RA), -EACCES);
	CU_ASSERT_EQUAL(bind_mw(b.qp, b.lkey, rkey, 0x10000, 1, LW), -EINVAL);
	CU_ASSERT_EQUAL(bind_mw(b.qp, b.lkey, rkey, 0x10000, 1, RR | ZB), -EINVAL);
	CU_ASSERT_EQUAL(bind_mw(b.qp, b.lkey, rkey, 0x10000, 0x4001, RR), -EINVAL);
	CU_ASSERT_EQUAL(bind_mw(b.qp, b.lkey, rkey, 0xffff, 2, RR), -EINVAL);
	CU_ASSERT_EQUAL(bind_mw(b.qp, b.lkey, rkey, UINT64_MAX, 2, RR), -EINVAL);
	CU_ASSERT_EQUAL(bind_mw(b.qp, ro, rkey, 0x10000, 0x1000, RR), 0);
	CU_ASSERT_EQUAL(ff_key_invalidate(b.qp, b.lkey, false), -EINVAL);
	CU_ASSERT_EQUAL(ff_key_invalidate(b.qp, b.lkey, true), -EACCES);

	/* A bound region cannot be registered anew either. */
	CU_ASSERT_EQUAL(bind_mw(b.qp, b.lkey, next_key(rkey), 0x10000, 1, RR), 0);
	CU_ASSERT_EQUAL(rereg(&(struct ib_uverbs_rereg_mr){.mr_handle = b.mr_h,
							   .flags = 4,
							   .access_flags = LW},
			      &k),
			-EBUSY);
	CU_ASSERT_EQUAL(local(b.mr, b.lkey, 0x10000, 1, 0), 0);
	world_close();
}

static void
test_mw_alloc(void)
{
	struct ib_uverbs_alloc_mw req = {.mw_type = 3};
	uint32_t pd;

	world_open();
	pd = make_pd();
	req.pd_handle = pd;
	CU_ASSERT_EQUAL(command(IB_USER_VERBS_CMD_ALLOC_MW, &req, sizeof(req), 8), -EINVAL);
	req.mw_type = IBV_MW_TYPE_1;
	req.pd_handle = pd + 1;
	CU_ASSERT_EQUAL(command(IB_USER_VERBS_CMD_ALLOC_MW, &req, sizeof(req), 8), -EINVAL);
	req.pd_handle = pd;
	w.c.limits[FF_QUOTA_MWS] = 1;
	CU_ASSERT(command(IB_USER_VERBS_CMD_ALLOC_MW, &req, sizeof(req), 8) > 0);
	CU_ASSERT_EQUAL(command(IB_USER_VERBS_CMD_ALLOC_MW, &req, sizeof(req), 8), -ENOMEM);
	CU_ASSERT_EQUAL(dealloc_pd(pd), -EBUSY);
	world_close();
}

int
main(void)
{
	static const struct test_case cases[] = {
		{"reg_mr", test_reg},
		{"reg_mr refused", test_reg_refused},
		{"zero based", test_zero_based},
		{"rereg_mr", test_rereg},
		{"window type 1", test_mw_type1},
		{"window type 2", test_mw_type2},
		{"window rules", test_mw_rules},
		{"alloc_mw", test_mw_alloc},
	};

	return run_suite("verbs memory", cases, COUNT_OF(cases));
}
