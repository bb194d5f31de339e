/* SPDX-License-Identifier: MIT */
/*
 * The overlay resolver: on which host is a container's address, and how does a packet get there?
 * Providers find out (control thread); workers see only the cache.
 *   static  the configuration: address or prefix -> host
 *   kernel  what Flannel, Docker overlay, plain VXLAN, host-gw and flat L3 leave in the kernel:
 *           routes, neighbours, bridge FDB; changes are followed by netlink
 * Others (etcd, Flannel's leases) fit the same interface.
 */
#ifndef FF_OVERLAY_OVERLAY_H
#define FF_OVERLAY_OVERLAY_H

#include <stdbool.h>
#include <stdint.h>

#define FF_OVERLAY_PROVIDERS_MAX  8u
#define FF_OVERLAY_TENANTS_MAX	  4096u /* FF_TENANTS_MAX of channel/container.h */
/*
 * In place of a tenant's index: the underlay itself. An entry's mac is that of the next hop to the
 * host, as the kernel's routes and neighbours are, default route included; host is that next hop.
 */
#define FF_OVERLAY_UNDERLAY	  FF_OVERLAY_TENANTS_MAX
/*
 * Bounds of the cache; LOCAL entries do not count. A tenant that is at its bound loses an entry of
 * its own for each new one; when all is full, the tenant with the most does. Addresses that did not
 * answer go first, then those that nobody has looked up for longest.
 */
#define FF_OVERLAY_TENANT_ENTRIES 4096u
#define FF_OVERLAY_ENTRIES	  65536u
/* What no worker has looked up for one to two of these is forgotten; asking brings it back. */
#define FF_OVERLAY_IDLE_MS	  60000u

enum ff_overlay_state {
	FF_OVERLAY_UNKNOWN, /* asked for; not answered yet */
	FF_OVERLAY_LOCAL,   /* this host */
	FF_OVERLAY_REMOTE,
	FF_OVERLAY_NONE, /* nobody has it: as a host that does not answer */
};

/* What the cache says of one address. A copy; generation changes whenever any part does. */
struct ff_overlay_entry {
	enum ff_overlay_state state;
	uint32_t generation; /* 0: never asked for */
	uint8_t host[16];    /* underlay address; IPv4 as ::ffff:a.b.c.d */
	/*
	 * Inner Ethernet destination: the address's own, or its router's (Flannel: the VTEP's). No
	 * vxlan: of host, on the underlay. All zeroes: not known.
	 */
	uint8_t mac[6];
	bool vxlan; /* else straight on the underlay */
	uint32_t vni;
	/*
	 * No vxlan: the interface of this host by which mac is reached. 0: the configuration says
	 * what mac is.
	 */
	uint32_t ifindex;
	uint16_t mtu; /* of the overlay: longest inner IP packet; 0: not known */
};

/* In place of an interface: one of several, or which one is not to be seen. */
#define FF_OVERLAY_IFINDEX_ANY UINT32_MAX

/* Who asks: addresses are unique inside a tenant only. */
struct ff_overlay_scope {
	uint32_t tenant;	 /* index */
	const char *tenant_name; /* for the static provider; NULL: what holds for all tenants */
	int netns_fd; /* of the asking container, for the kernel provider; -1: the host's own */
};

struct ff_overlay_provider {
	const char *name;
	/* Control thread. conf is its part of the configuration, which outlives it, or NULL. */
	int (*init)(const void *conf);
	void (*fini)(void);
	/*
	 * Control thread: find gid, now or later; each result goes to ff_overlay_answer(). Returns
	 * 0 when it will answer, -ENOENT when it knows that it cannot (the next provider is asked).
	 * The scope is the caller's; a provider that needs netns_fd later keeps a copy.
	 */
	int (*resolve)(const struct ff_overlay_scope *scope, const uint8_t gid[16]);
	/* Control thread: the answer is no longer wanted. May be NULL; also for unknown ones. */
	void (*forget)(uint32_t tenant, const uint8_t gid[16]);
};

/*
 * Control thread; after ff_loop_init(), before workers start. Providers are asked in this order;
 * their init and fini are the caller's business. 0 or -errno.
 */
int ff_overlay_init(const struct ff_overlay_provider *const *providers, unsigned n);
void ff_overlay_fini(void); /* after workers have ended; before the providers' fini */
/*
 * Control thread: a provider's word on an address, also unasked. NULL entry: forget it. What is
 * LOCAL stays so until it is forgotten: an answer that was under way does not change it.
 */
void ff_overlay_answer(uint32_t tenant, const uint8_t gid[16], const struct ff_overlay_entry *e);
/*
 * Any worker, lock-free: what is known of gid in the tenant. UNKNOWN for what was never asked for:
 * then the caller posts a question to the control thread (ff_overlay_ask) and treats the address
 * as one that does not answer yet.
 */
void ff_overlay_lookup(uint32_t tenant, const uint8_t gid[16], struct ff_overlay_entry *out);
/*
 * Control thread: starts to resolve, or refreshes. 0 or -errno. Cheap when it is under way: ask
 * again whenever an address is NONE, or REMOTE and does not answer.
 */
int ff_overlay_ask(const struct ff_overlay_scope *scope, const uint8_t gid[16]);
/*
 * Control thread: the tenant is gone: its index may be given to another, who must not find its
 * entries. FF_OVERLAY_ALL: of all tenants; LOCAL entries stay, the others are asked for anew.
 */
#define FF_OVERLAY_ALL UINT32_MAX
void ff_overlay_flush(uint32_t tenant);

/*
 * Control thread: calls fn for each entry, with the time since which the cache says so. fn must not
 * change the cache. Harmless before ff_overlay_init().
 */
typedef void ff_overlay_visit(uint32_t tenant, const uint8_t gid[16],
			      const struct ff_overlay_entry *e, uint64_t age_ms, void *arg);
void ff_overlay_foreach(ff_overlay_visit *fn, void *arg);

extern const struct ff_overlay_provider ff_overlay_static, ff_overlay_kernel;

/*
 * Control thread; after ff_loop_init(), before workers start: the resolver with the providers of
 * the configuration. 0 or -errno; then nothing is left. ff_overlay_stop(): after workers have
 * ended; harmless when it is not up.
 */
struct ff_overlay_conf;
int ff_overlay_start(const struct ff_overlay_conf *conf);
void ff_overlay_stop(void);
/*
 * Control thread, after ff_overlay_start(): from now on, each host that an answer names is asked
 * for in FF_OVERLAY_UNDERLAY, before anybody needs it. 0 or -errno.
 */
int ff_overlay_follow_hosts(void);
/*
 * Control thread: another table for the static provider, if it is in use; the former one may be
 * freed then. Addresses of which it says the same keep their entries, generation included; others
 * get the new answer at once, or are asked for anew. name_of: the name of a tenant, as in struct
 * ff_overlay_scope.
 */
typedef const char *ff_overlay_tenant_name(uint32_t tenant);
void ff_overlay_static_set(const struct ff_overlay_conf *conf, ff_overlay_tenant_name *name_of);

#endif
