/* SPDX-License-Identifier: MIT */
/* The poll loop of the workers and their messages. The loop runs on each worker's own lcore. */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "config.h"
#include "log.h"
#include "worker_priv.h"

#define MSG_BURST      32
#define CPU_LOOK_EVERY 1024

const struct ff_worker_stage *ff_stages[FF_STAGES_MAX];
unsigned ff_num_stages;

static _Thread_local struct ff_worker *self;

int
ff_worker_stage_register(const struct ff_worker_stage *stage)
{
	if (ff_num_stages == FF_STAGES_MAX)
		return -ENOSPC;
	ff_stages[ff_num_stages] = stage;
	return (int)ff_num_stages++;
}

void
ff_worker_priv_set(struct ff_worker *w, int slot, void *priv)
{
	w->priv[slot] = priv;
}

void *
ff_worker_priv(const struct ff_worker *w, int slot)
{
	return w->priv[slot];
}

struct ff_worker *
ff_worker_self(void)
{
	return self;
}

unsigned
ff_worker_index(const struct ff_worker *w)
{
	return w->index;
}

int
ff_worker_post(struct ff_worker *w, struct ff_msg *m)
{
	int rc;

	if (!w->messages)
		return -ESHUTDOWN;
	rc = ff_msgring_post(w->messages, m);
	if (!rc)
		ff_worker_wake(w);
	return rc;
}

static unsigned
step_messages(struct ff_worker *w)
{
	struct ff_msg *burst[MSG_BURST];
	unsigned i, n = ff_msgring_take(w->messages, burst, MSG_BURST);

	for (i = 0; i < n; i++)
		burst[i]->fn(burst[i]);
	if (n)
		ff_worker_stat_add(&w->messages_run, n);
	return n;
}

static unsigned
step_stages(struct ff_worker *w, uint64_t now_ns)
{
	unsigned i, work = 0;

	for (i = 0; i < ff_num_stages; i++)
		work += ff_stages[i]->poll(w, now_ns);
	return work;
}

/* The time since the pass before belongs to that pass: busy if it had work. */
static void
step_account(struct ff_worker *w, uint64_t now_ns, unsigned work)
{
	uint64_t last = atomic_load_explicit(&w->last_ns, memory_order_relaxed);

	ff_worker_stat_add(&w->passes, 1);
	ff_worker_stat_add(w->last_work ? &w->busy_ns : &w->idle_ns, now_ns - last);
	atomic_store_explicit(&w->last_ns, now_ns, memory_order_relaxed);
	if (work) {
		ff_worker_stat_add(&w->busy_passes, 1);
		if (w->idle_since_ns)
			ff_worker_busy(w, now_ns);
		w->idle_since_ns = 0;
	} else if (!w->idle_since_ns) {
		w->idle_since_ns = now_ns;
	}
	w->last_work = work;
	if (w->cpu_countdown-- == 0) {
		w->cpu_countdown = CPU_LOOK_EVERY;
		atomic_store_explicit(&w->cpu, sched_getcpu(), memory_order_relaxed);
	}
}

unsigned
ff_worker_pass(struct ff_worker *w, uint64_t now_ns)
{
	unsigned work = step_messages(w);

	work += step_stages(w, now_ns);
	step_account(w, now_ns, work);
	return work;
}

void
ff_worker_loop(struct ff_worker *w)
{
	uint64_t now;

	atomic_store_explicit(&w->last_ns, ff_now_ns(), memory_order_relaxed);
	while (!w->stop) {
		now = ff_now_ns();
		if (!ff_worker_pass(w, now))
			ff_worker_idle(w, now);
	}
}

void
ff_worker_serve(struct ff_worker *w)
{
	struct epoll_event ev;

	/* For good: posters write the eventfd each time. Pairs with ff_worker_wake(). */
	atomic_store_explicit(&w->alert, true, memory_order_relaxed);
	atomic_thread_fence(memory_order_seq_cst);
	while (!w->stop)
		if (!step_messages(w))
			epoll_wait(w->epfd, &ev, 1, -1);
}

int
ff_worker_create(struct ff_worker *w, unsigned index)
{
	struct epoll_event ev = {.events = EPOLLIN | EPOLLET};
	int rc;

	ff_worker_destroy(w);
	*w = (struct ff_worker){
		.index = index,
		.idle = ff_config.idle,
		.spin_ns = (uint64_t)ff_config.spin_us * 1000,
		.steer_after = FF_STEER_AFTER,
	};
	w->epfd = epoll_create1(EPOLL_CLOEXEC);
	if (w->epfd < 0)
		return -errno;
	w->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (w->wake_fd < 0) {
		rc = -errno;
		goto close_epoll;
	}
	if (epoll_ctl(w->epfd, EPOLL_CTL_ADD, w->wake_fd, &ev)) {
		rc = -errno;
		goto close_wake;
	}
	w->messages = ff_msgring_create(FF_WORKER_RING);
	if (!w->messages) {
		rc = -ENOMEM;
		goto close_wake;
	}
	return 0;

close_wake:
	close(w->wake_fd);
close_epoll:
	close(w->epfd);
	return rc;
}

void
ff_worker_destroy(struct ff_worker *w)
{
	if (!w->messages)
		return;
	ff_msgring_destroy(w->messages);
	w->messages = NULL;
	close(w->wake_fd);
	close(w->epfd);
}

int
ff_worker_enter(struct ff_worker *w)
{
	unsigned i;
	int rc;

	self = w;
	for (i = 0; i < ff_num_stages; i++) {
		rc = ff_stages[i]->init ? ff_stages[i]->init(w) : 0;
		if (rc) {
			ff_err("worker", "worker %u: stage %s: %s", w->index, ff_stages[i]->name,
			       strerror(-rc));
			goto undo;
		}
	}
	return 0;

undo:
	while (i-- > 0)
		if (ff_stages[i]->fini)
			ff_stages[i]->fini(w);
	self = NULL;
	return rc;
}

void
ff_worker_leave(struct ff_worker *w)
{
	unsigned i;

	/* Each message has an owner that waits for it. */
	while (step_messages(w))
		;
	for (i = ff_num_stages; i-- > 0;)
		if (ff_stages[i]->fini)
			ff_stages[i]->fini(w);
	self = NULL;
}

void
ff_worker_stats(const struct ff_worker *w, struct ff_worker_stats *out)
{
	uint64_t last, now;

	*out = (struct ff_worker_stats){
		.passes = atomic_load_explicit(&w->passes, memory_order_relaxed),
		.busy_passes = atomic_load_explicit(&w->busy_passes, memory_order_relaxed),
		.sleeps = atomic_load_explicit(&w->sleeps, memory_order_relaxed),
		.messages = atomic_load_explicit(&w->messages_run, memory_order_relaxed),
		.busy_ns = atomic_load_explicit(&w->busy_ns, memory_order_relaxed),
		.idle_ns = atomic_load_explicit(&w->idle_ns, memory_order_relaxed),
		.cpu = atomic_load_explicit(&w->cpu, memory_order_relaxed),
	};
	/* A sleep counts while it lasts. */
	last = atomic_load_explicit(&w->last_ns, memory_order_relaxed);
	now = ff_now_ns();
	if (atomic_load_explicit(&w->parked, memory_order_relaxed) && now > last)
		out->idle_ns += now - last;
}
