/* SPDX-License-Identifier: MIT */
/* Tests dataplane/overlay/static.c: values, the longest prefix, tenants, another table. */
#include <CUnit/Basic.h>
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/config.h"
#include "core/loop.h"
#include "overlay/overlay.h"

static void
gid_of(const char *text, uint8_t gid[16])
{
	memset(gid, 0, 16);
	if (inet_pton(AF_INET, text, gid + 12) == 1)
		gid[10] = gid[11] = 0xff;
	else
		CU_ASSERT_EQUAL(inet_pton(AF_INET6, text, gid), 1);
}

static struct ff_config conf;

/* The table that stands in overlay.static. */
static void
use(const char *table)
{
	struct ff_config old = conf;
	char text[1024];

	snprintf(text, sizeof(text), "{\"overlay\": {\"static\": %s}}", table);
	CU_ASSERT_EQUAL_FATAL(ff_config_parse(text, strlen(text), &conf, stderr), 0);
	CU_ASSERT_EQUAL(ff_overlay_static.init(&conf.overlay), 0);
	ff_config_free(&old);
	ff_overlay_flush(FF_OVERLAY_ALL);
}

static struct ff_overlay_entry
find(const char *tenant, uint32_t index, const char *address)
{
	struct ff_overlay_scope scope = {index, tenant, -1};
	struct ff_overlay_entry e;
	uint8_t gid[16];

	gid_of(address, gid);
	CU_ASSERT_EQUAL(ff_overlay_ask(&scope, gid), 0);
	ff_overlay_lookup(index, gid, &e);
	return e;
}

/* The host as text; "none" when nobody has the address. */
static const char *
host_for(const char *tenant, uint32_t index, const char *address)
{
	static char text[INET6_ADDRSTRLEN];
	struct ff_overlay_entry e = find(tenant, index, address);
	bool v4 = e.host[10] == 0xff && e.host[11] == 0xff;

	if (e.state != FF_OVERLAY_REMOTE)
		return e.state == FF_OVERLAY_NONE ? "none" : "?";
	inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? e.host + 12 : e.host, text, sizeof(text));
	return text;
}

static void
test_values(void)
{
	static const uint8_t mac[6] = {0x02, 0, 0x0a, 0x20, 0xAb, 0x01}, zero[6];
	struct ff_overlay_entry e;

	use("[{\"prefix\": \"10.32.0.2\", \"host\": \"192.168.1.2\","
	    "  \"mac\": \"02:00:0a:20:AB:01\", \"mtu\": 8950},"
	    " {\"prefix\": \"fd32::/64\", \"host\": \"fd00::2\", \"encap\": \"none\"},"
	    " {\"$comment\": \"c\", \"prefix\": \"10.33.0.0/16\", \"host\": \"192.168.1.3\","
	    "  \"encap\": \"vxlan\"}]");
	e = find(NULL, 1, "10.32.0.2");
	CU_ASSERT_EQUAL(e.state, FF_OVERLAY_REMOTE);
	CU_ASSERT_TRUE(e.vxlan);
	CU_ASSERT_EQUAL(e.mtu, 8950);
	CU_ASSERT_EQUAL(memcmp(e.mac, mac, 6), 0);
	e = find(NULL, 1, "fd32::7");
	CU_ASSERT_EQUAL(e.state, FF_OVERLAY_REMOTE);
	CU_ASSERT_FALSE(e.vxlan);
	CU_ASSERT_EQUAL(e.mtu, 0);
	CU_ASSERT_EQUAL(memcmp(e.mac, zero, 6), 0);
	e = find(NULL, 1, "10.33.255.255");
	CU_ASSERT_TRUE(e.vxlan);
	CU_ASSERT_STRING_EQUAL(host_for(NULL, 1, "10.32.0.2"), "192.168.1.2");
	CU_ASSERT_STRING_EQUAL(host_for(NULL, 1, "fd32::7"), "fd00::2");
	CU_ASSERT_STRING_EQUAL(host_for(NULL, 1, "fd32:0:0:1::7"), "none");
	CU_ASSERT_STRING_EQUAL(host_for(NULL, 1, "10.32.0.3"), "none");
}

#define ENTRY(prefix, host) "{\"prefix\": \"" prefix "\", \"host\": \"" host "\"}"

static void
test_longest(void)
{
	use("[" ENTRY("10.0.0.0/8", "1.0.0.8") "," ENTRY("10.32.1.128/25", "1.0.0.25") "," ENTRY(
		"10.32.0.0/12", "1.0.0.12") "," ENTRY("10.32.1.0/24",
						      "1.0.0.24") "," ENTRY("10.32.1.129",
									    "1.0.0.32") "]");
	CU_ASSERT_STRING_EQUAL(host_for("t", 1, "10.32.1.129"), "1.0.0.32");
	CU_ASSERT_STRING_EQUAL(host_for("t", 1, "10.32.1.130"), "1.0.0.25");
	CU_ASSERT_STRING_EQUAL(host_for("t", 1, "10.32.1.127"), "1.0.0.24");
	CU_ASSERT_STRING_EQUAL(host_for("t", 1, "10.47.255.1"), "1.0.0.12");
	CU_ASSERT_STRING_EQUAL(host_for("t", 1, "10.48.0.1"), "1.0.0.8");
	CU_ASSERT_STRING_EQUAL(host_for("t", 1, "11.0.0.1"), "none");
	/* All of IPv6 is nothing of IPv4, and the other way round. */
	use("[" ENTRY("::/0", "1.0.0.6") "," ENTRY("0.0.0.0/1", "1.0.0.4") "]");
	CU_ASSERT_STRING_EQUAL(host_for("t", 1, "fd00::1"), "1.0.0.6");
	CU_ASSERT_STRING_EQUAL(host_for("t", 1, "127.1.1.1"), "1.0.0.4");
	CU_ASSERT_STRING_EQUAL(host_for("t", 1, "128.0.0.1"), "none");
}

static void
test_tenants(void)
{
	use("[{\"prefix\": \"10.0.0.0/24\", \"host\": \"1.0.0.1\", \"tenant\": \"a\"},"
	    " {\"prefix\": \"10.0.0.0/24\", \"host\": \"1.0.0.2\", \"tenant\": \"b\"},"
	    " {\"prefix\": \"10.0.0.0/24\", \"host\": \"1.0.0.3\"},"
	    " {\"prefix\": \"10.0.0.9\", \"host\": \"1.0.0.4\"}]");
	CU_ASSERT_STRING_EQUAL(host_for("a", 1, "10.0.0.1"), "1.0.0.1");
	CU_ASSERT_STRING_EQUAL(host_for("b", 2, "10.0.0.1"), "1.0.0.2");
	CU_ASSERT_STRING_EQUAL(host_for("c", 3, "10.0.0.1"), "1.0.0.3");
	CU_ASSERT_STRING_EQUAL(host_for(NULL, 4, "10.0.0.1"), "1.0.0.3");
	/* The longest comes first, then the tenant. */
	CU_ASSERT_STRING_EQUAL(host_for("a", 1, "10.0.0.9"), "1.0.0.4");
}

static void
test_replace(void)
{
	struct ff_overlay_entry before, after;

	use("[" ENTRY("10.0.0.0/24", "1.0.0.1") "]");
	before = find("t", 1, "10.0.0.7");
	use("[" ENTRY("10.0.0.0/24", "1.0.0.2") "]");
	CU_ASSERT_STRING_EQUAL(host_for("t", 1, "10.0.0.7"), "1.0.0.2");
	after = find("t", 1, "10.0.0.7");
	CU_ASSERT_NOT_EQUAL(before.generation, after.generation);
	/* None at all is an empty one. */
	CU_ASSERT_EQUAL(ff_overlay_static.init(NULL), 0);
	CU_ASSERT_STRING_EQUAL(host_for("t", 1, "10.0.0.9"), "none");
}

int
main(void)
{
	static const struct ff_overlay_provider *const providers[] = {&ff_overlay_static};
	CU_pSuite s;
	unsigned failed;

	if (ff_loop_init() || ff_overlay_init(providers, 1) ||
	    CU_initialize_registry() != CUE_SUCCESS)
		return EXIT_FAILURE;
	s = CU_add_suite("static", NULL, NULL);
	CU_add_test(s, "values", test_values);
	CU_add_test(s, "the longest prefix wins", test_longest);
	CU_add_test(s, "tenants", test_tenants);
	CU_add_test(s, "another table", test_replace);
	CU_basic_set_mode(CU_BRM_VERBOSE);
	CU_basic_run_tests();
	failed = CU_get_number_of_failures();
	ff_overlay_static.fini();
	ff_config_free(&conf);
	CU_cleanup_registry();
	ff_overlay_fini();
	ff_overlay_static.fini();
	ff_loop_fini();
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
