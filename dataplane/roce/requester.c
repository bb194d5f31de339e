/* SPDX-License-Identifier: MIT */
/* The requester: work requests become packets; go-back-N. The thread that owns the QP. */
#include <errno.h>

#include "roce_priv.h"

#define ACK_EVERY   16u /* packets; a peer that acknowledges seldom must not stall the window */
/* So many requests make a READ's window: some come while others are asked for; and no bursts. */
#define READ_BURSTS 8u
#define READS	    8u
/* Two PSNs further apart than this could not be ordered. */
#define PSNS_MAX    (1u << 22)

/* The send opcode by position, IMM and INV; low five bits. */
static uint8_t
send_opcode(const struct roce_wr *wr, bool start, bool end)
{
	if (!end)
		return start ? ROCE_SEND_FIRST : ROCE_SEND_MIDDLE;
	if (wr->has_inv)
		return start ? ROCE_SEND_ONLY_INV : ROCE_SEND_LAST_INV;
	return (start ? ROCE_SEND_ONLY : ROCE_SEND_LAST) + wr->has_imm;
}

static uint8_t
write_opcode(const struct roce_wr *wr, bool start, bool end)
{
	if (!end)
		return start ? ROCE_WRITE_FIRST : ROCE_WRITE_MIDDLE;
	return (start ? ROCE_WRITE_ONLY : ROCE_WRITE_LAST) + wr->has_imm;
}

static void
number(struct roce_qp *q, struct roce_wr *wr)
{
	uint32_t n =
		roce_wr_answered(wr) && wr->op != ROCE_OP_READ ? 1 : roce_packets(q, wr->length);

	if (wr->numbered)
		return;
	wr->numbered = true;
	wr->got = 0;
	wr->first_psn = q->psn;
	wr->last_psn = roce_psn_add(q->psn, n - 1);
	q->psn = roce_psn_add(q->psn, n);
}

/* Before the first packet of a work request. */
static bool
may_start(const struct roce_qp *q, const struct roce_wr *wr)
{
	uint32_t used = (q->psn - q->una_psn) & ROCE_PSN_MASK;

	if (!wr->numbered && used && used + roce_packets(q, wr->length) > PSNS_MAX)
		return false;
	return !(wr->fence && roce_rd_out(q));
}

static uint32_t
next_psn(const struct roce_qp *q, const struct roce_wr *wr)
{
	return wr->numbered ? roce_psn_add(wr->first_psn, q->nxt_off / q->conf.mtu) : q->psn;
}

static uint32_t
out(const struct roce_qp *q, const struct roce_wr *wr)
{
	return (next_psn(q, wr) - q->una_psn) & ROCE_PSN_MASK;
}

/*
 * For how many packets the next request of a READ asks. What a READ brings is the requester's to
 * bound, who alone sees that it is lost: so a long READ goes out as several requests, as the window
 * has room. On the wire it is nothing special: PSNs are the same, and a responder cannot tell a
 * part from a READ of its own. Asked again, a request ends where it did the first time, for the
 * responder's sake, who may remember it.
 */
static uint32_t
read_packets(const struct roce_qp *q, const struct roce_wr *wr)
{
	uint32_t left = roce_packets(q, wr->length) - q->nxt_off / q->conf.mtu;
	uint32_t reads = q->conf.max_rd_atomic < READS ? q->conf.max_rd_atomic : READS;
	uint32_t most = reads ? q->cwnd / reads : 0, room = q->cwnd - out(q, wr);

	if (q->rd_nxt != q->rd_end)
		return (uint32_t)roce_psn_diff(roce_rd_last(q, q->rd_nxt), next_psn(q, wr)) + 1;
	/* The rate is paid afterwards: little on credit, but enough to keep two that READ even. */
	if (q->rate.now && most > READ_BURSTS * roce_cc_burst(q) / q->conf.mtu)
		most = (uint32_t)(READ_BURSTS * roce_cc_burst(q) / q->conf.mtu);
	most = most ? most : 1;
	/* Where other requests are out, blocked() has seen that there is room. */
	if (!roce_rd_out(q) && most > room)
		most = room;
	return left < most ? left : most;
}

/* Must wr[nxt] wait for answers to what is before it? */
static bool
blocked(const struct roce_qp *q, const struct roce_wr *wr)
{
	uint32_t want = 1;

	if (q->stuck || (q->nxt_off == 0 && !may_start(q, wr)))
		return true;
	if (q->conf.type != ROCE_TYPE_RC)
		return false;
	if (roce_wr_answered(wr) && roce_rd_out(q) >= q->conf.max_rd_atomic)
		return true;
	if (wr->op == ROCE_OP_READ && roce_rd_out(q))
		want = read_packets(q, wr);
	return out(q, wr) + want > q->cwnd;
}

/*
 * Blocked, and nobody was asked for an answer: the window has shrunk, or the work request that was
 * to follow cannot. Goes back to the last packet, to send it again with AckReq.
 */
static bool
ask(struct roce_qp *q, const struct roce_wr *wr)
{
	uint32_t next = next_psn(q, wr);

	if (q->conf.type != ROCE_TYPE_RC || roce_psn_diff(next, q->una_psn) <= 0 ||
	    roce_psn_diff(q->ack_asked, q->una_psn) >= 0)
		return false;
	roce_req_rewind(q, roce_psn_add(next, ROCE_PSN_MASK));
	q->ask = true;
	return true;
}

/*
 * The program's time-out is for peers that are dead, and long. A loss that nothing behind it tells
 * of, or a second one of the same packet, is tried again much sooner, once, without counting as a
 * retry.
 */
static void
timer_start(struct roce_qp *q, uint64_t now)
{
	uint64_t t, probe;

	if (q->timer)
		return;
	if (!q->timer_span) {
		t = q->conf.timeout_ns ? roce_rtt_timeout(q) : UINT64_MAX;
		probe = roce_rtt_probe(q);
		q->probe = !q->probed && probe < t;
		if (!q->probe && t == UINT64_MAX)
			return;
		q->timer_span = q->probe ? probe : t;
	}
	q->timer = now + q->timer_span;
}

bool
roce_req_behind(const struct roce_qp *q)
{
	const struct roce_wr *wr = roce_slot(q, q->nxt);

	return q->nxt != q->end && wr->numbered && next_psn(q, wr) == q->una_psn;
}

void
roce_req_probe(struct roce_qp *q, uint64_t now)
{
	q->counters[ROCE_C_PROBE]++;
	q->probed = true;
	q->timer_span = 0;
	roce_cc_lost(q, now, false);
	roce_req_rewind(q, q->una_psn);
	roce_req_timer(q, now);
}

void
roce_req_timer(struct roce_qp *q, uint64_t now)
{
	q->timer = 0;
	if (q->sent_psn != q->una_psn)
		timer_start(q, now);
}

/* READ, CMP_SWAP, FETCH_ADD. Returns whether all of it has been asked for then. */
static bool
fill_answered(struct roce_qp *q, struct roce_wr *wr, struct roce_pkt *p)
{
	uint32_t left = wr->length - q->nxt_off;
	uint64_t want = left;

	if (wr->op == ROCE_OP_READ)
		want = (uint64_t)read_packets(q, wr) * q->conf.mtu;
	p->psn = next_psn(q, wr);
	p->va = wr->raddr + q->nxt_off;
	p->rkey = wr->rkey;
	p->dma_len = want < left ? (uint32_t)want : left;
	p->compare = wr->compare;
	p->swap_add = wr->swap_add;
	p->opcode = wr->op == ROCE_OP_READ	 ? ROCE_READ_REQUEST
		    : wr->op == ROCE_OP_CMP_SWAP ? ROCE_CMP_SWAP
						 : ROCE_FETCH_ADD;
	p->ack_req = true;
	return p->dma_len == left;
}

/* Returns whether it is the last packet of the message. */
static bool
fill_data(struct roce_qp *q, struct roce_wr *wr, struct roce_pkt *p)
{
	uint32_t left = wr->length - q->nxt_off;
	bool start = q->nxt_off == 0, end = left <= q->conf.mtu;

	p->psn = next_psn(q, wr);
	p->len = end ? left : q->conf.mtu;
	p->opcode = (q->conf.type == ROCE_TYPE_UC ? ROCE_UC : ROCE_RC) |
		    (wr->op == ROCE_OP_SEND ? send_opcode(wr, start, end)
					    : write_opcode(wr, start, end));
	p->va = wr->raddr;
	p->rkey = wr->rkey;
	p->dma_len = wr->length;
	p->imm = wr->imm;
	p->ieth = wr->inv_rkey;
	p->solicited = end && wr->solicited;
	return end;
}

/* Asked for where nothing more follows at once, and now and then. */
static bool
wants_ack(const struct roce_qp *q, const struct roce_pkt *p, bool end)
{
	int32_t ahead = roce_psn_diff(p->psn, q->una_psn) + 1;
	/* Several times per window: what is acknowledged makes room for as much, no burst. */
	uint32_t every = q->cwnd / 4 < ACK_EVERY ? q->cwnd / 4 : ACK_EVERY;

	return q->ask || (end && q->nxt + 1 == q->end) || ahead >= (int32_t)q->cwnd ||
	       roce_psn_diff(p->psn, q->ack_asked) >= (int32_t)every;
}

/* The last PSN that the request asks for; notes that it is out. */
static uint32_t
asked(struct roce_qp *q, const struct roce_pkt *p, const struct roce_wr *wr)
{
	uint32_t n = wr->op == ROCE_OP_READ ? roce_packets(q, p->dma_len) : 1;
	uint32_t last = roce_psn_add(p->psn, n - 1);

	q->rd_last[q->rd_nxt % ROCE_RESOURCES] = last;
	if (q->rd_nxt++ == q->rd_end)
		q->rd_end++;
	return last;
}

static void
sent(struct roce_qp *q, uint64_t now, const struct roce_pkt *p, struct roce_wr *wr, bool end)
{
	uint32_t last = roce_wr_answered(wr) ? asked(q, p, wr) : p->psn;

	if (roce_psn_diff(p->psn, q->sent_psn) < 0)
		q->counters[ROCE_C_TX_AGAIN]++;
	else if (p->ack_req && !q->rtt_ns)
		roce_rtt_start(q, now, last);
	/* Not last + 1: a READ of 2^23 packets covers half of the circle. */
	if (roce_psn_diff(last, q->sent_psn) >= 0)
		q->sent_psn = roce_psn_add(last, 1);
	if (p->ack_req)
		q->ack_asked = last;
	q->ask = false;
	if (wr->op == ROCE_OP_READ) {
		q->nxt_off += p->dma_len;
		roce_cc_spend(q, p->dma_len);
	} else {
		q->nxt_off += p->len;
	}
	if (end) {
		q->nxt++;
		q->nxt_off = 0;
	}
	if (q->conf.type == ROCE_TYPE_RC) {
		timer_start(q, now);
	} else {
		/* Nobody answers: it is done when it has gone. */
		q->una_psn = q->sent_psn;
		roce_cc_meter(q, now, p->len);
		if (end) {
			q->una++;
			q->ops->wr_done(q->ctx, wr, ROCE_OK);
		}
	}
}

static void
stuck(struct roce_qp *q, enum roce_status status)
{
	q->stuck = (uint8_t)status;
	roce_comp_stuck(q);
}

/* UC has no answers and no SEND with INV; nor may a READ wait for ever. */
static bool
possible(const struct roce_conf *c, const struct roce_wr *wr)
{
	if (c->type != ROCE_TYPE_RC)
		return !roce_wr_answered(wr) && !wr->has_inv;
	return !roce_wr_answered(wr) || c->max_rd_atomic;
}

/* The work request whose packet is next; NULL: nothing may be sent now. */
static struct roce_wr *
next_wr(struct roce_qp *q, uint64_t now)
{
	struct roce_wr *wr;

	if (!q->sends || q->broken || q->nxt == q->end || now < q->rnr_end)
		return NULL;
	wr = roce_slot(q, q->nxt);
	if (!q->stuck && !possible(&q->conf, wr))
		stuck(q, ROCE_LOC_QP_OP_ERR);
	if (q->broken || (!q->ask && blocked(q, wr) && !ask(q, wr)))
		return NULL;
	return roce_slot(q, q->nxt);
}

size_t
roce_req_tx(struct roce_qp *q, uint64_t now, uint8_t *buf)
{
	struct roce_pkt p = {.qpn = q->conf.dest_qpn, .pkey = q->conf.pkey};
	struct roce_wr *wr = next_wr(q, now);
	unsigned head, pad;
	bool end = true;
	int rc = 0;

	if (!wr)
		return 0;
	number(q, wr);
	if (roce_wr_answered(wr))
		end = fill_answered(q, wr, &p);
	else
		end = fill_data(q, wr, &p);
	if (q->conf.type == ROCE_TYPE_RC)
		p.ack_req |= wants_ack(q, &p, end);
	head = roce_build(&p, buf);
	if (p.len)
		rc = q->ops->wr_read(q->ctx, wr, q->nxt_off, buf + head, p.len);
	if (rc == -EAGAIN)
		return 0;
	if (rc) {
		stuck(q, ROCE_LOC_PROT_ERR);
		/* Those before it may have to be asked after. Ends: each time it begins earlier. */
		return q->broken ? 0 : roce_req_tx(q, now, buf);
	}
	for (pad = roce_pad(p.len), rc = 0; rc < (int)pad; rc++)
		buf[head + p.len + (unsigned)rc] = 0;
	sent(q, now, &p, wr, end);
	return head + p.len + pad;
}

void
roce_req_rewind(struct roce_qp *q, uint32_t psn)
{
	struct roce_wr *wr;
	uint32_t i;

	q->stuck = 0;
	q->ask = false;
	roce_rtt_cancel(q, psn);
	for (i = q->una; i != q->end; i++) {
		wr = roce_slot(q, i);
		if (!wr->numbered || roce_psn_diff(psn, wr->last_psn) <= 0)
			break;
	}
	for (q->rd_nxt = q->rd_una; q->rd_nxt != q->rd_end; q->rd_nxt++)
		if (roce_psn_diff(psn, roce_rd_last(q, q->rd_nxt)) <= 0)
			break;
	q->nxt = i;
	q->nxt_off = 0;
	if (i == q->end)
		return;
	wr = roce_slot(q, i);
	if (wr->numbered && roce_psn_diff(psn, wr->first_psn) > 0)
		q->nxt_off = (uint32_t)roce_psn_diff(psn, wr->first_psn) * q->conf.mtu;
	q->ack_asked = roce_psn_add(psn, ROCE_PSN_MASK);
}

int
roce_ud_tx(struct roce_qp *q, struct roce_wr *wr, uint8_t *buf, size_t *len)
{
	struct roce_pkt p = {
		.opcode = ROCE_UD_SEND_ONLY + wr->has_imm,
		.solicited = wr->solicited,
		.pkey = q->conf.pkey,
		.qpn = wr->qpn,
		.psn = q->psn,
		.qkey = wr->qkey,
		.src_qpn = q->conf.qpn,
		.imm = wr->imm,
		.len = wr->length,
	};
	unsigned head = roce_build(&p, buf), pad = roce_pad(p.len), i;
	int rc;

	if (p.len > q->conf.mtu)
		return -EMSGSIZE;
	rc = p.len ? q->ops->wr_read(q->ctx, wr, 0, buf + head, p.len) : 0;
	if (rc)
		return rc;
	for (i = 0; i < pad; i++)
		buf[head + p.len + i] = 0;
	q->psn = roce_psn_add(q->psn, 1);
	q->counters[ROCE_C_TX_PACKETS]++;
	*len = head + p.len + pad;
	return 0;
}
