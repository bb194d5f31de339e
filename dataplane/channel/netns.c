/* SPDX-License-Identifier: MIT */
/*
 * rtnetlink sockets in a container's network namespace: reads its addresses, tells when they
 * change. Control thread; a short-lived thread enters the namespace to make the sockets. They keep
 * the namespace alive until the container is removed.
 */
#include <errno.h>
#include <fcntl.h>
#include <libmnl/libmnl.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "channel_priv.h"

#define LINKS_MAX 64u
/* Interfaces by index. More than LINKS_MAX: those have no name, and are no loopback. */
struct netns_links {
	unsigned num;
	struct {
		unsigned index, flags;
		char name[IF_NAMESIZE];
	} l[LINKS_MAX];
};

struct netns_dump {
	struct netns_links links;
	struct addr_list *out;
};

static int
netlink_socket(unsigned groups, bool nonblock)
{
	struct sockaddr_nl sa = {.nl_family = AF_NETLINK, .nl_groups = groups};
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | (nonblock ? SOCK_NONBLOCK : 0),
			NETLINK_ROUTE);

	if (fd < 0)
		return -errno;
	if (bind(fd, (struct sockaddr *)&sa, sizeof(sa))) {
		int rc = -errno;

		close(fd);
		return rc;
	}
	return fd;
}

/* freeflowd keeps CAP_SYS_ADMIN permitted, not effective: raised for this thread alone. */
static void
raise_sys_admin(void)
{
	static const cap_value_t cap = CAP_SYS_ADMIN;
	cap_t caps = cap_get_proc();

	if (!caps)
		return;
	if (!cap_set_flag(caps, CAP_EFFECTIVE, 1, &cap, CAP_SET))
		(void)cap_set_proc(caps); /* without it setns says what is missing */
	cap_free(caps);
}

struct netns_entry {
	const char *path;
	struct netns *n;
	int rc;
};

static void *
netns_enter(void *arg)
{
	struct netns_entry *e = arg;
	struct netns *n = e->n;
	struct stat st;
	int fd;

	raise_sys_admin();
	fd = open(e->path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st) || setns(fd, CLONE_NEWNET)) {
		e->rc = -errno;
		goto out;
	}
	n->dev = st.st_dev;
	n->ino = st.st_ino;
	n->notify_fd = netlink_socket(RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR | RTMGRP_LINK, true);
	n->dump_fd = netlink_socket(0, false);
	e->rc = n->notify_fd < 0 ? n->notify_fd : n->dump_fd < 0 ? n->dump_fd : 0;
out:
	if (fd >= 0)
		close(fd);
	return NULL;
}

/* What the notifications say does not matter: the table is read anew. */
static void
netns_event(struct ff_source *s, uint32_t events)
{
	struct netns *n = s->arg;
	char buf[8192];
	bool any = false;

	for (int i = 0; i < 64; i++) {
		ssize_t len = recv(n->notify_fd, buf, sizeof(buf), MSG_DONTWAIT);

		if (len < 0 && errno != ENOBUFS)
			break;
		any = true;
	}
	if (any)
		n->changed(n->arg);
}

int
netns_open(struct netns *n, const char *path, void (*changed)(void *arg), void *arg)
{
	struct netns_entry e = {.path = path, .n = n};
	pthread_t t;
	int rc;

	n->notify_fd = n->dump_fd = -1;
	n->changed = changed;
	n->arg = arg;
	rc = -pthread_create(&t, NULL, netns_enter, &e);
	if (rc)
		return rc;
	pthread_join(t, NULL);
	rc = e.rc;
	if (!rc)
		rc = ff_loop_add(&n->src, n->notify_fd, EPOLLIN, netns_event, n);
	if (rc)
		netns_close(n);
	return rc;
}

void
netns_close(struct netns *n)
{
	ff_loop_del(&n->src);
	if (n->notify_fd >= 0)
		close(n->notify_fd);
	if (n->dump_fd >= 0)
		close(n->dump_fd);
	n->notify_fd = n->dump_fd = -1;
}

static int
link_message(const struct nlmsghdr *nlh, void *arg)
{
	struct netns_dump *d = arg;
	const struct ifinfomsg *ifi = mnl_nlmsg_get_payload(nlh);
	struct nlattr *attr;
	unsigned i = d->links.num;

	if (nlh->nlmsg_type != RTM_NEWLINK || i == LINKS_MAX)
		return MNL_CB_OK;
	memset(&d->links.l[i], 0, sizeof(d->links.l[i]));
	d->links.l[i].index = (unsigned)ifi->ifi_index;
	d->links.l[i].flags = ifi->ifi_flags;
	mnl_attr_for_each(attr, nlh, sizeof(*ifi))
	{
		if (mnl_attr_get_type(attr) == IFLA_IFNAME &&
		    mnl_attr_validate(attr, MNL_TYPE_NUL_STRING) >= 0)
			strncpy(d->links.l[i].name, mnl_attr_get_str(attr), IF_NAMESIZE - 1);
	}
	d->links.num++;
	return MNL_CB_OK;
}

/* IFA_LOCAL is the own end of a point-to-point link; elsewhere both are the same. */
static bool
addr_of_message(const struct nlmsghdr *nlh, const struct ifaddrmsg *ifa, struct addr *a)
{
	const void *local = NULL, *address = NULL;
	uint32_t flags = ifa->ifa_flags;
	size_t want = ifa->ifa_family == AF_INET ? 4 : 16;
	struct nlattr *attr;

	mnl_attr_for_each(attr, nlh, sizeof(*ifa))
	{
		uint16_t type = mnl_attr_get_type(attr);

		if (type == IFA_LOCAL && mnl_attr_get_payload_len(attr) == want)
			local = mnl_attr_get_payload(attr);
		else if (type == IFA_ADDRESS && mnl_attr_get_payload_len(attr) == want)
			address = mnl_attr_get_payload(attr);
		else if (type == IFA_FLAGS && mnl_attr_get_payload_len(attr) == 4)
			flags = mnl_attr_get_u32(attr);
	}
	if (!local)
		local = address;
	if (!local || flags & (IFA_F_TENTATIVE | IFA_F_DADFAILED))
		return false;
	memset(a, 0, sizeof(*a));
	if (want == 4) {
		a->raw[10] = a->raw[11] = 0xff;
		memcpy(a->raw + 12, local, 4);
		/* RFC 3927: 169.254/16 is as link-local as fe80::/10. */
		a->kind = a->raw[12] == 169 && a->raw[13] == 254 ? ADDR_LINK_LOCAL : ADDR_IPV4;
	} else {
		memcpy(a->raw, local, 16);
		a->kind = IN6_IS_ADDR_LINKLOCAL((const struct in6_addr *)a->raw) ? ADDR_LINK_LOCAL
										 : ADDR_IPV6;
	}
	return true;
}

static int
addr_message(const struct nlmsghdr *nlh, void *arg)
{
	struct netns_dump *d = arg;
	const struct ifaddrmsg *ifa = mnl_nlmsg_get_payload(nlh);
	struct addr a;

	if (nlh->nlmsg_type != RTM_NEWADDR || ifa->ifa_scope == RT_SCOPE_HOST ||
	    (ifa->ifa_family != AF_INET && ifa->ifa_family != AF_INET6) ||
	    !addr_of_message(nlh, ifa, &a))
		return MNL_CB_OK;
	for (unsigned i = 0; i < d->links.num; i++) {
		if (d->links.l[i].index != ifa->ifa_index)
			continue;
		if (d->links.l[i].flags & IFF_LOOPBACK)
			return MNL_CB_OK;
		memcpy(a.ndev, d->links.l[i].name, sizeof(a.ndev));
	}
	addr_list_add(d->out, &a);
	return MNL_CB_OK;
}

/* A dump answers at once, from the kernel: no waiting for anybody. */
static int
netns_dump(struct netns *n, uint16_t type, size_t family_len, mnl_cb_t cb, struct netns_dump *d)
{
	char buf[16384];
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	uint32_t seq = ++n->seq;
	ssize_t len;
	int rc;

	nlh->nlmsg_type = type;
	nlh->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	nlh->nlmsg_seq = seq;
	mnl_nlmsg_put_extra_header(nlh, family_len);
	if (send(n->dump_fd, nlh, nlh->nlmsg_len, 0) < 0)
		return -errno;
	do {
		len = recv(n->dump_fd, buf, sizeof(buf), 0);
		if (len < 0)
			return -errno;
		rc = mnl_cb_run(buf, (size_t)len, seq, 0, cb, d);
	} while (rc > MNL_CB_STOP);
	return rc < 0 ? -errno : 0;
}

int
netns_addresses(struct netns *n, struct addr_list *out)
{
	struct netns_dump d = {.out = out};
	int rc = -EAGAIN;

	/* EINTR: the table changed under the dump (NLM_F_DUMP_INTR). */
	for (int i = 0; i < 8 && (rc == -EAGAIN || rc == -EINTR); i++) {
		out->num = 0;
		d.links.num = 0;
		rc = netns_dump(n, RTM_GETLINK, sizeof(struct ifinfomsg), link_message, &d);
		if (!rc)
			rc = netns_dump(n, RTM_GETADDR, sizeof(struct ifaddrmsg), addr_message, &d);
	}
	return rc;
}
