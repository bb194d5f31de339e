/* SPDX-License-Identifier: MIT */
/*
 * A container's reader: takes connections and messages from tcp.sock, looks at the sockets that
 * come along, and passes on what the control thread says. Peers are hostile, and what breaks the
 * protocol is closed. The reader's own thread, with a table of descriptors of its own: one that is
 * blocked for good holds nothing that a freeflowd which starts anew would need.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "reader_priv.h"

#define EVENTS_MAX 16
/* Out of descriptors or memory: so long nobody is accepted. */
#define PAUSE_MS   1000

static uint64_t
now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* Waits until the control thread has room for it: a flood slows down its own reader. */
static void
tell(const struct tcp_reader *r, const struct tcp_event *ev)
{
	while (send(r->channel, ev, sizeof(*ev), MSG_NOSIGNAL) < 0 && errno == EINTR)
		;
}

/* ---- connections ---- */

static void
conn_end(struct tcp_reader *r, struct reader_conn *cn, enum ff_tcp_refusal why)
{
	struct tcp_event ev = {.slot = cn->slot, .serial = cn->serial, .why = why};

	ev.type = cn->greeted ? TCP_EVENT_CLOSED : TCP_EVENT_REFUSED;
	if (cn->greeted || why)
		tell(r, &ev);
	if (!cn->greeted)
		TAILQ_REMOVE(&r->silent, cn, link);
	r->conns[cn->slot] = NULL;
	r->free_slots[r->num_free++] = cn->slot;
	/* What has been sent and not received, descriptors and all, goes now. */
	close(cn->fd);
	free(cn);
}

static void
conn_refuse(struct tcp_reader *r, int fd)
{
	struct tcp_event ev = {.type = TCP_EVENT_REFUSED, .why = FF_TCP_REFUSED_CONNECTIONS};

	tell(r, &ev);
	close(fd);
}

static void
conn_new(struct tcp_reader *r, int fd)
{
	struct reader_conn *cn = r->num_free ? calloc(1, sizeof(*cn)) : NULL;
	struct epoll_event e = {.events = EPOLLIN, .data.ptr = cn};

	if (!cn || epoll_ctl(r->epoll, EPOLL_CTL_ADD, fd, &e)) {
		free(cn);
		conn_refuse(r, fd);
		return;
	}
	cn->fd = fd;
	cn->slot = r->free_slots[--r->num_free];
	cn->serial = ++r->last_serial;
	cn->since_ms = now_ms();
	r->conns[cn->slot] = cn;
	TAILQ_INSERT_TAIL(&r->silent, cn, link);
}

static void
listener_event(struct tcp_reader *r)
{
	struct epoll_event e = {.data.ptr = &r->listen_fd};
	int fd = accept4(r->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd >= 0) {
		conn_new(r, fd);
		return;
	}
	if (errno != EMFILE && errno != ENFILE && errno != ENOBUFS && errno != ENOMEM)
		return;
	/* It stays in the backlog. */
	if (!epoll_ctl(r->epoll, EPOLL_CTL_MOD, r->listen_fd, &e))
		r->paused_ms = now_ms();
}

/* ---- messages ---- */

/* As many as a message can have: what does not fit is closed inside recvmsg(), or not at all. */
#define FDS_MAX 253u /* SCM_MAX_FD */

struct fds {
	unsigned num;
	int fd[FDS_MAX];
};

static void
fds_take(struct msghdr *h, struct fds *out)
{
	struct cmsghdr *c;
	size_t num;

	for (c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		num = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		if (num > FDS_MAX - out->num)
			num = FDS_MAX - out->num;
		memcpy(&out->fd[out->num], CMSG_DATA(c), num * sizeof(int));
		out->num += (unsigned)num;
	}
}

static void
fds_close(const struct fds *fds)
{
	for (unsigned i = 0; i < fds->num; i++)
		close(fds->fd[i]);
}

/* Bytes, 0: it has closed, or -errno; -EPROTO: too much of anything. */
static ssize_t
receive(int sock, void *buf, size_t len, struct fds *fds)
{
	_Alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(sizeof(fds->fd))];
	struct iovec iov = {.iov_base = buf, .iov_len = len};
	struct msghdr h = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = control,
			   .msg_controllen = sizeof(control)};
	ssize_t n = recvmsg(sock, &h, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	fds->num = 0;
	if (n < 0)
		return -errno;
	fds_take(&h, fds);
	return h.msg_flags & (MSG_TRUNC | MSG_CTRUNC) ? -EPROTO : n;
}

static void
conn_message(struct tcp_reader *r, struct reader_conn *cn, const struct ff_tcp_msg *m, int fd)
{
	struct tcp_event ev = {.slot = cn->slot, .serial = cn->serial, .msg = *m};

	ev.type = m->type == FF_TCP_HELLO ? TCP_EVENT_OPENED : TCP_EVENT_MESSAGE;
	if (m->type == FF_TCP_HELLO) {
		cn->greeted = true;
		TAILQ_REMOVE(&r->silent, cn, link);
	}
	if (m->type == FF_TCP_ASK)
		tcp_socket_look(fd, &ev.look);
	tell(r, &ev);
}

static void
conn_event(struct tcp_reader *r, struct reader_conn *cn)
{
	struct ff_tcp_msg m;
	struct fds fds = {0};
	ssize_t n;

	memset(&m, 0, sizeof(m));
	n = receive(cn->fd, &m, sizeof(m), &fds);
	if (n == -EAGAIN || n == -EINTR)
		return;
	if (n > 0 && !tcp_message_check(&m, (size_t)n, fds.num, cn->greeted))
		conn_message(r, cn, &m, fds.fd[0]);
	else
		conn_end(r, cn,
			 n > 0 || n == -EPROTO ? FF_TCP_REFUSED_PROTOCOL : FF_TCP_NOT_REFUSED);
	/* Last: this is what may take its time. */
	fds_close(&fds);
}

/* ---- orders ---- */

/* A shim that does not read loses what it is told; its streams stay with the kernel. */
static void
pass_on(const struct reader_conn *cn, const struct ff_tcp_msg *m, const struct fds *fds)
{
	_Alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(FF_TCP_OFFER_FDS * sizeof(int))] = {0};
	struct iovec iov = {.iov_base = (void *)m, .iov_len = sizeof(*m)};
	struct msghdr h = {.msg_iov = &iov, .msg_iovlen = 1};
	struct cmsghdr *c = (struct cmsghdr *)control;
	size_t bytes = fds->num * sizeof(int);

	if (bytes) {
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(bytes);
		memcpy(CMSG_DATA(c), fds->fd, bytes);
		h.msg_control = control;
		h.msg_controllen = CMSG_SPACE(bytes);
	}
	(void)sendmsg(cn->fd, &h, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* False: the container is gone. */
static bool
channel_event(struct tcp_reader *r)
{
	struct reader_conn *cn;
	struct tcp_order o;
	struct fds fds;
	ssize_t n = receive(r->channel, &o, sizeof(o), &fds);

	if (n == -EAGAIN || n == -EINTR)
		return true;
	if (n != (ssize_t)sizeof(o) || fds.num > FF_TCP_OFFER_FDS) {
		fds_close(&fds);
		return false;
	}
	cn = o.slot < r->bounds.conns ? r->conns[o.slot] : NULL;
	if (cn && cn->serial == o.serial && o.msg.type)
		pass_on(cn, &o.msg, &fds);
	else if (cn && cn->serial == o.serial)
		conn_end(r, cn, FF_TCP_REFUSED_PROTOCOL);
	fds_close(&fds);
	return true;
}

/* ---- the loop ---- */

static void
overdue_close(struct tcp_reader *r)
{
	struct epoll_event e = {.events = EPOLLIN, .data.ptr = &r->listen_fd};
	struct reader_conn *cn;
	uint64_t now;

	if (TAILQ_EMPTY(&r->silent) && !r->paused_ms)
		return;
	now = now_ms();
	/* The oldest first. */
	while ((cn = TAILQ_FIRST(&r->silent)) && now - cn->since_ms >= r->bounds.hello_ms)
		conn_end(r, cn, FF_TCP_REFUSED_SILENT);
	if (r->paused_ms && now - r->paused_ms >= PAUSE_MS &&
	    !epoll_ctl(r->epoll, EPOLL_CTL_MOD, r->listen_fd, &e))
		r->paused_ms = 0;
}

static int
next_look(const struct tcp_reader *r, int timeout_ms)
{
	const struct reader_conn *cn = TAILQ_FIRST(&r->silent);
	uint64_t due = UINT64_MAX, now;

	if (cn)
		due = cn->since_ms + r->bounds.hello_ms;
	if (r->paused_ms && due > r->paused_ms + PAUSE_MS)
		due = r->paused_ms + PAUSE_MS;
	if (due == UINT64_MAX)
		return timeout_ms;
	now = now_ms();
	due = due > now ? due - now : 0;
	return timeout_ms < 0 || (uint64_t)timeout_ms > due ? (int)due : timeout_ms;
}

static bool
event(struct tcp_reader *r, void *what)
{
	if (what == &r->channel)
		return channel_event(r);
	if (what == &r->listen_fd)
		listener_event(r);
	else
		conn_event(r, what);
	return true;
}

bool
tcp_reader_pass(struct tcp_reader *r, int timeout_ms)
{
	struct epoll_event e[EVENTS_MAX];
	bool more = true;
	int n = epoll_wait(r->epoll, e, EVENTS_MAX, next_look(r, timeout_ms));
	void *last = NULL;

	reader_interrupt_arm(r);
	for (int i = 0; i < n; i++) {
		/* An order may close a connection: after those that have events. */
		if (e[i].data.ptr == &r->channel)
			last = &r->channel;
		else
			event(r, e[i].data.ptr);
	}
	if (last)
		more = event(r, last);
	overdue_close(r);
	reader_interrupt_disarm(r);
	return more;
}

/* ---- beginning and end ---- */

static int
watch(struct tcp_reader *r, int *fd)
{
	struct epoll_event e = {.events = EPOLLIN, .data.ptr = fd};

	return epoll_ctl(r->epoll, EPOLL_CTL_ADD, *fd, &e) ? -errno : 0;
}

/* The last step of making one; the listening socket and the channel are its own from here. */
int
reader_begin(struct tcp_reader *r)
{
	r->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (r->epoll < 0)
		return -errno;
	return watch(r, &r->listen_fd) || watch(r, &r->channel) ? -EIO : 0;
}

void
reader_end(struct tcp_reader *r)
{
	/* The control thread has forgotten them all: nothing is told any more. */
	shutdown(r->channel, SHUT_RDWR);
	for (uint32_t i = 0; i < r->bounds.conns; i++)
		if (r->conns[i])
			conn_end(r, r->conns[i], FF_TCP_NOT_REFUSED);
	if (r->epoll >= 0)
		close(r->epoll);
	close(r->channel);
	close(r->listen_fd);
}

struct tcp_reader *
reader_alloc(int listen_fd, int channel)
{
	struct tcp_reader *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->bounds = tcp_bounds;
	r->conns = calloc(r->bounds.conns, sizeof(*r->conns));
	r->free_slots = calloc(r->bounds.conns, sizeof(*r->free_slots));
	if (!r->conns || !r->free_slots) {
		reader_free(r);
		return NULL;
	}
	/* The lowest first. */
	for (uint32_t i = r->bounds.conns; i; i--)
		r->free_slots[r->num_free++] = i - 1;
	r->listen_fd = listen_fd;
	r->channel = channel;
	r->epoll = -1;
	TAILQ_INIT(&r->silent);
	return r;
}

void
reader_free(struct tcp_reader *r)
{
	free(r->conns);
	free(r->free_slots);
	free(r);
}
