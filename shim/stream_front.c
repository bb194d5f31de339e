/* SPDX-License-Identifier: MIT */
/*
 * The front of an end: a copy of what the kernel's stream still holds, read before all that the
 * other side writes to the pair. In the end itself, or, beside FIFOs, in memory of our own. Any
 * thread that holds the stream's lock.
 */
#include <errno.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "fifo.h"
#include "real.h"
#include "stream.h"
#include "stream_fifo.h"

/* The same on both sides: what an end takes, going by both. */
uint64_t
stream_front_max(const struct stream *s)
{
	uint64_t max = FF_TCP_MOVE_MAX;
	int ends[] = {s->end, s->other}, size = 0;
	socklen_t len;

	for (unsigned i = 0; i < 2 && !s->own; i++) {
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

/* To memory of our own, and a byte in front of the end to say so. */
static bool
front_keep(struct stream *s, int fd, uint64_t left)
{
	static const uint8_t byte;
	uint8_t *front;

	if (left) {
		front = stream_fifo_front(s, left);
		if (!front || !stream_kernel_peek(fd, front, left) || !front_put(s, &byte, 1))
			return false;
	}
	stream_fifo_begin(s, left);
	return true;
}

/* In front of the end itself. */
static bool
front_copy(struct stream *s, int fd, uint64_t left)
{
	uint8_t *buf;
	bool done;

	if (!left)
		return true;
	/* Not on a stack that may be small, and read() allocates nothing. */
	buf = ff_real.mmap(NULL, left, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (buf == MAP_FAILED)
		return false;
	done = stream_kernel_peek(fd, buf, left) && front_put(s, buf, left);
	ff_real.munmap(buf, left);
	return done;
}

/* A pair beside FIFOs takes as little as can be: it is to be filled up. */
static bool
buffers_set(const struct stream *s)
{
	static const int size = FIFO_SNDBUF;

	return !FF_REAL(setsockopt)(s->end, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
}

bool
stream_front_make(struct stream *s, int fd, uint64_t len)
{
	return s->own ? front_keep(s, fd, len) && buffers_set(s) : front_copy(s, fd, len);
}
