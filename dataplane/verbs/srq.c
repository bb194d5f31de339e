/* SPDX-License-Identifier: MIT */
/* Shared receive queues. Control thread; the owner worker takes receive WQEs from them. */
#include <infiniband/verbs.h>
#include <stdlib.h>

#include "verbs_priv.h"

static uint32_t next_srqn;

static uint32_t
wqe_size(uint32_t sges)
{
	return (uint32_t)(sizeof(struct rxe_recv_wqe) + sges * sizeof(struct rxe_sge));
}

void
srq_release(struct ff_srq *srq)
{
	struct ff_ucontext *uc = srq->obj.uc;

	verbs_handle_del(&srq->obj, FF_OBJ_SRQ);
	verbs_queue_destroy(uc, &srq->q);
	srq->pd->obj.refs--;
	free(srq);
	ff_quota_give(uc->container, FF_QUOTA_SRQS, 1);
}

/* pd has been found, the sizes have been checked. 0 or -errno. */
static int
srq_make(struct ff_ucontext *uc, struct ff_pd *pd, const struct ib_uverbs_create_srq *req,
	 struct ff_srq **out)
{
	struct ff_srq *srq;
	int rc = ff_quota_take(uc->container, FF_QUOTA_SRQS, 1);

	if (rc)
		return rc;
	rc = -ENOMEM;
	srq = calloc(1, sizeof(*srq));
	if (!srq)
		goto err_quota;
	srq->max_sge = req->max_sge ? req->max_sge : 1;
	rc = verbs_queue_create(uc, &srq->q, req->max_wr, wqe_size(srq->max_sge));
	if (rc)
		goto err_free;
	rc = verbs_handle_add(uc, FF_OBJ_SRQ, &srq->obj);
	if (rc)
		goto err_queue;
	srq->max_wr = srq->q.mask;
	srq->obj.user_handle = req->user_handle;
	srq->srqn = ++next_srqn & 0xffffff;
	srq->pd = pd;
	pd->obj.refs++;
	async_src_init(&srq->async_src, ASYNC_SRQ);
	*out = srq;
	return 0;

err_queue:
	verbs_queue_destroy(uc, &srq->q);
err_free:
	free(srq);
err_quota:
	ff_quota_give(uc->container, FF_QUOTA_SRQS, 1);
	return rc;
}

/* srq_limit counts only in modify (ibv_create_srq(3), IBTA 11.2.3.1). */
static int
create_srq(struct verbs_cmd *cmd, const struct ib_uverbs_create_srq *req)
{
	const struct ff_container *c = cmd->uc->container;
	struct ib_uverbs_create_srq_resp resp = {0};
	struct rxe_create_srq_resp drv = {0};
	struct ff_srq *srq;
	struct ff_pd *pd = verbs_handle_get(cmd->uc, FF_OBJ_PD, req->pd_handle);
	int rc;

	if (!pd || cmd->drv_out_cap < sizeof(drv))
		return -EINVAL;
	if (!req->max_wr || req->max_wr > verbs_limit_wr(c, FF_MAX_SRQ_WR) ||
	    req->max_sge > verbs_limit_sge(c, FF_MAX_SRQ_SGE))
		return -EINVAL;
	rc = srq_make(cmd->uc, pd, req, &srq);
	if (rc)
		return rc;
	resp.srq_handle = srq->obj.handle;
	resp.max_wr = srq->max_wr;
	resp.max_sge = srq->max_sge;
	drv.mi = verbs_mminfo(&srq->q);
	drv.srq_num = srq->srqn;
	verbs_response_drv(cmd, &drv, sizeof(drv));
	verbs_reply_queue(cmd, &srq->q, FF_QUEUE_SRQ, srq->obj.handle, 0);
	return verbs_response(cmd, &resp, sizeof(resp));
}

int
cmd_create_srq(struct verbs_cmd *cmd)
{
	struct ib_uverbs_create_srq req;
	int rc = verbs_request(cmd, &req, sizeof(req));

	return rc ? rc : create_srq(cmd, &req);
}

int
cmd_create_xsrq(struct verbs_cmd *cmd)
{
	struct ib_uverbs_create_xsrq req;
	int rc = verbs_request(cmd, &req, sizeof(req));

	if (rc)
		return rc;
	if (req.srq_type != IBV_SRQT_BASIC)
		return -EOPNOTSUPP;
	return create_srq(cmd, &(struct ib_uverbs_create_srq){
				       .user_handle = req.user_handle,
				       .pd_handle = req.pd_handle,
				       .max_wr = req.max_wr,
				       .max_sge = req.max_sge,
			       });
}

/*
 * Resizing: receive WQEs that were not taken move over. They are copied by the control thread,
 * since a worker must not be held up by it; what the worker takes meanwhile is passed over after.
 */
struct modify {
	struct ff_srq *srq;
	const struct ib_uverbs_modify_srq *req;
	struct ff_queue next; /* with IBV_SRQ_MAX_WR: the new queue, the old one afterwards */
	uint32_t start;	      /* our index when the copy was begun */
	uint32_t count;	      /* WQEs copied */
	int rc;
};

/* Owner worker. */
static void
look_at_index(void *arg)
{
	struct modify *m = arg;

	m->start = m->srq->q.index;
}

/* 0, or -EINVAL: they do not fit. The provider holds its lock: nothing is posted meanwhile. */
static int
copy_wqes(struct modify *m)
{
	const struct ff_queue *from = &m->srq->q;
	uint32_t size = wqe_size(m->srq->max_sge);

	ff_worker_call(m->srq->obj.uc->worker, look_at_index, m);
	m->count = (ff_queue_producer(from) - m->start) & from->mask;
	if (m->count > m->next.mask)
		return -EINVAL;
	for (uint32_t i = 0; i < m->count; i++)
		memcpy(ff_queue_elem(&m->next, i), ff_queue_elem(from, m->start + i), size);
	atomic_store_explicit(ff_queue_word(&m->next.buf->producer_index), m->count,
			      memory_order_release);
	return 0;
}

/* Owner worker. -EINVAL: the program posted during the copy, and more was taken than copied. */
static int
swap_queues(struct modify *m)
{
	struct ff_queue *from = &m->srq->q, old;
	uint32_t taken = (from->index - m->start) & from->mask;

	if (taken > m->count)
		return -EINVAL;
	m->next.index = taken;
	ff_queue_publish_consumer(&m->next);
	old = *from;
	*from = m->next;
	m->next = old;
	m->srq->max_wr = from->mask;
	return 0;
}

/* Owner worker. */
static void
modify_srq(void *arg)
{
	struct modify *m = arg;
	struct ff_srq *srq = m->srq;
	bool resize = m->req->attr_mask & IBV_SRQ_MAX_WR;
	uint32_t limit = m->req->attr_mask & IBV_SRQ_LIMIT ? m->req->srq_limit : srq->limit;

	m->rc = -EINVAL;
	if (srq->error || limit > (resize ? m->next.mask : srq->max_wr))
		return;
	if (resize && swap_queues(m))
		return;
	srq->limit = limit;
	m->rc = 0;
	if (ff_nic->srq_changed)
		ff_nic->srq_changed(srq);
}

int
cmd_modify_srq(struct verbs_cmd *cmd)
{
	struct ff_ucontext *uc = cmd->uc;
	struct ib_uverbs_modify_srq req;
	struct modify m = {.req = &req};
	bool resize;
	int rc = verbs_request(cmd, &req, sizeof(req));

	if (rc)
		return rc;
	m.srq = verbs_handle_get(uc, FF_OBJ_SRQ, req.srq_handle);
	/* The provider always sends where it wants the new queue's mminfo: the shim stores it. */
	if (!m.srq || cmd->drv_in_len < sizeof(struct rxe_modify_srq_cmd))
		return -EINVAL;
	if (req.attr_mask & ~(uint32_t)(IBV_SRQ_MAX_WR | IBV_SRQ_LIMIT))
		return -EINVAL;
	resize = req.attr_mask & IBV_SRQ_MAX_WR;
	if (resize) {
		if (!req.max_wr || req.max_wr > verbs_limit_wr(uc->container, FF_MAX_SRQ_WR))
			return -EINVAL;
		rc = verbs_queue_create(uc, &m.next, req.max_wr, wqe_size(m.srq->max_sge));
		if (rc)
			return rc;
		rc = copy_wqes(&m);
	}
	if (!rc) {
		ff_worker_call(uc->worker, modify_srq, &m);
		rc = m.rc;
	}
	verbs_queue_destroy(uc, &m.next); /* the old one; or the new one that was not taken */
	if (!rc && resize)
		verbs_reply_queue(cmd, &m.srq->q, FF_QUEUE_SRQ, m.srq->obj.handle, 0);
	return rc;
}

struct query {
	const struct ff_srq *srq;
	struct ib_uverbs_query_srq_resp resp;
	int rc;
};

/* Owner worker. */
static void
query_srq(void *arg)
{
	struct query *q = arg;

	q->rc = q->srq->error ? -EINVAL : 0;
	q->resp.max_wr = q->srq->max_wr;
	q->resp.max_sge = q->srq->max_sge;
	q->resp.srq_limit = q->srq->limit;
}

int
cmd_query_srq(struct verbs_cmd *cmd)
{
	struct ib_uverbs_query_srq req;
	struct query q = {.rc = 0};
	int rc = verbs_request(cmd, &req, sizeof(req));

	if (rc)
		return rc;
	q.srq = verbs_handle_get(cmd->uc, FF_OBJ_SRQ, req.srq_handle);
	if (!q.srq)
		return -EINVAL;
	ff_worker_call(cmd->uc->worker, query_srq, &q);
	return q.rc ? q.rc : verbs_response(cmd, &q.resp, sizeof(q.resp));
}

int
cmd_destroy_srq(struct verbs_cmd *cmd)
{
	struct ib_uverbs_destroy_srq_resp resp = {0};
	struct ib_uverbs_destroy_srq req;
	struct ff_srq *srq;
	uint32_t unread;
	int rc = verbs_request(cmd, &req, sizeof(req));

	if (rc)
		return rc;
	srq = verbs_handle_get(cmd->uc, FF_OBJ_SRQ, req.srq_handle);
	if (!srq)
		return -ENOENT;
	if (srq->obj.refs)
		return -EBUSY;
	verbs_synchronize();
	unread = async_forget(cmd->uc, srq->obj.user_handle, ASYNC_SRQ);
	if (srq->async_sent > unread)
		resp.events_reported = srq->async_sent - unread;
	srq_release(srq);
	return verbs_response(cmd, &resp, sizeof(resp));
}
