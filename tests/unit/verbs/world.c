/* SPDX-License-Identifier: MIT */
/* See world.h. */
#include "world.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../../dataplane/core/loop.h"

struct world w;
struct ff_config ff_config;

static const uint8_t gid_own[16] = {[10] = 0xff, 0xff, 10, 32, 0, 1};
static const uint8_t gid_other[16] = {[10] = 0xff, 0xff, 10, 32, 0, 2};

/* ---- channel ---- */

int
ff_quota_take(struct ff_container *c, enum ff_quota q, uint64_t amount)
{
	if (amount > c->limits[q] || c->used[q] > c->limits[q] - amount)
		return -ENOMEM;
	c->used[q] += amount;
	return 0;
}

void
ff_quota_give(struct ff_container *c, enum ff_quota q, uint64_t amount)
{
	if (c->used[q] < amount)
		abort();
	c->used[q] -= amount;
}

struct ff_container *
ff_container_by_gid(const struct ff_tenant *t, const uint8_t gid[16])
{
	return t == &w.tenant && !memcmp(gid, gid_other, 16) ? &w.other : NULL;
}

bool
ff_policy_allows(const struct ff_container *a, const struct ff_container *b)
{
	return w.other_allowed;
}

void
ff_container_qp_retired(struct ff_container *c, const struct ff_qp *qp)
{
	w.retired++;
}

/* ---- core ---- */

void
ff_worker_call(struct ff_worker *worker, void (*fn)(void *arg), void *arg)
{
	w.calls++;
	if (w.meanwhile)
		w.meanwhile();
	fn(arg);
}

void
ff_workers_synchronize(void)
{
	w.syncs++;
}

struct ff_worker *
ff_worker_self(void)
{
	return w.on_worker ? (struct ff_worker *)&w : NULL;
}

int
ff_control_post(struct ff_msg *m)
{
	if (w.control_full) {
		w.control_full--;
		return -ENOSPC;
	}
	__atomic_store_n(&w.control_msg, m, __ATOMIC_RELEASE); /* threads_test.c */
	return 0;
}

int
ff_loop_timer_start(struct ff_timer *t, unsigned period_ms, void (*fn)(void *), void *arg)
{
	return 0;
}

void
ff_loop_timer_stop(struct ff_timer *t)
{
}

/* ---- memory ---- */

int
ff_umem_get(struct ff_umem *m, struct ff_container *c, struct ff_proc *proc, uint64_t va,
	    uint64_t length, bool need_write)
{
	if (w.umem_rc)
		return w.umem_rc;
	*m = (struct ff_umem){.proc = proc, .va = va, .length = length};
	w.umems++;
	w.umem_write = need_write;
	return 0;
}

void
ff_umem_put(struct ff_umem *m)
{
	w.umems--;
}

/* ---- the backend ---- */

static int
fake_mr_reg(struct ff_mr *mr)
{
	if (w.mr_reg_rc)
		return w.mr_reg_rc;
	w.mrs++;
	return 0;
}

static void
fake_mr_dereg(struct ff_mr *mr)
{
	w.mrs--;
}

static int
fake_qp_create(struct ff_qp *qp)
{
	if (w.nic_create_rc)
		return w.nic_create_rc;
	qp->nic = qp;
	w.qps++;
	return 0;
}

static int
fake_qp_modify(struct ff_qp *qp, const struct ff_qp_attr *new, uint32_t mask)
{
	w.modifies++;
	w.last_mask = mask;
	w.last_attr = *new;
	if (w.nic_modify_rc)
		return w.nic_modify_rc;
	qp->attr = *new;
	return 0;
}

static void
fake_qp_detach(struct ff_qp *qp)
{
	if (ff_idtab_get(&ff_qps, qp->qpn))
		abort(); /* peers still find it */
	w.detached++;
}

static void
fake_qp_destroy(struct ff_qp *qp)
{
	if (qp->nic != qp)
		abort();
	qp->nic = NULL;
	w.qps--;
}

static void
fake_post(struct ff_qp *qp)
{
	w.posts++;
}

static void
fake_srq_changed(struct ff_srq *srq)
{
	w.srq_changes++;
}

static int
fake_ask(struct ff_container *c, const uint8_t gid[16])
{
	w.asks++;
	return w.ask_rc;
}

static const struct ff_nic_ops fake_nic = {
	.name = "fake",
	.mr_reg = fake_mr_reg,
	.mr_dereg = fake_mr_dereg,
	.qp_create = fake_qp_create,
	.qp_modify = fake_qp_modify,
	.qp_detach = fake_qp_detach,
	.qp_destroy = fake_qp_destroy,
	.post = fake_post,
	.srq_changed = fake_srq_changed,
	.ask = fake_ask,
};
const struct ff_nic_ops *ff_nic = &fake_nic;

/* ---- the world ---- */

static void
container_init(struct ff_container *c, const char *id, const uint8_t gid[16])
{
	snprintf(c->id, sizeof(c->id), "%s", id);
	c->tenant = &w.tenant;
	for (unsigned i = 0; i < FF_QUOTA_MAX; i++)
		c->limits[i] = 100000;
	c->limits[FF_QUOTA_PINNED] = 1ull << 40;
	memcpy(c->gids[0].raw, gid, 16);
	c->gids[0].valid = true;
	TAILQ_INIT(&c->channels);
}

void
world_begin(void)
{
	memset(&w, 0, sizeof(w));
	container_init(&w.c, "c1", gid_own);
	container_init(&w.other, "c2", gid_other);
	w.other_allowed = true;
	w.channel.container = &w.c;
	w.channel.proc = &w.proc;
	TAILQ_INIT(&w.channel.contexts);
	TAILQ_INSERT_TAIL(&w.c.channels, &w.channel, link);
	if (ff_verbs_init())
		abort();
	w.uc = ff_ucontext_create(&w.channel);
	if (!w.uc)
		abort();
}

unsigned
world_end(void)
{
	unsigned left;

	ff_ucontext_destroy(w.uc);
	left = !TAILQ_EMPTY(&w.channel.contexts);
	for (unsigned i = 0; i < FF_QUOTA_MAX; i++)
		left += w.c.used[i] != 0;
	left += w.qps + w.mrs + w.umems + ff_qps.count + ff_keys.count + ff_ahs.count;
	ff_verbs_fini();
	return left;
}
