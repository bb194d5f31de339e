/* SPDX-License-Identifier: MIT */
/* Tests dataplane/core/worker.c and workers.c: start, calls, messages, quiescence, each policy. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "worker_fixture.h"

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

#define SENDERS	   3
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

int
main(void)
{
	CU_pSuite s;

	CU_initialize_registry();
	s = CU_add_suite("worker", fixture_setup, fixture_cleanup);
	CU_add_test(s, "calls", test_calls);
	CU_add_test(s, "a stage that fails", test_failing_stage);
	CU_add_test(s, "messages", test_messages);
	CU_add_test(s, "full queue", test_full_queue);
	CU_add_test(s, "worker to worker", test_worker_to_worker);
	CU_add_test(s, "quiescence", test_quiescence);
	return fixture_run();
}
