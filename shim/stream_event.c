/* SPDX-License-Identifier: MIT */
/*
 * Which stream an event of epoll is about: the kernel gives back what the program has given it. A
 * writer whose bytes were read before it has told of them tells all the same (fifo.h): who waits
 * for the socket is then woken for nothing, and a program that reads without O_NONBLOCK when it is
 * told to would hang. Any thread, no locks.
 */
#include <stdatomic.h>

#include "real.h"
#include "stream.h"
#include "stream_fifo.h"
#include "stream_prefix.h"

/* By set and data; the last one noted. An entry that is not there belongs to no stream. */
#define SLOTS 4096u
static _Atomic(struct stream *) slots[SLOTS];

static _Atomic(struct stream *) *
slot_of(int epfd, const struct epoll_event *event)
{
	uint64_t key = (event->data.u64 ^ (uint64_t)epfd << 48) * 0x9e3779b97f4a7c15u;

	return &slots[key >> 52];
}

void
stream_event_note(int epfd, int fd, const struct epoll_event *event)
{
	struct stream *s;

	if (!stream_fifo_wanted() || !event || !(s = stream_get(fd)))
		return;
	atomic_store_explicit(slot_of(epfd, event), s, memory_order_release);
	fdobj_put(s->obj);
}

struct look {
	int epfd;
	struct epoll_event *event;
	bool found;
};

/* The kernel has told of it, and so has disarmed it; the program will not hear of that. */
static void
rearm(const struct stream_watch *w, const struct epoll_event *told)
{
	struct epoll_event again = w->event;

	if (!told->events && w->event.events & EPOLLONESHOT)
		(void)FF_REAL(epoll_ctl)(w->epfd, EPOLL_CTL_MOD, w->fd, &again);
}

/* A reference: it may be on its way out. */
static void
look_at(struct stream *s, void *arg)
{
	struct look *l = arg;
	struct fdobj *o = s->obj;

	for (unsigned i = 0; i < s->num_watches && i < STREAM_EPOLLS && !l->found; i++) {
		if (s->watches[i].epfd != l->epfd ||
		    s->watches[i].event.data.u64 != l->event->data.u64)
			continue;
		l->found = true;
		if (!o || !fdobj_ref(o))
			return;
		if (o->priv == s && stream_state_is(s, STREAM_FIFO) &&
		    !(l->event->events & (EPOLLRDHUP | EPOLLHUP)) && !stream_fifo_is_readable(s) &&
		    !(stream_events(s, EPOLLIN, 0) & EPOLLIN)) {
			l->event->events &= ~(uint32_t)(EPOLLIN | EPOLLRDNORM);
			rearm(&s->watches[i], l->event);
		}
		fdobj_put(o);
	}
}

void
stream_fifo_event(int epfd, struct epoll_event *event)
{
	struct stream *s = atomic_load_explicit(slot_of(epfd, event), memory_order_acquire);
	struct look l = {epfd, event, false};

	if (!s)
		return;
	look_at(s, &l);
	if (!l.found)
		stream_foreach(look_at, &l);
}
