/* SPDX-License-Identifier: MIT */
/* Frames for the wire's tests. */
#ifndef FF_TEST_WIRE_UTIL_H
#define FF_TEST_WIRE_UTIL_H

#include <CUnit/Basic.h>
#include <string.h>

#include "frame.h"

static const uint8_t eth_ip4[14] = {2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0};
/* 192.168.1.1 to 192.168.1.2, UDP; total length and checksum are filled in. */
static const uint8_t ip4[20] = {0x45, 0, 0,   0,   0, 1, 0,   0,   64, 17,
				0,    0, 192, 168, 1, 1, 192, 168, 1,  2};

static inline unsigned
word(const uint8_t *p)
{
	return (unsigned)p[0] << 8 | p[1];
}

/* RFC 1071 in its plainest form; 0xffff when a checksum inside is right. */
static inline unsigned
ones_sum(const uint8_t *p, unsigned len, unsigned sum)
{
	unsigned i;

	for (i = 0; i < len; i++) {
		sum += (unsigned)p[i] << (i & 1 ? 0 : 8);
		sum = (sum & 0xffff) + (sum >> 16);
	}
	return sum;
}

/* Pseudo header and datagram of a frame made by udp4_make(). */
static inline unsigned
udp4_sum(const struct wire_frame *f)
{
	unsigned udp_len = word(f->bytes + 38);

	return ones_sum(f->bytes + 34, udp_len, ones_sum(f->bytes + 26, 8, 17 + udp_len));
}

static inline void
udp4_make(struct wire_frame *f, unsigned payload, bool checked)
{
	uint8_t *ip = f->bytes + 14, *udp = ip + 20;
	unsigned i, sum;

	memset(f, 0, offsetof(struct wire_frame, bytes));
	f->len = 14 + 20 + 8 + payload;
	memcpy(f->bytes, eth_ip4, 14);
	memcpy(ip, ip4, 20);
	ip[2] = (uint8_t)((28 + payload) >> 8);
	ip[3] = (uint8_t)(28 + payload);
	sum = ~ones_sum(ip, 20, 0);
	ip[10] = (uint8_t)(sum >> 8);
	ip[11] = (uint8_t)sum;
	memset(udp, 0, 8);
	udp[0] = 0x12;
	udp[2] = 0xb7;
	udp[4] = (uint8_t)((8 + payload) >> 8);
	udp[5] = (uint8_t)(8 + payload);
	for (i = 0; i < payload; i++)
		udp[8 + i] = (uint8_t)(i * 7 + 3);
	if (!checked)
		return;
	sum = ~udp4_sum(f) & 0xffff;
	sum = sum ? sum : 0xffff;
	udp[6] = (uint8_t)(sum >> 8);
	udp[7] = (uint8_t)sum;
}

#endif
