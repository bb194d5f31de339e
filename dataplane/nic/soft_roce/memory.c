/* SPDX-License-Identifier: MIT */
/*
 * Bytes of a packet to and from registered memory. What the router has not mapped is reached by the
 * container's copier thread, a job for each piece: the engine is told "not now", and finds the job
 * done when it asks again; packets that came in wait meanwhile. Owner worker.
 */
#include <errno.h>
#include <string.h>

#include <rte_mempool.h>

#include "sroce_priv.h"

#define AGAIN_NS 200000u

/* A job with its bytes. */
struct sbounce {
	struct ff_procmem_job job; /* first: job.msg */
	struct sqp *s;		   /* NULL: the QP has let go of it */
	struct sworker *sw;
	uint32_t tenant;
	bool busy;	 /* the copier has it */
	uint64_t arg[2]; /* of an atomic */
	uint8_t data[ROCE_MTU_MAX];
};
_Static_assert(sizeof(struct sbounce) <= SROCE_HANDOVER_SIZE, "elements of the pool");

bool
smem_wait_begin(struct sqp *s)
{
	uint16_t *n = &s->sw->waiting[s->l->qp->container->tenant->index];

	if (*n == SROCE_TENANT_MAX)
		return false;
	++*n;
	return true;
}

void
smem_wait_end(struct sworker *sw, uint32_t tenant)
{
	sw->waiting[tenant]--;
}

static void
bounce_put(struct sbounce *b)
{
	smem_wait_end(b->sw, b->tenant);
	ff_proc_unref(b->job.proc);
	rte_mempool_put(rte_mempool_from_obj(b), b);
}

static void
bounce_back(struct ff_msg *m)
{
	struct sbounce *b = (struct sbounce *)m;
	struct sqp *s = b->s;

	b->busy = false;
	if (!s) {
		bounce_put(b);
		return;
	}
	sroce_now_set(s->sw, ff_now_ns());
	sroce_rx_again(s);
	sroce_activate(s);
}

/* In any case the QP has no more to do with it. */
static void
bounce_drop(struct sbounce **slot)
{
	struct sbounce *b = *slot;

	*slot = NULL;
	if (!b)
		return;
	b->s = NULL;
	if (!b->busy)
		bounce_put(b);
}

void
smem_release(struct sqp *s)
{
	for (unsigned i = 0; i < SROCE_BOUNCES; i++) {
		bounce_drop(&s->fetch[i]);
		bounce_drop(&s->store[i]);
	}
}

/*
 * What a job is asked for. bytes: source of a write, else where the result goes. What goes out and
 * what comes in are worked on in turns: neither may take the other's jobs, or an atomic would be
 * executed twice.
 */
struct want {
	enum ff_procmem_op op;
	const struct lchunk *c;
	void *bytes;
	uint32_t len;
	uint64_t arg[2];
};

static bool
is_for(const struct sbounce *b, const struct want *w)
{
	const struct ff_procmem_job *j = &b->job;

	return j->op == w->op && j->va == w->c->va && j->len == w->len &&
	       j->proc == w->c->mr->umem.proc && b->arg[0] == w->arg[0] && b->arg[1] == w->arg[1] &&
	       (w->op != FF_PROCMEM_WRITE || !memcmp(b->data, w->bytes, w->len));
}

static bool
submit(struct sqp *s, const struct want *w, struct sbounce **slot)
{
	struct ff_container *c = w->c->mr->obj.uc->container;
	struct sbounce *b;

	if (!c->procmem || !smem_wait_begin(s))
		return false;
	if (rte_mempool_get(s->sw->handovers, (void **)&b)) {
		smem_wait_end(s->sw, s->l->qp->container->tenant->index);
		return false;
	}
	b->s = s;
	b->sw = s->sw;
	b->tenant = s->l->qp->container->tenant->index;
	b->busy = true;
	memcpy(b->arg, w->arg, sizeof(b->arg));
	b->job.msg.fn = bounce_back;
	b->job.op = w->op;
	b->job.proc = ff_proc_ref(w->c->mr->umem.proc);
	b->job.va = w->c->va;
	b->job.len = w->len;
	b->job.buf = b->data;
	b->job.compare_add = w->arg[0];
	b->job.swap = w->arg[1];
	b->job.reply_to = s->sw->w;
	b->job.status = 0;
	if (w->op == FF_PROCMEM_WRITE)
		memcpy(b->data, w->bytes, w->len);
	if (ff_procmem_submit(c->procmem, &b->job)) {
		bounce_put(b);
		return false;
	}
	*slot = b;
	return true;
}

static struct sbounce **
slots(struct sqp *s, enum ff_procmem_op op)
{
	return op == FF_PROCMEM_READ ? s->fetch : s->store;
}

/* In the place of a job that is back and was about something else. */
static void
begin(struct sqp *s, const struct want *w)
{
	struct sbounce **slot = slots(s, w->op);
	unsigned i = 0;

	while (i < SROCE_BOUNCES && slot[i])
		i++;
	if (i == SROCE_BOUNCES)
		for (i = 0; i < SROCE_BOUNCES && slot[i]->busy; i++)
			;
	if (i == SROCE_BOUNCES)
		return; /* one of them comes back */
	bounce_drop(&slot[i]);
	if (!submit(s, w, &slot[i]))
		s->again_ns = s->sw->now + AGAIN_NS;
}

/* *used: the slots of the jobs that an operation is made of. */
static int
far(struct sqp *s, const struct want *w, uint64_t *used)
{
	struct sbounce **slot = slots(s, w->op);

	for (unsigned i = 0; i < SROCE_BOUNCES; i++) {
		const struct sbounce *b = slot[i];

		if (!b || !is_for(b, w))
			continue;
		if (b->busy)
			return -EAGAIN;
		*used |= 1ull << i;
		if (b->job.status)
			return -EFAULT;
		if (w->op != FF_PROCMEM_WRITE)
			memcpy(w->bytes, b->data, w->len);
		return 0;
	}
	begin(s, w);
	return -EAGAIN;
}

/* The operation is done: its jobs are not for the next one, even if that is about the same bytes.
 */
static void
consumed(struct sqp *s, enum ff_procmem_op op, uint64_t used)
{
	for (unsigned i = 0; used; i++, used >>= 1)
		if (used & 1)
			bounce_drop(&slots(s, op)[i]);
}

int
smem_copy(struct sqp *s, struct lspan *span, void *bytes, uint64_t len, bool in)
{
	enum ff_procmem_op op = in ? FF_PROCMEM_WRITE : FF_PROCMEM_READ;
	uint8_t *at = bytes;
	struct lchunk c;
	uint64_t n, used = 0;
	int rc = 0;

	while (len) {
		rc = lspan_chunk(span, &c) || !c.len ? -EFAULT : 0;
		if (rc)
			break;
		n = c.len < len ? c.len : len;
		if (c.ptr) {
			rc = in ? ff_umem_copy(c.ptr, at, n) : ff_umem_copy(at, c.ptr, n);
		} else {
			const struct want w = {.op = op, .c = &c, .bytes = at, .len = (uint32_t)n};

			rc = far(s, &w, &used);
		}
		if (rc == -EAGAIN)
			return rc;
		if (rc)
			break;
		span->off += n;
		at += n;
		len -= n;
	}
	consumed(s, op, used);
	return rc;
}

int
smem_atomic(struct sqp *s, struct lspan *span, bool cas, uint64_t compare_add, uint64_t swap,
	    uint64_t *old)
{
	struct want w = {.op = cas ? FF_PROCMEM_CMP_SWAP : FF_PROCMEM_FETCH_ADD,
			 .bytes = old,
			 .len = sizeof(*old),
			 .arg = {compare_add, swap}};
	struct lchunk c;
	uint64_t used = 0;
	int rc;

	if (lspan_chunk(span, &c) || c.len < sizeof(*old))
		return -EFAULT;
	if (c.ptr)
		return (uintptr_t)c.ptr % sizeof(*old)
			       ? -EFAULT
			       : ff_umem_atomic(cas ? FF_ATOMIC_CMP_SWAP : FF_ATOMIC_FETCH_ADD,
						(uint64_t *)c.ptr, compare_add, swap, old);
	w.c = &c;
	rc = far(s, &w, &used);
	if (rc != -EAGAIN)
		consumed(s, w.op, used);
	return rc;
}
