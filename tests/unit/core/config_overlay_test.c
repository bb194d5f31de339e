/* SPDX-License-Identifier: MIT */
/* Tests dataplane/core/config_overlay.c: what it takes, what it refuses and why. */
#include <CUnit/Basic.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config_util.h"

static void
test_overlay(void)
{
#define OVERLAY(fields) "{\"overlay\": {" fields "}}"
#define ONE		"{\"prefix\": \"10.32.1.0/24\", \"host\": \"192.168.1.2\"}"
	struct ff_config c;

	expect_fault("{\"overlay\": []}", "overlay", "must be an object");
	expect_fault(OVERLAY("\"providers\": \"kernel\""), "overlay.providers",
		     "must be an array, is a string");
	expect_fault(OVERLAY("\"providers\": []"), "overlay.providers", "1 to 2");
	expect_fault(OVERLAY("\"providers\": [\"kernel\", \"etc\"]"), "overlay.providers[1]",
		     "must be one of \"static\", \"kernel\"");
	expect_fault(OVERLAY("\"providers\": [\"kernel\", \"kernel\"]"), "overlay.providers[1]",
		     "listed twice");
	expect_fault(OVERLAY("\"static\": {}"), "overlay.static", "must be an array");
	expect_fault(OVERLAY("\"static\": [" ONE ", {\"host\": \"1.0.0.1\"}]"),
		     "overlay.static[1].prefix", "is missing");
	expect_fault(OVERLAY("\"providers\": [\"kernel\"], \"static\": [" ONE "]"),
		     "overlay.static", "no meaning");
	CU_ASSERT_EQUAL_FATAL(parse("{}", &c), 0);
	CU_ASSERT_EQUAL(c.overlay.num_providers, 2);
	CU_ASSERT_EQUAL(c.overlay.providers[0], FF_CONF_OVERLAY_STATIC);
	CU_ASSERT_EQUAL(c.overlay.num_statics, 0);
	CU_ASSERT_EQUAL_FATAL(
		parse(OVERLAY("\"providers\": [\"kernel\", \"static\"], \"static\": [" ONE "]"),
		      &c),
		0);
	CU_ASSERT_EQUAL(c.overlay.num_providers, 2);
	CU_ASSERT_EQUAL(c.overlay.providers[0], FF_CONF_OVERLAY_KERNEL);
	CU_ASSERT_EQUAL(c.overlay.providers[1], FF_CONF_OVERLAY_STATIC);
	CU_ASSERT_EQUAL(c.overlay.num_statics, 1);
	ff_config_free(&c);
	CU_ASSERT_PTR_NULL(c.overlay.statics);
#undef OVERLAY
#undef ONE
}

#define ENTRY(prefix, host) "{\"prefix\": \"" prefix "\", \"host\": \"" host "\"}"

/* Each array has the faults that the lines name, in that order, and no others. */
static const struct {
	const char *text, *faults;
} bad[] = {
	{"{}", "overlay.static: must be an array, is an object\n"},
	{"[1]", "overlay.static[0]: must be an object, is an integer\n"},
	{"[{}]", "overlay.static[0].prefix: is missing\noverlay.static[0].host: is missing\n"},
	{"[{\"prefix\": 7, \"host\": \"1.0.0.1\"}]",
	 "overlay.static[0].prefix: must be a string, is an integer\n"},
	{"[" ENTRY("10.0.0.300", "1.0.0.1") "]",
	 "overlay.static[0].prefix: must be an IPv4 or IPv6 address or prefix\n"},
	{"[" ENTRY("", "1.0.0.1") "]",
	 "overlay.static[0].prefix: must be an IPv4 or IPv6 address or prefix\n"},
	{"[" ENTRY("/8", "1.0.0.1") "]",
	 "overlay.static[0].prefix: must be an IPv4 or IPv6 address or prefix\n"},
	{"[" ENTRY("1234:1234:1234:1234:1234:1234:1234:1234:1234:1234:1234:1234", "1.0.0.1") "]",
	 "overlay.static[0].prefix: must be an IPv4 or IPv6 address or prefix\n"},
	{"[" ENTRY("10.0.0.0/33", "1.0.0.1") "]",
	 "overlay.static[0].prefix: the prefix length must be 0 to 32\n"},
	{"[" ENTRY("10.0.0.0/", "1.0.0.1") "]",
	 "overlay.static[0].prefix: the prefix length must be 0 to 32\n"},
	{"[" ENTRY("10.0.0.0/-1", "1.0.0.1") "]",
	 "overlay.static[0].prefix: the prefix length must be 0 to 32\n"},
	{"[" ENTRY("fd00::/4294967297", "1.0.0.1") "]",
	 "overlay.static[0].prefix: the prefix length must be 0 to 128\n"},
	{"[" ENTRY("10.0.0.1/24", "1.0.0.1") "]",
	 "overlay.static[0].prefix: has bits behind the first 24\n"},
	{"[" ENTRY("fd00::1/64", "1.0.0.1") "]",
	 "overlay.static[0].prefix: has bits behind the first 64\n"},
	{"[" ENTRY("127.0.0.1", "1.0.0.1") "]",
	 "overlay.static[0].prefix: is not an address that a container can have\n"},
	{"[" ENTRY("10.0.0.1", "224.0.0.1") "]",
	 "overlay.static[0].host: must be the IPv4 or IPv6 unicast address of a host\n"},
	{"[" ENTRY("10.0.0.1", "::") "]",
	 "overlay.static[0].host: must be the IPv4 or IPv6 unicast address of a host\n"},
	{"[" ENTRY("10.0.0.1", "host2") "]",
	 "overlay.static[0].host: must be the IPv4 or IPv6 unicast address of a host\n"},
	{"[{\"prefix\": \"10.0.0.1\", \"host\": \"1.0.0.1\", \"vni\": 1}]",
	 "overlay.static[0].vni: unknown key (known here: prefix, host, encap, mac, mtu, "
	 "tenant)\n"},
	{"[{\"prefix\": \"10.0.0.1\", \"host\": \"1.0.0.1\", \"encap\": \"gre\"}]",
	 "overlay.static[0].encap: must be one of \"vxlan\", \"none\"\n"},
	{"[{\"prefix\": \"fd00::1\", \"host\": \"1.0.0.1\", \"mtu\": 600}]",
	 "overlay.static[0].mtu: is 600, IPv6 needs at least 1280\n"},
	{"[{\"prefix\": \"10.0.0.1\", \"host\": \"1.0.0.1\", \"mtu\": 65536}]",
	 "overlay.static[0].mtu: is 65536, must be 576 to 65535\n"},
	{"[{\"prefix\": \"10.0.0.1\", \"host\": \"1.0.0.1\", \"port\": 4789}]",
	 "overlay.static[0].port: unknown key (known here: prefix, host, encap, mac, mtu, "
	 "tenant)\n"},
	/* Every fault is said, of every element. */
	{"[" ENTRY("10.0.0.1/8", "x") "," ENTRY("10.0.0.1", "1.0.0.1") "," ENTRY("y",
										 "1.0.0.1") "]",
	 "overlay.static[0].prefix: has bits behind the first 8\n"
	 "overlay.static[0].host: must be the IPv4 or IPv6 unicast address of a host\n"
	 "overlay.static[2].prefix: must be an IPv4 or IPv6 address or prefix\n"},
	{"[" ENTRY("10.0.0.1", "1.0.0.1") "," ENTRY("10.0.0.2", "1.0.0.1") "," ENTRY("10.0.0.1/32",
										     "1.0.0.2") "]",
	 "overlay.static[2].prefix: is also the prefix of element 0\n"},
};

static void
fault_is(const char *array, const char *wanted)
{
	struct ff_config c;
	char config[2048], *text = NULL;
	size_t len;
	FILE *err = open_memstream(&text, &len);
	int rc;

	snprintf(config, sizeof(config), "{\"overlay\": {\"static\": %s}}", array);
	rc = ff_config_parse(config, strlen(config), &c, err);
	fclose(err);
	CU_ASSERT_EQUAL(rc, wanted[0] ? -EINVAL : 0);
	if (strcmp(text, wanted) != 0)
		printf("\n%s says\n%snot\n%s", array, text, wanted);
	CU_ASSERT_STRING_EQUAL(text, wanted);
	free(text);
	if (!rc)
		ff_config_free(&c);
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
			 "[{\"prefix\": \"10.0.0.1\", \"host\": \"1.0.0.1\", "
			 "\"mac\": \"%s\"}]",
			 macs[i]);
		fault_is(text, "overlay.static[0].mac: must be a unicast MAC address such as "
			       "02:00:0a:20:00:01\n");
	}
}

int
main(void)
{
	CU_pSuite s;
	unsigned failed;

	if (CU_initialize_registry() != CUE_SUCCESS)
		return EXIT_FAILURE;
	s = CU_add_suite("overlay", NULL, NULL);
	CU_add_test(s, "the section", test_overlay);
	CU_add_test(s, "faults", test_faults);
	CU_add_test(s, "MAC addresses", test_macs);
	CU_basic_set_mode(CU_BRM_VERBOSE);
	CU_basic_run_tests();
	failed = CU_get_number_of_failures();
	CU_cleanup_registry();
	free(faults);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
