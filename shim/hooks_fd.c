/* SPDX-License-Identifier: MIT */
/*
 * libc's calls on descriptors. Any thread, also before this library's constructor. On a
 * descriptor that is not ours a hook costs one load (fdtab.h).
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/close_range.h>
#include <linux/netlink.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fdtab.h"
#include "fork.h"
#include "path.h"
#include "real.h"
#include "stream.h"
#include "uverbs.h"

#define likely(x) __builtin_expect(!!(x), 1)

static struct uverbs_file *
device_of(const struct fdobj *o)
{
	return o && o->kind == FDOBJ_UVERBS ? o->priv : NULL;
}

static bool
is_stream(int fd)
{
	const struct fdobj *o = fdtab_peek(fd);

	return o && o->kind == FDOBJ_STREAM;
}

/* ---- the device's operations ---- */

static ssize_t
device_write(struct uverbs_file *f, int fd, const void *buf, size_t len)
{
	ssize_t ret = uverbs_write(f, fd, buf, len);

	if (likely(ret >= 0))
		return ret;
	errno = (int)-ret;
	return -1;
}

FF_HOOK ssize_t
write(int fd, const void *buf, size_t len)
{
	const struct fdobj *o = fdtab_peek(fd);

	if (likely(!o))
		return ff_real.write(fd, buf, len);
	if (o->kind == FDOBJ_UVERBS)
		return device_write(o->priv, fd, buf, len);
	if (o->kind == FDOBJ_STREAM)
		return stream_write(fd, buf, len);
	return ff_real.write(fd, buf, len);
}

/* Apart from the hook: its buffer is no burden for writev() on other descriptors. */
static __attribute__((noinline)) ssize_t
device_writev(struct uverbs_file *f, int fd, const struct iovec *iov, int count)
{
	uint8_t cmd[FF_MSG_MAX];
	size_t len = 0;

	for (int i = 0; i < count; i++) {
		if (iov[i].iov_len > sizeof(cmd) - len) {
			errno = EINVAL;
			return -1;
		}
		memcpy(cmd + len, iov[i].iov_base, iov[i].iov_len);
		len += iov[i].iov_len;
	}
	return device_write(f, fd, cmd, len);
}

FF_HOOK ssize_t
writev(int fd, const struct iovec *iov, int count)
{
	const struct fdobj *o = fdtab_peek(fd);

	if (likely(!o))
		return ff_real.writev(fd, iov, count);
	if (o->kind == FDOBJ_UVERBS)
		return device_writev(o->priv, fd, iov, count);
	if (o->kind == FDOBJ_STREAM)
		return stream_writev(fd, iov, count);
	return ff_real.writev(fd, iov, count);
}

/* Signals for the socket: its file sends them, and an exchange would be another file. */
static bool
is_of_signals(unsigned long request, const void *arg)
{
	return request == FIOSETOWN || request == SIOCSPGRP ||
	       (request == FIOASYNC && *(const int *)arg);
}

static int
ioctl_held(int fd, unsigned long request, void *arg)
{
	struct stream *s;
	int rc;

	if (arg && is_of_signals(request, arg))
		stream_stays(fd);
	s = stream_hold(fd);
	if (!stream_is_exchanged_fd(fd) || !stream_ioctl(fd, request, arg, &rc))
		rc = ff_real.ioctl(fd, request, arg);
	stream_release(s);
	return rc;
}

FF_HOOK int
ioctl(int fd, unsigned long request, ...)
{
	va_list ap;
	void *arg;

	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	/* ENOTTY to RDMA_VERBS_IOCTL makes libibverbs use write() for every command. */
	if (!likely(!device_of(fdtab_peek(fd))) && request != FIOCLEX && request != FIONCLEX &&
	    request != FIONBIO && request != FIOASYNC) {
		errno = ENOTTY;
		return -1;
	}
	if (!likely(!is_stream(fd)))
		return ioctl_held(fd, request, arg);
	return ff_real.ioctl(fd, request, arg);
}

FF_HOOK void *
mmap(void *addr, size_t len, int prot, int flags, int fd, off_t off)
{
	struct uverbs_file *f = flags & MAP_ANONYMOUS ? NULL : device_of(fdtab_peek(fd));

	if (likely(!f))
		return ff_real.mmap(addr, len, prot, flags, fd, off);
	return uverbs_mmap(f, addr, len, prot, flags, off);
}

FF_HOOK void *
mmap64(void *addr, size_t len, int prot, int flags, int fd, off64_t off)
{
	return mmap(addr, len, prot, flags, fd, off);
}

/* The host's RDMA devices are none of the container's. */
FF_HOOK int
socket(int domain, int type, int protocol)
{
	if (domain == AF_NETLINK && protocol == NETLINK_RDMA && path_active()) {
		errno = EPROTONOSUPPORT;
		return -1;
	}
	return fdtab_fresh(ff_real.socket(domain, type, protocol));
}

/* ---- lives of descriptors ---- */

/*
 * True if fd is the shim's own and the program may not end it. A vfork child may: it has a table
 * of descriptors of its own.
 */
static bool
is_protected(int fd)
{
	const struct fdobj *o = fdtab_peek(fd);

	return o && o->kind == FDOBJ_HIDDEN && !fork_shares_memory();
}

static void
forget(int fd)
{
	int saved = errno;

	if (fdtab_peek(fd) && !fork_shares_memory())
		fdtab_clear(fd);
	errno = saved;
}

FF_HOOK int
close(int fd)
{
	struct stream *s;
	int rc;

	if (likely(!fdtab_peek(fd)))
		return ff_real.close(fd);
	if (is_protected(fd)) {
		errno = EBADF;
		return -1;
	}
	/* An exchange must not meet a number that is free already, and perhaps another file's. */
	s = stream_hold(fd);
	forget(fd);
	rc = ff_real.close(fd);
	stream_release(s);
	return rc;
}

/* to is a new name of from: the kernel knows already. */
static int
duplicated(int from, int to)
{
	struct fdobj *o;
	int saved = errno, err = 0;

	if (to < 0 || to == from || (!fdtab_peek(from) && !fdtab_peek(to)) || fork_shares_memory())
		return to;
	o = fdtab_get(from);
	if (o && o->kind != FDOBJ_HIDDEN)
		err = fdtab_set(to, o);
	else
		fdtab_clear(to);
	fdobj_put(o);
	if (err) {
		ff_real.close(to);
		errno = -err;
		return -1;
	}
	errno = saved;
	return to;
}

FF_HOOK int
dup(int fd)
{
	struct stream *s = stream_hold(fd);
	int to = duplicated(fd, ff_real.dup(fd));

	stream_release(s);
	return to;
}

/* flags: NULL: dup2(). newfd is closed by it. */
static int
replace(int oldfd, int newfd, const int *flags)
{
	struct stream *from, *gone;
	int to;

	if (newfd != oldfd && is_protected(newfd)) {
		errno = EBUSY;
		return -1;
	}
	if (newfd <= STDERR_FILENO && newfd != oldfd)
		stream_stays(oldfd); /* libc itself reads and writes these */
	from = stream_hold(oldfd);
	gone = stream_hold(newfd);
	to = flags ? ff_real.dup3(oldfd, newfd, *flags) : ff_real.dup2(oldfd, newfd);
	to = duplicated(oldfd, to);
	stream_release(gone);
	stream_release(from);
	return to;
}

FF_HOOK int
dup2(int oldfd, int newfd)
{
	return replace(oldfd, newfd, NULL);
}

FF_HOOK int
dup3(int oldfd, int newfd, int flags)
{
	return replace(oldfd, newfd, &flags);
}

static int
stream_fcntl(int fd, int cmd, void *arg)
{
	struct stream *s;
	int ret;

	if (cmd == F_SETOWN || cmd == F_SETOWN_EX || cmd == F_SETSIG ||
	    (cmd == F_SETFL && ((uintptr_t)arg & O_ASYNC)))
		stream_stays(fd);
	s = stream_hold(fd);
	ret = ff_real.fcntl(fd, cmd, arg);
	if (cmd == F_DUPFD || cmd == F_DUPFD_CLOEXEC)
		ret = duplicated(fd, ret);
	stream_release(s);
	return ret;
}

FF_HOOK int
fcntl(int fd, int cmd, ...)
{
	va_list ap;
	void *arg;
	int ret;

	va_start(ap, cmd);
	arg = va_arg(ap, void *);
	va_end(ap);
	if (!likely(!is_stream(fd)))
		return stream_fcntl(fd, cmd, arg);
	ret = ff_real.fcntl(fd, cmd, arg);
	if (cmd == F_DUPFD || cmd == F_DUPFD_CLOEXEC)
		return duplicated(fd, ret);
	return ret;
}

FF_HOOK int
fcntl64(int fd, int cmd, ...)
{
	va_list ap;
	void *arg;

	va_start(ap, cmd);
	arg = va_arg(ap, void *);
	va_end(ap);
	return fcntl(fd, cmd, arg);
}

/* Closes [first, last] but for what is the shim's; none of it is in a gap. */
static int
close_around_hidden(unsigned int first, unsigned int last, int flags)
{
	unsigned int from = first;
	int fd;

	for (fd = fdtab_next(first); fd >= 0 && (unsigned int)fd <= last; fd = fdtab_next(fd + 1)) {
		if (!is_protected(fd)) {
			if (is_stream(fd) && !flags)
				close(fd);
			else
				forget(fd);
			continue;
		}
		if ((unsigned int)fd > from && ff_real.close_range(from, fd - 1, flags) < 0)
			return -1;
		from = fd + 1;
	}
	return from <= last ? ff_real.close_range(from, last, flags) : 0;
}

FF_HOOK int
close_range(unsigned int first, unsigned int last, int flags)
{
	if (first > last || (flags & CLOSE_RANGE_CLOEXEC))
		return ff_real.close_range(first, last, flags);
	return close_around_hidden(first, last, flags);
}

FF_HOOK void
closefrom(int lowfd)
{
	int first = lowfd > 0 ? lowfd : 0;
	long max;

	if (close_range(first, UINT_MAX, 0) == 0)
		return;
	/* A kernel before 5.9. */
	max = sysconf(_SC_OPEN_MAX);
	for (int fd = first; fd < max; fd++)
		close(fd);
}
