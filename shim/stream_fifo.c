/* SPDX-License-Identifier: MIT */
/*
 * Streams whose bytes go by FIFOs (fifo.h): send and receive as the kernel does it for TCP. Any
 * thread, and any process that has inherited the stream by fork: what belongs to this side of it
 * lies in memory that they share, behind locks that outlive their holders.
 */
#include "stream_fifo.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "fifo.h"
#include "real.h"
#include "stream.h"
#include "stream_end.h"

/* How often a writer looks whether there is a reader. */
#define LOOK_MS 10u

struct stream_own {
	struct stream_end rx_end, tx_end;
	struct fifo_rx rx;
	struct fifo_tx tx;
	_Atomic uint32_t looked_ms; /* when a writer looked whether there is a reader */
	_Atomic bool
		watched; /* by epoll, once, in any process: the pair is to be true at any time */
	/* What the kernel's stream still held: read before the FIFO. */
	uint8_t *front;
	size_t front_off, front_len, front_size;
};

/*
 * A process that was killed in the middle may have taken on to send a byte, and not have sent it:
 * the other side would wait for that for ever. Rather the connection is over.
 */
static void
rx_lock(struct stream_own *o)
{
	if (!stream_end_lock(&o->rx_end))
		o->rx.broken = true;
}

static void
tx_lock(struct stream_own *o)
{
	if (!stream_end_lock(&o->tx_end))
		o->tx.broken = true;
}

/* ---- waiting ---- */

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

static bool
is_there(struct stream_own *o)
{
	return o->front_off < o->front_len || fifo_bytes(&o->rx);
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
	else if (o->rx.end || o->rx.error)
		*ret = 0; /* AF_UNIX's ECONNRESET may be about bytes that only tell: stream_tcp.c */
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

	rx_lock(o);
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
	/* A reader that has got all it asked for may wait before it asks again. */
	if ((size_t)ret == want && tell && !peek && !is_there(o))
		(void)fifo_rx_rest(&o->rx);
	stream_end_unlock(&o->rx_end);
	return ret;
}

/* Nothing, when there is something: as TCP, it waits for that. */
static ssize_t
recv_nothing(struct stream *s, int fd, int flags)
{
	uint8_t byte;
	ssize_t n = stream_fifo_recv(s, fd, &(struct iovec){&byte, 1}, 1, flags | MSG_PEEK);

	return n > 0 ? 0 : n;
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
		return recv_nothing(s, fd, flags);
	for (;;) {
		bool watched = atomic_load_explicit(&o->watched, memory_order_relaxed);

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
		if (n > 0 || stream_end_spin(&o->rx_end, &o->rx.f->tail, o->rx.head))
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

	rx_lock(o);
	n = o->front_len - o->front_off + fifo_bytes(&o->rx);
	stream_end_unlock(&o->rx_end);
	return n;
}

bool
stream_fifo_is_readable(struct stream *s)
{
	struct stream_own *o = s->own;
	bool is;

	rx_lock(o);
	is = is_there(o) || fifo_rx_rest(&o->rx) || o->rx.end || o->rx.error || o->rx.broken;
	stream_end_unlock(&o->rx_end);
	return is;
}

/* ---- sending ---- */

static bool
peer_is_gone(int fd)
{
	struct pollfd p = {.fd = fd};

	return FF_REAL(poll)(&p, 1, 0) > 0 && (p.revents & (POLLHUP | POLLERR));
}

/* A reader that was killed says nothing to who never waits for room: a look, now and then. */
static bool
is_left_alone(struct stream_own *o, int fd)
{
	struct timespec t;
	uint32_t ms;

	if (atomic_load_explicit(&o->tx.f->head, memory_order_relaxed) == o->tx.tail)
		return false; /* it reads, or gets a byte */
	clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
	ms = (uint32_t)t.tv_sec * 1000u + (uint32_t)(t.tv_nsec / 1000000);
	if (ms - atomic_load_explicit(&o->looked_ms, memory_order_relaxed) < LOOK_MS)
		return false;
	atomic_store_explicit(&o->looked_ms, ms, memory_order_relaxed);
	return peer_is_gone(fd);
}

ssize_t
stream_fifo_send(struct stream *s, int fd, const struct iovec *iov, size_t count, int flags)
{
	size_t want = iov_len(iov, count), done = 0, n;
	struct stream_own *o = s->own;
	bool broken;
	int rc = 0;

	if (is_left_alone(o, fd))
		return -EPIPE;
	while (done < want) {
		if (done && stream_send_is_over(s))
			return (ssize_t)done;
		tx_lock(o);
		n = fifo_put(&o->tx, iov, count, done, false);
		broken = o->tx.broken;
		stream_end_unlock(&o->tx_end);
		done += n;
		if (broken)
			return done ? (ssize_t)done : -ECONNRESET;
		if (n)
			continue;
		/*
		 * Also where the program may not wait: what a reader that runs needs for this much
		 * is less than it takes to tell the program of it.
		 */
		if (stream_end_spin(&o->tx_end, &o->tx.f->head, o->tx.head))
			continue;
		tx_lock(o);
		n = fifo_put(&o->tx, iov, count, done, true);
		stream_end_unlock(&o->tx_end);
		done += n;
		if (n)
			continue;
		if (o->tx.error || peer_is_gone(fd))
			return done ? (ssize_t)done : -EPIPE;
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

	tx_lock(o);
	n = fifo_room(&o->tx);
	stream_end_unlock(&o->tx_end);
	return n;
}

bool
stream_fifo_is_drained(struct stream *s)
{
	struct stream_own *o = s->own;
	bool is;

	tx_lock(o);
	is = fifo_room(&o->tx) == FF_FIFO_SIZE;
	stream_end_unlock(&o->tx_end);
	return is;
}

void
stream_fifo_watch(struct stream *s)
{
	atomic_store(&s->own->watched, true);
	(void)stream_fifo_is_readable(s);
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
	atomic_store(&o->watched, s->num_watches != 0);
	o->rx_end.spin_ns = o->tx_end.spin_ns = STREAM_SPIN_FIRST_NS;
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
