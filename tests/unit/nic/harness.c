/* SPDX-License-Identifier: MIT */
/* See harness.h. Fakes of core, verbs and memory; the backend is the real one. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <rte_eal.h>

#include "../../../dataplane/nic/local/local_priv.h"
#include "harness.h"

struct ff_worker {
	unsigned index;
	void *priv[FF_STAGES_MAX];
	struct ff_msg *msgs[1024];
	unsigned head, tail;
};

struct h_mrs {
	struct ff_mr mr;
	struct ff_umem_seg seg;
	struct ff_ucontext uc;
	bool used;
};

static struct ff_worker workers[H_WORKERS];
static const struct ff_worker_stage *stage;
static struct h_mrs mrs[64];
static struct ff_tenant tenant = {.name = "t", .index = 1, .weight = 100};
static struct ff_msg *control[64];
static unsigned num_control;
static struct ff_procmem_job *jobs[64];
static unsigned num_jobs;
static struct ff_proc proc;
static uint32_t next_pd = 1;

uint64_t h_now = 1000000;
unsigned h_events[64];
struct ff_container h_container[2];
bool h_hold_jobs;
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
	stage = s;
	return 0;
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
	w->msgs[w->tail++ % 1024] = m;
	return 0;
}
int
ff_control_post(struct ff_msg *m)
{
	control[num_control++] = m;
	return 0;
}

/* Deterministic ids, one leaf for all of them. */
static void
idtab_init(struct ff_idtab *t)
{
	static _Atomic(void *) leaves[2][FF_IDTAB_LEAF];
	static unsigned n;

	atomic_store(&t->root[0], leaves[n++]);
}
static void
idtab_insert(struct ff_idtab *t, void *obj, uint32_t *id)
{
	_Atomic(void *) *leaf = atomic_load(&t->root[0]);

	for (*id = 2; leaf[*id]; ++*id)
		if (*id == FF_IDTAB_LEAF - 1)
			abort();
	leaf[*id] = obj;
}
static void
idtab_remove(struct ff_idtab *t, uint32_t id)
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
	if (key >= 64 || !mrs[key].used)
		return -EACCES;
	m = &mrs[key];
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
	return !memcmp(c->gids[0].raw, gid, 16);
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
static void
run_jobs(void)
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

/* ---- the harness ---- */
int
h_init(void)
{
	char *argv[] = {"engine_test", "--no-huge", "--no-pci", "--no-shconf", "--no-telemetry",
			"-m", "128", "--log-level=error", "-l", "0"};

	if (rte_eal_init(sizeof(argv) / sizeof(argv[0]), argv) < 0)
		return -1;
	idtab_init(&ff_qps);
	idtab_init(&ff_ahs);
	for (unsigned i = 0; i < 2; i++) {
		h_container[i].tenant = &tenant;
		h_container[i].gids[0].raw[15] = (uint8_t)(1 + i);
		h_container[i].procmem = (struct ff_procmem *)&proc;
	}
	if (ff_nic_local.probe())
		return -1;
	for (unsigned i = 0; i < H_WORKERS; i++) {
		workers[i].index = i;
		if (stage->init(&workers[i]))
			return -1;
	}
	return 0;
}

void
h_fini(void)
{
	for (unsigned i = 0; i < H_WORKERS; i++)
		stage->fini(&workers[i]);
	rte_eal_cleanup();
}

static void
queue_init(struct ff_queue *q, uint32_t log2_elem)
{
	*q = (struct ff_queue){.mask = 15, .log2_elem = log2_elem};
	q->buf = calloc(1, sizeof(*q->buf) + (16ul << log2_elem));
	q->data = q->buf->data;
}

struct h_qp *
h_qp_new(uint8_t type, unsigned c, unsigned w)
{
	struct h_qp *q = calloc(1, sizeof(*q));

	q->container = &h_container[c];
	q->pd.id = next_pd++;
	q->qp.type = type;
	q->qp.worker = &workers[w];
	q->qp.container = q->container;
	q->qp.pd = &q->pd;
	q->qp.scq = &q->scq.cq;
	q->qp.rcq = &q->rcq.cq;
	q->qp.max_send_sge = q->qp.max_recv_sge = 4;
	q->qp.max_inline = 64;
	queue_init(&q->qp.sq, 9);
	queue_init(&q->qp.rq, 7);
	if (ff_nic_local.qp_create(&q->qp))
		abort();
	idtab_insert(&ff_qps, &q->qp, &q->qp.qpn);
	return q;
}

static void
run_control(void)
{
	for (unsigned i = 0; i < num_control; i++) {
		h_freed++;
		control[i]->fn(control[i]);
	}
	num_control = 0;
}

void
h_qp_free(struct h_qp *q)
{
	idtab_remove(&ff_qps, q->qp.qpn);
	ff_nic_local.qp_detach(&q->qp);
	ff_nic_local.qp_destroy(&q->qp);
	free(q->qp.sq.buf);
	free(q->qp.rq.buf);
	free(q);
}

void
h_set_state(struct h_qp *q, enum ff_qp_state s)
{
	struct ff_qp_attr a = q->qp.attr;

	a.state = s;
	ff_nic_local.qp_modify(&q->qp, &a, FF_QPM_STATE);
}

static void
to_rts(struct h_qp *q, struct h_qp *peer)
{
	struct ff_qp_attr a = {
		.state = FF_QPS_INIT, .dest_qpn = peer->qp.qpn, .qkey = 0x11, .rq_psn = 77,
		.sq_psn = 77, .max_rd_atomic = 4, .max_dest_rd_atomic = 4, .min_rnr_timer = 12,
		.timeout = 14, .retry_cnt = 2, .rnr_retry = 2,
		.access = FF_ACCESS_REMOTE_WRITE | FF_ACCESS_REMOTE_READ | FF_ACCESS_REMOTE_ATOMIC,
	};

	memcpy(a.ah.dgid, peer->container->gids[0].raw, 16);
	ff_nic_local.qp_modify(&q->qp, &a, FF_QPM_STATE);
	h_set_state(q, FF_QPS_RTR);
	h_set_state(q, FF_QPS_RTS);
}

void
h_connect(struct h_qp *a, struct h_qp *b)
{
	to_rts(a, b);
	if (a != b)
		to_rts(b, a);
}

uint32_t
h_mr(struct h_qp *q, void *addr, uint64_t len, uint32_t access, bool mapped)
{
	return h_mr_at(q, addr, len, access, mapped, (uint64_t)addr);
}

uint32_t
h_mr_at(struct h_qp *q, void *addr, uint64_t len, uint32_t access, bool mapped, uint64_t iova)
{
	uint32_t key;
	struct h_mrs *m;

	for (key = 20; mrs[key].used; key++)
		;
	m = &mrs[key];
	memset(m, 0, sizeof(*m));
	m->used = true;
	m->uc.container = q->container;
	m->seg = (struct ff_umem_seg){.len = len, .ptr = mapped ? addr : NULL, .writable = true};
	m->mr = (struct ff_mr){.pd_id = q->pd.id, .key = key, .iova = iova,
			       .length = len,
			       .access = access | FF_ACCESS_LOCAL_WRITE};
	m->mr.obj.uc = &m->uc;
	m->mr.umem = (struct ff_umem){.proc = &proc, .va = (uint64_t)addr, .length = len,
				      .num_segs = 1, .segs = &m->seg};
	return key;
}

void
h_mr_drop(uint32_t key)
{
	mrs[key].used = false;
}

void
h_post_send(struct h_qp *q, const struct h_wr *wr)
{
	struct ff_queue *sq = &q->qp.sq;
	uint32_t p = sq->buf->producer_index;
	struct rxe_send_wqe *w = ff_queue_elem(sq, p);

	memset(w, 0, sizeof(*w));
	w->wr.wr_id = wr->wr_id;
	w->wr.opcode = wr->opcode;
	w->wr.send_flags = wr->flags | FF_SEND_SIGNALED;
	w->wr.ex.imm_data = wr->imm;
	if (wr->opcode == IB_UVERBS_WR_ATOMIC_CMP_AND_SWP ||
	    wr->opcode == IB_UVERBS_WR_ATOMIC_FETCH_AND_ADD) {
		w->wr.wr.atomic.remote_addr = wr->raddr;
		w->wr.wr.atomic.rkey = wr->rkey;
		w->wr.wr.atomic.compare_add = wr->compare_add;
		w->wr.wr.atomic.swap = wr->swap;
	} else if (q->qp.type == IB_UVERBS_QPT_UD) {
		w->wr.wr.ud.remote_qpn = wr->remote_qpn;
		w->wr.wr.ud.remote_qkey = wr->qkey;
		w->wr.wr.ud.av.grh.dgid.raw[15] = (uint8_t)wr->raddr;
		if (wr->raddr > 255)
			w->wr.wr.ud.av.grh.dgid.raw[0] = 0xff;
	} else if (wr->opcode == IB_UVERBS_WR_BIND_MW) {
		w->wr.wr.mw.length = wr->len;
	} else {
		w->wr.wr.rdma.remote_addr = wr->raddr;
		w->wr.wr.rdma.rkey = wr->rkey;
	}
	w->dma.length = wr->len;
	w->dma.num_sge = wr->num_sge ? wr->num_sge : wr->len != 0;
	if (wr->flags & FF_SEND_INLINE)
		memcpy(w->dma.inline_data, wr->addr, wr->len < 200 ? wr->len : 200);
	else
		w->dma.sge[0] = (struct rxe_sge){(uint64_t)wr->addr, wr->len, wr->lkey};
	sq->buf->producer_index = (p + 1) & sq->mask;
	if (*FF_QUEUE_ANNEX(sq->buf) != FF_SQ_POLLED)
		ff_nic_local.post(&q->qp);
}

void
h_post_recv(struct h_qp *q, uint64_t wr_id, void *addr, uint32_t len, uint32_t lkey)
{
	struct ff_queue *rq = &q->qp.rq;
	uint32_t p = rq->buf->producer_index;
	struct rxe_recv_wqe *w = ff_queue_elem(rq, p);

	w->wr_id = wr_id;
	w->dma.num_sge = len != 0;
	w->dma.sge[0] = (struct rxe_sge){(uint64_t)addr, len, lkey};
	rq->buf->producer_index = (p + 1) & rq->mask;
}

void
h_pass(unsigned w)
{
	unsigned end = workers[w].tail;

	while (workers[w].head != end) {
		struct ff_msg *m = workers[w].msgs[workers[w].head++ % 1024];

		m->fn(m);
	}
	stage->poll(&workers[w], h_now);
}

void
h_drain(void)
{
	run_jobs();
	for (unsigned w = 0; w < H_WORKERS; w++)
		h_pass(w);
	run_control();
}

void
h_settle(void)
{
	for (unsigned i = 0; i < 200; i++)
		h_drain();
}

bool
h_sleepy(unsigned w)
{
	return !stage->sleep_prepare(&workers[w]);
}

const struct ib_uverbs_wc *
h_wc(struct h_cq *cq)
{
	return cq->taken < cq->n ? &cq->wc[cq->taken++ % H_CQES] : NULL;
}
