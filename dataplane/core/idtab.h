/* SPDX-License-Identifier: MIT */
/*
 * A table from 24-bit ids (QPNs, the index part of keys) to objects. Ids are drawn from the
 * kernel's CSPRNG. Control thread inserts and removes; workers look up without locks: an entry
 * stays valid for the rest of the pass (ff_workers_synchronize() before the object is freed).
 */
#ifndef FF_CORE_IDTAB_H
#define FF_CORE_IDTAB_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define FF_IDTAB_BITS	   24u
#define FF_IDTAB_LEAF_BITS 9u
#define FF_IDTAB_LEAF	   (1u << FF_IDTAB_LEAF_BITS)

struct ff_idtab {
	/* Leaves are made on demand and live as long as the table. Writer: control, release. */
	_Atomic(_Atomic(void *) *) root[1u << (FF_IDTAB_BITS - FF_IDTAB_LEAF_BITS)];
	uint32_t count;
	uint32_t min_id; /* smaller ids are never given out (QP 0 and 1) */
};

void ff_idtab_init(struct ff_idtab *t, uint32_t min_id);
void ff_idtab_fini(struct ff_idtab *t);
/* A free random id for obj. Returns 0, -ENOSPC (table is half full) or -ENOMEM. */
int ff_idtab_insert(struct ff_idtab *t, void *obj, uint32_t *id);
void ff_idtab_remove(struct ff_idtab *t, uint32_t id);

/* NULL if there is none. id may be anything. */
static inline void *
ff_idtab_get(const struct ff_idtab *t, uint32_t id)
{
	_Atomic(void *) *leaf;

	if (id >> FF_IDTAB_BITS)
		return NULL;
	leaf = atomic_load_explicit(&t->root[id >> FF_IDTAB_LEAF_BITS], memory_order_acquire);
	if (!leaf)
		return NULL;
	return atomic_load_explicit(&leaf[id & (FF_IDTAB_LEAF - 1)], memory_order_acquire);
}

#endif
