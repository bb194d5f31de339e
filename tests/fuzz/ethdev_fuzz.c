/* SPDX-License-Identifier: MIT */
/* libFuzzer: a frame as the ethdev port gets it from the underlay, made from good ones. */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../dataplane/net/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define INNER 100u

static struct frame_conf
conf_make(enum ff_encap encap)
{
	struct frame_conf c = {.encap = encap,
			       .udp_port = 47910,
			       .has4 = true,
			       .has6 = true,
			       .own4 = {192, 0, 2, 1},
			       .own6 = {0xfd, [15] = 1}};

	memset(c.mac, 2, sizeof(c.mac));
	return c;
}

/* A frame that would be taken; what the fuzzer says is laid over it. */
static size_t
template_make(const struct frame_conf *c, bool outer6, bool inner6, uint8_t out[512])
{
	struct ff_path path = {.encap = c->encap, .vni = 1, .mtu = UINT16_MAX};
	struct ff_port_tx tx = {.path = &path};
	struct frame_head h;
	unsigned ip = inner6 ? 40 : 20;
	uint8_t *p;

	if (outer6)
		memcpy(path.host, c->own6, 16);
	else
		memcpy(path.host, (uint8_t[16]){[10] = 0xff, 0xff, 192, 0, 2, 1}, 16);
	if (ff_frame_head(c, &tx, c->mac, inner6 ? 0x60 : 0x45, &h))
		abort();
	ff_frame_head_fit(&h, INNER);
	memcpy(out, h.bytes, h.len);
	p = out + h.len;
	memset(p, 0, INNER);
	p[0] = inner6 ? 0x60 : 0x45;
	p[inner6 ? 6 : 9] = 17;
	p[inner6 ? 5 : 3] = (uint8_t)(INNER - (inner6 ? 40 : 0));
	p[ip + 2] = FRAME_ROCE_PORT >> 8;
	p[ip + 3] = FRAME_ROCE_PORT & 0xff;
	p[ip + 5] = (uint8_t)(INNER - ip);
	return h.len + INNER;
}

/* A right checksum is no luck, half of the time. */
static void
sum_fix(uint8_t *frame, size_t size)
{
	uint32_t sum = 0;

	if (size < FF_ETHER_LEN + FRAME_IP4 || frame[14] != 0x45)
		return;
	frame[24] = frame[25] = 0;
	for (unsigned i = 14; i < 34; i += 2)
		sum += (uint32_t)(frame[i] << 8 | frame[i + 1]);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = ~(sum + (sum >> 16));
	frame[24] = (uint8_t)(sum >> 8);
	frame[25] = (uint8_t)sum;
}

/* What was taken in lies inside the frame, and can be sent on. */
static void
check(const struct frame_conf *c, const uint8_t *frame, size_t size, const struct frame_in *in)
{
	struct ff_path path = {.encap = c->encap, .vni = in->vni, .mtu = UINT16_MAX};
	struct ff_port_tx tx = {.path = &path, .tos = in->tos};
	struct frame_head h;

	if (in->len < FRAME_IP4 || in->len > size || in->off > size - in->len)
		abort();
	memcpy(path.host, in->host, sizeof(path.host));
	if (ff_frame_head(c, &tx, c->mac, frame[in->off], &h))
		abort();
	ff_frame_head_fit(&h, in->len);
	if (h.len > FRAME_HEAD_MAX)
		abort();
}

static void
one(enum ff_encap encap, uint8_t how, const uint8_t *data, size_t size)
{
	struct frame_conf c = conf_make(encap);
	uint8_t frame[512] = {0}, *copy;
	size_t len = template_make(&c, how & 2, how & 4, frame), i;
	struct frame_in in;

	/* Shorter than the template, or longer. */
	if (how & 8)
		len = size < sizeof(frame) ? size : sizeof(frame);
	copy = calloc(1, len ? len : 1); /* exact: a read beyond it is seen */
	if (!copy)
		abort();
	for (i = 0; i < len; i++)
		copy[i] = frame[i] ^ (i < size ? data[i] : 0);
	if (how & 1)
		sum_fix(copy, len);
	if (ff_frame_parse(&c, copy, (uint32_t)len, &in) == FRAME_OURS)
		check(&c, copy, len, &in);
	free(copy);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!size)
		return 0;
	one(FF_ENCAP_NONE, data[0], data + 1, size - 1);
	one(FF_ENCAP_VXLAN, data[0], data + 1, size - 1);
	return 0;
}
