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

/* False: it has ended meanwhile. */
static bool
bounding_set(int dir, uint64_t *caps)
{
	int fd = openat(dir, "status", O_RDONLY | O_CLOEXEC);
	char text[4096], *at;
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	if (fd >= 0)
		close(fd);
	if (n <= 0)
		return false;
	text[n] = 0;
	at = strstr(text, "\nCapBnd:");
	*caps = at ? strtoull(at + strlen("\nCapBnd:"), NULL, 16) : UINT64_MAX;
	return true;
}

struct namespaces {
	struct stat net;       /* the container's */
	struct stat user, pid; /* ours */
};

/*
 * May the process do what would harm us? *seen: there is one in there. Who has our PID namespace is
 * of the host, and has only entered the container's network, as tools do.
 */
static bool
is_dangerous(int dir, const struct namespaces *ns, bool *seen)
{
	struct stat net, pid, user;
	uint64_t caps = 0;

	if (fstatat(dir, "ns/net", &net, 0) || !same_file(&net, &ns->net) ||
	    fstatat(dir, "ns/pid", &pid, 0) || same_file(&pid, &ns->pid))
		return false;
	*seen = true;
	/* In a user namespace of its own, it has none over the host's network. */
	if (fstatat(dir, "ns/user", &user, 0))
		return errno != ENOENT && errno != ESRCH;
	return same_file(&user, &ns->user) && bounding_set(dir, &caps) && (caps & DANGEROUS);
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
	int dir;

	if (netns_fd < 0 || !sees_all() || fstat(netns_fd, &ns.net) ||
	    stat("/proc/self/ns/user", &ns.user) || stat("/proc/self/ns/pid", &ns.pid))
		return false;
	d = opendir("/proc");
	if (!d)
		return false;
	while (!dangerous && (e = readdir(d))) {
		if (e->d_name[0] < '1' || e->d_name[0] > '9')
			continue;
		dir = openat(dirfd(d), e->d_name, O_PATH | O_DIRECTORY | O_CLOEXEC);
		dangerous = dir >= 0 && is_dangerous(dir, &ns, &seen);
		if (dir >= 0)
			close(dir);
	}
	closedir(d);
	return seen && !dangerous;
}
