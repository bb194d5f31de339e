/* SPDX-License-Identifier: MIT */
/* What the local backend and the control thread call (soft_roce.h). */
#include "soft_roce.h"

#include <errno.h>
#include <infiniband/verbs.h>
#include <stdlib.h>
#include <string.h>

#include "../../core/config.h"
#include "../../core/log.h"
#include "../../overlay/overlay.h"
#include "sroce_priv.h"

/* IPv6, UDP, BTH, AtomicETH or RETH with ImmDt, iCRC. */
#define OVERHEAD (SROCE_HEAD_MAX + ROCE_HEADERS_MAX + ROCE_IMMDT + ROCE_ICRC)

static struct ff_port *port;
static uint8_t port_mtu; /* enum ib_mtu */

struct ff_port *
sroce_port(void)
{
	return port;
}

bool
sroce_enabled(void)
{
	return port != NULL;
}

/* The longest whose packets fit into so many bytes; the shortest, if none does. */
static uint8_t
mtu_within(uint32_t bytes)
{
	unsigned mtu;

	for (mtu = IBV_MTU_256; mtu < IBV_MTU_4096; mtu++)
		if ((256u << mtu) + OVERHEAD > bytes)
			break;
	return (uint8_t)mtu;
}

uint8_t
sroce_mtu(const struct ff_container *c)
{
	uint32_t link = atomic_load_explicit(&c->link_mtu, memory_order_relaxed);
	uint8_t mtu = link ? mtu_within(link) : port_mtu;

	return mtu < port_mtu ? mtu : port_mtu;
}

uint32_t
sroce_vni(const struct ff_container *c)
{
	return __atomic_load_n(&c->tenant->vni, __ATOMIC_RELAXED);
}

int
sroce_init(void)
{
	int rc = sroce_port_open(&port);

	if (!port)
		return rc;
	port_mtu = mtu_within(ff_port_mtu(port));
	rc = ff_overlay_start(&ff_config.overlay);
	if (!rc && ff_port_wants_mac(port))
		rc = ff_overlay_follow_hosts();
	if (!rc)
		rc = sroce_stage_register();
	if (rc)
		sroce_fini();
	else
		ff_info("nic", "iCRC by %s", roce_icrc_choose(ff_now_ns));
	return rc;
}

void
sroce_fini(void)
{
	if (!port)
		return;
	ff_overlay_stop();
	sroce_guards_close();
	ff_port_close(port);
	port = NULL;
}

int
sroce_ask(struct ff_container *c, const uint8_t gid[16])
{
	struct ff_overlay_scope scope = {.tenant = c->tenant->index,
					 .tenant_name = c->tenant->name,
					 .netns_fd = ff_container_netns(c)};
	int rc;

	if (!port)
		return 0;
	if (!sroce_vni(c)) {
		if (!c->tenant->confined_told)
			ff_warn("nic",
				"container %s wants another host, but its tenant, %s, has no VNI: "
				"refused and counted (policy_refused); said once",
				c->id, c->tenant->name);
		c->tenant->confined_told = true;
		return -ENETUNREACH;
	}
	rc = ff_overlay_ask(&scope, gid);
	if (rc)
		ff_debug("nic", "container %s: nobody knows an address: %s", c->id, strerror(-rc));
	return 0;
}

void
sroce_address(const struct ff_container *c, const uint8_t gid[16], bool here)
{
	static const struct ff_overlay_entry local = {.state = FF_OVERLAY_LOCAL};

	if (!port)
		return;
	ff_overlay_answer(c->tenant->index, gid, here ? &local : NULL);
	sroce_guard(c, gid, here);
}

void
sroce_tenant_gone(uint32_t index)
{
	if (port)
		ff_overlay_flush(index);
}

bool
sroce_is_remote(const struct lqp *l, const uint8_t gid[16])
{
	struct ff_overlay_entry e;

	if (!l->wire)
		return false;
	ff_overlay_lookup(l->qp->container->tenant->index, gid, &e);
	if (e.state == FF_OVERLAY_UNKNOWN) {
		sroce_now_set(l->wire->sw, l->lw->now);
		sroce_ask_again(l->wire, gid);
	}
	return e.state == FF_OVERLAY_REMOTE;
}

static struct roce_conf
conf_of(const struct ff_qp *qp)
{
	const struct ff_qp_attr *a = &qp->attr;
	uint32_t mtu = port_mtu;

	if (qp->type != IB_UVERBS_QPT_UD && a->path_mtu < port_mtu)
		mtu = a->path_mtu;
	return (struct roce_conf){
		.type = qp->type == IB_UVERBS_QPT_RC   ? ROCE_TYPE_RC
			: qp->type == IB_UVERBS_QPT_UC ? ROCE_TYPE_UC
						       : ROCE_TYPE_UD,
		.mtu = 128u << mtu,
		.qpn = qp->qpn,
		.dest_qpn = a->dest_qpn,
		.qkey = a->qkey,
		.pkey = ROCE_PKEY_DEFAULT,
		.timeout_ns = roce_timeout_ns(a->timeout),
		.retry_cnt = a->retry_cnt,
		.rnr_retry = a->rnr_retry,
		.min_rnr_timer = a->min_rnr_timer,
		.max_rd_atomic = a->max_rd_atomic,
		.max_dest_rd_atomic = a->max_dest_rd_atomic,
	};
}

int
sroce_modify(struct lqp *l)
{
	const struct ff_qp_attr *a = &l->qp->attr;
	struct roce_conf conf = conf_of(l->qp);
	struct sqp *s = l->wire;

	if (!s) {
		s = aligned_alloc(64, (sizeof(*s) + 63) & ~63ull);
		if (!s)
			return -ENOMEM;
		memset(s, 0, sizeof(*s));
		TAILQ_INIT(&s->ud);
		STAILQ_INIT(&s->held);
		s->l = l;
		s->sw = sroce_worker(l->qp->worker);
		s->sport = (uint16_t)(0xc000u | ((l->qp->qpn ^ a->dest_qpn) & 0x3fff));
		TAILQ_INSERT_TAIL(&s->sw->all, s, all_link);
		l->wire = s;
	}
	if (!s->started) {
		sroce_counters_retire(s);
		roce_init(&s->q, &sroce_ops, s);
		roce_start_receive(&s->q, &conf, a->rq_psn);
		s->started = true;
	}
	if (a->state == FF_QPS_RTS && !s->q.sends)
		roce_start_send(&s->q, &conf, a->sq_psn);
	else
		roce_set(&s->q, &conf);
	sroce_activate(s);
	return 0;
}

static enum roce_op
op_of(uint8_t opcode)
{
	switch (opcode) {
	case IB_UVERBS_WR_RDMA_WRITE:
	case IB_UVERBS_WR_RDMA_WRITE_WITH_IMM:
		return ROCE_OP_WRITE;
	case IB_UVERBS_WR_RDMA_READ:
		return ROCE_OP_READ;
	case IB_UVERBS_WR_ATOMIC_CMP_AND_SWP:
		return ROCE_OP_CMP_SWAP;
	case IB_UVERBS_WR_ATOMIC_FETCH_AND_ADD:
		return ROCE_OP_FETCH_ADD;
	default:
		return ROCE_OP_SEND;
	}
}

void
sroce_post(struct lqp *l, struct lop *op)
{
	struct sqp *s = l->wire;
	bool cas = op->opcode == IB_UVERBS_WR_ATOMIC_CMP_AND_SWP;

	op->phase = LOP_WIRE;
	op->at = NULL;
	op->dst_worker = l->lw->w;
	op->rwr = (struct roce_wr){
		.ctx = op,
		.op = op_of(op->opcode),
		.solicited = op->flags & FF_SEND_SOLICITED,
		.has_imm = op->opcode == IB_UVERBS_WR_SEND_WITH_IMM ||
			   op->opcode == IB_UVERBS_WR_RDMA_WRITE_WITH_IMM,
		.has_inv = op->opcode == IB_UVERBS_WR_SEND_WITH_INV,
		.length = (uint32_t)op->length,
		.imm = op->imm,
		.inv_rkey = op->imm,
		.raddr = op->raddr,
		.rkey = op->rkey,
		.compare = op->compare_add,
		.swap_add = cas ? op->swap : op->compare_add,
		.qkey = op->qkey,
		.qpn = op->dst_qpn,
	};
	sroce_now_set(s->sw, l->lw->now);
	if (l->qp->type == IB_UVERBS_QPT_UD)
		TAILQ_INSERT_TAIL(&s->ud, op, link);
	else
		roce_post(&s->q, &op->rwr);
	sroce_activate(s);
}

void
sroce_stop(struct lqp *l)
{
	struct sqp *s = l->wire;
	struct lop *op;

	if (!s || !s->started)
		return;
	s->started = false;
	sroce_deactivate(s);
	sroce_deadline_set(s);
	roce_stop(&s->q);
	while ((op = TAILQ_FIRST(&s->ud))) {
		TAILQ_REMOVE(&s->ud, op, link);
		sroce_ops.wr_done(s, &op->rwr, ROCE_WR_FLUSH_ERR);
	}
	smem_release(s);
	sroce_rx_forget(s);
}

void
sroce_free(struct lqp *l)
{
	if (l->wire) {
		sroce_counters_retire(l->wire);
		TAILQ_REMOVE(&l->wire->sw->all, l->wire, all_link);
	}
	free(l->wire);
	l->wire = NULL;
}
