/* SPDX-License-Identifier: MIT */
/*
 * Moves bytes of an operation, a slice at a time: keys are looked up for each slice, so a
 * registration may go away between two. Memory that is not mapped here goes through a bounce
 * buffer and the container's copier thread. The worker that executes the operation.
 */
#include <errno.h>
#include <string.h>

#include <rte_mempool.h>

#include "local_priv.h"

static uint64_t
min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* ---- bounce buffers ---- */

static void
bounce_free(struct lbounce *b)
{
	if (b->job.proc) {
		ff_proc_unref(b->job.proc);
		b->job.proc = NULL;
	}
	rte_mempool_put(b->lw->bounces, b);
	b->lw->starved_retry = 0;
}

void
lmove_release(struct lop *op)
{
	struct lbounce *b = op->bounce;

	if (!b)
		return;
	op->bounce = NULL;
	b->op = NULL;
	if (!b->busy)
		bounce_free(b);
}

/* The copier has answered. Worker of the operation. */
static void
bounce_back(struct ff_msg *m)
{
	struct lbounce *b = (struct lbounce *)m;

	b->busy = false;
	if (!b->op) {
		bounce_free(b);
		return;
	}
	b->op->phase = LOP_MOVE;
	lsched_ready(b->op->at);
}

static struct lbounce *
bounce_get(struct lworker *lw, struct lop *op)
{
	struct lbounce *b;

	if (op->bounce)
		return op->bounce;
	if (rte_mempool_get(lw->bounces, (void **)&b))
		return NULL;
	b->lw = lw;
	b->op = op;
	b->busy = false;
	b->store = false;
	b->len = 0;
	b->off = 0;
	b->job.proc = NULL;
	b->job.status = 0;
	op->bounce = b;
	return b;
}

/* Hands len bytes at chunk c to the copier of the memory's container. */
static enum lmove
bounce_submit(struct lop *op, struct lbounce *b, enum ff_procmem_op what, const struct lchunk *c,
	      uint32_t len)
{
	struct ff_container *container = c->mr->obj.uc->container;

	if (b->job.proc)
		ff_proc_unref(b->job.proc);
	b->job.msg.fn = bounce_back;
	b->job.op = what;
	b->job.proc = ff_proc_ref(c->mr->umem.proc);
	b->job.va = c->va;
	b->job.len = len;
	b->job.buf = b->data + b->off;
	b->job.reply_to = b->lw->w;
	b->job.status = 0;
	if (!container->procmem || ff_procmem_submit(container->procmem, &b->job)) {
		ff_proc_unref(b->job.proc);
		b->job.proc = NULL;
		return LMOVE_BUSY; /* its queue is full: once more in a later turn */
	}
	b->busy = true;
	op->phase = LOP_BOUNCE;
	op->at->qp->counters[FF_QC_COPY_BOUNCE]++;
	return LMOVE_WAIT;
}

/* Which side of a failed copy cannot be read? */
static bool
src_faults(const uint8_t *src, uint64_t len)
{
	uint8_t probe[4096];

	for (uint64_t off = 0; off < len; off += sizeof(probe)) {
		uint64_t n = min_u64(len - off, sizeof(probe));

		if (ff_umem_copy(probe, src + off, n))
			return true;
	}
	return false;
}

static void
advance(struct lop *op, struct lspan *src, uint64_t n)
{
	src->off += n;
	op->dst.off += n;
	if (src == &op->src)
		op->moved += n;
	else
		op->grh_left -= n;
}

/* Into mapped memory, from mapped memory or from what has been fetched. */
static enum lmove
copy_direct(struct lop *op, struct lspan *src, const struct lchunk *s, const struct lchunk *d,
	    uint64_t n)
{
	struct lbounce *b = op->bounce;

	if (ff_umem_copy(d->ptr, s->ptr, n))
		return src_faults(s->ptr, n) ? LMOVE_SRC_FAULT : LMOVE_DST_FAULT;
	advance(op, src, n);
	if (b && s->mr == NULL && s->ptr == b->data + b->off) {
		b->off += n;
		if (b->off == b->len)
			lmove_release(op);
	}
	return LMOVE_MORE;
}

/* Into memory that only the copier reaches. */
static enum lmove
copy_store(struct lworker *lw, struct lop *op, const struct lchunk *s, const struct lchunk *d,
	   uint64_t n)
{
	struct lbounce *b = op->bounce;

	n = min_u64(n, FF_PROCMEM_MAX);
	if (!b) {
		b = bounce_get(lw, op);
		if (!b)
			return LMOVE_BUSY;
		if (ff_umem_copy(b->data, s->ptr, n))
			return LMOVE_SRC_FAULT;
		b->len = n;
	}
	b->store = true;
	return bounce_submit(op, b, FF_PROCMEM_WRITE, d, n);
}

/* What the copier brought back. LMOVE_DONE: go on. */
static enum lmove
bounce_result(struct lop *op, struct lspan *src)
{
	struct lbounce *b = op->bounce;

	if (!b->job.proc)
		return LMOVE_DONE; /* nothing new */
	ff_proc_unref(b->job.proc);
	b->job.proc = NULL;
	if (b->job.status)
		return b->store ? LMOVE_DST_FAULT : LMOVE_SRC_FAULT;
	if (!b->store)
		return LMOVE_DONE;
	b->store = false;
	advance(op, src, b->job.len);
	b->off += b->job.len;
	if (b->off == b->len)
		lmove_release(op);
	return LMOVE_DONE;
}

static bool
atomic_pending(const struct lop *op)
{
	return op->src.kind == LSPAN_REMOTE && op->opcode != IB_UVERBS_WR_RDMA_READ;
}

static void
atomic_result(struct lop *op, uint64_t old)
{
	op->atomic_old = old;
	op->src = (struct lspan){.kind = LSPAN_BYTES,
				 .bytes = (uint8_t *)&op->atomic_old,
				 .length = sizeof(op->atomic_old)};
}

/* Executes the atomic, here or by the copier; its old value becomes the source. */
static enum lmove
move_atomic(struct lworker *lw, struct lop *op)
{
	bool cas = op->opcode == IB_UVERBS_WR_ATOMIC_CMP_AND_SWP;
	struct lbounce *b = op->bounce;
	struct lchunk c;
	uint64_t old;

	if (b && b->job.proc) { /* the copier did it */
		int status = b->job.status;

		memcpy(&old, b->data, sizeof(old));
		lmove_release(op);
		if (status)
			return LMOVE_SRC_FAULT;
		atomic_result(op, old);
		return LMOVE_MORE;
	}
	if (lspan_chunk(&op->src, &c) || c.len < sizeof(uint64_t))
		return LMOVE_SRC_FAULT;
	if (c.ptr) {
		if ((uintptr_t)c.ptr % sizeof(uint64_t) ||
		    ff_umem_atomic(cas ? FF_ATOMIC_CMP_SWAP : FF_ATOMIC_FETCH_ADD,
				   (uint64_t *)c.ptr, op->compare_add, op->swap, &old))
			return LMOVE_SRC_FAULT;
		atomic_result(op, old);
		return LMOVE_MORE;
	}
	b = bounce_get(lw, op);
	if (!b)
		return LMOVE_BUSY;
	b->job.compare_add = op->compare_add;
	b->job.swap = op->swap;
	return bounce_submit(op, b, cas ? FF_PROCMEM_CMP_SWAP : FF_PROCMEM_FETCH_ADD, &c,
			     sizeof(old));
}

/* One copy of at most max bytes from src to op->dst. */
static enum lmove
move_some(struct lworker *lw, struct lop *op, struct lspan *src, uint64_t max)
{
	struct lbounce *b = op->bounce;
	struct lchunk s, d;
	uint64_t n;

	if (b && b->len) {
		s = (struct lchunk){.ptr = b->data + b->off, .len = b->len - b->off};
	} else if (lspan_chunk(src, &s)) {
		return LMOVE_SRC_FAULT;
	}
	if (!s.ptr) {
		b = bounce_get(lw, op);
		if (!b)
			return LMOVE_BUSY;
		n = min_u64(min_u64(s.len, max), FF_PROCMEM_MAX);
		if (bounce_submit(op, b, FF_PROCMEM_READ, &s, n) != LMOVE_WAIT)
			return LMOVE_BUSY;
		b->len = n;
		return LMOVE_WAIT;
	}
	if (lspan_chunk(&op->dst, &d))
		return LMOVE_DST_FAULT;
	n = min_u64(min_u64(s.len, d.len), max);
	if (!d.ptr)
		return copy_store(lw, op, &s, &d, n);
	return copy_direct(op, src, &s, &d, n);
}

enum lmove
lmove_step(struct lworker *lw, struct lop *op, uint64_t max, uint64_t *moved)
{
	uint64_t before = op->moved;
	enum lmove r;

	if (atomic_pending(op)) {
		r = move_atomic(lw, op);
		if (r != LMOVE_MORE || atomic_pending(op))
			return r;
	}
	if (op->bounce) {
		r = bounce_result(op, op->grh_left ? &op->grh_span : &op->src);
		if (r != LMOVE_DONE)
			return r;
	}
	while (op->grh_left || (op->moved < op->length && op->moved - before < max)) {
		bool grh = op->grh_left;

		r = move_some(lw, op, grh ? &op->grh_span : &op->src,
			      grh ? op->grh_left
				  : min_u64(max - (op->moved - before), op->length - op->moved));
		*moved = op->moved - before;
		if (r != LMOVE_MORE)
			return r;
	}
	if (op->moved < op->length)
		return LMOVE_MORE;
	op->at->qp->counters[FF_QC_COPY_DIRECT]++;
	return LMOVE_DONE;
}
