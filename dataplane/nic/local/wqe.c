/* SPDX-License-Identifier: MIT */
/* Work queue elements out of shared memory: one private copy each, checked. Owner worker. */
#include <string.h>

#include "local_priv.h"

/* What each QP type may post (IBTA table 37); bit n: enum ib_uverbs_wr_opcode n. */
#define BIT(op) (1u << IB_UVERBS_WR_##op)
#define RC_OPS                                                                                   \
	(BIT(RDMA_WRITE) | BIT(RDMA_WRITE_WITH_IMM) | BIT(SEND) | BIT(SEND_WITH_IMM) |           \
	 BIT(RDMA_READ) | BIT(ATOMIC_CMP_AND_SWP) | BIT(ATOMIC_FETCH_AND_ADD) | BIT(LOCAL_INV) | \
	 BIT(BIND_MW) | BIT(SEND_WITH_INV))
#define UC_OPS                                                                         \
	(BIT(RDMA_WRITE) | BIT(RDMA_WRITE_WITH_IMM) | BIT(SEND) | BIT(SEND_WITH_IMM) | \
	 BIT(LOCAL_INV) | BIT(BIND_MW))
#define UD_OPS (BIT(SEND) | BIT(SEND_WITH_IMM))

/* The container may change the source at any time: after this only the copy is looked at. */
static inline void
snapshot(void *dst, const void *src, size_t len)
{
	memcpy(dst, src, len);
	atomic_signal_fence(memory_order_acq_rel);
	__asm__ volatile("" ::: "memory");
}

static bool
opcode_allowed(const struct ff_qp *qp, uint32_t opcode)
{
	uint32_t ops = qp->type == IB_UVERBS_QPT_RC   ? RC_OPS
		       : qp->type == IB_UVERBS_QPT_UC ? UC_OPS
						      : UD_OPS;

	return opcode < 32 && (ops >> opcode & 1);
}

static bool
is_read_or_atomic(uint32_t opcode)
{
	return opcode == IB_UVERBS_WR_RDMA_READ || opcode == IB_UVERBS_WR_ATOMIC_CMP_AND_SWP ||
	       opcode == IB_UVERBS_WR_ATOMIC_FETCH_AND_ADD;
}

/* Sum of the lengths, or UINT64_MAX when a message would be too long. */
static uint64_t
sge_sum(const struct rxe_sge *sge, uint32_t n)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < n; i++)
		sum += sge[i].length;
	return sum <= FF_MAX_MSG ? sum : UINT64_MAX;
}

static int
load_data(const struct ff_qp *qp, const uint8_t *elem, const struct rxe_dma_info *dma,
	  struct lop *op)
{
	const uint8_t *body = elem + offsetof(struct rxe_send_wqe, dma.inline_data);
	uint32_t room =
		ff_queue_elem_size(&qp->sq) - offsetof(struct rxe_send_wqe, dma.inline_data);

	op->src = (struct lspan){.pd_id = op->src_pd};
	if (op->flags & FF_SEND_INLINE) {
		if (is_read_or_atomic(op->opcode) || dma->length > qp->max_inline ||
		    dma->length > room || dma->length > FF_MAX_INLINE)
			return FF_WC_LOC_QP_OP_ERR;
		snapshot(op->data, body, dma->length);
		op->length = dma->length;
		op->num_sge = 0;
		op->src.kind = LSPAN_BYTES;
		op->src.bytes = op->data;
		op->src.length = op->length;
		return LST_OK;
	}
	if (dma->num_sge > qp->max_send_sge || dma->num_sge > FF_MAX_SGE)
		return FF_WC_LOC_QP_OP_ERR;
	op->num_sge = dma->num_sge;
	snapshot(op->sge, body, op->num_sge * sizeof(op->sge[0]));
	op->length = sge_sum(op->sge, op->num_sge);
	if (op->length == UINT64_MAX)
		return FF_WC_LOC_LEN_ERR;
	op->src.kind = LSPAN_SGL;
	op->src.sge = op->sge;
	op->src.num = op->num_sge;
	return LST_OK;
}

/* Local errors stop the SQ before anything goes out (IBTA 9.9.2.2). */
static int
check_local(struct lop *op)
{
	op->src.want = is_read_or_atomic(op->opcode) ? FF_ACCESS_LOCAL_WRITE : 0;
	return lspan_check(&op->src) ? FF_WC_LOC_PROT_ERR : LST_OK;
}

/* The address and key fields that the opcode has. */
static int
load_remote(const struct ff_qp *qp, const struct rxe_send_wr *wr, struct lop *op)
{
	switch (op->opcode) {
	case IB_UVERBS_WR_RDMA_READ:
		if (!qp->attr.max_rd_atomic)
			return FF_WC_LOC_QP_OP_ERR;
		/* fall through */
	case IB_UVERBS_WR_RDMA_WRITE:
	case IB_UVERBS_WR_RDMA_WRITE_WITH_IMM:
		op->raddr = wr->wr.rdma.remote_addr;
		op->rkey = wr->wr.rdma.rkey;
		return LST_OK;
	case IB_UVERBS_WR_ATOMIC_CMP_AND_SWP:
	case IB_UVERBS_WR_ATOMIC_FETCH_AND_ADD:
		if (!qp->attr.max_rd_atomic)
			return FF_WC_LOC_QP_OP_ERR;
		if (op->length < sizeof(uint64_t))
			return FF_WC_LOC_LEN_ERR;
		op->length = sizeof(uint64_t);
		op->raddr = wr->wr.atomic.remote_addr;
		op->rkey = wr->wr.atomic.rkey;
		op->compare_add = wr->wr.atomic.compare_add;
		op->swap = wr->wr.atomic.swap;
		return LST_OK;
	default:
		return LST_OK;
	}
}

static int
bind_or_invalidate(struct lqp *l, const struct rxe_send_wr *wr, struct lop *op)
{
	const struct ff_mw_bind b = {
		.addr = wr->wr.mw.addr,
		.length = wr->wr.mw.length,
		.mr_lkey = wr->wr.mw.mr_lkey,
		.mw_rkey = wr->wr.mw.mw_rkey,
		.rkey = wr->wr.mw.rkey,
		.access = wr->wr.mw.access,
	};

	op->length = 0;
	op->num_sge = 0;
	if (l->tail != l->head)
		return LST_CANCELLED; /* runs when all before it have completed */
	if (op->opcode == IB_UVERBS_WR_BIND_MW)
		return ff_mw_bind(l->qp, &b) ? FF_WC_MW_BIND_ERR : LST_OK;
	return ff_key_invalidate(l->qp, op->imm, false) ? FF_WC_LOC_QP_OP_ERR : LST_OK;
}

/* Returns LST_CANCELLED when the WQE has to wait for the ones before it. */
int
lwqe_load(struct lqp *l, uint32_t idx, struct lop *op)
{
	struct ff_qp *qp = l->qp;
	const uint8_t *elem = ff_queue_elem(&qp->sq, idx);
	struct rxe_send_wqe w;
	int rc;

	snapshot(&w, elem, sizeof(w));
	op->status = LST_OK;
	op->wr_id = w.wr.wr_id;
	op->flags = w.wr.send_flags;
	op->opcode = (uint8_t)w.wr.opcode;
	op->imm = w.wr.ex.imm_data;
	op->length = 0;
	op->moved = 0;
	op->recv_taken = false;
	op->src_pd = qp->pd->id;
	atomic_store_explicit(&op->cancel, 0, memory_order_relaxed);
	if (w.wr.opcode > UINT8_MAX || !opcode_allowed(qp, w.wr.opcode))
		return FF_WC_LOC_QP_OP_ERR;
	if ((op->flags & FF_SEND_FENCE) && l->tail != l->head)
		return LST_CANCELLED;
	if (op->opcode == IB_UVERBS_WR_BIND_MW || op->opcode == IB_UVERBS_WR_LOCAL_INV)
		return bind_or_invalidate(l, &w.wr, op);
	rc = load_data(qp, elem, &w.dma, op);
	if (!rc)
		rc = check_local(op);
	if (rc)
		return rc;
	if (qp->type == IB_UVERBS_QPT_UD)
		return lwqe_ud(l, &w.wr, op);
	op->dst_qpn = qp->attr.dest_qpn;
	memcpy(op->sgid, l->sgid, sizeof(op->sgid));
	memcpy(op->dgid, qp->attr.ah.dgid, sizeof(op->dgid));
	return load_remote(qp, &w.wr, op);
}

bool
lwqe_recv(struct ff_qp *qp, struct lop *op, bool *bad)
{
	struct ff_queue *q = qp->srq ? &qp->srq->q : &qp->rq;
	uint32_t max_sge = qp->srq ? qp->srq->max_sge : qp->max_recv_sge;
	const uint8_t *elem;
	struct rxe_recv_wqe w;

	*bad = false;
	if (!q->buf || ff_queue_producer(q) == q->index)
		return false;
	elem = ff_queue_elem(q, q->index);
	snapshot(&w, elem, sizeof(w));
	op->recv_wr_id = w.wr_id;
	op->num_rsge = w.dma.num_sge;
	if (op->num_rsge > max_sge || op->num_rsge > FF_MAX_SGE) {
		op->num_rsge = 0;
		*bad = true;
	}
	snapshot(op->rsge, elem + offsetof(struct rxe_recv_wqe, dma.sge),
		 op->num_rsge * sizeof(op->rsge[0]));
	if (sge_sum(op->rsge, op->num_rsge) == UINT64_MAX)
		*bad = true;
	q->index = (q->index + 1) & q->mask;
	op->recv_taken = true;
	/* An RQ is the head's alone until the message is complete: see unread in responder.c. */
	if (!qp->srq)
		return true;
	ff_queue_publish_consumer(q);
	if (qp->srq->limit && ((ff_queue_producer(q) - q->index) & q->mask) < qp->srq->limit) {
		qp->srq->limit = 0;
		ff_async_srq(qp->srq, FF_EVENT_SRQ_LIMIT_REACHED);
	}
	return true;
}
