/* SPDX-License-Identifier: MIT */
/*
 * Open files of the uverbs device. The program's fd is the context's socket itself, so the
 * router sees the last close, wherever it happens. Functions return -errno; hooks set errno.
 */
#ifndef FF_SHIM_UVERBS_H
#define FF_SHIM_UVERBS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include <freeflow/abi.h>
#include <freeflow/uverbs.h>

#include "channel.h"
#include "fdtab.h"

/* What processes that inherit the file share: the socket takes one command at a time. */
struct uverbs_shared {
	pthread_mutex_t lock; /* process-shared, robust */
	uint32_t seq;	      /* of the last request; under lock, like all below */
	bool broken;	      /* the connection is of no more use: EIO */
	uint8_t buf[FF_MSG_MAX];
};

/*
 * A queue's annex word (freeflow/uverbs.h), in a mapping of our own: the program may unmap its
 * mapping at any time. Writer: the thread that holds the file's lock.
 */
struct uverbs_annex {
	_Atomic(_Atomic uint32_t *) word; /* NULL: no such queue */
	uint32_t qpn;			  /* SQ; constant while word is set */
	_Atomic uint32_t resizing;	  /* CQ: odd while the router replaces the queue */
};

/* handle -> annex. Leaves live as long as the file. Bigger handles take the slow way. */
#define UVERBS_LEAF 256u
#define UVERBS_DIR  256u
struct uverbs_annexes {
	_Atomic(struct uverbs_annex *) dir[UVERBS_DIR];
};

/* A queue that the program has not mapped yet. */
struct uverbs_pending {
	struct uverbs_pending *next;
	_Atomic uint64_t size; /* 0: free for reuse */
	uint64_t mmap_off;
	uint32_t role, handle;
	int fd;
};

struct uverbs_file {
	uint64_t number; /* never used again */
	struct channel *channel;
	struct uverbs_shared *shared;
	struct uverbs_pending *pending; /* under shared->lock */
	struct uverbs_annexes sq, cq;
};

/* open() of the device. An fd, which is in the table, or -errno. */
int uverbs_open(int flags);
/* What stat() of the device, or of an fd of it, says. */
void uverbs_stat(struct stat *st);
void uverbs_statx(struct statx *stx);
/* mmap() of an fd that is o. The address, or MAP_FAILED and errno. */
void *uverbs_mmap(struct uverbs_file *f, void *addr, size_t len, int prot, int flags, off_t off);
/*
 * write() to an fd that is o: len, with errno kept, or -errno. The doorbells take no lock and no
 * reference, as a file that is closed while one of its queues is in use is a fault of the program.
 */
ssize_t uverbs_write(struct uverbs_file *f, int fd, const void *buf, size_t len);

/* ---- between uverbs.c, command.c and doorbell.c ---- */

/* 0, or -EIO when the connection is broken (then it is not locked). */
int uverbs_lock(struct uverbs_file *f);
void uverbs_unlock(struct uverbs_file *f);
/* Must hold the lock. Nothing works from now on; the router sees the end. */
void uverbs_break(struct uverbs_file *f, int fd, const char *why);
/* Must hold the lock. Takes over fd, a queue that came with a reply. */
void uverbs_queue_add(struct uverbs_file *f, const struct ff_fd_desc *d, int fd);
/* Must hold the lock. The object with its queues is gone. */
void uverbs_queue_del(struct uverbs_file *f, enum ff_queue_role role, uint32_t handle);

/* NULL: take the slow way. */
static inline struct uverbs_annex *
uverbs_annex_find(struct uverbs_annexes *t, uint32_t handle)
{
	struct uverbs_annex *leaf;

	if (handle >= UVERBS_LEAF * UVERBS_DIR)
		return NULL;
	leaf = atomic_load_explicit(&t->dir[handle / UVERBS_LEAF], memory_order_acquire);
	return leaf ? &leaf[handle % UVERBS_LEAF] : NULL;
}

/* doorbell.c. All return 0, -errno, or DOORBELL_SLOW: send the command to the router. */
#define DOORBELL_SLOW 1
int doorbell_send(struct uverbs_file *f, uint32_t qp_handle);
int doorbell_arm(struct uverbs_file *f, uint32_t cq_handle, bool solicited);

/* events.c: fd is where events of the file come out; comp: a completion channel. 0 or -errno. */
int events_watch(struct uverbs_file *f, int fd, bool comp, uint32_t handle);

/* command.c: any command, by the router. len or -errno. */
ssize_t uverbs_command(struct uverbs_file *f, int fd, const void *buf, size_t len);

#endif
