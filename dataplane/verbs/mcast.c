/* SPDX-License-Identifier: MIT */
/*
 * Multicast groups of UD QPs (IBTA 10.5.2), apart for each tenant. The control thread changes
 * them; workers read without locks. What it takes out it frees after all workers have ended
 * their pass (mcast_reap). Leaving a group needs no memory, so it cannot fail.
 */
#include <infiniband/verbs.h>
#include <stdlib.h>

#include "verbs_priv.h"

#define BUCKETS 1024u

struct garbage {
	struct garbage *next;
};

/* Slots are set to NULL by who leaves; a new array is made by who joins. */
struct members {
	struct garbage garbage;
	uint32_t num;
	_Atomic(struct ff_qp *) qp[];
};

struct group {
	struct garbage garbage;
	_Atomic(struct group *) next; /* in its bucket. Writer: control, release */
	const struct ff_tenant *tenant;
	uint8_t mgid[16];
	uint32_t used; /* control: slots that are not NULL */
	_Atomic(struct members *) members;
};

static _Atomic(struct group *) buckets[BUCKETS];
static struct garbage *garbage;

static void
discard(struct garbage *g)
{
	g->next = garbage;
	garbage = g;
}

void
mcast_reap(void)
{
	while (garbage) {
		struct garbage *next = garbage->next;

		free(garbage); /* it is the first member of all that comes here */
		garbage = next;
	}
}

static _Atomic(struct group *) *
bucket_of(const struct ff_tenant *t, const uint8_t mgid[16])
{
	uint64_t h = 0xcbf29ce484222325ull ^ t->index;

	for (unsigned i = 0; i < 16; i++)
		h = (h ^ mgid[i]) * 0x100000001b3ull;
	return &buckets[(h >> 20) % BUCKETS];
}

static struct group *
group_find(const struct ff_tenant *t, const uint8_t mgid[16])
{
	struct group *g = atomic_load_explicit(bucket_of(t, mgid), memory_order_acquire);

	while (g && (g->tenant != t || memcmp(g->mgid, mgid, sizeof(g->mgid))))
		g = atomic_load_explicit(&g->next, memory_order_acquire);
	return g;
}

void
ff_mcast_foreach(const struct ff_tenant *t, const uint8_t mgid[16],
		 void (*fn)(struct ff_qp *qp, void *arg), void *arg)
{
	const struct group *g = group_find(t, mgid);
	const struct members *m;

	if (!g)
		return;
	m = atomic_load_explicit(&g->members, memory_order_acquire);
	for (uint32_t i = 0; i < m->num; i++) {
		struct ff_qp *qp = atomic_load_explicit(&m->qp[i], memory_order_acquire);

		if (qp)
			fn(qp, arg);
	}
}

/* The members of from (may be NULL), and qp. */
static struct members *
members_with(const struct members *from, struct ff_qp *qp, uint32_t used)
{
	struct members *m = malloc(sizeof(*m) + (used + 1) * sizeof(m->qp[0]));

	if (!m)
		return NULL;
	m->num = 0;
	for (uint32_t i = 0; from && i < from->num; i++) {
		struct ff_qp *old = atomic_load_explicit(&from->qp[i], memory_order_relaxed);

		if (old)
			atomic_init(&m->qp[m->num++], old);
	}
	atomic_init(&m->qp[m->num++], qp);
	return m;
}

static int
group_create(const struct ff_tenant *t, const uint8_t mgid[16], struct ff_qp *qp)
{
	_Atomic(struct group *) *bucket = bucket_of(t, mgid);
	struct group *g = calloc(1, sizeof(*g));
	struct members *m = g ? members_with(NULL, qp, 0) : NULL;

	if (!m) {
		free(g);
		return -ENOMEM;
	}
	g->tenant = t;
	g->used = 1;
	memcpy(g->mgid, mgid, sizeof(g->mgid));
	atomic_init(&g->members, m);
	atomic_init(&g->next, atomic_load_explicit(bucket, memory_order_relaxed));
	atomic_store_explicit(bucket, g, memory_order_release);
	return 0;
}

static int
group_join(struct group *g, struct ff_qp *qp)
{
	struct members *old = atomic_load_explicit(&g->members, memory_order_relaxed);
	struct members *m = members_with(old, qp, g->used);

	if (!m)
		return -ENOMEM;
	atomic_store_explicit(&g->members, m, memory_order_release);
	discard(&old->garbage);
	g->used++;
	return 0;
}

static void
group_end(struct group *g)
{
	_Atomic(struct group *) *at = bucket_of(g->tenant, g->mgid);
	struct group *p;

	while ((p = atomic_load_explicit(at, memory_order_relaxed)) != g)
		at = &p->next;
	atomic_store_explicit(at, atomic_load_explicit(&g->next, memory_order_relaxed),
			      memory_order_release);
	discard(&atomic_load_explicit(&g->members, memory_order_relaxed)->garbage);
	discard(&g->garbage);
}

static _Atomic(struct ff_qp *) *
slot_of(const struct group *g, const struct ff_qp *qp)
{
	struct members *m = atomic_load_explicit(&g->members, memory_order_relaxed);

	for (uint32_t i = 0; i < m->num; i++) {
		if (atomic_load_explicit(&m->qp[i], memory_order_relaxed) == qp)
			return &m->qp[i];
	}
	return NULL;
}

static void
group_leave(struct group *g, struct ff_qp *qp, _Atomic(struct ff_qp *) *slot)
{
	atomic_store_explicit(slot, NULL, memory_order_release);
	qp->mcasts--;
	ff_quota_give(qp->container, FF_QUOTA_MCAST, 1);
	if (!--g->used)
		group_end(g);
}

void
mcast_forget(struct ff_qp *qp)
{
	for (unsigned i = 0; i < BUCKETS && qp->mcasts; i++) {
		struct group *g = atomic_load_explicit(&buckets[i], memory_order_relaxed);

		while (g) {
			struct group *next = atomic_load_explicit(&g->next, memory_order_relaxed);
			_Atomic(struct ff_qp *) *slot = slot_of(g, qp);

			if (slot)
				group_leave(g, qp, slot);
			g = next;
		}
	}
}

/* RoCE has no multicast LIDs: the command's is not looked at (IBTA annex A17). */
int
cmd_attach_mcast(struct verbs_cmd *cmd)
{
	struct ff_container *c = cmd->uc->container;
	struct ib_uverbs_attach_mcast req;
	struct group *g;
	struct ff_qp *qp;
	int rc = verbs_request(cmd, &req, sizeof(req));

	if (rc)
		return rc;
	qp = verbs_handle_get(cmd->uc, FF_OBJ_QP, req.qp_handle);
	if (!qp || qp->type != IBV_QPT_UD || !ah_is_multicast(req.gid))
		return -EINVAL;
	g = group_find(c->tenant, req.gid);
	if (g && slot_of(g, qp))
		return 0;
	rc = ff_quota_take(c, FF_QUOTA_MCAST, 1);
	if (rc)
		return rc;
	rc = g ? group_join(g, qp) : group_create(c->tenant, req.gid, qp);
	if (rc) {
		ff_quota_give(c, FF_QUOTA_MCAST, 1);
		return rc;
	}
	qp->mcasts++;
	verbs_synchronize();
	return 0;
}

int
cmd_detach_mcast(struct verbs_cmd *cmd)
{
	struct ib_uverbs_detach_mcast req;
	_Atomic(struct ff_qp *) *slot;
	struct group *g;
	struct ff_qp *qp;
	int rc = verbs_request(cmd, &req, sizeof(req));

	if (rc)
		return rc;
	qp = verbs_handle_get(cmd->uc, FF_OBJ_QP, req.qp_handle);
	g = qp ? group_find(cmd->uc->container->tenant, req.gid) : NULL;
	slot = g ? slot_of(g, qp) : NULL;
	if (!slot)
		return -EINVAL;
	group_leave(g, qp, slot);
	verbs_synchronize();
	return 0;
}
