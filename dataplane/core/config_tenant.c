/* SPDX-License-Identifier: MIT */
/* Tenants of the configuration. Control thread. */
#include <string.h>

#include "config.h"
#include "config_priv.h"

static const struct ff_field tenant_fields[] = {
	{.key = "name", .type = FF_FIELD_NAME, .off = offsetof(struct ff_tenant_conf, name)},
	{.key = "weight",
	 .type = FF_FIELD_U32,
	 .off = offsetof(struct ff_tenant_conf, weight),
	 .min = 1,
	 .max = 1000},
	{.key = "vni",
	 .type = FF_FIELD_U32,
	 .off = offsetof(struct ff_tenant_conf, vni),
	 .min = 1,
	 .max = FF_VNI_MAX},
};

void
ff_parse_tenants(struct ff_parse *p, json_t *value, const char *path, void *base)
{
	struct ff_config *c = base;
	char sub[FF_JSON_PATH], name[FF_JSON_PATH];
	json_t *element;
	size_t i, j;

	c->tenants = ff_parse_array_room(p, value, path, FF_CONF_TENANTS_MAX, sizeof(*c->tenants));
	if (!c->tenants)
		return;
	json_array_foreach (value, i, element) {
		struct ff_tenant_conf *t = &c->tenants[c->num_tenants++];

		t->weight = FF_TENANT_WEIGHT;
		ff_path_index(sub, path, i);
		ff_path_key(name, sub, "name");
		ff_parse_object(p, element, sub, tenant_fields,
				sizeof(tenant_fields) / sizeof(tenant_fields[0]), t);
		if (json_is_object(element) && !json_object_get(element, "name"))
			ff_parse_fault(p, name, "is missing");
		for (j = 0; j < i; j++)
			if (t->name[0] && strcmp(t->name, c->tenants[j].name) == 0)
				ff_parse_fault(p, name, "\"%s\" is also the name of tenants[%zu]",
					       t->name, j);
	}
}

/* As the tenant's entry says; 0: it does not. */
static uint32_t
own_vni(const struct ff_config *c, const char *tenant)
{
	for (unsigned i = 0; i < c->num_tenants; i++)
		if (!strcmp(c->tenants[i].name, tenant))
			return c->tenants[i].vni;
	return 0;
}

uint32_t
ff_config_vni(const struct ff_config *c, const char *tenant)
{
	uint32_t vni = own_vni(c, tenant);

	return vni || strcmp(tenant, "default") ? vni : c->wire.vni;
}

/* What comes in with a VNI is for the one tenant that has it. */
void
ff_check_vnis(struct ff_parse *p, const struct ff_config *c)
{
	char path[FF_JSON_PATH];

	for (unsigned i = 0; i < c->num_tenants; i++) {
		const struct ff_tenant_conf *t = &c->tenants[i];
		const char *other = NULL;

		if (!t->vni)
			continue;
		if (!own_vni(c, "default") && t->vni == c->wire.vni)
			other = "default";
		for (unsigned j = 0; j < i && !other; j++)
			if (t->vni == c->tenants[j].vni && strcmp(t->name, c->tenants[j].name))
				other = c->tenants[j].name;
		if (!other)
			continue;
		snprintf(path, sizeof(path), "tenants[%u].vni", i);
		ff_parse_fault(p, path, "%u is also the VNI of tenant \"%s\"", t->vni, other);
	}
}
