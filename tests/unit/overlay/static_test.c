/* SPDX-License-Identifier: MIT */
/* Tests dataplane/overlay/static.c: what it takes, what it refuses and why, the longest prefix. */
#include <CUnit/Basic.h>
#include <arpa/inet.h>
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "core/loop.h"
#include "overlay/overlay.h"

static json_t *
json(const char *text)
{
	json_error_t e;
	json_t *j = json_loads(text, 0, &e);

	if (!j)
		printf(" %s at column %d of %s\n", e.text, e.column, text);
	return j;
}

static void
gid_of(const char *text, uint8_t gid[16])
{
	memset(gid, 0, 16);
	if (inet_pton(AF_INET, text, gid + 12) == 1)
		gid[10] = gid[11] = 0xff;
	else
		CU_ASSERT_EQUAL(inet_pton(AF_INET6, text, gid), 1);
}

static void
use(const char *text)
{
	json_t *j = json(text);

	CU_ASSERT_EQUAL_FATAL(ff_overlay_static.init(j), 0);
	json_decref(j);
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

	use("[{\"prefix\": \"10.32.0.2\", \"host\": \"192.168.1.2\", \"vni\": 16777215,"
	    "  \"mac\": \"02:00:0a:20:AB:01\", \"mtu\": 8950},"
	    " {\"prefix\": \"fd32::/64\", \"host\": \"fd00::2\", \"encap\": \"none\"},"
	    " {\"$comment\": \"c\", \"prefix\": \"10.33.0.0/16\", \"host\": \"192.168.1.3\","
	    "  \"vni\": 0, \"encap\": \"vxlan\"}]");
	e = find(NULL, 1, "10.32.0.2");
	CU_ASSERT_EQUAL(e.state, FF_OVERLAY_REMOTE);
	CU_ASSERT_TRUE(e.vxlan);
	CU_ASSERT_EQUAL(e.vni, 16777215);
	CU_ASSERT_EQUAL(e.mtu, 8950);
	CU_ASSERT_EQUAL(memcmp(e.mac, mac, 6), 0);
	e = find(NULL, 1, "fd32::7");
	CU_ASSERT_EQUAL(e.state, FF_OVERLAY_REMOTE);
	CU_ASSERT_FALSE(e.vxlan);
	CU_ASSERT_EQUAL(e.mtu, 0);
	CU_ASSERT_EQUAL(memcmp(e.mac, zero, 6), 0);
	e = find(NULL, 1, "10.33.255.255");
	CU_ASSERT_TRUE(e.vxlan);
	CU_ASSERT_EQUAL(e.vni, 0);
	CU_ASSERT_STRING_EQUAL(host_for(NULL, 1, "10.32.0.2"), "192.168.1.2");
	CU_ASSERT_STRING_EQUAL(host_for(NULL, 1, "fd32::7"), "fd00::2");
	CU_ASSERT_STRING_EQUAL(host_for(NULL, 1, "fd32:0:0:1::7"), "none");
	CU_ASSERT_STRING_EQUAL(host_for(NULL, 1, "10.32.0.3"), "none");
}

#define ENTRY(prefix, host) "{\"prefix\": \"" prefix "\", \"host\": \"" host "\", \"vni\": 1}"

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
	use("[{\"prefix\": \"10.0.0.0/24\", \"host\": \"1.0.0.1\", \"vni\": 1, \"tenant\": \"a\"},"
	    " {\"prefix\": \"10.0.0.0/24\", \"host\": \"1.0.0.2\", \"vni\": 2, \"tenant\": \"b\"},"
	    " {\"prefix\": \"10.0.0.0/24\", \"host\": \"1.0.0.3\", \"vni\": 3},"
	    " {\"prefix\": \"10.0.0.9\", \"host\": \"1.0.0.4\", \"vni\": 4}]");
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
	json_t *bad = json("[{\"prefix\": \"10.0.0.1\"}]");

	use("[" ENTRY("10.0.0.0/24", "1.0.0.1") "]");
	before = find("t", 1, "10.0.0.7");
	use("[" ENTRY("10.0.0.0/24", "1.0.0.2") "]");
	CU_ASSERT_STRING_EQUAL(host_for("t", 1, "10.0.0.7"), "1.0.0.2");
	after = find("t", 1, "10.0.0.7");
	CU_ASSERT_NOT_EQUAL(before.generation, after.generation);
	/* A bad one changes nothing; none at all is an empty one. */
	CU_ASSERT_EQUAL(ff_overlay_static.init(bad), -EINVAL);
	CU_ASSERT_STRING_EQUAL(host_for("t", 1, "10.0.0.8"), "1.0.0.2");
	CU_ASSERT_EQUAL(ff_overlay_static.init(NULL), 0);
	CU_ASSERT_STRING_EQUAL(host_for("t", 1, "10.0.0.9"), "none");
	json_decref(bad);
}

/* Each array has the faults that the lines name, in that order, and no others. */
static const struct {
	const char *text, *faults;
} bad[] = {
	{"{}", "o.s: must be an array, is an object\n"},
	{"[1]", "o.s[0]: must be an object, is an integer\n"},
	{"[{}]", "o.s[0].prefix: is missing\no.s[0].host: is missing\n"
		 "o.s[0].vni: is missing, and encap is \"vxlan\"\n"},
	{"[{\"prefix\": 7, \"host\": \"1.0.0.1\", \"vni\": 1}]",
	 "o.s[0].prefix: must be a string, is an integer\n"},
	{"[" ENTRY("10.0.0.300", "1.0.0.1") "]",
	 "o.s[0].prefix: must be an IPv4 or IPv6 address or prefix\n"},
	{"[" ENTRY("", "1.0.0.1") "]",
	 "o.s[0].prefix: must be an IPv4 or IPv6 address or prefix\n"},
	{"[" ENTRY("/8", "1.0.0.1") "]",
	 "o.s[0].prefix: must be an IPv4 or IPv6 address or prefix\n"},
	{"[" ENTRY("1234:1234:1234:1234:1234:1234:1234:1234:1234:1234:1234:1234", "1.0.0.1") "]",
	 "o.s[0].prefix: must be an IPv4 or IPv6 address or prefix\n"},
	{"[" ENTRY("10.0.0.0/33", "1.0.0.1") "]",
	 "o.s[0].prefix: the prefix length must be 0 to 32\n"},
	{"[" ENTRY("10.0.0.0/", "1.0.0.1") "]",
	 "o.s[0].prefix: the prefix length must be 0 to 32\n"},
	{"[" ENTRY("10.0.0.0/-1", "1.0.0.1") "]",
	 "o.s[0].prefix: the prefix length must be 0 to 32\n"},
	{"[" ENTRY("fd00::/4294967297", "1.0.0.1") "]",
	 "o.s[0].prefix: the prefix length must be 0 to 128\n"},
	{"[" ENTRY("10.0.0.1/24", "1.0.0.1") "]", "o.s[0].prefix: has bits behind the first 24\n"},
	{"[" ENTRY("fd00::1/64", "1.0.0.1") "]", "o.s[0].prefix: has bits behind the first 64\n"},
	{"[" ENTRY("127.0.0.1", "1.0.0.1") "]",
	 "o.s[0].prefix: is not an address that a container can have\n"},
	{"[" ENTRY("10.0.0.1", "224.0.0.1") "]",
	 "o.s[0].host: must be the IPv4 or IPv6 unicast address of a host\n"},
	{"[" ENTRY("10.0.0.1", "::") "]",
	 "o.s[0].host: must be the IPv4 or IPv6 unicast address of a host\n"},
	{"[" ENTRY("10.0.0.1", "host2") "]",
	 "o.s[0].host: must be the IPv4 or IPv6 unicast address of a host\n"},
	{"[{\"prefix\": \"10.0.0.1\", \"host\": \"1.0.0.1\", \"vni\": 16777216}]",
	 "o.s[0].vni: is 16777216, must be 0 to 16777215\n"},
	{"[{\"prefix\": \"10.0.0.1\", \"host\": \"1.0.0.1\", \"vni\": 1, \"encap\": \"none\"}]",
	 "o.s[0].vni: has no meaning when encap is \"none\"\n"},
	{"[{\"prefix\": \"10.0.0.1\", \"host\": \"1.0.0.1\", \"encap\": \"gre\", \"vni\": 1}]",
	 "o.s[0].encap: must be one of \"vxlan\", \"none\"\n"},
	{"[{\"prefix\": \"fd00::1\", \"host\": \"1.0.0.1\", \"vni\": 1, \"mtu\": 600}]",
	 "o.s[0].mtu: is 600, IPv6 needs at least 1280\n"},
	{"[{\"prefix\": \"10.0.0.1\", \"host\": \"1.0.0.1\", \"vni\": 1, \"mtu\": 65536}]",
	 "o.s[0].mtu: is 65536, must be 576 to 65535\n"},
	{"[{\"prefix\": \"10.0.0.1\", \"host\": \"1.0.0.1\", \"vni\": 1, \"port\": 4789}]",
	 "o.s[0].port: unknown key (known here: prefix, host, encap, vni, mac, mtu, tenant)\n"},
	/* Every fault is said, of every element. */
	{"[" ENTRY("10.0.0.1/8", "x") "," ENTRY("10.0.0.1", "1.0.0.1") "," ENTRY("y",
										 "1.0.0.1") "]",
	 "o.s[0].prefix: has bits behind the first 8\n"
	 "o.s[0].host: must be the IPv4 or IPv6 unicast address of a host\n"
	 "o.s[2].prefix: must be an IPv4 or IPv6 address or prefix\n"},
	{"[" ENTRY("10.0.0.1", "1.0.0.1") "," ENTRY("10.0.0.2", "1.0.0.1") "," ENTRY("10.0.0.1/32",
										     "1.0.0.2") "]",
	 "o.s[2].prefix: is also the prefix of element 0\n"},
};

static void
fault_is(const char *array, const char *faults)
{
	json_t *j = json(array);
	char *text = NULL;
	size_t len;
	FILE *err = open_memstream(&text, &len);

	CU_ASSERT_EQUAL(ff_overlay_static_check(j, "o.s", err), faults[0] ? -EINVAL : 0);
	fclose(err);
	if (strcmp(text, faults) != 0)
		printf("\n%s says\n%snot\n%s", array, text, faults);
	CU_ASSERT_STRING_EQUAL(text, faults);
	free(text);
	json_decref(j);
}

static void
test_faults(void)
{
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		fault_is(bad[i].text, bad[i].faults);
	fault_is("[]", "");
	fault_is("[" ENTRY("0.0.0.0/0", "fd00::1") "]", "");
}

static void
test_macs(void)
{
	static const char *const macs[] = {
		"",
		"02:00:00:00:00",
		"02:00:00:00:00:01:",
		"02-00-00-00-00-01",
		"0x:00:00:00:00:01",
		"2:00:00:00:00:001",
		"01:00:00:00:00:01",
		"00:00:00:00:00:00",
		" 2:00:00:00:00:01",
		"+2:00:00:00:00:01",
		"ff:ff:ff:ff:ff:ff",
	};
	char text[160];

	for (unsigned i = 0; i < sizeof(macs) / sizeof(macs[0]); i++) {
		snprintf(text, sizeof(text),
			 "[{\"prefix\": \"10.0.0.1\", \"host\": \"1.0.0.1\", \"vni\": 1, "
			 "\"mac\": \"%s\"}]",
			 macs[i]);
		fault_is(text, "o.s[0].mac: must be a unicast MAC address such as "
			       "02:00:0a:20:00:01\n");
	}
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
	CU_add_test(s, "faults", test_faults);
	CU_add_test(s, "MAC addresses", test_macs);
	CU_basic_set_mode(CU_BRM_VERBOSE);
	CU_basic_run_tests();
	failed = CU_get_number_of_failures();
	CU_cleanup_registry();
	ff_overlay_fini();
	ff_overlay_static.fini();
	ff_loop_fini();
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
