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
	char text[512];

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

static void
test_static_alone(void)
{
	struct ff_config conf = conf_of("{" ALONE("static") ", " TABLE("10.32.0.2") "}");
	struct ff_config other = conf_of("{" TABLE("10.32.0.3") "}"), none = conf_of("{}");

	CU_ASSERT_EQUAL_FATAL(ff_overlay_start(&conf.overlay), 0);
	CU_ASSERT_EQUAL(state_of("10.32.0.2"), FF_OVERLAY_REMOTE);
	CU_ASSERT_EQUAL(state_of("10.32.0.3"), FF_OVERLAY_NONE);
	ff_overlay_static_set(&other.overlay, true);
	ff_config_free(&conf);
	CU_ASSERT_EQUAL(state_of("10.32.0.2"), FF_OVERLAY_NONE);
	CU_ASSERT_EQUAL(state_of("10.32.0.3"), FF_OVERLAY_REMOTE);
	ff_overlay_static_set(&none.overlay, true);
	CU_ASSERT_EQUAL(state_of("10.32.0.3"), FF_OVERLAY_NONE);
	ff_overlay_stop();
	ff_overlay_stop();
	ff_config_free(&other);
	ff_config_free(&none);
}

static void
test_not_in_use(void)
{
	struct ff_config conf = conf_of("{" ALONE("kernel") "}");
	struct ff_config table = conf_of("{" TABLE("127.0.0.8/30") "}");

	ff_overlay_static_set(&table.overlay, true);
	CU_ASSERT_EQUAL_FATAL(ff_overlay_start(&conf.overlay), 0);
	ff_overlay_static_set(&table.overlay, true);
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
