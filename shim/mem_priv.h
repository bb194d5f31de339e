/* SPDX-License-Identifier: MIT */
/* What the mem_*.c files share: the lock, holding writers off, signals, fork. */
#ifndef FF_SHIM_MEM_PRIV_H
#define FF_SHIM_MEM_PRIV_H

#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../memif-bridge/procmaps.h"
#include "../memif-bridge/rawsys.h"

#define FF_PAGE 4096ul
#define FF_HUGE (2ul << 20)

/* All kernel signals but those that a fault raises: they must reach their handlers. */
#define FF_SIGBIT(sig) (1ull << ((sig)-1))
#define FF_SIG_ALL_ASYNC                                                                    \
	(~(FF_SIGBIT(SIGSEGV) | FF_SIGBIT(SIGBUS) | FF_SIGBIT(SIGILL) | FF_SIGBIT(SIGFPE) | \
	   FF_SIGBIT(SIGTRAP) | FF_SIGBIT(SIGSYS)))

struct ff_mem {
	/*
	 * Conversions, and forks of a process that has converted memory. Its holder waits for
	 * nothing but the kernel. Signals are blocked while it is held.
	 */
	struct ff_lock lock;
	/* Something was converted, ever. Writer: holder of lock. Readers: all hooks. */
	_Atomic bool active;
	/* The program has called madvise(MADV_DONTFORK): mappings may have the flag. */
	_Atomic bool dontfork;
	struct ff_maps maps; /* holder of lock */
};
extern struct ff_mem ff_mem;

/*
 * Whose memory this is. A child that has memory of its own, however it was made, finds locks and
 * holds of threads that it does not have: the first call there puts them in order. Returns true
 * in a vfork child, which shares its parent's. Async-signal-safe.
 */
bool ff_mem_is_vfork(void);

/* Takes the lock with signals blocked; *mask goes back to ff_mem_unlock(). */
void ff_mem_lock(uint64_t *mask);
void ff_mem_unlock(const uint64_t *mask);
/* Some page of this machine may be in swap. */
bool ff_mem_swapping(void);

/* ---- mem_hold.c: write protection that no thread can see ---- */

enum ff_hold_way {
	FF_HOLD_NONE,
	FF_HOLD_UFFD,	  /* userfaultfd: the kernel parks writers, those in system calls too */
	FF_HOLD_MPROTECT, /* SIGSEGV guard parks writers; system calls see EFAULT (mem_kio.c) */
};

/* Even: nobody is held off. Odd: a hold is on. Futex. Writer: holder of lock. */
extern _Atomic uint32_t ff_hold_seq;

/* Once, before the first hold: installs the guard. Calls into libc. */
void ff_hold_init(void);
/* Lock held. Between begin and end this thread must write to none of the held ranges. */
void ff_hold_begin(void);
/*
 * From here on nobody writes to [addr, addr + len), a part of one mapping, readable and writable.
 * FF_HOLD_NONE: it cannot be held.
 */
enum ff_hold_way ff_hold_range(void *addr, size_t len);
/*
 * replaced: something else was mapped over the range: only lets its waiters go on. Else undoes the
 * protection first.
 */
void ff_hold_release(enum ff_hold_way way, void *addr, size_t len, bool replaced);
void ff_hold_end(void);
/* In a child with memory of its own: the parent's holds are not its own. */
void ff_hold_child(void);
/* A guard's decision on a fault at addr: true: try again. Async-signal-safe. */
bool ff_hold_retry(void *addr);
/* Waits until no hold is on; true if one was on since seq was read. Async-signal-safe. */
bool ff_hold_wait(uint32_t seq);

/* ---- mem_signal.c ---- */
typedef bool (*ff_guard_fn)(siginfo_t *info, void *ucontext); /* true: dealt with */
/* Puts the guards under the program's handlers of SIGSEGV and SIGSYS. */
void ff_signal_guard(int sig, ff_guard_fn fn);
/* In a child with memory of its own. */
void ff_signal_child(void);

/* ---- mem_stacks.c: lock held ---- */
struct ff_stacks_range {
	uint64_t start, end; /* whole pages */
};
/* The lowest range in mapping v above from, below to, that must be left alone; false: none. */
bool ff_stacks_next(const struct ff_vma *v, uint64_t from, uint64_t to,
		    struct ff_stacks_range *keep);
/* /proc/self/smaps: 0 or -errno. */
int ff_smaps_open(void);
void ff_smaps_close(void);
/* Is the mapping that holds start not for children? start: ascending between open and close. */
bool ff_smaps_dontfork(uint64_t start);

/* ---- mem_fork.c ---- */
/* Once, before the first conversion; false: this machine cannot keep fork exact. Calls libc. */
bool ff_fork_init(void);
/* Forks that began before ff_fork_init() and may not have reached clone yet. */
bool ff_fork_unguarded(void);

#endif
