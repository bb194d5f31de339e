/* SPDX-License-Identifier: MIT */
/* The first look at a packet from the wire. Pure code; see inner.h. Any thread. */
#include "inner.h"

#include <endian.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <string.h>

static uint16_t
be16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

/* Where the UDP header begins, and *end: where the IP packet does. 0: not what we take. */
static unsigned
ip_check(struct srx *rx, const uint8_t *p, uint32_t len, uint32_t *end)
{
	rx->ip = p;
	if (len < SROCE_IP4 + SROCE_UDP)
		return 0;
	if (p[0] == 0x45) {
		*end = be16(p + 2);
		rx->tos = p[1];
		memset(rx->sgid, 0, 10);
		rx->sgid[10] = rx->sgid[11] = 0xff;
		memcpy(rx->dgid, rx->sgid, 12);
		memcpy(rx->sgid + 12, p + 12, 4);
		memcpy(rx->dgid + 12, p + 16, 4);
		if (p[9] != IPPROTO_UDP || (be16(p + 6) & (IP_MF | IP_OFFMASK)))
			return 0;
		return SROCE_IP4;
	}
	if (p[0] >> 4 != 6 || len < SROCE_IP6 + SROCE_UDP || p[6] != IPPROTO_UDP)
		return 0;
	*end = SROCE_IP6 + be16(p + 4);
	rx->tos = (uint8_t)(p[0] << 4 | p[1] >> 4);
	memcpy(rx->sgid, p + 8, 16);
	memcpy(rx->dgid, p + 24, 16);
	return SROCE_IP6;
}

int
sroce_unwrap(struct srx *rx, struct roce_pkt *pkt, const uint8_t *p, uint32_t len)
{
	uint32_t end = 0, crc;
	unsigned udp = ip_check(rx, p, len, &end);

	if (!udp || end > len || end < udp + SROCE_UDP + ROCE_BTH + ROCE_ICRC ||
	    be16(p + udp + 2) != ROCE_UDP_PORT || be16(p + udp + 4) != end - udp)
		return SROCE_DROP_HEADERS + 1;
	memcpy(&crc, p + end - ROCE_ICRC, sizeof(crc));
	if (le32toh(crc) != roce_icrc(p, end - ROCE_ICRC))
		return SROCE_DROP_ICRC + 1;
	if (roce_parse(pkt, p + udp + SROCE_UDP, end - ROCE_ICRC - udp - SROCE_UDP))
		return SROCE_DROP_BTH + 1;
	return 0;
}

bool
sroce_from_nobody(const struct srx *rx)
{
	static const uint8_t zeroes[10];
	const uint8_t *v4 = rx->sgid + 12;

	if (rx->ip[0] >> 4 == 4)
		return v4[0] == 0 || v4[0] == 127 || v4[0] >> 4 == 14 ||
		       !memcmp(v4, "\xff\xff\xff\xff", 4);
	return rx->sgid[0] == 0xff || !memcmp(rx->sgid, zeroes, 10) ||
	       !memcmp(rx->dgid, zeroes, 10);
}
