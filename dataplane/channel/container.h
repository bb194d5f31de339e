/* SPDX-License-Identifier: MIT */
/*
 * Containers and tenants: identity, addresses, quotas, counters. Written by the control thread;
 * workers read the fields marked so, and free only after ff_workers_synchronize().
 */
#ifndef FF_CHANNEL_CONTAINER_H
#define FF_CHANNEL_CONTAINER_H

#include <netinet/in.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "../core/config.h"

#define FF_GIDS_MAX 16u

struct ff_tenant {
	char name[FF_ID_LEN];
	uint32_t index;	 /* small, unique; for per-worker scheduler arrays. Workers read. */
	uint32_t weight; /* workers read */
	uint32_t vni;	 /* 0: no way to other hosts. Workers read */
	uint32_t refs;
	bool confined_told; /* the log has said that it has no VNI */
	TAILQ_ENTRY(ff_tenant) link;
};
#define FF_TENANTS_MAX 4096u

struct ff_gid_entry {
	uint8_t raw[16]; /* network order; IPv4 as ::ffff:a.b.c.d */
	char ndev[16];	 /* interface in the container, "" when not known */
	bool valid;
};

/* What a container holds, against its limits. Control thread. */
enum ff_quota {
	FF_QUOTA_PROCESSES,
	FF_QUOTA_CONTEXTS,
	FF_QUOTA_PDS,
	FF_QUOTA_MRS,
	FF_QUOTA_MWS,
	FF_QUOTA_CQS,
	FF_QUOTA_QPS,
	FF_QUOTA_SRQS,
	FF_QUOTA_AHS,
	FF_QUOTA_MCAST,
	FF_QUOTA_STREAMS,
	FF_QUOTA_PINNED,
	FF_QUOTA_MAX,
};

/* Counters that several threads add to: relaxed atomics, off the per-message path. */
enum ff_container_counter {
	FF_CC_COMMANDS,
	FF_CC_COMMAND_ERRORS,
	FF_CC_QUOTA_REFUSED,
	FF_CC_POLICY_REFUSED,
	FF_CC_DETACHED,	     /* channels cut off because they broke the ABI */
	FF_CC_MR_SHARED,     /* segments by way (design.md 6): already shared memfd */
	FF_CC_MR_CONVERTED,  /* converted private memory */
	FF_CC_MR_PROCESS_VM, /* process_vm_readv/writev */
	FF_CC_PROCESS_VM_CALLS,
	FF_CC_PROCESS_VM_BYTES,
	FF_CC_PROCESS_VM_ERRORS,
	FF_CC_TCP_ASKED,   /* streams: a shim wants a faster way for one that it has */
	FF_CC_TCP_REFUSED, /* there is none: not a container's of this host, ... */
	FF_CC_TCP_OFFERED, /* both ends had asked */
	FF_CC_TCP_PAIRED,  /* of those, as the shim says: an end of the pair carries the bytes */
	FF_CC_TCP_FIFO,	   /* FIFOs do */
	FF_CC_TCP_HOST,	   /* a connection of the hosts' network does */
	FF_CC_MAX,
};
extern const char *const ff_container_counter_names[FF_CC_MAX];

struct ff_channel;
struct ff_procmem;

struct ff_container {
	char id[FF_ID_LEN];
	struct ff_tenant *tenant;
	struct ff_container_conf conf;
	/* GID table, slot order is stable. Workers read an entry after gid_gen (acquire). */
	struct ff_gid_entry gids[FF_GIDS_MAX];
	_Atomic uint32_t gid_gen;
	/* The least MTU of the interfaces that have its addresses; 0: not known. Any thread. */
	_Atomic uint32_t link_mtu;
	uint64_t limits[FF_QUOTA_MAX];
	uint64_t used[FF_QUOTA_MAX];
	_Atomic uint64_t counters[FF_CC_MAX];
	uint8_t guid[8];	    /* node_guid of its device, network order; constant */
	struct ff_procmem *procmem; /* its copier thread, made on demand (verbs/procmem.h) */
	TAILQ_HEAD(, ff_channel) channels;
	TAILQ_ENTRY(ff_container) link;
	bool removing;
	void *service; /* of struct ff_container_service */
	void *priv;    /* channel/container.c: sockets, directories, netlink */
};

/* Takes amount of quota q; -ENOMEM and a counter when it would be over. */
int ff_quota_take(struct ff_container *c, enum ff_quota q, uint64_t amount);
void ff_quota_give(struct ff_container *c, enum ff_quota q, uint64_t amount);
static inline void
ff_container_count(struct ff_container *c, enum ff_container_counter n, uint64_t by)
{
	atomic_fetch_add_explicit(&c->counters[n], by, memory_order_relaxed);
}

/*
 * One more listening socket in each container's directory, for a part that this one knows nothing
 * of. Set before ff_containers_init(). Control thread.
 */
struct ff_container_service {
	const char *socket;
	/* Takes over listen_fd, on which nobody has looked yet; sets c->service. 0 or -errno. */
	int (*start)(struct ff_container *c, int listen_fd);
	/*
	 * Nothing may be left that knows c. Also after a start that failed. removed: the container
	 * goes; else freeflowd does, and may come back.
	 */
	void (*stop)(struct ff_container *c, bool removed);
	/* A container of a former run, with that guid, is not there any more. */
	void (*gone)(const uint8_t guid[8]);
};
void ff_container_service_set(const struct ff_container_service *s);
/*
 * SO_PASSRIGHTS, Linux 6.16: whoever sends descriptors to fd, or to what a listening fd accepts, is
 * refused. Older kernels close them for a receiver that has no room for them.
 */
void ff_rights_refuse(int fd);

int ff_containers_init(void); /* tenants and containers of ff_config */
void ff_containers_fini(void);
/* Makes directory, sockets, sysfs view; reads addresses. Writes the reason of a failure to err. */
int ff_container_add(const struct ff_container_conf *conf, char *err, size_t err_len);
/* Detaches every channel of it, removes the directory. -ENOENT. */
int ff_container_del(const char *id);
struct ff_container *ff_container_find(const char *id);
void ff_container_foreach(void (*fn)(struct ff_container *c, void *arg), void *arg);
struct ff_tenant *ff_tenant_get(const char *name); /* takes a reference, makes it if need be */
void ff_tenant_put(struct ff_tenant *t);
const struct ff_tenant *ff_tenant_by_index(uint32_t index); /* NULL: there is none */

/*
 * Control thread, when a QP is destroyed (after ff_workers_synchronize()): its counters go on in
 * the port's totals of the sysfs view.
 */
struct ff_qp;
void ff_container_qp_retired(struct ff_container *c, const struct ff_qp *qp);
/* Control thread: sums of the counters of all its QPs, also of those that are gone. */
void ff_container_qp_totals(struct ff_container *c, uint64_t *totals /* FF_QC_MAX */);
/*
 * Control thread, after ff_config has changed (SIGHUP): the limits that the container itself sets
 * (0: the top level's); NULL: as before, with the new ones of the top level. What it holds over
 * a limit stays.
 */
void ff_container_limits_set(struct ff_container *c, const struct ff_limits *own);
void ff_tenants_update(void); /* the same for weights and VNIs of all tenants */

/* True if gid is one of c's addresses. Any thread. */
bool ff_container_has_gid(const struct ff_container *c, const uint8_t gid[16]);
/* The container of that tenant on this host with that address, or NULL. Control thread. */
struct ff_container *ff_container_by_gid(const struct ff_tenant *t, const uint8_t gid[16]);
/* Control thread: the network namespace that it is followed in, -1: none. Ours, not to be closed.
 */
int ff_container_netns(const struct ff_container *c);
/* Its SO_NETNS_COOKIE; 0: it is not followed, or the kernel is older than 5.14. Control thread. */
uint64_t ff_container_netns_cookie(const struct ff_container *c);
/* May a talk to b? Same tenant and policy. Any thread. */
bool ff_policy_allows(const struct ff_container *a, const struct ff_container *b);

#endif
