/* SPDX-License-Identifier: MIT */
/* Queue pairs: geometry, create, destroy. Control thread; qp_modify.c has the rest. */
#include <infiniband/verbs.h>
#include <stdlib.h>

#include "verbs_priv.h"

#define CREATE_FLAGS_KNOWN 0xff7u /* what the kernel takes for some device */

const char *const ff_qp_counter_names[FF_QC_MAX] = {
	[FF_QC_SEND] = "sends",
	[FF_QC_WRITE] = "writes",
	[FF_QC_READ] = "reads",
	[FF_QC_ATOMIC] = "atomics",
	[FF_QC_BIND] = "binds",
	[FF_QC_INV] = "invalidates",
	[FF_QC_RECV] = "receives",
	[FF_QC_TX_BYTES] = "tx_bytes",
	[FF_QC_RX_BYTES] = "rx_bytes",
	[FF_QC_DOORBELLS] = "doorbells",
	[FF_QC_RNR] = "rnr",
	[FF_QC_RETRY] = "retries",
	[FF_QC_DROPPED] = "dropped",
	[FF_QC_COPY_DIRECT] = "copies_direct",
	[FF_QC_COPY_BOUNCE] = "copies_bounce",
	[FF_QC_ERR_BASE + FF_WC_SUCCESS] = "completions_ok",
	[FF_QC_ERR_BASE + FF_WC_LOC_LEN_ERR] = "err_local_length",
	[FF_QC_ERR_BASE + FF_WC_LOC_QP_OP_ERR] = "err_local_qp_operation",
	[FF_QC_ERR_BASE + FF_WC_LOC_EEC_OP_ERR] = "err_local_ee_operation",
	[FF_QC_ERR_BASE + FF_WC_LOC_PROT_ERR] = "err_local_protection",
	[FF_QC_ERR_BASE + FF_WC_WR_FLUSH_ERR] = "err_flushed",
	[FF_QC_ERR_BASE + FF_WC_MW_BIND_ERR] = "err_window_bind",
	[FF_QC_ERR_BASE + FF_WC_BAD_RESP_ERR] = "err_bad_response",
	[FF_QC_ERR_BASE + FF_WC_LOC_ACCESS_ERR] = "err_local_access",
	[FF_QC_ERR_BASE + FF_WC_REM_INV_REQ_ERR] = "err_remote_invalid_request",
	[FF_QC_ERR_BASE + FF_WC_REM_ACCESS_ERR] = "err_remote_access",
	[FF_QC_ERR_BASE + FF_WC_REM_OP_ERR] = "err_remote_operation",
	[FF_QC_ERR_BASE + FF_WC_RETRY_EXC_ERR] = "err_retry_exceeded",
	[FF_QC_ERR_BASE + FF_WC_RNR_RETRY_EXC_ERR] = "err_rnr_retry_exceeded",
	[FF_QC_ERR_BASE + FF_WC_LOC_RDD_VIOL_ERR] = "err_local_rdd_violation",
	[FF_QC_ERR_BASE + FF_WC_REM_INV_RD_REQ_ERR] = "err_remote_invalid_rd_request",
	[FF_QC_ERR_BASE + FF_WC_REM_ABORT_ERR] = "err_remote_aborted",
	[FF_QC_ERR_BASE + FF_WC_INV_EECN_ERR] = "err_invalid_ee_context_number",
	[FF_QC_ERR_BASE + FF_WC_INV_EEC_STATE_ERR] = "err_invalid_ee_context_state",
	[FF_QC_ERR_BASE + FF_WC_FATAL_ERR] = "err_fatal",
	[FF_QC_ERR_BASE + FF_WC_RESP_TIMEOUT_ERR] = "err_response_timeout",
	[FF_QC_ERR_BASE + FF_WC_GENERAL_ERR] = "err_general",
};

static void
qp_free_queues(struct ff_qp *qp, struct ff_ucontext *uc)
{
	verbs_queue_destroy(uc, &qp->rq);
	verbs_queue_destroy(uc, &qp->sq);
}

void
qp_unpublish(struct ff_qp *qp)
{
	ff_idtab_remove(&ff_qps, qp->qpn);
	mcast_forget(qp);
}

void
qp_detach(struct ff_qp *qp)
{
	mws_unbind_qp(qp);
	ff_nic->qp_detach(qp);
	qp->detached = true;
}

void
qp_release(struct ff_qp *qp)
{
	struct ff_ucontext *uc = qp->obj.uc;

	verbs_handle_del(&qp->obj, FF_OBJ_QP);
	ff_container_qp_retired(uc->container, qp);
	ff_nic->qp_destroy(qp);
	qp_free_queues(qp, uc);
	qp->pd->obj.refs--;
	qp->scq->obj.refs--;
	qp->rcq->obj.refs--;
	if (qp->srq)
		qp->srq->obj.refs--;
	free(qp);
	ff_quota_give(uc->container, FF_QUOTA_QPS, 1);
}

static int
check_caps(const struct ff_container *c, const struct ib_uverbs_ex_create_qp *req)
{
	uint32_t wr = verbs_limit_wr(c, FF_MAX_QP_WR), sge = verbs_limit_sge(c, FF_MAX_SGE);

	if (req->max_send_wr > wr || req->max_send_sge > sge ||
	    req->max_inline_data > FF_MAX_INLINE)
		return -EINVAL;
	if (!req->is_srq && (req->max_recv_wr > wr || req->max_recv_sge > sge))
		return -EINVAL;
	return 0;
}

/* As rxe: one area holds either the SGEs or the inline data, and both caps grow to fill it. */
static int
make_queues(struct ff_ucontext *uc, struct ff_qp *qp, const struct ib_uverbs_ex_create_qp *req)
{
	uint32_t area = req->max_send_sge * (uint32_t)sizeof(struct rxe_sge);
	int rc;

	if (area < req->max_inline_data)
		area = req->max_inline_data;
	rc = verbs_queue_create(uc, &qp->sq, req->max_send_wr,
				(uint32_t)sizeof(struct rxe_send_wqe) + area);
	if (rc)
		return rc;
	qp->max_send_wr = qp->sq.mask;
	qp->max_send_sge = area / (uint32_t)sizeof(struct rxe_sge);
	qp->max_inline = area;
	qp->max_recv_wr = req->max_recv_wr; /* with an SRQ: given back as it came */
	qp->max_recv_sge = req->max_recv_sge;
	if (qp->srq)
		return 0;
	rc = verbs_queue_create(uc, &qp->rq, req->max_recv_wr,
				(uint32_t)(sizeof(struct rxe_recv_wqe) +
					   req->max_recv_sge * sizeof(struct rxe_sge)));
	if (rc) {
		verbs_queue_destroy(uc, &qp->sq);
		return rc;
	}
	qp->max_recv_wr = qp->rq.mask;
	return 0;
}

/* Finds what the QP is made of. 0 or -EINVAL. */
static int
find_parts(struct ff_ucontext *uc, struct ff_qp *qp, const struct ib_uverbs_ex_create_qp *req)
{
	qp->pd = verbs_handle_get(uc, FF_OBJ_PD, req->pd_handle);
	qp->scq = verbs_handle_get(uc, FF_OBJ_CQ, req->send_cq_handle);
	qp->rcq = verbs_handle_get(uc, FF_OBJ_CQ, req->recv_cq_handle);
	qp->srq = req->is_srq ? verbs_handle_get(uc, FF_OBJ_SRQ, req->srq_handle) : NULL;
	if (!qp->pd || !qp->scq || !qp->rcq || (req->is_srq && !qp->srq))
		return -EINVAL;
	return 0;
}

/* Handle, backend, QPN: last, since from the QPN on peers find it. 0 or -errno. */
static int
qp_publish(struct ff_ucontext *uc, struct ff_qp *qp)
{
	int rc = verbs_handle_add(uc, FF_OBJ_QP, &qp->obj);

	if (rc)
		return rc;
	rc = ff_nic->qp_create(qp);
	if (rc)
		goto err_handle;
	rc = ff_idtab_insert(&ff_qps, qp, &qp->qpn);
	if (rc)
		goto err_nic;
	qp->pd->obj.refs++;
	qp->scq->obj.refs++;
	qp->rcq->obj.refs++;
	if (qp->srq)
		qp->srq->obj.refs++;
	return 0;

err_nic:
	ff_nic->qp_destroy(qp);
err_handle:
	verbs_handle_del(&qp->obj, FF_OBJ_QP);
	return rc;
}

static void
qp_init(struct ff_ucontext *uc, struct ff_qp *qp, const struct ib_uverbs_ex_create_qp *req)
{
	qp->obj.user_handle = req->user_handle;
	qp->type = req->qp_type;
	qp->sig_all = req->sq_sig_all;
	qp->worker = uc->worker;
	qp->container = uc->container;
	qp->attr.state = qp->attr.cur_state = FF_QPS_RESET;
	qp->attr.path_mtu = IBV_MTU_256;
	async_src_init(&qp->async_src, ASYNC_QP);
	LIST_INIT(&qp->windows);
}

static int
qp_make(struct ff_ucontext *uc, const struct ib_uverbs_ex_create_qp *req, struct ff_qp **out)
{
	struct ff_qp *qp;
	int rc = ff_quota_take(uc->container, FF_QUOTA_QPS, 1);

	if (rc)
		return rc;
	rc = -ENOMEM;
	qp = calloc(1, sizeof(*qp));
	if (!qp)
		goto err_quota;
	qp_init(uc, qp, req);
	rc = find_parts(uc, qp, req);
	if (!rc)
		rc = make_queues(uc, qp, req);
	if (rc)
		goto err_free;
	rc = qp_publish(uc, qp);
	if (rc)
		goto err_queues;
	*out = qp;
	return 0;

err_queues:
	qp_free_queues(qp, uc);
err_free:
	free(qp);
err_quota:
	ff_quota_give(uc->container, FF_QUOTA_QPS, 1);
	return rc;
}

static void
reply_qp(struct verbs_cmd *cmd, struct ff_qp *qp)
{
	struct ib_uverbs_ex_create_qp_resp resp = {
		.base =
			{
				.qp_handle = qp->obj.handle,
				.qpn = qp->qpn,
				.max_send_wr = qp->max_send_wr,
				.max_recv_wr = qp->max_recv_wr,
				.max_send_sge = qp->max_send_sge,
				.max_recv_sge = qp->max_recv_sge,
				.max_inline_data = qp->max_inline,
			},
		.response_length = verbs_response_length(cmd, sizeof(resp)),
	};
	struct rxe_create_qp_resp drv = {.sq_mi = verbs_mminfo(&qp->sq)};

	verbs_reply_queue(cmd, &qp->sq, FF_QUEUE_SQ, qp->obj.handle, qp->qpn);
	if (!qp->srq) {
		drv.rq_mi = verbs_mminfo(&qp->rq);
		verbs_reply_queue(cmd, &qp->rq, FF_QUEUE_RQ, qp->obj.handle, qp->qpn);
	}
	verbs_response_drv(cmd, &drv, sizeof(drv));
	verbs_response(cmd, &resp, sizeof(resp));
}

static int
create_qp(struct verbs_cmd *cmd, const struct ib_uverbs_ex_create_qp *req)
{
	struct ff_qp *qp;
	int rc;

	switch (req->qp_type) {
	case IBV_QPT_RC:
	case IBV_QPT_UC:
	case IBV_QPT_UD:
		break;
	case IBV_QPT_RAW_PACKET:
		return -EPERM; /* CAP_NET_RAW on the host, which no container has */
	case IBV_QPT_XRC_SEND:
	case IBV_QPT_DRIVER:
		return -EOPNOTSUPP;
	default:
		return -EINVAL; /* XRC_RECV too: there is no XRC domain that it could name */
	}
	if (req->create_flags & ~CREATE_FLAGS_KNOWN)
		return -EINVAL;
	if (req->create_flags)
		return -EOPNOTSUPP;
	if (cmd->drv_out_cap < sizeof(struct rxe_create_qp_resp) || cmd->drv_in_len)
		return -EINVAL;
	rc = check_caps(cmd->uc->container, req);
	if (rc)
		return rc;
	rc = qp_make(cmd->uc, req, &qp);
	if (rc)
		return rc;
	reply_qp(cmd, qp);
	return 0;
}

int
cmd_create_qp(struct verbs_cmd *cmd)
{
	struct ib_uverbs_create_qp req;
	int rc = verbs_request(cmd, &req, sizeof(req));

	if (rc)
		return rc;
	return create_qp(cmd, &(struct ib_uverbs_ex_create_qp){
				      .user_handle = req.user_handle,
				      .pd_handle = req.pd_handle,
				      .send_cq_handle = req.send_cq_handle,
				      .recv_cq_handle = req.recv_cq_handle,
				      .srq_handle = req.srq_handle,
				      .max_send_wr = req.max_send_wr,
				      .max_recv_wr = req.max_recv_wr,
				      .max_send_sge = req.max_send_sge,
				      .max_recv_sge = req.max_recv_sge,
				      .max_inline_data = req.max_inline_data,
				      .sq_sig_all = req.sq_sig_all,
				      .qp_type = req.qp_type,
				      .is_srq = req.is_srq,
			      });
}

int
cmd_create_qp_ex(struct verbs_cmd *cmd)
{
	struct ib_uverbs_ex_create_qp req;
	int rc = verbs_request(cmd, &req, sizeof(req));

	if (rc)
		return rc;
	/* comp_mask: the only known bit names a table of receive work queues. */
	if (req.comp_mask || req.reserved)
		return -EINVAL;
	return create_qp(cmd, &req);
}

/* Owner worker. */
static void
detach_one(void *arg)
{
	qp_detach(arg);
}

int
cmd_destroy_qp(struct verbs_cmd *cmd)
{
	struct ib_uverbs_destroy_qp_resp resp = {0};
	struct ib_uverbs_destroy_qp req;
	struct ff_qp *qp;
	uint32_t unread;
	int rc = verbs_request(cmd, &req, sizeof(req));

	if (rc)
		return rc;
	qp = verbs_handle_get(cmd->uc, FF_OBJ_QP, req.qp_handle);
	if (!qp)
		return -ENOENT;
	if (qp->mcasts)
		return -EBUSY;
	qp_unpublish(qp);
	ff_worker_call(cmd->uc->worker, detach_one, qp);
	verbs_synchronize();
	unread = async_forget(cmd->uc, qp->obj.user_handle, ASYNC_QP);
	if (qp->async_sent > unread)
		resp.events_reported = qp->async_sent - unread;
	qp_release(qp);
	return verbs_response(cmd, &resp, sizeof(resp));
}
