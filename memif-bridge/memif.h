/* SPDX-License-Identifier: MIT */
/*
 * memif v2 connections, both roles: control protocol, regions, rings, hardened descriptor access.
 * Single-threaded per connection, no allocation after CONNECT, no DPDK; no globals, but for a
 * context of the kernel by which servers signal.
 *
 * Source: the protocol as DPDK's net_memif and VPP's memif speak it (memif.h of either): version
 * 2.0, client ("slave": owns the memory) and server ("master"). s2m rings: the client produces,
 * the server consumes; m2s the other way round.
 *
 * Trust: a server never believes its client. Region fds must be memfds with F_SEAL_SHRINK; ring
 * sizes, offsets and masks are copied when the connection is made; each descriptor is loaded
 * once, checked against the private region table, and only the copy is handed out.
 */
#ifndef FF_MEMIF_H
#define FF_MEMIF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FF_MEMIF_SECRET_LEN    24u
#define FF_MEMIF_NAME_LEN      32u
#define FF_MEMIF_MAX_RINGS     16u /* per direction */
#define FF_MEMIF_MAX_REGIONS   8u
#define FF_MEMIF_MAX_LOG2_RING 14u
#define FF_MEMIF_MAX_MEMORY    (1ull << 30) /* a server's default for all regions of a client */

enum ff_memif_role { FF_MEMIF_SERVER, FF_MEMIF_CLIENT };

enum ff_memif_state {
	FF_MEMIF_INIT,	    /* control messages are being exchanged */
	FF_MEMIF_CONNECTED, /* rings may be used */
	FF_MEMIF_CLOSED,    /* disconnected; ff_memif_reason() says why */
};

/* A validated copy of one descriptor. */
struct ff_memif_desc {
	uint16_t flags; /* MEMIF_DESC_FLAG_NEXT */
	uint16_t region;
	uint32_t length; /* bytes */
	uint32_t offset; /* in the region */
	uint32_t metadata;
	void *addr; /* region base + offset, inside the region; NULL when length is 0 */
};

struct ff_memif;      /* one connection */
struct ff_memif_ring; /* one ring of a connection; owned by one thread */

/* What a server asks of a client, and a client of a server. */
struct ff_memif_conf {
	enum ff_memif_role role;
	uint32_t id; /* interface id of the INIT message */
	char name[FF_MEMIF_NAME_LEN];
	uint16_t num_s2m_rings; /* client: what it makes; server: the most it takes */
	uint16_t num_m2s_rings;
	uint8_t log2_ring_size; /* same */
	uint32_t buffer_size;	/* client: bytes of each ring slot's buffer; 0: no buffers */
	uint64_t max_memory;	/* server: most bytes it maps; 0: FF_MEMIF_MAX_MEMORY */
	uint8_t secret[FF_MEMIF_SECRET_LEN]; /* client: sent in INIT */
	/*
	 * Server: asked when INIT arrives; 0 accepts, -errno refuses (the peer gets DISCONNECT with
	 * strerror). secret is FF_MEMIF_SECRET_LEN bytes, not terminated. May be NULL: accept.
	 */
	int (*on_init)(void *arg, struct ff_memif *m, uint32_t id, const uint8_t *secret);
	void *arg;
};

/*
 * Takes over sock (SEQPACKET, connected, made non-blocking here) also when it fails.
 * Returns 0 or -errno. A server sends HELLO at once.
 */
int ff_memif_create(struct ff_memif **out, int sock, const struct ff_memif_conf *conf);
/*
 * Sends DISCONNECT where it can, unmaps and closes all. NULL is allowed. No ring may be in use.
 * In a child of fork() it only lets go of the child's copies; the parent's connection goes on.
 */
void ff_memif_destroy(struct ff_memif *m);

/* For poll/epoll, level-triggered: readable means call ff_memif_process(). */
int ff_memif_fd(const struct ff_memif *m);
/*
 * Client, before its rings are used: gives its descriptors numbers >= min, out of the way of the
 * program in whose process it lives. 0, or -errno with some of them moved.
 */
int ff_memif_move_fds(struct ff_memif *m, int min);
/*
 * Handles what the control socket has. Returns 0, or -errno after which the state is CLOSED; the
 * rings stay mapped until ff_memif_destroy(), so their owners can be told first.
 */
int ff_memif_process(struct ff_memif *m);
enum ff_memif_state ff_memif_state(const struct ff_memif *m);
/* Why it closed, for logs and counters; "" while open. Owned by m. */
const char *ff_memif_reason(const struct ff_memif *m);
/* Client: process() until CONNECTED, at most timeout_ms. 0, -ETIMEDOUT or -errno. */
int ff_memif_wait_connected(struct ff_memif *m, int timeout_ms);

unsigned ff_memif_num_rings(const struct ff_memif *m, bool s2m);
/* NULL if idx is out of range or the connection is not CONNECTED. */
struct ff_memif_ring *ff_memif_ring_get(struct ff_memif *m, bool s2m, unsigned idx);

/*
 * Consumer. Takes up to n descriptors off the ring into out. For server-side s2m and client-side
 * m2s rings (whose buffers were filled by the producer). Returns the count, or -EPROTO when the
 * peer broke the ring (head further than the ring's size, bad region, offset or length): the
 * caller detaches it. Descriptors are released to the peer by ff_memif_ring_release().
 */
int ff_memif_ring_consume(struct ff_memif_ring *r, struct ff_memif_desc *out, unsigned n);
/* Gives n consumed descriptors back (tail store-release). */
void ff_memif_ring_release(struct ff_memif_ring *r, unsigned n);
/* True if the producer has published something that consume() has not seen. One acquire load. */
bool ff_memif_ring_pending(const struct ff_memif_ring *r);
/* Starts to load the line that pending() and consume() read: for one who polls many rings. */
void ff_memif_ring_prefetch(const struct ff_memif_ring *r);

/*
 * Producer. Number of free slots (one acquire load of the consumer's index; 0 if it is absurd).
 */
unsigned ff_memif_ring_free(const struct ff_memif_ring *r);
/*
 * The buffer of the i-th free slot (0 <= i < free): address and capacity in bytes. Returns 0;
 * -ENOBUFS: no such slot, or it has no buffer; -EPROTO: the client's descriptor is bad.
 */
int ff_memif_ring_buffer(struct ff_memif_ring *r, unsigned i, void **addr, uint32_t *size);
/*
 * Publishes n descriptors as given (addr is ignored; region, offset as the slot's own when
 * use_slot is set). Returns the number published (fewer when full). Does not notify.
 */
unsigned ff_memif_ring_produce(struct ff_memif_ring *r, const struct ff_memif_desc *d, unsigned n,
			       bool use_slot);
/* Full fence, then: does the consumer want its eventfd written (flag MASK_INT clear)? */
bool ff_memif_ring_should_notify(struct ff_memif_ring *r);
/* Writes the ring's eventfd. Never blocks, whatever the peer does to its end of it. */
void ff_memif_ring_notify(struct ff_memif_ring *r);

/*
 * Consumer: set or clear MEMIF_RING_FLAG_MASK_INT, then a full fence. Who clears it looks at
 * pending() once more before it sleeps. Rings start with the flag clear.
 */
void ff_memif_ring_mask(struct ff_memif_ring *r, bool masked);
/*
 * The ring's eventfd (the consumer polls it); owned by the connection. A server must not read()
 * it, as the peer can make that block: it polls with EPOLLET, or calls the function below.
 */
int ff_memif_ring_eventfd(const struct ff_memif_ring *r);
/* Consumer: makes the eventfd unreadable. Never blocks. */
void ff_memif_ring_drain(struct ff_memif_ring *r);

#endif
