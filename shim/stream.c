/* SPDX-License-Identifier: MIT */
/*
 * Streams: which descriptors are one, what goes on in them, when one asks for more. Any thread.
 */
#include "stream.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../memif-bridge/rawsys.h"
#include "debug.h"
#include "fork.h"
#include "path.h"
#include "real.h"
#include "stream_fifo.h"
#include "stream_host.h"
#include "stream_prefix.h"

/* Calls, and pages of data, before a stream asks; each time that it asked in vain, four times. */
#define ASK_AFTER     64u
#define ASK_AGAIN     4u
#define ASK_AFTER_MAX (1u << 20)
/* A look for an answer is a system call: so many, then the peer is left alone for a while. */
#define TRIES_MAX     512u
/* A meeting keeps us waiting for a moment: every so many calls, unless the other one waits. */
#define MEET_EVERY    64u

static pthread_mutex_t list_lock = PTHREAD_MUTEX_INITIALIZER;
static struct stream *free_list;     /* under list_lock; changed by single stores */
static _Atomic(struct stream *) all; /* grows only; next is constant */

bool
stream_state_is(const struct stream *s, enum stream_state state)
{
	return atomic_load_explicit(&s->state, memory_order_acquire) == state;
}

/*
 * A handler that ran here could come back to the same lock: signals wait. So does cancellation:
 * nobody would give the lock back.
 */
#define SIGNALS_ALL UINT64_MAX

void
stream_lock(struct stream *s)
{
	uint64_t all_signals = SIGNALS_ALL, mask = 0;
	int cancel;

	ff_sys_sigmask(SIG_BLOCK, &all_signals, &mask);
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
	ff_lock_acquire(&s->lock);
	s->mask = mask;
	s->cancel = cancel;
}

bool
stream_trylock(struct stream *s)
{
	uint64_t all_signals = SIGNALS_ALL, mask = 0;
	uint32_t free_word = 0;
	int cancel;

	ff_sys_sigmask(SIG_BLOCK, &all_signals, &mask);
	if (atomic_compare_exchange_strong(&s->lock.word, &free_word, 1)) {
		pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
		s->mask = mask;
		s->cancel = cancel;
		return true;
	}
	ff_sys_sigmask(SIG_SETMASK, &mask, NULL);
	return false;
}

void
stream_unlock(struct stream *s)
{
	uint64_t mask = s->mask;
	int cancel = s->cancel;

	ff_lock_release(&s->lock);
	ff_sys_sigmask(SIG_SETMASK, &mask, NULL);
	pthread_setcancelstate(cancel, NULL);
}

/* Whatever its descriptors are, it is a TCP socket, and stays that. */
bool
stream_is_native(const struct stream *s)
{
	return stream_state_is(s, STREAM_STAYS) || stream_state_is(s, STREAM_HOST);
}

bool
stream_is_exchanged(const struct stream *s)
{
	return stream_state_is(s, STREAM_PAIRED) || stream_state_is(s, STREAM_FIFO);
}

void
stream_foreach(void (*fn)(struct stream *s, void *arg), void *arg)
{
	struct stream *s;

	for (s = atomic_load(&all); s; s = s->next)
		fn(s, arg);
}

/* ---- from the first to the last descriptor ---- */

static struct stream *
stream_alloc(void)
{
	struct stream *s;

	pthread_mutex_lock(&list_lock);
	s = free_list;
	if (s)
		free_list = s->next_free;
	pthread_mutex_unlock(&list_lock);
	if (s)
		return s;
	s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	/* As one that is gone: a fork in another thread looks at all of them. */
	s->anchor = s->end = s->other = -1;
	atomic_store(&s->state, STREAM_STAYS);
	pthread_mutex_lock(&list_lock);
	s->next = atomic_load(&all);
	atomic_store(&all, s);
	pthread_mutex_unlock(&list_lock);
	return s;
}

/* The last descriptor is gone, and the last call. */
static void
stream_destroy(struct fdobj *o)
{
	struct stream *s = o->priv;

	stream_lock(s);
	stream_forget(s);
	if (stream_state_is(s, STREAM_HOST))
		stream_host_close(s);
	else
		stream_close(s);
	stream_fifo_end(s);
	stream_offer_drop(s);
	if (s->anchor >= 0) {
		fdtab_clear(s->anchor);
		ff_real.close(s->anchor);
	}
	s->anchor = -1;
	s->obj = NULL;
	atomic_store(&s->state, STREAM_STAYS);
	stream_unlock(s);
	pthread_mutex_lock(&list_lock);
	s->next_free = free_list;
	free_list = s;
	pthread_mutex_unlock(&list_lock);
}

static void
stream_reset(struct stream *s)
{
	atomic_store(&s->inside, 0);
	atomic_store(&s->shut, false);
	atomic_store(&s->work, 0);
	atomic_store(&s->tries, 0);
	s->threshold = ASK_AFTER;
	s->id = 0;
	s->side = 0;
	s->active = false;
	s->called = false;
	s->misses = 0;
	s->anchor = s->end = s->other = -1;
	s->page = NULL;
	s->mapped = 0;
	s->inode = 0;
	s->own = NULL;
	s->num_watches = 0;
	atomic_store(&s->shared, false);
	atomic_store(&s->state, STREAM_KERNEL);
}

/* ---- the gate of the hooks ---- */

static void *
gate_enter(int fd, int flags)
{
	if (flags & (MSG_OOB | MSG_ERRQUEUE))
		stream_stays(fd);
	return stream_enter(fd, FF_IO_RECV, !(flags & MSG_DONTWAIT));
}

static void
gate_leave(void *inside, int64_t moved)
{
	stream_leave_slow(inside, moved);
}

static ssize_t
gate_recv(void *why, int fd, const struct iovec *iov, size_t count, int flags)
{
	if (why != FF_IO_INTERRUPTED)
		return flags & MSG_TRUNC ? stream_discard(fd, iov, count, flags)
					 : stream_recv(fd, iov, count, flags);
	errno = EINTR;
	return -1;
}

static const struct ff_io_gate gate = {
	.enter = gate_enter,
	.leave = gate_leave,
	.recv = gate_recv,
	.poll_wanted = stream_poll_wanted,
	.poll = stream_poll,
	.epoll_filter = stream_epoll_filter,
	.received = stream_message_brings,
	.forked = stream_forked,
};

void
stream_new(int fd, const struct sockaddr *peer)
{
	int saved = errno;
	struct fdobj *o = NULL;
	struct stream *s;

	if (!stream_prefix_wanted(fd, peer) || fork_init() || fork_shares_memory())
		goto out;
	stream_cancel_init();
	s = stream_alloc();
	if (!s)
		goto out;
	stream_reset(s);
	s->active = peer != NULL;
	o = fdobj_new(FDOBJ_STREAM, s, stream_destroy);
	s->obj = o;
	if (o && !fdtab_set(fd, o))
		atomic_store_explicit(&ff_io_gate, &gate, memory_order_release);
	fdobj_put(o);
out:
	errno = saved;
}

struct stream *
stream_get(int fd)
{
	struct fdobj *o = fdtab_get(fd);

	if (o && o->kind == FDOBJ_STREAM)
		return o->priv;
	fdobj_put(o);
	return NULL;
}

struct stream *
stream_hold_slow(int fd)
{
	struct stream *s;
	int saved = errno;

	/* A child that shares our memory has descriptors of its own. */
	if (fork_shares_memory() || !(s = stream_get(fd)))
		return NULL;
	atomic_fetch_add(&s->inside, 1); /* seq_cst: pairs with stream_meet()'s shut */
	while (atomic_load(&s->shut)) {
		atomic_fetch_sub(&s->inside, 1);
		stream_lock(s);
		stream_unlock(s);
		atomic_fetch_add(&s->inside, 1);
	}
	stream_cancel_push(s, true);
	errno = saved;
	return s;
}

void
stream_release_slow(struct stream *s)
{
	int saved = errno;

	stream_cancel_pop();
	atomic_fetch_sub(&s->inside, 1);
	fdobj_put(s->obj);
	errno = saved;
}

int
stream_anchor(int fd)
{
	const struct fdobj *o = fdtab_peek(fd);
	const struct stream *s;

	if (__builtin_expect(!o || o->kind != FDOBJ_STREAM, 1))
		return fd;
	s = o->priv;
	return stream_is_exchanged(s) || stream_state_is(s, STREAM_HOST) ? s->anchor : fd;
}

void
stream_list_fork_child(void)
{
	pthread_mutex_init(&list_lock, NULL);
}

/* ---- calls ---- */

static bool
inode_get(int fd, uint64_t *inode)
{
	struct stat st;

	if (ff_real.fstat(fd, &st))
		return false;
	*inode = st.st_ino;
	return true;
}

/*
 * A stream that is exchanged has four descriptors for one: a program that has used up a quarter of
 * what it may have is to find the others.
 */
static bool
fds_are_scarce(int fd)
{
	struct rlimit limit;

	return getrlimit(RLIMIT_NOFILE, &limit) || (rlim_t)fd >= limit.rlim_cur / 4;
}

/* Busy enough: once, by whom the threshold lets in. */
static void
stream_want(struct stream *s, int fd)
{
	if (!stream_trylock(s))
		return;
	if (stream_state_is(s, STREAM_KERNEL)) {
		atomic_store(&s->tries, 0);
		if (s->num_watches > STREAM_EPOLLS || stream_ring_is_there() ||
		    !inode_get(fd, &s->inode) || !stream_kernel_is_simple(fd)) {
			atomic_store(&s->state, STREAM_STAYS);
		} else {
			atomic_store(&s->state, STREAM_ASKED); /* a refusal may come at once */
			if (!fds_are_scarce(fd) && stream_ask(s, fd)) {
				stream_epoll_listen(s);
			} else {
				atomic_store(&s->work, 0);
				s->threshold = ASK_AFTER_MAX;
				atomic_store(&s->state, STREAM_KERNEL);
			}
		}
	}
	stream_unlock(s);
}

void
stream_ask_later(struct stream *s)
{
	atomic_store(&s->work, 0);
	if (s->threshold < ASK_AFTER_MAX)
		s->threshold *= ASK_AGAIN;
}

/* Nobody has answered: the other end has no shim, or does little. */
static void
stream_unwant(struct stream *s)
{
	stream_lock(s);
	if (stream_state_is(s, STREAM_ASKED)) {
		stream_forget(s);
		stream_ask_later(s);
		atomic_store(&s->state, STREAM_KERNEL);
	}
	stream_unlock(s);
}

/* What is to be done before a call, outside of the stream. */
static void
stream_attend(struct stream *s, int fd)
{
	if (stream_state_is(s, STREAM_KERNEL) &&
	    atomic_load_explicit(&s->work, memory_order_relaxed) >= s->threshold)
		stream_want(s, fd);
	if (stream_state_is(s, STREAM_ASKED)) {
		(void)stream_router_look();
		if (atomic_fetch_add(&s->tries, 1) > TRIES_MAX)
			stream_unwant(s);
	}
	if (stream_state_is(s, STREAM_OFFERED) &&
	    (stream_is_awaited(s) || atomic_fetch_add(&s->tries, 1) % MEET_EVERY == 0))
		stream_meet(s);
}

static bool
is_waiting(const struct stream *s)
{
	return stream_state_is(s, STREAM_ASKED) || stream_state_is(s, STREAM_OFFERED);
}

struct stream *
stream_enter_slow(int fd, enum ff_io_use use, bool may_block)
{
	struct stream *s = stream_get(fd);
	int saved = errno;

	if (!s)
		return NULL;
	stream_cancel_push(s, false);
	for (;;) {
		if (stream_is_native(s))
			break;
		if (stream_is_exchanged(s)) {
			stream_cancel_pop();
			fdobj_put(s->obj);
			return STREAM_EMULATED;
		}
		stream_attend(s, fd);
		if (may_block && use != FF_IO_OTHER && is_waiting(s) &&
		    stream_wait_ready(s, fd, use == FF_IO_RECV ? POLLIN : POLLOUT)) {
			stream_cancel_pop();
			fdobj_put(s->obj);
			return STREAM_INTERRUPTED;
		}
		atomic_fetch_add(&s->inside, 1); /* seq_cst: pairs with stream_meet()'s shut */
		if (!atomic_load(&s->shut) && !stream_is_exchanged(s) &&
		    !stream_state_is(s, STREAM_HOST)) {
			stream_cancel_inside();
			errno = saved;
			return s;
		}
		atomic_fetch_sub(&s->inside, 1);
		if (atomic_load(&s->shut)) {
			stream_lock(s);
			stream_unlock(s);
		}
	}
	stream_cancel_pop();
	fdobj_put(s->obj);
	errno = saved;
	return NULL;
}

void
stream_leave_slow(struct stream *s, int64_t n)
{
	int saved = errno;
	uint32_t work = n > 0 ? 1u + (uint32_t)((uint64_t)n >> 12) : 0;

	atomic_fetch_add_explicit(&s->work, work, memory_order_relaxed);
	stream_cancel_pop();
	atomic_fetch_sub(&s->inside, 1);
	fdobj_put(s->obj);
	errno = saved;
}
