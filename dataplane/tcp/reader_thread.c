/* SPDX-License-Identifier: MIT */
/*
 * The thread of a reader: started by the control thread and left to itself. It ends when the other
 * end of its channel is closed.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "reader_priv.h"

/* Not used by glibc, DPDK or core/caps.c. */
#define INTERRUPT_SIGNAL (SIGRTMAX - 2)
#define INTERRUPT_NS	 100000000l
#define STACK_SIZE	 (256u << 10)

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

static void
interrupted(int sig)
{
}

/* Once, for the process: nothing else sends or takes that signal. */
static void
interrupt_handler_set(void)
{
	struct sigaction sa = {.sa_handler = interrupted};

	sigfillset(&sa.sa_mask);
	(void)sigaction(INTERRUPT_SIGNAL, &sa, NULL);
}

/* Without a timer a close() may last as long as the container wants. */
static void
interrupt_init(struct tcp_reader *r)
{
	struct sigevent sev = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = INTERRUPT_SIGNAL};
	sigset_t set;

	interrupt_handler_set();
	sigfillset(&set);
	sigdelset(&set, INTERRUPT_SIGNAL);
	pthread_sigmask(SIG_SETMASK, &set, NULL);
	sev.sigev_notify_thread_id = (pid_t)syscall(SYS_gettid);
	r->has_timer = !timer_create(CLOCK_MONOTONIC, &sev, &r->timer);
}

static void
interrupt_every(struct tcp_reader *r, long ns)
{
	struct itimerspec its = {{0, ns}, {0, ns}};

	if (r->has_timer)
		timer_settime(r->timer, 0, &its, NULL);
}

void
reader_interrupt_arm(struct tcp_reader *r)
{
	interrupt_every(r, INTERRUPT_NS);
}

void
reader_interrupt_disarm(struct tcp_reader *r)
{
	interrupt_every(r, 0);
}

/* A table of its own, with a copy of all that was open. */
static bool
files_unshare(void)
{
#ifdef __SANITIZE_THREAD__
	/* It takes two descriptors of one number for the same one. */
	return false;
#else
	return !unshare(CLONE_FILES);
#endif
}

/* All but the standard ones, listen_fd and channel. */
static void
files_close_others(const struct tcp_reader *r)
{
	unsigned a = (unsigned)r->listen_fd, b = (unsigned)r->channel;
	unsigned low = a < b ? a : b, high = a < b ? b : a;

	if (low > STDERR_FILENO + 1)
		(void)close_range(STDERR_FILENO + 1, low - 1, 0);
	if (high > low + 1)
		(void)close_range(low + 1, high - 1, 0);
	(void)close_range(high + 1, ~0u, 0);
}

static void
release(struct tcp_reader *r)
{
	if (atomic_fetch_sub(&r->refs, 1) != 1)
		return;
	sem_destroy(&r->started);
	reader_free(r);
}

static void *
run(void *arg)
{
	struct tcp_reader *r = arg;
	bool more;

	r->own_files = files_unshare();
	more = r->own_files;
	sem_post(&r->started);
	if (more)
		files_close_others(r);
	interrupt_init(r);
	more = !reader_begin(r);
	while (more)
		more = tcp_reader_pass(r, -1);
	/* What is left in its queues may block, too. */
	reader_interrupt_arm(r);
	reader_end(r);
	if (r->has_timer)
		timer_delete(r->timer);
	release(r);
	return NULL;
}

static int
thread_start(struct tcp_reader *r)
{
	pthread_attr_t attr;
	pthread_t t;
	int rc = -pthread_attr_init(&attr);

	if (rc)
		return rc;
	(void)pthread_attr_setstacksize(&attr, STACK_SIZE);
	(void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	rc = -pthread_create(&t, &attr, run, r);
	pthread_attr_destroy(&attr);
	return rc;
}

int
tcp_reader_start(int listen_fd, int *channel)
{
	struct tcp_reader *r = NULL;
	int ends[2], rc;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends)) {
		rc = -errno;
		close(listen_fd);
		return rc;
	}
	r = reader_alloc(listen_fd, ends[1]);
	if (!r) {
		rc = -ENOMEM;
		goto fail;
	}
	atomic_init(&r->refs, 2);
	sem_init(&r->started, 0, 0);
	rc = thread_start(r);
	if (rc)
		goto fail;
	while (sem_wait(&r->started) && errno == EINTR)
		;
	if (r->own_files) {
		close(listen_fd);
		close(ends[1]);
	}
	release(r);
	*channel = ends[0];
	return 0;
fail:
	if (r) {
		sem_destroy(&r->started);
		reader_free(r);
	}
	close(listen_fd);
	close(ends[0]);
	close(ends[1]);
	return rc;
}
