/* SPDX-License-Identifier: MIT */
/* Calls of the program on streams, as libc has them: -1 and errno. Any thread. */
#include <errno.h>

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

ssize_t
stream_recv(int fd, const struct iovec *iov, size_t count, int flags)
{
	struct stream *s = stream_get(fd);
	ssize_t n = -EBADF;

	if (s)
		n = stream_fifo_recv(s, fd, iov, count, flags);
	if (s)
		fdobj_put(s->obj);
	return result(n);
}

ssize_t
stream_send(int fd, const struct iovec *iov, size_t count, int flags)
{
	struct stream *s = stream_get(fd);
	ssize_t n = -EBADF;

	if (s)
		n = stream_fifo_send(s, fd, iov, count, flags);
	if (s)
		fdobj_put(s->obj);
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
stream_no_more(int fd)
{
	struct stream *s = stream_get(fd);

	if (!s)
		return;
	stream_fifo_no_more(s);
	fdobj_put(s->obj);
}

ssize_t
stream_write(int fd, const void *buf, size_t len)
{
	struct stream *s = stream_enter(fd, FF_IO_SEND, true);
	ssize_t n;

	if (s == STREAM_EMULATED)
		return stream_send(fd, &(struct iovec){(void *)buf, len}, 1, 0);
	if (s == STREAM_INTERRUPTED)
		return result(-EINTR);
	n = ff_real.write(fd, buf, len);
	stream_leave(s, n);
	return n;
}

ssize_t
stream_writev(int fd, const struct iovec *iov, int count)
{
	struct stream *s = stream_enter(fd, FF_IO_SEND, true);
	ssize_t n;

	if (s == STREAM_EMULATED)
		return stream_send(fd, iov, (size_t)count, 0);
	if (s == STREAM_INTERRUPTED)
		return result(-EINTR);
	n = ff_real.writev(fd, iov, count);
	stream_leave(s, n);
	return n;
}
