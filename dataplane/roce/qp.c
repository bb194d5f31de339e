/* SPDX-License-Identifier: MIT */
/* A QP as a whole: its start, what comes in and goes out, its timers. The thread that owns it. */
#include <string.h>

#include "roce_priv.h"

#define CNP_GAP_NS 50000u /* between CNPs of a QP (annex 17 leaves it open; NICs do about this) */

uint64_t
roce_rnr_ns(uint8_t timer)
{
	/* In units of 10 us; 0 is the longest. */
	static const uint32_t table[32] = {
		65536, 1,    2,	   3,	 4,    6,     8,     12,    16,	   24,	  32,
		48,    64,   96,   128,	 192,  256,   384,   512,   768,   1024,  1536,
		2048,  3072, 4096, 6144, 8192, 12288, 16384, 24576, 32768, 49152,
	};

	return table[timer & 31] * 10000ull;
}

uint64_t
roce_timeout_ns(uint8_t timeout)
{
	return timeout & 31 ? 4096ull << (timeout & 31) : 0;
}

void
roce_init(struct roce_qp *q, const struct roce_ops *ops, void *ctx)
{
	memset(q, 0, sizeof(*q));
	q->ops = ops;
	q->ctx = ctx;
}

void
roce_set(struct roce_qp *q, const struct roce_conf *conf)
{
	q->conf = *conf;
	q->timer_span = 0;
	if (q->conf.max_rd_atomic > ROCE_RESOURCES)
		q->conf.max_rd_atomic = ROCE_RESOURCES;
	if (q->conf.max_dest_rd_atomic > ROCE_RESOURCES)
		q->conf.max_dest_rd_atomic = ROCE_RESOURCES;
}

void
roce_start_receive(struct roce_qp *q, const struct roce_conf *conf, uint32_t rq_psn)
{
	roce_set(q, conf);
	q->exp_psn = rq_psn & ROCE_PSN_MASK;
	q->receives = true;
}

void
roce_start_send(struct roce_qp *q, const struct roce_conf *conf, uint32_t sq_psn)
{
	roce_set(q, conf);
	q->psn = q->una_psn = q->sent_psn = sq_psn & ROCE_PSN_MASK;
	q->ack_asked = roce_psn_add(q->psn, ROCE_PSN_MASK);
	q->retry_left = conf->retry_cnt;
	q->rnr_left = conf->rnr_retry;
	roce_cc_init(q);
	q->sends = true;
}

void
roce_post(struct roce_qp *q, struct roce_wr *wr)
{
	wr->numbered = false;
	wr->got = 0;
	if (q->broken) {
		q->ops->wr_done(q->ctx, wr, ROCE_WR_FLUSH_ERR);
		return;
	}
	q->wr[q->end++ % ROCE_WINDOW] = wr;
}

/* A peer reacts once per round trip: more is of no use to it, where we know how long that is. */
static uint64_t
cnp_gap(const struct roce_qp *q)
{
	return q->srtt_ns ? roce_rtt_interval(q) : CNP_GAP_NS;
}

static size_t
cnp_tx(struct roce_qp *q, uint64_t now, uint8_t *buf)
{
	const struct roce_pkt p = {
		.opcode = ROCE_CNP, .qpn = q->conf.dest_qpn, .pkey = q->conf.pkey, .becn = true};

	if (!q->cnp_due || (q->cnp_ns && roce_since(now, q->cnp_ns) < cnp_gap(q)))
		return 0;
	q->cnp_due = false;
	q->cnp_ns = now;
	q->counters[ROCE_C_CNP_SENT]++;
	return roce_build(&p, buf);
}

/* An ACK or a NAK; with the NAK of a request that ends this QP, it ends. */
static size_t
ack_tx(struct roce_qp *q, uint8_t *buf)
{
	size_t n = roce_resp_ack_tx(q, buf);

	if (q->dying && !q->ack_due)
		roce_resp_end(q, q->dying_event);
	return n;
}

/*
 * Answers and requests take turns, packet by packet: neither a peer that READs without end nor a
 * program that sends without end keeps the other waiting.
 */
static size_t
data_tx(struct roce_qp *q, uint64_t now, uint8_t *buf)
{
	size_t n = 0;

	if (!roce_resp_active(q))
		return roce_req_tx(q, now, buf);
	if (q->answered)
		n = roce_req_tx(q, now, buf);
	q->answered = false;
	if (n || !roce_resp_active(q))
		return n;
	n = roce_resp_tx(q, now, buf);
	q->answered = n != 0;
	return n ? n : roce_req_tx(q, now, buf);
}

size_t
roce_tx(struct roce_qp *q, uint64_t now, uint8_t *buf)
{
	size_t n = cnp_tx(q, now, buf);

	if (!n && q->ack_due)
		n = ack_tx(q, buf);
	if (!n && (q->nxt != q->end || roce_resp_active(q)) && !roce_cc_held(q, now)) {
		n = data_tx(q, now, buf);
		/* An answer that cannot be given has become a NAK. */
		if (!n && q->ack_due)
			n = ack_tx(q, buf);
		else
			roce_cc_spend(q, n);
	}
	q->counters[ROCE_C_TX_PACKETS] += n != 0;
	return n;
}

/*
 * Who sends is told; answers come as fast as we ask. Marks of ACKs mean nobody: what makes them few
 * is what makes the data that they are for few.
 */
static void
marked(struct roce_qp *q, uint64_t now, const struct roce_pkt *p)
{
	q->counters[ROCE_C_ECN_MARKED]++;
	if (!(p->flags & ROCE_F_RESPONSE))
		q->cnp_due = q->conf.type != ROCE_TYPE_UD; /* which has nobody to tell */
	else if (p->opcode != ROCE_ACK)
		roce_cc_marked(q, now);
}

void
roce_rx(struct roce_qp *q, uint64_t now, const struct roce_pkt *p, bool ce)
{
	q->counters[ROCE_C_RX_PACKETS]++;
	if (!q->receives || q->broken || ((p->pkey ^ q->conf.pkey) & 0x7fff)) {
		q->counters[ROCE_C_RX_BAD]++;
		return;
	}
	if (ce && !(p->flags & ROCE_F_CNP))
		marked(q, now, p);
	if (p->flags & ROCE_F_CNP) {
		q->counters[ROCE_C_CNP_GOT]++;
		roce_cc_marked(q, now);
	} else if (p->flags & ROCE_F_RESPONSE) {
		roce_comp_rx(q, now, p);
	} else {
		roce_resp_rx(q, p);
	}
}

uint64_t
roce_deadline(const struct roce_qp *q)
{
	uint64_t d = UINT64_MAX;

	if (q->timer)
		d = q->timer;
	if (q->rnr_end && q->rnr_end < d)
		d = q->rnr_end;
	if (q->cnp_due && q->cnp_ns + cnp_gap(q) < d)
		d = q->cnp_ns + cnp_gap(q);
	if (q->rate.wait_ns && q->rate.wait_ns < d)
		d = q->rate.wait_ns;
	return d;
}

void
roce_tick(struct roce_qp *q, uint64_t now)
{
	if (q->rate.wait_ns && now >= q->rate.wait_ns)
		q->rate.wait_ns = 0;
	if (q->rnr_end && now >= q->rnr_end) {
		q->rnr_end = 0;
		roce_req_timer(q, now);
	}
	if (!q->timer || now < q->timer)
		return;
	/* Who may not send yet has not been left without an answer. */
	if (roce_req_behind(q) && roce_cc_held(q, now)) {
		q->timer = q->rate.wait_ns + q->timer_span;
		return;
	}
	q->timer = q->timer_span = 0;
	q->implied = false;
	if (q->probe) {
		roce_req_probe(q, now);
		return;
	}
	q->counters[ROCE_C_TIMEOUT]++;
	if (q->backoff < BACKOFF_MAX)
		q->backoff++;
	roce_cc_lost(q, now, true);
	roce_comp_retry(q, now, q->una_psn);
}
