/* SPDX-License-Identifier: MIT */
/*
 * libc's calls on sockets, for streams (stream.h). Any thread. On a descriptor that is no stream a
 * hook costs one load. A stream whose socket was exchanged is an AF_UNIX socket: what the program
 * would see of that is asked of, and told to, the kernel's TCP socket behind it.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "fdtab.h"
#include "real.h"
#include "stream.h"
#include "stream_host.h"

#define likely(x) __builtin_expect(!!(x), 1)

static bool
is_stream(int fd)
{
	const struct fdobj *o = fdtab_peek(fd);

	return !likely(!o || o->kind != FDOBJ_STREAM);
}

/* ---- connections come ---- */

FF_HOOK int
connect(int fd, const struct sockaddr *sa, socklen_t len)
{
	int rc = FF_REAL(connect)(stream_anchor(fd), sa, len);

	if ((rc == 0 || errno == EINPROGRESS) && sa && len >= sizeof(struct sockaddr_in) &&
	    (sa->sa_family == AF_INET || sa->sa_family == AF_INET6) && !fdtab_peek(fd))
		stream_new(fd, sa);
	return rc;
}

static int
accepted(int conn)
{
	(void)fdtab_fresh(conn);
	if (conn >= 0)
		stream_new(conn, NULL);
	return conn;
}

FF_HOOK int
accept4(int fd, struct sockaddr *sa, socklen_t *len, int flags)
{
	return accepted(FF_REAL(accept4)(fd, sa, len, flags));
}

FF_HOOK int
accept(int fd, struct sockaddr *sa, socklen_t *len)
{
	return accepted(FF_REAL(accept)(fd, sa, len));
}

/* ---- bytes leave ---- */

#define BEGIN(ret, use, wait)                               \
	struct stream *s = stream_enter(fd, use, wait);     \
	ret rc;                                             \
                                                            \
	if (__builtin_expect(s == STREAM_INTERRUPTED, 0)) { \
		errno = EINTR;                              \
		return -1;                                  \
	}

/* Urgent bytes, and pages that the kernel keeps: what an exchange must not meet. */
static void
flags_look(int fd, int flags)
{
	if (!likely(!(flags & (MSG_OOB | MSG_ZEROCOPY))) && is_stream(fd))
		stream_stays(fd);
}

FF_HOOK ssize_t
send(int fd, const void *buf, size_t len, int flags)
{
	flags_look(fd, flags);
	BEGIN(ssize_t, FF_IO_SEND, !(flags & MSG_DONTWAIT))
	if (__builtin_expect(s == STREAM_EMULATED, 0))
		return stream_send(fd, &(struct iovec){(void *)buf, len}, 1, flags);
	rc = FF_REAL(send)(fd, buf, len, flags);
	stream_leave(s, rc);
	return rc;
}

FF_HOOK ssize_t
sendto(int fd, const void *buf, size_t len, int flags, const struct sockaddr *to, socklen_t to_len)
{
	flags_look(fd, flags);
	BEGIN(ssize_t, FF_IO_SEND, !(flags & MSG_DONTWAIT))
	/* TCP takes no notice of an address, once connected. */
	if (__builtin_expect(s == STREAM_EMULATED, 0))
		return stream_send(fd, &(struct iovec){(void *)buf, len}, 1, flags);
	rc = FF_REAL(sendto)(fd, buf, len, flags, to, to_len);
	stream_leave(s, rc);
	return rc;
}

FF_HOOK ssize_t
sendmsg(int fd, const struct msghdr *m, int flags)
{
	flags_look(fd, flags);
	BEGIN(ssize_t, FF_IO_SEND, !(flags & MSG_DONTWAIT))
	/* TCP takes no notice of the rest. What there is to send nobody knows: the kernel says so.
	 */
	if (__builtin_expect(s == STREAM_EMULATED && m, 0))
		return stream_send(fd, m->msg_iov, m->msg_iovlen, flags);
	s = s == STREAM_EMULATED ? NULL : s;
	if (!s && m && m->msg_control && !stream_message_passes(m)) {
		errno = ETOOMANYREFS;
		return -1;
	}
	rc = FF_REAL(sendmsg)(fd, m, flags);
	stream_leave(s, rc);
	return rc;
}

/* Several messages of a stream: one by one, as the kernel does it. */
static int
stream_sendmmsg(int fd, struct mmsghdr *m, unsigned int n, int flags)
{
	unsigned int i;
	ssize_t rc;

	for (i = 0; i < n; i++) {
		rc = sendmsg(fd, &m[i].msg_hdr, flags);
		if (rc < 0)
			return i ? (int)i : -1;
		m[i].msg_len = (unsigned int)rc;
	}
	return (int)i;
}

FF_HOOK int
sendmmsg(int fd, struct mmsghdr *m, unsigned int n, int flags)
{
	if (!likely(!is_stream(fd)))
		return stream_sendmmsg(fd, m, n, flags);
	for (unsigned int i = 0; i < n; i++)
		if (m[i].msg_hdr.msg_control && !stream_message_passes(&m[i].msg_hdr)) {
			errno = ETOOMANYREFS;
			return -1;
		}
	return FF_REAL(sendmmsg)(fd, m, n, flags);
}

/* As TCP does it: the first message takes what is there, and the others what is left. */
static int
stream_recvmmsg(int fd, struct mmsghdr *m, unsigned int n, int flags)
{
	unsigned int i;
	ssize_t rc;

	/* An error comes before bytes here, as the kernel has it. */
	if (!(flags & MSG_ERRQUEUE) && (rc = stream_pending_error(fd))) {
		errno = (int)rc;
		return -1;
	}
	for (i = 0; i < n; i++) {
		rc = recvmsg(fd, &m[i].msg_hdr, flags & ~MSG_WAITFORONE);
		if (rc < 0)
			return i ? (int)i : -1;
		m[i].msg_len = (unsigned int)rc;
		if (flags & MSG_WAITFORONE)
			flags |= MSG_DONTWAIT;
	}
	return (int)i;
}

FF_HOOK int
recvmmsg(int fd, struct mmsghdr *m, unsigned int n, int flags, struct timespec *timeout)
{
	BEGIN(int, FF_IO_RECV, !(flags & MSG_DONTWAIT))
	if (s == STREAM_EMULATED)
		return stream_recvmmsg(fd, m, n, flags);
	rc = FF_REAL(recvmmsg)(fd, m, n, flags, timeout);
	stream_leave(s, rc);
	return rc;
}

#define BOUNCE 65536u

/* One piece; what the stream does not take is not taken from the file either. */
static ssize_t
sendfile_piece(int fd, int in, off64_t at, size_t len, uint8_t *buf)
{
	ssize_t n = FF_REAL(pread64)(in, buf, len < BOUNCE ? len : BOUNCE, at);

	return n > 0 ? stream_send(fd, &(struct iovec){buf, (size_t)n}, 1, 0) : n;
}

static ssize_t
stream_sendfile(int fd, int in, off64_t *off, size_t len)
{
	off64_t at = off ? *off : lseek64(in, 0, SEEK_CUR);
	uint8_t *buf = malloc(BOUNCE);
	ssize_t n = -1, done = 0;

	while (buf && at >= 0 && (size_t)done < len) {
		n = sendfile_piece(fd, in, at, len - (size_t)done, buf);
		if (n <= 0)
			break;
		done += n;
		at += n;
	}
	free(buf);
	if (off)
		*off = at;
	else if (done)
		(void)lseek64(in, at, SEEK_SET);
	return done || !len ? done : n;
}

FF_HOOK ssize_t
sendfile(int fd, int in, off_t *off, size_t len)
{
	BEGIN(ssize_t, FF_IO_SEND, true)
	if (s == STREAM_EMULATED)
		return stream_sendfile(fd, in, off, len);
	rc = FF_REAL(sendfile)(fd, in, off, len);
	stream_leave(s, rc);
	return rc;
}

FF_HOOK ssize_t
sendfile64(int fd, int in, off64_t *off, size_t len)
{
	BEGIN(ssize_t, FF_IO_SEND, true)
	if (s == STREAM_EMULATED)
		return stream_sendfile(fd, in, off, len);
	rc = FF_REAL(sendfile64)(fd, in, off, len);
	stream_leave(s, rc);
	return rc;
}

/* From a FIFO into a pipe: looked at, put, and then taken, as far as the pipe took it. */
static ssize_t
splice_out(int in, int out, size_t len, unsigned int flags)
{
	int wait = flags & SPLICE_F_NONBLOCK ? MSG_DONTWAIT : 0;
	uint8_t *buf = malloc(BOUNCE);
	struct iovec iov = {buf, len < BOUNCE ? len : BOUNCE};
	ssize_t n = buf ? stream_recv(in, &iov, 1, MSG_PEEK | wait) : -1;

	if (n > 0)
		n = ff_real.write(out, buf, (size_t)n);
	iov.iov_len = n > 0 ? (size_t)n : 0;
	if (n > 0)
		n = stream_recv(in, &iov, 1, MSG_DONTWAIT);
	free(buf);
	return n;
}

/* From a pipe into a FIFO: no more than there is room for now, or a byte that waits for it. */
static ssize_t
splice_in(int in, int out, size_t len, unsigned int flags)
{
	uint8_t *buf = malloc(BOUNCE);
	size_t room = stream_room(out);
	ssize_t n;

	if (!room && (flags & SPLICE_F_NONBLOCK)) {
		free(buf);
		errno = EAGAIN;
		return -1;
	}
	room = room ? room : 1;
	room = room < BOUNCE ? room : BOUNCE;
	n = buf ? ff_real.read(in, buf, len < room ? len : room) : -1;
	if (n > 0)
		n = stream_send(out, &(struct iovec){buf, (size_t)n}, 1, 0);
	free(buf);
	return n;
}

FF_HOOK ssize_t
splice(int in, off64_t *in_off, int out, off64_t *out_off, size_t len, unsigned int flags)
{
	int fd = is_stream(in) ? in : out;

	BEGIN(ssize_t, fd == in ? FF_IO_RECV : FF_IO_SEND, !(flags & SPLICE_F_NONBLOCK))
	if (s == STREAM_EMULATED && stream_is_fifo(fd))
		return fd == in ? splice_out(in, out, len, flags) : splice_in(in, out, len, flags);
	/* A pair carries its bytes itself. */
	if (s == STREAM_EMULATED)
		s = NULL;
	rc = FF_REAL(splice)(in, in_off, out, out_off, len, flags);
	stream_leave(s, rc);
	return rc;
}

/* With offset -1 these are readv() and writev(). */
#define VECTOR(name, use, off_type, emulated)                                                 \
	FF_HOOK ssize_t name(int fd, const struct iovec *iov, int n, off_type off, int flags) \
	{                                                                                     \
		BEGIN(ssize_t, use, true)                                                     \
		if (s == STREAM_EMULATED)                                                     \
			return emulated(fd, iov, (size_t)n, FF_IO_FILE);                      \
		rc = FF_REAL(name)(fd, iov, n, off, flags);                                   \
		stream_leave(s, rc);                                                          \
		return rc;                                                                    \
	}

VECTOR(preadv2, FF_IO_RECV, off_t, stream_recv)
VECTOR(pwritev2, FF_IO_SEND, off_t, stream_send)
VECTOR(preadv64v2, FF_IO_RECV, off64_t, stream_recv)
VECTOR(pwritev64v2, FF_IO_SEND, off64_t, stream_send)

/* ---- names and options ---- */

FF_HOOK int
getsockname(int fd, struct sockaddr *sa, socklen_t *len)
{
	struct stream *s = stream_hold(fd);
	int rc = FF_REAL(getsockname)(stream_anchor(fd), sa, len);

	stream_release(s);
	return rc;
}

FF_HOOK int
getpeername(int fd, struct sockaddr *sa, socklen_t *len)
{
	struct stream *s = stream_hold(fd);
	int rc = -1;

	if (s && stream_is_exchanged(s) && stream_is_closed(s))
		errno = ENOTCONN;
	else
		rc = FF_REAL(getpeername)(stream_anchor(fd), sa, len);
	stream_release(s);
	return rc;
}

/* Those of the socket that the bytes go through. */
static bool
is_of_bytes(int level, int name)
{
	return level == SOL_SOCKET && (name == SO_RCVTIMEO || name == SO_SNDTIMEO ||
				       name == SO_RCVLOWAT || name == SO_ERROR);
}

FF_HOOK int
getsockopt(int fd, int level, int name, void *value, socklen_t *len)
{
	struct stream *s;
	int rc;

	if (is_stream(fd) && level == IPPROTO_TCP && name == TCP_ZEROCOPY_RECEIVE)
		stream_stays(fd);
	s = stream_hold(fd);
	if (stream_is_host_fd(fd))
		rc = stream_host_get(fd, level, name, value, len);
	else if (s && stream_is_exchanged(s) && (name == SO_ERROR || !is_of_bytes(level, name)))
		rc = stream_sockopt_get(fd, level, name, value, len);
	else
		rc = FF_REAL(getsockopt)(fd, level, name, value, len);
	stream_release(s);
	return rc;
}

FF_HOOK int
setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
	struct stream *s;
	int rc;

	if (is_stream(fd) && !stream_kernel_is_simple_option(level, name))
		stream_stays(fd);
	s = stream_hold(fd);
	if (stream_is_host_fd(fd))
		rc = stream_host_set(fd, level, name, value, len);
	else
		rc = FF_REAL(setsockopt)(is_of_bytes(level, name) ? fd : stream_anchor(fd), level,
					 name, value, len);
	stream_release(s);
	return rc;
}

static int
exchanged_shutdown(int fd, int how)
{
	struct stream *s = stream_get(fd);
	int rc = s ? stream_shutdown(s, fd, how) : -EBADF;

	if (s)
		fdobj_put(s->obj);
	errno = rc ? -rc : errno;
	return rc ? -1 : 0;
}

FF_HOOK int
shutdown(int fd, int how)
{
	BEGIN(int, FF_IO_OTHER, false)
	if (s == STREAM_EMULATED)
		return exchanged_shutdown(fd, how);
	rc = FF_REAL(shutdown)(fd, how);
	stream_leave(s, 0);
	return rc;
}

/* ---- waiting ---- */

FF_HOOK int
epoll_ctl(int epfd, int op, int fd, struct epoll_event *event)
{
	struct stream *s = stream_hold(fd);
	int rc;

	if (!likely(!stream_is_fifo(fd)) && op != EPOLL_CTL_DEL)
		stream_watch_begins(fd);
	if (!likely(!is_stream(fd)) && op != EPOLL_CTL_DEL)
		stream_event_note(epfd, fd, event);
	rc = FF_REAL(epoll_ctl)(epfd, op, fd, event);
	if (rc == 0 && is_stream(fd)) {
		stream_epoll_ctl(epfd, op, fd, event);
		stream_deaf_ctl(epfd, op, fd, event);
	}
	stream_release(s);
	return rc;
}

static bool
select_wanted(int n, const fd_set *in, const fd_set *out)
{
	return atomic_load_explicit(&ff_io_gate, memory_order_acquire) &&
	       stream_select_wanted(n, in, out);
}

FF_HOOK int
select(int n, fd_set *in, fd_set *out, fd_set *err, struct timeval *timeout)
{
	struct timespec ts, began, ended;
	int64_t left;
	int rc;

	if (likely(!select_wanted(n, in, out)))
		return FF_REAL(select)(n, in, out, err, timeout);
	if (!timeout)
		return stream_select(n, in, out, err, NULL, NULL);
	if (timeout->tv_sec < 0 || timeout->tv_usec < 0) {
		errno = EINVAL;
		return -1;
	}
	ts.tv_sec = timeout->tv_sec + timeout->tv_usec / 1000000;
	ts.tv_nsec = timeout->tv_usec % 1000000 * 1000;
	clock_gettime(CLOCK_MONOTONIC, &began);
	rc = stream_select(n, in, out, err, &ts, NULL);
	clock_gettime(CLOCK_MONOTONIC, &ended);
	/* As Linux does it: what is left. */
	left = (ts.tv_sec - ended.tv_sec + began.tv_sec) * 1000000ll +
	       (ts.tv_nsec - ended.tv_nsec + began.tv_nsec) / 1000;
	left = left > 0 && rc ? left : 0;
	timeout->tv_sec = left / 1000000;
	timeout->tv_usec = left % 1000000;
	return rc;
}

FF_HOOK int
pselect(int n, fd_set *in, fd_set *out, fd_set *err, const struct timespec *timeout,
	const sigset_t *mask)
{
	if (likely(!select_wanted(n, in, out)))
		return FF_REAL(pselect)(n, in, out, err, timeout, mask);
	return stream_select(n, in, out, err, timeout, mask);
}
