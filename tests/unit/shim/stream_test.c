/* SPDX-License-Identifier: MIT */
/*
 * The exchange of a stream's socket: by all its steps, with an end that is killed or stopped at
 * each, and with other threads that do something to the descriptors meanwhile.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
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
		if (reports[end].sent != total || reports[end].received != total)
			printf("\nend %d has sent %llu and received %llu of %llu", end,
			       (unsigned long long)reports[end].sent,
			       (unsigned long long)reports[end].received,
			       (unsigned long long)total);
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

#define EXCHANGE_ROUNDS 1000u

static void
other_plays(int fd)
{
	ping_pong(fd, EXCHANGE_ROUNDS + 2, 100);
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

/* ---- what an exchange must not take place with ---- */

/* Closed past the hooks, and another file by now. */
static void
plays_stale(int fd)
{
	int stale = dup(fd), file = memfd_create("file", MFD_CLOEXEC);
	struct stat st;

	END_ASSERT(ff_sys(SYS_dup3, file, stale, 0, 0, 0, 0) == stale);
	ping_pong(fd, EXCHANGE_ROUNDS + 2, 100);
	END_ASSERT(is_unix(fd));
	END_ASSERT(!fstat(stale, &st) && S_ISREG(st.st_mode));
}

static void
test_stale(void)
{
	one_scene(&(struct scene){"unix", .play = {other_plays, plays_stale}});
}

/* A descriptor beyond the limit is one that nothing can be put under. */
static void
plays_limit(int fd)
{
	int high = fcntl(fd, F_DUPFD_CLOEXEC, 700);
	struct rlimit limit = {600, 600};

	END_ASSERT(high >= 700 && !setrlimit(RLIMIT_NOFILE, &limit));
	ping_pong(fd, EXCHANGE_ROUNDS, 100);
	END_ASSERT(!is_unix(fd) && !is_unix(high));
	ping_pong(high, 2, 100);
}

/* A set that goes on by a name that the shim does not know. */
static void
plays_set_renamed(int fd)
{
	struct epoll_event e = {.events = EPOLLIN, .data.u32 = 7};
	int renamed;

	ep = epoll_create1(EPOLL_CLOEXEC);
	END_ASSERT(!epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e));
	renamed = dup(ep);
	close(ep);
	ping_pong(fd, EXCHANGE_ROUNDS, 100);
	END_ASSERT(!is_unix(fd));
	all_send(fd, 100);
	END_ASSERT(epoll_wait(renamed, &e, 1, 10000) == 1 && e.data.u32 == 7);
	all_receive(fd, 100);
	ping_pong(fd, 1, 100);
}

static void
plays_zerocopy(int fd)
{
	int one = 1;

	END_ASSERT(!setsockopt(fd, SOL_SOCKET, SO_ZEROCOPY, &one, sizeof(one)));
	ping_pong(fd, EXCHANGE_ROUNDS + 2, 100);
	END_ASSERT(!is_unix(fd));
}

static void
plays_signals(int fd)
{
	END_ASSERT(!fcntl(fd, F_SETOWN, getpid()));
	ping_pong(fd, EXCHANGE_ROUNDS + 2, 100);
	END_ASSERT(!is_unix(fd));
}

static void
plays_vfork(int fd)
{
	pid_t pid = vfork();
	int status = 0;

	if (!pid)
		_exit(7);
	END_ASSERT(waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == 7);
	ping_pong(fd, EXCHANGE_ROUNDS + 2, 100);
	END_ASSERT(!is_unix(fd));
}

static void
plays_syscall(int fd)
{
	END_ASSERT(syscall(SYS_fcntl, fd, F_GETFL) == O_RDWR);
	END_ASSERT(syscall(SYS_mmap, 0, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != -1);
	END_ASSERT(syscall(SYS_close, -1) == -1 && errno == EBADF);
	ping_pong(fd, EXCHANGE_ROUNDS + 2, 100);
	END_ASSERT(!is_unix(fd));
}

static void
plays_stdio(int fd)
{
	FILE *f = fdopen(dup(fd), "r");

	END_ASSERT(f);
	ping_pong(fd, EXCHANGE_ROUNDS + 2, 100);
	END_ASSERT(!is_unix(fd));
}

/* By a system call that no hook sees. Where there are no rings, there is nothing to see. */
static void
plays_ring(int fd)
{
	uint32_t params[30] = {0};
	long ring = ff_sys(SYS_io_uring_setup, 1, params, 0, 0, 0, 0);

	ping_pong(fd, EXCHANGE_ROUNDS + 2, 100);
	END_ASSERT(is_unix(fd) == (ring < 0));
}

static void
test_stays(void)
{
	static void (*const plays[])(int) = {plays_limit,   plays_set_renamed, plays_zerocopy,
					     plays_signals, plays_vfork,       plays_syscall,
					     plays_stdio};

	for (unsigned i = 0; i < sizeof(plays) / sizeof(plays[0]); i++) {
		one_scene(&(struct scene){"unix", .play = {other_plays, plays[i]}});
		all_arrived((EXCHANGE_ROUNDS + 2) * 100);
		CU_ASSERT_FALSE(reports[SERVER].exchanged || reports[CLIENT].exchanged);
	}
}

static void
test_ring(void)
{
	one_scene(&(struct scene){"unix", .play = {other_plays, plays_ring}});
	all_arrived((EXCHANGE_ROUNDS + 2) * 100);
}

/* ---- other programs, and libc's stdio, with what is exchanged ---- */

/* The shell's exit status: has it the descriptor? */
static bool
is_there_after_exec(int fd)
{
	char command[64];
	int status = -1;
	pid_t pid;

	snprintf(command, sizeof(command), "test -e /proc/self/fd/%d", fd);
	pid = fork();
	if (!pid) {
		execl("/bin/sh", "sh", "-c", command, NULL);
		_exit(127);
	}
	END_ASSERT(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) < 2);
	return status == 0;
}

static void
plays_exec_pair(int fd)
{
	ping_pong(fd, EXCHANGE_ROUNDS, 100);
	END_ASSERT(is_unix(fd) && is_there_after_exec(fd));
	ping_pong(fd, 2, 100);
}

/* It would read the bytes that say whether there are any. */
static void
plays_exec_fifo(int fd)
{
	ping_pong(fd, EXCHANGE_ROUNDS, 100);
	END_ASSERT(is_unix(fd) && !is_there_after_exec(fd));
	ping_pong(fd, 2, 100);
}

static void
plays_fifo_stdio(int fd)
{
	struct end_report *r = &reports[own_end];
	FILE *in, *out;

	ping_pong(fd, EXCHANGE_ROUNDS, 100);
	in = fdopen(fd, "r");
	out = fdopen(dup(fd), "w");
	END_ASSERT(is_unix(fd) && in && out && fileno(in) == fd);
	for (unsigned i = 0; i < 100; i++)
		putc_unlocked(byte_at(own_end, r->sent++), out);
	END_ASSERT(fclose(out) == 0);
	for (unsigned i = 0; i < 100; i++)
		END_ASSERT(getc_unlocked(in) == byte_at(1 - own_end, r->received++));
	ping_pong(fd, 1, 100);
}

static void
test_others(void)
{
	static const struct scene scenes[] = {
		{"unix", .play = {other_plays, plays_exec_pair}},
		{"fifo", .play = {other_plays, plays_exec_fifo}},
		{"fifo", .play = {other_plays, plays_fifo_stdio}},
	};

	for (unsigned i = 0; i < sizeof(scenes) / sizeof(scenes[0]); i++) {
		one_scene(&scenes[i]);
		all_arrived((EXCHANGE_ROUNDS + 2) * 100);
	}
}

static const struct test tests[] = {
	{"both ends are exchanged", test_exchanged},
	{"in blocking calls, too", test_blocking},
	{"killed at each step", test_killed},
	{"stopped at each step, and going on", test_stopped},
	{"calls that come meanwhile wait", test_meanwhile},
	{"a descriptor that is another file is not touched", test_stale},
	{"what cannot be exchanged stays", test_stays},
	{"so does all of a process with a ring", test_ring},
	{"exec and stdio, exchanged", test_others},
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
