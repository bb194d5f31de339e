/* SPDX-License-Identifier: MIT */
/* Streams with which something is done that an exchange must not meet, or what is exchanged not. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "router.h"
#include "stream_util.h"

static int the_fd;

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
	int ep = epoll_create1(EPOLL_CLOEXEC), renamed;

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

/* Four descriptors for one are more than it may have. */
static void
plays_scarce(int fd)
{
	struct rlimit limit = {(rlim_t)fd * 4, (rlim_t)fd * 4};

	END_ASSERT(!setrlimit(RLIMIT_NOFILE, &limit));
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
	static void (*const plays[])(int) = {plays_limit,    plays_scarce,  plays_set_renamed,
					     plays_zerocopy, plays_signals, plays_vfork,
					     plays_syscall,  plays_stdio};

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

/* A thread that is cancelled in a call that waits lets go of the stream. */
static void *
receive_run(void *arg)
{
	char byte;

	(void)!recv(the_fd, &byte, 1, 0);
	return arg;
}

static void
cancelled_receive(int fd)
{
	static const struct timespec moment = {.tv_nsec = 20000000};
	pthread_t thread;
	void *ret = NULL;

	the_fd = fd;
	END_ASSERT(!pthread_create(&thread, NULL, receive_run, NULL));
	nanosleep(&moment, NULL); /* mostly it waits by then */
	END_ASSERT(!pthread_cancel(thread) && !pthread_join(thread, &ret));
	END_ASSERT(ret == PTHREAD_CANCELED);
}

/* Before: it can still be exchanged. After: it can still be closed, so that the other end sees. */
static void
plays_cancel(int fd)
{
	cancelled_receive(fd);
	ping_pong(fd, EXCHANGE_ROUNDS, 100);
	END_ASSERT(is_unix(fd));
	cancelled_receive(fd);
	ping_pong(fd, 2, 100);
	close(fd);
	while (!reports[SERVER].ended && !reports[SERVER].failed)
		sched_yield();
}

static void
other_sees_end(int fd)
{
	other_plays(fd);
	all_receive(fd, 1);
	END_ASSERT(reports[SERVER].ended);
}

static void
test_cancelled(void)
{
	for (unsigned m = 0; m < 2; m++) {
		one_scene(&(struct scene){modes[m], .play = {other_sees_end, plays_cancel}});
		all_arrived((EXCHANGE_ROUNDS + 2) * 100);
	}
}

/* What is held back goes before the exchange waits for it; and the cork stays in. */
#define CORKED (300u << 10)

static void
plays_corked(int fd)
{
	int cork = 1;
	socklen_t len = sizeof(cork);

	END_ASSERT(!setsockopt(fd, IPPROTO_TCP, TCP_CORK, &cork, sizeof(cork)));
	exchange_bytes(fd, CORKED);
	END_ASSERT(is_unix(fd) && !getsockopt(fd, IPPROTO_TCP, TCP_CORK, &cork, &len) && cork);
}

static void
test_corked(void)
{
	one_scene(&(struct scene){"unix", .play = {plays_corked, plays_corked}});
	all_arrived(CORKED);
}

/* To itself, by a message: its new number, or -1. */
static int
passed(int fd)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {0};
	struct cmsghdr *c = (struct cmsghdr *)control;
	char byte = 0;
	struct iovec iov = {&byte, 1};
	struct msghdr h = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = control,
			   .msg_controllen = sizeof(control)};
	int by[2], to = -1;

	END_ASSERT(!socketpair(AF_UNIX, SOCK_DGRAM, 0, by));
	*c = (struct cmsghdr){CMSG_LEN(sizeof(fd)), SOL_SOCKET, SCM_RIGHTS};
	memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	if (sendmsg(by[0], &h, 0) == 1 && recvmsg(by[1], &h, MSG_CMSG_CLOEXEC) == 1)
		memcpy(&to, CMSG_DATA(CMSG_FIRSTHDR(&h)), sizeof(to));
	close(by[0]);
	close(by[1]);
	return to;
}

/* By its new number it is what it was. */
static void
plays_passed_pair(int fd)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	int to;

	ping_pong(fd, EXCHANGE_ROUNDS, 100);
	to = passed(fd);
	END_ASSERT(is_unix(fd) && is_unix(to));
	END_ASSERT(!getpeername(to, (struct sockaddr *)&sa, &len) && sa.ss_family == AF_INET);
	ping_pong(to, 2, 100);
}

static void
plays_passed_fifo(int fd)
{
	ping_pong(fd, EXCHANGE_ROUNDS, 100);
	END_ASSERT(is_unix(fd) && passed(fd) == -1 && errno == ETOOMANYREFS);
	ping_pong(fd, 2, 100);
}

/* Before there is anything but the kernel's socket. */
static void
plays_passed_early(int fd)
{
	int to = passed(fd);

	ping_pong(fd, EXCHANGE_ROUNDS, 100);
	END_ASSERT(!is_unix(fd) && !is_unix(to));
	ping_pong(to, 2, 100);
}

static void
test_passed(void)
{
	static const struct scene scenes[] = {
		{"unix", .play = {other_plays, plays_passed_pair}},
		{"fifo", .play = {other_plays, plays_passed_fifo}},
		{"fifo", .play = {other_plays, plays_passed_early}},
	};

	for (unsigned i = 0; i < sizeof(scenes) / sizeof(scenes[0]); i++) {
		one_scene(&scenes[i]);
		all_arrived((EXCHANGE_ROUNDS + 2) * 100);
	}
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
	{"a descriptor that is another file is not touched", test_stale},
	{"what cannot be exchanged stays", test_stays},
	{"so does all of a process with a ring", test_ring},
	{"exec and stdio, exchanged", test_others},
	{"threads are cancelled", test_cancelled},
	{"a cork", test_corked},
	{"descriptors in messages", test_passed},
};

int
main(void)
{
	int rc;

	router_dir_make();
	rc = RUN("stream stays", tests);
	router_dir_remove();
	return rc;
}
