/* SPDX-License-Identifier: MIT */
/*
 * Tests dataplane/net/tcx_prog.c, and how ethdev_tcx.c loads it: the kernel runs the program on
 * frames, and it must judge them as ff_frame_parse() does. Needs root.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "net/ethdev_priv.h"
#include "net/tcx_prog.h"
#include "prog_harness.h"

#define NEXT   ((unsigned)FF_TCX_NEXT)
#define DROP   ((unsigned)FF_TCX_DROP)
#define NOBODY 65534

static int
load(const struct frame_conf *c, int *map)
{
	int prog = ethdev_tcx_load(c, map);

	if (prog < 0)
		fprintf(stderr, "load: %s\n", strerror(-prog));
	CU_ASSERT_FATAL(prog >= 0);
	CU_ASSERT((*map >= 0) == (c->encap == FF_ENCAP_NONE));
	return prog;
}

static int
put(int map, const char *address)
{
	static const uint8_t value;
	uint8_t key[16];

	CU_ASSERT_EQUAL_FATAL(inet_pton(AF_INET6, address, key), 1);
	return bpf_map_update_elem(map, key, &value, BPF_ANY);
}

static void
compare(const struct frame_conf *c, unsigned outer)
{
	struct prog_verdicts v = {.ours = DROP,
				  .kernels = NEXT,
				  .skb = true,
				  .containers = c->encap == FF_ENCAP_NONE};
	int map, prog = load(c, &map);

	if (map >= 0) {
		CU_ASSERT_EQUAL(put(map, "::ffff:10.0.0.1"), 0);
		CU_ASSERT_EQUAL(put(map, "fd10::1"), 0);
	}
	prog_compare(c, outer, prog, &v);
	close(prog);
	if (map >= 0)
		close(map);
}

static void
test_vxlan(void)
{
	prog_vxlan(compare);
}

static void
test_none(void)
{
	prog_none(compare);
}

/* What nobody of ours has is the kernel's; so is what goes to the host, whoever says that. */
static void
test_addresses(void)
{
	static const char *const others[] = {
		"::10.0.0.1", "::ffff:0:10.0.0.1", "::ffff:10.0.0.2", "fd10::1:1", "fd10::", "::1"};
	struct frame_conf c = prog_conf(FF_ENCAP_NONE);
	uint8_t v4[FRAME_MAX] = {0}, v6[FRAME_MAX] = {0};
	uint32_t len4 = prog_frame(&c, 4, v4), len6 = prog_frame(&c, 6, v6);
	int map, prog = load(&c, &map);

	CU_ASSERT(prog_run(prog, v4, len4) == NEXT && prog_run(prog, v6, len6) == NEXT);
	for (unsigned i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		CU_ASSERT_EQUAL(put(map, others[i]), 0);
	CU_ASSERT(prog_run(prog, v4, len4) == NEXT && prog_run(prog, v6, len6) == NEXT);
	CU_ASSERT_EQUAL(put(map, "fd10::1"), 0);
	CU_ASSERT(prog_run(prog, v4, len4) == NEXT && prog_run(prog, v6, len6) == DROP);
	CU_ASSERT_EQUAL(put(map, "::ffff:10.0.0.1"), 0);
	CU_ASSERT(prog_run(prog, v4, len4) == DROP && prog_run(prog, v6, len6) == DROP);
	memcpy(v4 + IP + 16, c.own4, 4);
	prog_sum(v4);
	CU_ASSERT_EQUAL(put(map, "::ffff:192.0.2.1"), 0);
	CU_ASSERT_EQUAL(prog_run(prog, v4, len4), NEXT);
	memcpy(v6 + IP + 24, c.own6, 16);
	CU_ASSERT_EQUAL(put(map, "fd00::1"), 0);
	CU_ASSERT_EQUAL(prog_run(prog, v6, len6), NEXT);
	close(prog);
	close(map);
}

static void
test_refused(void)
{
	struct frame_conf c = prog_conf(FF_ENCAP_VXLAN);
	struct frame_prog p;

	c.has4 = c.has6 = false;
	CU_ASSERT_EQUAL(ff_tcx_prog(&c, &p), -EADDRNOTAVAIL);
}

/* The status of a process without capabilities that does it; 255: it could load a program. */
static int
nobody_puts(int map, const char *address)
{
	struct frame_conf c = prog_conf(FF_ENCAP_NONE);
	int status, other;
	pid_t pid = fork();

	if (!pid) {
		if (setresuid(NOBODY, NOBODY, NOBODY))
			_exit(254);
		_exit(ethdev_tcx_load(&c, &other) >= 0 || other != -1 ? 255 : -put(map, address));
	}
	CU_ASSERT_FATAL(pid > 0 && waitpid(pid, &status, 0) == pid);
	CU_ASSERT(WIFEXITED(status));
	return WEXITSTATUS(status);
}

/* The map changes when capabilities have been given up. */
static void
test_capabilities(void)
{
	struct frame_conf c = prog_conf(FF_ENCAP_NONE);
	uint8_t frame[FRAME_MAX] = {0};
	uint32_t len = prog_frame(&c, 4, frame);
	int map, prog = load(&c, &map);

	CU_ASSERT_EQUAL(prog_run(prog, frame, len), NEXT);
	CU_ASSERT_EQUAL(nobody_puts(map, "::ffff:10.0.0.1"), 0);
	CU_ASSERT_EQUAL(prog_run(prog, frame, len), DROP);
	close(prog);
	close(map);
}

int
main(void)
{
	CU_TestInfo tests[] = {
		{"VXLAN", test_vxlan},
		{"encap none", test_none},
		{"addresses", test_addresses},
		{"no address of our own", test_refused},
		{"capabilities given up", test_capabilities},
		CU_TEST_INFO_NULL,
	};
	CU_SuiteInfo suites[] = {{"net/tcx_prog", NULL, NULL, NULL, NULL, tests},
				 CU_SUITE_INFO_NULL};
	unsigned failed;

	if (geteuid()) {
		puts("needs root: the kernel runs a BPF program");
		return SKIP;
	}
	if (CU_initialize_registry() != CUE_SUCCESS || CU_register_suites(suites) != CUE_SUCCESS)
		return 1;
	CU_basic_set_mode(CU_BRM_VERBOSE);
	CU_basic_run_tests();
	failed = CU_get_number_of_failures();
	CU_cleanup_registry();
	return failed != 0;
}
