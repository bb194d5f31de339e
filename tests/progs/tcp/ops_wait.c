/* SPDX-License-Identifier: MIT */
/* Steps that ask, or wait, for what is possible; see differ.h. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "differ.h"

#define MARK 0x1234567890abcdefu

/* ---- without sets ---- */

static void
ask_poll(const struct step *st, uint32_t kind, int timeout)
{
	static const short events[] = {POLLIN,
				       POLLOUT,
				       POLLIN | POLLOUT,
				       POLLRDHUP,
				       POLLIN | POLLRDHUP,
				       POLLIN | POLLOUT | POLLRDHUP,
				       POLLRDNORM | POLLWRNORM,
				       POLLPRI | POLLIN};
	struct pollfd p = {.fd = d.fd, .events = events[kind / 2 % 8]};
	struct timespec zero = {0};
	int rc;

	/* Who waits for bytes is not to find that he could send, sooner or later than they come. */
	if (timeout < 0)
		p.events = (short)((p.events | POLLIN) & ~(POLLOUT | POLLWRNORM));
	rc = kind & 1 ? poll(&p, 1, timeout) : ppoll(&p, 1, timeout ? NULL : &zero, NULL);
	say(st, "poll %x%s %x", p.events, result(rc), p.revents);
}

static void
ask_select(const struct step *st, uint32_t kind, int timeout)
{
	struct timeval zero = {0};
	struct timespec zero_ns = {0};
	fd_set in, out, err;
	int rc;

	FD_ZERO(&in);
	FD_ZERO(&out);
	FD_ZERO(&err);
	FD_SET(d.fd, &in);
	if (timeout == 0 && kind & 2)
		FD_SET(d.fd, &out);
	if (kind & 4)
		FD_SET(d.fd, &err);
	if (kind & 1)
		rc = select(d.fd + 1, &in, &out, &err, timeout ? NULL : &zero);
	else
		rc = pselect(d.fd + 1, &in, &out, &err, timeout ? NULL : &zero_ns, NULL);
	say(st, "select %u%s %d%d%d", kind % 8, result(rc), FD_ISSET(d.fd, &in),
	    FD_ISSET(d.fd, &out), FD_ISSET(d.fd, &err));
}

static uint32_t
epoll_events(uint32_t kind)
{
	static const uint32_t events[] = {EPOLLIN, EPOLLIN | EPOLLOUT, EPOLLIN | EPOLLRDHUP,
					  EPOLLIN | EPOLLOUT | EPOLLRDHUP};

	return events[kind % 4];
}

static void
ask_epoll(const struct step *st, uint32_t kind, int timeout)
{
	struct epoll_event e = {epoll_events(kind) & (timeout ? ~(uint32_t)EPOLLOUT : ~0u),
				{.u64 = MARK}};
	int ep = epoll_create1(EPOLL_CLOEXEC), rc;

	MUST(ep >= 0 && epoll_ctl(ep, EPOLL_CTL_ADD, d.fd, &e) == 0);
	e.data.u64 = 0;
	e.events = 0;
	rc = epoll_wait(ep, &e, 1, timeout);
	if (rc < 1) /* then it says nothing */
		e = (struct epoll_event){0};
	say(st, "epoll%s %x %s", result(rc), e.events, e.data.u64 == MARK ? "marked" : "");
	close(ep);
}

static void
ask(const struct step *st, int timeout)
{
	switch (st->arg[0] % 3) {
	case 0:
		ask_poll(st, st->arg[1], timeout);
		break;
	case 1:
		ask_select(st, st->arg[1], timeout);
		break;
	default:
		ask_epoll(st, st->arg[1], timeout);
	}
}

static void
op_ask(const struct step *st)
{
	quiet();
	ask(st, 0);
}

/* The actor waits for what the other end then does. */
static void
op_await(const struct step *st)
{
	if (is_actor(st)) {
		tell();
		ask(st, -1);
		return;
	}
	hear();
	usleep(st->arg[2] % 3 * 500);
	if (st->arg[3] % 8 == 0) {
		MUST(shutdown(d.fd, SHUT_WR) == 0);
		own()->fin = 1;
	} else {
		send_whole(1 + st->arg[3] % 1000);
	}
}

/* ---- sets that stay ---- */

static void
op_epoll_ctl(const struct step *st)
{
	unsigned i = st->arg[0] % 2;
	struct epoll_event e = {epoll_events(st->arg[1]) | (i ? EPOLLET : 0u), {.u64 = MARK + i}};
	int how = d.in_ep[i] ? (st->arg[2] % 3 ? EPOLL_CTL_MOD : EPOLL_CTL_DEL) : EPOLL_CTL_ADD;
	int rc;

	if (d.ep[i] < 0)
		d.ep[i] = epoll_create1(EPOLL_CLOEXEC);
	MUST(d.ep[i] >= 0);
	rc = epoll_ctl(d.ep[i], how, d.fd, &e);
	say(st, "set %u how %d events %x%s", i, how, e.events, result(rc));
	if (rc == 0)
		d.in_ep[i] = how != EPOLL_CTL_DEL;
	if (i)
		d.news = true;
}

static void
op_epoll_wait(const struct step *st)
{
	struct epoll_event e = {0};
	unsigned i = st->arg[0] % 2;
	int rc;

	if (!d.in_ep[i])
		return;
	quiet();
	rc = epoll_wait(d.ep[i], &e, 1, 0);
	if (rc < 1) /* then it says nothing */
		e = (struct epoll_event){0};
	/* Others may come, or not. */
	if (i && !d.news)
		return;
	say(st, "set %u%s %x %s", i, result(rc), e.events, e.data.u64 == MARK + i ? "marked" : "");
	if (i)
		d.news = false;
}

/* It tells once, until it is asked to again. */
static void
op_oneshot(const struct step *st)
{
	struct epoll_event e = {epoll_events(st->arg[1]) | EPOLLONESHOT, {.u64 = MARK}}, got;
	int ep = epoll_create1(EPOLL_CLOEXEC), rc;

	MUST(ep >= 0 && epoll_ctl(ep, EPOLL_CTL_ADD, d.fd, &e) == 0);
	quiet();
	for (unsigned i = 0; i < 3; i++) {
		rc = epoll_wait(ep, &got, 1, 0);
		say(st, "epoll%s %x", result(rc), rc == 1 ? got.events : 0);
		if (i == 1)
			MUST(epoll_ctl(ep, EPOLL_CTL_MOD, d.fd, &e) == 0);
	}
	close(ep);
}

/* SO_RCVTIMEO, with nothing to come. */
static void
op_timeout(const struct step *st)
{
	struct timeval t = {.tv_usec = 3000}, none = {0};
	ssize_t rc;
	bool was;
	int err;

	if (has_answer())
		return;
	was = nonblock(false);
	MUST(setsockopt(d.fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof(t)) == 0);
	rc = st->arg[0] & 1 ? read(d.fd, d.buf, 10) : recv(d.fd, d.buf, 10, MSG_WAITALL);
	err = errno;
	MUST(setsockopt(d.fd, SOL_SOCKET, SO_RCVTIMEO, &none, sizeof(none)) == 0);
	errno = err;
	say(st, "read%s", result(rc));
	nonblock(was);
}

const struct op ops_wait[] = {
	{"ask", op_ask, false, WHEN_OPEN, 14},
	{"await", op_await, true, WHEN_ALIVE | WHEN_EMPTY, 6},
	{"epoll_ctl", op_epoll_ctl, false, WHEN_OPEN, 5},
	{"epoll_wait", op_epoll_wait, false, WHEN_OPEN, 8},
	{"oneshot", op_oneshot, false, WHEN_OPEN, 1},
	{"timeout", op_timeout, false, WHEN_OPEN, 1},
	{0},
};
