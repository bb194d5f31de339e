/* SPDX-License-Identifier: MIT */
/*
 * One shared rxe queue, the router's side: memfd, mapping, private index. Geometry is private and
 * constant; of the shared header only the peer's index and the annex word are ever read.
 * Indices are masked. A queue holds mask elements at most (one slot stays free, as in rxe).
 */
#ifndef FF_VERBS_QUEUE_H
#define FF_VERBS_QUEUE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <freeflow/uverbs.h>

struct ff_queue {
	struct rxe_queue_buf *buf; /* shared with the container */
	uint8_t *data;		   /* = buf->data */
	uint32_t mask;		   /* elements - 1 */
	uint32_t log2_elem;
	/* Ours: consumer index of SQ, RQ, SRQ; producer index of CQ. Owner worker. */
	uint32_t index;
	/* SQ only: next WQE to start; index follows when its completion is due. Owner worker. */
	uint32_t next;
	size_t size; /* bytes of mapping, page-aligned */
	int memfd;   /* sealed: SHRINK, GROW, SEAL. -1 once it went to the process */
	uint64_t mmap_off;
};

/*
 * At least min_elems usable elements of elem_size bytes. Zeroed, header filled in. 0 or -errno.
 * Control thread.
 */
int ff_queue_create(struct ff_queue *q, uint32_t min_elems, uint32_t elem_size, uint64_t mmap_off);
void ff_queue_destroy(struct ff_queue *q); /* also of an all-zero one */

static inline uint32_t
ff_queue_elem_size(const struct ff_queue *q)
{
	return 1u << q->log2_elem;
}

static inline _Atomic uint32_t *
ff_queue_word(uint32_t *word)
{
	return (_Atomic uint32_t *)word;
}

/* Consumer's view (SQ, RQ, SRQ): the container's producer index, masked. Acquire. */
static inline uint32_t
ff_queue_producer(const struct ff_queue *q)
{
	return atomic_load_explicit(ff_queue_word(&q->buf->producer_index), memory_order_acquire) &
	       q->mask;
}

/* Producer's view (CQ): the container's consumer index, masked. Acquire. */
static inline uint32_t
ff_queue_consumer(const struct ff_queue *q)
{
	return atomic_load_explicit(ff_queue_word(&q->buf->consumer_index), memory_order_acquire) &
	       q->mask;
}

static inline void *
ff_queue_elem(const struct ff_queue *q, uint32_t idx)
{
	return q->data + ((size_t)(idx & q->mask) << q->log2_elem);
}

/* SQ, RQ, SRQ: index has moved; let the container see it. */
static inline void
ff_queue_publish_consumer(struct ff_queue *q)
{
	atomic_store_explicit(ff_queue_word(&q->buf->consumer_index), q->index,
			      memory_order_release);
}

static inline void
ff_queue_publish_producer(struct ff_queue *q)
{
	atomic_store_explicit(ff_queue_word(&q->buf->producer_index), q->index,
			      memory_order_release);
}

#endif
