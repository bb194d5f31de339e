/* SPDX-License-Identifier: MIT */
/*
 * The exchange of a stream's socket (freeflow/tcp.h, struct ff_tcp_page). Both shims come to the
 * page at about the same time; who finds nobody there waits a moment and goes again, having lost
 * nothing. With both there, each stops sending, says how far the kernel's stream goes and how much
 * of the other's it has read, moves the rest of it to the front of its own end of the pair, and
 * puts that end under the program's descriptors. Any thread, outside of the stream; signals wait.
 *
 * The other side is hostile at worst, dead at best: then the kernel's socket says so.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "debug.h"
#include "fdhide.h"
#include "fifo.h"
#include "real.h"
#include "stream.h"
#include "stream_fifo.h"
#include "stream_prefix.h"

/* How long who is first waits for the other one. */
#define WAIT_NS		      1000000l
/* How long one look at the other's step lasts, before it is seen whether it has died. */
#define STEP_NS		      2000000l
#define MISSES_MAX	      64u
#define MOVE_BYTES	      262144u
/* include/net/tcp_states.h; netinet/tcp.h does not go together with linux/tcp.h. */
#define TCP_STATE_ESTABLISHED 1

static void
wait_while(_Atomic uint32_t *word, uint32_t seen, long ns)
{
	struct timespec ts = {.tv_nsec = ns};

	/* Shared: not the private kind of futex. */
	ff_sys(SYS_futex, word, FUTEX_WAIT, seen, &ts, 0, 0);
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
	there = s->page && atomic_load(&s->page->here) == (FF_TCP_HERE_0 << (1 - s->side));
	stream_unlock(s);
	return there;
}

void
stream_offer_drop(struct stream *s)
{
	int *fds[] = {&s->end, &s->other};

	for (unsigned i = 0; i < 2; i++) {
		if (*fds[i] < 0)
			continue;
		fdtab_clear(*fds[i]);
		ff_real.close(*fds[i]);
		*fds[i] = -1;
	}
	if (s->page)
		ff_real.munmap(s->page, FF_TCP_MEMORY);
	s->page = NULL;
}

/* ---- coming together ---- */

static bool
come(struct stream *s)
{
	_Atomic uint32_t *here = &s->page->here;
	uint32_t own = FF_TCP_HERE_0 << s->side, seen = FF_TCP_HERE_NONE;

	if (atomic_compare_exchange_strong(here, &seen, own)) {
		stream_poke(s);
		wait_while(here, own, WAIT_NS);
		seen = own;
		/* Both, or somebody writes nonsense into it. */
		return !atomic_compare_exchange_strong(here, &seen, FF_TCP_HERE_NONE) &&
		       seen == FF_TCP_HERE_BOTH;
	}
	if (seen != (FF_TCP_HERE_BOTH & ~own) ||
	    !atomic_compare_exchange_strong(here, &seen, FF_TCP_HERE_BOTH))
		return false;
	wake(here);
	return true;
}

/* ---- how far the kernel's stream goes ---- */

struct extent {
	uint64_t sent, taken;
	bool whole; /* connected, and nobody has shut it down */
};

/*
 * What has been sent, in two ways: a segment whose retransmission failed is counted as repeated,
 * but not as sent. The SYN of whom connected counts as acknowledged.
 */
static bool
sent_get(int fd, const struct tcp_info *info, uint64_t *sent)
{
	int unacked = 0;
	uint64_t written;

	*sent = info->tcpi_bytes_sent - info->tcpi_bytes_retrans + info->tcpi_notsent_bytes;
	if (!info->tcpi_bytes_retrans)
		return true;
	if (ff_real.ioctl(fd, SIOCOUTQ, &unacked))
		return false;
	written = info->tcpi_bytes_acked + (uint64_t)unacked;
	return written - *sent <= 1;
}

static bool
info_get(int fd, struct tcp_info *info)
{
	socklen_t len = sizeof(*info);

	memset(info, 0, sizeof(*info));
	return !FF_REAL(getsockopt)(fd, IPPROTO_TCP, TCP_INFO, info, &len) &&
	       len >= offsetof(struct tcp_info, tcpi_bytes_retrans) +
			       sizeof(info->tcpi_bytes_retrans);
}

static bool
extent_get(int fd, struct extent *e)
{
	struct tcp_info info, again;
	int unread = 0;

	if (!info_get(fd, &again))
		return false;
	/* Two calls that fit together: nothing has arrived between them. */
	do {
		info = again;
		if (ff_real.ioctl(fd, SIOCINQ, &unread) || !info_get(fd, &again))
			return false;
	} while (info.tcpi_bytes_received != again.tcpi_bytes_received);
	e->taken = info.tcpi_bytes_received - (uint64_t)unread;
	e->whole = again.tcpi_state == TCP_STATE_ESTABLISHED;
	return sent_get(fd, &again, &e->sent);
}

/* The peer's process is gone, as far as its socket tells. */
static bool
is_dead(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLRDHUP};

	return FF_REAL(poll)(&p, 1, 0) > 0 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR));
}

/* Until the other side has come so far. False: it has died. */
static bool
step_wait(struct stream *s, int fd, uint32_t step)
{
	_Atomic uint32_t *word = &s->page->side[1 - s->side].step;
	uint32_t seen;

	while ((seen = atomic_load_explicit(word, memory_order_acquire)) < step) {
		wait_while(word, seen, STEP_NS);
		if (atomic_load_explicit(word, memory_order_acquire) < step && is_dead(fd))
			return atomic_load_explicit(word, memory_order_acquire) >= step;
	}
	return true;
}

static void
step_set(struct stream *s, uint32_t step)
{
	_Atomic uint32_t *word = &s->page->side[s->side].step;

	atomic_store_explicit(word, step, memory_order_release);
	wake(word);
}

/* ---- moving ---- */

/* The same on both sides: what an end takes, going by both. */
static uint64_t
move_max(const struct stream *s)
{
	uint64_t max = FF_TCP_MOVE_MAX;
	int ends[] = {s->end, s->other}, size = 0;
	socklen_t len;

	for (unsigned i = 0; i < 2; i++) {
		len = sizeof(size);
		if (FF_REAL(getsockopt)(ends[i], SOL_SOCKET, SO_SNDBUF, &size, &len))
			return 0;
		/* Half of it may be the kernel's own. */
		if (max > (uint64_t)size / 2)
			max = (uint64_t)size / 2;
	}
	return max;
}

/* len bytes, to the end of what s->end will read. False: somebody holds it full. */
static bool
front_put(const struct stream *s, const uint8_t *buf, size_t len)
{
	ssize_t n;

	for (; len; buf += n, len -= (size_t)n) {
		n = FF_REAL(send)(s->other, buf, len, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			n = 0;
		if (n < 0)
			return false;
	}
	return true;
}

/* The next of left bytes of the kernel's stream; 0: there are no more, the peer has died. */
static ssize_t
left_recv(int fd, uint8_t *buf, uint64_t left)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	ssize_t n;

	while ((n = FF_REAL(recv)(fd, buf, left, MSG_DONTWAIT)) < 0 && errno == EAGAIN)
		FF_REAL(poll)(&p, 1, -1);
	return n > 0 ? n : 0;
}

static bool
move_by(const struct stream *s, int fd, uint64_t left, uint8_t *buf)
{
	ssize_t n;

	while (left && (n = left_recv(fd, buf, left < MOVE_BYTES ? left : MOVE_BYTES))) {
		if (!front_put(s, buf, (size_t)n))
			return false;
		left -= (uint64_t)n;
	}
	return true;
}

/* To memory of our own, and a byte in front of the end to say so. */
static bool
move_front(struct stream *s, int fd, uint64_t left)
{
	static const uint8_t byte;
	size_t done = 0;
	uint8_t *front;
	ssize_t n;

	if (left) {
		front = stream_fifo_front(s, left);
		if (!front)
			return false;
		while (done < left && (n = left_recv(fd, front + done, left - done)))
			done += (size_t)n;
	}
	if (done && !front_put(s, &byte, 1))
		return false;
	stream_fifo_begin(s, done);
	return true;
}

/* What is left of the kernel's stream; less than that where the peer has died. */
static bool
move(const struct stream *s, int fd, uint64_t left)
{
	uint8_t *buf;
	bool done;

	if (!left)
		return true;
	/* Not on a stack that may be small. */
	buf = ff_real.mmap(NULL, MOVE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			   -1, 0);
	if (buf == MAP_FAILED)
		return false;
	done = move_by(s, fd, left, buf);
	ff_real.munmap(buf, MOVE_BYTES);
	return done;
}

/* ---- the exchange ---- */

static void
fds_exchange(struct stream *s, int fd)
{
	int flags = ff_real.fcntl(fd, F_GETFL), next, cloexec;

	ff_real.fcntl(s->end, F_SETFL, flags);
	stream_epoll_out(s);
	for (next = fdtab_next(0); next >= 0; next = fdtab_next((unsigned)next + 1)) {
		if (fdtab_peek(next) != s->obj)
			continue;
		cloexec = ff_real.fcntl(next, F_GETFD) & FD_CLOEXEC;
		ff_real.dup3(s->end, next, cloexec ? O_CLOEXEC : 0);
	}
	stream_epoll_in(s);
	fdtab_clear(s->other);
	ff_real.close(s->other);
	s->other = -1;
}

/* A pair beside FIFOs takes as little as can be: it is to be filled up. */
static void
buffers_set(const struct stream *s)
{
	static const int size = FIFO_SNDBUF;

	(void)FF_REAL(setsockopt)(s->end, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
}

/* Says how far we are, and learns it of the other side. False: there will be no exchange. */
static bool
extents_exchange(struct stream *s, int fd, struct extent *own, struct ff_tcp_side *them)
{
	struct ff_tcp_side *here = &s->page->side[s->side], *there = &s->page->side[1 - s->side];

	if (!extent_get(fd, own))
		*own = (struct extent){0};
	here->sent = own->sent;
	here->taken = own->taken;
	if (stream_fifo_wanted() && stream_fifo_prepare(s))
		atomic_store(&here->flags, FF_TCP_FLAG_FIFO);
	step_set(s, own->whole ? FF_TCP_STEP_STOPPED : FF_TCP_STEP_PARTED);
	if (!own->whole || !step_wait(s, fd, FF_TCP_STEP_STOPPED))
		return false;
	them->step = atomic_load_explicit(&there->step, memory_order_acquire);
	them->flags = atomic_load(&there->flags);
	them->sent = __atomic_load_n(&there->sent, __ATOMIC_RELAXED);
	them->taken = __atomic_load_n(&there->taken, __ATOMIC_RELAXED);
	return them->step != FF_TCP_STEP_PARTED;
}

/* Both are here. True: the descriptors are exchanged. False: nothing has changed. */
static bool
exchange(struct stream *s, int fd)
{
	struct ff_tcp_side them;
	struct extent e;
	uint64_t in, max;
	bool fifo;

	if (!extents_exchange(s, fd, &e, &them))
		return false;
	fifo = s->own && (them.flags & FF_TCP_FLAG_FIFO);
	max = fifo ? FF_TCP_MOVE_MAX : move_max(s);
	in = them.sent - e.taken;
	if (in > max || e.sent - them.taken > max)
		return false;
	if (!(fifo ? move_front(s, fd, in) : move(s, fd, in))) {
		debug("stream %u: its front is full", s->id);
		return false;
	}
	step_set(s, FF_TCP_STEP_MOVED);
	(void)step_wait(s, fd, FF_TCP_STEP_MOVED);
	if (fifo)
		buffers_set(s);
	fds_exchange(s, fd);
	if (!fifo)
		stream_fifo_end(s);
	return true;
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

/* Steps begin anew: both sides have seen the same figures, and say so before they come again. */
static void
part(struct stream *s)
{
	debug("stream %u: parted", s->id);
	stream_forget(s);
	stream_fifo_end(s);
	stream_offer_drop(s);
	stream_ask_later(s);
	atomic_store(&s->state, STREAM_KERNEL);
}

static void
anchor_drop(struct stream *s)
{
	fdtab_clear(s->anchor);
	ff_real.close(s->anchor);
	s->anchor = -1;
}

static void
meet_locked(struct stream *s)
{
	int fd = fd_of(s), anchor;

	if (fd < 0)
		return;
	/* What may fail does so before it is too late. */
	anchor = ff_real.fcntl(fd, F_DUPFD_CLOEXEC, 0);
	anchor = anchor < 0 ? anchor : fd_hide(anchor);
	if (anchor < 0)
		return;
	s->anchor = anchor;
	if (!come(s)) {
		anchor_drop(s);
		if (++s->misses == MISSES_MAX)
			part(s);
		return;
	}
	if (!exchange(s, fd)) {
		anchor_drop(s);
		part(s);
		return;
	}
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
		if (!atomic_load(&s->inside))
			meet_locked(s);
		else
			stream_kick();
		atomic_store(&s->shut, false);
	}
	stream_unlock(s);
	errno = saved;
}
