/* SPDX-License-Identifier: MIT */
/*
 * What the control thread knows of tcp.sock: for each container its reader's channel, and the
 * processes that have connected. One event of a reader for each turn of the loop. Control thread.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../core/log.h"
#include "tcp_priv.h"

struct tcp_bounds tcp_bounds = {.conns = 4096, .hello_ms = 10000, .offers = 1024};

const char *const ff_tcp_refusal_names[FF_TCP_REFUSAL_MAX] = {
	[FF_TCP_NOT_REFUSED] = "not_refused",	    [FF_TCP_REFUSED_SOCKET] = "socket",
	[FF_TCP_REFUSED_STATE] = "state",	    [FF_TCP_REFUSED_NAMESPACE] = "namespace",
	[FF_TCP_REFUSED_ADDRESS] = "address",	    [FF_TCP_REFUSED_PEER] = "peer",
	[FF_TCP_REFUSED_PRIVILEGED] = "privileged", [FF_TCP_REFUSED_POLICY] = "policy",
	[FF_TCP_REFUSED_DUPLICATE] = "duplicate",   [FF_TCP_REFUSED_LIMIT] = "limit",
	[FF_TCP_REFUSED_MEMORY] = "memory",	    [FF_TCP_REFUSED_CONNECTIONS] = "connections",
	[FF_TCP_REFUSED_SILENT] = "silent",	    [FF_TCP_REFUSED_PROTOCOL] = "protocol",
};

void
tcp_refuse(struct tcp_container *t, enum ff_tcp_refusal why)
{
	t->stats.refused[why]++;
	switch (why) {
	case FF_TCP_REFUSED_PROTOCOL:
		ff_container_count(t->container, FF_CC_COMMAND_ERRORS, 1);
		break;
	case FF_TCP_REFUSED_POLICY:
		ff_container_count(t->container, FF_CC_POLICY_REFUSED, 1);
		break;
	case FF_TCP_REFUSED_CONNECTIONS:
		ff_container_count(t->container, FF_CC_QUOTA_REFUSED, 1);
		break;
	default:
		break;
	}
}

/* ---- connections ---- */

static void
conn_free(struct tcp_conn *cn)
{
	while (!TAILQ_EMPTY(&cn->streams))
		tcp_stream_forget(TAILQ_FIRST(&cn->streams));
	cn->owner->conns[cn->slot] = NULL;
	cn->owner->stats.conns--;
	free(cn);
}

/* Without memory it stays unknown, and is not answered. */
static void
conn_opened(struct tcp_container *t, const struct tcp_event *ev)
{
	struct tcp_conn *cn = calloc(1, sizeof(*cn));

	if (!cn) {
		tcp_refuse(t, FF_TCP_REFUSED_MEMORY);
		return;
	}
	cn->owner = t;
	cn->container = t->container;
	cn->slot = ev->slot;
	cn->serial = ev->serial;
	TAILQ_INIT(&cn->streams);
	t->conns[ev->slot] = cn;
	t->stats.conns++;
}

bool
tcp_conn_send(struct tcp_conn *cn, uint32_t type, uint32_t stream, uint32_t value, const int *fds,
	      unsigned num_fds)
{
	struct tcp_order o = {.slot = cn->slot,
			      .serial = cn->serial,
			      .msg = {.type = type, .stream = stream, .value = value}};
	_Alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(FF_TCP_OFFER_FDS * sizeof(int))] = {0};
	struct iovec iov = {.iov_base = &o, .iov_len = sizeof(o)};
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
	return sendmsg(cn->owner->channel, &h, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)sizeof(o);
}

/* The reader closes it, and says so. */
static void
conn_violation(struct tcp_conn *cn)
{
	ff_debug("tcp", "container %s: a process breaks the protocol of streams",
		 cn->container->id);
	cn->closing = true;
	(void)tcp_conn_send(cn, 0, 0, 0, NULL, 0);
}

/* ---- messages ---- */

/* A statistic: nothing hangs on it that it be true. */
static void
way_count(struct tcp_conn *cn, uint32_t way)
{
	if (way == FF_TCP_WAY_PAIR)
		ff_container_count(cn->container, FF_CC_TCP_PAIRED, 1);
	else if (way == FF_TCP_WAY_FIFO)
		ff_container_count(cn->container, FF_CC_TCP_FIFO, 1);
	else if (way == FF_TCP_WAY_HOST)
		ff_container_count(cn->container, FF_CC_TCP_HOST, 1);
}

static void
conn_message(struct tcp_conn *cn, const struct tcp_event *ev)
{
	struct tcp_stream *s;

	if (cn->closing)
		return;
	if (ev->msg.type == FF_TCP_ASK) {
		if (!tcp_stream_ask(cn, ev->msg.stream, &ev->look))
			conn_violation(cn);
		return;
	}
	s = tcp_stream_find(cn, ev->msg.stream);
	if (s && ev->msg.type == FF_TCP_FORGET) { /* of one that was refused, too */
		way_count(cn, ev->msg.value);
		tcp_stream_forget(s);
	} else if (s) {
		tcp_stream_poke(s);
	}
}

static void
event_handle(struct tcp_container *t, const struct tcp_event *ev)
{
	struct tcp_conn *cn = t->conns[ev->slot];

	if (ev->type == TCP_EVENT_OPENED)
		conn_opened(t, ev);
	else if (cn && ev->type == TCP_EVENT_MESSAGE)
		conn_message(cn, ev);
	else if (cn && ev->type == TCP_EVENT_CLOSED)
		conn_free(cn);
	if (ev->why)
		tcp_refuse(t, (enum ff_tcp_refusal)ev->why);
}

static void
channel_event(struct ff_source *src, uint32_t events)
{
	struct tcp_container *t = src->arg;
	struct tcp_event ev;
	ssize_t n = recv(t->channel, &ev, sizeof(ev), MSG_DONTWAIT);

	if (n == (ssize_t)sizeof(ev))
		event_handle(t, &ev);
	else if (n >= 0 || (errno != EAGAIN && errno != EINTR))
		ff_loop_del(&t->src); /* it could not begin */
}

/* ---- containers ---- */

static int
start(struct ff_container *c, int listen_fd)
{
	struct tcp_container *t = calloc(1, sizeof(*t));
	int rc = -ENOMEM;

	if (t)
		t->conns = calloc(tcp_bounds.conns, sizeof(*t->conns));
	if (!t || !t->conns) {
		close(listen_fd);
		goto no_reader;
	}
	t->container = c;
	t->max_conns = tcp_bounds.conns;
	TAILQ_INIT(&t->delayed);
	rc = tcp_reader_start(listen_fd, &t->channel);
	if (rc)
		goto no_reader;
	rc = ff_loop_add(&t->src, t->channel, EPOLLIN, channel_event, t);
	if (rc)
		goto no_source;
	c->service = t;
	return 0;
no_source:
	close(t->channel);
no_reader:
	if (t)
		free(t->conns);
	free(t);
	return rc;
}

/* What has been handed over goes on without us, unless it is to end. */
static void
stop(struct ff_container *c, bool removed)
{
	struct tcp_container *t = c->service;

	if (!t)
		return;
	c->service = NULL;
	ff_loop_del(&t->src);
	for (uint32_t i = 0; i < t->max_conns; i++)
		if (t->conns[i])
			conn_free(t->conns[i]);
	/* The reader ends, and closes all that its container has sent. */
	close(t->channel);
	free(t->conns);
	free(t);
	if (removed)
		tcp_revoke(c->guid);
}

const struct ff_tcp_stats *
ff_tcp_stats(const struct ff_container *c)
{
	const struct tcp_container *t = c->service;

	return t ? &t->stats : NULL;
}

void
ff_tcp_init(void)
{
	static const struct ff_container_service service = {
		.socket = FF_TCP_SOCK,
		.start = start,
		.stop = stop,
		.gone = tcp_revoke,
	};

	ff_container_service_set(ff_config.streams != FF_STREAMS_OFF ? &service : NULL);
}
