/* SPDX-License-Identifier: MIT */
/*
 * What TCP would say of a stream that is exchanged: how it ends, what poll() tells of that, names
 * and options of the connection. Both sides note in the page what they have done, before the pair
 * tells of it; what the pair says by itself is AF_UNIX's. A side that was killed has noted nothing:
 * then the pair's word is taken for it. Any thread, and processes that have inherited the stream.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "real.h"
#include "stream.h"
#include "stream_fifo.h"

#define GONE (FF_TCP_FLAG_FIN | FF_TCP_FLAG_DEAF)

static _Atomic uint32_t *
own_flags(const struct stream *s)
{
	return &s->page->side[s->side].flags;
}

static _Atomic uint32_t *
other_flags(const struct stream *s)
{
	return &s->page->side[1 - s->side].flags;
}

static uint32_t
own(const struct stream *s)
{
	return atomic_load_explicit(own_flags(s), memory_order_acquire);
}

static uint32_t
other(const struct stream *s)
{
	return atomic_load_explicit(other_flags(s), memory_order_acquire);
}

/* ---- how it ends ---- */

/* Has it died with bytes unread? The kernel then resets a connection. */
static bool
has_left_bytes(struct stream *s)
{
	socklen_t len = sizeof(int);
	int err = 0;

	if (s->own)
		return !stream_fifo_is_drained(s);
	return !FF_REAL(getsockopt)(s->end, SOL_SOCKET, SO_ERROR, &err, &len) && err == ECONNRESET;
}

/* Whoever ends by himself has said so: an end that nobody has noted is that of a process. */
static void
death_look(struct stream *s)
{
	struct pollfd p = {.fd = s->end};

	if (other(s) & (FF_TCP_FLAG_FIN | FF_TCP_FLAG_RESET | FF_TCP_FLAG_CLOSED) ||
	    (own(s) & GONE) == GONE || own(s) & FF_TCP_FLAG_RESET)
		return;
	if (FF_REAL(poll)(&p, 1, 0) < 1 || !(p.revents & POLLHUP))
		return;
	/* It may have noted it meanwhile. */
	if (!(other(s) & (FF_TCP_FLAG_FIN | FF_TCP_FLAG_RESET | FF_TCP_FLAG_CLOSED)))
		atomic_fetch_or(other_flags(s),
				FF_TCP_FLAG_CLOSED |
					(has_left_bytes(s) ? FF_TCP_FLAG_RESET : FF_TCP_FLAG_FIN));
}

void
stream_died(struct stream *s)
{
	if (!(other(s) & (FF_TCP_FLAG_FIN | FF_TCP_FLAG_RESET | FF_TCP_FLAG_CLOSED)))
		atomic_fetch_or(other_flags(s), FF_TCP_FLAG_CLOSED | FF_TCP_FLAG_RESET);
}

/* TCP knows where its FIN was: RST behind the other side's is EPIPE, RFC 9293 3.10.7.4. */
int
stream_error(struct stream *s, bool take)
{
	uint32_t mine = own(s), theirs = other(s);

	if (!(theirs & FF_TCP_FLAG_RESET) || mine & (FF_TCP_FLAG_RESET | FF_TCP_FLAG_TOLD))
		return 0;
	if (take && atomic_fetch_or(own_flags(s), FF_TCP_FLAG_TOLD) & FF_TCP_FLAG_TOLD)
		return 0;
	return theirs & FF_TCP_FLAG_FIN && !(mine & FF_TCP_FLAG_FIN) ? EPIPE : ECONNRESET;
}

int
stream_ended(struct stream *s)
{
	death_look(s);
	return other(s) & FF_TCP_FLAG_FIN ? 0 : -stream_error(s, true);
}

void
stream_broken(struct stream *s)
{
	death_look(s);
	if ((own(s) & FF_TCP_FLAG_FIN) || (other(s) & FF_TCP_FLAG_RESET))
		return;
	atomic_fetch_or(own_flags(s), FF_TCP_FLAG_RESET);
	(void)FF_REAL(shutdown)(s->end, SHUT_RDWR);
}

bool
stream_send_is_over(const struct stream *s)
{
	uint32_t theirs = other(s);

	return own(s) & (FF_TCP_FLAG_FIN | FF_TCP_FLAG_RESET) ||
	       theirs & (FF_TCP_FLAG_RESET | FF_TCP_FLAG_CLOSED) || (theirs & GONE) == GONE;
}

int
stream_send_error(struct stream *s, bool none)
{
	int err;

	if (none && !(own(s) & (FF_TCP_FLAG_FIN | FF_TCP_FLAG_RESET)) &&
	    !(other(s) & FF_TCP_FLAG_RESET))
		return 0;
	if (!stream_send_is_over(s))
		return 0;
	stream_broken(s);
	err = stream_error(s, true);
	return err ? -err : -EPIPE;
}

bool
stream_is_deaf(const struct stream *s)
{
	return own(s) & FF_TCP_FLAG_DEAF;
}

bool
stream_is_closed(struct stream *s)
{
	death_look(s);
	return (own(s) | other(s)) & FF_TCP_FLAG_RESET || own(s) & other(s) & FF_TCP_FLAG_FIN;
}

uint32_t
stream_events(struct stream *s, uint32_t asked, uint32_t events)
{
	uint32_t mine, theirs, out = events & ~(uint32_t)(POLLERR | POLLHUP);
	bool no_in, no_out;

	if (events & (POLLHUP | POLLERR))
		death_look(s);
	mine = own(s);
	theirs = other(s);
	no_in = mine & (FF_TCP_FLAG_DEAF | FF_TCP_FLAG_RESET) ||
		theirs & (FF_TCP_FLAG_FIN | FF_TCP_FLAG_RESET);
	no_out = mine & (FF_TCP_FLAG_FIN | FF_TCP_FLAG_RESET) || theirs & FF_TCP_FLAG_RESET;
	if (no_in)
		out |= POLLIN | POLLRDNORM | POLLRDHUP;
	if (no_out)
		out |= POLLOUT | POLLWRNORM;
	out &= asked & ~(uint32_t)POLLWRBAND;
	if (no_in && no_out)
		out |= POLLHUP;
	return stream_error(s, false) ? out | POLLERR : out;
}

/* ---- SHUT_RD in epoll sets ---- */

_Atomic uint32_t stream_num_deaf;

/* The pair does not know of it, the kernel's socket does: it says so beside it. */
static void
deaf_ctl(const struct stream *s, int epfd, int op, const struct epoll_event *event)
{
	struct epoll_event e = *event;

	e.events &= ~(uint32_t)(EPOLLOUT | EPOLLWRNORM);
	if (FF_REAL(epoll_ctl)(epfd, op, s->anchor, &e) && op == EPOLL_CTL_MOD)
		(void)FF_REAL(epoll_ctl)(epfd, EPOLL_CTL_ADD, s->anchor, &e);
}

void
stream_deaf_ctl(int epfd, int op, int fd, const struct epoll_event *event)
{
	static const struct epoll_event none;
	struct stream *s;
	int saved = errno;

	if (!atomic_load(&stream_num_deaf) || !(s = stream_get(fd)))
		return;
	if (stream_is_exchanged(s) && stream_is_deaf(s))
		deaf_ctl(s, epfd, op, op == EPOLL_CTL_DEL ? &none : event);
	fdobj_put(s->obj);
	errno = saved;
}

static void
deafen(struct stream *s)
{
	atomic_fetch_add(&stream_num_deaf, 1);
	stream_lock(s);
	for (unsigned i = 0; i < s->num_watches && i < STREAM_EPOLLS; i++)
		deaf_ctl(s, s->watches[i].epfd, EPOLL_CTL_ADD, &s->watches[i].event);
	stream_unlock(s);
}

/* ---- shutdown, close ---- */

/*
 * SHUT_RD is nothing that the other end of a TCP connection learns of; AF_UNIX would not let it
 * write any more. What is on its way is read all the same, and then comes the end. Who sleeps in
 * recv() or poll() is not woken. SHUT_RDWR has to wake: there the other end does learn of it.
 */
int
stream_shutdown(struct stream *s, int fd, int how)
{
	bool closed = stream_is_closed(s);
	uint32_t before;
	uint32_t flags =
		(how != SHUT_WR ? FF_TCP_FLAG_DEAF : 0) | (how != SHUT_RD ? FF_TCP_FLAG_FIN : 0);

	if (FF_REAL(shutdown)(s->anchor, how) && errno == EINVAL)
		return -EINVAL;
	if (closed)
		return -ENOTCONN;
	before = atomic_fetch_or(own_flags(s), flags);
	if (flags & ~before & FF_TCP_FLAG_DEAF)
		deafen(s);
	flags |= before;
	if (flags & FF_TCP_FLAG_FIN)
		(void)FF_REAL(shutdown)(fd, flags & FF_TCP_FLAG_DEAF ? SHUT_RDWR : SHUT_WR);
	return 0;
}

/* TCP resets where bytes are left unread, or SO_LINGER says so, but not where both have ended. */
void
stream_close(struct stream *s)
{
	struct linger linger = {0}, hard = {.l_onoff = 1};
	socklen_t len = sizeof(linger);
	int unread = 0;

	if (s->anchor < 0 || s->end < 0 || atomic_load(&s->shared))
		return;
	if (s->own)
		unread = (int)stream_fifo_unread(s);
	else
		ff_real.ioctl(s->end, FIONREAD, &unread);
	(void)FF_REAL(getsockopt)(s->anchor, SOL_SOCKET, SO_LINGER, &linger, &len);
	if (stream_is_closed(s) || !(unread || (linger.l_onoff && !linger.l_linger))) {
		atomic_fetch_or(own_flags(s), FF_TCP_FLAG_CLOSED | FF_TCP_FLAG_FIN);
		return;
	}
	atomic_fetch_or(own_flags(s), FF_TCP_FLAG_CLOSED | FF_TCP_FLAG_RESET);
	(void)FF_REAL(setsockopt)(s->anchor, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
}

/* ---- what the kernel's socket is asked ---- */

bool
stream_ioctl(int fd, unsigned long request, void *arg, int *rc)
{
	if (request == FIONREAD && stream_is_fifo(fd)) {
		*(int *)arg = (int)stream_unread(fd);
		*rc = 0;
		return true;
	}
	switch (request) {
	case FIONREAD:
	case FIONBIO:
	case FIOASYNC:
	case FIOCLEX:
	case FIONCLEX:
		return false;
	default:
		break;
	}
	*rc = ff_real.ioctl(stream_anchor(fd), request, arg);
	return true;
}

static int
error_get(struct stream *s, void *value, socklen_t *len)
{
	int err;

	if (*len > sizeof(err))
		*len = sizeof(err);
	death_look(s);
	err = stream_error(s, true);
	memcpy(value, &err, *len);
	return 0;
}

int
stream_sockopt_get(int fd, int level, int name, void *value, socklen_t *len)
{
	struct stream *s = stream_get(fd);
	int rc;

	if (s && level == SOL_SOCKET && name == SO_ERROR && value && len && (int)*len >= 0) {
		rc = error_get(s, value, len);
	} else {
		rc = FF_REAL(getsockopt)(stream_anchor(fd), level, name, value, len);
		if (rc == 0 && s && level == IPPROTO_TCP && name == TCP_INFO && *len &&
		    stream_is_closed(s))
			((struct tcp_info *)value)->tcpi_state = TCP_CLOSE;
	}
	if (s)
		fdobj_put(s->obj);
	return rc;
}
