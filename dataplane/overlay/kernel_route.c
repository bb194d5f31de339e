/* SPDX-License-Identifier: MIT */
/* Routes. Control thread. */
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>

#include "kernel_nl.h"

struct route_answer {
	struct nl_route *out;
	unsigned char type, prefix;
	bool complete;
};

static void
metrics_parse(const struct nlattr *metrics, struct nl_route *r)
{
	const struct nlattr *attr;

	mnl_attr_for_each_nested(attr, metrics)
	{
		if (mnl_attr_get_type(attr) == RTAX_MTU)
			nl_attr_u32(attr, &r->mtu);
	}
}

static int
route_message(const struct nlmsghdr *nlh, void *arg)
{
	struct route_answer *a = arg;
	const struct rtmsg *rtm = mnl_nlmsg_get_payload(nlh);
	const struct nlattr *attr;

	if (nlh->nlmsg_type != RTM_NEWROUTE)
		return MNL_CB_OK;
	a->complete = true;
	a->type = rtm->rtm_type;
	a->prefix = rtm->rtm_dst_len;
	mnl_attr_for_each(attr, nlh, sizeof(*rtm))
	{
		const struct rtvia *via = mnl_attr_get_payload(attr);
		size_t len = mnl_attr_get_payload_len(attr);

		switch (mnl_attr_get_type(attr)) {
		case RTA_OIF:
			nl_attr_u32(attr, &a->out->oif);
			break;
		case RTA_GATEWAY:
			a->out->gateway = nl_attr_addr(attr, a->out->next_hop);
			break;
		case RTA_VIA: /* a gateway of the other family */
			a->out->gateway =
				len > sizeof(*via) &&
				nl_addr(via->rtvia_addr, len - sizeof(*via), a->out->next_hop);
			break;
		case RTA_METRICS:
			metrics_parse(attr, a->out);
			break;
		}
	}
	return MNL_CB_OK;
}

static int
route_query(struct netspace *ns, const uint8_t addr[16], unsigned flags, struct route_answer *a)
{
	char buf[NL_REQUEST_MAX];
	void *header;
	struct nlmsghdr *nlh = nl_request(buf, RTM_GETROUTE, sizeof(struct rtmsg), &header);
	struct rtmsg *rtm = header;
	int rc;

	rtm->rtm_family = nl_is_v4(addr) ? AF_INET : AF_INET6;
	rtm->rtm_dst_len = nl_is_v4(addr) ? 32 : 128;
	rtm->rtm_flags = flags;
	nl_put_addr(nlh, RTA_DST, addr);
	rc = nl_query(ns, nlh, route_message, a);
	switch (rc) {
	case 0:
		return a->complete && a->type == RTN_UNICAST ? 0 : -ENOENT;
	case -ENETUNREACH:
	case -EHOSTUNREACH:
	case -EACCES: /* prohibit */
	case -EINVAL: /* blackhole */
	case -EAFNOSUPPORT:
	case -EOPNOTSUPP: /* no IPv6 */
		return -ENOENT;
	default:
		return rc;
	}
}

int
nl_route(struct netspace *ns, const uint8_t addr[16], struct nl_route *out)
{
	struct route_answer a = {.out = out};

	memset(out, 0, sizeof(*out));
	memcpy(out->next_hop, addr, 16);
	return route_query(ns, addr, 0, &a);
}

int
nl_route_prefix(struct netspace *ns, const uint8_t addr[16])
{
	struct nl_route ignored;
	struct route_answer a = {.out = &ignored};
	/* The route as it is in the table, not as it is for the one address. */
	int rc = route_query(ns, addr, RTM_F_FIB_MATCH, &a);

	return rc ? rc : a.prefix;
}
