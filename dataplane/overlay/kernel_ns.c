/* SPDX-License-Identifier: MIT */
/*
 * Sockets in a network namespace: netlink questions, notifications, and the datagrams that make the
 * kernel look for a neighbour. Control thread.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../core/netns.h"
#include "kernel_priv.h"

#define DISCARD_PORT 9
#define GROUP(g)     (1u << (RTNLGRP_##g - 1))
#define GROUPS                                                                                   \
	(GROUP(LINK) | GROUP(NEIGH) | GROUP(IPV4_ROUTE) | GROUP(IPV6_ROUTE) | GROUP(IPV4_RULE) | \
	 GROUP(IPV6_RULE) | GROUP(NEXTHOP))

static int
sockets_open(void *arg)
{
	static const int family[2] = {AF_INET, AF_INET6}, least = 0;
	struct netspace *ns = arg;

	ns->query_fd = ff_netlink_open(0, true);
	if (ns->query_fd < 0)
		return ns->query_fd;
	ns->notify_fd = ff_netlink_open(GROUPS, true);
	if (ns->notify_fd < 0)
		return ns->notify_fd;
	for (unsigned i = 0; i < 2; i++) {
		ns->probe_fd[i] = socket(family[i], SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		/* What a container sends back is never read: as little as the kernel allows. */
		if (ns->probe_fd[i] >= 0)
			setsockopt(ns->probe_fd[i], SOL_SOCKET, SO_RCVBUF, &least, sizeof(least));
	}
	return 0;
}

int
netspace_identity(int fd, dev_t *dev, ino_t *ino)
{
	struct stat st;

	if (fd < 0 ? stat("/proc/thread-self/ns/net", &st) : fstat(fd, &st))
		return -errno;
	*dev = st.st_dev;
	*ino = st.st_ino;
	return 0;
}

int
netspace_open(struct netspace *ns, int fd)
{
	int rc;

	ns->ns_fd = ns->query_fd = ns->notify_fd = ns->probe_fd[0] = ns->probe_fd[1] = -1;
	rc = netspace_identity(fd, &ns->dev, &ns->ino);
	if (rc)
		return rc;
	if (fd >= 0) {
		ns->ns_fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
		if (ns->ns_fd < 0)
			return -errno;
	}
	rc = ff_netns_run(ns->ns_fd, sockets_open, ns);
	if (rc)
		netspace_close(ns);
	return rc;
}

void
netspace_close(struct netspace *ns)
{
	int *const fds[] = {&ns->ns_fd, &ns->query_fd, &ns->notify_fd, &ns->probe_fd[0],
			    &ns->probe_fd[1]};

	for (unsigned i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
		if (*fds[i] >= 0)
			close(*fds[i]);
		*fds[i] = -1;
	}
}

/* By that interface, whatever the routes say: the neighbour is one of it. */
static void
probe_interface(struct msghdr *msg, bool v4, unsigned ifindex)
{
	struct in_pktinfo info4 = {.ipi_ifindex = (int)ifindex};
	struct in6_pktinfo info6 = {.ipi6_ifindex = ifindex};
	size_t len = v4 ? sizeof(info4) : sizeof(info6);
	struct cmsghdr *c = CMSG_FIRSTHDR(msg);

	c->cmsg_level = v4 ? IPPROTO_IP : IPPROTO_IPV6;
	c->cmsg_type = v4 ? IP_PKTINFO : IPV6_PKTINFO;
	c->cmsg_len = CMSG_LEN(len);
	memcpy(CMSG_DATA(c), v4 ? (void *)&info4 : (void *)&info6, len);
	msg->msg_controllen = CMSG_SPACE(len);
}

void
netspace_probe(struct netspace *ns, const uint8_t addr[16], unsigned ifindex)
{
	struct sockaddr_in to4 = {.sin_family = AF_INET, .sin_port = htons(DISCARD_PORT)};
	struct sockaddr_in6 to6 = {.sin6_family = AF_INET6, .sin6_port = htons(DISCARD_PORT)};
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(sizeof(struct in6_pktinfo))];
	} control = {0};
	char byte = 0;
	struct iovec iov = {&byte, 1};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control.buf,
			     .msg_controllen = sizeof(control.buf)};
	bool v4;

	memcpy(&to6.sin6_addr, addr, 16);
	memcpy(&to4.sin_addr, addr + 12, 4);
	v4 = IN6_IS_ADDR_V4MAPPED(&to6.sin6_addr);
	msg.msg_name = v4 ? (void *)&to4 : (void *)&to6;
	msg.msg_namelen = v4 ? sizeof(to4) : sizeof(to6);
	probe_interface(&msg, v4, ifindex);
	if (sendmsg(ns->probe_fd[v4 ? 0 : 1], &msg, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return; /* no route, no socket: then there is no neighbour either */
}
