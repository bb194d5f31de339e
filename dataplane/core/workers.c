/* SPDX-License-Identifier: MIT */
/* All workers: start, stop, calls, quiescence. Control thread; thread_main is each worker's own. */
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <rte_launch.h>
#include <rte_lcore.h>
#include <rte_pause.h>

#include "config.h"
#include "log.h"
#include "worker_priv.h"

/* A worker that is awake answers within this many looks; one that sleeps must be woken first. */
#define CALL_SPINS 200
/* Stack that is faulted in before the first pass. */
#define STACK_WARM 65536u

const char *const ff_idle_policy_names[] = {"poll", "adaptive", "interrupt", NULL};

static struct ff_worker workers[FF_WORKERS_MAX];
static unsigned num_workers, num_launched;
static bool running; /* control thread only */

/*
 * Answers that the control thread waits for: their number, and PENDING_WAITER when it sleeps in
 * futex() on the word. Writers: control thread (the bit), workers (the number).
 */
struct pending {
	_Atomic uint32_t due;
};
#define PENDING_WAITER (1u << 31)

struct call {
	struct ff_msg msg; /* first: the message is the call */
	struct pending *pending;
	void (*fn)(void *arg);
	void *arg;
};

static void
futex(_Atomic uint32_t *word, int op, uint32_t val)
{
	syscall(SYS_futex, (uint32_t *)word, op | FUTEX_PRIVATE_FLAG, val, NULL, NULL, 0);
}

static void
pending_done(struct pending *p)
{
	_Atomic uint32_t *due = &p->due;

	/* After the last one p is gone with its owner's stack frame; the wake only needs the
	 * address, and one that nobody waits for does no harm. */
	if (atomic_fetch_sub_explicit(due, 1, memory_order_acq_rel) == (PENDING_WAITER | 1u))
		futex(due, FUTEX_WAKE, 1);
}

static void
pending_wait(struct pending *p)
{
	uint32_t v;
	int i;

	for (i = 0; i < CALL_SPINS; i++) {
		if (!atomic_load_explicit(&p->due, memory_order_acquire))
			return;
		rte_pause();
	}
	for (;;) {
		v = atomic_load_explicit(&p->due, memory_order_acquire);
		if (!(v & ~PENDING_WAITER))
			return;
		if ((v & PENDING_WAITER) ||
		    atomic_compare_exchange_strong(&p->due, &v, v | PENDING_WAITER))
			futex(&p->due, FUTEX_WAIT, v | PENDING_WAITER);
	}
}

static void
call_run(struct ff_msg *m)
{
	struct call *c = (struct call *)m;
	struct pending *p = c->pending;

	if (c->fn)
		c->fn(c->arg);
	pending_done(p);
}

static void
call_post(struct ff_worker *w, struct call *c)
{
	/* Full: the worker is awake and takes a burst each pass, so room comes. */
	while (ff_worker_post(w, &c->msg))
		sched_yield();
}

void
ff_worker_call(struct ff_worker *w, void (*fn)(void *arg), void *arg)
{
	struct pending p = {1};
	struct call c = {{call_run}, &p, fn, arg};

	if (!running) {
		fn(arg);
		return;
	}
	call_post(w, &c);
	pending_wait(&p);
}

/*
 * The worker sleeps, and holds nothing that it looked up before. Its next pass comes after the
 * fence that follows its wait, and so sees what the control thread wrote before the one here.
 */
static bool
worker_parked(struct ff_worker *w)
{
	return atomic_load_explicit(&w->parked, memory_order_acquire);
}

void
ff_workers_synchronize(void)
{
	struct pending p = {0};
	struct call calls[FF_WORKERS_MAX];
	unsigned i;

	if (!running)
		return;
	atomic_thread_fence(memory_order_seq_cst); /* pairs with the one of sleep_wait() */
	for (i = 0; i < num_workers; i++) {
		if (worker_parked(&workers[i]))
			continue;
		calls[i] = (struct call){{call_run}, &p, NULL, NULL};
		atomic_fetch_add_explicit(&p.due, 1, memory_order_relaxed);
		call_post(&workers[i], &calls[i]);
	}
	pending_wait(&p);
}

unsigned
ff_worker_count(void)
{
	return num_workers;
}

struct ff_worker *
ff_worker_get(unsigned idx)
{
	return idx < FF_WORKERS_MAX ? &workers[idx] : NULL;
}

/* As many real-time threads as CPUs would keep all else off them, the control thread too. */
static bool
priority_fits(void)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	return cpus > 0 && ff_config.num_workers < (unsigned long)cpus;
}

/* A sleeping worker must run at once when it is woken, also where programs spin on every CPU. */
static void
priority_set(const struct ff_worker *w)
{
	struct sched_param sp = {.sched_priority = ff_config.priority};

	/* A thread that polls for ever with a real-time priority would own its CPU: SCHED_OTHER,
	 * also where the whole process was started with another policy. */
	if (w->idle == FF_IDLE_POLL || !ff_config.priority) {
		sp.sched_priority = 0;
		sched_setscheduler(0, SCHED_OTHER, &sp);
		return;
	}
	/* Reset on fork: nothing that is ever made from a worker may inherit it. */
	if (!priority_fits())
		ff_warn("worker",
			"worker %u: no real-time priority: there are not more CPUs than workers",
			w->index);
	else if (sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &sp) == 0)
		return;
	else
		ff_warn("worker",
			"worker %u: no real-time priority (%s; needs CAP_SYS_NICE and, with "
			"cgroup v1, cpu.rt_runtime_us): wake-ups will be slow on a busy machine",
			w->index, strerror(errno));
	if (setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), -20))
		ff_warn("worker", "worker %u: no nice level either: %s", w->index, strerror(errno));
}

/* No page fault of the first passes' stack frames. */
static void __attribute__((noinline)) stack_warm(void)
{
	volatile char warm[STACK_WARM];
	size_t i;

	for (i = 0; i < sizeof(warm); i += 4096)
		warm[i] = 0;
}

static int
thread_main(void *arg)
{
	struct ff_worker *w = arg;

	while (!atomic_load_explicit(&w->handed_over, memory_order_acquire))
		rte_pause();
	prctl(PR_SET_TIMERSLACK, 1UL);
	stack_warm();
	w->init_rc = ff_worker_enter(w);
	if (!w->init_rc) {
		/*
		 * Not before: stages allocate under DPDK's spin locks. Real-time workers that spin
		 * on all CPUs for a lock whose holder waits for the kernel (for RCU, when its table
		 * of files grows) would keep the kernel from getting there.
		 */
		priority_set(w);
		ff_worker_loop(w);
		ff_worker_leave(w);
	} else {
		ff_worker_serve(w);
	}
	atomic_store_explicit(&w->handed_back, true, memory_order_release);
	return 0;
}

static void
nothing(void *arg)
{
}

static void
stop_set(void *arg)
{
	struct ff_worker *w = arg;

	w->stop = true;
}

/* Worker i runs on the i-th worker lcore (eal.c made as many as there are workers). */
static int
workers_launch(void)
{
	unsigned lcore;
	int rc;

	RTE_LCORE_FOREACH_WORKER (lcore) {
		if (num_launched == num_workers)
			break;
		workers[num_launched].lcore = lcore;
		atomic_store_explicit(&workers[num_launched].handed_over, true,
				      memory_order_release);
		rc = rte_eal_remote_launch(thread_main, &workers[num_launched], lcore);
		if (rc)
			return rc;
		num_launched++;
	}
	if (num_launched < num_workers) {
		ff_err("worker", "%u workers asked for, %u lcores", num_workers, num_launched);
		return -ENODEV;
	}
	return 0;
}

int
ff_workers_start(void)
{
	unsigned i;
	int rc;

	ff_clock_calibrate();
	/* All of them exist before the first one runs: stages look at their number. */
	for (i = 0; i < ff_config.num_workers; i++) {
		rc = ff_worker_create(&workers[i], i);
		if (rc)
			return rc;
	}
	num_workers = ff_config.num_workers;
	rc = workers_launch();
	running = true;
	for (i = 0; i < num_launched && !rc; i++) {
		/* The first message runs after init. */
		ff_worker_call(&workers[i], nothing, NULL);
		rc = workers[i].init_rc;
	}
	if (rc) {
		ff_workers_stop();
		return rc;
	}
	ff_info("worker", "%u worker%s, idle policy %s", num_workers, num_workers == 1 ? "" : "s",
		ff_idle_policy_names[ff_config.idle]);
	return 0;
}

/* Rings and eventfds stay: a helper thread that is stuck in a call may still post its answer. */
void
ff_workers_stop(void)
{
	unsigned i;

	for (i = 0; i < num_launched; i++) {
		ff_worker_call(&workers[i], stop_set, &workers[i]);
		rte_eal_wait_lcore(workers[i].lcore);
		while (!atomic_load_explicit(&workers[i].handed_back, memory_order_acquire))
			rte_pause();
	}
	running = false;
	num_launched = 0;
	num_workers = 0;
}
