/* SPDX-License-Identifier: MIT */
/* See pair.h. */
#include "pair.h"

#include <CUnit/Basic.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

uint8_t data[PAIR_MEMORY], got[PAIR_MEMORY];

struct pair_packet {
	struct pair_packet *next;
	uint64_t at;
	unsigned to;
	size_t len;
	uint8_t bytes[ROCE_HEADERS_MAX + ROCE_MTU_MAX + 4];
};

uint64_t
pair_random(struct pair *p)
{
	uint64_t z = p->seed += 0x9e3779b97f4a7c15u; /* splitmix64 */

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

/* ---- what the engine calls ---- */

static bool
busy(struct pair_end *e)
{
	return e->absent || (e->busy && pair_random(e->pair) % 8 == 0);
}

static int
wr_read(void *ctx, struct roce_wr *wr, uint64_t off, void *to, uint32_t len)
{
	struct pair_wr *w = wr->ctx;

	if (busy(ctx))
		return -EAGAIN;
	if (!w->src)
		return -EFAULT;
	memcpy(to, w->src + off, len);
	return 0;
}

static int
wr_write(void *ctx, struct roce_wr *wr, uint64_t off, const void *from, uint32_t len)
{
	struct pair_wr *w = wr->ctx;

	if (busy(ctx))
		return -EAGAIN;
	if (!w->dst)
		return -EFAULT;
	memcpy(w->dst + off, from, len);
	return 0;
}

void
pair_feed(struct pair_end *e)
{
	while (e->posted < e->num_wrs && roce_can_post(&e->qp))
		roce_post(&e->qp, &e->wrs[e->posted++].wr);
}

static void
wr_done(void *ctx, struct roce_wr *wr, enum roce_status status)
{
	struct pair_end *e = ctx;
	struct pair_wr *w = wr->ctx;

	CU_ASSERT_PTR_EQUAL(w, &e->wrs[e->done]);
	CU_ASSERT_EQUAL(w->status, -1);
	e->done++;
	w->status = (int)status;
}

static int
recv_take(void *ctx)
{
	struct pair_end *e = ctx;

	if (e->taken == e->num_recvs)
		return -ENOENT;
	CU_ASSERT_EQUAL(e->taken, e->completed);
	return e->recvs[e->taken++].room == PAIR_RECV_BAD ? -EINVAL : 0;
}

static int
recv_write(void *ctx, uint64_t off, const void *from, uint32_t len)
{
	struct pair_end *e = ctx;
	struct pair_recv *r = &e->recvs[e->taken - 1];

	if (busy(e))
		return -EAGAIN;
	if (off + len > r->room)
		return -EMSGSIZE;
	if (!r->buf)
		return -EFAULT;
	memcpy(r->buf + off, from, len);
	return 0;
}

static void
recv_done(void *ctx, const struct roce_recv *r, enum roce_status status)
{
	struct pair_end *e = ctx;
	struct pair_recv *to = &e->recvs[e->completed++];

	CU_ASSERT_EQUAL(e->taken, e->completed);
	to->status = (int)status;
	if (r)
		to->r = *r;
}

static int
allowed(const struct pair_end *e, uint32_t rkey, uint64_t va, uint32_t len, unsigned access)
{
	if ((e->qp_access & access) != access)
		return -EACCES;
	return rkey == PAIR_RKEY && (e->access & access) == access && va <= PAIR_MEMORY &&
			       len <= PAIR_MEMORY - va
		       ? 0
		       : -EFAULT;
}

static int
remote_check(void *ctx, uint32_t rkey, uint64_t va, uint32_t len, unsigned access)
{
	return busy(ctx) ? -EAGAIN : allowed(ctx, rkey, va, len, access);
}

static int
remote_read(void *ctx, uint32_t rkey, uint64_t va, void *to, uint32_t len)
{
	struct pair_end *e = ctx;

	if (busy(e))
		return -EAGAIN;
	if (allowed(e, rkey, va, len, 4))
		return -EFAULT;
	memcpy(to, e->memory + va, len);
	return 0;
}

static int
remote_write(void *ctx, uint32_t rkey, uint64_t va, const void *from, uint32_t len)
{
	struct pair_end *e = ctx;

	if (busy(e))
		return -EAGAIN;
	if (allowed(e, rkey, va, len, 2))
		return -EFAULT;
	memcpy(e->memory + va, from, len);
	return 0;
}

static int
remote_atomic(void *ctx, uint32_t rkey, uint64_t va, bool cas, uint64_t compare, uint64_t swap_add,
	      uint64_t *old)
{
	struct pair_end *e = ctx;
	uint64_t v;
	int rc;

	if (busy(e))
		return -EAGAIN;
	rc = allowed(e, rkey, va, 8, 8);
	if (rc)
		return rc;
	memcpy(&v, e->memory + va, 8);
	*old = v;
	if (!cas)
		v += swap_add;
	else if (v == compare)
		v = swap_add;
	memcpy(e->memory + va, &v, 8);
	return 0;
}

static int
invalidate(void *ctx, uint32_t rkey)
{
	struct pair_end *e = ctx;

	if (busy(e))
		return -EAGAIN;
	e->invalidated = rkey;
	return rkey == PAIR_RKEY ? 0 : -EFAULT;
}

static void
failed(void *ctx, unsigned event)
{
	struct pair_end *e = ctx;

	e->errors++;
	e->last_event = event;
}

static void
established(void *ctx)
{
	((struct pair_end *)ctx)->established++;
}

static const struct roce_ops ops = {
	.wr_read = wr_read,
	.wr_write = wr_write,
	.wr_done = wr_done,
	.recv_take = recv_take,
	.recv_write = recv_write,
	.recv_done = recv_done,
	.remote_check = remote_check,
	.remote_read = remote_read,
	.remote_write = remote_write,
	.remote_atomic = remote_atomic,
	.invalidate = invalidate,
	.error = failed,
	.established = established,
};

/* ---- the wire ---- */

static void
enqueue(struct pair *p, unsigned to, const uint8_t *bytes, size_t len, uint64_t at)
{
	struct pair_packet *k = malloc(sizeof(*k)), **where = &p->queue;

	CU_ASSERT_FATAL(k && len <= sizeof(k->bytes));
	*k = (struct pair_packet){.at = at, .to = to, .len = len};
	memcpy(k->bytes, bytes, len);
	while (*where && (*where)->at <= at)
		where = &(*where)->next;
	k->next = *where;
	*where = k;
}

static bool
happens(struct pair *p, unsigned rate)
{
	return rate && pair_random(p) % 10000 < rate;
}

static void
transmit(struct pair *p, unsigned from, uint8_t *bytes, size_t len)
{
	const struct pair_wire *w = &p->wire;
	uint64_t at = p->now + w->delay_ns;

	if (w->jitter_ns)
		at += pair_random(p) % w->jitter_ns;
	if (p->tap && !p->tap(p, from, bytes, &len))
		return;
	if (w->cut || happens(p, w->loss))
		return;
	if (happens(p, w->reorder))
		at += 5 * w->delay_ns;
	enqueue(p, !from, bytes, len, at);
	if (happens(p, w->dup))
		enqueue(p, !from, bytes, len, at + w->delay_ns / 2);
}

static void
deliver(struct pair *p)
{
	struct pair_packet *k;

	while ((k = p->queue) && k->at <= p->now) {
		struct pair_end *e = &p->end[k->to];
		struct roce_pkt pkt;

		p->queue = k->next;
		e->packets++;
		CU_ASSERT_EQUAL_FATAL(roce_parse(&pkt, k->bytes, k->len), 0);
		CU_ASSERT_EQUAL(pkt.qpn, e->conf.qpn);
		roce_rx(&e->qp, p->now, &pkt, p->wire.mark);
		free(k);
	}
}

static uint64_t
next_event(const struct pair *p)
{
	uint64_t at = p->queue ? p->queue->at : UINT64_MAX;

	for (unsigned i = 0; i < 2; i++)
		if (roce_deadline(&p->end[i].qp) < at)
			at = roce_deadline(&p->end[i].qp);
	return at;
}

void
pair_run(struct pair *p, uint64_t for_ns)
{
	uint8_t bytes[ROCE_HEADERS_MAX + ROCE_MTU_MAX + 4];
	uint64_t end = p->now + for_ns, at;
	size_t len;

	for (;;) {
		for (unsigned i = 0; i < 2; i++) {
			unsigned burst = 64;

			pair_feed(&p->end[i]);
			roce_tick(&p->end[i].qp, p->now);
			while (burst-- && (len = roce_tx(&p->end[i].qp, p->now, bytes)))
				transmit(p, i, bytes, len);
		}
		at = next_event(p);
		if (p->end[0].busy || p->end[1].busy)
			at = at < p->now + 1000 ? at : p->now + 1000; /* memory is asked again */
		if (at >= end)
			break;
		if (at > p->now)
			p->now = at;
		deliver(p);
	}
	p->now = end;
}

void
pair_inject(struct pair *p, unsigned to, const struct roce_pkt *pkt, const void *payload)
{
	uint8_t bytes[ROCE_HEADERS_MAX + ROCE_MTU_MAX + 4];
	unsigned head = roce_build(pkt, bytes), pad = roce_pad(pkt->len);

	if (pkt->len)
		memcpy(bytes + head, payload, pkt->len);
	memset(bytes + head + pkt->len, 0, pad);
	enqueue(p, to, bytes, head + pkt->len + pad, p->now);
}

void
pair_give(struct pair *p, unsigned to, const struct roce_pkt *pkt)
{
	struct roce_pkt k = *pkt;

	k.flags = roce_opcode_flags(k.opcode);
	k.pkey = ROCE_PKEY_DEFAULT;
	k.payload = data;
	roce_rx(&p->end[to].qp, p->now, &k, p->wire.mark);
}

bool
pair_sends(struct pair *p, unsigned from, struct roce_pkt *pkt)
{
	static uint8_t bytes[ROCE_HEADERS_MAX + ROCE_MTU_MAX + 4];
	size_t len = roce_tx(&p->end[from].qp, p->now, bytes);

	return len && roce_parse(pkt, bytes, len) == 0;
}

/* ---- set-up ---- */

void
pair_start(struct pair *p)
{
	for (unsigned i = 0; i < 2; i++) {
		struct pair_end *e = &p->end[i];

		roce_init(&e->qp, &ops, e);
		roce_start_receive(&e->qp, &e->conf, 0xfffff0 + !i);
		roce_start_send(&e->qp, &e->conf, 0xfffff0 + i);
	}
}

void
pair_init(struct pair *p, enum roce_type type, uint32_t mtu, uint64_t seed)
{
	memset(p, 0, sizeof(*p));
	p->seed = seed;
	p->now = 1000000;
	p->wire.delay_ns = 5000;
	for (unsigned i = 0; i < 2; i++) {
		struct pair_end *e = &p->end[i];

		e->pair = p;
		e->access = e->qp_access = 2 | 4 | 8;
		e->memory = calloc(1, PAIR_MEMORY);
		CU_ASSERT_PTR_NOT_NULL_FATAL(e->memory);
		e->conf = (struct roce_conf){
			.type = type,
			.mtu = mtu,
			.qpn = 100 + i,
			.dest_qpn = 100 + !i,
			.pkey = ROCE_PKEY_DEFAULT,
			.timeout_ns = roce_timeout_ns(8),
			.retry_cnt = 7,
			.rnr_retry = 7,
			.min_rnr_timer = 1,
			.max_rd_atomic = 4,
			.max_dest_rd_atomic = 4,
		};
	}
	pair_start(p);
}

void
pair_fini(struct pair *p)
{
	struct pair_packet *k;

	while ((k = p->queue)) {
		p->queue = k->next;
		free(k);
	}
	free(p->end[0].memory);
	free(p->end[1].memory);
}

struct pair_wr *
pair_post(struct pair_end *e, enum roce_op op, const uint8_t *src, uint8_t *dst, uint32_t len,
	  uint64_t raddr)
{
	struct pair_wr *w = &e->wrs[e->num_wrs++];

	CU_ASSERT_FATAL(e->num_wrs <= PAIR_WRS);
	*w = (struct pair_wr){.src = src, .dst = dst, .status = -1};
	w->wr = (struct roce_wr){
		.ctx = w, .op = op, .length = len, .raddr = raddr, .rkey = PAIR_RKEY};
	return w;
}

struct pair_recv *
pair_recv(struct pair_end *e, uint8_t *buf, uint32_t room)
{
	struct pair_recv *r = &e->recvs[e->num_recvs++];

	CU_ASSERT_FATAL(e->num_recvs <= PAIR_RECVS);
	*r = (struct pair_recv){.buf = buf, .room = room, .status = -1};
	return r;
}

int
pair_main(const char *suite, const struct suite_test *tests, unsigned n)
{
	struct pair chance = {.seed = 1};

	for (unsigned i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)pair_random(&chance);
	return suite_main(suite, tests, n);
}
