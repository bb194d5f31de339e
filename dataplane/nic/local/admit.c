/* SPDX-License-Identifier: MIT */
/*
 * Whether a QP takes an operation that arrived: is the sender connected, is it its turn, may it do
 * that to this memory, is there a receive WQE. Sets source and destination. Owner worker.
 */
#include <string.h>

#include "responder_priv.h"

/*                                requester              receiver               event, UC fatal */
const struct nak lnak_invalid = {FF_WC_REM_INV_REQ_ERR, FF_WC_REM_INV_REQ_ERR, FF_EVENT_QP_REQ_ERR,
				 false};
const struct nak lnak_length = {FF_WC_REM_INV_REQ_ERR, FF_WC_LOC_LEN_ERR, 0, true};
const struct nak lnak_access = {FF_WC_REM_ACCESS_ERR, FF_WC_LOC_ACCESS_ERR, FF_EVENT_QP_ACCESS_ERR,
				false};
const struct nak lnak_operation = {FF_WC_REM_OP_ERR, FF_WC_LOC_PROT_ERR, 0, true};
const struct nak lnak_bad_recv = {FF_WC_REM_OP_ERR, FF_WC_LOC_QP_OP_ERR, 0, true};

static bool
uses_recv(const struct lop *op)
{
	switch (op->opcode) {
	case IB_UVERBS_WR_SEND:
	case IB_UVERBS_WR_SEND_WITH_IMM:
	case IB_UVERBS_WR_SEND_WITH_INV:
	case IB_UVERBS_WR_RDMA_WRITE_WITH_IMM:
		return true;
	default:
		return false;
	}
}

/* Would a packet of op reach this QP and be taken by it (IBTA 9.6.1)? */
static bool
accepts(struct lqp *l, const struct lop *op)
{
	struct ff_qp *qp = l->qp;
	uint32_t gen = atomic_load_explicit(&qp->container->gid_gen, memory_order_acquire);
	enum ff_qp_state s = qp->attr.state;

	if (s != FF_QPS_RTR && s != FF_QPS_RTS && s != FF_QPS_SQD && s != FF_QPS_SQE)
		return false;
	if (qp->type != op->qp_type || qp->container->tenant->index != op->tenant)
		return false;
	if (qp->type == IB_UVERBS_QPT_UD) {
		if (qp->attr.qkey != op->qkey)
			return false;
		if (op->parent)
			return true; /* found by the group's address */
	} else if (qp->attr.dest_qpn != op->src_qpn ||
		   memcmp(qp->attr.ah.dgid, op->sgid, sizeof(op->sgid))) {
		return false;
	}
	if (gen != l->ok_gid_gen || memcmp(l->ok_dgid, op->dgid, sizeof(op->dgid))) {
		if (!ff_container_has_gid(qp->container, op->dgid))
			return false;
		memcpy(l->ok_dgid, op->dgid, sizeof(op->dgid));
		l->ok_gid_gen = gen;
	}
	return true;
}

/* Sets the remote span of WRITE, READ and atomics. NULL, or why not. */
static const struct nak *
remote_span(struct lqp *l, struct lop *op, struct lspan *s, uint32_t want)
{
	struct ff_qp *qp = l->qp;

	*s = (struct lspan){.kind = LSPAN_REMOTE,
			    .pd_id = qp->pd->id,
			    .qpn = qp->qpn,
			    .want = want,
			    .addr = op->raddr,
			    .rkey = op->rkey,
			    .length = op->length};
	if (!(qp->attr.access & want))
		return &lnak_invalid;
	return lspan_check(s) ? &lnak_access : NULL;
}

static void
local_dst(struct lop *op)
{
	op->dst = (struct lspan){.kind = LSPAN_SGL,
				 .pd_id = op->src_pd,
				 .sge = op->sge,
				 .num = op->num_sge,
				 .want = FF_ACCESS_LOCAL_WRITE};
}

static enum start
no_recv(struct lqp *l, struct lop *op)
{
	struct ff_qp *qp = l->qp;

	if (qp->type != IB_UVERBS_QPT_RC) {
		lresp_drop(l, op);
		return START_END;
	}
	if (op->phase != LOP_RNR) {
		qp->counters[FF_QC_RNR]++;
		if (!op->rnr_left) {
			lresp_finish(l, op, FF_WC_RNR_RETRY_EXC_ERR);
			return START_END;
		}
		op->phase = LOP_RNR;
		op->deadline = l->lw->now + roce_rnr_ns(qp->attr.min_rnr_timer);
	}
	l->rnr = true;
	TAILQ_INSERT_TAIL(&l->lw->rnr, l, rnr_link);
	return START_WAIT;
}

/* Takes the receive WQE and checks it against the message. */
static enum start
take_recv(struct lqp *l, struct lop *op)
{
	struct ff_qp *qp = l->qp;
	uint64_t room = 0, need = 0;
	bool bad;

	if (!lwqe_recv(qp, op, &bad))
		return no_recv(l, op);
	if (bad) {
		lresp_refuse(l, op, &lnak_bad_recv);
		return START_END;
	}
	if (lop_is_write(op))
		return START_GO; /* only its wr_id is used */
	for (uint32_t i = 0; i < op->num_rsge; i++)
		room += op->rsge[i].length;
	if (qp->type == IB_UVERBS_QPT_UD)
		need = LOCAL_GRH;
	if (op->length + need > room) {
		lresp_refuse(l, op, &lnak_length);
		return START_END;
	}
	op->dst = (struct lspan){.kind = LSPAN_SGL,
				 .pd_id = qp->srq ? qp->srq->pd->id : qp->pd->id,
				 .sge = op->rsge,
				 .num = op->num_rsge,
				 .want = FF_ACCESS_LOCAL_WRITE};
	if (need)
		lwqe_grh(op);
	return START_GO;
}

static enum start
start_atomic(struct lqp *l, struct lop *op)
{
	const struct nak *n = NULL;
	struct lspan s;

	if (!l->qp->attr.max_dest_rd_atomic || op->raddr % sizeof(uint64_t))
		n = &lnak_invalid;
	else
		n = remote_span(l, op, &s, FF_ACCESS_REMOTE_ATOMIC);
	if (n) {
		lresp_refuse(l, op, n);
		return START_END;
	}
	local_dst(op);
	op->src = s; /* lmove_step sees an atomic that has not been executed by its remote span */
	return START_GO;
}

static enum start
start_rdma(struct lqp *l, struct lop *op)
{
	const struct nak *n;

	if (lop_is_write(op)) {
		n = remote_span(l, op, &op->dst, FF_ACCESS_REMOTE_WRITE);
	} else {
		n = l->qp->attr.max_dest_rd_atomic
			    ? remote_span(l, op, &op->src, FF_ACCESS_REMOTE_READ)
			    : &lnak_invalid;
		local_dst(op);
	}
	if (n) {
		lresp_refuse(l, op, n);
		return START_END;
	}
	return START_GO;
}

/* Position in the sequence; false: not what is expected, nobody answers. */
static bool
psn_ok(struct lqp *l, const struct lop *op)
{
	if (l->qp->type == IB_UVERBS_QPT_RC)
		return op->psn == l->exp_psn;
	l->exp_psn = op->psn; /* UC: IBTA 9.8.2.2.2, a gap is a lost message */
	return true;
}

enum start
lresp_admit(struct lqp *l, struct lop *op)
{
	if (!accepts(l, op) || !psn_ok(l, op)) {
		lresp_drop(l, op);
		return START_END;
	}
	if (l->qp->attr.state == FF_QPS_RTR && !l->comm_est) {
		l->comm_est = true;
		ff_async_qp(l->qp, FF_EVENT_COMM_EST);
	}
	op->grh_left = 0;
	if (lop_is_atomic(op))
		return start_atomic(l, op);
	if (lop_is_write(op) || op->opcode == IB_UVERBS_WR_RDMA_READ) {
		enum start s = start_rdma(l, op);

		if (s != START_GO)
			return s;
	}
	return uses_recv(op) ? take_recv(l, op) : START_GO;
}
