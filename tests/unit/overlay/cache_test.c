/* SPDX-License-Identifier: MIT */
/* Tests dataplane/overlay/cache.c and overlay.c: answers, bounds, ageing, readers on workers. */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "../core/worker_fixture.h"
#include "core/loop.h"
#include "overlay/overlay_priv.h"

/* ---- providers that do as they are told ---- */

static int resolve_rc[2];
static unsigned resolved[2], forgotten[2];

static int
resolve0(const struct ff_overlay_scope *scope, const uint8_t gid[16])
{
	resolved[0]++;
	return resolve_rc[0];
}

static int
resolve1(const struct ff_overlay_scope *scope, const uint8_t gid[16])
{
	resolved[1]++;
	return resolve_rc[1];
}

static void
forget0(uint32_t tenant, const uint8_t gid[16])
{
	forgotten[0]++;
}

static void
forget1(uint32_t tenant, const uint8_t gid[16])
{
	forgotten[1]++;
}

static const struct ff_overlay_provider fakes[2] = {
	{.name = "first", .resolve = resolve0, .forget = forget0},
	{.name = "second", .resolve = resolve1, .forget = forget1},
};

static void
up(void)
{
	static const struct ff_overlay_provider *const providers[] = {&fakes[0], &fakes[1]};

	memset(resolve_rc, 0, sizeof(resolve_rc));
	CU_ASSERT_EQUAL_FATAL(ff_loop_init(), 0);
	CU_ASSERT_EQUAL_FATAL(ff_overlay_init(providers, 2), 0);
	memset(resolved, 0, sizeof(resolved));
	memset(forgotten, 0, sizeof(forgotten));
}

static void
down(void)
{
	ff_overlay_fini();
	ff_loop_fini();
}

static const uint8_t *
gid_of(uint32_t n)
{
	static uint8_t gid[16];

	gid[10] = gid[11] = 0xff;
	memcpy(gid + 12, &n, 4);
	return gid;
}

static struct ff_overlay_entry
look(uint32_t tenant, uint32_t n)
{
	struct ff_overlay_entry e;

	memset(&e, 0xff, sizeof(e));
	ff_overlay_lookup(tenant, gid_of(n), &e);
	return e;
}

static void
answer(uint32_t tenant, uint32_t n, enum ff_overlay_state state, uint32_t vni)
{
	struct ff_overlay_entry e = {.state = state, .vxlan = true, .vni = vni};

	ff_overlay_answer(tenant, gid_of(n), &e);
}

/* Not by a look-up, which would count as use. */
static bool
is_there(uint32_t tenant, uint32_t n)
{
	return overlay_cache_get(tenant, gid_of(n)) != NULL;
}

static int
ask(uint32_t tenant, uint32_t n)
{
	struct ff_overlay_scope scope = {tenant, NULL, -1};

	return ff_overlay_ask(&scope, gid_of(n));
}

/* ---- answers ---- */

static void
test_answers(void)
{
	uint32_t gen;

	up();
	CU_ASSERT_EQUAL(look(1, 1).state, FF_OVERLAY_UNKNOWN);
	CU_ASSERT_EQUAL(look(1, 1).generation, 0);
	CU_ASSERT_EQUAL(look(UINT32_MAX, 1).state, FF_OVERLAY_UNKNOWN);
	CU_ASSERT_EQUAL(ask(1, 1), 0);
	CU_ASSERT_EQUAL(look(1, 1).state, FF_OVERLAY_UNKNOWN);
	gen = look(1, 1).generation;
	CU_ASSERT_NOT_EQUAL(gen, 0);
	answer(1, 1, FF_OVERLAY_REMOTE, 7);
	CU_ASSERT_EQUAL(look(1, 1).state, FF_OVERLAY_REMOTE);
	CU_ASSERT_EQUAL(look(1, 1).vni, 7);
	CU_ASSERT_NOT_EQUAL(look(1, 1).generation, gen);
	gen = look(1, 1).generation;
	answer(1, 1, FF_OVERLAY_REMOTE, 7); /* nothing new */
	CU_ASSERT_EQUAL(look(1, 1).generation, gen);
	answer(1, 1, FF_OVERLAY_REMOTE, 8);
	CU_ASSERT_NOT_EQUAL(look(1, 1).generation, gen);
	/* Of that tenant only. */
	CU_ASSERT_EQUAL(look(2, 1).generation, 0);
	answer(2, 1, FF_OVERLAY_NONE, 0);
	CU_ASSERT_EQUAL(look(1, 1).state, FF_OVERLAY_REMOTE);
	CU_ASSERT_EQUAL(look(2, 1).state, FF_OVERLAY_NONE);
	ff_overlay_answer(1, gid_of(1), NULL);
	CU_ASSERT_EQUAL(look(1, 1).generation, 0);
	CU_ASSERT_EQUAL(look(2, 1).state, FF_OVERLAY_NONE);
	CU_ASSERT_EQUAL(ask(FF_OVERLAY_UNDERLAY + 1, 1), -EINVAL);
	answer(FF_OVERLAY_UNDERLAY + 1, 1, FF_OVERLAY_REMOTE, 7);
	CU_ASSERT_EQUAL(look(FF_OVERLAY_UNDERLAY + 1, 1).generation, 0);
	down();
}

struct seen {
	unsigned states[4], num;
	uint64_t oldest_ms;
};

static void
see(uint32_t tenant, const uint8_t gid[16], const struct ff_overlay_entry *e, uint64_t age_ms,
    void *arg)
{
	struct seen *s = arg;
	struct ff_overlay_entry looked;

	ff_overlay_lookup(tenant, gid, &looked);
	CU_ASSERT_EQUAL(looked.generation, e->generation);
	s->states[e->state]++;
	s->num++;
	if (age_ms > s->oldest_ms)
		s->oldest_ms = age_ms;
}

static void
test_foreach(void)
{
	struct seen s = {0};
	uint64_t began = ff_now_ns();

	up();
	ff_overlay_foreach(see, &s);
	CU_ASSERT_EQUAL(s.num, 0);
	answer(1, 1, FF_OVERLAY_LOCAL, 0);
	answer(1, 2, FF_OVERLAY_REMOTE, 7);
	answer(2, 2, FF_OVERLAY_REMOTE, 8);
	answer(2, 3, FF_OVERLAY_NONE, 0);
	CU_ASSERT_EQUAL(ask(4095, 4), 0);
	ff_overlay_foreach(see, &s);
	CU_ASSERT_EQUAL(s.num, 5);
	CU_ASSERT_EQUAL(s.states[FF_OVERLAY_LOCAL], 1);
	CU_ASSERT_EQUAL(s.states[FF_OVERLAY_REMOTE], 2);
	CU_ASSERT_EQUAL(s.states[FF_OVERLAY_NONE], 1);
	CU_ASSERT_EQUAL(s.states[FF_OVERLAY_UNKNOWN], 1);
	CU_ASSERT(s.oldest_ms <= (ff_now_ns() - began) / 1000000);
	ff_overlay_answer(1, gid_of(2), NULL);
	memset(&s, 0, sizeof(s));
	ff_overlay_foreach(see, &s);
	CU_ASSERT_EQUAL(s.num, 4);
	down();
}

static void
test_providers(void)
{
	up();
	CU_ASSERT_EQUAL(ask(1, 1), 0);
	CU_ASSERT_EQUAL(resolved[0], 1);
	CU_ASSERT_EQUAL(resolved[1], 0);
	CU_ASSERT_EQUAL(forgotten[0], 0);
	CU_ASSERT_EQUAL(forgotten[1], 1); /* it may have had it before */
	resolve_rc[0] = -ENOENT;
	CU_ASSERT_EQUAL(ask(1, 1), 0);
	CU_ASSERT_EQUAL(resolved[1], 1);
	CU_ASSERT_EQUAL(forgotten[0], 1);
	CU_ASSERT_EQUAL(look(1, 1).state, FF_OVERLAY_UNKNOWN);
	resolve_rc[1] = -ENOENT;
	CU_ASSERT_EQUAL(ask(1, 1), 0);
	CU_ASSERT_EQUAL(look(1, 1).state, FF_OVERLAY_NONE);
	resolve_rc[0] = -EMFILE;
	CU_ASSERT_EQUAL(ask(1, 1), -EMFILE);
	CU_ASSERT_EQUAL(look(1, 1).state, FF_OVERLAY_NONE);
	down();
	CU_ASSERT_EQUAL(look(1, 1).generation, 0);
}

static void
test_local(void)
{
	up();
	CU_ASSERT_EQUAL(ask(1, 1), 0);
	answer(1, 1, FF_OVERLAY_LOCAL, 0);
	CU_ASSERT_EQUAL(forgotten[0], 1);
	answer(1, 1, FF_OVERLAY_NONE, 0); /* was under way */
	CU_ASSERT_EQUAL(look(1, 1).state, FF_OVERLAY_LOCAL);
	CU_ASSERT_EQUAL(ask(1, 1), 0);
	CU_ASSERT_EQUAL(resolved[0], 1);
	overlay_cache_age();
	overlay_cache_age();
	overlay_cache_age();
	ff_overlay_flush(FF_OVERLAY_ALL);
	CU_ASSERT_EQUAL(look(1, 1).state, FF_OVERLAY_LOCAL);
	answer(2, 1, FF_OVERLAY_LOCAL, 0);
	ff_overlay_flush(1); /* the tenant is gone */
	CU_ASSERT_EQUAL(look(1, 1).generation, 0);
	CU_ASSERT_EQUAL(look(2, 1).state, FF_OVERLAY_LOCAL);
	ff_overlay_answer(2, gid_of(1), NULL);
	answer(2, 1, FF_OVERLAY_NONE, 0);
	CU_ASSERT_EQUAL(look(2, 1).state, FF_OVERLAY_NONE);
	down();
}

/* ---- bounds ---- */

static void
test_tenant_bound(void)
{
	unsigned i;

	up();
	answer(2, 5, FF_OVERLAY_NONE, 0);
	answer(1, 1000000, FF_OVERLAY_LOCAL, 0);
	answer(1, 1000001, FF_OVERLAY_REMOTE, 7);
	for (i = 0; i < 3 * FF_OVERLAY_TENANT_ENTRIES; i++)
		CU_ASSERT_EQUAL(ask(1, i), 0);
	/* The newest are there, the oldest are not; who forgot was told. */
	CU_ASSERT_TRUE(is_there(1, i - 1));
	CU_ASSERT_TRUE(is_there(1, i - (FF_OVERLAY_TENANT_ENTRIES - 1)));
	CU_ASSERT_FALSE(is_there(1, i - FF_OVERLAY_TENANT_ENTRIES));
	/* resolve0 took all of them: each forgotten[0] is an eviction. */
	CU_ASSERT_EQUAL(forgotten[0], 2 * FF_OVERLAY_TENANT_ENTRIES + 1 + 1);
	/* Neither what is answered, nor what is local, nor another tenant's. */
	CU_ASSERT_TRUE(is_there(1, 1000000));
	CU_ASSERT_TRUE(is_there(1, 1000001));
	CU_ASSERT_TRUE(is_there(2, 5));
	down();
}

/* Full of good answers: those that are used stay. */
static void
test_second_chance(void)
{
	unsigned i;

	up();
	for (i = 0; i < FF_OVERLAY_TENANT_ENTRIES; i++)
		answer(1, i, FF_OVERLAY_REMOTE, 7);
	for (i = 0; i < 100; i++)
		look(1, i);
	for (i = 0; i < 1000; i++)
		CU_ASSERT_EQUAL(ask(1, 100000 + i), 0);
	/* One makes room for the first question, and each of those for the next. */
	for (i = 0; i < FF_OVERLAY_TENANT_ENTRIES; i++)
		CU_ASSERT_EQUAL(is_there(1, i), i != 100);
	for (i = 0; i < 1000; i++)
		answer(1, 200000 + i, FF_OVERLAY_REMOTE, 7);
	for (i = 0; i < 100; i++)
		CU_ASSERT_TRUE(is_there(1, i));
	CU_ASSERT_FALSE(is_there(1, 500));
	CU_ASSERT_TRUE(is_there(1, 200999));
	/* All used: one goes all the same. */
	for (i = 0; i < FF_OVERLAY_TENANT_ENTRIES; i++)
		look(1, i);
	for (i = 0; i < 1000; i++)
		look(1, 200000 + i);
	answer(1, 300000, FF_OVERLAY_REMOTE, 7);
	CU_ASSERT_TRUE(is_there(1, 300000));
	down();
}

static void
test_total_bound(void)
{
	unsigned t, i, tenants = FF_OVERLAY_ENTRIES / FF_OVERLAY_TENANT_ENTRIES;

	up();
	for (i = 0; i < 10; i++)
		answer(4000, i, FF_OVERLAY_NONE, 0);
	for (t = 0; t < tenants; t++)
		for (i = 0; i < FF_OVERLAY_TENANT_ENTRIES; i++)
			answer(t, i, FF_OVERLAY_NONE, 0);
	for (i = 10; i < 20; i++)
		answer(4000, i, FF_OVERLAY_NONE, 0);
	/* Those who have most paid for it. */
	for (i = 0; i < 20; i++)
		CU_ASSERT_TRUE(is_there(4000, i));
	CU_ASSERT_FALSE(is_there(0, 0));
	CU_ASSERT_TRUE(is_there(0, FF_OVERLAY_TENANT_ENTRIES - 1));
	down();
}

static void
test_age(void)
{
	up();
	answer(1, 1, FF_OVERLAY_REMOTE, 7);
	answer(1, 2, FF_OVERLAY_NONE, 0);
	answer(1, 3, FF_OVERLAY_REMOTE, 7);
	for (unsigned i = 0; i < 5; i++) {
		look(1, 1);
		overlay_cache_age();
	}
	CU_ASSERT_TRUE(is_there(1, 1));
	CU_ASSERT_FALSE(is_there(1, 2));
	CU_ASSERT_FALSE(is_there(1, 3));
	CU_ASSERT_EQUAL(forgotten[0], 2);
	/* A new answer is no use. */
	answer(1, 1, FF_OVERLAY_REMOTE, 8);
	overlay_cache_age();
	answer(1, 1, FF_OVERLAY_REMOTE, 9);
	overlay_cache_age();
	CU_ASSERT_FALSE(is_there(1, 1));
	down();
}

/* ---- readers ---- */

#define READ_GIDS 64u

static _Atomic unsigned lookups, torn;

/* All of an entry is of one change: each part is made from the same number. */
static unsigned
read_all(struct ff_worker *w, uint64_t now_ns)
{
	uint8_t gid[16] = {[10] = 0xff, [11] = 0xff};
	struct ff_overlay_entry e;

	for (uint32_t n = 0; n < READ_GIDS; n++) {
		memcpy(gid + 12, &n, 4);
		ff_overlay_lookup(1, gid, &e);
		atomic_fetch_add_explicit(&lookups, 1, memory_order_relaxed);
		if (e.state != FF_OVERLAY_REMOTE)
			continue;
		for (unsigned i = 0; i < 16; i++)
			if (e.host[i] != (uint8_t)e.vni)
				atomic_fetch_add(&torn, 1);
		if (e.mtu != (uint16_t)e.vni || e.mac[0] != (uint8_t)e.vni || !e.generation)
			atomic_fetch_add(&torn, 1);
	}
	return 1;
}

static void
change(uint32_t n, uint32_t number)
{
	struct ff_overlay_entry e = {.state = FF_OVERLAY_REMOTE, .vni = number};

	memset(e.host, (uint8_t)number, 16);
	memset(e.mac, (uint8_t)number, 6);
	e.mtu = (uint16_t)number;
	ff_overlay_answer(1, gid_of(n), number % 5 == 4 ? NULL : &e);
}

static void
test_readers(void)
{
	unsigned changes = 5 * rounds(), seen;

	up();
	stage.poll = read_all;
	workers_up(FF_IDLE_ADAPTIVE);
	for (unsigned i = 0; i < changes; i++) {
		change((i * 7) % READ_GIDS, i);
		if (i % 997 == 0)
			ff_overlay_flush(1);
		if (i % 1009 == 0)
			overlay_cache_age();
	}
	seen = atomic_load(&lookups);
	while (atomic_load(&lookups) - seen < 2 * READ_GIDS)
		sched_yield();
	workers_down();
	CU_ASSERT_EQUAL(atomic_load(&torn), 0);
	down();
}

int
main(void)
{
	CU_pSuite s;

	if (CU_initialize_registry() != CUE_SUCCESS)
		return EXIT_FAILURE;
	s = CU_add_suite("cache", fixture_setup, fixture_cleanup);
	CU_add_test(s, "answers", test_answers);
	CU_add_test(s, "a visit to all", test_foreach);
	CU_add_test(s, "providers", test_providers);
	CU_add_test(s, "local addresses", test_local);
	CU_add_test(s, "a tenant's bound", test_tenant_bound);
	CU_add_test(s, "second chance", test_second_chance);
	CU_add_test(s, "the bound of all", test_total_bound);
	CU_add_test(s, "age", test_age);
	CU_add_test(s, "readers", test_readers);
	return fixture_run();
}
