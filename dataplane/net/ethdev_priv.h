/* SPDX-License-Identifier: MIT */
/* Inside of the ethdev kind of port: a DPDK device, its queues, what the kernel has beside it. */
#ifndef FF_NET_ETHDEV_PRIV_H
#define FF_NET_ETHDEV_PRIV_H

#include <net/if.h>
#include <rte_mbuf_core.h>
#include <rte_spinlock.h>

#include "../core/worker.h"
#include "frame.h"
#include "net_priv.h"

struct ff_underlay;
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
	bool packet; /* it is af_packet */
	/* Its driver has copied a packet when it has been called: mbufs need not have copies. */
	bool lend;
	char iface[IF_NAMESIZE];
	uint8_t next_mac[6]; /* for paths without one */
	uint32_t vni;	     /* encap none: what packets count as */
	uint16_t num_rx, num_tx;
	uint32_t frame_max;  /* to send: the link's MTU and the Ethernet header */
	uint32_t mbuf_bytes; /* what an mbuf holds */
	uint32_t slot;	     /* af_packet: bytes of a slot of its rings */
	uint32_t rx_frames;  /* a receive queue of the device holds no more */
	int guard;	     /* socket that has the UDP port in the kernel; -1 */
	struct ethdev_xdp {
		int object; /* file with our program, until the driver has loaded it; -1 */
		int link;   /* holds the program on the interface; -1 */
	} xdp;
	struct ethdev_tcx {
		int link; /* holds the program on the interface; -1: there is none */
		int map;  /* encap none: addresses of containers; -1 */
	} tcx;
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
	/* refcnt: one more than mbufs that have bytes of the caller's. */
	struct rte_mbuf_ext_shared_info lent;
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
/* Control thread: before all else; and at the end, gives back all mbufs. */
void ethdev_io_begin(struct ethdev_queue *q);
void ethdev_io_end(struct ethdev_queue *q);

/* ethdev_beside.c: what is on the kernel's side. Control thread. */

/*
 * conf->devargs as DPDK wants them, with what af_packet and af_xdp want to know for our MTU and
 * number of queues; sets d->iface, d->slot, d->rx_frames and d->xdp. 0 or -errno.
 */
int ethdev_args(struct ethdev *d, const struct ff_port_conf *conf, char out[ETHDEV_ARGS_MAX]);
/* The value of ",key=value", up to the next comma; or NULL. */
const char *ethdev_arg(const char *devargs, const char *key);
/* Who we are. */
void ethdev_frame_conf(const struct ff_port_conf *conf, const struct ff_underlay *u,
		       const uint8_t mac[6], struct frame_conf *f);
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

/* ethdev_xdp.c: af_xdp's program. Control thread. */

/* Makes the program, and what the driver is to know of it and of the queues. 0 or -errno. */
int ethdev_xdp_args(struct ethdev *d, const struct ff_port_conf *conf, char *out, size_t size);
/* From here on the program is on the interface for as long as this process lives. 0 or -errno. */
int ethdev_xdp_hold(struct ethdev *d);
/* Before the driver's device is closed. Nothing held is allowed. */
void ethdev_xdp_release(struct ethdev *d);
/* The driver's frames are a page each. NULL and rte_errno. */
struct rte_mempool *ethdev_xdp_pool(const char *name, unsigned num, unsigned cache);

/* ethdev_tcx.c: what af_packet need not share with the kernel's stack. Control thread. */

/* From here on, where that works; without, there is nothing missing but speed. */
void ethdev_tcx_open(struct ethdev *d);
void ethdev_tcx_close(struct ethdev *d);
/* The program, and its map, or -1 in *map: both are to be closed; or -errno. */
int ethdev_tcx_load(const struct frame_conf *c, int *map);
void ethdev_address(struct ff_port *p, const uint8_t address[16], bool here);

#endif
