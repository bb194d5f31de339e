/* SPDX-License-Identifier: MIT */
/*
 * The fast half of write(): post_send's doorbell and req_notify_cq, without a system call when
 * the router is awake. Any thread. The words it reads and writes are described in
 * freeflow/uverbs.h, with their barriers.
 */
#include <errno.h>
#include <sched.h>
#include <time.h>

#include "fork.h"
#include "uverbs.h"

#define FULL_RING_NS 1000000000ll /* a router that takes nothing for so long is stuck */
#define LOCK_SPINS   64u
#define LOCK_YIELDS  64u

/* Which ring is this thread's: each has its own, up to the number that there are. */
static __thread uint32_t ring_slot __attribute__((tls_model("initial-exec")));
static _Atomic uint32_t last_slot;

static uint32_t
thread_slot(void)
{
	if (__builtin_expect(!ring_slot, 0))
		ring_slot = atomic_fetch_add_explicit(&last_slot, 1, memory_order_relaxed) + 1;
	return ring_slot;
}

static inline void
relax(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

/* The holder may be preempted by this very thread, if that has a real-time priority: so sleep. */
static void
lock_wait(unsigned int round)
{
	static const struct timespec nap = {.tv_nsec = 50000};

	if (round < LOCK_SPINS)
		relax();
	else if (round < LOCK_SPINS + LOCK_YIELDS)
		sched_yield();
	else
		clock_nanosleep(CLOCK_MONOTONIC, 0, &nap, NULL); /* leaves errno alone */
}

static void
ring_lock(struct channel_ring *r)
{
	unsigned int round = 0;

	while (__builtin_expect(atomic_exchange_explicit(&r->lock, 1, memory_order_acquire), 0))
		while (atomic_load_explicit(&r->lock, memory_order_relaxed))
			lock_wait(round++);
}

static void
ring_unlock(struct channel_ring *r)
{
	atomic_store_explicit(&r->lock, 0, memory_order_release);
}

static int64_t
now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ll + ts.tv_nsec;
}

/* One attempt; wakes a sleeping router also when the ring is full. Returns what was published. */
static unsigned int
ring_produce(struct channel_ring *r, const struct ff_memif_desc *d)
{
	unsigned int n;
	bool wake;

	ring_lock(r);
	n = ff_memif_ring_produce(r->ring, d, 1, false);
	wake = ff_memif_ring_should_notify(r->ring);
	ring_unlock(r);
	if (wake) {
		int saved = errno;

		ff_memif_ring_notify(r->ring);
		errno = saved;
	}
	return n;
}

/* The ring is full: the router is behind, stuck or dead. */
static int
ring_wait(struct channel *ch, struct channel_ring *r, const struct ff_memif_desc *d)
{
	int64_t end = now_ns() + FULL_RING_NS;
	int saved = errno, ret = -EAGAIN;

	do {
		if (channel_is_dead(ch)) {
			ret = -EIO;
			break;
		}
		sched_yield();
		if (ring_produce(r, d)) {
			ret = 0;
			break;
		}
	} while (now_ns() < end);
	errno = saved;
	return ret;
}

int
doorbell_send(struct uverbs_file *f, uint32_t qp_handle)
{
	struct uverbs_annex *a = uverbs_annex_find(&f->sq, qp_handle);
	struct ff_memif_desc d = {.region = FF_DOORBELL_REGION};
	struct channel *ch = f->channel;
	struct channel_ring *r;
	_Atomic uint32_t *word;

	word = a ? atomic_load_explicit(&a->word, memory_order_acquire) : NULL;
	if (__builtin_expect(!word, 0))
		return DOORBELL_SLOW;
	/* The provider has published producer_index. Partner: the router's store of FF_SQ_IDLE. */
	atomic_thread_fence(memory_order_seq_cst);
	if (atomic_load_explicit(word, memory_order_relaxed) == FF_SQ_POLLED)
		return 0;
	/* A forked child has no part in the parent's rings: their indices are private. */
	if (!ch->num_rings || ch->generation != fork_generation_peek())
		return DOORBELL_SLOW;
	d.metadata = a->qpn;
	r = &ch->rings[thread_slot() % ch->num_rings];
	return ring_produce(r, &d) ? 0 : ring_wait(ch, r, &d);
}

static void
arm(_Atomic uint32_t *word, bool solicited)
{
	uint32_t disarmed = FF_CQ_DISARMED;

	/* A request for the next completion stays in force (IBTA 11.4.2.2). */
	if (solicited)
		atomic_compare_exchange_strong(word, &disarmed, FF_CQ_ARM_SOLICITED);
	else
		atomic_store_explicit(word, FF_CQ_ARM_NEXT, memory_order_relaxed);
	/* The program polls next. Partner: the router's exchange after a completion. */
	atomic_thread_fence(memory_order_seq_cst);
}

int
doorbell_arm(struct uverbs_file *f, uint32_t cq_handle, bool solicited)
{
	struct uverbs_annex *a = uverbs_annex_find(&f->cq, cq_handle);
	_Atomic uint32_t *word;
	uint32_t before;

	if (!a)
		return DOORBELL_SLOW;
	/* While the router replaces the queue, a word written to the old one would be lost. */
	do {
		before = atomic_load_explicit(&a->resizing, memory_order_acquire);
		word = atomic_load_explicit(&a->word, memory_order_acquire);
		if ((before & 1) || !word)
			return DOORBELL_SLOW;
		arm(word, solicited);
	} while (atomic_load_explicit(&a->resizing, memory_order_relaxed) != before);
	return 0;
}
