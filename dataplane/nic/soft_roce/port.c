/* SPDX-License-Identifier: MIT */
/*
 * The port of the configuration, what a path over it is made of, and the guards that keep the
 * kernel's stacks quiet in containers. Control thread, but for sroce_path().
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

#include "../../core/config.h"
#include "../../core/log.h"
#include "../../net/guard.h"
#include "../../overlay/overlay.h"
#include "sroce_priv.h"

/* A container with addresses: encap none has packets for UDP port 4791 routed to it. */
struct guard {
	const struct ff_container *c;
	unsigned addresses;
	int fd; /* -1: there is none */
	/* It is there, and the container may use the wire: its packets are the port's alone. */
	bool alone;
	LIST_ENTRY(guard) link;
};

static LIST_HEAD(, guard) guards = LIST_HEAD_INITIALIZER(guards);

/* Constant while workers run. */
static bool bare; /* encap none */
static uint32_t bare_vni;

/* ---- the port ---- */

static void
address_parse(const char *text, uint8_t out[16])
{
	memset(out, 0, 16);
	if (inet_pton(AF_INET6, text, out) == 1)
		return;
	if (inet_pton(AF_INET, text, out + 12) == 1)
		out[10] = out[11] = 0xff;
}

int
sroce_port_open(struct ff_port **port)
{
	const struct ff_wire_conf *w = &ff_config.wire;
	bool ethdev = w->port == FF_WIRE_ETHDEV;
	struct ff_port_conf conf = {.kind = ethdev ? "ethdev" : "udp",
				    .devargs = w->device,
				    .encap = w->encap == FF_WIRE_NONE ? FF_ENCAP_NONE
								      : FF_ENCAP_VXLAN,
				    .vni = w->vni,
				    .udp_port = (uint16_t)w->udp_port,
				    .num_queues = (uint16_t)ff_config.num_workers};
	int rc = 0;

	*port = NULL;
	if (!ethdev && !conf.udp_port)
		return 0;
	address_parse(w->address, conf.address);
	memcpy(conf.next_mac, w->next_hop, sizeof(conf.next_mac));
	bare = conf.encap == FF_ENCAP_NONE;
	bare_vni = conf.vni;
	*port = ff_port_open(&conf, &rc);
	if (!*port)
		ff_err("nic", "%s port: %s%s%s", conf.kind, w->device, ethdev ? ": " : "",
		       strerror(-rc));
	else if (bare)
		ff_info("nic", "%s: straight on the underlay, %u bytes", w->device,
			ff_port_mtu(*port));
	else
		ff_info("nic", "%s%sVXLAN on UDP port %u, %u bytes", w->device, ethdev ? ": " : "",
			conf.udp_port, ff_port_mtu(*port));
	return rc;
}

/* A neighbour on another link: its MAC says nothing on the port's. */
static bool
elsewhere(const struct ff_overlay_entry *e)
{
	unsigned own = ff_port_ifindex(sroce_port());

	return own && e->ifindex && e->ifindex != FF_OVERLAY_IFINDEX_ANY && e->ifindex != own;
}

static int
next_hop(const struct ff_overlay_entry *e, struct ff_path *path, enum sroce_drop *why)
{
	if (elsewhere(e)) {
		*why = SROCE_DROP_LINK;
		return -EHOSTUNREACH;
	}
	memcpy(path->next_mac, e->mac, sizeof(path->next_mac));
	return 0;
}

/* Nothing on a bare wire tells tenants apart: there is one that has it. */
int
sroce_path(const struct ff_container *c, const struct ff_overlay_entry *e, struct ff_path *path,
	   enum sroce_drop *why)
{
	struct ff_overlay_entry host = {.state = FF_OVERLAY_REMOTE};
	static const uint8_t unknown[6];

	*why = SROCE_DROP_PATH;
	*path = (struct ff_path){.vni = sroce_vni(c),
				 .mtu = e->mtu ? e->mtu : UINT16_MAX,
				 .encap = bare ? FF_ENCAP_NONE : FF_ENCAP_VXLAN,
				 .src_mac = {2}};
	memcpy(path->host, e->host, sizeof(path->host));
	memcpy(path->dst_mac, e->mac, sizeof(path->dst_mac));
	if (!path->vni || (bare && (e->vxlan || path->vni != bare_vni)))
		return -EHOSTUNREACH;
	/* The kernel's neighbours count beside it alone; those of the table always. */
	if (bare && memcmp(e->mac, unknown, sizeof(unknown)) &&
	    (!e->ifindex || ff_port_wants_mac(sroce_port())))
		return next_hop(e, path, why);
	if (!ff_port_wants_mac(sroce_port()))
		return 0;
	ff_overlay_lookup(FF_OVERLAY_UNDERLAY, e->host, &host);
	return host.state == FF_OVERLAY_REMOTE	  ? next_hop(&host, path, why)
	       : host.state == FF_OVERLAY_UNKNOWN ? -EAGAIN
						  : -EHOSTUNREACH;
}

/* ---- guards ---- */

static struct guard *
guard_find(const struct ff_container *c)
{
	struct guard *g;

	LIST_FOREACH(g, &guards, link)
	{
		if (g->c == c)
			return g;
	}
	return NULL;
}

static void
guard_free(struct guard *g)
{
	LIST_REMOVE(g, link);
	if (g->fd >= 0)
		close(g->fd);
	free(g);
}

static struct guard *
guard_make(const struct ff_container *c)
{
	struct guard *g = calloc(1, sizeof(*g));
	int netns = ff_container_netns(c);

	if (!g)
		return NULL;
	g->c = c;
	g->fd = netns < 0 ? -ENOENT : ff_guard_open(netns, ROCE_UDP_PORT);
	/* Nothing but the kernel's ICMP messages depends on it; a peer may take them for its own.
	 */
	if (g->fd < 0)
		ff_warn("nic",
			"container %s: UDP port %u in its namespace: %s: it will answer that "
			"nobody is there",
			c->id, ROCE_UDP_PORT, strerror(-g->fd));
	g->alone = g->fd >= 0 && sroce_vni(c) == bare_vni;
	LIST_INSERT_HEAD(&guards, g, link);
	return g;
}

void
sroce_guard(const struct ff_container *c, const uint8_t address[16], bool here)
{
	struct guard *g = guard_find(c);

	if (!bare || (!g && !here))
		return;
	if (!g)
		g = guard_make(c);
	if (!g)
		return;
	if (g->alone)
		ff_port_address(sroce_port(), address, here);
	g->addresses += here ? 1u : -1u;
	if (!g->addresses)
		guard_free(g);
}

void
sroce_guards_close(void)
{
	while (!LIST_EMPTY(&guards))
		guard_free(LIST_FIRST(&guards)); /* NOLINT(clang-analyzer-unix.Malloc): it leaves */
}
