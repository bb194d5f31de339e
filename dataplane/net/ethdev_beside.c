/* SPDX-License-Identifier: MIT */
/*
 * The ethdev kind of port beside the kernel: what af_packet is told about the interface, and the
 * sockets of such drivers. Control thread.
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

static const char *
arg_find(const char *devargs, const char *key)
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
	return 0;
}

int
ethdev_args(struct ethdev *d, const struct ff_port_conf *conf, char out[ETHDEV_ARGS_MAX])
{
	const char *name = arg_find(conf->devargs, "iface");
	const char *slot = arg_find(conf->devargs, "framesz");
	bool packet = !strncmp(conf->devargs, "net_af_packet", 13);
	char ring[96] = "", pairs[24] = "";
	int len, rc = 0;

	if (name)
		snprintf(d->iface, IF_NAMESIZE, "%.*s", (int)strcspn(name, ","), name);
	if (slot)
		d->slot = (uint32_t)atoi(slot);
	if (packet && !slot && !arg_find(conf->devargs, "blocksz") &&
	    !arg_find(conf->devargs, "framecnt"))
		rc = ring_args(d, ring, sizeof(ring));
	if (packet && !arg_find(conf->devargs, "qpairs"))
		snprintf(pairs, sizeof(pairs), ",qpairs=%u", conf->num_queues);
	len = snprintf(out, ETHDEV_ARGS_MAX, "%s%s%s", conf->devargs, pairs, ring);
	return rc ? rc : len < (int)ETHDEV_ARGS_MAX ? 0 : -E2BIG;
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
