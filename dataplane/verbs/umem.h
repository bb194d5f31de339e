/* SPDX-License-Identifier: MIT */
/*
 * A process's memory as the router reaches it: a range becomes segments, each either mapped here
 * (a sealed memfd that the process maps shared) or left to process_vm_readv/writev (procmem.h).
 * Control thread.
 */
#ifndef FF_VERBS_UMEM_H
#define FF_VERBS_UMEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct ff_container;

/* A process of a container; counted, since jobs of procmem.h can outlive its channel. */
struct ff_proc {
	_Atomic uint32_t refs;
	pid_t pid; /* in freeflowd's pid namespace */
	int pidfd;
};
struct ff_proc *ff_proc_new(pid_t pid, int pidfd); /* takes over pidfd; NULL and errno */
struct ff_proc *ff_proc_ref(struct ff_proc *p);
void ff_proc_unref(struct ff_proc *p); /* any thread; the last one closes pidfd */

struct ff_umem_seg {
	uint64_t off;  /* of its first byte from the range's start; ascending, no gaps */
	uint64_t len;  /* bytes */
	uint8_t *ptr;  /* router's address of the first byte; NULL: process_vm at va + off */
	bool writable; /* ptr may be written */
};

struct ff_umem {
	struct ff_proc *proc; /* counted */
	uint64_t va;	      /* start in the process */
	uint64_t length;
	unsigned num_segs;
	struct ff_umem_seg *segs;
	void *maps; /* umem.c: mappings to undo */
	unsigned num_maps;
};

/*
 * Resolves [va, va + length) of process proc as the kernel shows it now (/proc/<pid>/maps,
 * map_files): a shared mapping of a memfd with F_SEAL_SHRINK is mapped here, all else is left to
 * process_vm. need_write: the registration grants any write. Unmapped memory, or memory without
 * the right: -EFAULT. length 0 is a range without segments. Counts segments by way in c.
 */
int ff_umem_get(struct ff_umem *m, struct ff_container *c, struct ff_proc *proc, uint64_t va,
		uint64_t length, bool need_write);
/* After ff_workers_synchronize(): unmaps. */
void ff_umem_put(struct ff_umem *m);

/* The segment that holds off (off < length). Any thread; binary search. */
const struct ff_umem_seg *ff_umem_seg_at(const struct ff_umem *m, uint64_t off);

/*
 * memcpy between router mappings that a process can make unreadable (hole punched from an
 * exhausted hugetlb pool, poison): 0, or -EFAULT instead of SIGBUS. Any thread after
 * ff_umem_copy_init() (installs the SIGBUS handler). No call, no lock, no allocation.
 */
int ff_umem_copy_init(void);
int ff_umem_copy(void *dst, const void *src, size_t len);
/* The same for one 8-byte aligned atomic: *old = *p; *p = new. op below. */
enum ff_umem_atomic { FF_ATOMIC_CMP_SWAP, FF_ATOMIC_FETCH_ADD };
int ff_umem_atomic(enum ff_umem_atomic op, uint64_t *p, uint64_t compare_add, uint64_t swap,
		   uint64_t *old);

#endif
