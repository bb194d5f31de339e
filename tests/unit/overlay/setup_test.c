/* SPDX-License-Identifier: MIT */
/* Tests dataplane/overlay/setup.c: the providers of the configuration, and a start that fails. */
#include <CUnit/Basic.h>
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "core/config.h"
#include "core/loop.h"
#include "overlay/overlay.h"

#define TENANT 5u

/* The configuration with that section; the caller frees it. */
static struct ff_config
conf_of(const char *overlay)
{
	struct ff_config c = {0};
	char text[1024];

	snprintf(text, sizeof(text), "{\"overlay\": %s}", overlay);
	CU_ASSERT_EQUAL_FATAL(ff_config_parse(text, strlen(text), &c, stderr), 0);
	return c;
}

static enum ff_overlay_state
state_of(const char *address)
{
	struct ff_overlay_scope scope = {TENANT, "t", -1};
	uint8_t gid[16] = {[10] = 0xff, [11] = 0xff};
	struct ff_overlay_entry e;

	CU_ASSERT_EQUAL(inet_pton(AF_INET, address, gid + 12), 1);
	CU_ASSERT_EQUAL(ff_overlay_ask(&scope, gid), 0);
	ff_overlay_lookup(TENANT, gid, &e);
	return e.state;
}

static unsigned
fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	while (d && readdir(d))
		n++;
	if (d)
		closedir(d);
	return n;
}

#define TABLE(address) "\"static\": [{\"prefix\": \"" address "\", \"host\": \"192.168.1.2\"}]"
#define ALONE(kind)    "\"providers\": [\"" kind "\"]"

static const char *
name_of(uint32_t tenant)
{
	return tenant == 2 ? "b" : "a";
}

static void
test_static_alone(void)
{
	struct ff_config conf = conf_of("{" ALONE("static") ", " TABLE("10.32.0.2") "}");
	struct ff_config other = conf_of("{" TABLE("10.32.0.3") "}"), none = conf_of("{}");

	CU_ASSERT_EQUAL_FATAL(ff_overlay_start(&conf.overlay), 0);
	CU_ASSERT_EQUAL(state_of("10.32.0.2"), FF_OVERLAY_REMOTE);
	CU_ASSERT_EQUAL(state_of("10.32.0.3"), FF_OVERLAY_NONE);
	ff_overlay_static_set(&other.overlay, name_of);
	ff_config_free(&conf);
	CU_ASSERT_EQUAL(state_of("10.32.0.2"), FF_OVERLAY_NONE);
	CU_ASSERT_EQUAL(state_of("10.32.0.3"), FF_OVERLAY_REMOTE);
	ff_overlay_static_set(&none.overlay, name_of);
	CU_ASSERT_EQUAL(state_of("10.32.0.3"), FF_OVERLAY_NONE);
	ff_overlay_stop();
	ff_overlay_stop();
	ff_config_free(&other);
	ff_config_free(&none);
}

/* What is known, without a question. */
static struct ff_overlay_entry
known(uint32_t tenant, const uint8_t gid[16])
{
	struct ff_overlay_entry e;

	ff_overlay_lookup(tenant, gid, &e);
	return e;
}

static struct ff_overlay_entry
asked(uint32_t tenant, const char *address, uint8_t gid[16])
{
	struct ff_overlay_scope scope = {tenant, name_of(tenant), -1};

	memcpy(gid, (uint8_t[16]){[10] = 0xff, [11] = 0xff}, 16);
	CU_ASSERT_EQUAL(inet_pton(AF_INET, address, gid + 12), 1);
	CU_ASSERT_EQUAL(ff_overlay_ask(&scope, gid), 0);
	return known(tenant, gid);
}

#define ROW(prefix, more) "{\"prefix\": \"" prefix "\", " more "}"
#define HOST(host)	  "\"host\": \"" host "\""
#define FOR_B		  ", \"tenant\": \"b\""

/*
 * Another table says the same of some addresses, and something else of others: nobody who knows
 * them has to ask.
 */
static void
test_in_place(void)
{
	static const struct {
		uint32_t tenant;
		const char *address;
		uint8_t host; /* 1.0.0.x, with the other table; 0: to be asked for */
		bool same;
	} t[] = {
		{1, "10.0.0.1", 1, true},  {1, "10.0.1.1", 2, false}, {2, "10.0.1.1", 1, true},
		{1, "10.0.2.1", 2, false}, {1, "10.0.3.1", 0, false}, {2, "10.1.0.1", 0, false},
	};
	struct ff_config first = conf_of(
		"{" ALONE("static") ", \"static\": [" ROW("10.0.0.0/24", HOST("1.0.0.1")) "," ROW(
			"10.0.1.0/24",
			HOST("1.0.0.1")) "," ROW("10.0.2.0/24",
						 HOST("1.0.0.1")) "," ROW("10.1.0.0/16",
									  HOST("1.0.0.1")) "]}");
	struct ff_config other =
		conf_of("{\"static\": [" ROW("10.0.0.0/16", HOST("1.0.0.2")) "," ROW(
			"10.0.0.0/25", HOST("1.0.0.1")) "," ROW("10.0.1.0/24",
								HOST("1.0.0.1") FOR_B) "]}");
	static const struct ff_overlay_entry local = {.state = FF_OVERLAY_LOCAL};
	struct ff_overlay_entry before[6], after;
	uint8_t gid[6][16], own[16];

	CU_ASSERT_EQUAL_FATAL(ff_overlay_start(&first.overlay), 0);
	for (unsigned i = 0; i < 6; i++)
		before[i] = asked(t[i].tenant, t[i].address, gid[i]);
	asked(1, "10.0.2.9", own);
	ff_overlay_answer(1, own, &local);
	ff_overlay_static_set(&other.overlay, name_of);
	ff_config_free(&first);
	for (unsigned i = 0; i < 6; i++) {
		after = known(t[i].tenant, gid[i]);
		CU_ASSERT_EQUAL(after.generation == before[i].generation, t[i].same);
		CU_ASSERT_EQUAL(after.state, t[i].host ? FF_OVERLAY_REMOTE : FF_OVERLAY_UNKNOWN);
		CU_ASSERT_EQUAL(after.host[15], t[i].host);
		CU_ASSERT(after.vxlan || !t[i].host);
	}
	CU_ASSERT_EQUAL(known(1, own).state, FF_OVERLAY_LOCAL);
	CU_ASSERT_EQUAL(asked(1, "10.0.3.1", gid[4]).host[15], 2);
	ff_overlay_stop();
	ff_config_free(&other);
}

/* Each address is looked at once, also where the new answers come behind the old ones. */
static void
test_many_in_place(void)
{
	struct ff_config first = conf_of(
		"{" ALONE("static") ", \"static\": [" ROW("10.0.0.0/8", HOST("1.0.0.1")) "]}");
	struct ff_config other = conf_of("{\"static\": [" ROW("10.0.0.0/8", HOST("1.0.0.2")) "]}");
	struct ff_overlay_entry e;
	uint8_t gid[200][16];
	unsigned changed = 0;
	char text[16];

	CU_ASSERT_EQUAL_FATAL(ff_overlay_start(&first.overlay), 0);
	for (unsigned i = 0; i < 200; i++) {
		snprintf(text, sizeof(text), "10.0.0.%u", i);
		asked(1 + i % 2, text, gid[i]);
	}
	ff_overlay_static_set(&other.overlay, name_of);
	for (unsigned i = 0; i < 200; i++) {
		e = known(1 + i % 2, gid[i]);
		changed += e.state == FF_OVERLAY_REMOTE && e.host[15] == 2;
	}
	CU_ASSERT_EQUAL(changed, 200);
	ff_overlay_stop();
	ff_config_free(&other);
	ff_config_free(&first);
}

static void
test_not_in_use(void)
{
	struct ff_config conf = conf_of("{" ALONE("kernel") "}");
	struct ff_config table = conf_of("{" TABLE("127.0.0.8/30") "}");

	ff_overlay_static_set(&table.overlay, name_of);
	CU_ASSERT_EQUAL_FATAL(ff_overlay_start(&conf.overlay), 0);
	ff_overlay_static_set(&table.overlay, name_of);
	CU_ASSERT_NOT_EQUAL(state_of("127.0.0.9"), FF_OVERLAY_REMOTE);
	ff_overlay_stop();
	ff_config_free(&table);
	ff_config_free(&conf);
}

static void
test_static_first(void)
{
	struct ff_config conf = conf_of("{" TABLE("127.0.0.0/30") "}");

	CU_ASSERT_EQUAL_FATAL(ff_overlay_start(&conf.overlay), 0);
	CU_ASSERT_EQUAL(state_of("127.0.0.1"), FF_OVERLAY_REMOTE);
	/* Not in the table: the kernel says that it is its own, so no other host's. */
	CU_ASSERT_NOT_EQUAL(state_of("127.0.0.5"), FF_OVERLAY_REMOTE);
	ff_overlay_stop();
	ff_config_free(&conf);
}

/* What had started before the kernel's sockets could not be made is taken down again. */
static void
test_failed_start(void)
{
	struct ff_config conf = conf_of("{" TABLE("10.32.0.2") "}");
	struct rlimit old, few;
	unsigned before = fds();

	CU_ASSERT_EQUAL_FATAL(getrlimit(RLIMIT_NOFILE, &old), 0);
	few = old;
	for (few.rlim_cur = 0; few.rlim_cur < before + 4; few.rlim_cur++) {
		int rc;

		CU_ASSERT_EQUAL_FATAL(setrlimit(RLIMIT_NOFILE, &few), 0);
		rc = ff_overlay_start(&conf.overlay);
		setrlimit(RLIMIT_NOFILE, &old);
		if (!rc)
			ff_overlay_stop();
		else
			CU_ASSERT_EQUAL(rc, -EMFILE);
		CU_ASSERT_EQUAL(fds(), before);
	}
	CU_ASSERT_EQUAL_FATAL(ff_overlay_start(&conf.overlay), 0);
	CU_ASSERT_EQUAL(state_of("10.32.0.2"), FF_OVERLAY_REMOTE);
	ff_overlay_stop();
	CU_ASSERT_EQUAL(fds(), before);
	ff_config_free(&conf);
}

int
main(void)
{
	CU_pSuite s;
	unsigned failed;

	if (ff_loop_init() || CU_initialize_registry() != CUE_SUCCESS)
		return EXIT_FAILURE;
	s = CU_add_suite("setup", NULL, NULL);
	CU_add_test(s, "static alone, another table", test_static_alone);
	CU_add_test(s, "another table in place", test_in_place);
	CU_add_test(s, "many in place", test_many_in_place);
	CU_add_test(s, "a table that is not in use", test_not_in_use);
	CU_add_test(s, "static before kernel", test_static_first);
	CU_add_test(s, "a start that fails leaves nothing", test_failed_start);
	CU_basic_set_mode(CU_BRM_VERBOSE);
	CU_basic_run_tests();
	failed = CU_get_number_of_failures();
	CU_cleanup_registry();
	ff_loop_fini();
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
