/* SPDX-License-Identifier: MIT */
/*
 * Rings: producing, consuming, signalling. The one place that reads a peer's descriptors and turns
 * their offsets into pointers. Each ring is run by its one owner, any thread.
 */
#include <errno.h>
#include <string.h>
#include <sys/uio.h>

#include "memif_priv.h"
#include "sys.h"

/* The 16 bytes of a descriptor as two words: each is loaded and stored whole, and once. */
union desc_words {
	struct memif_desc d;
	uint64_t w[2];
};

static inline void
full_fence(void)
{
#if defined(__SANITIZE_THREAD__)
	/* TSan does not model fences; only wake-ups, no data, hang on this one. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpragmas"
#pragma GCC diagnostic ignored "-Wtsan"
	atomic_thread_fence(memory_order_seq_cst);
#pragma GCC diagnostic pop
#else
	atomic_thread_fence(memory_order_seq_cst);
#endif
}

static inline union desc_words
desc_load(const struct memif_desc *d)
{
	const _Atomic uint64_t *w = (const void *)d;
	union desc_words v;

	v.w[0] = atomic_load_explicit(&w[0], memory_order_relaxed);
	v.w[1] = atomic_load_explicit(&w[1], memory_order_relaxed);
	return v;
}

static inline void
desc_store(const struct ff_memif_ring *r, uint16_t pos, struct memif_desc d)
{
	_Atomic uint64_t *w = (void *)&r->shm->desc[pos & r->mask];
	union desc_words v = {.d = d};

	atomic_store_explicit(&w[0], v.w[0], memory_order_relaxed);
	atomic_store_explicit(&w[1], v.w[1], memory_order_relaxed);
}

/* d is a private copy. NULL: not within a region. */
static inline void *
desc_addr(const struct ff_memif_ring *r, const struct memif_desc *d)
{
	const struct memif_region *reg;

	if (d->region >= r->num_regions)
		return NULL;
	reg = &r->regions[d->region];
	if (d->length > reg->size || d->offset > reg->size - d->length)
		return NULL;
	return reg->base + d->offset;
}

void
memif_ring_attach(struct ff_memif *m, struct ff_memif_ring *r, bool s2m, struct memif_ring *shm,
		  unsigned log2, int efd)
{
	r->client = m->conf.role == FF_MEMIF_CLIENT;
	r->producer = r->client == s2m;
	r->shm = shm;
	r->own = r->client ? &shm->head : &shm->tail;
	r->peer = r->client ? &shm->tail : &shm->head;
	r->regions = m->regions;
	r->num_regions = (uint16_t)m->num_regions;
	r->mask = (uint16_t)((1u << log2) - 1);
	r->bias = r->client ? (uint16_t)(1u << log2) : 0;
	r->pos = r->released = r->peer_seen = 0;
	r->efd = efd;
}

/* An empty slot of an M2S ring, for the server to fill. Client only. */
static inline void
slot_reset(const struct ff_memif_ring *r, uint16_t pos)
{
	const struct memif_desc d = {
		.length = r->buf_size,
		.offset = r->buf_offset + (uint32_t)(pos & r->mask) * r->buf_size,
	};

	desc_store(r, pos, d);
}

void
memif_ring_fill(struct ff_memif_ring *r)
{
	for (unsigned i = 0; i <= r->mask; i++)
		slot_reset(r, (uint16_t)i);
	atomic_store_explicit(r->own, r->bias, memory_order_release);
}

int
ff_memif_ring_consume(struct ff_memif_ring *r, struct ff_memif_desc *out, unsigned n)
{
	const uint16_t peer = atomic_load_explicit(r->peer, memory_order_acquire);
	const unsigned pos = r->pos, mask = r->mask;
	const struct memif_desc *ring;
	uint16_t ahead, used;

	if (peer == pos)
		return 0;
	used = (uint16_t)(peer - r->released);
	ahead = (uint16_t)(pos - r->released);
	if (used > mask + 1 || used < ahead)
		return -EPROTO;
	ring = r->shm->desc;
	if (n > (unsigned)(used - ahead))
		n = used - ahead;
	for (unsigned i = 0; i < n; i++) {
		const union desc_words v = desc_load(&ring[(pos + i) & mask]);

		out[i].flags = v.d.flags & MEMIF_DESC_FLAG_NEXT;
		out[i].region = v.d.region;
		out[i].length = v.d.length;
		out[i].offset = v.d.offset;
		out[i].metadata = v.d.metadata;
		out[i].addr = v.d.length ? desc_addr(r, &v.d) : NULL;
		if (v.d.length && !out[i].addr)
			return -EPROTO;
	}
	r->pos = (uint16_t)(pos + n);
	return (int)n;
}

void
ff_memif_ring_release(struct ff_memif_ring *r, unsigned n)
{
	assert(n <= (uint16_t)(r->pos - r->released));
	if (r->client)
		for (unsigned i = 0; i < n; i++)
			slot_reset(r, (uint16_t)(r->released + i));
	r->released = (uint16_t)(r->released + n);
	atomic_store_explicit(r->own, (uint16_t)(r->released + r->bias), memory_order_release);
}

bool
ff_memif_ring_pending(const struct ff_memif_ring *r)
{
	return atomic_load_explicit(r->peer, memory_order_acquire) != r->pos;
}

void
ff_memif_ring_prefetch(const struct ff_memif_ring *r)
{
	__builtin_prefetch((const void *)r->peer);
}

/* Free slots if the peer's index is peer; 0 if that makes no sense. */
static inline unsigned
free_slots(const struct ff_memif_ring *r, uint16_t peer)
{
	const uint16_t n = (uint16_t)(peer + r->bias - r->pos);

	return n <= (unsigned)r->mask + 1 ? n : 0;
}

/* The same, but the shared index is only looked at when the last value seen leaves too few. */
static inline unsigned
free_slots_cached(struct ff_memif_ring *r, unsigned want)
{
	unsigned n = free_slots(r, r->peer_seen);

	if (n < want) {
		r->peer_seen = atomic_load_explicit(r->peer, memory_order_acquire);
		n = free_slots(r, r->peer_seen);
	}
	return n;
}

unsigned
ff_memif_ring_free(const struct ff_memif_ring *r)
{
	return free_slots(r, atomic_load_explicit(r->peer, memory_order_acquire));
}

int
ff_memif_ring_buffer(struct ff_memif_ring *r, unsigned i, void **addr, uint32_t *size)
{
	const uint16_t pos = (uint16_t)(r->pos + i);
	union desc_words v;

	if (i > r->mask || i >= free_slots_cached(r, i + 1))
		return -ENOBUFS;
	if (r->client) {
		*size = r->buf_size;
		*addr = r->regions[0].base + r->buf_offset + (size_t)(pos & r->mask) * r->buf_size;
		return r->buf_size ? 0 : -ENOBUFS;
	}
	v = desc_load(&r->shm->desc[pos & r->mask]);
	if (!v.d.length)
		return -ENOBUFS;
	*size = v.d.length;
	*addr = desc_addr(r, &v.d);
	return *addr ? 0 : -EPROTO;
}

/* Writes d into the slot, but leaves the slot its buffer. */
static void
slot_publish(struct ff_memif_ring *r, uint16_t pos, struct memif_desc d)
{
	if (r->client) {
		d.region = 0;
		d.offset = r->buf_offset + (uint32_t)(pos & r->mask) * r->buf_size;
		if (d.length > r->buf_size)
			d.length = r->buf_size;
	} else {
		/* The client's own words go back to it unread: its region, its offset. */
		const union desc_words v = desc_load(&r->shm->desc[pos & r->mask]);

		d.region = v.d.region;
		d.offset = v.d.offset;
	}
	desc_store(r, pos, d);
}

unsigned
ff_memif_ring_produce(struct ff_memif_ring *r, const struct ff_memif_desc *d, unsigned n,
		      bool use_slot)
{
	const unsigned room = free_slots_cached(r, n);

	if (n > room)
		n = room;
	for (unsigned i = 0; i < n; i++) {
		const struct memif_desc wire = {
			.flags = d[i].flags,
			.region = d[i].region,
			.length = d[i].length,
			.offset = d[i].offset,
			.metadata = d[i].metadata,
		};

		if (use_slot)
			slot_publish(r, (uint16_t)(r->pos + i), wire);
		else
			desc_store(r, (uint16_t)(r->pos + i), wire);
	}
	if (n) {
		r->pos = (uint16_t)(r->pos + n);
		atomic_store_explicit(r->own, r->pos, memory_order_release);
	}
	return n;
}

/*
 * Producer: publish index, full fence, load flags. Consumer (ff_memif_ring_mask): store flags,
 * full fence, load index. One of the two sees what the other wrote, so no wake-up is lost.
 */
bool
ff_memif_ring_should_notify(struct ff_memif_ring *r)
{
	full_fence();
	return !(atomic_load_explicit(&r->shm->flags, memory_order_relaxed) &
		 MEMIF_RING_FLAG_MASK_INT);
}

void
ff_memif_ring_mask(struct ff_memif_ring *r, bool masked)
{
	atomic_store_explicit(&r->shm->flags, masked ? MEMIF_RING_FLAG_MASK_INT : 0,
			      memory_order_relaxed);
	full_fence();
}

void
ff_memif_ring_notify(struct ff_memif_ring *r)
{
	const uint64_t one = 1;

	if (!r->client)
		memif_kick_signal(r->efd);
	else if (memif_sys_write(r->efd, &one, sizeof(one)) < 0)
		return; /* EAGAIN: it is as readable as it can be */
}

int
ff_memif_ring_eventfd(const struct ff_memif_ring *r)
{
	return r->efd;
}

void
ff_memif_ring_drain(struct ff_memif_ring *r)
{
	uint64_t count;
	struct iovec iov = {.iov_base = &count, .iov_len = sizeof(count)};

	/* RWF_NOWAIT: the peer may clear O_NONBLOCK, and may read the count before us. */
	while (preadv2(r->efd, &iov, 1, -1, RWF_NOWAIT) < 0 && errno == EINTR)
		;
}
