/* SPDX-License-Identifier: MIT */
/* Steps with further descriptors, processes and signals; see differ.h. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "differ.h"

#define FAR_FD 200 /* of dup2 */

/* ---- descriptors ---- */

static int
duplicate(uint32_t kind)
{
	int to = FAR_FD + (int)d.num_extra;

	switch (kind) {
	case 0:
		return dup(d.fd);
	case 1:
		return dup2(d.fd, to);
	case 2:
		return dup3(d.fd, to, O_CLOEXEC);
	case 3:
		return fcntl(d.fd, F_DUPFD, FAR_FD + 50);
	default:
		return fcntl(d.fd, F_DUPFD_CLOEXEC, FAR_FD + 50);
	}
}

/* The new name is the one that is used from now on. */
static void
adopt(int fd)
{
	d.extra[d.num_extra++] = d.fd;
	d.fd = fd;
}

static void
op_dup(const struct step *st)
{
	uint32_t kind = st->arg[0] % 5;
	int fd;

	if (d.num_extra == EXTRA_MAX || d.in_ep[0] || d.in_ep[1])
		return;
	fd = duplicate(kind);
	MUST(fd >= 0);
	say(st, "kind %u F_GETFL %x F_GETFD %x", kind, fcntl(fd, F_GETFL) & ~O_LARGEFILE,
	    fcntl(fd, F_GETFD));
	adopt(fd);
}

static void
op_undup(const struct step *st)
{
	if (!d.num_extra || d.in_ep[0] || d.in_ep[1])
		return;
	say(st, "close%s", result(close(d.fd)));
	d.fd = d.extra[--d.num_extra];
}

/* Through a socket, back to itself. */
static int
pass(int fd)
{
	char byte = 'x', control[CMSG_SPACE(sizeof(int))];
	struct iovec iov = {&byte, 1};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
	struct cmsghdr *c;
	int pair[2], got = -1;

	memset(control, 0, sizeof(control));
	m.msg_control = control;
	m.msg_controllen = sizeof(control);
	c = CMSG_FIRSTHDR(&m);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(int));
	MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
	MUST(sendmsg(pair[0], &m, 0) == 1);
	memset(control, 0, sizeof(control));
	MUST(recvmsg(pair[1], &m, MSG_CMSG_CLOEXEC) == 1);
	memcpy(&got, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(int));
	close(pair[0]);
	close(pair[1]);
	MUST(got >= 0);
	return got;
}

static void
op_pass(const struct step *st)
{
	int fd;

	if (d.num_extra == EXTRA_MAX || d.in_ep[0] || d.in_ep[1])
		return;
	fd = pass(d.fd);
	say(st, "F_GETFL %x F_GETFD %x", fcntl(fd, F_GETFL) & ~O_LARGEFILE, fcntl(fd, F_GETFD));
	adopt(fd);
}

/* ---- processes ---- */

/* In the child: what the parent would do. */
static int
child_work(size_t in, size_t out)
{
	ssize_t n;

	if (out) {
		stream_fill(d.role, own()->sent, d.buf, out);
		if (write(d.fd, d.buf, out) != (ssize_t)out)
			return 1;
	}
	if (in) {
		n = recv(d.fd, d.buf, in, MSG_WAITALL);
		if (n != (ssize_t)in)
			return 2;
		if (*stream_check(own()->taken, d.buf, in))
			return 3;
	}
	return 0;
}

static void
op_fork(const struct step *st)
{
	size_t in = st->arg[0] % 2000, out = 1 + st->arg[1] % 2000;
	int status = -1;
	pid_t pid;

	in = in < unread() ? in : unread();
	if (own()->fin || other()->fin || ROOM_MAX - (own()->sent - other()->taken) < out)
		out = 0;
	pid = fork();
	MUST(pid >= 0);
	if (pid == 0)
		_exit(child_work(in, out));
	MUST(waitpid(pid, &status, 0) == pid);
	say(st, "in %zu out %zu status %x", in, out, status);
	if (status == 0) {
		own()->taken += in;
		own()->sent += out;
	}
}

/* ---- signals ---- */

static volatile sig_atomic_t ticks;

static void
on_tick(int sig)
{
	ticks++;
}

/* A signal each millisecond, from now on. */
static timer_t
ticks_start(bool restart)
{
	struct sigaction sa = {.sa_handler = on_tick, .sa_flags = restart ? SA_RESTART : 0};
	struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
	struct itimerspec often = {{.tv_nsec = 1000000}, {.tv_nsec = 1000000}};
	timer_t timer;

	ticks = 0;
	MUST(sigaction(SIGUSR1, &sa, NULL) == 0);
	MUST(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
	MUST(timer_settime(timer, 0, &often, NULL) == 0);
	return timer;
}

static void
ticks_stop(timer_t timer)
{
	MUST(timer_delete(timer) == 0);
	signal(SIGUSR1, SIG_IGN);
}

/* A read that nobody answers. */
static void
op_interrupt(const struct step *st)
{
	timer_t timer;
	ssize_t rc;
	bool was;
	int err;

	if (has_answer())
		return;
	was = nonblock(false);
	timer = ticks_start(false);
	rc = st->arg[0] & 1 ? read(d.fd, d.buf, 10) : recv(d.fd, d.buf, 10, 0);
	err = errno;
	ticks_stop(timer);
	errno = err;
	say(st, "read%s", result(rc));
	nonblock(was);
}

/* One that goes on when the signal has been handled. */
static void
op_restart(const struct step *st)
{
	size_t len = 1 + st->arg[0] % 1000;
	struct timespec nap = {.tv_nsec = 5000000};
	timer_t timer;
	ssize_t rc;
	bool was;
	int err;

	if (!is_actor(st)) {
		hear();
		nanosleep(&nap, NULL);
		send_whole(len);
		return;
	}
	was = nonblock(false);
	timer = ticks_start(true);
	tell();
	rc = st->arg[1] & 1 ? read(d.fd, d.buf, len) : recv(d.fd, d.buf, len, MSG_WAITALL);
	err = errno;
	ticks_stop(timer);
	errno = err;
	say(st, "len %zu%s", len, result(rc));
	own()->taken += rc > 0 ? (size_t)rc : 0;
	nonblock(was);
}

/* pass: not drawn as long as the shim does not know a stream that comes back by SCM_RIGHTS. */
const struct op ops_process[] = {
	{"dup", op_dup, false, WHEN_OPEN, 3},
	{"undup", op_undup, false, WHEN_OPEN, 2},
	{"pass", op_pass, false, WHEN_OPEN, 0},
	{"fork", op_fork, false, WHEN_OPEN, 2},
	{"interrupt", op_interrupt, false, WHEN_OPEN, 2},
	{"restart", op_restart, true, WHEN_ALIVE | WHEN_EMPTY, 1},
	{0},
};
