/* SPDX-License-Identifier: MIT */
/* Tenants, quotas, names of counters. Control thread. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../nic/nic.h"
#include "channel_priv.h"

#define WEIGHT_DEFAULT 100u

const char *const ff_container_counter_names[FF_CC_MAX] = {
	[FF_CC_COMMANDS] = "commands",
	[FF_CC_COMMAND_ERRORS] = "command_errors",
	[FF_CC_QUOTA_REFUSED] = "quota_refused",
	[FF_CC_POLICY_REFUSED] = "policy_refused",
	[FF_CC_DETACHED] = "detached",
	[FF_CC_MR_SHARED] = "mr_shared",
	[FF_CC_MR_CONVERTED] = "mr_converted",
	[FF_CC_MR_PROCESS_VM] = "mr_process_vm",
	[FF_CC_PROCESS_VM_CALLS] = "process_vm_calls",
	[FF_CC_PROCESS_VM_BYTES] = "process_vm_bytes",
	[FF_CC_PROCESS_VM_ERRORS] = "process_vm_errors",
	[FF_CC_TCP_ASKED] = "tcp_asked",
	[FF_CC_TCP_REFUSED] = "tcp_refused",
	[FF_CC_TCP_OFFERED] = "tcp_offered",
	[FF_CC_TCP_PAIRED] = "tcp_paired",
	[FF_CC_TCP_FIFO] = "tcp_fifo",
	[FF_CC_TCP_HOST] = "tcp_host",
};

static TAILQ_HEAD(, ff_tenant) tenants = TAILQ_HEAD_INITIALIZER(tenants);
static bool tenant_indices[FF_TENANTS_MAX];

static uint32_t
tenant_weight(const char *name)
{
	for (unsigned i = 0; i < ff_config.num_tenants; i++)
		if (!strcmp(ff_config.tenants[i].name, name) && ff_config.tenants[i].weight)
			return ff_config.tenants[i].weight;
	return WEIGHT_DEFAULT;
}

struct ff_tenant *
ff_tenant_get(const char *name)
{
	struct ff_tenant *t;
	uint32_t index = 0;

	TAILQ_FOREACH (t, &tenants, link) {
		if (strcmp(t->name, name))
			continue;
		t->refs++;
		return t;
	}
	while (index < FF_TENANTS_MAX && tenant_indices[index])
		index++;
	if (index == FF_TENANTS_MAX)
		return NULL;
	t = calloc(1, sizeof(*t));
	if (!t)
		return NULL;
	snprintf(t->name, sizeof(t->name), "%s", name);
	t->index = index;
	t->weight = tenant_weight(name);
	t->vni = ff_config_vni(&ff_config, name);
	t->refs = 1;
	tenant_indices[index] = true;
	TAILQ_INSERT_TAIL(&tenants, t, link);
	return t;
}

void
ff_tenant_put(struct ff_tenant *t)
{
	if (--t->refs)
		return;
	TAILQ_REMOVE(&tenants, t, link);
	tenant_indices[t->index] = false;
	if (ff_nic->tenant_gone)
		ff_nic->tenant_gone(t->index);
	free(t);
}

/* No VNI has two tenants, not even for a moment: what changes is taken away first. */
void
ff_tenants_update(void)
{
	struct ff_tenant *t;
	bool any = false;

	TAILQ_FOREACH (t, &tenants, link) {
		__atomic_store_n(&t->weight, tenant_weight(t->name), __ATOMIC_RELAXED);
		if (t->vni == ff_config_vni(&ff_config, t->name))
			continue;
		__atomic_store_n(&t->vni, 0, __ATOMIC_RELAXED);
		t->confined_told = false;
		any = true;
	}
	if (!any)
		return;
	ff_workers_synchronize();
	TAILQ_FOREACH (t, &tenants, link)
		__atomic_store_n(&t->vni, ff_config_vni(&ff_config, t->name), __ATOMIC_RELAXED);
}

const struct ff_tenant *
ff_tenant_by_index(uint32_t index)
{
	const struct ff_tenant *t;

	TAILQ_FOREACH (t, &tenants, link) {
		if (t->index == index)
			return t;
	}
	return NULL;
}

/* A limit that the container does not set is the top level's. */
void
quota_limits(struct ff_container *c)
{
	struct ff_limits *l = &c->conf.limits;
	const struct ff_limits *d = &ff_config.limits;

#define LIMIT(field)                         \
	do {                                 \
		if (!l->field)               \
			l->field = d->field; \
	} while (0)
	LIMIT(processes);
	LIMIT(contexts);
	LIMIT(pds);
	LIMIT(mrs);
	LIMIT(mws);
	LIMIT(cqs);
	LIMIT(qps);
	LIMIT(srqs);
	LIMIT(ahs);
	LIMIT(mcast);
	LIMIT(streams);
	LIMIT(qp_wr);
	LIMIT(cq_entries);
	LIMIT(sge);
	LIMIT(pinned_bytes);
#undef LIMIT
	c->limits[FF_QUOTA_PROCESSES] = l->processes;
	c->limits[FF_QUOTA_CONTEXTS] = l->contexts;
	c->limits[FF_QUOTA_PDS] = l->pds;
	c->limits[FF_QUOTA_MRS] = l->mrs;
	c->limits[FF_QUOTA_MWS] = l->mws;
	c->limits[FF_QUOTA_CQS] = l->cqs;
	c->limits[FF_QUOTA_QPS] = l->qps;
	c->limits[FF_QUOTA_SRQS] = l->srqs;
	c->limits[FF_QUOTA_AHS] = l->ahs;
	c->limits[FF_QUOTA_MCAST] = l->mcast;
	c->limits[FF_QUOTA_STREAMS] = l->streams;
	c->limits[FF_QUOTA_PINNED] = l->pinned_bytes;
}

void
ff_container_limits_set(struct ff_container *c, const struct ff_limits *own)
{
	struct container_priv *p = container_priv(c);

	if (own)
		p->asked.limits = *own;
	c->conf.limits = p->asked.limits;
	quota_limits(c);
}

int
ff_quota_take(struct ff_container *c, enum ff_quota q, uint64_t amount)
{
	if (c->used[q] > c->limits[q] || amount > c->limits[q] - c->used[q]) {
		ff_container_count(c, FF_CC_QUOTA_REFUSED, 1);
		return -ENOMEM;
	}
	c->used[q] += amount;
	return 0;
}

void
ff_quota_give(struct ff_container *c, enum ff_quota q, uint64_t amount)
{
	assert(amount <= c->used[q]);
	c->used[q] -= amount;
}
