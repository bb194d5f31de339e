/* SPDX-License-Identifier: MIT */
/*
 * The exchange of a stream's socket: by all its steps, with an end that is killed or stopped at
 * each, and with other threads that do something to the descriptors meanwhile.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "router.h"
#include "stream_util.h"

#define TOTAL (600u << 10)

static const char *const modes[] = {"unix", "fifo"};

static void
stream_bytes(int fd)
{
	exchange_bytes(fd, TOTAL);
}

static void
one_scene(const struct scene *s)
{
	bool done = scene_play(s);

	for (int end = 0; end < ENDS; end++) {
		CU_ASSERT_FALSE(reports[end].wrong);
		CU_ASSERT_EQUAL(reports[end].failed, 0);
	}
	CU_ASSERT_TRUE(done);
	if (done && !reports[0].wrong && !reports[1].wrong && !reports[0].failed &&
	    !reports[1].failed)
		return;
	printf("\n%s: %s is hit by %d at %d%s; server: line %u, client: line %u", s->mode,
	       s->victim == SERVER ? "server" : "client", s->signal, s->at,
	       done ? "" : ", and it hangs", reports[SERVER].failed, reports[CLIENT].failed);
}

static void
all_arrived(uint64_t total)
{
	for (int end = 0; end < ENDS; end++) {
		CU_ASSERT_EQUAL(reports[end].sent, total);
		CU_ASSERT_EQUAL(reports[end].received, total);
	}
}

/* ---- nothing goes wrong ---- */

static void
test_exchanged(void)
{
	for (unsigned m = 0; m < 2; m++) {
		one_scene(&(struct scene){modes[m], .play = {stream_bytes, stream_bytes}});
		all_arrived(TOTAL);
		CU_ASSERT_TRUE(reports[SERVER].exchanged && reports[CLIENT].exchanged);
	}
}

#define ROUNDS 2000u

static void
by_turns(int fd)
{
	ping_pong(fd, ROUNDS, 100);
}

static void
test_blocking(void)
{
	for (unsigned m = 0; m < 2; m++) {
		one_scene(&(struct scene){modes[m], .play = {by_turns, by_turns}});
		all_arrived(ROUNDS * 100);
		CU_ASSERT_TRUE(reports[SERVER].exchanged && reports[CLIENT].exchanged);
	}
}

/* ---- an end is hit ---- */

/* What came is a beginning of what was sent: byte for byte, or it is wrong. */
static void
hit(const char *mode, int victim, enum stream_fault at, int signal)
{
	one_scene(&(struct scene){mode, victim, signal, at, {stream_bytes, stream_bytes}});
	CU_ASSERT_TRUE(reports[victim].hit);
	if (signal == SIGSTOP) {
		all_arrived(TOTAL);
		return;
	}
	CU_ASSERT_TRUE(reports[1 - victim].ended);
	CU_ASSERT_TRUE(reports[1 - victim].received <= reports[victim].sent_begun);
}

static void
hit_everywhere(int signal)
{
	for (unsigned m = 0; m < 2; m++)
		for (int victim = 0; victim < ENDS; victim++)
			for (enum stream_fault at = 0; at < STREAM_FAULTS; at++)
				hit(modes[m], victim, at, signal);
}

static void
test_killed(void)
{
	hit_everywhere(SIGKILL);
}

static void
test_stopped(void)
{
	hit_everywhere(SIGSTOP);
}

static const struct test tests[] = {
	{"both ends are exchanged", test_exchanged},
	{"in blocking calls, too", test_blocking},
	{"killed at each step", test_killed},
	{"stopped at each step, and going on", test_stopped},
};

int
main(void)
{
	int rc;

	router_dir_make();
	rc = RUN("stream", tests);
	router_dir_remove();
	return rc;
}
