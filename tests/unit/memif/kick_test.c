/* SPDX-License-Identifier: MIT */
/* memif-bridge/kick.c: signals that arrive, and never block. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "fixture.h"

static void
recognizes(void)
{
	int ev = eventfd(0, 0), mem = make_memfd(4096, 0, NULL), p[2], high;
	int timer = timerfd_create(CLOCK_MONOTONIC, 0);

	CU_ASSERT_EQUAL_FATAL(pipe(p), 0);
	high = fcntl(ev, F_DUPFD, 900);
	CU_ASSERT_TRUE(memif_kick_is_eventfd(ev));
	CU_ASSERT_TRUE(memif_kick_is_eventfd(high));
	CU_ASSERT_FALSE(memif_kick_is_eventfd(-1));
	CU_ASSERT_FALSE(memif_kick_is_eventfd(901));
	CU_ASSERT_FALSE(memif_kick_is_eventfd(mem));
	CU_ASSERT_FALSE(memif_kick_is_eventfd(p[0]));
	CU_ASSERT_FALSE(memif_kick_is_eventfd(p[1]));
	CU_ASSERT_FALSE(memif_kick_is_eventfd(timer));
	close(ev);
	close(mem);
	close(p[0]);
	close(p[1]);
	close(high);
	close(timer);
}

/* More signals than any completion queue holds: each is counted. */
static void
counts(void)
{
	int ev = eventfd(0, EFD_NONBLOCK);
	uint64_t n = 0;

	CU_ASSERT_EQUAL_FATAL(memif_kick_init(), 0);
	for (int i = 0; i < 20000; i++)
		memif_kick_signal(ev);
	CU_ASSERT_EQUAL(read(ev, &n, sizeof(n)), sizeof(n));
	CU_ASSERT_EQUAL(n, 20000);
	close(ev);
}

/* A blocking eventfd whose counter is full: write() would not come back. */
static void
never_blocks(void)
{
	int ev = eventfd(0, 0);
	uint64_t n = UINT64_MAX - 1;

	CU_ASSERT_EQUAL_FATAL(memif_kick_init(), 0);
	CU_ASSERT_EQUAL(write(ev, &n, sizeof(n)), sizeof(n));
	alarm(20);
	for (int i = 0; i < 10; i++)
		memif_kick_signal(ev);
	alarm(0);
	n = 0;
	CU_ASSERT_EQUAL(read(ev, &n, sizeof(n)), sizeof(n));
	CU_ASSERT(n >= UINT64_MAX - 1);
	close(ev);
}

static void *
signal_often(void *arg)
{
	for (int i = 0; i < 20000; i++)
		memif_kick_signal(*(int *)arg);
	return NULL;
}

/* Several workers signal, and collect each other's completions: none is lost. */
static void
threads(void)
{
	int ev = eventfd(0, EFD_NONBLOCK);
	pthread_t t[3];
	uint64_t n = 0;

	CU_ASSERT_EQUAL_FATAL(memif_kick_init(), 0);
	for (int i = 0; i < 3; i++)
		CU_ASSERT_EQUAL_FATAL(pthread_create(&t[i], NULL, signal_often, &ev), 0);
	for (int i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
	CU_ASSERT_EQUAL(read(ev, &n, sizeof(n)), sizeof(n));
	CU_ASSERT_EQUAL(n, 60000);
	close(ev);
}

/* However often it is asked for, there is one. */
static void
opens_once(void)
{
	unsigned before;

	CU_ASSERT_EQUAL_FATAL(memif_kick_init(), 0);
	before = count_fds();
	for (int i = 0; i < 100; i++)
		CU_ASSERT_EQUAL(memif_kick_init(), 0);
	CU_ASSERT_EQUAL(count_fds(), before);
}

int
main(void)
{
	static const struct test tests[] = {
		{"recognizes eventfds", recognizes}, {"counts", counts},
		{"never blocks", never_blocks},	     {"from several threads", threads},
		{"opens once", opens_once},
	};

	return run_tests("memif kick", tests, sizeof(tests) / sizeof(tests[0]));
}
