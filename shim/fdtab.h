/* SPDX-License-Identifier: MIT */
/*
 * The program's file descriptors that are more than the kernel's: fd -> object. Lock-free. An fd
 * that is not ours costs one load, in the process that has none of ours nearby.
 */
#ifndef FF_SHIM_FDTAB_H
#define FF_SHIM_FDTAB_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum fdobj_kind {
	FDOBJ_HIDDEN, /* an fd of the shim itself: the program cannot close or replace it */
	FDOBJ_UVERBS, /* priv: struct uverbs_file */
	FDOBJ_COMP,   /* a completion channel of the uverbs_file with number owner */
	FDOBJ_ASYNC,  /* the async events of a uverbs file */
	FDOBJ_STREAM, /* priv: struct stream */
};

/*
 * Type-stable: an object that was freed stays one, so a reader that lost a race against close()
 * finds refs == 0 or, after reuse, another object in the table.
 */
struct fdobj {
	enum fdobj_kind kind;
	uint32_t handle;       /* FDOBJ_COMP: the router's */
	uint64_t owner;	       /* FDOBJ_COMP */
	_Atomic bool fatal;    /* FDOBJ_ASYNC: the program knows that the device has failed */
	_Atomic uint32_t refs; /* one for each fd, one for each call in progress */
	void *priv;
	void (*destroy)(struct fdobj *o); /* runs when refs reaches 0; may be NULL */
	struct fdobj *next_free;
};

#define FDTAB_LEAF 1024u
#define FDTAB_ROOT 1024u
#define FDTAB_MAX  (FDTAB_LEAF * FDTAB_ROOT) /* fs.nr_open's default */

typedef _Atomic(struct fdobj *) fdtab_slot;
extern _Atomic(fdtab_slot *) fdtab_root[FDTAB_ROOT];

/* No reference is taken: only for what a racing close() may break. */
static inline struct fdobj *
fdtab_peek(int fd)
{
	fdtab_slot *leaf;

	if ((unsigned int)fd >= FDTAB_MAX)
		return NULL;
	leaf = atomic_load_explicit(&fdtab_root[(unsigned int)fd / FDTAB_LEAF],
				    memory_order_acquire);
	if (__builtin_expect(leaf == NULL, 1))
		return NULL;
	return atomic_load_explicit(&leaf[(unsigned int)fd % FDTAB_LEAF], memory_order_acquire);
}

/* A new object with one reference, the caller's. NULL: no memory. */
struct fdobj *fdobj_new(enum fdobj_kind kind, void *priv, void (*destroy)(struct fdobj *));
void fdobj_put(struct fdobj *o); /* NULL is allowed */
/* One more reference; false if o has none: it is free, or about to be. */
bool fdobj_ref(struct fdobj *o);

/* With a reference; NULL if fd is not ours. */
struct fdobj *fdtab_get(int fd);
/* fd becomes o's (a reference of its own) and nobody else's. 0, -EMFILE (fd too big), -ENOMEM. */
int fdtab_set(int fd, struct fdobj *o);
void fdtab_clear(int fd); /* also of an fd that is not in it */
/*
 * fd was just made by the kernel, so what the table says of it is stale: it was closed past the
 * hooks. Returns fd; keeps errno.
 */
int fdtab_fresh_slow(int fd);
static inline int
fdtab_fresh(int fd)
{
	return __builtin_expect(fdtab_peek(fd) == NULL, 1) ? fd : fdtab_fresh_slow(fd);
}
/* Marks fd as the shim's own. 0 or -errno. */
int fdtab_hide(int fd);
/* The smallest fd >= from with an object, or -1. */
int fdtab_next(unsigned int from);
/* A child has its own memory: locks that other threads held are free again. */
void fdtab_fork_child(void);

#endif
