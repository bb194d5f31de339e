/* SPDX-License-Identifier: MIT */
/* Tests dataplane/core/loop.c: sources that go away, timers, calls and messages of other threads.
 */
#include <CUnit/Basic.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/loop.h"
#include "core/worker.h"

/* Every test ends by ff_loop_stop(); one that hangs is ended by meson's timeout. */

static int
ready_fd(void)
{
	return eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC);
}

/* ---- sources ---- */

static struct ff_source pair[2];
static unsigned pair_calls;

/* Whichever comes first removes both, and closes and reuses the memory of the other. */
static void
remove_both(struct ff_source *s, uint32_t events)
{
	int i;

	pair_calls++;
	for (i = 0; i < 2; i++) {
		ff_loop_del(&pair[i]);
		close(pair[i].fd);
		pair[i].fn = NULL;
	}
	ff_loop_stop();
}

static void
test_source_removes_another(void)
{
	int i;

	pair_calls = 0;
	CU_ASSERT_EQUAL_FATAL(ff_loop_init(), 0);
	for (i = 0; i < 2; i++)
		CU_ASSERT_EQUAL(ff_loop_add(&pair[i], ready_fd(), EPOLLIN, remove_both, NULL), 0);
	CU_ASSERT_EQUAL(ff_loop_run(), 0);
	CU_ASSERT_EQUAL(pair_calls, 1);
	ff_loop_fini();
}

static unsigned in_calls, out_calls;

static void
flip(struct ff_source *s, uint32_t events)
{
	if (events & EPOLLIN) {
		in_calls++;
		CU_ASSERT_EQUAL(ff_loop_mod(s, EPOLLOUT), 0);
	} else if (++out_calls == 3) {
		ff_loop_stop();
	}
}

static void
test_source_mod_and_errors(void)
{
	struct ff_source s = {.fd = -1}, never = {.fd = -1};

	CU_ASSERT_EQUAL_FATAL(ff_loop_init(), 0);
	ff_loop_del(&never);
	CU_ASSERT_EQUAL(ff_loop_add(&never, -1, EPOLLIN, flip, NULL), -EBADF);
	CU_ASSERT_FALSE(never.added);
	CU_ASSERT_EQUAL(ff_loop_add(&s, ready_fd(), EPOLLIN, flip, NULL), 0);
	CU_ASSERT_EQUAL(ff_loop_add(&never, s.fd, EPOLLIN, flip, NULL), -EEXIST);
	CU_ASSERT_EQUAL(ff_loop_run(), 0);
	CU_ASSERT_EQUAL(in_calls, 1);
	ff_loop_del(&s);
	ff_loop_del(&s);
	close(s.fd);
	ff_loop_fini();
}

/* ---- timers ---- */

static struct ff_timer timer;
static unsigned ticks;

static void
tick(void *arg)
{
	CU_ASSERT_PTR_EQUAL(arg, &ticks);
	if (++ticks < 3)
		return;
	ff_loop_timer_stop(&timer);
	ff_loop_stop();
}

static void
test_timer(void)
{
	uint64_t start;

	CU_ASSERT_EQUAL_FATAL(ff_loop_init(), 0);
	CU_ASSERT_EQUAL(ff_loop_timer_start(&timer, 0, tick, &ticks), -EINVAL);
	start = ff_now_ns();
	CU_ASSERT_EQUAL(ff_loop_timer_start(&timer, 2, tick, &ticks), 0);
	CU_ASSERT_EQUAL(ff_loop_run(), 0);
	CU_ASSERT_EQUAL(ticks, 3);
	CU_ASSERT(ff_now_ns() - start >= 2000000);
	ff_loop_timer_stop(&timer);
	ff_loop_fini();
}

/* ---- other threads ---- */

#define CALLERS	   4
#define CALLS_EACH 2000

static pthread_t loop_thread;
static unsigned call_sum; /* control thread only */
static _Atomic unsigned callers_left, late;

static void
add_one(void *arg)
{
	CU_ASSERT(pthread_equal(pthread_self(), loop_thread));
	call_sum++;
	++*(unsigned *)arg;
}

static void
stop_loop(void *arg)
{
	ff_loop_stop();
}

static void *
caller(void *arg)
{
	unsigned i, mine = 0;

	for (i = 0; i < CALLS_EACH; i++) {
		if (ff_loop_call(add_one, &mine))
			break;
		if (mine != i + 1)
			break; /* it returned before it had run */
	}
	CU_ASSERT_EQUAL(mine, CALLS_EACH);
	if (atomic_fetch_sub(&callers_left, 1) == 1)
		CU_ASSERT_EQUAL(ff_loop_call(stop_loop, NULL), 0);
	return NULL;
}

static void
test_calls(void)
{
	pthread_t threads[CALLERS];
	unsigned i, mine = 0;

	loop_thread = pthread_self();
	CU_ASSERT_EQUAL(ff_loop_call(add_one, &mine), -ESHUTDOWN);
	CU_ASSERT_EQUAL_FATAL(ff_loop_init(), 0);
	CU_ASSERT_EQUAL(ff_loop_call(add_one, &mine), 0); /* the control thread itself */
	CU_ASSERT_EQUAL(mine, 1);
	atomic_store(&callers_left, CALLERS);
	for (i = 0; i < CALLERS; i++)
		CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, caller, NULL), 0);
	CU_ASSERT_EQUAL(ff_loop_run(), 0);
	for (i = 0; i < CALLERS; i++)
		pthread_join(threads[i], NULL);
	CU_ASSERT_EQUAL(call_sum, CALLERS * CALLS_EACH + 1);
	CU_ASSERT_EQUAL(ff_loop_call(add_one, &mine), -ESHUTDOWN);
	ff_loop_fini();
}

static void
add_late(void *arg)
{
}

/* Not before somebody has called. */
static void
stop_amid_calls(void *arg)
{
	if (atomic_load(&late) > 0)
		ff_loop_stop();
}

/* Calls until the loop has ended: each is answered, one way or the other. */
static void *
late_caller(void *arg)
{
	while (ff_loop_call(add_late, NULL) == 0)
		atomic_fetch_add(&late, 1);
	return NULL;
}

static void
test_calls_at_the_end(void)
{
	pthread_t threads[CALLERS];
	unsigned i, round;

	for (round = 0; round < 20; round++) {
		atomic_store(&late, 0);
		CU_ASSERT_EQUAL_FATAL(ff_loop_init(), 0);
		for (i = 0; i < CALLERS; i++)
			CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, late_caller, NULL),
					      0);
		CU_ASSERT_EQUAL(ff_loop_timer_start(&timer, 5, stop_amid_calls, NULL), 0);
		CU_ASSERT_EQUAL(ff_loop_run(), 0);
		for (i = 0; i < CALLERS; i++)
			pthread_join(threads[i], NULL);
		ff_loop_timer_stop(&timer);
		ff_loop_fini();
	}
}

/* ---- messages ---- */

#define POSTS 20000

struct counted {
	struct ff_msg msg;
	unsigned value;
};
static struct counted messages[POSTS];
static unsigned next_message, out_of_order;

static void
message_run(struct ff_msg *m)
{
	struct counted *c = (struct counted *)m;

	out_of_order += c->value != next_message;
	if (++next_message == POSTS)
		ff_loop_stop();
}

static void *
poster(void *arg)
{
	unsigned i;

	for (i = 0; i < POSTS; i++) {
		messages[i] = (struct counted){{message_run}, i};
		while (ff_control_post(&messages[i].msg) == -ENOSPC)
			sched_yield();
	}
	return NULL;
}

static void
test_messages(void)
{
	pthread_t thread;
	struct counted m = {{message_run}, 0};

	CU_ASSERT_EQUAL(ff_control_post(&m.msg), -ESHUTDOWN);
	CU_ASSERT_EQUAL_FATAL(ff_loop_init(), 0);
	CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, poster, NULL), 0);
	CU_ASSERT_EQUAL(ff_loop_run(), 0);
	pthread_join(thread, NULL);
	CU_ASSERT_EQUAL(next_message, POSTS);
	CU_ASSERT_EQUAL(out_of_order, 0);
	ff_loop_fini();
}

static struct counted inner = {{NULL}, 0};
static unsigned inner_runs;

static void
inner_run(struct ff_msg *m)
{
	inner_runs++;
}

/* What is in the queue behind it runs inside. */
static void
draining_run(struct ff_msg *m)
{
	unsigned before = inner_runs;

	ff_control_drain();
	CU_ASSERT_EQUAL(inner_runs, before + 1);
}

static void
test_drain(void)
{
	struct ff_msg outer = {draining_run};

	inner.msg.fn = inner_run;
	CU_ASSERT_EQUAL_FATAL(ff_loop_init(), 0);
	CU_ASSERT_EQUAL(ff_control_post(&outer), 0);
	CU_ASSERT_EQUAL(ff_control_post(&inner.msg), 0);
	ff_control_drain();
	CU_ASSERT_EQUAL(inner_runs, 1);
	/* The end of the loop leaves none behind. */
	CU_ASSERT_EQUAL(ff_control_post(&inner.msg), 0);
	ff_loop_fini();
	CU_ASSERT_EQUAL(inner_runs, 2);
}

#ifdef __SANITIZE_THREAD__
/* DPDK reads the head of its ring as a volatile, where another producer writes it atomically. */
const char *__tsan_default_suppressions(void);
const char *
__tsan_default_suppressions(void)
{
	return "race:__rte_ring_rts_";
}
#endif

int
main(void)
{
	unsigned failed;
	CU_pSuite s;

	CU_initialize_registry();
	s = CU_add_suite("loop", NULL, NULL);
	CU_add_test(s, "a source removes another", test_source_removes_another);
	CU_add_test(s, "modification and errors", test_source_mod_and_errors);
	CU_add_test(s, "timer", test_timer);
	CU_add_test(s, "calls", test_calls);
	CU_add_test(s, "calls at the end", test_calls_at_the_end);
	CU_add_test(s, "messages", test_messages);
	CU_add_test(s, "drain", test_drain);
	CU_basic_set_mode(CU_BRM_VERBOSE);
	CU_basic_run_tests();
	failed = CU_get_number_of_failures();
	CU_cleanup_registry();
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
