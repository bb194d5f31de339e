/* SPDX-License-Identifier: MIT */
/* The table of descriptors that the shim gives meaning to. Any thread, no locks on look-up. */
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#include "fdtab.h"
#include "fork.h"

_Atomic(fdtab_slot *) fdtab_root[FDTAB_ROOT];

static pthread_mutex_t free_lock = PTHREAD_MUTEX_INITIALIZER;
static struct fdobj *free_list; /* under free_lock; changed by single stores (fork.c) */

static struct fdobj hidden = {.kind = FDOBJ_HIDDEN, .refs = 1u << 30};

struct fdobj *
fdobj_new(enum fdobj_kind kind, void *priv, void (*destroy)(struct fdobj *))
{
	struct fdobj *o;

	pthread_mutex_lock(&free_lock);
	o = free_list;
	if (o)
		free_list = o->next_free;
	pthread_mutex_unlock(&free_lock);
	if (!o)
		o = calloc(1, sizeof(*o));
	if (!o)
		return NULL;
	o->kind = kind;
	o->handle = 0;
	o->owner = 0;
	atomic_store_explicit(&o->fatal, false, memory_order_relaxed);
	o->priv = priv;
	o->destroy = destroy;
	atomic_store_explicit(&o->refs, 1, memory_order_release);
	return o;
}

void
fdobj_put(struct fdobj *o)
{
	if (!o || atomic_fetch_sub_explicit(&o->refs, 1, memory_order_acq_rel) != 1)
		return;
	if (o->destroy)
		o->destroy(o);
	pthread_mutex_lock(&free_lock);
	o->next_free = free_list;
	free_list = o;
	pthread_mutex_unlock(&free_lock);
}

bool
fdobj_ref(struct fdobj *o)
{
	uint32_t refs = atomic_load_explicit(&o->refs, memory_order_relaxed);

	while (refs &&
	       !atomic_compare_exchange_weak_explicit(&o->refs, &refs, refs + 1,
						      memory_order_acq_rel, memory_order_relaxed))
		;
	return refs != 0;
}

struct fdobj *
fdtab_get(int fd)
{
	struct fdobj *o;

	while ((o = fdtab_peek(fd)) != NULL) {
		if (!fdobj_ref(o))
			continue;
		if (fdtab_peek(fd) == o)
			return o;
		fdobj_put(o);
	}
	return NULL;
}

/* NULL: no memory. Leaves live for ever. */
static fdtab_slot *
fdtab_leaf(unsigned int fd)
{
	_Atomic(fdtab_slot *) *where = &fdtab_root[fd / FDTAB_LEAF];
	fdtab_slot *leaf = atomic_load_explicit(where, memory_order_acquire), *fresh;

	if (leaf)
		return leaf;
	fresh = calloc(FDTAB_LEAF, sizeof(*fresh));
	if (!fresh)
		return NULL;
	if (atomic_compare_exchange_strong(where, &leaf, fresh))
		return fresh;
	free(fresh);
	return leaf;
}

int
fdtab_set(int fd, struct fdobj *o)
{
	fdtab_slot *leaf;

	if ((unsigned int)fd >= FDTAB_MAX)
		return -EMFILE;
	leaf = fdtab_leaf(fd);
	if (!leaf)
		return -ENOMEM;
	atomic_fetch_add_explicit(&o->refs, 1, memory_order_relaxed);
	fdobj_put(atomic_exchange_explicit(&leaf[(unsigned int)fd % FDTAB_LEAF], o,
					   memory_order_acq_rel));
	return 0;
}

void
fdtab_clear(int fd)
{
	fdtab_slot *leaf;

	if (!fdtab_peek(fd))
		return;
	leaf = fdtab_leaf(fd);
	fdobj_put(atomic_exchange_explicit(&leaf[(unsigned int)fd % FDTAB_LEAF], NULL,
					   memory_order_acq_rel));
}

int
fdtab_fresh_slow(int fd)
{
	int saved = errno;

	if (!fork_shares_memory())
		fdtab_clear(fd);
	errno = saved;
	return fd;
}

int
fdtab_hide(int fd)
{
	return fdtab_set(fd, &hidden);
}

int
fdtab_next(unsigned int from)
{
	unsigned int fd = from;

	while (fd < FDTAB_MAX) {
		if (!atomic_load_explicit(&fdtab_root[fd / FDTAB_LEAF], memory_order_acquire)) {
			fd = (fd / FDTAB_LEAF + 1) * FDTAB_LEAF;
			continue;
		}
		if (fdtab_peek(fd))
			return fd;
		fd++;
	}
	return -1;
}

void
fdtab_fork_child(void)
{
	pthread_mutex_init(&free_lock, NULL);
}
