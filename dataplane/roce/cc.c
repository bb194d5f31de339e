/* SPDX-License-Identifier: MIT */
/*
 * How much a QP may have on its way, and how fast. The thread that owns the QP.
 *
 * Loss drives a window, counted in packets: it grows by what is acknowledged and is halved once per
 * round trip, as TCP's (RFC 5681, without its fast recovery: what is lost is sent again from there
 * on). Simple AIMD, not CUBIC: windows are small here, where CUBIC does what AIMD does.
 *
 * Marks drive a rate, as DCQCN's (Zhu et al., SIGCOMM 2015): alpha, cuts, fast recovery, additive
 * and hyper increase, timer and byte counter. Its constants are for 40 Gb/s and one switch; here
 * everything goes by the round trip that is measured: alpha and the timer once in each, one cut at
 * most in each, and an additive step is one packet more per round trip (or per STEP_NS, so that
 * short ways do not leave longer ones nothing): neither too much for a slow path nor too little for
 * a fast one. Timers are looked at when something is sent: they wake nobody. A QP begins without a
 * rate; the first mark gives it what it has reached, and when marks stay away for long, it has none
 * again.
 *
 * Answers to READs are bounded on both sides: the requester asks for no more than fits its window
 * (requester.c), since it sees their loss and their marks; the responder obeys the CNPs that come
 * for them.
 */
#include "roce_priv.h"

#define NS	     1000000000ull
#define CWND_FIRST   32u
#define CWND_MIN     2u
#define CWND_AGAIN   16u /* at least, where a rate has been forgotten */
#define CWND_MAX     1024u
#define SSTHRESH_MIN 4u

#define ALPHA_ONE     65536u
#define ALPHA_SHIFT   4u /* g = 1/16, as DCTCP's: alpha moves once per round trip, not each 55 us */
#define RECOVERY      5u /* steps of fast recovery: F */
#define STEP_NS	      250000u
#define HYPER	      8u /* additive steps in one of hyper increase */
#define COUNTER_BYTES (4u << 20)
#define RATE_MIN      1250000ull /* bytes/s: a READ's answer must not starve into time-outs */
#define RATE_MAX      100000000000ull
#define FORGET	      64u /* intervals without a mark */
#define FORGET_NS     10000000ull
#define BURST_NS      100000u /* a burst is what goes in this time: wake-ups are not free */
#define BURST_MAX     65536u
#define METER_NS      1000000u
#define METER_MIN_NS  200000u

#define INTERVAL_MIN	 50000u
#define INTERVAL_UNKNOWN 500000u /* UC; a responder that sends no requests */
#define INTERVAL_MAX	 10000000u
#define RTT_MAX		 1000000000u
#define PROBE_MIN	 5000000u /* a worker may be late */

_Static_assert(INTERVAL_MAX <= FORGET_NS, "the longest wait is made up for");

/* ---- round trip ---- */

void
roce_rtt_start(struct roce_qp *q, uint64_t now, uint32_t psn)
{
	q->rtt_ns = now;
	q->rtt_psn = psn;
}

void
roce_rtt_end(struct roce_qp *q, uint64_t now)
{
	uint64_t r = roce_since(now, q->rtt_ns);
	uint32_t off;

	q->rtt_ns = q->timer_span = 0;
	r = r < 1 ? 1 : r < RTT_MAX ? r : RTT_MAX;
	if (!q->srtt_ns) {
		q->srtt_ns = (uint32_t)r;
		q->rttvar_ns = (uint32_t)r / 2;
		return;
	}
	off = (uint32_t)(r > q->srtt_ns ? r - q->srtt_ns : q->srtt_ns - r);
	q->rttvar_ns += off / 4 - q->rttvar_ns / 4;
	q->srtt_ns += (uint32_t)r / 8 - q->srtt_ns / 8;
}

/* Karn: whose copy would be answered? */
void
roce_rtt_cancel(struct roce_qp *q, uint32_t psn)
{
	if (q->rtt_ns && roce_psn_diff(q->rtt_psn, psn) >= 0)
		q->rtt_ns = 0;
}

/*
 * IBTA 9.7.6.1.3: between once and four times what the program set. So it backs off to four times
 * at most: a program reckons with (retry_cnt + 1) * 4 * timeout until it hears of a dead peer. It
 * takes longer than once where round trips do.
 */
uint64_t
roce_rtt_timeout(const struct roce_qp *q)
{
	uint64_t t = q->conf.timeout_ns << (q->backoff < BACKOFF_MAX ? q->backoff : BACKOFF_MAX);
	uint64_t rto = q->srtt_ns + 4ull * q->rttvar_ns, most = q->conf.timeout_ns << BACKOFF_MAX;

	t = t > rto ? t : rto;
	return t < most ? t : most;
}

/* Without an answer for so long, something is lost. */
uint64_t
roce_rtt_probe(const struct roce_qp *q)
{
	uint64_t rto = 2ull * q->srtt_ns + 4ull * q->rttvar_ns;

	if (!q->srtt_ns)
		return UINT64_MAX;
	return rto > PROBE_MIN ? rto : PROBE_MIN;
}

uint64_t
roce_rtt_interval(const struct roce_qp *q)
{
	if (!q->srtt_ns)
		return INTERVAL_UNKNOWN;
	if (q->srtt_ns < INTERVAL_MIN)
		return INTERVAL_MIN;
	return q->srtt_ns < INTERVAL_MAX ? q->srtt_ns : INTERVAL_MAX;
}

static uint32_t
flight(const struct roce_qp *q)
{
	uint32_t n = (q->sent_psn - q->una_psn) & ROCE_PSN_MASK;

	return n < CWND_MAX ? n : CWND_MAX;
}

/* ---- marks: rate ---- */

static uint64_t
rate_clamp(uint64_t rate)
{
	return rate < RATE_MIN ? RATE_MIN : rate < RATE_MAX ? rate : RATE_MAX;
}

/* What the QP has made so far, with its window or without one. */
static uint64_t
reached(const struct roce_qp *q, uint64_t now)
{
	const struct roce_rate *r = &q->rate;
	uint64_t dt = roce_since(now, r->sent_ns), most = r->sent_rate, other;

	other = r->sent * NS / (dt > METER_MIN_NS ? dt : METER_MIN_NS);
	if (other > most)
		most = other;
	other = q->srtt_ns ? (uint64_t)flight(q) * q->conf.mtu * NS / q->srtt_ns : 0;
	return rate_clamp(other > most ? other : most);
}

void
roce_cc_meter(struct roce_qp *q, uint64_t now, uint64_t bytes)
{
	struct roce_rate *r = &q->rate;

	if (roce_since(now, r->sent_ns) >= METER_NS) {
		r->sent_rate = r->sent * NS / (now - r->sent_ns);
		r->sent = 0;
		r->sent_ns = now;
	}
	r->sent += bytes;
}

/* by: of ALPHA_ONE. */
static void
rate_cut(struct roce_qp *q, uint64_t now, uint32_t by)
{
	struct roce_rate *r = &q->rate;

	r->target = r->now;
	r->now = rate_clamp(r->now - r->now * by / ALPHA_ONE);
	r->timed = r->counted = 0;
	r->bytes = 0;
	r->cut_ns = now;
	r->alpha_ns = r->increase_ns = now + roce_rtt_interval(q);
}

static void
rate_increase(struct roce_qp *q)
{
	struct roce_rate *r = &q->rate;
	uint8_t most = r->timed > r->counted ? r->timed : r->counted;
	uint8_t least = r->timed < r->counted ? r->timed : r->counted;
	uint64_t interval = roce_rtt_interval(q);
	uint64_t step = q->conf.mtu * NS / (interval > STEP_NS ? interval : STEP_NS);

	if (least > RECOVERY)
		r->target += (uint64_t)(least - RECOVERY) * HYPER * step;
	else if (most > RECOVERY)
		r->target += step;
	r->target = rate_clamp(r->target);
	r->now = (r->now + r->target) / 2;
}

/* The window goes on from where the rate was. */
static void
rate_forget(struct roce_qp *q)
{
	uint64_t packets = q->rate.now / q->conf.mtu * q->srtt_ns / NS;

	if (q->srtt_ns) {
		q->cwnd = packets < CWND_AGAIN ? CWND_AGAIN
			  : packets < CWND_MAX ? (uint32_t)packets
					       : CWND_MAX;
		if (q->ssthresh < q->cwnd)
			q->ssthresh = q->cwnd;
		q->cwnd_acked = 0;
	}
	q->rate.now = q->rate.wait_ns = 0;
}

/* What the timers have done since they were looked at. */
static void
rate_advance(struct roce_qp *q, uint64_t now)
{
	struct roce_rate *r = &q->rate;
	uint64_t interval = roce_rtt_interval(q);
	uint64_t forget = FORGET * interval > FORGET_NS ? FORGET * interval : FORGET_NS;

	uint64_t until = roce_since(now, r->cut_ns) > forget ? r->cut_ns + forget : now;

	/* Some 200 turns at most. */
	for (; until >= r->alpha_ns; r->alpha_ns += interval)
		r->alpha -= r->alpha >> ALPHA_SHIFT;
	for (; until >= r->increase_ns; r->increase_ns += interval) {
		r->timed += r->timed < UINT8_MAX;
		rate_increase(q);
	}
	if (until != now)
		rate_forget(q);
}

uint64_t
roce_cc_burst(const struct roce_qp *q)
{
	uint64_t n = q->rate.now / (NS / BURST_NS);

	if (n > BURST_MAX)
		n = BURST_MAX;
	return n > 2 * q->conf.mtu ? n : 2 * q->conf.mtu;
}

static void
tokens_fill(struct roce_qp *q, uint64_t now)
{
	struct roce_rate *r = &q->rate;
	uint64_t dt = roce_since(now, r->fill_ns);
	int64_t most = 2 * (int64_t)roce_cc_burst(q);

	if (dt > FORGET_NS)
		dt = FORGET_NS;
	r->fill_ns = now;
	r->tokens += (int64_t)(r->now * dt / NS);
	if (r->tokens > most)
		r->tokens = most;
}

void
roce_cc_marked(struct roce_qp *q, uint64_t now)
{
	struct roce_rate *r = &q->rate;

	if (r->now)
		rate_advance(q, now);
	if (!r->now) {
		r->now = reached(q, now);
		r->alpha = ALPHA_ONE;
		r->tokens = 0;
		r->fill_ns = now;
	} else if (roce_since(now, r->cut_ns) < roce_rtt_interval(q)) {
		return; /* the last cut has not had its effect yet */
	} else {
		tokens_fill(q, now);
		r->alpha += (ALPHA_ONE - r->alpha) >> ALPHA_SHIFT;
	}
	rate_cut(q, now, r->alpha / 2);
}

void
roce_cc_spend(struct roce_qp *q, uint64_t bytes)
{
	struct roce_rate *r = &q->rate;

	if (!r->now)
		return;
	r->tokens -= (int64_t)bytes;
	r->bytes += bytes;
	if (r->bytes >= COUNTER_BYTES) {
		r->bytes = 0;
		r->counted += r->counted < UINT8_MAX;
		rate_increase(q);
	}
}

bool
roce_cc_wait(struct roce_qp *q, uint64_t now)
{
	uint64_t most = roce_rtt_interval(q) > BURST_NS ? roce_rtt_interval(q) : BURST_NS, wait;
	struct roce_rate *r = &q->rate;

	if (now < r->wait_ns)
		return true;
	r->wait_ns = 0;
	rate_advance(q, now);
	if (!r->now)
		return false;
	tokens_fill(q, now);
	if (r->tokens > 0)
		return false;
	/* Looked at again when the rate may have moved; and no wait is longer than tokens_fill()
	 * makes up for. */
	wait = ((uint64_t)-r->tokens + roce_cc_burst(q)) * NS / r->now;
	r->wait_ns = now + (wait < most ? wait : most);
	return true;
}

/* ---- loss: window ---- */

void
roce_cc_init(struct roce_qp *q)
{
	q->cwnd = CWND_FIRST;
	q->ssthresh = CWND_MAX;
	q->cwnd_acked = 0;
	q->cut = false;
}

void
roce_cc_acked(struct roce_qp *q, uint32_t packets, uint32_t out)
{
	if (q->cut && roce_psn_diff(q->una_psn, q->cut_psn) >= 0)
		q->cut = false;
	/* A window that is not used proves nothing (RFC 7661). */
	if (q->cwnd == CWND_MAX || out < q->cwnd / 2)
		return;
	if (q->cwnd < q->ssthresh) {
		q->cwnd += packets < q->cwnd ? packets : q->cwnd;
	} else {
		q->cwnd_acked += packets;
		if (q->cwnd_acked >= q->cwnd) {
			q->cwnd_acked -= q->cwnd;
			q->cwnd++;
		}
	}
	if (q->cwnd > CWND_MAX)
		q->cwnd = CWND_MAX;
}

void
roce_cc_lost(struct roce_qp *q, uint64_t now, bool timeout)
{
	uint32_t half = flight(q) / 2;

	if (q->cut && !timeout)
		return;
	if (half > q->cwnd / 2)
		half = q->cwnd / 2;
	q->cut = true;
	q->cut_psn = q->sent_psn;
	q->ssthresh = half > SSTHRESH_MIN ? half : SSTHRESH_MIN;
	q->cwnd = timeout ? CWND_MIN : q->cwnd < q->ssthresh ? q->cwnd : q->ssthresh;
	q->cwnd_acked = 0;
	if (q->rate.now)
		rate_cut(q, now, ALPHA_ONE / 2);
}
