/* SPDX-License-Identifier: MIT */
/*
 * The exchange between hosts (freeflow/tcp.h, struct ff_tcp_word). What the kernel's stream still
 * holds for us, the other side sends us again as the first bytes of the new connection: it has them
 * from us, as a copy, before anything is decided. Any thread, outside of the stream; signals wait.
 *
 * The other side is hostile at worst, stopped or dead at best: who has accepted, as servers do,
 * waits for a moment and can always go back; who has connected waits longer in one place only.
 */
#include "stream_host.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "debug.h"
#include "real.h"
#include "stream_meet.h"

/* How long who has accepted is without its stream, at the most, and who has connected. */
#define ACCEPTED_NS  30000000l
#define CONNECTED_NS 100000000l
/* How long who has said COMMIT waits for the other one's word, before it ends the stream. */
#define VERDICT_NS   2000000000l
#define LOOK_MS	     1 /* at what the kernel's stream holds */
#define MISSES_MAX   4096u

/* Bytes under way, and where. */
struct part_of {
	uint8_t *bytes;
	uint64_t len, done;
};

struct exchange {
	struct stream *s;
	int fd; /* the program's */
	int64_t began, until;
	unsigned step; /* for people: how far it came */
	struct stream_extent own, them;
	struct part_of out, in; /* HELD: ours, as the kernel's stream has it; theirs */
	uint64_t held;		/* bytes that we hold */
};

/* ---- words ---- */

static bool
word_say(const struct exchange *x, uint32_t type, uint64_t sent, uint64_t taken)
{
	struct ff_tcp_word w = {.type = type, .sent = sent, .taken = taken};

	return FF_REAL(send)(x->s->end, &w, sizeof(w), MSG_DONTWAIT | MSG_NOSIGNAL) ==
	       (ssize_t)sizeof(w);
}

/* 1: a whole one, taken; 0: not yet; -1: the connection has ended, or it is nonsense. */
static int
word_look(const struct stream *s, struct ff_tcp_word *w)
{
	ssize_t n = FF_REAL(recv)(s->end, w, sizeof(*w), MSG_DONTWAIT | MSG_PEEK);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -1;
	if (n == 0)
		return -1;
	if (n < (ssize_t)sizeof(*w))
		return 0;
	(void)FF_REAL(recv)(s->end, w, sizeof(*w), MSG_DONTWAIT);
	return w->reserved ? -1 : 1;
}

/* Until something can be done with the new connection; no longer than look_ms. False: too late. */
static bool
end_wait(const struct exchange *x, short events, int look_ms)
{
	int64_t left = (x->until - stream_now_ns()) / 1000000;
	struct pollfd p = {.fd = x->s->end, .events = events};

	if (left < 0)
		return false;
	if (look_ms < 0 || left < look_ms)
		look_ms = (int)left + 1;
	FF_REAL(poll)(&p, 1, look_ms);
	return true;
}

/* The next word has to be that one. */
static bool
word_wait(struct exchange *x, uint32_t type, struct ff_tcp_word *w)
{
	int rc;

	while ((rc = word_look(x->s, w)) == 0)
		if (!end_wait(x, POLLIN, -1))
			return false;
	x->step += rc > 0;
	return rc > 0 && w->type == type;
}

/* ---- what both hold ---- */

static bool
part_alloc(struct part_of *p, uint64_t len)
{
	p->len = len;
	if (!len)
		return true;
	p->bytes =
		ff_real.mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p->bytes != MAP_FAILED)
		return true;
	p->bytes = NULL;
	return false;
}

static void
part_free(struct part_of *p)
{
	if (p->bytes)
		ff_real.munmap(p->bytes, p->len);
	p->bytes = NULL;
}

/* False: the connection has ended. */
static bool
part_send(const struct stream *s, struct part_of *p)
{
	ssize_t n;

	while (p->done < p->len) {
		n = FF_REAL(send)(s->end, p->bytes + p->done, p->len - p->done,
				  MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0)
			return errno == EAGAIN || errno == EINTR;
		p->done += (uint64_t)n;
	}
	return true;
}

static bool
part_receive(const struct stream *s, struct part_of *p)
{
	ssize_t n;

	while (p->done < p->len) {
		n = FF_REAL(recv)(s->end, p->bytes + p->done, p->len - p->done, MSG_DONTWAIT);
		if (n < 0)
			return errno == EAGAIN || errno == EINTR;
		if (n == 0)
			return false;
		p->done += (uint64_t)n;
	}
	return true;
}

/* A quarter: the kernel counts more than the bytes; and the same on both sides. */
static uint64_t
held_max(const struct stream *s)
{
	uint64_t max = FF_TCP_HELD_MAX;
	socklen_t len = sizeof(int);
	int size = 0;

	if (FF_REAL(getsockopt)(s->end, SOL_SOCKET, SO_SNDBUF, &size, &len) || size < 0)
		return 0;
	return max < (uint64_t)size / 4 ? max : (uint64_t)size / 4;
}

/* Stops, and says so. */
static bool
stop(struct exchange *x)
{
	if (!stream_kernel_extent(x->fd, &x->own) || !x->own.whole)
		return false;
	if (x->own.unsent)
		stream_kernel_push(x->fd);
	x->step++;
	return word_say(x, FF_TCP_WORD_STOPPED, x->own.sent, x->own.taken);
}

/* What we hold, when all of it has arrived: 1; 0: not yet; -1: never. */
static int
held_take(struct exchange *x)
{
	if (!stream_kernel_has(x->fd, x->held))
		return stream_kernel_is_dead(x->fd) ? -1 : 0;
	if (x->held && !stream_kernel_peek(x->fd, x->out.bytes, x->held))
		return -1;
	return word_say(x, FF_TCP_WORD_HELD, x->held, 0) ? 1 : -1;
}

/* Each sends the other what it holds. */
static bool
held_exchange(struct exchange *x)
{
	int ours = 0, theirs = 0;
	struct ff_tcp_word w;

	if (!stream_kernel_has(x->fd, x->held))
		stream_kernel_make_room(x->fd, x->held);
	for (;;) {
		if (!ours)
			ours = held_take(x);
		if (ours < 0 || (ours && !part_send(x->s, &x->out)))
			return false;
		if (!theirs)
			theirs = word_look(x->s, &w);
		if (theirs < 0 || (theirs && (w.type != FF_TCP_WORD_HELD || w.sent != x->in.len)))
			return false;
		if (theirs && !part_receive(x->s, &x->in))
			return false;
		if (ours && theirs && x->out.done == x->out.len && x->in.done == x->in.len) {
			x->step++;
			return true;
		}
		if (!end_wait(x, x->out.done < x->out.len && ours ? POLLIN | POLLOUT : POLLIN,
			      ours ? -1 : LOOK_MS))
			return false;
	}
}

/* Both have stopped. All that may fail, and is undone by closing the new connection. */
static bool
prepare(struct exchange *x, const struct ff_tcp_word *stopped)
{
	uint64_t max = held_max(x->s), theirs = x->own.sent - stopped->taken;

	x->held = stopped->sent - x->own.taken;
	if (x->held > max || theirs > max || !part_alloc(&x->out, x->held) ||
	    !part_alloc(&x->in, theirs) || !held_exchange(x))
		return false;
	return !ff_real.fcntl(x->s->end, F_SETFL, ff_real.fcntl(x->fd, F_GETFL)) &&
	       stream_epoll_reserve(x->s) && stream_kernel_is_same(x->fd, &x->own);
}

/* ---- it is decided ---- */

/* Both see a reset, on whichever connection they are. */
static void
end_both(struct exchange *x)
{
	static const struct linger hard = {.l_onoff = 1};
	static const struct sockaddr nobody = {.sa_family = AF_UNSPEC};

	debug("stream %u: ended, the other side does not say whether it is exchanged", x->s->id);
	(void)FF_REAL(setsockopt)(x->s->end, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	(void)FF_REAL(connect)(x->fd, &nobody, sizeof(nobody));
}

/* What the other side holds comes first, for it; then the program's bytes. */
static void
finish(struct exchange *x)
{
	struct stream *s = x->s;
	bool done = true;

	stream_router_unwatch(s->end);
	x->in.done = 0;
	x->until = stream_now_ns() + VERDICT_NS;
	while (done && (done = part_send(s, &x->in)) && x->in.done < x->in.len)
		done = end_wait(x, POLLOUT, -1);
	done = stream_fds_replace(s) && done;
	stream_host_adopt(s);
	stream_kernel_drop(s->anchor, x->held);
	if (!done)
		(void)FF_REAL(shutdown)(s->end, SHUT_RDWR);
	debug("stream %u (fd %d): host", s->id, x->fd);
	stream_done(s, FF_TCP_WAY_HOST);
	atomic_store(&s->state, STREAM_HOST);
	stream_kick();
}

/* The program's calls have accepted it. */
static bool
accepted(struct exchange *x)
{
	struct ff_tcp_word w;

	x->until = stream_now_ns() + ACCEPTED_NS;
	return stop(x) && word_wait(x, FF_TCP_WORD_STOPPED, &w) && prepare(x, &w) &&
	       word_say(x, FF_TCP_WORD_READY, 0, 0) && word_wait(x, FF_TCP_WORD_COMMIT, &w) &&
	       word_say(x, FF_TCP_WORD_ACK, 0, 0);
}

/* ... have connected it. them: what the other side has said. */
static bool
connected(struct exchange *x, const struct ff_tcp_word *them)
{
	struct ff_tcp_word w;

	x->until = stream_now_ns() + CONNECTED_NS;
	if (!stop(x) || !prepare(x, them) || !word_wait(x, FF_TCP_WORD_READY, &w) ||
	    !stream_kernel_is_same(x->fd, &x->own) || !word_say(x, FF_TCP_WORD_COMMIT, 0, 0))
		return false;
	x->until = stream_now_ns() + VERDICT_NS;
	if (word_wait(x, FF_TCP_WORD_ACK, &w))
		return true;
	/* Closed, it has not been exchanged there; open, nobody knows. */
	if (stream_now_ns() >= x->until)
		end_both(x);
	return false;
}

static void
exchange(struct stream *s, int fd, const struct ff_tcp_word *w)
{
	struct exchange x = {.s = s, .fd = fd};

	x.began = stream_now_ns();
	if (s->active ? connected(&x, w) : accepted(&x)) {
		finish(&x);
	} else {
		debug("stream %u: not exchanged at step %u, after %u us: held %u, %u of %u", s->id,
		      x.step, (unsigned)((stream_now_ns() - x.began) / 1000), (unsigned)x.held,
		      (unsigned)x.in.done, (unsigned)x.in.len);
		stream_anchor_drop(s);
		stream_part(s);
	}
	part_free(&x.out);
	part_free(&x.in);
}

bool
stream_host_is_awaited(const struct stream *s)
{
	struct pollfd p = {.fd = s->end, .events = POLLIN};

	return s->end >= 0 && FF_REAL(poll)(&p, 1, 0) > 0;
}

void
stream_host_meet(struct stream *s, int fd)
{
	const struct exchange call = {.s = s};
	struct ff_tcp_word w;
	int rc = 1;

	if (s->active && !s->called)
		rc = word_say(&call, FF_TCP_WORD_CALL, 0, 0) ? 1 : -1;
	s->called = true;
	if (rc > 0)
		rc = word_look(s, &w);
	if (rc > 0 && w.type == (s->active ? FF_TCP_WORD_STOPPED : FF_TCP_WORD_CALL)) {
		exchange(s, fd, &w);
		return;
	}
	stream_anchor_drop(s);
	if (rc || ++s->misses >= MISSES_MAX)
		stream_part(s);
}

void
stream_host_close(struct stream *s)
{
	static const struct linger hard = {.l_onoff = 1};

	/* Where the new one has broken, the other side, wherever it is, is not to see a clean end.
	 */
	if (stream_kernel_is_closed(s->end))
		(void)FF_REAL(setsockopt)(s->anchor, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
}
