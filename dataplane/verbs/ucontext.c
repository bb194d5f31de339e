/* SPDX-License-Identifier: MIT */
/*
 * One open of the device file: its handle tables, GET_CONTEXT, and the end of all that it holds.
 * Control thread.
 */
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "verbs_priv.h"

#define HANDLES_FIRST 16u
#define HANDLES_MAX   (1u << 24)
#define DETACH_BATCH  16u /* QPs that a worker lets go of between two of its passes */

struct ff_idtab ff_qps;
struct ff_idtab ff_keys;
struct ff_idtab ff_ahs;

int
ff_verbs_init(void)
{
	/* A program can close the read end of a pipe at any time. */
	signal(SIGPIPE, SIG_IGN);
	ff_idtab_init(&ff_qps, 2); /* 0 and 1 are SMI and GSI */
	ff_idtab_init(&ff_keys, 1);
	ff_idtab_init(&ff_ahs, 1); /* 0 in a WQE means that the address is in the WQE */
	pds_init();
	return async_init();
}

void
ff_verbs_fini(void)
{
	async_fini();
	mcast_reap();
	pds_fini();
	ff_idtab_fini(&ff_ahs);
	ff_idtab_fini(&ff_keys);
	ff_idtab_fini(&ff_qps);
}

void
verbs_synchronize(void)
{
	ff_workers_synchronize();
	async_drain();
	mcast_reap();
}

static int
table_grow(struct ff_handle_table *t)
{
	uint32_t size = t->size ? t->size * 2 : HANDLES_FIRST;
	struct ff_obj **slots;

	if (size > HANDLES_MAX)
		return -ENOMEM;
	slots = realloc(t->slots, size * sizeof(*slots));
	if (!slots)
		return -ENOMEM;
	memset(slots + t->size, 0, (size - t->size) * sizeof(*slots));
	t->hint = t->size;
	t->slots = slots;
	t->size = size;
	return 0;
}

int
verbs_handle_add(struct ff_ucontext *uc, enum ff_obj_type type, struct ff_obj *obj)
{
	struct ff_handle_table *t = &uc->tables[type];
	int rc;

	if (t->used == t->size) {
		rc = table_grow(t);
		if (rc)
			return rc;
	}
	while (t->slots[t->hint])
		t->hint = (t->hint + 1) % t->size;
	obj->uc = uc;
	obj->handle = t->hint;
	t->slots[t->hint] = obj;
	t->used++;
	return 0;
}

void
verbs_handle_del(struct ff_obj *obj, enum ff_obj_type type)
{
	struct ff_handle_table *t = &obj->uc->tables[type];

	t->slots[obj->handle] = NULL;
	t->used--;
	if (obj->handle < t->hint)
		t->hint = obj->handle;
}

void *
verbs_handle_get(const struct ff_ucontext *uc, enum ff_obj_type type, uint32_t handle)
{
	const struct ff_handle_table *t = &uc->tables[type];

	return handle < t->size ? t->slots[handle] : NULL;
}

void *
verbs_handle_next(const struct ff_ucontext *uc, enum ff_obj_type type, uint32_t *pos)
{
	const struct ff_handle_table *t = &uc->tables[type];

	while (*pos < t->size) {
		struct ff_obj *obj = t->slots[(*pos)++];

		if (obj)
			return obj;
	}
	return NULL;
}

int
verbs_queue_create(struct ff_ucontext *uc, struct ff_queue *q, uint32_t elems, uint32_t elem_size)
{
	int rc = ff_queue_create(q, elems, elem_size, uc->next_mmap_off);

	if (rc)
		return rc;
	rc = ff_quota_take(uc->container, FF_QUOTA_PINNED, q->size);
	if (rc) {
		ff_queue_destroy(q);
		return rc;
	}
	uc->next_mmap_off += q->size;
	return 0;
}

void
verbs_queue_destroy(struct ff_ucontext *uc, struct ff_queue *q)
{
	if (!q->buf)
		return;
	ff_quota_give(uc->container, FF_QUOTA_PINNED, q->size);
	ff_queue_destroy(q);
}

static uint32_t
limit(uint32_t own, uint32_t common, uint32_t device)
{
	uint32_t l = own ? own : common;

	return l && l < device ? l : device;
}

uint32_t
verbs_limit_wr(const struct ff_container *c, uint32_t device)
{
	return limit(c->conf.limits.qp_wr, ff_config.limits.qp_wr, device);
}

uint32_t
verbs_limit_cqe(const struct ff_container *c, uint32_t device)
{
	return limit(c->conf.limits.cq_entries, ff_config.limits.cq_entries, device);
}

uint32_t
verbs_limit_sge(const struct ff_container *c, uint32_t device)
{
	return limit(c->conf.limits.sge, ff_config.limits.sge, device);
}

struct ff_ucontext *
ff_ucontext_create(struct ff_channel *ch)
{
	struct ff_ucontext *uc;
	int rc = ff_quota_take(ch->container, FF_QUOTA_CONTEXTS, 1);

	if (rc) {
		errno = -rc;
		return NULL;
	}
	uc = calloc(1, sizeof(*uc));
	if (!uc) {
		ff_quota_give(ch->container, FF_QUOTA_CONTEXTS, 1);
		errno = ENOMEM;
		return NULL;
	}
	uc->channel = ch;
	uc->container = ch->container;
	uc->worker = ch->worker;
	uc->async.fd = -1;
	uc->next_mmap_off = VERBS_PAGE; /* 0 is no offset of a queue */
	async_src_init(&uc->async_src, ASYNC_UCONTEXT);
	TAILQ_INIT(&uc->comp_channels);
	TAILQ_INSERT_TAIL(&ch->contexts, uc, link);
	return uc;
}

struct detach_batch {
	struct ff_qp *qp[DETACH_BATCH];
	unsigned n;
};

/* Owner worker. */
static void
detach_qps(void *arg)
{
	const struct detach_batch *b = arg;

	for (unsigned i = 0; i < b->n; i++)
		qp_detach(b->qp[i]);
}

static void
unpublish_qps(struct ff_ucontext *uc)
{
	struct detach_batch b = {.n = 0};
	struct ff_qp *qp;
	uint32_t pos = 0;

	do {
		qp = verbs_handle_next(uc, FF_OBJ_QP, &pos);
		if (qp) {
			qp_unpublish(qp);
			b.qp[b.n++] = qp;
		}
		if (b.n == DETACH_BATCH || (!qp && b.n)) {
			ff_worker_call(uc->worker, detach_qps, &b);
			b.n = 0;
		}
	} while (qp);
}

static void
unpublish_all(struct ff_ucontext *uc)
{
	struct ff_mw *mw;
	struct ff_mr *mr;
	struct ff_ah *ah;
	uint32_t pos;

	unpublish_qps(uc);
	for (pos = 0; (mw = verbs_handle_next(uc, FF_OBJ_MW, &pos));)
		mw_unpublish(mw);
	for (pos = 0; (mr = verbs_handle_next(uc, FF_OBJ_MR, &pos));)
		mr_unpublish(mr);
	for (pos = 0; (ah = verbs_handle_next(uc, FF_OBJ_AH, &pos));)
		ah_unpublish(ah);
}

static void
release_one(enum ff_obj_type type, void *obj)
{
	switch (type) {
	case FF_OBJ_QP:
		return qp_release(obj);
	case FF_OBJ_SRQ:
		return srq_release(obj);
	case FF_OBJ_CQ:
		return cq_release(obj);
	case FF_OBJ_MW:
		return mw_release(obj);
	case FF_OBJ_MR:
		return mr_release(obj);
	case FF_OBJ_AH:
		return ah_release(obj);
	case FF_OBJ_PD:
		return pd_release(obj);
	case FF_OBJ_MAX:
		break;
	}
}

void
ff_ucontext_fatal(struct ff_ucontext *uc)
{
	qps_to_error(uc, NULL);
	ff_async_ucontext(uc, FF_EVENT_DEVICE_FATAL, 0);
}

void
ff_ucontext_destroy(struct ff_ucontext *uc)
{
	static const enum ff_obj_type order[] = {FF_OBJ_QP, FF_OBJ_SRQ, FF_OBJ_CQ, FF_OBJ_MW,
						 FF_OBJ_MR, FF_OBJ_AH,	FF_OBJ_PD};
	struct ff_container *c = uc->container;
	void *obj;

	unpublish_all(uc);
	verbs_synchronize();
	for (unsigned i = 0; i < FF_OBJ_MAX; i++) {
		for (uint32_t pos = 0; (obj = verbs_handle_next(uc, order[i], &pos));)
			release_one(order[i], obj);
		free(uc->tables[order[i]].slots);
	}
	comp_channels_close(uc);
	event_pipe_close(&uc->async);
	TAILQ_REMOVE(&uc->channel->contexts, uc, link);
	free(uc);
	ff_quota_give(c, FF_QUOTA_CONTEXTS, 1);
}

int
cmd_get_context(struct verbs_cmd *cmd)
{
	struct ib_uverbs_get_context_resp resp = {.num_comp_vectors = VERBS_NUM_COMP_VECTORS};
	struct ib_uverbs_get_context req;
	struct ff_ucontext *uc = cmd->uc;
	int rfd;
	int rc = verbs_request(cmd, &req, sizeof(req));

	if (rc)
		return rc;
	if (uc->got_context)
		return -EINVAL;
	rc = event_pipe_open(&uc->async, sizeof(struct ib_uverbs_async_event_desc), &rfd);
	if (rc)
		return rc;
	uc->got_context = true;
	verbs_reply_fd(cmd, rfd, offsetof(struct ib_uverbs_get_context_resp, async_fd), 0);
	return verbs_response(cmd, &resp, sizeof(resp));
}
