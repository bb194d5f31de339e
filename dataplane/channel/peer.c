/* SPDX-License-Identifier: MIT */
/* Who made a connection: pid, uid and pidfd as the kernel tells them. Control thread. */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "channel_priv.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77 /* Linux 6.5, asm-generic/socket.h */
#endif

static bool
pidfd_dead(int pidfd)
{
	struct pollfd p = {.fd = pidfd, .events = POLLIN};

	return poll(&p, 1, 0) != 0;
}

/*
 * Before Linux 6.5 the pid may have been given to another process since the connection was made.
 * What pidfd_open() finds must be of the peer's user and of the container's network namespace:
 * then it is at worst another process of the same container.
 */
static int
peer_pidfd_by_pid(const struct ff_container *c, const struct ucred *cr)
{
	const struct netns *ns = &container_priv((struct ff_container *)c)->netns;
	char path[64];
	struct stat st;
	int fd = (int)syscall(SYS_pidfd_open, cr->pid, 0);

	if (fd < 0)
		return -errno;
	snprintf(path, sizeof(path), "/proc/%d", (int)cr->pid);
	if (stat(path, &st) || (st.st_uid != cr->uid && st.st_uid != 0))
		goto stranger;
	if (ns->notify_fd >= 0) {
		snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)cr->pid);
		if (stat(path, &st) || st.st_dev != ns->dev || st.st_ino != ns->ino)
			goto stranger;
	}
	return fd;
stranger:
	close(fd);
	return -EPERM;
}

/* The name is the process's own choice: fit for a log line. */
static void
peer_comm(pid_t pid, char comm[16])
{
	char path[64];
	ssize_t n = 0;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		n = read(fd, comm, 15);
		close(fd);
	}
	if (n < 0)
		n = 0;
	if (n && comm[n - 1] == '\n')
		n--;
	comm[n] = 0;
	for (ssize_t i = 0; i < n; i++)
		if (!isgraph((unsigned char)comm[i]))
			comm[i] = '?';
}

int
peer_get(int fd, const struct ff_container *c, struct peer *out)
{
	struct ucred cr;
	socklen_t len = sizeof(cr);

	memset(out, 0, sizeof(*out));
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cr, &len))
		return -errno;
	if (cr.pid <= 0) /* of a pid namespace that is not below ours */
		return -EPERM;
	len = sizeof(out->pidfd);
	if (getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &out->pidfd, &len)) {
		if (errno != ENOPROTOOPT)
			return errno == EINVAL ? -ESRCH : -errno;
		out->pidfd = peer_pidfd_by_pid(c, &cr);
		if (out->pidfd < 0)
			return out->pidfd;
	}
	if (pidfd_dead(out->pidfd)) {
		close(out->pidfd);
		return -ESRCH;
	}
	out->pid = cr.pid;
	out->uid = cr.uid;
	peer_comm(cr.pid, out->comm);
	return 0;
}
