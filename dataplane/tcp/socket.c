/* SPDX-License-Identifier: MIT */
/*
 * Whose connection a socket is: the kernel tells it of the file itself, so a shim that has one
 * proves what it says by passing it. Control thread.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#include "tcp_priv.h"

static const uint8_t v4_prefix[12] = {[10] = 0xff, [11] = 0xff};

typedef int (*name_fn)(int fd, struct sockaddr *sa, socklen_t *len);

static int
name_get(int fd, name_fn fn, uint8_t address[16], uint16_t *port)
{
	union {
		struct sockaddr sa;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
	} u;
	socklen_t len = sizeof(u);

	memset(&u, 0, sizeof(u));
	if (fn(fd, &u.sa, &len))
		return -errno;
	if (u.sa.sa_family == AF_INET) {
		memcpy(address, v4_prefix, sizeof(v4_prefix));
		memcpy(address + 12, &u.in.sin_addr, 4);
		*port = ntohs(u.in.sin_port);
		return 0;
	}
	if (u.sa.sa_family != AF_INET6)
		return -EPROTOTYPE;
	memcpy(address, &u.in6.sin6_addr, 16);
	*port = ntohs(u.in6.sin6_port);
	return 0;
}

static int
option(int fd, int name)
{
	int value = -1;
	socklen_t len = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, name, &value, &len) ? -1 : value;
}

int
tcp_socket_look(int fd, struct tcp_tuple *out)
{
	struct tcp_info info;
	socklen_t len = sizeof(info);
	int rc;

	if (option(fd, SO_TYPE) != SOCK_STREAM || option(fd, SO_PROTOCOL) != IPPROTO_TCP)
		return -EPROTOTYPE;
	memset(&info, 0, sizeof(info));
	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len))
		return -errno;
	if (info.tcpi_state != TCP_ESTABLISHED)
		return -ENOTCONN;
	rc = name_get(fd, getsockname, out->local, &out->local_port);
	return rc ? rc : name_get(fd, getpeername, out->remote, &out->remote_port);
}
