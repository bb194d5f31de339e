/* SPDX-License-Identifier: MIT */
/* Addresses: text, preference, slots that stay, conflicts inside a tenant. */
#include <string.h>

#include "harness.h"
#include "nic/nic.h"

static struct addr
parsed(const char *text)
{
	struct addr a;

	CU_ASSERT_EQUAL(addr_parse(text, &a), 0);
	return a;
}

static void
test_parse(void)
{
	static const uint8_t mapped[16] = {[10] = 0xff, 0xff, 10, 32, 0, 2};
	static const char *const bad[] = {
		"",
		"10.32.0",
		"10.32.0.2 ",
		"0.0.0.0",
		"0.1.2.3",
		"127.0.0.1",
		"::",
		"::1",
		"224.0.0.1",
		"ff02::1",
		"255.255.255.255",
		"nobody",
		"10.32.0.2/24",
		"::ffff:127.0.0.1",
		"fe80::1%lo",
	};
	struct addr a = parsed("10.32.0.2");

	CU_ASSERT_EQUAL(memcmp(a.raw, mapped, 16), 0);
	CU_ASSERT_EQUAL(a.kind, ADDR_IPV4);
	a = parsed("::ffff:10.32.0.2");
	CU_ASSERT_EQUAL(memcmp(a.raw, mapped, 16), 0);
	CU_ASSERT_EQUAL(a.kind, ADDR_IPV4);
	CU_ASSERT_EQUAL(parsed("fd00::7").kind, ADDR_IPV6);
	CU_ASSERT_EQUAL(parsed("fe80::7").kind, ADDR_LINK_LOCAL);
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CU_ASSERT_EQUAL(addr_parse(bad[i], &a), -EINVAL);
}

static struct addr_list
list(const char *const *texts)
{
	struct addr_list l = {0};

	for (; *texts; texts++) {
		struct addr a = parsed(*texts);

		addr_list_add(&l, &a);
	}
	return l;
}
#define LIST(...) list((const char *const[]){__VA_ARGS__, NULL})

static bool
is(const struct ff_gid_entry *e, const char *text)
{
	struct addr a = parsed(text);

	return e->valid && !memcmp(e->raw, a.raw, 16);
}

static void
test_order(void)
{
	struct addr_list l = LIST("fe80::1", "fd00::1", "10.0.0.1", "fd00::2", "10.0.0.2");
	struct addr_list ll = LIST("fe80::1", "fe80::2");
	struct addr first = parsed("10.0.0.1"), last = parsed("fd00::2");

	addr_list_order(&l);
	CU_ASSERT_EQUAL(l.num, 4);
	CU_ASSERT_EQUAL(memcmp(l.a[0].raw, first.raw, 16), 0);
	CU_ASSERT_EQUAL(memcmp(l.a[3].raw, last.raw, 16), 0);
	addr_list_order(&ll);
	CU_ASSERT_EQUAL(ll.num, 2);
}

static void
test_slots(void)
{
	struct ff_gid_entry none[FF_GIDS_MAX] = {0}, a[FF_GIDS_MAX], b[FF_GIDS_MAX], c[FF_GIDS_MAX];
	struct addr_list l = LIST("10.0.0.1", "10.0.0.2", "fd00::1");

	CU_ASSERT_TRUE(addr_slots(none, &l, a));
	CU_ASSERT_TRUE(is(&a[0], "10.0.0.1") && is(&a[1], "10.0.0.2") && is(&a[2], "fd00::1"));
	CU_ASSERT_FALSE(addr_slots(a, &l, b));

	/* One goes, one comes: the others stay where they are, whatever the order. */
	l = LIST("fd00::1", "10.0.0.3", "10.0.0.1");
	CU_ASSERT_TRUE(addr_slots(a, &l, b));
	CU_ASSERT_TRUE(is(&b[0], "10.0.0.1") && is(&b[1], "10.0.0.3") && is(&b[2], "fd00::1"));

	/* The first goes: a hole, not a shift. */
	l = LIST("fd00::1", "10.0.0.3");
	CU_ASSERT_TRUE(addr_slots(b, &l, c));
	CU_ASSERT_FALSE(c[0].valid);
	CU_ASSERT_TRUE(is(&c[1], "10.0.0.3") && is(&c[2], "fd00::1"));

	/* Another interface is a change. */
	strcpy(l.a[0].ndev, "eth1");
	CU_ASSERT_TRUE(addr_slots(c, &l, b));
	CU_ASSERT_STRING_EQUAL(b[2].ndev, "eth1");
}

static void
test_slots_full(void)
{
	struct ff_gid_entry none[FF_GIDS_MAX] = {0}, out[FF_GIDS_MAX];
	struct addr_list l = {0};
	char text[32];

	for (unsigned i = 0; i < 2 * ADDR_MAX; i++) {
		struct addr a;

		snprintf(text, sizeof(text), "10.1.0.%u", i + 1);
		a = parsed(text);
		addr_list_add(&l, &a);
		addr_list_add(&l, &a);
	}
	CU_ASSERT_EQUAL(l.num, ADDR_MAX);
	CU_ASSERT_TRUE(addr_slots(none, &l, out));
	CU_ASSERT_TRUE(is(&out[FF_GIDS_MAX - 1], "10.1.0.16"));
}

static void
apply(struct ff_container *c, const struct addr_list *l)
{
	addr_apply(c, l);
}

struct apply_call {
	struct ff_container *c;
	struct addr_list l;
};

static void
apply_on_control(void *arg)
{
	struct apply_call *a = arg;

	apply(a->c, &a->l);
}

/* An address belongs to who has it; when it is given up, who asked for it gets it. */
static void
test_conflict(void)
{
	struct addr a = parsed("10.9.0.1");
	struct apply_call call;
	struct ff_container *c2;

	CU_ASSERT_EQUAL(harness_add("c1", "10.9.0.1"), 0);
	CU_ASSERT_EQUAL(harness_add("c2", "10.9.0.1"), -EADDRINUSE);
	CU_ASSERT_PTR_NULL(harness_container("c2"));
	CU_ASSERT_EQUAL(harness_add("c2", NULL), 0);
	c1 = harness_container("c1");
	c2 = harness_container("c2");
	CU_ASSERT_TRUE(ff_container_has_gid(c1, a.raw));
	CU_ASSERT_TRUE(ff_policy_allows(c1, c2));

	call = (struct apply_call){c2, LIST("10.9.0.1", "10.9.0.2")};
	harness_control(apply_on_control, &call);
	CU_ASSERT_FALSE(ff_container_has_gid(c2, a.raw));
	CU_ASSERT_TRUE(is(&c2->gids[0], "10.9.0.2"));
	CU_ASSERT_PTR_EQUAL(ff_container_by_gid(c1->tenant, a.raw), c1);

	CU_ASSERT_EQUAL(harness_del("c1"), 0);
	CU_ASSERT_PTR_EQUAL(ff_container_by_gid(c2->tenant, a.raw), c2);
	CU_ASSERT_TRUE(is(&c2->gids[1], "10.9.0.1"));
	CU_ASSERT_EQUAL(harness_del("c2"), 0);
}

/* What the resolver has been told, by the last byte of the address. */
static int told[256]; /* 1: here, -1: no more, 0: nothing */

static void
note(const struct ff_container *c, const uint8_t gid[16], bool here)
{
	told[gid[15]] = here ? 1 : -1;
	/* Who has it no more, has it no more when that is said. */
	CU_ASSERT_EQUAL(ff_container_has_gid(c, gid) && !c->removing, here);
}

static bool
heard(int one, int two, int three)
{
	bool same = told[1] == one && told[2] == two && told[3] == three;

	if (!same)
		printf("\ntold %d %d %d\n", told[1], told[2], told[3]);
	memset(told, 0, sizeof(told));
	return same;
}

/* The resolver hears of what comes, goes, and moves from one container to another. */
static void
test_told(void)
{
	const struct ff_nic_ops *real = ff_nic;
	struct ff_nic_ops fake = *real;
	struct apply_call call;

	fake.address = note;
	ff_nic = &fake;
	CU_ASSERT_EQUAL(harness_add("c1", "10.9.0.1"), 0);
	CU_ASSERT_TRUE(heard(1, 0, 0));
	CU_ASSERT_EQUAL(harness_add("c2", NULL), 0);
	CU_ASSERT_TRUE(heard(0, 0, 0));
	call = (struct apply_call){harness_container("c2"), LIST("10.9.0.1", "10.9.0.2")};
	harness_control(apply_on_control, &call);
	CU_ASSERT_TRUE(heard(0, 1, 0));
	call.l = LIST("10.9.0.1", "10.9.0.3");
	harness_control(apply_on_control, &call);
	CU_ASSERT_TRUE(heard(0, -1, 1));
	/* c2 gets what c1 leaves: it stays here. */
	CU_ASSERT_EQUAL(harness_del("c1"), 0);
	CU_ASSERT_TRUE(heard(1, 0, 0));
	CU_ASSERT_EQUAL(harness_del("c2"), 0);
	CU_ASSERT_TRUE(heard(-1, 0, -1));
	ff_nic = real;
}

int
main(void)
{
	static const struct harness_test tests[] = {
		{"text", test_parse},	      {"preference", test_order},
		{"stable slots", test_slots}, {"more addresses than slots", test_slots_full},
		{"conflict", test_conflict},  {"the resolver is told", test_told},
	};

	return harness_main("address", tests, sizeof(tests) / sizeof(tests[0]));
}
