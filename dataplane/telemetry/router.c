/* SPDX-License-Identifier: MIT */
/* Records of containers, processes, workers and sums. Control thread. */
#include <stdio.h>
#include <string.h>

#include "telemetry_priv.h"

static const char *const quota_names[FF_QUOTA_MAX] = {
	[FF_QUOTA_PROCESSES] = "processes",
	[FF_QUOTA_CONTEXTS] = "contexts",
	[FF_QUOTA_PDS] = "pds",
	[FF_QUOTA_MRS] = "mrs",
	[FF_QUOTA_MWS] = "mws",
	[FF_QUOTA_CQS] = "cqs",
	[FF_QUOTA_QPS] = "qps",
	[FF_QUOTA_SRQS] = "srqs",
	[FF_QUOTA_AHS] = "ahs",
	[FF_QUOTA_MCAST] = "mcast",
	[FF_QUOTA_STREAMS] = "streams",
	[FF_QUOTA_PINNED] = "pinned_bytes",
};

static const char *const obj_names[FF_OBJ_MAX] = {
	[FF_OBJ_PD] = "pds", [FF_OBJ_MR] = "mrs",   [FF_OBJ_MW] = "mws", [FF_OBJ_CQ] = "cqs",
	[FF_OBJ_QP] = "qps", [FF_OBJ_SRQ] = "srqs", [FF_OBJ_AH] = "ahs",
};

static void
container_addresses(struct tel_obj *o, const struct ff_container *c)
{
	struct tel_obj addresses = tel_obj_new();
	char slot[16];
	unsigned i;

	for (i = 0; i < FF_GIDS_MAX; i++) {
		if (!READ(c->gids[i].valid))
			continue;
		snprintf(slot, sizeof(slot), "%u", i);
		tel_address(&addresses, slot, c->gids[i].raw);
	}
	tel_obj(o, "addresses", &addresses);
}

static void
counters_load(struct ff_container *c, uint64_t out[FF_CC_MAX])
{
	unsigned i;

	for (i = 0; i < FF_CC_MAX; i++)
		out[i] = atomic_load_explicit(&c->counters[i], memory_order_relaxed);
}

static void
container_record(struct ff_container *c, void *arg)
{
	uint64_t counters[FF_CC_MAX];
	struct tel_page *p = arg;
	struct tel_obj o, used, limits;
	unsigned i;

	if (!tel_page_wants(p, c) || !tel_page_next(p))
		return;
	o = tel_obj_new();
	tel_str(&o, "id", c->id);
	tel_str(&o, "tenant", c->tenant->name);
	tel_num(&o, "weight", c->tenant->weight);
	tel_str(&o, "netns", c->conf.netns);
	container_addresses(&o, c);
	used = tel_obj_new();
	limits = tel_obj_new();
	for (i = 0; i < FF_QUOTA_MAX; i++) {
		tel_num(&used, quota_names[i], c->used[i]);
		tel_num(&limits, quota_names[i], c->limits[i]);
	}
	tel_obj(&o, "used", &used);
	tel_obj(&o, "limits", &limits);
	counters_load(c, counters);
	tel_counters(&o, "counters", ff_container_counter_names, counters, FF_CC_MAX);
	tel_page_add(p, &o);
}

void
tel_containers(struct tel_page *p)
{
	ff_container_foreach(container_record, p);
}

static void
process_record(struct ff_channel *ch, void *arg)
{
	uint64_t objects[FF_OBJ_MAX] = {0}, contexts = 0;
	struct tel_page *p = arg;
	struct ff_ucontext *uc;
	struct tel_obj o;
	unsigned i;

	if (!tel_page_wants(p, ch->container) || !tel_page_next(p))
		return;
	TAILQ_FOREACH (uc, &ch->contexts, link) {
		contexts++;
		for (i = 0; i < FF_OBJ_MAX; i++)
			objects[i] += uc->tables[i].used;
	}
	o = tel_obj_new();
	tel_num(&o, "channel", ch->id);
	tel_str(&o, "container", ch->container->id);
	tel_num(&o, "pid", (uint64_t)ch->proc->pid);
	tel_str(&o, "comm", ch->comm);
	tel_num(&o, "uid", ch->uid);
	tel_num(&o, "worker", ff_worker_index(ch->worker));
	tel_num(&o, "contexts", contexts);
	for (i = 0; i < FF_OBJ_MAX; i++)
		tel_num(&o, obj_names[i], objects[i]);
	tel_num(&o, "doorbells", READ(ch->doorbells));
	tel_num(&o, "bad_doorbells", READ(ch->bad_doorbells));
	tel_page_add(p, &o);
}

void
tel_processes(struct tel_page *p)
{
	ff_channel_foreach(process_record, p);
}

void
tel_workers(struct tel_page *p)
{
	struct ff_worker_stats s;
	struct tel_obj o;
	unsigned i;

	for (i = 0; i < ff_worker_count(); i++) {
		if (!tel_page_next(p))
			continue;
		ff_worker_stats(ff_worker_get(i), &s);
		o = tel_obj_new();
		tel_num(&o, "worker", i);
		tel_str(&o, "idle", ff_idle_policy_names[ff_config.idle]);
		tel_num(&o, "cpu", (uint64_t)(s.cpu < 0 ? 0 : s.cpu));
		tel_num(&o, "passes", s.passes);
		tel_num(&o, "busy_passes", s.busy_passes);
		tel_num(&o, "sleeps", s.sleeps);
		tel_num(&o, "messages", s.messages);
		tel_num(&o, "busy_ns", s.busy_ns);
		tel_num(&o, "idle_ns", s.idle_ns);
		tel_page_add(p, &o);
	}
}

/* One for each worker's queue of the port to other hosts. */
void
tel_ports(struct tel_page *p)
{
	struct ff_nic_counters c = {0};
	struct tel_obj o;
	unsigned i;

	for (i = 0; ff_nic->port_counters && i < ff_worker_count(); i++) {
		ff_nic->port_counters(i, &c);
		if (!c.num || !tel_page_next(p))
			continue;
		o = tel_obj_new();
		tel_str(&o, "port", ff_config.wire.port == FF_WIRE_ETHDEV ? "ethdev" : "udp");
		if (ff_config.wire.device[0])
			tel_str(&o, "device", ff_config.wire.device);
		tel_str(&o, "encap", ff_config.wire.encap == FF_WIRE_NONE ? "none" : "vxlan");
		tel_num(&o, "worker", i);
		tel_num(&o, "udp_port", ff_config.wire.udp_port);
		tel_counters(&o, "counters", c.names, c.values, c.num);
		ff_nic->transport_counters(i, &c);
		tel_counters(&o, "transport", c.names, c.values, c.num);
		tel_page_add(p, &o);
	}
}

/* ---- sums ---- */

struct sums {
	struct tel_page *page;
	uint64_t containers, counters[FF_CC_MAX], used[FF_QUOTA_MAX], qp[FF_QC_MAX];
};

static void
sums_add(struct ff_container *c, void *arg)
{
	uint64_t counters[FF_CC_MAX], qp[FF_QC_MAX];
	struct sums *s = arg;
	unsigned i;

	s->containers++;
	counters_load(c, counters);
	ff_container_qp_totals(c, qp);
	for (i = 0; i < FF_CC_MAX; i++)
		s->counters[i] += counters[i];
	for (i = 0; i < FF_QUOTA_MAX; i++)
		s->used[i] += c->used[i];
	for (i = 0; i < FF_QC_MAX; i++)
		s->qp[i] += qp[i];
}

static void
sums_record(struct tel_page *p, const char *scope, const char *container, const struct sums *s)
{
	struct tel_obj o = tel_obj_new();

	tel_str(&o, "scope", scope);
	if (container)
		tel_str(&o, "container", container);
	else
		tel_num(&o, "containers", s->containers);
	tel_counters(&o, "used", quota_names, s->used, FF_QUOTA_MAX);
	tel_counters(&o, "counters", ff_container_counter_names, s->counters, FF_CC_MAX);
	tel_counters(&o, "qp", ff_qp_counter_names, s->qp, FF_QC_MAX);
	if (!container)
		tel_counters(&o, "detached", ff_detach_reason_names, ff_channel_detached,
			     FF_DETACH_MAX);
	tel_page_add(p, &o);
}

static void
stats_record(struct ff_container *c, void *arg)
{
	struct tel_page *p = arg;
	struct sums s = {0};

	if (!tel_page_wants(p, c) || !tel_page_next(p))
		return;
	sums_add(c, &s);
	sums_record(p, "container", c->id, &s);
}

void
tel_stats(struct tel_page *p)
{
	struct sums s = {0};

	/* Sums of one container are that container's own record. */
	if (!p->container[0] && tel_page_next(p)) {
		ff_container_foreach(sums_add, &s);
		sums_record(p, "router", NULL, &s);
	}
	ff_container_foreach(stats_record, p);
}
