/* SPDX-License-Identifier: MIT */
/*
 * The completer: what comes back to a requester. ACKs complete work requests in order, NAKs and
 * gaps send it back (go-back-N), read data goes to memory. IBTA 9.7.7, 9.9. The QP's thread.
 */
#include <errno.h>

#include "roce_priv.h"

/* ---- ends ---- */

static void
done(struct roce_qp *q, enum roce_status status)
{
	struct roce_wr *wr = roce_slot(q, q->una++);

	q->ops->wr_done(q->ctx, wr, status);
}

/* Not through ops->error: who calls knows. */
static void
flush(struct roce_qp *q)
{
	q->broken = true;
	q->timer = q->rnr_end = q->rate.wait_ns = 0;
	while (q->una != q->end)
		done(q, ROCE_WR_FLUSH_ERR);
	q->nxt = q->end;
	q->nxt_off = 0;
	q->stuck = 0;
	q->rd_una = q->rd_nxt = q->rd_end;
}

void
roce_comp_fail(struct roce_qp *q, enum roce_status status, unsigned event)
{
	q->broken = true;
	if (q->dying)
		event = q->dying_event;
	if (q->una != q->end)
		done(q, status);
	flush(q);
	roce_resp_stop(q);
	q->ops->error(q->ctx, event);
}

void
roce_stop(struct roce_qp *q)
{
	flush(q);
	roce_resp_stop(q);
}

void
roce_comp_stuck(struct roce_qp *q)
{
	if (q->stuck && q->una == q->nxt)
		roce_comp_fail(q, q->stuck, 0);
}

/* ---- progress ---- */

static void
progress(struct roce_qp *q, uint64_t now, uint32_t una_psn)
{
	int32_t n = roce_psn_diff(una_psn, q->una_psn);
	uint32_t out = (q->sent_psn - q->una_psn) & ROCE_PSN_MASK;

	if (n <= 0)
		return;
	q->una_psn = una_psn;
	/* A request for answers that has been answered to its end. */
	if (q->rd_una != q->rd_end && roce_psn_diff(roce_rd_last(q, q->rd_una), una_psn) < 0) {
		q->rd_nxt += q->rd_nxt == q->rd_una;
		q->rd_una++;
	}
	q->ask = false; /* there is an answer */
	if (q->rtt_ns && roce_psn_diff(q->rtt_psn, una_psn) < 0)
		roce_rtt_end(q, now);
	q->retry_left = q->conf.retry_cnt;
	q->rnr_left = q->conf.rnr_retry;
	if (q->backoff || q->probed)
		q->timer_span = 0;
	q->backoff = 0;
	q->probed = false;
	q->rnr_end = 0; /* what was not ready has been executed: the NAK was a late copy */
	roce_cc_acked(q, (uint32_t)n, out);
	roce_cc_meter(q, now, (uint64_t)n * q->conf.mtu);
	roce_req_timer(q, now);
}

/* The oldest work request is done. It may have been rewound to: then it need not go out again. */
static void
retire(struct roce_qp *q)
{
	if (q->nxt == q->una) {
		q->nxt++;
		q->nxt_off = 0;
	}
	done(q, ROCE_OK);
}

/*
 * Everything up to psn has been executed. Stops at a READ or atomic, whose answer must come by
 * itself; *lost is then where it is missed. False: at the end, or there.
 */
static bool
acked(struct roce_qp *q, uint64_t now, uint32_t psn, uint32_t *lost)
{
	while (q->una != q->end && !q->broken) {
		struct roce_wr *wr = roce_slot(q, q->una);

		/* Not its first_psn, which may be half of the circle behind what is acknowledged.
		 */
		if (!wr->numbered || roce_psn_diff(psn, q->una_psn) < 0)
			return true;
		if (roce_wr_answered(wr)) {
			*lost = roce_psn_add(wr->first_psn, wr->got / q->conf.mtu);
			return roce_psn_diff(psn, *lost) < 0;
		}
		if (roce_psn_diff(psn, wr->last_psn) < 0) {
			progress(q, now, roce_psn_add(psn, 1));
			return true;
		}
		progress(q, now, roce_psn_add(wr->last_psn, 1));
		retire(q);
	}
	return true;
}

/* After a rewind, what was acknowledged or answered meanwhile need not be sent again. */
static void
skip_acked(struct roce_qp *q)
{
	if (q->nxt == q->una && q->nxt != q->end) {
		const struct roce_wr *wr = roce_slot(q, q->nxt);
		int32_t n = roce_psn_diff(q->una_psn, wr->first_psn);

		if (wr->numbered && n > 0 && (uint32_t)n * q->conf.mtu > q->nxt_off)
			q->nxt_off = (uint32_t)n * q->conf.mtu;
	}
}

void
roce_comp_retry(struct roce_qp *q, uint64_t now, uint32_t psn)
{
	if (!q->retry_left) {
		roce_comp_fail(q, ROCE_RETRY_EXC_ERR, 0);
		return;
	}
	q->retry_left--;
	q->back_psn = psn;
	q->back_ns = now;
	roce_req_rewind(q, psn);
	roce_req_timer(q, now);
}

/* What is heard of a loss within a round trip of going back to it, is about what went before. */
static bool
gone_back(const struct roce_qp *q, uint64_t now, uint32_t psn)
{
	uint64_t trip = q->srtt_ns ? q->srtt_ns - q->srtt_ns / 4 : roce_rtt_interval(q);

	/* Without a time-out and a round trip that is known, nothing else would tell of it again.
	 */
	if (!q->conf.timeout_ns && !q->srtt_ns)
		return false;
	return q->back_ns && q->back_psn == psn && roce_since(now, q->back_ns) < trip;
}

/*
 * A response is missing. Once per loss: what is on its way behind the gap says the same again; not
 * what goes back behind what told of it: then it was sent again, and is lost again.
 */
static void
implied_nak(struct roce_qp *q, uint64_t now, const struct roce_pkt *p, uint32_t psn)
{
	if (q->implied && q->implied_psn == psn &&
	    (roce_psn_diff(p->psn, q->implied_by) > 0 || gone_back(q, now, psn)))
		return;
	q->implied = true;
	q->implied_psn = psn;
	q->implied_by = p->psn;
	q->counters[ROCE_C_IMPLIED_NAK]++;
	roce_cc_lost(q, now, false);
	roce_comp_retry(q, now, psn);
}

/* ---- packets ---- */

static enum roce_status
nak_status(unsigned code)
{
	switch (code) {
	case ROCE_NAK_INVALID:
		return ROCE_REM_INV_REQ_ERR;
	case ROCE_NAK_ACCESS:
		return ROCE_REM_ACCESS_ERR;
	case ROCE_NAK_OPERATION:
		return ROCE_REM_OP_ERR;
	default:
		return ROCE_REM_INV_RD_REQ_ERR;
	}
}

static void
rnr(struct roce_qp *q, uint64_t now, const struct roce_pkt *p)
{
	q->counters[ROCE_C_RNR_GOT]++;
	if (q->conf.rnr_retry != 7) {
		if (!q->rnr_left) {
			roce_comp_fail(q, ROCE_RNR_RETRY_EXC_ERR, 0);
			return;
		}
		q->rnr_left--;
	}
	roce_req_rewind(q, p->psn);
	q->timer = 0;
	q->rnr_end = now + roce_rnr_ns(p->syndrome & 31);
	q->back_psn = p->psn;
	q->back_ns = q->rnr_end;
}

static void
nak(struct roce_qp *q, uint64_t now, const struct roce_pkt *p)
{
	unsigned code = p->syndrome & 31;

	if (code > ROCE_NAK_RD) {
		q->counters[ROCE_C_RX_BAD]++;
		return;
	}
	if (code != ROCE_NAK_SEQUENCE) {
		roce_comp_fail(q, nak_status(code), 0);
		return;
	}
	q->counters[ROCE_C_NAK_SEQ_GOT]++;
	/* While there was no receive WQE, what came behind was dropped, and is sent again as well.
	 */
	if (q->rnr_end || gone_back(q, now, p->psn))
		return;
	roce_cc_lost(q, now, false);
	roce_comp_retry(q, now, p->psn);
}

static void
ack(struct roce_qp *q, uint64_t now, const struct roce_pkt *p)
{
	uint8_t kind = p->syndrome & ROCE_SYN_KIND;
	uint32_t upto = kind == ROCE_SYN_ACK ? p->psn : roce_psn_add(p->psn, ROCE_PSN_MASK);
	uint32_t lost;

	if (!acked(q, now, upto, &lost)) {
		implied_nak(q, now, p, lost);
		return;
	}
	skip_acked(q);
	roce_comp_stuck(q);
	if (q->broken || kind == ROCE_SYN_ACK)
		return;
	/* About something that is done already. */
	if (roce_psn_diff(p->psn, q->una_psn) != 0 || q->una == q->end)
		return;
	if (kind == ROCE_SYN_RNR)
		rnr(q, now, p);
	else if (kind == ROCE_SYN_NAK)
		nak(q, now, p);
	else
		q->counters[ROCE_C_RX_BAD]++;
}

/* Data or an old value for the oldest work request. Returns false when it cannot be taken. */
static bool
answer_store(struct roce_qp *q, struct roce_wr *wr, const struct roce_pkt *p)
{
	bool read = wr->op == ROCE_OP_READ, last;
	uint32_t left = wr->length - wr->got, want = left < q->conf.mtu ? left : q->conf.mtu;
	int rc;

	/* The last one of what one request asked for. */
	last = p->psn == roce_rd_last(q, q->rd_una);
	if (read != !(p->flags & ROCE_F_ATOMICACK) ||
	    (read && (p->len != want || last != !!(p->flags & ROCE_F_END))) ||
	    (p->syndrome & ROCE_SYN_KIND) != ROCE_SYN_ACK) {
		roce_comp_fail(q, ROCE_BAD_RESP_ERR, 0);
		return false;
	}
	rc = read ? (p->len ? q->ops->wr_write(q->ctx, wr, wr->got, p->payload, p->len) : 0)
		  : q->ops->wr_write(q->ctx, wr, 0, &p->atomic_old, sizeof(p->atomic_old));
	if (rc == -EAGAIN) {
		q->counters[ROCE_C_RX_BUSY]++;
		return false;
	}
	if (rc) {
		roce_comp_fail(q, ROCE_LOC_PROT_ERR, 0);
		return false;
	}
	wr->got += p->len;
	return true;
}

static void
answer(struct roce_qp *q, uint64_t now, const struct roce_pkt *p)
{
	uint32_t lost, before = roce_psn_add(p->psn, ROCE_PSN_MASK);
	struct roce_wr *wr;

	/* What was posted before it has been executed. */
	if (!acked(q, now, before, &lost)) {
		implied_nak(q, now, p, lost);
		return;
	}
	skip_acked(q);
	if (q->broken || q->una == q->end)
		return;
	wr = roce_slot(q, q->una);
	if (!wr->numbered || !roce_wr_answered(wr) ||
	    p->psn != roce_psn_add(wr->first_psn, wr->got / q->conf.mtu)) {
		q->counters[ROCE_C_DUPLICATE]++;
		return;
	}
	if (!answer_store(q, wr, p))
		return;
	q->implied = false;
	progress(q, now, roce_psn_add(p->psn, 1));
	if (p->psn == wr->last_psn)
		retire(q);
	else
		skip_acked(q);
	roce_comp_stuck(q);
}

/* rxe refuses a READ that it has answered in part by the PSN of the request. */
static bool
refused_in_part(const struct roce_qp *q, const struct roce_pkt *p)
{
	const struct roce_wr *wr = roce_slot(q, q->una);

	return p->opcode == ROCE_ACK && (p->syndrome & ROCE_SYN_KIND) == ROCE_SYN_NAK &&
	       p->syndrome != (ROCE_SYN_NAK | ROCE_NAK_SEQUENCE) && q->una != q->end &&
	       wr->numbered && wr->op == ROCE_OP_READ && wr->got &&
	       roce_psn_diff(p->psn, wr->first_psn) >= 0 && roce_psn_diff(p->psn, q->una_psn) < 0;
}

void
roce_comp_rx(struct roce_qp *q, uint64_t now, const struct roce_pkt *p)
{
	if (q->conf.type != ROCE_TYPE_RC || !q->sends || q->broken) {
		q->counters[ROCE_C_RX_BAD]++;
		return;
	}
	if (refused_in_part(q, p)) {
		nak(q, now, p);
		return;
	}
	/* From before the window, or about what was never sent. */
	if (roce_psn_diff(p->psn, q->una_psn) < 0 || roce_psn_diff(p->psn, q->sent_psn) >= 0) {
		q->counters[ROCE_C_DUPLICATE]++;
		return;
	}
	if (p->opcode == ROCE_ACK)
		ack(q, now, p);
	else
		answer(q, now, p);
}
