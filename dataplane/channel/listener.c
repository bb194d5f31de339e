/* SPDX-License-Identifier: MIT */
/* A container's listening sockets: one connection for each turn of the loop. Control thread. */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "channel_priv.h"

#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83 /* asm-generic/socket.h */
#endif

static void
listener_event(struct ff_source *s, uint32_t events)
{
	struct listener *l = s->arg;
	int fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd >= 0) {
		l->accepted(l->container, fd);
		return;
	}
	switch (errno) {
	case EMFILE:
	case ENFILE:
	case ENOBUFS:
	case ENOMEM:
		/* The connection stays in the backlog; without a pause the loop would spin. */
		ff_warn("channel", "container %s: cannot accept: %s", l->container->id,
			strerror(errno));
		l->paused = !ff_loop_mod(&l->src, 0);
		break;
	default: /* the peer has gone, or a signal */
		break;
	}
}

int
listener_open(struct listener *l, struct ff_container *c, const char *name,
	      void (*accepted)(struct ff_container *c, int fd))
{
	int fd = rundir_listen(container_priv(c)->dirfd, name, 0666);
	int rc;

	if (fd < 0)
		return fd;
	l->container = c;
	l->accepted = accepted;
	rc = ff_loop_add(&l->src, fd, EPOLLIN, listener_event, l);
	if (rc) {
		close(fd);
		return rc;
	}
	l->fd = fd;
	return 0;
}

void
ff_rights_refuse(int fd)
{
	static const int no = 0;

	(void)setsockopt(fd, SOL_SOCKET, SO_PASSRIGHTS, &no, sizeof(no));
}

void
listener_close(struct listener *l, const char *name)
{
	if (l->fd < 0)
		return;
	ff_loop_del(&l->src);
	close(l->fd);
	l->fd = -1;
	(void)unlinkat(container_priv(l->container)->dirfd, name, 0);
}

void
listener_tick(struct listener *l)
{
	if (l->paused && !ff_loop_mod(&l->src, EPOLLIN))
		l->paused = false;
}
