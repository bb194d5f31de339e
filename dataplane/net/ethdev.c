/* SPDX-License-Identifier: MIT */
/*
 * The ethdev kind of port: any DPDK device, probed, configured and closed. Control thread.
 *
 * Queues: one pair for each worker, where the device has so many. With fewer to receive, the first
 * workers receive for all (the RoCE engine hands packets to the QP's own worker); with fewer to
 * send, workers share one and take turns by a lock, for as long as one burst takes.
 *
 * Next hops: af_packet and af_xdp are beside the kernel, whose routes and neighbours count: each
 * path brings its next_mac (ff_port_wants_mac()). To other devices, ff_port_conf.next_mac is the
 * way to all hosts: a router's, or that of the one peer; broadcast unless configured, which serves
 * point-to-point devices (memif, tap). Nobody answers ARP on them for us: the peer, or the router,
 * has to know our MAC.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <rte_dev.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>

#include "../core/log.h"
#include "ethdev_priv.h"
#include "guard.h"
#include "underlay.h"

#define DESCRIPTORS  512u
#define WORKER_MBUFS 512u /* being filled, handed out, and in the pool's cache */
#define POOL_CACHE   128u
#define MBUF_LEAST   2048u
#define XDP_FILL     2048u /* buffers that af_xdp gives to the kernel, for each queue */
#define RX_LEAST     1024u /* frames in the kernel's queue of a tap */

/* ---- the device ---- */

static int
device_probe(struct ethdev *d, const struct ff_port_conf *conf)
{
	char args[ETHDEV_ARGS_MAX], name[RTE_ETH_NAME_MAX_LEN];
	int rc = ethdev_args(d, conf, args);

	if (rc) {
		ff_err("net", "%s: interface \"%s\": %s", conf->devargs, d->iface, strerror(-rc));
		return rc;
	}
	rc = rte_dev_probe(args);
	/* A PCI device of EAL's allow list is there already. */
	if (rc && rc != -EEXIST) {
		ff_err("net", "%s: DPDK does not take it: %s", args, strerror(-rc));
		return rc;
	}
	snprintf(name, sizeof(name), "%.*s", (int)strcspn(args, ","), args);
	if (rte_eth_dev_get_port_by_name(name, &d->id)) {
		ff_err("net", "%s: no Ethernet device", name);
		return -ENODEV;
	}
	d->probed = true;
	return 0;
}

static bool
is_beside(const struct rte_eth_dev_info *info)
{
	return !strcmp(info->driver_name, "net_af_packet") ||
	       !strcmp(info->driver_name, "net_af_xdp");
}

/* Of the inner packet. */
static uint16_t
inner_mtu(const struct frame_conf *f, unsigned mtu)
{
	unsigned head = f->encap == FF_ENCAP_NONE ? 0
			: f->has6		  ? FRAME_IP6 + FRAME_UDP + FF_ENCAP_LEN
						  : FRAME_IP4 + FRAME_UDP + FF_ENCAP_LEN;

	if (mtu > UINT16_MAX)
		mtu = UINT16_MAX;
	return mtu > head ? (uint16_t)(mtu - head) : 0;
}

/* Who we are on it, and what fits. */
static int
device_learn(struct ff_port *p, const struct ff_port_conf *conf,
	     const struct rte_eth_dev_info *info)
{
	struct ethdev *d = p->priv;
	struct ff_underlay u = {0};
	struct rte_ether_addr mac;
	uint16_t mtu = RTE_ETHER_MTU;
	int rc = rte_eth_macaddr_get(d->id, &mac);

	if (rc)
		return rc;
	d->beside = is_beside(info);
	d->packet = !strcmp(info->driver_name, "net_af_packet");
	/* Bare packets have their headers in front of them; others, in an mbuf of its own. */
	d->lend = d->packet && (conf->encap == FF_ENCAP_NONE ||
				info->tx_offload_capa & RTE_ETH_TX_OFFLOAD_MULTI_SEGS);
	p->wants_mac = d->beside;
	p->ifindex = d->beside ? if_nametoindex(d->iface) : 0;
	if (d->beside)
		ff_underlay_own(d->iface, &u);
	else if (!rte_eth_dev_get_mtu(d->id, &mtu))
		u.mtu = mtu;
	ethdev_frame_conf(conf, &u, mac.addr_bytes, &d->frame);
	p->mtu = inner_mtu(&d->frame, u.mtu);
	d->frame_max = u.mtu + RTE_ETHER_HDR_LEN;
	if (conf->encap == FF_ENCAP_NONE || d->frame.has4 || d->frame.has6)
		return 0;
	ff_err("net", "%s: it has no address for VXLAN: wire.address", conf->devargs);
	return -EADDRNOTAVAIL;
}

static int
queues_count(struct ethdev *d, const struct ff_port_conf *conf, const struct rte_eth_dev_info *info)
{
	d->num_rx = RTE_MIN(info->max_rx_queues, conf->num_queues);
	d->num_tx = RTE_MIN(info->max_tx_queues, conf->num_queues);
	if (!d->num_rx || !d->num_tx)
		return -ENODEV;
	/* The kernel spreads packets over all of its sockets: nobody would look at the others. */
	if (d->packet && info->max_rx_queues > d->num_rx) {
		ff_err("net", "%s: more queue pairs than workers (%u)", conf->devargs,
		       conf->num_queues);
		return -EINVAL;
	}
	for (unsigned i = 0; i < d->num_tx; i++) {
		rte_spinlock_init(&d->tx[i].lock);
		d->tx[i].shared = conf->num_queues > d->num_tx;
	}
	return 0;
}

/* ---- its queues ---- */

static int
pool_result(const struct ethdev *d, unsigned num)
{
	if (d->pool)
		return 0;
	ff_err("net", "no memory for %u buffers: memory.megabytes", num);
	return -rte_errno;
}

static int
pool_make(struct ethdev *d, const struct rte_eth_dev_info *info, unsigned workers)
{
	unsigned num = workers * WORKER_MBUFS;
	char name[RTE_MEMPOOL_NAMESIZE];

	snprintf(name, sizeof(name), "ff_ethdev%u", d->id);
	if (!strcmp(info->driver_name, "net_af_xdp")) {
		num += d->num_rx * (XDP_FILL + 2 * DESCRIPTORS);
		d->pool = ethdev_xdp_pool(name, num, POOL_CACHE);
		return pool_result(d, num);
	}
	d->mbuf_bytes = RTE_MAX(d->frame_max, MBUF_LEAST);
	/* af_packet has rings of its own, whose slots must fit. */
	if (!d->packet)
		num += (d->num_rx + d->num_tx) * 2 * DESCRIPTORS;
	else if (d->mbuf_bytes < d->slot)
		d->mbuf_bytes = d->slot;
	if (d->mbuf_bytes > UINT16_MAX - RTE_PKTMBUF_HEADROOM) {
		ff_err("net", "frames of %u bytes are more than a buffer takes", d->mbuf_bytes);
		return -EMSGSIZE;
	}
	d->pool = rte_pktmbuf_pool_create(name, num, POOL_CACHE, 0,
					  (uint16_t)(RTE_PKTMBUF_HEADROOM + d->mbuf_bytes),
					  SOCKET_ID_ANY);
	return pool_result(d, num);
}

/* With interrupts for each receive queue, if the device knows them: *intr. */
static int
device_configure(struct ethdev *d, const struct rte_eth_dev_info *info, bool *intr)
{
	struct rte_eth_conf c = {0};
	int rc;

	if (d->num_rx > 1 && info->flow_type_rss_offloads & RTE_ETH_RSS_NONFRAG_IPV4_UDP) {
		c.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
		c.rx_adv_conf.rss_conf.rss_hf =
			info->flow_type_rss_offloads & (RTE_ETH_RSS_IP | RTE_ETH_RSS_UDP);
	}
	if (d->lend)
		c.txmode.offloads = info->tx_offload_capa & RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
	c.intr_conf.rxq = !d->beside;
	*intr = c.intr_conf.rxq;
	rc = rte_eth_dev_configure(d->id, d->num_rx, d->num_tx, &c);
	if (rc && *intr) {
		*intr = false;
		c.intr_conf.rxq = 0;
		rc = rte_eth_dev_configure(d->id, d->num_rx, d->num_tx, &c);
	}
	return rc;
}

/* Where the driver's own error says little. */
static const char *
start_hint(const struct ethdev *d, const struct rte_eth_dev_info *info)
{
	if (d->xdp.object >= 0)
		return " (it needs CAP_NET_ADMIN, CAP_BPF, locked memory)";
	if (!strcmp(info->driver_name, "net_memif"))
		return " (a client needs its server's socket)";
	return "";
}

static int
device_start(struct ethdev *d, const struct rte_eth_dev_info *info)
{
	uint16_t rxd = DESCRIPTORS, txd = DESCRIPTORS, i;
	int rc = rte_eth_dev_adjust_nb_rx_tx_desc(d->id, &rxd, &txd);

	if (d->rx_frames < rxd)
		d->rx_frames = rxd;
	if (d->rx_frames < RX_LEAST)
		d->rx_frames = RX_LEAST;
	for (i = 0; i < d->num_rx && !rc; i++)
		rc = rte_eth_rx_queue_setup(d->id, i, rxd, SOCKET_ID_ANY, NULL, d->pool);
	for (i = 0; i < d->num_tx && !rc; i++)
		rc = rte_eth_tx_queue_setup(d->id, i, txd, SOCKET_ID_ANY, NULL);
	if (!rc)
		rc = rte_eth_dev_start(d->id);
	d->started = !rc;
	if (rc)
		ff_err("net", "%s: it does not start%s: %s", info->driver_name, start_hint(d, info),
		       strerror(-rc));
	return rc;
}

static int
queue_make(struct ff_port *p, uint16_t index, bool intr, const struct ethdev_sockets *sockets)
{
	struct ethdev *d = p->priv;
	struct ethdev_queue *q = aligned_alloc(64, (sizeof(*q) + 63) / 64 * 64);

	if (!q)
		return -ENOMEM;
	memset(q, 0, sizeof(*q));
	p->queues[index] = &q->base;
	q->base.ops = &ff_ethdev_port;
	q->d = d;
	q->index = index;
	q->txq = index % d->num_tx;
	q->has_rx = index < d->num_rx;
	ethdev_io_begin(q);
	q->fd = q->has_rx ? FF_PORT_POLLED : FF_PORT_NO_RX;
	if (!q->has_rx)
		return 0;
	if (sockets->num == d->num_rx) {
		q->fd = sockets->fd[index];
		ethdev_socket_filter(q->fd, &d->frame);
	} else if (intr && !rte_eth_dev_rx_intr_enable(d->id, index)) {
		q->fd = rte_eth_dev_rx_intr_ctl_q_get_fd(d->id, index);
		q->intr = q->fd >= 0;
		if (!q->intr)
			q->fd = FF_PORT_POLLED;
	}
	return 0;
}

/* ---- the port ---- */

static void
ethdev_close(struct ff_port *p)
{
	struct ethdev *d = p->priv;
	struct rte_eth_dev_info info;

	if (!d)
		return;
	for (unsigned i = 0; i < p->num_queues; i++) {
		if (p->queues[i])
			ethdev_io_end(ethdev_queue_of(p->queues[i]));
		free(p->queues[i]);
		p->queues[i] = NULL;
	}
	if (d->started)
		rte_eth_dev_stop(d->id);
	ethdev_tcx_close(d);
	ethdev_xdp_release(d);
	if (d->probed && !rte_eth_dev_info_get(d->id, &info)) {
		rte_eth_dev_close(d->id);
		rte_dev_remove(info.device);
	}
	rte_mempool_free(d->pool);
	if (d->guard >= 0)
		close(d->guard);
	free(d);
	p->priv = NULL;
}

static int
queues_open(struct ff_port *p, const struct ff_port_conf *conf, struct ethdev_sockets *before)
{
	struct ethdev *d = p->priv;
	struct rte_eth_dev_info info;
	struct ethdev_sockets sockets;
	bool intr;
	int rc = rte_eth_dev_info_get(d->id, &info);

	if (!rc)
		rc = device_learn(p, conf, &info);
	if (!rc)
		rc = queues_count(d, conf, &info);
	if (!rc)
		rc = pool_make(d, &info, conf->num_queues);
	if (!rc)
		rc = device_configure(d, &info, &intr);
	if (!rc)
		rc = device_start(d, &info);
	if (!rc)
		rc = ethdev_xdp_hold(d);
	if (rc)
		return rc;
	ethdev_sockets_find(&sockets);
	ethdev_sockets_new(&sockets, before);
	for (uint16_t i = 0; !rc && i < p->num_queues; i++)
		rc = queue_make(p, i, intr, &sockets);
	return rc;
}

static int
ethdev_open(struct ff_port *p, const struct ff_port_conf *conf)
{
	static const uint8_t none[6];
	struct ethdev_sockets before;
	struct ethdev *d;
	int rc;

	if (!conf->devargs || conf->num_queues > FF_WORKERS_MAX ||
	    (conf->encap == FF_ENCAP_VXLAN && !conf->udp_port))
		return -EINVAL;
	d = calloc(1, sizeof(*d));
	if (!d)
		return -ENOMEM;
	p->priv = d;
	d->guard = -1;
	d->xdp.object = d->xdp.link = -1;
	d->tcx.link = d->tcx.map = -1;
	d->vni = conf->vni;
	if (memcmp(conf->next_mac, none, 6))
		memcpy(d->next_mac, conf->next_mac, 6);
	else
		memset(d->next_mac, 0xff, 6);
	ethdev_sockets_find(&before);
	rc = device_probe(d, conf);
	if (!rc)
		rc = queues_open(p, conf, &before);
	if (!rc && d->beside && conf->encap == FF_ENCAP_VXLAN) {
		d->guard = ff_guard_open(-1, conf->udp_port);
		rc = d->guard < 0 ? d->guard : 0;
	}
	if (!rc && d->packet)
		ethdev_tcx_open(d);
	return rc;
}

static int
ethdev_fd(const struct ff_port_queue *q)
{
	return ((const struct ethdev_queue *)q)->fd;
}

/* What the device, or the kernel in front of it, had no room for: with the first queue's. */
static void
ethdev_more_counters(const struct ff_port_queue *base, uint64_t out[FF_PC_MAX])
{
	const struct ethdev_queue *q = (const struct ethdev_queue *)base;
	struct rte_eth_stats s;

	if (!q->index && !rte_eth_stats_get(q->d->id, &s))
		out[FF_PC_RX_DROPPED] += s.imissed + s.rx_nombuf;
}

const struct ff_port_ops ff_ethdev_port = {
	.kind = "ethdev",
	.open = ethdev_open,
	.close = ethdev_close,
	.tx = ethdev_tx,
	.rx = ethdev_rx,
	.fd = ethdev_fd,
	.arm = ethdev_arm,
	.disarm = ethdev_disarm,
	.address = ethdev_address,
	.src_port_mask = UINT16_MAX,
	.more_counters = ethdev_more_counters,
};
