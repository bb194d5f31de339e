/* SPDX-License-Identifier: MIT */
/* The requester: WQEs become operations, in order, within the window. Owner worker. */
#include <string.h>

#include "../soft_roce/soft_roce.h"
#include "local_priv.h"

#define REQ_BURST 32u

/* enum ib_uverbs_wc_opcode of a send completion. */
uint32_t
lreq_wc_opcode(uint8_t wr_opcode)
{
	static const uint8_t map[] = {
		[IB_UVERBS_WR_RDMA_WRITE] = IB_UVERBS_WC_RDMA_WRITE,
		[IB_UVERBS_WR_RDMA_WRITE_WITH_IMM] = IB_UVERBS_WC_RDMA_WRITE,
		[IB_UVERBS_WR_SEND] = IB_UVERBS_WC_SEND,
		[IB_UVERBS_WR_SEND_WITH_IMM] = IB_UVERBS_WC_SEND,
		[IB_UVERBS_WR_RDMA_READ] = IB_UVERBS_WC_RDMA_READ,
		[IB_UVERBS_WR_ATOMIC_CMP_AND_SWP] = IB_UVERBS_WC_COMP_SWAP,
		[IB_UVERBS_WR_ATOMIC_FETCH_AND_ADD] = IB_UVERBS_WC_FETCH_ADD,
		[IB_UVERBS_WR_LOCAL_INV] = IB_UVERBS_WC_LOCAL_INV,
		[IB_UVERBS_WR_BIND_MW] = IB_UVERBS_WC_BIND_MW,
		[IB_UVERBS_WR_SEND_WITH_INV] = IB_UVERBS_WC_SEND,
	};

	return wr_opcode < sizeof(map) ? map[wr_opcode] : IB_UVERBS_WC_SEND;
}

static void
count_op(struct ff_qp *qp, const struct lop *op)
{
	static const uint8_t map[] = {
		[IB_UVERBS_WR_RDMA_WRITE] = FF_QC_WRITE,
		[IB_UVERBS_WR_RDMA_WRITE_WITH_IMM] = FF_QC_WRITE,
		[IB_UVERBS_WR_SEND] = FF_QC_SEND,
		[IB_UVERBS_WR_SEND_WITH_IMM] = FF_QC_SEND,
		[IB_UVERBS_WR_RDMA_READ] = FF_QC_READ,
		[IB_UVERBS_WR_ATOMIC_CMP_AND_SWP] = FF_QC_ATOMIC,
		[IB_UVERBS_WR_ATOMIC_FETCH_AND_ADD] = FF_QC_ATOMIC,
		[IB_UVERBS_WR_LOCAL_INV] = FF_QC_INV,
		[IB_UVERBS_WR_BIND_MW] = FF_QC_BIND,
		[IB_UVERBS_WR_SEND_WITH_INV] = FF_QC_SEND,
	};

	qp->counters[map[op->opcode]]++;
	if (op->opcode != IB_UVERBS_WR_RDMA_READ)
		qp->counters[FF_QC_TX_BYTES] += op->length;
}

static void
done_here(struct lqp *l, struct lop *op, int status)
{
	op->status = status;
	op->phase = LOP_DONE;
	op->on_done = true;
	TAILQ_INSERT_TAIL(&l->lw->done, op, link);
}

void
lreq_submit(struct lqp *l, struct lop *op)
{
	struct ff_qp *dst;

	if (l->away || (l->qp->type == IB_UVERBS_QPT_UD && sroce_is_remote(l, op->dgid))) {
		sroce_post(l, op);
		return;
	}
	dst = ff_idtab_get(&ff_qps, op->dst_qpn);
	op->phase = LOP_QUEUED;
	op->at = NULL;
	if (!dst) {
		lop_finish(l->lw, op, LST_NORESP);
	} else if (dst->worker == l->lw->w) {
		op->dst_worker = dst->worker;
		lresp_enqueue(dst->nic, op);
	} else {
		op->dst_worker = dst->worker;
		lpost(l->lw, dst->worker, op, lresp_msg);
	}
}

static void
start(struct lqp *l, struct lop *op)
{
	struct ff_qp *qp = l->qp;

	op->src_qpn = qp->qpn;
	op->tenant = qp->container->tenant->index;
	op->qp_type = qp->type;
	op->rnr_left = qp->attr.rnr_retry;
	op->psn = l->sq_psn;
	l->sq_psn = (l->sq_psn + 1) & 0xffffff;
	count_op(qp, op);
	if (op->opcode == IB_UVERBS_WR_BIND_MW || op->opcode == IB_UVERBS_WR_LOCAL_INV) {
		l->sq_psn = op->psn; /* nothing goes out */
		done_here(l, op, LST_OK);
		return;
	}
	if (qp->type == IB_UVERBS_QPT_UD && lud_multicast(l, op))
		return;
	lreq_submit(l, op);
}

/* Its lines are in the cache of the CPU that posts: on their way while others are worked on. */
static void
prefetch_wqe(const struct ff_queue *sq, uint32_t idx)
{
	const uint8_t *elem = ff_queue_elem(sq, idx);

	for (size_t at = 0; at < sizeof(struct rxe_send_wqe) + sizeof(struct rxe_sge); at += 64)
		__builtin_prefetch(elem + at);
}

unsigned
lreq_run(struct lqp *l)
{
	struct ff_queue *sq = &l->qp->sq;
	enum ff_qp_state state = l->qp->attr.state;
	uint32_t producer;
	unsigned n = 0;

	if (state == FF_QPS_ERR || state == FF_QPS_SQE) {
		if (l->head == l->tail)
			lreq_flush_sq(l);
		return 0;
	}
	if (state != FF_QPS_RTS || l->stop || l->waiting || l->blocked)
		return 0;
	producer = ff_queue_producer(sq);
	while (n < REQ_BURST && sq->next != producer && l->tail - l->head < l->window) {
		struct lop *op = lqp_slot(l, l->tail);
		uint32_t after = (sq->next + 1) & sq->mask;
		int rc;

		if (after != producer)
			prefetch_wqe(sq, after);
		rc = lwqe_load(l, sq->next, op);
		if (rc == LST_CANCELLED) {
			l->blocked = true;
			break;
		}
		sq->next = after;
		l->tail++;
		n++;
		if (rc) {
			l->stop = true;
			done_here(l, op, rc);
			break;
		}
		start(l, op);
		if (l->waiting)
			break;
	}
	if (n)
		l->last_wqe_ns = l->lw->now;
	return n;
}

void
lreq_activate(struct lqp *l)
{
	struct lworker *lw = l->lw;

	l->last_wqe_ns = lw->now;
	if (l->active)
		return;
	l->active = true;
	lw->num_active++;
	TAILQ_INSERT_TAIL(&lw->active, l, active_link);
	atomic_store_explicit(ff_queue_word(FF_QUEUE_ANNEX(l->qp->sq.buf)), FF_SQ_POLLED,
			      memory_order_relaxed);
}

/* Would lreq_run() start or flush something? */
static bool
can_run(const struct lqp *l)
{
	enum ff_qp_state state = l->qp->attr.state;

	if (ff_queue_producer(&l->qp->sq) == l->qp->sq.next)
		return false;
	if (state == FF_QPS_ERR || state == FF_QPS_SQE)
		return l->head == l->tail;
	return state == FF_QPS_RTS && !l->stop && !l->waiting && !l->blocked &&
	       l->tail - l->head < l->window;
}

bool
lreq_park(struct lqp *l)
{
	struct ff_queue *sq = &l->qp->sq;

	atomic_store_explicit(ff_queue_word(FF_QUEUE_ANNEX(sq->buf)), FF_SQ_IDLE,
			      memory_order_relaxed);
	/* Pairs with the shim's fence between producer_index and its look at the annex word. */
	atomic_thread_fence(memory_order_seq_cst);
	if (can_run(l)) {
		atomic_store_explicit(ff_queue_word(FF_QUEUE_ANNEX(sq->buf)), FF_SQ_POLLED,
				      memory_order_relaxed);
		return false;
	}
	l->active = false;
	l->lw->num_active--;
	TAILQ_REMOVE(&l->lw->active, l, active_link);
	return true;
}

void
lreq_flush_sq(struct lqp *l)
{
	struct ff_qp *qp = l->qp;
	struct ff_queue *sq = &qp->sq;
	uint32_t producer = ff_queue_producer(sq);
	struct ib_uverbs_wc wc = {.qp_num = qp->qpn, .port_num = FF_PORT_NUM};

	while (sq->next != producer) {
		struct rxe_send_wr wr;

		memcpy(&wr, ff_queue_elem(sq, sq->next), sizeof(wr));
		sq->next = (sq->next + 1) & sq->mask;
		sq->index = sq->next;
		wc.wr_id = wr.wr_id;
		wc.status = FF_WC_WR_FLUSH_ERR;
		wc.opcode = lreq_wc_opcode((uint8_t)wr.opcode);
		qp->counters[FF_QC_ERR_BASE + FF_WC_WR_FLUSH_ERR]++;
		if (ff_cq_post(qp->scq, &wc, true))
			break;
	}
	ff_queue_publish_consumer(sq);
}
