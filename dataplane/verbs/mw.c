/* SPDX-License-Identifier: MIT */
/*
 * Memory windows of type 1 and 2B (IBTA 10.6.7, 9.7.1): made and ended on the control thread,
 * bound and invalidated on the owner worker, read by any worker (key.c).
 */
#include <infiniband/verbs.h>
#include <stdlib.h>

#include "verbs_priv.h"

#define MW_ACCESS (FF_ACCESS_REMOTE_WRITE | FF_ACCESS_REMOTE_READ | FF_ACCESS_REMOTE_ATOMIC)

#define STORE(field, value) __atomic_store_n(&(field), (value), __ATOMIC_RELAXED)

/* Writers of a window: the owner worker only. Pairs with mw_read() in key.c. */
static void
mw_change_begin(struct ff_mw *mw)
{
	atomic_fetch_add_explicit(&mw->seq, 1, memory_order_relaxed);
	atomic_thread_fence(memory_order_release);
}

static void
mw_change_end(struct ff_mw *mw)
{
	atomic_fetch_add_explicit(&mw->seq, 1, memory_order_release);
}

/* qp: whose window it is now; NULL: nobody's, or type 1. */
static void
mw_set(struct ff_mw *mw, enum ff_mw_state state, struct ff_mr *mr, const struct ff_mw_bind *b,
       struct ff_qp *qp)
{
	static const struct ff_mw_bind nothing;
	const struct ff_mw_bind *part = mr ? b : &nothing;

	if (mw->qpn)
		LIST_REMOVE(mw, qp_link);
	if (qp)
		LIST_INSERT_HEAD(&qp->windows, mw, qp_link);
	if (mw->mr)
		mw->mr->mws--;
	if (mr)
		mr->mws++;
	mw_change_begin(mw);
	STORE(mw->state, state);
	STORE(mw->mr, mr);
	STORE(mw->addr, part->addr);
	STORE(mw->length, part->length);
	STORE(mw->access, part->access);
	STORE(mw->qpn, qp ? qp->qpn : 0);
	if (b)
		STORE(mw->rkey, (mw->rkey & ~0xffu) | (b->rkey & 0xff));
	mw_change_end(mw);
}

/*
 * The window of the key's index, if it is of the QP's PD. What type 2 binds name: libibverbs leaves
 * ibv_mw.rkey to the program, and hardware looks at the index only.
 */
static struct ff_mw *
mw_by_id(const struct ff_qp *qp, uint32_t rkey)
{
	const struct ff_key *k = ff_idtab_get(&ff_keys, rkey >> 8);

	if (!k || k->kind != FF_KEY_MW || k->mw->pd_id != qp->pd->id)
		return NULL;
	return k->mw;
}

/* What the key names, if it is the current one and of the QP's PD. */
static struct ff_mw *
mw_find(const struct ff_qp *qp, uint32_t rkey)
{
	struct ff_mw *mw = mw_by_id(qp, rkey);

	return mw && mw->rkey == rkey ? mw : NULL;
}

/* IBTA 10.6.7.2.2: what the region must grant. */
static int
bind_region(const struct ff_qp *qp, const struct ff_mw_bind *b, struct ff_mr **out)
{
	const struct ff_key *k = ff_idtab_get(&ff_keys, b->mr_lkey >> 8);
	struct ff_mr *mr;

	if (!k || k->kind != FF_KEY_MR || k->mr->key != b->mr_lkey || k->mr->pd_id != qp->pd->id)
		return -EINVAL;
	mr = k->mr;
	if (!(mr->access & FF_ACCESS_MW_BIND) || (mr->access & FF_ACCESS_ZERO_BASED))
		return -EACCES;
	if ((b->access & (FF_ACCESS_REMOTE_WRITE | FF_ACCESS_REMOTE_ATOMIC)) &&
	    !(mr->access & FF_ACCESS_LOCAL_WRITE))
		return -EACCES;
	if (b->length > mr->length || b->addr - mr->iova > mr->length - b->length)
		return -EINVAL;
	*out = mr;
	return 0;
}

int
ff_mw_bind(struct ff_qp *qp, const struct ff_mw_bind *b)
{
	struct ff_mw *mw = mw_by_id(qp, b->mw_rkey);
	struct ff_mr *mr = NULL;
	int rc;

	/* Only connected QPs bind (IBTA 10.6.7.2). */
	if (!mw || qp->type == IBV_QPT_UD)
		return -EINVAL;
	if (mw->type == IBV_MW_TYPE_1) {
		if (mw->rkey != b->mw_rkey || (b->access & ~MW_ACCESS))
			return -EINVAL;
	} else {
		/* Bound once; then it must be invalidated first. Length 0 unbinds type 1 only. */
		if (mw->state != FF_MW_FREE || !b->length)
			return -EINVAL;
		if (b->access & ~(MW_ACCESS | FF_ACCESS_ZERO_BASED))
			return -EINVAL;
	}
	if (b->length) {
		rc = bind_region(qp, b, &mr);
		if (rc)
			return rc;
	}
	mw_set(mw, FF_MW_VALID, mr, b, mw->type == IBV_MW_TYPE_2 ? qp : NULL);
	return 0;
}

int
ff_key_invalidate(struct ff_qp *qp, uint32_t rkey, bool remote)
{
	struct ff_mw *mw = mw_find(qp, rkey);

	/* Regions of user space and windows of type 1 cannot be invalidated (IBTA 10.6.7.2.5). */
	if (!mw || mw->type != IBV_MW_TYPE_2)
		return remote ? -EACCES : -EINVAL;
	if (mw->state != FF_MW_VALID || mw->qpn != qp->qpn)
		return remote ? -EACCES : -EINVAL;
	mw_set(mw, FF_MW_FREE, NULL, NULL, NULL);
	return 0;
}

void
mws_unbind_qp(struct ff_qp *qp)
{
	struct ff_mw *mw;

	while ((mw = LIST_FIRST(&qp->windows)))
		mw_set(mw, FF_MW_FREE, NULL, NULL, NULL);
}

/* Owner worker. */
static void
unbind(void *arg)
{
	mw_set(arg, FF_MW_INVALID, NULL, NULL, NULL);
}

/* All windows of a ucontext die with their regions: then nobody asks for mr->mws any more. */
void
mw_unpublish(struct ff_mw *mw)
{
	ff_idtab_remove(&ff_keys, mw->key_id);
}

void
mw_release(struct ff_mw *mw)
{
	struct ff_ucontext *uc = mw->obj.uc;

	verbs_handle_del(&mw->obj, FF_OBJ_MW);
	mw->pd->obj.refs--;
	free(mw);
	ff_quota_give(uc->container, FF_QUOTA_MWS, 1);
}

int
cmd_alloc_mw(struct verbs_cmd *cmd)
{
	struct ff_ucontext *uc = cmd->uc;
	struct ib_uverbs_alloc_mw_resp resp;
	struct ib_uverbs_alloc_mw req;
	struct ff_pd *pd;
	struct ff_mw *mw;
	int rc = verbs_request(cmd, &req, sizeof(req));

	if (rc)
		return rc;
	pd = verbs_handle_get(uc, FF_OBJ_PD, req.pd_handle);
	if (!pd || (req.mw_type != IBV_MW_TYPE_1 && req.mw_type != IBV_MW_TYPE_2))
		return -EINVAL;
	rc = ff_quota_take(uc->container, FF_QUOTA_MWS, 1);
	if (rc)
		return rc;
	rc = -ENOMEM;
	mw = calloc(1, sizeof(*mw));
	if (!mw)
		goto err_quota;
	mw->pd = pd;
	mw->pd_id = pd->id;
	mw->type = req.mw_type;
	/* Type 1 is born valid with nothing bound (IBTA 10.6.7.2.1). */
	mw->state = mw->type == IBV_MW_TYPE_1 ? FF_MW_VALID : FF_MW_FREE;
	mw->ent = (struct ff_key){.kind = FF_KEY_MW, .mw = mw};
	rc = verbs_handle_add(uc, FF_OBJ_MW, &mw->obj);
	if (rc)
		goto err_free;
	rc = ff_idtab_insert(&ff_keys, &mw->ent, &mw->key_id);
	if (rc)
		goto err_handle;
	STORE(mw->rkey, key_make(mw->key_id)); /* nothing is bound: nobody gets past it */
	pd->obj.refs++;
	resp.mw_handle = mw->obj.handle;
	resp.rkey = mw->rkey;
	return verbs_response(cmd, &resp, sizeof(resp));

err_handle:
	verbs_handle_del(&mw->obj, FF_OBJ_MW);
err_free:
	free(mw);
err_quota:
	ff_quota_give(uc->container, FF_QUOTA_MWS, 1);
	return rc;
}

int
cmd_dealloc_mw(struct verbs_cmd *cmd)
{
	struct ib_uverbs_dealloc_mw req;
	struct ff_mw *mw;
	int rc = verbs_request(cmd, &req, sizeof(req));

	if (rc)
		return rc;
	mw = verbs_handle_get(cmd->uc, FF_OBJ_MW, req.mw_handle);
	if (!mw)
		return -ENOENT;
	mw_unpublish(mw);
	ff_worker_call(cmd->uc->worker, unbind, mw);
	verbs_synchronize();
	mw_release(mw);
	return 0;
}
