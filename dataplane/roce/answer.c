/* SPDX-License-Identifier: MIT */
/* What a responder sends: read data, old values of atomics, ACKs and NAKs. The QP's thread. */
#include <errno.h>

#include "roce_priv.h"

static struct roce_resource *
res_oldest_active(struct roce_qp *q)
{
	unsigned n = q->conf.max_dest_rd_atomic;

	for (n = n < ROCE_RESOURCES ? n : ROCE_RESOURCES; n > 0; n--)
		if (roce_res_at(q, q->res_end - n)->active)
			return roce_res_at(q, q->res_end - n);
	return NULL;
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
	p->psn = roce_psn_add(r->first_psn, r->off / q->conf.mtu);
	head = roce_build(p, buf);
	if (p->len)
		rc = q->ops->remote_read(q->ctx, r->rkey, r->va + r->off, buf + head, p->len);
	if (rc == -EAGAIN)
		return 0;
	if (rc) {
		r->active = false;
		roce_resp_refuse(q, p, ROCE_NAK_ACCESS, ROCE_WR_FLUSH_ERR, ROCE_EVENT_ACCESS);
		return 0;
	}
	pad = roce_pad(p->len);
	for (i = 0; i < pad; i++)
		buf[head + p->len + i] = 0;
	r->off += p->len;
	r->active = !end;
	return head + p->len + pad;
}

size_t
roce_resp_tx(struct roce_qp *q, uint8_t *buf)
{
	struct roce_pkt p = {
		.qpn = q->conf.dest_qpn, .pkey = q->conf.pkey, .syndrome = ROCE_SYN_ACK | 31};
	struct roce_resource *r = q->broken ? NULL : res_oldest_active(q);

	if (r) {
		p.msn = r->msn;
		if (!r->atomic)
			return answer_read(q, r, &p, buf);
		r->active = false;
		p.opcode = ROCE_ATOMIC_ACK;
		p.psn = r->first_psn;
		p.atomic_old = r->old;
		return roce_build(&p, buf);
	}
	if (!q->ack_due)
		return 0;
	q->ack_due = false;
	p.opcode = ROCE_ACK;
	p.msn = q->msn;
	p.psn = q->ack_psn;
	p.syndrome = q->ack_syndrome;
	return roce_build(&p, buf);
}
