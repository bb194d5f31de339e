/* SPDX-License-Identifier: MIT */
/*
 * libFuzzer: an inner packet as any stranger may send it to the RoCEv2 engine: the input itself, or
 * laid over a good one, which may end too early. Half of them get a right iCRC, behind which the
 * rest is. What is taken lies inside the bytes, says the addresses that stand there, and is not
 * taken with a bit changed.
 */
#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "../../dataplane/nic/soft_roce/inner.h"

#define HEAD	3u
#define PAYLOAD 40u
#define BYTES	512u
#define MUST(cond)               \
	do {                     \
		if (!(cond))     \
			abort(); \
	} while (0)

enum how { FIX_ICRC = 1, SIX = 2, AS_IT_IS = 4, CUT = 8, FIT = 16 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool
is_six(const uint8_t *p)
{
	return p[0] >> 4 == 6;
}

/* The IP packet's end, as it says itself. */
static size_t
end_of(const uint8_t *p, size_t len)
{
	if (len < SROCE_IP4)
		return 0;
	return is_six(p) ? SROCE_IP6 + (size_t)(p[4] << 8 | p[5]) : (size_t)(p[2] << 8 | p[3]);
}

static void
icrc_put(uint8_t *p, size_t len)
{
	size_t end = end_of(p, len);
	uint32_t crc;

	if (end > len || end < ROCE_ICRC)
		return;
	crc = htole32(roce_icrc(p, end - ROCE_ICRC));
	memcpy(p + end - ROCE_ICRC, &crc, sizeof(crc));
}

/* It says that it is len bytes long, as far as it can. */
static void
lengths_put(bool six, uint8_t *p, size_t len)
{
	unsigned ip = six ? SROCE_IP6 : SROCE_IP4;

	p[six ? 5 : 3] = (uint8_t)(six ? len - ip : len);
	p[ip + 5] = (uint8_t)(len - ip);
}

/* One that would be taken; returns its length. */
static size_t
good(bool six, uint8_t opcode, uint8_t *p)
{
	unsigned ip = six ? SROCE_IP6 : SROCE_IP4;
	struct roce_pkt pkt = {.opcode = opcode, .pkey = ROCE_PKEY_DEFAULT, .qpn = 2, .psn = 3};
	size_t len;

	pkt.flags = roce_opcode_flags(opcode);
	if (!pkt.flags)
		pkt.flags = roce_opcode_flags(pkt.opcode = ROCE_SEND_ONLY);
	pkt.len = pkt.flags & ROCE_F_PAYLOAD ? PAYLOAD : 0;
	memset(p, 0, BYTES);
	len = ip + SROCE_UDP + roce_build(&pkt, p + ip + SROCE_UDP) + pkt.len + ROCE_ICRC;
	p[0] = six ? 0x60 : 0x45;
	p[six ? 6 : 9] = 17;
	memcpy(p + (six ? 8 : 12), "\xfd\1\2\3\4", 5);
	memcpy(p + (six ? 24 : 16), "\xfd\5\6\7\x8", 5);
	p[ip + 2] = ROCE_UDP_PORT >> 8;
	p[ip + 3] = ROCE_UDP_PORT & 0xff;
	lengths_put(six, p, len);
	icrc_put(p, len);
	return len;
}

/* Not what routers change on the way (annex 17), nor the version, which says what that is. */
static bool
covered(const uint8_t *p, size_t at)
{
	unsigned ip = is_six(p) ? SROCE_IP6 : SROCE_IP4;

	if (at == ip + 6 || at == ip + 7 || at == ip + SROCE_UDP + 4)
		return false;
	if (is_six(p))
		return at > 3 && at != 7;
	return at > 1 && at != 8 && at != 10 && at != 11;
}

static void
addresses_check(const struct srx *rx, const uint8_t *p)
{
	static const uint8_t prefix[12] = {[10] = 0xff, 0xff};

	if (is_six(p)) {
		MUST(!memcmp(rx->sgid, p + 8, 16) && !memcmp(rx->dgid, p + 24, 16));
		return;
	}
	MUST(!memcmp(rx->sgid, prefix, 12) && !memcmp(rx->sgid + 12, p + 12, 4));
	MUST(!memcmp(rx->dgid, prefix, 12) && !memcmp(rx->dgid + 12, p + 16, 4));
}

/* Of a packet that was taken; place: somewhere in it. */
static void
taken_check(const struct srx *rx, const struct roce_pkt *pkt, uint8_t *p, size_t len, size_t place)
{
	const uint8_t *udp = p + (is_six(p) ? SROCE_IP6 : SROCE_IP4);
	size_t end = end_of(p, len);
	uint8_t bit = (uint8_t)(1u << (place & 7));
	struct roce_pkt again_pkt;
	struct srx again;

	MUST(rx->ip == p && end <= len);
	MUST((size_t)(udp[4] << 8 | udp[5]) == end - (size_t)(udp - p));
	addresses_check(rx, p);
	MUST(!sroce_from_nobody(rx) || is_six(p) || p[12] == 0 || p[12] == 127 || p[12] >= 224);
	if (pkt->len)
		MUST(pkt->payload > p && pkt->payload + pkt->len <= p + end - ROCE_ICRC);
	place = (place >> 3) % end;
	if (!covered(p, place))
		return;
	p[place] ^= bit;
	MUST(sroce_unwrap(&again, &again_pkt, p, (uint32_t)len) != 0);
}

/* Returns its length. */
static size_t
packet(uint8_t how, const uint8_t *head, const uint8_t *data, size_t size, uint8_t *p)
{
	size_t len;

	if (how & AS_IT_IS) {
		len = size < BYTES ? size : BYTES;
		memcpy(p, data, len);
		return len;
	}
	len = good(how & SIX, head[1], p);
	if (how & CUT)
		len = head[2] % len;
	if (how & CUT && how & FIT)
		lengths_put(how & SIX, p, len);
	for (size_t i = 0; i < len && i < size; i++)
		p[i] ^= data[i];
	return len;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t bytes[BYTES], how, *copy;
	struct roce_pkt pkt;
	struct srx rx;
	size_t len;
	int why;

	if (size < HEAD)
		return 0;
	how = data[0];
	len = packet(how, data, data + HEAD, size - HEAD, bytes);
	copy = malloc(len ? len : 1); /* exact: a read beyond it is seen */
	MUST(copy);
	memcpy(copy, bytes, len);
	if (how & FIX_ICRC)
		icrc_put(copy, len);
	why = sroce_unwrap(&rx, &pkt, copy, (uint32_t)len);
	MUST(why >= 0 && why <= SROCE_DROP_BTH + 1);
	/* The good one is taken as it is. */
	MUST(!why || size > HEAD || how & (AS_IT_IS | CUT));
	if (!why)
		taken_check(&rx, &pkt, copy, len, (size_t)data[1] << 8 | data[2]);
	free(copy);
	return 0;
}
