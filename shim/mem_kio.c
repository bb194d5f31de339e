/* SPDX-License-Identifier: MIT */
/*
 * System calls that write to the program's memory meet pages whose writers are held off with
 * EFAULT where the hold is an mprotect (mem_hold.c). These hooks wait and call again: the kernel
 * takes nothing from a stream, pipe or file that it could not deliver. (A datagram it does take:
 * it is lost as on a wire.) libc's own calls, as stdio's, do not come by here.
 */
#include <poll.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
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
int __ppoll_chk(struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask,
		size_t size);

#define RETRY(rc, call)                                                           \
	do {                                                                      \
		uint32_t seq;                                                     \
                                                                                  \
		do {                                                              \
			seq = atomic_load(&ff_hold_seq);                          \
			rc = (call);                                              \
		} while (__builtin_expect(rc < 0, 0) && errno == EFAULT && seq && \
			 ff_hold_wait(seq));                                      \
	} while (0)

static inline const struct ff_io_gate *
io_gate(void)
{
	return atomic_load_explicit(&ff_io_gate, memory_order_acquire);
}

/* A system call like any other, but one that libc knows as a cancellation point. */
#define HOOK(ret, name, params, args)          \
	FF_HOOK ret name params                \
	{                                      \
		ret rc;                        \
                                               \
		RETRY(rc, FF_REAL(name) args); \
		return rc;                     \
	}

/*
 * One that takes from a socket; msgflags: its flags; iov, count and rflags: what it wants, in other
 * words, evaluated only where the gate does it.
 */
#define HOOK_RECV(name, msgflags, params, args, iov, count, rflags)                         \
	FF_HOOK ssize_t name params                                                         \
	{                                                                                   \
		const struct ff_io_gate *gate = io_gate();                                  \
		void *in = NULL;                                                            \
		ssize_t rc;                                                                 \
                                                                                            \
		if (__builtin_expect(!!gate, 0))                                            \
			in = gate->enter(fd, msgflags);                                     \
		if (__builtin_expect(in == FF_IO_EMULATED || in == FF_IO_INTERRUPTED, 0)) { \
			RETRY(rc, gate->recv(in, fd, iov, count, rflags));                  \
			return rc;                                                          \
		}                                                                           \
		RETRY(rc, FF_REAL(name) args);                                              \
		if (__builtin_expect(!!in, 0))                                              \
			gate->leave(in, rc);                                                \
		return rc;                                                                  \
	}

#define ONE(buf, len) (&(struct iovec){buf, len})

/* What a connected TCP socket says of who sent: nothing. */
static int
no_name(int flags, socklen_t *len)
{
	if (len)
		*len = 0;
	return flags;
}

static int
plain(int flags, struct msghdr *msg)
{
	msg->msg_namelen = 0;
	msg->msg_controllen = 0;
	msg->msg_flags = 0;
	return flags;
}

static ssize_t
read_gated(int fd, void *buf, size_t len)
{
	const struct ff_io_gate *gate = io_gate();
	void *in = NULL;
	ssize_t rc;

	if (__builtin_expect(!!gate, 0))
		in = gate->enter(fd, 0);
	if (__builtin_expect(in == FF_IO_EMULATED || in == FF_IO_INTERRUPTED, 0)) {
		RETRY(rc, gate->recv(in, fd, ONE(buf, len), 1, FF_IO_FILE));
		return rc;
	}
	RETRY(rc, FF_REAL(read)(fd, buf, len));
	if (__builtin_expect(!!in, 0))
		gate->leave(in, rc);
	return rc;
}

FF_HOOK ssize_t
read(int fd, void *buf, size_t len)
{
	ssize_t n = read_gated(fd, buf, len);
	ssize_t (*filter)(int, void *, size_t, ssize_t) =
		atomic_load_explicit(&ff_read_filter, memory_order_acquire);

	return __builtin_expect(!!filter, 0) ? filter(fd, buf, len, n) : n;
}

HOOK_RECV(readv, 0, (int fd, const struct iovec *iov, int n), (fd, iov, n), iov, (size_t)n,
	  FF_IO_FILE)
HOOK(ssize_t, pread, (int fd, void *buf, size_t len, off_t off), (fd, buf, len, off))
HOOK(ssize_t, pread64, (int fd, void *buf, size_t len, off64_t off), (fd, buf, len, off))
HOOK(ssize_t, preadv, (int fd, const struct iovec *iov, int n, off_t off), (fd, iov, n, off))
HOOK(ssize_t, preadv64, (int fd, const struct iovec *iov, int n, off64_t off), (fd, iov, n, off))
HOOK_RECV(recv, flags, (int fd, void *buf, size_t len, int flags), (fd, buf, len, flags),
	  ONE(buf, len), 1, flags)
HOOK_RECV(recvfrom, flags,
	  (int fd, void *buf, size_t len, int flags, struct sockaddr *addr, socklen_t *alen),
	  (fd, buf, len, flags, addr, alen), ONE(buf, len), 1, no_name(flags, alen))
FF_HOOK ssize_t
recvmsg(int fd, struct msghdr *msg, int flags)
{
	const struct ff_io_gate *gate = io_gate();
	void *in = NULL;
	ssize_t rc;

	if (__builtin_expect(!!gate, 0))
		in = gate->enter(fd, flags);
	if (__builtin_expect(in == FF_IO_EMULATED || in == FF_IO_INTERRUPTED, 0)) {
		RETRY(rc, gate->recv(in, fd, msg->msg_iov, msg->msg_iovlen, plain(flags, msg)));
		return rc;
	}
	RETRY(rc, FF_REAL(recvmsg)(fd, msg, flags));
	if (__builtin_expect(!!in, 0))
		gate->leave(in, rc);
	if (__builtin_expect(gate && rc >= 0 && msg->msg_controllen, 0))
		gate->received(msg);
	return rc;
}

/* ---- poll ---- */

static struct timespec
of_ms(int ms)
{
	return (struct timespec){ms / 1000, ms % 1000 * 1000000l};
}

/* Milliseconds, below 0: no time-out. */
static int
poll_gated(struct pollfd *fds, nfds_t n, int timeout)
{
	const struct ff_io_gate *gate = io_gate();
	struct timespec ts = of_ms(timeout);

	if (__builtin_expect(!gate || !gate->poll_wanted(fds, n), 1))
		return FF_REAL(poll)(fds, n, timeout);
	return gate->poll(fds, n, timeout < 0 ? NULL : &ts, NULL);
}

FF_HOOK int
poll(struct pollfd *fds, nfds_t n, int timeout)
{
	int rc;

	RETRY(rc, poll_gated(fds, n, timeout));
	return rc;
}

FF_HOOK int
ppoll(struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask)
{
	const struct ff_io_gate *gate = io_gate();
	int rc;

	if (__builtin_expect(gate && gate->poll_wanted(fds, n), 0))
		return gate->poll(fds, n, timeout, mask);
	RETRY(rc, FF_REAL(ppoll)(fds, n, timeout, mask));
	return rc;
}

FF_HOOK int
__poll_chk(struct pollfd *fds, nfds_t n, int timeout, size_t size)
{
	if (size / sizeof(*fds) < n)
		return FF_REAL(__poll_chk)(fds, n, timeout, size);
	return poll(fds, n, timeout);
}

FF_HOOK int
__ppoll_chk(struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask,
	    size_t size)
{
	if (size / sizeof(*fds) < n)
		return FF_REAL(__ppoll_chk)(fds, n, timeout, mask, size);
	return ppoll(fds, n, timeout, mask);
}

/* ---- epoll ---- */

static int64_t
now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ll + ts.tv_nsec;
}

typedef int (*epoll_fn)(int fd, struct epoll_event *ev, int n, int64_t ns, const sigset_t *mask);

/*
 * What is not the program's is taken out; with nothing left, the wait goes on. Nanoseconds; below
 * 0: no time-out. What is ours may have taken the place of the program's: there is one more look,
 * also when the time is over.
 */
static int
epoll_gated(int fd, struct epoll_event *ev, int n, int64_t timeout, const sigset_t *mask,
	    epoll_fn wait)
{
	int64_t until = timeout > 0 ? now_ns() + timeout : 0, left = timeout;
	const struct ff_io_gate *gate;
	bool last = false;
	int rc;

	for (;;) {
		RETRY(rc, wait(fd, ev, n, left, mask));
		gate = io_gate();
		if (__builtin_expect(rc <= 0 || !gate, 0))
			return rc;
		rc = gate->epoll_filter(fd, ev, rc);
		if (rc || last)
			return rc;
		if (timeout < 0)
			continue;
		left = timeout ? until - now_ns() : 0;
		last = left <= 0;
		left = last ? 0 : left;
	}
}

static int
wait_ms(int fd, struct epoll_event *ev, int n, int64_t ns, const sigset_t *mask)
{
	int ms = ns < 0 ? -1 : (int)((ns + 999999) / 1000000);

	return mask ? FF_REAL(epoll_pwait)(fd, ev, n, ms, mask)
		    : FF_REAL(epoll_wait)(fd, ev, n, ms);
}

static int
wait_ns(int fd, struct epoll_event *ev, int n, int64_t ns, const sigset_t *mask)
{
	struct timespec ts = {ns / 1000000000, ns % 1000000000};

	return FF_REAL(epoll_pwait2)(fd, ev, n, ns < 0 ? NULL : &ts, mask);
}

FF_HOOK int
epoll_wait(int fd, struct epoll_event *ev, int n, int timeout)
{
	return epoll_gated(fd, ev, n, timeout * 1000000ll, NULL, wait_ms);
}

FF_HOOK int
epoll_pwait(int fd, struct epoll_event *ev, int n, int timeout, const sigset_t *mask)
{
	return epoll_gated(fd, ev, n, timeout * 1000000ll, mask, wait_ms);
}

/* Odd times are the kernel's to refuse. */
static bool
is_odd(const struct timespec *t)
{
	return t->tv_sec < 0 || t->tv_sec > 1000000000 || t->tv_nsec < 0 || t->tv_nsec > 999999999;
}

FF_HOOK int
epoll_pwait2(int fd, struct epoll_event *ev, int n, const struct timespec *timeout,
	     const sigset_t *mask)
{
	if (!io_gate() || (timeout && is_odd(timeout)))
		return FF_REAL(epoll_pwait2)(fd, ev, n, timeout, mask);
	return epoll_gated(fd, ev, n,
			   timeout ? timeout->tv_sec * 1000000000ll + timeout->tv_nsec : -1, mask,
			   wait_ns);
}

/* ---- the fortified names ---- */

HOOK_RECV(__read_chk, 0, (int fd, void *buf, size_t len, size_t size), (fd, buf, len, size),
	  ONE(buf, len < size ? len : size), 1, FF_IO_FILE)
HOOK(ssize_t, __pread_chk, (int fd, void *buf, size_t len, off_t off, size_t size),
     (fd, buf, len, off, size))
HOOK(ssize_t, __pread64_chk, (int fd, void *buf, size_t len, off64_t off, size_t size),
     (fd, buf, len, off, size))
HOOK_RECV(__recv_chk, flags, (int fd, void *buf, size_t len, size_t size, int flags),
	  (fd, buf, len, size, flags), ONE(buf, len < size ? len : size), 1, flags)
HOOK_RECV(__recvfrom_chk, flags,
	  (int fd, void *buf, size_t len, size_t size, int flags, struct sockaddr *addr,
	   socklen_t *alen),
	  (fd, buf, len, size, flags, addr, alen), ONE(buf, len < size ? len : size), 1,
	  no_name(flags, alen))
