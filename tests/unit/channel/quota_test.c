/* SPDX-License-Identifier: MIT */
/* Quotas and tenants. */
#include <errno.h>
#include <string.h>

#include "harness.h"

static void
test_quota(void *arg)
{
	struct ff_container *c = harness_container("q");
	uint64_t refused = c->counters[FF_CC_QUOTA_REFUSED];

	c->limits[FF_QUOTA_MRS] = 3;
	CU_ASSERT_EQUAL(ff_quota_take(c, FF_QUOTA_MRS, 2), 0);
	CU_ASSERT_EQUAL(ff_quota_take(c, FF_QUOTA_MRS, 2), -ENOMEM);
	CU_ASSERT_EQUAL(c->used[FF_QUOTA_MRS], 2);
	CU_ASSERT_EQUAL(ff_quota_take(c, FF_QUOTA_MRS, 1), 0);
	CU_ASSERT_EQUAL(ff_quota_take(c, FF_QUOTA_MRS, 1), -ENOMEM);
	ff_quota_give(c, FF_QUOTA_MRS, 3);
	CU_ASSERT_EQUAL(c->used[FF_QUOTA_MRS], 0);
	CU_ASSERT_EQUAL(c->counters[FF_CC_QUOTA_REFUSED], refused + 2);

	/* No sum that wraps. */
	c->limits[FF_QUOTA_PINNED] = UINT64_MAX - 1;
	CU_ASSERT_EQUAL(ff_quota_take(c, FF_QUOTA_PINNED, 4096), 0);
	CU_ASSERT_EQUAL(ff_quota_take(c, FF_QUOTA_PINNED, UINT64_MAX - 4096), -ENOMEM);
	CU_ASSERT_EQUAL(ff_quota_take(c, FF_QUOTA_PINNED, UINT64_MAX), -ENOMEM);
	CU_ASSERT_EQUAL(ff_quota_take(c, FF_QUOTA_PINNED, UINT64_MAX - 1 - 4096), 0);
	CU_ASSERT_EQUAL(ff_quota_take(c, FF_QUOTA_PINNED, 0), 0);
	ff_quota_give(c, FF_QUOTA_PINNED, UINT64_MAX - 1);

	/* A limit that was lowered below what is in use. */
	CU_ASSERT_EQUAL(ff_quota_take(c, FF_QUOTA_CQS, 2), 0);
	c->limits[FF_QUOTA_CQS] = 1;
	CU_ASSERT_EQUAL(ff_quota_take(c, FF_QUOTA_CQS, 1), -ENOMEM);
	ff_quota_give(c, FF_QUOTA_CQS, 2);
}

static void
quota(void)
{
	CU_ASSERT_EQUAL(harness_add("q", NULL), 0);
	harness_control(test_quota, NULL);
	CU_ASSERT_EQUAL(harness_del("q"), 0);
}

static void
test_limits(void *arg)
{
	struct ff_container_conf conf = {.id = "l", .tenant = "t"};
	struct ff_container *c;
	char err[256];

	conf.limits.qps = 5;
	CU_ASSERT_EQUAL(ff_container_add(&conf, err, sizeof(err)), 0);
	c = ff_container_find("l");
	CU_ASSERT_EQUAL(c->limits[FF_QUOTA_QPS], 5);
	CU_ASSERT_EQUAL(c->limits[FF_QUOTA_CQS], ff_config.limits.cqs);
	CU_ASSERT_EQUAL(c->conf.limits.qp_wr, ff_config.limits.qp_wr);
	CU_ASSERT_NOT_EQUAL(ff_config.limits.cqs, 0);

	/* The same again is what is there; another is refused and changes nothing. */
	CU_ASSERT_EQUAL(ff_container_add(&conf, err, sizeof(err)), 0);
	CU_ASSERT_PTR_EQUAL(ff_container_find("l"), c);
	conf.limits.qps = 6;
	CU_ASSERT_EQUAL(ff_container_add(&conf, err, sizeof(err)), -EEXIST);
	CU_ASSERT_EQUAL(c->limits[FF_QUOTA_QPS], 5);

	/* What SIGHUP does: own limits, then the top level's. */
	ff_container_limits_set(c, &conf.limits);
	CU_ASSERT_EQUAL(c->limits[FF_QUOTA_QPS], 6);
	CU_ASSERT_EQUAL(ff_container_add(&conf, err, sizeof(err)), 0);
	ff_config.limits.cqs++;
	ff_container_limits_set(c, NULL);
	CU_ASSERT_EQUAL(c->limits[FF_QUOTA_QPS], 6);
	CU_ASSERT_EQUAL(c->limits[FF_QUOTA_CQS], ff_config.limits.cqs);
	CU_ASSERT_EQUAL(ff_container_del("l"), 0);
	CU_ASSERT_EQUAL(ff_container_del("l"), -ENOENT);
}

static void
limits(void)
{
	harness_control(test_limits, NULL);
}

static void
test_tenants(void *arg)
{
	struct ff_tenant *a = ff_tenant_get("a"), *b = ff_tenant_get("b");
	uint32_t index = a->index;

	CU_ASSERT_NOT_EQUAL(a->index, b->index);
	CU_ASSERT_EQUAL(a->weight, 100);
	CU_ASSERT_PTR_EQUAL(ff_tenant_get("a"), a);
	ff_tenant_put(a);
	CU_ASSERT_PTR_EQUAL(ff_tenant_get("a"), a);
	ff_tenant_put(a);
	ff_tenant_put(a);
	a = ff_tenant_get("c"); /* the index is free again */
	CU_ASSERT_EQUAL(a->index, index);
	ff_tenant_put(a);
	ff_tenant_put(b);
}

static void
tenants(void)
{
	harness_control(test_tenants, NULL);
}

/* SIGHUP with other VNIs: they are taken over, and swapped without two who have the same. */
static void
test_vnis(void *arg)
{
	struct ff_tenant_conf conf[] = {{.name = "a", .vni = 7}, {.name = "b", .vni = 8}};
	struct ff_config old = ff_config;
	struct ff_tenant *a, *b, *c;
	uint32_t index;

	ff_config.tenants = conf;
	ff_config.num_tenants = 2;
	a = ff_tenant_get("a");
	b = ff_tenant_get("b");
	c = ff_tenant_get("c");
	CU_ASSERT(a->vni == 7 && b->vni == 8 && c->vni == 0);
	conf[0].vni = 8;
	conf[1].vni = 7;
	CU_ASSERT_EQUAL(a->vni, 7);
	ff_tenants_update();
	CU_ASSERT(a->vni == 8 && b->vni == 7 && c->vni == 0);
	CU_ASSERT_PTR_EQUAL(ff_tenant_by_index(b->index), b);
	index = c->index;
	ff_tenant_put(c);
	CU_ASSERT_PTR_NULL(ff_tenant_by_index(index));
	ff_tenant_put(b);
	ff_tenant_put(a);
	ff_config = old;
}

static void
vnis(void)
{
	harness_control(test_vnis, NULL);
}

static void
names(void)
{
	static const char *const bad[] = {"", ".", "..", "a/b", ".x"};

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CU_ASSERT_EQUAL(harness_add(bad[i], NULL), -EINVAL);
}

int
main(void)
{
	static const struct harness_test tests[] = {
		{"quota arithmetic", quota},
		{"limits", limits},
		{"tenants", tenants},
		{"VNIs", vnis},
		{"names", names},
	};

	return harness_main("quota", tests, sizeof(tests) / sizeof(tests[0]));
}
