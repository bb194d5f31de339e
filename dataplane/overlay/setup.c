/* SPDX-License-Identifier: MIT */
/* The resolver and the providers of the configuration: start, end, another table. Control thread.
 */
#include <errno.h>
#include <string.h>

#include "../core/config.h"
#include "../core/log.h"
#include "overlay_priv.h"

static const struct ff_overlay_provider *const kinds[FF_CONF_OVERLAY_KINDS] = {
	[FF_CONF_OVERLAY_STATIC] = &ff_overlay_static,
	[FF_CONF_OVERLAY_KERNEL] = &ff_overlay_kernel,
};

static struct {
	const struct ff_overlay_provider *providers[FF_CONF_OVERLAY_KINDS];
	unsigned num; /* that have started */
	bool up;
} setup;

static void
providers_stop(void)
{
	while (setup.num)
		setup.providers[--setup.num]->fini();
}

static int
providers_start(const struct ff_overlay_conf *conf)
{
	int rc;

	for (unsigned i = 0; i < conf->num_providers; i++) {
		const struct ff_overlay_provider *p = setup.providers[i];

		rc = p->init(p == &ff_overlay_static ? conf : NULL);
		if (rc) {
			ff_err("overlay", "%s: %s", p->name, strerror(-rc));
			providers_stop();
			return rc;
		}
		setup.num++;
	}
	return 0;
}

int
ff_overlay_start(const struct ff_overlay_conf *conf)
{
	int rc;

	for (unsigned i = 0; i < conf->num_providers; i++)
		setup.providers[i] = kinds[conf->providers[i]];
	rc = ff_overlay_init(setup.providers, conf->num_providers);
	if (rc)
		return rc;
	rc = providers_start(conf);
	if (rc)
		ff_overlay_fini();
	setup.up = !rc;
	return rc;
}

void
ff_overlay_stop(void)
{
	if (!setup.up)
		return;
	setup.up = false;
	ff_overlay_fini();
	providers_stop();
}

void
ff_overlay_static_set(const struct ff_overlay_conf *conf, ff_overlay_tenant_name *name_of)
{
	for (unsigned i = 0; i < setup.num; i++)
		if (setup.providers[i] == &ff_overlay_static)
			overlay_static_replace(conf, name_of);
}
