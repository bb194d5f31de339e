/* SPDX-License-Identifier: MIT */
/* Tests dataplane/net/frame.c: headers byte by byte, what is taken in, what is not. */
#include <CUnit/Basic.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "net/frame.h"

#define UDP_PORT 47910u
#define MAX	 512u

static const uint8_t me[6] = {2, 0, 0, 0, 0, 1}, you[6] = {2, 0, 0, 0, 0, 2};

static struct frame_conf
conf_of(enum ff_encap encap, const uint8_t mac[6], uint8_t last)
{
	struct frame_conf c = {.encap = encap,
			       .udp_port = UDP_PORT,
			       .has4 = true,
			       .has6 = true,
			       .own4 = {192, 0, 2, last},
			       .own6 = {0xfd, [15] = last}};

	memcpy(c.mac, mac, 6);
	return c;
}

/* The path to the host that ends in last; the outer version is that of its address. */
static struct ff_path
path_to(enum ff_encap encap, unsigned outer, uint8_t last)
{
	struct ff_path p = {.encap = encap, .vni = 0x123456, .mtu = 1450};

	if (outer == 4)
		memcpy(p.host, (uint8_t[16]){[10] = 0xff, 0xff, 192, 0, 2, last}, 16);
	else
		memcpy(p.host, (uint8_t[16]){0xfd, [15] = last}, 16);
	memcpy(p.dst_mac, (uint8_t[6]){6, 5, 4, 3, 2, 1}, 6);
	return p;
}

static uint16_t
get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static void
put16(uint8_t *p, unsigned v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static void
sum_put(uint8_t *ip)
{
	uint32_t s = 0;

	put16(ip + 10, 0);
	for (unsigned i = 0; i < 20; i += 2)
		s += get16(ip + i);
	s = (s & 0xffff) + (s >> 16);
	put16(ip + 10, ~(s + (s >> 16)) & 0xffff);
}

/* A packet of RoCE between containers, of len bytes. */
static void
inner_make(uint8_t *p, unsigned version, unsigned len)
{
	unsigned ip = version == 4 ? 20 : 40;

	for (unsigned i = 0; i < len; i++)
		p[i] = (uint8_t)(i * 7);
	memset(p, 0, ip + 8);
	p[0] = version == 4 ? 0x45 : 0x60;
	p[version == 4 ? 9 : 6] = 17;
	put16(p + (version == 4 ? 2 : 4), version == 4 ? len : len - 40);
	p[version == 4 ? 19 : 39] = 77;
	if (version == 4)
		sum_put(p);
	put16(p + ip + 2, 4791);
	put16(p + ip + 4, len - ip);
}

/* A frame from us to the other host; returns its length. */
static uint32_t
frame_make(uint8_t out[MAX], enum ff_encap encap, unsigned outer, unsigned version, unsigned len)
{
	struct frame_conf c = conf_of(encap, me, 1);
	struct ff_path path = path_to(encap, outer, 2);
	struct ff_port_tx tx = {.path = &path, .src_port = 0x1234, .tos = 0x6a};
	struct frame_head h;

	CU_ASSERT_EQUAL_FATAL(ff_frame_head(&c, &tx, you, version == 4 ? 0x45 : 0x60, &h), 0);
	/* Also after another length. */
	ff_frame_head_fit(&h, 999);
	ff_frame_head_fit(&h, len);
	memcpy(out, h.bytes, h.len);
	inner_make(out + h.len, version, len);
	return h.len + len;
}

/* From memory of exactly that size, so that a sanitizer sees a read beyond it. */
static enum frame_verdict
parse(enum ff_encap encap, const uint8_t *frame, uint32_t len, struct frame_in *in)
{
	struct frame_conf c = conf_of(encap, you, 2);
	uint8_t *copy = malloc(len ? len : 1);
	enum frame_verdict v;

	memcpy(copy, frame, len);
	v = ff_frame_parse(&c, copy, len, in);
	free(copy);
	return v;
}

static enum frame_verdict
verdict(enum ff_encap encap, const uint8_t *frame, uint32_t len)
{
	struct frame_in in;

	return parse(encap, frame, len, &in);
}

static void
test_head_v4(void)
{
	uint8_t f[MAX];
	uint32_t len = frame_make(f, FF_ENCAP_VXLAN, 4, 4, 100), sum = 0;
	const uint8_t *ip = f + 14, *udp = ip + 20;

	CU_ASSERT_EQUAL(len, 14 + 20 + 8 + 8 + 14 + 100);
	CU_ASSERT(!memcmp(f, you, 6) && !memcmp(f + 6, me, 6));
	CU_ASSERT_EQUAL(get16(f + 12), 0x0800);
	CU_ASSERT(ip[0] == 0x45 && ip[1] == 0x6a && ip[8] == 64 && ip[9] == 17);
	CU_ASSERT_EQUAL(get16(ip + 2), len - 14);
	CU_ASSERT_EQUAL(get16(ip + 6), 0x4000); /* don't fragment (RFC 7348 §4.3) */
	CU_ASSERT(!memcmp(ip + 12, (uint8_t[]){192, 0, 2, 1, 192, 0, 2, 2}, 8));
	for (unsigned i = 0; i < 20; i += 2)
		sum += get16(ip + i);
	CU_ASSERT_EQUAL((sum & 0xffff) + (sum >> 16), 0xffff);
	CU_ASSERT_EQUAL(get16(udp), 0xd234); /* of the dynamic range, with the flow's entropy */
	CU_ASSERT_EQUAL(get16(udp + 2), UDP_PORT);
	CU_ASSERT_EQUAL(get16(udp + 4), len - 34);
	CU_ASSERT_EQUAL(get16(udp + 6), 0);
	CU_ASSERT(!memcmp(udp + 8, (uint8_t[]){8, 0, 0, 0, 0x12, 0x34, 0x56, 0, 6, 5, 4, 3}, 12));
}

static void
test_head_v6(void)
{
	uint8_t f[MAX];
	uint32_t len = frame_make(f, FF_ENCAP_VXLAN, 6, 4, 100);
	const uint8_t *ip = f + 14, *udp = ip + 40;

	CU_ASSERT_EQUAL(len, 14 + 40 + 8 + 8 + 14 + 100);
	CU_ASSERT_EQUAL(get16(f + 12), 0x86dd);
	CU_ASSERT(ip[0] == 0x66 && ip[1] == 0xa0); /* version, traffic class 0x6a */
	CU_ASSERT_EQUAL(get16(ip + 2), 0x1234);
	CU_ASSERT_EQUAL(get16(ip + 4), len - 54);
	CU_ASSERT(ip[6] == 17 && ip[7] == 64);
	CU_ASSERT(ip[8] == 0xfd && ip[23] == 1 && ip[24] == 0xfd && ip[39] == 2);
	CU_ASSERT_EQUAL(get16(udp + 4), len - 54);
	CU_ASSERT_EQUAL(get16(udp + 6), 0);
}

static void
test_head_refused(void)
{
	struct frame_conf c = conf_of(FF_ENCAP_VXLAN, me, 1);
	struct ff_path path = path_to(FF_ENCAP_VXLAN, 4, 2);
	struct ff_port_tx tx = {.path = &path};
	struct frame_head h;

	CU_ASSERT_EQUAL(ff_frame_head(&c, &tx, you, 0x55, &h), -EINVAL);
	path.vni = 1u << 24;
	CU_ASSERT_EQUAL(ff_frame_head(&c, &tx, you, 0x45, &h), -EINVAL);
	path.vni = 1;
	c.has4 = false;
	CU_ASSERT_EQUAL(ff_frame_head(&c, &tx, you, 0x45, &h), -EADDRNOTAVAIL);
	c.has4 = true;
	path.encap = FF_ENCAP_NONE;
	CU_ASSERT_EQUAL(ff_frame_head(&c, &tx, you, 0x45, &h), -EINVAL);
}

/* What one makes, the other takes. */
static void
there(enum ff_encap encap, unsigned outer, unsigned version)
{
	uint8_t f[MAX], inner[MAX];
	uint32_t len = frame_make(f, encap, outer, version, 200);
	struct ff_path from = path_to(encap, outer, 1);
	struct frame_in in;

	inner_make(inner, version, 200);
	CU_ASSERT_EQUAL_FATAL(parse(encap, f, len, &in), FRAME_OURS);
	CU_ASSERT(in.len == 200 && in.off == len - 200);
	CU_ASSERT(!memcmp(f + in.off, inner, 200));
	CU_ASSERT_EQUAL(in.vni, encap == FF_ENCAP_NONE ? 0 : 0x123456);
	CU_ASSERT_EQUAL(in.tos, encap == FF_ENCAP_NONE ? 0 : 0x6a);
	if (encap == FF_ENCAP_VXLAN)
		CU_ASSERT(!memcmp(in.host, from.host, 16));
	/* What Ethernet pads is cut off; what is missing is missed, or, without its ports,
	 * nobody's.
	 */
	CU_ASSERT_EQUAL(parse(encap, f, len + 18, &in), FRAME_OURS);
	CU_ASSERT_EQUAL(in.len, 200);
	for (uint32_t i = 0; i < len; i++)
		CU_ASSERT_NOT_EQUAL(verdict(encap, f, i), FRAME_OURS);
	CU_ASSERT_EQUAL(verdict(encap, f, len - 1), FRAME_BAD);
}

static void
test_there(void)
{
	for (unsigned version = 4; version <= 6; version += 2) {
		there(FF_ENCAP_VXLAN, 4, version);
		there(FF_ENCAP_VXLAN, 6, version);
		there(FF_ENCAP_NONE, 4, version);
	}
}

/* One byte of a good frame changed. */
static enum frame_verdict
with(enum ff_encap encap, unsigned version, unsigned at, uint8_t value, bool sum)
{
	uint8_t f[MAX];
	uint32_t len = frame_make(f, encap, version, version, 100);

	f[at] = value;
	if (sum)
		sum_put(f + 14);
	return verdict(encap, f, len);
}

/* Of a shared interface: the kernel's business. Not one of them may count as bad. */
static void
test_foreign(void)
{
	static const enum ff_encap encaps[] = {FF_ENCAP_VXLAN, FF_ENCAP_NONE};

	for (unsigned i = 0; i < 2; i++) {
		enum ff_encap e = encaps[i];

		CU_ASSERT_EQUAL(with(e, 4, 5, 9, false), FRAME_FOREIGN);     /* another MAC */
		CU_ASSERT_EQUAL(with(e, 4, 13, 6, false), FRAME_FOREIGN);    /* ARP */
		CU_ASSERT_EQUAL(with(e, 4, 12, 0x81, false), FRAME_FOREIGN); /* VLAN */
		CU_ASSERT_EQUAL(with(e, 4, 23, 6, true), FRAME_FOREIGN);     /* TCP */
		CU_ASSERT_EQUAL(with(e, 6, 20, 6, false), FRAME_FOREIGN);
		CU_ASSERT_EQUAL(with(e, 4, 14, 0x65, true), FRAME_FOREIGN);
		CU_ASSERT_EQUAL(with(e, 4, 14, 0x4f, false), FRAME_FOREIGN); /* options there */
		CU_ASSERT_EQUAL(with(e, 4, 37, 1, false), FRAME_FOREIGN);    /* another port */
		CU_ASSERT_EQUAL(with(e, 6, 57, 1, false), FRAME_FOREIGN);
		CU_ASSERT_EQUAL(with(e, 4, 21, 1, true), FRAME_FOREIGN); /* a later fragment */
	}
	/* To another address; without encapsulation, that of the host itself. */
	CU_ASSERT_EQUAL(with(FF_ENCAP_VXLAN, 4, 33, 9, true), FRAME_FOREIGN);
	CU_ASSERT_EQUAL(with(FF_ENCAP_VXLAN, 6, 53, 9, false), FRAME_FOREIGN);
	CU_ASSERT_EQUAL(with(FF_ENCAP_NONE, 4, 33, 9, true), FRAME_OURS);
}

static void
test_own_address(void)
{
	uint8_t f[MAX];
	uint32_t len = frame_make(f, FF_ENCAP_NONE, 4, 4, 100);

	memcpy(f + 30, (uint8_t[]){192, 0, 2, 2}, 4);
	sum_put(f + 14);
	CU_ASSERT_EQUAL(verdict(FF_ENCAP_NONE, f, len), FRAME_FOREIGN);
}

static void
test_bad(void)
{
	static const enum ff_encap encaps[] = {FF_ENCAP_VXLAN, FF_ENCAP_NONE};

	for (unsigned i = 0; i < 2; i++) {
		enum ff_encap e = encaps[i];

		CU_ASSERT_EQUAL(with(e, 4, 24, 0x99, false), FRAME_BAD); /* checksum */
		CU_ASSERT_EQUAL(with(e, 4, 20, 0x20, true), FRAME_BAD);	 /* the first fragment */
		CU_ASSERT_EQUAL(with(e, 4, 16, 9, true), FRAME_BAD);	 /* IP length */
		CU_ASSERT_EQUAL(with(e, 4, 39, 9, false), FRAME_BAD);	 /* UDP length */
		CU_ASSERT_EQUAL(with(e, 6, 18, 9, false), FRAME_BAD);
		CU_ASSERT_EQUAL(with(e, 6, 59, 9, false), FRAME_BAD);
	}
	CU_ASSERT_EQUAL(with(FF_ENCAP_VXLAN, 4, 42, 0, false), FRAME_BAD); /* no VNI */
	CU_ASSERT_EQUAL(with(FF_ENCAP_VXLAN, 4, 62, 9, false), FRAME_BAD); /* inner type */
}

int
main(void)
{
	CU_TestInfo tests[] = {
		{"headers, IPv4", test_head_v4},
		{"headers, IPv6", test_head_v6},
		{"no headers", test_head_refused},
		{"there", test_there},
		{"foreign", test_foreign},
		{"to the host itself", test_own_address},
		{"bad", test_bad},
		CU_TEST_INFO_NULL,
	};
	CU_SuiteInfo suites[] = {{"net/frame", NULL, NULL, NULL, NULL, tests}, CU_SUITE_INFO_NULL};
	unsigned failed;

	if (CU_initialize_registry() != CUE_SUCCESS || CU_register_suites(suites) != CUE_SUCCESS)
		return 1;
	CU_basic_set_mode(CU_BRM_VERBOSE);
	CU_basic_run_tests();
	failed = CU_get_number_of_failures();
	CU_cleanup_registry();
	return failed != 0;
}
