/* SPDX-License-Identifier: MIT */
/*
 * TCP streams that may leave the kernel's overlay (freeflow/tcp.h). A connection that the program
 * makes or accepts is known here from then on; what it costs until it has been busy for a while is
 * a look at the table in each call.
 *
 * Calls of the program on a stream are "inside" it. While the two shims exchange the socket under
 * the program's descriptors, nobody else may be: who comes then waits, and who sleeps inside a
 * stream that has been asked for sleeps so that it can be woken (stream_wait.c).
 */
#ifndef FF_SHIM_STREAM_H
#define FF_SHIM_STREAM_H

#include <poll.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>

#include <freeflow/tcp.h>

#include "../memif-bridge/rawsys.h"
#include "fdtab.h"
#include "real.h"

enum stream_state {
	STREAM_KERNEL,	/* the kernel's; what goes on is counted */
	STREAM_ASKED,	/* the router knows that we would like more */
	STREAM_OFFERED, /* the ends of a pair are here: the shims try to meet */
	STREAM_PAIRED,	/* the program's descriptors are one end of the pair */
	STREAM_FIFO,	/* they are, but the bytes go by FIFOs (stream_fifo.h) */
	STREAM_HOST,	/* are a socket of the host's network (stream_host.h) */
	STREAM_STAYS,	/* with the kernel, for good */
};

#define STREAM_EPOLLS 2u /* epoll sets that one stream may be in */

struct stream_watch {
	int epfd;
	struct epoll_event event;
	int fd;	     /* the descriptor by which it is in there */
	bool hushed; /* stream_epoll.c: the kernel tells of it once only */
};

/* Type-stable, as fdobj. */
struct stream {
	_Atomic uint32_t state; /* enum stream_state. Writers: holders of lock; STAYS: any thread */
	_Atomic uint32_t inside; /* calls; pairs with shut */
	_Atomic bool shut;	 /* holder of lock: who is not inside stays out until it is false */
	struct ff_lock lock;	 /* held for the exchange, and for what it must not meet */
	uint64_t mask;		 /* holder of lock: its signal mask before */
	int cancel;		 /* ... and its state of cancellation */
	_Atomic uint32_t work;	 /* calls, and pages of data */
	_Atomic uint32_t tries;	 /* looks for an answer since it was asked for */
	uint32_t threshold;	 /* of work */
	uint32_t id;		 /* for the router; 0: was never asked for */
	struct fdobj *obj;	 /* not counted */
	/* Under lock: */
	bool active; /* the program has connected it, not accepted */
	bool called; /* OFFERED, to another host: it has been told that we are here */
	unsigned side;
	unsigned misses; /* times that nobody came */
	uint64_t inode;	 /* since it was asked for: which socket it is; exchanged: the end's */
	int anchor;	 /* PAIRED, FIFO: the kernel's socket. -1 */
	int end, other;	 /* OFFERED; end: PAIRED, FIFO, too. -1 */
	struct ff_tcp_page *page;
	size_t mapped;		/* bytes from page on */
	struct stream_own *own; /* FIFO */
	_Atomic bool shared;	/* exchanged, and since then a child may have it, too */
	unsigned num_watches;	/* more than STREAM_EPOLLS: it stays */
	struct stream_watch watches[STREAM_EPOLLS];
	struct stream *next, *next_free; /* stream.c: all that ever were; the free list */
	struct stream *next_asked;	 /* stream_router.c */
};

/* ---- stream.c ---- */

/* fd has just been connected, or is being, or was accepted; peer: NULL: not known yet. */
void stream_new(int fd, const struct sockaddr *peer);
/* It is exchanged: stream_recv(), stream_send(). */
#define STREAM_EMULATED	   ((struct stream *)FF_IO_EMULATED)
/* A signal has ended the wait before the call: EINTR. */
#define STREAM_INTERRUPTED ((struct stream *)FF_IO_INTERRUPTED)
struct stream *stream_enter_slow(int fd, enum ff_io_use use, bool may_block);
void stream_leave_slow(struct stream *s, int64_t n);
/* A call on fd begins; NULL: the descriptor needs no care. */
static inline struct stream *
stream_enter(int fd, enum ff_io_use use, bool may_block)
{
	const struct fdobj *o = fdtab_peek(fd);

	if (__builtin_expect(!o || o->kind != FDOBJ_STREAM, 1))
		return NULL;
	return stream_enter_slow(fd, use, may_block);
}
/* And ends; n: bytes that it moved, or what it returned. */
static inline void
stream_leave(struct stream *s, int64_t n)
{
	if (s)
		stream_leave_slow(s, n);
}
/* As recvmsg() and sendmsg() of iov, of a stream that is exchanged. -1 and errno. */
ssize_t stream_recv(int fd, const struct iovec *iov, size_t count, int flags);
ssize_t stream_send(int fd, const struct iovec *iov, size_t count, int flags);
size_t stream_room(int fd);	  /* bytes that stream_send() would take now */
void stream_watch_begins(int fd); /* a FIFO's is to be put into an epoll set */
int stream_pending_error(int fd); /* SO_ERROR: taken */
size_t stream_unread(int fd);	  /* bytes that stream_recv() would give now */
/* recv() with MSG_TRUNC: bytes are thrown away. */
ssize_t stream_discard(int fd, const struct iovec *iov, size_t count, int flags);
/* write() and writev() of a stream. */
ssize_t stream_write(int fd, const void *buf, size_t len);
ssize_t stream_writev(int fd, const struct iovec *iov, int count);
/* The socket that stands behind fd: where its names and options are. fd itself for any other. */
int stream_anchor(int fd);
/* With a reference (fdobj_put(s->obj)), or NULL. */
struct stream *stream_get(int fd);
/*
 * Of a call that neither moves bytes nor waits for them: fd is not exchanged before
 * stream_release(). NULL: it is no stream.
 */
struct stream *stream_hold_slow(int fd);
void stream_release_slow(struct stream *s);
static inline struct stream *
stream_hold(int fd)
{
	const struct fdobj *o = fdtab_peek(fd);

	return __builtin_expect(!o || o->kind != FDOBJ_STREAM, 1) ? NULL : stream_hold_slow(fd);
}
static inline void
stream_release(struct stream *s)
{
	if (s)
		stream_release_slow(s);
}
/* It was in vain: not before it has done four times as much. Lock held. */
void stream_ask_later(struct stream *s);
/* It stays where it is: the program does something that an exchange must not meet. */
void stream_stays(int fd);
void stream_passed(int fd); /* others get it as well */
/*
 * The descriptors of a message that is to be sent get to others. False: with one, bytes would come
 * that are none: its FIFOs cannot be passed.
 */
bool stream_message_passes(const struct msghdr *m);
/* Those of one that has come may be streams that this process knows. */
void stream_message_brings(const struct msghdr *m);
/*
 * fork, of whatever kind, with descriptors that the child gets: those stay. Between begin and end
 * no stream is exchanged, so those that are new meanwhile can be told to stay at the end.
 */
void stream_fork_begin(void);
void stream_fork_end(void);
void stream_forked(void); /* of which there is no end here */
bool stream_forks(void);  /* is there one? */
/* The process has a ring of io_uring: no stream is exchanged any more. */
void stream_ring_seen(void);
bool stream_ring_is_there(void); /* looks, now and then */
/* In a child with memory of its own. */
void stream_fork_child(void);
void stream_list_fork_child(void);
/* Calls fn for each that is in use. */
void stream_foreach(void (*fn)(struct stream *s, void *arg), void *arg);
void stream_lock(struct stream *s);
bool stream_trylock(struct stream *s);
void stream_unlock(struct stream *s);
bool stream_state_is(const struct stream *s, enum stream_state state);
bool stream_is_exchanged(const struct stream *s);
bool stream_is_native(const struct stream *s); /* HOST or STAYS */
static inline bool
stream_is_exchanged_fd(int fd)
{
	const struct fdobj *o = fdtab_peek(fd);

	return __builtin_expect(o && o->kind == FDOBJ_STREAM, 0) && stream_is_exchanged(o->priv);
}
/* Do its bytes go by FIFOs? */
static inline bool
stream_is_fifo(int fd)
{
	const struct fdobj *o = fdtab_peek(fd);

	return __builtin_expect(o && o->kind == FDOBJ_STREAM, 0) &&
	       stream_state_is(o->priv, STREAM_FIFO);
}

/* ---- stream_tcp.c: what TCP would say of a stream that is exchanged ---- */

/* RST, as the other side has told it: ECONNRESET, EPIPE, or 0; once, where it is taken. */
int stream_error(struct stream *s, bool take);
/* Nothing comes any more: 0, or -errno of what TCP would say of that. */
int stream_ended(struct stream *s);
bool stream_send_is_over(const struct stream *s);
/*
 * Nothing can be sent: 0, or -errno; the caller sends SIGPIPE. none: no bytes are to be; it takes
 * some to find that nobody is there.
 */
int stream_send_error(struct stream *s, bool none);
/* The pair has said ECONNRESET: the other side was killed with bytes unread, or has said so. */
void stream_died(struct stream *s);
/* The pair has refused bytes: nobody is there to take them. */
void stream_broken(struct stream *s);
bool stream_is_deaf(const struct stream *s);
/* TCP_CLOSE: there is no connection left that could have a peer. */
bool stream_is_closed(struct stream *s);
/*
 * Of the events that are asked for, those that there are where the pair has told of events; POLL*
 * and EPOLL* are the same. All 0 of the pair: those that it does not tell of.
 */
uint32_t stream_events(struct stream *s, uint32_t asked, uint32_t events);
int stream_shutdown(struct stream *s, int fd, int how); /* -errno */
/* The last descriptor of an exchanged stream goes: the other side is told how. Lock held. */
void stream_close(struct stream *s);
/* Of one that the program has shut down for receiving, in epoll sets; behind epoll_ctl(). */
void stream_deaf_ctl(int epfd, int op, int fd, const struct epoll_event *event);
extern _Atomic uint32_t stream_num_deaf; /* that there have been */
/* -1 and errno; false: it is the kernel's to do. */
bool stream_ioctl(int fd, unsigned long request, void *arg, int *rc);
int stream_sockopt_get(int fd, int level, int name, void *value, socklen_t *len);

/* ---- stream_router.c ---- */

/* Tells the router. False: there is none, or it does not know streams. */
bool stream_ask(struct stream *s, int fd);
void stream_forget(struct stream *s);			 /* lock held, or nobody else knows s */
void stream_done(struct stream *s, enum ff_tcp_way way); /* ..., for it is exchanged */
void stream_poke(struct stream *s);
/*
 * Takes what the router has said, and meets whom it names: the caller is inside of no stream. True
 * if it has said something.
 */
bool stream_router_look(void);
int stream_router_fd(void); /* to be polled; -1: none */
/* fd, of a stream that is OFFERED, is closed, or will be the program's. */
void stream_router_unwatch(int fd);
void stream_router_fork_child(void);

/* ---- stream_meet.c ---- */

/*
 * OFFERED; the caller is not inside. Waits a moment for the other shim; afterwards the stream is
 * PAIRED, or as it was.
 */
void stream_meet(struct stream *s);
/* Is the other shim waiting? */
bool stream_is_awaited(struct stream *s);
/* Closes and forgets what an offer has brought. Lock held. */
void stream_offer_drop(struct stream *s);

/*
 * Steps of the exchange at which a test can stop or kill this process: compiled into the unit tests
 * only.
 */
enum stream_fault {
	STREAM_FAULT_HERE,	/* waits in the page, alone */
	STREAM_FAULT_BOTH,	/* is not alone */
	STREAM_FAULT_STOPPED,	/* has told its figures */
	STREAM_FAULT_ARRIVED,	/* what the kernel's stream holds is there */
	STREAM_FAULT_READY,	/* could go either way */
	STREAM_FAULT_COMMITTED, /* is to exchange the descriptors */
	STREAM_FAULT_REPLACED,	/* has */
	STREAM_FAULTS,
};
#ifdef FF_STREAM_FAULTS
extern void (*stream_fault)(enum stream_fault at);
#define STREAM_FAULT(at) (stream_fault ? stream_fault(at) : (void)0)
#else
#define STREAM_FAULT(at) ((void)0)
#endif

/* ---- stream_cancel.c ---- */

/* Before the first stream. */
void stream_cancel_init(void);
/*
 * This thread has a reference to s, until pop, and may wait meanwhile. inside: it also counts as
 * inside. By turns: the last one first.
 */
void stream_cancel_push(struct stream *s, bool inside);
void stream_cancel_inside(void); /* the last one counts from now on */
void stream_cancel_pop(void);

/* ---- stream_kernel.c: the kernel's socket; lock held ---- */

struct stream_extent {
	uint64_t sent, taken; /* bytes, since the connection was made */
	bool whole;	      /* connected, nobody has shut it down, and nothing urgent is about */
	bool unsent;	      /* the kernel has not sent all of it yet */
};

bool stream_kernel_extent(int fd, struct stream_extent *e);
/* What Nagle's algorithm or a cork holds back goes now: the other side waits for it. */
void stream_kernel_push(int fd);
bool stream_kernel_has(int fd, uint64_t len); /* unread */
/* The receive buffer is to take len bytes, and the other end to learn of it. */
void stream_kernel_make_room(int fd, uint64_t len);
bool stream_kernel_peek(int fd, uint8_t *buf, uint64_t len);
void stream_kernel_drop(int fd, uint64_t len);
bool stream_kernel_is_closed(int fd);
bool stream_kernel_is_dead(int fd); /* the peer, as far as it tells */
/* The pair can do all that the program has set up for fd. Without lock; fd is any socket. */
bool stream_kernel_is_simple(int fd);
/* ... will be able to do, when it has set that. */
bool stream_kernel_is_simple_option(int level, int name);

/* ---- stream_front.c; lock held ---- */

/* The same on both sides, once it is known whether there are FIFOs: s->own. */
uint64_t stream_front_max(const struct stream *s);
/* A copy of the len bytes that the kernel's socket holds. False: no room, no memory. */
bool stream_front_make(struct stream *s, int fd, uint64_t len);

/* ---- stream_epoll.c ---- */

/* The program's epoll_ctl() has succeeded. */
void stream_epoll_ctl(int epfd, int op, int fd, const struct epoll_event *event);
/*
 * The exchange; lock held. Before it: the sets have room for s->end, and know s. False: they do
 * not, or who knows. stream_epoll_unreserve(): it does not take place.
 */
bool stream_epoll_reserve(struct stream *s);
void stream_epoll_unreserve(struct stream *s);
/* Before and behind the exchange of the descriptors. False: a set has not taken one. */
void stream_epoll_out(struct stream *s);
bool stream_epoll_in(struct stream *s);
/* The router's word is to wake who waits in the epoll sets of s. */
void stream_epoll_listen(struct stream *s);
/*
 * Takes out of n events those that are not the program's, and makes the others what TCP would say;
 * returns how many are left.
 */
int stream_epoll_filter(int epfd, struct epoll_event *events, int n);

/* ---- stream_event.c ---- */

/* fd is in the set with this event. */
void stream_event_note(int epfd, int fd, const struct epoll_event *event);
/* One that says that a FIFO can be read: no longer, where it cannot. */
void stream_fifo_event(int epfd, struct epoll_event *event);

/* ---- stream_wait.c ---- */

/* Streams that wait for the router, or for the other shim. */
extern _Atomic uint32_t stream_num_waiting;
/* Nobody sleeps in a poll() or select() of libc's with a stream in it: once no longer. */
bool stream_wait_safe(void);
/* Before a call that may block: returns when the socket is ready, or -1 with EINTR. */
int stream_wait_ready(struct stream *s, int fd, short events);
int stream_poll(struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask);
/* Is there a stream among them that may be exchanged? Else the calls are libc's. */
bool stream_poll_wanted(struct pollfd *fds, nfds_t n);
bool stream_select_wanted(int n, const fd_set *in, const fd_set *out);
int stream_select(int n, fd_set *in, fd_set *out, fd_set *err, const struct timespec *timeout,
		  const sigset_t *mask);
/* Who sleeps in one of these is to look again. */
void stream_kick(void);
void stream_wait_fork_child(void);

#endif
