/* SPDX-License-Identifier: MIT */
/* Inside of the udp kind of port: a queue's sockets, what is sent and received in one call. */
#ifndef FF_NET_UDP_PRIV_H
#define FF_NET_UDP_PRIV_H

#include <netinet/in.h>
#include <stddef.h>
#include <sys/socket.h>

#include "net_priv.h"
#include "vxlan.h"

/* What UDP carries over IPv4, in 65535 bytes; over IPv6 it would be 20 more. */
#define UDP_PAYLOAD_MAX (65535u - 20u - 8u)

union udp_addr {
	struct sockaddr sa;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
};

/* ---- sending: messages that wait for one sendmmsg() ---- */

#define UDP_TX_MSGS FF_PORT_BURST
#define UDP_TX_SEGS 64u /* UDP_MAX_SEGMENTS before Linux 6.9 */
#define UDP_SOURCES 4u	/* outer source ports; a power of two */

/* TOS first: without the second one, it is the message of a single packet. */
#define UDP_TX_CTL_TOS CMSG_SPACE(sizeof(int))
#define UDP_TX_CTL_ALL (UDP_TX_CTL_TOS + CMSG_SPACE(sizeof(uint16_t)))

struct udp_tx_msg {
	union udp_addr to;
	_Alignas(struct cmsghdr) uint8_t ctl[UDP_TX_CTL_ALL];
	unsigned element; /* of ff_port_tx's array */
	unsigned packets;
	uint32_t stride; /* from one packet to the next */
	struct iovec iov;
};

struct udp_tx {
	int fd; /* the first one sends by the socket that receives */
	unsigned num_msgs;
	bool full;	    /* the socket's buffer is: what is left of this ff_port_tx() is lost */
	unsigned lost;	    /* elements of this ff_port_tx() that did not leave whole */
	unsigned last_lost; /* the newest of them; elements come in order */
	/* Elements to come that go packet by packet, because UDP_SEGMENT was refused. */
	unsigned one_by_one;
	struct mmsghdr mm[UDP_TX_MSGS];
	struct udp_tx_msg msg[UDP_TX_MSGS];
};

/* ---- receiving: what one recvmmsg() brought, until all of it is handed out ---- */

#define UDP_RX_MSGS   32u
/* Each begins in other cache sets than the one before it. */
#define UDP_RX_STRIDE (65536u + 17u * 64u)
#define UDP_RX_CTL    (4u * CMSG_SPACE(sizeof(int)))

struct udp_rx_msg {
	union udp_addr from;
	_Alignas(struct cmsghdr) uint8_t ctl[UDP_RX_CTL];
};

struct udp_rx {
	unsigned num, cur; /* messages; the next one to hand out */
	uint32_t off;	   /* inside it; 0: not looked at yet */
	/* Of the message that is being handed out. */
	uint32_t len, seg_len;
	uint8_t tos;
	uint8_t host[16];
	uint32_t overflows; /* the socket's own count of drops, when last seen */
	uint8_t *buffers;   /* UDP_RX_MSGS * UDP_RX_STRIDE, mapped */
	struct mmsghdr mm[UDP_RX_MSGS];
	struct iovec iov[UDP_RX_MSGS];
	struct udp_rx_msg msg[UDP_RX_MSGS];
};

struct udp_queue {
	struct ff_port_queue base;
	int fd;
	sa_family_t family; /* AF_INET6 may reach IPv4 as well */
	uint16_t port;	    /* network order */
	struct udp_tx tx[UDP_SOURCES];
	struct udp_rx rx;
};

static inline struct udp_queue *
udp_queue_of(struct ff_port_queue *q)
{
	return (struct udp_queue *)((char *)q - offsetof(struct udp_queue, base));
}

static inline bool
udp_is_v4_mapped(const uint8_t address[16])
{
	return IN6_IS_ADDR_V4MAPPED((const struct in6_addr *)address);
}

/* udp_tx.c, udp_rx.c: the queue's worker. */
unsigned udp_tx(struct ff_port_queue *q, const struct ff_port_tx *tx, unsigned n);
unsigned udp_rx(struct ff_port_queue *q, struct ff_port_rx *rx, unsigned n);
/* Maps the buffers. 0 or -errno. */
int udp_rx_init(struct udp_rx *r);
void udp_rx_fini(struct udp_rx *r);

/*
 * underlay.c, control thread. mtu: of the interface that owns address; or, if none does, the
 * smallest of all that are up, loopback only where there is no other. scope: index of the owner,
 * 0 without one. 0 or -errno.
 */
int ff_underlay_find(const uint8_t address[16], unsigned *mtu, unsigned *scope);

#endif
