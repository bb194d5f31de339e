/* SPDX-License-Identifier: MIT */
/*
 * Attaches the process to the router. Any thread, serialised by a lock; never on a fast path.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "channel.h"
#include "debug.h"
#include "fdhide.h"
#include "fdtab.h"
#include "fork.h"
#include "msg.h"
#include "real.h"

#define CHANNEL_TIMEOUT_MS 60000 /* a router that is alive may be starved for seconds */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct channel *current; /* under lock; changed by single stores (fork.c) */

static int
channel_attach(struct channel *ch, struct ff_msg_attach_reply *out)
{
	struct ff_msg_attach req = {.abi_version = FF_ABI_VERSION};
	struct iovec body = {.iov_base = &req, .iov_len = sizeof(req)};
	struct msg_reply rep;
	uint8_t *buf;
	int err;

	err = msg_connect(FF_ROUTER_SOCK, SOCK_CLOEXEC);
	if (err < 0)
		return err;
	ch->sock = fd_hide(err);
	if (ch->sock < 0)
		return ch->sock;
	buf = malloc(FF_MSG_MAX);
	if (!buf)
		return -ENOMEM;
	err = msg_call(ch->sock, FF_MSG_ATTACH, 1, &body, 1, buf, CHANNEL_TIMEOUT_MS, &rep);
	if (err)
		goto out;
	msg_reply_close(&rep);
	err = rep.status;
	if (err == 0 && (rep.len < sizeof(*out)))
		err = -EPROTO;
	if (err)
		goto out;
	memcpy(out, rep.body, sizeof(*out));
	if (out->abi_version != FF_ABI_VERSION)
		err = -EPROTONOSUPPORT;
out:
	free(buf);
	return err > 0 ? -EPROTO : err;
}

static unsigned int
at_most(unsigned int v, unsigned int max)
{
	return v < max ? v : max;
}

static int
channel_memif(struct channel *ch, const struct ff_msg_attach_reply *att)
{
	struct ff_memif_conf conf = {
		.role = FF_MEMIF_CLIENT,
		.id = att->channel_id,
		.name = "freeflow",
		.num_s2m_rings = at_most(att->num_rings, FF_MEMIF_MAX_RINGS),
		.log2_ring_size = at_most(att->log2_ring_size, FF_MEMIF_MAX_LOG2_RING),
	};
	int sock, err;

	if (!conf.num_s2m_rings)
		return 0;
	memcpy(conf.secret, att->token, sizeof(att->token));
	sock = msg_connect(FF_MEMIF_SOCK, SOCK_CLOEXEC);
	if (sock < 0)
		return sock;
	err = ff_memif_create(&ch->memif, sock, &conf);
	if (!err)
		err = ff_memif_wait_connected(ch->memif, CHANNEL_TIMEOUT_MS);
	if (err) {
		debug("memif: %s", ch->memif ? ff_memif_reason(ch->memif) : strerror(-err));
		return err;
	}
	ch->num_rings = ff_memif_num_rings(ch->memif, true);
	err = ff_memif_move_fds(ch->memif, fd_hide_min());
	if (!err)
		err = fdtab_hide(ff_memif_fd(ch->memif));
	for (unsigned int i = 0; i < ch->num_rings && !err; i++) {
		ch->rings[i].ring = ff_memif_ring_get(ch->memif, true, i);
		err = ch->rings[i].ring ? fdtab_hide(ff_memif_ring_eventfd(ch->rings[i].ring))
					: -EPROTO;
	}
	return err;
}

static void
channel_free(struct channel *ch)
{
	if (ch->memif) {
		fdtab_clear(ff_memif_fd(ch->memif));
		for (unsigned int i = 0; i < ch->num_rings; i++)
			if (ch->rings[i].ring)
				fdtab_clear(ff_memif_ring_eventfd(ch->rings[i].ring));
		ff_memif_destroy(ch->memif);
	}
	if (ch->sock >= 0) {
		fdtab_clear(ch->sock);
		ff_real.close(ch->sock);
	}
	free(ch);
}

static int
channel_new(struct channel **out)
{
	struct ff_msg_attach_reply att;
	struct channel *ch;
	int err;

	ch = aligned_alloc(_Alignof(struct channel), sizeof(*ch));
	if (!ch)
		return -ENOMEM;
	memset(ch, 0, sizeof(*ch));
	ch->sock = -1;
	atomic_store(&ch->refs, 1);
	ch->generation = fork_generation();
	err = channel_attach(ch, &att);
	if (!err)
		err = channel_memif(ch, &att);
	if (err) {
		debug("attach: %s", strerror(-err));
		channel_free(ch);
		return err;
	}
	ch->id = att.channel_id;
	memcpy(ch->token, att.token, sizeof(ch->token));
	debug("attached: channel %u, %u rings", ch->id, ch->num_rings);
	*out = ch;
	return 0;
}

void
channel_put(struct channel *ch)
{
	if (ch && atomic_fetch_sub_explicit(&ch->refs, 1, memory_order_acq_rel) == 1)
		channel_free(ch);
}

int
channel_is_dead(const struct channel *ch)
{
	struct pollfd pfd = {.fd = ch->sock, .events = POLLRDHUP};

	return poll(&pfd, 1, 0) > 0 && (pfd.revents & (POLLHUP | POLLRDHUP | POLLERR | POLLNVAL));
}

/* Binds a fresh connection to ch. fd or -errno. */
static int
channel_context(struct channel *ch, int flags)
{
	struct ff_msg_context req = {.abi_version = FF_ABI_VERSION};
	struct iovec body = {.iov_base = &req, .iov_len = sizeof(req)};
	struct msg_reply rep;
	uint8_t *buf;
	int fd, err;

	memcpy(req.token, ch->token, sizeof(req.token));
	fd = msg_connect(FF_ROUTER_SOCK, flags);
	if (fd < 0)
		return fd;
	buf = malloc(FF_MSG_MAX);
	err = buf ? msg_call(fd, FF_MSG_CONTEXT, 1, &body, 1, buf, CHANNEL_TIMEOUT_MS, &rep)
		  : -ENOMEM;
	free(buf);
	if (!err) {
		msg_reply_close(&rep);
		err = rep.status > 0 ? -EPROTO : rep.status;
	}
	if (err) {
		debug("context: %s", strerror(-err));
		ff_real.close(fd);
		return err;
	}
	return fd;
}

/* What open() of a device says of each failure. */
static int
channel_open_error(int err)
{
	switch (err) {
	case -ENOMEM:
	case -EMFILE:
	case -ENFILE:
	case -EACCES:
	case -EPERM:
	case -ENOSPC:
		return err;
	default:
		return -ENODEV;
	}
}

int
channel_open_context(int flags, struct channel **out)
{
	struct channel *ch;
	int fd = -ENODEV;

	pthread_mutex_lock(&lock);
	for (int attempt = 0; attempt < 2; attempt++) {
		if (current && channel_is_dead(current)) {
			ch = current;
			current = NULL;
			channel_put(ch);
		}
		ch = current;
		if (!ch) {
			fd = channel_new(&ch);
			if (fd)
				break;
			current = ch;
		}
		fd = channel_context(ch, flags);
		if (fd >= 0) {
			atomic_fetch_add(&ch->refs, 1);
			*out = ch;
			break;
		}
		/* The router may have left between the two: once more, from the start. */
		if (!channel_is_dead(ch))
			break;
	}
	pthread_mutex_unlock(&lock);
	return fd < 0 ? channel_open_error(fd) : fd;
}

void
channel_fork_child(void)
{
	struct channel *ch = current;

	pthread_mutex_init(&lock, NULL);
	current = NULL;
	channel_put(ch);
}
