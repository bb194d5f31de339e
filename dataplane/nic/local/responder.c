/* SPDX-License-Identifier: MIT */
/*
 * The responder: executes the operations that arrived at a QP, in order: admission (admit.c), the
 * copy (move.c), the receive completion; what goes back when it fails. Owner worker.
 */
#include <string.h>

#include "responder_priv.h"

#define PSN_MASK 0xffffffu

void
lresp_enqueue(struct lqp *l, struct lop *op)
{
	op->at = l;
	op->phase = LOP_QUEUED;
	TAILQ_INSERT_TAIL(&l->inq, op, link);
	if (!l->rnr)
		lsched_ready(l);
}

void
lresp_msg(struct ff_msg *m)
{
	struct lop *op = (struct lop *)m;
	struct ff_qp *qp = ff_idtab_get(&ff_qps, op->dst_qpn);
	struct lworker *lw = llocal_worker(op->dst_worker);

	if (!qp || qp->worker != op->dst_worker)
		lop_finish(lw, op, LST_NORESP);
	else
		lresp_enqueue(qp->nic, op);
}

static void
leave(struct lqp *l, struct lop *op)
{
	TAILQ_REMOVE(&l->inq, op, link);
	if (l->rnr && op->phase == LOP_RNR) {
		l->rnr = false;
		TAILQ_REMOVE(&l->lw->rnr, l, rnr_link);
	}
}

/*
 * The receive WQE goes back: nothing was or will be said about it. Only its RQ's head can have one
 * taken, so stepping back is exact; an SRQ's entry is shared and is completed with an error.
 */
static void
unread_recv(struct lqp *l, struct lop *op)
{
	struct ff_qp *qp = l->qp;
	struct ib_uverbs_wc wc = {.wr_id = op->recv_wr_id,
				  .status = FF_WC_GENERAL_ERR,
				  .opcode = FF_WC_RECV,
				  .qp_num = qp->qpn,
				  .port_num = FF_PORT_NUM};

	if (!op->recv_taken)
		return;
	op->recv_taken = false;
	if (!qp->srq)
		qp->rq.index = (qp->rq.index - 1) & qp->rq.mask;
	else
		ff_cq_post(qp->rcq, &wc, true);
}

void
lresp_withdraw(struct lqp *l, struct lop *op)
{
	unread_recv(l, op);
	leave(l, op);
	if (TAILQ_EMPTY(&l->inq))
		lsched_unready(l);
	else if (!l->rnr)
		lsched_ready(l);
}

void
lresp_finish(struct lqp *l, struct lop *op, int status)
{
	leave(l, op);
	lop_finish(l->lw, op, status);
}

static void
recv_error(struct lqp *l, struct lop *op, int status)
{
	struct ib_uverbs_wc wc = {.wr_id = op->recv_wr_id,
				  .status = (uint32_t)status,
				  .opcode = FF_WC_RECV,
				  .qp_num = l->qp->qpn,
				  .port_num = FF_PORT_NUM};

	if (!op->recv_taken)
		return;
	op->recv_taken = false;
	l->qp->counters[FF_QC_ERR_BASE + status]++;
	if (!l->qp->srq)
		ff_queue_publish_consumer(&l->qp->rq);
	ff_cq_post(l->qp->rcq, &wc, true);
}

void
lresp_drop(struct lqp *l, struct lop *op)
{
	l->qp->counters[FF_QC_DROPPED]++;
	unread_recv(l, op);
	lresp_finish(l, op, LST_NORESP);
}

void
lresp_refuse(struct lqp *l, struct lop *op, const struct nak *n)
{
	uint8_t type = l->qp->type;

	if (type == IB_UVERBS_QPT_UD) {
		lresp_drop(l, op);
		return;
	}
	recv_error(l, op, n->receiver);
	lresp_finish(l, op, type == IB_UVERBS_QPT_RC ? n->requester : LST_NORESP);
	if (type == IB_UVERBS_QPT_RC || n->fatal_uc)
		lqp_error(l, n->event);
}

static int
complete_recv(struct lqp *l, struct lop *op)
{
	struct ff_qp *qp = l->qp;
	bool write = lop_is_write(op);
	struct ib_uverbs_wc wc = {
		.wr_id = op->recv_wr_id,
		.status = FF_WC_SUCCESS,
		.opcode = write ? FF_WC_RECV_RDMA_WITH_IMM : FF_WC_RECV,
		.byte_len = (uint32_t)op->length,
		.qp_num = qp->qpn,
		.src_qp = op->src_qpn,
		.port_num = FF_PORT_NUM,
		.sl = op->sl,
	};

	if (op->opcode == IB_UVERBS_WR_SEND_WITH_IMM || write) {
		wc.wc_flags = FF_WC_WITH_IMM;
		wc.ex.imm_data = op->imm;
	} else if (op->opcode == IB_UVERBS_WR_SEND_WITH_INV) {
		wc.wc_flags = FF_WC_WITH_INV;
		wc.ex.invalidate_rkey = op->imm;
	}
	if (qp->type == IB_UVERBS_QPT_UD) {
		wc.wc_flags |= FF_WC_GRH;
		wc.byte_len += LOCAL_GRH;
	}
	op->recv_taken = false;
	qp->counters[FF_QC_RECV]++;
	if (!qp->srq)
		ff_queue_publish_consumer(&qp->rq);
	return ff_cq_post(qp->rcq, &wc, op->flags & FF_SEND_SOLICITED);
}

static void
executed(struct lqp *l, struct lop *op)
{
	struct ff_qp *qp = l->qp;
	int rc = 0;

	if (op->opcode == IB_UVERBS_WR_SEND_WITH_INV && ff_key_invalidate(qp, op->imm, true)) {
		lresp_refuse(l, op, &lnak_access);
		return;
	}
	l->exp_psn = (l->exp_psn + 1) & PSN_MASK;
	if (op->opcode != IB_UVERBS_WR_RDMA_READ)
		qp->counters[FF_QC_RX_BYTES] += op->length;
	else
		qp->counters[FF_QC_TX_BYTES] += op->length;
	if (op->recv_taken)
		rc = complete_recv(l, op);
	lresp_finish(l, op, LST_OK);
	if (rc)
		lqp_error(l, FF_EVENT_QP_FATAL);
}

/* A fault under way: whose memory was it? */
static void
fault(struct lqp *l, struct lop *op, bool src)
{
	bool reads = op->opcode == IB_UVERBS_WR_RDMA_READ || lop_is_atomic(op);

	if (src != reads) {
		/* The requester's own memory. */
		unread_recv(l, op);
		lresp_finish(l, op, FF_WC_LOC_PROT_ERR);
		return;
	}
	lresp_refuse(l, op, op->recv_taken && !lop_is_write(op) ? &lnak_operation : &lnak_access);
}

/* One step of the head. Returns the bytes it cost; *wait: nothing more to do now. */
static uint64_t
step(struct lqp *l, struct lop *op, uint64_t budget, bool *wait)
{
	uint64_t moved = 0;
	enum start s;

	if (op->phase == LOP_QUEUED || op->phase == LOP_RNR) {
		s = lresp_admit(l, op);
		if (s != START_GO) {
			*wait = s == START_WAIT;
			return LOCAL_OP_COST;
		}
		op->phase = LOP_MOVE;
	}
	switch (lmove_step(l->lw, op, budget < LOCAL_SLICE ? budget : LOCAL_SLICE, &moved)) {
	case LMOVE_DONE:
		executed(l, op);
		return moved + LOCAL_OP_COST;
	case LMOVE_MORE:
		return moved + LOCAL_OP_COST / 8;
	case LMOVE_WAIT:
		*wait = true;
		return moved + LOCAL_OP_COST;
	case LMOVE_BUSY:
		lsched_starve(l);
		*wait = true;
		return LOCAL_OP_COST;
	case LMOVE_SRC_FAULT:
		fault(l, op, true);
		return moved + LOCAL_OP_COST;
	case LMOVE_DST_FAULT:
		fault(l, op, false);
		return moved + LOCAL_OP_COST;
	}
	return moved;
}

uint64_t
lresp_run(struct lqp *l, uint64_t budget)
{
	uint64_t spent = 0;
	struct lop *op;
	bool wait = false;

	while (!wait && spent < budget && (op = TAILQ_FIRST(&l->inq))) {
		if (op->phase == LOP_BOUNCE)
			wait = true;
		else if (atomic_load_explicit(&op->cancel, memory_order_relaxed)) {
			unread_recv(l, op);
			lresp_finish(l, op, LST_CANCELLED);
		} else
			spent += step(l, op, budget - spent, &wait);
	}
	if (!l->starved && (wait || TAILQ_EMPTY(&l->inq)))
		lsched_unready(l);
	return spent;
}

/* A receive WQE may have come, the requester may have given up, the RNR timer may be over. */
void
lresp_rnr_check(struct lqp *l)
{
	struct lop *op = TAILQ_FIRST(&l->inq);
	struct ff_queue *q = l->qp->srq ? &l->qp->srq->q : &l->qp->rq;

	if (atomic_load_explicit(&op->cancel, memory_order_relaxed) ||
	    (q->buf && ff_queue_producer(q) != q->index)) {
		l->lw->rnr_pause = LOCAL_RNR_PAUSE;
		l->rnr = false;
		TAILQ_REMOVE(&l->lw->rnr, l, rnr_link);
		lsched_ready(l);
		return;
	}
	if (l->lw->now < op->deadline)
		return;
	l->qp->counters[FF_QC_RNR]++;
	op->deadline = l->lw->now + roce_rnr_ns(l->qp->attr.min_rnr_timer);
	if (op->rnr_left == 7)
		return;
	if (--op->rnr_left)
		return;
	lresp_finish(l, op, FF_WC_RNR_RETRY_EXC_ERR);
	if (!TAILQ_EMPTY(&l->inq))
		lsched_ready(l);
}

void
lresp_bounce_all(struct lqp *l)
{
	struct lop *op;

	while ((op = TAILQ_FIRST(&l->inq))) {
		if (op->recv_taken)
			unread_recv(l, op);
		lresp_finish(l, op, LST_NORESP);
	}
	lsched_unready(l);
}

void
lresp_flush_rq(struct lqp *l)
{
	struct ff_qp *qp = l->qp;
	struct lop scratch; /* 600 bytes and more, but off the fast path */
	bool bad;

	if (qp->srq || !qp->rq.buf)
		return;
	/* Once around at most: the producer index is the container's. */
	for (uint32_t n = 0; n <= qp->rq.mask && lwqe_recv(qp, &scratch, &bad); n++) {
		scratch.recv_taken = true;
		recv_error(l, &scratch, FF_WC_WR_FLUSH_ERR);
	}
}
