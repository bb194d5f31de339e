/* SPDX-License-Identifier: MIT */
/*
 * The two ends of a FIFO (freeflow/fifo.h). Each end belongs to one thread at a time: the caller
 * serialises. What the other side writes into shared memory is checked, and can make an end fail,
 * but not go astray.
 */
#ifndef FF_SHIM_FIFO_H
#define FF_SHIM_FIFO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include <freeflow/fifo.h>

/*
 * SO_SNDBUF of the pair: little, since it is to be filled up; with less, the kernel calls a socket
 * not writable in which two bytes lie, and these may lie there while the FIFO has room.
 */
#define FIFO_SNDBUF 4096

struct fifo_tx {
	struct ff_fifo *f;
	uint8_t *ring; /* FF_FIFO_SIZE bytes */
	int fd;	       /* the own end of the pair */
	uint32_t tail;
	uint32_t head; /* the reader's, when last seen */
	int error;     /* what the socket has told: EPIPE, ... Nothing more is put */
	bool broken;   /* the other side writes nonsense */
};

struct fifo_rx {
	struct ff_fifo *f;
	const uint8_t *ring;
	int fd;
	uint32_t head;
	uint32_t tail; /* the writer's, when last seen */
	uint32_t debt; /* bytes to take out of the socket that have not come yet */
	bool armed;    /* readable was set by us; the writer may have taken it */
	bool end;      /* the socket has told its end */
	int error;     /* what else it has told, and tells but once: ECONNRESET, ... */
	bool broken;
};

/* Before either side is used: the FIFO's initial state is that of a reader that found it empty. */
void fifo_init(struct ff_fifo *f);
void fifo_tx_init(struct fifo_tx *t, struct ff_fifo *f, uint8_t *ring, int fd);
void fifo_rx_init(struct fifo_rx *r, struct ff_fifo *f, const uint8_t *ring, int fd);

/*
 * As many bytes as there is room for, from the skip'th of iov on; the reader is told. Fewer than
 * were wanted: it is full, and the socket is not writable from here on until there is room; unless
 * fill is false: a caller that looks again by itself. Or t->error or t->broken says why.
 */
size_t fifo_put(struct fifo_tx *t, const struct iovec *iov, size_t count, size_t skip, bool fill);
/* Bytes that fit. */
size_t fifo_room(struct fifo_tx *t);

/*
 * As many as there are, to the skip'th byte of iov and on. peek: they stay. The socket stays
 * readable until fifo_rx_rest() has found the FIFO empty; more bytes make no new edge for epoll
 * before. So it is called when fewer came than were wanted, which edge-triggered readers take for
 * the end, and before anybody waits for the socket.
 */
size_t fifo_get(struct fifo_rx *r, const struct iovec *iov, size_t count, size_t skip, bool peek);
/* Throws n bytes away, of those that are there. */
void fifo_drop(struct fifo_rx *r, size_t n);
size_t fifo_bytes(struct fifo_rx *r);
/*
 * The FIFO was found empty. True: it is not any more; nothing may tell of that, so the caller gets
 * them before the program waits. False: the socket tells when something comes; r->error, then
 * r->end, is what it has said until now.
 */
bool fifo_rx_rest(struct fifo_rx *r);

#endif
