/* SPDX-License-Identifier: MIT */
/* Tests dataplane/roce: what storms do not reach. Each was a bug once. */
#include <CUnit/Basic.h>
#include <string.h>

#include "pair.h"

#define SECOND 1000000000ull
#define MTU    256u

/* ---- requester ---- */

static bool
take_read_right(struct pair *p, unsigned from, uint8_t *b, size_t *len)
{
	if (from == 1 && b[0] == ROCE_READ_RESP_MIDDLE && ++p->tapped == 3)
		p->end[1].access &= ~4u;
	return true;
}

static bool
take_read_right_as_rxe(struct pair *p, unsigned from, uint8_t *b, size_t *len)
{
	take_read_right(p, from, b, len);
	if (from == 1 && b[0] == ROCE_ACK)
		memcpy(b + 9, "\xff\xff\xf0", 3); /* PSN of the request */
	return true;
}

/* The memory goes while a READ is answered: the reason comes through. */
static void
test_nak_amid_read(void)
{
	for (unsigned i = 0; i < 2; i++) {
		struct pair_wr *w;
		struct pair p;

		pair_init(&p, ROCE_TYPE_RC, MTU, 1);
		p.tap = i ? take_read_right_as_rxe : take_read_right;
		w = pair_post(&p.end[0], ROCE_OP_READ, NULL, got, 10 * MTU, 0);
		pair_run(&p, SECOND);
		CU_ASSERT_EQUAL(w->status, ROCE_REM_ACCESS_ERR);
		CU_ASSERT_EQUAL(p.end[0].qp.counters[ROCE_C_TIMEOUT], 0);
		CU_ASSERT(p.end[1].errors == 1 && p.end[1].last_event == ROCE_EVENT_ACCESS);
		pair_fini(&p);
	}
}

/* The window shrinks behind packets that asked for no ACK. There is no timer that would help. */
static void
test_window_shrinks(void)
{
	struct pair_wr *w;
	struct roce_pkt k;
	struct pair p;

	pair_init(&p, ROCE_TYPE_RC, MTU, 1);
	p.end[0].conf.timeout_ns = 0;
	pair_start(&p);
	w = pair_post(&p.end[0], ROCE_OP_WRITE, data, NULL, 100 * MTU, 0);
	pair_feed(&p.end[0]);
	for (unsigned i = 0; i < 6; i++)
		CU_ASSERT(pair_sends(&p, 0, &k) && !k.ack_req);
	p.end[0].qp.cwnd = 4;
	CU_ASSERT(pair_sends(&p, 0, &k) && k.ack_req && k.psn == 0xfffff5);
	CU_ASSERT_FALSE(pair_sends(&p, 0, &k));
	pair_run(&p, 100000);
	pair_give(&p, 1, &k); /* all six are lost but the last */
	pair_run(&p, SECOND);
	CU_ASSERT_EQUAL(w->status, ROCE_OK);
	CU_ASSERT_EQUAL(memcmp(p.end[1].memory, data, 100 * MTU), 0);
	pair_fini(&p);
}

/* What fails at its turn: before it everything is acknowledged, with no timer either. */
static void
test_fails_in_turn(void)
{
	static const struct {
		enum roce_type type;
		enum roce_op op;
		bool has_inv;
		int status;
	} bad[] = {
		{ROCE_TYPE_RC, ROCE_OP_SEND, false, ROCE_LOC_PROT_ERR},
		{ROCE_TYPE_RC, ROCE_OP_READ, false, ROCE_LOC_QP_OP_ERR}, /* max_rd_atomic 0 */
		{ROCE_TYPE_UC, ROCE_OP_READ, false, ROCE_LOC_QP_OP_ERR},
		{ROCE_TYPE_UC, ROCE_OP_SEND, true, ROCE_LOC_QP_OP_ERR},
	};

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct pair_wr *good, *w, *after;
		struct pair p;

		pair_init(&p, bad[i].type, MTU, 1);
		p.end[0].conf.timeout_ns = 0;
		p.end[0].conf.max_rd_atomic = 0;
		pair_start(&p);
		good = pair_post(&p.end[0], ROCE_OP_WRITE, data, NULL, 5 * MTU, 0);
		w = pair_post(&p.end[0], bad[i].op, NULL, got, 10, 0);
		w->wr.has_inv = bad[i].has_inv;
		after = pair_post(&p.end[0], ROCE_OP_WRITE, data, NULL, 10, 0);
		pair_run(&p, SECOND);
		CU_ASSERT_EQUAL(good->status, ROCE_OK);
		CU_ASSERT_EQUAL(w->status, bad[i].status);
		CU_ASSERT_EQUAL(after->status, ROCE_WR_FLUSH_ERR);
		CU_ASSERT(p.end[0].errors == 1 && p.end[1].errors == 0);
		pair_fini(&p);
	}
}

/* 2^31 bytes in packets of 256: their PSNs cover half of the circle. */
static void
test_longest_read(void)
{
	struct pair_wr *w;
	struct pair p;

	pair_init(&p, ROCE_TYPE_RC, MTU, 1);
	p.wire.cut = true;
	w = pair_post(&p.end[0], ROCE_OP_READ, NULL, got, ROCE_MSG_MAX, 0);
	pair_post(&p.end[0], ROCE_OP_READ, NULL, got, ROCE_MSG_MAX, 0);
	pair_run(&p, 1000);
	pair_give(&p, 0,
		  &(struct roce_pkt){.opcode = ROCE_READ_RESP_FIRST,
				     .psn = 0xfffff0,
				     .len = MTU,
				     .syndrome = ROCE_SYN_ACK | 31});
	CU_ASSERT_EQUAL(w->wr.got, MTU);
	CU_ASSERT(w->wr.numbered && !p.end[0].wrs[1].wr.numbered);
	CU_ASSERT_NOT_EQUAL(roce_deadline(&p.end[0].qp), UINT64_MAX);
	pair_fini(&p);
}

/* A second copy of an RNR NAK, when the receiver has long been ready. */
static void
test_late_rnr(void)
{
	struct pair_wr *w[2];
	struct pair p;

	pair_init(&p, ROCE_TYPE_RC, MTU, 1);
	w[0] = pair_post(&p.end[0], ROCE_OP_WRITE, data, NULL, 10, 0);
	pair_run(&p, 1000);
	pair_give(
		&p, 0,
		&(struct roce_pkt){.opcode = ROCE_ACK, .psn = 0xfffff0, .syndrome = ROCE_SYN_RNR});
	pair_run(&p, SECOND / 100);
	CU_ASSERT_EQUAL(w[0]->status, ROCE_OK);
	w[1] = pair_post(&p.end[0], ROCE_OP_WRITE, data, NULL, 10, 0);
	pair_run(&p, SECOND / 100); /* it said 655 ms */
	CU_ASSERT_EQUAL(w[1]->status, ROCE_OK);
	CU_ASSERT_EQUAL(p.end[0].qp.counters[ROCE_C_TIMEOUT], 0);
	pair_fini(&p);
}

/* An ACK that comes after it was gone back behind it: what it covers is not sent again. */
static void
test_late_ack(void)
{
	struct roce_pkt k;
	struct pair p;

	pair_init(&p, ROCE_TYPE_RC, MTU, 1);
	for (unsigned i = 0; i < 2; i++) {
		pair_post(&p.end[0], ROCE_OP_WRITE, data, NULL, 4 * MTU, 0);
		pair_feed(&p.end[0]);
	}
	for (unsigned i = 0; i < 8; i++)
		CU_ASSERT(pair_sends(&p, 0, &k) && k.psn == 0xfffff0 + i);
	pair_give(&p, 0,
		  &(struct roce_pkt){.opcode = ROCE_ACK,
				     .psn = 0xfffff0,
				     .syndrome = ROCE_SYN_NAK | ROCE_NAK_SEQUENCE});
	pair_give(&p, 0,
		  &(struct roce_pkt){
			  .opcode = ROCE_ACK, .psn = 0xfffff5, .syndrome = ROCE_SYN_ACK | 31});
	CU_ASSERT(p.end[0].done == 1 && pair_sends(&p, 0, &k) && k.psn == 0xfffff6);
	pair_fini(&p);
}

static void
ack(struct pair *p, uint32_t psn)
{
	pair_give(
		p, 0,
		&(struct roce_pkt){.opcode = ROCE_ACK, .psn = psn, .syndrome = ROCE_SYN_ACK | 31});
}

/* What is acknowledged is half of the circle away from where the longest message began. */
static void
test_half_circle(void)
{
	const uint32_t half = 1u << 23, first = 0xfffff0, at = roce_psn_add(first, half - 2);
	struct roce_qp *q;
	struct roce_pkt k;
	struct pair p;

	pair_init(&p, ROCE_TYPE_RC, MTU, 1);
	q = &p.end[0].qp;
	pair_post(&p.end[0], ROCE_OP_WRITE, data, NULL, ROCE_MSG_MAX, 0);
	pair_post(&p.end[0], ROCE_OP_WRITE, data, NULL, 4 * MTU, 0);
	pair_feed(&p.end[0]);
	CU_ASSERT(pair_sends(&p, 0, &k) && k.psn == first);
	/* From before the window, as far as one can tell. */
	ack(&p, roce_psn_add(first, half));
	CU_ASSERT_EQUAL(q->counters[ROCE_C_DUPLICATE], 1);
	ack(&p, first);
	CU_ASSERT_EQUAL(q->una_psn, roce_psn_add(first, 1));
	/* All but two of its packets have come and gone. */
	q->una_psn = q->sent_psn = at;
	q->ack_asked = roce_psn_add(at, ROCE_PSN_MASK);
	q->nxt_off = (half - 2) * MTU;
	p.end[0].wrs[0].src = (const uint8_t *)((uintptr_t)data - q->nxt_off);
	for (unsigned i = 0; i < 6; i++)
		CU_ASSERT(pair_sends(&p, 0, &k) && k.psn == roce_psn_add(at, i));
	ack(&p, roce_psn_add(at, half));
	CU_ASSERT(p.end[0].done == 0 && q->una_psn == at);
	ack(&p, roce_psn_add(at, 5));
	CU_ASSERT(p.end[0].done == 2 && p.end[0].wrs[1].status == ROCE_OK);
	pair_fini(&p);
}

/* ---- responder ---- */

static bool
shorten(struct pair *p, unsigned from, uint8_t *b, size_t *len)
{
	if (b[0] == (ROCE_UC | ROCE_SEND_MIDDLE) && ++p->tapped % 5 == 0)
		*len -= 4;
	return true;
}

/* UC, and what cannot be taken in the middle of a message: that message is lost as a whole. */
static void
test_uc_holes(void)
{
	for (unsigned round = 0; round < 2; round++) {
		struct pair p;

		pair_init(&p, ROCE_TYPE_UC, MTU, 5);
		p.end[1].busy = round == 0;
		p.tap = round == 1 ? shorten : NULL;
		memset(got, 0, sizeof(got));
		for (unsigned i = 0; i < 100; i++) {
			pair_post(&p.end[0], ROCE_OP_SEND, data + 1000 * i, NULL, 1000, 0)->wr.imm =
				i;
			p.end[0].wrs[i].wr.has_imm = true;
			pair_recv(&p.end[1], got + 1000 * i, 1000);
		}
		pair_run(&p, SECOND);
		CU_ASSERT(p.end[1].completed > 10 && p.end[1].completed < 100);
		for (unsigned i = 0; i < p.end[1].completed; i++) {
			const struct pair_recv *r = &p.end[1].recvs[i];

			CU_ASSERT(r->status == ROCE_OK && r->r.length == 1000);
			CU_ASSERT_EQUAL(memcmp(r->buf, data + 1000 * r->r.imm, 1000), 0);
		}
		pair_fini(&p);
	}
}

/* UC drops a WRITE that it may not do; the receive WQE of a SEND that was cut short stays. */
static void
test_uc_refuses(void)
{
	struct pair_recv *r;
	struct pair p;

	pair_init(&p, ROCE_TYPE_UC, MTU, 1);
	r = pair_recv(&p.end[1], got, 1000);
	pair_give(&p, 1,
		  &(struct roce_pkt){
			  .opcode = ROCE_UC | ROCE_SEND_FIRST, .psn = 0xfffff0, .len = MTU});
	pair_give(&p, 1,
		  &(struct roce_pkt){.opcode = ROCE_UC | ROCE_WRITE_ONLY,
				     .psn = 0xfffff1,
				     .len = 8,
				     .dma_len = 8});
	CU_ASSERT_EQUAL(r->status, -1);
	pair_give(
		&p, 1,
		&(struct roce_pkt){.opcode = ROCE_UC | ROCE_SEND_ONLY, .psn = 0xfffff2, .len = 8});
	CU_ASSERT(r->status == ROCE_OK && r->r.length == 8);
	pair_fini(&p);
}

/* UD: a packet that comes when memory is busy is lost; no receive WQE fails. And no CNP. */
static void
test_ud_busy(void)
{
	unsigned good = 0;
	struct roce_pkt k;
	struct pair p;

	pair_init(&p, ROCE_TYPE_UD, MTU, 1);
	p.end[1].busy = p.wire.mark = true;
	for (unsigned i = 0; i < 100; i++) {
		pair_recv(&p.end[1], got, MTU);
		pair_give(&p, 1, &(struct roce_pkt){.opcode = ROCE_UD_SEND_ONLY, .len = 8});
	}
	for (unsigned i = 0; i < p.end[1].completed; i++)
		good += p.end[1].recvs[i].status == ROCE_OK;
	CU_ASSERT(good == p.end[1].completed && good > 50 && good < 100);
	CU_ASSERT_FALSE(pair_sends(&p, 1, &k));
	pair_fini(&p);
}

/* A NAK is due that ends the QP; something else ends it first. */
static void
test_dying(void)
{
	const struct roce_pkt bad = {
		.opcode = ROCE_WRITE_ONLY, .psn = 0xfffff0, .len = 8, .dma_len = 8};
	struct roce_pkt k;
	struct pair p;

	pair_init(&p, ROCE_TYPE_RC, MTU, 1);
	p.wire.mark = true;
	pair_give(&p, 1, &bad);
	roce_stop(&p.end[1].qp);
	pair_give(&p, 1, &bad);
	CU_ASSERT_FALSE(pair_sends(&p, 1, &k)); /* nor a CNP */
	CU_ASSERT_EQUAL(p.end[1].errors, 0);
	CU_ASSERT_EQUAL(roce_deadline(&p.end[1].qp), UINT64_MAX);
	pair_fini(&p);
	/* The requester fails: one event, the responder's. */
	pair_init(&p, ROCE_TYPE_RC, MTU, 1);
	p.end[1].conf.retry_cnt = 0;
	pair_start(&p);
	pair_post(&p.end[1], ROCE_OP_WRITE, data, NULL, 8, 0);
	pair_feed(&p.end[1]);
	CU_ASSERT_TRUE(pair_sends(&p, 1, &k));
	pair_give(&p, 1, &bad);
	roce_tick(&p.end[1].qp, p.now + SECOND);
	CU_ASSERT_FALSE(pair_sends(&p, 1, &k));
	CU_ASSERT(p.end[1].errors == 1 && p.end[1].last_event == ROCE_EVENT_ACCESS);
	pair_fini(&p);
}

/* A READ asked for again from its middle on: as the spec says, and as rxe wants it. */
static void
test_read_again(void)
{
	struct roce_pkt ask = {.opcode = ROCE_READ_REQUEST,
			       .psn = 0xfffff0,
			       .rkey = PAIR_RKEY,
			       .dma_len = 4 * MTU},
			k;
	struct pair p;

	for (unsigned rxe = 0; rxe < 2; rxe++) {
		pair_init(&p, ROCE_TYPE_RC, MTU, 1);
		ask.psn = 0xfffff0;
		ask.va = 0;
		ask.dma_len = 4 * MTU;
		ask.migrated = !rxe;
		pair_give(&p, 1, &ask);
		for (unsigned i = 0; i < 4; i++)
			CU_ASSERT(pair_sends(&p, 1, &k) && k.psn == 0xfffff0 + i && k.msn <= 1);
		ask.psn += 2;
		ask.va = 2 * MTU;
		ask.dma_len = 2 * MTU;
		pair_give(&p, 1, &ask);
		CU_ASSERT(pair_sends(&p, 1, &k) && k.psn == 0xfffff2);
		CU_ASSERT_EQUAL(k.opcode, rxe ? ROCE_READ_RESP_MIDDLE : ROCE_READ_RESP_FIRST);
		CU_ASSERT(pair_sends(&p, 1, &k) && k.opcode == ROCE_READ_RESP_LAST);
		ask.psn = 0xfffff3;
		ask.va = 3 * MTU;
		ask.dma_len = MTU;
		pair_give(&p, 1, &ask);
		CU_ASSERT(pair_sends(&p, 1, &k) && k.psn == 0xfffff3);
		CU_ASSERT_EQUAL(k.opcode, rxe ? ROCE_READ_RESP_LAST : ROCE_READ_RESP_ONLY);
		CU_ASSERT_FALSE(pair_sends(&p, 1, &k));
		pair_fini(&p);
	}
}

/* No message is longer than 2^31, whatever the receive WQE has room for. */
static void
test_endless_send(void)
{
	struct pair_recv *r;
	struct roce_pkt k;
	struct pair p;

	pair_init(&p, ROCE_TYPE_RC, MTU, 1);
	r = pair_recv(&p.end[1], got, UINT32_MAX - 1);
	pair_give(&p, 1,
		  &(struct roce_pkt){.opcode = ROCE_SEND_FIRST, .psn = 0xfffff0, .len = MTU});
	p.end[1].qp.msg_off = ROCE_MSG_MAX - MTU + 1;
	pair_give(&p, 1,
		  &(struct roce_pkt){.opcode = ROCE_SEND_MIDDLE, .psn = 0xfffff1, .len = MTU});
	CU_ASSERT_EQUAL(r->status, ROCE_LOC_LEN_ERR);
	CU_ASSERT(pair_sends(&p, 1, &k) && k.syndrome == (ROCE_SYN_NAK | ROCE_NAK_INVALID));
	pair_fini(&p);
}

static void
test_conf(void)
{
	struct roce_pkt k;
	struct pair p;

	pair_init(&p, ROCE_TYPE_RC, MTU, 1);
	p.end[1].conf.max_dest_rd_atomic = 255;
	p.end[1].conf.min_rnr_timer = 255;
	pair_start(&p);
	CU_ASSERT_EQUAL(p.end[1].qp.conf.max_dest_rd_atomic, ROCE_RESOURCES);
	pair_give(&p, 1, &(struct roce_pkt){.opcode = ROCE_SEND_ONLY, .psn = 0xfffff0, .len = 1});
	CU_ASSERT(pair_sends(&p, 1, &k) && k.syndrome == (ROCE_SYN_RNR | 31));
	pair_fini(&p);
}

/* SEND with INV, when the receiver's memory is busy now and then. */
static void
test_invalidate(void)
{
	struct pair p;

	pair_init(&p, ROCE_TYPE_RC, MTU, 1);
	p.end[1].busy = true;
	for (unsigned i = 0; i < 50; i++) {
		struct pair_wr *w = pair_post(&p.end[0], ROCE_OP_SEND, data, NULL, 600, 0);

		w->wr.has_inv = true;
		w->wr.inv_rkey = PAIR_RKEY;
		pair_recv(&p.end[1], got, 600);
	}
	pair_run(&p, SECOND);
	CU_ASSERT(p.end[0].done == 50 && p.end[0].wrs[49].status == ROCE_OK);
	CU_ASSERT(p.end[1].recvs[49].r.has_inv);
	CU_ASSERT_EQUAL(p.end[1].invalidated, PAIR_RKEY);
	pair_fini(&p);
}

int
main(void)
{
	static const struct suite_test tests[] = {
		{"NAK amid a READ", test_nak_amid_read},
		{"window shrinks", test_window_shrinks},
		{"fails in its turn", test_fails_in_turn},
		{"longest READ", test_longest_read},
		{"late RNR NAK", test_late_rnr},
		{"late ACK", test_late_ack},
		{"half of the circle", test_half_circle},
		{"UC holes", test_uc_holes},
		{"UC refuses", test_uc_refuses},
		{"UD busy", test_ud_busy},
		{"dying", test_dying},
		{"READ again", test_read_again},
		{"endless SEND", test_endless_send},
		{"configuration", test_conf},
		{"invalidate", test_invalidate},
	};

	return pair_main("roce edge", tests, sizeof(tests) / sizeof(tests[0]));
}
