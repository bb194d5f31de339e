/* SPDX-License-Identifier: MIT */
/* The udp kind of port: VXLAN in kernel UDP sockets, made and closed. Control thread. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "guard.h"
#include "udp_priv.h"

#ifndef UDP_NO_CHECK6_RX /* linux/udp.h, which does not go together with netinet/udp.h */
#define UDP_NO_CHECK6_RX 102
#endif

#define SOCKET_BUFFER (4 << 20) /* bytes; the kernel takes twice as much, for its own structs */

/*
 * What is not said here: SO_NO_CHECK. RFC 7348 §5 wants no outer checksum (SHOULD), but the kernel
 * refuses UDP_SEGMENT without it, and its GRO does not gather packets that have none. Where the
 * interface has checksum offload, and on veth, it costs nothing.
 */
static const struct {
	int level, name, value;
	bool v6;       /* for AF_INET6 sockets only */
	bool required; /* else: an older kernel works without */
} options[] = {
	/* Don't fragment. PROBE and not DO, so that a forged ICMP message cannot shrink the MTU
	 * that we send with; the engine finds out by itself what gets through. */
	{IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE, false, true},
	{IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_PROBE, true, true},
	{IPPROTO_IP, IP_RECVTOS, 1, false, true},
	{IPPROTO_IPV6, IPV6_RECVTCLASS, 1, true, true},
	/* RFC 7348 §5: a zero checksum is accepted, over IPv6 as well. */
	{IPPROTO_UDP, UDP_NO_CHECK6_RX, 1, true, false},
	{IPPROTO_UDP, UDP_GRO, 1, false, false},
	{SOL_SOCKET, SO_RXQ_OVFL, 1, false, false},
};

static int
set_options(int fd, sa_family_t family)
{
	for (unsigned i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
		if (options[i].v6 && family != AF_INET6)
			continue;
		if (setsockopt(fd, options[i].level, options[i].name, &options[i].value,
			       sizeof(int)) &&
		    options[i].required)
			return -errno;
	}
	return 0;
}

/* FORCE goes beyond net.core.[rw]mem_max, but needs CAP_NET_ADMIN. As much as we can get. */
static void
set_buffer(int fd, int force, int option)
{
	int size = SOCKET_BUFFER;

	if (setsockopt(fd, SOL_SOCKET, force, &size, sizeof(size)))
		(void)setsockopt(fd, SOL_SOCKET, option, &size, sizeof(size));
}

static void
addr_set(union udp_addr *a, sa_family_t family, const uint8_t address[16], uint16_t port,
	 unsigned scope)
{
	memset(a, 0, sizeof(*a));
	a->sa.sa_family = family;
	if (family == AF_INET) {
		a->in.sin_port = port;
		memcpy(&a->in.sin_addr, address + 12, 4);
		return;
	}
	a->in6.sin6_port = port;
	memcpy(&a->in6.sin6_addr, address, 16);
	if (IN6_IS_ADDR_LINKLOCAL(&a->in6.sin6_addr))
		a->in6.sin6_scope_id = scope;
}

/*
 * The first socket of a port is bound without SO_REUSEPORT and gets it then: so another freeflowd
 * finds the port taken, whatever its number of queues, and does not get a share of our packets.
 * In a group, the kernel's index of a socket is the order of binding: queue 0 first.
 */
static int
bind_socket(int fd, const union udp_addr *a, bool first, bool many)
{
	static const int on = 1;
	socklen_t len = a->sa.sa_family == AF_INET ? sizeof(a->in) : sizeof(a->in6);

	if (!first && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)))
		return -errno;
	if (bind(fd, &a->sa, len))
		return -errno;
	if (first && many && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)))
		return -errno;
	return 0;
}

/* fd or -errno. */
static int
udp_socket(sa_family_t family)
{
	int fd = socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_UDP), v6only = 0;
	int rc;

	if (fd < 0)
		return -errno;
	/* Bound to an address, it is of that family anyway. */
	if (family == AF_INET6 &&
	    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6only, sizeof(v6only))) {
		rc = -errno;
		close(fd);
		return rc;
	}
	return fd;
}

static int
socket_open(struct udp_queue *q, const union udp_addr *a, bool first, bool many)
{
	int rc;

	q->fd = udp_socket(a->sa.sa_family);
	if (q->fd < 0)
		return q->fd;
	rc = set_options(q->fd, a->sa.sa_family);
	if (rc)
		return rc;
	set_buffer(q->fd, SO_RCVBUFFORCE, SO_RCVBUF);
	set_buffer(q->fd, SO_SNDBUFFORCE, SO_SNDBUF);
	return bind_socket(q->fd, a, first, many);
}

/*
 * A socket for another source port, which the kernel chooses. Nobody sends to it; what does come
 * all the same must not fill its buffer.
 */
static int
source_open(struct udp_tx *t, const union udp_addr *a)
{
	union udp_addr own = *a;
	int rc;

	t->fd = udp_socket(a->sa.sa_family);
	if (t->fd < 0)
		return t->fd;
	rc = set_options(t->fd, a->sa.sa_family);
	if (!rc)
		rc = ff_guard_drop_all(t->fd);
	if (rc)
		return rc;
	set_buffer(t->fd, SO_SNDBUFFORCE, SO_SNDBUF);
	if (own.sa.sa_family == AF_INET)
		own.in.sin_port = 0;
	else
		own.in6.sin6_port = 0;
	return bind_socket(t->fd, &own, true, false);
}

static int
sources_open(struct udp_queue *q, const union udp_addr *a)
{
	int rc = 0;

	q->tx[0].fd = q->fd;
	for (unsigned i = 1; !rc && i < UDP_SOURCES; i++)
		rc = source_open(&q->tx[i], a);
	return rc;
}

static void
queue_close(struct udp_queue *q)
{
	for (unsigned i = 1; i < UDP_SOURCES; i++)
		if (q->tx[i].fd >= 0)
			close(q->tx[i].fd);
	if (q->fd >= 0)
		close(q->fd);
	udp_rx_fini(&q->rx);
	free(q);
}

static int
queue_open(struct ff_port *p, unsigned index, const union udp_addr *a)
{
	struct udp_queue *q = aligned_alloc(64, (sizeof(*q) + 63) / 64 * 64);
	int rc;

	if (!q)
		return -ENOMEM;
	memset(q, 0, sizeof(*q));
	q->fd = -1;
	for (unsigned i = 0; i < UDP_SOURCES; i++)
		q->tx[i].fd = -1;
	q->base.ops = &ff_udp_port;
	q->family = a->sa.sa_family;
	q->port = q->family == AF_INET ? a->in.sin_port : a->in6.sin6_port;
	rc = udp_rx_init(&q->rx);
	if (!rc)
		rc = socket_open(q, a, index == 0, p->num_queues > 1);
	if (!rc)
		rc = sources_open(q, a);
	if (rc)
		queue_close(q);
	else
		p->queues[index] = &q->base;
	return rc;
}

static void
udp_close(struct ff_port *p)
{
	for (unsigned i = 0; i < p->num_queues; i++) {
		if (p->queues[i])
			queue_close(udp_queue_of(p->queues[i]));
		p->queues[i] = NULL;
	}
}

/* v4: sent over IPv4 alone. */
static uint16_t
inner_mtu(unsigned mtu, bool v4)
{
	unsigned headers = (v4 ? 20u : 40u) + 8u + FF_ENCAP_LEN;

	/* A packet of 65535 bytes is as long as IP has them, on lo as well. */
	if (mtu > 65535u)
		mtu = 65535u;
	return mtu > headers ? (uint16_t)(mtu - headers) : 0;
}

static int
udp_open(struct ff_port *p, const struct ff_port_conf *conf)
{
	static const uint8_t any[16];
	bool v4 = udp_is_v4_mapped(conf->address);
	unsigned mtu, scope;
	union udp_addr a;
	int rc;

	if (!conf->udp_port)
		return -EINVAL;
	rc = ff_underlay_find(conf->address, &mtu, &scope);
	if (rc)
		return rc;
	addr_set(&a, v4 ? AF_INET : AF_INET6, conf->address, htons(conf->udp_port), scope);
	rc = queue_open(p, 0, &a);
	if (rc == -EAFNOSUPPORT && !memcmp(conf->address, any, sizeof(any))) {
		/* A kernel without IPv6. */
		v4 = true;
		addr_set(&a, AF_INET, any, htons(conf->udp_port), 0);
		rc = queue_open(p, 0, &a);
	}
	for (unsigned i = 1; !rc && i < p->num_queues; i++)
		rc = queue_open(p, i, &a);
	if (rc)
		return rc;
	p->mtu = inner_mtu(mtu, v4);
	return 0;
}

static int
udp_fd(const struct ff_port_queue *q)
{
	return ((const struct udp_queue *)q)->fd;
}

const struct ff_port_ops ff_udp_port = {
	.kind = "udp",
	.open = udp_open,
	.close = udp_close,
	.tx = udp_tx,
	.rx = udp_rx,
	.fd = udp_fd,
	.src_port_mask = UDP_SOURCES - 1,
};
