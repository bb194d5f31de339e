/* SPDX-License-Identifier: MIT */
/* Tests dataplane/roce/answer.c, reads.c, and what a responder refuses: what goes back, and when.
 */
#include <CUnit/Basic.h>
#include <errno.h>
#include <string.h>

#include "pair.h"

#define SECOND 1000000000ull
#define MTU    256u

static void
post(struct pair_end *e, enum roce_op op, uint32_t len)
{
	pair_post(e, op, data, got, len, 0);
	pair_feed(e);
}

static void
ask(struct pair *p, unsigned to, uint32_t psn, uint32_t len)
{
	pair_give(p, to,
		  &(struct roce_pkt){.opcode = ROCE_READ_REQUEST,
				     .psn = psn,
				     .rkey = PAIR_RKEY,
				     .dma_len = len});
}

static void
write_to(struct pair *p, unsigned to, uint32_t psn, bool ack_req)
{
	pair_give(p, to,
		  &(struct roce_pkt){.opcode = ROCE_WRITE_ONLY,
				     .psn = psn,
				     .rkey = PAIR_RKEY,
				     .len = 8,
				     .dma_len = 8,
				     .ack_req = ack_req});
}

/* ---- turns ---- */

/* A peer that READs all the time leaves us every other packet, and we leave it as much. */
static void
test_turns(void)
{
	unsigned answers = 0, requests = 0;
	struct roce_pkt k;
	struct pair p;

	pair_init(&p, ROCE_TYPE_RC, MTU, 1);
	post(&p.end[1], ROCE_OP_WRITE, 100 * MTU);
	ask(&p, 1, 0xfffff0, 100 * MTU);
	for (unsigned i = 0; i < 40; i++) {
		CU_ASSERT_FATAL(pair_sends(&p, 1, &k));
		answers += !!(k.flags & ROCE_F_RESPONSE);
		requests += !(k.flags & ROCE_F_RESPONSE);
	}
	CU_ASSERT(answers == 20 && requests == 20);
	/* The window is full: answers have it all. */
	for (unsigned i = 0; i < 60; i++) {
		CU_ASSERT_FATAL(pair_sends(&p, 1, &k));
		answers += !!(k.flags & ROCE_F_RESPONSE);
	}
	CU_ASSERT_EQUAL(answers, 100 - p.end[1].qp.cwnd);
	pair_fini(&p);
}

/* An ACK goes before the answers to what came after it, and after those to what came before. */
static void
test_ack_in_order(void)
{
	struct roce_pkt k;
	struct pair p;

	pair_init(&p, ROCE_TYPE_RC, MTU, 1);
	write_to(&p, 1, 0xfffff0, true);
	ask(&p, 1, 0xfffff1, 2 * MTU);
	CU_ASSERT(pair_sends(&p, 1, &k) && k.opcode == ROCE_ACK && k.psn == 0xfffff0 && k.msn == 1);
	CU_ASSERT(pair_sends(&p, 1, &k) && k.opcode == ROCE_READ_RESP_FIRST);
	write_to(&p, 1, 0xfffff3, true);
	CU_ASSERT(pair_sends(&p, 1, &k) && k.opcode == ROCE_READ_RESP_LAST);
	CU_ASSERT(pair_sends(&p, 1, &k) && k.opcode == ROCE_ACK && k.psn == 0xfffff3 && k.msn == 3);
	CU_ASSERT_FALSE(pair_sends(&p, 1, &k));
	pair_fini(&p);
}

/* The memory is gone: the same call says so, for there may be no other one. */
static void
test_nak_at_once(void)
{
	struct roce_pkt k;
	struct pair p;

	pair_init(&p, ROCE_TYPE_RC, MTU, 1);
	ask(&p, 1, 0xfffff0, MTU);
	p.end[1].access = 0;
	CU_ASSERT(pair_sends(&p, 1, &k) && k.syndrome == (ROCE_SYN_NAK | ROCE_NAK_ACCESS));
	CU_ASSERT_EQUAL(p.end[1].errors, 1);
	pair_fini(&p);
}

/* As many READs as agreed upon, each answered in its turn, over and over; one more is refused. */
static void
test_many_reads(void)
{
	uint32_t psn = 0xfffff0;
	struct roce_pkt k;
	struct pair p;

	pair_init(&p, ROCE_TYPE_RC, MTU, 1);
	p.end[1].conf.max_dest_rd_atomic = ROCE_RESOURCES;
	pair_start(&p);
	for (unsigned round = 0; round < 5; round++) {
		for (unsigned i = 0; i < ROCE_RESOURCES; i++)
			ask(&p, 1, roce_psn_add(psn, i), 8);
		for (unsigned i = 0; i < ROCE_RESOURCES; i++) {
			CU_ASSERT_FATAL(pair_sends(&p, 1, &k));
			CU_ASSERT_EQUAL(k.psn, roce_psn_add(psn, i));
		}
		CU_ASSERT_FALSE(pair_sends(&p, 1, &k));
		/* The last ones asked for again: those alone, in order. */
		ask(&p, 1, roce_psn_add(psn, ROCE_RESOURCES - 2), 8);
		ask(&p, 1, roce_psn_add(psn, ROCE_RESOURCES - 1), 8);
		psn = roce_psn_add(psn, ROCE_RESOURCES);
		ask(&p, 1, psn, 8);
		for (unsigned i = 0; i < 3; i++) {
			CU_ASSERT_FATAL(pair_sends(&p, 1, &k));
			CU_ASSERT_EQUAL(k.psn, roce_psn_add(psn, ROCE_PSN_MASK - 1 + i));
		}
		CU_ASSERT_FALSE(pair_sends(&p, 1, &k));
		psn = roce_psn_add(psn, 1);
	}
	for (unsigned i = 0; i <= ROCE_RESOURCES; i++)
		ask(&p, 1, roce_psn_add(psn, i), 8);
	for (unsigned i = 0; i < ROCE_RESOURCES; i++)
		CU_ASSERT_TRUE(pair_sends(&p, 1, &k));
	CU_ASSERT(pair_sends(&p, 1, &k) && k.syndrome == (ROCE_SYN_NAK | ROCE_NAK_INVALID));
	pair_fini(&p);
}

/* Packets that come twice in a row: one ACK for all, and one for each that asks for it. */
static void
test_duplicates(void)
{
	unsigned acks = 0;
	struct roce_pkt k;
	struct pair p;

	pair_init(&p, ROCE_TYPE_RC, MTU, 1);
	for (uint32_t i = 0; i < 16; i++)
		write_to(&p, 1, 0xfffff0 + i, false);
	CU_ASSERT_FALSE(pair_sends(&p, 1, &k));
	for (unsigned round = 1; round <= 2; round++) {
		for (uint32_t i = 0; i < 16; i++) {
			write_to(&p, 1, 0xfffff0 + i, false);
			acks += pair_sends(&p, 1, &k);
			CU_ASSERT(k.opcode == ROCE_ACK && k.psn == 0xffffff);
		}
		CU_ASSERT_EQUAL(acks, round); /* the first one may have been lost */
	}
	write_to(&p, 1, 0xffffff, true);
	CU_ASSERT_TRUE(pair_sends(&p, 1, &k));
	pair_fini(&p);
}

/* The first packet of what was sent again is lost, too: the peer hears of it. */
static void
test_nak_again(void)
{
	struct roce_pkt k;
	struct pair p;

	pair_init(&p, ROCE_TYPE_RC, MTU, 1);
	write_to(&p, 1, 0xfffff2, false);
	CU_ASSERT(pair_sends(&p, 1, &k) && k.syndrome == (ROCE_SYN_NAK | ROCE_NAK_SEQUENCE));
	write_to(&p, 1, 0xfffff3, true);
	CU_ASSERT_FALSE(pair_sends(&p, 1, &k)); /* still the same loss */
	write_to(&p, 1, 0xfffff1, false);
	CU_ASSERT(pair_sends(&p, 1, &k) && k.syndrome == (ROCE_SYN_NAK | ROCE_NAK_SEQUENCE));
	CU_ASSERT_EQUAL(k.psn, 0xfffff0);
	pair_fini(&p);
}

/* A NAK that has not gone yet is out of date; there is another gap behind what has come late. */
static void
test_nak_replaced(void)
{
	struct roce_pkt k;
	struct pair p;

	pair_init(&p, ROCE_TYPE_RC, MTU, 1);
	write_to(&p, 1, 0xfffff0, true);
	write_to(&p, 1, 0xfffff2, true);
	write_to(&p, 1, 0xfffff1, false);
	CU_ASSERT(pair_sends(&p, 1, &k) && k.syndrome == (ROCE_SYN_NAK | ROCE_NAK_SEQUENCE));
	CU_ASSERT_EQUAL(k.psn, 0xfffff2);
	write_to(&p, 1, 0xfffff2, true);
	CU_ASSERT(pair_sends(&p, 1, &k) && (k.syndrome & ROCE_SYN_KIND) == ROCE_SYN_ACK);
	CU_ASSERT_EQUAL(k.psn, 0xfffff2);
	pair_fini(&p);
}

/* ---- what is refused, and how ---- */

/* What the QP does not allow is an invalid request; what the key does not, an access error. */
static void
test_qp_access(void)
{
	static const enum roce_op ops[] = {ROCE_OP_WRITE, ROCE_OP_READ, ROCE_OP_FETCH_ADD};

	for (unsigned i = 0; i < 6; i++) {
		struct pair_wr *w;
		struct pair p;

		pair_init(&p, ROCE_TYPE_RC, MTU, 1);
		*(i % 2 ? &p.end[1].access : &p.end[1].qp_access) = 0;
		w = pair_post(&p.end[0], ops[i / 2], data, got, 8, 0);
		pair_run(&p, SECOND);
		CU_ASSERT_EQUAL(w->status, i % 2 ? ROCE_REM_ACCESS_ERR : ROCE_REM_INV_REQ_ERR);
		CU_ASSERT_EQUAL(p.end[1].last_event,
				i % 2 ? ROCE_EVENT_ACCESS : ROCE_EVENT_INVALID);
		pair_fini(&p);
	}
}

/* A receive WQE that is malformed ends with an error, and so does the QP. */
static void
test_bad_recv(void)
{
	for (enum roce_type type = ROCE_TYPE_RC; type <= ROCE_TYPE_UC; type++) {
		struct pair_recv *r;
		struct pair_wr *w;
		struct pair p;

		pair_init(&p, type, MTU, 1);
		w = pair_post(&p.end[0], ROCE_OP_SEND, data, NULL, 8, 0);
		r = pair_recv(&p.end[1], got, PAIR_RECV_BAD);
		pair_run(&p, SECOND);
		CU_ASSERT_EQUAL(w->status, type == ROCE_TYPE_RC ? ROCE_REM_OP_ERR : ROCE_OK);
		CU_ASSERT_EQUAL(r->status, ROCE_LOC_QP_OP_ERR);
		CU_ASSERT_EQUAL(p.end[1].errors, 1);
		pair_fini(&p);
	}
}

/* The same by a WRITE with immediate: on UC as well, the WQE is spent. */
static void
test_bad_recv_imm(void)
{
	for (enum roce_type type = ROCE_TYPE_RC; type <= ROCE_TYPE_UC; type++) {
		struct pair_recv *r;
		struct pair p;

		pair_init(&p, type, MTU, 1);
		pair_post(&p.end[0], ROCE_OP_WRITE, data, NULL, 8, 0)->wr.has_imm = true;
		r = pair_recv(&p.end[1], got, PAIR_RECV_BAD);
		pair_run(&p, SECOND);
		CU_ASSERT_EQUAL(r->status, ROCE_LOC_QP_OP_ERR);
		CU_ASSERT_EQUAL(p.end[1].errors, 1);
		CU_ASSERT_FALSE(p.end[1].qp.recv_taken);
		pair_fini(&p);
	}
}

/* Longer than the receive WQE. UC, as inside a host: that one fails, and the QP with it. */
static void
test_uc_too_long(void)
{
	struct pair_recv *r[2];
	struct pair p;

	pair_init(&p, ROCE_TYPE_UC, MTU, 1);
	pair_post(&p.end[0], ROCE_OP_SEND, data, NULL, 1000, 0);
	r[0] = pair_recv(&p.end[1], got, 999);
	r[1] = pair_recv(&p.end[1], got, 1000);
	pair_run(&p, SECOND);
	CU_ASSERT_EQUAL(p.end[0].wrs[0].status, ROCE_OK);
	CU_ASSERT_EQUAL(r[0]->status, ROCE_LOC_LEN_ERR);
	CU_ASSERT_EQUAL(r[1]->status, -1);
	CU_ASSERT_EQUAL(p.end[1].errors, 1);
	/* What it may not write is dropped, and nothing fails. */
	pair_fini(&p);
	pair_init(&p, ROCE_TYPE_UC, MTU, 1);
	p.end[1].qp_access = 0;
	pair_post(&p.end[0], ROCE_OP_WRITE, data, NULL, 1000, 0);
	pair_run(&p, SECOND);
	CU_ASSERT(p.end[1].errors == 0 && p.end[1].memory[0] == 0);
	CU_ASSERT(p.end[1].qp.counters[ROCE_C_RX_BAD] > 0);
	pair_fini(&p);
}

/* UD: it is dropped, and the receive WQE stays for the next one. */
static void
test_ud_too_long(void)
{
	struct pair_recv *r;
	struct pair p;

	pair_init(&p, ROCE_TYPE_UD, MTU, 1);
	r = pair_recv(&p.end[1], got, 100);
	pair_give(&p, 1, &(struct roce_pkt){.opcode = ROCE_UD_SEND_ONLY, .len = 101});
	CU_ASSERT(r->status == -1 && p.end[1].qp.counters[ROCE_C_RX_BAD] == 1);
	pair_give(&p, 1, &(struct roce_pkt){.opcode = ROCE_UD_SEND_ONLY, .len = 100});
	CU_ASSERT(r->status == ROCE_OK && r->r.length == 100);
	pair_fini(&p);
}

/* The last packet's memory is not there yet, and no timer would help: it goes when it is. */
static void
test_late_memory(void)
{
	struct pair_wr *w;
	struct roce_pkt k;
	struct pair p;

	pair_init(&p, ROCE_TYPE_RC, MTU, 1);
	p.end[0].conf.timeout_ns = 0;
	pair_start(&p);
	w = pair_post(&p.end[0], ROCE_OP_WRITE, data, NULL, 3 * MTU, 0);
	roce_post(&p.end[0].qp, &w->wr);
	p.end[0].posted++;
	for (unsigned i = 0; i < 2; i++) {
		CU_ASSERT_TRUE(pair_sends(&p, 0, &k));
		pair_give(&p, 1, &k);
	}
	p.end[0].absent = true;
	for (unsigned i = 0; i < 3; i++)
		CU_ASSERT_FALSE(pair_sends(&p, 0, &k));
	p.end[0].absent = false;
	pair_run(&p, SECOND);
	CU_ASSERT_EQUAL(w->status, ROCE_OK);
	pair_fini(&p);
}

/*
 * rxe answers twice where there is no receive WQE: by an RNR NAK, and to what comes behind by a
 * sequence NAK. That is no loss, and no retry that counts; it may come after the wait.
 */
static void
test_nak_behind_rnr(void)
{
	static const struct roce_pkt refused = {.opcode = ROCE_ACK,
						.psn = 0xfffff0,
						.syndrome = ROCE_SYN_RNR | 1},
				     behind = {.opcode = ROCE_ACK,
					       .psn = 0xfffff0,
					       .syndrome = ROCE_SYN_NAK | ROCE_NAK_SEQUENCE},
				     done = {.opcode = ROCE_ACK,
					     .psn = 0xfffff2,
					     .syndrome = ROCE_SYN_ACK | 31};
	struct roce_pkt k;
	struct pair p;

	for (unsigned late = 0; late < 2; late++) {
		struct roce_qp *q = &p.end[0].qp;
		struct pair_wr *w;
		uint32_t cwnd;

		pair_init(&p, ROCE_TYPE_RC, MTU, 1);
		w = pair_post(&p.end[0], ROCE_OP_SEND, data, NULL, 3 * MTU, 0);
		pair_feed(&p.end[0]);
		cwnd = q->cwnd;
		for (unsigned i = 0; i < 20; i++) {
			for (unsigned n = 0; n < 3; n++)
				CU_ASSERT(pair_sends(&p, 0, &k) && k.psn == 0xfffff0 + n);
			if (i && late)
				pair_give(&p, 0, &behind);
			CU_ASSERT(!pair_sends(&p, 0, &k));
			pair_give(&p, 0, &refused);
			if (!late)
				pair_give(&p, 0, &behind);
			CU_ASSERT(!pair_sends(&p, 0, &k));
			p.now += 10000; /* table 45 */
			roce_tick(q, p.now);
		}
		CU_ASSERT(w->status == -1 && q->cwnd == cwnd);
		for (unsigned n = 0; n < 3; n++)
			CU_ASSERT(pair_sends(&p, 0, &k));
		pair_give(&p, 0, &done);
		CU_ASSERT_EQUAL(w->status, ROCE_OK);
		pair_fini(&p);
	}
}

int
main(void)
{
	static const struct suite_test tests[] = {
		{"turns", test_turns},
		{"ACK in order", test_ack_in_order},
		{"NAK at once", test_nak_at_once},
		{"many READs", test_many_reads},
		{"duplicates", test_duplicates},
		{"NAK again", test_nak_again},
		{"access by QP and key", test_qp_access},
		{"bad receive WQE", test_bad_recv},
		{"bad receive WQE, immediate", test_bad_recv_imm},
		{"a NAK replaced", test_nak_replaced},
		{"UC too long", test_uc_too_long},
		{"UD too long", test_ud_too_long},
		{"late memory", test_late_memory},
		{"sequence NAK behind an RNR NAK", test_nak_behind_rnr},
	};

	return pair_main("roce answer", tests, sizeof(tests) / sizeof(tests[0]));
}
