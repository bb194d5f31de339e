/* SPDX-License-Identifier: MIT */
/* SIGHUP: compares the file with what runs and changes what can be changed. Control thread. */
#include "reload.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "channel/container.h"
#include "core/config.h"
#include "core/log.h"
#include "core/service.h"
#include "overlay/overlay.h"

static const char *conf_path;
static bool level_fixed, run_dir_fixed;

void
ff_reload_init(const char *path, bool keep_level, bool keep_run_dir)
{
	conf_path = path;
	level_fixed = keep_level;
	run_dir_fixed = keep_run_dir;
}

/* The file's faults, one log line each. 0 or -errno. */
static int
load(struct ff_config *fresh)
{
	char *text = NULL, *line, *next;
	size_t len = 0;
	FILE *err = open_memstream(&text, &len);
	int rc;

	if (!err)
		return -ENOMEM;
	rc = ff_config_load(conf_path, fresh, err);
	fclose(err);
	for (line = text; line && *line; line = next) {
		next = line + strcspn(line, "\n");
		if (*next)
			*next++ = '\0';
		ff_err("config", "%s", line);
	}
	free(text);
	/* It tells which tenant has the bare wire; as it was, it might be another one's by now. */
	if (!rc && ff_config.wire.encap == FF_WIRE_NONE && fresh->wire.vni != ff_config.wire.vni) {
		ff_err("config",
		       "wire.vni: where wire.encap is \"none\", a change needs a restart");
		ff_config_free(fresh);
		rc = -EINVAL;
	}
	return rc;
}

static void
ignored(const char *key, bool differs)
{
	if (differs)
		ff_warn("config", "%s: a change needs a restart; ignored", key);
}

static void
report_ignored(const struct ff_config *a, const struct ff_config *b)
{
	ignored("name", strcmp(a->name, b->name) != 0);
	ignored("run_dir", !run_dir_fixed && strcmp(a->run_dir, b->run_dir) != 0);
	ignored("shim", strcmp(a->shim_path, b->shim_path) != 0);
	ignored("workers.count", a->num_workers != b->num_workers);
	ignored("workers.cores", memcmp(a->cores, b->cores, sizeof(a->cores)) != 0);
	ignored("workers.idle", a->idle != b->idle);
	ignored("workers.spin_us", a->spin_us != b->spin_us);
	ignored("workers.priority", a->priority != b->priority);
	ignored("memory.hugepages", a->hugepages != b->hugepages);
	ignored("memory.megabytes", a->memory_mb != b->memory_mb);
	ignored("tcp.streams", a->streams != b->streams);
	ignored("tcp.port", a->tcp_port != b->tcp_port);
	ignored("tcp.secret_file", strcmp(a->tcp_secret, b->tcp_secret) != 0);
	ignored("wire.port", a->wire.port != b->wire.port);
	ignored("wire.device", strcmp(a->wire.device, b->wire.device) != 0);
	ignored("wire.encap", a->wire.encap != b->wire.encap);
	ignored("wire.next_hop",
		memcmp(a->wire.next_hop, b->wire.next_hop, sizeof(a->wire.next_hop)) != 0);
	ignored("wire.udp_port", a->wire.udp_port != b->wire.udp_port);
	ignored("wire.address", strcmp(a->wire.address, b->wire.address) != 0);
	ignored("overlay.providers",
		a->overlay.num_providers != b->overlay.num_providers ||
			memcmp(a->overlay.providers, b->overlay.providers,
			       a->overlay.num_providers * sizeof(a->overlay.providers[0])) != 0);
}

static void
reload_log(const struct ff_config *fresh)
{
	enum ff_log_level level = level_fixed ? ff_config.log_level : fresh->log_level;

	memcpy(ff_config.log_components, fresh->log_components, sizeof(fresh->log_components));
	ff_config.num_log_components = fresh->num_log_components;
	ff_config.log_level = level;
	ff_config_log_apply(&ff_config);
}

static const char *
tenant_name(uint32_t index)
{
	const struct ff_tenant *t = ff_tenant_by_index(index);

	return t ? t->name : NULL;
}

/* ff_config has the new table already; nothing may point to the old one any more. */
static void
reload_overlay(void)
{
	ff_overlay_static_set(&ff_config.overlay, tenant_name);
}

static const struct ff_container_conf *
container_conf_find(const struct ff_config *c, const char *id)
{
	unsigned i;

	for (i = 0; i < c->num_containers; i++)
		if (strcmp(c->containers[i].id, id) == 0)
			return &c->containers[i];
	return NULL;
}

static void
container_remove(const char *id)
{
	int rc = ff_container_del(id);

	if (rc && rc != -ENOENT)
		ff_err("config", "container %s: not removed: %s", id, strerror(-rc));
	else
		ff_info("config", "container %s: removed", id);
}

static bool
same_place(const struct ff_container_conf *a, const struct ff_container_conf *b)
{
	unsigned i;

	if (strcmp(a->tenant, b->tenant) || strcmp(a->netns, b->netns) ||
	    a->num_addresses != b->num_addresses)
		return false;
	for (i = 0; i < a->num_addresses; i++)
		if (strcmp(a->addresses[i], b->addresses[i]))
			return false;
	return true;
}

/* Its limits, as far as it is the same container; then it is added, or looked at again. */
static void
container_update(const struct ff_container_conf *conf, const struct ff_container_conf *before)
{
	struct ff_container *c = ff_container_find(conf->id);
	char err[256] = "";
	int rc;

	if (c && before && !same_place(conf, before)) {
		ff_warn("config",
			"container %s: tenant, netns and addresses of a container cannot "
			"change; remove it and add it again; ignored",
			conf->id);
		return;
	}
	if (c && before)
		ff_container_limits_set(c, &conf->limits);
	rc = ff_container_add(conf, err, sizeof(err));
	if (rc)
		ff_err("config", "container %s: %s", conf->id, err[0] ? err : strerror(-rc));
}

static void
limits_again(struct ff_container *c, void *arg)
{
	ff_container_limits_set(c, NULL);
}

/* ff_config has the new lists already; old has those of before. */
static void
reload_containers(const struct ff_config *old)
{
	unsigned i;

	ff_tenants_update();
	ff_container_foreach(limits_again, NULL);
	/* Removals first: an address may move to a new container. */
	for (i = 0; i < old->num_containers; i++)
		if (!container_conf_find(&ff_config, old->containers[i].id))
			container_remove(old->containers[i].id);
	for (i = 0; i < ff_config.num_containers; i++)
		container_update(&ff_config.containers[i],
				 container_conf_find(old, ff_config.containers[i].id));
}

/* Containers that could not be changed must be compared with what they are at the next reload. */
static void
keep_places(const struct ff_config *old)
{
	unsigned i;

	for (i = 0; i < ff_config.num_containers; i++) {
		struct ff_container_conf *now = &ff_config.containers[i];
		const struct ff_container_conf *before = container_conf_find(old, now->id);

		if (before && !same_place(now, before))
			*now = *before;
	}
}

void
ff_reload(void)
{
	struct ff_config fresh, old = ff_config;

	if (!conf_path) {
		ff_warn("config", "SIGHUP: there was no configuration file at start; ignored");
		return;
	}
	ff_service_notify_reloading();
	if (load(&fresh)) {
		ff_err("config", "SIGHUP: %s is not valid: nothing has changed", conf_path);
	} else {
		report_ignored(&ff_config, &fresh);
		reload_log(&fresh);
		ff_config.limits = fresh.limits;
		ff_config.tenants = fresh.tenants;
		ff_config.num_tenants = fresh.num_tenants;
		ff_config.containers = fresh.containers;
		ff_config.num_containers = fresh.num_containers;
		ff_config.wire.vni = fresh.wire.vni;
		ff_config.overlay.statics = fresh.overlay.statics;
		ff_config.overlay.num_statics = fresh.overlay.num_statics;
		reload_containers(&old);
		reload_overlay();
		keep_places(&old);
		ff_config_free(&old);
		ff_info("config", "SIGHUP: %s is in force", conf_path);
	}
	ff_service_notify("READY=1");
}
