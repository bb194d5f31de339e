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
static struct {
	const struct ff_overlay_prefix *p;
	unsigned num;
} table;

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
table_get(const struct ff_overlay_prefix *key)
{
	return table.num ? bsearch(key, table.p, table.num, sizeof(*table.p),
				   ff_overlay_prefix_compare)
			 : NULL;
}

static const struct ff_overlay_prefix *
table_find(const char *tenant, const uint8_t gid[16])
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
		found = table_get(&key);
		key.tenant[0] = '\0';
		if (!found)
			found = table_get(&key);
	}
	return found;
}

static int
static_resolve(const struct ff_overlay_scope *scope, const uint8_t gid[16])
{
	const struct ff_overlay_prefix *x = table_find(scope->tenant_name, gid);
	struct ff_overlay_entry e = {.state = FF_OVERLAY_REMOTE};

	if (!x)
		return -ENOENT;
	memcpy(e.host, x->host, 16);
	memcpy(e.mac, x->mac, 6);
	e.vxlan = x->encap == FF_OVERLAY_VXLAN;
	e.mtu = (uint16_t)x->mtu;
	ff_overlay_answer(scope->tenant, gid, &e);
	return 0;
}

const struct ff_overlay_provider ff_overlay_static = {
	.name = "static",
	.init = static_init,
	.fini = static_fini,
	.resolve = static_resolve,
};
