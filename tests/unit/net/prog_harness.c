/* SPDX-License-Identifier: MIT */
/* See prog_harness.h. */
#include "prog_harness.h"

#include <string.h>

#include <bpf/bpf.h>

#define INNER 60u

static const uint8_t container4[4] = {10, 0, 0, 1};
static const uint8_t container6[16] = {0xfd, 0x10, [15] = 1};

struct frame_conf
prog_conf(enum ff_encap encap)
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

uint32_t
prog_frame(const struct frame_conf *c, unsigned outer, uint8_t out[FRAME_MAX])
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
	if (outer == 4)
		memcpy(inner + 16, container4, 4);
	else
		memcpy(inner + 24, container6, 16);
	inner[udp + 2] = FRAME_ROCE_PORT >> 8;
	inner[udp + 3] = FRAME_ROCE_PORT & 0xff;
	inner[udp + 5] = (uint8_t)(INNER - udp);
	CU_ASSERT_EQUAL_FATAL(ff_frame_head(c, &tx, c->mac, inner[0], &h), 0);
	ff_frame_head_fit(&h, INNER);
	memcpy(out, h.bytes, h.len);
	memcpy(out + h.len, inner, INNER);
	if (outer == 4)
		prog_sum(out);
	return h.len + INNER;
}

void
prog_sum(uint8_t *frame)
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

unsigned
prog_run(int prog, const uint8_t *frame, uint32_t len)
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

static bool
to_container(const uint8_t *f)
{
	return f[12] == 8 ? !memcmp(f + IP + 16, container4, 4)
			  : !memcmp(f + IP + 24, container6, 16);
}

static void
judge(const struct frame_conf *c, int prog, const uint8_t *frame, uint32_t len,
      const struct prog_verdicts *v)
{
	struct frame_in in;
	enum frame_verdict verdict = ff_frame_parse(c, frame, len, &in);
	unsigned got = prog_run(prog, frame, len);
	bool kernels = is_odd(frame) || verdict == FRAME_FOREIGN ||
		       (v->containers && !to_container(frame));

	if (kernels || verdict == FRAME_OURS)
		CU_ASSERT_EQUAL(got, kernels ? v->kernels : v->ours);
}

void
prog_compare(const struct frame_conf *c, unsigned outer, int prog, const struct prog_verdicts *v)
{
	uint8_t frame[FRAME_MAX] = {0};
	uint32_t len = prog_frame(c, outer, frame);

	CU_ASSERT_EQUAL(prog_run(prog, frame, len), v->ours);
	for (uint32_t l = !v->skb ? IP : outer == 4 ? IP + 20 : IP + 40; l <= len; l++)
		judge(c, prog, frame, l, v);
	for (unsigned bit = 0; bit < (IP + 48) * 8; bit++) {
		frame[bit / 8] ^= (uint8_t)(1u << bit % 8);
		judge(c, prog, frame, len, v);
		if (outer == 4)
			prog_sum(frame);
		judge(c, prog, frame, len, v);
		frame[bit / 8] ^= (uint8_t)(1u << bit % 8);
		if (outer == 4)
			prog_sum(frame);
	}
}

void
prog_vxlan(prog_compare_fn *compare)
{
	struct frame_conf c = prog_conf(FF_ENCAP_VXLAN);

	compare(&c, 4);
	compare(&c, 6);
	c.has6 = false;
	compare(&c, 4);
	c.has4 = false;
	c.has6 = true;
	compare(&c, 6);
}

void
prog_none(prog_compare_fn *compare)
{
	struct frame_conf c = prog_conf(FF_ENCAP_NONE);

	compare(&c, 4);
	compare(&c, 6);
	c.has4 = c.has6 = false;
	compare(&c, 4);
	compare(&c, 6);
}
