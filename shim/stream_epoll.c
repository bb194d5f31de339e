/* SPDX-License-Identifier: MIT */
/*
 * Streams in the program's epoll sets. A set knows a descriptor by its file: when the file is
 * exchanged, the old one is taken out and the new one put in, with the events that the program had
 * asked for. Being put in, it tells of what is there already, so no event is lost; one that the
 * program has seen may come again. And while a stream waits for the router, the sets that it is in
 * hold the router's connection, so that who sleeps there is woken. Any thread.
 */
#include <errno.h>

#include "real.h"
#include "stream.h"

/* In the program's sets: no pointer, and hardly a number of its own. */
#define ROUTER_MARK 0xf7ee910aad5c0de1ull

static struct stream_watch *
watch_find(struct stream *s, int epfd, int fd)
{
	for (unsigned i = 0; i < s->num_watches && i < STREAM_EPOLLS; i++)
		if (s->watches[i].epfd == epfd && s->watches[i].fd == fd)
			return &s->watches[i];
	return NULL;
}

static void
watch_remove(struct stream *s, struct stream_watch *w)
{
	*w = s->watches[--s->num_watches];
}

static void
watch_add(struct stream *s, int epfd, int fd, const struct epoll_event *event)
{
	/*
	 * Disarmed or not, nobody can tell: EPOLLONESHOT stays with the kernel. So does what is in
	 * more sets than we remember.
	 */
	if (s->num_watches >= STREAM_EPOLLS ||
	    (!stream_is_exchanged(s) && (event->events & (EPOLLONESHOT | EPOLLEXCLUSIVE))))
		s->num_watches = STREAM_EPOLLS + 1;
	else
		s->watches[s->num_watches++] = (struct stream_watch){epfd, *event, fd, false};
}

static void
listen_in(int epfd)
{
	/* Once for each message: a connection that is closed here may live on in a child. */
	struct epoll_event e = {.events = EPOLLIN | EPOLLET, .data.u64 = ROUTER_MARK};
	int fd = stream_router_fd();

	if (fd >= 0)
		(void)FF_REAL(epoll_ctl)(epfd, EPOLL_CTL_ADD, fd, &e); /* EEXIST: good */
}

void
stream_epoll_ctl(int epfd, int op, int fd, const struct epoll_event *event)
{
	struct stream *s = stream_get(fd);
	struct stream_watch *w;
	int saved = errno;

	if (!s)
		return;
	stream_lock(s);
	w = watch_find(s, epfd, fd);
	/* With more of them than we know it stays, for good. */
	if (op == EPOLL_CTL_DEL && w && s->num_watches <= STREAM_EPOLLS)
		watch_remove(s, w);
	else if (op != EPOLL_CTL_DEL && w &&
		 (!(event->events & EPOLLONESHOT) || stream_is_exchanged(s)))
		*w = (struct stream_watch){epfd, *event, fd, false};
	else if (op != EPOLL_CTL_DEL && s->num_watches <= STREAM_EPOLLS)
		watch_add(s, epfd, fd, event);
	if (stream_state_is(s, STREAM_ASKED) || stream_state_is(s, STREAM_OFFERED)) {
		if (s->num_watches > STREAM_EPOLLS) {
			stream_forget(s);
			stream_offer_drop(s);
			atomic_store(&s->state, STREAM_STAYS);
		} else {
			stream_epoll_listen(s);
		}
	}
	stream_unlock(s);
	fdobj_put(s->obj);
	errno = saved;
}

void
stream_epoll_listen(struct stream *s)
{
	for (unsigned i = 0; i < s->num_watches && i < STREAM_EPOLLS; i++)
		listen_in(s->watches[i].epfd);
}

/*
 * The set knows the descriptor: else one of the two is another one by now, or has been closed; and
 * what is closed may live on by another name.
 */
static bool
watch_is_there(const struct stream *s, const struct stream_watch *w)
{
	struct epoll_event e = {.events = EPOLLET, .data.u64 = ROUTER_MARK};

	if (fdtab_peek(w->fd) != s->obj)
		return false;
	if (FF_REAL(epoll_ctl)(w->epfd, EPOLL_CTL_ADD, w->fd, &e))
		return errno == EEXIST;
	(void)FF_REAL(epoll_ctl)(w->epfd, EPOLL_CTL_DEL, w->fd, &e);
	return false;
}

bool
stream_epoll_reserve(struct stream *s)
{
	struct epoll_event e = {.events = EPOLLET, .data.u64 = ROUTER_MARK};

	for (unsigned i = 0; i < s->num_watches; i++) {
		if (!watch_is_there(s, &s->watches[i])) {
			s->num_watches = STREAM_EPOLLS + 1;
			return false;
		}
		if (FF_REAL(epoll_ctl)(s->watches[i].epfd, EPOLL_CTL_ADD, s->end, &e) &&
		    errno != EEXIST)
			return false;
	}
	return true;
}

void
stream_epoll_unreserve(struct stream *s)
{
	struct epoll_event unused = {0};

	for (unsigned i = 0; i < STREAM_EPOLLS && s->end >= 0; i++)
		(void)FF_REAL(epoll_ctl)(s->watches[i].epfd, EPOLL_CTL_DEL, s->end, &unused);
}

void
stream_epoll_out(struct stream *s)
{
	struct epoll_event unused = {0};

	for (unsigned i = 0; i < s->num_watches; i++)
		(void)FF_REAL(epoll_ctl)(s->watches[i].epfd, EPOLL_CTL_DEL, s->watches[i].fd,
					 &unused);
}

/* The room that was reserved is given up as late as can be. */
bool
stream_epoll_in(struct stream *s)
{
	bool done = true;

	stream_epoll_unreserve(s);
	for (unsigned i = 0; i < s->num_watches; i++) {
		struct stream_watch *w = &s->watches[i];

		if (FF_REAL(epoll_ctl)(w->epfd, EPOLL_CTL_ADD, w->fd, &w->event))
			done = false;
	}
	return done;
}

struct hung_up {
	int epfd;
	struct epoll_event *event;
};

/*
 * AF_UNIX hangs up before TCP does, and says so whatever was asked for: where TCP says nothing yet,
 * it is to say so once.
 */
static void
watch_mend(struct stream *s, struct stream_watch *w, struct epoll_event *event)
{
	struct epoll_event once = w->event;

	event->events = stream_events(s, w->event.events, event->events);
	/* Hushed: to change it once more would make it ready once more. */
	if (event->events || w->hushed || w->event.events & (EPOLLET | EPOLLONESHOT))
		return;
	w->hushed = true;
	once.events |= EPOLLET;
	(void)FF_REAL(epoll_ctl)(w->epfd, EPOLL_CTL_MOD, w->fd, &once);
}

static void
hung_up_mend(struct stream *s, void *arg)
{
	const struct hung_up *h = arg;
	struct fdobj *o = s->obj;

	/* A reference: it may be on its way out. */
	if (!stream_is_exchanged(s) || !o || !fdobj_ref(o))
		return;
	for (unsigned i = 0; o->priv == s && i < s->num_watches && i < STREAM_EPOLLS; i++)
		if (s->watches[i].epfd == h->epfd &&
		    s->watches[i].event.data.u64 == h->event->data.u64)
			watch_mend(s, &s->watches[i], h->event);
	fdobj_put(o);
}

int
stream_epoll_filter(int epfd, struct epoll_event *events, int n)
{
	bool router = false;
	int left = 0;

	for (int i = 0; i < n; i++) {
		if (events[i].data.u64 == ROUTER_MARK) {
			router = true;
			continue;
		}
		/* Rare, and a set does not say which descriptor it was. */
		if (events[i].events & (EPOLLHUP | EPOLLERR) || atomic_load(&stream_num_deaf))
			stream_foreach(hung_up_mend, &(struct hung_up){epfd, &events[i]});
		if (events[i].events & (EPOLLIN | EPOLLRDNORM))
			stream_fifo_event(epfd, &events[i]);
		if (events[i].events)
			events[left++] = events[i];
	}
	if (router)
		(void)stream_router_look();
	return left;
}
