/* SPDX-License-Identifier: MIT */
/*
 * The udp kind of port: sending. The queue's worker.
 *
 * A message is up to 64 packets of one element, which the kernel (or the NIC) cuts apart by
 * UDP_SEGMENT; messages of many elements leave in one sendmmsg(). The kernel copies the bytes.
 *
 * A source port takes a socket, so there are UDP_SOURCES of them for the entropy that RFC 7348 §5
 * asks for, and the flow hash (ff_port_tx.src_port) says which one a packet leaves by.
 */
#include <errno.h>
#include <limits.h>
#include <netinet/udp.h>
#include <string.h>

#include "udp_priv.h"

/*
 * UDP_SEGMENT is refused for a route (IPsec: EIO), for an interface without checksum offload (EIO
 * before Linux 6.11), by a kernel that does not know it (EINVAL). As we cannot tell which, it is
 * tried again after so many elements.
 */
#define ONE_BY_ONE 1024u

_Static_assert(FF_PORT_HEADROOM == FF_ENCAP_LEN, "a batch leaves as it is, without gaps");

static void
tx_lost(struct udp_queue *q, struct udp_tx *t, unsigned element, unsigned packets)
{
	ff_port_count(&q->base, FF_PC_TX_DROPPED, packets);
	if (t->last_lost != element)
		t->lost++;
	t->last_lost = element;
}

/* bytes: with encapsulation, which is not counted. */
static void
tx_sent(struct udp_queue *q, unsigned packets, uint32_t bytes)
{
	ff_port_count(&q->base, FF_PC_TX_PACKETS, packets);
	ff_port_count(&q->base, FF_PC_TX_BYTES, bytes - packets * FF_ENCAP_LEN);
}

/* ---- the calls ---- */

static bool
is_full(int err)
{
	return err == EAGAIN || err == ENOBUFS;
}

static void
tx_one_by_one(struct udp_queue *q, struct udp_tx *t, unsigned index)
{
	const struct udp_tx_msg *m = &t->msg[index];
	struct msghdr h = t->mm[index].msg_hdr;
	size_t left = m->iov.iov_len;
	struct iovec iov = m->iov;

	h.msg_iov = &iov;
	h.msg_controllen = UDP_TX_CTL_TOS;
	for (; left; left -= iov.iov_len, iov.iov_base = (uint8_t *)iov.iov_base + iov.iov_len) {
		iov.iov_len = left < m->stride ? left : m->stride;
		if (t->full) {
			tx_lost(q, t, m->element, 1);
			continue;
		}
		ff_port_count(&q->base, FF_PC_TX_CALLS, 1);
		if (sendmsg(t->fd, &h, MSG_DONTWAIT) >= 0) {
			tx_sent(q, 1, (uint32_t)iov.iov_len);
			t->one_by_one = ONE_BY_ONE;
			continue;
		}
		t->full = is_full(errno);
		tx_lost(q, t, m->element, 1);
	}
}

static void
tx_refused(struct udp_queue *q, struct udp_tx *t, unsigned index, int err)
{
	const struct udp_tx_msg *m = &t->msg[index];

	/* EINVAL is also what a segment that is too long got before Linux 6.14: then none of the
	 * single packets gets through either. */
	if (m->packets > 1 && (err == EIO || err == EINVAL)) {
		tx_one_by_one(q, t, index);
		return;
	}
	t->full = is_full(err);
	tx_lost(q, t, m->element, m->packets);
}

/* Sends what is queued up; afterwards nothing is. */
static void
tx_flush(struct udp_queue *q, struct udp_tx *t)
{
	unsigned i = 0;

	while (i < t->num_msgs && !t->full) {
		int rc = sendmmsg(t->fd, &t->mm[i], t->num_msgs - i, MSG_DONTWAIT);

		ff_port_count(&q->base, FF_PC_TX_CALLS, 1);
		if (rc <= 0)
			tx_refused(q, t, i++, errno);
		for (; rc > 0; rc--, i++)
			tx_sent(q, t->msg[i].packets, (uint32_t)t->msg[i].iov.iov_len);
	}
	for (; i < t->num_msgs; i++)
		tx_lost(q, t, t->msg[i].element, t->msg[i].packets);
	t->num_msgs = 0;
}

/* ---- messages ---- */

static void
cmsg_put(uint8_t *at, int level, int type, const void *data, size_t len)
{
	struct cmsghdr *c = (struct cmsghdr *)at;

	c->cmsg_level = level;
	c->cmsg_type = type;
	c->cmsg_len = CMSG_LEN(len);
	memcpy(CMSG_DATA(c), data, len);
}

/* Fills m's address and control data; returns the length of the address. */
static socklen_t
address_put(const struct udp_queue *q, struct udp_tx_msg *m, const struct ff_port_tx *tx)
{
	const uint8_t *host = tx->path->host;
	bool v4 = udp_is_v4_mapped(host);
	int tos = tx->tos;

	/* A dual stack socket takes the options of the family that leaves in the end. */
	cmsg_put(m->ctl, v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_TOS : IPV6_TCLASS, &tos,
		 sizeof(tos));
	memset(&m->to, 0, sizeof(m->to));
	m->to.sa.sa_family = q->family;
	if (q->family == AF_INET) {
		m->to.in.sin_port = q->port;
		memcpy(&m->to.in.sin_addr, host + 12, 4);
		return sizeof(m->to.in);
	}
	m->to.in6.sin6_port = q->port;
	memcpy(&m->to.in6.sin6_addr, host, 16);
	return sizeof(m->to.in6);
}

/* One message of len bytes from off on, in whose headrooms encap goes. There is room for it. */
static void
tx_message(const struct udp_queue *q, struct udp_tx *t, const struct ff_port_tx *tx,
	   unsigned element, uint32_t off, uint32_t len, const uint8_t encap[FF_ENCAP_LEN])
{
	struct udp_tx_msg *m = &t->msg[t->num_msgs];
	struct msghdr *h = &t->mm[t->num_msgs++].msg_hdr;
	uint16_t segment = (uint16_t)ff_port_tx_stride(tx);

	m->element = element;
	m->stride = segment;
	m->packets = 0;
	for (uint32_t at = off; at < off + len; at += m->stride, m->packets++)
		memcpy(tx->bytes + at, encap, FF_ENCAP_LEN);
	m->iov = (struct iovec){tx->bytes + off, len};
	h->msg_name = &m->to;
	h->msg_namelen = address_put(q, m, tx);
	h->msg_iov = &m->iov;
	h->msg_iovlen = 1;
	h->msg_control = m->ctl;
	h->msg_controllen = UDP_TX_CTL_TOS;
	if (m->packets > 1) {
		cmsg_put(m->ctl + UDP_TX_CTL_TOS, IPPROTO_UDP, UDP_SEGMENT, &segment,
			 sizeof(segment));
		h->msg_controllen = UDP_TX_CTL_ALL;
	}
}

/* ---- elements ---- */

/* Makes the element's headers; false: it cannot be sent. */
static bool
tx_prepare(const struct udp_queue *q, const struct ff_port_tx *tx, uint8_t encap[FF_ENCAP_LEN])
{
	const struct ff_path *p = tx->path;

	return tx->seg_len && tx->seg_len <= p->mtu &&
	       tx->seg_len <= UDP_PAYLOAD_MAX - FF_ENCAP_LEN && p->encap == FF_ENCAP_VXLAN &&
	       (q->family == AF_INET6 || udp_is_v4_mapped(p->host)) &&
	       !ff_vxlan_encap(encap, p->vni, p->dst_mac, p->src_mac, tx->bytes[FF_PORT_HEADROOM]);
}

static unsigned
segments_max(const struct udp_tx *t, uint32_t stride)
{
	unsigned fit = UDP_PAYLOAD_MAX / stride;

	if (t->one_by_one)
		return 1;
	return fit < UDP_TX_SEGS ? fit : UDP_TX_SEGS;
}

static void
tx_element(struct udp_queue *q, const struct ff_port_tx *tx, unsigned element)
{
	struct udp_tx *t = &q->tx[tx->src_port % UDP_SOURCES];
	uint32_t stride = ff_port_tx_stride(tx), off, part;
	uint8_t encap[FF_ENCAP_LEN];

	if (!tx->len)
		return;
	if (!tx_prepare(q, tx, encap)) {
		tx_lost(q, t, element, tx->seg_len ? ff_port_tx_packets(tx) : 1);
		return;
	}
	for (off = 0; off < tx->len; off += part) {
		part = segments_max(t, stride) * stride;
		if (part > tx->len - off)
			part = tx->len - off;
		if (t->num_msgs == UDP_TX_MSGS)
			tx_flush(q, t);
		tx_message(q, t, tx, element, off, part, encap);
	}
	if (t->one_by_one)
		t->one_by_one--;
}

unsigned
udp_tx(struct ff_port_queue *base, const struct ff_port_tx *tx, unsigned n)
{
	struct udp_queue *q = udp_queue_of(base);
	unsigned lost = 0;

	for (unsigned i = 0; i < UDP_SOURCES; i++) {
		q->tx[i].full = false;
		q->tx[i].lost = 0;
		q->tx[i].last_lost = UINT_MAX;
	}
	for (unsigned i = 0; i < n; i++)
		tx_element(q, &tx[i], i);
	for (unsigned i = 0; i < UDP_SOURCES; i++) {
		tx_flush(q, &q->tx[i]);
		lost += q->tx[i].lost;
	}
	return n - lost;
}
