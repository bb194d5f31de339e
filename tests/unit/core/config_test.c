/* SPDX-License-Identifier: MIT */
/* Tests dataplane/core/config*.c: values, every kind of fault, all faults of a file at once. */
#include <CUnit/Basic.h>
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config_util.h"

static void
test_empty_is_default(void)
{
	static const char *const texts[] = {"", " \n\t\n", "{}", "{\"$comment\": [1, {}]}"};
	struct ff_config c, d;
	unsigned i;

	ff_config_defaults(&d);
	CU_ASSERT_STRING_EQUAL(d.run_dir, "/run/freeflow");
	CU_ASSERT_EQUAL(d.num_workers, 1);
	CU_ASSERT_EQUAL(d.cores[0], -1);
	CU_ASSERT(d.limits.pinned_bytes > 0);
	for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		CU_ASSERT_EQUAL_FATAL(parse(texts[i], &c), 0);
		CU_ASSERT_STRING_EQUAL(c.name, d.name);
		CU_ASSERT(c.num_workers == d.num_workers && c.idle == d.idle);
		CU_ASSERT(c.limits.qps == d.limits.qps && c.memory_mb == d.memory_mb);
		CU_ASSERT(c.num_containers == 0 && c.num_tenants == 0);
		CU_ASSERT_STRING_EQUAL(faults, "");
	}
}

static void
test_all_values(void)
{
	struct ff_config c;

	CU_ASSERT_EQUAL_FATAL(
		parse("{\"name\": \"n1\", \"run_dir\": \"/r\", \"shim\": \"/s.so\","
		      "\"log\": {\"level\": \"debug\", \"components\": {\"verbs\": \"error\"}},"
		      "\"workers\": {\"count\": 2, \"cores\": [3, 1], \"idle\": \"adaptive\","
		      " \"spin_us\": 7, \"priority\": 0},"
		      "\"memory\": {\"hugepages\": \"require\", \"megabytes\": 128},"
		      "\"limits\": {\"qps\": 5, \"pinned_bytes\": 1099511627776},"
		      "\"tenants\": [{\"name\": \"t\", \"weight\": 1000}, {\"name\": \"u\"}],"
		      "\"containers\": [{\"id\": \"c\", \"tenant\": \"t\", \"netns\": \"/n\","
		      " \"addresses\": [\"10.0.0.1\", \"fd00::1\"], \"limits\": {\"mrs\": 9}}]}",
		      &c),
		0);
	CU_ASSERT_STRING_EQUAL(c.name, "n1");
	CU_ASSERT_STRING_EQUAL(c.run_dir, "/r");
	CU_ASSERT_STRING_EQUAL(c.shim_path, "/s.so");
	CU_ASSERT_EQUAL(c.log_level, FF_LOG_DEBUG);
	CU_ASSERT_EQUAL_FATAL(c.num_log_components, 1);
	CU_ASSERT_STRING_EQUAL(c.log_components[0].component, "verbs");
	CU_ASSERT_EQUAL(c.log_components[0].level, FF_LOG_ERR);
	CU_ASSERT_EQUAL(c.num_workers, 2);
	CU_ASSERT(c.cores[0] == 3 && c.cores[1] == 1 && c.cores[2] == -1);
	CU_ASSERT(c.idle == FF_IDLE_ADAPTIVE && c.spin_us == 7 && c.priority == 0);
	CU_ASSERT(c.hugepages == FF_HUGE_REQUIRE && c.memory_mb == 128);
	CU_ASSERT(c.limits.qps == 5 && c.limits.pinned_bytes == 1ull << 40);
	CU_ASSERT_EQUAL_FATAL(c.num_tenants, 2);
	CU_ASSERT(c.tenants[0].weight == 1000 && c.tenants[1].weight == 100);
	CU_ASSERT_EQUAL_FATAL(c.num_containers, 1);
	CU_ASSERT_STRING_EQUAL(c.containers[0].id, "c");
	CU_ASSERT_STRING_EQUAL(c.containers[0].tenant, "t");
	CU_ASSERT_STRING_EQUAL(c.containers[0].netns, "/n");
	CU_ASSERT_EQUAL(c.containers[0].num_addresses, 2);
	CU_ASSERT_STRING_EQUAL(c.containers[0].addresses[1], "fd00::1");
	CU_ASSERT(c.containers[0].limits.mrs == 9 && c.containers[0].limits.qps == 0);
	ff_config_free(&c);
}

static void
test_types_and_ranges(void)
{
	expect_fault("[]", "(top level)", "must be an object, is an array");
	expect_fault("{\"nam\": 1}", "nam", "unknown key (known here: name, run_dir");
	expect_fault("{\"name\": 1}", "name", "must be a string, is an integer");
	expect_fault("{\"name\": \"a b\"}", "name", "characters of");
	expect_fault("{\"name\": \"\"}", "name", "characters of");
	expect_fault("{\"name\": \"..\"}", "name", "characters of");
	expect_fault("{\"run_dir\": \"run\"}", "run_dir", "absolute");
	expect_fault("{\"run_dir\": \"/a\\u0001\"}", "run_dir", "control character");
	expect_fault("{\"shim\": \"x.so\"}", "shim", "absolute");
	expect_fault("{\"log\": {\"level\": \"loud\"}}", "log.level", "\"error\", \"warning\"");
	expect_fault("{\"log\": {\"components\": {\"verb\": \"info\"}}}", "log.components.verb",
		     "no component");
	expect_fault("{\"log\": {\"components\": {\"nic\": 3}}}", "log.components.nic",
		     "must be a string");
	expect_fault("{\"workers\": 2}", "workers", "must be an object, is an integer");
	expect_fault("{\"workers\": {\"count\": 0}}", "workers.count", "is 0, must be 1 to 32");
	expect_fault("{\"workers\": {\"count\": 33}}", "workers.count", "is 33, must be 1 to 32");
	expect_fault("{\"workers\": {\"count\": 1.5}}", "workers.count",
		     "a number with a fraction");
	expect_fault("{\"workers\": {\"count\": true}}", "workers.count", "is a boolean");
	expect_fault("{\"workers\": {\"count\": null}}", "workers.count", "is null");
	expect_fault("{\"workers\": {\"cores\": []}}", "workers.cores", "1 to 32");
	expect_fault("{\"workers\": {\"cores\": [-1]}}", "workers.cores[0]", "is -1");
	expect_fault("{\"workers\": {\"priority\": 100}}", "workers.priority", "0 to 99");
	expect_fault("{\"memory\": {\"megabytes\": 1}}", "memory.megabytes", "must be 32 to");
	expect_fault("{\"limits\": {\"qps\": 0}}", "limits.qps", "is 0, must be 1 to");
	expect_fault("{\"limits\": {\"pinned_bytes\": -1}}", "limits.pinned_bytes", "is -1");
	expect_fault("{\"limits\": {\"sge\": 33}}", "limits.sge", "1 to 32");
	expect_fault("{\"tenants\": {}}", "tenants", "must be an array");
	expect_fault("{\"tenants\": [{}]}", "tenants[0].name", "is missing");
	expect_fault("{\"wire\": {\"udp_port\": 65536}}", "wire.udp_port", "65536");
	expect_fault("{\"wire\": {\"vni\": 0}}", "wire.vni", "0");
	expect_fault("{\"wire\": {\"address\": \"here\"}}", "wire.address", "here");
	expect_fault("{\"wire\": {\"port\": \"tcp\"}}", "wire.port", "must be one of");
	expect_fault("{\"wire\": {\"device\": \"net_tap0\"}}", "wire.device", "unless wire.port");
	expect_fault("{\"wire\": {\"encap\": \"none\"}}", "wire.encap", "unless wire.port");
	expect_fault("{\"wire\": {\"port\": \"ethdev\", \"udp_port\": 1}}", "wire.device",
		     "is missing");
	expect_fault("{\"wire\": {\"port\": \"ethdev\", \"device\": \"x\"}}", "wire.udp_port",
		     "is missing");
	expect_fault("{\"wire\": {\"port\": \"ethdev\", \"device\": \"x\", \"encap\": \"gre\", "
		     "\"udp_port\": 1}}",
		     "wire.encap", "must be one of");
	expect_fault("{\"wire\": {\"port\": \"ethdev\", \"device\": \"x\", \"encap\": \"none\","
		     "\"next_hop\": \"02:00:00:00:00:1\"}}",
		     "wire.next_hop", "no MAC");
	expect_fault("{\"tenants\": [{\"name\": \"a\", \"vni\": 16777216}]}", "tenants[0].vni",
		     "16777216");
	expect_fault("{\"tenants\": [{\"name\": \"a\", \"weight\": 1001}]}", "tenants[0].weight",
		     "1 to 1000");
}

static void
test_wire(void)
{
	static const uint8_t mac[6] = {0x02, 0xab, 0, 0, 0, 0x1f};
	struct ff_config c;

	CU_ASSERT_EQUAL_FATAL(parse("{\"wire\": {\"udp_port\": 47910}}", &c), 0);
	CU_ASSERT(c.wire.port == FF_WIRE_UDP && c.wire.encap == FF_WIRE_VXLAN && !c.wire.device[0]);
	ff_config_free(&c);
	CU_ASSERT_EQUAL_FATAL(parse("{\"wire\": {\"port\": \"ethdev\", \"encap\": \"none\", "
				    "\"device\": \"net_af_packet0,iface=eth0\", "
				    "\"next_hop\": \"02:aB:00:00:00:1f\"}}",
				    &c),
			      0);
	CU_ASSERT(c.wire.port == FF_WIRE_ETHDEV && c.wire.encap == FF_WIRE_NONE);
	CU_ASSERT_STRING_EQUAL(c.wire.device, "net_af_packet0,iface=eth0");
	CU_ASSERT_EQUAL(memcmp(c.wire.next_hop, mac, 6), 0);
	ff_config_free(&c);
}

static void
test_containers(void)
{
#define ONE(fields) "{\"containers\": [{" fields "}]}"
	expect_fault("{\"containers\": [7]}", "containers[0]", "must be an object");
	expect_fault(ONE("\"netns\": \"/n\""), "containers[0].id", "is missing");
	expect_fault(ONE("\"id\": \"../x\", \"netns\": \"/n\""), "containers[0].id",
		     "characters of");
	expect_fault(ONE("\"id\": \"a\""), "containers[0]", "neither addresses nor netns");
	expect_fault(ONE("\"id\": \"a\", \"netns\": \"n\""), "containers[0].netns", "absolute");
	expect_fault(ONE("\"id\": \"a\", \"addresses\": [\"10.0.0\"]"),
		     "containers[0].addresses[0]", "unicast");
	expect_fault(ONE("\"id\": \"a\", \"addresses\": [\"10.0.0.1/24\"]"),
		     "containers[0].addresses[0]", "unicast");
	expect_fault(ONE("\"id\": \"a\", \"addresses\": [\"224.0.0.1\"]"),
		     "containers[0].addresses[0]", "unicast");
	expect_fault(ONE("\"id\": \"a\", \"addresses\": [\"ff02::1\"]"),
		     "containers[0].addresses[0]", "unicast");
	expect_fault(ONE("\"id\": \"a\", \"addresses\": [\"::ffff:127.0.0.1\"]"),
		     "containers[0].addresses[0]", "unicast");
	expect_fault(ONE("\"id\": \"a\", \"addresses\": [\"10.0.0.1\", \"::ffff:10.0.0.1\"]"),
		     "containers[0].addresses[1]", "given twice");
	expect_fault(ONE("\"id\": \"a\", \"addresses\": [\"10.0.0.1\"], \"limits\": {\"x\": 1}"),
		     "containers[0].limits.x", "unknown key");
	expect_fault(ONE("\"id\": \"a\", \"addresses\": [\"1.0.0.1\", \"1.0.0.2\", \"1.0.0.3\","
			 "\"1.0.0.4\", \"1.0.0.5\", \"1.0.0.6\", \"1.0.0.7\", \"1.0.0.8\","
			 "\"1.0.0.9\"]"),
		     "containers[0].addresses", "9 addresses, 8 are the most");
#undef ONE
}

static void
test_contradictions(void)
{
	struct ff_config c;

	expect_fault("{\"workers\": {\"count\": 3, \"cores\": [0, 1]}}", "workers.cores",
		     "lists 2 CPUs, but workers.count is 3");
	expect_fault("{\"workers\": {\"cores\": [4, 5, 4]}}", "workers.cores[2]", "listed twice");
	expect_fault("{\"workers\": {\"idle\": \"poll\", \"spin_us\": 3}}", "workers.spin_us",
		     "no meaning");
	expect_fault("{\"tenants\": [{\"name\": \"a\"}, {\"name\": \"b\"}, {\"name\": \"a\"}]}",
		     "tenants[2].name", "tenants[0]");
	expect_fault("{\"containers\": [{\"id\": \"a\", \"netns\": \"/1\"},"
		     "{\"id\": \"b\", \"netns\": \"/2\"}, {\"id\": \"a\", \"netns\": \"/3\"}]}",
		     "containers[2].id", "also the id of containers[0]");
	expect_fault("{\"containers\": [{\"id\": \"a\", \"addresses\": [\"10.0.0.1\"]},"
		     "{\"id\": \"b\", \"addresses\": [\"10.0.0.2\", \"10.0.0.1\"]}]}",
		     "containers[1].addresses[1]", "also an address of containers[0] (a)");
	/* The same address in another tenant, and cores without a count, are right. */
	CU_ASSERT_EQUAL(parse("{\"workers\": {\"cores\": [0, 1, 2]}, \"containers\": ["
			      "{\"id\": \"a\", \"addresses\": [\"10.0.0.1\"]},"
			      "{\"id\": \"b\", \"tenant\": \"t\", \"addresses\": [\"10.0.0.1\"]}]}",
			      &c),
			0);
	CU_ASSERT_EQUAL(c.num_workers, 3);
	ff_config_free(&c);
}

static void
test_vnis(void)
{
	struct ff_config c;

	expect_fault("{\"tenants\": [{\"name\": \"a\", \"vni\": 7}, {\"name\": \"b\"},"
		     "{\"name\": \"c\", \"vni\": 7}]}",
		     "tenants[2].vni", "7 is also the VNI of tenant \"a\"");
	expect_fault("{\"tenants\": [{\"name\": \"a\", \"vni\": 4096}]}", "tenants[0].vni",
		     "4096 is also the VNI of tenant \"default\"");
	expect_fault("{\"wire\": {\"vni\": 9}, \"tenants\": [{\"name\": \"a\", \"vni\": 9}]}",
		     "tenants[0].vni", "9 is also the VNI of tenant \"default\"");
	expect_fault("{\"tenants\": [{\"name\": \"a\", \"vni\": 9},"
		     "{\"name\": \"default\", \"vni\": 9}]}",
		     "tenants[1].vni", "tenant \"a\"");
	/* Where "default" has one of its own, wire.vni is nobody's. */
	CU_ASSERT_EQUAL_FATAL(parse("{\"tenants\": [{\"name\": \"a\", \"vni\": 4096},"
				    "{\"name\": \"b\"}, {\"name\": \"default\", \"vni\": 9}]}",
				    &c),
			      0);
	CU_ASSERT_EQUAL(ff_config_vni(&c, "a"), 4096);
	CU_ASSERT_EQUAL(ff_config_vni(&c, "b"), 0);
	CU_ASSERT_EQUAL(ff_config_vni(&c, "not there"), 0);
	CU_ASSERT_EQUAL(ff_config_vni(&c, "default"), 9);
	ff_config_free(&c);
	CU_ASSERT_EQUAL_FATAL(parse("{\"wire\": {\"vni\": 77}}", &c), 0);
	CU_ASSERT_EQUAL(ff_config_vni(&c, "default"), 77);
	ff_config_free(&c);
}

static void
test_syntax(void)
{
	expect_fault("{\"name\": \"a\",\n}", "line 2, column 1", "string or '}' expected");
	expect_fault("{\"name\": \"a\", \"name\": \"b\"}", "line 1, column 20", "duplicate");
	expect_fault("{} {}", "line 1, column 4", "end of file expected");
}

static void
test_all_faults_at_once(void)
{
	static const char *const expected[] = {
		"nam: unknown key",
		"workers.count: is 99",
		"workers.idle: must be one of",
		"limits.qps: must be an integer",
		"tenants[1].weight: is 0",
		"containers[0].id: is missing",
		"containers[2].id: \"x\" is also the id of containers[1]",
		"run_dir: must be an absolute path",
	};
	struct ff_config c;
	unsigned i;

	memset(&c, 0x5a, sizeof(c));
	CU_ASSERT_EQUAL(parse("{\"nam\": 1, \"run_dir\": \"x\","
			      "\"workers\": {\"count\": 99, \"idle\": \"doze\"},"
			      "\"limits\": {\"qps\": \"many\"},"
			      "\"tenants\": [{\"name\": \"a\"}, {\"name\": \"b\", \"weight\": 0}],"
			      "\"containers\": [{\"netns\": \"/n\"}, {\"id\": \"x\", \"netns\": "
			      "\"/n\"}, {\"id\": \"x\", \"netns\": \"/m\"}]}",
			      &c),
			-EINVAL);
	for (i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
		if (strstr(faults, expected[i]))
			continue;
		fprintf(stderr, "\nmissing: %s\n", expected[i]);
		CU_FAIL("a fault is missing");
	}
	CU_ASSERT_EQUAL(fault_lines(), sizeof(expected) / sizeof(expected[0]));
	CU_ASSERT_EQUAL(c.num_workers, 0x5a5a5a5a); /* untouched */
}

static void
test_file(void)
{
	char path[] = "/tmp/ff-config-test-XXXXXX";
	struct ff_config c;
	FILE *err = fopen("/dev/null", "w");
	int i, fd = mkstemp(path);

	CU_ASSERT_FATAL(fd >= 0 && err);
	CU_ASSERT_EQUAL(ff_config_load(path, &c, err), 0);
	CU_ASSERT_STRING_EQUAL(c.name, "freeflow");
	/* Longer than the first read. */
	CU_ASSERT_EQUAL(write(fd, "{\"name\": \"long\"", 15), 15);
	for (i = 0; i < 100000; i++)
		CU_ASSERT_EQUAL_FATAL(write(fd, " ", 1), 1);
	CU_ASSERT_EQUAL(write(fd, "}", 1), 1);
	CU_ASSERT_EQUAL(ff_config_load(path, &c, err), 0);
	CU_ASSERT_STRING_EQUAL(c.name, "long");
	close(fd);
	unlink(path);
	CU_ASSERT_EQUAL(ff_config_load(path, &c, err), -ENOENT);
	CU_ASSERT(ff_config_load("/", &c, err) < 0);
	fclose(err);
}

static void
test_admin_container(void)
{
	json_t *good = json_pack("{s:s, s:[s]}", "id", "c1", "addresses", "10.1.1.1");
	json_t *bad = json_pack("{s:i, s:s}", "id", 1, "netns", "x");
	struct ff_container_conf c;
	char *text = NULL;
	size_t len;
	FILE *err = open_memstream(&text, &len);

	CU_ASSERT_EQUAL(ff_config_container_parse(good, "container", &c, err), 0);
	CU_ASSERT_STRING_EQUAL(c.id, "c1");
	CU_ASSERT_STRING_EQUAL(c.tenant, "default");
	CU_ASSERT_EQUAL(ff_config_container_parse(bad, "container", &c, err), -EINVAL);
	CU_ASSERT_EQUAL(ff_config_container_parse(NULL, "container", &c, err), -EINVAL);
	fclose(err);
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "container.id: must be a string"));
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "container.netns: must be an absolute path"));
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "container: must be an object, is missing"));
	free(text);
	json_decref(good);
	json_decref(bad);
}

int
main(void)
{
	unsigned failed;
	CU_pSuite s;

	CU_initialize_registry();
	s = CU_add_suite("config", NULL, NULL);
	CU_add_test(s, "an empty file gives the defaults", test_empty_is_default);
	CU_add_test(s, "all values", test_all_values);
	CU_add_test(s, "types and ranges", test_types_and_ranges);
	CU_add_test(s, "wire", test_wire);
	CU_add_test(s, "containers", test_containers);
	CU_add_test(s, "contradictions", test_contradictions);
	CU_add_test(s, "VNIs", test_vnis);
	CU_add_test(s, "syntax", test_syntax);
	CU_add_test(s, "all faults at once", test_all_faults_at_once);
	CU_add_test(s, "files", test_file);
	CU_add_test(s, "container of the admin socket", test_admin_container);
	CU_basic_set_mode(CU_BRM_VERBOSE);
	CU_basic_run_tests();
	failed = CU_get_number_of_failures();
	CU_cleanup_registry();
	free(faults);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
