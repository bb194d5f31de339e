/* SPDX-License-Identifier: MIT */
/*
 * The local backend's operations (nic.h) and its worker stage: the pass as a list of steps. Made
 * and freed on the control thread, run by the owner workers.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_lcore.h>
#include <rte_mempool.h>

#include "../../core/log.h"
#include "../soft_roce/soft_roce.h"
#include "local_priv.h"

#define NUM_BOUNCES 63u
#define NUM_CLONES  255u
#define PASS_ROUNDS 2u

static int stage_slot;

struct lworker *
llocal_worker(struct ff_worker *w)
{
	return ff_worker_priv(w, stage_slot);
}

/* ---- operations ---- */

struct lop *
lop_alloc(void)
{
	struct lop *op = aligned_alloc(64, (sizeof(*op) + 63) & ~63ull);

	if (op)
		memset(op, 0, sizeof(*op));
	return op;
}

static void
free_msg(struct ff_msg *m)
{
	free(m);
}

static int
send_msg(struct lop *op)
{
	return op->post_to ? ff_worker_post(op->post_to, &op->msg) : ff_control_post(&op->msg);
}

/* to NULL: the control thread. */
void
lpost(struct lworker *lw, struct ff_worker *to, struct lop *op, void (*fn)(struct ff_msg *))
{
	op->msg.fn = fn;
	op->post_to = to;
	if (TAILQ_EMPTY(&lw->backlog) && !send_msg(op))
		return;
	TAILQ_INSERT_TAIL(&lw->backlog, op, link);
}

/* Workers do not free: the control thread does. */
void
lop_free_async(struct lop *op)
{
	lpost(llocal_worker(op->src_worker), NULL, op, free_msg);
}

static unsigned
flush_backlog(struct lworker *lw)
{
	struct lop *op;
	unsigned n = 0;

	while ((op = TAILQ_FIRST(&lw->backlog))) {
		TAILQ_REMOVE(&lw->backlog, op, link);
		if (send_msg(op)) {
			TAILQ_INSERT_HEAD(&lw->backlog, op, link);
			break;
		}
		n++;
	}
	return n;
}

/* ---- the stage ---- */

static struct rte_mempool *
pool_create(const char *what, unsigned worker, unsigned num, unsigned size)
{
	char name[RTE_MEMPOOL_NAMESIZE];

	snprintf(name, sizeof(name), "%s%u", what, worker);
	return rte_mempool_create(name, num, size, 0, 0, NULL, NULL, NULL, NULL, SOCKET_ID_ANY, 0);
}

static int
stage_init(struct ff_worker *w)
{
	struct lworker *lw = calloc(1, sizeof(*lw));

	if (!lw)
		return -ENOMEM;
	lw->w = w;
	TAILQ_INIT(&lw->active);
	TAILQ_INIT(&lw->waiting);
	TAILQ_INIT(&lw->rnr);
	TAILQ_INIT(&lw->starved);
	TAILQ_INIT(&lw->err);
	TAILQ_INIT(&lw->sched);
	TAILQ_INIT(&lw->done);
	TAILQ_INIT(&lw->backlog);
	lw->next_retry = UINT64_MAX;
	lw->rnr_pause = LOCAL_RNR_PAUSE;
	lw->tenants = calloc(FF_TENANTS_MAX, sizeof(*lw->tenants));
	lw->bounces =
		pool_create("ff_bounce", ff_worker_index(w), NUM_BOUNCES, sizeof(struct lbounce));
	lw->clones = pool_create("ff_clone", ff_worker_index(w), NUM_CLONES, sizeof(struct lop));
	ff_worker_priv_set(w, stage_slot, lw);
	if (!lw->tenants || !lw->bounces || !lw->clones) {
		ff_err("nic", "worker %u: no memory for bounce buffers", ff_worker_index(w));
		return -ENOMEM;
	}
	for (unsigned i = 0; i < FF_TENANTS_MAX; i++)
		TAILQ_INIT(&lw->tenants[i].ready);
	return 0;
}

static void
stage_fini(struct ff_worker *w)
{
	struct lworker *lw = llocal_worker(w);

	if (!lw)
		return;
	rte_mempool_free(lw->bounces);
	rte_mempool_free(lw->clones);
	free(lw->tenants);
	free(lw);
	ff_worker_priv_set(w, stage_slot, NULL);
}

static unsigned
run_requesters(struct lworker *lw)
{
	struct lqp *l, *next;
	unsigned n = 0;

	for (l = TAILQ_FIRST(&lw->active); l; l = next) {
		next = TAILQ_NEXT(l, active_link);
		n += lreq_run(l);
	}
	return n;
}

static void
park_idle(struct lworker *lw)
{
	struct lqp *l, *next;

	for (l = TAILQ_FIRST(&lw->active); l; l = next) {
		next = TAILQ_NEXT(l, active_link);
		if (lw->now - l->last_wqe_ns > LOCAL_POLL_NS || lw->num_active > LOCAL_POLLED_MAX)
			lreq_park(l);
	}
}

static unsigned
stage_poll(struct ff_worker *w, uint64_t now_ns)
{
	struct lworker *lw = llocal_worker(w);
	unsigned work = 0;

	lw->now = now_ns;
	work += flush_backlog(lw);
	lsched_timers(lw);
	for (unsigned round = 0; round < PASS_ROUNDS; round++) {
		unsigned n = run_requesters(lw);

		if (!TAILQ_EMPTY(&lw->sched))
			n += lsched_run(lw, LOCAL_PASS_BYTES / PASS_ROUNDS) != 0;
		n += lcomp_run(lw);
		work += n;
		if (!n)
			break;
	}
	if (!work && lw->num_active)
		park_idle(lw);
	return work;
}

/* Doorbells again, for all: true if one of them has WQEs after all. */
static bool
stage_sleep_prepare(struct ff_worker *w)
{
	struct lworker *lw = llocal_worker(w);
	bool work =
		!TAILQ_EMPTY(&lw->sched) || !TAILQ_EMPTY(&lw->backlog) || !TAILQ_EMPTY(&lw->done);
	struct lqp *l, *next;

	for (l = TAILQ_FIRST(&lw->active); l; l = next) {
		next = TAILQ_NEXT(l, active_link);
		work |= !lreq_park(l);
	}
	return work;
}

static uint64_t
stage_deadline(struct ff_worker *w)
{
	return lsched_deadline(llocal_worker(w));
}

/* ---- nic.h ---- */

static int
local_probe(void)
{
	static const struct ff_worker_stage stage = {
		.name = "local",
		.init = stage_init,
		.fini = stage_fini,
		.poll = stage_poll,
		.sleep_prepare = stage_sleep_prepare,
		.deadline = stage_deadline,
	};

	stage_slot = ff_worker_stage_register(&stage);
	return stage_slot < 0 ? stage_slot : sroce_init();
}

static void
local_fini(void)
{
	sroce_fini();
}

static int
local_mr_reg(struct ff_mr *mr)
{
	for (unsigned i = 0; i < mr->umem.num_segs; i++)
		if (!mr->umem.segs[i].ptr)
			return ff_procmem_get(mr->obj.uc->container);
	return 0;
}

static void
local_mr_dereg(struct ff_mr *mr)
{
}

static void
local_qp_destroy(struct ff_qp *qp)
{
	struct lqp *l = qp->nic;

	if (!l)
		return;
	for (unsigned i = 0; i < l->window; i++)
		free(l->slot[i]);
	sroce_free(l);
	free(l);
	qp->nic = NULL;
}

static int
local_qp_create(struct ff_qp *qp)
{
	struct lqp *l = calloc(1, sizeof(*l));

	if (!l)
		return -ENOMEM;
	qp->nic = l;
	l->qp = qp;
	l->lw = llocal_worker(qp->worker);
	l->ok_gid_gen = UINT32_MAX;
	TAILQ_INIT(&l->inq);
	l->window = LOCAL_WINDOW;
	if (lqp_slots_fill(l)) {
		local_qp_destroy(qp);
		return -ENOMEM;
	}
	return 0;
}

static void
local_post(struct ff_qp *qp)
{
	lreq_activate(qp->nic);
}

static void
local_srq_changed(struct ff_srq *srq)
{
	/* RNR waiters are looked at in every pass. */
}

const struct ff_nic_ops ff_nic_local = {
	.name = "local",
	.probe = local_probe,
	.fini = local_fini,
	.mr_reg = local_mr_reg,
	.mr_dereg = local_mr_dereg,
	.qp_create = local_qp_create,
	.qp_modify = lqp_modify,
	.qp_detach = lqp_detach,
	.qp_destroy = local_qp_destroy,
	.post = local_post,
	.srq_changed = local_srq_changed,
	.ask = sroce_ask,
	.address = sroce_address,
	.tenant_gone = sroce_tenant_gone,
	.mtu = sroce_mtu,
	.port_counters = sroce_port_counters,
	.qp_counters = sroce_qp_counters,
	.transport_counters = sroce_transport_counters,
	.qp_peer = sroce_qp_peer,
};

const struct ff_nic_ops *ff_nic = &ff_nic_local;
