/* SPDX-License-Identifier: MIT */
/*
 * Packets from the wire, which anybody on the underlay may have sent: checked from the outside to
 * the inside, then given to the QP's engine. Each that is refused is counted by reason.
 */
#include <errno.h>
#include <string.h>

#include <rte_mempool.h>

#include "sroce_priv.h"

#define CE 3u

/* Is the packet this QP's (IBTA 9.6.1, annex 17.4.3)? 0 or why not, plus one. */
static int
belongs(const struct ff_qp *qp, const struct srx *rx, uint32_t vni)
{
	/* A tenant without a VNI has no wire, and none is not the number 0. */
	if (!vni || sroce_vni(qp->container) != vni)
		return SROCE_DROP_TENANT + 1;
	if (sroce_from_nobody(rx))
		return SROCE_DROP_ADDRESS + 1;
	if (qp->type != IB_UVERBS_QPT_UD && (memcmp(qp->attr.ah.dgid, rx->sgid, 16) ||
					     memcmp(((struct lqp *)qp->nic)->sgid, rx->dgid, 16)))
		return SROCE_DROP_ADDRESS + 1;
	return ff_container_has_gid(qp->container, rx->dgid) ? 0 : SROCE_DROP_ADDRESS + 1;
}

/* A copy of a packet, from the mempool of the worker that received it. */
struct packet {
	struct ff_msg msg; /* on its way to another worker */
	struct ff_worker *to;
	STAILQ_ENTRY(packet) link; /* s->held */
	bool tried;		   /* its mark has counted */
	struct ff_port_rx in;
	uint8_t bytes[SROCE_PACKET_MAX];
};
_Static_assert(sizeof(struct packet) <= SROCE_HANDOVER_SIZE, "elements of the pool");

static struct packet *
packet_copy(struct sworker *sw, const struct ff_port_rx *in)
{
	struct packet *k;

	if (in->len > sizeof(k->bytes) || rte_mempool_get(sw->handovers, (void **)&k))
		return NULL;
	k->in = *in;
	k->in.bytes = k->bytes;
	memcpy(k->bytes, in->bytes, in->len);
	return k;
}

static void
packet_put(struct packet *k)
{
	rte_mempool_put(rte_mempool_from_obj(k), k);
}

static int rx_one(struct sworker *sw, const struct ff_port_rx *in);

static void
handed_over(struct ff_msg *m)
{
	struct packet *k = (struct packet *)m;
	struct sworker *sw = sroce_worker(k->to);
	int why;

	sroce_now_set(sw, ff_now_ns());
	why = rx_one(sw, &k->in);
	if (why)
		sw->drops[why - 1]++;
	packet_put(k);
}

/* The port's queues are filled by the sender's address: the QP may be another worker's. */
static int
hand_over(struct sworker *sw, struct ff_worker *to, const struct ff_port_rx *in)
{
	struct packet *k = packet_copy(sw, in);

	if (!k)
		return SROCE_DROP_BUSY + 1;
	k->msg.fn = handed_over;
	k->to = to;
	if (!ff_worker_post(to, &k->msg)) {
		sw->handed_over++;
		return 0;
	}
	packet_put(k);
	return SROCE_DROP_BUSY + 1;
}

/* False: the engine waits for memory that is not mapped (memory.c), and wants it once more. */
static bool
deliver(struct sqp *s, struct srx *rx, const struct roce_pkt *pkt, uint8_t outer_tos)
{
	uint64_t busy = s->q.counters[ROCE_C_RX_BUSY];
	uint32_t expected = s->q.exp_psn, una = s->q.una_psn;

	rx->ce = (rx->tos & CE) == CE || (outer_tos & CE) == CE;
	s->rx = rx;
	s->l->lw->now = s->sw->now;
	roce_rx(&s->q, s->sw->now, pkt, rx->ce);
	/* What the engine has not taken promises nothing. */
	s->sw->rx_more = (pkt->flags & ROCE_F_PAYLOAD) && !(pkt->flags & ROCE_F_END) &&
			 !pkt->ack_req && (s->q.exp_psn != expected || s->q.una_psn != una);
	s->rx = NULL;
	sroce_activate(s);
	return busy == s->q.counters[ROCE_C_RX_BUSY];
}

/* Kept with those that come behind it, until the copier is done. */
static int
hold(struct sqp *s, const struct ff_port_rx *in)
{
	struct packet *k;

	if (s->num_held == SROCE_HELD_MAX || !smem_wait_begin(s))
		return SROCE_DROP_BUSY + 1;
	k = packet_copy(s->sw, in);
	if (!k) {
		smem_wait_end(s->sw, s->l->qp->container->tenant->index);
		return SROCE_DROP_BUSY + 1;
	}
	k->tried = !s->num_held;
	s->num_held++;
	STAILQ_INSERT_TAIL(&s->held, k, link);
	return 0;
}

static void
held_drop_first(struct sqp *s)
{
	struct packet *k = STAILQ_FIRST(&s->held);

	STAILQ_REMOVE_HEAD(&s->held, link);
	s->num_held--;
	smem_wait_end(s->sw, s->l->qp->container->tenant->index);
	packet_put(k);
}

void
sroce_rx_forget(struct sqp *s)
{
	while (s->num_held)
		held_drop_first(s);
}

void
sroce_rx_again(struct sqp *s)
{
	struct roce_pkt pkt;
	struct packet *k;
	struct srx rx;

	/* It was unwrapped before, so it can be again. An error of the QP lets go of all. */
	while ((k = STAILQ_FIRST(&s->held))) {
		bool marks = !k->tried;

		k->tried = true;
		if (!sroce_unwrap(&rx, &pkt, k->in.bytes, k->in.len)) {
			rx.tos &= marks ? UINT8_MAX : (uint8_t)~CE;
			if (!deliver(s, &rx, &pkt, marks ? k->in.outer_tos : 0))
				return;
		}
		if (s->num_held)
			held_drop_first(s);
	}
}

static int
rx_one(struct sworker *sw, const struct ff_port_rx *in)
{
	struct roce_pkt pkt;
	struct ff_qp *qp;
	struct sqp *s;
	struct srx rx;
	int why = sroce_unwrap(&rx, &pkt, in->bytes, in->len);

	if (why)
		return why;
	qp = ff_idtab_get(&ff_qps, pkt.qpn);
	if (qp && qp->worker != sw->w)
		return hand_over(sw, qp->worker, in);
	s = qp ? ((struct lqp *)qp->nic)->wire : NULL;
	if (!s || !s->started)
		return SROCE_DROP_QPN + 1;
	why = belongs(qp, &rx, in->vni);
	if (why)
		return why;
	if (s->num_held || !deliver(s, &rx, &pkt, in->outer_tos))
		return hold(s, in);
	return 0;
}

unsigned
sroce_rx_poll(struct sworker *sw)
{
	struct ff_port_rx in[FF_PORT_BURST];
	unsigned n = ff_port_rx(sw->port, in, FF_PORT_BURST), i;
	int why;

	for (i = 0; i < n; i++) {
		why = rx_one(sw, &in[i]);
		if (why)
			sw->drops[why - 1]++;
	}
	sw->rx_full = n == FF_PORT_BURST;
	return n;
}
