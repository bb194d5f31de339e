/* SPDX-License-Identifier: MIT */
/*
 * Connections on router.sock: what each one is, one message for each turn of the loop. Peers are
 * hostile: nothing here waits for one. SCM_RIGHTS that a peer sends is dropped by the kernel, since
 * no buffer for it is given. Control thread.
 */
#include <errno.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "channel_priv.h"

/*
 * A connection whose last reply is unread is not listened to (the fds in unread replies count
 * against a limit that all of freeflowd shares); the kernel does not tell when it is read.
 */
#define STALL_POLL_MS 5u
static struct conn_list stalled = TAILQ_HEAD_INITIALIZER(stalled);
static struct ff_timer stall_timer;
static bool stall_timer_runs;

static uint8_t msg_in[FF_MSG_MAX] __attribute__((aligned(8)));

static bool
conn_reply_unread(const struct conn *cn)
{
	int unread;

	return !ioctl(cn->fd, SIOCOUTQ, &unread) && unread > 0;
}

static void
conn_unstall(struct conn *cn)
{
	if (!cn->stalled)
		return;
	cn->stalled = false;
	TAILQ_REMOVE(&stalled, cn, stall_link);
	if (TAILQ_EMPTY(&stalled) && stall_timer_runs) {
		ff_loop_timer_stop(&stall_timer);
		stall_timer_runs = false;
	}
}

void
conn_close(struct conn *cn)
{
	struct container_priv *cp = container_priv(cn->container);

	conn_unstall(cn);
	ff_loop_del(&cn->src);
	close(cn->fd);
	TAILQ_REMOVE(&cp->conns, cn, link);
	if (cn->state == CONN_NEW)
		cp->new_conns--;
	free(cn);
}

/* The end of a connection is the end of what hangs on it. */
static void
conn_gone(struct conn *cn)
{
	struct ff_channel *ch = cn->channel;

	switch (cn->state) {
	case CONN_NEW:
		conn_close(cn);
		return;
	case CONN_ATTACH:
		channel_priv(ch)->attach = NULL;
		break;
	case CONN_CONTEXT:
		ff_ucontext_destroy(cn->uc);
		channel_priv(ch)->num_contexts--;
		break;
	}
	conn_close(cn);
	channel_release(ch);
}

/* The peer does not keep to the protocol. Frees cn. */
static void
conn_violation(struct conn *cn, const char *text)
{
	struct ff_channel *ch = cn->channel;

	if (cn->state == CONN_NEW) {
		ff_container_count(cn->container, FF_CC_COMMAND_ERRORS, 1);
		ff_debug("channel", "container %s: connection refused: %s", cn->container->id,
			 text);
		conn_close(cn);
		return;
	}
	ff_channel_detach(ch, FF_DETACH_PROTOCOL, text);
}

static int
conn_attach(struct conn *cn, const struct command *cmd)
{
	struct ff_msg_attach_reply rep = {
		.abi_version = FF_ABI_VERSION,
		.num_rings = FF_CHANNEL_RINGS,
		.log2_ring_size = FF_CHANNEL_LOG2_RING,
	};
	struct ff_channel *ch;
	struct peer p;
	int rc = peer_get(cn->fd, cn->container, &p);

	if (rc)
		return rc;
	ch = channel_create(cn->container, &p);
	if (!ch)
		return -errno;
	channel_priv(ch)->attach = cn;
	cn->channel = ch;
	cn->state = CONN_ATTACH;
	container_priv(cn->container)->new_conns--;
	rep.channel_id = ch->id;
	memcpy(rep.token, ch->token, FF_TOKEN_LEN);
	rc = command_reply(cn->fd, &cmd->hdr, 0, &rep, sizeof(rep));
	if (rc)
		conn_gone(cn);
	return 0;
}

/* Only the channel's own process: a context registers memory of that one. */
static int
conn_same_process(const struct conn *cn, const struct ff_channel *ch)
{
	struct peer p;
	int rc = peer_get(cn->fd, cn->container, &p);

	if (rc)
		return rc;
	close(p.pidfd);
	return p.pid == ch->proc->pid ? 0 : -EPERM;
}

static int
conn_context(struct conn *cn, const struct command *cmd)
{
	struct ff_channel *ch = channel_by_token(cn->container, cmd->context.token);
	struct ff_ucontext *uc;
	int rc;

	if (!ch)
		return -EACCES;
	rc = conn_same_process(cn, ch);
	if (rc)
		return rc;
	uc = ff_ucontext_create(ch);
	if (!uc)
		return -errno;
	uc->priv = cn;
	cn->uc = uc;
	cn->channel = ch;
	cn->state = CONN_CONTEXT;
	container_priv(cn->container)->new_conns--;
	channel_priv(ch)->num_contexts++;
	rc = command_reply(cn->fd, &cmd->hdr, 0, NULL, 0);
	if (rc)
		conn_gone(cn);
	return 0;
}

/* The first message says what the connection is. A refusal is told, then it is closed. */
static void
conn_first(struct conn *cn, const struct command *cmd, int rc)
{
	if (!rc)
		rc = cmd->hdr.type == FF_MSG_ATTACH    ? conn_attach(cn, cmd)
		     : cmd->hdr.type == FF_MSG_CONTEXT ? conn_context(cn, cmd)
						       : -EPROTO;
	if (!rc)
		return; /* cn may be gone */
	(void)command_reply(cn->fd, &cmd->hdr, rc, NULL, 0);
	conn_violation(cn, strerror(-rc));
}

static void
conn_command(struct conn *cn, const struct command *cmd, int rc)
{
	struct ff_channel *ch = cn->channel;

	if (rc == -EMSGSIZE) { /* a program's own write() may be that long */
		ff_container_count(cn->container, FF_CC_COMMAND_ERRORS, 1);
		rc = command_reply(cn->fd, &cmd->hdr, rc, NULL, 0);
	} else if (rc || cmd->hdr.type != FF_MSG_UVERBS) {
		conn_violation(cn, "bad message on a device file");
		return;
	} else {
		rc = command_uverbs(cn, cmd);
	}
	/* -EPIPE, -ECONNRESET: it has closed, the loop tells. */
	if (rc == -EAGAIN || rc == -ENOBUFS)
		ff_channel_detach(ch, FF_DETACH_PROTOCOL, "does not read its replies");
	else if (rc == -ETOOMANYREFS || rc == -EMFILE || rc == -EBADF)
		ff_channel_detach(ch, FF_DETACH_PROTOCOL, "its fds cannot be sent");
}

static void
conn_stall_poll(void *arg)
{
	struct conn *cn, *next;

	for (cn = TAILQ_FIRST(&stalled); cn; cn = next) {
		next = TAILQ_NEXT(cn, stall_link);
		if (conn_reply_unread(cn))
			continue;
		if (ff_loop_mod(&cn->src, EPOLLIN))
			continue;
		conn_unstall(cn);
	}
}

static bool
conn_stall(struct conn *cn)
{
	if (!stall_timer_runs) {
		if (ff_loop_timer_start(&stall_timer, STALL_POLL_MS, conn_stall_poll, NULL))
			return false;
		stall_timer_runs = true;
	}
	if (ff_loop_mod(&cn->src, 0))
		return false;
	cn->stalled = true;
	cn->since_ns = ff_now_ns();
	TAILQ_INSERT_TAIL(&stalled, cn, stall_link);
	return true;
}

static void
conn_event(struct ff_source *s, uint32_t events)
{
	struct conn *cn = s->arg;
	struct command cmd;
	ssize_t n;
	int rc;

	/* A dead peer has read all that it ever will: what is left of it comes at once. */
	if (cn->state == CONN_CONTEXT && !(events & (EPOLLHUP | EPOLLERR)) &&
	    (cn->stalled || (conn_reply_unread(cn) && conn_stall(cn))))
		return;
	n = recv(cn->fd, msg_in, sizeof(msg_in), MSG_DONTWAIT | MSG_TRUNC);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		conn_gone(cn);
		return;
	}
	rc = command_parse(msg_in, (size_t)n, &cmd);
	switch (cn->state) {
	case CONN_NEW:
		conn_first(cn, &cmd, rc);
		break;
	case CONN_ATTACH:
		conn_violation(cn, "a message on the attach connection");
		break;
	case CONN_CONTEXT:
		conn_command(cn, &cmd, rc);
		break;
	}
}

void
conn_accepted(struct ff_container *c, int fd)
{
	struct container_priv *cp = container_priv(c);
	int sndbuf = FF_MSG_MAX * 2;
	struct conn *cn;

	if (cp->new_conns >= CONN_NEW_MAX) {
		ff_container_count(c, FF_CC_QUOTA_REFUSED, 1);
		close(fd);
		return;
	}
	cn = calloc(1, sizeof(*cn));
	if (!cn) {
		close(fd);
		return;
	}
	/* One reply is all that is ever due. */
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &sndbuf, sizeof(sndbuf));
	cn->fd = fd;
	cn->container = c;
	cn->state = CONN_NEW;
	cn->since_ns = ff_now_ns();
	if (ff_loop_add(&cn->src, fd, EPOLLIN, conn_event, cn)) {
		close(fd);
		free(cn);
		return;
	}
	cp->new_conns++;
	TAILQ_INSERT_TAIL(&cp->conns, cn, link);
}

/* One at a time: ending a channel may end other connections of the list. */
static struct conn *
conn_overdue(struct ff_container *c, uint64_t now_ns)
{
	struct conn *cn;

	TAILQ_FOREACH (cn, &container_priv(c)->conns, link) {
		/* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): who is closed leaves the list */
		if ((cn->state == CONN_NEW || cn->stalled) &&
		    now_ns - cn->since_ns > CONN_PATIENCE_NS)
			return cn;
	}
	return NULL;
}

void
conn_tick(struct ff_container *c, uint64_t now_ns)
{
	struct conn *cn;

	while ((cn = conn_overdue(c, now_ns)))
		conn_violation(cn, cn->stalled ? "does not read its replies" : "says nothing");
}

void
conns_fini(void)
{
	if (stall_timer_runs)
		ff_loop_timer_stop(&stall_timer);
	stall_timer_runs = false;
}
