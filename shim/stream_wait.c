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
#include "stream_wait.h"

#define NAP_NS 1000000l

#define POLL_FEW 8u

static struct ff_lock lock; /* signals blocked */
static struct waiter *waiting, *idle;
_Atomic uint32_t wait_num_native; /* pairs with the router's descriptor: stream_wait_safe() */

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

/* One for each thread that has ever slept at once with others; read() allocates nothing. */
#define WAITERS 256u
static struct waiter waiters[WAITERS];
static _Atomic uint32_t num_waiters;

static struct waiter *
waiter_new(void)
{
	uint32_t n = atomic_load(&num_waiters);
	int fd;

	if (n >= WAITERS)
		return NULL;
	fd = fd_hide((int)ff_sys(SYS_eventfd2, 0, EFD_CLOEXEC | EFD_NONBLOCK, 0, 0, 0, 0));
	if (fd < 0)
		return NULL;
	while (n < WAITERS && !atomic_compare_exchange_weak(&num_waiters, &n, n + 1))
		;
	if (n < WAITERS) {
		waiters[n].fd = fd;
		return &waiters[n];
	}
	fdtab_clear(fd);
	ff_real.close(fd);
	return NULL;
}

struct waiter *
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

void
waiter_end(struct waiter *w)
{
	struct waiter **p;
	uint64_t mask, unused;

	wait_lock(&mask);
	for (p = &waiting; *p != w; p = &(*p)->next)
		;
	*p = w->next;
	/* Not libc's: no cancellation point under a lock. */
	(void)ff_sys_read(w->fd, &unused, sizeof(unused));
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
		(void)ff_sys(SYS_write, w->fd, &one, sizeof(one), 0, 0, 0);
	wait_unlock(&mask);
}

bool
stream_wait_safe(void)
{
	return atomic_load(&wait_num_native) == 0;
}

void
stream_wait_fork_child(void)
{
	atomic_store(&lock.word, 0);
	atomic_store(&wait_num_native, 0);
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

struct timespec
wait_left(const struct timespec *until)
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

struct timespec
wait_until(const struct timespec *timeout)
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

bool
wait_may_move(int fd)
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
		(void)ff_sys_read(w->fd, &unused, sizeof(unused));
	if (all[n].revents)
		(void)stream_router_look();
	return own ? own : -2;
}

static int
poll_woken(struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask)
{
	struct timespec until = {0}, left;
	struct waiter *w = waiter_begin();
	struct pollfd few[POLL_FEW], *all = few;
	int rc = -2, err;

	/* A call that blocks on one socket comes by here, too: read() allocates nothing. */
	if (!w || n + 2 > POLL_FEW)
		all = w ? malloc((n + 2) * sizeof(*all)) : NULL;

	if (timeout)
		until = wait_until(timeout);
	while (all && rc == -2) {
		memcpy(all, fds, n * sizeof(*fds));
		if (timeout)
			left = wait_left(&until);
		rc = poll_once(all, n, w, timeout ? &left : NULL, mask);
	}
	err = errno;
	for (nfds_t i = 0; i < n && rc >= 0; i++)
		fds[i].revents = all[i].revents;
	if (all != few)
		free(all);
	if (w)
		waiter_end(w);
	errno = err;
	if (rc != -2)
		return rc;
	/* Nobody could wake this one. */
	for (nfds_t i = 0; i < n; i++)
		stream_stays(fds[i].fd);
	return FF_REAL(ppoll)(fds, n, timeout, mask);
}

bool
stream_poll_wanted(struct pollfd *fds, nfds_t n)
{
	for (nfds_t i = 0; i < n; i++)
		if (wait_may_move(fds[i].fd) || stream_is_exchanged_fd(fds[i].fd))
			return true;
	return false;
}

static bool
polls_moving(const struct pollfd *fds, nfds_t n)
{
	for (nfds_t i = 0; i < n; i++)
		if (wait_may_move(fds[i].fd))
			return true;
	return false;
}

static int
poll_moving(struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask)
{
	int rc;

	if (stream_router_fd() >= 0)
		return poll_woken(fds, n, timeout, mask);
	atomic_fetch_add(&wait_num_native, 1);
	rc = stream_router_fd() < 0 ? FF_REAL(ppoll)(fds, n, timeout, mask)
				    : poll_woken(fds, n, timeout, mask);
	atomic_fetch_sub(&wait_num_native, 1);
	return rc;
}

/* What TCP says of an exchanged stream, of which the pair says revents. */
static short
revents_true(int fd, short events, short revents)
{
	struct stream *s = stream_get(fd);

	if (!s)
		return revents;
	if (stream_state_is(s, STREAM_FIFO) && (revents & (POLLIN | POLLRDNORM)) &&
	    !stream_fifo_is_readable(s))
		revents &= ~(POLLIN | POLLRDNORM);
	if (stream_is_exchanged(s))
		revents = (short)stream_events(s, (uint16_t)events, (uint16_t)revents);
	fdobj_put(s->obj);
	return revents;
}

/* The events that are true: the pair may say too much, and know too little. */
static int
poll_true(struct pollfd *fds, nfds_t n, bool *hung_up)
{
	short said;
	int rc = 0;

	*hung_up = false;
	for (nfds_t i = 0; i < n; i++) {
		said = fds[i].revents;
		if (stream_is_exchanged_fd(fds[i].fd))
			fds[i].revents = revents_true(fds[i].fd, fds[i].events, said);
		rc += fds[i].revents != 0;
		*hung_up = *hung_up || (said & POLLHUP && !fds[i].revents);
	}
	return rc;
}

/* Is there something that only TCP would tell of? Then nobody waits for the pair. */
static bool
polls_told(const struct pollfd *fds, nfds_t n)
{
	for (nfds_t i = 0; i < n; i++)
		if (stream_is_exchanged_fd(fds[i].fd) && revents_true(fds[i].fd, fds[i].events, 0))
			return true;
	return false;
}

int
stream_poll(struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask)
{
	static const struct timespec zero, nap = {.tv_nsec = NAP_NS};
	bool waits = !timeout || timeout->tv_sec || timeout->tv_nsec, told, over, hung_up;
	struct timespec until = {0}, left;
	int rc;

	if (timeout && waits)
		until = wait_until(timeout);
	for (;;) {
		told = waits && polls_told(fds, n);
		left = timeout && waits ? wait_left(&until) : (struct timespec){0};
		rc = waits && !told && polls_moving(fds, n)
			     ? poll_moving(fds, n, timeout ? &left : NULL, mask)
			     : FF_REAL(ppoll)(fds, n,
					      told	? &zero
					      : timeout ? &left
							: NULL,
					      mask);
		if (rc < 0)
			return rc;
		over = rc == 0;
		rc = poll_true(fds, n, &hung_up);
		if (rc || over || !waits)
			return rc;
		/* AF_UNIX has hung up, and TCP would not have: there is nothing to wait for. */
		if (hung_up)
			nanosleep(&nap, NULL);
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
