/* SPDX-License-Identifier: MIT */
/* Tests dataplane/roce/cc.c and what hangs on it: windows, rates, round trips, probes. */
#include <CUnit/Basic.h>
#include <string.h>

#include "pair.h"
#include "roce/roce_priv.h"

#define SECOND 1000000000ull
#define MTU    1024u

static uint8_t bytes[ROCE_HEADERS_MAX + ROCE_MTU_MAX + 4];

static void
cnp(struct pair *p, unsigned to)
{
	const struct roce_pkt k = {.opcode = ROCE_CNP,
				   .flags = roce_opcode_flags(ROCE_CNP),
				   .pkey = ROCE_PKEY_DEFAULT};

	roce_rx(&p->end[to].qp, p->now, &k, false);
}

/* ---- round trips ---- */

static void
test_rtt(void)
{
	struct pair p;

	pair_init(&p, ROCE_TYPE_RC, MTU, 1);
	p.wire.delay_ns = 30000;
	for (unsigned i = 0; i < 20; i++) {
		pair_post(&p.end[0], i % 2 ? ROCE_OP_READ : ROCE_OP_WRITE, data, got, 100, 0);
		pair_run(&p, SECOND / 100);
	}
	CU_ASSERT_EQUAL(p.end[0].done, 20);
	CU_ASSERT(p.end[0].qp.srtt_ns > 59000 && p.end[0].qp.srtt_ns < 61000);
	CU_ASSERT_EQUAL(p.end[1].qp.srtt_ns, 0);
	pair_fini(&p);
}

static bool
lose_first_five(struct pair *p, unsigned from, uint8_t *b, size_t *len)
{
	return from == 1 || ++p->tapped > 5;
}

/* Karn: which of the copies was answered, nobody knows. */
static void
test_rtt_again(void)
{
	struct pair p;

	pair_init(&p, ROCE_TYPE_RC, MTU, 1);
	p.tap = lose_first_five;
	pair_post(&p.end[0], ROCE_OP_WRITE, data, NULL, 100, 0);
	pair_run(&p, SECOND);
	CU_ASSERT_EQUAL(p.end[0].done, 1);
	CU_ASSERT_EQUAL(p.end[0].qp.counters[ROCE_C_TIMEOUT], 5);
	CU_ASSERT_EQUAL(p.end[0].qp.srtt_ns, 0);
	pair_fini(&p);
}

/* A time-out that the program set shorter than the way is stretched, to four times at most. */
static void
test_timeout_stretches(void)
{
	struct pair p;

	pair_init(&p, ROCE_TYPE_RC, MTU, 1);
	p.end[0].conf.timeout_ns = 100000;
	pair_start(&p);
	p.wire.delay_ns = 30000;
	for (unsigned i = 0; i < 5; i++)
		pair_post(&p.end[0], ROCE_OP_WRITE, data, NULL, 100, 0);
	pair_run(&p, SECOND);
	p.wire.delay_ns = 60000;
	for (unsigned i = 0; i < 20; i++) {
		pair_post(&p.end[0], ROCE_OP_WRITE, data, NULL, 100, 0);
		pair_run(&p, SECOND);
	}
	CU_ASSERT_EQUAL(p.end[0].done, 25);
	CU_ASSERT(p.end[0].qp.counters[ROCE_C_TIMEOUT] < 5);
	pair_fini(&p);
}

/* A CNP may come with a time after that of the pass in which it is heeded. */
static void
test_clock_back(void)
{
	struct pair p;

	pair_init(&p, ROCE_TYPE_RC, MTU, 1);
	p.now += 5000;
	cnp(&p, 0);
	p.now -= 5000;
	CU_ASSERT(p.end[0].qp.rate.now != 0);
	pair_post(&p.end[0], ROCE_OP_WRITE, data, NULL, 100, 0);
	pair_feed(&p.end[0]);
	roce_tx(&p.end[0].qp, p.now, bytes);
	CU_ASSERT(p.end[0].qp.rate.now != 0);
	pair_fini(&p);
}

/* ---- losses that nobody tells of ---- */

static bool
lose_last(struct pair *p, unsigned from, uint8_t *b, size_t *len)
{
	return from == 1 || b[0] != ROCE_WRITE_LAST || ++p->tapped != 1;
}

static bool
lose_third_twice(struct pair *p, unsigned from, uint8_t *b, size_t *len)
{
	return from == 1 || b[11] != 0xf2 || ++p->tapped > 2;
}

static bool
lose_third_answer_twice(struct pair *p, unsigned from, uint8_t *b, size_t *len)
{
	return from == 0 || b[11] != 0xf2 || ++p->tapped > 2;
}

/* The time-out of programs is made for dead peers: it would be the end of all speed. */
static void
test_no_timeout(void)
{
	static const struct {
		bool (*tap)(struct pair *p, unsigned from, uint8_t *b, size_t *len);
		enum roce_op op;
		unsigned probes;
	} cases[] = {
		{lose_last, ROCE_OP_WRITE, 1},
		{lose_third_twice, ROCE_OP_WRITE, 0},
		{lose_third_answer_twice, ROCE_OP_READ, 0},
	};

	for (unsigned i = 0; i < 3; i++) {
		struct pair_wr *w;
		struct pair p;

		pair_init(&p, ROCE_TYPE_RC, MTU, 1);
		p.end[0].conf.timeout_ns = SECOND;
		pair_start(&p);
		memcpy(p.end[1].memory, data, 9000);
		memset(got, 0, sizeof(got));
		p.tap = cases[i].tap;
		w = pair_post(&p.end[0], cases[i].op, data, got, 9000, 0);
		p.end[0].qp.srtt_ns = 10000;
		pair_run(&p, SECOND / 10);
		CU_ASSERT_EQUAL(w->status, ROCE_OK);
		CU_ASSERT_EQUAL(p.end[0].qp.counters[ROCE_C_PROBE], cases[i].probes);
		CU_ASSERT_EQUAL(p.end[0].qp.counters[ROCE_C_TIMEOUT], 0);
		CU_ASSERT_EQUAL(memcmp(p.end[1].memory, data, 9000), 0);
		if (cases[i].op == ROCE_OP_READ)
			CU_ASSERT_EQUAL(memcmp(got, data, 9000), 0);
		pair_fini(&p);
	}
}

/* A probe is no retry, and there is one only. */
static void
test_probe_once(void)
{
	struct pair_wr *w;
	struct pair p;

	pair_init(&p, ROCE_TYPE_RC, MTU, 1);
	p.end[0].conf.timeout_ns = SECOND;
	p.end[0].conf.retry_cnt = 1;
	pair_start(&p);
	p.wire.cut = true;
	p.end[0].qp.srtt_ns = 10000;
	w = pair_post(&p.end[0], ROCE_OP_WRITE, data, NULL, 10, 0);
	pair_run(&p, 20 * SECOND);
	CU_ASSERT_EQUAL(w->status, ROCE_RETRY_EXC_ERR);
	CU_ASSERT_EQUAL(p.end[0].qp.counters[ROCE_C_PROBE], 1);
	CU_ASSERT_EQUAL(p.end[0].qp.counters[ROCE_C_TIMEOUT], 2);
	pair_fini(&p);
}

/* "Never" is what the program waits for dead peers; a loss is tried again all the same, once. */
static void
test_probe_without_timeout(void)
{
	struct pair_wr *w;
	struct pair p;

	pair_init(&p, ROCE_TYPE_RC, MTU, 1);
	p.end[0].conf.timeout_ns = roce_timeout_ns(0);
	pair_start(&p);
	p.tap = lose_last;
	p.end[0].qp.srtt_ns = 10000;
	w = pair_post(&p.end[0], ROCE_OP_WRITE, data, NULL, 9000, 0);
	pair_run(&p, SECOND / 10);
	CU_ASSERT_EQUAL(w->status, ROCE_OK);
	CU_ASSERT_EQUAL(p.end[0].qp.counters[ROCE_C_PROBE], 1);
	/* And the probe is lost as well: nothing ever comes of it. */
	p.wire.cut = true;
	w = pair_post(&p.end[0], ROCE_OP_WRITE, data, NULL, 10, 0);
	pair_run(&p, 20 * SECOND);
	CU_ASSERT_EQUAL(w->status, -1);
	CU_ASSERT_EQUAL(p.end[0].qp.counters[ROCE_C_PROBE], 2);
	CU_ASSERT_EQUAL(p.end[0].qp.counters[ROCE_C_TIMEOUT], 0);
	CU_ASSERT_EQUAL(roce_deadline(&p.end[0].qp), UINT64_MAX);
	pair_fini(&p);
}

/* ---- windows ---- */

/* A long READ goes out in parts, as the window has room; never more of them than agreed upon. */
static void
test_read_window(void)
{
	for (unsigned rd = 1; rd <= 16; rd += 5) {
		uint32_t asked = 0, most;
		struct roce_pkt k;
		unsigned n = 0;
		struct pair p;
		size_t len;

		pair_init(&p, ROCE_TYPE_RC, MTU, 1);
		p.end[0].conf.max_rd_atomic = p.end[1].conf.max_dest_rd_atomic = (uint8_t)rd;
		pair_start(&p);
		memcpy(p.end[1].memory, data, PAIR_MEMORY);
		memset(got, 0, sizeof(got));
		pair_post(&p.end[0], ROCE_OP_READ, NULL, got, PAIR_MEMORY, 0);
		pair_feed(&p.end[0]);
		most = p.end[0].qp.cwnd * MTU;
		while ((len = roce_tx(&p.end[0].qp, p.now, bytes))) {
			CU_ASSERT_EQUAL_FATAL(roce_parse(&k, bytes, len), 0);
			CU_ASSERT(k.opcode == ROCE_READ_REQUEST && k.va == asked);
			CU_ASSERT_EQUAL(k.psn, roce_psn_add(0xfffff0, asked / MTU));
			asked += k.dma_len;
			n++;
			roce_rx(&p.end[1].qp, p.now, &k, false);
		}
		CU_ASSERT(n && n <= rd && asked && asked <= most);
		pair_run(&p, SECOND);
		CU_ASSERT_EQUAL(p.end[0].wrs[0].status, ROCE_OK);
		CU_ASSERT_EQUAL(memcmp(got, data, PAIR_MEMORY), 0);
		CU_ASSERT_EQUAL(p.end[0].qp.counters[ROCE_C_TX_AGAIN], 0);
		CU_ASSERT(p.end[0].qp.cwnd > 32);
		pair_fini(&p);
	}
}

/* Nothing but small messages: the window is not used, and does not grow. */
static void
test_window_unused(void)
{
	struct pair p;

	pair_init(&p, ROCE_TYPE_RC, MTU, 1);
	for (unsigned i = 0; i < 400; i++) {
		pair_post(&p.end[0], ROCE_OP_WRITE, data, NULL, 8, 0);
		pair_run(&p, 100000);
	}
	CU_ASSERT_EQUAL(p.end[0].done, 400);
	CU_ASSERT_EQUAL(p.end[0].qp.cwnd, 32);
	pair_fini(&p);
}

/* ---- rates ---- */

static uint64_t
sent_in(struct pair *p, unsigned end, uint64_t ns)
{
	uint64_t before = p->end[end].qp.counters[ROCE_C_TX_PACKETS];

	pair_run(p, ns);
	return p->end[end].qp.counters[ROCE_C_TX_PACKETS] - before;
}

/* A CNP slows what is sent; until when it waits, roce_deadline() tells. */
static void
slowed(struct pair *p, unsigned end)
{
	struct roce_qp *q = &p->end[end].qp;
	uint64_t before, after = 0;
	unsigned waits = 0;

	p->end[0].qp.ssthresh = p->end[0].qp.cwnd; /* this wire knows no other limit */
	p->wire.delay_ns = 100000;
	pair_run(p, SECOND / 1000); /* it is under way */
	before = sent_in(p, end, 400000);
	cnp(p, end);
	CU_ASSERT(q->rate.now != 0);
	for (unsigned i = 0; i < 40; i++) {
		after += sent_in(p, end, 10000);
		if (q->rate.wait_ns > p->now) {
			CU_ASSERT(roce_deadline(q) <= q->rate.wait_ns);
			CU_ASSERT_EQUAL(roce_tx(q, p->now, bytes), 0);
			waits++;
		}
	}
	CU_ASSERT(waits && after < before * 3 / 4 && after > before / 8);
}

static void
posts(struct pair *p, unsigned end, enum roce_op op, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		pair_post(&p->end[end], op, data, got, PAIR_MEMORY, 0);
}

static void
test_cnp(void)
{
	struct pair p;

	pair_init(&p, ROCE_TYPE_RC, MTU, 1);
	posts(&p, 0, ROCE_OP_WRITE, 60);
	slowed(&p, 0);
	pair_run(&p, SECOND);
	CU_ASSERT_EQUAL(p.end[0].done, 60);
	/* What comes long after finds no limit. */
	pair_post(&p.end[0], ROCE_OP_WRITE, data, NULL, 100, 0);
	pair_run(&p, SECOND / 1000);
	CU_ASSERT(p.end[0].done == 61 && p.end[0].qp.rate.now == 0);
	CU_ASSERT_EQUAL(roce_deadline(&p.end[0].qp), UINT64_MAX);
	/* Nor does anything wait that has been stopped. */
	posts(&p, 0, ROCE_OP_WRITE, 1);
	for (unsigned i = 0; i < 20; i++) {
		cnp(&p, 0);
		pair_run(&p, SECOND / 1000);
	}
	roce_stop(&p.end[0].qp);
	CU_ASSERT_EQUAL(roce_tx(&p.end[0].qp, p.now, bytes), 0);
	CU_ASSERT_EQUAL(roce_deadline(&p.end[0].qp), UINT64_MAX);
	pair_fini(&p);
}

/* The answers to READs are what the responder sends. */
static void
test_cnp_for_answers(void)
{
	struct pair p;

	pair_init(&p, ROCE_TYPE_RC, MTU, 1);
	memcpy(p.end[1].memory, data, PAIR_MEMORY);
	posts(&p, 0, ROCE_OP_READ, 60);
	slowed(&p, 1);
	pair_run(&p, SECOND);
	CU_ASSERT_EQUAL(p.end[0].done, 60);
	CU_ASSERT_EQUAL(memcmp(got, data, PAIR_MEMORY), 0);
	CU_ASSERT_EQUAL(p.end[0].qp.counters[ROCE_C_TIMEOUT], 0);
	pair_fini(&p);
}

/* The requester slows down by itself when answers are marked; it tells nobody. */
static void
test_marked_answers(void)
{
	struct pair p;

	pair_init(&p, ROCE_TYPE_RC, MTU, 1);
	posts(&p, 0, ROCE_OP_READ, 2);
	p.wire.mark = true;
	pair_run(&p, SECOND / 500);
	CU_ASSERT(p.end[0].qp.rate.now != 0);
	CU_ASSERT(p.end[0].qp.counters[ROCE_C_ECN_MARKED] > 10);
	CU_ASSERT_EQUAL(p.end[0].qp.counters[ROCE_C_CNP_SENT], 0);
	/* The other one is told that its requests are marked; ACKs would tell nothing. */
	CU_ASSERT(p.end[1].qp.counters[ROCE_C_CNP_SENT] > 0);
	pair_run(&p, 10 * SECOND);
	CU_ASSERT_EQUAL(p.end[0].done, 2);
	pair_fini(&p);
}

static bool
count_first(struct pair *p, unsigned from, uint8_t *b, size_t *len)
{
	p->tapped += from == 0 && b[11] == 0xf0;
	return true;
}

/* A retry is one that went out: not a time-out in which the rate allowed nothing to go. */
static void
test_retries_by_rate(void)
{
	struct pair_wr *w;
	struct pair p;

	pair_init(&p, ROCE_TYPE_RC, 4096, 1);
	p.end[0].conf.timeout_ns = 100000;
	p.end[0].conf.retry_cnt = 3;
	pair_start(&p);
	p.tap = count_first;
	p.wire.cut = true;
	cnp(&p, 0);
	w = pair_post(&p.end[0], ROCE_OP_WRITE, data, NULL, 20000, 0);
	for (unsigned i = 0; i < 10000 && w->status == -1; i++) {
		pair_run(&p, 100000);
		cnp(&p, 0); /* the rate stays the least there is: 3 ms for a packet */
	}
	CU_ASSERT_EQUAL(w->status, ROCE_RETRY_EXC_ERR);
	CU_ASSERT_EQUAL(p.end[0].qp.counters[ROCE_C_TIMEOUT], 4);
	CU_ASSERT_EQUAL(p.tapped, 4);
	pair_fini(&p);
}

/* READs are paid for afterwards: a long one, in several requests, owes eight bursts at most. */
static void
test_read_credit(void)
{
	uint64_t asked = 0, begin, most;
	struct roce_qp *q;
	struct roce_pkt k;
	struct pair p;

	pair_init(&p, ROCE_TYPE_RC, MTU, 1);
	q = &p.end[0].qp;
	q->cwnd = 1024;
	cnp(&p, 0);
	pair_post(&p.end[0], ROCE_OP_READ, NULL, got, PAIR_MEMORY, 0);
	pair_feed(&p.end[0]);
	begin = p.now;
	for (unsigned i = 0; i < 2000; i++, p.now += 10000) {
		roce_tick(q, p.now);
		if (!pair_sends(&p, 0, &k))
			continue;
		CU_ASSERT_FATAL(k.opcode == ROCE_READ_REQUEST && q->rate.now);
		asked += k.dma_len;
		most = 8 * roce_cc_burst(q);
		CU_ASSERT(k.dma_len <= most);
		CU_ASSERT(asked <= most + q->rate.target * (p.now - begin) / SECOND);
		CU_ASSERT(q->rate.tokens >= -(int64_t)most);
	}
	CU_ASSERT(asked > most);
	pair_fini(&p);
}

/* However many come, and however fast: it goes on. */
static void
test_cnp_storm(void)
{
	for (enum roce_type type = ROCE_TYPE_RC; type <= ROCE_TYPE_UC; type++) {
		struct pair p;

		pair_init(&p, type, MTU, 1);
		posts(&p, 0, ROCE_OP_WRITE, 1);
		for (unsigned i = 0; i < 20000 && !p.end[0].done; i++) {
			cnp(&p, 0);
			cnp(&p, 1);
			pair_run(&p, 50000);
		}
		CU_ASSERT_EQUAL(p.end[0].done, 1);
		CU_ASSERT_EQUAL(memcmp(p.end[1].memory, data, PAIR_MEMORY), 0);
		pair_fini(&p);
	}
}

int
main(void)
{
	static const struct suite_test tests[] = {
		{"round trip", test_rtt},
		{"round trip of what is sent again", test_rtt_again},
		{"time-out stretches", test_timeout_stretches},
		{"no time-out", test_no_timeout},
		{"probe once", test_probe_once},
		{"probe without a time-out", test_probe_without_timeout},
		{"READ by the window", test_read_window},
		{"window unused", test_window_unused},
		{"CNP", test_cnp},
		{"CNP for answers", test_cnp_for_answers},
		{"marked answers", test_marked_answers},
		{"retries by the rate", test_retries_by_rate},
		{"READ on credit", test_read_credit},
		{"CNP storm", test_cnp_storm},
		{"clock goes back", test_clock_back},
	};

	return pair_main("roce cc", tests, sizeof(tests) / sizeof(tests[0]));
}
