/* SPDX-License-Identifier: MIT */
/*
 * The cache: (tenant, address) -> entry. Written by the control thread; workers read without locks.
 *
 * A hash table of chains. A node is constant once it is published; a change replaces the node, and
 * the old one is freed when every worker has ended the pass in which it may have seen it.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/random.h>

#include "../core/worker.h"
#include "overlay_priv.h"

#define BUCKETS	    (FF_OVERLAY_ENTRIES / 2)
#define RETIRED_MAX 64u /* freed together: each batch waits for all workers once */
#define IDLE_ROUNDS 2u

struct node {
	/* Writer: control thread, release. Readers: workers, acquire. */
	_Atomic(struct node *) next;
	uint32_t tenant;
	uint8_t gid[16];
	struct ff_overlay_entry e;
	/* Set by workers, cleared by the control thread. Relaxed: a hint. */
	_Atomic bool used;
	/* Control thread. */
	uint8_t idle; /* rounds of ageing without a look-up */
	uint64_t since_ns;
	TAILQ_ENTRY(node) link;
};
TAILQ_HEAD(node_list, node);

/* What may be evicted, in that order; a LOCAL node is in neither list. Oldest first. */
enum queue { QUEUE_UNANSWERED, QUEUE_REMOTE, QUEUES };

struct tenant {
	struct node_list q[QUEUES];
	unsigned num;
};

static struct {
	_Atomic(struct node *) buckets[BUCKETS];
	uint64_t key[3]; /* of the hash: a container must not be able to choose the chain */
	/* Control thread. */
	struct tenant tenants[FF_OVERLAY_TENANTS_MAX + 1]; /* and FF_OVERLAY_UNDERLAY */
	unsigned num;					   /* without LOCAL ones */
	struct node_list retired, local;
	unsigned num_retired;
	uint32_t generation;
	void (*forgotten)(uint32_t tenant, const uint8_t gid[16]);
} cache;

static uint64_t
mix(uint64_t a, uint64_t b)
{
	unsigned __int128 m = (unsigned __int128)a * b;

	return (uint64_t)m ^ (uint64_t)(m >> 64);
}

static _Atomic(struct node *) *
bucket_of(uint32_t tenant, const uint8_t gid[16])
{
	uint64_t half[2], h;

	memcpy(half, gid, 16);
	h = mix(half[0] ^ cache.key[0], half[1] ^ cache.key[1]);
	return &cache.buckets[mix(h ^ tenant, cache.key[2]) % BUCKETS];
}

static bool
node_is(const struct node *n, uint32_t tenant, const uint8_t gid[16])
{
	return n->tenant == tenant && !memcmp(n->gid, gid, 16);
}

void
ff_overlay_lookup(uint32_t tenant, const uint8_t gid[16], struct ff_overlay_entry *out)
{
	struct node *n;

	/* Pairs with the release of node_publish(): the node is seen complete. */
	for (n = atomic_load_explicit(bucket_of(tenant, gid), memory_order_acquire); n;
	     n = atomic_load_explicit(&n->next, memory_order_acquire)) {
		if (!node_is(n, tenant, gid))
			continue;
		if (!atomic_load_explicit(&n->used, memory_order_relaxed))
			atomic_store_explicit(&n->used, true, memory_order_relaxed);
		*out = n->e;
		return;
	}
	memset(out, 0, sizeof(*out));
}

/* ---- nodes; control thread from here on ---- */

/* The link that points to the node, or to the end of its chain. */
static _Atomic(struct node *) *
node_link(uint32_t tenant, const uint8_t gid[16])
{
	_Atomic(struct node *) *link = bucket_of(tenant, gid);
	struct node *n;

	while ((n = atomic_load_explicit(link, memory_order_relaxed)) && !node_is(n, tenant, gid))
		link = &n->next;
	return link;
}

static void
node_publish(_Atomic(struct node *) *link, struct node *n)
{
	atomic_store_explicit(link, n, memory_order_release);
}

static struct node_list *
node_queue(const struct node *n)
{
	if (n->e.state == FF_OVERLAY_LOCAL)
		return &cache.local;
	return &cache.tenants[n->tenant]
			.q[n->e.state == FF_OVERLAY_REMOTE ? QUEUE_REMOTE : QUEUE_UNANSWERED];
}

static void
node_count(const struct node *n, int by)
{
	if (n->e.state == FF_OVERLAY_LOCAL)
		return;
	cache.num += (unsigned)by;
	cache.tenants[n->tenant].num += (unsigned)by;
}

static void
retired_free(void)
{
	struct node *n;

	if (!cache.num_retired)
		return;
	ff_workers_synchronize();
	while ((n = TAILQ_FIRST(&cache.retired))) {
		TAILQ_REMOVE(&cache.retired, n, link);
		free(n);
	}
	cache.num_retired = 0;
}

/* No link points to n any more, but workers may still be reading it. */
static void
node_retire(struct node *n)
{
	TAILQ_REMOVE(node_queue(n), n, link);
	node_count(n, -1);
	TAILQ_INSERT_TAIL(&cache.retired, n, link);
	if (++cache.num_retired >= RETIRED_MAX)
		retired_free();
}

static void
node_remove(struct node *n)
{
	_Atomic(struct node *) *link = node_link(n->tenant, n->gid);
	uint32_t tenant = n->tenant;
	uint8_t gid[16];

	memcpy(gid, n->gid, 16);
	node_publish(link, atomic_load_explicit(&n->next, memory_order_relaxed));
	node_retire(n);
	cache.forgotten(tenant, gid);
}

/* ---- bounds ---- */

/* The oldest one that nobody has looked up lately; those that were get a second chance. */
static void
evict_from(struct tenant *t)
{
	struct node_list *q = &t->q[QUEUE_UNANSWERED];
	struct node *n = TAILQ_FIRST(q);

	if (n) {
		node_remove(n);
		return;
	}
	/* Counted: workers may set the marks again as fast as they are cleared. */
	q = &t->q[QUEUE_REMOTE];
	for (unsigned tries = t->num; (n = TAILQ_FIRST(q)) && tries; tries--) {
		if (!atomic_exchange_explicit(&n->used, false, memory_order_relaxed))
			break;
		TAILQ_REMOVE(q, n, link);
		TAILQ_INSERT_TAIL(q, n, link);
	}
	if (n)
		node_remove(n);
}

static struct tenant *
biggest_tenant(void)
{
	struct tenant *big = &cache.tenants[0];

	for (unsigned i = 1; i < FF_OVERLAY_TENANTS_MAX; i++)
		if (cache.tenants[i].num > big->num)
			big = &cache.tenants[i];
	return big;
}

/* A host that is asked for while a tenant's request is being answered must not evict that. */
static void
room_make(uint32_t tenant)
{
	if (cache.tenants[tenant].num >= FF_OVERLAY_TENANT_ENTRIES)
		evict_from(&cache.tenants[tenant]);
	else if (cache.num >= FF_OVERLAY_ENTRIES && tenant != FF_OVERLAY_UNDERLAY)
		evict_from(biggest_tenant());
}

/* ---- what the resolver calls ---- */

bool
overlay_entry_same(const struct ff_overlay_entry *a, const struct ff_overlay_entry *b)
{
	return a->state == b->state && !memcmp(a->host, b->host, 16) &&
	       !memcmp(a->mac, b->mac, 6) && a->vxlan == b->vxlan && a->vni == b->vni &&
	       a->ifindex == b->ifindex && a->mtu == b->mtu;
}

const struct ff_overlay_entry *
overlay_cache_get(uint32_t tenant, const uint8_t gid[16])
{
	struct node *n = atomic_load_explicit(node_link(tenant, gid), memory_order_relaxed);

	return n ? &n->e : NULL;
}

static void
each(const struct node_list *q, ff_overlay_visit *fn, void *arg)
{
	uint64_t now = ff_now_ns();
	const struct node *n;

	TAILQ_FOREACH (n, q, link)
		fn(n->tenant, n->gid, &n->e, (now - n->since_ns) / 1000000, arg);
}

void
ff_overlay_foreach(ff_overlay_visit *fn, void *arg)
{
	each(&cache.local, fn, arg);
	for (unsigned i = 0; i <= FF_OVERLAY_UNDERLAY; i++)
		for (unsigned q = 0; cache.tenants[i].num && q < QUEUES; q++)
			each(&cache.tenants[i].q[q], fn, arg);
}

int
overlay_cache_put(uint32_t tenant, const uint8_t gid[16], const struct ff_overlay_entry *e)
{
	_Atomic(struct node *) *link;
	struct node *old, *n;

	if (tenant > FF_OVERLAY_UNDERLAY)
		return -EINVAL;
	old = atomic_load_explicit(node_link(tenant, gid), memory_order_relaxed);
	if (old && overlay_entry_same(&old->e, e))
		return 0;
	n = calloc(1, sizeof(*n));
	if (!n)
		return -ENOMEM;
	if (!old && e->state != FF_OVERLAY_LOCAL)
		room_make(tenant);
	n->tenant = tenant;
	memcpy(n->gid, gid, 16);
	n->e = *e;
	cache.generation += cache.generation == UINT32_MAX ? 2 : 1;
	n->e.generation = cache.generation;
	n->since_ns = ff_now_ns();
	/* Only now: making room may have changed the chain. */
	link = node_link(tenant, gid);
	if (old) {
		atomic_init(&n->used, atomic_load_explicit(&old->used, memory_order_relaxed));
		n->idle = old->idle;
		atomic_init(&n->next, atomic_load_explicit(&old->next, memory_order_relaxed));
	}
	TAILQ_INSERT_TAIL(node_queue(n), n, link);
	node_count(n, 1);
	node_publish(link, n);
	if (old)
		node_retire(old);
	return 0;
}

void
overlay_cache_remove(uint32_t tenant, const uint8_t gid[16])
{
	struct node *n = atomic_load_explicit(node_link(tenant, gid), memory_order_relaxed);

	if (n)
		node_remove(n);
}

static void
queue_age(struct node_list *q)
{
	struct node *n, *next;

	for (n = TAILQ_FIRST(q); n; n = next) {
		next = TAILQ_NEXT(n, link);
		if (atomic_exchange_explicit(&n->used, false, memory_order_relaxed))
			n->idle = 0;
		else if (++n->idle >= IDLE_ROUNDS)
			node_remove(n);
	}
}

void
overlay_cache_age(void)
{
	for (unsigned i = 0; i <= FF_OVERLAY_UNDERLAY; i++)
		for (unsigned q = 0; cache.tenants[i].num && q < QUEUES; q++)
			queue_age(&cache.tenants[i].q[q]);
	retired_free();
}

/* Entries that are newer than begin were made by fn. */
static void
queue_check(struct node_list *q, uint32_t begin, overlay_cache_check *fn, void *arg)
{
	struct ff_overlay_entry e;
	struct node *n, *next;
	uint8_t gid[16];

	for (n = TAILQ_FIRST(q); n; n = next) {
		next = TAILQ_NEXT(n, link);
		e = n->e;
		memcpy(gid, n->gid, 16);
		if ((int32_t)(e.generation - begin) <= 0)
			fn(n->tenant, gid, &e, arg);
	}
}

void
overlay_cache_check_all(overlay_cache_check *fn, void *arg)
{
	uint32_t begin = cache.generation;

	for (unsigned i = 0; i < FF_OVERLAY_TENANTS_MAX; i++)
		for (unsigned q = 0; cache.tenants[i].num && q < QUEUES; q++)
			queue_check(&cache.tenants[i].q[q], begin, fn, arg);
}

static void
tenant_flush(struct tenant *t)
{
	struct node *n;

	for (unsigned q = 0; q < QUEUES; q++)
		while ((n = TAILQ_FIRST(&t->q[q])))
			node_remove(n);
}

void
overlay_cache_flush(uint32_t tenant)
{
	struct node *n, *next;

	if (tenant == FF_OVERLAY_ALL) {
		for (unsigned i = 0; i <= FF_OVERLAY_UNDERLAY; i++)
			tenant_flush(&cache.tenants[i]);
	} else if (tenant <= FF_OVERLAY_UNDERLAY) {
		tenant_flush(&cache.tenants[tenant]);
		for (n = TAILQ_FIRST(&cache.local); n; n = next) {
			next = TAILQ_NEXT(n, link);
			if (n->tenant == tenant)
				node_remove(n);
		}
	}
}

int
overlay_cache_init(void (*forgotten)(uint32_t tenant, const uint8_t gid[16]))
{
	if (getrandom(cache.key, sizeof(cache.key), 0) != (ssize_t)sizeof(cache.key))
		return -EIO;
	cache.key[2] |= 1;
	cache.forgotten = forgotten;
	cache.num = 0;
	TAILQ_INIT(&cache.retired);
	TAILQ_INIT(&cache.local);
	for (unsigned i = 0; i <= FF_OVERLAY_UNDERLAY; i++)
		for (unsigned q = 0; q < QUEUES; q++)
			TAILQ_INIT(&cache.tenants[i].q[q]);
	return 0;
}

void
overlay_cache_fini(void)
{
	struct node *n;

	overlay_cache_flush(FF_OVERLAY_ALL);
	while ((n = TAILQ_FIRST(&cache.local)))
		node_remove(n);
	retired_free();
}
