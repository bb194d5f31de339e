/* SPDX-License-Identifier: MIT */
/*
 * The ethdev kind of port: what the device is told beyond the configuration; and the sockets of
 * drivers that are beside the kernel. Control thread.
 *
 * The sockets wake a worker that sleeps, and take a filter; DPDK has no call for either. They are
 * found as the sockets of that family that this process has since the device was made. Where none
 * is found, the port works as well: it must be polled.
 */
#include <dirent.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <rte_bus_pci.h>

#include "ethdev_priv.h"
#include "underlay.h"

#ifndef AF_XDP
#define AF_XDP 44
#endif

/* struct tpacket2_hdr, struct sockaddr_ll and alignment, in front of each frame in the ring. */
#define RING_HEAD  128u
#define VLAN_LEN   4u
#define RING_BLOCK 65536u
#define RING_BYTES (4u << 20)
#define RING_LEAST 256u /* frames */

/* What the drivers take when they are not told. */
#define PACKET_FRAMES 512u
#define MEMIF_LOG2    10

const char *
ethdev_arg(const char *devargs, const char *key)
{
	char pattern[32];
	const char *at;

	snprintf(pattern, sizeof(pattern), ",%s=", key);
	at = strstr(devargs, pattern);
	return at ? at + strlen(pattern) : NULL;
}

/* Slots of a power of two, in blocks of several; never less than a millisecond of 10 Gb/s. */
static int
ring_args(struct ethdev *d, char *out, size_t size)
{
	unsigned block = RING_BLOCK, count;
	struct ff_underlay u;

	ff_underlay_own(d->iface, &u);
	if (!u.mtu)
		return -ENODEV;
	d->slot = 2048;
	while (d->slot < u.mtu + FF_ETHER_LEN + VLAN_LEN + RING_HEAD)
		d->slot *= 2;
	if (block < d->slot)
		block = d->slot;
	count = RING_BYTES / d->slot < RING_LEAST ? RING_LEAST : RING_BYTES / d->slot;
	snprintf(out, size, ",framesz=%u,blocksz=%u,framecnt=%u", d->slot, block, count);
	d->rx_frames = count;
	return 0;
}

static int
packet_args(struct ethdev *d, const struct ff_port_conf *conf, char *out, size_t size)
{
	const char *slot = ethdev_arg(conf->devargs, "framesz");
	const char *count = ethdev_arg(conf->devargs, "framecnt");
	int len = 0;

	*out = '\0';
	if (!ethdev_arg(conf->devargs, "qpairs"))
		len = snprintf(out, size, ",qpairs=%u", conf->num_queues);
	if (slot)
		d->slot = (uint32_t)atoi(slot);
	d->rx_frames = count ? (uint32_t)atoi(count) : PACKET_FRAMES;
	if (slot || count || ethdev_arg(conf->devargs, "blocksz"))
		return 0;
	return ring_args(d, out + len, size - (size_t)len);
}

/* DPDK knows PCI devices by their whole addresses only: 03:00.0 is 0000:03:00.0. */
static int
name_put(const char *devargs, char out[ETHDEV_ARGS_MAX])
{
	size_t len = strcspn(devargs, ",");
	struct rte_pci_addr pci;

	if (len >= ETHDEV_ARGS_MAX)
		return -E2BIG;
	snprintf(out, ETHDEV_ARGS_MAX, "%.*s", (int)len, devargs);
	if (!rte_pci_addr_parse(out, &pci))
		rte_pci_device_name(&pci, out, ETHDEV_ARGS_MAX);
	return 0;
}

int
ethdev_args(struct ethdev *d, const struct ff_port_conf *conf, char out[ETHDEV_ARGS_MAX])
{
	const char *name = ethdev_arg(conf->devargs, "iface");
	const char *size = ethdev_arg(conf->devargs, "rsize");
	char more[128] = "";
	size_t used, left;
	int rc;

	if (name)
		snprintf(d->iface, IF_NAMESIZE, "%.*s", (int)strcspn(name, ","), name);
	rc = name_put(conf->devargs, out);
	if (!rc && !strncmp(out, "net_af_packet", 13))
		rc = packet_args(d, conf, more, sizeof(more));
	else if (!rc && !strncmp(out, "net_af_xdp", 10))
		rc = ethdev_xdp_args(d, conf, more, sizeof(more));
	else if (!rc && !strncmp(out, "net_memif", 9))
		d->rx_frames = 1u << (size ? atoi(size) & 15 : MEMIF_LOG2);
	if (rc)
		return rc;
	used = strlen(out);
	left = ETHDEV_ARGS_MAX - used;
	rc = snprintf(out + used, left, "%s%s", conf->devargs + strcspn(conf->devargs, ","), more);
	return rc < (int)left ? 0 : -E2BIG;
}

/* Our addresses: those of the configuration, else of the interface. */
void
ethdev_frame_conf(const struct ff_port_conf *conf, const struct ff_underlay *u,
		  const uint8_t mac[6], struct frame_conf *f)
{
	static const uint8_t any[16], v4_prefix[12] = {[10] = 0xff, [11] = 0xff};

	*f = (struct frame_conf){.encap = conf->encap, .udp_port = conf->udp_port};
	memcpy(f->mac, mac, 6);
	f->has4 = u->has4;
	f->has6 = u->has6;
	memcpy(f->own4, u->own4, 4);
	memcpy(f->own6, u->own6, 16);
	if (!memcmp(conf->address, v4_prefix, sizeof(v4_prefix))) {
		f->has4 = true;
		f->has6 = false;
		memcpy(f->own4, conf->address + 12, 4);
	} else if (memcmp(conf->address, any, sizeof(any))) {
		f->has6 = true;
		f->has4 = false;
		memcpy(f->own6, conf->address, 16);
	}
}

/* ---- sockets ---- */

static bool
is_driver_socket(int fd)
{
	int domain = 0;
	socklen_t len = sizeof(domain);

	return !getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) &&
	       (domain == AF_PACKET || domain == AF_XDP);
}

static int
by_number(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

void
ethdev_sockets_find(struct ethdev_sockets *s)
{
	DIR *d = opendir("/proc/self/fd");
	struct dirent *e;

	s->num = 0;
	while (d && (e = readdir(d)) && s->num < ETHDEV_SOCKETS_MAX) {
		int fd = atoi(e->d_name); /* "." and "..": 0, which is none */

		if (is_driver_socket(fd))
			s->fd[s->num++] = fd;
	}
	if (d)
		closedir(d);
	qsort(s->fd, s->num, sizeof(s->fd[0]), by_number);
}

void
ethdev_sockets_new(struct ethdev_sockets *after, const struct ethdev_sockets *before)
{
	unsigned num = 0;

	for (unsigned i = 0; i < after->num; i++)
		if (!bsearch(&after->fd[i], before->fd, before->num, sizeof(int), by_number))
			after->fd[num++] = after->fd[i];
	after->num = num;
}

#define L3 FF_ETHER_LEN

void
ethdev_socket_filter(int fd, const struct frame_conf *c)
{
	const uint32_t port = c->encap == FF_ENCAP_NONE ? FRAME_ROCE_PORT : c->udp_port;
	/* To this host, UDP, our port; of a fragmented packet, the first one. The parser looks at
	 * all the rest. */
	struct sock_filter f[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)(SKF_AD_OFF + SKF_AD_PKTTYPE)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PACKET_OUTGOING, 14, 0),
		BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 12),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ETH_P_IPV6, 8, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ETH_P_IP, 0, 11),
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, L3 + 9),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, IPPROTO_UDP, 0, 9),
		BPF_STMT(BPF_LD | BPF_H | BPF_ABS, L3 + 6),
		BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 0x1fff, 7, 0),
		BPF_STMT(BPF_LDX | BPF_B | BPF_MSH, L3),
		BPF_STMT(BPF_LD | BPF_H | BPF_IND, L3 + 2),
		BPF_JUMP(BPF_JMP | BPF_JA, 3, 0, 0),
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, L3 + 6),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, IPPROTO_UDP, 0, 2),
		BPF_STMT(BPF_LD | BPF_H | BPF_ABS, L3 + FRAME_IP6 + 2),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, port, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, 0),
		BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
	};
	struct sock_fprog program = {.len = sizeof(f) / sizeof(f[0]), .filter = f};

	/* Without it, there are more frames to let go of; AF_XDP has none. */
	(void)setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program));
}
