/* SPDX-License-Identifier: MIT */
/*
 * System calls that write to the program's memory meet pages whose writers are held off with
 * EFAULT where the hold is an mprotect (mem_hold.c). These hooks wait and call again: the kernel
 * takes nothing from a stream, pipe or file that it could not deliver. (A datagram it does take:
 * it is lost as on a wire.) libc's own calls, as stdio's, do not come by here.
 */
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "mem_priv.h"
#include "real.h"

/* The fortified names, which headers do not declare. */
ssize_t __read_chk(int fd, void *buf, size_t len, size_t size);
ssize_t __pread_chk(int fd, void *buf, size_t len, off_t off, size_t size);
ssize_t __pread64_chk(int fd, void *buf, size_t len, off64_t off, size_t size);
ssize_t __recv_chk(int fd, void *buf, size_t len, size_t size, int flags);
ssize_t __recvfrom_chk(int fd, void *buf, size_t len, size_t size, int flags, struct sockaddr *addr,
		       socklen_t *alen);
int __poll_chk(struct pollfd *fds, nfds_t n, int timeout, size_t size);

#define RETRY(type, call)                                                                     \
	uint32_t seq;                                                                         \
	type rc;                                                                              \
                                                                                              \
	do {                                                                                  \
		seq = atomic_load(&ff_hold_seq);                                              \
		rc = (call);                                                                  \
	} while (__builtin_expect(rc < 0, 0) && errno == EFAULT && seq && ff_hold_wait(seq)); \
	return rc

/* A system call like any other, but one that libc knows as a cancellation point. */
#define HOOK(ret, name, params, args)           \
	FF_HOOK ret name params                 \
	{                                       \
		RETRY(ret, FF_REAL(name) args); \
	}

static ssize_t
read_retried(int fd, void *buf, size_t len)
{
	RETRY(ssize_t, FF_REAL(read)(fd, buf, len));
}

FF_HOOK ssize_t
read(int fd, void *buf, size_t len)
{
	ssize_t n = read_retried(fd, buf, len);
	ssize_t (*filter)(int, void *, size_t, ssize_t) =
		atomic_load_explicit(&ff_read_filter, memory_order_acquire);

	return __builtin_expect(!!filter, 0) ? filter(fd, buf, len, n) : n;
}

HOOK(ssize_t, readv, (int fd, const struct iovec *iov, int n), (fd, iov, n))
HOOK(ssize_t, pread, (int fd, void *buf, size_t len, off_t off), (fd, buf, len, off))
HOOK(ssize_t, pread64, (int fd, void *buf, size_t len, off64_t off), (fd, buf, len, off))
HOOK(ssize_t, preadv, (int fd, const struct iovec *iov, int n, off_t off), (fd, iov, n, off))
HOOK(ssize_t, preadv64, (int fd, const struct iovec *iov, int n, off64_t off), (fd, iov, n, off))
HOOK(ssize_t, recv, (int fd, void *buf, size_t len, int flags), (fd, buf, len, flags))
HOOK(ssize_t, recvfrom,
     (int fd, void *buf, size_t len, int flags, struct sockaddr *addr, socklen_t *alen),
     (fd, buf, len, flags, addr, alen))
HOOK(ssize_t, recvmsg, (int fd, struct msghdr *msg, int flags), (fd, msg, flags))
HOOK(int, poll, (struct pollfd * fds, nfds_t n, int timeout), (fds, n, timeout))
HOOK(int, epoll_wait, (int fd, struct epoll_event *ev, int n, int timeout), (fd, ev, n, timeout))
HOOK(int, epoll_pwait, (int fd, struct epoll_event *ev, int n, int timeout, const sigset_t *mask),
     (fd, ev, n, timeout, mask))
HOOK(ssize_t, __read_chk, (int fd, void *buf, size_t len, size_t size), (fd, buf, len, size))
HOOK(ssize_t, __pread_chk, (int fd, void *buf, size_t len, off_t off, size_t size),
     (fd, buf, len, off, size))
HOOK(ssize_t, __pread64_chk, (int fd, void *buf, size_t len, off64_t off, size_t size),
     (fd, buf, len, off, size))
HOOK(ssize_t, __recv_chk, (int fd, void *buf, size_t len, size_t size, int flags),
     (fd, buf, len, size, flags))
HOOK(ssize_t, __recvfrom_chk,
     (int fd, void *buf, size_t len, size_t size, int flags, struct sockaddr *addr,
      socklen_t *alen),
     (fd, buf, len, size, flags, addr, alen))
HOOK(int, __poll_chk, (struct pollfd * fds, nfds_t n, int timeout, size_t size),
     (fds, n, timeout, size))
