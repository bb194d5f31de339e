/* SPDX-License-Identifier: MIT */
/*
 * The kernel provider's files: netlink in a namespace (kernel_nl.c), what one address's way is
 * (kernel_path.c, kernel_transit.c), requests and when to look at them again (kernel.c). Control
 * thread.
 */
#ifndef FF_OVERLAY_KERNEL_PRIV_H
#define FF_OVERLAY_KERNEL_PRIV_H

#include <net/if.h>
#include <sys/queue.h>
#include <sys/types.h>

#include "../core/loop.h"
#include "overlay.h"

/* ---- a network namespace (kernel_ns.c) ---- */

struct request;
TAILQ_HEAD(request_list, request);

struct nl_link;
/* The VXLAN devices of a namespace: read anew when a link has changed. */
struct vxlan_list {
	struct nl_link *l;
	unsigned num;
	bool known;
};

/* Its sockets keep it alive: those of a container must go when nobody asks from it any more. */
struct netspace {
	dev_t dev;
	ino_t ino;
	int ns_fd;	 /* own; the host's: -1 */
	int query_fd;	 /* requests; the kernel answers each at once */
	int notify_fd;	 /* changes */
	int probe_fd[2]; /* UDP, IPv4 and IPv6; -1: that family is not there */
	uint32_t seq;
	struct ff_source src; /* notify_fd; kernel.c's, as are the following */
	struct request_list idle, due;
	bool changed;
	uint64_t renewed_ns;
	TAILQ_ENTRY(netspace) link;
	struct vxlan_list vxlans; /* kernel_path.c's */
	/* kernel_transit.c's. */
	bool transit;
	uint64_t used_ns;    /* transit: a way last led through it */
	uint64_t scanned_ns; /* a container's: transits were last looked for */
	TAILQ_ENTRY(netspace) transit_link;
};

/* fd: of the namespace, -1 for our own. 0 or -errno. Links and lists are the caller's. */
int netspace_open(struct netspace *ns, int fd);
void netspace_close(struct netspace *ns);
/* Which namespace fd is, or our own (-1). */
int netspace_identity(int fd, dev_t *dev, ino_t *ino);
/*
 * Makes the kernel find, or confirm, the neighbour: a datagram to its discard port (RFC 863).
 * Nothing is said of what becomes of it: the neighbour table is.
 */
void netspace_probe(struct netspace *ns, const uint8_t addr[16], unsigned ifindex);

/* ---- questions to the kernel (kernel_nl.c). 0, -ENOENT: there is none, or another -errno ---- */

struct nl_link {
	unsigned index, master;
	unsigned peer;	/* veth: index of the other end, 0: none */
	int peer_nsid;	/* where that is, as this namespace numbers others; -1: here */
	unsigned flags; /* IFF_* */
	uint32_t mtu;
	uint8_t mac[6];
	char kind[16];	/* "bridge", "veth", "vxlan"; "" for hardware */
	bool vxlan_any; /* its VNIs are those of its FDB entries or of tunnel metadata */
	uint32_t vni;
};
int nl_link(struct netspace *ns, unsigned index, struct nl_link *out);
/* All of kind vxlan, up to max; returns their number or -errno. */
int nl_vxlans(struct netspace *ns, struct nl_link *out, unsigned max);

struct nl_route {
	unsigned oif;
	bool gateway;
	uint8_t next_hop[16]; /* the gateway, else the address itself; IPv4 as ::ffff:a.b.c.d */
	uint32_t mtu;	      /* of the route, or as path MTU discovery knows it; 0: the link's */
};
/* -ENOENT also for what is local, unreachable, blackholed or multicast. */
int nl_route(struct netspace *ns, const uint8_t addr[16], struct nl_route *out);
/* Length of the prefix that the route is for (IPv4: 0 to 32), or -errno. */
int nl_route_prefix(struct netspace *ns, const uint8_t addr[16]);

struct nl_neigh {
	uint8_t mac[6];
	bool fresh; /* confirmed lately, or static; else the kernel would ask before long */
};
/* -ENOENT: not there, not resolved yet, or failed. */
int nl_neigh(struct netspace *ns, unsigned ifindex, const uint8_t addr[16], struct nl_neigh *out);
/* Behind which port of the bridge is mac? */
int nl_fdb_port(struct netspace *ns, unsigned bridge, const uint8_t mac[6], unsigned *port);
/* Behind which host is mac? vni: as the entry says, else untouched. */
int nl_fdb_host(struct netspace *ns, unsigned vxlan, const uint8_t mac[6], uint8_t host[16],
		uint32_t *vni);
/* The number under which ns knows the namespace of fd. */
int nl_nsid(struct netspace *ns, int fd, int *nsid);

/* What a notification is about. */
enum nl_change {
	NL_OTHER,     /* routes, or not to be told: anything may have changed */
	NL_LINK,      /* so may the list of VXLAN devices */
	NL_NEIGHBOUR, /* addr */
	NL_FDB,	      /* mac */
};
/* Calls fn for each message in the buffer. */
void nl_changes(const void *buf, size_t len,
		void (*fn)(enum nl_change what, const uint8_t *id, void *arg), void *arg);

/* ---- the way to an address (kernel_path.c) ---- */

#define HOPS_MAX 2u
/*
 * What was found, and what it depends on: a next hop in the container's namespace and one in the
 * host's. Known as far as the search came.
 */
struct path {
	struct ff_overlay_entry e; /* if found */
	unsigned num_hops;
	struct {
		struct netspace *ns;
		unsigned ifindex;
		uint8_t addr[16];
		uint8_t mac[6]; /* all zeroes: not known */
		bool probe;	/* not known, or not confirmed lately */
	} hop[HOPS_MAX];
};
/*
 * 0, -EAGAIN: the kernel must find the last hop first (netspace_probe), -ENOENT: nobody has it.
 * host: the namespace of the underlay, from: that of the container, or host.
 */
int path_find(struct netspace *host, struct netspace *from, const uint8_t gid[16],
	      struct path *out);
/* The next hop to a host of the underlay: FF_OVERLAY_UNDERLAY. Same results. */
int path_find_host(struct netspace *host, const uint8_t addr[16], struct path *out);
/* VXLAN devices of ns came, went or changed; or ns goes. */
void path_links_changed(struct netspace *ns);
void path_links_free(struct netspace *ns);

/*
 * ---- namespaces between containers and the host (kernel_transit.c) ----
 *
 * Docker keeps the bridge and the VXLAN device of each overlay network in a namespace of its own,
 * which it names in /run/docker/netns: N-NETWORK. What is in those, containers cannot change. Other
 * names there are those of containers' own namespaces, and are left alone.
 */

/* Where the namespaces are that may be such; NULL: DOCKER_NETNS. Before the provider's init. */
void transit_dir_set(const char *dir);
/* The one that from knows by the number nsid, or NULL. It stays until it is not used any more. */
struct netspace *transit_find(struct netspace *from, int nsid);
/* Lets go of those that nothing has led through for idle_ns. */
void transits_release(uint64_t idle_ns);
/* kernel.c's: another namespace whose changes concern everybody; NULL: it cannot be followed. */
struct netspace *netspace_transit(int fd);
void netspace_transit_end(struct netspace *ns);

/* ---- an address that is followed (kernel_request.c) ---- */

enum request_state {
	REQUEST_NONE,	 /* nobody has it; also: not looked for yet */
	REQUEST_WAITING, /* the kernel is asking; a former answer stands until PATIENCE is over */
	REQUEST_FOUND,
};

struct request {
	uint32_t tenant;
	uint8_t gid[16];
	struct netspace *ns;
	enum request_state state;
	bool due;				 /* in ns->due, else in ns->idle */
	bool asked;				 /* since the last look */
	uint64_t looked_ns, probed_ns, moved_ns; /* 0: never */
	uint64_t relook_ns, deadline_ns;	 /* REQUEST_WAITING */
	/* What it depends on, as of the last look. */
	unsigned num_hops;
	struct {
		uint8_t addr[16], mac[6];
	} hop[HOPS_MAX];
	TAILQ_ENTRY(request) link, wait;
};

/* NULL: there is none; no memory. */
struct request *request_find(uint32_t tenant, const uint8_t gid[16]);
struct request *request_any(void);
struct request *request_new(uint32_t tenant, const uint8_t gid[16], struct netspace *ns);
void request_free(struct request *r);
void request_move(struct request *r, struct netspace *ns);
/* To be looked at before long. */
void request_due(struct request *r);
/* Looks for the way; answers, or makes the kernel ask. */
void request_look(struct request *r, struct netspace *host, uint64_t now);
/* Makes due those of ns that depend on the neighbour or FDB entry. */
void requests_changed(struct netspace *ns, enum nl_change what, const uint8_t *id);
/* Makes due those that have waited for a notification long enough. */
void requests_wake(uint64_t now);
bool requests_waiting(void);

#endif
