/* SPDX-License-Identifier: MIT */
/*
 * Capabilities: what is needed, what is missing, what is given up. Control thread; the signal
 * handler runs once on every other thread, since Linux keeps capabilities per thread.
 */
#include "caps.h"

#include <dirent.h>
#include <errno.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "config.h"
#include "log.h"

/* Not used by glibc (SIGRTMIN and up) or by DPDK. */
#define DROP_SIGNAL  (SIGRTMAX - 1)
#define DROP_WAIT_MS 1000

/* Linux keeps them in two words (capset(2), version 3). */
struct capset {
	uint32_t word[2];
};

struct need {
	int cap;
	const char *name;
	const char *without; /* what does not work */
	bool keep;
};

static const struct need needs[] = {
	{CAP_SYS_PTRACE, "CAP_SYS_PTRACE",
	 "programs of other users, or in other user namespaces, cannot register memory", true},
	{CAP_SYS_ADMIN, "CAP_SYS_ADMIN",
	 "network namespaces of containers cannot be entered: give their addresses", true},
	{CAP_CHECKPOINT_RESTORE, "CAP_CHECKPOINT_RESTORE",
	 "registered memory is copied through process_vm_readv, slower than through shared pages",
	 true},
	{CAP_NET_ADMIN, "CAP_NET_ADMIN", "TCP streams with much under way stay with the kernel",
	 true},
	{CAP_SYS_NICE, "CAP_SYS_NICE", "workers that sleep get no real-time priority", false},
};
#define NUM_NEEDS (sizeof(needs) / sizeof(needs[0]))

static void
capset_add(struct capset *s, int cap)
{
	s->word[cap / 32] |= 1u << (cap % 32);
}

static bool
capset_has(const struct capset *s, int cap)
{
	return s->word[cap / 32] & 1u << (cap % 32);
}

static int
capset_get(struct capset *permitted)
{
	struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct d[2];

	if (syscall(SYS_capget, &h, d))
		return -errno;
	permitted->word[0] = d[0].permitted;
	permitted->word[1] = d[1].permitted;
	return 0;
}

/* Of the calling thread. Async-signal-safe. */
static int
capset_set(const struct capset *s)
{
	struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct d[2] = {
		{.effective = s->word[0], .permitted = s->word[0]},
		{.effective = s->word[1], .permitted = s->word[1]},
	};

	return syscall(SYS_capset, &h, d) ? -errno : 0;
}

/* Each process has a socket, each queue a memfd: the common soft limit of 1024 is soon reached. */
static void
files_raise(void)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r) || r.rlim_cur == r.rlim_max)
		return;
	r.rlim_cur = r.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &r))
		ff_warn("main", "limit of open files stays low: %s", strerror(errno));
}

static void
missing_report(const struct capset *permitted)
{
	unsigned i;

	for (i = 0; i < NUM_NEEDS; i++) {
		if (capset_has(permitted, needs[i].cap))
			continue;
		/* CAP_SYS_ADMIN does what CAP_CHECKPOINT_RESTORE was split off for. */
		if (needs[i].cap == CAP_CHECKPOINT_RESTORE && capset_has(permitted, CAP_SYS_ADMIN))
			continue;
		if (needs[i].cap == CAP_SYS_NICE && ff_config.idle == FF_IDLE_POLL)
			continue;
		ff_warn("main", "%s is missing: %s", needs[i].name, needs[i].without);
	}
}

int
ff_caps_init(void)
{
	static const struct rlimit no_core = {0, 0};
	struct capset permitted = {{0, 0}};
	int rc;

	files_raise();
	/* Keys and the memory of containers must not end up in a file, or with another process. */
	if (prctl(PR_SET_NO_NEW_PRIVS, 1UL, 0UL, 0UL, 0UL) || setrlimit(RLIMIT_CORE, &no_core) ||
	    prctl(PR_SET_DUMPABLE, 0UL))
		return -errno;
	rc = capset_get(&permitted);
	if (rc)
		return rc;
	missing_report(&permitted);
	return 0;
}

static _Atomic int drop_failed; /* -errno of any thread */
static _Atomic unsigned drop_done;

static void
drop_here(int sig)
{
	static const struct capset none;
	int saved_errno = errno;
	int rc = capset_set(&none);

	if (rc)
		atomic_store(&drop_failed, rc);
	atomic_fetch_add(&drop_done, 1);
	errno = saved_errno;
}

/* Sends the signal to every thread but this one; returns their number or -errno. */
static int
others_signal(void)
{
	pid_t pid = getpid(), me = (pid_t)syscall(SYS_gettid), tid;
	DIR *d = opendir("/proc/self/task");
	struct dirent *e;
	int n = 0;

	if (!d)
		return -errno;
	while ((e = readdir(d))) {
		tid = (pid_t)atoi(e->d_name);
		if (tid <= 0 || tid == me)
			continue;
		if (syscall(SYS_tgkill, pid, tid, DROP_SIGNAL) == 0)
			n++;
	}
	closedir(d);
	return n;
}

static int
others_drop(void)
{
	static const struct timespec ms = {0, 1000000};
	struct sigaction sa = {.sa_handler = drop_here, .sa_flags = SA_RESTART}, old;
	int n, waited;

	sigfillset(&sa.sa_mask);
	if (sigaction(DROP_SIGNAL, &sa, &old))
		return -errno;
	n = others_signal();
	if (n < 0)
		return n;
	for (waited = 0; atomic_load(&drop_done) < (unsigned)n && waited < DROP_WAIT_MS; waited++)
		nanosleep(&ms, NULL);
	if (atomic_load(&drop_done) < (unsigned)n)
		return -ETIMEDOUT; /* the handler stays: a late thread still gets it */
	sigaction(DROP_SIGNAL, &old, NULL);
	return atomic_load(&drop_failed);
}

int
ff_caps_drop(void)
{
	struct capset permitted = {{0, 0}}, keep = {{0, 0}};
	unsigned i;
	int rc;

	rc = others_drop();
	if (rc)
		return rc;
	rc = capset_get(&permitted);
	if (rc)
		return rc;
	for (i = 0; i < NUM_NEEDS; i++)
		if (needs[i].keep && capset_has(&permitted, needs[i].cap))
			capset_add(&keep, needs[i].cap);
	return capset_set(&keep);
}
