/* SPDX-License-Identifier: MIT */
/* Inside of the ethdev kind of port: a DPDK device, its queues, what the kernel has beside it. */
#ifndef FF_NET_ETHDEV_PRIV_H
#define FF_NET_ETHDEV_PRIV_H

#include <net/if.h>
#include <rte_spinlock.h>

#include "../core/worker.h"
#include "frame.h"
#include "net_priv.h"

struct rte_device;
struct rte_mbuf;
struct rte_mempool;

#define ETHDEV_ARGS_MAX 512u

/* A transmit queue of the device; workers that share it take turns. */
struct ethdev_txq {
	rte_spinlock_t lock;
	bool shared;
};

/* Constant once the port is open, but for the locks. */
struct ethdev {
	uint16_t id; /* the device's port in DPDK */
	bool probed, started;
	/*
	 * af_packet, af_xdp: an interface of the kernel's, which goes on using it. Else the device
	 * is ours alone: a NIC given whole, memif, or tap, whose interface is the other end.
	 */
	bool beside;
	char iface[IF_NAMESIZE];
	uint8_t next_mac[6]; /* for paths without one */
	uint32_t vni;	     /* encap none: what packets count as */
	uint16_t num_rx, num_tx;
	uint32_t frame_max;  /* to send: the link's MTU and the Ethernet header */
	uint32_t mbuf_bytes; /* what an mbuf holds */
	uint32_t slot;	     /* af_packet: bytes of a slot of its rings */
	int guard;	     /* socket that has the UDP port in the kernel; -1 */
	struct frame_conf frame;
	struct rte_mempool *pool;
	struct ethdev_txq tx[FF_WORKERS_MAX];
};

struct ethdev_queue {
	struct ff_port_queue base;
	struct ethdev *d;
	uint16_t index, txq;
	bool has_rx;
	bool intr; /* of the device, to be armed */
	int fd;
	/* Frames received, not looked at yet; and those that ff_port_rx() has handed out. */
	unsigned in_num, in_next, num_held;
	bool more; /* it stopped before the device had no more */
	struct rte_mbuf *in[FF_PORT_BURST], *held[FF_PORT_BURST];
	/* Of one ff_port_tx(). */
	unsigned out_num, lost, last_lost;
	bool full; /* the device is: what is left is lost */
	struct rte_mbuf *out[FF_PORT_BURST];
	unsigned out_element[FF_PORT_BURST];
	uint16_t out_len[FF_PORT_BURST]; /* of the inner packets */
};

static inline struct ethdev_queue *
ethdev_queue_of(struct ff_port_queue *q)
{
	return (struct ethdev_queue *)q;
}

/* ethdev_io.c: the queue's worker. */
unsigned ethdev_tx(struct ff_port_queue *q, const struct ff_port_tx *tx, unsigned n);
unsigned ethdev_rx(struct ff_port_queue *q, struct ff_port_rx *rx, unsigned n);
bool ethdev_arm(struct ff_port_queue *q);
void ethdev_disarm(struct ff_port_queue *q);
/* Control thread: gives back all mbufs. */
void ethdev_io_end(struct ethdev_queue *q);

/* ethdev_beside.c: what is on the kernel's side. Control thread. */

/*
 * conf->devargs with what af_packet wants to know for our MTU and number of queues; sets d->iface
 * and d->slot. 0 or -errno.
 */
int ethdev_args(struct ethdev *d, const struct ff_port_conf *conf, char out[ETHDEV_ARGS_MAX]);
/*
 * The sockets of drivers that have some, af_packet and af_xdp: those that are there after the
 * device was made and were not before, in order of their fds, which is that of the queues.
 */
#define ETHDEV_SOCKETS_MAX (2u * FF_WORKERS_MAX)
struct ethdev_sockets {
	unsigned num;
	int fd[ETHDEV_SOCKETS_MAX];
};
void ethdev_sockets_find(struct ethdev_sockets *s);
void ethdev_sockets_new(struct ethdev_sockets *after, const struct ethdev_sockets *before);
/* Frames that are not for us do not even reach the driver, where the socket can be told so. */
void ethdev_socket_filter(int fd, const struct frame_conf *c);

#endif
