/* SPDX-License-Identifier: MIT */
/*
 * rtnetlink sockets in a container's network namespace: reads its addresses, tells when they
 * change. Control thread. They keep the namespace alive until the container is removed.
 */
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../core/netns.h"
#include "channel_priv.h"

#define LINKS_MAX 64u
/* Interfaces by index. More than LINKS_MAX: those have no name, and are no loopback. */
struct netns_links {
	unsigned num;
	struct {
		unsigned index, flags;
		uint32_t mtu;
		char name[IF_NAMESIZE];
	} l[LINKS_MAX];
};

struct netns_dump {
	struct netns_links links;
	struct addr_list *out;
};

static int
sockets_open(void *arg)
{
	struct netns *n = arg;

	n->notify_fd = ff_netlink_open(RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR | RTMGRP_LINK, true);
	n->dump_fd = ff_netlink_open(0, false);
	return n->notify_fd < 0 ? n->notify_fd : n->dump_fd < 0 ? n->dump_fd : 0;
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
	struct stat st;
	int rc;

	n->notify_fd = n->dump_fd = -1;
	n->changed = changed;
	n->arg = arg;
	n->ns_fd = ff_netns_open(path);
	if (n->ns_fd < 0)
		return n->ns_fd;
	rc = fstat(n->ns_fd, &st) ? -errno : ff_netns_run(n->ns_fd, sockets_open, n);
	if (!rc)
		rc = ff_loop_add(&n->src, n->notify_fd, EPOLLIN, netns_event, n);
	if (rc) {
		netns_close(n);
		return rc;
	}
	n->dev = st.st_dev;
	n->ino = st.st_ino;
	return 0;
}

void
netns_close(struct netns *n)
{
	int *const fds[] = {&n->notify_fd, &n->dump_fd, &n->ns_fd};

	ff_loop_del(&n->src);
	for (unsigned i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
		if (*fds[i] >= 0)
			close(*fds[i]);
		*fds[i] = -1;
	}
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
		if (mnl_attr_get_type(attr) == IFLA_MTU &&
		    mnl_attr_validate(attr, MNL_TYPE_U32) >= 0)
			d->links.l[i].mtu = mnl_attr_get_u32(attr);
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
		a.mtu = d->links.l[i].mtu;
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
