/* SPDX-License-Identifier: MIT */
/* The control thread's epoll loop: sources, timers, calls and messages from other threads. */
#include "loop.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/queue.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "log.h"
#include "msgring.h"
#include "worker.h"

#define BATCH	     64
#define CONTROL_RING FF_WORKER_RING

/* A call that another thread waits for. On the caller's stack. */
struct call {
	void (*fn)(void *arg);
	void *arg;
	int status;
	bool done;
	STAILQ_ENTRY(call) link;
};

static struct {
	int epfd;
	bool running, stop;
	pthread_t thread;
	struct epoll_event batch[BATCH];
	int batch_len;
	/* The wake eventfd. asleep: writer loop, readers posters; the pair of full fences is in
	 * loop_wait() and loop_wake(). */
	struct ff_source wake;
	_Atomic bool asleep;
	struct ff_msgring *messages;
	/* Calls: under lock. */
	pthread_mutex_t lock;
	pthread_cond_t call_done;
	STAILQ_HEAD(, call) calls;
	bool ended;
} loop = {.epfd = -1,
	  .wake = {.fd = -1},
	  .lock = PTHREAD_MUTEX_INITIALIZER,
	  .call_done = PTHREAD_COND_INITIALIZER,
	  .calls = STAILQ_HEAD_INITIALIZER(loop.calls),
	  .ended = true};

/* The poster has published its work. Full fence, then: does the loop sleep? */
static void
loop_wake(void)
{
	static const uint64_t one = 1;

	atomic_thread_fence(memory_order_seq_cst);
	if (!atomic_load_explicit(&loop.asleep, memory_order_relaxed))
		return;
	if (write(loop.wake.fd, &one, sizeof(one)) < 0)
		return; /* EAGAIN: the counter is not zero, so the loop wakes anyway */
}

int
ff_control_post(struct ff_msg *m)
{
	int rc;

	if (!loop.messages)
		return -ESHUTDOWN;
	rc = ff_msgring_post(loop.messages, m);
	if (!rc)
		loop_wake();
	return rc;
}

void
ff_control_drain(void)
{
	struct ff_msg *m;
	unsigned budget = CONTROL_RING;

	/* One at a time: a callback may drain in turn, and must find what has not run yet. */
	while (budget-- && loop.messages && ff_msgring_take(loop.messages, &m, 1))
		m->fn(m);
}

static void
calls_run(void)
{
	struct call *c;

	pthread_mutex_lock(&loop.lock);
	while ((c = STAILQ_FIRST(&loop.calls))) {
		STAILQ_REMOVE_HEAD(&loop.calls, link);
		pthread_mutex_unlock(&loop.lock);
		c->fn(c->arg);
		pthread_mutex_lock(&loop.lock);
		c->done = true;
		pthread_cond_broadcast(&loop.call_done);
	}
	pthread_mutex_unlock(&loop.lock);
}

int
ff_loop_call(void (*fn)(void *), void *arg)
{
	struct call c = {.fn = fn, .arg = arg};

	pthread_mutex_lock(&loop.lock);
	if (loop.ended) {
		pthread_mutex_unlock(&loop.lock);
		return -ESHUTDOWN;
	}
	if (pthread_equal(loop.thread, pthread_self())) {
		pthread_mutex_unlock(&loop.lock);
		fn(arg);
		return 0;
	}
	STAILQ_INSERT_TAIL(&loop.calls, &c, link);
	pthread_mutex_unlock(&loop.lock);
	loop_wake();
	pthread_mutex_lock(&loop.lock);
	while (!c.done)
		pthread_cond_wait(&loop.call_done, &loop.lock);
	pthread_mutex_unlock(&loop.lock);
	return c.status;
}

static void
wake_ready(struct ff_source *s, uint32_t events)
{
	uint64_t count;

	if (read(s->fd, &count, sizeof(count)) < 0)
		return;
}

int
ff_loop_add(struct ff_source *s, int fd, uint32_t epoll_events, ff_source_fn fn, void *arg)
{
	struct epoll_event ev = {.events = epoll_events, .data.ptr = s};

	if (epoll_ctl(loop.epfd, EPOLL_CTL_ADD, fd, &ev))
		return -errno;
	*s = (struct ff_source){.fd = fd, .fn = fn, .arg = arg, .added = true};
	return 0;
}

int
ff_loop_mod(struct ff_source *s, uint32_t epoll_events)
{
	struct epoll_event ev = {.events = epoll_events, .data.ptr = s};

	return epoll_ctl(loop.epfd, EPOLL_CTL_MOD, s->fd, &ev) ? -errno : 0;
}

void
ff_loop_del(struct ff_source *s)
{
	int i;

	if (!s->added)
		return;
	epoll_ctl(loop.epfd, EPOLL_CTL_DEL, s->fd, NULL);
	s->added = false;
	/* Its owner may free it now: forget what the current batch still holds for it. */
	for (i = 0; i < loop.batch_len; i++)
		if (loop.batch[i].data.ptr == s)
			loop.batch[i].data.ptr = NULL;
}

static void
timer_ready(struct ff_source *s, uint32_t events)
{
	struct ff_timer *t = s->arg;
	uint64_t expirations;

	if (read(s->fd, &expirations, sizeof(expirations)) == (ssize_t)sizeof(expirations))
		t->fn(t->arg);
}

int
ff_loop_timer_start(struct ff_timer *t, unsigned period_ms, void (*fn)(void *), void *arg)
{
	struct itimerspec its = {
		.it_value = {period_ms / 1000, (long)(period_ms % 1000) * 1000000},
		.it_interval = {period_ms / 1000, (long)(period_ms % 1000) * 1000000},
	};
	int fd, rc;

	if (!period_ms)
		return -EINVAL;
	fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (timerfd_settime(fd, 0, &its, NULL)) {
		rc = -errno;
		goto close_fd;
	}
	t->fn = fn;
	t->arg = arg;
	rc = ff_loop_add(&t->src, fd, EPOLLIN, timer_ready, t);
	if (rc)
		goto close_fd;
	return 0;

close_fd:
	close(fd);
	return rc;
}

void
ff_loop_timer_stop(struct ff_timer *t)
{
	if (!t->src.added)
		return;
	ff_loop_del(&t->src);
	close(t->src.fd);
}

int
ff_loop_init(void)
{
	int fd, rc;

	loop.epfd = epoll_create1(EPOLL_CLOEXEC);
	if (loop.epfd < 0)
		return -errno;
	fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (fd < 0) {
		rc = -errno;
		goto close_epoll;
	}
	rc = ff_loop_add(&loop.wake, fd, EPOLLIN, wake_ready, NULL);
	if (rc)
		goto close_event;
	loop.messages = ff_msgring_create(CONTROL_RING);
	if (!loop.messages) {
		rc = -ENOMEM;
		goto close_event;
	}
	loop.thread = pthread_self();
	loop.stop = false;
	atomic_store(&loop.asleep, true); /* a call may come before the first wait */
	pthread_mutex_lock(&loop.lock);
	loop.ended = false;
	pthread_mutex_unlock(&loop.lock);
	return 0;

close_event:
	loop.wake.added = false;
	close(fd);
close_epoll:
	close(loop.epfd);
	loop.epfd = -1;
	return rc;
}

/* From now on nobody waits for the loop: those who do are told. */
static void
calls_end(void)
{
	struct call *c;

	pthread_mutex_lock(&loop.lock);
	loop.ended = true;
	while ((c = STAILQ_FIRST(&loop.calls))) {
		STAILQ_REMOVE_HEAD(&loop.calls, link);
		c->status = -ESHUTDOWN;
		c->done = true;
	}
	pthread_cond_broadcast(&loop.call_done);
	pthread_mutex_unlock(&loop.lock);
}

void
ff_loop_fini(void)
{
	if (loop.epfd < 0)
		return;
	calls_end();
	ff_control_drain();
	ff_msgring_destroy(loop.messages);
	loop.messages = NULL;
	ff_loop_del(&loop.wake);
	close(loop.wake.fd);
	close(loop.epfd);
	loop.epfd = -1;
}

static bool
calls_pending(void)
{
	bool pending;

	pthread_mutex_lock(&loop.lock);
	pending = !STAILQ_EMPTY(&loop.calls);
	pthread_mutex_unlock(&loop.lock);
	return pending;
}

/* Returns the number of events or -errno; asks once more for work between "asleep" and the wait. */
static int
loop_wait(void)
{
	int n, timeout = -1;

	atomic_store_explicit(&loop.asleep, true, memory_order_relaxed);
	atomic_thread_fence(memory_order_seq_cst); /* pairs with the one of loop_wake() */
	if (ff_msgring_pending(loop.messages) || calls_pending())
		timeout = 0;
	n = epoll_wait(loop.epfd, loop.batch, BATCH, timeout);
	n = n < 0 ? -errno : n;
	atomic_store_explicit(&loop.asleep, false, memory_order_relaxed);
	return n;
}

int
ff_loop_run(void)
{
	struct ff_source *s;
	int i, n;

	while (!loop.stop) {
		n = loop_wait();
		if (n == -EINTR)
			continue;
		if (n < 0) {
			ff_err("loop", "epoll_wait failed (%d)", -n);
			return n;
		}
		loop.batch_len = n;
		for (i = 0; i < n; i++) {
			s = loop.batch[i].data.ptr;
			if (s)
				s->fn(s, loop.batch[i].events);
		}
		loop.batch_len = 0;
		ff_control_drain();
		calls_run();
	}
	calls_end();
	return 0;
}

void
ff_loop_stop(void)
{
	loop.stop = true;
}
