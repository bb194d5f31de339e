/* SPDX-License-Identifier: MIT */
/*
 * Connections on tcp.sock: one message for each turn of the loop. Peers are hostile: nothing here
 * waits for one, and what breaks the protocol is closed. Control thread.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../core/log.h"
#include "tcp.h"
#include "tcp_priv.h"

/* Connections of one container. */
#define CONNS_MAX 4096u

static TAILQ_HEAD(, tcp_conn) conns = TAILQ_HEAD_INITIALIZER(conns);

static void
conn_close(struct tcp_conn *cn)
{
	while (!TAILQ_EMPTY(&cn->streams))
		tcp_stream_forget(TAILQ_FIRST(&cn->streams));
	ff_loop_del(&cn->src);
	close(cn->fd);
	TAILQ_REMOVE(&conns, cn, link);
	free(cn);
}

static void
conn_violation(struct tcp_conn *cn, const char *text)
{
	ff_container_count(cn->container, FF_CC_COMMAND_ERRORS, 1);
	ff_debug("tcp", "container %s: connection closed: %s", cn->container->id, text);
	conn_close(cn);
}

bool
tcp_conn_send(struct tcp_conn *cn, uint32_t type, uint32_t stream, uint32_t value, const int *fds,
	      unsigned num_fds)
{
	struct ff_tcp_msg m = {.type = type, .stream = stream, .value = value};
	_Alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(FF_TCP_OFFER_FDS * sizeof(int))] = {0};
	struct iovec iov = {.iov_base = &m, .iov_len = sizeof(m)};
	struct msghdr h = {.msg_iov = &iov, .msg_iovlen = 1};
	struct cmsghdr *c = (struct cmsghdr *)control;

	if (num_fds) {
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(num_fds * sizeof(int));
		memcpy(CMSG_DATA(c), fds, num_fds * sizeof(int));
		h.msg_control = control;
		h.msg_controllen = CMSG_SPACE(num_fds * sizeof(int));
	}
	return sendmsg(cn->fd, &h, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)sizeof(m);
}

/*
 * The one descriptor that came with a message; -1: none. All of them are ours, and more than one
 * are closed: false.
 */
static bool
message_fd(struct msghdr *h, int *fd)
{
	struct cmsghdr *c;
	bool one = true;
	size_t num;
	int got;

	*fd = -1;
	for (c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		num = (c->cmsg_len - CMSG_LEN(0)) / sizeof(got);
		for (size_t i = 0; i < num; i++) {
			memcpy(&got, CMSG_DATA(c) + i * sizeof(got), sizeof(got));
			one = one && *fd < 0;
			if (*fd < 0)
				*fd = got;
			else
				close(got);
		}
	}
	return one;
}

/*
 * One message. Bytes, 0: it has closed, or -errno; *fd: the one that came along, or -1. More than
 * one are a violation: -EPROTO.
 */
static ssize_t
message_receive(int sock, struct ff_tcp_msg *m, int *fd)
{
	_Alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(sizeof(int))];
	struct iovec iov = {.iov_base = m, .iov_len = sizeof(*m)};
	/* Not CMSG_SPACE: two would fit into that. */
	struct msghdr h = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = control,
			   .msg_controllen = CMSG_LEN(sizeof(int))};
	ssize_t n = recvmsg(sock, &h, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	*fd = -1;
	if (n < 0)
		return -errno;
	if (!message_fd(&h, fd) || (h.msg_flags & (MSG_TRUNC | MSG_CTRUNC)))
		return -EPROTO;
	return n;
}

/* A statistic: nothing hangs on it that it be true. */
static void
way_count(struct tcp_conn *cn, uint32_t way)
{
	if (way == FF_TCP_WAY_PAIR)
		ff_container_count(cn->container, FF_CC_TCP_PAIRED, 1);
	else if (way == FF_TCP_WAY_FIFO)
		ff_container_count(cn->container, FF_CC_TCP_FIFO, 1);
}

/* False: it does not keep to the protocol. */
static bool
message_stream(struct tcp_conn *cn, const struct ff_tcp_msg *m, int fd)
{
	struct tcp_stream *s = tcp_stream_find(cn, m->stream);

	switch (m->type) {
	case FF_TCP_ASK:
		if (s || fd < 0)
			return false;
		tcp_stream_ask(cn, m->stream, fd);
		return true;
	case FF_TCP_FORGET: /* of one that was refused, too */
		if (s) {
			way_count(cn, m->value);
			tcp_stream_forget(s);
		}
		return true;
	case FF_TCP_POKE:
		if (s)
			tcp_stream_poke(s);
		return true;
	default:
		return false;
	}
}

static bool
message(struct tcp_conn *cn, const struct ff_tcp_msg *m, size_t len, int fd)
{
	if (len != sizeof(*m) || m->reserved || (fd >= 0 && m->type != FF_TCP_ASK))
		return false;
	if (cn->greeted)
		return message_stream(cn, m, fd);
	cn->greeted = m->type == FF_TCP_HELLO && m->value == FF_TCP_ABI_VERSION;
	return cn->greeted;
}

static void
conn_event(struct ff_source *src, uint32_t events)
{
	struct tcp_conn *cn = src->arg;
	struct ff_tcp_msg m = {0};
	bool good;
	ssize_t n;
	int fd;

	n = message_receive(cn->fd, &m, &fd);
	if (n == -EAGAIN || n == -EINTR)
		return;
	good = n > 0 && message(cn, &m, (size_t)n, fd);
	if (fd >= 0)
		close(fd);
	if (good)
		return;
	if (n > 0 || n == -EPROTO)
		conn_violation(cn, "not a message of the protocol");
	else
		conn_close(cn);
}

static bool
full(const struct ff_container *c)
{
	struct tcp_conn *cn;
	unsigned n = 0;

	TAILQ_FOREACH (cn, &conns, link)
		n += cn->container == c;
	return n >= CONNS_MAX;
}

static void
accepted(struct ff_container *c, int fd)
{
	struct tcp_conn *cn = full(c) ? NULL : calloc(1, sizeof(*cn));

	if (!cn)
		goto refuse;
	cn->fd = fd;
	cn->container = c;
	TAILQ_INIT(&cn->streams);
	if (ff_loop_add(&cn->src, fd, EPOLLIN, conn_event, cn))
		goto refuse;
	TAILQ_INSERT_TAIL(&conns, cn, link);
	return;
refuse:
	ff_container_count(c, FF_CC_QUOTA_REFUSED, 1);
	free(cn);
	close(fd);
}

/* What has been handed over goes on without us. */
static void
removed(struct ff_container *c)
{
	struct tcp_conn *cn, *next;

	for (cn = TAILQ_FIRST(&conns); cn; cn = next) {
		next = TAILQ_NEXT(cn, link);
		if (cn->container == c)
			conn_close(cn);
	}
}

void
ff_tcp_init(void)
{
	static const struct ff_container_service service = {
		.socket = FF_TCP_SOCK,
		.accepted = accepted,
		.removed = removed,
	};

	ff_container_service_set(ff_config.streams == FF_STREAMS_LOCAL ? &service : NULL);
}
