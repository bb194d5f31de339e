/* SPDX-License-Identifier: MIT */
/*
 * The responder: requests that come in, in the order of their PSNs; ACKs and NAKs for them. IBTA
 * 9.7.4 to 9.7.5, 9.8.2, 9.9.3. The thread that owns the QP.
 */
#include <errno.h>

#include "roce_priv.h"

/* ---- what goes back ---- */

void
roce_resp_ack(struct roce_qp *q, uint8_t syndrome, uint32_t psn)
{
	q->ack_due = true;
	q->ack_syndrome = syndrome;
	q->ack_psn = psn;
	q->ack_msn = q->msn;
}

static void
ack_good(struct roce_qp *q)
{
	/* What a NAK said is not taken back by an ACK for what was before it. */
	if (!q->ack_due || (q->ack_syndrome & ROCE_SYN_KIND) == ROCE_SYN_ACK)
		roce_resp_ack(q, ROCE_SYN_ACK | 31, roce_psn_add(q->exp_psn, ROCE_PSN_MASK));
}

static void
recv_fail(struct roce_qp *q, enum roce_status status)
{
	if (!q->recv_taken)
		return;
	q->recv_taken = false;
	q->ops->recv_done(q->ctx, NULL, status);
}

void
roce_resp_refuse(struct roce_qp *q, const struct roce_pkt *p, enum roce_nak code,
		 enum roce_status receiver, unsigned event)
{
	if (q->conf.type != ROCE_TYPE_RC) {
		if (p->flags & ROCE_F_SEND) {
			recv_fail(q, receiver);
			roce_resp_end(q, event);
		}
		return;
	}
	recv_fail(q, receiver);
	roce_resp_ack(q, ROCE_SYN_NAK | code, p->psn);
	q->counters[ROCE_C_REFUSED]++;
	q->dying = true;
	q->dying_event = event;
}

void
roce_resp_no_access(struct roce_qp *q, const struct roce_pkt *p, int rc)
{
	if (rc == -EACCES)
		roce_resp_refuse(q, p, ROCE_NAK_INVALID, ROCE_LOC_QP_OP_ERR, ROCE_EVENT_INVALID);
	else
		roce_resp_refuse(q, p, ROCE_NAK_ACCESS, ROCE_LOC_ACCESS_ERR, ROCE_EVENT_ACCESS);
}

/* No receive WQE: the same packet is expected again. */
static void
not_ready(struct roce_qp *q, const struct roce_pkt *p)
{
	if (q->conf.type != ROCE_TYPE_RC)
		return;
	q->counters[ROCE_C_RNR_SENT]++;
	q->nak_psn = p->psn;
	roce_resp_ack(q, ROCE_SYN_RNR | (q->conf.min_rnr_timer & 31), p->psn);
	q->nak_sent = true;
}

bool
roce_resp_busy(struct roce_qp *q, int rc)
{
	if (rc != -EAGAIN)
		return false;
	q->counters[ROCE_C_RX_BUSY]++;
	return true;
}

/* ---- requests ---- */

/* Takes the receive WQE for a message. False: it was dealt with. */
static bool
take_recv(struct roce_qp *q, const struct roce_pkt *p)
{
	int rc;

	if (q->recv_taken)
		return true;
	rc = q->ops->recv_take(q->ctx);
	if (rc == 0) {
		q->recv_taken = true;
		return true;
	}
	q->recv_taken = rc == -EINVAL;
	if (rc == -EINVAL && q->conf.type == ROCE_TYPE_UC) {
		/* A WRITE with immediate as well: the WQE is spent. */
		recv_fail(q, ROCE_LOC_QP_OP_ERR);
		roce_resp_end(q, ROCE_EVENT_INVALID);
	} else if (rc == -EINVAL)
		roce_resp_refuse(q, p, ROCE_NAK_OPERATION, ROCE_LOC_QP_OP_ERR, ROCE_EVENT_INVALID);
	else
		not_ready(q, p);
	return false;
}

static void
recv_complete(struct roce_qp *q, const struct roce_pkt *p, bool is_write)
{
	struct roce_recv r = {
		.length = q->msg_off,
		.has_imm = !!(p->flags & ROCE_F_IMM),
		.has_inv = !!(p->flags & ROCE_F_IETH),
		.is_write = is_write,
		.solicited = p->solicited,
		.imm = p->imm,
		.inv_rkey = p->ieth,
	};

	q->recv_taken = false;
	q->ops->recv_done(q->ctx, &r, ROCE_OK);
}

/* True when the packet was executed, and the next one is expected. */
static bool
rx_send(struct roce_qp *q, const struct roce_pkt *p)
{
	int rc = 0;

	if ((p->flags & ROCE_F_START))
		q->msg_off = 0;
	if (!take_recv(q, p))
		return false;
	if (p->len > ROCE_MSG_MAX - q->msg_off)
		rc = -EMSGSIZE;
	else if (p->len)
		rc = q->ops->recv_write(q->ctx, q->msg_off, p->payload, p->len);
	if (roce_resp_busy(q, rc))
		return false;
	if (rc == -EMSGSIZE) {
		roce_resp_refuse(q, p, ROCE_NAK_INVALID, ROCE_LOC_LEN_ERR, 0);
		return false;
	}
	if (rc) {
		roce_resp_refuse(q, p, ROCE_NAK_OPERATION, ROCE_LOC_PROT_ERR, 0);
		return false;
	}
	if (p->flags & ROCE_F_IETH)
		rc = q->ops->invalidate(q->ctx, p->ieth);
	if (roce_resp_busy(q, rc))
		return false;
	if (rc) {
		roce_resp_no_access(q, p, rc);
		return false;
	}
	q->msg_off += p->len;
	q->msg = MSG_SEND;
	if (p->flags & ROCE_F_END) {
		q->msg = MSG_NONE;
		recv_complete(q, p, false);
	}
	return true;
}

static bool
write_begin(struct roce_qp *q, const struct roce_pkt *p)
{
	int rc = 0;

	if (p->dma_len > ROCE_MSG_MAX) {
		roce_resp_refuse(q, p, ROCE_NAK_INVALID, ROCE_LOC_QP_OP_ERR, ROCE_EVENT_INVALID);
		return false;
	}
	if (p->dma_len)
		rc = q->ops->remote_check(q->ctx, p->rkey, p->va, p->dma_len, ACCESS_REMOTE_WRITE);
	if (roce_resp_busy(q, rc))
		return false;
	if (rc) {
		roce_resp_no_access(q, p, rc);
		return false;
	}
	q->msg_va = p->va;
	q->msg_rkey = p->rkey;
	q->msg_left = p->dma_len;
	q->msg_off = 0;
	return true;
}

static bool
rx_write(struct roce_qp *q, const struct roce_pkt *p)
{
	bool end = p->flags & ROCE_F_END;
	int rc = 0;

	if ((p->flags & ROCE_F_START) && !write_begin(q, p))
		return false;
	if (end ? p->len != q->msg_left : p->len >= q->msg_left) {
		roce_resp_refuse(q, p, ROCE_NAK_INVALID, ROCE_LOC_QP_OP_ERR, ROCE_EVENT_INVALID);
		return false;
	}
	if ((p->flags & ROCE_F_IMM) && !take_recv(q, p))
		return false;
	if (p->len)
		rc = q->ops->remote_write(q->ctx, q->msg_rkey, q->msg_va + q->msg_off, p->payload,
					  p->len);
	if (roce_resp_busy(q, rc))
		return false;
	if (rc) {
		roce_resp_no_access(q, p, rc);
		return false;
	}
	q->msg_off += p->len;
	q->msg_left -= p->len;
	q->msg = end ? MSG_NONE : MSG_WRITE;
	if (p->flags & ROCE_F_IMM)
		recv_complete(q, p, true);
	return true;
}

/* ---- order ---- */

/* Does the packet continue what is under way, and is it as long as its place says? */
static bool
fits(const struct roce_qp *q, const struct roce_pkt *p)
{
	uint8_t kind = p->flags & ROCE_F_SEND ? MSG_SEND : MSG_WRITE;

	if (p->flags & ROCE_F_START) {
		if (q->msg != MSG_NONE)
			return false;
	} else if (q->msg != kind) {
		return false;
	}
	if (!(p->flags & ROCE_F_PAYLOAD))
		return true;
	if (!(p->flags & ROCE_F_END))
		return p->len == q->conf.mtu;
	return p->len <= q->conf.mtu && (p->len || (p->flags & ROCE_F_START));
}

static bool
execute(struct roce_qp *q, const struct roce_pkt *p)
{
	if (p->flags & ROCE_F_SEND)
		return rx_send(q, p);
	if (p->flags & ROCE_F_WRITE)
		return rx_write(q, p);
	return p->flags & ROCE_F_READ ? roce_read_rx(q, p) : roce_atomic_rx(q, p);
}

static void
rx_duplicate(struct roce_qp *q, const struct roce_pkt *p)
{
	q->counters[ROCE_C_DUPLICATE]++;
	if (p->flags & (ROCE_F_READ | ROCE_F_ATOMIC)) {
		roce_read_again(q, p);
		return;
	}
	/* One ACK for a row of them, unless another one is asked for. */
	if (p->ack_req || !q->dup_acked || roce_psn_diff(p->psn, q->dup_psn) <= 0)
		ack_good(q);
	q->dup_acked = true;
	q->dup_psn = p->psn;
}

/*
 * The NAK that has not gone yet may have taken the place of an ACK, and what it was for was
 * dropped: there is still a gap, behind what has come late.
 */
static void
ahead_again(struct roce_qp *q)
{
	q->nak_sent = true;
	q->counters[ROCE_C_NAK_SEQ_SENT]++;
	roce_resp_ack(q, ROCE_SYN_NAK | ROCE_NAK_SEQUENCE, q->exp_psn);
}

static void
rx_rc(struct roce_qp *q, const struct roce_pkt *p)
{
	int32_t d = roce_psn_diff(p->psn, q->exp_psn);
	bool untold = false;

	if (d > 0) {
		q->counters[ROCE_C_AHEAD]++;
		/* Again, when the requester has gone back, and the first packet is lost again. */
		if (q->nak_sent && roce_psn_diff(p->psn, q->nak_psn) > 0)
			return;
		q->nak_sent = true;
		q->nak_psn = p->psn;
		q->counters[ROCE_C_NAK_SEQ_SENT]++;
		roce_resp_ack(q, ROCE_SYN_NAK | ROCE_NAK_SEQUENCE, q->exp_psn);
		return;
	}
	if (d < 0) {
		rx_duplicate(q, p);
		return;
	}
	if (q->nak_sent) {
		q->nak_sent = false;
		/* The NAK, if it has not gone yet, is out of date. */
		if ((q->ack_syndrome & ROCE_SYN_KIND) != ROCE_SYN_ACK) {
			untold = q->ack_due;
			q->ack_due = false;
		}
	}
	if (!fits(q, p)) {
		roce_resp_refuse(q, p, ROCE_NAK_INVALID, ROCE_LOC_QP_OP_ERR, ROCE_EVENT_INVALID);
		return;
	}
	if (!execute(q, p))
		return;
	q->dup_acked = false;
	q->exp_psn = roce_psn_add(q->exp_psn, 1);
	if (p->flags & ROCE_F_END)
		q->msn = (q->msn + 1) & 0xffffff;
	if (untold && roce_psn_diff(q->nak_psn, q->exp_psn) >= 0)
		ahead_again(q);
	else if (untold || (p->ack_req && !(p->flags & (ROCE_F_READ | ROCE_F_ATOMIC))))
		ack_good(q);
}

/* A gap ends the message; the next one begins with a first packet (IBTA 9.8.2.2). */
static void
rx_uc(struct roce_qp *q, const struct roce_pkt *p)
{
	uint64_t busy = q->counters[ROCE_C_RX_BUSY];
	uint32_t exp_psn = q->exp_psn;
	uint8_t msg = q->msg;

	/* A receive WQE that was begun stays the current one, for the next message. */
	if (p->psn != q->exp_psn && q->msg != MSG_NONE)
		q->msg = MSG_SKIP;
	q->exp_psn = roce_psn_add(p->psn, 1);
	if (p->flags & ROCE_F_START)
		q->msg = MSG_NONE;
	if (q->msg != MSG_SKIP && fits(q, p) && execute(q, p))
		return;
	q->msg = p->flags & ROCE_F_END ? MSG_NONE : MSG_SKIP;
	if (busy == q->counters[ROCE_C_RX_BUSY]) {
		q->counters[ROCE_C_RX_BAD]++;
		return;
	}
	/* Memory is not there yet: the caller may bring the packet once more, or it is lost. */
	q->exp_psn = exp_psn;
	q->msg = msg;
}

/* The receive WQE for a datagram; one that is malformed fails, and the datagram is lost. */
static bool
ud_recv(struct roce_qp *q)
{
	int rc = q->recv_taken ? 0 : q->ops->recv_take(q->ctx);

	q->recv_taken = rc == 0 || rc == -EINVAL;
	if (rc == -EINVAL)
		recv_fail(q, ROCE_LOC_QP_OP_ERR);
	return rc == 0;
}

/*
 * IBTA 9.8.3: silently dropped when it does not fit, the receive WQE too. That stays for the next
 * one: a stranger's datagram may not cost the program its receive WQEs.
 */
static void
rx_ud(struct roce_qp *q, const struct roce_pkt *p)
{
	struct roce_recv r = {
		.length = p->len,
		.has_imm = !!(p->flags & ROCE_F_IMM),
		.solicited = p->solicited,
		.imm = p->imm,
		.src_qpn = p->src_qpn,
	};
	int rc;

	if (p->qkey != q->conf.qkey || p->len > q->conf.mtu || !ud_recv(q)) {
		q->counters[ROCE_C_RX_BAD]++;
		return;
	}
	rc = p->len ? q->ops->recv_write(q->ctx, 0, p->payload, p->len) : 0;
	if (roce_resp_busy(q, rc))
		return;
	if (rc == -EMSGSIZE) {
		q->counters[ROCE_C_RX_BAD]++;
		return;
	}
	q->recv_taken = false;
	q->ops->recv_done(q->ctx, rc ? NULL : &r, rc ? ROCE_LOC_PROT_ERR : ROCE_OK);
}

void
roce_resp_rx(struct roce_qp *q, const struct roce_pkt *p)
{
	static const uint8_t transport[] = {
		[ROCE_TYPE_RC] = ROCE_RC, [ROCE_TYPE_UC] = ROCE_UC, [ROCE_TYPE_UD] = ROCE_UD};

	if (!q->receives || q->broken || q->dying ||
	    (p->opcode & ROCE_TRANSPORT) != transport[q->conf.type]) {
		q->counters[ROCE_C_RX_BAD]++;
		return;
	}
	if (!q->established && !q->sends) {
		q->established = true;
		q->ops->established(q->ctx);
	}
	if (q->conf.type == ROCE_TYPE_RC)
		rx_rc(q, p);
	else if (q->conf.type == ROCE_TYPE_UC)
		rx_uc(q, p);
	else
		rx_ud(q, p);
}

void
roce_resp_stop(struct roce_qp *q)
{
	recv_fail(q, ROCE_WR_FLUSH_ERR);
	q->msg = MSG_NONE;
	q->ack_due = q->dying = q->cnp_due = false;
	q->res_first = q->res_next = q->res_end;
	for (unsigned i = 0; i < ROCE_RESOURCES; i++)
		q->res[i].active = q->res[i].valid = false;
}

void
roce_resp_end(struct roce_qp *q, unsigned event)
{
	roce_stop(q);
	q->ops->error(q->ctx, event);
}
