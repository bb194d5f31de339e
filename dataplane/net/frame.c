/* SPDX-License-Identifier: MIT */
/* Frames, made and checked. Workers, on the fast path. */
#include <errno.h>
#include <linux/if_ether.h>
#include <netinet/in.h>
#include <string.h>

#include "frame.h"

#define IP_FRAGMENT 0x3fffu /* more fragments, or an offset */
#define IP_DONT	    0x4000u
#define TTL	    64u

static uint16_t
get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static void
put16(uint8_t *p, unsigned value)
{
	p[0] = (uint8_t)(value >> 8);
	p[1] = (uint8_t)value;
}

/* RFC 1071 over len bytes, an even number: 0 over a header with a right checksum. */
static uint16_t
sum(const uint8_t *p, unsigned len)
{
	uint32_t s = 0;

	for (unsigned i = 0; i < len; i += 2)
		s += get16(p + i);
	s = (s & 0xffff) + (s >> 16);
	return (uint16_t) ~(s + (s >> 16));
}

static void
mapped(uint8_t out[16], const uint8_t v4[4])
{
	memset(out, 0, 10);
	memset(out + 10, 0xff, 2);
	memcpy(out + 12, v4, 4);
}

/* ---- in ---- */

/* The outer, or only, network header, as far as it is needed. */
struct network {
	uint32_t udp, end; /* offsets in the frame; udp 0: not UDP over IP */
	bool own;	   /* to one of the addresses of this host */
	bool fragment;	   /* the first one */
	bool bad_sum;
};

static void
network_v4(const struct frame_conf *c, const uint8_t *frame, uint32_t len, struct network *n,
	   struct frame_in *out)
{
	const uint8_t *ip = frame + FF_ETHER_LEN;
	uint32_t room = len - FF_ETHER_LEN, head;

	if (room < FRAME_IP4 || ip[0] >> 4 != 4 || ip[9] != IPPROTO_UDP)
		return;
	head = (ip[0] & 0xfu) * 4;
	/* What follows a first fragment has no port to know it by. */
	if (head < FRAME_IP4 || head > room || (get16(ip + 6) & IP_FRAGMENT & ~0x2000u))
		return;
	n->fragment = get16(ip + 6) & IP_FRAGMENT;
	n->bad_sum = sum(ip, head) != 0;
	n->udp = FF_ETHER_LEN + head;
	n->end = FF_ETHER_LEN + get16(ip + 2);
	n->own = c->has4 && !memcmp(ip + 16, c->own4, 4);
	out->tos = ip[1];
	mapped(out->host, ip + 12);
}

static void
network_v6(const struct frame_conf *c, const uint8_t *frame, uint32_t len, struct network *n,
	   struct frame_in *out)
{
	const uint8_t *ip = frame + FF_ETHER_LEN;

	if (len - FF_ETHER_LEN < FRAME_IP6 || ip[0] >> 4 != 6 || ip[6] != IPPROTO_UDP)
		return;
	n->udp = FF_ETHER_LEN + FRAME_IP6;
	n->end = n->udp + get16(ip + 4);
	n->own = c->has6 && !memcmp(ip + 24, c->own6, 16);
	out->tos = (uint8_t)(ip[0] << 4 | ip[1] >> 4);
	memcpy(out->host, ip + 8, 16);
}

static enum frame_verdict
vxlan(const uint8_t *frame, const struct network *n, struct frame_in *out)
{
	uint32_t at = n->udp + FRAME_UDP, inner;

	if (ff_vxlan_decap(frame + at, n->end - at, &out->vni, &inner))
		return FRAME_BAD;
	out->off = at + FF_ENCAP_LEN;
	out->len = inner;
	return FRAME_OURS;
}

enum frame_verdict
ff_frame_parse(const struct frame_conf *c, const uint8_t *frame, uint32_t len, struct frame_in *out)
{
	static const uint8_t broadcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
	bool none = c->encap == FF_ENCAP_NONE;
	struct network n = {0};

	if (len < FF_ETHER_LEN || (memcmp(frame, c->mac, 6) && memcmp(frame, broadcast, 6)))
		return FRAME_FOREIGN;
	if (get16(frame + 12) == ETH_P_IP)
		network_v4(c, frame, len, &n, out);
	else if (get16(frame + 12) == ETH_P_IPV6)
		network_v6(c, frame, len, &n, out);
	/* Without encapsulation, what goes to this host itself is for an RDMA device of its own. */
	if (!n.udp || len - n.udp < FRAME_UDP || n.own == none ||
	    get16(frame + n.udp + 2) != (none ? FRAME_ROCE_PORT : c->udp_port))
		return FRAME_FOREIGN;
	if (n.fragment || n.bad_sum || n.end > len || n.end < n.udp + FRAME_UDP ||
	    get16(frame + n.udp + 4) != n.end - n.udp)
		return FRAME_BAD;
	if (!none)
		return vxlan(frame, &n, out);
	out->off = FF_ETHER_LEN;
	out->len = n.end - FF_ETHER_LEN;
	out->vni = 0;
	return FRAME_OURS;
}

/* ---- out ---- */

static void
head_v4(const struct frame_conf *c, const struct ff_port_tx *tx, uint8_t *ip)
{
	ip[0] = 0x45;
	ip[1] = tx->tos;
	put16(ip + 6, IP_DONT);
	ip[8] = TTL;
	ip[9] = IPPROTO_UDP;
	memcpy(ip + 12, c->own4, 4);
	memcpy(ip + 16, tx->path->host + 12, 4);
}

/* The flow label (RFC 6438): the same entropy as in the source port. */
static void
head_v6(const struct frame_conf *c, const struct ff_port_tx *tx, uint8_t *ip)
{
	ip[0] = (uint8_t)(0x60 | tx->tos >> 4);
	ip[1] = (uint8_t)(tx->tos << 4);
	put16(ip + 2, tx->src_port);
	ip[6] = IPPROTO_UDP;
	ip[7] = TTL;
	memcpy(ip + 8, c->own6, 16);
	memcpy(ip + 24, tx->path->host, 16);
}

static int
head_vxlan(const struct frame_conf *c, const struct ff_port_tx *tx, uint8_t first,
	   struct frame_head *out)
{
	static const uint8_t v4_prefix[12] = {[10] = 0xff, [11] = 0xff};
	const struct ff_path *p = tx->path;
	uint8_t *udp;

	out->v4 = !memcmp(p->host, v4_prefix, sizeof(v4_prefix));
	if (out->v4 ? !c->has4 : !c->has6)
		return -EADDRNOTAVAIL;
	put16(out->bytes + 12, out->v4 ? ETH_P_IP : ETH_P_IPV6);
	out->ip = FF_ETHER_LEN;
	if (out->v4)
		head_v4(c, tx, out->bytes + out->ip);
	else
		head_v6(c, tx, out->bytes + out->ip);
	udp = out->bytes + out->ip + (out->v4 ? FRAME_IP4 : FRAME_IP6);
	/* RFC 7348 §5 and RFC 6335 §6: from the dynamic ports. */
	put16(udp, tx->src_port | 0xc000u);
	put16(udp + 2, c->udp_port);
	out->len = (uint32_t)(udp - out->bytes) + FRAME_UDP + FF_ENCAP_LEN;
	return ff_vxlan_encap(udp + FRAME_UDP, p->vni, p->dst_mac, p->src_mac, first);
}

int
ff_frame_head(const struct frame_conf *c, const struct ff_port_tx *tx, const uint8_t mac[6],
	      uint8_t first, struct frame_head *out)
{
	unsigned version = first >> 4;

	if (tx->path->encap != c->encap || (version != 4 && version != 6))
		return -EINVAL;
	memset(out, 0, sizeof(*out));
	memcpy(out->bytes, mac, 6);
	memcpy(out->bytes + 6, c->mac, 6);
	if (c->encap == FF_ENCAP_VXLAN)
		return head_vxlan(c, tx, first, out);
	put16(out->bytes + 12, version == 4 ? ETH_P_IP : ETH_P_IPV6);
	out->len = FF_ETHER_LEN;
	return 0;
}

void
ff_frame_head_fit(struct frame_head *h, uint32_t len)
{
	uint8_t *ip = h->bytes + h->ip, *udp;
	uint32_t all = h->len - h->ip + len;

	if (!h->ip)
		return;
	udp = ip + (h->v4 ? FRAME_IP4 : FRAME_IP6);
	if (h->v4) {
		put16(ip + 2, all);
		put16(ip + 10, 0);
		put16(ip + 10, sum(ip, FRAME_IP4));
	} else {
		put16(ip + 4, all - FRAME_IP6);
	}
	put16(udp + 4, all - (uint32_t)(udp - ip));
}
