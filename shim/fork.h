/* SPDX-License-Identifier: MIT */
/* Which process this is: fork, raw clone and vfork as the shim's state sees them. */
#ifndef FF_SHIM_FORK_H
#define FF_SHIM_FORK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* One page, MADV_WIPEONFORK: reads 0 in a child that has its own memory, however it was made. */
extern _Atomic uint64_t *fork_page;

/* Before the first object of the shim exists. 0 or -errno. Any thread, idempotent. */
int fork_init(void);
/*
 * Names this process among those that inherited the shim's state; never 0 after fork_init(). The
 * first call in a child puts its copy of the state in order (locks, current channel).
 */
uint64_t fork_generation(void);
/* The same for the fast path: 0 in a child that has not called fork_generation() yet. */
static inline uint64_t
fork_generation_peek(void)
{
	return atomic_load_explicit(fork_page, memory_order_relaxed);
}
/*
 * True in a vfork (or CLONE_VM) child: it shares our memory but has descriptors of its own, so
 * what it closes or duplicates must not change the table.
 */
bool fork_shares_memory(void);

#endif
