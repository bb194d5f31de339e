/* SPDX-License-Identifier: MIT */
/*
 * The udp kind of port: receiving. The queue's worker.
 *
 * recvmmsg() brings datagrams, or trains of equal-sized ones that the kernel gathered (UDP_GRO),
 * into one set of buffers. They are filled again only when all that they held has been handed out,
 * by calls before: what this call handed out stays as it is.
 */
#include <errno.h>
#include <netinet/udp.h>
#include <string.h>
#include <sys/mman.h>

#include "udp_priv.h"

static void
rx_arm(struct udp_rx *r, unsigned i)
{
	struct msghdr *h = &r->mm[i].msg_hdr;

	h->msg_name = &r->msg[i].from;
	h->msg_namelen = sizeof(r->msg[i].from);
	h->msg_control = r->msg[i].ctl;
	h->msg_controllen = sizeof(r->msg[i].ctl);
	h->msg_iov = &r->iov[i];
	h->msg_iovlen = 1;
	h->msg_flags = 0;
}

int
udp_rx_init(struct udp_rx *r)
{
	void *at = mmap(NULL, (size_t)UDP_RX_MSGS * UDP_RX_STRIDE, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED)
		return -errno;
	r->buffers = at;
	for (unsigned i = 0; i < UDP_RX_MSGS; i++) {
		r->iov[i].iov_base = r->buffers + (size_t)i * UDP_RX_STRIDE;
		r->iov[i].iov_len = 65536;
		rx_arm(r, i);
	}
	return 0;
}

void
udp_rx_fini(struct udp_rx *r)
{
	if (r->buffers)
		munmap(r->buffers, (size_t)UDP_RX_MSGS * UDP_RX_STRIDE);
	r->buffers = NULL;
}

static void
rx_fill(struct udp_queue *q)
{
	struct udp_rx *r = &q->rx;
	int rc;

	for (unsigned i = 0; i < r->num; i++)
		rx_arm(r, i);
	r->num = r->cur = 0;
	r->off = 0;
	ff_port_count(&q->base, FF_PC_RX_CALLS, 1);
	rc = recvmmsg(q->fd, r->mm, UDP_RX_MSGS, MSG_DONTWAIT, NULL);
	if (rc > 0)
		r->num = (unsigned)rc;
}

static void
rx_overflows(struct udp_queue *q, uint32_t count)
{
	ff_port_count(&q->base, FF_PC_RX_DROPPED, (uint32_t)(count - q->rx.overflows));
	q->rx.overflows = count;
}

static void
rx_control(struct udp_queue *q, struct msghdr *h)
{
	struct udp_rx *r = &q->rx;
	struct cmsghdr *c;
	int value;

	for (c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c)) {
		if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TOS) {
			r->tos = *CMSG_DATA(c); /* one byte, though it is set by an int */
			continue;
		}
		if (c->cmsg_len < CMSG_LEN(sizeof(value)))
			continue;
		memcpy(&value, CMSG_DATA(c), sizeof(value));
		if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_TCLASS)
			r->tos = (uint8_t)value;
		else if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO && value > 0)
			r->seg_len = (uint32_t)value;
		else if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SO_RXQ_OVFL)
			rx_overflows(q, (uint32_t)value);
	}
}

static void
rx_source(struct udp_rx *r, const union udp_addr *from)
{
	if (from->sa.sa_family == AF_INET6) {
		memcpy(r->host, &from->in6.sin6_addr, 16);
		return;
	}
	memset(r->host, 0, 10);
	memset(r->host + 10, 0xff, 2);
	memcpy(r->host + 12, &from->in.sin_addr, 4);
}

/* Reads what came with the message at r->cur. False: there is nothing in it. */
static bool
rx_begin(struct udp_queue *q)
{
	struct udp_rx *r = &q->rx;
	struct mmsghdr *m = &r->mm[r->cur];

	r->len = r->seg_len = m->msg_len;
	r->tos = 0;
	rx_control(q, &m->msg_hdr);
	rx_source(r, &r->msg[r->cur].from);
	/* Cannot happen with these buffers; but without its control data, a train of packets would
	 * look like one. */
	if (!r->len || (m->msg_hdr.msg_flags & (MSG_TRUNC | MSG_CTRUNC))) {
		ff_port_count(&q->base, FF_PC_RX_BAD, 1);
		return false;
	}
	return true;
}

/* The next packet of the message that has begun. False: it is a bad one. */
static bool
rx_packet(struct udp_queue *q, struct ff_port_rx *out)
{
	struct udp_rx *r = &q->rx;
	uint8_t *bytes = (uint8_t *)r->iov[r->cur].iov_base + r->off;
	uint32_t len = r->len - r->off < r->seg_len ? r->len - r->off : r->seg_len;

	r->off += len;
	if (ff_vxlan_decap(bytes, len, &out->vni, &out->len)) {
		ff_port_count(&q->base, FF_PC_RX_BAD, 1);
		return false;
	}
	out->bytes = bytes + FF_ENCAP_LEN;
	out->outer_tos = r->tos;
	memcpy(out->host, r->host, sizeof(out->host));
	ff_port_count(&q->base, FF_PC_RX_PACKETS, 1);
	ff_port_count(&q->base, FF_PC_RX_BYTES, out->len);
	return true;
}

unsigned
udp_rx(struct ff_port_queue *base, struct ff_port_rx *rx, unsigned n)
{
	struct udp_queue *q = udp_queue_of(base);
	struct udp_rx *r = &q->rx;
	unsigned got = 0;

	if (r->cur == r->num)
		rx_fill(q);
	while (got < n && r->cur < r->num) {
		if (r->off || rx_begin(q))
			got += rx_packet(q, &rx[got]);
		else
			r->len = 0;
		if (r->off >= r->len) {
			r->off = 0;
			r->cur++;
		}
	}
	return got;
}
