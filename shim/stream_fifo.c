/* SPDX-License-Identifier: MIT */
/*
 * Streams whose bytes go by FIFOs (fifo.h): send and receive as the kernel does it for TCP. Any
 * thread, and any process that has inherited the stream by fork: what belongs to this side of it
 * lies in memory that they share, behind locks that outlive their holders.
 */
#include "stream_fifo.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "fifo.h"
#include "real.h"
#include "stream.h"

/* Spinning for the other side: as long as it has paid of late. */
#define SPIN_MIN_NS   1000u
#define SPIN_FIRST_NS 10000u
#define SPIN_MAX_NS   50000u
/* A holder of a lock that has died is found out so late. */
#define LOCK_NS	      50000000l

struct own_end {
	_Atomic uint32_t lock; /* 0, or the holder's thread id and WAITED */
	uint32_t spin_ns;
};
#define WAITED (1u << 31)

struct stream_own {
	struct own_end rx_end, tx_end;
	struct fifo_rx rx;
	struct fifo_tx tx;
	/* What the kernel's stream still held: read before the FIFO. */
	uint8_t *front;
	size_t front_off, front_len, front_size;
};

/* ---- locks between processes ---- */

static bool
is_gone(uint32_t tid)
{
	return ff_sys(SYS_kill, (int)tid, 0, 0, 0, 0, 0) == -ESRCH;
}

static void
end_lock(struct own_end *e)
{
	uint32_t self = (uint32_t)ff_sys_gettid(), seen = 0;
	struct timespec ts = {.tv_nsec = LOCK_NS};

	if (atomic_compare_exchange_strong(&e->lock, &seen, self))
		return;
	for (;;) {
		if (!seen) {
			/* Others may wait, too. */
			if (atomic_compare_exchange_strong(&e->lock, &seen, self | WAITED))
				return;
			continue;
		}
		if (!(seen & WAITED) &&
		    !atomic_compare_exchange_strong(&e->lock, &seen, seen | WAITED))
			continue;
		seen |= WAITED;
		if (ff_sys(SYS_futex, &e->lock, FUTEX_WAIT, seen, &ts, 0, 0) == -ETIMEDOUT &&
		    is_gone(seen & ~WAITED) &&
		    atomic_compare_exchange_strong(&e->lock, &seen, self | WAITED))
			return;
		seen = atomic_load(&e->lock);
	}
}

static void
end_unlock(struct own_end *e)
{
	if (atomic_exchange(&e->lock, 0) & WAITED)
		ff_sys(SYS_futex, &e->lock, FUTEX_WAKE, 1, 0, 0, 0);
}

/* ---- waiting ---- */

static uint64_t
now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void
relax(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#else
	__asm__ volatile("yield" ::: "memory");
#endif
}

/* True: word is not what it was. */
static bool
spin(struct own_end *e, _Atomic uint32_t *word, uint32_t was)
{
	uint64_t until = now_ns() + e->spin_ns;

	for (unsigned i = 1;; i++) {
		if (atomic_load_explicit(word, memory_order_acquire) != was) {
			e->spin_ns = e->spin_ns * 2 < SPIN_MAX_NS ? e->spin_ns * 2 : SPIN_MAX_NS;
			return true;
		}
		if (i % 16 == 0 && now_ns() >= until)
			break;
		relax();
	}
	e->spin_ns = e->spin_ns / 2 > SPIN_MIN_NS ? e->spin_ns / 2 : SPIN_MIN_NS;
	return false;
}

/* 0; -EAGAIN: the socket's own time-out has passed; -EINTR. */
static int
sleep_for(int fd, short events, int timeout_option)
{
	struct pollfd p = {.fd = fd, .events = events};
	struct timeval tv = {0};
	struct timespec ts, *timeout = NULL;
	socklen_t len = sizeof(tv);
	int rc;

	if (!FF_REAL(getsockopt)(fd, SOL_SOCKET, timeout_option, &tv, &len) &&
	    (tv.tv_sec || tv.tv_usec)) {
		ts = (struct timespec){tv.tv_sec, tv.tv_usec * 1000};
		timeout = &ts;
	}
	do
		rc = FF_REAL(ppoll)(&p, 1, timeout, NULL);
	while (rc < 0 && errno == EINTR && !ff_signal_interrupts);
	return rc > 0 ? 0 : rc == 0 ? -EAGAIN : -errno;
}

static bool
may_block(int fd, int flags)
{
	return !(flags & MSG_DONTWAIT) && !(ff_real.fcntl(fd, F_GETFL) & O_NONBLOCK);
}

/* ---- receiving ---- */

static size_t
iov_len(const struct iovec *iov, size_t count)
{
	size_t len = 0;

	for (size_t i = 0; i < count; i++)
		len += iov[i].iov_len;
	return len;
}

/* From the front, to the skip'th byte of iov and on. */
static size_t
front_get(struct stream_own *o, const struct iovec *iov, size_t count, size_t skip, bool peek)
{
	size_t there = o->front_len - o->front_off, done = 0, len;

	for (size_t i = 0; i < count && there; i++) {
		if (skip >= iov[i].iov_len) {
			skip -= iov[i].iov_len;
			continue;
		}
		len = iov[i].iov_len - skip;
		len = len < there ? len : there;
		memcpy((uint8_t *)iov[i].iov_base + skip, o->front + o->front_off + done, len);
		skip = 0;
		there -= len;
		done += len;
	}
	if (!peek)
		o->front_off += done;
	return done;
}

/* What is there now, behind the first skip bytes of iov. Lock held. */
static size_t
take(struct stream_own *o, const struct iovec *iov, size_t count, size_t skip, bool peek)
{
	size_t n = 0;

	if (o->front_off < o->front_len)
		n = front_get(o, iov, count, skip, peek);
	/* A peek goes on behind the front only from its beginning. */
	return n + fifo_get(&o->rx, iov, count, skip + n, peek);
}

/* Nothing is there. 1: something came; 0: nothing, and what else there is to say is in *ret. */
static int
rest(struct stream_own *o, ssize_t *ret)
{
	if (fifo_rx_rest(&o->rx))
		return 1;
	*ret = -EAGAIN;
	if (o->rx.broken)
		*ret = -ECONNRESET;
	else if (o->rx.error) {
		*ret = -o->rx.error;
		o->rx.error = 0;
		o->rx.end = true;
	} else if (o->rx.end)
		*ret = 0;
	return 0;
}

/* One look. Bytes > 0; 0: the end; -EAGAIN; another error. */
static ssize_t
recv_once(struct stream *s, const struct iovec *iov, size_t count, size_t skip, size_t want,
	  bool peek, bool tell)
{
	struct stream_own *o = s->own;
	ssize_t ret = 0;
	size_t n;

	end_lock(&o->rx_end);
	do {
		n = take(o, iov, count, skip + (size_t)ret, peek);
		ret += (ssize_t)n;
		/* An edge-triggered reader takes a short read for the end of what is there. */
		if ((size_t)ret == want || (ret && (peek || !tell)))
			break;
		if (ret) {
			if (!fifo_rx_rest(&o->rx))
				break;
		} else if (!tell && !fifo_bytes(&o->rx)) {
			ret = -EAGAIN;
		} else if (!rest(o, &ret)) {
			break;
		}
	} while (ret >= 0);
	end_unlock(&o->rx_end);
	return ret;
}

ssize_t
stream_fifo_recv(struct stream *s, int fd, const struct iovec *iov, size_t count, int flags)
{
	size_t want = iov_len(iov, count), done = 0;
	bool peek = flags & MSG_PEEK, all = (flags & MSG_WAITALL) && !peek;
	struct stream_own *o = s->own;
	ssize_t n;
	int rc;

	if (!want)
		return 0;
	for (;;) {
		bool watched = s->num_watches != 0;

		n = recv_once(s, iov, count, done, want - done, peek, watched);
		if (n > 0)
			done += (size_t)n;
		if (done == want || (done && !all) || (n <= 0 && n != -EAGAIN))
			break;
		if (!may_block(fd, flags)) {
			if (!watched && n == -EAGAIN) {
				n = recv_once(s, iov, count, done, want - done, peek, true);
				done += n > 0 ? (size_t)n : 0;
			}
			break;
		}
		if (n > 0 || spin(&o->rx_end, &o->rx.f->tail, o->rx.head))
			continue;
		n = recv_once(s, iov, count, done, want - done, peek, true);
		if (n > 0) {
			done += (size_t)n;
			if (done == want || !all)
				break;
			continue;
		}
		if (n != -EAGAIN)
			break;
		rc = sleep_for(fd, POLLIN, SO_RCVTIMEO);
		if (rc) {
			n = rc;
			break;
		}
	}
	return done ? (ssize_t)done : n;
}

size_t
stream_fifo_unread(struct stream *s)
{
	struct stream_own *o = s->own;
	size_t n;

	end_lock(&o->rx_end);
	n = o->front_len - o->front_off + fifo_bytes(&o->rx);
	end_unlock(&o->rx_end);
	return n;
}

bool
stream_fifo_is_readable(struct stream *s)
{
	struct stream_own *o = s->own;
	bool is;

	end_lock(&o->rx_end);
	is = o->front_off < o->front_len || fifo_bytes(&o->rx) || fifo_rx_rest(&o->rx) ||
	     o->rx.end || o->rx.error || o->rx.broken;
	end_unlock(&o->rx_end);
	return is;
}

/* ---- sending ---- */

/* The pair's own word on a stream that takes nothing more: EPIPE and its signal, ECONNRESET. */
static ssize_t
send_fail(int fd, int flags)
{
	static const char byte;

	return FF_REAL(send)(fd, &byte, 1, (flags & MSG_NOSIGNAL) | MSG_DONTWAIT) < 0 ? -errno
										      : -EPIPE;
}

static bool
peer_is_gone(int fd)
{
	struct pollfd p = {.fd = fd};

	return FF_REAL(poll)(&p, 1, 0) > 0 && (p.revents & (POLLHUP | POLLERR));
}

ssize_t
stream_fifo_send(struct stream *s, int fd, const struct iovec *iov, size_t count, int flags)
{
	size_t want = iov_len(iov, count), done = 0, n;
	struct stream_own *o = s->own;
	bool broken;
	int rc = 0;

	while (done < want) {
		if (atomic_load_explicit(&s->no_more, memory_order_relaxed))
			return done ? (ssize_t)done : send_fail(fd, flags);
		end_lock(&o->tx_end);
		n = fifo_put(&o->tx, iov, count, done, false);
		broken = o->tx.broken;
		end_unlock(&o->tx_end);
		done += n;
		if (broken)
			return done ? (ssize_t)done : -ECONNRESET;
		if (n)
			continue;
		if (may_block(fd, flags) && spin(&o->tx_end, &o->tx.f->head, o->tx.head))
			continue;
		end_lock(&o->tx_end);
		n = fifo_put(&o->tx, iov, count, done, true);
		end_unlock(&o->tx_end);
		done += n;
		if (n)
			continue;
		if (o->tx.error || peer_is_gone(fd))
			return done ? (ssize_t)done : send_fail(fd, flags);
		if (!may_block(fd, flags)) {
			rc = -EAGAIN;
			break;
		}
		rc = sleep_for(fd, POLLOUT, SO_SNDTIMEO);
		if (rc)
			break;
	}
	return done ? (ssize_t)done : rc;
}

size_t
stream_fifo_room(struct stream *s)
{
	struct stream_own *o = s->own;
	size_t n;

	end_lock(&o->tx_end);
	n = fifo_room(&o->tx);
	end_unlock(&o->tx_end);
	return n;
}

/* ---- beginning and end ---- */

static void *
shared_map(size_t size)
{
	void *p =
		ff_real.mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

bool
stream_fifo_prepare(struct stream *s)
{
	s->own = shared_map(sizeof(*s->own));
	return s->own != NULL;
}

uint8_t *
stream_fifo_front(struct stream *s, size_t len)
{
	s->own->front = shared_map(len);
	s->own->front_size = len;
	return s->own->front;
}

void
stream_fifo_begin(struct stream *s, size_t front_len)
{
	struct stream_own *o = s->own;
	uint8_t *memory = (uint8_t *)s->page;
	struct ff_fifo *in = &s->page->fifo[1 - s->side];

	o->front_len = front_len;
	o->rx_end.spin_ns = o->tx_end.spin_ns = SPIN_FIRST_NS;
	fifo_init(in);
	fifo_rx_init(&o->rx, in, memory + FF_TCP_RING(1 - s->side), s->end);
	fifo_tx_init(&o->tx, &s->page->fifo[s->side], memory + FF_TCP_RING(s->side), s->end);
	if (!front_len)
		return;
	/* There is something: the caller has put the byte that says so into the end. */
	atomic_store(&in->readable, 0);
	o->rx.armed = false;
}

void
stream_fifo_end(struct stream *s)
{
	if (!s->own)
		return;
	if (s->own->front)
		ff_real.munmap(s->own->front, s->own->front_size);
	ff_real.munmap(s->own, sizeof(*s->own));
	s->own = NULL;
}
