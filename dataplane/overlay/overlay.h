/* SPDX-License-Identifier: MIT */
/*
 * The overlay resolver: on which host is a container's address, and how does a packet get there?
 * Providers find out (control thread); workers see only the cache.
 *   static  the configuration: address or prefix -> host
 *   kernel  what Flannel, plain VXLAN, host-gw and flat L3 leave in the kernel: routes, neighbours,
 *           bridge FDB; changes are followed by netlink
 * Others (etcd, Flannel's leases) fit the same interface.
 */
#ifndef FF_OVERLAY_OVERLAY_H
#define FF_OVERLAY_OVERLAY_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define FF_OVERLAY_PROVIDERS_MAX  8u
#define FF_OVERLAY_TENANTS_MAX	  4096u /* FF_TENANTS_MAX of channel/container.h */
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
	uint16_t mtu; /* of the overlay: longest inner IP packet; 0: not known */
};

/* Who asks: addresses are unique inside a tenant only. */
struct ff_overlay_scope {
	uint32_t tenant;	 /* index */
	const char *tenant_name; /* for the static provider; NULL: what holds for all tenants */
	int netns_fd; /* of the asking container, for the kernel provider; -1: the host's own */
};

struct ff_overlay_provider {
	const char *name;
	/* Control thread. conf is the provider's part of the configuration (json_t *), or NULL. */
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
 * entries. FF_OVERLAY_ALL: the configuration has changed; LOCAL entries stay, the others are asked
 * for anew.
 */
#define FF_OVERLAY_ALL UINT32_MAX
void ff_overlay_flush(uint32_t tenant);

extern const struct ff_overlay_provider ff_overlay_static, ff_overlay_kernel;

/*
 * The static provider's configuration, checked: json is a json_t *, path goes in front of the JSON
 * paths in err. 0 or -EINVAL, with each fault in err, "PATH: what is wrong". An array of
 *   {"prefix": "10.32.1.0/24" or an address, "host": underlay address, "encap": "vxlan" (default)
 *    or "none", "vni": with vxlan, "mac": optional, "mtu": optional, "tenant": name, optional}
 * The longest prefix wins; of equal ones, that of the tenant. init() may be called again with
 * another array: ff_overlay_flush(FF_OVERLAY_ALL) then makes it count.
 */
int ff_overlay_static_check(const void *json, const char *path, FILE *err);

#endif
