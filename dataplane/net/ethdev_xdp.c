/* SPDX-License-Identifier: MIT */
/*
 * The ethdev kind of port on net_af_xdp, which shares the interface with the kernel by an XDP
 * program of ours (xdp_prog.h). Control thread.
 *
 * The driver leaves the program on the interface by netlink: it would outlive us, and to take it
 * off needs a capability that is given up after the start. So a BPF link takes its place, which the
 * kernel removes with the process, however that ends.
 */
#include <errno.h>
#include <linux/ethtool.h>
#include <linux/if_link.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <rte_errno.h>
#include <rte_log.h>
#include <rte_mbuf.h>
#include <rte_mbuf_pool_ops.h>
#include <rte_mempool.h>

#include "../core/log.h"
#include "ethdev_priv.h"
#include "underlay.h"
#include "xdp_prog.h"

/* A frame of the driver's is a page: that, and what stands in front of a packet in it. */
#define FRAME_SIZE  4096u
#define OBJECT_HEAD RTE_ALIGN_CEIL(sizeof(struct rte_mempool_objhdr), RTE_MEMPOOL_ALIGN)
#define MBUF_ROOM   (FRAME_SIZE - OBJECT_HEAD - sizeof(struct rte_mbuf))
#define PACKET_MAX  (MBUF_ROOM - RTE_PKTMBUF_HEADROOM - XDP_PACKET_HEADROOM)
#define DRIVER_LOG  "pmd.net.af_xdp"

static int
bpf_log(enum libbpf_print_level level, const char *format, va_list args)
{
	char line[256];
	int len = vsnprintf(line, sizeof(line), format, args);

	while (len > 0 && len < (int)sizeof(line) && line[len - 1] == '\n')
		line[--len] = '\0';
	ff_log(level == LIBBPF_WARN ? FF_LOG_WARN : FF_LOG_DEBUG, "net", "%s", line);
	return 0;
}

/* Of receiving, as the driver counts them; 1 where the interface does not say. */
static unsigned
queues_of(const char *iface)
{
	struct ethtool_channels c = {.cmd = ETHTOOL_GCHANNELS};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq r = {.ifr_data = (void *)&c};

	if (fd < 0)
		return 1;
	snprintf(r.ifr_name, IFNAMSIZ, "%s", iface);
	if (ioctl(fd, SIOCETHTOOL, &r) || !c.max_combined)
		c.combined_count = 1;
	close(fd);
	return c.combined_count;
}

static int
socket_check(void)
{
	int fd = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0), rc = -errno;

	if (fd >= 0)
		close(fd);
	else if (rc == -EPERM)
		ff_err("net", "af_xdp: CAP_NET_RAW is missing");
	else
		ff_err("net", "af_xdp: the kernel has none (CONFIG_XDP_SOCKETS): %s",
		       strerror(-rc));
	return fd < 0 ? rc : 0;
}

static int
interface_check(const struct ethdev *d, const struct ff_port_conf *conf,
		const struct ff_underlay *u, unsigned queues)
{
	unsigned index = if_nametoindex(d->iface);
	uint32_t id = 0;

	if (!index)
		return -ENODEV;
	if (u->mtu + FF_ETHER_LEN > PACKET_MAX) {
		ff_err("net", "%s: MTU %u: af_xdp takes %zu at the most", d->iface, u->mtu,
		       (size_t)(PACKET_MAX - FF_ETHER_LEN));
		return -EMSGSIZE;
	}
	/* Packets in a queue that nobody looks at would be lost. */
	if (queues > conf->num_queues) {
		ff_err("net",
		       "%s: %u queues are more than workers: ethtool -L %s combined %u, or "
		       "workers.count",
		       d->iface, queues, d->iface, conf->num_queues);
		return -EINVAL;
	}
	if (!bpf_xdp_query_id((int)index, 0, &id) && id) {
		ff_err("net", "%s has an XDP program (%u) already: ip link set %s xdp off",
		       d->iface, id, d->iface);
		return -EBUSY;
	}
	return 0;
}

static int
object_make(struct ethdev *d, const struct ff_port_conf *conf, const struct ff_underlay *u)
{
	struct frame_prog prog;
	struct frame_conf f;
	int rc;

	ethdev_frame_conf(conf, u, u->mac, &f);
	rc = ff_xdp_prog(&f, &prog);
	if (rc)
		return rc;
	d->xdp.object = ff_xdp_object(&prog);
	return d->xdp.object < 0 ? d->xdp.object : 0;
}

int
ethdev_xdp_args(struct ethdev *d, const struct ff_port_conf *conf, char *out, size_t size)
{
	bool queues_told = ethdev_arg(conf->devargs, "queue_count") ||
			   ethdev_arg(conf->devargs, "start_queue");
	unsigned queues = queues_told ? 1 : queues_of(d->iface);
	struct ff_underlay u;
	int rc, len;

	/* Who brings a program of his own looks after all of it. */
	if (ethdev_arg(conf->devargs, "xdp_prog"))
		return 0;
	libbpf_set_print(bpf_log);
	ff_underlay_own(d->iface, &u);
	rc = socket_check();
	if (!rc)
		rc = interface_check(d, conf, &u, queues);
	if (!rc)
		rc = object_make(d, conf, &u);
	if (rc)
		return rc;
	len = snprintf(out, size, ",xdp_prog=/proc/self/fd/%d", d->xdp.object);
	if (!queues_told)
		snprintf(out + len, size - (size_t)len, ",queue_count=%u", queues);
	return 0;
}

int
ethdev_xdp_hold(struct ethdev *d)
{
	int index = (int)if_nametoindex(d->iface), fd, rc;
	uint32_t id = 0;

	if (d->xdp.object < 0)
		return 0;
	close(d->xdp.object);
	d->xdp.object = -1;
	rc = bpf_xdp_query_id(index, 0, &id);
	if (rc)
		return rc;
	fd = bpf_prog_get_fd_by_id(id);
	if (fd < 0)
		return fd;
	rc = bpf_xdp_detach(index, 0, NULL);
	if (!rc) {
		d->xdp.link = bpf_link_create(fd, index, BPF_XDP, NULL);
		rc = d->xdp.link < 0 ? d->xdp.link : 0;
	}
	close(fd);
	if (rc)
		ff_err("net", "%s: no BPF link for the XDP program: %s", d->iface, strerror(-rc));
	return rc;
}

void
ethdev_xdp_release(struct ethdev *d)
{
	if (d->xdp.object >= 0)
		close(d->xdp.object);
	if (d->xdp.link < 0)
		return;
	close(d->xdp.link);
	/* The driver finds nothing to take off; without capabilities, it calls that an error. */
	rte_log_set_level_pattern(DRIVER_LOG, RTE_LOG_EMERG);
}

struct rte_mempool *
ethdev_xdp_pool(const char *name, unsigned num, unsigned cache)
{
	struct rte_pktmbuf_pool_private priv = {.mbuf_data_room_size = MBUF_ROOM};
	struct rte_mempool *p;
	int rc;

	/* Without the spread over memory channels, which would make the objects longer. */
	p = rte_mempool_create_empty(name, num, sizeof(struct rte_mbuf) + MBUF_ROOM, cache,
				     sizeof(priv), SOCKET_ID_ANY, RTE_MEMPOOL_F_NO_SPREAD);
	if (!p)
		return NULL;
	rc = rte_mempool_set_ops_byname(p, rte_mbuf_best_mempool_ops(), NULL);
	rte_pktmbuf_pool_init(p, &priv);
	if (!rc)
		rc = rte_mempool_populate_default(p);
	/* The driver takes it for one piece of memory, without gaps: pages, here, leave none. */
	if (rc < 0 || p->nb_mem_chunks != 1) {
		rte_mempool_free(p);
		rte_errno = rc < 0 ? -rc : ENOMEM;
		return NULL;
	}
	rte_mempool_obj_iter(p, rte_pktmbuf_init, NULL);
	return p;
}
