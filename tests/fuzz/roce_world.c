/* SPDX-License-Identifier: MIT */
/* See roce_world.h. */
#include "roce_world.h"

#include <errno.h>
#include <string.h>

uint8_t
world_next(struct world *w)
{
	if (!w->left)
		return 0;
	w->left--;
	return *w->in++;
}

uint32_t
world_next16(struct world *w)
{
	return (uint32_t)world_next(w) << 8 | world_next(w);
}

static bool
busy(struct end *e)
{
	return e->busy && (world_next(e->w) & 1);
}

static void
range_add(struct range **to, unsigned *num, struct range r)
{
	*to = realloc(*to, (*num + 1) * sizeof(r));
	CHECK(*to);
	(*to)[(*num)++] = r;
}

static bool
within(struct range r, uint64_t va, uint32_t len)
{
	return va >= r.va && va - r.va <= r.len && len <= r.len - (va - r.va);
}

/* ---- what the engine calls ---- */

static int
wr_read(void *ctx, struct roce_wr *wr, uint64_t off, void *to, uint32_t len)
{
	struct end *e = ctx;

	CHECK(wr >= &e->wrs[e->done] && wr < &e->wrs[e->posted]);
	CHECK(len && off <= wr->length && len <= wr->length - off);
	if (busy(e))
		return -EAGAIN;
	if (wr->compare == 13) /* SEND or WRITE from memory that is not there */
		return -EFAULT;
	memset(to, (int)off, len);
	return 0;
}

static int
wr_write(void *ctx, struct roce_wr *wr, uint64_t off, const void *from, uint32_t len)
{
	struct end *e = ctx;
	uint8_t copy[ROCE_MTU_MAX];

	CHECK(wr == &e->wrs[e->done] && e->done < e->posted && wr->op >= ROCE_OP_READ);
	CHECK(len && off <= wr->length && len <= wr->length - off);
	if (busy(e))
		return -EAGAIN;
	memcpy(copy, from, len);
	return 0;
}

static void
wr_done(void *ctx, struct roce_wr *wr, enum roce_status status)
{
	struct end *e = ctx;

	CHECK(!e->stopped && e->done < e->posted && wr == &e->wrs[e->done]);
	CHECK(status != ROCE_OK || !e->qp.broken);
	e->done++;
}

static int
recv_take(void *ctx)
{
	struct end *e = ctx;

	CHECK(!e->stopped && e->taken == e->completed);
	if (e->taken == e->recvs)
		return -ENOENT;
	return e->rooms[e->taken++] == 0xffff ? -EINVAL : 0;
}

static int
recv_write(void *ctx, uint64_t off, const void *from, uint32_t len)
{
	struct end *e = ctx;
	uint8_t copy[ROCE_MTU_MAX];
	uint32_t room;

	CHECK(!e->stopped && e->taken == e->completed + 1 && len);
	room = e->rooms[e->completed];
	if (busy(e))
		return -EAGAIN;
	if (off > room || len > room - off)
		return -EMSGSIZE;
	memcpy(copy, from, len);
	return room == 77 ? -EFAULT : 0;
}

static void
recv_done(void *ctx, const struct roce_recv *r, enum roce_status status)
{
	struct end *e = ctx;

	CHECK(!e->stopped && e->taken == e->completed + 1);
	CHECK(!r == (status != ROCE_OK));
	CHECK(!r || r->is_write || r->length <= e->rooms[e->completed]);
	e->completed++;
}

static int
remote_check(void *ctx, uint32_t rkey, uint64_t va, uint32_t len, unsigned access)
{
	struct end *e = ctx;

	CHECK(!e->stopped && len);
	if (busy(e))
		return -EAGAIN;
	if (rkey == RKEY + 1)
		return -EACCES;
	if (rkey != RKEY || va > MEM || len > MEM - va)
		return -EFAULT;
	if (access == 2)
		e->write = (struct range){va, len};
	else
		range_add(&e->reads, &e->num_reads, (struct range){va, len});
	return 0;
}

static int
remote_read(void *ctx, uint32_t rkey, uint64_t va, void *to, uint32_t len)
{
	struct end *e = ctx;
	unsigned i;

	for (i = 0; i < e->num_reads && !within(e->reads[i], va, len); i++)
		;
	CHECK(!e->stopped && rkey == RKEY && i < e->num_reads && len);
	if (busy(e))
		return -EAGAIN;
	if (va == 4096) /* gone */
		return -EFAULT;
	memcpy(to, e->memory + va, len);
	return 0;
}

static int
remote_write(void *ctx, uint32_t rkey, uint64_t va, const void *from, uint32_t len)
{
	struct end *e = ctx;

	CHECK(!e->stopped && rkey == RKEY && len && within(e->write, va, len));
	if (busy(e))
		return -EAGAIN;
	memcpy(e->memory + va, from, len);
	return 0;
}

static int
remote_atomic(void *ctx, uint32_t rkey, uint64_t va, bool cas, uint64_t compare, uint64_t swap_add,
	      uint64_t *old)
{
	struct end *e = ctx;

	CHECK(!e->stopped && va % 8 == 0);
	if (busy(e))
		return -EAGAIN;
	if (rkey == RKEY + 1)
		return -EACCES;
	if (rkey != RKEY || va > MEM - 8)
		return -EFAULT;
	for (unsigned i = 0; i < e->num_atomics; i++)
		CHECK(e->atomics[i] != e->rx_psn);
	e->atomics = realloc(e->atomics, (e->num_atomics + 1) * sizeof(*e->atomics));
	CHECK(e->atomics);
	e->atomics[e->num_atomics++] = e->rx_psn;
	memcpy(old, e->memory + va, 8);
	return 0;
}

static int
invalidate(void *ctx, uint32_t rkey)
{
	return busy(ctx) ? -EAGAIN : rkey & 1 ? -EFAULT : 0;
}

static void
failed(void *ctx, unsigned event)
{
	struct end *e = ctx;

	CHECK(!e->stopped && e->qp.broken && !e->errors && e->done == e->posted);
	CHECK(e->taken == e->completed);
	e->errors++;
}

static void
established(void *ctx)
{
	struct end *e = ctx;

	CHECK(!e->stopped && !e->established);
	e->established++;
}

const struct roce_ops world_ops = {
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
