/* SPDX-License-Identifier: MIT */
/*
 * READs and atomics that come in, and what a responder remembers of them to answer them, and to
 * answer them again (IBTA 9.4.4, 9.7.5.1). The thread that owns the QP.
 */
#include <errno.h>

#include "roce_priv.h"

static struct roce_resource *
res_new(struct roce_qp *q, const struct roce_pkt *p, uint32_t packets)
{
	struct roce_resource *r = roce_res_at(q, q->res_end++);

	*r = (struct roce_resource){
		.first_psn = p->psn,
		.last_psn = roce_psn_add(p->psn, packets - 1),
		.msn = (q->msn + 1) & 0xffffff,
		.rkey = p->rkey,
		.va = p->va,
		.len = p->dma_len,
		.active = true,
		.valid = true,
	};
	/* The requester has seen the answer to the one that leaves the window, or it would not ask:
	 * a second answer, to a late copy of the request, is of no use any more. */
	if (q->res_end - q->res_next > q->conf.max_dest_rd_atomic) {
		q->res_next = q->res_end - q->conf.max_dest_rd_atomic;
		roce_res_skip(q);
	}
	return r;
}

/* All that the requester may have open at a time wait for their first answer. */
static bool
res_full(const struct roce_qp *q)
{
	return q->res_end - q->res_first >= q->conf.max_dest_rd_atomic;
}

/* The one that psn lies in; NULL: forgotten. */
static struct roce_resource *
res_find(struct roce_qp *q, uint32_t psn, uint32_t *index)
{
	for (unsigned i = 1; i <= q->conf.max_dest_rd_atomic; i++) {
		struct roce_resource *r = roce_res_at(q, q->res_end - i);

		if (r->valid && roce_psn_diff(psn, r->first_psn) >= 0 &&
		    roce_psn_diff(psn, r->last_psn) <= 0) {
			*index = q->res_end - i;
			return r;
		}
	}
	return NULL;
}

bool
roce_read_rx(struct roce_qp *q, const struct roce_pkt *p)
{
	int rc = 0;

	if (p->dma_len > ROCE_MSG_MAX || res_full(q)) {
		roce_resp_refuse(q, p, ROCE_NAK_INVALID, ROCE_LOC_QP_OP_ERR, ROCE_EVENT_INVALID);
		return false;
	}
	if (p->dma_len)
		rc = q->ops->remote_check(q->ctx, p->rkey, p->va, p->dma_len, ACCESS_REMOTE_READ);
	if (roce_resp_busy(q, rc))
		return false;
	if (rc) {
		roce_resp_no_access(q, p, rc);
		return false;
	}
	res_new(q, p, roce_packets(q, p->dma_len));
	/* The answers take PSNs, the last one is added by the caller. */
	q->exp_psn = roce_psn_add(q->exp_psn, roce_packets(q, p->dma_len) - 1);
	return true;
}

bool
roce_atomic_rx(struct roce_qp *q, const struct roce_pkt *p)
{
	struct roce_resource *r;
	uint64_t old;
	int rc;

	if (p->va % 8 || res_full(q)) {
		roce_resp_refuse(q, p, ROCE_NAK_INVALID, ROCE_LOC_QP_OP_ERR, ROCE_EVENT_INVALID);
		return false;
	}
	rc = q->ops->remote_atomic(q->ctx, p->rkey, p->va, p->opcode == ROCE_CMP_SWAP, p->compare,
				   p->swap_add, &old);
	if (roce_resp_busy(q, rc))
		return false;
	if (rc) {
		roce_resp_no_access(q, p, rc);
		return false;
	}
	r = res_new(q, p, 1);
	r->atomic = true;
	r->old = old;
	return true;
}

void
roce_read_again(struct roce_qp *q, const struct roce_pkt *p)
{
	struct roce_resource *r;
	uint32_t off, i;

	r = res_find(q, p->psn, &i);
	if (!r || r->rkey != p->rkey || r->atomic != !!(p->flags & ROCE_F_ATOMIC))
		return;
	if (!r->atomic) {
		off = (uint32_t)roce_psn_diff(p->psn, r->first_psn) * q->conf.mtu;
		if (p->va != r->va + off || (uint64_t)off + p->dma_len != r->len)
			return;
		r->off = off;
		/* The spec has the answer to a READ that is repeated in part begin with FIRST or
		 * ONLY; rxe fails at that, and wants MIDDLE or LAST: it never sets MigReq. */
		r->amid = off && !p->migrated;
	}
	r->begin = r->off;
	r->active = true;
	if (q->res_end - i > q->res_end - q->res_next)
		q->res_next = i;
}
