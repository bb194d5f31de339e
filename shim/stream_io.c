/* SPDX-License-Identifier: MIT */
/* Calls of the program on streams, as libc has them: -1 and errno. Any thread. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "real.h"
#include "stream.h"
#include "stream_fifo.h"

/* -1 and errno for -errno. */
static ssize_t
result(ssize_t n)
{
	if (n >= 0)
		return n;
	errno = (int)-n;
	return -1;
}

static bool
iov_is_empty(const struct iovec *iov, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (iov[i].iov_len)
			return false;
	return true;
}

static bool
is_nothing(const struct iovec *iov, size_t count, int flags)
{
	return flags & FF_IO_FILE && iov_is_empty(iov, count);
}

static size_t
unread(struct stream *s)
{
	int bytes = 0;

	if (stream_state_is(s, STREAM_FIFO))
		return stream_fifo_unread(s);
	ff_real.ioctl(s->end, FIONREAD, &bytes);
	return (size_t)bytes;
}

static ssize_t
receive(struct stream *s, int fd, const struct iovec *iov, size_t count, int flags)
{
	struct msghdr m = {.msg_iov = (struct iovec *)iov, .msg_iovlen = count};
	bool deaf = stream_is_deaf(s);
	ssize_t n;

	if (flags & MSG_ERRQUEUE)
		return -EAGAIN;
	flags = (flags & ~FF_IO_FILE) | (deaf ? MSG_DONTWAIT : 0);
	if (stream_state_is(s, STREAM_FIFO)) {
		n = flags & MSG_OOB ? -EINVAL : stream_fifo_recv(s, fd, iov, count, flags);
		/* Nonsense in the page: nothing of it is believed any more. */
		if (n == -ECONNRESET) {
			stream_broken(s);
			return n;
		}
	} else {
		n = FF_REAL(recvmsg)(fd, &m, flags);
		n = n < 0 ? -errno : n;
		if (n == -ECONNRESET)
			stream_died(s);
	}
	if (n == -ECONNRESET || (n == -EAGAIN && deaf) ||
	    (n == 0 && (!iov_is_empty(iov, count) || unread(s) == 0)))
		return stream_ended(s);
	return n;
}

ssize_t
stream_recv(int fd, const struct iovec *iov, size_t count, int flags)
{
	struct stream *s = stream_get(fd);
	ssize_t n = -EBADF;

	if (s)
		stream_cancel_push(s, false);
	if (s && is_nothing(iov, count, flags))
		n = 0;
	else if (s)
		n = receive(s, fd, iov, count, flags);
	if (s) {
		stream_cancel_pop();
		fdobj_put(s->obj);
	}
	return result(n);
}

/* The signal that the kernel sends to the thread. */
static void
pipe_signal(void)
{
	ff_sys(SYS_tgkill, (long)getpid(), ff_sys_gettid(), SIGPIPE, 0, 0, 0);
}

static ssize_t
send_out(struct stream *s, int fd, const struct iovec *iov, size_t count, int flags)
{
	struct msghdr m = {.msg_iov = (struct iovec *)iov, .msg_iovlen = count};
	ssize_t n = stream_send_error(s, iov_is_empty(iov, count));

	if (n)
		return n;
	if (stream_state_is(s, STREAM_FIFO)) {
		n = flags & MSG_OOB ? -EOPNOTSUPP : stream_fifo_send(s, fd, iov, count, flags);
	} else {
		n = FF_REAL(sendmsg)(fd, &m, flags | MSG_NOSIGNAL);
		n = n < 0 ? -errno : n;
	}
	if (n != -EPIPE && n != -ECONNRESET)
		return n;
	stream_broken(s);
	return stream_send_error(s, false);
}

ssize_t
stream_send(int fd, const struct iovec *iov, size_t count, int flags)
{
	struct stream *s = stream_get(fd);
	ssize_t n = -EBADF;

	if (s)
		stream_cancel_push(s, false);
	if (s && is_nothing(iov, count, flags))
		n = 0;
	else if (s)
		n = send_out(s, fd, iov, count, flags & ~FF_IO_FILE);
	if (n == -EPIPE && !(flags & MSG_NOSIGNAL))
		pipe_signal();
	if (s) {
		stream_cancel_pop();
		fdobj_put(s->obj);
	}
	return result(n);
}

size_t
stream_room(int fd)
{
	struct stream *s = stream_get(fd);
	size_t n = s ? stream_fifo_room(s) : 0;

	if (s)
		fdobj_put(s->obj);
	return n;
}

size_t
stream_unread(int fd)
{
	struct stream *s = stream_get(fd);
	size_t n = s ? stream_fifo_unread(s) : 0;

	if (s)
		fdobj_put(s->obj);
	return n;
}

void
stream_watch_begins(int fd)
{
	struct stream *s = stream_get(fd);

	if (s && stream_state_is(s, STREAM_FIFO))
		stream_fifo_watch(s);
	if (s)
		fdobj_put(s->obj);
}

int
stream_pending_error(int fd)
{
	struct stream *s = stream_get(fd);
	int err = s ? stream_error(s, true) : 0;

	if (s)
		fdobj_put(s->obj);
	return err;
}

/* ---- what TCP does otherwise ---- */

#define DISCARD_BYTES 16384u

ssize_t
stream_discard(int fd, const struct iovec *iov, size_t count, int flags)
{
	struct stream *s = stream_get(fd);
	struct iovec piece = {.iov_base = malloc(DISCARD_BYTES)};
	size_t want = 0, done = 0;
	ssize_t n = -ENOMEM;

	for (size_t i = 0; i < count; i++)
		want += iov[i].iov_len;
	flags &= ~MSG_TRUNC;
	while (s && piece.iov_base) {
		piece.iov_len = want - done < DISCARD_BYTES ? want - done : DISCARD_BYTES;
		n = receive(s, fd, &piece, 1, flags);
		if (n <= 0)
			break;
		done += (size_t)n;
		if ((flags & MSG_PEEK) || (size_t)n < piece.iov_len || done == want)
			break;
		if (!(flags & MSG_WAITALL))
			flags |= MSG_DONTWAIT;
	}
	free(piece.iov_base);
	if (s)
		fdobj_put(s->obj);
	return done ? (ssize_t)done : result(n);
}

/* ---- write() and its kin ---- */

static ssize_t
vector_write(int fd, const struct iovec *iov, int count, bool vector)
{
	struct stream *s = stream_enter(fd, FF_IO_SEND, true);
	ssize_t n;

	if (s == STREAM_EMULATED)
		return stream_send(fd, iov, (size_t)count, vector ? FF_IO_FILE : 0);
	if (s == STREAM_INTERRUPTED)
		return result(-EINTR);
	n = vector ? ff_real.writev(fd, iov, count)
		   : ff_real.write(fd, iov->iov_base, iov->iov_len);
	stream_leave(s, n);
	return n;
}

ssize_t
stream_write(int fd, const void *buf, size_t len)
{
	return vector_write(fd, &(struct iovec){(void *)buf, len}, 1, false);
}

ssize_t
stream_writev(int fd, const struct iovec *iov, int count)
{
	return vector_write(fd, iov, count, true);
}
