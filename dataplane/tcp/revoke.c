/* SPDX-License-Identifier: MIT */
/*
 * Ends the streams of a container that is removed. Nothing of theirs is open here, so they are
 * looked for: in all processes of other network namespaces, a socket of ours that bears the mark.
 * One end shut down, in either container, is both. A thread of its own, with its own descriptors:
 * what it finds instead of a socket, put there in the last moment, may block it.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tcp_priv.h"

/* A process that has forked meanwhile is met at the next look. */
#define LOOKS_MAX 4u

struct sweep {
	uint8_t guid[8];
	struct stat netns; /* our own */
	uint64_t *inodes;  /* of stream sockets of our namespace, in order */
	size_t num, size;
	unsigned found;
};

static int
compare(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static bool
inode_add(struct sweep *w, uint64_t inode)
{
	size_t size = w->size ? w->size * 2 : 1024;
	uint64_t *more = w->num < w->size ? w->inodes : realloc(w->inodes, size * sizeof(*more));

	if (!more)
		return false;
	if (w->num == w->size)
		w->size = size;
	w->inodes = more;
	w->inodes[w->num++] = inode;
	return true;
}

/* Connected ones: proc(5), /proc/net/unix. */
static void
inodes_read(struct sweep *w)
{
	FILE *f = fopen("/proc/thread-self/net/unix", "re");
	unsigned type, state;
	char line[512];
	uint64_t inode;

	w->num = 0;
	if (!f)
		return;
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "%*s %*s %*s %*s %x %x %" SCNu64, &type, &state, &inode) == 3 &&
		    type == SOCK_STREAM && state == 3 && !inode_add(w, inode))
			break;
	fclose(f);
	if (w->num)
		qsort(w->inodes, w->num, sizeof(*w->inodes), compare);
}

static bool
is_candidate(const struct sweep *w, int dir, const char *name)
{
	char link[64];
	ssize_t n = readlinkat(dir, name, link, sizeof(link) - 1);
	uint64_t inode;

	if (n <= 0)
		return false;
	link[n] = '\0';
	return sscanf(link, "socket:[%" SCNu64 "]", &inode) == 1 &&
	       bsearch(&inode, w->inodes, w->num, sizeof(inode), compare);
}

static void
end_look(struct sweep *w, int pidfd, int number)
{
	int fd = (int)syscall(SYS_pidfd_getfd, pidfd, number, 0);
	struct tcp_mark m;

	if (fd < 0)
		return;
	if (tcp_mark_get(fd, &m) && (!memcmp(m.guid[0], w->guid, sizeof(w->guid)) ||
				     !memcmp(m.guid[1], w->guid, sizeof(w->guid)))) {
		/* ENOTCONN: the other end is gone. */
		w->found += !shutdown(fd, SHUT_RDWR);
	}
	close(fd);
}

static void
process_look(struct sweep *w, int proc, const char *pid)
{
	char path[64];
	struct stat st;
	struct dirent *e;
	int fd, pidfd;
	DIR *d;

	snprintf(path, sizeof(path), "%.16s/ns/net", pid);
	if (fstatat(proc, path, &st, 0) ||
	    (st.st_dev == w->netns.st_dev && st.st_ino == w->netns.st_ino))
		return;
	snprintf(path, sizeof(path), "%.16s/fd", pid);
	fd = openat(proc, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	d = fd < 0 ? NULL : fdopendir(fd);
	pidfd = (int)syscall(SYS_pidfd_open, atoi(pid), 0);
	while (d && pidfd >= 0 && (e = readdir(d)))
		if (e->d_name[0] != '.' && is_candidate(w, fd, e->d_name))
			end_look(w, pidfd, atoi(e->d_name));
	if (pidfd >= 0)
		close(pidfd);
	if (d)
		closedir(d);
	else if (fd >= 0)
		close(fd);
}

static void
sweep(struct sweep *w)
{
	DIR *d = opendir("/proc");
	struct dirent *e;

	if (!d)
		return;
	while ((e = readdir(d)))
		if (e->d_name[0] >= '1' && e->d_name[0] <= '9')
			process_look(w, dirfd(d), e->d_name);
	closedir(d);
}

static void *
run(void *arg)
{
	struct sweep *w = arg;
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, NULL);
#ifndef __SANITIZE_THREAD__ /* it takes two descriptors of one number for the same one */
	if (!unshare(CLONE_FILES))
		(void)close_range(STDERR_FILENO + 1, ~0u, 0);
#endif
	if (stat("/proc/thread-self/ns/net", &w->netns))
		goto out;
	for (unsigned i = 0; i < LOOKS_MAX; i++) {
		w->found = 0;
		inodes_read(w);
		if (w->num)
			sweep(w);
		if (!w->found)
			break;
	}
out:
	free(w->inodes);
	free(w);
	return NULL;
}

void
tcp_revoke(const uint8_t guid[8])
{
	struct sweep *w = calloc(1, sizeof(*w));
	pthread_attr_t attr;
	pthread_t t;

	if (!w)
		return;
	memcpy(w->guid, guid, sizeof(w->guid));
	if (pthread_attr_init(&attr)) {
		free(w);
		return;
	}
	(void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	if (pthread_create(&t, &attr, run, w))
		free(w);
	pthread_attr_destroy(&attr);
}
