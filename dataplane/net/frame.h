/* SPDX-License-Identifier: MIT */
/*
 * Ethernet frames that carry RoCEv2 packets, bare or in VXLAN: made and checked for the ethdev kind
 * of port. Pure functions, any thread.
 */
#ifndef FF_NET_FRAME_H
#define FF_NET_FRAME_H

#include <stdbool.h>
#include <stdint.h>

#include "port.h"
#include "vxlan.h"

#define FRAME_ROCE_PORT 4791u
#define FRAME_IP4	20u
#define FRAME_IP6	40u
#define FRAME_UDP	8u
/* In front of an inner packet, at the most. */
#define FRAME_HEAD_MAX	(FF_ETHER_LEN + FRAME_IP6 + FRAME_UDP + FF_ENCAP_LEN)

/* Who we are. Constant while the port is open. */
struct frame_conf {
	enum ff_encap encap;
	uint8_t mac[6];
	uint16_t udp_port; /* of VXLAN */
	bool has4, has6;
	uint8_t own4[4], own6[16];
};

enum frame_verdict {
	FRAME_OURS,
	FRAME_FOREIGN, /* somebody else's, such as the kernel's on a shared interface */
	FRAME_BAD,     /* for us by address and port, but not what it should be */
};

struct frame_in {
	uint32_t off, len; /* of the inner packet in the frame */
	uint32_t vni;	   /* encap none: 0 */
	uint8_t tos;
	uint8_t host[16]; /* outer source */
};

/*
 * Looks at a frame from the outside in; out is filled for FRAME_OURS alone. Checksums: that of an
 * outer IPv4 header is checked; an outer UDP checksum is not (RFC 7348 §5 leaves it to us): the
 * iCRC covers what is inside, and on virtual links it is not even there.
 */
enum frame_verdict ff_frame_parse(const struct frame_conf *c, const uint8_t *frame, uint32_t len,
				  struct frame_in *out);

/* What stands in front of each packet of a ff_port_tx. */
struct frame_head {
	uint32_t len;
	uint32_t ip; /* where the outer IP header is; 0: encap none, there is none */
	bool v4;
	uint8_t bytes[FRAME_HEAD_MAX];
};

/*
 * 0, or -EINVAL: no such packet, -EADDRNOTAVAIL: we have no address of that family. first: the
 * inner packet's first byte. The outer UDP checksum is zero: over IPv4 as RFC 7348 §5 says, over
 * IPv6 as RFC 6935 allows to tunnels whose inner packets have checks of their own.
 */
int ff_frame_head(const struct frame_conf *c, const struct ff_port_tx *tx, const uint8_t mac[6],
		  uint8_t first, struct frame_head *out);
/* The lengths, and IPv4's checksum, for an inner packet of len bytes. */
void ff_frame_head_fit(struct frame_head *h, uint32_t len);

#endif
