/* SPDX-License-Identifier: MIT */
/* PDs, AHs and multicast groups: their whole lives, wrong handles, EBUSY, quotas. */
#include <errno.h>
#include <string.h>

#include "harness.h"

static void
test_pd(void)
{
	uint32_t a, b, key;
	uint32_t mr;

	world_open();
	a = make_pd();
	b = make_pd();
	CU_ASSERT_NOT_EQUAL(a, b);
	CU_ASSERT_EQUAL(w.c.used[FF_QUOTA_PDS], 2);
	CU_ASSERT_EQUAL(dealloc_pd(77), -ENOENT);
	CU_ASSERT_EQUAL(dealloc_pd(UINT32_MAX), -ENOENT);
	mr = make_mr(a, 0x10000, 4096, 0, &key);
	CU_ASSERT_EQUAL(dealloc_pd(a), -EBUSY);
	CU_ASSERT(destroy(IB_USER_VERBS_CMD_DEREG_MR, mr) > 0);
	CU_ASSERT(dealloc_pd(a) > 0);
	CU_ASSERT_EQUAL(dealloc_pd(a), -ENOENT);
	/* The lowest free handle is used again. */
	CU_ASSERT_EQUAL(make_pd(), a);
	CU_ASSERT_EQUAL(w.c.used[FF_QUOTA_PDS], 2);
	world_close();
}

static void
test_pd_ids(void)
{
	struct ff_pd *pd;
	uint32_t h, id;

	world_open();
	h = make_pd();
	pd = (struct ff_pd *)w.uc->tables[FF_OBJ_PD].slots[h];
	id = pd->id;
	CU_ASSERT(dealloc_pd(h) > 0);
	h = make_pd();
	pd = (struct ff_pd *)w.uc->tables[FF_OBJ_PD].slots[h];
	CU_ASSERT_NOT_EQUAL(pd->id, id);
	CU_ASSERT_NOT_EQUAL(pd->id >> 24, id >> 24);
	world_close();
}

static void
test_many_handles(void)
{
	uint32_t h[100];

	world_open();
	for (unsigned i = 0; i < COUNT_OF(h); i++) {
		h[i] = make_pd();
		CU_ASSERT_EQUAL(h[i], i);
	}
	for (unsigned i = 0; i < COUNT_OF(h); i += 3)
		CU_ASSERT(dealloc_pd(h[i]) > 0);
	for (unsigned i = 0; i < COUNT_OF(h); i += 3)
		CU_ASSERT_EQUAL(make_pd(), i);
	CU_ASSERT_EQUAL(make_pd(), 100);
	world_close();
}

static void
test_pd_quota(void)
{
	struct ib_uverbs_alloc_pd req = {0};

	world_open();
	w.c.limits[FF_QUOTA_PDS] = 1;
	make_pd();
	CU_ASSERT_EQUAL(command(IB_USER_VERBS_CMD_ALLOC_PD, &req, sizeof(req), 4), -ENOMEM);
	world_close();
}

static struct ib_uverbs_create_ah
good_ah(uint32_t pd)
{
	struct ib_uverbs_create_ah req = {.pd_handle = pd, .attr = {.is_global = 1, .port_num = 1}};

	memcpy(req.attr.grh.dgid, w.other.gids[0].raw, 16);
	return req;
}

static int
create_ah(const struct ib_uverbs_create_ah *req)
{
	return command(IB_USER_VERBS_CMD_CREATE_AH, req, sizeof(*req), 4);
}

static void
test_ah(void)
{
	struct ib_uverbs_create_ah req;
	uint32_t pd, h, num;
	struct ff_ah *ah;

	world_open();
	pd = make_pd();
	h = make_ah(pd, &num);
	CU_ASSERT_NOT_EQUAL(num, 0);
	ah = ff_idtab_get(&ff_ahs, num);
	CU_ASSERT_PTR_NOT_NULL_FATAL(ah);
	CU_ASSERT_EQUAL(memcmp(ah->attr.dgid, w.other.gids[0].raw, 16), 0);
	CU_ASSERT_EQUAL(dealloc_pd(pd), -EBUSY);
	/* An older provider has no room for the number. */
	req = good_ah(pd);
	CU_ASSERT(create_ah(&req) > 0);
	CU_ASSERT_EQUAL(w.rep.out_len, 4);
	CU_ASSERT(destroy(IB_USER_VERBS_CMD_DESTROY_AH, h) > 0);
	CU_ASSERT_PTR_NULL(ff_idtab_get(&ff_ahs, num));
	CU_ASSERT_EQUAL(destroy(IB_USER_VERBS_CMD_DESTROY_AH, h), -ENOENT);
	w.c.limits[FF_QUOTA_AHS] = 1;
	CU_ASSERT_EQUAL(create_ah(&req), -ENOMEM);
	world_close();
}

static void
test_ah_attr(void)
{
	struct ib_uverbs_create_ah req;
	uint32_t pd;

	world_open();
	pd = make_pd();
	req = good_ah(pd + 1);
	CU_ASSERT_EQUAL(create_ah(&req), -EINVAL);
	req = good_ah(pd);
	req.attr.port_num = 2;
	CU_ASSERT_EQUAL(create_ah(&req), -EINVAL);
	req = good_ah(pd);
	req.attr.is_global = 0;
	CU_ASSERT_EQUAL(create_ah(&req), -EINVAL);
	req = good_ah(pd);
	req.attr.grh.sgid_index = FF_GIDS_MAX;
	CU_ASSERT_EQUAL(create_ah(&req), -EINVAL);
	req.attr.grh.sgid_index = FF_GIDS_MAX - 1;
	CU_ASSERT_EQUAL(create_ah(&req), -ENODATA);
	req = good_ah(pd);
	memset(req.attr.grh.dgid, 0, 16);
	CU_ASSERT_EQUAL(create_ah(&req), -EINVAL);
	/* A stranger's address is on another host, as far as we know. */
	memset(req.attr.grh.dgid, 0x20, 16);
	CU_ASSERT(create_ah(&req) > 0);
	CU_ASSERT_EQUAL(w.asks, 1);
	w.ask_rc = -ENETUNREACH;
	CU_ASSERT_EQUAL(create_ah(&req), -ENETUNREACH);
	CU_ASSERT_EQUAL(w.c.counters[FF_CC_POLICY_REFUSED], 1);
	req = good_ah(pd);
	w.other_allowed = false;
	CU_ASSERT_EQUAL(create_ah(&req), -EACCES);
	CU_ASSERT_EQUAL(w.c.counters[FF_CC_POLICY_REFUSED], 2);
	world_close();
}

static const uint8_t group_a[16] = {0xff, 0x0e, [15] = 1};
static const uint8_t group_b[16] = {[10] = 0xff, 0xff, 239, 1, 2, 3};

static int
mcast(uint32_t cmd, uint32_t qp, const uint8_t gid[16])
{
	struct ib_uverbs_attach_mcast req = {.qp_handle = qp, .mlid = 0xc000};

	memcpy(req.gid, gid, 16);
	return command(cmd, &req, sizeof(req), 0);
}
#define attach(qp, gid) mcast(IB_USER_VERBS_CMD_ATTACH_MCAST, qp, gid)
#define detach(qp, gid) mcast(IB_USER_VERBS_CMD_DETACH_MCAST, qp, gid)

static unsigned seen;

static void
see(struct ff_qp *qp, void *arg)
{
	seen++;
	*(uint64_t *)arg += qp->qpn;
}

/* Number of members, and the sum of their QPNs. */
static unsigned
members(const struct ff_tenant *t, const uint8_t gid[16], uint64_t *sum)
{
	seen = 0;
	*sum = 0;
	ff_mcast_foreach(t, gid, see, sum);
	return seen;
}

static void
test_mcast(void)
{
	struct ff_tenant stranger = {.index = 1};
	struct ib_uverbs_create_qp_resp ud, ud2, rc;
	uint32_t pd, cq;
	uint64_t sum;

	world_open();
	pd = make_pd();
	cq = make_cq(4, -1);
	ud = make_qp(pd, cq, IBV_QPT_UD);
	ud2 = make_qp(pd, cq, IBV_QPT_UD);
	rc = make_qp(pd, cq, IBV_QPT_RC);
	CU_ASSERT_EQUAL(attach(rc.qp_handle, group_a), -EINVAL);
	CU_ASSERT_EQUAL(attach(99, group_a), -EINVAL);
	CU_ASSERT_EQUAL(attach(ud.qp_handle, w.other.gids[0].raw), -EINVAL);
	CU_ASSERT_EQUAL(detach(ud.qp_handle, group_a), -EINVAL);
	CU_ASSERT(attach(ud.qp_handle, group_a) > 0);
	CU_ASSERT(attach(ud.qp_handle, group_a) > 0); /* again: nothing happens */
	CU_ASSERT(attach(ud2.qp_handle, group_a) > 0);
	CU_ASSERT(attach(ud.qp_handle, group_b) > 0);
	CU_ASSERT_EQUAL(w.c.used[FF_QUOTA_MCAST], 3);
	CU_ASSERT_EQUAL(members(&w.tenant, group_a, &sum), 2);
	CU_ASSERT_EQUAL(sum, (uint64_t)ud.qpn + ud2.qpn);
	CU_ASSERT_EQUAL(members(&w.tenant, group_b, &sum), 1);
	/* Groups are the tenant's own. */
	CU_ASSERT_EQUAL(members(&stranger, group_a, &sum), 0);
	CU_ASSERT_EQUAL(destroy_qp(ud.qp_handle, NULL), -EBUSY);
	CU_ASSERT(detach(ud.qp_handle, group_a) > 0);
	CU_ASSERT_EQUAL(detach(ud.qp_handle, group_a), -EINVAL);
	CU_ASSERT_EQUAL(members(&w.tenant, group_a, &sum), 1);
	CU_ASSERT_EQUAL(sum, ud2.qpn);
	CU_ASSERT(detach(ud.qp_handle, group_b) > 0);
	CU_ASSERT_EQUAL(members(&w.tenant, group_b, &sum), 0);
	CU_ASSERT(destroy_qp(ud.qp_handle, NULL) > 0);
	w.c.limits[FF_QUOTA_MCAST] = 1;
	CU_ASSERT_EQUAL(attach(ud2.qp_handle, group_b), -ENOMEM);
	/* The end of the context is the end of the membership. */
	world_close();
	CU_ASSERT_EQUAL(members(&w.tenant, group_a, &sum), 0);
}

static void
test_batch_teardown(void)
{
	uint32_t pd, cq, key;
	unsigned syncs, calls;

	world_open();
	pd = make_pd();
	cq = make_cq(4, -1);
	for (unsigned i = 0; i < 200; i++) {
		make_qp(pd, cq, IBV_QPT_RC);
		make_mr(pd, 0x10000, 4096, 0, &key);
	}
	syncs = w.syncs;
	calls = w.calls;
	world_close();
	CU_ASSERT_EQUAL(w.detached, 200);
	CU_ASSERT_EQUAL(w.retired, 200);
	/* One wait for all, and a worker is not held up by all QPs at once. */
	CU_ASSERT_EQUAL(w.syncs - syncs, 1);
	CU_ASSERT_EQUAL(w.calls - calls, 13);
}

int
main(void)
{
	static const struct test_case cases[] = {
		{"pd", test_pd},
		{"pd ids", test_pd_ids},
		{"many handles", test_many_handles},
		{"pd quota", test_pd_quota},
		{"ah", test_ah},
		{"ah attributes", test_ah_attr},
		{"mcast", test_mcast},
		{"batch teardown", test_batch_teardown},
	};

	return run_suite("verbs objects", cases, COUNT_OF(cases));
}
