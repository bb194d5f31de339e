/* SPDX-License-Identifier: MIT */
/*
 * What the files of memif-bridge share: a connection's private state. One thread per connection
 * runs the control side; after CONNECTED each ring is touched by its one owner only.
 */
#ifndef FF_MEMIF_PRIV_H
#define FF_MEMIF_PRIV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "memif.h"
#include "proto.h"

#define MEMIF_CACHE_LINE 64u

struct memif_region {
	uint8_t *base;
	uint64_t size; /* bytes that may be touched: never more than the sealed file has */
};

/*
 * Positions are 16 bits wide and run freely, as in the protocol. own is the index that we write,
 * peer the other: with bias = ring size for a client and 0 for a server,
 *   consumer: *own = released + bias, and *peer - released descriptors are ours to take;
 *   producer: *own = pos,             and *peer + bias - pos slots are ours to fill.
 */
struct ff_memif_ring {
	_Atomic uint16_t *peer;
	_Atomic uint16_t *own;
	struct memif_ring *shm;
	const struct memif_region *regions;
	uint16_t num_regions;
	uint16_t mask; /* ring size - 1; a private copy, like all here */
	uint16_t bias;
	uint16_t pos;	    /* consumer: next to take; producer: next to fill */
	uint16_t released;  /* consumer: next to give back */
	uint16_t peer_seen; /* producer: the last sane value of *peer */
	bool client;
	bool producer;
	uint32_t buf_offset; /* client: of slot 0's buffer, in region 0 */
	uint32_t buf_size;
	int efd;
} __attribute__((aligned(MEMIF_CACHE_LINE)));
static_assert(sizeof(struct ff_memif_ring) == 2 * MEMIF_CACHE_LINE ||
		      sizeof(struct ff_memif_ring) == MEMIF_CACHE_LINE,
	      "owners on different lcores must not share a line");

/* What the control side waits for. Any other message, but DISCONNECT, ends the connection. */
enum memif_step {
	MEMIF_STEP_INIT,      /* server: INIT */
	MEMIF_STEP_SETUP,     /* server: ADD_REGION, ADD_RING or CONNECT */
	MEMIF_STEP_HELLO,     /* client: HELLO */
	MEMIF_STEP_ACK,	      /* client: ACK of what it sent last */
	MEMIF_STEP_CONNECTED, /* client: CONNECTED */
	MEMIF_STEP_IDLE,      /* both: connected, nothing but DISCONNECT */
};

struct ff_memif {
	struct ff_memif_ring rings[2][FF_MEMIF_MAX_RINGS]; /* [s2m] */
	unsigned num_rings[2];
	struct memif_region regions[FF_MEMIF_MAX_REGIONS];
	unsigned num_regions;
	uint64_t mapped; /* bytes of all regions */
	struct ff_memif_conf conf;
	enum ff_memif_state state;
	enum memif_step step;
	int error; /* -errno, once CLOSED */
	int sock;
	pid_t pid;	     /* that made it: a fork's child must not speak for its parent */
	int region_fd;	     /* client: until the server has it */
	uint32_t ring_bytes; /* client: distance of its rings in region 0 */
	uint8_t log2_ring_size;
	unsigned sent; /* client: messages of the set-up sequence sent so far */
	char reason[MEMIF_DISC_STRING_SZ + 32];
};

/* control.c */
int memif_ctl_send(struct ff_memif *m, const struct memif_msg *msg, int fd);
/* The one transition to CLOSED. err is positive. Tells the peer unless it left. Returns -err. */
int memif_ctl_close(struct ff_memif *m, int err, bool tell, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
/* Copies a name into a fixed field of a message, truncated and terminated. */
void memif_ctl_name(uint8_t dst[MEMIF_NAME_SZ], const char *name);

/* server.c, client.c. handle: keeps *fd by setting it to -1. Returns 0 or -errno (CLOSED). */
int memif_server_start(struct ff_memif *m);
int memif_server_handle(struct ff_memif *m, const struct memif_msg *msg, int *fd);
int memif_client_handle(struct ff_memif *m, const struct memif_msg *msg, int *fd);

/* region.c. Both return 0 or -errno; a refusal says why in *why. */
int memif_region_map(struct ff_memif *m, int fd, uint64_t size, const char **why);
int memif_region_create(struct ff_memif *m, uint64_t size);
void memif_region_unmap_all(struct ff_memif *m);

/* ring.c. Binds r to its memory; offset and size are checked, efd becomes the ring's. */
void memif_ring_attach(struct ff_memif *m, struct ff_memif_ring *r, bool s2m,
		       struct memif_ring *shm, unsigned log2, int efd);
/* Client, once CONNECTED: gives the server the empty buffers of an M2S ring. */
void memif_ring_fill(struct ff_memif_ring *r);

/* kick.c. init: before the first signal; may be called again. 0 or -errno. */
bool memif_kick_is_eventfd(int fd);
int memif_kick_init(void);
void memif_kick_signal(int efd);

#endif
