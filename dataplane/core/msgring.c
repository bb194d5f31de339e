/* SPDX-License-Identifier: MIT */
/* Message queues between threads: rte_ring in memory of our own. Any thread posts, one takes. */
#include "msgring.h"

/*
 * The C11 memory model of rte_ring is chosen for all architectures: it is what a thread sanitizer
 * understands, and costs the same on x86. The ring's layout does not depend on it.
 */
#ifndef RTE_USE_C11_MEM_MODEL
#define RTE_USE_C11_MEM_MODEL 1
#endif

#include <errno.h>
#include <stdlib.h>

#include <rte_ring.h>

struct ff_msgring {
	struct rte_ring ring;
};

/*
 * Producers of several priorities share a ring. In the plain MP mode a producer spins until those
 * before it are done: a real-time worker could spin for ever on a control thread that it keeps off
 * the CPU. With relaxed tails (RTS) nobody waits; the last one to finish publishes for all.
 */
#define RING_FLAGS (RING_F_MP_RTS_ENQ | RING_F_SC_DEQ)

struct ff_msgring *
ff_msgring_create(unsigned size)
{
	struct ff_msgring *r;
	ssize_t bytes = rte_ring_get_memsize(size);

	if (bytes < 0)
		return NULL;
	r = aligned_alloc(RTE_CACHE_LINE_SIZE, RTE_ALIGN_CEIL((size_t)bytes, RTE_CACHE_LINE_SIZE));
	if (!r)
		return NULL;
	if (rte_ring_init(&r->ring, "ff", size, RING_FLAGS)) {
		free(r);
		return NULL;
	}
	/* As far apart as the ring is long: the distance that would make a producer wait. */
	rte_ring_set_prod_htd_max(&r->ring, rte_ring_get_capacity(&r->ring));
	return r;
}

void
ff_msgring_destroy(struct ff_msgring *r)
{
	free(r);
}

int
ff_msgring_post(struct ff_msgring *r, struct ff_msg *m)
{
	return rte_ring_enqueue(&r->ring, m) ? -ENOSPC : 0;
}

/*
 * How many may be taken. Reads the tail as its producers write it (64 bits: position and count),
 * with acquire; heads of unfinished posts do not count.
 */
static uint32_t
ready(const struct ff_msgring *r)
{
	union __rte_ring_rts_poscnt tail = {
		.raw = __atomic_load_n(&r->ring.rts_prod.tail.raw, __ATOMIC_ACQUIRE),
	};

	return tail.val.pos - r->ring.cons.head;
}

unsigned
ff_msgring_take(struct ff_msgring *r, struct ff_msg **out, unsigned n)
{
	uint32_t avail = ready(r);

	if (!avail)
		return 0;
	return rte_ring_sc_dequeue_burst(&r->ring, (void **)out, n < avail ? n : avail, NULL);
}

bool
ff_msgring_pending(const struct ff_msgring *r)
{
	return ready(r) != 0;
}
