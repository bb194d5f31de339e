/* SPDX-License-Identifier: MIT */
/* See harness.h. What the tests call; the fakes are in fakes.c, the backend is the real one. */
#include <stdlib.h>
#include <string.h>

#include <rte_eal.h>

#include "harness_priv.h"

static struct ff_worker workers[H_WORKERS];
static struct ff_tenant tenant = {.name = "t", .index = 1, .weight = 100};
static uint32_t next_pd = 1;

struct ff_container h_container[2];

int
h_init(void)
{
	char *argv[] = {
		"engine_test", "--no-huge", "--no-pci",		 "--no-shconf", "--no-telemetry",
		"-m",	       "128",	    "--log-level=error", "-l",		"0"};

	if (rte_eal_init(sizeof(argv) / sizeof(argv[0]), argv) < 0)
		return -1;
	h_idtab_init(&ff_qps);
	h_idtab_init(&ff_ahs);
	for (unsigned i = 0; i < 2; i++) {
		h_container[i].tenant = &tenant;
		h_container[i].gids[0].raw[15] = (uint8_t)(1 + i);
		h_container[i].gids[0].valid = true;
		h_container[i].procmem = (struct ff_procmem *)&h_proc;
	}
	if (ff_nic_local.probe())
		return -1;
	for (unsigned i = 0; i < H_WORKERS; i++) {
		workers[i].index = i;
		for (unsigned k = 0; k < h_num_stages; k++)
			if (h_stages[k]->init(&workers[i]))
				return -1;
	}
	return 0;
}

void
h_fini(void)
{
	for (unsigned i = 0; i < H_WORKERS; i++)
		for (unsigned k = h_num_stages; k; k--)
			h_stages[k - 1]->fini(&workers[i]);
	rte_eal_cleanup();
}

struct ff_worker *
ff_worker_get(unsigned index)
{
	return &workers[index];
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
	h_idtab_insert(&ff_qps, &q->qp, &q->qp.qpn);
	return q;
}

void
h_qp_free(struct h_qp *q)
{
	h_idtab_remove(&ff_qps, q->qp.qpn);
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

struct ff_qp_attr
h_attr(const struct h_qp *peer)
{
	struct ff_qp_attr a = {
		.state = FF_QPS_INIT,
		.dest_qpn = peer->qp.qpn,
		.qkey = 0x11,
		.rq_psn = 77,
		.sq_psn = 77,
		.max_rd_atomic = 4,
		.max_dest_rd_atomic = 4,
		.min_rnr_timer = 12,
		.timeout = 14,
		.retry_cnt = 2,
		.rnr_retry = 2,
		.access = FF_ACCESS_REMOTE_WRITE | FF_ACCESS_REMOTE_READ | FF_ACCESS_REMOTE_ATOMIC,
	};

	memcpy(a.ah.dgid, peer->container->gids[0].raw, 16);
	return a;
}

void
h_to_rts(struct h_qp *q, const struct ff_qp_attr *attr)
{
	ff_nic_local.qp_modify(&q->qp, attr, FF_QPM_STATE);
	h_set_state(q, FF_QPS_RTR);
	h_set_state(q, FF_QPS_RTS);
}

void
h_connect(struct h_qp *a, struct h_qp *b)
{
	struct ff_qp_attr to_b = h_attr(b), to_a = h_attr(a);

	h_to_rts(a, &to_b);
	if (a != b)
		h_to_rts(b, &to_a);
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

	for (key = 20; h_mrs[key].used; key++)
		;
	m = &h_mrs[key];
	memset(m, 0, sizeof(*m));
	m->used = true;
	m->uc.container = q->container;
	m->seg = (struct ff_umem_seg){.len = len, .ptr = mapped ? addr : NULL, .writable = true};
	m->mr = (struct ff_mr){.pd_id = q->pd.id,
			       .key = key,
			       .iova = iova,
			       .length = len,
			       .access = access | FF_ACCESS_LOCAL_WRITE};
	m->mr.obj.uc = &m->uc;
	m->mr.umem = (struct ff_umem){.proc = &h_proc,
				      .va = (uint64_t)addr,
				      .length = len,
				      .num_segs = 1,
				      .segs = &m->seg};
	return key;
}

void
h_mr_drop(uint32_t key)
{
	h_mrs[key].used = false;
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
		w->wr.wr.ud.ah_num = wr->ah_num;
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
		struct ff_msg *m = workers[w].msgs[workers[w].head++ % H_MSGS];

		m->fn(m);
	}
	for (unsigned i = 0; i < h_num_stages; i++)
		h_stages[i]->poll(&workers[w], h_now);
}

void
h_drain(void)
{
	h_run_jobs();
	for (unsigned w = 0; w < H_WORKERS; w++)
		h_pass(w);
	h_run_control();
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
	for (unsigned i = 0; i < h_num_stages; i++)
		if (h_stages[i]->sleep_prepare(&workers[w]))
			return false;
	return true;
}

uint64_t
h_deadline(unsigned w)
{
	uint64_t first = UINT64_MAX, t;

	for (unsigned i = 0; i < h_num_stages; i++) {
		t = h_stages[i]->deadline ? h_stages[i]->deadline(&workers[w]) : UINT64_MAX;
		first = t < first ? t : first;
	}
	return first;
}

const struct ib_uverbs_wc *
h_wc(struct h_cq *cq)
{
	return cq->taken < cq->n ? &cq->wc[cq->taken++ % H_CQES] : NULL;
}
