/* SPDX-License-Identifier: MIT */
/*
 * Completion queues: made, resized, polled and armed by command, destroyed. Control thread; the
 * owner worker's part is cq_post.c and the functions that say so.
 */
#include <stdlib.h>

#include "verbs_priv.h"

void
cq_release(struct ff_cq *cq)
{
	struct ff_ucontext *uc = cq->obj.uc;

	verbs_handle_del(&cq->obj, FF_OBJ_CQ);
	if (cq->comp)
		comp_channel_put(uc, cq->comp);
	verbs_queue_destroy(uc, &cq->q);
	free(cq);
	ff_quota_give(uc->container, FF_QUOTA_CQS, 1);
}

/* Everything but the handle. 0 or -errno. */
static int
cq_init(struct ff_ucontext *uc, struct ff_cq *cq, const struct ib_uverbs_ex_create_cq *req)
{
	int rc;

	cq->obj.user_handle = req->user_handle;
	async_src_init(&cq->async_src, ASYNC_CQ);
	if (req->comp_channel >= 0) {
		cq->comp = comp_channel_get(uc, req->comp_channel);
		if (!cq->comp)
			return -EBADF;
	}
	rc = verbs_queue_create(uc, &cq->q, req->cqe, sizeof(struct ib_uverbs_wc));
	if (rc && cq->comp)
		comp_channel_put(uc, cq->comp);
	cq->cqe = cq->q.mask;
	return rc;
}

static int
create_cq(struct verbs_cmd *cmd, const struct ib_uverbs_ex_create_cq *req)
{
	struct ff_ucontext *uc = cmd->uc;
	struct ib_uverbs_ex_create_cq_resp resp = {0};
	struct rxe_create_cq_resp drv = {0};
	struct ff_cq *cq;
	int rc;

	if (req->comp_vector >= VERBS_NUM_COMP_VECTORS || cmd->drv_out_cap < sizeof(drv))
		return -EINVAL;
	if (req->flags)
		return -EOPNOTSUPP;
	if (!req->cqe || req->cqe > verbs_limit_cqe(uc->container, FF_MAX_CQE))
		return -EINVAL;
	rc = ff_quota_take(uc->container, FF_QUOTA_CQS, 1);
	if (rc)
		return rc;
	rc = -ENOMEM;
	cq = calloc(1, sizeof(*cq));
	if (!cq)
		goto err_quota;
	rc = cq_init(uc, cq, req);
	if (rc)
		goto err_free;
	rc = verbs_handle_add(uc, FF_OBJ_CQ, &cq->obj);
	if (rc)
		goto err_init;

	resp.base.cq_handle = cq->obj.handle;
	resp.base.cqe = cq->cqe;
	resp.response_length = verbs_response_length(cmd, sizeof(resp));
	drv.mi = verbs_mminfo(&cq->q);
	verbs_response_drv(cmd, &drv, sizeof(drv));
	verbs_reply_queue(cmd, &cq->q, FF_QUEUE_CQ, cq->obj.handle, 0);
	return verbs_response(cmd, &resp, sizeof(resp));

err_init:
	if (cq->comp)
		comp_channel_put(uc, cq->comp);
	verbs_queue_destroy(uc, &cq->q);
err_free:
	free(cq);
err_quota:
	ff_quota_give(uc->container, FF_QUOTA_CQS, 1);
	return rc;
}

int
cmd_create_cq(struct verbs_cmd *cmd)
{
	struct ib_uverbs_create_cq req;
	int rc = verbs_request(cmd, &req, sizeof(req));

	if (rc)
		return rc;
	return create_cq(cmd, &(struct ib_uverbs_ex_create_cq){
				      .user_handle = req.user_handle,
				      .cqe = req.cqe,
				      .comp_vector = req.comp_vector,
				      .comp_channel = req.comp_channel,
			      });
}

int
cmd_create_cq_ex(struct verbs_cmd *cmd)
{
	struct ib_uverbs_ex_create_cq req;
	int rc = verbs_request(cmd, &req, sizeof(req));

	if (rc)
		return rc;
	if (req.comp_mask || req.reserved)
		return -EINVAL;
	return create_cq(cmd, &req);
}

/*
 * Resizing: unread completions move over. Most of them are copied by the control thread, since a
 * worker must not be held up by it; they do not change once they are posted.
 */
struct resize {
	struct ff_cq *cq;
	struct ff_queue next; /* new one; the old one afterwards */
	uint32_t at;	      /* next one to copy */
	uint32_t end;	      /* what was posted when the worker was asked */
	int rc;
};

static void
copy_entries(struct resize *r, uint32_t end)
{
	const struct ff_queue *from = &r->cq->q;
	struct ff_queue *to = &r->next;

	for (; r->at != end; r->at = (r->at + 1) & from->mask)
		memcpy(ff_queue_elem(to, to->index++), ff_queue_elem(from, r->at),
		       sizeof(struct ib_uverbs_wc));
}

static uint32_t
entries_left(const struct resize *r, uint32_t end)
{
	return (end - r->at) & r->cq->q.mask;
}

/* Owner worker. */
static void
look_at_index(void *arg)
{
	struct resize *r = arg;

	r->end = r->cq->q.index;
}

/* Owner worker: what was posted meanwhile, then the queues change places, and the arm moves. */
static void
swap_queues(void *arg)
{
	struct resize *r = arg;
	struct ff_queue *from = &r->cq->q, *to = &r->next;
	struct ff_queue old;
	uint32_t armed;

	if (entries_left(r, from->index) > to->mask - to->index) {
		r->rc = -EINVAL;
		return;
	}
	copy_entries(r, from->index);
	ff_queue_publish_producer(to);
	armed = atomic_exchange(ff_queue_word(FF_QUEUE_ANNEX(from->buf)), FF_CQ_DISARMED);
	atomic_store(ff_queue_word(FF_QUEUE_ANNEX(to->buf)), armed);
	old = *from;
	*from = *to;
	*to = old;
	r->cq->consumer = 0;
	r->cq->cqe = from->mask;
}

/* 0, or -EINVAL: more is in it than the new size holds. r->next is the queue to destroy. */
static int
resize_cq(struct resize *r)
{
	struct ff_worker *w = r->cq->obj.uc->worker;

	r->at = ff_queue_consumer(&r->cq->q);
	ff_worker_call(w, look_at_index, r);
	if (entries_left(r, r->end) > r->next.mask)
		return -EINVAL;
	copy_entries(r, r->end);
	ff_worker_call(w, swap_queues, r);
	return r->rc;
}

int
cmd_resize_cq(struct verbs_cmd *cmd)
{
	struct ff_ucontext *uc = cmd->uc;
	struct ib_uverbs_resize_cq_resp resp = {0};
	struct rxe_resize_cq_resp drv = {0};
	struct ib_uverbs_resize_cq req;
	struct resize r = {.rc = 0};
	int rc = verbs_request(cmd, &req, sizeof(req));

	if (rc)
		return rc;
	r.cq = verbs_handle_get(uc, FF_OBJ_CQ, req.cq_handle);
	if (!r.cq || cmd->drv_out_cap < sizeof(drv))
		return -EINVAL;
	if (!req.cqe || req.cqe > verbs_limit_cqe(uc->container, FF_MAX_CQE))
		return -EINVAL;
	rc = verbs_queue_create(uc, &r.next, req.cqe, sizeof(struct ib_uverbs_wc));
	if (rc)
		return rc;
	rc = resize_cq(&r);
	/* The owner worker is the only one that reads it, and it has been told: no more waiting. */
	verbs_queue_destroy(uc, &r.next);
	if (rc)
		return rc;

	resp.cqe = r.cq->cqe;
	drv.mi = verbs_mminfo(&r.cq->q);
	verbs_response_drv(cmd, &drv, sizeof(drv));
	verbs_reply_queue(cmd, &r.cq->q, FF_QUEUE_CQ, r.cq->obj.handle, 0);
	return verbs_response(cmd, &resp, sizeof(resp));
}

static bool
comp_match(const void *rec, void *arg)
{
	const struct ff_cq *cq = arg;
	struct ib_uverbs_comp_event_desc d;

	memcpy(&d, rec, sizeof(d));
	return d.cq_handle == cq->obj.user_handle;
}

int
cmd_destroy_cq(struct verbs_cmd *cmd)
{
	struct ff_ucontext *uc = cmd->uc;
	struct ib_uverbs_destroy_cq_resp resp = {0};
	struct ib_uverbs_destroy_cq req;
	uint64_t sent, unread;
	struct ff_cq *cq;
	int rc = verbs_request(cmd, &req, sizeof(req));

	if (rc)
		return rc;
	cq = verbs_handle_get(uc, FF_OBJ_CQ, req.cq_handle);
	if (!cq)
		return -ENOENT;
	if (cq->obj.refs)
		return -EBUSY;
	verbs_synchronize();
	if (cq->comp) {
		sent = cq->events_sent + cq->comp_sent;
		unread = event_pipe_remove(cq->comp, comp_match, cq);
		resp.comp_events_reported = (uint32_t)(sent > unread ? sent - unread : 0);
	}
	sent = cq->async_sent;
	unread = async_forget(uc, cq->obj.user_handle, ASYNC_CQ);
	resp.async_events_reported = (uint32_t)(sent > unread ? sent - unread : 0);
	cq_release(cq);
	return verbs_response(cmd, &resp, sizeof(resp));
}

struct poll {
	struct ff_cq *cq;
	uint8_t *out;
	uint32_t room, count;
};

/* Owner worker: its index tells what is there. */
static void
poll_entries(void *arg)
{
	struct poll *p = arg;
	struct ff_queue *q = &p->cq->q;
	uint32_t at = ff_queue_consumer(q);

	for (; p->count < p->room && at != q->index; p->count++, at = (at + 1) & q->mask)
		memcpy(p->out + p->count * sizeof(struct ib_uverbs_wc), ff_queue_elem(q, at),
		       sizeof(struct ib_uverbs_wc));
	atomic_store_explicit(ff_queue_word(&q->buf->consumer_index), at, memory_order_release);
}

int
cmd_poll_cq(struct verbs_cmd *cmd)
{
	struct ib_uverbs_poll_cq_resp resp = {0};
	struct ib_uverbs_poll_cq req;
	struct poll p = {.count = 0};
	int rc = verbs_request(cmd, &req, sizeof(req));

	if (rc)
		return rc;
	p.cq = verbs_handle_get(cmd->uc, FF_OBJ_CQ, req.cq_handle);
	if (!p.cq)
		return -EINVAL;
	/* No more than the program said it has room for; the kernel takes ne on trust. */
	p.out = cmd->out + sizeof(resp);
	p.room = cmd->out_cap < sizeof(resp)
			 ? 0
			 : (cmd->out_cap - (uint32_t)sizeof(resp)) / sizeof(struct ib_uverbs_wc);
	if (p.room > req.ne)
		p.room = req.ne;
	ff_worker_call(cmd->uc->worker, poll_entries, &p);
	resp.count = p.count;
	return verbs_response(cmd, &resp, sizeof(resp));
}

struct arm {
	struct ff_cq *cq;
	uint32_t how;
};

/* Owner worker: the queue is not swapped meanwhile. */
static void
arm_cq(void *arg)
{
	const struct arm *a = arg;
	_Atomic uint32_t *word = ff_queue_word(FF_QUEUE_ANNEX(a->cq->q.buf));

	/* The next completion outranks the next solicited one (IBTA 11.4.2.2). */
	if (atomic_load(word) != FF_CQ_ARM_NEXT)
		atomic_store(word, a->how);
}

int
cmd_req_notify_cq(struct verbs_cmd *cmd)
{
	struct ib_uverbs_req_notify_cq req;
	struct arm a;
	int rc = verbs_request(cmd, &req, sizeof(req));

	if (rc)
		return rc;
	a.cq = verbs_handle_get(cmd->uc, FF_OBJ_CQ, req.cq_handle);
	if (!a.cq)
		return -EINVAL;
	a.how = req.solicited_only ? FF_CQ_ARM_SOLICITED : FF_CQ_ARM_NEXT;
	ff_worker_call(cmd->uc->worker, arm_cq, &a);
	return 0;
}
