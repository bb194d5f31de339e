/* SPDX-License-Identifier: MIT */
/* The resolver: who is asked, in which order, and what becomes of the answers. Control thread. */
#include <errno.h>
#include <string.h>

#include "../core/log.h"
#include "../core/loop.h"
#include "overlay_priv.h"

static struct {
	const struct ff_overlay_provider *providers[FF_OVERLAY_PROVIDERS_MAX];
	unsigned num;
	bool follow_hosts, own_kernel; /* that provider runs for it alone */
	struct ff_timer age;
} overlay;

/* All providers but one (NULL: all of them) need not follow the address any more. */
static void
providers_forget(const struct ff_overlay_provider *but, uint32_t tenant, const uint8_t gid[16])
{
	for (unsigned i = 0; i < overlay.num; i++)
		if (overlay.providers[i] != but && overlay.providers[i]->forget)
			overlay.providers[i]->forget(tenant, gid);
}

static void
cache_forgot(uint32_t tenant, const uint8_t gid[16])
{
	if (tenant == FF_OVERLAY_UNDERLAY)
		ff_overlay_kernel.forget(tenant, gid);
	else
		providers_forget(NULL, tenant, gid);
}

/* The way to the host of an answer. */
static void
host_ask(uint32_t tenant, const struct ff_overlay_entry *e)
{
	static const struct ff_overlay_scope underlay = {.tenant = FF_OVERLAY_UNDERLAY,
							 .netns_fd = -1};
	int rc;

	if (!overlay.follow_hosts || tenant == FF_OVERLAY_UNDERLAY || e->state != FF_OVERLAY_REMOTE)
		return;
	rc = ff_overlay_ask(&underlay, e->host);
	if (rc)
		ff_debug("overlay", "a host's next hop: %s", strerror(-rc));
}

void
ff_overlay_answer(uint32_t tenant, const uint8_t gid[16], const struct ff_overlay_entry *e)
{
	const struct ff_overlay_entry *old = overlay_cache_get(tenant, gid);
	int rc;

	if (!e) {
		overlay_cache_remove(tenant, gid);
		return;
	}
	if (old && old->state == FF_OVERLAY_LOCAL && e->state != FF_OVERLAY_LOCAL)
		return;
	rc = overlay_cache_put(tenant, gid, e);
	if (rc)
		ff_warn("overlay", "an answer for tenant %u is lost: %s", tenant, strerror(-rc));
	if (e->state == FF_OVERLAY_LOCAL)
		providers_forget(NULL, tenant, gid);
	host_ask(tenant, e);
}

int
ff_overlay_ask(const struct ff_overlay_scope *scope, const uint8_t gid[16])
{
	static const struct ff_overlay_entry unknown = {.state = FF_OVERLAY_UNKNOWN};
	static const struct ff_overlay_entry none = {.state = FF_OVERLAY_NONE};
	const struct ff_overlay_entry *old = overlay_cache_get(scope->tenant, gid);
	int rc;

	if (old && old->state == FF_OVERLAY_LOCAL)
		return 0;
	if (!old) {
		rc = overlay_cache_put(scope->tenant, gid, &unknown);
		if (rc)
			return rc;
	}
	if (scope->tenant == FF_OVERLAY_UNDERLAY)
		return ff_overlay_kernel.resolve(scope, gid);
	for (unsigned i = 0; i < overlay.num; i++) {
		rc = overlay.providers[i]->resolve(scope, gid);
		if (rc == -ENOENT)
			continue;
		if (!rc)
			providers_forget(overlay.providers[i], scope->tenant, gid);
		return rc;
	}
	providers_forget(NULL, scope->tenant, gid);
	ff_overlay_answer(scope->tenant, gid, &none);
	return 0;
}

void
ff_overlay_flush(uint32_t tenant)
{
	overlay_cache_flush(tenant);
}

static void
age_tick(void *arg)
{
	overlay_cache_age();
}

int
ff_overlay_init(const struct ff_overlay_provider *const *providers, unsigned n)
{
	int rc;

	if (n > FF_OVERLAY_PROVIDERS_MAX)
		return -EINVAL;
	rc = overlay_cache_init(cache_forgot);
	if (rc)
		return rc;
	rc = ff_loop_timer_start(&overlay.age, FF_OVERLAY_IDLE_MS, age_tick, NULL);
	if (rc) {
		overlay_cache_fini();
		return rc;
	}
	memcpy(overlay.providers, providers, n * sizeof(*providers));
	overlay.num = n;
	return 0;
}

void
ff_overlay_fini(void)
{
	ff_loop_timer_stop(&overlay.age);
	overlay_cache_fini();
	overlay.num = 0;
	if (overlay.own_kernel)
		ff_overlay_kernel.fini();
	overlay.follow_hosts = overlay.own_kernel = false;
}

int
ff_overlay_follow_hosts(void)
{
	int rc = 0;

	for (unsigned i = 0; i < overlay.num; i++)
		if (overlay.providers[i] == &ff_overlay_kernel)
			overlay.follow_hosts = true;
	if (!overlay.follow_hosts) {
		rc = ff_overlay_kernel.init(NULL);
		overlay.follow_hosts = overlay.own_kernel = !rc;
	}
	return rc;
}
