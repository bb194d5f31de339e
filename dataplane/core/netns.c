/* SPDX-License-Identifier: MIT */
/* Enters network namespaces, on a thread that ends when it has done what it went for. */
#include "netns.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/rtnetlink.h>
#include <pthread.h>
#include <sched.h>
#include <sys/capability.h>
#include <sys/socket.h>
#include <unistd.h>

struct visit {
	const char *path; /* to open, or NULL: fd is to be entered */
	int fd;
	int (*fn)(void *arg);
	void *arg;
	int rc;
};

/* Where CAP_SYS_ADMIN is permitted and not effective: raised for this thread alone. */
static void
sys_admin_raise(void)
{
	static const cap_value_t cap = CAP_SYS_ADMIN;
	cap_t caps = cap_get_proc();

	if (!caps)
		return;
	if (!cap_set_flag(caps, CAP_EFFECTIVE, 1, &cap, CAP_SET))
		(void)cap_set_proc(caps); /* without it setns says what is missing */
	cap_free(caps);
}

static void *
visit_thread(void *arg)
{
	struct visit *v = arg;

	sys_admin_raise();
	if (v->path) {
		v->rc = open(v->path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
		if (v->rc < 0)
			v->rc = -errno;
	} else {
		v->rc = setns(v->fd, CLONE_NEWNET) ? -errno : v->fn(v->arg);
	}
	return NULL;
}

static int
visit(struct visit *v)
{
	pthread_t t;
	int rc = -pthread_create(&t, NULL, visit_thread, v);

	if (rc)
		return rc;
	pthread_join(t, NULL);
	return v->rc;
}

int
ff_netns_open(const char *path)
{
	struct visit v = {.path = path};

	return visit(&v);
}

int
ff_netns_run(int fd, int (*fn)(void *arg), void *arg)
{
	struct visit v = {.fd = fd, .fn = fn, .arg = arg};

	return fd < 0 ? fn(arg) : visit(&v);
}

int
ff_netlink_open(unsigned groups, bool nonblock)
{
	struct sockaddr_nl sa = {.nl_family = AF_NETLINK, .nl_groups = groups};
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | (nonblock ? SOCK_NONBLOCK : 0),
			NETLINK_ROUTE);
	int rc;

	if (fd < 0)
		return -errno;
	if (!bind(fd, (struct sockaddr *)&sa, sizeof(sa)))
		return fd;
	rc = -errno;
	close(fd);
	return rc;
}
