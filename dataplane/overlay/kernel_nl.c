/* SPDX-License-Identifier: MIT */
/*
 * rtnetlink: questions and answers, and those about links and namespaces. Control thread.
 */
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/if_link.h>
#include <linux/net_namespace.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>

#include "kernel_nl.h"

#define BUF_SIZE 32768u

/* ---- transport ---- */

/* What is left of a dump that was given up: the next one would be refused. */
static void
drain(struct netspace *ns)
{
	char byte;

	while (recv(ns->query_fd, &byte, 1, MSG_DONTWAIT | MSG_TRUNC) >= 0)
		continue;
}

/* The answer is there when send() returns, and each further part of a dump when it is asked for. */
int
nl_query(struct netspace *ns, struct nlmsghdr *nlh, mnl_cb_t cb, void *arg)
{
	bool dump = (nlh->nlmsg_flags & NLM_F_DUMP) == NLM_F_DUMP;
	char buf[BUF_SIZE];
	ssize_t len;
	int rc;

	nlh->nlmsg_flags |= NLM_F_REQUEST;
	nlh->nlmsg_seq = ++ns->seq;
	if (send(ns->query_fd, nlh, nlh->nlmsg_len, MSG_DONTWAIT) < 0)
		return -errno;
	do {
		len = recv(ns->query_fd, buf, sizeof(buf), MSG_DONTWAIT | MSG_TRUNC);
		if (len < 0)
			return errno == EAGAIN ? -EIO : -errno;
		if ((size_t)len > sizeof(buf)) {
			errno = EMSGSIZE;
			rc = -1;
			break;
		}
		rc = mnl_cb_run(buf, (size_t)len, ns->seq, 0, cb, arg);
	} while (dump && rc > MNL_CB_STOP);
	if (rc >= 0)
		return 0;
	rc = -errno;
	if (dump || rc == -EPROTO)
		drain(ns);
	return rc;
}

/* A request with a header of len bytes, all zeroes. */
struct nlmsghdr *
nl_request(void *buf, uint16_t type, size_t len, void **header)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);

	nlh->nlmsg_type = type;
	*header = mnl_nlmsg_put_extra_header(nlh, len);
	return nlh;
}

bool
nl_is_v4(const uint8_t addr[16])
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

	return !memcmp(addr, mapped, sizeof(mapped));
}

void
nl_put_addr(struct nlmsghdr *nlh, uint16_t type, const uint8_t addr[16])
{
	if (nl_is_v4(addr))
		mnl_attr_put(nlh, type, 4, addr + 12);
	else
		mnl_attr_put(nlh, type, 16, addr);
}

/* 4 or 16 bytes, by their number. */
bool
nl_addr(const void *bytes, size_t len, uint8_t addr[16])
{
	if (len != 4 && len != 16)
		return false;
	memset(addr, 0, 16);
	if (len == 4)
		addr[10] = addr[11] = 0xff;
	memcpy(addr + 16 - len, bytes, len);
	return true;
}

bool
nl_attr_addr(const struct nlattr *attr, uint8_t addr[16])
{
	return nl_addr(mnl_attr_get_payload(attr), mnl_attr_get_payload_len(attr), addr);
}

bool
nl_attr_mac(const struct nlattr *attr, uint8_t mac[6])
{
	if (mnl_attr_get_payload_len(attr) != 6)
		return false;
	memcpy(mac, mnl_attr_get_payload(attr), 6);
	return true;
}

bool
nl_attr_u32(const struct nlattr *attr, uint32_t *out)
{
	if (mnl_attr_validate(attr, MNL_TYPE_U32) < 0)
		return false;
	*out = mnl_attr_get_u32(attr);
	return true;
}

/* ---- links ---- */

static void
vxlan_parse(const struct nlattr *data, struct nl_link *l)
{
	const struct nlattr *attr;

	mnl_attr_for_each_nested(attr, data)
	{
		uint16_t type = mnl_attr_get_type(attr);

		if (type == IFLA_VXLAN_ID)
			nl_attr_u32(attr, &l->vni);
		else if (type == IFLA_VXLAN_COLLECT_METADATA &&
			 mnl_attr_validate(attr, MNL_TYPE_U8) >= 0)
			l->vxlan_any = mnl_attr_get_u8(attr);
	}
}

static void
linkinfo_parse(const struct nlattr *info, struct nl_link *l)
{
	const struct nlattr *attr, *data = NULL;

	mnl_attr_for_each_nested(attr, info)
	{
		uint16_t type = mnl_attr_get_type(attr);

		if (type == IFLA_INFO_KIND && mnl_attr_validate(attr, MNL_TYPE_NUL_STRING) >= 0)
			strncpy(l->kind, mnl_attr_get_str(attr), sizeof(l->kind) - 1);
		else if (type == IFLA_INFO_DATA)
			data = attr;
	}
	if (data && !strcmp(l->kind, "vxlan"))
		vxlan_parse(data, l);
}

static void
link_parse(const struct nlmsghdr *nlh, struct nl_link *l)
{
	const struct ifinfomsg *ifi = mnl_nlmsg_get_payload(nlh);
	const struct nlattr *attr;
	uint32_t nsid;

	*l = (struct nl_link){
		.index = (unsigned)ifi->ifi_index, .flags = ifi->ifi_flags, .peer_nsid = -1};
	mnl_attr_for_each(attr, nlh, sizeof(*ifi))
	{
		switch (mnl_attr_get_type(attr)) {
		case IFLA_MASTER:
			nl_attr_u32(attr, &l->master);
			break;
		case IFLA_LINK:
			nl_attr_u32(attr, &l->peer);
			break;
		case IFLA_LINK_NETNSID:
			if (nl_attr_u32(attr, &nsid))
				l->peer_nsid = (int)nsid;
			break;
		case IFLA_MTU:
			nl_attr_u32(attr, &l->mtu);
			break;
		case IFLA_ADDRESS:
			nl_attr_mac(attr, l->mac);
			break;
		case IFLA_LINKINFO:
			linkinfo_parse(attr, l);
			break;
		}
	}
}

static int
link_message(const struct nlmsghdr *nlh, void *arg)
{
	if (nlh->nlmsg_type == RTM_NEWLINK)
		link_parse(nlh, arg);
	return MNL_CB_OK;
}

int
nl_link(struct netspace *ns, unsigned index, struct nl_link *out)
{
	char buf[NL_REQUEST_MAX];
	void *header;
	struct nlmsghdr *nlh = nl_request(buf, RTM_GETLINK, sizeof(struct ifinfomsg), &header);
	int rc;

	((struct ifinfomsg *)header)->ifi_index = (int)index;
	out->index = 0;
	rc = nl_query(ns, nlh, link_message, out);
	if (rc == -ENODEV || (!rc && out->index != index))
		rc = -ENOENT;
	return rc;
}

struct vxlan_dump {
	struct nl_link *out;
	unsigned num, max;
};

static int
vxlan_message(const struct nlmsghdr *nlh, void *arg)
{
	struct vxlan_dump *d = arg;
	struct nl_link l;

	if (nlh->nlmsg_type != RTM_NEWLINK)
		return MNL_CB_OK;
	link_parse(nlh, &l);
	if (!strcmp(l.kind, "vxlan") && d->num < d->max)
		d->out[d->num++] = l;
	return MNL_CB_OK;
}

int
nl_vxlans(struct netspace *ns, struct nl_link *out, unsigned max)
{
	struct vxlan_dump d = {.out = out, .max = max};
	int rc = -EINTR;

	/* EINTR: the list changed under the dump (NLM_F_DUMP_INTR). */
	for (int i = 0; i < 8 && rc == -EINTR; i++) {
		char buf[NL_REQUEST_MAX];
		void *header;
		struct nlmsghdr *nlh =
			nl_request(buf, RTM_GETLINK, sizeof(struct ifinfomsg), &header);
		struct nlattr *info = mnl_attr_nest_start(nlh, IFLA_LINKINFO);

		/* The kernel leaves the others out. */
		mnl_attr_put_strz(nlh, IFLA_INFO_KIND, "vxlan");
		mnl_attr_nest_end(nlh, info);
		nlh->nlmsg_flags = NLM_F_DUMP;
		d.num = 0;
		rc = nl_query(ns, nlh, vxlan_message, &d);
	}
	return rc ? rc : (int)d.num;
}

/* ---- namespaces ---- */

static int
nsid_message(const struct nlmsghdr *nlh, void *arg)
{
	const struct nlattr *attr;
	uint32_t id;

	mnl_attr_for_each(attr, nlh, sizeof(struct rtgenmsg))
	{
		if (mnl_attr_get_type(attr) == NETNSA_NSID && nl_attr_u32(attr, &id))
			*(int *)arg = (int)id;
	}
	return MNL_CB_OK;
}

int
nl_nsid(struct netspace *ns, int fd, int *nsid)
{
	char buf[NL_REQUEST_MAX];
	void *header;
	struct nlmsghdr *nlh = nl_request(buf, RTM_GETNSID, sizeof(struct rtgenmsg), &header);
	int rc;

	mnl_attr_put_u32(nlh, NETNSA_FD, (uint32_t)fd);
	*nsid = -1;
	rc = nl_query(ns, nlh, nsid_message, nsid);
	return !rc && *nsid < 0 ? -ENOENT : rc;
}
