/* SPDX-License-Identifier: MIT */
/*
 * The completer: operations come back from their destination, complete in the order of the SQ,
 * are sent again when nobody answered, or take the QP to error. Owner worker.
 */
#include <string.h>

#include <rte_mempool.h>

#include "../soft_roce/soft_roce.h"
#include "local_priv.h"

#define RETRY_FOREVER_NS \
	100000000u /* timeout 0 (IBTA 9.7.6.1.3): no limit, look again each 100 ms */

#define STRAGGLER_NS                                                                \
	1000000u /* how long to wait for an operation that another worker still has \
		  */

static void
back(struct lop *op)
{
	if (op->clones)
		return; /* parent: the last clone brings it back */
	if (op->parent) {
		struct lop *parent = op->parent;

		rte_mempool_put(rte_mempool_from_obj(op), op);
		if (--parent->clones)
			return;
		op = parent;
		op->status = LST_OK;
	}
	if (!op->req) {
		lop_free_async(op);
		return;
	}
	op->phase = LOP_DONE;
	op->on_done = true;
	TAILQ_INSERT_TAIL(&op->req->lw->done, op, link);
}

void
lcomp_msg(struct ff_msg *m)
{
	back((struct lop *)m);
}

void
lop_finish(struct lworker *lw, struct lop *op, int status)
{
	lmove_release(op);
	op->at = NULL;
	op->status = status;
	if (op->src_worker == lw->w)
		back(op);
	else
		lpost(lw, op->src_worker, op, lcomp_msg);
}

static void
post_send_wc(struct lqp *l, const struct lop *op, int status)
{
	struct ff_qp *qp = l->qp;
	struct ib_uverbs_wc wc;

	if (status == LST_OK && !qp->sig_all && !(op->flags & FF_SEND_SIGNALED))
		return;
	wc = (struct ib_uverbs_wc){
		.wr_id = op->wr_id,
		.status = (uint32_t)status,
		.opcode = lreq_wc_opcode(op->opcode),
		.byte_len = (uint32_t)op->length,
		.qp_num = qp->qpn,
		.port_num = FF_PORT_NUM,
	};
	if (ff_cq_post(qp->scq, &wc, status != LST_OK) && qp->attr.state != FF_QPS_ERR)
		lqp_error(l, FF_EVENT_QP_FATAL);
}

/* Nobody answered the oldest one: wait as its time-out says, then all go again. */
static void
no_response(struct lqp *l)
{
	uint64_t wait = roce_timeout_ns(l->qp->attr.timeout);

	l->waiting = true;
	l->retry_deadline = l->lw->now + (wait ? wait : RETRY_FOREVER_NS);
	TAILQ_INSERT_TAIL(&l->lw->waiting, l, wait_link);
	if (l->retry_deadline < l->lw->next_retry)
		l->lw->next_retry = l->retry_deadline;
}

static void
stop_waiting(struct lqp *l)
{
	if (!l->waiting)
		return;
	l->waiting = false;
	TAILQ_REMOVE(&l->lw->waiting, l, wait_link);
}

/* Requester's error: RC goes to ERR, UC and UD to SQE (IBTA 10.3.1.7). */
static void
send_error(struct lqp *l)
{
	if (l->qp->type == IB_UVERBS_QPT_RC) {
		lqp_error(l, 0);
		return;
	}
	if (l->qp->attr.state == FF_QPS_RTS)
		l->qp->attr.state = FF_QPS_SQE;
	l->stop = false;
	if (l->away)
		sroce_stop(l);
	lqp_cancel(l, false);
}

/* The status that the program sees; -1: not yet. */
static int
final_status(struct lqp *l, const struct lop *op)
{
	enum ff_qp_state state = l->qp->attr.state;

	if (op->status == LST_NORESP && l->qp->type != IB_UVERBS_QPT_RC)
		return LST_OK; /* lost on the way: nobody knows */
	if (op->status >= 0)
		return op->status;
	if (state == FF_QPS_ERR || state == FF_QPS_SQE || op->status == LST_CANCELLED)
		return FF_WC_WR_FLUSH_ERR;
	return -1;
}

static void
sq_drained(struct lqp *l)
{
	struct ff_qp *qp = l->qp;

	if (qp->attr.state != FF_QPS_SQD || !qp->attr.sq_draining)
		return;
	qp->attr.sq_draining = 0;
	ff_async_qp(qp, FF_EVENT_SQ_DRAINED);
}

static void
complete_one(struct lqp *l, struct lop *op, int status)
{
	struct ff_queue *sq = &l->qp->sq;

	l->head++;
	op->phase = LOP_FREE;
	sq->index = (sq->index + 1) & sq->mask;
	ff_queue_publish_consumer(sq);
	l->blocked = false;
	if (status == LST_OK) {
		l->retry_left = l->qp->attr.retry_cnt;
		if (op->opcode == IB_UVERBS_WR_RDMA_READ)
			l->qp->counters[FF_QC_RX_BYTES] += op->length;
	} else {
		l->qp->counters[FF_QC_ERR_BASE + status]++;
	}
	post_send_wc(l, op, status);
	if (status > 0 && status != FF_WC_WR_FLUSH_ERR)
		send_error(l);
}

static unsigned
complete(struct lqp *l)
{
	unsigned n = 0;

	while (l->head != l->tail) {
		struct lop *op = lqp_slot(l, l->head);
		int status;

		if (op->phase != LOP_DONE)
			break;
		status = final_status(l, op);
		if (status < 0) {
			if (!l->waiting)
				no_response(l);
			return n;
		}
		complete_one(l, op, status);
		n++;
	}
	if (l->head == l->tail) {
		enum ff_qp_state state = l->qp->attr.state;

		if (state == FF_QPS_ERR || state == FF_QPS_SQE)
			lreq_flush_sq(l);
		sq_drained(l);
	}
	if (n && !l->active && ff_queue_producer(&l->qp->sq) != l->qp->sq.next)
		lreq_activate(l);
	return n;
}

unsigned
lcomp_run(struct lworker *lw)
{
	struct lop *op;
	unsigned n = 0;

	while ((op = TAILQ_FIRST(&lw->done))) {
		TAILQ_REMOVE(&lw->done, op, link);
		op->on_done = false;
		n += complete(op->req);
	}
	return n;
}

/* As lwqe_load() left it: the destination may have got part of it before it went away. */
static void
rewind_op(struct lop *op)
{
	op->moved = 0;
	op->recv_taken = false;
	if (op->flags & FF_SEND_INLINE)
		op->src = (struct lspan){
			.kind = LSPAN_BYTES, .bytes = op->data, .length = op->length};
	else
		op->src = (struct lspan){
			.kind = LSPAN_SGL, .pd_id = op->src_pd, .sge = op->sge, .num = op->num_sge};
}

/* The time-out of the oldest operation is over. */
void
lcomp_retry(struct lqp *l)
{
	struct lop *oldest = lqp_slot(l, l->head);

	for (uint32_t i = l->head; i != l->tail; i++) {
		if (lqp_slot(l, i)->phase != LOP_DONE) { /* still on its way back */
			l->retry_deadline = l->lw->now + STRAGGLER_NS;
			return;
		}
	}
	stop_waiting(l);
	l->qp->counters[FF_QC_RETRY]++;
	if (l->qp->attr.timeout) {
		if (!l->retry_left) {
			oldest->status = FF_WC_RETRY_EXC_ERR;
			complete(l);
			return;
		}
		l->retry_left--;
	}
	for (uint32_t i = l->head; i != l->tail; i++) {
		struct lop *op = lqp_slot(l, i);

		if (op->status == LST_NORESP) {
			op->rnr_left = l->qp->attr.rnr_retry;
			rewind_op(op);
			lreq_submit(l, op);
		}
	}
	lreq_activate(l);
}

/* Replaces a slot whose operation another worker or a clone still holds. */
static void
abandon(struct lqp *l, uint32_t i)
{
	struct lop *op = lqp_slot(l, i);

	op->req = NULL; /* freed when it is back */
	l->slot[i % l->window] = NULL;
}

void
lqp_cancel(struct lqp *l, bool silent)
{
	stop_waiting(l);
	for (uint32_t i = l->head; i != l->tail; i++) {
		struct lop *op = lqp_slot(l, i);

		if (op->phase != LOP_DONE) {
			atomic_store_explicit(&op->cancel, 1, memory_order_relaxed);
			if (op->dst_worker == l->lw->w && op->at && !op->clones) {
				lresp_withdraw(op->at, op);
				lmove_release(op);
				op->at = NULL;
				op->status = LST_CANCELLED;
				op->phase = LOP_DONE;
			}
		}
		if (!silent)
			continue;
		if (op->on_done) {
			TAILQ_REMOVE(&l->lw->done, op, link);
			op->on_done = false;
		}
		if (op->phase != LOP_DONE)
			abandon(l, i);
		else
			op->phase = LOP_FREE;
	}
	if (silent)
		l->head = l->tail = 0;
}

void
lqp_error(struct lqp *l, int event)
{
	struct ff_qp *qp = l->qp;

	if (qp->attr.state == FF_QPS_ERR || qp->attr.state == FF_QPS_RESET)
		return;
	qp->attr.state = FF_QPS_ERR;
	l->stop = false;
	if (event)
		ff_async_qp(qp, (uint32_t)event);
	sroce_stop(l); /* what is on the wire comes back */
	lqp_cancel(l, false);
	complete(l);
	lresp_bounce_all(l);
	lresp_flush_rq(l);
	if (qp->srq)
		ff_async_qp(qp, FF_EVENT_QP_LAST_WQE_REACHED);
	if (!l->err_listed && qp->rq.buf) {
		l->err_listed = true;
		if (TAILQ_EMPTY(&l->lw->err))
			l->lw->err_scan = l->lw->now + LOCAL_ERR_SCAN_NS;
		TAILQ_INSERT_TAIL(&l->lw->err, l, err_link);
	}
}
