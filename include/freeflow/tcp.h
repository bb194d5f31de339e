/* SPDX-License-Identifier: MIT */
/*
 * TCP streams: the contract between libfreeflow.so and freeflowd on tcp.sock, and between the two
 * shims of one connection in the page that they share. No logic.
 *
 * A program's connection is the kernel's, made by its own calls. When it has been busy for a while,
 * the shim asks for something faster, and proves by the socket itself, which it passes, that the
 * connection is its own. When both ends have asked, and are on this host, each gets both ends of
 * one AF_UNIX stream pair. The two shims meet in a page of shared memory, agree on the offsets at
 * which the kernel's streams end, and put an end of the pair in the socket's place. The kernel's
 * connection stays behind it: names, options, TCP_INFO.
 *
 * What shims send is hostile input to the router; the page is hostile input to either shim, which
 * can be hurt in this one connection only.
 */
#ifndef FREEFLOW_TCP_H
#define FREEFLOW_TCP_H

#include <assert.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdint.h>

#include <freeflow/fifo.h>

#define FF_TCP_ABI_VERSION 2u

/* In the container's directory (abi.h): SOCK_SEQPACKET, one connection for each process. */
#define FF_TCP_SOCK "tcp.sock"

/* Every message, both ways, is one struct ff_tcp_msg. */
enum ff_tcp_type {
	/* First, shim to router: value is FF_TCP_ABI_VERSION. No answer; a refusal is a close. */
	FF_TCP_HELLO = 1,
	/*
	 * Shim to router: a faster way for the established TCP socket that comes along (SCM_RIGHTS,
	 * one fd). stream: chosen by the shim, one that it has not asked for yet or has forgotten.
	 */
	FF_TCP_ASK = 2,
	/*
	 * Shim to router: no longer wanted. No answer; an offer may be under way. value: enum
	 * ff_tcp_way, what the stream has become, for the router's counters alone.
	 */
	FF_TCP_FORGET = 3,
	/* Shim to router, and on to the other shim: it is waiting in the page. */
	FF_TCP_POKE = 4,
	/*
	 * Router to shim: value is the side (0 or 1); fds: the end that is the program's, the other
	 * one, and a sealed memfd of FF_TCP_MEMORY bytes that begins with struct ff_tcp_page.
	 */
	FF_TCP_OFFER = 5,
	/* Router to shim: there will be none; value is an errno that says why. */
	FF_TCP_REFUSED = 6,
	/*
	 * Router to shim: instead of FF_TCP_OFFER, the other end is on another host. fd: an end of
	 * a TCP connection of the hosts' network, on which the shims agree (struct ff_tcp_word).
	 */
	FF_TCP_OFFER_HOST = 16,
};

enum ff_tcp_way {
	FF_TCP_WAY_KERNEL,
	FF_TCP_WAY_PAIR,
	FF_TCP_WAY_FIFO,
	FF_TCP_WAY_HOST,
};

struct ff_tcp_msg {
	uint32_t type;	 /* enum ff_tcp_type */
	uint32_t stream; /* 0 in HELLO */
	uint32_t value;
	uint32_t reserved; /* 0 */
};
static_assert(sizeof(struct ff_tcp_msg) == 16, "ABI");

#define FF_TCP_ASK_FDS	      1u
#define FF_TCP_OFFER_FDS      3u
#define FF_TCP_OFFER_HOST_FDS 1u

/*
 * Bytes that an end takes until it is full, as the router sets it: what the kernel still holds of a
 * stream is put into it at once. FF_TCP_MOVE_MAX of each direction, or half of what the end takes:
 * with more than that under way, the shims part again.
 */
#define FF_TCP_END_BUFFER (8u << 20)
#define FF_TCP_MOVE_MAX	  (16u << 20)

/*
 * struct ff_tcp_page.here: which sides are waiting, then what has been decided; by compare and
 * swap.
 *
 * NONE -> HERE_n -> BOTH: from here on neither side sends or takes. Each publishes its figures, and
 * then puts what the kernel's stream still holds for it, which it only looks at, in front of its
 * end: until something is decided, all can be undone, and is by who parts. BOTH -> COMMITTED, by
 * either, when both are ready: each goes on by the pair, without a look at the other. BOTH ->
 * PARTED, by a side that cannot, or that has waited long enough: each goes on by the kernel's
 * stream. A side that has been stopped meanwhile learns here what it is.
 */
#define FF_TCP_HERE_NONE      0u
#define FF_TCP_HERE_0	      1u /* 1 << side: taken back by who waits in vain */
#define FF_TCP_HERE_1	      2u
#define FF_TCP_HERE_BOTH      3u
#define FF_TCP_HERE_COMMITTED 4u
#define FF_TCP_HERE_PARTED    5u

enum ff_tcp_step {
	FF_TCP_STEP_NONE,
	/* sent and taken are there, and this side sends nothing more by the kernel's stream. */
	FF_TCP_STEP_STOPPED,
	/*
	 * A copy of all that the other side had sent is in front of this side's end; whatever the
	 * other one writes to its own end comes behind it. All that may fail has been done.
	 */
	FF_TCP_STEP_READY,
	/* It has parted, and here says so, too: this is for who waits for the step. */
	FF_TCP_STEP_PARTED,
};

#define FF_TCP_FLAG_RESET 1u /* this side is being closed by SO_LINGER 0: ECONNRESET, not EOF */
#define FF_TCP_FLAG_FIFO  2u /* this side would have the FIFOs; set before its first step */
/* What a side has done since the exchange, before the pair tells of it; never taken back. */
#define FF_TCP_FLAG_FIN	  4u /* it sends nothing more */
#define FF_TCP_FLAG_DEAF                                                         \
	8u /* SHUT_RD: it receives nothing more; with FIN, a reset answers bytes \
	    */
#define FF_TCP_FLAG_CLOSED 16u
#define FF_TCP_FLAG_TOLD   32u /* its program knows that the other side has reset it */

/* Writer: the shim of that side. Reader: the other one. */
struct ff_tcp_side {
	_Atomic uint32_t step; /* release: publishes sent, taken and flags. Futex */
	_Atomic uint32_t flags;
	uint64_t sent;	/* bytes, since the connection was made */
	uint64_t taken; /* of the other's bytes, by the program */
};
static_assert(sizeof(struct ff_tcp_side) == 24, "ABI");

/*
 * Where both sides would have them, FIFOs carry the bytes (fifo.h), and the pair says whether there
 * are any: fifo[n] and ring n are written by side n. What the kernel's streams still held then goes
 * by neither: each side keeps it for itself, with a byte in its end of the pair as long as it is
 * there. The reader of each FIFO makes its initial state, before FF_TCP_STEP_READY.
 */
struct ff_tcp_page {
	_Atomic uint32_t here; /* futex */
	uint32_t reserved;
	struct ff_tcp_side side[2];
	struct ff_fifo fifo[2];
};
static_assert(sizeof(struct ff_tcp_page) == 448, "ABI");
#define FF_TCP_PAGE_SIZE 4096u
#define FF_TCP_RING(n)	 (FF_TCP_PAGE_SIZE + (n)*FF_FIFO_SIZE) /* offset */
#define FF_TCP_MEMORY	 FF_TCP_RING(2u)

/*
 * Between hosts there is no page: the shims speak by the new connection itself, which carries these
 * words first, and then the bytes of the stream. Who has connected the stream calls; who has
 * accepted it answers. Until COMMIT nothing is changed, and who closes the new connection goes on
 * by the kernel's stream, as does the other one.
 *
 *     who has connected                 who has accepted
 *     CALL ------------------------->   is in a call of the program, or wakes up
 *       <----------------------------   STOPPED: sends nothing more; sent, taken
 *     STOPPED ---------------------->
 *     HELD: a copy of what the kernel's stream holds for this end, unread; both ways
 *       <----------------------------   READY: has that of the other, and all that can fail is done
 *     COMMIT ----------------------->
 *       <----------------------------   ACK
 *
 * Who has sent READY closes the connection if no COMMIT comes: it has not been exchanged. Who has
 * sent COMMIT has to know: without an ACK, and with the connection closed, it has not been
 * exchanged; if neither comes, it ends the stream for both. Behind ACK, and behind COMMIT in the
 * other direction, follow the bytes of HELD, to whom they came from, and then the stream.
 */
enum ff_tcp_word_type {
	FF_TCP_WORD_CALL = 1,
	FF_TCP_WORD_STOPPED = 2,
	FF_TCP_WORD_HELD = 3, /* sent: bytes that follow */
	FF_TCP_WORD_READY = 4,
	FF_TCP_WORD_COMMIT = 5,
	FF_TCP_WORD_ACK = 6,
};
struct ff_tcp_word {
	uint32_t type, reserved;
	uint64_t sent, taken; /* as in struct ff_tcp_side; little-endian, as all of it */
};
static_assert(sizeof(struct ff_tcp_word) == 24, "ABI");
/* Bytes that may be held, of each direction: with more, or more than a quarter of what the new
 * connection takes, the shims part. */
#define FF_TCP_HELD_MAX (4u << 20)

#endif
