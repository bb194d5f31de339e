/* SPDX-License-Identifier: MIT */
/*
 * Who is served next on a worker: deficit round robin over tenants (by weight), then over the QPs
 * of a tenant; and the timers of RNR, retry and QPs in error. Owner worker.
 *
 * Source: M. Shreedhar, G. Varghese, "Efficient Fair Queuing using Deficit Round Robin", 1995.
 */
#include "local_priv.h"

#define QP_QUANTUM	       ((int64_t)LOCAL_SLICE)
#define TENANT_QUANTUM(weight) ((int64_t)LOCAL_SLICE * (weight) / 100)
#define STARVED_NS	       200000u
/*
 * A sleeping worker wakes up for RNR timers no more often than this: a tenant with many waiting QPs
 * and the shortest timer must not keep a real-time thread awake. IBTA 9.7.5.2.8 gives a minimum.
 */
#define RNR_WAKE_NS	       100000u
#define RNR_CHECKS	       16u /* RNR waiters looked at per pass */
#define RNR_PAUSE_MAX	       1000000u

static void
fed(struct lqp *l)
{
	if (!l->starved)
		return;
	l->starved = false;
	TAILQ_REMOVE(&l->lw->starved, l, starved_link);
}

void
lsched_ready(struct lqp *l)
{
	struct lworker *lw = l->lw;
	uint32_t index = l->qp->container->tenant->index;
	struct ltenant *t = &lw->tenants[index];

	fed(l);
	if (l->ready)
		return;
	l->ready = true;
	l->deficit = 0;
	TAILQ_INSERT_TAIL(&t->ready, l, ready_link);
	if (t->listed)
		return;
	t->listed = true;
	t->deficit = 0;
	t->weight = l->qp->container->tenant->weight;
	TAILQ_INSERT_TAIL(&lw->sched, t, link);
}

void
lsched_unready(struct lqp *l)
{
	struct lworker *lw = l->lw;
	struct ltenant *t = &lw->tenants[l->qp->container->tenant->index];

	fed(l);
	if (!l->ready)
		return;
	l->ready = false;
	TAILQ_REMOVE(&t->ready, l, ready_link);
	if (!TAILQ_EMPTY(&t->ready))
		return;
	t->listed = false;
	TAILQ_REMOVE(&lw->sched, t, link);
}

void
lsched_starve(struct lqp *l)
{
	lsched_unready(l);
	l->starved = true;
	TAILQ_INSERT_TAIL(&l->lw->starved, l, starved_link);
	l->lw->starved_retry = l->lw->now + STARVED_NS;
}

static uint64_t
positive(int64_t v)
{
	return v > 0 ? (uint64_t)v : 0;
}

/* A tenant's turn, while its deficit and the pass's budget last. */
static uint64_t
tenant_turn(struct ltenant *t, uint64_t budget)
{
	uint64_t spent = 0;
	struct lqp *l;

	while (t->deficit > 0 && spent < budget && (l = TAILQ_FIRST(&t->ready))) {
		uint64_t room, used;

		if (l->deficit <= 0)
			l->deficit += QP_QUANTUM;
		room = positive(l->deficit < t->deficit ? l->deficit : t->deficit);
		if (room > budget - spent)
			room = budget - spent;
		used = lresp_run(l, room);
		spent += used;
		t->deficit -= (int64_t)used;
		if (!l->ready)
			continue;
		l->deficit -= (int64_t)used;
		if (l->deficit <= 0) {
			TAILQ_REMOVE(&t->ready, l, ready_link);
			TAILQ_INSERT_TAIL(&t->ready, l, ready_link);
		}
	}
	return spent;
}

uint64_t
lsched_run(struct lworker *lw, uint64_t budget)
{
	uint64_t spent = 0;
	struct ltenant *t;

	while (spent < budget && (t = TAILQ_FIRST(&lw->sched))) {
		if (t->deficit <= 0)
			t->deficit += TENANT_QUANTUM(t->weight);
		spent += tenant_turn(t, budget - spent);
		if (t->listed && t->deficit <= 0) {
			TAILQ_REMOVE(&lw->sched, t, link);
			TAILQ_INSERT_TAIL(&lw->sched, t, link);
		}
	}
	return spent;
}

/* Looks at a few RNR waiters each pass, in turn: posting a receive rings no bell. */
static void
rnr_timers(struct lworker *lw)
{
	for (unsigned i = 0; i < RNR_CHECKS; i++) {
		struct lqp *l = TAILQ_FIRST(&lw->rnr);

		if (!l)
			return;
		TAILQ_REMOVE(&lw->rnr, l, rnr_link);
		TAILQ_INSERT_TAIL(&lw->rnr, l, rnr_link);
		lresp_rnr_check(l);
	}
}

static void
retry_timers(struct lworker *lw)
{
	struct lqp *l, *next;

	if (lw->now < lw->next_retry)
		return;
	lw->next_retry = UINT64_MAX;
	for (l = TAILQ_FIRST(&lw->waiting); l; l = next) {
		next = TAILQ_NEXT(l, wait_link);
		if (lw->now >= l->retry_deadline)
			lcomp_retry(l);
		if (l->waiting && l->retry_deadline < lw->next_retry)
			lw->next_retry = l->retry_deadline;
	}
}

static void
feed(struct lworker *lw)
{
	struct lqp *l;

	if (lw->now >= lw->starved_retry)
		while ((l = TAILQ_FIRST(&lw->starved)))
			lsched_ready(l);
}

static void
error_scan(struct lworker *lw)
{
	struct lqp *l;

	if (TAILQ_EMPTY(&lw->err) || lw->now < lw->err_scan)
		return;
	lw->err_scan = lw->now + LOCAL_ERR_SCAN_NS;
	TAILQ_FOREACH (l, &lw->err, err_link)
		lresp_flush_rq(l);
}

void
lsched_timers(struct lworker *lw)
{
	if (!TAILQ_EMPTY(&lw->rnr))
		rnr_timers(lw);
	if (!TAILQ_EMPTY(&lw->waiting))
		retry_timers(lw);
	if (!TAILQ_EMPTY(&lw->starved))
		feed(lw);
	error_scan(lw);
}

uint64_t
lsched_deadline(struct lworker *lw)
{
	uint64_t d = UINT64_MAX;
	struct lqp *l;

	TAILQ_FOREACH (l, &lw->rnr, rnr_link) {
		uint64_t t = TAILQ_FIRST(&l->inq)->deadline;

		if (t < d)
			d = t;
		if (d <= lw->now + RNR_WAKE_NS)
			break; /* soon enough, however many wait */
	}
	if (d < lw->now + RNR_WAKE_NS)
		d = lw->now + RNR_WAKE_NS;
	if (!TAILQ_EMPTY(&lw->rnr)) {
		if (lw->now + lw->rnr_pause < d)
			d = lw->now + lw->rnr_pause;
		if (lw->rnr_pause < RNR_PAUSE_MAX)
			lw->rnr_pause *= 2;
	}
	if (!TAILQ_EMPTY(&lw->waiting) && lw->next_retry < d)
		d = lw->next_retry;
	if (!TAILQ_EMPTY(&lw->starved) && lw->starved_retry < d)
		d = lw->starved_retry;
	if (!TAILQ_EMPTY(&lw->err) && lw->err_scan < d)
		d = lw->err_scan;
	return d;
}
