/* SPDX-License-Identifier: MIT */
/*
 * How an idle worker sleeps and is woken. On the worker, but for ff_worker_wake().
 *
 * One system call per cycle: a wait in epoll with the stages' deadline. The eventfds are registered
 * edge-triggered and never read, so what a container does to their counters cannot matter, and
 * their writes while the worker is awake cost one empty wait at the most.
 */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "worker_priv.h"

#define WAIT_EVENTS	 16
/* A deadline nearer than this is spun for: going to sleep and back takes as long. */
#define DEADLINE_SPIN_NS 3000u
/* A short spin of the interrupt policy (spin_short). */
#define SPIN_NS		 1500u
#define SPIN_GAIN	 4u
#define SPIN_CREDIT_MAX	 64u
#define SPIN_PROBE_EVERY 32u
/* steer() */
#define QUICK_WAKE_NS	 10000u
#define STEER_AFTER_MAX	 65536u

void
ff_worker_wake(struct ff_worker *w)
{
	static const uint64_t one = 1;

	atomic_thread_fence(memory_order_seq_cst); /* pairs with the one of sleep_enter() */
	if (!atomic_load_explicit(&w->alert, memory_order_relaxed))
		return;
	if (write(w->wake_fd, &one, sizeof(one)) < 0)
		return; /* EAGAIN cannot be: 2^64 - 1 wake-ups */
}

/*
 * Container files that look like eventfds may be anything, such as a FUSE file whose poll blocks.
 * The kernel's own name of the file tells.
 */
static bool
is_eventfd(int fd)
{
	static const char name[] = "anon_inode:[eventfd]";
	char path[32], target[sizeof(name)];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	n = readlink(path, target, sizeof(target));
	return n == (ssize_t)sizeof(name) - 1 && memcmp(target, name, sizeof(name) - 1) == 0;
}

int
ff_worker_wake_fd_add(struct ff_worker *w, int fd)
{
	return is_eventfd(fd) ? ff_worker_wake_socket_add(w, fd) : -EINVAL;
}

int
ff_worker_wake_socket_add(struct ff_worker *w, int fd)
{
	struct epoll_event ev = {.events = EPOLLIN | EPOLLET, .data.fd = fd};

	return epoll_ctl(w->epfd, EPOLL_CTL_ADD, fd, &ev) ? -errno : 0;
}

int
ff_worker_wake_socket_rest(struct ff_worker *w, int fd, bool on)
{
	struct epoll_event ev = {.events = on ? 0 : EPOLLIN | EPOLLET, .data.fd = fd};

	return epoll_ctl(w->epfd, EPOLL_CTL_MOD, fd, &ev) ? -errno : 0;
}

void
ff_worker_wake_fd_del(struct ff_worker *w, int fd)
{
	epoll_ctl(w->epfd, EPOLL_CTL_DEL, fd, NULL);
}

static uint64_t
stages_deadline(struct ff_worker *w)
{
	uint64_t first = UINT64_MAX, t;
	unsigned i;

	for (i = 0; i < ff_num_stages; i++) {
		if (!ff_stages[i]->deadline)
			continue;
		t = ff_stages[i]->deadline(w);
		if (t < first)
			first = t;
	}
	return first;
}

/* Kernels before 5.11 have no epoll_pwait2: ppoll on the epoll set has its resolution. */
static int
wait_compat(int epfd, struct epoll_event *events, const struct timespec *timeout)
{
	struct pollfd p = {.fd = epfd, .events = POLLIN};

	if (ppoll(&p, 1, timeout, NULL) < 0)
		return -1;
	return epoll_wait(epfd, events, WAIT_EVENTS, 0);
}

static void
sleep_wait(struct ff_worker *w, uint64_t deadline, uint64_t now)
{
	static _Atomic bool no_pwait2;
	struct epoll_event events[WAIT_EVENTS];
	struct timespec ts, *timeout = NULL;
	int n = -1;

	if (deadline != UINT64_MAX) {
		ts.tv_sec = (time_t)((deadline - now) / 1000000000u);
		ts.tv_nsec = (long)((deadline - now) % 1000000000u);
		timeout = &ts;
	}
	/* Release: what the pass did is done for those who see the flag. */
	atomic_store_explicit(&w->parked, true, memory_order_release);
	if (!atomic_load_explicit(&no_pwait2, memory_order_relaxed)) {
		n = epoll_pwait2(w->epfd, events, WAIT_EVENTS, timeout, NULL);
		if (n < 0 && errno == ENOSYS)
			atomic_store_explicit(&no_pwait2, true, memory_order_relaxed);
	}
	if (n < 0 && atomic_load_explicit(&no_pwait2, memory_order_relaxed))
		wait_compat(w->epfd, events, timeout);
	/* Whatever ended the wait, a signal too, the next pass looks at everything. */
	atomic_store_explicit(&w->parked, false, memory_order_relaxed);
	/* Pairs with the fence of worker_parked(): who saw the flag set has changed the tables
	 * before what this worker looks up from here on. */
	atomic_thread_fence(memory_order_seq_cst);
}

/* Announces the sleep and looks once more. Returns false if there is work. */
static bool
sleep_enter(struct ff_worker *w, unsigned *prepared)
{
	bool work = false;
	unsigned i;

	atomic_store_explicit(&w->alert, true, memory_order_relaxed);
	atomic_thread_fence(memory_order_seq_cst); /* pairs with the one of ff_worker_wake() */
	for (i = 0; i < ff_num_stages && !work; i++)
		if (ff_stages[i]->sleep_prepare)
			work = ff_stages[i]->sleep_prepare(w);
	*prepared = i;
	return !work && !ff_msgring_pending(w->messages);
}

static void
sleep_leave(struct ff_worker *w, unsigned prepared)
{
	unsigned i;

	atomic_store_explicit(&w->alert, false, memory_order_relaxed);
	for (i = 0; i < prepared; i++)
		if (ff_stages[i]->sleep_done)
			ff_stages[i]->sleep_done(w);
}

/*
 * A program that rings again as soon as the worker sleeps, and never while it looks, runs on the
 * CPU that the worker takes from it: each of its rings costs two switches. On another CPU the two
 * would run side by side. The scheduler leaves a real-time thread where it ran last; so the worker
 * moves by itself. Where that does not help, it tries half as often.
 */
static void
steer(struct ff_worker *w)
{
	cpu_set_t allowed, others;
	int cpu = sched_getcpu();

	w->quick_wakes = 0;
	if (w->steer_after < STEER_AFTER_MAX)
		w->steer_after *= 2;
	if (cpu < 0 || sched_getaffinity(0, sizeof(allowed), &allowed))
		return;
	others = allowed;
	CPU_CLR(cpu, &others);
	if (!CPU_COUNT(&others) || sched_setaffinity(0, sizeof(others), &others))
		return;
	sched_setaffinity(0, sizeof(allowed), &allowed);
	w->spin_credit = SPIN_GAIN;
}

void
ff_worker_busy(struct ff_worker *w, uint64_t now_ns)
{
	if (w->spinning) {
		w->spinning = false;
		w->quick_wakes = 0;
		w->spin_credit += SPIN_GAIN;
		if (w->spin_credit >= SPIN_CREDIT_MAX) {
			w->spin_credit = SPIN_CREDIT_MAX;
			w->steer_after = FF_STEER_AFTER;
		}
	} else if (w->idle != FF_IDLE_INTERRUPT || now_ns - w->idle_since_ns > QUICK_WAKE_NS) {
		w->quick_wakes = 0;
	} else if (++w->quick_wakes >= w->steer_after) {
		steer(w);
	}
}

/*
 * An answer to what the worker has just done often comes within a microsecond, from a program on
 * another CPU; to be woken for it takes several. So the worker waits that long where it has paid
 * in one of SPIN_GAIN cases of late, and tries it now and then where it has not.
 */
static bool
spin_short(struct ff_worker *w, uint64_t now_ns)
{
	if (w->idle_since_ns == now_ns)
		w->spinning = w->spin_credit || ++w->spin_probe % SPIN_PROBE_EVERY == 0;
	if (!w->spinning || now_ns - w->idle_since_ns < SPIN_NS)
		return w->spinning;
	w->spinning = false;
	if (w->spin_credit)
		w->spin_credit--;
	return false;
}

void
ff_worker_idle(struct ff_worker *w, uint64_t now_ns)
{
	uint64_t deadline;
	unsigned prepared;

	if (w->idle == FF_IDLE_POLL)
		return;
	if (w->idle == FF_IDLE_ADAPTIVE && now_ns - w->idle_since_ns < w->spin_ns)
		return;
	if (w->idle == FF_IDLE_INTERRUPT && spin_short(w, now_ns))
		return;
	if (sleep_enter(w, &prepared)) {
		/* After sleep_prepare: what it looked at may have set a timer. */
		deadline = stages_deadline(w);
		now_ns = ff_now_ns();
		if (deadline == UINT64_MAX || deadline > now_ns + DEADLINE_SPIN_NS) {
			sleep_wait(w, deadline, now_ns);
			ff_worker_stat_add(&w->sleeps, 1);
		}
	}
	sleep_leave(w, prepared);
}
