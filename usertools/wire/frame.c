/* SPDX-License-Identifier: MIT */
/* Frames: pool, checksums, corruption, ECN. Headers are the sender's: each length is checked. */
#include <stdlib.h>
#include <string.h>

#include "frame.h"

#define ETHERTYPE_IP4 0x0800u
#define ETHERTYPE_IP6 0x86ddu
#define IP4_LEN_MIN   20u
#define IP6_LEN	      40u
#define UDP_LEN	      8u
#define UDP_SUM	      6u
#define PROTO_UDP     17u
#define ECN_MASK      3u
#define ECN_CE	      3u

static unsigned
get16(const uint8_t *p)
{
	return (unsigned)p[0] << 8 | p[1];
}

static void
put16(uint8_t *p, unsigned value)
{
	p[0] = (uint8_t)(value >> 8);
	p[1] = (uint8_t)value;
}

void
wire_pool_init(struct wire_pool *pool, unsigned max)
{
	TAILQ_INIT(&pool->free);
	pool->made = 0;
	pool->max = max;
}

void
wire_pool_fini(struct wire_pool *pool)
{
	struct wire_frame *frame;

	while ((frame = TAILQ_FIRST(&pool->free))) {
		TAILQ_REMOVE(&pool->free, frame, link);
		free(frame);
	}
}

struct wire_frame *
wire_pool_get(struct wire_pool *pool)
{
	struct wire_frame *frame = TAILQ_FIRST(&pool->free);

	if (frame) {
		TAILQ_REMOVE(&pool->free, frame, link);
		return frame;
	}
	if (pool->made == pool->max)
		return NULL;
	frame = malloc(sizeof(*frame));
	if (frame)
		pool->made++;
	return frame;
}

void
wire_pool_put(struct wire_pool *pool, struct wire_frame *frame)
{
	/* The last one used comes next: it is in the cache. */
	TAILQ_INSERT_HEAD(&pool->free, frame, link);
}

struct wire_frame *
wire_pool_clone(struct wire_pool *pool, const struct wire_frame *frame)
{
	struct wire_frame *copy = wire_pool_get(pool);

	if (copy)
		memcpy(copy, frame, offsetof(struct wire_frame, bytes) + frame->len);
	return copy;
}

static unsigned
ethertype(const struct wire_frame *frame)
{
	return frame->len < WIRE_ETH_LEN ? 0 : get16(frame->bytes + WIRE_ETH_LEN - 2);
}

bool
wire_frame_is_ip(const struct wire_frame *frame)
{
	return ethertype(frame) == ETHERTYPE_IP4 || ethertype(frame) == ETHERTYPE_IP6;
}

/* The sum of RFC 1071, not yet inverted. */
static unsigned
sum16(const uint8_t *p, size_t len)
{
	uint64_t sum = 0;
	size_t i;

	for (i = 0; i + 1 < len; i += 2)
		sum += get16(p + i);
	if (len & 1)
		sum += (unsigned)p[len - 1] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (unsigned)sum;
}

/* The checksum at field after a word that it covers has changed (RFC 1624, equation 3). */
static void
sum_update(uint8_t *field, unsigned before, unsigned after)
{
	unsigned sum = (~get16(field) & 0xffff) + (~before & 0xffff) + after;

	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	put16(field, ~sum & 0xffff);
}

bool
wire_frame_checksum(struct wire_frame *frame, unsigned start, unsigned offset)
{
	unsigned sum;

	if (start > frame->len || frame->len - start < 2 || offset > frame->len - start - 2)
		return false;
	sum = ~sum16(frame->bytes + start, frame->len - start) & 0xffff;
	/* 0 would say "no checksum" in UDP, and is the same number everywhere else. */
	put16(frame->bytes + start + offset, sum ? sum : 0xffff);
	return true;
}

/*
 * Where the outer UDP header is, and how many bytes are behind it; 0 when there is none, or in a
 * later fragment. IPv6 extension headers are not looked behind.
 */
static unsigned
udp_find(const struct wire_frame *frame, unsigned *len)
{
	const uint8_t *ip = frame->bytes + WIRE_ETH_LEN;
	unsigned left = frame->len - WIRE_ETH_LEN, header, protocol;

	if (ethertype(frame) == ETHERTYPE_IP4 && left >= IP4_LEN_MIN) {
		header = (ip[0] & 0xfu) * 4;
		protocol = get16(ip + 6) & 0x1fff ? 0 : ip[9];
	} else if (ethertype(frame) == ETHERTYPE_IP6 && left >= IP6_LEN) {
		header = IP6_LEN;
		protocol = ip[6];
	} else {
		return 0;
	}
	if (protocol != PROTO_UDP || header < IP4_LEN_MIN || header > left ||
	    left - header < UDP_LEN)
		return 0;
	/* Behind the datagram there may be Ethernet padding. */
	*len = get16(ip + header + 4);
	if (*len < UDP_LEN || *len > left - header)
		*len = left - header;
	*len -= UDP_LEN;
	return WIRE_ETH_LEN + header;
}

static void
udp_flip(uint8_t *udp, unsigned byte, uint8_t bit)
{
	/* An odd last byte is the upper half of a word; so is each with an even offset. */
	unsigned shift = byte & 1 ? 0 : 8;
	unsigned before = (unsigned)udp[byte] << shift;
	bool checked = get16(udp + UDP_SUM) != 0;

	udp[byte] ^= bit;
	if (!checked)
		return;
	sum_update(udp + UDP_SUM, before, (unsigned)udp[byte] << shift);
	if (get16(udp + UDP_SUM) == 0)
		put16(udp + UDP_SUM, 0xffff);
}

bool
wire_frame_corrupt(struct wire_frame *frame, uint64_t place, bool repair)
{
	unsigned udp, start = WIRE_ETH_LEN, len = frame->len - WIRE_ETH_LEN, udp_len = 0, byte;
	uint8_t bit = (uint8_t)(1u << (place & 7));

	if (frame->len <= WIRE_ETH_LEN)
		return false;
	udp = repair ? udp_find(frame, &udp_len) : 0;
	if (udp) {
		start = udp + UDP_LEN;
		len = udp_len;
	}
	if (len == 0)
		return false;
	byte = start + (unsigned)((place >> 32) * len >> 32);
	if (udp)
		udp_flip(frame->bytes + udp, byte - udp, bit);
	else
		frame->bytes[byte] ^= bit;
	return true;
}

bool
wire_frame_mark(struct wire_frame *frame)
{
	uint8_t *ip = frame->bytes + WIRE_ETH_LEN;
	unsigned before;

	if (ethertype(frame) == ETHERTYPE_IP4 && frame->len >= WIRE_ETH_LEN + IP4_LEN_MIN) {
		if (!(ip[1] & ECN_MASK))
			return false;
		before = get16(ip);
		ip[1] |= ECN_CE;
		sum_update(ip + 10, before, get16(ip));
		return true;
	}
	if (ethertype(frame) == ETHERTYPE_IP6 && frame->len >= WIRE_ETH_LEN + IP6_LEN) {
		/* Version 4 bits, traffic class 8, its ECN the last two. No checksum covers it. */
		if (!(ip[1] & ECN_MASK << 4))
			return false;
		ip[1] |= ECN_CE << 4;
		return true;
	}
	return false;
}
