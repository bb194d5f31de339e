/* SPDX-License-Identifier: MIT */
/* Tests usertools/wire/spec.c: keys, units, ports, and errors that change nothing. */
#include <CUnit/Basic.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "spec.h"

#define PORTS 3u

static const char *const names[PORTS] = {"host1", "host2", "a.b"};
static struct wire_settings ports[PORTS];
static bool reseed[PORTS];
static char error[512];

static void
reset(void)
{
	unsigned i;

	for (i = 0; i < PORTS; i++)
		wire_settings_init(&ports[i]);
	memset(reseed, 0, sizeof(reseed));
}

static int
apply(const char *spec)
{
	error[0] = '\0';
	return wire_spec_apply(ports, names, PORTS, spec, reseed, error, sizeof(error));
}

static void
test_all_keys(void)
{
	unsigned i;

	reset();
	CU_ASSERT_EQUAL(apply("loss=1,reorder=2,dup=.5%,corrupt=0.1,delay=10ms,jitter=500us,"
			      "seed=18446744073709551615,rate=1.5gbit,limit=64k,ecn=30000,mtu=1000,"
			      "link=down,repair=off"),
			0);
	for (i = 0; i < PORTS; i++) {
		const struct wire_settings *s = &ports[i];

		CU_ASSERT(s->loss == 1 && s->reorder == 2 && s->dup == .5 && s->corrupt == .1);
		CU_ASSERT_EQUAL(s->delay, 10000000);
		CU_ASSERT_EQUAL(s->jitter, 500000);
		CU_ASSERT_EQUAL(s->seed, UINT64_MAX);
		CU_ASSERT_EQUAL(s->rate, 1500000000);
		CU_ASSERT_EQUAL(s->limit, 65536);
		CU_ASSERT_EQUAL(s->ecn, 30000);
		CU_ASSERT_EQUAL(s->mtu, 1000);
		CU_ASSERT(s->down && !s->repair && reseed[i]);
	}
	CU_ASSERT_EQUAL(apply("none"), 0);
	CU_ASSERT(ports[0].loss == 0 && !ports[0].down && ports[0].repair && !reseed[0]);
	CU_ASSERT_EQUAL(ports[0].seed, UINT64_MAX);
	CU_ASSERT_EQUAL(apply("delay=2s,link=up,limit=1m"), 0);
	CU_ASSERT_EQUAL(ports[0].delay, 2000000000);
	CU_ASSERT_EQUAL(ports[0].limit, 1 << 20);
	CU_ASSERT_EQUAL(apply("delay=3,rate=7"), 0);
	CU_ASSERT_EQUAL(ports[0].delay, 3000000);
	CU_ASSERT_EQUAL(ports[0].rate, 7);
}

static void
test_one_port(void)
{
	reset();
	CU_ASSERT_EQUAL(apply("loss=5,host2.loss=7,host2.seed=1,a.b.mtu=500"), 0);
	CU_ASSERT(ports[0].loss == 5 && ports[1].loss == 7 && ports[2].loss == 5);
	CU_ASSERT(!reseed[0] && reseed[1] && !reseed[2]);
	CU_ASSERT_EQUAL(ports[2].mtu, 500);
	CU_ASSERT_EQUAL(ports[1].mtu, 0);
}

static void
test_errors(void)
{
	/* Spec, and what the message must name. */
	static const char *const wrong[][2] = {
		{"", "no such key"},
		{"los=1", "los: no such key (loss, dup"},
		{"loss", "loss="},
		{"loss=", "loss=: a percentage"},
		{"loss=101", "loss=101"},
		{"loss=-1", "loss=-1"},
		{"loss=nan", "loss=nan"},
		{"loss=0x1", "loss=0x1"},
		{"loss= 1", "loss= 1"},
		{"loss=1ms", "loss=1ms"},
		{"dup=1,,loss=1", "no such key"},
		{"delay=10x", "delay=10x: a time"},
		{"delay=61s", "delay=61s"},
		{"jitter=ms", "jitter=ms"},
		{"rate=10mb", "rate=10mb: a rate"},
		{"limit=2000m", "limit=2000m: a number of bytes"},
		{"seed=18446744073709551616", "seed=18446744073709551616: a number"},
		{"seed=-1", "seed=-1"},
		{"seed=1.5", "seed=1.5"},
		{"link=off", "link=off: up or down"},
		{"repair=yes", "repair=yes: on or off"},
		{"host3.loss=1", "host3.loss: no such port"},
		{"host.loss=1", "host.loss: no such port"},
		{"host1.lss=1", "lss: no such key"},
		{".loss=1", "no such port"},
		{"none=1", "none: no such key"},
	};
	unsigned i;

	for (i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct wire_settings kept;

		reset();
		kept = ports[0];
		CU_ASSERT_EQUAL(apply(wrong[i][0]), -EINVAL);
		CU_ASSERT(strstr(error, wrong[i][1]) != NULL);
		if (!strstr(error, wrong[i][1]))
			printf("\n%s: %s\n", wrong[i][0], error);
		CU_ASSERT(!memcmp(&kept, &ports[0], sizeof(kept)));
	}
	/* All or nothing. */
	CU_ASSERT_EQUAL(apply("loss=5,seed=3,delay=x"), -EINVAL);
	CU_ASSERT(ports[0].loss == 0 && !reseed[0]);
}

static void
test_too_long(void)
{
	char spec[3000];

	reset();
	memset(spec, '1', sizeof(spec));
	spec[sizeof(spec) - 1] = '\0';
	CU_ASSERT_EQUAL(apply(spec), -EINVAL);
	spec[1000] = '\0';
	memcpy(spec, "loss=", 5);
	CU_ASSERT_EQUAL(apply(spec), -EINVAL);
	CU_ASSERT(strlen(error) < 200);
	CU_ASSERT_EQUAL(wire_spec_apply(ports, names, PORTS, "x=1", reseed, error, 10), -EINVAL);
	CU_ASSERT(strlen(error) < 10);
}

static void
test_print(void)
{
	char *text = NULL;
	size_t size = 0;
	FILE *out;

	reset();
	CU_ASSERT_EQUAL(apply("loss=0.1,delay=10ms,rate=100mbit,ecn=30k,link=down"), 0);
	out = open_memstream(&text, &size);
	CU_ASSERT_PTR_NOT_NULL_FATAL(out);
	wire_settings_print(&ports[0], out);
	fclose(out);
	CU_ASSERT_STRING_EQUAL(text, "{\"loss\": 0.1, \"dup\": 0, \"reorder\": 0, \"corrupt\": 0, "
				     "\"repair\": \"on\", \"delay\": 10, \"jitter\": 0, "
				     "\"rate\": 100000000, \"limit\": 262144, \"ecn\": 30720, "
				     "\"mtu\": 0, \"link\": \"down\", \"seed\": 1}");
	free(text);
}

int
main(void)
{
	unsigned failures;
	CU_pSuite suite;

	CU_initialize_registry();
	suite = CU_add_suite("wire/spec", NULL, NULL);
	CU_add_test(suite, "all keys", test_all_keys);
	CU_add_test(suite, "one port", test_one_port);
	CU_add_test(suite, "errors", test_errors);
	CU_add_test(suite, "too long", test_too_long);
	CU_add_test(suite, "print", test_print);
	CU_basic_run_tests();
	failures = CU_get_number_of_failures();
	CU_cleanup_registry();
	return failures != 0;
}
