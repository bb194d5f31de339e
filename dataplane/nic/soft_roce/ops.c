/* SPDX-License-Identifier: MIT */
/* What the engine asks of its QP (roce_ops): memory by keys, receive WQEs, completions. */
#include <errno.h>
#include <string.h>

#include "sroce_priv.h"

static int
copy_at(struct sqp *s, const struct lspan *whole, uint64_t off, void *bytes, uint32_t len, bool in)
{
	struct lspan span = *whole;
	int rc = lspan_seek(&span, off);

	return rc ? rc : smem_copy(s, &span, bytes, len, in);
}

static int
wr_read(void *ctx, struct roce_wr *wr, uint64_t off, void *to, uint32_t len)
{
	struct lop *op = wr->ctx;

	return copy_at(ctx, &op->src, off, to, len, false);
}

static int
wr_write(void *ctx, struct roce_wr *wr, uint64_t off, const void *from, uint32_t len)
{
	struct lop *op = wr->ctx;
	struct lspan s = {.kind = LSPAN_SGL,
			  .pd_id = op->src_pd,
			  .sge = op->sge,
			  .num = op->num_sge,
			  .want = FF_ACCESS_LOCAL_WRITE};

	return copy_at(ctx, &s, off, (void *)from, len, true);
}

static void
wr_done(void *ctx, struct roce_wr *wr, enum roce_status status)
{
	struct sqp *s = ctx;
	struct lop *op = wr->ctx;

	op->at = NULL;
	op->status = (int)status;
	op->phase = LOP_DONE;
	op->on_done = true;
	TAILQ_INSERT_TAIL(&s->l->lw->done, op, link);
}

static int
recv_take(void *ctx)
{
	struct sqp *s = ctx;
	struct ff_qp *qp = s->l->qp;
	struct lop *op = &s->recv;
	bool bad;

	if (!lwqe_recv(qp, op, &bad))
		return -ENOENT;
	op->recv_taken = true;
	op->length = 0;
	op->dst = (struct lspan){0};
	if (bad)
		return -EINVAL;
	op->dst = (struct lspan){.kind = LSPAN_SGL,
				 .pd_id = qp->srq ? qp->srq->pd->id : qp->pd->id,
				 .sge = op->rsge,
				 .num = op->num_rsge,
				 .want = FF_ACCESS_LOCAL_WRITE};
	for (uint32_t i = 0; i < op->num_rsge; i++)
		op->length += op->rsge[i].length;
	return 0;
}

static int
recv_write(void *ctx, uint64_t off, const void *from, uint32_t len)
{
	struct sqp *s = ctx;

	if (s->l->qp->type == IB_UVERBS_QPT_UD)
		off += LOCAL_GRH;
	if (off + len > s->recv.length)
		return -EMSGSIZE;
	return copy_at(s, &s->recv.dst, off, (void *)from, len, true);
}

/* The network header in front of a datagram: an IPv4 one in the last 20 bytes (annex 17). */
static void
grh_write(struct sqp *s)
{
	uint8_t grh[LOCAL_GRH] = {0};

	if (s->rx->ip[0] >> 4 == 4)
		memcpy(grh + LOCAL_GRH - SROCE_IP4, s->rx->ip, SROCE_IP4);
	else
		memcpy(grh, s->rx->ip, LOCAL_GRH);
	if (s->recv.length >= LOCAL_GRH)
		copy_at(s, &s->recv.dst, 0, grh, LOCAL_GRH, true);
}

static void
recv_done(void *ctx, const struct roce_recv *r, enum roce_status status)
{
	struct sqp *s = ctx;
	struct ff_qp *qp = s->l->qp;
	struct ib_uverbs_wc wc = {.wr_id = s->recv.recv_wr_id,
				  .status = (uint32_t)status,
				  .opcode = FF_WC_RECV,
				  .qp_num = qp->qpn,
				  .port_num = FF_PORT_NUM};

	if (r) {
		wc.byte_len = r->length;
		wc.src_qp = qp->type == IB_UVERBS_QPT_UD ? r->src_qpn : qp->attr.dest_qpn;
		if (r->is_write)
			wc.opcode = FF_WC_RECV_RDMA_WITH_IMM;
		if (r->has_imm) {
			wc.wc_flags = FF_WC_WITH_IMM;
			wc.ex.imm_data = r->imm;
		} else if (r->has_inv) {
			wc.wc_flags = FF_WC_WITH_INV;
			wc.ex.invalidate_rkey = r->inv_rkey;
		}
		if (qp->type == IB_UVERBS_QPT_UD) {
			grh_write(s);
			wc.wc_flags |= FF_WC_GRH;
			wc.byte_len += LOCAL_GRH;
		}
		qp->counters[FF_QC_RECV]++;
		qp->counters[FF_QC_RX_BYTES] += r->length;
	} else {
		qp->counters[FF_QC_ERR_BASE + status]++;
	}
	s->recv.recv_taken = false;
	if (!qp->srq)
		ff_queue_publish_consumer(&qp->rq);
	if (ff_cq_post(qp->rcq, &wc, !r || r->solicited))
		lqp_error(s->l, FF_EVENT_QP_FATAL);
}

static struct lspan
remote_span(const struct sqp *s, uint32_t rkey, uint64_t va, uint32_t len, unsigned access)
{
	const struct ff_qp *qp = s->l->qp;

	return (struct lspan){.kind = LSPAN_REMOTE,
			      .pd_id = qp->pd->id,
			      .qpn = qp->qpn,
			      .want = access,
			      .addr = va,
			      .rkey = rkey,
			      .length = len};
}

static int
remote_check(void *ctx, uint32_t rkey, uint64_t va, uint32_t len, unsigned access)
{
	struct sqp *s = ctx;
	struct lspan span = remote_span(s, rkey, va, len, access);

	if (!(s->l->qp->attr.access & access))
		return -EACCES;
	return lspan_check(&span) ? -EFAULT : 0;
}

static int
remote_read(void *ctx, uint32_t rkey, uint64_t va, void *to, uint32_t len)
{
	struct lspan span = remote_span(ctx, rkey, va, len, FF_ACCESS_REMOTE_READ);

	return smem_copy(ctx, &span, to, len, false);
}

static int
remote_write(void *ctx, uint32_t rkey, uint64_t va, const void *from, uint32_t len)
{
	struct lspan span = remote_span(ctx, rkey, va, len, FF_ACCESS_REMOTE_WRITE);

	return smem_copy(ctx, &span, (void *)from, len, true);
}

static int
remote_atomic(void *ctx, uint32_t rkey, uint64_t va, bool cas, uint64_t compare, uint64_t swap_add,
	      uint64_t *old)
{
	struct sqp *s = ctx;
	struct lspan span = remote_span(s, rkey, va, sizeof(*old), FF_ACCESS_REMOTE_ATOMIC);

	if (!(s->l->qp->attr.access & FF_ACCESS_REMOTE_ATOMIC))
		return -EACCES;
	return smem_atomic(s, &span, cas, cas ? compare : swap_add, swap_add, old);
}

static int
invalidate(void *ctx, uint32_t rkey)
{
	struct sqp *s = ctx;

	return ff_key_invalidate(s->l->qp, rkey, true);
}

static void
failed(void *ctx, unsigned event)
{
	struct sqp *s = ctx;

	lqp_error(s->l, (int)event);
}

static void
established(void *ctx)
{
	struct sqp *s = ctx;

	ff_async_qp(s->l->qp, FF_EVENT_COMM_EST);
}

const struct roce_ops sroce_ops = {
	.wr_read = wr_read,
	.wr_write = wr_write,
	.wr_done = wr_done,
	.recv_take = recv_take,
	.recv_write = recv_write,
	.recv_done = recv_done,
	.remote_check = remote_check,
	.remote_read = remote_read,
	.remote_write = remote_write,
	.remote_atomic = remote_atomic,
	.invalidate = invalidate,
	.error = failed,
	.established = established,
};
