/* SPDX-License-Identifier: MIT */
/* Tests dataplane/core/sleep.c and clock.c: sleeping and waking, deadlines, the clock. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "worker_fixture.h"

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

static struct {
	int fds[2];
	bool on;
	int rc;
} sock;

static void
socket_add(void *arg)
{
	sock.rc = ff_worker_wake_socket_add(ff_worker_get(0), sock.fds[0]);
}

static void
socket_rest(void *arg)
{
	sock.rc = ff_worker_wake_socket_rest(ff_worker_get(0), sock.fds[0], sock.on);
}

static uint64_t
sleeps(void)
{
	struct ff_worker_stats s;

	wait_parked(0);
	ff_worker_stats(ff_worker_get(0), &s);
	return s.sleeps;
}

/* A socket that rests wakes nobody; at the end of its rest, what is there does. */
static void
test_socket_rests(void)
{
	uint64_t before;

	CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM, 0, sock.fds), 0);
	workers_up(FF_IDLE_INTERRUPT);
	ff_worker_call(ff_worker_get(0), socket_add, NULL);
	CU_ASSERT_EQUAL_FATAL(sock.rc, 0);
	before = sleeps();
	CU_ASSERT_EQUAL(write(sock.fds[1], "", 1), 1);
	while (sleeps() == before)
		sched_yield();
	sock.on = true;
	ff_worker_call(ff_worker_get(0), socket_rest, NULL);
	CU_ASSERT_EQUAL_FATAL(sock.rc, 0);
	before = sleeps();
	for (unsigned i = 0; i < 100; i++) {
		CU_ASSERT_EQUAL(write(sock.fds[1], "", 1), 1);
		usleep(100);
	}
	CU_ASSERT_EQUAL(sleeps(), before);
	sock.on = false;
	ff_worker_call(ff_worker_get(0), socket_rest, NULL);
	/* One sleep ended with the call; what was written meanwhile ends another. */
	while (sleeps() < before + 2)
		sched_yield();
	CU_ASSERT_EQUAL(ff_worker_wake_socket_rest(ff_worker_get(0), -1, true), -EBADF);
	workers_down();
	close(sock.fds[0]);
	close(sock.fds[1]);
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

/* Passes driven by hand, at times of our own. */
static void
test_short_spin(void)
{
	struct ff_worker w = {0};
	uint64_t at = 1000000;

	ff_config.idle = FF_IDLE_INTERRUPT;
	CU_ASSERT_FATAL(ff_worker_create(&w, 0) == 0);
	/* It has paid: the worker stays awake at first, and what comes then is to its credit. */
	w.spin_credit = 1;
	w.idle_since_ns = at;
	ff_worker_idle(&w, at);
	ff_worker_idle(&w, at + 500);
	CU_ASSERT_EQUAL(atomic_load(&w.sleeps), 0);
	ff_worker_busy(&w, at + 600);
	CU_ASSERT(w.spin_credit > 1);
	/* In vain: credit sinks, until it does not even try, but for now and then. */
	while (w.spin_credit) {
		unsigned credit = w.spin_credit;

		at += 1000000;
		w.idle_since_ns = at;
		ff_worker_idle(&w, at);
		CU_ASSERT(eventfd_write(w.wake_fd, 1) == 0); /* else it would sleep for good */
		ff_worker_idle(&w, at + 100000);
		CU_ASSERT_EQUAL_FATAL(w.spin_credit, credit - 1);
	}
	at += 1000000;
	w.idle_since_ns = at;
	w.spin_probe = 0;
	CU_ASSERT(eventfd_write(w.wake_fd, 1) == 0);
	ff_worker_idle(&w, at);
	CU_ASSERT_FALSE(w.spinning);
	ff_worker_destroy(&w);
}

/* Woken again and again at once, it tries another CPU, each time more seldom; the set stays. */
static void
test_moves(void)
{
	struct ff_worker w = {0};
	uint64_t at = 1000000;
	cpu_set_t before, after;
	unsigned i, limit;

	ff_config.idle = FF_IDLE_INTERRUPT;
	CU_ASSERT_FATAL(ff_worker_create(&w, 0) == 0);
	CU_ASSERT_FATAL(sched_getaffinity(0, sizeof(before), &before) == 0);
	limit = w.steer_after;
	for (i = 0; i < limit; i++, at += 5000) {
		CU_ASSERT_EQUAL(w.steer_after, limit);
		w.idle_since_ns = at - 4000;
		ff_worker_busy(&w, at);
	}
	CU_ASSERT_EQUAL(w.steer_after, 2 * limit);
	CU_ASSERT_EQUAL(w.quick_wakes, 0);
	CU_ASSERT_FATAL(sched_getaffinity(0, sizeof(after), &after) == 0);
	CU_ASSERT(CPU_EQUAL(&before, &after));
	/* A wake-up after a while is what sleep is for. */
	w.quick_wakes = 5;
	w.idle_since_ns = at - 1000000;
	ff_worker_busy(&w, at);
	CU_ASSERT_EQUAL(w.quick_wakes, 0);
	ff_worker_destroy(&w);
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

int
main(void)
{
	CU_pSuite s;

	CU_initialize_registry();
	s = CU_add_suite("sleep", fixture_setup, fixture_cleanup);
	CU_add_test(s, "wake fd", test_wake_fd);
	CU_add_test(s, "wake fd with a full counter", test_wake_fd_counter_full);
	CU_add_test(s, "a socket rests", test_socket_rests);
	CU_add_test(s, "wake fd must be an eventfd", test_wake_fd_must_be_eventfd);
	CU_add_test(s, "deadline", test_deadline);
	CU_add_test(s, "policies sleep or do not", test_policies_sleep_or_not);
	CU_add_test(s, "short spin", test_short_spin);
	CU_add_test(s, "moves to another CPU", test_moves);
	CU_add_test(s, "clock", test_clock);
	return fixture_run();
}
