/* SPDX-License-Identifier: MIT */
/* select() and pselect() of streams: as poll() of them (stream_wait.c). Any thread. */
#include <errno.h>
#include <string.h>

#include "real.h"
#include "stream.h"
#include "stream_fifo.h"
#include "stream_wait.h"

static bool
set_has(int n, const fd_set *set, bool (*is)(int fd))
{
	for (int fd = 0; set && fd < n; fd++)
		if (FD_ISSET(fd, set) && is(fd))
			return true;
	return false;
}

static bool
is_exchanged(int fd)
{
	return stream_is_exchanged_fd(fd);
}

/* Nothing that the pair would tell of: the program has shut it down. */
static bool
is_deaf(int fd)
{
	struct stream *s = stream_get(fd);
	bool is;

	if (!s)
		return false;
	is = stream_is_exchanged(s) && stream_is_deaf(s);
	fdobj_put(s->obj);
	return is;
}

/* Sets that are larger than an fd_set stay with libc, and what is in them with the kernel. */
bool
stream_select_wanted(int n, const fd_set *in, const fd_set *out)
{
	return n <= FD_SETSIZE && (set_has(n, in, wait_may_move) ||
				   set_has(n, out, wait_may_move) || set_has(n, in, is_exchanged));
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
		until = wait_until(timeout);
	while (w && w->fd < FD_SETSIZE && rc == -2) {
		memset(copy, 0, sizeof(copy));
		for (unsigned i = 0; i < 3; i++)
			set_copy(&copy[i], sets[i], n);
		if (timeout)
			left = wait_left(&until);
		rc = select_once(n, &copy[0], sets[1] ? &copy[1] : NULL, sets[2] ? &copy[2] : NULL,
				 w, timeout ? &left : NULL, mask);
	}
	err = errno;
	for (unsigned i = 0; i < 3 && rc >= 0; i++)
		set_copy(sets[i], &copy[i], n);
	if (w)
		waiter_end(w);
	errno = err;
	if (rc != -2)
		return rc;
	/* Nobody could wake this one. */
	for (int fd = 0; fd < n; fd++)
		if ((sets[0] && FD_ISSET(fd, sets[0])) || (sets[1] && FD_ISSET(fd, sets[1])))
			stream_stays(fd);
	return FF_REAL(pselect)(n, sets[0], sets[1], sets[2], timeout, mask);
}

static int
select_moving(int n, fd_set *sets[3], const struct timespec *timeout, const sigset_t *mask)
{
	int rc;

	if (stream_router_fd() >= 0)
		return select_woken(n, sets, timeout, mask);
	atomic_fetch_add(&wait_num_native, 1);
	rc = stream_router_fd() < 0 ? FF_REAL(pselect)(n, sets[0], sets[1], sets[2], timeout, mask)
				    : select_woken(n, sets, timeout, mask);
	atomic_fetch_sub(&wait_num_native, 1);
	return rc;
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

/* As poll_true(); asked: what in was. */
static int
select_true(int n, fd_set *in, const fd_set *asked, int rc)
{
	for (int fd = 0; in && fd < n; fd++) {
		if (!FD_ISSET(fd, asked) || !stream_is_exchanged_fd(fd))
			continue;
		if (FD_ISSET(fd, in) && !is_readable(fd) && !is_deaf(fd)) {
			FD_CLR(fd, in);
			rc--;
		} else if (!FD_ISSET(fd, in) && is_deaf(fd)) {
			FD_SET(fd, in);
			rc++;
		}
	}
	return rc;
}

int
stream_select(int n, fd_set *in, fd_set *out, fd_set *err, const struct timespec *timeout,
	      const sigset_t *mask)
{
	bool waits = !timeout || timeout->tv_sec || timeout->tv_nsec, told, over;
	struct timespec until = {0}, left, *wait;
	fd_set *sets[3] = {in, out, err}, asked[3];
	int rc;

	memset(asked, 0, sizeof(asked));
	for (unsigned i = 0; i < 3; i++)
		set_copy(&asked[i], sets[i], n);
	if (timeout && waits)
		until = wait_until(timeout);
	for (;;) {
		told = waits && set_has(n, in, is_deaf);
		left = timeout && waits && !told ? wait_left(&until) : (struct timespec){0};
		wait = timeout || told ? &left : NULL;
		rc = waits && !told &&
				     (set_has(n, in, wait_may_move) ||
				      set_has(n, out, wait_may_move))
			     ? select_moving(n, sets, wait, mask)
			     : FF_REAL(pselect)(n, in, out, err, wait, mask);
		if (rc < 0)
			return rc;
		over = rc == 0;
		rc = select_true(n, in, &asked[0], rc);
		if (rc || over || !waits)
			return rc;
		for (unsigned i = 0; i < 3; i++)
			set_copy(sets[i], &asked[i], n);
	}
}
