/* SPDX-License-Identifier: MIT */
/* Sockets that keep the kernel quiet about UDP ports of ours. Any thread that may wait. */
#include "guard.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../core/netns.h"

struct guard {
	uint16_t port;
	int fd;
};

int
ff_guard_drop_all(int fd)
{
	struct sock_filter drop = BPF_STMT(BPF_RET | BPF_K, 0);
	struct sock_fprog program = {.len = 1, .filter = &drop};

	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) ? -errno : 0;
}

static int
guard_bind(int fd, int family, uint16_t port)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	int off = 0, rc;

	/* The filter first: nothing is ever queued. */
	rc = ff_guard_drop_all(fd);
	if (rc)
		return rc;
	if (family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)))
		return -errno;
	if (family == AF_INET6 ? bind(fd, (struct sockaddr *)&in6, sizeof(in6))
			       : bind(fd, (struct sockaddr *)&in, sizeof(in)))
		return -errno;
	return 0;
}

static int
guard_family(struct guard *g, int family)
{
	int rc;

	g->fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_UDP);
	if (g->fd < 0)
		return -errno;
	rc = guard_bind(g->fd, family, g->port);
	if (rc) {
		close(g->fd);
		g->fd = -1;
	}
	return rc;
}

static int
guard_make(void *arg)
{
	int rc = guard_family(arg, AF_INET6);

	/* A kernel, or a namespace, without IPv6. */
	return rc == -EAFNOSUPPORT || rc == -EADDRNOTAVAIL ? guard_family(arg, AF_INET) : rc;
}

int
ff_guard_open(int netns_fd, uint16_t udp_port)
{
	struct guard g = {.port = udp_port, .fd = -1};
	int rc = ff_netns_run(netns_fd, guard_make, &g);

	return rc ? rc : g.fd;
}
