/* SPDX-License-Identifier: MIT */
/*
 * The memif 2.0 protocol: control messages and shared memory layouts. No logic.
 *
 * Source: drivers/net/memif of DPDK and src/plugins/memif of VPP speak it; the names are theirs.
 * The client ("slave") owns the regions; S2M rings carry what it produces, M2S rings what the
 * server ("master") produces. In both, head belongs to the client and tail to the server.
 */
#ifndef FF_MEMIF_PROTO_H
#define FF_MEMIF_PROTO_H

#include <assert.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define MEMIF_COOKIE  0x3E31F20u
#define MEMIF_VERSION ((2u << 8) | 0u)

#define MEMIF_NAME_SZ	     32u
#define MEMIF_SECRET_SZ	     24u
#define MEMIF_DISC_STRING_SZ 96u

enum memif_msg_type {
	MEMIF_MSG_TYPE_NONE,
	MEMIF_MSG_TYPE_ACK,	   /* server: INIT, ADD_REGION or ADD_RING was taken */
	MEMIF_MSG_TYPE_HELLO,	   /* server: first message, its limits */
	MEMIF_MSG_TYPE_INIT,	   /* client: answer to HELLO */
	MEMIF_MSG_TYPE_ADD_REGION, /* client: carries the region's fd */
	MEMIF_MSG_TYPE_ADD_RING,   /* client: carries the ring's eventfd */
	MEMIF_MSG_TYPE_CONNECT,	   /* client: all rings are there */
	MEMIF_MSG_TYPE_CONNECTED,  /* server: answer to CONNECT */
	MEMIF_MSG_TYPE_DISCONNECT, /* either */
};

enum memif_interface_mode {
	MEMIF_INTERFACE_MODE_ETHERNET,
	MEMIF_INTERFACE_MODE_IP,
	MEMIF_INTERFACE_MODE_PUNT_INJECT,
};

/* The limits are the highest index, not the count; the ring size is a base 2 logarithm. */
struct memif_msg_hello {
	uint8_t name[MEMIF_NAME_SZ];
	uint16_t min_version;
	uint16_t max_version;
	uint16_t max_region;
	uint16_t max_m2s_ring;
	uint16_t max_s2m_ring;
	uint8_t max_log2_ring_size;
} __attribute__((packed));

struct memif_msg_init {
	uint16_t version;
	uint32_t id;
	uint8_t mode; /* enum memif_interface_mode */
	uint8_t secret[MEMIF_SECRET_SZ];
	uint8_t name[MEMIF_NAME_SZ];
} __attribute__((packed));

struct memif_msg_add_region {
	uint16_t index;
	uint64_t size;
} __attribute__((packed));

#define MEMIF_MSG_ADD_RING_FLAG_S2M 1u

struct memif_msg_add_ring {
	uint16_t flags;
	uint16_t index; /* S2M and M2S rings are counted apart */
	uint16_t region;
	uint32_t offset; /* of struct memif_ring in the region */
	uint8_t log2_ring_size;
	uint16_t private_hdr_size;
} __attribute__((packed));

/* CONNECT and CONNECTED. */
struct memif_msg_connect {
	uint8_t if_name[MEMIF_NAME_SZ];
} __attribute__((packed));

struct memif_msg_disconnect {
	uint32_t code;
	uint8_t string[MEMIF_DISC_STRING_SZ];
} __attribute__((packed));

struct memif_msg {
	uint16_t type; /* enum memif_msg_type */
	union {
		uint8_t bytes[126]; /* first: an initializer zeroes all of it */
		struct memif_msg_hello hello;
		struct memif_msg_init init;
		struct memif_msg_add_region add_region;
		struct memif_msg_add_ring add_ring;
		struct memif_msg_connect connect;
		struct memif_msg_disconnect disconnect;
	};
} __attribute__((packed));

static_assert(sizeof(struct memif_msg) == 128, "memif: messages are 128 bytes");
static_assert(sizeof(struct memif_msg_hello) == 43, "memif");
static_assert(sizeof(struct memif_msg_init) == 63, "memif");
static_assert(sizeof(struct memif_msg_add_region) == 10, "memif");
static_assert(sizeof(struct memif_msg_add_ring) == 13, "memif");
static_assert(sizeof(struct memif_msg_disconnect) == 100, "memif");

#define MEMIF_DESC_FLAG_NEXT 1u /* the frame goes on in the next descriptor */

struct memif_desc {
	uint16_t flags;
	uint16_t region;
	uint32_t length;
	uint32_t offset;
	uint32_t metadata;
};
static_assert(sizeof(struct memif_desc) == 16, "memif");

#define MEMIF_RING_FLAG_MASK_INT 1u /* the consumer polls: do not write the eventfd */

/*
 * head: writer client, reader server. tail: writer server, reader client. Both run freely over
 * 16 bits and are published with release, read with acquire. flags: writer consumer, reader
 * producer; its barrier partner is named at ff_memif_ring_should_notify().
 */
struct memif_ring {
	_Atomic uint32_t cookie;
	_Atomic uint16_t flags;
	_Atomic uint16_t head;
	uint8_t pad0[56];
	_Atomic uint16_t tail;
	uint8_t pad1[62];
	struct memif_desc desc[];
};
static_assert(offsetof(struct memif_ring, flags) == 4, "memif");
static_assert(offsetof(struct memif_ring, head) == 6, "memif");
static_assert(offsetof(struct memif_ring, tail) == 64, "memif");
static_assert(offsetof(struct memif_ring, desc) == 128, "memif");
static_assert(sizeof(struct memif_ring) == 128, "memif");

/*
 * Rings stand wherever the client says; DPDK lets those of 2 descriptors follow each other
 * without padding, so this much is all that can be asked for.
 */
#define MEMIF_RING_ALIGN 16u

/* Bytes that a ring takes in its region. */
#define MEMIF_RING_BYTES(log2) (sizeof(struct memif_ring) + (sizeof(struct memif_desc) << (log2)))

#endif
