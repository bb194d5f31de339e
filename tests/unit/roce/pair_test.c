/* SPDX-License-Identifier: MIT */
/* Tests dataplane/roce: two QPs on good and bad wires. */
#include <CUnit/Basic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pair.h"

#define SECOND 1000000000ull

/* ---- each operation, over sizes around the MTU ---- */

static void
sizes(enum roce_type type, void (*one)(struct pair *p, uint32_t len))
{
	static const uint32_t mtus[] = {256, 1024, 4096};

	for (unsigned m = 0; m < 3; m++) {
		const uint32_t mtu = mtus[m];
		const uint32_t lens[] = {0,	  1,	   3,	    mtu - 1,	 mtu,
					 mtu + 1, 2 * mtu, 5 * mtu, 5 * mtu + 7, 100000};

		for (unsigned i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
			struct pair p;

			pair_init(&p, type, mtu, 1);
			memset(got, 0, sizeof(got));
			one(&p, lens[i]);
			CU_ASSERT_EQUAL(p.end[0].errors + p.end[1].errors, 0);
			pair_fini(&p);
		}
	}
}

static void
one_send(struct pair *p, uint32_t len)
{
	struct pair_wr *w = pair_post(&p->end[0], ROCE_OP_SEND, data, NULL, len, 0);
	struct pair_recv *r = pair_recv(&p->end[1], got, len);

	w->wr.has_imm = true;
	w->wr.imm = 77;
	w->wr.solicited = true;
	pair_run(p, SECOND);
	CU_ASSERT_EQUAL(w->status, ROCE_OK);
	CU_ASSERT_EQUAL(r->status, ROCE_OK);
	CU_ASSERT(r->r.length == len && r->r.has_imm && r->r.imm == 77 && r->r.solicited);
	CU_ASSERT_EQUAL(memcmp(got, data, len), 0);
}

static void
one_write(struct pair *p, uint32_t len)
{
	struct pair_wr *w = pair_post(&p->end[0], ROCE_OP_WRITE, data, NULL, len, 1001);

	pair_run(p, SECOND);
	CU_ASSERT_EQUAL(w->status, ROCE_OK);
	CU_ASSERT_EQUAL(memcmp(p->end[1].memory + 1001, data, len), 0);
	CU_ASSERT_EQUAL(p->end[1].memory[1000], 0);
	CU_ASSERT_EQUAL(p->end[1].memory[1001 + len], 0);
}

static void
one_write_imm(struct pair *p, uint32_t len)
{
	struct pair_wr *w = pair_post(&p->end[0], ROCE_OP_WRITE, data, NULL, len, 5);
	struct pair_recv *r = pair_recv(&p->end[1], NULL, 0);

	w->wr.has_imm = true;
	pair_run(p, SECOND);
	CU_ASSERT_EQUAL(w->status, ROCE_OK);
	CU_ASSERT(r->status == ROCE_OK && r->r.is_write && r->r.length == len);
	CU_ASSERT_EQUAL(memcmp(p->end[1].memory + 5, data, len), 0);
}

static void
one_read(struct pair *p, uint32_t len)
{
	struct pair_wr *w = pair_post(&p->end[0], ROCE_OP_READ, NULL, got, len, 3);

	memcpy(p->end[1].memory + 3, data, len);
	pair_run(p, SECOND);
	CU_ASSERT_EQUAL(w->status, ROCE_OK);
	CU_ASSERT_EQUAL(memcmp(got, data, len), 0);
	CU_ASSERT_EQUAL(got[len], 0);
}

static void
test_rc(void)
{
	sizes(ROCE_TYPE_RC, one_send);
	sizes(ROCE_TYPE_RC, one_write);
	sizes(ROCE_TYPE_RC, one_write_imm);
	sizes(ROCE_TYPE_RC, one_read);
}

static void
test_uc(void)
{
	sizes(ROCE_TYPE_UC, one_send);
	sizes(ROCE_TYPE_UC, one_write);
	sizes(ROCE_TYPE_UC, one_write_imm);
}

static void
test_atomic(void)
{
	struct pair_wr *w[3];
	struct pair p;
	uint64_t old[3], now, start = 40;

	pair_init(&p, ROCE_TYPE_RC, 1024, 1);
	memcpy(p.end[1].memory + 64, &start, 8);
	w[0] = pair_post(&p.end[0], ROCE_OP_FETCH_ADD, NULL, (uint8_t *)&old[0], 8, 64);
	w[0]->wr.swap_add = 2;
	w[1] = pair_post(&p.end[0], ROCE_OP_CMP_SWAP, NULL, (uint8_t *)&old[1], 8, 64);
	w[1]->wr.compare = 42;
	w[1]->wr.swap_add = 7;
	w[2] = pair_post(&p.end[0], ROCE_OP_CMP_SWAP, NULL, (uint8_t *)&old[2], 8, 64);
	w[2]->wr.compare = 42;
	w[2]->wr.swap_add = 9;
	pair_run(&p, SECOND);
	memcpy(&now, p.end[1].memory + 64, 8);
	CU_ASSERT(old[0] == 40 && old[1] == 42 && old[2] == 7 && now == 7);
	CU_ASSERT(!w[0]->status && !w[1]->status && !w[2]->status);
	pair_fini(&p);
}

/* ---- everything at once, on a bad wire ---- */

#define PLAN 200u

struct plan {
	struct pair_wr *w;
	struct pair_recv *r;
	enum roce_op op;
	uint32_t at, len;
	uint64_t old;
};

static void
plan_make(struct pair *p, struct pair_end *from, struct pair_end *to, struct plan *plan,
	  uint8_t *sink, uint32_t *adds)
{
	uint32_t at = 64;

	for (unsigned i = 0; i < PLAN; i++) {
		struct plan *k = &plan[i];

		k->op = pair_random(p) % 5;
		k->len = pair_random(p) % 8 ? pair_random(p) % 6000 : 0;
		k->at = at;
		switch (k->op) {
		case ROCE_OP_SEND:
			k->w = pair_post(from, k->op, data + at, NULL, k->len, 0);
			k->r = pair_recv(to, sink + at, k->len);
			break;
		case ROCE_OP_WRITE:
			k->w = pair_post(from, k->op, data + at, NULL, k->len, at);
			k->w->wr.has_imm = pair_random(p) % 2;
			k->r = k->w->wr.has_imm ? pair_recv(to, NULL, 0) : NULL;
			break;
		case ROCE_OP_READ:
			memcpy(to->memory + at, data + at, k->len);
			k->w = pair_post(from, k->op, NULL, sink + at, k->len, at);
			break;
		default:
			k->op = ROCE_OP_FETCH_ADD;
			k->w = pair_post(from, k->op, NULL, (uint8_t *)&k->old, 8, 0);
			k->w->wr.swap_add = 1;
			++*adds;
			break;
		}
		k->w->wr.fence = pair_random(p) % 4 == 0;
		at += k->len < 8 ? 8 : k->len;
		CU_ASSERT_FATAL(at < PAIR_MEMORY);
	}
}

static void
plan_check(const struct pair_end *to, const struct plan *plan, const uint8_t *sink, uint32_t adds)
{
	uint64_t sum, next = 0;

	for (unsigned i = 0; i < PLAN; i++) {
		const struct plan *k = &plan[i];
		const uint8_t *where = k->op == ROCE_OP_WRITE ? to->memory : sink;

		CU_ASSERT_EQUAL(k->w->status, ROCE_OK);
		if (k->r)
			CU_ASSERT(k->r->status == ROCE_OK && k->r->r.length == k->len);
		if (k->op == ROCE_OP_FETCH_ADD) {
			CU_ASSERT_EQUAL(k->old, next++); /* each once, in order */
		} else {
			CU_ASSERT_EQUAL(memcmp(where + k->at, data + k->at, k->len), 0);
		}
	}
	memcpy(&sum, to->memory, 8);
	CU_ASSERT_EQUAL(sum, adds);
}

/* Both directions at once; returns the packets that were sent again. */
static uint64_t
storm(uint32_t mtu, uint64_t seed, const struct pair_wire *wire, bool busy)
{
	static uint8_t sink[2][PAIR_MEMORY];
	static struct plan plan[2][PLAN];
	uint32_t adds[2] = {0, 0};
	struct pair p;
	uint64_t again;

	pair_init(&p, ROCE_TYPE_RC, mtu, seed);
	memset(sink, 0, sizeof(sink));
	memset(plan, 0, sizeof(plan));
	p.wire = *wire;
	for (unsigned i = 0; i < 2; i++) {
		p.end[i].busy = busy;
		plan_make(&p, &p.end[i], &p.end[!i], plan[i], sink[i], &adds[i]);
	}
	for (unsigned i = 0; i < 200 && (p.end[0].done < PLAN || p.end[1].done < PLAN); i++)
		pair_run(&p, SECOND / 10);
	for (unsigned i = 0; i < 2; i++) {
		CU_ASSERT_EQUAL(p.end[i].errors, 0);
		plan_check(&p.end[!i], plan[i], sink[i], adds[i]);
	}
	again = p.end[0].qp.counters[ROCE_C_TX_AGAIN] + p.end[1].qp.counters[ROCE_C_TX_AGAIN];
	if (CU_get_number_of_failure_records())
		printf("(mtu %u seed %llu loss %u dup %u reorder %u busy %d: %u %u of %u fails "
		       "%u) ",
		       mtu, (unsigned long long)seed, wire->loss, wire->dup, wire->reorder, busy,
		       p.end[0].done, p.end[1].done, PLAN, CU_get_number_of_failure_records());
	pair_fini(&p);
	return again;
}

static void
test_storm(void)
{
	static const struct pair_wire wires[] = {
		{.delay_ns = 5000},
		{.delay_ns = 5000, .loss = 10},
		{.delay_ns = 5000, .loss = 100},
		{.delay_ns = 5000, .loss = 500},
		{.delay_ns = 5000, .dup = 500},
		{.delay_ns = 5000, .reorder = 300},
		{.delay_ns = 20000, .jitter_ns = 30000},
		{.delay_ns = 5000, .loss = 200, .dup = 200, .reorder = 200, .jitter_ns = 3000},
		{.delay_ns = 5000, .mark = true},
	};

	for (unsigned i = 0; i < sizeof(wires) / sizeof(wires[0]); i++) {
		for (uint64_t seed = 1; seed <= 8; seed++) {
			uint64_t again = storm(seed % 2 ? 1024 : 256, seed, &wires[i], false);

			CU_ASSERT(i > 0 || again == 0);
		}
	}
	for (uint64_t seed = 1; seed <= 8; seed++)
		storm(1024, seed, &wires[seed % 2 ? 0 : 2], true);
}

/* ---- errors ---- */

static void
fails(struct pair *p, struct pair_wr *w, int status, unsigned event)
{
	struct pair_wr *after = pair_post(&p->end[0], ROCE_OP_WRITE, data, NULL, 10, 0);

	pair_run(p, SECOND);
	CU_ASSERT_EQUAL(w->status, status);
	CU_ASSERT_EQUAL(after->status, ROCE_WR_FLUSH_ERR);
	CU_ASSERT_EQUAL(p->end[0].errors, 1);
	CU_ASSERT_EQUAL(p->end[0].last_event, 0);
	CU_ASSERT_EQUAL(p->end[1].errors, 1);
	CU_ASSERT_EQUAL(p->end[1].last_event, event);
	pair_fini(p);
}

static void
test_errors(void)
{
	struct pair_recv *r;
	struct pair_wr *w;
	struct pair p;

	pair_init(&p, ROCE_TYPE_RC, 1024, 1);
	w = pair_post(&p.end[0], ROCE_OP_WRITE, data, NULL, 5000, PAIR_MEMORY - 4999);
	fails(&p, w, ROCE_REM_ACCESS_ERR, ROCE_EVENT_ACCESS);
	pair_init(&p, ROCE_TYPE_RC, 1024, 1);
	w = pair_post(&p.end[0], ROCE_OP_READ, NULL, got, 5000, PAIR_MEMORY - 4999);
	fails(&p, w, ROCE_REM_ACCESS_ERR, ROCE_EVENT_ACCESS);
	pair_init(&p, ROCE_TYPE_RC, 1024, 1);
	w = pair_post(&p.end[0], ROCE_OP_FETCH_ADD, NULL, got, 8, 4);
	fails(&p, w, ROCE_REM_INV_REQ_ERR, ROCE_EVENT_INVALID);
	pair_init(&p, ROCE_TYPE_RC, 1024, 1);
	w = pair_post(&p.end[0], ROCE_OP_SEND, data, NULL, 5000, 0);
	r = pair_recv(&p.end[1], got, 4999);
	fails(&p, w, ROCE_REM_INV_REQ_ERR, 0);
	CU_ASSERT_EQUAL(r->status, ROCE_LOC_LEN_ERR);
	pair_init(&p, ROCE_TYPE_RC, 1024, 1);
	w = pair_post(&p.end[0], ROCE_OP_SEND, data, NULL, 5000, 0);
	r = pair_recv(&p.end[1], NULL, 5000);
	fails(&p, w, ROCE_REM_OP_ERR, 0);
	CU_ASSERT_EQUAL(r->status, ROCE_LOC_PROT_ERR);
}

/* The requester's own memory: everything before it is done first. */
static void
test_local_error(void)
{
	struct pair_wr *good, *bad, *after;
	struct pair p;

	pair_init(&p, ROCE_TYPE_RC, 1024, 1);
	good = pair_post(&p.end[0], ROCE_OP_WRITE, data, NULL, 50000, 0);
	bad = pair_post(&p.end[0], ROCE_OP_WRITE, NULL, NULL, 10, 0);
	after = pair_post(&p.end[0], ROCE_OP_WRITE, data, NULL, 10, 0);
	pair_run(&p, SECOND);
	CU_ASSERT_EQUAL(good->status, ROCE_OK);
	CU_ASSERT_EQUAL(bad->status, ROCE_LOC_PROT_ERR);
	CU_ASSERT_EQUAL(after->status, ROCE_WR_FLUSH_ERR);
	CU_ASSERT_EQUAL(p.end[0].errors, 1);
	CU_ASSERT_EQUAL(p.end[1].errors, 0);
	pair_fini(&p);
}

static void
test_retry(void)
{
	struct pair_wr *w;
	struct pair p;

	pair_init(&p, ROCE_TYPE_RC, 1024, 1);
	p.end[0].conf.retry_cnt = 3;
	pair_start(&p);
	p.wire.cut = true;
	w = pair_post(&p.end[0], ROCE_OP_WRITE, data, NULL, 10, 0);
	pair_run(&p, SECOND);
	CU_ASSERT_EQUAL(w->status, ROCE_RETRY_EXC_ERR);
	CU_ASSERT_EQUAL(p.end[0].qp.counters[ROCE_C_TIMEOUT], 4);
	CU_ASSERT_EQUAL(p.end[0].errors, 1);
	pair_fini(&p);
	/* A cut that ends in time. */
	pair_init(&p, ROCE_TYPE_RC, 1024, 1);
	p.wire.cut = true;
	w = pair_post(&p.end[0], ROCE_OP_WRITE, data, NULL, 100000, 0);
	pair_run(&p, 5000000);
	p.wire.cut = false;
	pair_run(&p, SECOND);
	CU_ASSERT_EQUAL(w->status, ROCE_OK);
	pair_fini(&p);
}

static void
test_rnr(void)
{
	struct pair_recv *r;
	struct pair_wr *w;
	struct pair p;

	pair_init(&p, ROCE_TYPE_RC, 1024, 1);
	p.end[0].conf.rnr_retry = 2;
	pair_start(&p);
	w = pair_post(&p.end[0], ROCE_OP_SEND, data, NULL, 10000, 0);
	pair_run(&p, SECOND);
	CU_ASSERT_EQUAL(w->status, ROCE_RNR_RETRY_EXC_ERR);
	CU_ASSERT_EQUAL(p.end[0].qp.counters[ROCE_C_RNR_GOT], 3);
	CU_ASSERT_EQUAL(p.end[1].errors, 0);
	pair_fini(&p);
	/* For ever, until one is posted. */
	pair_init(&p, ROCE_TYPE_RC, 1024, 1);
	w = pair_post(&p.end[0], ROCE_OP_SEND, data, NULL, 10000, 0);
	pair_run(&p, SECOND / 100);
	CU_ASSERT_EQUAL(w->status, -1);
	r = pair_recv(&p.end[1], got, 10000);
	pair_run(&p, SECOND);
	CU_ASSERT_EQUAL(w->status, ROCE_OK);
	CU_ASSERT_EQUAL(r->status, ROCE_OK);
	CU_ASSERT_EQUAL(memcmp(got, data, 10000), 0);
	pair_fini(&p);
}

static void
test_stop(void)
{
	struct pair p;

	pair_init(&p, ROCE_TYPE_RC, 1024, 1);
	for (unsigned i = 0; i < 20; i++)
		pair_post(&p.end[0], ROCE_OP_WRITE, data, NULL, 100000, 0);
	pair_run(&p, 20000);
	roce_stop(&p.end[0].qp);
	CU_ASSERT_EQUAL(p.end[0].done, 20);
	CU_ASSERT_EQUAL(p.end[0].wrs[19].status, ROCE_WR_FLUSH_ERR);
	CU_ASSERT_EQUAL(p.end[0].errors, 0);
	pair_run(&p, SECOND);
	CU_ASSERT_EQUAL(roce_deadline(&p.end[0].qp), UINT64_MAX);
	pair_fini(&p);
}

/* UC loses whole messages, never parts: what is there after all is what was sent. */
static void
test_uc_loss(void)
{
	unsigned good = 0;
	struct pair p;

	pair_init(&p, ROCE_TYPE_UC, 256, 3);
	p.wire.loss = 300;
	memset(got, 0, sizeof(got));
	for (unsigned i = 0; i < 200; i++) {
		pair_post(&p.end[0], ROCE_OP_SEND, data + 2000 * i, NULL, 2000, 0)->wr.imm = i;
		p.end[0].wrs[i].wr.has_imm = true;
		pair_recv(&p.end[1], got + 2000 * i, 2000);
	}
	pair_run(&p, SECOND);
	CU_ASSERT_EQUAL(p.end[0].done, 200);
	for (unsigned i = 0; i < p.end[1].completed; i++) {
		const struct pair_recv *r = &p.end[1].recvs[i];

		CU_ASSERT(r->status == ROCE_OK && r->r.length == 2000);
		CU_ASSERT_EQUAL(memcmp(r->buf, data + 2000 * r->r.imm, 2000), 0);
		good++;
	}
	CU_ASSERT(good > 50 && good < 200);
	pair_fini(&p);
}

int
main(void)
{
	static const struct suite_test tests[] = {
		{"RC operations", test_rc}, {"UC operations", test_uc},
		{"atomics", test_atomic},   {"storms", test_storm},
		{"errors", test_errors},    {"local error", test_local_error},
		{"retry", test_retry},	    {"receiver not ready", test_rnr},
		{"stop", test_stop},	    {"UC loses whole messages", test_uc_loss},
	};

	return pair_main("roce pair", tests, sizeof(tests) / sizeof(tests[0]));
}
