/* SPDX-License-Identifier: MIT */
/*
 * The inner packet, IP header to iCRC, as anybody may have sent it: what it is, before anything of
 * ours is looked at. Pure code: no DPDK, no state. Any thread.
 */
#ifndef FF_NIC_SOFT_ROCE_INNER_H
#define FF_NIC_SOFT_ROCE_INNER_H

#include "../../roce/wire.h"

#define SROCE_IP4      20u
#define SROCE_IP6      40u
#define SROCE_UDP      8u
#define SROCE_HEAD_MAX (SROCE_IP6 + SROCE_UDP)

/* Why a packet went no further. */
enum sroce_drop {
	SROCE_DROP_HEADERS, /* not IP, not UDP to 4791, lengths that do not fit, fragments */
	SROCE_DROP_ICRC,
	SROCE_DROP_BTH,	    /* roce_parse() */
	SROCE_DROP_QPN,	    /* no such QP, or it is not for the wire */
	SROCE_DROP_TENANT,  /* the VNI is another tenant's */
	SROCE_DROP_ADDRESS, /* not from the QP's peer, or not to its own address */
	SROCE_DROP_BUSY,    /* no room to hand it to the QP's worker */
	SROCE_DROP_PATH,    /* to send: the resolver knows no host */
	SROCE_DROP_LINK,    /* to send: the route leaves by another interface than the port */
	SROCE_DROP_SOURCE,  /* to send: from an address that the container has no more */
	SROCE_DROP_MTU,	    /* to send: longer than what the path takes */
	SROCE_DROP_MAX,
};

/* The packet that roce_rx() is working on. */
struct srx {
	const uint8_t *ip; /* where it begins */
	uint8_t sgid[16], dgid[16];
	uint8_t tos, ttl;
	bool ce;
};

/*
 * Headers and iCRC of the len bytes at ip. 0: rx (but for ce) and pkt are set and point into them;
 * else why not (enum sroce_drop), plus one.
 */
int sroce_unwrap(struct srx *rx, struct roce_pkt *pkt, const uint8_t *ip, uint32_t len);
/*
 * A source that no packet has (RFC 1122, 3.2.1.3; RFC 4291, 2.5 and 2.7), or IPv4 in the clothes of
 * IPv6, which would be taken for the address that it is not. For what sroce_unwrap() has taken.
 */
bool sroce_from_nobody(const struct srx *rx);

#endif
