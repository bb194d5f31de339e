/* SPDX-License-Identifier: MIT */
/*
 * Worker lcores: the poll loop, its idle policies, messages between threads, quiescence.
 *
 * A worker never blocks, allocates, logs or makes system calls on its fast path. Each channel, QP,
 * CQ and SRQ belongs to one worker; other threads reach it by a message. A worker's pass is the
 * read-side critical section: what it looked up in a shared table stays valid until the pass ends.
 */
#ifndef FF_CORE_WORKER_H
#define FF_CORE_WORKER_H

#include <stdbool.h>
#include <stdint.h>

struct ff_worker;

#define FF_WORKERS_MAX 32u

enum ff_idle_policy {
	FF_IDLE_POLL,	   /* never sleeps */
	FF_IDLE_ADAPTIVE,  /* spins spin_us without work, then arms interrupts and sleeps */
	FF_IDLE_INTERRUPT, /* sleeps whenever a pass finds no work */
};
extern const char *const ff_idle_policy_names[];

/*
 * What the poll loop calls, in this order, each pass. Set once, before ff_workers_start().
 * init/fini run on the worker's own thread. Return values of poll: units of work done.
 */
struct ff_worker_stage {
	const char *name;
	int (*init)(struct ff_worker *w);
	void (*fini)(struct ff_worker *w);
	unsigned (*poll)(struct ff_worker *w, uint64_t now_ns);
	/*
	 * About to sleep: unmask interrupts, full fence, look again. Returns true if there is work
	 * (the worker does not sleep). May be NULL.
	 */
	bool (*sleep_prepare)(struct ff_worker *w);
	void (*sleep_done)(struct ff_worker *w); /* awake again: mask interrupts. May be NULL */
	/* Earliest time (ff_now_ns) at which poll wants to be called; UINT64_MAX: none. */
	uint64_t (*deadline)(struct ff_worker *w); /* may be NULL */
};
/* At most FF_STAGES_MAX; slot is the stage's index, for ff_worker_priv. */
#define FF_STAGES_MAX 4u
int ff_worker_stage_register(const struct ff_worker_stage *stage);
/* A stage's private state, per worker: set in init. */
void ff_worker_priv_set(struct ff_worker *w, int slot, void *priv);
void *ff_worker_priv(const struct ff_worker *w, int slot);

int ff_workers_start(void); /* as the configuration says; control thread */
void ff_workers_stop(void);
unsigned ff_worker_count(void); /* 0 when they are not running */
/* Also before the start (idle structs, for tests and set-up); NULL: idx >= FF_WORKERS_MAX. */
struct ff_worker *ff_worker_get(unsigned idx);
struct ff_worker *ff_worker_self(void); /* NULL on threads that are not workers */
unsigned ff_worker_index(const struct ff_worker *w);

/*
 * CLOCK_MONOTONIC in ns, from the TSC where it is invariant. Any thread. The rate is measured once:
 * it may drift from the kernel's clock by some 10 us a second, so use it for differences.
 */
uint64_t ff_now_ns(void);

/* A message. Embedded in what it is about; owned by the receiver until fn has run. */
struct ff_msg {
	void (*fn)(struct ff_msg *m);
};

/*
 * To a worker, from a worker or the control thread or a helper thread. FIFO per sender, wakes a
 * sleeping worker. The queue is bounded (FF_WORKER_RING slots): -ENOSPC when full, the message
 * stays the caller's.
 */
#define FF_WORKER_RING 4096u
int ff_worker_post(struct ff_worker *w, struct ff_msg *m);
/*
 * To the control thread, from a worker or helper thread; fn runs there. Same bound. -ESHUTDOWN
 * when there is no loop (loop.h).
 */
int ff_control_post(struct ff_msg *m);
/*
 * Control thread: runs what has been posted to it so far. After ff_workers_synchronize(), no
 * message of an object that the workers no longer use is in flight. Callbacks may call it.
 */
void ff_control_drain(void);

/*
 * Control thread only: runs fn(arg) on w between two passes and returns when it has run. Direct
 * call when the workers are not running (tests, start-up). Not from inside a message.
 */
void ff_worker_call(struct ff_worker *w, void (*fn)(void *arg), void *arg);
/* Control thread only: returns when every worker has ended the pass it is in. */
void ff_workers_synchronize(void);

/*
 * An eventfd that wakes the worker when it sleeps (memif rings); the stage's sleep_prepare armed
 * it. It is never read: each write is an edge, and that is all that counts. Whatever else a
 * container passes off as an eventfd is refused (-EINVAL): polling a foreign file may block. On the
 * worker or by ff_worker_call; delete it before it is closed.
 */
int ff_worker_wake_fd_add(struct ff_worker *w, int fd);
/* A socket of our own: what arrives wakes the worker, if it has read all that was there. */
int ff_worker_wake_socket_add(struct ff_worker *w, int fd);
/*
 * on: it does not wake the worker until it is told off again; what is there then, does. On the
 * worker. 0 or -errno.
 */
int ff_worker_wake_socket_rest(struct ff_worker *w, int fd, bool on);
void ff_worker_wake_fd_del(struct ff_worker *w, int fd);

/* Snapshot for telemetry. */
struct ff_worker_stats {
	uint64_t passes, busy_passes, sleeps, messages;
	uint64_t busy_ns, idle_ns;
	int cpu;
};
void ff_worker_stats(const struct ff_worker *w, struct ff_worker_stats *out);

#endif
