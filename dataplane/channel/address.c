/* SPDX-License-Identifier: MIT */
/* A container's addresses as its GID table: stable slots, changes, conflicts. Control thread. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "../nic/nic.h"
#include "channel_priv.h"

/* One host's own address: not 0/8, 127/8, multicast, reserved or broadcast. */
static bool
ipv4_usable(const uint8_t ip[4])
{
	return ip[0] != 0 && ip[0] != 127 && ip[0] < 224;
}

int
addr_parse(const char *text, struct addr *out)
{
	struct in6_addr v6 = {.s6_addr = {[10] = 0xff, [11] = 0xff}};

	memset(out, 0, sizeof(*out));
	if (inet_pton(AF_INET, text, v6.s6_addr + 12) != 1 && inet_pton(AF_INET6, text, &v6) != 1)
		return -EINVAL;
	memcpy(out->raw, &v6, 16);
	if (IN6_IS_ADDR_V4MAPPED(&v6)) {
		out->kind = ADDR_IPV4;
		return ipv4_usable(out->raw + 12) ? 0 : -EINVAL;
	}
	if (IN6_IS_ADDR_UNSPECIFIED(&v6) || IN6_IS_ADDR_LOOPBACK(&v6) || IN6_IS_ADDR_MULTICAST(&v6))
		return -EINVAL;
	out->kind = IN6_IS_ADDR_LINKLOCAL(&v6) ? ADDR_LINK_LOCAL : ADDR_IPV6;
	return 0;
}

void
addr_list_add(struct addr_list *l, const struct addr *a)
{
	for (unsigned i = 0; i < l->num; i++)
		if (!memcmp(l->a[i].raw, a->raw, 16))
			return;
	if (l->num < ADDR_MAX)
		l->a[l->num++] = *a;
}

void
addr_list_order(struct addr_list *l)
{
	struct addr_list out = {0};

	for (int kind = ADDR_IPV4; kind <= ADDR_LINK_LOCAL; kind++) {
		if (kind == ADDR_LINK_LOCAL && out.num)
			break;
		for (unsigned i = 0; i < l->num; i++)
			if ((int)l->a[i].kind == kind)
				out.a[out.num++] = l->a[i];
	}
	*l = out;
}

static const struct addr *
addr_list_find(const struct addr_list *l, const uint8_t raw[16])
{
	for (unsigned i = 0; i < l->num; i++)
		if (!memcmp(l->a[i].raw, raw, 16))
			return &l->a[i];
	return NULL;
}

static bool
slots_have(const struct ff_gid_entry *slots, const uint8_t raw[16])
{
	for (unsigned i = 0; i < FF_GIDS_MAX; i++)
		if (slots[i].valid && !memcmp(slots[i].raw, raw, 16))
			return true;
	return false;
}

bool
addr_slots(const struct ff_gid_entry old[FF_GIDS_MAX], const struct addr_list *want,
	   struct ff_gid_entry out[FF_GIDS_MAX])
{
	memset(out, 0, FF_GIDS_MAX * sizeof(*out));
	for (unsigned i = 0; i < FF_GIDS_MAX; i++) {
		const struct addr *a = old[i].valid ? addr_list_find(want, old[i].raw) : NULL;

		if (!a)
			continue;
		out[i] = old[i];
		memcpy(out[i].ndev, a->ndev, sizeof(out[i].ndev));
	}
	for (unsigned w = 0; w < want->num; w++) {
		const struct addr *a = &want->a[w];
		unsigned slot = 0;

		if (slots_have(out, a->raw))
			continue;
		while (slot < FF_GIDS_MAX && out[slot].valid)
			slot++;
		if (slot == FF_GIDS_MAX)
			break;
		memcpy(out[slot].raw, a->raw, 16);
		memcpy(out[slot].ndev, a->ndev, sizeof(out[slot].ndev));
		out[slot].valid = true;
	}
	for (unsigned i = 0; i < FF_GIDS_MAX; i++)
		if (old[i].valid != out[i].valid || memcmp(old[i].raw, out[i].raw, 16) ||
		    strcmp(old[i].ndev, out[i].ndev))
			return true;
	return false;
}

/* The resolver hears of what c has, and of what it has no more. */
static void
gid_tell(const struct ff_container *c, const struct ff_gid_entry *e, bool here)
{
	if (e->valid && ff_nic->address)
		ff_nic->address(c, e->raw, here);
}

/*
 * Workers may be reading the table. An entry's bytes change only while it is not valid and no
 * worker is still in a pass that saw it valid.
 */
static void
gids_publish(struct ff_container *c, const struct ff_gid_entry next[FF_GIDS_MAX])
{
	bool differs[FF_GIDS_MAX], withdrawn = false;
	struct ff_gid_entry old;

	for (unsigned i = 0; i < FF_GIDS_MAX; i++) {
		differs[i] = memcmp(c->gids[i].raw, next[i].raw, 16) ||
			     strcmp(c->gids[i].ndev, next[i].ndev) ||
			     c->gids[i].valid != next[i].valid;
		if (differs[i] && c->gids[i].valid) {
			old = c->gids[i];
			__atomic_store_n(&c->gids[i].valid, false, __ATOMIC_RELEASE);
			gid_tell(c, &old, false);
			withdrawn = true;
		}
	}
	if (withdrawn) {
		atomic_fetch_add_explicit(&c->gid_gen, 1, memory_order_acq_rel);
		ff_workers_synchronize();
	}
	for (unsigned i = 0; i < FF_GIDS_MAX; i++) {
		if (!differs[i])
			continue;
		memcpy(c->gids[i].raw, next[i].raw, 16);
		memcpy(c->gids[i].ndev, next[i].ndev, sizeof(next[i].ndev));
		__atomic_store_n(&c->gids[i].valid, next[i].valid, __ATOMIC_RELEASE);
		gid_tell(c, &next[i], true);
	}
	atomic_fetch_add_explicit(&c->gid_gen, 1, memory_order_acq_rel);
}

static void
gid_text(const uint8_t raw[16], char out[INET6_ADDRSTRLEN])
{
	if (!inet_ntop(AF_INET6, raw, out, INET6_ADDRSTRLEN))
		out[0] = 0;
}

/* The addresses of l that c may have: a container's word does not take another one's address. */
static void
addr_filter(struct ff_container *c, const struct addr_list *l, struct addr_list *out)
{
	struct container_priv *cp = container_priv(c);
	char text[INET6_ADDRSTRLEN];

	out->num = 0;
	cp->addr_conflict = false;
	for (unsigned i = 0; i < l->num; i++) {
		struct ff_container *other = ff_container_by_gid(c->tenant, l->a[i].raw);

		if (other && other != c) {
			gid_text(l->a[i].raw, text);
			ff_warn("channel", "container %s: address %s belongs to container %s",
				c->id, text, other->id);
			cp->addr_conflict = true;
			continue;
		}
		out->a[out->num++] = l->a[i];
	}
}

static void
link_mtu_set(struct ff_container *c, const struct addr_list *l)
{
	uint32_t least = 0;

	for (unsigned i = 0; i < l->num; i++)
		if (l->a[i].mtu && (!least || l->a[i].mtu < least))
			least = l->a[i].mtu;
	atomic_store_explicit(&c->link_mtu, least, memory_order_relaxed);
}

static bool
addr_apply_one(struct ff_container *c, const struct addr_list *l)
{
	struct container_priv *cp = container_priv(c);
	struct ff_gid_entry before[FF_GIDS_MAX], next[FF_GIDS_MAX];
	struct addr_list mine;

	addr_filter(c, l, &mine);
	cp->addrs = *l;
	link_mtu_set(c, &mine);
	memcpy(before, c->gids, sizeof(before));
	if (!addr_slots(before, &mine, next))
		return false;
	gids_publish(c, next);
	if (sysfs_gids(c, before))
		ff_warn("channel", "container %s: cannot rewrite its GID table", c->id);
	ff_async_container(c, EVENT_GID_CHANGE);
	return true;
}

/* Another container of the tenant gave addresses up: who asked for them gets them. */
static void
addr_retry(struct ff_container *c, void *arg)
{
	struct ff_container *changed = arg;
	struct container_priv *cp = container_priv(c);

	if (c != changed && c->tenant == changed->tenant && !c->removing && cp->addr_conflict) {
		struct addr_list l = cp->addrs;

		addr_apply_one(c, &l);
	}
}

void
addr_apply(struct ff_container *c, const struct addr_list *l)
{
	if (addr_apply_one(c, l))
		ff_container_foreach(addr_retry, c);
}

void
addr_released(struct ff_container *c)
{
	for (unsigned i = 0; i < FF_GIDS_MAX; i++)
		gid_tell(c, &c->gids[i], false);
	ff_container_foreach(addr_retry, c);
}

/* The configured addresses, with the interfaces that have them where that is known. */
static void
addr_configured(struct ff_container *c, const struct addr_list *live, struct addr_list *out)
{
	out->num = 0;
	for (unsigned i = 0; i < c->conf.num_addresses; i++) {
		struct addr a;
		const struct addr *seen;

		if (addr_parse(c->conf.addresses[i], &a))
			continue; /* the configuration has refused it */
		seen = live ? addr_list_find(live, a.raw) : NULL;
		if (seen)
			memcpy(a.ndev, seen->ndev, sizeof(a.ndev));
		a.mtu = seen ? seen->mtu : 0;
		addr_list_add(out, &a);
	}
}

static int
addr_read(struct ff_container *c)
{
	struct container_priv *cp = container_priv(c);
	struct addr_list live, conf;
	int rc = netns_addresses(&cp->netns, &live);

	if (rc)
		return rc;
	if (c->conf.num_addresses) {
		addr_configured(c, &live, &conf);
		addr_apply(c, &conf);
		return 0;
	}
	addr_list_order(&live);
	addr_apply(c, &live);
	return 0;
}

static void
addr_changed(void *arg)
{
	struct ff_container *c = arg;
	int rc = addr_read(c);

	if (rc)
		ff_warn("channel", "container %s: cannot read its addresses: %s", c->id,
			strerror(-rc));
}

int
addr_start(struct ff_container *c, char *err, size_t err_len)
{
	struct container_priv *cp = container_priv(c);
	struct addr_list conf;
	int rc;

	for (unsigned i = 0; i < c->conf.num_addresses; i++) {
		struct addr a;
		struct ff_container *other;

		if (addr_parse(c->conf.addresses[i], &a)) {
			snprintf(err, err_len, "%s is not an address", c->conf.addresses[i]);
			return -EINVAL;
		}
		other = ff_container_by_gid(c->tenant, a.raw);
		if (other && other != c) {
			snprintf(err, err_len, "address %s belongs to container %s",
				 c->conf.addresses[i], other->id);
			return -EADDRINUSE;
		}
	}
	if (!c->conf.netns[0]) {
		addr_configured(c, NULL, &conf);
		addr_apply(c, &conf);
		return 0;
	}
	rc = netns_open(&cp->netns, c->conf.netns, addr_changed, c);
	if (!rc)
		rc = addr_read(c);
	if (rc) {
		snprintf(err, err_len, "cannot follow network namespace %s: %s", c->conf.netns,
			 strerror(-rc));
		addr_stop(c);
	}
	return rc == -ENOENT ? -ENODEV : rc;
}

void
addr_stop(struct ff_container *c)
{
	netns_close(&container_priv(c)->netns);
}

int
addr_refresh(struct ff_container *c, char *err, size_t err_len)
{
	static const struct addr_list none;
	struct container_priv *cp = container_priv(c);
	struct stat st;

	if (!c->conf.netns[0] ||
	    (!stat(c->conf.netns, &st) && st.st_dev == cp->netns.dev && st.st_ino == cp->netns.ino))
		return 0;
	addr_stop(c);
	/* Also where the new namespace has the same ones: who holds on to the old one lets go. */
	addr_apply(c, &none);
	return addr_start(c, err, err_len);
}
