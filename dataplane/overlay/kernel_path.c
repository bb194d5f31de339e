/* SPDX-License-Identifier: MIT */
/*
 * The way to an address as the kernel would send a packet there: through a bridge with VXLAN ports,
 * by a route over a VXLAN device (Flannel), or by a route over the underlay (host-gw). Control
 * thread.
 *
 * What a container says of itself is in its own namespace: its routes and neighbours. They choose
 * among the ways of the bridge or host that its veth is attached to, never another tenant's.
 *
 * Bridge and VXLAN device may be in a third namespace (kernel_transit.c: Docker's overlay
 * networks).
 *
 * Needs Linux 5.0 (single neighbours and FDB entries). Not seen: Open vSwitch (Weave's fast
 * datapath), VXLAN with external metadata (Cilium), behind a VRF or FDB nexthop groups (EVPN
 * multihoming); macvlan, ipvlan, other tunnels. The configuration must name those hosts.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kernel_priv.h"

#define VXLANS_MAX 1024u

void
path_links_changed(struct netspace *ns)
{
	ns->vxlans.known = false;
}

void
path_links_free(struct netspace *ns)
{
	free(ns->vxlans.l);
	memset(&ns->vxlans, 0, sizeof(ns->vxlans));
}

static int
vxlans_read(struct netspace *ns)
{
	struct vxlan_list *v = &ns->vxlans;
	int n;

	if (v->known)
		return 0;
	if (!v->l)
		v->l = calloc(VXLANS_MAX, sizeof(*v->l));
	if (!v->l)
		return -ENOMEM;
	n = nl_vxlans(ns, v->l, VXLANS_MAX);
	v->num = n < 0 ? 0 : (unsigned)n;
	v->known = n >= 0;
	return n < 0 ? n : 0;
}

static const struct nl_link *
vxlan_find(const struct netspace *ns, unsigned index)
{
	for (unsigned i = 0; i < ns->vxlans.num; i++)
		if (ns->vxlans.l[i].index == index)
			return &ns->vxlans.l[i];
	return NULL;
}

static void
mtu_lower(struct path *p, uint32_t mtu)
{
	if (mtu && (!p->e.mtu || mtu < p->e.mtu))
		p->e.mtu = mtu > UINT16_MAX ? UINT16_MAX : (uint16_t)mtu;
}

/* The MAC of the next hop. -EAGAIN: the kernel does not know it, and can be made to ask. */
static int
hop_find(struct netspace *ns, const struct nl_link *l, const struct nl_route *r, struct path *p)
{
	struct nl_neigh n = {{0}, false};
	int rc = nl_neigh(ns, l->index, r->next_hop, &n);

	if (p->num_hops == HOPS_MAX)
		return -ENOENT;
	p->hop[p->num_hops].ns = ns;
	p->hop[p->num_hops].ifindex = l->index;
	memcpy(p->hop[p->num_hops].addr, r->next_hop, 16);
	memcpy(p->hop[p->num_hops].mac, n.mac, 6);
	p->hop[p->num_hops].probe = rc || !n.fresh;
	p->num_hops++;
	memcpy(p->e.mac, n.mac, 6);
	return rc == -ENOENT ? -EAGAIN : rc;
}

/*
 * A MAC that is known, but not where it is: the entry has aged, or nothing has come from there yet.
 * The kernel would flood; an answer to what it floods makes it learn.
 */
static int
hop_unplaced(struct path *p)
{
	p->hop[p->num_hops - 1].probe = true;
	return -EAGAIN;
}

static int
by_vxlan(struct netspace *host, const struct nl_link *v, struct path *p)
{
	int rc;

	if (v->vxlan_any)
		return -ENOENT;
	p->e.vni = v->vni;
	rc = nl_fdb_host(host, v->index, p->e.mac, p->e.host, &p->e.vni);
	if (rc)
		return rc;
	p->e.vxlan = true;
	p->e.state = FF_OVERLAY_REMOTE;
	mtu_lower(p, v->mtu);
	return 0;
}

/* p->e.mac is behind a port of the bridge: of VXLAN, or of this host. */
static int
by_bridge(struct netspace *host, unsigned bridge, struct path *p)
{
	unsigned port = 0;
	int rc = nl_fdb_port(host, bridge, p->e.mac, &port);
	bool placed = !rc;

	if (rc && rc != -ENOENT)
		return rc;
	rc = -ENOENT; /* another port has it: a container of this host that Freeflow does not know
		       */
	for (unsigned i = 0; i < host->vxlans.num; i++) {
		const struct nl_link *v = &host->vxlans.l[i];

		if (v->master != bridge || (placed && v->index != port))
			continue;
		if (!by_vxlan(host, v, p))
			return 0;
		rc = hop_unplaced(p);
	}
	return rc;
}

static bool
bridge_has_vxlan(const struct netspace *ns, unsigned bridge)
{
	for (unsigned i = 0; i < ns->vxlans.num; i++)
		if (ns->vxlans.l[i].master == bridge)
			return true;
	return false;
}

/*
 * The way by the underlay ends at the next hop r on l. Routes name a bridge or bond, while a port
 * beside the kernel is on what lies below it: on a bridge the next hop's MAC tells which.
 */
static void
by_underlay(struct netspace *host, const struct nl_link *l, const struct nl_route *r,
	    struct path *p)
{
	static const char *const above[] = {"bond", "team", "openvswitch", "macvlan", "ipvlan"};
	unsigned port = 0;

	memcpy(p->e.host, r->next_hop, 16);
	p->e.state = FF_OVERLAY_REMOTE;
	p->e.ifindex = l->index;
	for (unsigned i = 0; i < sizeof(above) / sizeof(above[0]); i++)
		if (!strcmp(l->kind, above[i]))
			p->e.ifindex = FF_OVERLAY_IFINDEX_ANY;
	if (!strcmp(l->kind, "bridge"))
		p->e.ifindex = nl_fdb_port(host, l->index, p->e.mac, &port) ? FF_OVERLAY_IFINDEX_ANY
									    : port;
}

/*
 * The host routes it. A container's packets leave by a gateway only: what is on the host's own
 * links is a host, not a container. The default route leads out of the overlay.
 */
static int
by_route(struct netspace *host, const uint8_t gid[16], bool from_host, struct path *p)
{
	const struct nl_link *v;
	struct nl_route r;
	struct nl_link l;
	int rc = nl_route(host, gid, &r);

	if (!rc)
		rc = nl_route_prefix(host, gid);
	if (rc <= 0)
		return rc ? rc : -ENOENT;
	rc = nl_link(host, r.oif, &l);
	if (rc)
		return rc;
	mtu_lower(p, r.mtu ? r.mtu : l.mtu);
	v = vxlan_find(host, l.index);
	if (!v && !bridge_has_vxlan(host, l.index) && !r.gateway && !from_host)
		return -ENOENT;
	rc = hop_find(host, &l, &r, p);
	if (rc)
		return rc;
	if (v) {
		rc = by_vxlan(host, v, p);
		return rc == -ENOENT ? hop_unplaced(p) : rc;
	}
	if (bridge_has_vxlan(host, l.index))
		return by_bridge(host, l.index, p);
	by_underlay(host, &l, &r, p);
	return 0;
}

/* The other end of the container's veth, if it is in host. Both ends must name each other. */
static int
host_end(struct netspace *host, struct netspace *from, const struct nl_link *l, struct nl_link *out)
{
	int nsid, rc;

	if (!l->peer || l->peer_nsid < 0)
		return -ENOENT;
	rc = nl_nsid(host, from->ns_fd, &nsid);
	if (!rc)
		rc = nl_link(host, l->peer, out);
	if (rc)
		return rc;
	return out->peer == l->index && out->peer_nsid == nsid ? 0 : -ENOENT;
}

/*
 * The container is on a bridge of ns: Ethernet leads to the next hop, unless that is the host. A
 * namespace between the two routes nothing.
 */
static int
from_bridge(struct netspace *ns, const struct nl_link *end, const uint8_t gid[16], struct path *p)
{
	struct nl_link bridge;
	int rc = nl_link(ns, end->master, &bridge);

	if (rc)
		return rc;
	if (strcmp(bridge.kind, "bridge") != 0)
		return -ENOENT;
	if (!memcmp(bridge.mac, p->e.mac, 6))
		return ns->transit ? -ENOENT : by_route(ns, gid, false, p);
	return by_bridge(ns, bridge.index, p);
}

/* Where the other end of the container's veth is: *ns, which is the host's namespace at first. */
static int
end_find(struct netspace **ns, struct netspace *from, const struct nl_link *l, struct nl_link *end)
{
	struct netspace *between;
	int rc = host_end(*ns, from, l, end);

	if (rc != -ENOENT || !l->peer || l->peer_nsid < 0)
		return rc;
	between = transit_find(from, l->peer_nsid);
	if (!between)
		return rc;
	*ns = between;
	rc = vxlans_read(between);
	if (!rc)
		rc = host_end(between, from, l, end);
	return rc || end->master ? rc : -ENOENT;
}

int
path_find(struct netspace *host, struct netspace *from, const uint8_t gid[16], struct path *p)
{
	struct netspace *ns = host;
	struct nl_link l, end;
	struct nl_route r;
	int rc;

	memset(p, 0, sizeof(*p));
	rc = vxlans_read(host);
	if (rc)
		return rc;
	if (from == host)
		return by_route(host, gid, true, p);
	rc = nl_route(from, gid, &r);
	if (!rc)
		rc = nl_link(from, r.oif, &l);
	if (!rc)
		rc = end_find(&ns, from, &l, &end);
	if (rc)
		return rc;
	mtu_lower(p, r.mtu ? r.mtu : l.mtu);
	/* A veth that is no bridge's port: the host is the router, whatever its address there. */
	if (!end.master)
		return by_route(host, gid, false, p);
	rc = hop_find(from, &l, &r, p);
	return rc ? rc : from_bridge(ns, &end, gid, p);
}

int
path_find_host(struct netspace *host, const uint8_t addr[16], struct path *p)
{
	struct nl_route r;
	struct nl_link l;
	int rc = nl_route(host, addr, &r);

	memset(p, 0, sizeof(*p));
	if (!rc)
		rc = nl_link(host, r.oif, &l);
	if (!rc)
		rc = hop_find(host, &l, &r, p);
	if (rc)
		return rc;
	mtu_lower(p, r.mtu ? r.mtu : l.mtu);
	by_underlay(host, &l, &r, p);
	return 0;
}
