/* SPDX-License-Identifier: MIT */
/* Tests dataplane/telemetry/page.c through DPDK's own socket: no record is lost between pages. */
#include <CUnit/Basic.h>
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/config.h"
#include "core/eal.h"
#include "telemetry/telemetry_priv.h"

#define RECORDS 3000

static unsigned num_records;
static unsigned text_len;

/* What a QP's record is like: some text, and counters. The number tells records apart. */
static void
fill(struct tel_page *p)
{
	static const char *const names[] = {"send", "write", "read", "tx_bytes", "rx_bytes"};
	uint64_t values[5] = {INT64_MAX, 1, 0, INT64_MAX / 3, 7};
	char text[RTE_TEL_MAX_STRING_LEN] = "";
	struct tel_obj o;
	unsigned i;

	memset(text, '\\', text_len); /* what JSON would have to escape */
	for (i = 0; i < num_records; i++) {
		if (!tel_page_next(p))
			continue;
		o = tel_obj_new();
		tel_num(&o, "number", i);
		tel_str(&o, "text", text);
		tel_counters(&o, "counters", names, values, 5);
		tel_page_add(p, &o);
	}
}

static int
command(const char *cmd, const char *params, struct rte_tel_data *d)
{
	struct tel_page p;
	int rc = tel_page_parse(&p, params);

	if (rc)
		return rc;
	p.items = tel_obj_new();
	fill(&p);
	tel_page_finish(&p, d);
	return 0;
}

static int sock = -1;

/* The value of one answer; NULL: it was null, or no JSON. */
static json_t *
ask(const char *params)
{
	static char answer[65536];
	char question[128];
	json_t *whole, *value;
	ssize_t n;

	snprintf(question, sizeof(question), "/test/page,%s", params);
	CU_ASSERT_FATAL(send(sock, question, strlen(question), 0) > 0);
	n = recv(sock, answer, sizeof(answer), 0);
	CU_ASSERT_FATAL(n > 0);
	whole = json_loadb(answer, (size_t)n, 0, NULL);
	value = json_incref(json_object_get(whole, "/test/page"));
	json_decref(whole);
	return value;
}

/* Reads all pages; returns their number. Each record must be there once, whole, in order. */
static unsigned
read_all(unsigned start, unsigned count)
{
	unsigned pages = 0, expected = start, i;
	json_t *page, *items, *item, *next;
	char text[48];

	for (;;) {
		snprintf(text, sizeof(text), "%u,%u", expected, count);
		page = ask(text);
		CU_ASSERT_PTR_NOT_NULL_FATAL(page);
		pages++;
		CU_ASSERT_EQUAL(json_integer_value(json_object_get(page, "total")), num_records);
		items = json_object_get(page, "items");
		CU_ASSERT(json_is_object(items));
		for (i = 0; i < json_object_size(items); i++) {
			snprintf(text, sizeof(text), "%u", i);
			item = json_object_get(items, text);
			CU_ASSERT_EQUAL(json_integer_value(json_object_get(item, "number")),
					expected);
			CU_ASSERT_EQUAL(json_string_length(json_object_get(item, "text")),
					text_len);
			CU_ASSERT_EQUAL(json_object_size(json_object_get(item, "counters")), 4);
			expected++;
		}
		next = json_object_get(page, "next");
		CU_ASSERT(!next || json_integer_value(next) == expected);
		CU_ASSERT(!next || json_object_size(items) > 0);
		json_decref(page);
		if (!next)
			break;
	}
	CU_ASSERT(expected == num_records || start > num_records);
	return pages;
}

static void
test_pages(void)
{
	num_records = RECORDS;
	text_len = 100;
	CU_ASSERT(read_all(0, 0) > 10);
	CU_ASSERT(read_all(2990, 0) >= 1);
	text_len = 0;
	CU_ASSERT(read_all(0, 0) > 1);
	/* One record a page. */
	num_records = 20;
	CU_ASSERT_EQUAL(read_all(0, 1), 20);
}

static void
test_ends(void)
{
	text_len = 10;
	num_records = 0;
	CU_ASSERT_EQUAL(read_all(0, 0), 1);
	num_records = 1;
	CU_ASSERT_EQUAL(read_all(0, 0), 1);
	CU_ASSERT_EQUAL(read_all(5, 0), 1);
}

static void
test_parameters(void)
{
	static const char *const bad[] = {"x",
					  "-1",
					  "1x",
					  "4294967296",
					  "0,y",
					  "0, 1",
					  "0,1,0123456789012345678901234567890123456789"
					  "012345678901234567890123456789"};
	struct tel_page p;
	unsigned i;
	json_t *v;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		v = ask(bad[i]);
		CU_ASSERT(json_is_null(v));
		json_decref(v);
	}
	CU_ASSERT_EQUAL(tel_page_parse(&p, NULL), 0);
	CU_ASSERT(p.start == 0 && p.count > 0 && p.container[0] == '\0');
	CU_ASSERT_EQUAL(tel_page_parse(&p, "7"), 0);
	CU_ASSERT(p.start == 7 && p.container[0] == '\0');
	CU_ASSERT_EQUAL(tel_page_parse(&p, "7,9,c1"), 0);
	CU_ASSERT(p.start == 7 && p.count == 9);
	CU_ASSERT_STRING_EQUAL(p.container, "c1");
	CU_ASSERT_EQUAL(tel_page_parse(&p, ",,c1"), 0);
	CU_ASSERT(p.start == 0 && p.count > 0);
	CU_ASSERT_STRING_EQUAL(p.container, "c1");
}

static int
setup(void)
{
	static char dir[] = "/tmp/ff-page-test-XXXXXX";
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	char hello[1024];

	ff_config_defaults(&ff_config);
	if (!mkdtemp(dir))
		return 1;
	strcpy(ff_config.run_dir, dir);
	ff_config.hugepages = FF_HUGE_NEVER;
	ff_config.memory_mb = 32;
	if (ff_eal_init() || rte_telemetry_register_cmd("/test/page", command, "pages"))
		return 1;
	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", ff_eal_telemetry_path());
	sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (connect(sock, (struct sockaddr *)&sun, sizeof(sun)))
		return 1;
	return recv(sock, hello, sizeof(hello), 0) <= 0;
}

static int
cleanup(void)
{
	close(sock);
	ff_eal_fini();
	return rmdir(ff_config.run_dir);
}

int
main(void)
{
	unsigned failed;
	CU_pSuite s;

	CU_initialize_registry();
	s = CU_add_suite("telemetry page", setup, cleanup);
	CU_add_test(s, "pages", test_pages);
	CU_add_test(s, "the ends", test_ends);
	CU_add_test(s, "parameters", test_parameters);
	CU_basic_set_mode(CU_BRM_VERBOSE);
	CU_basic_run_tests();
	failed = CU_get_number_of_failures() + CU_get_number_of_suites_failed();
	CU_cleanup_registry();
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
