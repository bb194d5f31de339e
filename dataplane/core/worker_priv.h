/* SPDX-License-Identifier: MIT */
/* Inside of a worker: shared by worker.c, sleep.c and the tests, which drive passes by hand. */
#ifndef FF_CORE_WORKER_PRIV_H
#define FF_CORE_WORKER_PRIV_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "msgring.h"
#include "worker.h"

#define FF_CACHE_LINE  64
#define FF_STEER_AFTER 16 /* quick wake-ups in a row */

struct ff_worker {
	/* Constant while the worker runs. */
	alignas(FF_CACHE_LINE) unsigned index;
	enum ff_idle_policy idle;
	uint64_t spin_ns;
	struct ff_msgring *messages;
	int epfd;
	int wake_fd; /* eventfd; written by posters */
	unsigned lcore;
	/* Hand-over of the whole struct to the thread and back, besides EAL's own (which a thread
	 * sanitizer does not see): release by the one, acquire by the other. */
	_Atomic bool handed_over, handed_back;
	int init_rc; /* of the stages' init; control reads it after a call */
	void *priv[FF_STAGES_MAX];

	/* Owner: the worker. */
	alignas(FF_CACHE_LINE) bool stop;
	uint64_t idle_since_ns; /* 0: the pass before had work */
	unsigned last_work;
	/* interrupt (sleep.c): does a short spin pay? Is it on the wrong CPU? */
	bool spinning;
	unsigned spin_credit, spin_probe;
	unsigned quick_wakes, steer_after;
	unsigned cpu_countdown; /* passes until the CPU is looked up again */

	/*
	 * alert: the worker goes to sleep, a poster must write wake_fd. Writer: worker. Readers:
	 * posters. Barrier pair: sleep_enter() and ff_worker_wake(), full fences.
	 * parked: the worker holds nothing that it looked up. Writer: worker. Reader:
	 * ff_workers_synchronize(). Barrier pair: sleep_wait() and worker_parked(), full fences.
	 */
	alignas(FF_CACHE_LINE) _Atomic bool alert;
	_Atomic bool parked;

	/* Writer: worker (relaxed). Reader: telemetry. */
	alignas(FF_CACHE_LINE) _Atomic uint64_t passes;
	_Atomic uint64_t last_ns; /* start of the pass before */
	_Atomic uint64_t busy_passes, sleeps, messages_run, busy_ns, idle_ns;
	_Atomic int cpu;
};

/* The stages, in the order of registration. */
extern const struct ff_worker_stage *ff_stages[FF_STAGES_MAX];
extern unsigned ff_num_stages;

/* Only one thread writes a counter, so no locked instruction is needed. */
static inline void
ff_worker_stat_add(_Atomic uint64_t *counter, uint64_t by)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + by,
			      memory_order_relaxed);
}

/*
 * worker.c. Makes the ring, the eventfd and the epoll set; the control thread. One that was used
 * before is taken down first.
 */
int ff_worker_create(struct ff_worker *w, unsigned index);
void ff_worker_destroy(struct ff_worker *w);
/* The worker's own thread: stages' init; the loop until stop; stages' fini. */
int ff_worker_enter(struct ff_worker *w);
void ff_worker_loop(struct ff_worker *w);
void ff_worker_leave(struct ff_worker *w);
/* Instead, when enter failed: only messages, until stop, so that no caller waits for ever. */
void ff_worker_serve(struct ff_worker *w);
/* One pass; returns the work done. */
unsigned ff_worker_pass(struct ff_worker *w, uint64_t now_ns);

/* sleep.c: the pass found no work; or some, after one that did not. */
void ff_worker_idle(struct ff_worker *w, uint64_t now_ns);
void ff_worker_busy(struct ff_worker *w, uint64_t now_ns);
/* Any thread: something has been posted to w. Full fence; wakes it if it sleeps. */
void ff_worker_wake(struct ff_worker *w);

/* clock.c */
void ff_clock_start(void);     /* first of two samples; as early as can be */
void ff_clock_calibrate(void); /* second; waits until they are 50 ms apart. Before the workers. */

#endif
