/* SPDX-License-Identifier: MIT */
/* Neighbours and bridges' and VXLAN devices' FDBs, and notifications. Control thread. */
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>

#include "kernel_nl.h"

/* States of a neighbour that has a MAC; of those, the ones that the kernel does not doubt, or is
 * asking about already. */
#define NUD_KNOWN (NUD_PERMANENT | NUD_NOARP | NUD_REACHABLE | NUD_PROBE | NUD_STALE | NUD_DELAY)
#define NUD_FRESH (NUD_KNOWN & ~NUD_STALE)

/* ---- neighbours and FDB: both are RTM_GETNEIGH ---- */

struct neigh_answer {
	uint16_t state;
	unsigned ifindex;
	bool has_mac, has_dst, has_vni;
	uint8_t mac[6], dst[16];
	uint32_t vni;
};

static int
neigh_message(const struct nlmsghdr *nlh, void *arg)
{
	struct neigh_answer *a = arg;
	const struct ndmsg *ndm = mnl_nlmsg_get_payload(nlh);
	const struct nlattr *attr;

	if (nlh->nlmsg_type != RTM_NEWNEIGH && nlh->nlmsg_type != RTM_DELNEIGH)
		return MNL_CB_OK;
	a->state = ndm->ndm_state;
	a->ifindex = (unsigned)ndm->ndm_ifindex;
	mnl_attr_for_each(attr, nlh, sizeof(*ndm))
	{
		switch (mnl_attr_get_type(attr)) {
		case NDA_LLADDR:
			a->has_mac = nl_attr_mac(attr, a->mac);
			break;
		case NDA_DST:
			a->has_dst = nl_attr_addr(attr, a->dst);
			break;
		case NDA_VNI:
			a->has_vni = nl_attr_u32(attr, &a->vni);
			break;
		}
	}
	return MNL_CB_OK;
}

int
nl_neigh(struct netspace *ns, unsigned ifindex, const uint8_t addr[16], struct nl_neigh *out)
{
	char buf[NL_REQUEST_MAX];
	void *header;
	struct nlmsghdr *nlh = nl_request(buf, RTM_GETNEIGH, sizeof(struct ndmsg), &header);
	struct ndmsg *ndm = header;
	struct neigh_answer a = {0};
	int rc;

	ndm->ndm_family = nl_is_v4(addr) ? AF_INET : AF_INET6;
	ndm->ndm_ifindex = (int)ifindex;
	nl_put_addr(nlh, NDA_DST, addr);
	rc = nl_query(ns, nlh, neigh_message, &a);
	if (rc)
		return rc;
	if (!(a.state & NUD_KNOWN) || !a.has_mac)
		return -ENOENT;
	memcpy(out->mac, a.mac, 6);
	out->fresh = a.state & NUD_FRESH;
	return 0;
}

/* Where bridge is not 0, in its table; else in that of the VXLAN device. */
static int
fdb_query(struct netspace *ns, unsigned bridge, unsigned vxlan, const uint8_t mac[6],
	  struct neigh_answer *a)
{
	char buf[NL_REQUEST_MAX];
	void *header;
	struct nlmsghdr *nlh = nl_request(buf, RTM_GETNEIGH, sizeof(struct ndmsg), &header);
	struct ndmsg *ndm = header;

	memset(a, 0, sizeof(*a));
	ndm->ndm_family = AF_BRIDGE;
	mnl_attr_put(nlh, NDA_LLADDR, 6, mac);
	if (bridge) {
		mnl_attr_put_u32(nlh, NDA_MASTER, bridge);
	} else {
		ndm->ndm_ifindex = (int)vxlan;
		ndm->ndm_flags = NTF_SELF;
	}
	return nl_query(ns, nlh, neigh_message, a);
}

int
nl_fdb_port(struct netspace *ns, unsigned bridge, const uint8_t mac[6], unsigned *port)
{
	struct neigh_answer a;
	int rc = fdb_query(ns, bridge, 0, mac, &a);

	*port = a.ifindex;
	return rc;
}

int
nl_fdb_host(struct netspace *ns, unsigned vxlan, const uint8_t mac[6], uint8_t host[16],
	    uint32_t *vni)
{
	static const uint8_t any4[16] = {[10] = 0xff, [11] = 0xff}, any6[16];
	struct neigh_answer a;
	int rc = fdb_query(ns, 0, vxlan, mac, &a);

	if (rc)
		return rc;
	/* A group, or none: the packet would be flooded. */
	if (!a.has_dst || !memcmp(a.dst, any4, 16) || !memcmp(a.dst, any6, 16) ||
	    (nl_is_v4(a.dst) ? a.dst[12] >= 224 : a.dst[0] == 0xff))
		return -ENOENT;
	memcpy(host, a.dst, 16);
	if (a.has_vni)
		*vni = a.vni;
	return 0;
}

/* ---- notifications ---- */

void
nl_changes(const void *buf, size_t len,
	   void (*fn)(enum nl_change what, const uint8_t *id, void *arg), void *arg)
{
	const struct nlmsghdr *nlh = buf;
	int left = (int)len;

	for (; mnl_nlmsg_ok(nlh, left); nlh = mnl_nlmsg_next(nlh, &left)) {
		const struct ndmsg *ndm = mnl_nlmsg_get_payload(nlh);
		struct neigh_answer a = {0};

		if (nlh->nlmsg_type == RTM_NEWLINK || nlh->nlmsg_type == RTM_DELLINK) {
			fn(NL_LINK, NULL, arg);
			continue;
		}
		if ((nlh->nlmsg_type != RTM_NEWNEIGH && nlh->nlmsg_type != RTM_DELNEIGH) ||
		    mnl_nlmsg_get_payload_len(nlh) < sizeof(*ndm)) {
			fn(NL_OTHER, NULL, arg);
			continue;
		}
		neigh_message(nlh, &a);
		if (ndm->ndm_family == AF_BRIDGE && a.has_mac)
			fn(NL_FDB, a.mac, arg);
		else if (ndm->ndm_family != AF_BRIDGE && a.has_dst)
			fn(NL_NEIGHBOUR, a.dst, arg);
		else
			fn(NL_OTHER, NULL, arg);
	}
}
