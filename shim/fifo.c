/* SPDX-License-Identifier: MIT */
/*
 * FIFOs between two processes: bytes in shared memory, readiness in a socket. Whoever calls has the
 * end for himself. The protocol is modelled in tests/model/fifo.pml.
 *
 * What a byte costs at least: two copies, into the ring and out of it, and one transfer of its line
 * from core to core, or through memory where the writer's stores go past the caches. What a piece
 * costs: the lines of tail and of head, once each; no system call as long as both sides are at it.
 * What a side that sleeps costs: a send() and a recv() of one byte, and what the kernel takes to
 * wake it.
 */
#include "fifo.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "real.h"

/* Fillers that may lie in a socket. A side that counts more writes nonsense. */
#define FILLERS_MAX 4096u
#define DEBT_MAX    (2 * FILLERS_MAX)
/* Room that is worth a wake-up. */
#define WAKE_ROOM   (FF_FIFO_SIZE / 2)
/* Bytes after which the other side may have them, while there are more to copy. */
#define PIECE	    32768u

void
fifo_init(struct ff_fifo *f)
{
	atomic_store(&f->tail, 0);
	atomic_store(&f->head, 0);
	atomic_store(&f->fillers, 0);
	atomic_store(&f->readable, 1);
}

void
fifo_tx_init(struct fifo_tx *t, struct ff_fifo *f, uint8_t *ring, int fd)
{
	*t = (struct fifo_tx){.f = f, .ring = ring, .fd = fd};
}

void
fifo_rx_init(struct fifo_rx *r, struct ff_fifo *f, const uint8_t *ring, int fd)
{
	*r = (struct fifo_rx){.f = f, .ring = ring, .fd = fd, .armed = true};
}

/* ---- between the ring and the program's memory ---- */

#if defined(__SSE2__)
/* Shorter ones are read out of the writer's cache as soon. */
#define STREAM_MIN 1024u

/*
 * Past the caches: the lines of the ring lie in the reader's, and need not come from there first.
 * Visible before whatever this thread then stores.
 */
static void
fifo_copy(uint8_t *to, const uint8_t *from, size_t len)
{
	size_t head = -(uintptr_t)to % 64, body;

	if (len < STREAM_MIN) {
		memcpy(to, from, len);
		return;
	}
	memcpy(to, from, head);
	body = (len - head) / 64 * 64;
	for (size_t i = head; i < head + body; i += 64) {
		__m128i a = _mm_loadu_si128((const __m128i *)(from + i));
		__m128i b = _mm_loadu_si128((const __m128i *)(from + i + 16));
		__m128i c = _mm_loadu_si128((const __m128i *)(from + i + 32));
		__m128i d = _mm_loadu_si128((const __m128i *)(from + i + 48));

		_mm_stream_si128((__m128i *)(to + i), a);
		_mm_stream_si128((__m128i *)(to + i + 16), b);
		_mm_stream_si128((__m128i *)(to + i + 32), c);
		_mm_stream_si128((__m128i *)(to + i + 48), d);
	}
	memcpy(to + head + body, from + head + body, len - head - body);
	_mm_sfence();
}
#else
static void
fifo_copy(uint8_t *to, const uint8_t *from, size_t len)
{
	memcpy(to, from, len);
}
#endif

struct ring_part {
	size_t off, len;
};

/* At most two pieces: up to the end of the ring, and from its beginning. */
static unsigned
ring_parts(uint32_t index, size_t len, struct ring_part out[2])
{
	size_t off = index % FF_FIFO_SIZE, first = FF_FIFO_SIZE - off;

	if (len <= first) {
		out[0] = (struct ring_part){off, len};
		return 1;
	}
	out[0] = (struct ring_part){off, first};
	out[1] = (struct ring_part){0, len - first};
	return 2;
}

static void
ring_put(uint8_t *ring, uint32_t index, const uint8_t *from, size_t len)
{
	struct ring_part parts[2];
	unsigned n = ring_parts(index, len, parts);

	for (unsigned i = 0; i < n; from += parts[i++].len)
		fifo_copy(ring + parts[i].off, from, parts[i].len);
}

static void
ring_get(const uint8_t *ring, uint32_t index, uint8_t *to, size_t len)
{
	struct ring_part parts[2];
	unsigned n = ring_parts(index, len, parts);

	for (unsigned i = 0; i < n; to += parts[i++].len)
		memcpy(to, ring + parts[i].off, parts[i].len);
}

/* Bytes of the vector behind the skip'th. */
static size_t
iov_bytes(const struct iovec *iov, size_t count, size_t skip)
{
	size_t n = 0;

	for (size_t i = 0; i < count; i++)
		n += iov[i].iov_len;
	return n > skip ? n - skip : 0;
}

/*
 * The first len bytes of the ring from index on, which it has, and those of the vector behind the
 * skip'th. Returns len, or fewer where the vector has fewer.
 */
static size_t
ring_iov(uint8_t *ring, uint32_t index, const struct iovec *iov, size_t count, size_t skip,
	 size_t len, bool put)
{
	size_t done = 0, n;
	uint8_t *base;

	for (size_t i = 0; i < count && done < len; i++) {
		if (skip >= iov[i].iov_len) {
			skip -= iov[i].iov_len;
			continue;
		}
		base = (uint8_t *)iov[i].iov_base + skip;
		n = iov[i].iov_len - skip;
		n = n < len - done ? n : len - done;
		if (put)
			ring_put(ring, index + (uint32_t)done, base, n);
		else
			ring_get(ring, index + (uint32_t)done, base, n);
		skip = 0;
		done += n;
	}
	return done;
}

/* ---- writing ---- */

/* Room by what was last seen of the reader. */
static size_t
room_seen(const struct fifo_tx *t)
{
	return t->broken ? 0 : FF_FIFO_SIZE - (t->tail - t->head);
}

size_t
fifo_room(struct fifo_tx *t)
{
	uint32_t head = atomic_load_explicit(&t->f->head, memory_order_acquire);

	if (head - t->head > t->tail - t->head)
		t->broken = true; /* beyond tail, or backwards */
	else
		t->head = head;
	return room_seen(t);
}

/* One byte. The socket has room for it as long as the reader keeps to the protocol. */
static void
byte_send(struct fifo_tx *t)
{
	static const char byte;

	if (FF_REAL(send)(t->fd, &byte, 1, MSG_DONTWAIT | MSG_NOSIGNAL) == 1)
		return;
	if (errno == EAGAIN)
		t->broken = true;
	else
		t->error = errno;
}

static void
publish(struct fifo_tx *t)
{
	atomic_store_explicit(&t->f->tail, t->tail, memory_order_release);
	atomic_thread_fence(memory_order_seq_cst); /* pairs with the one of fifo_rx_rest() */
	if (atomic_load_explicit(&t->f->readable, memory_order_relaxed) &&
	    atomic_exchange(&t->f->readable, 0))
		byte_send(t);
}

/*
 * Full: the kernel is to say so. Each byte is counted before it is sent, so that there is none in
 * the socket that nobody knows, wherever this process dies. What was filled in before counts until
 * the reader takes it; should it have been too little, more comes on top.
 */
static void
fill_up(struct fifo_tx *t)
{
	struct pollfd p = {.fd = t->fd, .events = POLLOUT};

	/* Bounded by n, too: the reader may take bytes and leave the FIFO full. */
	for (uint32_t n = 0; n < FILLERS_MAX && !t->error && !fifo_room(t) && !t->broken &&
			     atomic_load(&t->f->fillers) < FILLERS_MAX;
	     n++) {
		if (FF_REAL(poll)(&p, 1, 0) != 1)
			break;
		if (p.revents != POLLOUT) {
			t->error = EPIPE;
			break;
		}
		atomic_fetch_add(&t->f->fillers, 1);
		byte_send(t);
	}
	atomic_thread_fence(memory_order_seq_cst); /* pairs with the one of taken() */
}

size_t
fifo_put(struct fifo_tx *t, const struct iovec *iov, size_t count, size_t skip, bool fill)
{
	size_t want = iov_bytes(iov, count, skip), done = 0, room = room_seen(t);

	if (room < want)
		room = fifo_room(t);
	while (done < want && !t->broken && !t->error) {
		if (room) {
			size_t n = want - done < room ? want - done : room;

			n = n < PIECE ? n : PIECE;
			n = ring_iov(t->ring, t->tail, iov, count, skip + done, n, true);
			t->tail += (uint32_t)n;
			done += n;
			publish(t);
			room = fifo_room(t);
			continue;
		}
		if (!fill)
			break;
		fill_up(t);
		room = fifo_room(t);
		if (!room)
			break;
	}
	return done;
}

/* ---- reading ---- */

/* Bytes by what was last seen of the writer. */
static size_t
bytes_seen(const struct fifo_rx *r)
{
	return r->broken ? 0 : r->tail - r->head;
}

size_t
fifo_bytes(struct fifo_rx *r)
{
	uint32_t tail = atomic_load_explicit(&r->f->tail, memory_order_acquire);

	if (tail - r->head > FF_FIFO_SIZE || tail - r->head < r->tail - r->head)
		r->broken = true; /* more than fits, or backwards */
	else
		r->tail = tail;
	return bytes_seen(r);
}

/* Takes what is due out of the socket. */
static void
debt_pay(struct fifo_rx *r)
{
	char bytes[64];
	ssize_t n;

	if (r->debt > DEBT_MAX)
		r->broken = true;
	while (r->debt && !r->broken) {
		n = FF_REAL(recv)(r->fd, bytes, r->debt < sizeof(bytes) ? r->debt : sizeof(bytes),
				  MSG_DONTWAIT);
		if (n > 0) {
			r->debt -= (uint32_t)n;
			continue;
		}
		if (n == 0)
			r->end = true;
		else if (errno != EAGAIN && errno != EINTR)
			r->error = errno;
		return;
	}
}

static void
fillers_take(struct fifo_rx *r)
{
	uint32_t n;

	if (!atomic_load_explicit(&r->f->fillers, memory_order_relaxed))
		return;
	n = atomic_exchange(&r->f->fillers, 0);
	if (n > FILLERS_MAX)
		r->broken = true;
	else
		r->debt += n;
}

/* head has moved: a writer that waits for room is let go on. */
static void
taken(struct fifo_rx *r)
{
	atomic_store_explicit(&r->f->head, r->head, memory_order_release);
	atomic_thread_fence(memory_order_seq_cst); /* pairs with the one of fill_up() */
	if (atomic_load_explicit(&r->f->fillers, memory_order_relaxed) &&
	    FF_FIFO_SIZE - fifo_bytes(r) >= WAKE_ROOM)
		fillers_take(r);
	debt_pay(r);
}

void
fifo_drop(struct fifo_rx *r, size_t n)
{
	assert(n <= r->tail - r->head);
	r->head += (uint32_t)n;
	taken(r);
}

size_t
fifo_get(struct fifo_rx *r, const struct iovec *iov, size_t count, size_t skip, bool peek)
{
	size_t want = iov_bytes(iov, count, skip), there = bytes_seen(r), done = 0, n;

	if (there < want)
		there = fifo_bytes(r);
	while (there > done && done < want) {
		n = there - done < PIECE ? there - done : PIECE;
		/* The ring is only read. */
		n = ring_iov((uint8_t *)(uintptr_t)r->ring, r->head + (peek ? (uint32_t)done : 0),
			     iov, count, skip + done, n, false);
		done += n;
		if (peek)
			continue;
		fifo_drop(r, n);
		there = done + bytes_seen(r);
	}
	return done;
}

/*
 * What poll() says of the end it says also behind bytes. A byte that is neither of those that tell
 * of data nor a filler is nonsense: it would keep the reader awake for ever.
 */
static void
socket_look(struct fifo_rx *r)
{
	struct pollfd p = {.fd = r->fd, .events = POLLIN | POLLRDHUP};
	socklen_t len = sizeof(r->error);

	if (FF_REAL(poll)(&p, 1, 0) != 1)
		return;
	if (p.revents & POLLERR)
		(void)FF_REAL(getsockopt)(r->fd, SOL_SOCKET, SO_ERROR, &r->error, &len);
	if (p.revents & (POLLHUP | POLLRDHUP)) {
		r->end = true;
		return;
	}
	atomic_thread_fence(memory_order_seq_cst); /* each was counted before it was sent */
	if ((p.revents & POLLIN) && !r->debt && atomic_load(&r->f->readable) &&
	    !atomic_load(&r->f->fillers))
		r->broken = true;
}

bool
fifo_rx_rest(struct fifo_rx *r)
{
	if (r->armed && !atomic_load_explicit(&r->f->readable, memory_order_relaxed))
		r->armed = false; /* the writer has sent a byte */
	if (!r->armed) {
		atomic_store_explicit(&r->f->readable, 1, memory_order_relaxed);
		atomic_thread_fence(memory_order_seq_cst); /* pairs with the one of publish() */
		if (fifo_bytes(r)) {
			/* The byte for what was there before tells of this, too; a second one is
			 * one too many. */
			if (!atomic_exchange(&r->f->readable, 0))
				r->debt++;
			debt_pay(r);
			return true;
		}
		r->armed = true;
		r->debt++;
	}
	fillers_take(r);
	debt_pay(r);
	if (!r->end && !r->error)
		socket_look(r);
	/* The end comes behind all bytes: those that came before it are there by now. */
	return fifo_bytes(r) != 0;
}
