/* SPDX-License-Identifier: MIT */
/* The table of random 24-bit ids: insertion, removal, iteration. Control thread. */
#include "idtab.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#define IDTAB_IDS  (1u << FF_IDTAB_BITS)
#define IDTAB_ROOT (1u << (FF_IDTAB_BITS - FF_IDTAB_LEAF_BITS))
/* At most half of the ids are in use, so this many draws all fail with probability 2^-64. */
#define DRAWS_MAX  64

void
ff_idtab_init(struct ff_idtab *t, uint32_t min_id)
{
	unsigned i;

	for (i = 0; i < IDTAB_ROOT; i++)
		atomic_init(&t->root[i], NULL);
	t->count = 0;
	t->min_id = min_id;
}

void
ff_idtab_fini(struct ff_idtab *t)
{
	unsigned i;

	for (i = 0; i < IDTAB_ROOT; i++) {
		free(atomic_load_explicit(&t->root[i], memory_order_relaxed));
		atomic_store_explicit(&t->root[i], NULL, memory_order_relaxed);
	}
	t->count = 0;
}

/* The slot of id, with a leaf made for it if need be. NULL: no memory. */
static _Atomic(void *) *
slot_make(struct ff_idtab *t, uint32_t id)
{
	_Atomic(_Atomic(void *) *) *root = &t->root[id >> FF_IDTAB_LEAF_BITS];
	_Atomic(void *) *leaf = atomic_load_explicit(root, memory_order_relaxed);

	if (!leaf) {
		leaf = calloc(FF_IDTAB_LEAF, sizeof(*leaf));
		if (!leaf)
			return NULL;
		/* Pairs with the acquire of ff_idtab_get(): the leaf is seen zeroed. */
		atomic_store_explicit(root, leaf, memory_order_release);
	}
	return &leaf[id & (FF_IDTAB_LEAF - 1)];
}

static int
id_draw(uint32_t *id)
{
	if (getrandom(id, sizeof(*id), 0) != (ssize_t)sizeof(*id))
		return -errno;
	*id &= IDTAB_IDS - 1;
	return 0;
}

int
ff_idtab_insert(struct ff_idtab *t, void *obj, uint32_t *id)
{
	_Atomic(void *) *slot;
	uint32_t draw;
	int i, rc;

	if (t->count >= IDTAB_IDS / 2)
		return -ENOSPC;
	for (i = 0; i < DRAWS_MAX; i++) {
		rc = id_draw(&draw);
		if (rc)
			return rc;
		if (draw < t->min_id || ff_idtab_get(t, draw))
			continue;
		slot = slot_make(t, draw);
		if (!slot)
			return -ENOMEM;
		t->count++;
		*id = draw;
		/* Pairs with the acquire of ff_idtab_get(): the object is seen complete. */
		atomic_store_explicit(slot, obj, memory_order_release);
		return 0;
	}
	return -ENOSPC;
}

void
ff_idtab_remove(struct ff_idtab *t, uint32_t id)
{
	if (!ff_idtab_get(t, id))
		return;
	atomic_store_explicit(slot_make(t, id), NULL, memory_order_release);
	t->count--;
}
