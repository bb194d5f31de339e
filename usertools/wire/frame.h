/* SPDX-License-Identifier: MIT */
/* Frames on the wire: their memory, and what can be done to the bytes of one. */
#ifndef FF_WIRE_FRAME_H
#define FF_WIRE_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#define WIRE_ETH_LEN   14u
#define WIRE_MTU_MAX   9216u
#define WIRE_FRAME_MAX (WIRE_ETH_LEN + WIRE_MTU_MAX)
#define WIRE_FLOOD     UINT16_MAX

struct wire_frame {
	TAILQ_ENTRY(wire_frame) link; /* in one line or one queue, or free in its pool */
	uint64_t time;	 /* ns; held: until when at most; delayed: due; queued: since when */
	uint64_t jitter; /* ns */
	uint32_t len;
	uint16_t in, out; /* ports; out may be WIRE_FLOOD */
	uint8_t hold;	  /* frames that have yet to overtake it */
	uint8_t copies;
	uint8_t bytes[WIRE_FRAME_MAX];
};
TAILQ_HEAD(wire_frames, wire_frame);

/* Bounded: with max frames out, there is none. */
struct wire_pool {
	struct wire_frames free;
	unsigned made, max;
};

void wire_pool_init(struct wire_pool *pool, unsigned max);
void wire_pool_fini(struct wire_pool *pool);
/* NULL when there is none left. */
struct wire_frame *wire_pool_get(struct wire_pool *pool);
void wire_pool_put(struct wire_pool *pool, struct wire_frame *frame);
struct wire_frame *wire_pool_clone(struct wire_pool *pool, const struct wire_frame *frame);

/* IPv4 or IPv6. Nothing is said of what is behind the EtherType. */
bool wire_frame_is_ip(const struct wire_frame *frame);

/*
 * Ends a checksum that the sender has left to its network card: the sum of the bytes from start,
 * put at start + offset. False when that is not inside the frame.
 */
bool wire_frame_checksum(struct wire_frame *frame, unsigned start, unsigned offset);

/*
 * Flips one bit; place: 64 random bits. With repair and a UDP datagram it lies behind the UDP
 * header, and the checksum there follows it: the kernel would drop the datagram otherwise, and
 * the receiver's own check, such as the iCRC of RoCEv2, would never see one. With anything else,
 * or without repair, it lies anywhere behind the Ethernet header, as on a wire whose FCS has
 * missed it. False when there is no bit to flip.
 */
bool wire_frame_corrupt(struct wire_frame *frame, uint64_t place, bool repair);

/* ECT becomes CE (RFC 3168). False when the frame is neither ECT nor CE. */
bool wire_frame_mark(struct wire_frame *frame);

#endif
