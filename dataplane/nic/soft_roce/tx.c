/* SPDX-License-Identifier: MIT */
/*
 * Packets to the wire: IP, UDP and iCRC around what the engine says, runs of equally long ones put
 * together for the port. Owner worker.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/udp.h>
#include <string.h>

#include <rte_mempool.h>

#include "../../core/loop.h"
#include "../../overlay/overlay.h"
#include "sroce_priv.h"

#define ECT0	     2u /* ECN-capable (RFC 3168) */
#define TTL	     64u
#define ASK_EVERY_NS 1000000000u

static const uint8_t v4_prefix[12] = {[10] = 0xff, [11] = 0xff};

/* Who a packet goes to, and how it is to be treated on its way. */
struct label {
	const uint8_t *sgid, *dgid;
	uint8_t traffic_class, hop_limit;
	uint16_t sport;
};

static uint16_t
ip4_sum(const uint8_t *h)
{
	uint32_t sum = 0;

	for (unsigned i = 0; i < SROCE_IP4; i += 2)
		sum += (uint32_t)(h[i] << 8 | h[i + 1]);
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t) ~(sum + (sum >> 16));
}

static unsigned
ip_len(const uint8_t *dgid)
{
	return memcmp(dgid, v4_prefix, sizeof(v4_prefix)) ? SROCE_IP6 : SROCE_IP4;
}

/* Everything around len bytes of BTH and so on, which stand behind the room for it. */
static uint32_t
wrap(uint8_t *at, const struct label *b, size_t len)
{
	unsigned ip = ip_len(b->dgid);
	uint16_t udp_len = (uint16_t)(SROCE_UDP + len + ROCE_ICRC), sum;
	uint8_t tos = (b->traffic_class & ~3u) | ECT0;
	struct udphdr *udp = (struct udphdr *)(at + ip);
	uint32_t crc;

	memset(at, 0, ip + SROCE_UDP);
	if (ip == SROCE_IP4) {
		struct iphdr h = {.version = 4,
				  .ihl = 5,
				  .tos = tos,
				  .tot_len = htons((uint16_t)(ip + udp_len)),
				  .frag_off = htons(IP_DF),
				  .ttl = b->hop_limit ? b->hop_limit : TTL,
				  .protocol = IPPROTO_UDP};

		memcpy(&h.saddr, b->sgid + 12, 4);
		memcpy(&h.daddr, b->dgid + 12, 4);
		memcpy(at, &h, sizeof(h));
		sum = htons(ip4_sum(at));
		memcpy(at + 10, &sum, sizeof(sum));
	} else {
		struct ip6_hdr h = {.ip6_flow = htonl(6u << 28 | (uint32_t)tos << 20)};

		h.ip6_plen = htons(udp_len);
		h.ip6_nxt = IPPROTO_UDP;
		h.ip6_hlim = b->hop_limit ? b->hop_limit : TTL;
		memcpy(&h.ip6_src, b->sgid, 16);
		memcpy(&h.ip6_dst, b->dgid, 16);
		memcpy(at, &h, sizeof(h));
	}
	/* No UDP checksum: the iCRC covers more (annex 17.4.4). */
	udp->source = htons(b->sport);
	udp->dest = htons(ROCE_UDP_PORT);
	udp->len = htons(udp_len);
	crc = htole32(roce_icrc(at, ip + SROCE_UDP + len));
	memcpy(at + ip + SROCE_UDP + len, &crc, sizeof(crc));
	return ip + udp_len;
}

/* A question for the control thread, in an element of the pool for hand-overs. */
struct question {
	struct ff_msg msg;
	char container[FF_ID_LEN];
	uint8_t gid[16];
};
_Static_assert(sizeof(struct question) <= SROCE_HANDOVER_SIZE, "elements of the pool");

static void
question_put(struct ff_msg *m)
{
	struct question *k = (struct question *)m;
	struct ff_container *c = ff_container_find(k->container);

	if (c && !ff_container_by_gid(c->tenant, k->gid))
		sroce_ask(c, k->gid);
	rte_mempool_put(rte_mempool_from_obj(k), k);
}

/* The cache forgets what nobody looks up for a while, and an address may have moved in. */
void
sroce_ask_again(struct sqp *s, const uint8_t dgid[16])
{
	struct sworker *sw = s->sw;
	struct question *k;

	if (sw->now < s->ask_ns || rte_mempool_get(sw->handovers, (void **)&k))
		return;
	s->ask_ns = sw->now + ASK_EVERY_NS;
	k->msg.fn = question_put;
	memcpy(k->container, s->l->qp->container->id, sizeof(k->container));
	memcpy(k->gid, dgid, sizeof(k->gid));
	if (ff_control_post(&k->msg))
		rte_mempool_put(sw->handovers, k);
}

static bool
path_find(struct sqp *s, const uint8_t dgid[16], struct ff_path *path)
{
	const struct ff_container *c = s->l->qp->container;
	struct ff_overlay_entry e;

	ff_overlay_lookup(c->tenant->index, dgid, &e);
	if (e.state != FF_OVERLAY_REMOTE) {
		sroce_ask_again(s, dgid);
		return false;
	}
	*path = (struct ff_path){.vni = sroce_vni(c),
				 .mtu = e.mtu ? e.mtu : UINT16_MAX,
				 .encap = FF_ENCAP_VXLAN,
				 .src_mac = {2}};
	memcpy(path->host, e.host, sizeof(path->host));
	memcpy(path->dst_mac, e.mac, sizeof(path->dst_mac));
	memcpy(path->src_mac + 2, s->l->sgid + 12, 4);
	return path->vni != 0;
}

void
sroce_tx_flush(struct sworker *sw)
{
	if (sw->tx_runs)
		ff_port_tx(sw->port, sw->tx, sw->tx_runs);
	sw->tx_runs = 0;
	sw->tx_used = 0;
}

/* The packet of len bytes at the end of what is there: joins the last run, or begins one. */
static void
run_add(struct sworker *sw, const struct ff_path *path, const struct label *b, uint32_t len)
{
	struct ff_port_tx *t = sw->tx_runs ? &sw->tx[sw->tx_runs - 1] : NULL;

	if (t && t->path == path && len <= t->seg_len && t->len % t->seg_len == 0) {
		t->len += len;
	} else {
		sw->tx[sw->tx_runs++] = (struct ff_port_tx){
			.path = path,
			.bytes = sw->tx_bytes + sw->tx_used,
			.len = len,
			.seg_len = (uint16_t)len,
			.src_port = b->sport,
			.tos = (b->traffic_class & ~3u) | ECT0,
		};
	}
	sw->tx_used += len;
}

static void
room(struct sworker *sw)
{
	if (sw->tx_runs == SROCE_TX_MAX || SROCE_TX_BYTES - sw->tx_used < SROCE_PACKET_MAX)
		sroce_tx_flush(sw);
}

/* One message; false: not now. */
static bool
ud_one(struct sqp *s, struct lop *op)
{
	struct sworker *sw = s->sw;
	const struct label b = {.sgid = op->sgid,
				.dgid = op->dgid,
				.traffic_class = op->traffic_class,
				.hop_limit = op->hop_limit,
				.sport = s->sport};
	unsigned head = ip_len(b.dgid) + SROCE_UDP;
	size_t len;
	int rc;

	room(sw);
	rc = roce_ud_tx(&s->q, &op->rwr, sw->tx_bytes + sw->tx_used + head, &len);
	if (rc == -EAGAIN)
		return false;
	if (!rc && path_find(s, b.dgid, &s->path)) {
		run_add(sw, &s->path, &b, wrap(sw->tx_bytes + sw->tx_used, &b, len));
		sroce_tx_flush(sw); /* the next message may take another path */
	} else if (!rc) {
		sw->drops[SROCE_DROP_PATH]++;
	}
	TAILQ_REMOVE(&s->ud, op, link);
	sroce_ops.wr_done(s, &op->rwr, rc ? ROCE_LOC_PROT_ERR : ROCE_OK);
	return true;
}

static unsigned
ud_send(struct sqp *s)
{
	struct lop *op;
	unsigned n = 0;

	while (n < SROCE_TX_TURN && (op = TAILQ_FIRST(&s->ud)) && ud_one(s, op))
		n++;
	return n;
}

unsigned
sroce_tx_qp(struct sworker *sw, struct sqp *s)
{
	const struct ff_qp *qp = s->l->qp;
	const struct label b = {.sgid = s->l->sgid,
				.dgid = qp->attr.ah.dgid,
				.traffic_class = qp->attr.ah.traffic_class,
				.hop_limit = qp->attr.ah.hop_limit,
				.sport = s->sport};
	unsigned head = ip_len(b.dgid) + SROCE_UDP, n;
	bool reachable = true;

	if (qp->type == IB_UVERBS_QPT_UD) {
		n = ud_send(s);
		if (n < SROCE_TX_TURN)
			sroce_deactivate(s);
		sroce_deadline_set(s);
		return n;
	}
	reachable = path_find(s, b.dgid, &s->path);
	for (n = 0; n < SROCE_TX_TURN; n++) {
		size_t len;

		room(sw);
		len = roce_tx(&s->q, sw->now, sw->tx_bytes + sw->tx_used + head);
		if (!len) {
			sroce_deactivate(s);
			break;
		}
		/* As on a wire that leads nowhere. */
		if (!reachable)
			sw->drops[SROCE_DROP_PATH]++;
		else
			run_add(sw, &s->path, &b, wrap(sw->tx_bytes + sw->tx_used, &b, len));
	}
	sroce_deadline_set(s);
	return n;
}
