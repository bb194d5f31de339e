/* SPDX-License-Identifier: MIT */
/*
 * modify_qp and query_qp. The QP's attributes are the owner worker's: the program's values are
 * checked here on the control thread, the transition is judged and made on the worker.
 */
#include <infiniband/verbs.h>

#include "verbs_priv.h"

#define PSN_MASK	0xffffffu
#define MASK_STANDARD	((1u << 21) - 1) /* IB_QP_ATTR_STANDARD_BITS: up to DEST_QPN */
#define MASK_RATE_LIMIT (1u << 25)
#define TO_ERROR_BATCH	16u

static struct ff_ah_attr
dest_of(const struct ib_uverbs_qp_dest *d)
{
	struct ff_ah_attr a = {
		.sgid_index = d->sgid_index,
		.hop_limit = d->hop_limit,
		.traffic_class = d->traffic_class,
		.sl = d->sl,
		.port_num = d->port_num,
		.flow_label = d->flow_label & 0xfffff,
		.is_global = d->is_global,
	};

	memcpy(a.dgid, d->dgid, sizeof(a.dgid));
	return a;
}

static struct ib_uverbs_qp_dest
dest_to(const struct ff_ah_attr *a)
{
	struct ib_uverbs_qp_dest d = {
		.flow_label = a->flow_label,
		.sgid_index = a->sgid_index,
		.hop_limit = a->hop_limit,
		.traffic_class = a->traffic_class,
		.sl = a->sl,
		.is_global = a->is_global,
		.port_num = a->port_num,
	};

	memcpy(d.dgid, a->dgid, sizeof(d.dgid));
	return d;
}

/* The address of a connected QP: sound, a peer's, and allowed. */
static int
check_address(struct ff_container *c, const struct ib_uverbs_modify_qp *m)
{
	struct ff_ah_attr a = dest_of(&m->dest);
	int rc;

	if ((m->attr_mask & IBV_QP_PORT) && m->port_num != a.port_num)
		return -EINVAL;
	rc = ah_attr_check(c, &a);
	if (rc)
		return rc;
	if (ah_is_multicast(a.dgid))
		return -EINVAL;
	return ah_policy_check(c, a.dgid);
}

static int
check_numbers(const struct ib_uverbs_modify_qp *m)
{
	uint32_t mask = m->attr_mask;
	bool bad = (mask & IBV_QP_STATE && m->qp_state > FF_QPS_ERR) ||
		   (mask & IBV_QP_CUR_STATE && m->cur_qp_state > FF_QPS_ERR) ||
		   (mask & IBV_QP_PORT && m->port_num != FF_PORT_NUM) ||
		   (mask & IBV_QP_PKEY_INDEX && m->pkey_index) ||
		   (mask & IBV_QP_PATH_MTU &&
		    (m->path_mtu < IBV_MTU_256 || m->path_mtu > IBV_MTU_4096)) ||
		   (mask & IBV_QP_MAX_QP_RD_ATOMIC && m->max_rd_atomic > FF_MAX_RD_ATOMIC) ||
		   (mask & IBV_QP_MAX_DEST_RD_ATOMIC && m->max_dest_rd_atomic > FF_MAX_RD_ATOMIC) ||
		   (mask & IBV_QP_TIMEOUT && m->timeout > 31) ||
		   (mask & IBV_QP_RETRY_CNT && m->retry_cnt > 7) ||
		   (mask & IBV_QP_RNR_RETRY && m->rnr_retry > 7) ||
		   (mask & IBV_QP_MIN_RNR_TIMER && m->min_rnr_timer > 31) ||
		   (mask & IBV_QP_DEST_QPN && m->dest_qp_num > PSN_MASK) ||
		   (mask & IBV_QP_PATH_MIG_STATE && m->path_mig_state != IBV_MIG_MIGRATED) ||
		   (mask & IBV_QP_CAP) != 0 ||	  /* needs RESIZE_MAX_WR, which we do not have */
		   (mask & IBV_QP_ALT_PATH) != 0; /* as the kernel on RoCE: no path migration */

	return bad ? -EINVAL : 0;
}

/* What the program gave, over what there was. */
static void
merge(struct ff_qp_attr *a, const struct ib_uverbs_modify_qp *m)
{
	uint32_t mask = m->attr_mask;

	if (mask & IBV_QP_ACCESS_FLAGS)
		a->access = m->qp_access_flags;
	if (mask & IBV_QP_PKEY_INDEX)
		a->pkey_index = m->pkey_index;
	if (mask & IBV_QP_PORT)
		a->port_num = m->port_num;
	if (mask & IBV_QP_QKEY)
		a->qkey = m->qkey;
	if (mask & IBV_QP_AV)
		a->ah = dest_of(&m->dest);
	if (mask & IBV_QP_PATH_MTU)
		a->path_mtu = m->path_mtu;
	if (mask & IBV_QP_TIMEOUT)
		a->timeout = m->timeout;
	if (mask & IBV_QP_RETRY_CNT)
		a->retry_cnt = m->retry_cnt;
	if (mask & IBV_QP_RNR_RETRY)
		a->rnr_retry = m->rnr_retry;
	if (mask & IBV_QP_RQ_PSN)
		a->rq_psn = m->rq_psn & PSN_MASK;
	if (mask & IBV_QP_SQ_PSN)
		a->sq_psn = m->sq_psn & PSN_MASK;
	if (mask & IBV_QP_MAX_QP_RD_ATOMIC)
		a->max_rd_atomic = m->max_rd_atomic;
	if (mask & IBV_QP_MAX_DEST_RD_ATOMIC)
		a->max_dest_rd_atomic = m->max_dest_rd_atomic;
	if (mask & IBV_QP_MIN_RNR_TIMER)
		a->min_rnr_timer = m->min_rnr_timer;
	if (mask & IBV_QP_DEST_QPN)
		a->dest_qpn = m->dest_qp_num;
	if (mask & IBV_QP_PATH_MIG_STATE)
		a->path_mig_state = m->path_mig_state;
	if (mask & IBV_QP_EN_SQD_ASYNC_NOTIFY)
		a->en_sqd_async_notify = m->en_sqd_async_notify;
}

struct modify {
	struct ff_qp *qp;
	const struct ib_uverbs_modify_qp *req;
	bool away; /* where req's address vector leads */
	int rc;
};

/* Owner worker. */
static void
modify_on_worker(void *arg)
{
	struct modify *m = arg;
	struct ff_qp *qp = m->qp;
	uint32_t mask = m->req->attr_mask;
	enum ff_qp_state cur = qp->attr.state;
	enum ff_qp_state next = mask & IBV_QP_STATE ? m->req->qp_state : cur;
	struct ff_qp_attr new = qp->attr;

	m->rc = -EINVAL;
	/* What the program takes for the state must be it (IBTA 11.2.5.2). */
	if ((mask & IBV_QP_CUR_STATE) && m->req->cur_qp_state != cur)
		return;
	if (!qp_transition_ok(qp->type, cur, next, mask))
		return;
	/* The port of the path is the one that INIT was told. */
	if ((mask & IBV_QP_AV) && m->req->dest.port_num != qp->attr.port_num)
		return;
	/* Not out of SQD before it is drained, unless everything is given up. */
	if ((mask & IBV_QP_STATE) && cur == FF_QPS_SQD && qp->attr.sq_draining &&
	    next != FF_QPS_ERR && next != FF_QPS_RESET)
		return;
	merge(&new, m->req);
	if (mask & IBV_QP_AV)
		new.ah.away = m->away;
	new.state = next;
	new.cur_state = next;
	m->rc = ff_nic->qp_modify(qp, &new, mask);
}

static int
modify(struct verbs_cmd *cmd, const struct ib_uverbs_modify_qp *req)
{
	struct ff_ucontext *uc = cmd->uc;
	struct modify m = {.req = req};
	int rc;

	m.qp = verbs_handle_get(uc, FF_OBJ_QP, req->qp_handle);
	if (!m.qp)
		return -EINVAL;
	rc = check_numbers(req);
	if (!rc && (req->attr_mask & IBV_QP_AV))
		rc = check_address(uc->container, req);
	if (rc)
		return rc;
	m.away =
		(req->attr_mask & IBV_QP_AV) && ah_is_away(uc->container, dest_of(&req->dest).dgid);
	ff_worker_call(uc->worker, modify_on_worker, &m);
	return m.rc;
}

int
cmd_modify_qp(struct verbs_cmd *cmd)
{
	struct ib_uverbs_modify_qp req;
	int rc = verbs_request(cmd, &req, sizeof(req));

	if (rc)
		return rc;
	if (req.attr_mask & ~MASK_STANDARD)
		return -EOPNOTSUPP;
	return modify(cmd, &req);
}

int
cmd_modify_qp_ex(struct verbs_cmd *cmd)
{
	struct ib_uverbs_ex_modify_qp_resp resp = {
		.response_length = verbs_response_length(cmd, sizeof(resp))};
	struct ib_uverbs_ex_modify_qp req;
	int rc = verbs_request(cmd, &req, sizeof(req));

	if (rc)
		return rc;
	if (req.base.attr_mask & ~(MASK_STANDARD | MASK_RATE_LIMIT))
		return -EOPNOTSUPP;
	if (req.base.attr_mask & MASK_RATE_LIMIT)
		return -EOPNOTSUPP; /* raw packet QPs only, which we do not have */
	rc = modify(cmd, &req.base);
	return rc ? rc : verbs_response(cmd, &resp, sizeof(resp));
}

struct query {
	const struct ff_qp *qp;
	struct ff_qp_attr attr;
};

/* Owner worker. */
static void
query_on_worker(void *arg)
{
	struct query *q = arg;

	q->attr = q->qp->attr;
}

static void
fill_query(const struct ff_qp *qp, const struct ff_qp_attr *a, struct ib_uverbs_query_qp_resp *r)
{
	r->dest = dest_to(&a->ah);
	r->alt_dest = dest_to(&a->alt_ah);
	r->max_send_wr = qp->max_send_wr;
	r->max_recv_wr = qp->srq ? 0 : qp->max_recv_wr;
	r->max_send_sge = qp->max_send_sge;
	r->max_recv_sge = qp->srq ? 0 : qp->max_recv_sge;
	r->max_inline_data = qp->max_inline;
	r->qkey = a->qkey;
	r->rq_psn = a->rq_psn;
	r->sq_psn = a->sq_psn;
	r->dest_qp_num = a->dest_qpn;
	r->qp_access_flags = a->access;
	r->pkey_index = a->pkey_index;
	r->alt_pkey_index = a->alt_pkey_index;
	r->qp_state = a->state;
	r->cur_qp_state = a->state;
	r->path_mtu = (uint8_t)a->path_mtu;
	r->path_mig_state = a->path_mig_state;
	r->sq_draining = a->sq_draining;
	r->max_rd_atomic = a->max_rd_atomic;
	r->max_dest_rd_atomic = a->max_dest_rd_atomic;
	r->min_rnr_timer = a->min_rnr_timer;
	r->port_num = a->port_num;
	r->timeout = a->timeout;
	r->retry_cnt = a->retry_cnt;
	r->rnr_retry = a->rnr_retry;
	r->alt_port_num = a->alt_port_num;
	r->alt_timeout = a->alt_timeout;
	r->sq_sig_all = qp->sig_all;
}

int
cmd_query_qp(struct verbs_cmd *cmd)
{
	struct ib_uverbs_query_qp_resp resp = {0};
	struct ib_uverbs_query_qp req;
	struct query q;
	int rc = verbs_request(cmd, &req, sizeof(req));

	if (rc)
		return rc;
	q.qp = verbs_handle_get(cmd->uc, FF_OBJ_QP, req.qp_handle);
	if (!q.qp)
		return -EINVAL;
	ff_worker_call(cmd->uc->worker, query_on_worker, &q);
	fill_query(q.qp, &q.attr, &resp);
	return verbs_response(cmd, &resp, sizeof(resp));
}

struct to_error {
	const struct ff_cq *cq; /* NULL: all QPs */
	struct ff_ucontext *uc;
	uint32_t pos;
	bool more;
};

/* Owner worker: a few QPs at a time, so that others are not held up. */
static void
to_error_on_worker(void *arg)
{
	struct to_error *o = arg;
	struct ff_qp *qp = NULL;

	for (unsigned i = 0; i < TO_ERROR_BATCH; i++) {
		struct ff_qp_attr new;

		qp = verbs_handle_next(o->uc, FF_OBJ_QP, &o->pos);
		if (!qp)
			break;
		if ((o->cq && qp->scq != o->cq && qp->rcq != o->cq) || qp->detached ||
		    qp->attr.state == FF_QPS_RESET || qp->attr.state == FF_QPS_ERR)
			continue;
		new = qp->attr;
		new.state = new.cur_state = FF_QPS_ERR;
		ff_nic->qp_modify(qp, &new, IBV_QP_STATE);
	}
	o->more = qp != NULL;
}

void
qps_to_error(struct ff_ucontext *uc, const struct ff_cq *cq)
{
	struct to_error o = {.cq = cq, .uc = uc};

	do {
		ff_worker_call(uc->worker, to_error_on_worker, &o);
	} while (o.more);
}
