/* SPDX-License-Identifier: MIT */
/*
 * One direction of a stream's FIFOs, at this side: who may touch it, and how long it pays to spin
 * for the other side. Any thread of any process that shares it, in memory that they share.
 */
#include "stream_end.h"

#include <errno.h>
#include <linux/futex.h>
#include <signal.h>
#include <time.h>

#include "../memif-bridge/rawsys.h"

/* Spinning for the other side: as long as it has paid of late. */
#define SPIN_MIN_NS 1000u

#define SPIN_MAX_NS 50000u
/* A holder of a lock that has died is found out so late. */
#define LOCK_NS	    50000000l

#define WAITED (1u << 31)

/* ---- locks between processes ---- */

static bool
is_gone(uint32_t tid)
{
	return ff_sys(SYS_kill, (int)tid, 0, 0, 0, 0, 0) == -ESRCH;
}

static __thread uint32_t tid __attribute__((tls_model("initial-exec")));

static uint32_t
own_tid(void)
{
	if (!tid)
		tid = (uint32_t)ff_sys_gettid();
	return tid;
}

void
stream_end_fork_child(void)
{
	tid = 0;
}

bool
stream_end_lock(struct stream_end *e)
{
	uint32_t self = own_tid(), seen = 0;
	struct timespec ts = {.tv_nsec = LOCK_NS};

	if (atomic_compare_exchange_strong(&e->lock, &seen, self))
		return true;
	for (;;) {
		if (!seen) {
			/* Others may wait, too. */
			if (atomic_compare_exchange_strong(&e->lock, &seen, self | WAITED))
				return true;
			continue;
		}
		if (!(seen & WAITED) &&
		    !atomic_compare_exchange_strong(&e->lock, &seen, seen | WAITED))
			continue;
		seen |= WAITED;
		if (ff_sys(SYS_futex, &e->lock, FUTEX_WAIT, seen, &ts, 0, 0) == -ETIMEDOUT &&
		    is_gone(seen & ~WAITED) &&
		    atomic_compare_exchange_strong(&e->lock, &seen, self | WAITED))
			return false;
		seen = atomic_load(&e->lock);
	}
}

void
stream_end_unlock(struct stream_end *e)
{
	if (atomic_exchange(&e->lock, 0) & WAITED)
		ff_sys(SYS_futex, &e->lock, FUTEX_WAKE, 1, 0, 0, 0);
}

/* ---- waiting ---- */

static uint64_t
now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void
relax(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#else
	__asm__ volatile("yield" ::: "memory");
#endif
}

bool
stream_end_spin(struct stream_end *e, _Atomic uint32_t *word, uint32_t was)
{
	uint64_t until = now_ns() + e->spin_ns;

	for (unsigned i = 1;; i++) {
		if (atomic_load_explicit(word, memory_order_acquire) != was) {
			e->spin_ns = e->spin_ns * 2 < SPIN_MAX_NS ? e->spin_ns * 2 : SPIN_MAX_NS;
			return true;
		}
		if (i % 16 == 0 && now_ns() >= until)
			break;
		relax();
	}
	e->spin_ns = e->spin_ns / 2 > SPIN_MIN_NS ? e->spin_ns / 2 : SPIN_MIN_NS;
	return false;
}
