/* SPDX-License-Identifier: MIT */
/*
 * The command protocol, the program's side. Any thread; a call blocks, but is neither a
 * cancellation point (its callers hold locks) nor ended by a signal handler that returns.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#include "msg.h"
#include "path.h"
#include "real.h"

int
msg_connect(const char *name, int flags)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	int fd, err;

	if (snprintf(sun.sun_path, sizeof(sun.sun_path), "%s/%s", path_dir(), name) >=
	    (int)sizeof(sun.sun_path))
		return -ENAMETOOLONG;
	fd = ff_real.socket(AF_UNIX, SOCK_SEQPACKET | flags, 0);
	if (fd < 0)
		return -errno;
	while (connect(fd, (struct sockaddr *)&sun, sizeof(sun)) < 0) {
		/* Interrupted, or the backlog is full for a moment: blocking, so it ends. */
		if (errno == EINTR)
			continue;
		err = errno;
		ff_real.close(fd);
		return -err;
	}
	return fd;
}

static int64_t
now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000ll + ts.tv_nsec / 1000000;
}

/* The program may have made the socket non-blocking. 0, -ETIMEDOUT or -EIO. */
static int
msg_wait(int sock, short events, int64_t deadline)
{
	struct pollfd pfd = {.fd = sock, .events = events};

	for (;;) {
		int64_t left = deadline - now_ms();
		int n = poll(&pfd, 1, left > 0 ? (int)left : 0);

		if (n > 0)
			return 0;
		if (n == 0)
			return -ETIMEDOUT;
		if (errno != EINTR)
			return -EIO;
	}
}

static int
msg_send(int sock, struct msghdr *msg, size_t total, int64_t deadline)
{
	for (;;) {
		ssize_t n = sendmsg(sock, msg, MSG_NOSIGNAL | MSG_DONTWAIT);
		int err;

		if (n >= 0)
			return (size_t)n == total ? 0 : -EPROTO;
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return -EIO;
		err = msg_wait(sock, POLLOUT, deadline);
		if (err)
			return err;
	}
}

static void
msg_take_fds(struct msghdr *msg, struct msg_reply *rep)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		size_t n;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			if (rep->num_fds < FF_MSG_FDS_MAX)
				rep->fds[rep->num_fds++] = fd;
			else
				ff_real.close(fd);
		}
	}
}

/* One message. 0 or -errno as msg_call(). */
static int
msg_recv(int sock, uint8_t *buf, int64_t deadline, struct ff_msg_hdr *hdr, struct msg_reply *rep)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(FF_MSG_FDS_MAX * sizeof(int))];
	} ctl;
	struct iovec iov = {.iov_base = buf, .iov_len = FF_MSG_MAX};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t n;
	int err;

	memset(rep, 0, sizeof(*rep));
	do {
		err = msg_wait(sock, POLLIN, deadline);
		if (err)
			return err;
		msg.msg_control = &ctl;
		msg.msg_controllen = sizeof(ctl);
		n = recvmsg(sock, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	} while (n < 0 && (errno == EINTR || errno == EAGAIN));
	if (n <= 0)
		return -EIO;
	msg_take_fds(&msg, rep);
	rep->truncated = !!(msg.msg_flags & MSG_CTRUNC);
	if ((size_t)n < sizeof(*hdr) || (msg.msg_flags & MSG_TRUNC))
		goto proto;
	memcpy(hdr, buf, sizeof(*hdr));
	if (hdr->len != n - sizeof(*hdr))
		goto proto;
	rep->status = hdr->status;
	rep->len = hdr->len;
	rep->body = buf + sizeof(*hdr);
	return 0;
proto:
	msg_reply_close(rep);
	return -EPROTO;
}

int
msg_call(int sock, uint32_t type, uint32_t seq, const struct iovec *body, unsigned int count,
	 uint8_t *buf, int timeout_ms, struct msg_reply *rep)
{
	int64_t deadline = now_ms() + timeout_ms;
	struct ff_msg_hdr hdr = {.type = type, .seq = seq};
	struct iovec iov[1 + MSG_PARTS];
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 1 + count};
	int err;

	iov[0] = (struct iovec){.iov_base = &hdr, .iov_len = sizeof(hdr)};
	for (unsigned int i = 0; i < count; i++) {
		iov[1 + i] = body[i];
		hdr.len += body[i].iov_len;
	}
	err = msg_send(sock, &msg, sizeof(hdr) + hdr.len, deadline);
	if (err)
		return err;
	for (;;) {
		err = msg_recv(sock, buf, deadline, &hdr, rep);
		if (err)
			return err;
		if (hdr.seq == seq && hdr.type == type)
			return 0;
		msg_reply_close(rep);
		if (hdr.seq == seq)
			return -EPROTO;
	}
}

void
msg_reply_close(struct msg_reply *rep)
{
	for (unsigned int i = 0; i < rep->num_fds; i++)
		if (rep->fds[i] >= 0)
			ff_real.close(rep->fds[i]);
	rep->num_fds = 0;
}
