/* SPDX-License-Identifier: MIT */
/*
 * Tests dataplane/roce/cc.c: pairs of QPs whose data goes through one bottleneck. Time is counted,
 * not measured, and chance comes from a seed: each run of this is the same.
 */
#include <CUnit/Basic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../suite.h"
#include "roce/roce.h"

#define NS	1000000000ull
#define MTU	1024u
#define MESSAGE 65536u
#define FLOWS	4u
#define TURN	64u
#define AROUND	62u /* IP, UDP and so on */

struct sim;
struct end {
	struct sim *sim;
	struct flow *flow;
	struct roce_qp qp;
	struct roce_wr wrs[16];
	uint64_t waits; /* when it looks again: workers come by now and then */
};

/* Data goes from end 0 to end 1: with WRITEs of end 0, or with READs of end 1. */
struct flow {
	struct end end[2];
	enum roce_type type;
	bool read;
	uint64_t delay, start; /* one way, without the queue; when it begins */
	uint64_t bytes;	       /* that came, since they are counted */
};

struct packet {
	struct packet *next;
	uint64_t at;
	struct end *to;
	size_t len;
	bool ce;
	uint8_t bytes[ROCE_HEADERS_MAX + MTU + 4];
};

struct sim {
	struct flow flows[FLOWS];
	unsigned num;
	uint64_t now, seed;
	uint64_t rate, limit, ecn; /* bit/s, bytes, bytes */
	uint64_t free_at, dropped, marked;
	unsigned bad; /* what must not happen: errors, packets that cannot be parsed */
	struct packet *first;
};

static uint64_t
chance(struct sim *s)
{
	s->seed ^= s->seed << 13;
	s->seed ^= s->seed >> 7;
	s->seed ^= s->seed << 17;
	return s->seed;
}

/* ---- what the engine calls ---- */

static int
wr_read(void *ctx, struct roce_wr *wr, uint64_t off, void *to, uint32_t len)
{
	return 0;
}

static int
wr_write(void *ctx, struct roce_wr *wr, uint64_t off, const void *from, uint32_t len)
{
	((struct end *)ctx)->flow->bytes += len;
	return 0;
}

static void
wr_done(void *ctx, struct roce_wr *wr, enum roce_status status)
{
	struct end *e = ctx;

	e->sim->bad += status != ROCE_OK;
	if (status == ROCE_OK)
		roce_post(&e->qp, wr);
}

static int
remote_check(void *ctx, uint32_t rkey, uint64_t va, uint32_t len, unsigned access)
{
	return 0;
}

static int
remote_read(void *ctx, uint32_t rkey, uint64_t va, void *to, uint32_t len)
{
	return 0;
}

static int
remote_write(void *ctx, uint32_t rkey, uint64_t va, const void *from, uint32_t len)
{
	((struct end *)ctx)->flow->bytes += len;
	return 0;
}

static void
failed(void *ctx, unsigned event)
{
	((struct end *)ctx)->sim->bad++;
}

static const struct roce_ops ops = {
	.wr_read = wr_read,
	.wr_write = wr_write,
	.wr_done = wr_done,
	.remote_check = remote_check,
	.remote_read = remote_read,
	.remote_write = remote_write,
	.error = failed,
};

/* ---- the network ---- */

static void
transmit(struct sim *s, struct end *from, const uint8_t *bytes, size_t len)
{
	struct flow *f = from->flow;
	bool forward = from == &f->end[0], ce = false;
	uint64_t at = s->now, waiting;
	struct packet *k, **where = &s->first;

	if (forward) {
		waiting = s->free_at > at ? (s->free_at - at) * s->rate / 8 / NS : 0;
		if (waiting + len + AROUND > s->limit) {
			s->dropped++;
			return;
		}
		ce = s->ecn && waiting > s->ecn;
		s->marked += ce;
		at = (s->free_at > at ? s->free_at : at) + (len + AROUND) * 8 * NS / s->rate;
		s->free_at = at;
	}
	k = malloc(sizeof(*k));
	if (!k)
		abort();
	*k = (struct packet){.at = at + f->delay, .to = &f->end[forward], .len = len, .ce = ce};
	memcpy(k->bytes, bytes, len);
	while (*where && (*where)->at <= k->at)
		where = &(*where)->next;
	k->next = *where;
	*where = k;
}

static void
deliver(struct sim *s)
{
	struct packet *k;

	while ((k = s->first) && k->at <= s->now) {
		uint64_t soon = s->now + chance(s) % 20000;
		struct roce_pkt p;

		s->first = k->next;
		if (roce_parse(&p, k->bytes, k->len))
			s->bad++;
		else
			roce_rx(&k->to->qp, s->now, &p, k->ce);
		k->to->waits = soon < k->to->waits ? soon : k->to->waits;
		free(k);
	}
}

static void
look(struct sim *s, struct end *e)
{
	uint8_t bytes[ROCE_HEADERS_MAX + MTU + 4];
	unsigned turn = TURN;
	uint64_t due;
	size_t len;

	roce_tick(&e->qp, s->now);
	while (turn && (len = roce_tx(&e->qp, s->now, bytes))) {
		transmit(s, e, bytes, len);
		turn--;
	}
	e->waits = turn ? UINT64_MAX : s->now + 10000;
	due = roce_deadline(&e->qp);
	if (due != UINT64_MAX) {
		due = (due > s->now ? due : s->now) + chance(s) % 50000;
		e->waits = due < e->waits ? due : e->waits;
	}
}

static void
flow_start(struct sim *s, struct flow *f)
{
	struct end *e = &f->end[f->read];

	for (unsigned i = 0; i < 16; i++) {
		e->wrs[i] = (struct roce_wr){.op = f->read ? ROCE_OP_READ : ROCE_OP_WRITE,
					     .length = MESSAGE};
		roce_post(&e->qp, &e->wrs[i]);
	}
	e->waits = s->now;
}

static void
run(struct sim *s, uint64_t until)
{
	while (s->now < until) {
		uint64_t next = s->first ? s->first->at : until;

		for (unsigned i = 0; i < s->num; i++) {
			struct flow *f = &s->flows[i];

			if (s->now >= f->start) {
				f->start = UINT64_MAX;
				flow_start(s, f);
			}
			for (unsigned j = 0; j < 2; j++) {
				if (s->now >= f->end[j].waits)
					look(s, &f->end[j]);
				next = f->end[j].waits < next ? f->end[j].waits : next;
			}
			next = f->start < next ? f->start : next;
		}
		if (s->first && s->first->at < next)
			next = s->first->at;
		s->now = next > s->now ? next : s->now;
		deliver(s);
	}
}

static struct flow *
flow_add(struct sim *s, bool read, uint64_t delay, uint64_t start)
{
	struct flow *f = &s->flows[s->num++];
	const struct roce_conf conf = {
		.type = ROCE_TYPE_RC,
		.mtu = MTU,
		.pkey = ROCE_PKEY_DEFAULT,
		.timeout_ns = roce_timeout_ns(14),
		.retry_cnt = 7,
		.rnr_retry = 7,
		.max_rd_atomic = 16,
		.max_dest_rd_atomic = 16,
	};

	f->read = read;
	f->delay = delay;
	f->start = s->now + start;
	for (unsigned i = 0; i < 2; i++) {
		struct end *e = &f->end[i];

		e->flow = f;
		e->sim = s;
		e->waits = UINT64_MAX;
		roce_init(&e->qp, &ops, e);
		roce_start_receive(&e->qp, &conf, 0xfffff0);
		roce_start_send(&e->qp, &conf, 0xfffff0);
	}
	return f;
}

static void
sim_fini(struct sim *s)
{
	struct packet *k;

	while ((k = s->first)) {
		s->first = k->next;
		free(k);
	}
}

/* ---- tests ---- */

struct path {
	uint64_t rate, limit, ecn, delay;
	uint64_t ns; /* time that is counted */
};

static const struct path paths[] = {
	{100000000, 65536, 0, 100000, NS},	  {100000000, 65536, 20000, 100000, NS},
	{1000000000, 131072, 0, 50000, NS / 2},	  {1000000000, 131072, 40000, 50000, NS / 4},
	{10000000000, 400000, 0, 20000, NS / 10}, {10000000000, 400000, 100000, 20000, NS / 10},
};
#define PATHS (sizeof(paths) / sizeof(paths[0]))

/*
 * Flows that begin one after the other, and what comes through when all have gone on for a while:
 * share[]: 1 is what is fair. Returns how much of the bottleneck was used.
 */
static double
compete(struct sim *s, const struct path *path, uint64_t seed, const bool *reads, unsigned num,
	double *share)
{
	double sum = 0;

	memset(s, 0, sizeof(*s));
	s->seed = seed * 0x9e3779b97f4a7c15u;
	s->now = 1000000;
	s->rate = path->rate;
	s->limit = path->limit;
	s->ecn = path->ecn;
	for (unsigned i = 0; i < num; i++)
		flow_add(s, reads[i], path->delay + chance(s) % (path->delay / 20),
			 i * path->ns / 20 + chance(s) % (path->ns / 20));
	run(s, s->now + path->ns / 2);
	for (unsigned i = 0; i < num; i++)
		s->flows[i].bytes = 0;
	run(s, s->now + path->ns);
	for (unsigned i = 0; i < num; i++)
		sum += (double)s->flows[i].bytes;
	for (unsigned i = 0; i < num; i++)
		share[i] = (double)s->flows[i].bytes * num / sum;
	return sum * (MTU + ROCE_BTH + AROUND) / MTU * 8 * NS / path->ns / path->rate;
}

/* Marks make CNPs, or slow down who asked; without marks, there is neither. */
static void
marks_checked(const struct sim *s, const struct path *path)
{
	for (unsigned i = 0; i < s->num; i++) {
		const struct flow *f = &s->flows[i];
		const struct roce_qp *from = &f->end[0].qp, *to = &f->end[1].qp;

		CU_ASSERT_EQUAL(to->counters[ROCE_C_ECN_MARKED] != 0, path->ecn != 0);
		CU_ASSERT_EQUAL(from->counters[ROCE_C_CNP_GOT] != 0, path->ecn && !f->read);
		CU_ASSERT_EQUAL((f->read ? to : from)->rate.now != 0, path->ecn != 0);
	}
}

static void
compared(const bool *reads, unsigned num, double bound)
{
	static struct sim s;
	double share[FLOWS], used;

	for (unsigned i = 0; i < PATHS; i++) {
		/* What one READ asks for at once is more than what makes a mark there. */
		double off = reads[0] && i == PATHS - 1 && num > 1 && bound < 0.4 ? 0.4 : bound;

		for (uint64_t seed = 1; seed <= 2; seed++) {
			unsigned before = CU_get_number_of_failure_records();

			used = compete(&s, &paths[i], seed, reads, num, share);
			CU_ASSERT(s.bad == 0 && used > 0.8);
			for (unsigned j = 0; j < num; j++)
				CU_ASSERT(share[j] > 1 - off && share[j] < 1 + off);
			marks_checked(&s, &paths[i]);
			if (CU_get_number_of_failure_records() != before)
				printf("(path %u seed %llu: used %.2f, share %.2f) ", i,
				       (unsigned long long)seed, used, share[0]);
			sim_fini(&s);
		}
	}
}

static void
test_alone(void)
{
	compared((const bool[]){false}, 1, 0.01);
	compared((const bool[]){true}, 1, 0.01);
}

static void
test_writes(void)
{
	compared((const bool[]){false, false}, 2, 0.2);
}

static void
test_reads(void)
{
	compared((const bool[]){true, true}, 2, 0.2);
}

/* They are not the same in what they see, and when; neither starves. */
static void
test_mixed(void)
{
	compared((const bool[]){true, false}, 2, 0.6);
}

static void
test_four(void)
{
	compared((const bool[]){false, false, false, false}, 4, 0.4);
}

int
main(void)
{
	static const struct suite_test tests[] = {
		{"alone", test_alone},	       {"two that write", test_writes},
		{"two that read", test_reads}, {"one of each", test_mixed},
		{"four", test_four},
	};

	return suite_main("roce congestion", tests, sizeof(tests) / sizeof(tests[0]));
}
