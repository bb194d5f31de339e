/* SPDX-License-Identifier: MIT */
/* What a responder sends: read data, old values of atomics, ACKs and NAKs. The QP's thread. */
#include <errno.h>

#include "roce_priv.h"

/* The oldest one that is active has been answered, or never will be. */
static void
res_done(struct roce_qp *q)
{
	q->res_first += q->res_first == q->res_next;
	roce_res_at(q, q->res_next)->active = false;
	roce_res_skip(q);
}

static uint32_t
answer_psn(const struct roce_qp *q, const struct roce_resource *r)
{
	return roce_psn_add(r->first_psn, r->off / q->conf.mtu);
}

static uint8_t
read_opcode(bool start, bool end)
{
	if (start)
		return end ? ROCE_READ_RESP_ONLY : ROCE_READ_RESP_FIRST;
	return end ? ROCE_READ_RESP_LAST : ROCE_READ_RESP_MIDDLE;
}

/* The next packet of a READ's answer. 0: not now, or the memory is gone: then a NAK is due. */
static size_t
answer_read(struct roce_qp *q, struct roce_resource *r, struct roce_pkt *p, uint8_t *buf)
{
	uint32_t left = r->len - r->off;
	bool end = left <= q->conf.mtu;
	unsigned head, pad, i;
	int rc = 0;

	p->len = end ? left : q->conf.mtu;
	p->opcode = read_opcode(r->off == r->begin && !r->amid, end);
	p->psn = answer_psn(q, r);
	head = roce_build(p, buf);
	if (p->len)
		rc = q->ops->remote_read(q->ctx, r->rkey, r->va + r->off, buf + head, p->len);
	if (rc == -EAGAIN)
		return 0;
	if (rc) {
		res_done(q);
		roce_resp_refuse(q, p, ROCE_NAK_ACCESS, ROCE_WR_FLUSH_ERR, ROCE_EVENT_ACCESS);
		return 0;
	}
	pad = roce_pad(p->len);
	for (i = 0; i < pad; i++)
		buf[head + p->len + i] = 0;
	r->off += p->len;
	if (end)
		res_done(q);
	return head + p->len + pad;
}

size_t
roce_resp_ack_tx(struct roce_qp *q, uint8_t *buf)
{
	const struct roce_pkt p = {
		.opcode = ROCE_ACK,
		.qpn = q->conf.dest_qpn,
		.pkey = q->conf.pkey,
		.psn = q->ack_psn,
		.msn = q->ack_msn,
		.syndrome = q->ack_syndrome,
	};

	/* It would say that the answers before it are lost. */
	if (!q->ack_due ||
	    (roce_resp_active(q) &&
	     roce_psn_diff(q->ack_psn, answer_psn(q, roce_res_at(q, q->res_next))) >= 0))
		return 0;
	q->ack_due = false;
	return roce_build(&p, buf);
}

size_t
roce_resp_tx(struct roce_qp *q, uint64_t now, uint8_t *buf)
{
	struct roce_resource *r = roce_res_at(q, q->res_next);
	struct roce_pkt p = {.qpn = q->conf.dest_qpn,
			     .pkey = q->conf.pkey,
			     .syndrome = ROCE_SYN_ACK | 31,
			     .msn = r->msn};

	if (!r->atomic) {
		size_t n = answer_read(q, r, &p, buf);

		roce_cc_meter(q, now, n);
		return n;
	}
	p.opcode = ROCE_ATOMIC_ACK;
	p.psn = r->first_psn;
	p.atomic_old = r->old;
	res_done(q);
	return roce_build(&p, buf);
}
