/* SPDX-License-Identifier: MIT */
/* Hash tables of streams: chains that grow with their number. Control thread. */
#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#include <rte_jhash.h>

#include "tcp_priv.h"

#define SLOTS_MIN 64u

uint32_t
tcp_hash(const void *key, uint32_t len)
{
	static uint32_t seed;

	while (!seed)
		if (getrandom(&seed, sizeof(seed), 0) != (ssize_t)sizeof(seed))
			seed = 0;
	return rte_jhash(key, len, seed);
}

static struct tcp_node **
slot_of(const struct tcp_index *x, uint32_t hash)
{
	return &x->slots[hash & (x->num_slots - 1)];
}

static int
grow(struct tcp_index *x)
{
	struct tcp_index bigger = {.num_slots = x->num_slots ? x->num_slots * 2 : SLOTS_MIN};
	struct tcp_node *n, **slot;

	bigger.slots = calloc(bigger.num_slots, sizeof(*bigger.slots));
	if (!bigger.slots)
		return -ENOMEM;
	for (uint32_t i = 0; i < x->num_slots; i++) {
		while ((n = x->slots[i])) {
			x->slots[i] = n->next;
			slot = slot_of(&bigger, n->hash);
			n->next = *slot;
			*slot = n;
		}
	}
	free(x->slots);
	x->slots = bigger.slots;
	x->num_slots = bigger.num_slots;
	return 0;
}

int
tcp_index_add(struct tcp_index *x, struct tcp_node *n, uint32_t hash)
{
	struct tcp_node **slot;

	/* Longer chains are no fault, no table at all is one. */
	if (x->count >= x->num_slots && grow(x) && !x->num_slots)
		return -ENOMEM;
	slot = slot_of(x, hash);
	n->hash = hash;
	n->next = *slot;
	*slot = n;
	x->count++;
	return 0;
}

/* The last one takes the table with it. */
void
tcp_index_remove(struct tcp_index *x, struct tcp_node *n)
{
	struct tcp_node **p = slot_of(x, n->hash);

	while (*p != n)
		p = &(*p)->next;
	*p = n->next;
	if (--x->count)
		return;
	free(x->slots);
	x->slots = NULL;
	x->num_slots = 0;
}

static struct tcp_node *
same_hash(struct tcp_node *n, uint32_t hash)
{
	while (n && n->hash != hash)
		n = n->next;
	return n;
}

struct tcp_node *
tcp_index_first(const struct tcp_index *x, uint32_t hash)
{
	return x->num_slots ? same_hash(*slot_of(x, hash), hash) : NULL;
}

struct tcp_node *
tcp_index_next(const struct tcp_node *n)
{
	return same_hash(n->next, n->hash);
}
