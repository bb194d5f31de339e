/* SPDX-License-Identifier: MIT */
/*
 * Records of peers: what the resolver says of an address, and the sums over the connected QPs that
 * talk to it. Control thread.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../overlay/overlay.h"
#include "telemetry_priv.h"

struct peer {
	uint32_t tenant;
	uint8_t gid[16];
	bool known; /* e and age_ms are valid */
	struct ff_overlay_entry e;
	uint64_t age_ms;
	uint64_t qps, window;
	uint64_t rtt_sum, rtts; /* of those that have measured one */
	uint64_t rate_sum, rates;
	struct ff_nic_peer sum;
};

struct peers {
	const struct tel_page *page;
	struct peer *p;
	size_t num, cap;
	bool lost; /* no memory */
};

static struct peer *
peer_new(struct peers *all, uint32_t tenant, const uint8_t gid[16])
{
	struct peer *p;

	if (all->num == all->cap) {
		size_t cap = all->cap ? all->cap * 2 : 64;

		p = realloc(all->p, cap * sizeof(*p));
		if (!p) {
			all->lost = true;
			return NULL;
		}
		all->p = p;
		all->cap = cap;
	}
	p = &all->p[all->num++];
	memset(p, 0, sizeof(*p));
	p->tenant = tenant;
	memcpy(p->gid, gid, 16);
	return p;
}

static void
entry_add(uint32_t tenant, const uint8_t gid[16], const struct ff_overlay_entry *e, uint64_t age_ms,
	  void *arg)
{
	struct peer *p;

	if (tenant == FF_OVERLAY_UNDERLAY)
		return;
	p = peer_new(arg, tenant, gid);
	if (!p)
		return;
	p->known = true;
	p->e = *e;
	p->age_ms = age_ms;
}

static void
qp_add(struct peers *all, const struct ff_qp *qp)
{
	struct ff_nic_peer n;
	struct peer *p;

	if (!ff_nic->qp_peer(qp, &n))
		return;
	p = peer_new(all, qp->container->tenant->index, n.gid);
	if (!p)
		return;
	p->qps = 1;
	p->window = n.window;
	p->rtts = n.rtt_ns != 0;
	p->rtt_sum = n.rtt_ns;
	p->rates = n.rate_bps != 0;
	p->rate_sum = n.rate_bps;
	p->sum = n;
}

static void
channel_add(struct ff_channel *ch, void *arg)
{
	struct peers *all = arg;
	struct ff_ucontext *uc;

	if (!tel_page_wants(all->page, ch->container))
		return;
	TAILQ_FOREACH (uc, &ch->contexts, link) {
		const struct ff_handle_table *t = &uc->tables[FF_OBJ_QP];

		for (uint32_t i = 0; i < t->size; i++)
			if (t->slots[i])
				qp_add(all, (const struct ff_qp *)t->slots[i]);
	}
}

static int
same_address(const void *a, const void *b)
{
	const struct peer *x = a, *y = b;

	if (x->tenant != y->tenant)
		return x->tenant < y->tenant ? -1 : 1;
	return memcmp(x->gid, y->gid, 16);
}

static int
host_order(const void *a, const void *b)
{
	const struct peer *x = a, *y = b;
	int c = memcmp(x->e.host, y->e.host, 16);

	return c ? c : same_address(a, b);
}

static void
peer_merge(struct peer *to, const struct peer *from)
{
	if (from->known) {
		to->known = true;
		to->e = from->e;
		to->age_ms = from->age_ms;
	}
	to->qps += from->qps;
	to->window += from->window;
	to->rtt_sum += from->rtt_sum;
	to->rtts += from->rtts;
	to->rate_sum += from->rate_sum;
	to->rates += from->rates;
	to->sum.tx_packets += from->sum.tx_packets;
	to->sum.rx_packets += from->sum.rx_packets;
	to->sum.retransmitted += from->sum.retransmitted;
	to->sum.timeouts += from->sum.timeouts;
	to->sum.cnp_sent += from->sum.cnp_sent;
	to->sum.cnp_received += from->sum.cnp_received;
}

/* One for each address, those of one host together. */
static void
peers_merge(struct peers *all)
{
	size_t n = 0;

	if (!all->num)
		return;
	qsort(all->p, all->num, sizeof(*all->p), same_address);
	for (size_t i = 1; i < all->num; i++) {
		if (!same_address(&all->p[n], &all->p[i]))
			peer_merge(&all->p[n], &all->p[i]);
		else
			all->p[++n] = all->p[i];
	}
	all->num = n + 1;
	qsort(all->p, all->num, sizeof(*all->p), host_order);
}

static void
entry_fill(struct tel_obj *o, const struct peer *p, const struct ff_tenant *tenant)
{
	static const char *const states[] = {"unknown", "local", "remote", "none"};
	static const uint8_t no_mac[6];
	const uint8_t *m = p->e.mac;
	char mac[18];

	tel_str(o, "state", p->known ? states[p->e.state] : "unknown");
	if (p->known)
		tel_num(o, "age_ms", p->age_ms);
	if (!p->known || p->e.state != FF_OVERLAY_REMOTE)
		return;
	tel_address(o, "host", p->e.host);
	tel_str(o, "encap", p->e.vxlan ? "vxlan" : "none");
	/* What the router uses: the overlay's own is the kernel's business. */
	if (p->e.vxlan && tenant)
		tel_num(o, "vni", tenant->vni);
	if (p->e.mtu)
		tel_num(o, "mtu", p->e.mtu);
	snprintf(mac, sizeof(mac), "%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4],
		 m[5]);
	if (memcmp(m, no_mac, 6))
		tel_str(o, "mac", mac);
}

static void
qps_fill(struct tel_obj *o, const struct peer *p)
{
	static const char *const names[] = {"tx_packets", "rx_packets", "retransmitted",
					    "timeouts",	  "cnp_sent",	"cnp_received"};
	const uint64_t values[] = {p->sum.tx_packets, p->sum.rx_packets, p->sum.retransmitted,
				   p->sum.timeouts,   p->sum.cnp_sent,	 p->sum.cnp_received};

	tel_num(o, "qps", p->qps);
	if (!p->qps)
		return;
	tel_counters(o, "wire", names, values, sizeof(values) / sizeof(values[0]));
	tel_num(o, "window", p->window);
	if (p->rtts)
		tel_num(o, "rtt_ns", p->rtt_sum / p->rtts);
	if (p->rates)
		tel_num(o, "rate_bps", p->rate_sum);
}

/* Addresses of one container are those that its connected QPs talk to. */
void
tel_peers(struct tel_page *page)
{
	struct peers all = {.page = page};

	ff_overlay_foreach(entry_add, &all);
	if (ff_nic->qp_peer)
		ff_channel_foreach(channel_add, &all);
	peers_merge(&all);
	for (size_t i = 0; i < all.num && !all.lost; i++) {
		const struct peer *p = &all.p[i];
		const struct ff_tenant *tenant;
		struct tel_obj o;

		if ((page->container[0] && !p->qps) || !tel_page_next(page))
			continue;
		tenant = ff_tenant_by_index(p->tenant);
		o = tel_obj_new();
		tel_str(&o, "tenant", tenant ? tenant->name : "");
		tel_address(&o, "address", p->gid);
		entry_fill(&o, p, tenant);
		qps_fill(&o, p);
		tel_page_add(page, &o);
	}
	free(all.p);
}
