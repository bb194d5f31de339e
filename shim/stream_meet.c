/* SPDX-License-Identifier: MIT */
/*
 * The exchange of a stream's socket (freeflow/tcp.h, struct ff_tcp_page). Both shims come to the
 * page at about the same time; who finds nobody there waits a moment and goes again, having lost
 * nothing. With both there, each stops sending, says how far the kernel's stream goes and how much
 * of the other's it has read, puts a copy of the rest in front of its own end of the pair, and is
 * ready. One word in the page then says for both whether the descriptors are exchanged or all is
 * as it was. Nobody waits for the other longer than a moment, and when it is said that they are
 * exchanged, there is nothing left that may fail. Any thread, outside of the stream; signals wait.
 *
 * The other side is hostile at worst, stopped or dead at best.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "debug.h"
#include "fdhide.h"
#include "fifo.h"
#include "real.h"
#include "stream.h"
#include "stream_fifo.h"
#include "stream_host.h"
#include "stream_meet.h"
#include "stream_prefix.h"

/* How long who is first waits for the other one. */
#define WAIT_NS	    1000000l
/* How long one look at the other's step lasts, before it is seen whether it has died. */
#define STEP_NS	    2000000l
/* ... or at what the kernel's stream holds. */
#define ARRIVAL_NS  100000l
/* How long all of it may take, as far as it depends on the other one. */
#define EXCHANGE_NS 100000000l
#define MISSES_MAX  64u

#ifdef FF_STREAM_FAULTS
void (*stream_fault)(enum stream_fault at);
#endif

static void
wait_while(_Atomic uint32_t *word, uint32_t seen, long ns)
{
	struct timespec ts = {.tv_nsec = ns};

	/* Shared: not the private kind of futex. */
	ff_sys(SYS_futex, word, FUTEX_WAIT, seen, &ts, 0, 0);
}

int64_t
stream_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ll + t.tv_nsec;
}

static void
wake(_Atomic uint32_t *word)
{
	ff_sys(SYS_futex, word, FUTEX_WAKE, INT32_MAX, 0, 0, 0);
}

bool
stream_is_awaited(struct stream *s)
{
	bool there;

	/* The page may be unmapped, but not under the lock. */
	if (!stream_trylock(s))
		return false;
	there = s->page ? atomic_load(&s->page->here) == (FF_TCP_HERE_0 << (1 - s->side))
			: stream_host_is_awaited(s);
	stream_unlock(s);
	return there;
}

void
stream_offer_drop(struct stream *s)
{
	int *fds[] = {&s->end, &s->other};

	if (!s->page)
		stream_router_unwatch(s->end);

	for (unsigned i = 0; i < 2; i++) {
		if (*fds[i] < 0)
			continue;
		fdtab_clear(*fds[i]);
		ff_real.close(*fds[i]);
		*fds[i] = -1;
	}
	if (s->page)
		ff_real.munmap(s->page, s->mapped);
	s->page = NULL;
}

/* ---- coming together ---- */

/*
 * True: both are. s->misses counts the times that nobody was there; MISSES_MAX: it is in vain, or
 * the other side has been here and has parted.
 */
static bool
come(struct stream *s)
{
	_Atomic uint32_t *here = &s->page->here;
	uint32_t own = FF_TCP_HERE_0 << s->side, seen = FF_TCP_HERE_NONE;

	if (atomic_compare_exchange_strong(here, &seen, own)) {
		STREAM_FAULT(STREAM_FAULT_HERE);
		stream_poke(s);
		wait_while(here, own, WAIT_NS);
		seen = own;
		if (atomic_compare_exchange_strong(here, &seen, FF_TCP_HERE_NONE)) {
			s->misses++;
			return false;
		}
	} else if (seen == (FF_TCP_HERE_BOTH & ~own) &&
		   atomic_compare_exchange_strong(here, &seen, FF_TCP_HERE_BOTH)) {
		wake(here);
		return true;
	}
	if (seen != FF_TCP_HERE_BOTH)
		s->misses = MISSES_MAX;
	return seen == FF_TCP_HERE_BOTH;
}

/* ---- the word that decides ---- */

static bool
is_open(const struct stream *s)
{
	return atomic_load(&s->page->here) == FF_TCP_HERE_BOTH;
}

/* What it is, whoever was first: true for committed. */
static bool
decide(struct stream *s, uint32_t what)
{
	uint32_t seen = FF_TCP_HERE_BOTH;

	if (atomic_compare_exchange_strong(&s->page->here, &seen, what))
		seen = what;
	return seen == FF_TCP_HERE_COMMITTED;
}

static void
step_set(struct stream *s, uint32_t step)
{
	_Atomic uint32_t *word = &s->page->side[s->side].step;

	atomic_store_explicit(word, step, memory_order_release);
	wake(word);
}

/* It is still open, the other side lives, and there is time. */
static bool
may_wait(const struct stream *s, int fd, int64_t until)
{
	return is_open(s) && stream_now_ns() < until && !stream_kernel_is_dead(fd);
}

/* Until the other side has come so far. False: it will not. */
static bool
step_wait(struct stream *s, int fd, uint32_t step, int64_t until)
{
	_Atomic uint32_t *word = &s->page->side[1 - s->side].step;
	uint32_t seen;

	while ((seen = atomic_load_explicit(word, memory_order_acquire)) < step) {
		wait_while(word, seen, STEP_NS);
		if (atomic_load_explicit(word, memory_order_acquire) == seen &&
		    !may_wait(s, fd, until))
			return false;
	}
	return seen != FF_TCP_STEP_PARTED;
}

/* ---- what the kernel's stream still holds ---- */

/* Until left bytes of the other side's are in the kernel's socket. */
static bool
arrival_wait(struct stream *s, int fd, uint64_t left, int64_t until)
{
	if (stream_kernel_has(fd, left))
		return true;
	stream_kernel_make_room(fd, left);
	while (!stream_kernel_has(fd, left)) {
		if (!may_wait(s, fd, until))
			return stream_kernel_has(fd, left);
		wait_while(&s->page->here, FF_TCP_HERE_BOTH, ARRIVAL_NS);
	}
	return true;
}

/* ---- before it is decided ---- */

/*
 * An entry of the table is the stream's if the descriptor is its socket: one that was closed past
 * the hooks is forgotten. False: dup3() would refuse one.
 */
static bool
fds_check(const struct stream *s)
{
	struct rlimit limit;
	struct stat st;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return false;
	for (int fd = fdtab_next(0); fd >= 0; fd = fdtab_next((unsigned)fd + 1)) {
		if (fdtab_peek(fd) != s->obj)
			continue;
		if (ff_real.fstat(fd, &st) || st.st_ino != s->inode)
			fdtab_clear(fd);
		else if ((rlim_t)fd >= limit.rlim_cur)
			return false;
	}
	return true;
}

/* Says how far we are, and learns it of the other side. False: there will be no exchange. */
static bool
extents_exchange(struct stream *s, int fd, struct stream_extent *own, struct ff_tcp_side *them,
		 int64_t until)
{
	struct ff_tcp_side *here = &s->page->side[s->side], *there = &s->page->side[1 - s->side];

	if (!stream_kernel_extent(fd, own) || !own->whole)
		return false;
	if (own->unsent)
		stream_kernel_push(fd);
	here->sent = own->sent;
	here->taken = own->taken;
	if (stream_fifo_wanted() && stream_fifo_prepare(s))
		atomic_store(&here->flags, FF_TCP_FLAG_FIFO);
	step_set(s, FF_TCP_STEP_STOPPED);
	STREAM_FAULT(STREAM_FAULT_STOPPED);
	if (!step_wait(s, fd, FF_TCP_STEP_STOPPED, until))
		return false;
	them->flags = atomic_load(&there->flags);
	them->sent = __atomic_load_n(&there->sent, __ATOMIC_RELAXED);
	them->taken = __atomic_load_n(&there->taken, __ATOMIC_RELAXED);
	return true;
}

/* What somebody has done past the hooks shows in the figures. */
bool
stream_kernel_is_same(int fd, const struct stream_extent *e)
{
	struct stream_extent now;

	return stream_kernel_extent(fd, &now) && now.whole && now.sent == e->sent &&
	       now.taken == e->taken;
}

/* All that may fail; nothing of it is lost if it does. in: bytes that the kernel's stream held. */
static bool
prepare(struct stream *s, int fd, uint64_t *in, int64_t until)
{
	struct ff_tcp_side them;
	struct stream_extent e;
	uint64_t max;

	if (!extents_exchange(s, fd, &e, &them, until))
		return false;
	if (!(them.flags & FF_TCP_FLAG_FIFO))
		stream_fifo_end(s);
	max = stream_front_max(s);
	*in = them.sent - e.taken;
	if (*in > max || e.sent - them.taken > max || !arrival_wait(s, fd, *in, until))
		return false;
	STREAM_FAULT(STREAM_FAULT_ARRIVED);
	return stream_front_make(s, fd, *in) &&
	       !ff_real.fcntl(s->end, F_SETFL, ff_real.fcntl(fd, F_GETFL)) &&
	       stream_epoll_reserve(s) && stream_kernel_is_same(fd, &e);
}

/* Both are here. True: it is to be. */
static bool
agree(struct stream *s, int fd, uint64_t *in)
{
	int64_t until = stream_now_ns() + EXCHANGE_NS;

	STREAM_FAULT(STREAM_FAULT_BOTH);
	if (!prepare(s, fd, in, until)) {
		/* The other side cannot have committed it: we have not been ready. */
		(void)decide(s, FF_TCP_HERE_PARTED);
		step_set(s, FF_TCP_STEP_PARTED);
		return false;
	}
	step_set(s, FF_TCP_STEP_READY);
	STREAM_FAULT(STREAM_FAULT_READY);
	if (step_wait(s, fd, FF_TCP_STEP_READY, until) ? decide(s, FF_TCP_HERE_COMMITTED)
						       : decide(s, FF_TCP_HERE_PARTED))
		return true;
	step_set(s, FF_TCP_STEP_PARTED);
	return false;
}

/* ---- when it is ---- */

/* EBUSY: another thread makes a descriptor, and has taken this number before it was ours. */
static bool
fd_replace(int from, int to)
{
	int cloexec = ff_real.fcntl(to, F_GETFD) & FD_CLOEXEC, rc;

	do
		rc = (int)ff_sys(SYS_dup3, from, to, cloexec ? O_CLOEXEC : 0, 0, 0, 0);
	while (rc == -EBUSY || rc == -EINTR);
	return rc >= 0;
}

/* From here on there is no way back: what fails nevertheless ends the connection for both. */
bool
stream_fds_replace(struct stream *s)
{
	bool done = true;
	struct stat st;

	STREAM_FAULT(STREAM_FAULT_COMMITTED);
	stream_epoll_out(s);
	for (int fd = fdtab_next(0); fd >= 0; fd = fdtab_next((unsigned)fd + 1))
		if (fdtab_peek(fd) == s->obj)
			done = fd_replace(s->end, fd) && done;
	if (!ff_real.fstat(s->end, &st))
		s->inode = st.st_ino;
	STREAM_FAULT(STREAM_FAULT_REPLACED);
	return stream_epoll_in(s) && done;
}

static void
fds_exchange(struct stream *s)
{
	bool done = stream_fds_replace(s);

	fdtab_clear(s->other);
	ff_real.close(s->other);
	s->other = -1;
	if (done)
		return;
	atomic_fetch_or(&s->page->side[s->side].flags, FF_TCP_FLAG_RESET);
	(void)FF_REAL(shutdown)(s->end, SHUT_RDWR);
	debug("stream %u: ended, its descriptors were not exchanged", s->id);
}

/* Of the pair without FIFOs, only the page is needed any more. */
static void
rings_unmap(struct stream *s)
{
	if (ff_real.munmap((uint8_t *)s->page + FF_TCP_PAGE_SIZE, s->mapped - FF_TCP_PAGE_SIZE) ==
	    0)
		s->mapped = FF_TCP_PAGE_SIZE;
}

/* The program's descriptor of s, any of them; -1: none. */
static int
fd_of(const struct stream *s)
{
	int fd = fdtab_next(0);

	while (fd >= 0 && fdtab_peek(fd) != s->obj)
		fd = fdtab_next((unsigned)fd + 1);
	return fd;
}

/* The page has done its duty: with the next offer there is a new one. */
void
stream_part(struct stream *s)
{
	debug("stream %u: parted", s->id);
	stream_forget(s);
	stream_fifo_end(s);
	stream_epoll_unreserve(s);
	stream_offer_drop(s);
	stream_ask_later(s);
	atomic_store(&s->state, STREAM_KERNEL);
}

void
stream_anchor_drop(struct stream *s)
{
	fdtab_clear(s->anchor);
	ff_real.close(s->anchor);
	s->anchor = -1;
}

bool
stream_anchor_take(struct stream *s, int fd)
{
	int anchor = ff_real.fcntl(fd, F_DUPFD_CLOEXEC, 0);

	anchor = anchor < 0 ? anchor : fd_hide(anchor);
	if (anchor < 0)
		return false;
	s->anchor = anchor;
	return true;
}

static void
meet_locked(struct stream *s)
{
	int fd = fds_check(s) ? fd_of(s) : -1;
	uint64_t in = 0;

	if (fd < 0) {
		stream_part(s);
		return;
	}
	/* What may fail does so before it is too late. */
	if (!stream_anchor_take(s, fd))
		return;
	if (!s->page) {
		stream_host_meet(s, fd);
		return;
	}
	if (!come(s)) {
		stream_anchor_drop(s);
		if (s->misses >= MISSES_MAX)
			stream_part(s);
		return;
	}
	if (!agree(s, fd, &in)) {
		stream_anchor_drop(s);
		stream_part(s);
		return;
	}
	fds_exchange(s);
	stream_kernel_drop(s->anchor, in);
	if (!s->own)
		rings_unmap(s);
	debug("stream %u (fd %d): %s", s->id, fd, s->own ? "fifo" : "paired");
	stream_done(s, s->own ? FF_TCP_WAY_FIFO : FF_TCP_WAY_PAIR);
	atomic_store(&s->state, s->own ? STREAM_FIFO : STREAM_PAIRED);
	stream_kick();
}

void
stream_meet(struct stream *s)
{
	int saved = errno;

	if (!stream_trylock(s))
		return;
	if (stream_state_is(s, STREAM_OFFERED)) {
		atomic_store(&s->shut, true); /* seq_cst: pairs with stream_enter_slow()'s inside */
		if (!atomic_load(&s->inside) && !stream_forks() && !stream_ring_is_there())
			meet_locked(s);
		else
			stream_kick();
		atomic_store(&s->shut, false);
	}
	stream_unlock(s);
	errno = saved;
}
