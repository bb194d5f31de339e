/* SPDX-License-Identifier: MIT */
/*
 * Tests dataplane/net/xdp_prog.c and xdp_object.c in the kernel: libbpf loads the object, the
 * kernel runs the program on frames, and must judge them as ff_frame_parse() does. Needs root.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "net/xdp_prog.h"
#include "prog_harness.h"

/* Loads the file as net_af_xdp does; without: what becomes of our frames where no socket is. */
static struct bpf_object *
load(const struct frame_conf *c, enum xdp_action without, int *prog)
{
	struct bpf_object *o;
	struct frame_prog p;
	char path[64];
	int fd;

	CU_ASSERT_EQUAL_FATAL(ff_xdp_prog(c, &p), 0);
	CU_ASSERT_EQUAL_FATAL(p.insn[p.map + 2].imm, XDP_PASS);
	p.insn[p.map + 2].imm = (int)without;
	fd = ff_xdp_object(&p);
	CU_ASSERT_FATAL(fd >= 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	o = bpf_object__open_file(path, NULL);
	CU_ASSERT_FATAL(!libbpf_get_error(o));
	CU_ASSERT_EQUAL_FATAL(bpf_object__load(o), 0);
	close(fd);
	*prog = bpf_program__fd(bpf_object__next_program(o, NULL));
	CU_ASSERT(*prog >= 0);
	return o;
}

static void
compare(const struct frame_conf *c, unsigned outer)
{
	static const struct prog_verdicts v = {.ours = XDP_DROP, .kernels = XDP_PASS};
	int prog;
	struct bpf_object *o = load(c, XDP_DROP, &prog);

	prog_compare(c, outer, prog, &v);
	bpf_object__close(o);
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

/* What goes to the host itself is for an RDMA device of its own. */
static void
test_own_address(void)
{
	struct frame_conf c = prog_conf(FF_ENCAP_NONE);
	uint8_t frame[FRAME_MAX] = {0};
	int prog;
	struct bpf_object *o = load(&c, XDP_DROP, &prog);
	uint32_t len = prog_frame(&c, 4, frame);

	memcpy(frame + IP + 16, c.own4, 4);
	prog_sum(frame);
	CU_ASSERT_EQUAL(prog_run(prog, frame, len), XDP_PASS);
	frame[IP + 19]++;
	prog_sum(frame);
	CU_ASSERT_EQUAL(prog_run(prog, frame, len), XDP_DROP);
	len = prog_frame(&c, 6, frame);
	memcpy(frame + IP + 24, c.own6, 16);
	CU_ASSERT_EQUAL(prog_run(prog, frame, len), XDP_PASS);
	for (unsigned word = 0; word < 4; word++) {
		frame[IP + 24 + 4 * word] ^= 1;
		CU_ASSERT_EQUAL(prog_run(prog, frame, len), XDP_DROP);
		frame[IP + 24 + 4 * word] ^= 1;
	}
	bpf_object__close(o);
}

/* The kernel has all of it where no socket is: the router has gone. */
static void
test_no_socket(void)
{
	struct frame_conf c = prog_conf(FF_ENCAP_VXLAN);
	uint8_t frame[FRAME_MAX] = {0};
	uint32_t len = prog_frame(&c, 4, frame);
	int prog;
	struct bpf_object *o = load(&c, XDP_PASS, &prog);

	CU_ASSERT_EQUAL(prog_run(prog, frame, len), XDP_PASS);
	CU_ASSERT_PTR_NOT_NULL(bpf_object__find_map_by_name(o, "xsks_map"));
	bpf_object__close(o);
	c.has4 = c.has6 = false;
	CU_ASSERT_EQUAL(ff_xdp_prog(&c, &(struct frame_prog){0}), -EADDRNOTAVAIL);
}

static unsigned warnings;

static int
complain(enum libbpf_print_level level, const char *format, va_list args)
{
	warnings += level == LIBBPF_WARN;
	return level == LIBBPF_WARN ? vfprintf(stderr, format, args) : 0;
}

/* libbpf has found nothing strange in the objects. */
static void
test_no_warnings(void)
{
	CU_ASSERT_EQUAL(warnings, 0);
}

int
main(void)
{
	CU_TestInfo tests[] = {
		{"VXLAN", test_vxlan},
		{"encap none", test_none},
		{"to the host itself", test_own_address},
		{"no socket", test_no_socket},
		{"no warnings", test_no_warnings},
		CU_TEST_INFO_NULL,
	};
	CU_SuiteInfo suites[] = {{"net/xdp_prog", NULL, NULL, NULL, NULL, tests},
				 CU_SUITE_INFO_NULL};
	unsigned failed;

	if (geteuid()) {
		puts("needs root: the kernel runs a BPF program");
		return SKIP;
	}
	libbpf_set_print(complain);
	if (CU_initialize_registry() != CUE_SUCCESS || CU_register_suites(suites) != CUE_SUCCESS)
		return 1;
	CU_basic_set_mode(CU_BRM_VERBOSE);
	CU_basic_run_tests();
	failed = CU_get_number_of_failures();
	CU_cleanup_registry();
	return failed != 0;
}
