/* SPDX-License-Identifier: MIT */
/*
 * Tests dataplane/core/worker*.c and sleep.c on real lcores: messages, calls, sleeping and waking,
 * deadlines, quiescence, with each idle policy.
 */
#include <CUnit/Basic.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/config.h"
#include "core/eal.h"
#include "core/worker_priv.h"

#define WORKERS 2

/* ---- a stage that a test programs ---- */

static struct {
	int init_rc;
	unsigned inits, finis;
	unsigned (*poll)(struct ff_worker *w, uint64_t now_ns);
	bool (*prepare)(struct ff_worker *w);
	uint64_t (*deadline)(struct ff_worker *w);
	_Atomic unsigned done;
} stage;
static int stage_slot;

static int
stage_init(struct ff_worker *w)
{
	if (ff_worker_index(w) == WORKERS - 1 && stage.init_rc)
		return stage.init_rc;
	ff_worker_priv_set(w, stage_slot, w);
	__atomic_fetch_add(&stage.inits, 1, __ATOMIC_SEQ_CST);
	return 0;
}

static void
stage_fini(struct ff_worker *w)
{
	CU_ASSERT_PTR_EQUAL(ff_worker_priv(w, stage_slot), w);
	__atomic_fetch_add(&stage.finis, 1, __ATOMIC_SEQ_CST);
}

static unsigned
stage_poll(struct ff_worker *w, uint64_t now_ns)
{
	return stage.poll ? stage.poll(w, now_ns) : 0;
}

static bool
stage_prepare(struct ff_worker *w)
{
	return stage.prepare ? stage.prepare(w) : false;
}

static void
stage_done(struct ff_worker *w)
{
	atomic_fetch_add(&stage.done, 1);
}

static uint64_t
stage_deadline(struct ff_worker *w)
{
	return stage.deadline ? stage.deadline(w) : UINT64_MAX;
}

static const struct ff_worker_stage the_stage = {
	.name = "test",
	.init = stage_init,
	.fini = stage_fini,
	.poll = stage_poll,
	.sleep_prepare = stage_prepare,
	.sleep_done = stage_done,
	.deadline = stage_deadline,
};

static void
stage_reset(void)
{
	memset(&stage, 0, sizeof(stage));
}

static void
workers_up(enum ff_idle_policy idle)
{
	ff_config.idle = idle;
	CU_ASSERT_EQUAL_FATAL(ff_workers_start(), 0);
	CU_ASSERT_EQUAL(ff_worker_count(), WORKERS);
}

static void
workers_down(void)
{
	ff_workers_stop();
	CU_ASSERT_EQUAL(ff_worker_count(), 0);
	CU_ASSERT_EQUAL(stage.finis, stage.inits);
	stage_reset();
}

static void
wait_parked(unsigned i)
{
	while (!atomic_load(&ff_worker_get(i)->parked))
		sched_yield();
}

/* Polling workers leave the test no CPU of a small machine: each round takes a time slice. */
static unsigned
rounds(void)
{
	return ff_config.idle == FF_IDLE_POLL ? 20 : 2000;
}

/* Runs test under each policy. */
static void
each_policy(void (*test)(void))
{
	int idle;

	for (idle = FF_IDLE_POLL; idle <= FF_IDLE_INTERRUPT; idle++) {
		workers_up((enum ff_idle_policy)idle);
		test();
		workers_down();
	}
}

/* ---- start, calls ---- */

static void
who_am_i(void *arg)
{
	*(struct ff_worker **)arg = ff_worker_self();
}

static void
check_calls(void)
{
	struct ff_worker *who;
	unsigned i, round;

	CU_ASSERT_EQUAL(stage.inits, WORKERS);
	for (round = 0; round < rounds(); round++) {
		for (i = 0; i < WORKERS; i++) {
			who = NULL;
			ff_worker_call(ff_worker_get(i), who_am_i, &who);
			CU_ASSERT_PTR_EQUAL_FATAL(who, ff_worker_get(i));
			CU_ASSERT_EQUAL(ff_worker_index(who), i);
		}
	}
	CU_ASSERT_PTR_NULL(ff_worker_self());
}

static void
test_calls(void)
{
	struct ff_worker *who = ff_worker_get(0);

	each_policy(check_calls);
	/* No workers: a plain call. */
	ff_worker_call(ff_worker_get(0), who_am_i, &who);
	CU_ASSERT_PTR_NULL(who);
	ff_workers_synchronize();
	CU_ASSERT_PTR_NULL(ff_worker_get(FF_WORKERS_MAX));
}

static void
test_failing_stage(void)
{
	stage.init_rc = -ENODEV;
	CU_ASSERT_EQUAL(ff_workers_start(), -ENODEV);
	CU_ASSERT_EQUAL(ff_worker_count(), 0);
	CU_ASSERT_EQUAL(stage.finis, stage.inits);
	stage_reset();
	/* And then it works. */
	each_policy(check_calls);
}

/* ---- messages ---- */

#define SENDERS    3
#define POSTS_EACH 5000

struct counted {
	struct ff_msg msg;
	unsigned sender, value;
};
static struct counted posts[SENDERS][POSTS_EACH];
static unsigned expected[SENDERS]; /* worker 0 */
static _Atomic unsigned received, out_of_order;

static void
counted_run(struct ff_msg *m)
{
	struct counted *c = (struct counted *)m;

	if (c->value != expected[c->sender]++)
		atomic_fetch_add(&out_of_order, 1);
	atomic_fetch_add(&received, 1);
}

static void *
sender(void *arg)
{
	unsigned i, me = (unsigned)(uintptr_t)arg;

	for (i = 0; i < POSTS_EACH; i++) {
		posts[me][i] = (struct counted){{counted_run}, me, i};
		while (ff_worker_post(ff_worker_get(0), &posts[me][i].msg) == -ENOSPC)
			sched_yield();
	}
	return NULL;
}

static void
check_messages(void)
{
	struct ff_worker_stats stats;
	pthread_t threads[SENDERS];
	uintptr_t i;

	atomic_store(&received, 0);
	memset(expected, 0, sizeof(expected));
	for (i = 0; i < SENDERS; i++)
		CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, sender, (void *)i), 0);
	for (i = 0; i < SENDERS; i++)
		pthread_join(threads[i], NULL);
	while (atomic_load(&received) < SENDERS * POSTS_EACH)
		sched_yield();
	CU_ASSERT_EQUAL(atomic_load(&out_of_order), 0);
	ff_worker_stats(ff_worker_get(0), &stats);
	CU_ASSERT(stats.messages >= SENDERS * POSTS_EACH - 32);
	CU_ASSERT(stats.passes >= stats.busy_passes && stats.busy_passes > 0);
}

static void
test_messages(void)
{
	each_policy(check_messages);
}

static _Atomic bool hold, held;

static void
hold_run(struct ff_msg *m)
{
	atomic_store(&held, true);
	/* Sleeps: a real-time thread that yields still keeps all others off its CPU. */
	while (atomic_load(&hold))
		usleep(100);
}

static _Atomic unsigned cheap_runs;

static void
cheap_run(struct ff_msg *m)
{
	atomic_fetch_add(&cheap_runs, 1);
}

static void
test_full_queue(void)
{
	struct ff_msg holding = {hold_run}, cheap[FF_WORKER_RING];
	unsigned i, posted = 0;

	workers_up(FF_IDLE_INTERRUPT);
	atomic_store(&hold, true);
	CU_ASSERT_EQUAL(ff_worker_post(ff_worker_get(1), &holding), 0);
	while (!atomic_load(&held))
		sched_yield();
	for (i = 0; i < FF_WORKER_RING; i++) {
		cheap[i].fn = cheap_run;
		posted += ff_worker_post(ff_worker_get(1), &cheap[i]) == 0;
	}
	CU_ASSERT_EQUAL(posted, FF_WORKER_RING - 1);
	CU_ASSERT_EQUAL(ff_worker_post(ff_worker_get(1), &cheap[FF_WORKER_RING - 1]), -ENOSPC);
	atomic_store(&hold, false);
	while (atomic_load(&cheap_runs) < posted)
		sched_yield();
	workers_down();
}

/* Worker 0 and worker 1 throw one message to and fro. */
static _Atomic unsigned bounces;

static void
bounce_run(struct ff_msg *m)
{
	unsigned next = 1 - ff_worker_index(ff_worker_self());

	if (atomic_fetch_add(&bounces, 1) < rounds())
		ff_worker_post(ff_worker_get(next), m);
}

static void
check_bounce(void)
{
	static struct ff_msg ball = {bounce_run};

	atomic_store(&bounces, 0);
	CU_ASSERT_EQUAL(ff_worker_post(ff_worker_get(0), &ball), 0);
	while (atomic_load(&bounces) < rounds() + 1)
		sched_yield();
}

static void
test_worker_to_worker(void)
{
	each_policy(check_bounce);
}

/* ---- sleeping ---- */

/* A ring like memif's: a word of work, a mask, an eventfd. */
static struct {
	_Atomic unsigned produced;
	_Atomic unsigned consumed;
	_Atomic bool masked;
	int fd;
} ring = {.fd = -1};

static unsigned
ring_poll(struct ff_worker *w, uint64_t now_ns)
{
	unsigned p, c;

	if (ff_worker_index(w) != 0)
		return 0;
	p = atomic_load_explicit(&ring.produced, memory_order_acquire);
	c = atomic_load_explicit(&ring.consumed, memory_order_relaxed);
	if (p == c)
		return 0;
	atomic_store_explicit(&ring.consumed, p, memory_order_release);
	return p - c;
}

static bool
ring_prepare(struct ff_worker *w)
{
	if (ff_worker_index(w) != 0)
		return false;
	atomic_store_explicit(&ring.masked, false, memory_order_relaxed);
	atomic_thread_fence(memory_order_seq_cst);
	return atomic_load(&ring.produced) != atomic_load(&ring.consumed);
}

static void
ring_fd_add(void *arg)
{
	*(int *)arg = ff_worker_wake_fd_add(ff_worker_get(0), ring.fd);
}

static void
ring_fd_del(void *arg)
{
	ff_worker_wake_fd_del(ff_worker_get(0), ring.fd);
}

/* A lost wake-up hangs here. */
static void
ring_send(bool always_write)
{
	static const uint64_t one = 1;
	unsigned i, next;

	for (i = 0; i < 5000; i++) {
		if (i % 2)
			wait_parked(0);
		next = atomic_load(&ring.produced) + 1;
		atomic_store_explicit(&ring.produced, next, memory_order_release);
		atomic_thread_fence(memory_order_seq_cst);
		if (always_write || !atomic_load_explicit(&ring.masked, memory_order_relaxed))
			CU_ASSERT_EQUAL(write(ring.fd, &one, sizeof(one)), sizeof(one));
		while (atomic_load_explicit(&ring.consumed, memory_order_acquire) != next)
			sched_yield();
	}
}

static void
test_wake_fd(void)
{
	int idle, rc = -1;

	ring.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	CU_ASSERT_FATAL(ring.fd >= 0);
	for (idle = FF_IDLE_ADAPTIVE; idle <= FF_IDLE_INTERRUPT; idle++) {
		stage.poll = ring_poll;
		stage.prepare = ring_prepare;
		workers_up((enum ff_idle_policy)idle);
		ff_worker_call(ff_worker_get(0), ring_fd_add, &rc);
		CU_ASSERT_EQUAL_FATAL(rc, 0);
		ring_send(true);
		ring_send(false);
		CU_ASSERT(atomic_load(&stage.done) > 0);
		ff_worker_call(ff_worker_get(0), ring_fd_del, NULL);
		workers_down();
	}
	close(ring.fd);
}

/* The eventfd's counter is the container's: at its end or beyond, edges still come. */
static void
test_wake_fd_counter_full(void)
{
	uint64_t most = UINT64_MAX - 2, one = 1;
	int rc = -1;

	ring.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	CU_ASSERT_EQUAL_FATAL(write(ring.fd, &most, sizeof(most)), sizeof(most));
	stage.poll = ring_poll;
	stage.prepare = ring_prepare;
	workers_up(FF_IDLE_INTERRUPT);
	ff_worker_call(ff_worker_get(0), ring_fd_add, &rc);
	CU_ASSERT_EQUAL_FATAL(rc, 0);
	wait_parked(0);
	atomic_fetch_add(&ring.produced, 1);
	CU_ASSERT_EQUAL(write(ring.fd, &one, sizeof(one)), sizeof(one));
	while (atomic_load(&ring.consumed) != atomic_load(&ring.produced))
		sched_yield();
	CU_ASSERT(write(ring.fd, &one, sizeof(one)) < 0 && errno == EAGAIN);
	ff_worker_call(ff_worker_get(0), ring_fd_del, NULL);
	workers_down();
	close(ring.fd);
}

static void
test_wake_fd_must_be_eventfd(void)
{
	int pipes[2], sockets[2], file = open("/dev/null", O_RDWR | O_CLOEXEC);

	CU_ASSERT_EQUAL_FATAL(pipe(pipes), 0);
	CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
	workers_up(FF_IDLE_INTERRUPT);
	CU_ASSERT_EQUAL(ff_worker_wake_fd_add(ff_worker_get(0), pipes[0]), -EINVAL);
	CU_ASSERT_EQUAL(ff_worker_wake_fd_add(ff_worker_get(0), sockets[0]), -EINVAL);
	CU_ASSERT_EQUAL(ff_worker_wake_fd_add(ff_worker_get(0), file), -EINVAL);
	CU_ASSERT_EQUAL(ff_worker_wake_fd_add(ff_worker_get(0), -1), -EINVAL);
	CU_ASSERT_EQUAL(ff_worker_wake_fd_add(ff_worker_get(0), ff_worker_get(0)->epfd), -EINVAL);
	workers_down();
	close(pipes[0]);
	close(pipes[1]);
	close(sockets[0]);
	close(sockets[1]);
	close(file);
}

/* ---- deadlines ---- */

#define TIMER_NS 1000000u

static _Atomic uint64_t due, shots;

static unsigned
timer_poll(struct ff_worker *w, uint64_t now_ns)
{
	uint64_t d = atomic_load(&due);

	if (ff_worker_index(w) != 0 || !d)
		return 0;
	if (now_ns < d)
		return 0;
	atomic_fetch_add(&shots, 1);
	atomic_store(&due, now_ns + TIMER_NS);
	return 1;
}

static uint64_t
timer_deadline(struct ff_worker *w)
{
	uint64_t d = atomic_load(&due);

	return ff_worker_index(w) == 0 && d ? d : UINT64_MAX;
}

static void
test_deadline(void)
{
	struct ff_worker_stats before, after;
	uint64_t start;
	int idle;

	for (idle = FF_IDLE_ADAPTIVE; idle <= FF_IDLE_INTERRUPT; idle++) {
		stage.poll = timer_poll;
		stage.deadline = timer_deadline;
		atomic_store(&shots, 0);
		start = ff_now_ns();
		atomic_store(&due, start + TIMER_NS);
		workers_up((enum ff_idle_policy)idle);
		ff_worker_stats(ff_worker_get(0), &before);
		while (atomic_load(&shots) < 20)
			sched_yield();
		ff_worker_stats(ff_worker_get(0), &after);
		CU_ASSERT(ff_now_ns() - start >= 20 * (uint64_t)TIMER_NS);
		/* It slept for each of them, and did not wake without need. */
		CU_ASSERT(after.sleeps - before.sleeps >= 10);
		atomic_store(&due, 0);
		workers_down();
	}
}

static void
test_policies_sleep_or_not(void)
{
	struct ff_worker_stats a, b;

	workers_up(FF_IDLE_INTERRUPT);
	wait_parked(0);
	ff_worker_stats(ff_worker_get(0), &a);
	usleep(20000);
	ff_worker_stats(ff_worker_get(0), &b);
	CU_ASSERT_EQUAL(a.passes, b.passes);
	CU_ASSERT(b.idle_ns > a.idle_ns);
	workers_down();

	workers_up(FF_IDLE_POLL);
	ff_worker_stats(ff_worker_get(0), &a);
	do {
		sched_yield();
		ff_worker_stats(ff_worker_get(0), &b);
	} while (b.passes < a.passes + 1000);
	CU_ASSERT_EQUAL(b.sleeps, 0);
	workers_down();
}

/* ---- quiescence ---- */

struct canary {
	unsigned a, b;
};
static _Atomic(struct canary *) published;
static _Atomic unsigned dead_canaries;

/* Looks it up and uses it for the rest of the pass. */
static unsigned
canary_poll(struct ff_worker *w, uint64_t now_ns)
{
	struct canary *c = atomic_load_explicit(&published, memory_order_acquire);
	int i;

	for (i = 0; c && i < 20; i++)
		if (c->b != ~c->a)
			atomic_fetch_add(&dead_canaries, 1);
	return 0;
}

static bool
canary_prepare(struct ff_worker *w)
{
	canary_poll(w, 0);
	return false;
}

static void
check_quiescence(void)
{
	struct canary *c, *old;
	static struct ff_msg nudge = {cheap_run};
	unsigned i, runs;

	for (i = 0; i < rounds(); i++) {
		c = malloc(sizeof(*c));
		*c = (struct canary){i, ~i};
		old = atomic_exchange_explicit(&published, c, memory_order_acq_rel);
		runs = atomic_load(&cheap_runs);
		ff_worker_post(ff_worker_get(1), &nudge);
		ff_workers_synchronize();
		if (old)
			old->b = old->a;
		free(old);
		while (atomic_load(&cheap_runs) == runs)
			sched_yield();
	}
	old = atomic_exchange_explicit(&published, NULL, memory_order_acq_rel);
	ff_workers_synchronize();
	free(old);
	CU_ASSERT_EQUAL(atomic_load(&dead_canaries), 0);
}

static void
test_quiescence(void)
{
	int idle;

	for (idle = FF_IDLE_POLL; idle <= FF_IDLE_INTERRUPT; idle++) {
		stage.poll = canary_poll;
		stage.prepare = canary_prepare;
		workers_up((enum ff_idle_policy)idle);
		check_quiescence();
		workers_down();
	}
}

static void
test_clock(void)
{
	struct timespec ts;
	uint64_t kernel, ours, last = ff_now_ns();
	int i;

	for (i = 0; i < 100000; i++) {
		ours = ff_now_ns();
		CU_ASSERT_FATAL(ours >= last);
		last = ours;
	}
	clock_gettime(CLOCK_MONOTONIC, &ts);
	kernel = (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
	ours = ff_now_ns();
	/* The same epoch and rate, but for preemption between the two readings. */
	CU_ASSERT(ours + 100000000u > kernel && ours < kernel + 1000000000u);
}

static int
setup(void)
{
	static char dir[] = "/tmp/ff-worker-test-XXXXXX";

	ff_config_defaults(&ff_config);
	if (!mkdtemp(dir))
		return 1;
	strcpy(ff_config.run_dir, dir);
	ff_config.num_workers = WORKERS;
	ff_config.hugepages = FF_HUGE_NEVER;
	ff_config.memory_mb = 32;
	stage_slot = ff_worker_stage_register(&the_stage);
	return ff_eal_init() ? 1 : 0;
}

static int
cleanup(void)
{
	ff_eal_fini();
	return rmdir(ff_config.run_dir);
}

int
main(void)
{
	unsigned failed;
	CU_pSuite s;

	CU_initialize_registry();
	s = CU_add_suite("worker", setup, cleanup);
	CU_add_test(s, "calls", test_calls);
	CU_add_test(s, "a stage that fails", test_failing_stage);
	CU_add_test(s, "messages", test_messages);
	CU_add_test(s, "full queue", test_full_queue);
	CU_add_test(s, "worker to worker", test_worker_to_worker);
	CU_add_test(s, "wake fd", test_wake_fd);
	CU_add_test(s, "wake fd with a full counter", test_wake_fd_counter_full);
	CU_add_test(s, "wake fd must be an eventfd", test_wake_fd_must_be_eventfd);
	CU_add_test(s, "deadline", test_deadline);
	CU_add_test(s, "policies sleep or do not", test_policies_sleep_or_not);
	CU_add_test(s, "quiescence", test_quiescence);
	CU_add_test(s, "clock", test_clock);
	CU_basic_set_mode(CU_BRM_VERBOSE);
	CU_basic_run_tests();
	failed = CU_get_number_of_failures() + CU_get_number_of_suites_failed();
	CU_cleanup_registry();
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
