/* SPDX-License-Identifier: MIT */
/*
 * The life of a connection: creation, control messages in and out, the way to CLOSED. What the
 * messages mean to each role is in server.c and client.c. Control side of a connection.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "memif_priv.h"
#include "sys.h"

/* Messages per call of ff_memif_process(): a peer that floods us gets its turn, not ours. */
#define PROCESS_BURST 64

static_assert(FF_MEMIF_SECRET_LEN == MEMIF_SECRET_SZ && FF_MEMIF_NAME_LEN == MEMIF_NAME_SZ,
	      "memif");

void
memif_ctl_name(uint8_t dst[MEMIF_NAME_SZ], const char *name)
{
	size_t n = strnlen(name, MEMIF_NAME_SZ - 1);

	memset(dst, 0, MEMIF_NAME_SZ);
	memcpy(dst, name, n);
}

/*
 * The set-up is a dialogue, so a socket that takes no more belongs to a peer that has stopped to
 * read: EAGAIN is an error like any other.
 */
int
memif_ctl_send(struct ff_memif *m, const struct memif_msg *msg, int fd)
{
	union {
		char buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} ctl = {0};
	struct iovec iov = {.iov_base = (void *)(uintptr_t)msg, .iov_len = sizeof(*msg)};
	struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t n;

	if (fd >= 0) {
		struct cmsghdr *c = &ctl.align;

		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(fd));
		mh.msg_control = ctl.buf;
		mh.msg_controllen = sizeof(ctl.buf);
	}
	do
		n = sendmsg(m->sock, &mh, MSG_NOSIGNAL | MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return memif_ctl_close(m, errno, false, "sending failed: %s",
				       strerrordesc_np(errno));
	return 0;
}

int
memif_ctl_close(struct ff_memif *m, int err, bool tell, const char *fmt, ...)
{
	struct memif_msg msg = {.type = MEMIF_MSG_TYPE_DISCONNECT};
	va_list ap;

	if (m->state == FF_MEMIF_CLOSED)
		return m->error;
	m->state = FF_MEMIF_CLOSED;
	m->error = -err;
	va_start(ap, fmt);
	vsnprintf(m->reason, sizeof(m->reason), fmt, ap);
	va_end(ap);
	if (tell) {
		msg.disconnect.code = (uint32_t)err;
		memcpy(msg.disconnect.string, m->reason, MEMIF_DISC_STRING_SZ - 1);
		/* Closed already: a failure of this one changes nothing. */
		memif_ctl_send(m, &msg, -1);
	}
	return m->error;
}

/*
 * Takes the first fd of a message and closes all others: the buffer has room for more than one,
 * and the kernel puts into it whatever fits. Returns the number that came.
 */
static unsigned
take_fds(struct msghdr *mh, int *fd)
{
	unsigned seen = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(mh); c; c = CMSG_NXTHDR(mh, c)) {
		size_t n;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < n; i++) {
			int got;

			memcpy(&got, CMSG_DATA(c) + i * sizeof(int), sizeof(got));
			if (seen++)
				memif_sys_close(got);
			else
				*fd = got;
		}
	}
	return seen;
}

/* Returns 1 with a message, 0 when there is none, -errno (CLOSED). *fd is the caller's. */
static int
receive(struct ff_memif *m, struct memif_msg *msg, int *fd)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof(struct ucred))];
	} ctl;
	struct iovec iov = {.iov_base = msg, .iov_len = sizeof(*msg)};
	struct msghdr mh = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = ctl.buf,
		.msg_controllen = sizeof(ctl.buf),
	};
	unsigned fds;
	ssize_t n;

	*fd = -1;
	do
		n = recvmsg(m->sock, &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
		return 0;
	if (n < 0)
		return memif_ctl_close(m, errno, false, "receiving failed: %s",
				       strerrordesc_np(errno));
	fds = take_fds(&mh, fd);
	if (n == 0 && !fds)
		return memif_ctl_close(m, ECONNRESET, false, "peer is gone");
	if (n != sizeof(*msg) || (mh.msg_flags & MSG_TRUNC))
		return memif_ctl_close(m, EPROTO, true, "message of wrong size");
	if (fds > 1 || (mh.msg_flags & MSG_CTRUNC))
		return memif_ctl_close(m, EPROTO, true, "too many descriptors in a message");
	if (*fd >= 0 && msg->type != MEMIF_MSG_TYPE_ADD_REGION &&
	    msg->type != MEMIF_MSG_TYPE_ADD_RING)
		return memif_ctl_close(m, EPROTO, true, "unexpected descriptor");
	return 1;
}

/* The peer's text goes to logs: printable characters only. */
static int
peer_disconnected(struct ff_memif *m, const struct memif_msg *msg)
{
	char text[MEMIF_DISC_STRING_SZ + 1];

	memcpy(text, msg->disconnect.string, MEMIF_DISC_STRING_SZ);
	text[MEMIF_DISC_STRING_SZ] = '\0';
	for (char *p = text; *p; p++)
		if (*p < ' ' || *p > '~')
			*p = '?';
	return memif_ctl_close(m, m->step == MEMIF_STEP_IDLE ? ECONNRESET : ECONNREFUSED, false,
			       "peer disconnected: %s", text);
}

int
ff_memif_process(struct ff_memif *m)
{
	for (unsigned i = 0; i < PROCESS_BURST && m->state != FF_MEMIF_CLOSED; i++) {
		struct memif_msg msg;
		int fd, ret = receive(m, &msg, &fd);

		if (ret == 0)
			return 0;
		if (ret > 0) {
			if (msg.type == MEMIF_MSG_TYPE_DISCONNECT)
				peer_disconnected(m, &msg);
			else if (m->conf.role == FF_MEMIF_SERVER)
				memif_server_handle(m, &msg, &fd);
			else
				memif_client_handle(m, &msg, &fd);
		}
		if (fd >= 0)
			memif_sys_close(fd);
	}
	return m->state == FF_MEMIF_CLOSED ? m->error : 0;
}

static int
conf_check(const struct ff_memif_conf *c)
{
	if (c->role != FF_MEMIF_SERVER && c->role != FF_MEMIF_CLIENT)
		return -EINVAL;
	if (c->num_s2m_rings > FF_MEMIF_MAX_RINGS || c->num_m2s_rings > FF_MEMIF_MAX_RINGS ||
	    c->log2_ring_size > FF_MEMIF_MAX_LOG2_RING)
		return -EINVAL;
	return c->num_s2m_rings || c->num_m2s_rings ? 0 : -EINVAL;
}

int
ff_memif_create(struct ff_memif **out, int sock, const struct ff_memif_conf *conf)
{
	struct ff_memif *m = NULL;
	int err = conf_check(conf), flags;

	if (!err)
		err = -posix_memalign((void **)&m, MEMIF_CACHE_LINE, sizeof(*m));
	if (err) {
		memif_sys_close(sock);
		return err;
	}
	memset(m, 0, sizeof(*m));
	m->conf = *conf;
	m->conf.name[FF_MEMIF_NAME_LEN - 1] = '\0';
	if (!m->conf.max_memory)
		m->conf.max_memory = FF_MEMIF_MAX_MEMORY;
	m->sock = sock;
	m->pid = getpid();
	m->region_fd = -1;
	m->step = conf->role == FF_MEMIF_SERVER ? MEMIF_STEP_INIT : MEMIF_STEP_HELLO;
	flags = fcntl(sock, F_GETFL);
	if (flags < 0 || fcntl(sock, F_SETFL, flags | O_NONBLOCK) < 0)
		err = -errno;
	else if (conf->role == FF_MEMIF_SERVER)
		err = memif_server_start(m);
	if (err) {
		ff_memif_destroy(m);
		return err;
	}
	*out = m;
	return 0;
}

void
ff_memif_destroy(struct ff_memif *m)
{
	if (!m)
		return;
	if (m->pid == getpid())
		memif_ctl_close(m, 0, true, "closed");
	for (int s2m = 0; s2m < 2; s2m++)
		for (unsigned i = 0; i < m->num_rings[s2m]; i++)
			memif_sys_close(m->rings[s2m][i].efd);
	memif_region_unmap_all(m);
	if (m->region_fd >= 0)
		memif_sys_close(m->region_fd);
	memif_sys_close(m->sock);
	free(m);
}

int
ff_memif_fd(const struct ff_memif *m)
{
	return m->sock;
}

static int
move_fd(int *fd, int min)
{
	int high = fcntl(*fd, F_DUPFD_CLOEXEC, min);

	if (high < 0)
		return -errno;
	memif_sys_close(*fd);
	*fd = high;
	return 0;
}

int
ff_memif_move_fds(struct ff_memif *m, int min)
{
	int err = m->sock < min ? move_fd(&m->sock, min) : 0;

	for (int s2m = 0; s2m < 2; s2m++)
		for (unsigned i = 0; i < m->num_rings[s2m] && !err; i++)
			err = move_fd(&m->rings[s2m][i].efd, min);
	return err;
}

enum ff_memif_state
ff_memif_state(const struct ff_memif *m)
{
	return m->state;
}

const char *
ff_memif_reason(const struct ff_memif *m)
{
	return m->reason;
}

static int64_t
now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000ll + ts.tv_nsec / 1000000;
}

int
ff_memif_wait_connected(struct ff_memif *m, int timeout_ms)
{
	const int64_t end = now_ms() + timeout_ms;

	for (;;) {
		struct pollfd pfd = {.fd = m->sock, .events = POLLIN};
		int64_t left;
		int err = ff_memif_process(m);

		if (err || m->state == FF_MEMIF_CONNECTED)
			return err;
		left = end - now_ms();
		if (left <= 0)
			return -ETIMEDOUT;
		if (poll(&pfd, 1, (int)left) < 0 && errno != EINTR)
			return -errno;
	}
}

unsigned
ff_memif_num_rings(const struct ff_memif *m, bool s2m)
{
	return m->num_rings[s2m];
}

struct ff_memif_ring *
ff_memif_ring_get(struct ff_memif *m, bool s2m, unsigned idx)
{
	if (m->state != FF_MEMIF_CONNECTED || idx >= m->num_rings[s2m])
		return NULL;
	return &m->rings[s2m][idx];
}
