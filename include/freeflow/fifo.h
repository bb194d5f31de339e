/* SPDX-License-Identifier: MIT */
/*
 * A byte FIFO in memory that two processes share, beside a stream socket pair between them: the
 * FIFO carries the bytes of one direction, the socket says whether there are any. No logic.
 *
 * The socket of the reader is readable whenever the FIFO is not empty, for every way of waiting
 * that the kernel has, and the socket of the writer is not writable while it is full:
 *
 *   Signal bytes. One byte lies in the socket for the reader from the moment that the FIFO gets its
 *   first bytes until the reader has found it empty. readable = 1: there is none; who takes the 1
 *   away (atomic exchange) sends one (the writer), or has changed its mind (the reader).
 *
 *   Filler bytes. A writer that finds the FIFO full sends bytes until the kernel calls its socket
 *   not writable. It adds each to fillers before it sends it; the reader takes the number away when
 *   it has made room, and as many bytes out of the socket.
 *
 * All these bytes are alike; the reader counts how many are to be taken out: its debt. At any time
 *
 *   bytes in the socket + bytes counted and not sent yet = debt + fillers + (readable ? 0 : 1)
 *
 * so that none is left over, wherever a writer dies. The socket must hold three bytes before the
 * kernel calls it not writable: two may lie in it without any filler.
 *
 * Indices run freely, modulo 2^32. Each side keeps its own in private memory, and believes of the
 * other's only what can be: it does not go back, and 0 <= tail - head <= FF_FIFO_SIZE.
 */
#ifndef FREEFLOW_FIFO_H
#define FREEFLOW_FIFO_H

#include <assert.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdint.h>

#define FF_FIFO_SIZE (256u << 10) /* bytes; a power of two */

struct ff_fifo {
	/* Writer: the writing side. Reader: acquire; pairs with its release behind the bytes. */
	alignas(64) _Atomic uint32_t tail;
	/* Writer: the reading side, release behind the copy out of the ring. Reader: acquire. */
	alignas(64) _Atomic uint32_t head;
	/*
	 * Both sides, by exchange. Each is set or taken between two fences: the reader sets
	 * readable and looks at tail, the writer sets tail and looks at readable; the writer sets
	 * fillers and looks at head, the reader sets head and looks at fillers.
	 */
	alignas(64) _Atomic uint32_t readable;
	_Atomic uint32_t fillers;
};
static_assert(sizeof(struct ff_fifo) == 192, "ABI");

#endif
