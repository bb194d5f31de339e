/* SPDX-License-Identifier: MIT */
/*
 * Tests dataplane/net/xdp_prog.c and xdp_object.c in the kernel: libbpf loads the object, the
 * kernel runs the program on frames, and must judge them as ff_frame_parse() does. Needs root.
 */
#include <CUnit/Basic.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "net/xdp_prog.h"

#define SKIP  77 /* what meson takes for a skipped test */
#define INNER 60u
#define IP    14u

static struct frame_conf
conf_make(enum ff_encap encap)
{
	struct frame_conf c = {.encap = encap,
			       .mac = {2, 0, 0, 0, 0, 1},
			       .udp_port = 47910,
			       .has4 = true,
			       .has6 = true,
			       .own4 = {192, 0, 2, 1},
			       .own6 = {0xfd, [15] = 1}};

	return c;
}

/* A frame that ff_frame_parse() takes, of IP version outer. */
static uint32_t
frame_make(const struct frame_conf *c, unsigned outer, uint8_t out[256])
{
	struct ff_path path = {.encap = c->encap, .vni = 1, .mtu = 1500};
	struct ff_port_tx tx = {.path = &path};
	uint8_t inner[INNER] = {outer == 4 ? 0x45 : 0x60};
	unsigned udp = outer == 4 ? 20 : 40;
	struct frame_head h;

	if (outer == 4)
		memcpy(path.host, (uint8_t[16]){[10] = 0xff, 0xff, 192, 0, 2, 1}, 16);
	else
		memcpy(path.host, c->own6, 16);
	inner[outer == 4 ? 3 : 5] = (uint8_t)(outer == 4 ? INNER : INNER - 40);
	inner[outer == 4 ? 9 : 6] = 17;
	inner[udp + 2] = FRAME_ROCE_PORT >> 8;
	inner[udp + 3] = FRAME_ROCE_PORT & 0xff;
	inner[udp + 5] = (uint8_t)(INNER - udp);
	CU_ASSERT_EQUAL_FATAL(ff_frame_head(c, &tx, c->mac, inner[0], &h), 0);
	ff_frame_head_fit(&h, INNER);
	memcpy(out, h.bytes, h.len);
	memcpy(out + h.len, inner, INNER);
	return h.len + INNER;
}

/* Of the outer IPv4 header, without options. */
static void
sum_fix(uint8_t *frame)
{
	uint32_t sum = 0;

	frame[IP + 10] = frame[IP + 11] = 0;
	for (unsigned i = IP; i < IP + 20; i += 2)
		sum += (uint32_t)(frame[i] << 8 | frame[i + 1]);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = ~(sum + (sum >> 16));
	frame[IP + 10] = (uint8_t)(sum >> 8);
	frame[IP + 11] = (uint8_t)sum;
}

/* Loads the file as net_af_xdp does; without: what becomes of our frames where no socket is. */
static struct bpf_object *
load(const struct frame_conf *c, enum xdp_action without, int *prog)
{
	struct bpf_object *o;
	struct xdp_prog p;
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

static unsigned
run(int prog, uint8_t *frame, uint32_t len)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame, .data_size_in = len);

	CU_ASSERT_EQUAL_FATAL(bpf_prog_test_run_opts(prog, &opts), 0);
	return opts.retval;
}

/* What the kernel keeps, though the parser might look at it. */
static bool
is_odd(const uint8_t *f)
{
	return f[12] == 8 && (f[IP] != 0x45 || f[IP + 6] & 0x3f || f[IP + 7]);
}

static void
judge(const struct frame_conf *c, int prog, uint8_t *frame, uint32_t len)
{
	struct frame_in in;
	enum frame_verdict v = ff_frame_parse(c, frame, len, &in);
	unsigned got = run(prog, frame, len);

	if (is_odd(frame) || v == FRAME_FOREIGN)
		CU_ASSERT_EQUAL(got, XDP_PASS);
	if (v == FRAME_OURS && !is_odd(frame))
		CU_ASSERT_EQUAL(got, XDP_DROP);
}

/* Each bit of the headers, turned; and each length. */
static void
compare(const struct frame_conf *c, unsigned outer)
{
	uint8_t frame[256] = {0};
	uint32_t len = frame_make(c, outer, frame);
	int prog;
	struct bpf_object *o;

	o = load(c, XDP_DROP, &prog);
	if (outer == 4)
		sum_fix(frame);
	CU_ASSERT_EQUAL(run(prog, frame, len), XDP_DROP);
	for (uint32_t l = 14; l <= len; l++)
		judge(c, prog, frame, l);
	for (unsigned bit = 0; bit < (IP + 48) * 8; bit++) {
		frame[bit / 8] ^= (uint8_t)(1u << bit % 8);
		judge(c, prog, frame, len);
		if (outer == 4)
			sum_fix(frame);
		judge(c, prog, frame, len);
		frame[bit / 8] ^= (uint8_t)(1u << bit % 8);
		if (outer == 4)
			sum_fix(frame);
	}
	bpf_object__close(o);
}

static void
test_vxlan(void)
{
	struct frame_conf c = conf_make(FF_ENCAP_VXLAN);

	compare(&c, 4);
	compare(&c, 6);
	c.has6 = false;
	compare(&c, 4);
	c.has4 = false;
	c.has6 = true;
	compare(&c, 6);
}

static void
test_none(void)
{
	struct frame_conf c = conf_make(FF_ENCAP_NONE);

	compare(&c, 4);
	compare(&c, 6);
	c.has4 = c.has6 = false;
	compare(&c, 4);
	compare(&c, 6);
}

/* What goes to the host itself is for an RDMA device of its own. */
static void
test_own_address(void)
{
	struct frame_conf c = conf_make(FF_ENCAP_NONE);
	uint8_t frame[256] = {0};
	int prog;
	struct bpf_object *o = load(&c, XDP_DROP, &prog);
	uint32_t len = frame_make(&c, 4, frame);

	memcpy(frame + IP + 16, c.own4, 4);
	sum_fix(frame);
	CU_ASSERT_EQUAL(run(prog, frame, len), XDP_PASS);
	frame[IP + 19]++;
	sum_fix(frame);
	CU_ASSERT_EQUAL(run(prog, frame, len), XDP_DROP);
	len = frame_make(&c, 6, frame);
	memcpy(frame + IP + 24, c.own6, 16);
	CU_ASSERT_EQUAL(run(prog, frame, len), XDP_PASS);
	for (unsigned word = 0; word < 4; word++) {
		frame[IP + 24 + 4 * word] ^= 1;
		CU_ASSERT_EQUAL(run(prog, frame, len), XDP_DROP);
		frame[IP + 24 + 4 * word] ^= 1;
	}
	bpf_object__close(o);
}

/* The kernel has all of it where no socket is: the router has gone. */
static void
test_no_socket(void)
{
	struct frame_conf c = conf_make(FF_ENCAP_VXLAN);
	uint8_t frame[256] = {0};
	uint32_t len = frame_make(&c, 4, frame);
	int prog;
	struct bpf_object *o = load(&c, XDP_PASS, &prog);

	CU_ASSERT_EQUAL(run(prog, frame, len), XDP_PASS);
	CU_ASSERT_PTR_NOT_NULL(bpf_object__find_map_by_name(o, "xsks_map"));
	bpf_object__close(o);
	c.has4 = c.has6 = false;
	CU_ASSERT_EQUAL(ff_xdp_prog(&c, &(struct xdp_prog){0}), -EADDRNOTAVAIL);
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
