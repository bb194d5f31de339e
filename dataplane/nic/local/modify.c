/* SPDX-License-Identifier: MIT */
/* State changes that the program asks for, and the end of a QP. Owner worker, between passes. */
#include <errno.h>
#include <string.h>

#include "../soft_roce/soft_roce.h"
#include "local_priv.h"

static void
leave_err_list(struct lqp *l)
{
	if (!l->err_listed)
		return;
	l->err_listed = false;
	TAILQ_REMOVE(&l->lw->err, l, err_link);
}

static void
drop_queue(struct ff_queue *q)
{
	if (!q->buf)
		return;
	q->index = q->next = ff_queue_producer(q);
	ff_queue_publish_consumer(q);
}

int
lqp_slots_fill(struct lqp *l)
{
	for (unsigned i = 0; i < l->window; i++) {
		if (l->slot[i])
			continue;
		l->slot[i] = lop_alloc();
		if (!l->slot[i])
			return -ENOMEM;
		l->slot[i]->req = l;
		l->slot[i]->src_worker = l->qp->worker;
	}
	return 0;
}

/*
 * To RTR: a connected QP whose peer is on another host, or a UD QP, which may have such, meets the
 * wire. Nothing is in flight yet.
 */
static int
wire_up(struct lqp *l)
{
	struct ff_qp *qp = l->qp;

	l->away = qp->type != IB_UVERBS_QPT_UD && qp->attr.ah.away;
	if (!sroce_enabled() || (!l->away && qp->type != IB_UVERBS_QPT_UD)) {
		l->away = false;
		return 0;
	}
	/* A power of two, as the queue's size; what the queue cannot hold needs no operation. */
	if (l->away && l->window < LOCAL_WINDOW_WIRE && l->window <= qp->sq.mask) {
		l->window = qp->sq.mask < LOCAL_WINDOW_WIRE ? qp->sq.mask + 1 : LOCAL_WINDOW_WIRE;
		l->head = l->tail = 0;
	}
	return lqp_slots_fill(l);
}

/* IBTA 10.3.1: RESET drops all WQEs without completions. */
static int
reset(struct lqp *l)
{
	struct ff_qp *qp = l->qp;

	sroce_stop(l);
	lqp_cancel(l, true);
	lresp_bounce_all(l);
	leave_err_list(l);
	if (lqp_slots_fill(l))
		return -ENOMEM;
	drop_queue(&qp->sq);
	drop_queue(&qp->rq);
	l->stop = false;
	l->blocked = false;
	l->comm_est = false;
	return 0;
}

static void
enter(struct lqp *l, enum ff_qp_state old)
{
	struct ff_qp *qp = l->qp;

	switch (qp->attr.state) {
	case FF_QPS_RTR:
		if (old == FF_QPS_INIT)
			l->exp_psn = qp->attr.rq_psn & 0xffffff;
		break;
	case FF_QPS_RTS:
		if (old == FF_QPS_RTR) {
			l->sq_psn = qp->attr.sq_psn & 0xffffff;
			l->retry_left = qp->attr.retry_cnt;
		}
		l->stop = false;
		lreq_activate(l);
		break;
	case FF_QPS_SQD:
		if (l->head == l->tail && qp->attr.sq_draining) {
			qp->attr.sq_draining = 0;
			ff_async_qp(qp, FF_EVENT_SQ_DRAINED);
		}
		break;
	default:
		break;
	}
}

int
lqp_modify(struct ff_qp *qp, const struct ff_qp_attr *new, uint32_t mask)
{
	struct lqp *l = qp->nic;
	enum ff_qp_state old = qp->attr.state;
	int rc = 0;

	l->lw->now = ff_now_ns();
	if ((mask & FF_QPM_STATE) && new->state == FF_QPS_ERR) {
		if (old == FF_QPS_SQE || old == FF_QPS_ERR) /* nothing more to cancel in flight */
			qp->attr.state = FF_QPS_RTS;
		lqp_error(l, 0);
		return 0;
	}
	if ((mask & FF_QPM_STATE) && new->state == FF_QPS_RESET)
		rc = reset(l);
	qp->attr = *new;
	memcpy(l->sgid, qp->container->gids[new->ah.sgid_index % FF_GIDS_MAX].raw, sizeof(l->sgid));
	l->ok_gid_gen = UINT32_MAX;
	if (!rc && old == FF_QPS_INIT && new->state == FF_QPS_RTR)
		rc = wire_up(l);
	if (!rc && new->state >= FF_QPS_RTR &&new->state <= FF_QPS_SQE &&
	    (l->away || (sroce_enabled() && qp->type == IB_UVERBS_QPT_UD)))
		rc = sroce_modify(l);
	if ((mask & FF_QPM_STATE) && new->state != old)
		enter(l, old);
	return rc;
}

void
lqp_detach(struct ff_qp *qp)
{
	struct lqp *l = qp->nic;

	l->lw->now = ff_now_ns();
	/* Whoever looks from now on finds a QP that answers nobody. */
	qp->attr.state = FF_QPS_RESET;
	sroce_stop(l);
	lqp_cancel(l, true);
	lresp_bounce_all(l);
	leave_err_list(l);
	if (l->active) {
		l->active = false;
		l->lw->num_active--;
		TAILQ_REMOVE(&l->lw->active, l, active_link);
	}
}
