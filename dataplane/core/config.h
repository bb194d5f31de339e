/* SPDX-License-Identifier: MIT */
/* The configuration file (JSON, conf/freeflowd.schema.json): read on the control thread, then
 * constant. */
#ifndef FF_CORE_CONFIG_H
#define FF_CORE_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "log.h"
#include "worker.h"

#define FF_ID_LEN 64u /* container, tenant and instance names, '\0' included: [A-Za-z0-9_.-]+ */

/* Per container; 0 in "limits" of a container means the default of the top level. */
struct ff_limits {
	uint32_t processes, contexts, pds, mrs, mws, cqs, qps, srqs, ahs, mcast;
	uint32_t streams; /* TCP: that wait for a faster way or are being handed over */
	uint32_t qp_wr, cq_entries, sge;
	uint64_t pinned_bytes; /* default: the machine's memory */
};

#define FF_VNI_MAX	       0xffffffu
#define FF_CONF_TENANTS_MAX    4096u /* FF_TENANTS_MAX of channel/container.h */
#define FF_CONF_CONTAINERS_MAX 16384u
#define FF_TENANT_WEIGHT       100u
struct ff_tenant_conf {
	char name[FF_ID_LEN];
	uint32_t weight; /* share of a worker under contention; 1 to 1000, default 100 */
	uint32_t vni;	 /* its VXLAN between hosts; 0: wire.vni for "default", none for others */
};

/* The way to other hosts: RoCEv2 over a port (net/port.h). */
#define FF_DEVICE_MAX 256u
/* Do containers get faster ways for their TCP connections: inside the host, and between hosts? */
enum ff_streams { FF_STREAMS_OFF, FF_STREAMS_LOCAL, FF_STREAMS_HOST };

enum ff_wire_port { FF_WIRE_UDP, FF_WIRE_ETHDEV };
enum ff_wire_encap { FF_WIRE_VXLAN, FF_WIRE_NONE };
struct ff_wire_conf {
	enum ff_wire_port port; /* default: udp */
	uint32_t udp_port;	/* of VXLAN; 0, the default: with port udp, there is no way */
	uint32_t vni;		/* of the tenant "default"; default 4096 */
	char address[46];	/* own underlay address; "": any */
	/* Of port ethdev alone. */
	char device[FF_DEVICE_MAX]; /* as EAL's --vdev, or a PCI address */
	enum ff_wire_encap encap;   /* default: vxlan */
	uint8_t next_hop[6]; /* MAC, for devices without a kernel beside; zeroes: broadcast */
};

/* Who says on which host an address is, in the order in which they are asked. */
#define FF_CONF_OVERLAY_KINDS 2u
enum ff_overlay_kind { FF_CONF_OVERLAY_STATIC, FF_CONF_OVERLAY_KERNEL };
enum ff_overlay_encap { FF_OVERLAY_VXLAN, FF_OVERLAY_PLAIN };
/* The addresses that a host has, as the static provider says. */
struct ff_overlay_prefix {
	char tenant[FF_ID_LEN]; /* "": every tenant */
	uint8_t addr[16];	/* IPv4 as ::ffff:a.b.c.d */
	unsigned len;		/* of 128 bits */
	bool v4;
	enum ff_overlay_encap encap;
	uint32_t mtu; /* 0: not said */
	uint8_t host[16], mac[6];
	unsigned index; /* in the configuration */
};
struct ff_overlay_conf {
	struct ff_overlay_prefix *statics; /* sorted by ff_overlay_prefix_compare() */
	unsigned num_statics;
	unsigned num_providers; /* default: both, static first */
	enum ff_overlay_kind providers[FF_CONF_OVERLAY_KINDS];
};

#define FF_CONF_ADDRS 8u
struct ff_container_conf {
	char id[FF_ID_LEN];
	char tenant[FF_ID_LEN];		   /* default "default" */
	char addresses[FF_CONF_ADDRS][46]; /* text; empty slots at the end */
	unsigned num_addresses;		   /* 0: the addresses of netns, followed as they change */
	char netns[256];		   /* path of a network namespace; "" : none */
	struct ff_limits limits;
};

#define FF_CONF_LOG_COMPONENTS 16u
struct ff_log_conf {
	char component[16];
	enum ff_log_level level;
};

enum ff_hugepages { FF_HUGE_AUTO, FF_HUGE_REQUIRE, FF_HUGE_NEVER };

/*
 * run_dir begins the paths of unix sockets, for which the kernel has 107 bytes; the longest that
 * has no name in it is <run_dir>/dpdk/ff/dpdk_telemetry.v2.
 */
#define FF_RUN_DIR_MAX 80u

struct ff_config {
	char name[FF_ID_LEN]; /* instance, for people; default "freeflow" */
	char run_dir[192];    /* default /run/freeflow */
	char shim_path[256];  /* libfreeflow.so that containers get; default: installed one */
	enum ff_log_level log_level;
	struct ff_log_conf log_components[FF_CONF_LOG_COMPONENTS]; /* levels of their own */
	unsigned num_log_components;
	unsigned num_workers;	   /* default 1 */
	int cores[FF_WORKERS_MAX]; /* -1: wherever the kernel puts it */
	enum ff_idle_policy idle;  /* default: interrupt when fewer than 4 CPUs, else poll */
	unsigned spin_us;	   /* adaptive; default 50 */
	int priority;		   /* SCHED_FIFO of sleeping policies, 0: none; default 10 */
	enum ff_hugepages hugepages;
	unsigned memory_mb; /* EAL memory; default 64 */
	struct ff_wire_conf wire;
	enum ff_streams streams; /* default: off */
	/* Between hosts: routers' port (default 47911), and the file with what they all know. */
	uint32_t tcp_port;
	char tcp_secret[256];
	struct ff_overlay_conf overlay;
	struct ff_limits limits;
	struct ff_tenant_conf *tenants;
	unsigned num_tenants;
	struct ff_container_conf *containers;
	unsigned num_containers;
};

/* The one that runs. Control thread; fields read elsewhere are copied at start. */
extern struct ff_config ff_config;

void ff_config_defaults(struct ff_config *c);
/*
 * Reads and checks path; an empty file gives the defaults. Every fault is written to err, one line
 * each: "PATH: what is wrong" (JSON path such as workers.count). Returns 0, or -EINVAL with *c
 * untouched, or -errno.
 */
int ff_config_load(const char *path, struct ff_config *c, FILE *err);
/* The same from memory; text[len] is '\0'. */
int ff_config_parse(const char *text, size_t len, struct ff_config *c, FILE *err);
void ff_config_log_apply(const struct ff_config *c);
void ff_config_free(struct ff_config *c);
/*
 * For qsort() and bsearch(): longest first; IPv4 before IPv6, which has no part in ::ffff:0:0/96
 * even with ::/0.
 */
int ff_overlay_prefix_compare(const void *a, const void *b);
/* Clears what lies behind the first len bits. Returns whether any was set. */
bool ff_overlay_prefix_mask(uint8_t raw[16], unsigned len);
/* The VNI of the tenant between hosts; 0: it has none. */
uint32_t ff_config_vni(const struct ff_config *c, const char *tenant);
/*
 * One container object, as "containers" holds them and the admin socket takes them: json is a
 * json_t *, path goes in front of the JSON paths in err. 0 or -EINVAL. An absent limit is 0.
 */
int ff_config_container_parse(const void *json, const char *path, struct ff_container_conf *out,
			      FILE *err);

#endif
