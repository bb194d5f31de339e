/* SPDX-License-Identifier: MIT */
/*
 * libFuzzer: the RoCE engine. The first byte says which: a packet taken apart and built again; or
 * two QPs with a script (the input) of what they post and what befalls the packets between them.
 * Whatever comes in: each work request completes once and in order, memory is touched only within
 * what was checked, and when the wire is good again, nothing waits for ever.
 */
#include <stdlib.h>
#include <string.h>

#include "roce_world.h"

#define BURST  4000u /* no script makes one call for packets go on for longer */
#define EVENTS 30000u
#define HEAD   (ROCE_BTH + ROCE_RETH + ROCE_IMMDT)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- the wire ---- */

static struct packet
packet_make(unsigned to, const uint8_t *bytes, size_t len)
{
	struct packet k = {.to = to, .len = len, .bytes = malloc(len ? len : 1)};

	CHECK(k.bytes);
	memcpy(k.bytes, bytes, len);
	return k;
}

static void
enqueue(struct world *w, struct packet k)
{
	if (w->queued == PACKETS)
		free(k.bytes);
	else
		w->queue[w->queued++] = k;
}

static void
dequeue(struct world *w)
{
	free(w->old[w->kept % 8].bytes);
	w->old[w->kept++ % 8] = w->queue[0];
	memmove(w->queue, w->queue + 1, --w->queued * sizeof(w->queue[0]));
}

static void
give(struct world *w, const struct packet *k)
{
	struct end *e = &w->end[k->to];
	struct roce_pkt p;

	if (roce_parse(&p, k->bytes, k->len))
		return;
	e->rx_psn = p.psn;
	roce_rx(&e->qp, w->now, &p, w->ce || (w->given++ & w->ce_some));
}

static void
pump(struct world *w)
{
	uint8_t bytes[ROCE_HEADERS_MAX + 1024 + 3];
	size_t len;

	for (unsigned i = 0; i < 2; i++) {
		struct end *e = &w->end[i];
		unsigned burst = 0;

		while ((len = roce_tx(&e->qp, w->now, bytes)) > 0) {
			struct roce_pkt p;

			CHECK(!e->stopped && ++burst < BURST && len <= sizeof(bytes));
			CHECK(roce_parse(&p, bytes, len) == 0 && p.qpn == e->qp.conf.dest_qpn);
			CHECK(p.len <= e->qp.conf.mtu && len % 4 == 0);
			enqueue(w, packet_make(!i, bytes, len));
		}
		for (unsigned c = 0; c < ROCE_C_MAX; c++) {
			CHECK(e->qp.counters[c] >= e->counters[c]);
			e->counters[c] = e->qp.counters[c];
		}
	}
}

/* To the next event; false: there is none. */
static bool
pass_time(struct world *w)
{
	uint64_t a = roce_deadline(&w->end[0].qp), b = roce_deadline(&w->end[1].qp);

	a = a < b ? a : b;
	if (a == UINT64_MAX)
		return false;
	if (a > w->now)
		w->now = a;
	roce_tick(&w->end[0].qp, w->now);
	roce_tick(&w->end[1].qp, w->now);
	return true;
}

/* ---- the script ---- */

static void
ud_send(struct world *w, struct end *e, struct roce_wr *wr)
{
	uint8_t bytes[ROCE_HEADERS_MAX + 1024 + 3];
	size_t len;

	if (roce_ud_tx(&e->qp, wr, bytes, &len) == 0)
		enqueue(w, packet_make(e == &w->end[0], bytes, len));
	e->done++;
}

static void
post(struct world *w, struct end *e)
{
	struct roce_wr *wr = &e->wrs[e->posted];
	uint8_t flags = world_next(w);

	if (e->stopped || e->posted == ITEMS || !roce_can_post(&e->qp))
		return;
	*wr = (struct roce_wr){
		.op = world_next(w) % 5,
		.length = world_next16(w) % 3000,
		.raddr = world_next16(w) % (MEM + 256),
		.rkey = RKEY,
		.solicited = flags & 1,
		.fence = flags & 2,
		.has_imm = (flags & 12) == 4,
		.has_inv = (flags & 12) == 8,
		.inv_rkey = flags >> 6,
		.compare = (flags & 0x30) == 0x30 ? 13 : 0,
	};
	if (wr->has_inv && wr->op != ROCE_OP_SEND)
		wr->has_inv = false;
	if (wr->op > ROCE_OP_READ) {
		wr->length = 8;
		wr->raddr &= ~(uint64_t) !(flags & 64) * 7;
	}
	e->posted++;
	if (e->qp.conf.type == ROCE_TYPE_UD)
		ud_send(w, e, wr);
	else
		roce_post(&e->qp, wr);
}

static void
stop(struct end *e)
{
	roce_stop(&e->qp);
	CHECK(e->done == e->posted && e->taken == e->completed);
	e->stopped = true;
}

/* A packet that almost belongs: PSN and key are close to what is expected. */
static void
inject(struct world *w, unsigned to)
{
	static const uint8_t zero[1100];
	uint8_t bytes[ROCE_BTH + ROCE_ATOMICETH + sizeof(zero)];
	const struct roce_qp *q = &w->end[to].qp;
	struct roce_pkt p = {.opcode = world_next(w), .pkey = 0xffff, .qpn = q->conf.qpn};
	uint8_t how = world_next(w);
	unsigned n;

	p.flags = roce_opcode_flags(p.opcode);
	if (!p.flags)
		return;
	p.psn = roce_psn_add(p.flags & ROCE_F_RESPONSE ? q->una_psn : q->exp_psn,
			     (uint32_t)(int8_t)world_next(w));
	p.ack_req = how & 1;
	p.solicited = how & 2;
	p.rkey = how & 4 ? RKEY - 1 + world_next(w) % 4 : RKEY;
	p.va = world_next16(w) % (MEM + 16);
	p.dma_len = how & 8 ? world_next16(w) << 16 : world_next16(w) % 3000;
	p.syndrome = world_next(w);
	p.ieth = how >> 7;
	p.qkey = how >> 6 & 1;
	p.len = !(p.flags & ROCE_F_PAYLOAD) ? 0 : how & 16 ? q->conf.mtu : world_next16(w) % 1100;
	n = roce_build(&p, bytes);
	memcpy(bytes + n, zero, p.len + roce_pad(p.len));
	struct packet k = packet_make(to, bytes, n + p.len + roce_pad(p.len));
	give(w, &k);
	free(k.bytes);
}

/* Congestion, all at once: CNPs from the peer, or from a stranger. */
static void
inject_cnps(struct world *w, unsigned to)
{
	const struct roce_qp *q = &w->end[to].qp;
	const struct roce_pkt p = {.opcode = ROCE_CNP, .pkey = 0xffff, .qpn = q->conf.qpn};
	uint8_t bytes[ROCE_BTH + ROCE_CNP_PAYLOAD], n = world_next(w) & 15;
	struct packet k = packet_make(to, bytes, roce_build(&p, bytes));

	while (n--) {
		give(w, &k);
		w->now += world_next(w) << 10;
	}
	free(k.bytes);
}

static void
inject_raw(struct world *w, unsigned to)
{
	size_t n = world_next(w);
	struct packet k;

	n = n < w->left ? n : w->left;
	k = packet_make(to, w->in, n);
	w->in += n;
	w->left -= n;
	give(w, &k);
	free(k.bytes);
}

static void
on_wire(struct world *w, uint8_t what)
{
	struct packet *k = &w->queue[0], t;

	if (!w->queued)
		return;
	switch (what) {
	case 0: /* lost */
		dequeue(w);
		return;
	case 1: /* twice */
		give(w, k);
		return;
	case 2: /* damaged, in its headers */
		k->bytes[world_next(w) % (k->len < HEAD ? k->len : HEAD)] ^=
			(uint8_t)(1u << (world_next(w) & 7));
		break;
	case 3: /* overtaken */
		if (w->queued > 1) {
			t = w->queue[0];
			w->queue[0] = w->queue[1];
			w->queue[1] = t;
		}
		break;
	default:
		break;
	}
	give(w, k);
	dequeue(w);
}

static void
act(struct world *w)
{
	uint8_t what = world_next(w);
	struct end *e = &w->end[what >> 7];

	switch (what & 31) {
	case 0:
	case 1:
	case 2:
	case 3:
		post(w, e);
		break;
	case 4:
	case 5:
	case 6:
		if (e->recvs < ITEMS)
			e->rooms[e->recvs++] = what & 64 ? world_next16(w) : 4096;
		break;
	case 7:
		e->busy = !e->busy;
		break;
	case 8:
		w->ce = !w->ce;
		break;
	case 9:
		if ((what & 96) == 96)
			stop(e);
		break;
	case 10:
	case 11:
		pass_time(w);
		break;
	case 12:
	case 13:
		inject(w, what >> 7);
		break;
	case 14:
		inject_raw(w, what >> 7);
		break;
	case 15:
		if (w->old[what >> 5 & 7].bytes)
			give(w, &w->old[what >> 5 & 7]);
		break;
	case 16:
		w->now += world_next16(w) << 6;
		break;
	case 18:
		inject_cnps(w, what >> 7);
		break;
	case 19:
		w->ce_some = world_next(w);
		break;
	case 17: /* all that is there */
		for (unsigned n = w->queued; n && w->queued; n--)
			on_wire(w, 9);
		break;
	default:
		on_wire(w, what & 15);
	}
}

/* The wire is good from now on. */
static void
settle(struct world *w)
{
	unsigned n = 0;

	w->ce_some = 0;
	w->ce = w->end[0].busy = w->end[1].busy = false;
	pump(w);
	for (;;) {
		while (w->queued) {
			CHECK(++n < EVENTS);
			on_wire(w, 9);
			pump(w);
		}
		CHECK(++n < EVENTS);
		if (!pass_time(w))
			break;
		pump(w);
	}
	for (unsigned i = 0; i < 2; i++)
		CHECK(w->end[i].done == w->end[i].posted);
}

static void
start(struct world *w)
{
	uint8_t how = world_next(w);
	struct roce_conf conf = {
		.type = how & 8 ? how & 16 ? ROCE_TYPE_UD : ROCE_TYPE_UC : ROCE_TYPE_RC,
		.mtu = how & 1 ? 1024 : 256,
		.pkey = 0xffff,
		.timeout_ns = roce_timeout_ns(4),
		.retry_cnt = how >> 1 & 3,
		.rnr_retry = 2,
		.min_rnr_timer = world_next(w),
		.max_rd_atomic = world_next(w) % 5,
		.max_dest_rd_atomic = 4,
	};

	for (unsigned i = 0; i < 2; i++) {
		struct end *e = &w->end[i];

		e->w = w;
		e->memory = calloc(1, MEM);
		CHECK(e->memory);
		conf.qpn = 100 + i;
		conf.dest_qpn = 100 + !i;
		roce_init(&e->qp, &world_ops, e);
		roce_start_receive(&e->qp, &conf, 0xfffff0 + !i);
		if (!(how & 128) || i)
			roce_start_send(&e->qp, &conf, 0xfffff0 + i);
	}
}

static void
script(const uint8_t *data, size_t size)
{
	static struct world w;

	memset(&w, 0, sizeof(w));
	w.in = data;
	w.left = size;
	w.now = 1000;
	start(&w);
	while (w.left) {
		act(&w);
		pump(&w);
	}
	for (unsigned i = 0; i < 2; i++)
		if (!w.end[i].qp.sends) /* RTR all the time */
			roce_start_send(&w.end[i].qp, &w.end[i].qp.conf, 0xfffff0 + i);
	settle(&w);
	for (unsigned i = 0; i < 2; i++)
		stop(&w.end[i]);
	for (unsigned i = 0; i < 8; i++)
		if (w.old[i].bytes)
			give(&w, &w.old[i]);
	pump(&w);
	CHECK(!pass_time(&w));
	for (unsigned i = 0; i < w.queued; i++)
		free(w.queue[i].bytes);
	for (unsigned i = 0; i < 8; i++)
		free(w.old[i].bytes);
	for (unsigned i = 0; i < 2; i++) {
		free(w.end[i].memory);
		free(w.end[i].reads);
		free(w.end[i].atomics);
	}
}

static void
parse(const uint8_t *data, size_t size)
{
	uint8_t again[ROCE_HEADERS_MAX + ROCE_MTU_MAX + 3];
	struct packet k = packet_make(0, data, size);
	struct roce_pkt a, b;
	unsigned n;

	if (roce_parse(&a, k.bytes, k.len) == 0) {
		CHECK(a.len <= k.len && a.payload <= k.bytes + k.len);
		n = roce_build(&a, again);
		CHECK(n == roce_headers_len(a.opcode));
		memcpy(again + n, a.payload, a.len);
		memset(again + n + a.len, 0, roce_pad(a.len));
		CHECK(roce_parse(&b, again, n + a.len + roce_pad(a.len)) == 0);
		CHECK(a.len == b.len && memcmp(a.payload, b.payload, a.len) == 0);
		/* What is not kept: MigReq, and a pad longer than needed. */
		b.payload = a.payload;
		b.migrated = a.migrated;
		b.pad = a.pad;
		CHECK(memcmp(&a, &b, sizeof(a)) == 0);
	}
	free(k.bytes);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2)
		return 0;
	if (data[0] & 1)
		parse(data + 1, size - 1);
	else
		script(data + 1, size - 1);
	return 0;
}
