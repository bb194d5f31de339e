/* SPDX-License-Identifier: MIT */
/*
 * Tells processes apart that share or copied the shim's state. Any thread. A child's copy may be a
 * snapshot taken in the middle of another thread's update: all of the shim's private structures
 * are changed by single stores, so only locks need to be made anew.
 */
#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include "channel.h"
#include "debug.h"
#include "fdtab.h"
#include "fork.h"
#include "real.h"
#include "stream.h"

_Atomic uint64_t *fork_page;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static int init_error;
static _Atomic uint64_t last_generation;
static _Atomic pid_t owner; /* pid of the process whose memory this is */

static void
fork_child(void)
{
	(void)fork_generation();
}

static void
fork_init_once(void)
{
	size_t size = sysconf(_SC_PAGESIZE);
	void *p;

	p = ff_real.mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED) {
		init_error = -errno;
		return;
	}
	if (ff_real.madvise(p, size, MADV_WIPEONFORK) < 0) {
		init_error = -errno;
		ff_real.munmap(p, size);
		return;
	}
	fork_page = p;
	(void)fork_generation();
	/* Early rather than at the first call: the parent's channel must not outlive it here. */
	pthread_atfork(stream_fork_begin, stream_fork_end, fork_child);
}

int
fork_init(void)
{
	pthread_once(&once, fork_init_once);
	return init_error;
}

uint64_t
fork_generation(void)
{
	uint64_t gen = fork_generation_peek();

	if (gen)
		return gen;
	gen = atomic_fetch_add(&last_generation, 1) + 1;
	if (gen > 1) {
		fdtab_fork_child();
		channel_fork_child();
		stream_fork_child();
		debug("forked: generation %llu", (unsigned long long)gen);
	}
	atomic_store(&owner, getpid());
	atomic_store_explicit(fork_page, gen, memory_order_release);
	return gen;
}

bool
fork_shares_memory(void)
{
	return fork_page && fork_generation() && atomic_load(&owner) != getpid();
}
