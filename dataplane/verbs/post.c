/* SPDX-License-Identifier: MIT */
/*
 * POST_SEND, POST_RECV, POST_SRQ_RECV by command. The WQEs of this device are in the shared
 * queues: the commands are doorbells, for when the ring is not there. WQEs in the command would
 * need the lock that the program's provider holds: refused. Control thread.
 */
#include "verbs_priv.h"

/*
 * Checks the arrays behind the command, which hold nothing. The three commands have one layout.
 * *handle: of the QP or SRQ.
 */
static int
parse(const struct verbs_cmd *cmd, uint32_t wr_size, uint32_t *handle)
{
	struct ib_uverbs_post_recv req;
	uint64_t need;

	static_assert(sizeof(struct ib_uverbs_post_send) == sizeof(req), "uverbs ABI");
	static_assert(sizeof(struct ib_uverbs_post_srq_recv) == sizeof(req), "uverbs ABI");

	memcpy(&req, cmd->in, sizeof(req)); /* the table asks for as many */
	if (req.wqe_size < wr_size)
		return -EINVAL;
	need = sizeof(req) + (uint64_t)req.wqe_size * req.wr_count +
	       (uint64_t)req.sge_count * sizeof(struct ib_uverbs_sge);
	if (need > cmd->in_len)
		return -ENOSPC;
	if (req.wr_count)
		return -EINVAL;
	*handle = req.qp_handle;
	return 0;
}

struct ring {
	struct ff_qp *qp;
	struct ff_srq *srq;
	int rc;
};

/* Owner worker. */
static void
ring_sq(void *arg)
{
	struct ring *r = arg;

	/* IBTA 10.8.3.1: posting before RTS is an immediate error. */
	if (r->qp->attr.state < FF_QPS_RTS) {
		r->rc = -EINVAL;
		return;
	}
	r->qp->counters[FF_QC_DOORBELLS]++;
	ff_nic->post(r->qp);
}

int
cmd_post_send(struct verbs_cmd *cmd)
{
	struct ib_uverbs_post_send_resp resp = {0};
	struct ring r = {.rc = 0};
	uint32_t handle;
	int rc = parse(cmd, sizeof(struct ib_uverbs_send_wr), &handle);

	if (rc)
		return rc;
	r.qp = verbs_handle_get(cmd->uc, FF_OBJ_QP, handle);
	if (!r.qp)
		return -EINVAL;
	ff_worker_call(cmd->uc->worker, ring_sq, &r);
	return r.rc ? r.rc : verbs_response(cmd, &resp, sizeof(resp));
}

/* Owner worker: a receive WQE may be what a peer waits for; post() looks at the whole QP. */
static void
ring_rq(void *arg)
{
	struct ring *r = arg;

	if (r->qp->attr.state < FF_QPS_INIT || r->qp->srq)
		r->rc = -EINVAL;
	else if (r->qp->attr.state >= FF_QPS_RTS)
		ff_nic->post(r->qp);
}

int
cmd_post_recv(struct verbs_cmd *cmd)
{
	struct ib_uverbs_post_recv_resp resp = {0};
	struct ring r = {.rc = 0};
	uint32_t handle;
	int rc = parse(cmd, sizeof(struct ib_uverbs_recv_wr), &handle);

	if (rc)
		return rc;
	r.qp = verbs_handle_get(cmd->uc, FF_OBJ_QP, handle);
	if (!r.qp)
		return -EINVAL;
	ff_worker_call(cmd->uc->worker, ring_rq, &r);
	return r.rc ? r.rc : verbs_response(cmd, &resp, sizeof(resp));
}

/* Owner worker. */
static void
ring_srq(void *arg)
{
	struct ring *r = arg;

	if (ff_nic->srq_changed)
		ff_nic->srq_changed(r->srq);
}

int
cmd_post_srq_recv(struct verbs_cmd *cmd)
{
	struct ib_uverbs_post_srq_recv_resp resp = {0};
	struct ring r = {.rc = 0};
	uint32_t handle;
	int rc = parse(cmd, sizeof(struct ib_uverbs_recv_wr), &handle);

	if (rc)
		return rc;
	r.srq = verbs_handle_get(cmd->uc, FF_OBJ_SRQ, handle);
	if (!r.srq)
		return -EINVAL;
	ff_worker_call(cmd->uc->worker, ring_srq, &r);
	return verbs_response(cmd, &resp, sizeof(resp));
}
