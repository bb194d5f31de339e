/* SPDX-License-Identifier: MIT */
/*
 * The slow way to a process's memory: process_vm_readv/writev on a helper thread per container,
 * since the process can make such a call block for ever (userfaultfd, FUSE): then only its own
 * container waits. The thread touches its jobs' private buffers and the process, nothing else.
 */
#ifndef FF_VERBS_PROCMEM_H
#define FF_VERBS_PROCMEM_H

#include <stdint.h>
#include <sys/types.h>

#include "../core/worker.h"

struct ff_container;
struct ff_proc; /* umem.h */
struct ff_procmem;

#define FF_PROCMEM_MAX 65536u /* bytes per job */

enum ff_procmem_op { FF_PROCMEM_READ, FF_PROCMEM_WRITE, FF_PROCMEM_CMP_SWAP, FF_PROCMEM_FETCH_ADD };

struct ff_procmem_job {
	struct ff_msg msg; /* msg.fn runs on reply_to when done; set by the submitter */
	enum ff_procmem_op op;
	struct ff_proc *proc; /* counted by the submitter until the job is back. Its pidfd is
			       * checked before and after the call: a recycled pid is -ESRCH */
	uint64_t va;
	uint32_t len; /* 1..FF_PROCMEM_MAX; 8 for atomics */
	void *buf;    /* read: filled in; write: source; atomics: old value out */
	uint64_t compare_add, swap;
	struct ff_worker *reply_to;
	int status; /* 0 or -errno; the whole length or an error */
};

/* Control thread: the container's copier, made on first use. 0 or -errno. */
int ff_procmem_get(struct ff_container *c);
/* Control thread, container goes away: ends the thread (detached if it is stuck in a call). */
void ff_procmem_stop(struct ff_container *c);
/*
 * Worker: queues the job; bounded, -ENOSPC when full. Every queued job comes back, also from
 * ff_procmem_stop() (-ECANCELED), but for one that is stuck in its call: that one comes back when
 * the call ends.
 */
int ff_procmem_submit(struct ff_procmem *p, struct ff_procmem_job *job);

#endif
