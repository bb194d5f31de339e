/* SPDX-License-Identifier: MIT */
/* Calls of the program on streams, as libc has them: -1 and errno. Any thread. */
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

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

static ssize_t
receive(struct stream *s, int fd, const struct iovec *iov, size_t count, int flags)
{
	struct msghdr m = {.msg_iov = (struct iovec *)iov, .msg_iovlen = count};
	ssize_t n;

	if (stream_is_deaf(s))
		flags |= MSG_DONTWAIT;
	if (stream_state_is(s, STREAM_FIFO)) {
		n = stream_fifo_recv(s, fd, iov, count, flags);
	} else {
		n = FF_REAL(recvmsg)(fd, &m, flags);
		n = n < 0 ? -errno : n;
	}
	return n == -EAGAIN && stream_is_deaf(s) ? 0 : n;
}

ssize_t
stream_recv(int fd, const struct iovec *iov, size_t count, int flags)
{
	struct stream *s = stream_get(fd);
	ssize_t n = -EBADF;

	if (s)
		n = receive(s, fd, iov, count, flags);
	if (s)
		fdobj_put(s->obj);
	return n ? result(n) : iov_is_empty(iov, count) ? 0 : stream_ended(fd);
}

bool
stream_is_reset(const struct stream *s)
{
	return s->page &&
	       (atomic_load_explicit(&s->page->side[1 - s->side].flags, memory_order_acquire) &
		FF_TCP_FLAG_RESET);
}

static bool
reset_tell(struct stream *s)
{
	return stream_is_exchanged(s) && stream_is_reset(s) &&
	       !atomic_exchange(&s->reset_told, true);
}

ssize_t
stream_send(int fd, const struct iovec *iov, size_t count, int flags)
{
	struct stream *s = stream_get(fd);
	ssize_t n = -EBADF;

	if (s && reset_tell(s))
		n = -ECONNRESET;
	else if (s)
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

/* ---- how streams end ---- */

bool
stream_reset_tell(int fd)
{
	struct stream *s = stream_get(fd);
	bool tell = s && reset_tell(s);

	if (s)
		fdobj_put(s->obj);
	return tell;
}

ssize_t
stream_ended(int fd)
{
	if (!stream_is_exchanged_fd(fd) || !stream_reset_tell(fd))
		return 0;
	return result(-ECONNRESET);
}

uint32_t
stream_events(const struct stream *s, uint32_t events)
{
	if (stream_is_reset(s))
		return events & POLLHUP && !atomic_load(&s->reset_told) ? events | POLLERR : events;
	/* AF_UNIX hangs up as soon as the other end is closed; TCP when both directions are. */
	if ((events & POLLHUP) && !atomic_load(&s->no_more) && (events & ~(uint32_t)POLLHUP))
		events &= ~(uint32_t)POLLHUP;
	return events;
}

/*
 * SHUT_RD is nothing that the other end of a TCP connection learns of; AF_UNIX would not let it
 * write any more. What is on its way is read all the same, and then comes the end. Who sleeps for
 * the socket is not woken. SHUT_RDWR has to wake: there the other end does learn of it.
 */
int
stream_shutdown(int fd, int how)
{
	struct stream *s = stream_get(fd);
	int rc;

	if (!s)
		return -1;
	rc = FF_REAL(shutdown)(s->anchor, how);
	if (rc == 0 && how != SHUT_WR)
		atomic_store(&s->deaf, true);
	if (rc == 0 && how != SHUT_RD) {
		atomic_store(&s->no_more, true);
		rc = FF_REAL(shutdown)(fd, how);
	}
	fdobj_put(s->obj);
	return rc;
}

/* TCP resets where bytes are left unread, or SO_LINGER says so. */
void
stream_close(struct stream *s)
{
	struct linger linger = {0}, hard = {.l_onoff = 1};
	socklen_t len = sizeof(linger);
	int unread = 0;

	if (s->anchor < 0 || s->end < 0 || atomic_load(&s->shared))
		return;
	if (s->own)
		unread = (int)stream_fifo_unread(s);
	else
		ff_real.ioctl(s->end, FIONREAD, &unread);
	if (FF_REAL(getsockopt)(s->anchor, SOL_SOCKET, SO_LINGER, &linger, &len))
		return;
	if (!unread && !(linger.l_onoff && !linger.l_linger))
		return;
	atomic_fetch_or(&s->page->side[s->side].flags, FF_TCP_FLAG_RESET);
	(void)FF_REAL(setsockopt)(s->anchor, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
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
	while (s && piece.iov_base && done < want) {
		piece.iov_len = want - done < DISCARD_BYTES ? want - done : DISCARD_BYTES;
		n = receive(s, fd, &piece, 1, flags);
		if (n <= 0)
			break;
		done += (size_t)n;
		if ((flags & MSG_PEEK) || (size_t)n < piece.iov_len)
			break;
		if (!(flags & MSG_WAITALL))
			flags |= MSG_DONTWAIT;
	}
	free(piece.iov_base);
	if (s)
		fdobj_put(s->obj);
	return done || !want ? (ssize_t)done : result(n);
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
	if (!s && stream_reset_tell(fd))
		return result(-ECONNRESET);
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
	if (!s && stream_reset_tell(fd))
		return result(-ECONNRESET);
	n = ff_real.writev(fd, iov, count);
	stream_leave(s, n);
	return n;
}
