/* SPDX-License-Identifier: MIT */
/* Fakes of all that the local backend calls: core, verbs, memory. See harness.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "harness_priv.h"

static struct ff_msg *control[64];
static unsigned num_control;
static struct ff_procmem_job *jobs[64];
static unsigned num_jobs;

const struct ff_worker_stage *h_stages[FF_STAGES_MAX];
unsigned h_num_stages;
struct h_mrs h_mrs[H_MRS];
struct ff_proc h_proc;
uint64_t h_now = 1000000;
unsigned h_events[64];
bool h_hold_jobs, h_control_full, h_worker_full;
int h_copy_fault;
unsigned h_freed;
struct ff_idtab ff_qps, ff_keys, ff_ahs;

/* ---- fakes of core ---- */
void
ff_log(enum ff_log_level level, const char *component, const char *fmt, ...)
{
}
int
ff_worker_stage_register(const struct ff_worker_stage *s)
{
	h_stages[h_num_stages] = s;
	return (int)h_num_stages++;
}
void
ff_worker_priv_set(struct ff_worker *w, int slot, void *priv)
{
	w->priv[slot] = priv;
}
void *
ff_worker_priv(const struct ff_worker *w, int slot)
{
	return w->priv[slot];
}
unsigned
ff_worker_index(const struct ff_worker *w)
{
	return w->index;
}
uint64_t
ff_now_ns(void)
{
	return h_now;
}
int
ff_worker_post(struct ff_worker *w, struct ff_msg *m)
{
	if (h_worker_full)
		return -ENOSPC;
	w->msgs[w->tail++ % H_MSGS] = m;
	return 0;
}
int
ff_control_post(struct ff_msg *m)
{
	if (h_control_full)
		return -EAGAIN;
	control[num_control++] = m;
	return 0;
}

/* Deterministic ids, one leaf for all of them. */
void
h_idtab_init(struct ff_idtab *t)
{
	static _Atomic(void *) leaves[2][FF_IDTAB_LEAF];
	static unsigned n;

	atomic_store(&t->root[0], leaves[n++]);
}
void
h_idtab_insert(struct ff_idtab *t, void *obj, uint32_t *id)
{
	_Atomic(void *) *leaf = atomic_load(&t->root[0]);

	for (*id = 2; leaf[*id]; ++*id)
		if (*id == FF_IDTAB_LEAF - 1)
			abort();
	leaf[*id] = obj;
}
void
h_idtab_remove(struct ff_idtab *t, uint32_t id)
{
	atomic_load(&t->root[0])[id] = NULL;
}

/* ---- fakes of verbs and memory ---- */
int
ff_cq_post(struct ff_cq *cq, const struct ib_uverbs_wc *wc, bool solicited)
{
	struct h_cq *h = (struct h_cq *)cq;

	h->wc[h->n % H_CQES] = *wc;
	h->solicited[h->n++ % H_CQES] = solicited;
	return 0;
}
void
ff_async_qp(struct ff_qp *qp, uint32_t ev)
{
	h_events[ev]++;
}
void
ff_async_srq(struct ff_srq *srq, uint32_t ev)
{
	h_events[ev]++;
}
int
ff_mw_bind(struct ff_qp *qp, const struct ff_mw_bind *b)
{
	return b->length == 13 ? -EINVAL : 0;
}
int
ff_key_invalidate(struct ff_qp *qp, uint32_t rkey, bool remote)
{
	return rkey == 13 ? -EINVAL : 0;
}
static int
check(uint32_t pd_id, uint32_t key, uint64_t va, uint64_t len, uint32_t want, struct ff_mr **mr,
      uint64_t *off)
{
	struct h_mrs *m;

	*mr = NULL;
	if (!len)
		return 0;
	if (key >= H_MRS || !h_mrs[key].used)
		return -EACCES;
	m = &h_mrs[key];
	if (m->mr.pd_id != pd_id || (want & ~m->mr.access))
		return -EACCES;
	if (len > m->mr.length || va < m->mr.iova || va - m->mr.iova > m->mr.length - len)
		return -ERANGE;
	*mr = &m->mr;
	*off = va - m->mr.iova;
	return 0;
}
int
ff_key_check_local(uint32_t pd_id, uint32_t lkey, uint64_t va, uint64_t len, uint32_t want,
		   struct ff_mr **mr, uint64_t *off)
{
	return check(pd_id, lkey, va, len, want, mr, off);
}
int
ff_key_check_remote(uint32_t pd_id, uint32_t qpn, uint32_t rkey, uint64_t va, uint64_t len,
		    uint32_t want, struct ff_mr **mr, uint64_t *off)
{
	return check(pd_id, rkey, va, len, want, mr, off);
}
void
ff_mcast_foreach(const struct ff_tenant *t, const uint8_t mgid[16],
		 void (*fn)(struct ff_qp *qp, void *arg), void *arg)
{
	for (uint32_t id = 0; id < FF_IDTAB_LEAF; id++) {
		struct ff_qp *qp = ff_idtab_get(&ff_qps, id);

		if (qp && qp->type == IB_UVERBS_QPT_UD)
			fn(qp, arg);
	}
}
bool
ff_container_has_gid(const struct ff_container *c, const uint8_t gid[16])
{
	for (unsigned i = 0; i < FF_GIDS_MAX; i++)
		if (c->gids[i].valid && !memcmp(c->gids[i].raw, gid, 16))
			return true;
	return false;
}
const struct ff_umem_seg *
ff_umem_seg_at(const struct ff_umem *m, uint64_t off)
{
	return &m->segs[0];
}
int
ff_umem_copy(void *dst, const void *src, size_t len)
{
	if (h_copy_fault)
		return -EFAULT;
	memcpy(dst, src, len);
	return 0;
}
int
ff_umem_atomic(enum ff_umem_atomic op, uint64_t *p, uint64_t compare_add, uint64_t swap,
	       uint64_t *old)
{
	*old = *p;
	if (op == FF_ATOMIC_FETCH_ADD)
		*p += compare_add;
	else if (*p == compare_add)
		*p = swap;
	return 0;
}
struct ff_proc *
ff_proc_ref(struct ff_proc *p)
{
	p->refs++;
	return p;
}
void
ff_proc_unref(struct ff_proc *p)
{
	p->refs--;
}
int
ff_procmem_get(struct ff_container *c)
{
	return 0;
}
int
ff_procmem_submit(struct ff_procmem *p, struct ff_procmem_job *job)
{
	jobs[num_jobs++] = job;
	return 0;
}
void
h_run_jobs(void)
{
	unsigned n = num_jobs;

	if (h_hold_jobs)
		return;
	for (unsigned i = 0; i < n; i++) {
		struct ff_procmem_job *j = jobs[i];
		uint64_t *p = (uint64_t *)j->va;

		if (j->op == FF_PROCMEM_READ)
			memcpy(j->buf, p, j->len);
		else if (j->op == FF_PROCMEM_WRITE)
			memcpy(p, j->buf, j->len);
		else
			ff_umem_atomic(j->op == FF_PROCMEM_CMP_SWAP ? FF_ATOMIC_CMP_SWAP
								    : FF_ATOMIC_FETCH_ADD,
				       p, j->compare_add, j->swap, j->buf);
		j->status = 0;
		ff_worker_post(j->reply_to, &j->msg);
	}
	num_jobs -= n;
	memmove(jobs, jobs + n, num_jobs * sizeof(jobs[0]));
}

void
h_run_control(void)
{
	for (unsigned i = 0; i < num_control; i++) {
		h_freed++;
		control[i]->fn(control[i]);
	}
	num_control = 0;
}
