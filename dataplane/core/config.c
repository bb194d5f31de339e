/* SPDX-License-Identifier: MIT */
/* The configuration: defaults, the file's top level, contradictions. Control thread. */
#include "config.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "config_priv.h"
#include "core/build_conf.h"

/* A file of this size is not a configuration. */
#define FILE_MAX      (64u << 20)
/* Below it, the programs that spin on their completion queues need the CPUs. */
#define POLL_CPUS_MIN 4
struct ff_config ff_config;

static const char *const log_level_names[] = {"error", "warning", "info", "debug", NULL};
static const char *const streams_names[] = {"off", "local", "host", NULL};
static const char *const hugepages_names[] = {"auto", "require", "never", NULL};

static int
usable_cpus(void)
{
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set))
		return (int)sysconf(_SC_NPROCESSORS_ONLN);
	return CPU_COUNT(&set);
}

static void
limits_defaults(struct ff_limits *l)
{
	*l = (struct ff_limits){
		.processes = 256,
		.contexts = 1024,
		.pds = 4096,
		.mrs = 65536,
		.mws = 65536,
		.cqs = 16384,
		.qps = 16384,
		.srqs = 4096,
		.ahs = 65536,
		.mcast = 1024,
		.streams = 65536,
		.qp_wr = 16384,
		.cq_entries = 32767,
		.sge = 32,
		.pinned_bytes = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE),
	};
}

void
ff_config_defaults(struct ff_config *c)
{
	unsigned i;

	*c = (struct ff_config){
		.name = "freeflow",
		.run_dir = "/run/freeflow",
		.shim_path = FF_SHIM_PATH,
		.log_level = FF_LOG_INFO,
		.num_workers = 1,
		.idle = usable_cpus() < POLL_CPUS_MIN ? FF_IDLE_INTERRUPT : FF_IDLE_POLL,
		.spin_us = 50,
		.priority = 10,
		.hugepages = FF_HUGE_AUTO,
		.memory_mb = 64,
		.tcp_port = 24791,
		.wire.vni = 4096,
	};
	for (i = 0; i < FF_WORKERS_MAX; i++)
		c->cores[i] = -1;
	limits_defaults(&c->limits);
	ff_config_overlay_defaults(&c->overlay);
}

void
ff_config_free(struct ff_config *c)
{
	free(c->tenants);
	free(c->containers);
	ff_config_overlay_free(&c->overlay);
	c->tenants = NULL;
	c->containers = NULL;
	c->num_tenants = c->num_containers = 0;
}

void
ff_config_log_apply(const struct ff_config *c)
{
	unsigned i;

	ff_log_level_set(NULL, c->log_level);
	for (i = 0; i < c->num_log_components; i++)
		ff_log_level_set(c->log_components[i].component, c->log_components[i].level);
}

/* ---- "log" ---- */

static void
log_components(struct ff_parse *p, json_t *value, const char *path, void *base)
{
	static const struct ff_field level = {
		.type = FF_FIELD_ENUM,
		.off = offsetof(struct ff_log_conf, level),
		.names = log_level_names,
	};
	struct ff_config *c = base;
	struct ff_log_conf *l;
	char sub[FF_JSON_PATH];
	const char *key;
	json_t *v;

	if (!json_is_object(value)) {
		ff_parse_fault(p, path, "must be an object, is %s", ff_json_type_name(value));
		return;
	}
	json_object_foreach (value, key, v) {
		ff_path_key(sub, path, key);
		if (!ff_log_component_known(key)) {
			ff_parse_fault(p, sub, "is no component that writes logs");
			continue;
		}
		l = &c->log_components[c->num_log_components++];
		snprintf(l->component, sizeof(l->component), "%s", key);
		ff_parse_value(p, v, sub, &level, l);
	}
}

static const struct ff_field log_fields[] = {
	{.key = "level",
	 .type = FF_FIELD_ENUM,
	 .off = offsetof(struct ff_config, log_level),
	 .names = log_level_names},
	{.key = "components", .type = FF_FIELD_CUSTOM, .fn = log_components},
};

static void
parse_log(struct ff_parse *p, json_t *value, const char *path, void *base)
{
	ff_parse_object(p, value, path, log_fields, sizeof(log_fields) / sizeof(log_fields[0]),
			base);
}

/* ---- "workers" ---- */

static void
worker_cores(struct ff_parse *p, json_t *value, const char *path, void *base)
{
	struct ff_config *c = base;
	struct ff_field core = {.type = FF_FIELD_INT, .min = 0, .max = CPU_SETSIZE - 1};
	char sub[FF_JSON_PATH];
	json_t *element;
	size_t i, j;

	if (!json_is_array(value)) {
		ff_parse_fault(p, path, "must be an array, is %s", ff_json_type_name(value));
		return;
	}
	if (!json_array_size(value) || json_array_size(value) > FF_WORKERS_MAX) {
		ff_parse_fault(p, path, "must list 1 to %u CPUs", FF_WORKERS_MAX);
		return;
	}
	json_array_foreach (value, i, element) {
		ff_path_index(sub, path, i);
		core.off = offsetof(struct ff_config, cores) + i * sizeof(c->cores[0]);
		ff_parse_value(p, element, sub, &core, c);
		for (j = 0; j < i; j++)
			if (c->cores[i] >= 0 && c->cores[i] == c->cores[j])
				ff_parse_fault(p, sub, "CPU %d is listed twice", c->cores[i]);
	}
}

static const struct ff_field worker_fields[] = {
	{.key = "count",
	 .type = FF_FIELD_U32,
	 .off = offsetof(struct ff_config, num_workers),
	 .min = 1,
	 .max = FF_WORKERS_MAX},
	{.key = "cores", .type = FF_FIELD_CUSTOM, .fn = worker_cores},
	{.key = "idle",
	 .type = FF_FIELD_ENUM,
	 .off = offsetof(struct ff_config, idle),
	 .names = ff_idle_policy_names},
	{.key = "spin_us",
	 .type = FF_FIELD_U32,
	 .off = offsetof(struct ff_config, spin_us),
	 .max = 1000000},
	{.key = "priority",
	 .type = FF_FIELD_INT,
	 .off = offsetof(struct ff_config, priority),
	 .max = 99},
};

static void
parse_workers(struct ff_parse *p, json_t *value, const char *path, void *base)
{
	struct ff_config *c = base;
	json_t *cores, *idle;

	ff_parse_object(p, value, path, worker_fields,
			sizeof(worker_fields) / sizeof(worker_fields[0]), c);
	if (!json_is_object(value))
		return;
	cores = json_object_get(value, "cores");
	if (json_is_array(cores) && json_array_size(cores) <= FF_WORKERS_MAX) {
		if (json_is_integer(json_object_get(value, "count")) &&
		    c->num_workers != json_array_size(cores))
			ff_parse_fault(p, "workers.cores",
				       "lists %zu CPUs, but workers.count is %u",
				       json_array_size(cores), c->num_workers);
		c->num_workers = (unsigned)json_array_size(cores);
	}
	idle = json_object_get(value, "idle");
	if (json_object_get(value, "spin_us") && idle && c->idle != FF_IDLE_ADAPTIVE)
		ff_parse_fault(p, "workers.spin_us",
			       "has no meaning unless workers.idle is "
			       "\"adaptive\"");
}

/* ---- "memory", "tcp", "limits" ---- */

static const struct ff_field memory_fields[] = {
	{.key = "hugepages",
	 .type = FF_FIELD_ENUM,
	 .off = offsetof(struct ff_config, hugepages),
	 .names = hugepages_names},
	{.key = "megabytes",
	 .type = FF_FIELD_U32,
	 .off = offsetof(struct ff_config, memory_mb),
	 .min = 32,
	 .max = 1 << 20},
};

static void
parse_memory(struct ff_parse *p, json_t *value, const char *path, void *base)
{
	ff_parse_object(p, value, path, memory_fields,
			sizeof(memory_fields) / sizeof(memory_fields[0]), base);
}

static const struct ff_field tcp_fields[] = {
	{.key = "streams",
	 .type = FF_FIELD_ENUM,
	 .off = offsetof(struct ff_config, streams),
	 .names = streams_names},
	{.key = "port",
	 .type = FF_FIELD_U32,
	 .off = offsetof(struct ff_config, tcp_port),
	 .min = 1,
	 .max = UINT16_MAX},
	{.key = "secret_file",
	 .type = FF_FIELD_STRING,
	 .off = offsetof(struct ff_config, tcp_secret),
	 .size = sizeof(((struct ff_config *)0)->tcp_secret)},
};

static void
parse_tcp(struct ff_parse *p, json_t *value, const char *path, void *base)
{
	const struct ff_config *c = base;
	char sub[FF_JSON_PATH];

	ff_parse_object(p, value, path, tcp_fields, sizeof(tcp_fields) / sizeof(tcp_fields[0]),
			base);
	ff_path_key(sub, path, "secret_file");
	if (c->streams == FF_STREAMS_HOST && !c->tcp_secret[0])
		ff_parse_fault(p, sub, "is missing, and tcp.streams is \"host\"");
	else if (c->tcp_secret[0] && c->tcp_secret[0] != '/')
		ff_parse_fault(p, sub, "must be an absolute path");
}

static void
parse_top_limits(struct ff_parse *p, json_t *value, const char *path, void *base)
{
	ff_parse_limits(p, value, path, &((struct ff_config *)base)->limits);
}

/* ---- "containers" ---- */

static void
parse_containers(struct ff_parse *p, json_t *value, const char *path, void *base)
{
	struct ff_config *c = base;
	char sub[FF_JSON_PATH];
	json_t *element;
	size_t i;

	c->containers =
		ff_parse_array_room(p, value, path, FF_CONF_CONTAINERS_MAX, sizeof(*c->containers));
	if (!c->containers)
		return;
	json_array_foreach (value, i, element) {
		ff_path_index(sub, path, i);
		ff_parse_container(p, element, sub, &c->containers[c->num_containers++]);
	}
	ff_check_containers(p, c->containers, c->num_containers);
}

/* ---- the file ---- */

static const struct ff_field top_fields[] = {
	{.key = "name", .type = FF_FIELD_NAME, .off = offsetof(struct ff_config, name)},
	{.key = "run_dir",
	 .type = FF_FIELD_STRING,
	 .off = offsetof(struct ff_config, run_dir),
	 .size = FF_RUN_DIR_MAX + 1},
	{.key = "shim",
	 .type = FF_FIELD_STRING,
	 .off = offsetof(struct ff_config, shim_path),
	 .size = sizeof(ff_config.shim_path)},
	{.key = "log", .type = FF_FIELD_CUSTOM, .fn = parse_log},
	{.key = "workers", .type = FF_FIELD_CUSTOM, .fn = parse_workers},
	{.key = "memory", .type = FF_FIELD_CUSTOM, .fn = parse_memory},
	{.key = "limits", .type = FF_FIELD_CUSTOM, .fn = parse_top_limits},
	{.key = "wire", .type = FF_FIELD_CUSTOM, .fn = ff_parse_wire},
	{.key = "tcp", .type = FF_FIELD_CUSTOM, .fn = parse_tcp},
	{.key = "overlay", .type = FF_FIELD_CUSTOM, .fn = ff_parse_overlay},
	{.key = "tenants", .type = FF_FIELD_CUSTOM, .fn = ff_parse_tenants},
	{.key = "containers", .type = FF_FIELD_CUSTOM, .fn = parse_containers},
};

static int
config_parse(const char *text, size_t len, struct ff_config *c, FILE *err)
{
	struct ff_parse p = {.err = err};
	json_error_t e;
	json_t *root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &e);

	if (!root) {
		fprintf(err, "line %d, column %d: %s\n", e.line, e.column, e.text);
		return -EINVAL;
	}
	ff_parse_object(&p, root, "", top_fields, sizeof(top_fields) / sizeof(top_fields[0]), c);
	json_decref(root);
	ff_check_vnis(&p, c);
	if (c->run_dir[0] != '/')
		ff_parse_fault(&p, "run_dir", "must be an absolute path");
	if (c->shim_path[0] != '/')
		ff_parse_fault(&p, "shim", "must be an absolute path");
	return p.faults ? -EINVAL : 0;
}

int
ff_config_parse(const char *text, size_t len, struct ff_config *c, FILE *err)
{
	struct ff_config fresh;
	int rc = 0;

	ff_config_defaults(&fresh);
	if (len && strspn(text, " \t\r\n") < len)
		rc = config_parse(text, len, &fresh, err);
	if (rc)
		ff_config_free(&fresh);
	else
		*c = fresh;
	return rc;
}

/* The whole file, '\0' at the end. 0 or -errno. */
static int
file_read(const char *path, char **text, size_t *len)
{
	FILE *f = fopen(path, "re");
	char *buf = NULL;
	size_t cap = 0, n = 0;
	int rc = 0;

	if (!f)
		return -errno;
	do {
		char *more;

		n += cap ? fread(buf + n, 1, cap - n - 1, f) : 0;
		if (ferror(f) || n > FILE_MAX) {
			rc = ferror(f) ? -EIO : -EFBIG;
			break;
		}
		if (n + 1 < cap)
			continue;
		cap = cap ? cap * 2 : 16384;
		more = realloc(buf, cap);
		if (!more) {
			rc = -ENOMEM;
			break;
		}
		buf = more;
	} while (!feof(f));
	fclose(f);
	if (rc) {
		free(buf);
		return rc;
	}
	buf[n] = '\0';
	*text = buf;
	*len = n;
	return 0;
}

int
ff_config_load(const char *path, struct ff_config *c, FILE *err)
{
	size_t len = 0;
	char *text = NULL;
	int rc = file_read(path, &text, &len);

	if (rc) {
		fprintf(err, "%s: %s\n", path, strerror(-rc));
		return rc;
	}
	rc = ff_config_parse(text, len, c, err);
	free(text);
	return rc;
}
