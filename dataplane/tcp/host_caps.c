/* SPDX-License-Identifier: MIT */
/*
 * What the cage does not stop (cage.h): a process that may change the host's network, by an ioctl
 * on the socket that it is given. Control thread.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/stat.h>
#include <unistd.h>

#include "host.h"

/* What a process could come by, with set-uid programs and whatever it still has. */
#define DANGEROUS (1ull << CAP_NET_ADMIN | 1ull << CAP_SYS_ADMIN | 1ull << CAP_SYS_MODULE)

static bool
same_file(const struct stat *a, const struct stat *b)
{
	return a->st_ino == b->st_ino && a->st_dev == b->st_dev;
}

#define STATUS_MAX 4096u

/* False: it has ended meanwhile. */
static bool
status_read(int dir, char text[STATUS_MAX])
{
	int fd = openat(dir, "status", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, STATUS_MAX - 1);

	if (fd >= 0)
		close(fd);
	if (n <= 0)
		return false;
	text[n] = 0;
	return true;
}

/* All that the thread has, or may come by. */
static uint64_t
caps_of(const char *status)
{
	static const char *const sets[] = {
		"\nCapInh:", "\nCapPrm:", "\nCapEff:", "\nCapBnd:", "\nCapAmb:"};
	uint64_t caps = 0;
	const char *at;

	for (unsigned i = 0; i < sizeof(sets) / sizeof(sets[0]); i++) {
		at = strstr(status, sets[i]);
		caps |= at ? strtoull(at + strlen(sets[i]), NULL, 16) : UINT64_MAX;
	}
	return caps;
}

/* It has more numbers than the one by which our PID namespace knows it. */
static bool
is_in_a_container(const char *status)
{
	const char *at = strstr(status, "\nNSpid:");
	char *end;

	if (!at)
		return true;
	(void)strtoul(at + strlen("\nNSpid:"), &end, 10);
	return *end != '\n';
}

static bool
has_ended(void)
{
	return errno == ENOENT || errno == ESRCH;
}

struct namespaces {
	struct stat net;       /* the container's */
	struct stat user, pid; /* ours */
};

/*
 * May the thread do what would harm us? *seen: there is one in there. Who has our PID namespace is
 * of the host, and has only entered the container's network, as tools do. Where we may not look:
 * yes.
 */
static bool
is_dangerous(int dir, const struct namespaces *ns, bool *seen)
{
	struct stat net, pid, user;
	char status[STATUS_MAX];

	if (fstatat(dir, "ns/net", &net, 0) || fstatat(dir, "ns/pid", &pid, 0))
		return !has_ended() && status_read(dir, status) && is_in_a_container(status);
	if (!same_file(&net, &ns->net) || same_file(&pid, &ns->pid))
		return false;
	*seen = true;
	/* In a user namespace of its own, it has none over the host's network. */
	if (fstatat(dir, "ns/user", &user, 0))
		return !has_ended();
	return same_file(&user, &ns->user) && status_read(dir, status) &&
	       (caps_of(status) & DANGEROUS);
}

/* Threads have capabilities, and namespaces, of their own; the first may have ended. */
static bool
any_thread_is_dangerous(int proc, const char *pid, const struct namespaces *ns, bool *seen)
{
	char path[64];
	bool dangerous = false;
	struct dirent *e;
	int fd, dir;
	DIR *d;

	snprintf(path, sizeof(path), "%.16s/task", pid);
	fd = openat(proc, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return !has_ended();
	d = fdopendir(fd);
	if (!d) {
		close(fd);
		return true;
	}
	while (!dangerous && (e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		dir = openat(fd, e->d_name, O_PATH | O_DIRECTORY | O_CLOEXEC);
		dangerous = dir >= 0 ? is_dangerous(dir, ns, seen) : !has_ended();
		if (dir >= 0)
			close(dir);
	}
	closedir(d);
	return dangerous;
}

/* What containers run, nobody hides from us. */
static bool
sees_all(void)
{
	cap_flag_value_t has = CAP_CLEAR;
	cap_t caps = cap_get_proc();

	if (caps)
		(void)cap_get_flag(caps, CAP_SYS_PTRACE, CAP_EFFECTIVE, &has);
	cap_free(caps);
	return has == CAP_SET;
}

bool
tcp_host_is_confined(int netns_fd)
{
	struct namespaces ns;
	bool dangerous = false, seen = false;
	struct dirent *e;
	DIR *d;

	if (netns_fd < 0 || !sees_all() || fstat(netns_fd, &ns.net) ||
	    stat("/proc/self/ns/user", &ns.user) || stat("/proc/self/ns/pid", &ns.pid))
		return false;
	d = opendir("/proc");
	if (!d)
		return false;
	while (!dangerous && (e = readdir(d)))
		if (e->d_name[0] >= '1' && e->d_name[0] <= '9')
			dangerous = any_thread_is_dangerous(dirfd(d), e->d_name, &ns, &seen);
	closedir(d);
	return seen && !dangerous;
}
