/* SPDX-License-Identifier: MIT */
/*
 * The process's connection to tcp.sock, made when the first stream asks. Any thread; what the
 * router says is taken by whoever looks first. A router that is gone takes nothing with it but
 * what was asked: later streams try again.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "debug.h"
#include "fdhide.h"
#include "fork.h"
#include "msg.h"
#include "real.h"
#include "stream.h"
#include "stream_host.h"
#include "stream_prefix.h"

#define RETRY_S 2 /* no router: so long nobody tries */

static struct ff_lock lock;
/* Under lock, but for sock, which others look at: */
static _Atomic int sock = -1;
/*
 * An epoll set of sock and, as long as they are OFFERED, of the new connections to other hosts, by
 * the numbers of their streams: one descriptor that tells of all.
 */
static _Atomic int wake_fd = -1;
static _Atomic uint32_t num_host_offers; /* may be too great, not too small */
static uint64_t generation;		 /* of the process whose connection it is */
static uint32_t last_id;
static time_t retry_at;
static struct stream *asked; /* next_asked */

_Atomic uint32_t stream_num_waiting;

/* Signals and cancellation wait, whether or not the caller holds a stream's lock. */
struct guard {
	uint64_t mask;
	int cancel;
};

static void
guard_lock(struct guard *g)
{
	uint64_t all = UINT64_MAX;

	ff_sys_sigmask(SIG_BLOCK, &all, &g->mask);
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &g->cancel);
	ff_lock_acquire(&lock);
}

static void
guard_unlock(const struct guard *g)
{
	ff_lock_release(&lock);
	ff_sys_sigmask(SIG_SETMASK, &g->mask, NULL);
	pthread_setcancelstate(g->cancel, NULL);
}

int
stream_router_fd(void)
{
	return atomic_load_explicit(&wake_fd, memory_order_acquire);
}

/* id 0: sock. */
static bool
wake_add(int fd, uint32_t id)
{
	struct epoll_event e = {.events = EPOLLIN, .data.u32 = id};

	return !FF_REAL(epoll_ctl)(wake_fd, EPOLL_CTL_ADD, fd, &e);
}

static bool
wake_open(void)
{
	int fd = fd_hide(epoll_create1(EPOLL_CLOEXEC));

	if (fd < 0)
		return false;
	atomic_store(&wake_fd, fd);
	return wake_add(sock, 0);
}

void
stream_router_unwatch(int fd)
{
	struct epoll_event unused = {0};

	if (fd >= 0 && wake_fd >= 0 && !FF_REAL(epoll_ctl)(wake_fd, EPOLL_CTL_DEL, fd, &unused))
		atomic_fetch_sub(&num_host_offers, 1);
}

/* Without waiting: a router that does not read is no router. */
static bool
send_message(uint32_t type, uint32_t stream, uint32_t value, int fd)
{
	struct ff_tcp_msg m = {.type = type, .stream = stream, .value = value};
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {0};
	struct iovec iov = {.iov_base = &m, .iov_len = sizeof(m)};
	struct msghdr h = {.msg_iov = &iov, .msg_iovlen = 1};
	struct cmsghdr *c = (struct cmsghdr *)control;

	if (fd >= 0) {
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(int));
		h.msg_control = control;
		h.msg_controllen = sizeof(control);
	}
	return FF_REAL(sendmsg)(sock, &h, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)sizeof(m);
}

static void
forget_all(void)
{
	struct stream *s;

	while ((s = asked)) {
		enum stream_state state = STREAM_ASKED;

		asked = s->next_asked;
		s->id = 0;
		atomic_compare_exchange_strong(&s->state, &state, STREAM_KERNEL);
		atomic_fetch_sub(&stream_num_waiting, 1);
	}
}

static void
disconnect(void)
{
	if (sock < 0)
		return;
	fdtab_clear(sock);
	ff_real.close(sock);
	atomic_store(&sock, -1);
	if (wake_fd >= 0) {
		fdtab_clear(wake_fd);
		ff_real.close(wake_fd);
	}
	atomic_store(&wake_fd, -1);
	atomic_store(&num_host_offers, 0);
	forget_all();
}

static bool
connect_once(void)
{
	struct timespec now;
	int fd;

	if (sock >= 0 && generation != fork_generation())
		disconnect();
	if (sock >= 0)
		return true;
	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	if (now.tv_sec < retry_at)
		return false;
	retry_at = now.tv_sec + RETRY_S;
	/* A router that has no time for us now is none. */
	fd = msg_connect(FF_TCP_SOCK, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0) {
		debug("no router for streams: %s", strerror(-fd));
		return false;
	}
	fd = fd_hide(fd);
	if (fd < 0)
		return false;
	generation = fork_generation();
	atomic_store(&sock, fd);
	if (wake_open() && send_message(FF_TCP_HELLO, 0, FF_TCP_ABI_VERSION, -1))
		return true;
	disconnect();
	return false;
}

bool
stream_ask(struct stream *s, int fd)
{
	struct guard g;
	bool done;

	guard_lock(&g);
	done = connect_once() && stream_wait_safe();
	if (done) {
		s->id = ++last_id ? last_id : ++last_id;
		done = send_message(FF_TCP_ASK, s->id, 0, fd);
		if (done) {
			s->next_asked = asked;
			asked = s;
			atomic_fetch_add(&stream_num_waiting, 1);
			debug("stream %u (fd %d) asked for", s->id, fd);
		} else {
			s->id = 0;
			disconnect();
		}
	}
	guard_unlock(&g);
	return done;
}

/* Lock held. False: it was not on the list. */
static bool
asked_remove(struct stream *s)
{
	struct stream **p;

	for (p = &asked; *p && *p != s; p = &(*p)->next_asked)
		;
	if (!*p)
		return false;
	*p = s->next_asked;
	atomic_fetch_sub(&stream_num_waiting, 1);
	return true;
}

void
stream_done(struct stream *s, enum ff_tcp_way way)
{
	struct guard g;

	if (!s->id)
		return;
	guard_lock(&g);
	if (asked_remove(s) && sock >= 0)
		(void)send_message(FF_TCP_FORGET, s->id, way, -1);
	s->id = 0;
	guard_unlock(&g);
}

void
stream_forget(struct stream *s)
{
	stream_done(s, FF_TCP_WAY_KERNEL);
}

void
stream_poke(struct stream *s)
{
	struct guard g;

	guard_lock(&g);
	if (s->id && sock >= 0)
		(void)send_message(FF_TCP_POKE, s->id, 0, -1);
	guard_unlock(&g);
}

/* ---- what the router says ---- */

/* One message; fds: as many as came. Bytes, or what recvmsg() says. */
static ssize_t
receive(struct ff_tcp_msg *m, int fds[FF_TCP_OFFER_FDS], unsigned *num_fds)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(FF_TCP_OFFER_FDS * sizeof(int))];
	struct iovec iov = {.iov_base = m, .iov_len = sizeof(*m)};
	struct msghdr h = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = control,
			   .msg_controllen = sizeof(control)};
	ssize_t n = FF_REAL(recvmsg)(sock, &h, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	struct cmsghdr *c = n >= 0 ? CMSG_FIRSTHDR(&h) : NULL;

	*num_fds = 0;
	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
		*num_fds = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		memcpy(fds, CMSG_DATA(c), *num_fds * sizeof(int));
	}
	return n;
}

/* Takes over fds, or leaves them. */
static bool
offer_take(struct stream *s, unsigned side, int fds[FF_TCP_OFFER_FDS])
{
	void *page;

	if (side > 1)
		return false;
	page = ff_real.mmap(NULL, FF_TCP_MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED, fds[2], 0);
	if (page == MAP_FAILED)
		return false;
	s->side = side;
	s->page = page;
	s->mapped = FF_TCP_MEMORY;
	s->misses = 0;
	s->end = fd_hide(fds[0]);
	s->other = fd_hide(fds[1]);
	ff_real.close(fds[2]);
	atomic_store(&s->state, STREAM_OFFERED);
	debug("stream %u offered", s->id);
	return true;
}

/* Takes over *from, or leaves it; negative: it is closed. */
static bool
host_offer_take(struct stream *s, int *from)
{
	int fd;

	if (!stream_host_wanted())
		return false;
	fd = *from = fd_hide(*from);
	if (fd < 0)
		return false;
	s->end = fd;
	s->misses = 0;
	s->called = false;
	atomic_store(&s->state, STREAM_OFFERED);
	if (wake_add(fd, s->id))
		atomic_fetch_add(&num_host_offers, 1);
	debug("stream %u offered, to another host", s->id);
	return true;
}

static struct stream *
asked_find(uint32_t id)
{
	struct stream *s;

	for (s = asked; s && s->id != id; s = s->next_asked)
		;
	return s;
}

/* A stream that is to be met; with a reference. */
static struct stream *
message(const struct ff_tcp_msg *m, int *fds, unsigned num_fds)
{
	struct stream *s = asked_find(m->stream), *meet = NULL;
	bool offer = m->type == FF_TCP_OFFER && num_fds == FF_TCP_OFFER_FDS;
	bool host = m->type == FF_TCP_OFFER_HOST && num_fds == FF_TCP_OFFER_HOST_FDS;
	bool taken = false;

	/* A stream whose lock is held is asking, or is given up. */
	if (s && (offer || host) && stream_trylock(s)) {
		if (stream_state_is(s, STREAM_ASKED))
			taken = host ? host_offer_take(s, &fds[0]) : offer_take(s, m->value, fds);
		stream_unlock(s);
	} else if (s && m->type == FF_TCP_REFUSED) {
		debug("stream %u refused: %s", s->id, strerror((int)m->value));
		atomic_store(&s->state, STREAM_STAYS);
		(void)asked_remove(s);
		s->id = 0;
	}
	if (s && (taken || m->type == FF_TCP_POKE) && s->obj && fdobj_ref(s->obj))
		meet = s;
	for (unsigned i = 0; i < num_fds && !taken; i++)
		ff_real.close(fds[i]);
	return meet;
}

/* The next message; 0: none. */
static bool
look_once(struct stream **meet, bool *poked)
{
	int fds[FF_TCP_OFFER_FDS];
	struct ff_tcp_msg m;
	unsigned num_fds;
	struct guard g;
	ssize_t n = 0;

	*meet = NULL;
	*poked = false;
	guard_lock(&g);
	if (sock >= 0) {
		n = receive(&m, fds, &num_fds);
		if (n == (ssize_t)sizeof(m)) {
			*meet = message(&m, fds, num_fds);
			*poked = m.type == FF_TCP_POKE;
		}
		if (n != (ssize_t)sizeof(m) && (n >= 0 || (errno != EAGAIN && errno != EINTR)))
			disconnect();
	}
	guard_unlock(&g);
	return n == (ssize_t)sizeof(m);
}

/* A stream to whom another host's shim has said something; with a reference. */
static struct stream *
host_look(void)
{
	struct epoll_event e[2];
	struct stream *s = NULL;
	struct guard g;
	int n;

	guard_lock(&g);
	n = wake_fd >= 0 ? FF_REAL(epoll_wait)(wake_fd, e, 2, 0) : 0;
	for (int i = 0; i < n && !s; i++)
		s = e[i].data.u32 ? asked_find(e[i].data.u32) : NULL;
	if (s && (!s->obj || !fdobj_ref(s->obj)))
		s = NULL;
	guard_unlock(&g);
	return s;
}

/* One for each look: whoever is inside of it has to leave first. */
static void
hosts_meet(void)
{
	struct stream *s = atomic_load(&num_host_offers) ? host_look() : NULL;

	if (!s)
		return;
	if (stream_state_is(s, STREAM_OFFERED))
		stream_meet(s);
	fdobj_put(s->obj);
}

bool
stream_router_look(void)
{
	struct stream *meet;
	int saved = errno;
	bool said = false, poked;

	while (stream_router_fd() >= 0 && look_once(&meet, &poked)) {
		said = true;
		if (!meet)
			continue;
		if (stream_state_is(meet, STREAM_OFFERED) && (!poked || stream_is_awaited(meet)))
			stream_meet(meet);
		fdobj_put(meet->obj);
	}
	hosts_meet();
	errno = saved;
	return said;
}

/* The connection is the parent's: a child that kept it would keep it from ending. */
void
stream_router_fork_child(void)
{
	atomic_store(&lock.word, 0);
	disconnect();
}
