/* SPDX-License-Identifier: MIT */
/*
 * The static provider: prefixes of the configuration and the hosts that have them. Control thread.
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../core/config.h"
#include "overlay_priv.h"

/* Of the configuration, which outlives it. Sorted by ff_overlay_prefix_compare(). */
struct table {
	const struct ff_overlay_prefix *p;
	unsigned num;
};
static struct table table;

static int
static_init(const void *conf)
{
	const struct ff_overlay_conf *o = conf;

	table.p = o ? o->statics : NULL;
	table.num = o ? o->num_statics : 0;
	return 0;
}

static void
static_fini(void)
{
	static_init(NULL);
}

/* The prefix of that family, length and tenant, or NULL. */
static const struct ff_overlay_prefix *
table_get(const struct table *t, const struct ff_overlay_prefix *key)
{
	return t->num ? bsearch(key, t->p, t->num, sizeof(*t->p), ff_overlay_prefix_compare) : NULL;
}

static const struct ff_overlay_prefix *
table_find(const struct table *t, const char *tenant, const uint8_t gid[16])
{
	struct ff_overlay_prefix key = {0};
	const struct ff_overlay_prefix *found = NULL;
	struct in6_addr a;

	memcpy(key.addr, gid, 16);
	memcpy(&a, gid, 16);
	key.v4 = IN6_IS_ADDR_V4MAPPED(&a);
	for (int len = 128; len >= (key.v4 ? 96 : 0) && !found; len--) {
		key.len = (unsigned)len;
		(void)ff_overlay_prefix_mask(key.addr, key.len);
		snprintf(key.tenant, sizeof(key.tenant), "%s", tenant ? tenant : "");
		found = table_get(t, &key);
		key.tenant[0] = '\0';
		if (!found)
			found = table_get(t, &key);
	}
	return found;
}

/* False: t does not have it; *e is UNKNOWN then. */
static bool
table_answer(const struct table *t, const char *tenant, const uint8_t gid[16],
	     struct ff_overlay_entry *e)
{
	const struct ff_overlay_prefix *x = table_find(t, tenant, gid);

	*e = (struct ff_overlay_entry){.state = FF_OVERLAY_UNKNOWN};
	if (!x)
		return false;
	e->state = FF_OVERLAY_REMOTE;
	memcpy(e->host, x->host, 16);
	memcpy(e->mac, x->mac, 6);
	e->vxlan = x->encap == FF_OVERLAY_VXLAN;
	e->mtu = (uint16_t)x->mtu;
	return true;
}

static int
static_resolve(const struct ff_overlay_scope *scope, const uint8_t gid[16])
{
	struct ff_overlay_entry e;

	if (!table_answer(&table, scope->tenant_name, gid, &e))
		return -ENOENT;
	ff_overlay_answer(scope->tenant, gid, &e);
	return 0;
}

struct change {
	struct table old;
	ff_overlay_tenant_name *name_of;
};

static void
recheck(uint32_t tenant, const uint8_t gid[16], const struct ff_overlay_entry *e, void *arg)
{
	const struct change *c = arg;
	const char *name = c->name_of(tenant);
	struct ff_overlay_entry was, is;
	bool had = table_answer(&c->old, name, gid, &was), has;

	has = table_answer(&table, name, gid, &is);
	if (overlay_entry_same(&was, &is))
		return;
	/* Another provider may have been the one that answered, or be the one that is to. */
	if (had && has && overlay_entry_same(&was, e))
		ff_overlay_answer(tenant, gid, &is);
	else
		ff_overlay_answer(tenant, gid, NULL);
}

void
overlay_static_replace(const struct ff_overlay_conf *conf, ff_overlay_tenant_name *name_of)
{
	struct change c = {.old = table, .name_of = name_of};

	static_init(conf);
	if (c.old.num != table.num ||
	    (table.num && memcmp(c.old.p, table.p, table.num * sizeof(*table.p)) != 0))
		overlay_cache_check_all(recheck, &c);
}

const struct ff_overlay_provider ff_overlay_static = {
	.name = "static",
	.init = static_init,
	.fini = static_fini,
	.resolve = static_resolve,
};
