/* SPDX-License-Identifier: MIT */
/*
 * Waiting where the descriptors may be exchanged meanwhile. poll() and select() hold the files
 * that they began with; so do calls that block on the socket itself. While a stream may be
 * exchanged, who waits for it waits for the router's word as well, and for a kick, and then looks
 * again. Any thread.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/single_threaded.h>
#include <unistd.h>

#include "fdhide.h"
#include "real.h"
#include "stream.h"
#include "stream_fifo.h"

/* Who sleeps: an eventfd each, so that a kick reaches all. */
struct waiter {
	int fd;
	struct waiter *next;
};

static struct ff_lock lock; /* signals blocked */
static struct waiter *waiting, *idle;
static _Atomic uint32_t num_native; /* pairs with the router's descriptor: stream_wait_safe() */

static void
wait_lock(uint64_t *mask)
{
	uint64_t all = UINT64_MAX;

	ff_sys_sigmask(SIG_BLOCK, &all, mask);
	ff_lock_acquire(&lock);
}

static void
wait_unlock(const uint64_t *mask)
{
	ff_lock_release(&lock);
	ff_sys_sigmask(SIG_SETMASK, mask, NULL);
}

static struct waiter *
waiter_new(void)
{
	struct waiter *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	w->fd = fd_hide(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
	if (w->fd >= 0)
		return w;
	free(w);
	return NULL;
}

static struct waiter *
waiter_begin(void)
{
	struct waiter *w;
	uint64_t mask;

	wait_lock(&mask);
	w = idle;
	if (w)
		idle = w->next;
	wait_unlock(&mask);
	if (!w)
		w = waiter_new();
	if (!w)
		return NULL;
	wait_lock(&mask);
	w->next = waiting;
	waiting = w;
	wait_unlock(&mask);
	return w;
}

static void
waiter_end(struct waiter *w)
{
	struct waiter **p;
	uint64_t mask, unused;

	wait_lock(&mask);
	for (p = &waiting; *p != w; p = &(*p)->next)
		;
	*p = w->next;
	(void)!ff_real.read(w->fd, &unused, sizeof(unused));
	w->next = idle;
	idle = w;
	wait_unlock(&mask);
}

void
stream_kick(void)
{
	static const uint64_t one = 1;
	struct waiter *w;
	uint64_t mask;

	wait_lock(&mask);
	for (w = waiting; w; w = w->next)
		(void)!ff_real.write(w->fd, &one, sizeof(one));
	wait_unlock(&mask);
}

bool
stream_wait_safe(void)
{
	return atomic_load(&num_native) == 0;
}

void
stream_wait_fork_child(void)
{
	atomic_store(&lock.word, 0);
	atomic_store(&num_native, 0);
	/* Their eventfds are the parent's as well. */
	waiting = NULL;
	idle = NULL;
}

/* ---- time ---- */

static struct timespec
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t;
}

/* until - now, not below 0. */
static struct timespec
left_of(const struct timespec *until)
{
	struct timespec t = now(), left = {until->tv_sec - t.tv_sec, until->tv_nsec - t.tv_nsec};

	if (left.tv_nsec < 0) {
		left.tv_nsec += 1000000000;
		left.tv_sec--;
	}
	if (left.tv_sec < 0)
		left = (struct timespec){0};
	return left;
}

static struct timespec
after(const struct timespec *timeout)
{
	struct timespec t = now();

	t.tv_sec += timeout->tv_sec;
	t.tv_nsec += timeout->tv_nsec;
	if (t.tv_nsec >= 1000000000) {
		t.tv_nsec -= 1000000000;
		t.tv_sec++;
	}
	return t;
}

/* ---- poll ---- */

static bool
may_move(int fd)
{
	const struct fdobj *o = fdtab_peek(fd);
	const struct stream *s;

	if (!o || o->kind != FDOBJ_STREAM)
		return false;
	s = o->priv;
	/* One that has not been asked for is asked for by a call: of another thread. */
	if (stream_state_is(s, STREAM_KERNEL))
		return !__libc_single_threaded;
	return stream_state_is(s, STREAM_ASKED) || stream_state_is(s, STREAM_OFFERED);
}

/*
 * A FIFO's descriptor may be readable though it has been read empty: the byte that said so is
 * taken out only when somebody asks. True: there is something.
 */
static bool
is_readable(int fd)
{
	struct stream *s = stream_get(fd);
	bool is;

	if (!s)
		return true;
	is = !stream_state_is(s, STREAM_FIFO) || stream_fifo_is_readable(s);
	fdobj_put(s->obj);
	return is;
}

/*
 * The program's fds and, behind them, the router's connection and a waiter. Returns what ppoll()
 * says of the program's; -2: look again.
 */
static int
poll_once(struct pollfd *all, nfds_t n, struct waiter *w, const struct timespec *left,
	  const sigset_t *mask)
{
	uint64_t unused;
	int rc, own;

	all[n] = (struct pollfd){.fd = stream_router_fd(), .events = POLLIN};
	all[n + 1] = (struct pollfd){.fd = w->fd, .events = POLLIN};
	rc = FF_REAL(ppoll)(all, n + 2, left, mask);
	if (rc <= 0)
		return rc;
	own = rc - (all[n].revents != 0) - (all[n + 1].revents != 0);
	if (all[n + 1].revents)
		(void)!ff_real.read(w->fd, &unused, sizeof(unused));
	if (all[n].revents)
		(void)stream_router_look();
	return own ? own : -2;
}

static int
poll_woken(struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask)
{
	struct timespec until = {0}, left;
	struct waiter *w = waiter_begin();
	struct pollfd *all = w ? malloc((n + 2) * sizeof(*all)) : NULL;
	int rc = -2, err;

	if (timeout)
		until = after(timeout);
	while (all && rc == -2) {
		memcpy(all, fds, n * sizeof(*fds));
		if (timeout)
			left = left_of(&until);
		rc = poll_once(all, n, w, timeout ? &left : NULL, mask);
	}
	err = errno;
	for (nfds_t i = 0; i < n && rc >= 0; i++)
		fds[i].revents = all[i].revents;
	free(all);
	if (w)
		waiter_end(w);
	errno = err;
	return rc == -2 ? FF_REAL(ppoll)(fds, n, timeout, mask) : rc;
}

bool
stream_poll_wanted(struct pollfd *fds, nfds_t n)
{
	for (nfds_t i = 0; i < n; i++)
		if (may_move(fds[i].fd) || stream_is_exchanged_fd(fds[i].fd))
			return true;
	return false;
}

static bool
polls_moving(const struct pollfd *fds, nfds_t n)
{
	for (nfds_t i = 0; i < n; i++)
		if (may_move(fds[i].fd))
			return true;
	return false;
}

static int
poll_moving(struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask)
{
	int rc;

	if (stream_router_fd() >= 0)
		return poll_woken(fds, n, timeout, mask);
	atomic_fetch_add(&num_native, 1);
	rc = stream_router_fd() < 0 ? FF_REAL(ppoll)(fds, n, timeout, mask)
				    : poll_woken(fds, n, timeout, mask);
	atomic_fetch_sub(&num_native, 1);
	return rc;
}

/* Of rc events, those that are true. */
static int
poll_true(struct pollfd *fds, nfds_t n, int rc)
{
	for (nfds_t i = 0; i < n && rc > 0; i++) {
		if ((fds[i].revents & POLLHUP) && stream_is_exchanged_fd(fds[i].fd))
			fds[i].revents = (short)stream_events(fdtab_peek(fds[i].fd)->priv,
							      (uint32_t)fds[i].revents);
		if (!(fds[i].revents & (POLLIN | POLLRDNORM)) || !stream_is_fifo(fds[i].fd) ||
		    is_readable(fds[i].fd))
			continue;
		fds[i].revents &= ~(POLLIN | POLLRDNORM);
		rc -= !fds[i].revents;
	}
	return rc;
}

int
stream_poll(struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask)
{
	bool waits = !timeout || timeout->tv_sec || timeout->tv_nsec;
	struct timespec until = {0}, left;
	int rc;

	if (timeout && waits)
		until = after(timeout);
	for (;;) {
		left = timeout && waits ? left_of(&until) : (struct timespec){0};
		rc = waits && polls_moving(fds, n)
			     ? poll_moving(fds, n, timeout ? &left : NULL, mask)
			     : FF_REAL(ppoll)(fds, n, timeout ? &left : NULL, mask);
		if (rc <= 0)
			return rc;
		rc = poll_true(fds, n, rc);
		if (rc || !waits)
			return rc;
	}
}

/* ---- a call that blocks ---- */

int
stream_wait_ready(struct stream *s, int fd, short events)
{
	struct pollfd p = {.fd = fd, .events = events};
	int flags = ff_real.fcntl(fd, F_GETFL);

	if (flags < 0 || (flags & O_NONBLOCK))
		return 0;
	for (;;) {
		int rc = poll_woken(&p, 1, NULL, NULL);

		if (rc >= 0 || errno != EINTR || ff_signal_interrupts)
			return rc < 0 ? -1 : 0;
	}
}

/* ---- select ---- */

static bool
set_has(int n, const fd_set *set, bool (*is)(int fd))
{
	for (int fd = 0; set && fd < n; fd++)
		if (FD_ISSET(fd, set) && is(fd))
			return true;
	return false;
}

static bool
fd_is_fifo(int fd)
{
	return stream_is_fifo(fd);
}

/* Sets that are larger than an fd_set stay with libc, and what is in them with the kernel. */
bool
stream_select_wanted(int n, const fd_set *in, const fd_set *out)
{
	return n <= FD_SETSIZE && (set_has(n, in, may_move) || set_has(n, out, may_move) ||
				   set_has(n, in, fd_is_fifo));
}

/* As poll_once(). in: a set to change, with room for the two. */
static int
select_once(int n, fd_set *in, fd_set *out, fd_set *err, struct waiter *w,
	    const struct timespec *left, const sigset_t *mask)
{
	int router = stream_router_fd(), top = n, rc, own;
	uint64_t unused;

	FD_SET(w->fd, in);
	if (router >= 0 && router < FD_SETSIZE)
		FD_SET(router, in);
	top = router >= top ? router + 1 : top;
	top = w->fd >= top ? w->fd + 1 : top;
	rc = FF_REAL(pselect)(top, in, out, err, left, mask);
	if (rc <= 0)
		return rc;
	own = rc;
	if (FD_ISSET(w->fd, in)) {
		own--;
		FD_CLR(w->fd, in);
		(void)!ff_real.read(w->fd, &unused, sizeof(unused));
	}
	if (router >= 0 && FD_ISSET(router, in)) {
		own--;
		FD_CLR(router, in);
		(void)stream_router_look();
	}
	return own ? own : -2;
}

/* The program's sets may be smaller than an fd_set. */
static void
set_copy(fd_set *to, const fd_set *from, int n)
{
	size_t len = ((size_t)n + 8 * sizeof(long) - 1) / (8 * sizeof(long)) * sizeof(long);

	if (to && from)
		memcpy(to, from, len);
}

static int
select_woken(int n, fd_set *sets[3], const struct timespec *timeout, const sigset_t *mask)
{
	struct timespec until = {0}, left;
	struct waiter *w = waiter_begin();
	fd_set copy[3];
	int rc = -2, err;

	if (timeout)
		until = after(timeout);
	while (w && w->fd < FD_SETSIZE && rc == -2) {
		memset(copy, 0, sizeof(copy));
		for (unsigned i = 0; i < 3; i++)
			set_copy(&copy[i], sets[i], n);
		if (timeout)
			left = left_of(&until);
		rc = select_once(n, &copy[0], sets[1] ? &copy[1] : NULL, sets[2] ? &copy[2] : NULL,
				 w, timeout ? &left : NULL, mask);
	}
	err = errno;
	for (unsigned i = 0; i < 3 && rc >= 0; i++)
		set_copy(sets[i], &copy[i], n);
	if (w)
		waiter_end(w);
	errno = err;
	return rc == -2 ? FF_REAL(pselect)(n, sets[0], sets[1], sets[2], timeout, mask) : rc;
}

static int
select_moving(int n, fd_set *sets[3], const struct timespec *timeout, const sigset_t *mask)
{
	int rc;

	if (stream_router_fd() >= 0)
		return select_woken(n, sets, timeout, mask);
	atomic_fetch_add(&num_native, 1);
	rc = stream_router_fd() < 0 ? FF_REAL(pselect)(n, sets[0], sets[1], sets[2], timeout, mask)
				    : select_woken(n, sets, timeout, mask);
	atomic_fetch_sub(&num_native, 1);
	return rc;
}

static int
select_true(int n, fd_set *in, int rc)
{
	for (int fd = 0; in && fd < n && rc > 0; fd++) {
		if (!FD_ISSET(fd, in) || !stream_is_fifo(fd) || is_readable(fd))
			continue;
		FD_CLR(fd, in);
		rc--;
	}
	return rc;
}

int
stream_select(int n, fd_set *in, fd_set *out, fd_set *err, const struct timespec *timeout,
	      const sigset_t *mask)
{
	bool waits = !timeout || timeout->tv_sec || timeout->tv_nsec;
	struct timespec until = {0}, left;
	fd_set *sets[3] = {in, out, err}, asked[3];
	int rc;

	for (unsigned i = 0; i < 3; i++)
		set_copy(&asked[i], sets[i], n);
	if (timeout && waits)
		until = after(timeout);
	for (;;) {
		left = timeout && waits ? left_of(&until) : (struct timespec){0};
		rc = waits && (set_has(n, in, may_move) || set_has(n, out, may_move))
			     ? select_moving(n, sets, timeout ? &left : NULL, mask)
			     : FF_REAL(pselect)(n, in, out, err, timeout ? &left : NULL, mask);
		if (rc <= 0)
			return rc;
		rc = select_true(n, in, rc);
		if (rc || !waits)
			return rc;
		for (unsigned i = 0; i < 3; i++)
			set_copy(sets[i], &asked[i], n);
	}
}
