/* SPDX-License-Identifier: MIT */
/* UD: address handles, the GRH in front of each message, multicast fan-out. Requester's worker. */
#include <arpa/inet.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <string.h>

#include <rte_mempool.h>

#include "local_priv.h"

#define UD_MTU		  4096u	     /* port's active MTU */
#define QKEY_FROM_QP	  (1u << 31) /* IBTA 10.2.5: a controlled qkey in the WR means the QP's own */
#define ROCE_PORT_NEXTHDR IPPROTO_UDP

static bool
is_v4_mapped(const uint8_t gid[16])
{
	static const uint8_t prefix[12] = {[10] = 0xff, [11] = 0xff};

	return !memcmp(gid, prefix, sizeof(prefix));
}

static bool
is_multicast(const uint8_t gid[16])
{
	return gid[0] == 0xff || (is_v4_mapped(gid) && (gid[12] & 0xf0) == 0xe0);
}

int
lwqe_ud(struct lqp *l, const struct rxe_send_wr *wr, struct lop *op)
{
	struct ff_qp *qp = l->qp;
	uint32_t ah_num = wr->wr.ud.ah_num;
	uint8_t sgid_index;

	if (op->length > UD_MTU)
		return FF_WC_LOC_LEN_ERR;
	op->dst_qpn = wr->wr.ud.remote_qpn;
	op->qkey = wr->wr.ud.remote_qkey & QKEY_FROM_QP ? qp->attr.qkey : wr->wr.ud.remote_qkey;
	if (ah_num) {
		const struct ff_ah *ah = ff_idtab_get(&ff_ahs, ah_num);

		if (!ah || ah->pd != qp->pd)
			return FF_WC_LOC_QP_OP_ERR;
		memcpy(op->dgid, ah->attr.dgid, sizeof(op->dgid));
		sgid_index = ah->attr.sgid_index;
		op->sl = ah->attr.sl;
		op->traffic_class = ah->attr.traffic_class;
		op->hop_limit = ah->attr.hop_limit;
		op->flow_label = ah->attr.flow_label;
	} else {
		const struct rxe_av *av = &wr->wr.ud.av; /* providers before ah_num */

		memcpy(op->dgid, av->grh.dgid.raw, sizeof(op->dgid));
		sgid_index = av->grh.sgid_index;
		op->sl = 0;
		op->traffic_class = av->grh.traffic_class;
		op->hop_limit = av->grh.hop_limit;
		op->flow_label = av->grh.flow_label;
	}
	if (sgid_index >= FF_GIDS_MAX)
		return FF_WC_LOC_QP_OP_ERR;
	memcpy(op->sgid, qp->container->gids[sgid_index].raw, sizeof(op->sgid));
	return LST_OK;
}

/* IBTA annex 17.4.5.2: an IPv4 header sits in the last 20 bytes of the 40. */
static void
grh_v4(struct lop *op)
{
	struct iphdr *ip = (struct iphdr *)(op->grh + LOCAL_GRH - sizeof(struct iphdr));
	const uint16_t *half = (const uint16_t *)ip;
	uint32_t sum = 0;

	ip->version = 4;
	ip->ihl = sizeof(*ip) / 4;
	ip->tos = op->traffic_class;
	/* IP, UDP, BTH, DETH, immediate, payload padded to 4, iCRC: what a wire would carry. */
	ip->tot_len = htons((uint16_t)(sizeof(*ip) + 8 + 12 + 8 +
				       (op->opcode == IB_UVERBS_WR_SEND_WITH_IMM ? 4 : 0) +
				       ((op->length + 3) & ~3ull) + 4));
	ip->frag_off = htons(IP_DF);
	ip->ttl = op->hop_limit;
	ip->protocol = ROCE_PORT_NEXTHDR;
	memcpy(&ip->saddr, op->sgid + 12, 4);
	memcpy(&ip->daddr, op->dgid + 12, 4);
	for (unsigned i = 0; i < sizeof(*ip) / 2; i++)
		sum += half[i];
	sum = (sum & 0xffff) + (sum >> 16);
	ip->check = (uint16_t) ~(sum + (sum >> 16));
}

static void
grh_v6(struct lop *op)
{
	struct ip6_hdr *ip = (struct ip6_hdr *)op->grh;

	ip->ip6_flow =
		htonl(6u << 28 | (uint32_t)op->traffic_class << 20 | (op->flow_label & 0xfffff));
	ip->ip6_plen =
		htons((uint16_t)(8 + 12 + 8 + (op->opcode == IB_UVERBS_WR_SEND_WITH_IMM ? 4 : 0) +
				 ((op->length + 3) & ~3ull) + 4));
	ip->ip6_nxt = ROCE_PORT_NEXTHDR;
	ip->ip6_hlim = op->hop_limit;
	memcpy(&ip->ip6_src, op->sgid, 16);
	memcpy(&ip->ip6_dst, op->dgid, 16);
}

void
lwqe_grh(struct lop *op)
{
	memset(op->grh, 0, sizeof(op->grh));
	if (is_v4_mapped(op->dgid))
		grh_v4(op);
	else
		grh_v6(op);
	op->grh_left = LOCAL_GRH;
	op->grh_span = (struct lspan){.kind = LSPAN_BYTES, .bytes = op->grh, .length = LOCAL_GRH};
}

struct fanout {
	struct lqp *l;
	struct lop *op;
};

static void
send_clone(struct ff_qp *member, void *arg)
{
	struct fanout *f = arg;
	struct lworker *lw = f->l->lw;
	struct lop *c;

	if (rte_mempool_get(lw->clones, (void **)&c)) {
		lw->drops_no_clone++;
		f->l->qp->counters[FF_QC_DROPPED]++;
		return;
	}
	memcpy(c, f->op, sizeof(*c));
	c->parent = f->op;
	c->req = NULL;
	c->clones = 0;
	c->bounce = NULL;
	c->on_done = false;
	c->phase = LOP_QUEUED;
	c->dst_qpn = member->qpn;
	c->src.sge = c->sge;
	if (c->src.kind == LSPAN_BYTES)
		c->src.bytes = c->data;
	f->op->clones++;
	lreq_submit(f->l, c);
}

bool
lud_multicast(struct lqp *l, struct lop *op)
{
	struct fanout f = {.l = l, .op = op};

	if (!is_multicast(op->dgid))
		return false;
	op->clones = 1; /* ours, so that no clone finishes the operation under our feet */
	ff_mcast_foreach(l->qp->container->tenant, op->dgid, send_clone, &f);
	if (!--op->clones)
		lop_finish(l->lw, op, LST_OK);
	return true;
}
