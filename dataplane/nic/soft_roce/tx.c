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

#define ECT0	      2u /* ECN-capable (RFC 3168) */
#define TTL	      64u
#define ASK_EVERY_NS  1000000000u
/* UD: how long a message waits for its address to be found, how often that is looked at, and when
 * the next one waits again. */
#define WAIT_NS	      1000000000u
#define LOOK_NS	      1000000u
#define WAIT_AGAIN_NS 10000000000u

static const uint8_t v4_prefix[12] = {[10] = 0xff, [11] = 0xff};

/* Who a packet goes to, and how it is to be treated on its way. */
struct label {
	const uint8_t *sgid, *dgid;
	uint8_t tos, hop_limit;
	uint16_t sport;
};

/*
 * What the network sees of a priority: the traffic class that the program set, but for its ECN
 * bits, which are ours. Where it set none, its service level, as a class selector (RFC 2474,
 * 4.2.2.2); of these there are eight: SL 8 to 15 are as 0 to 7.
 */
static uint8_t
tos_of(uint8_t traffic_class, uint8_t sl)
{
	uint8_t tos = traffic_class ? traffic_class & ~3u : (sl & 7u) << 5;

	return tos | ECT0;
}

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
	struct udphdr *udp = (struct udphdr *)(at + ip);
	uint32_t crc;

	memset(at, 0, ip + SROCE_UDP);
	if (ip == SROCE_IP4) {
		struct iphdr h = {.version = 4,
				  .ihl = 5,
				  .tos = b->tos,
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
		struct ip6_hdr h = {.ip6_flow = htonl(6u << 28 | (uint32_t)b->tos << 20)};

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
	k->msg.fn = question_put;
	memcpy(k->container, s->l->qp->container->id, sizeof(k->container));
	memcpy(k->gid, dgid, sizeof(k->gid));
	if (!ff_control_post(&k->msg))
		s->ask_ns = sw->now + ASK_EVERY_NS;
	else
		rte_mempool_put(sw->handovers, k);
}

/* What the container has given up may be another's by now. */
static bool
source_owned(struct sqp *s, const uint8_t sgid[16])
{
	const struct ff_container *c = s->l->qp->container;
	uint32_t gen = atomic_load_explicit(&c->gid_gen, memory_order_acquire);

	if (s->own && s->own_gen == gen && !memcmp(s->own_gid, sgid, 16))
		return true;
	s->own = ff_container_has_gid(c, sgid);
	s->own_gen = gen;
	memcpy(s->own_gid, sgid, 16);
	return s->own;
}

/* 0; -EAGAIN: the resolver is still looking; -EHOSTUNREACH. Sets s->why. */
static int
path_find(struct sqp *s, const uint8_t dgid[16], struct ff_path *path)
{
	const struct ff_container *c = s->l->qp->container;
	struct ff_overlay_entry e;
	int rc;

	s->why = SROCE_DROP_PATH;
	ff_overlay_lookup(c->tenant->index, dgid, &e);
	rc = e.state == FF_OVERLAY_REMOTE    ? sroce_path(c, &e, path, &s->why)
	     : e.state == FF_OVERLAY_UNKNOWN ? -EAGAIN
					     : -EHOSTUNREACH;
	if (rc) {
		sroce_ask_again(s, dgid);
		return rc;
	}
	return 0;
}

/* UD: each message may come from another address of the container. */
static void
source_mac(struct ff_path *path, const uint8_t sgid[16])
{
	memcpy(path->src_mac + 2, sgid + 12, 4);
}

void
sroce_tx_flush(struct sworker *sw)
{
	if (sw->tx_runs)
		ff_port_tx(sw->port, sw->tx, sw->tx_runs);
	sw->tx_runs = 0;
	sw->tx_used = 0;
}

static bool
path_same(const struct ff_path *a, const struct ff_path *b)
{
	return !memcmp(a->host, b->host, sizeof(a->host)) && a->vni == b->vni && a->mtu == b->mtu &&
	       a->encap == b->encap && !memcmp(a->dst_mac, b->dst_mac, sizeof(a->dst_mac)) &&
	       !memcmp(a->src_mac, b->src_mac, sizeof(a->src_mac)) &&
	       !memcmp(a->next_mac, b->next_mac, sizeof(a->next_mac));
}

/*
 * The packet of len bytes at the end of what is there, behind its headroom: joins the last run,
 * another QP's as well, or begins one.
 */
static void
run_add(struct sworker *sw, const struct ff_path *path, const struct label *b, uint32_t len)
{
	struct ff_port_tx *t = sw->tx_runs ? &sw->tx[sw->tx_runs - 1] : NULL;
	const uint8_t *ip = sw->tx_bytes + sw->tx_used + FF_PORT_HEADROOM;

	/* One Ethernet type for all. */
	if (t && t->bytes[FF_PORT_HEADROOM] >> 4 == ip[0] >> 4 && len <= t->seg_len &&
	    t->len % ff_port_tx_stride(t) == 0 && t->tos == b->tos &&
	    !((t->src_port ^ b->sport) & sw->src_mask) && path_same(t->path, path)) {
		t->len += FF_PORT_HEADROOM + len;
	} else {
		sw->tx_paths[sw->tx_runs] = *path;
		sw->tx[sw->tx_runs] = (struct ff_port_tx){
			.path = &sw->tx_paths[sw->tx_runs],
			.bytes = sw->tx_bytes + sw->tx_used,
			.len = FF_PORT_HEADROOM + len,
			.seg_len = (uint16_t)len,
			.src_port = b->sport,
			.tos = b->tos,
		};
		sw->tx_runs++;
	}
	sw->tx_used += FF_PORT_HEADROOM + len;
}

/* The packet behind room()'s headroom goes its way, unless that is too narrow for it. */
static void
send_one(struct sqp *s, const struct label *b, uint32_t len)
{
	if (len > s->path.mtu)
		s->sw->drops[SROCE_DROP_MTU]++;
	else
		run_add(s->sw, &s->path, b, len);
}

/* Where the next packet goes. */
static uint8_t *
room(struct sworker *sw)
{
	if (sw->tx_runs == SROCE_TX_MAX ||
	    SROCE_TX_BYTES - sw->tx_used < FF_PORT_HEADROOM + SROCE_PACKET_MAX)
		sroce_tx_flush(sw);
	return sw->tx_bytes + sw->tx_used + FF_PORT_HEADROOM;
}

/*
 * Is the resolver given more time for dgid? A host's kernel resolves an address when an AH is made
 * for it, or a QP connected, and so loses no first message; UC and UD would not send it again.
 */
static bool
path_wait(struct sqp *s, const uint8_t dgid[16])
{
	uint64_t now = s->sw->now, waited = now - s->wait_ns;

	if (memcmp(s->wait_gid, dgid, 16) || waited > WAIT_AGAIN_NS) {
		memcpy(s->wait_gid, dgid, 16);
		s->wait_ns = now;
	} else if (waited > WAIT_NS) {
		return false;
	}
	if (!s->again_ns || s->again_ns > now + LOOK_NS)
		s->again_ns = now + LOOK_NS;
	return true;
}

/* Sets s->path: looked up once in a pass for messages to one peer. As path_find(). */
static int
ud_path(struct sqp *s, const uint8_t dgid[16])
{
	int rc;

	if (s->ud_path_ns == s->sw->now && !memcmp(s->ud_path_gid, dgid, 16))
		return 0;
	s->ud_path_ns = 0;
	rc = path_find(s, dgid, &s->path);
	if (rc)
		return rc == -EAGAIN && path_wait(s, dgid) ? rc : -EHOSTUNREACH;
	s->ud_path_ns = s->sw->now;
	memcpy(s->ud_path_gid, dgid, 16);
	return 0;
}

static int
ud_build(struct sqp *s, struct lop *op)
{
	struct sworker *sw = s->sw;
	const struct label b = {.sgid = op->sgid,
				.dgid = op->dgid,
				.tos = tos_of(op->traffic_class, op->sl),
				.hop_limit = op->hop_limit,
				.sport = s->sport};
	uint8_t *at = room(sw);
	size_t len;
	int rc;

	rc = source_owned(s, b.sgid) ? ud_path(s, b.dgid) : -EADDRNOTAVAIL;
	if (rc == -EADDRNOTAVAIL)
		sw->drops[SROCE_DROP_SOURCE]++;
	else if (rc == -EHOSTUNREACH)
		sw->drops[s->why]++;
	if (rc)
		return rc == -EAGAIN ? rc : 0;
	rc = roce_ud_tx(&s->q, &op->rwr, at + ip_len(b.dgid) + SROCE_UDP, &len);
	if (rc)
		return rc;
	source_mac(&s->path, b.sgid);
	send_one(s, &b, wrap(at, &b, len));
	return 0;
}

/* One message; false: not now. */
static bool
ud_one(struct sqp *s, struct lop *op)
{
	int rc = ud_build(s, op);

	if (rc == -EAGAIN)
		return false;
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

/* Of a QP with one peer. */
static unsigned
peer_send(struct sqp *s)
{
	const struct ff_qp *qp = s->l->qp;
	const struct label b = {.sgid = s->l->sgid,
				.dgid = qp->attr.ah.dgid,
				.tos = tos_of(qp->attr.ah.traffic_class, qp->attr.ah.sl),
				.hop_limit = qp->attr.ah.hop_limit,
				.sport = s->sport};
	unsigned head = ip_len(b.dgid) + SROCE_UDP, n;
	int rc = source_owned(s, b.sgid) ? path_find(s, b.dgid, &s->path) : -EADDRNOTAVAIL;

	if (rc == -EAGAIN && path_wait(s, b.dgid))
		return 0;
	source_mac(&s->path, b.sgid);
	for (n = 0; n < SROCE_TX_TURN; n++) {
		uint8_t *at = room(s->sw);
		size_t len = roce_tx(&s->q, s->sw->now, at + head);

		if (!len)
			break;
		/* As on a wire that leads nowhere. */
		if (rc)
			s->sw->drops[s->own ? s->why : SROCE_DROP_SOURCE]++;
		else
			send_one(s, &b, wrap(at, &b, len));
	}
	return n;
}

unsigned
sroce_tx_qp(struct sworker *sw, struct sqp *s)
{
	unsigned n = s->l->qp->type == IB_UVERBS_QPT_UD ? ud_send(s) : peer_send(s);

	if (n < SROCE_TX_TURN)
		sroce_deactivate(s);
	sroce_deadline_set(s);
	return n;
}
