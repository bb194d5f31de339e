/* SPDX-License-Identifier: MIT */
/*
 * Whose connection a socket is: the kernel tells it of the file itself, so a shim that has one
 * proves what it says by passing it. The reader; it may block here: whoever has the socket can hold
 * its lock as long as it likes, from a sendmsg() whose buffer never comes.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#include "tcp_priv.h"

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71 /* Linux 5.14, asm-generic/socket.h */
#endif

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

static uint64_t
cookie(int fd, int name)
{
	uint64_t value = 0;
	socklen_t len = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, name, &value, &len) || len != sizeof(value) ? 0 : value;
}

/* A protocol on top of TCP (kTLS, MPTCP as seen from below, SMC): its bytes are not the stream's.
 */
static bool
has_ulp(int fd)
{
	char name[16] = "";
	socklen_t len = sizeof(name);

	return !getsockopt(fd, IPPROTO_TCP, TCP_ULP, name, &len) && len && name[0];
}

/* Two connections of the same addresses can be there if each is bound to an interface. */
static bool
is_bound_to_interface(int fd)
{
	char name[16] = "";
	socklen_t len = sizeof(name);

	return getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, &len) || len;
}

static bool
is_plain_tcp(int fd)
{
	int domain = option(fd, SO_DOMAIN);

	return (domain == AF_INET || domain == AF_INET6) && option(fd, SO_TYPE) == SOCK_STREAM &&
	       option(fd, SO_PROTOCOL) == IPPROTO_TCP && !has_ulp(fd) && !is_bound_to_interface(fd);
}

static int
tuple_get(int fd, struct tcp_tuple *t)
{
	struct tcp_info info;
	socklen_t len = sizeof(info);
	int rc;

	memset(&info, 0, sizeof(info));
	memset(t, 0, sizeof(*t));
	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len))
		return -errno;
	if (info.tcpi_state != TCP_ESTABLISHED)
		return -ENOTCONN;
	rc = name_get(fd, getsockname, t->local, &t->local_port);
	return rc ? rc : name_get(fd, getpeername, t->remote, &t->remote_port);
}

void
tcp_socket_look(int fd, struct tcp_look *out)
{
	struct tcp_tuple again;

	memset(out, 0, sizeof(*out));
	out->rc = is_plain_tcp(fd) ? tuple_get(fd, &out->tuple) : -EPROTOTYPE;
	if (out->rc)
		return;
	out->cookie = cookie(fd, SO_COOKIE);
	out->netns_cookie = cookie(fd, SO_NETNS_COOKIE);
	/* It can be disconnected and connected elsewhere between two calls. */
	out->rc = tuple_get(fd, &again);
	if (!out->rc && memcmp(&out->tuple, &again, sizeof(again)))
		out->rc = -ENOTCONN;
}
