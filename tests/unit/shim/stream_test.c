/* SPDX-License-Identifier: MIT */
/*
 * The exchange of a stream's socket: by all its steps, with an end that is killed or stopped at
 * each, and with other threads that do something to the descriptors meanwhile.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "router.h"
#include "stream_util.h"

#define TOTAL (600u << 10)

static void
stream_bytes(int fd)
{
	exchange_bytes(fd, TOTAL);
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

/* ---- the program does something meanwhile ---- */

static int the_fd, other_fd = -1, ep = -1;
static void (*meanwhile)(void);
static _Atomic bool meanwhile_done;

static void *
meanwhile_run(void *arg)
{
	meanwhile();
	meanwhile_done = true;
	return arg;
}

/* It has time to go wrong: where it has to wait for the exchange, it cannot be waited for. */
static void
meanwhile_start(enum stream_fault at)
{
	static const struct timespec tick = {.tv_nsec = 1000000};
	static bool once;
	pthread_t thread;

	if (at != STREAM_FAULT_COMMITTED || once)
		return;
	once = true;
	END_ASSERT(!pthread_create(&thread, NULL, meanwhile_run, NULL));
	pthread_detach(thread);
	for (unsigned i = 0; i < 100 && !meanwhile_done; i++)
		nanosleep(&tick, NULL);
}

static void
play_meanwhile(int fd, void (*fn)(void))
{
	static const struct timespec tick = {.tv_nsec = 1000000};

	the_fd = fd;
	meanwhile = fn;
	stream_fault = meanwhile_start;
	ping_pong(fd, EXCHANGE_ROUNDS, 100);
	for (unsigned i = 0; i < 5000 && !meanwhile_done; i++)
		nanosleep(&tick, NULL);
	END_ASSERT(meanwhile_done);
	END_ASSERT(is_unix(fd));
}

static void
meanwhile_dup(void)
{
	other_fd = dup(the_fd);
}

static void
plays_dup(int fd)
{
	play_meanwhile(fd, meanwhile_dup);
	END_ASSERT(is_unix(other_fd));
	ping_pong(other_fd, 2, 100);
}

static void
meanwhile_nonblock(void)
{
	END_ASSERT(!fcntl(the_fd, F_SETFL, O_RDWR | O_NONBLOCK));
}

static void
plays_nonblock(int fd)
{
	play_meanwhile(fd, meanwhile_nonblock);
	END_ASSERT(fcntl(fd, F_GETFL) & O_NONBLOCK);
	END_ASSERT(!fcntl(fd, F_SETFL, O_RDWR));
	ping_pong(fd, 2, 100);
}

static void
meanwhile_epoll(void)
{
	struct epoll_event e = {.events = EPOLLIN, .data.u32 = 7};

	END_ASSERT(!epoll_ctl(ep, EPOLL_CTL_ADD, the_fd, &e));
}

static void
plays_epoll(int fd)
{
	struct epoll_event e = {0};

	ep = epoll_create1(EPOLL_CLOEXEC);
	play_meanwhile(fd, meanwhile_epoll);
	all_send(fd, 100);
	END_ASSERT(epoll_wait(ep, &e, 1, 10000) == 1 && e.data.u32 == 7);
	all_receive(fd, 100);
	ping_pong(fd, 1, 100);
}

static void
test_meanwhile(void)
{
	static void (*const plays[])(int) = {plays_dup, plays_nonblock, plays_epoll};

	for (unsigned m = 0; m < 2; m++)
		for (unsigned i = 0; i < 3; i++) {
			one_scene(&(struct scene){modes[m], .play = {other_plays, plays[i]}});
			all_arrived((EXCHANGE_ROUNDS + 2) * 100);
		}
}

static const struct test tests[] = {
	{"both ends are exchanged", test_exchanged},
	{"in blocking calls, too", test_blocking},
	{"killed at each step", test_killed},
	{"stopped at each step, and going on", test_stopped},
	{"calls that come meanwhile wait", test_meanwhile},
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
