/* SPDX-License-Identifier: MIT */
/* The control thread's epoll loop: fds, timers, calls from other threads. One instance. */
#ifndef FF_CORE_LOOP_H
#define FF_CORE_LOOP_H

#include <stdbool.h>
#include <stdint.h>

struct ff_source;
typedef void (*ff_source_fn)(struct ff_source *s, uint32_t epoll_events);

/* Embedded in the owner's struct. All but ff_loop_call: control thread only. */
struct ff_source {
	int fd;
	ff_source_fn fn;
	void *arg;
	bool added;
};

int ff_loop_init(void);
void ff_loop_fini(void);
/* Returns 0 or -errno. The fd stays the caller's. */
int ff_loop_add(struct ff_source *s, int fd, uint32_t epoll_events, ff_source_fn fn, void *arg);
int ff_loop_mod(struct ff_source *s, uint32_t epoll_events);
/* Safe inside any callback, also the source's own, and for one that was never added. */
void ff_loop_del(struct ff_source *s);

struct ff_timer {
	struct ff_source src; /* a timerfd */
	void (*fn)(void *arg);
	void *arg;
};
/* Every period_ms, from now on. Returns 0 or -errno. */
int ff_loop_timer_start(struct ff_timer *t, unsigned period_ms, void (*fn)(void *), void *arg);
void ff_loop_timer_stop(struct ff_timer *t);

/*
 * Runs fn(arg) on the control thread and waits for it. From any thread but workers; on the
 * control thread itself it is a plain call. -ESHUTDOWN when the loop has ended.
 */
int ff_loop_call(void (*fn)(void *), void *arg);

/* Runs until ff_loop_stop(). */
int ff_loop_run(void);
void ff_loop_stop(void);

#endif
