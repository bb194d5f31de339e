/* SPDX-License-Identifier: MIT */
/* Containers and limits of the configuration, also as the admin socket takes them. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "config_priv.h"

#define LIMIT(name, most)                                                                    \
	{                                                                                    \
		.key = #name, .type = FF_FIELD_U32, .off = offsetof(struct ff_limits, name), \
		.min = 1, .max = (most)                                                      \
	}

/* Upper bounds: what the ABI can name (24-bit QPNs and keys, of which half may be used). */
static const struct ff_field limit_fields[] = {
	LIMIT(processes, 65536),
	LIMIT(contexts, 1 << 20),
	LIMIT(pds, 1 << 20),
	LIMIT(mrs, 1 << 23),
	LIMIT(mws, 1 << 23),
	LIMIT(cqs, 1 << 20),
	LIMIT(qps, 1 << 23),
	LIMIT(srqs, 1 << 20),
	LIMIT(ahs, 1 << 23),
	LIMIT(mcast, 1 << 20),
	LIMIT(streams, 1 << 20),
	LIMIT(qp_wr, 16384),
	LIMIT(cq_entries, 32767),
	LIMIT(sge, 32),
	{.key = "pinned_bytes",
	 .type = FF_FIELD_U64,
	 .off = offsetof(struct ff_limits, pinned_bytes),
	 .min = 4096,
	 .max = INT64_MAX},
};

void
ff_parse_limits(struct ff_parse *p, json_t *value, const char *path, struct ff_limits *l)
{
	ff_parse_object(p, value, path, limit_fields,
			sizeof(limit_fields) / sizeof(limit_fields[0]), l);
}

static void
container_limits(struct ff_parse *p, json_t *value, const char *path, void *base)
{
	ff_parse_limits(p, value, path, &((struct ff_container_conf *)base)->limits);
}

/* Text to 16 bytes, IPv4 as ::ffff:a.b.c.d. False: not a unicast address of a host. */
static bool
address_raw(const char *text, uint8_t raw[16])
{
	static const uint8_t v4_prefix[12] = {[10] = 0xff, [11] = 0xff};
	struct in6_addr v6;
	struct in_addr v4;

	if (inet_pton(AF_INET, text, &v4) == 1) {
		memcpy(raw, v4_prefix, sizeof(v4_prefix));
		memcpy(raw + 12, &v4, 4);
	} else if (inet_pton(AF_INET6, text, &v6) == 1) {
		memcpy(raw, &v6, 16);
		if (IN6_IS_ADDR_UNSPECIFIED(&v6) || IN6_IS_ADDR_LOOPBACK(&v6) ||
		    IN6_IS_ADDR_MULTICAST(&v6))
			return false;
	} else {
		return false;
	}
	if (memcmp(raw, v4_prefix, sizeof(v4_prefix)) != 0)
		return true;
	return raw[12] != 0 && raw[12] != 127 && raw[12] < 224;
}

static void
address_add(struct ff_parse *p, json_t *value, const char *path, struct ff_container_conf *c)
{
	const char *text = json_string_value(value);
	uint8_t raw[16], other[16];
	unsigned i;

	if (!text) {
		ff_parse_fault(p, path, "must be a string, is %s", ff_json_type_name(value));
		return;
	}
	if (strlen(text) >= sizeof(c->addresses[0]) || !address_raw(text, raw)) {
		ff_parse_fault(p, path, "must be the IPv4 or IPv6 unicast address of a container");
		return;
	}
	for (i = 0; i < c->num_addresses; i++) {
		if (address_raw(c->addresses[i], other) && memcmp(raw, other, 16) == 0) {
			ff_parse_fault(p, path, "address %s is given twice", text);
			return;
		}
	}
	strcpy(c->addresses[c->num_addresses++], text);
}

static void
container_addresses(struct ff_parse *p, json_t *value, const char *path, void *base)
{
	char sub[FF_JSON_PATH];
	json_t *element;
	size_t i;

	if (!json_is_array(value)) {
		ff_parse_fault(p, path, "must be an array, is %s", ff_json_type_name(value));
		return;
	}
	if (json_array_size(value) > FF_CONF_ADDRS) {
		ff_parse_fault(p, path, "has %zu addresses, %u are the most",
			       json_array_size(value), FF_CONF_ADDRS);
		return;
	}
	json_array_foreach (value, i, element) {
		ff_path_index(sub, path, i);
		address_add(p, element, sub, base);
	}
}

static const struct ff_field container_fields[] = {
	{.key = "id", .type = FF_FIELD_NAME, .off = offsetof(struct ff_container_conf, id)},
	{.key = "tenant", .type = FF_FIELD_NAME, .off = offsetof(struct ff_container_conf, tenant)},
	{.key = "addresses", .type = FF_FIELD_CUSTOM, .fn = container_addresses},
	{.key = "netns",
	 .type = FF_FIELD_STRING,
	 .off = offsetof(struct ff_container_conf, netns),
	 .size = sizeof(((struct ff_container_conf *)0)->netns)},
	{.key = "limits", .type = FF_FIELD_CUSTOM, .fn = container_limits},
};

/* Not there, or nothing in it. What has the wrong type is another fault. */
static bool
is_empty(const json_t *value)
{
	return !value || (json_is_array(value) && !json_array_size(value)) ||
	       (json_is_string(value) && !json_string_length(value));
}

void
ff_parse_container(struct ff_parse *p, json_t *value, const char *path, struct ff_container_conf *c)
{
	char sub[FF_JSON_PATH];

	memset(c, 0, sizeof(*c));
	strcpy(c->tenant, "default");
	ff_parse_object(p, value, path, container_fields,
			sizeof(container_fields) / sizeof(container_fields[0]), c);
	if (!json_is_object(value))
		return;
	if (!json_object_get(value, "id")) {
		ff_path_key(sub, path, "id");
		ff_parse_fault(p, sub, "is missing");
	}
	if (c->netns[0] && c->netns[0] != '/') {
		ff_path_key(sub, path, "netns");
		ff_parse_fault(p, sub, "must be an absolute path");
	}
	if (is_empty(json_object_get(value, "addresses")) &&
	    is_empty(json_object_get(value, "netns")))
		ff_parse_fault(p, path, "has neither addresses nor netns, so nothing names it");
}

int
ff_config_container_parse(const void *json, const char *path, struct ff_container_conf *out,
			  FILE *err)
{
	struct ff_parse p = {.err = err};
	struct ff_container_conf c;

	ff_parse_container(&p, (json_t *)json, path, &c);
	if (p.faults)
		return -EINVAL;
	*out = c;
	return 0;
}

/* One address of one container, for sorting. */
struct claim {
	const struct ff_container_conf *owner;
	unsigned index; /* of the container */
	unsigned slot;
	uint8_t raw[16];
};

static int
claim_compare(const void *a, const void *b)
{
	const struct claim *x = a, *y = b;
	int c = strcmp(x->owner->tenant, y->owner->tenant);

	if (!c)
		c = memcmp(x->raw, y->raw, sizeof(x->raw));
	/* Equal ones in the order of the file, so that the later one is the one that is wrong. */
	if (!c)
		c = x->index < y->index ? -1 : x->index > y->index;
	return c;
}

static void
check_addresses(struct ff_parse *p, const struct ff_container_conf *c, unsigned n)
{
	struct claim *claims = calloc((size_t)n * FF_CONF_ADDRS + 1, sizeof(*claims));
	char path[FF_JSON_PATH];
	unsigned i, slot, num = 0;

	if (!claims) {
		ff_parse_fault(p, "containers", "no memory to check the addresses");
		return;
	}
	for (i = 0; i < n; i++) {
		for (slot = 0; slot < c[i].num_addresses; slot++) {
			claims[num] = (struct claim){&c[i], i, slot, {0}};
			if (address_raw(c[i].addresses[slot], claims[num].raw))
				num++;
		}
	}
	qsort(claims, num, sizeof(*claims), claim_compare);
	for (i = 1; i < num; i++) {
		const struct claim *a = &claims[i - 1], *b = &claims[i];

		if (strcmp(a->owner->tenant, b->owner->tenant) != 0 ||
		    memcmp(a->raw, b->raw, sizeof(a->raw)) != 0)
			continue;
		snprintf(path, sizeof(path), "containers[%u].addresses[%u]", b->index, b->slot);
		ff_parse_fault(p, path, "%s is also an address of containers[%u] (%s), tenant %s",
			       b->owner->addresses[b->slot], a->index, a->owner->id,
			       b->owner->tenant);
	}
	free(claims);
}

static int
id_compare(const void *a, const void *b)
{
	const struct ff_container_conf *x = *(const struct ff_container_conf *const *)a;
	const struct ff_container_conf *y = *(const struct ff_container_conf *const *)b;
	int c = strcmp(x->id, y->id);

	return c ? c : (x < y ? -1 : x > y);
}

void
ff_check_containers(struct ff_parse *p, const struct ff_container_conf *c, unsigned n)
{
	const struct ff_container_conf **sorted = calloc((size_t)n + 1, sizeof(*sorted));
	char path[FF_JSON_PATH];
	unsigned i;

	if (!sorted) {
		ff_parse_fault(p, "containers", "no memory to check the ids");
		return;
	}
	for (i = 0; i < n; i++)
		sorted[i] = &c[i];
	qsort(sorted, n, sizeof(*sorted), id_compare);
	for (i = 1; i < n; i++) {
		if (!sorted[i]->id[0] || strcmp(sorted[i - 1]->id, sorted[i]->id) != 0)
			continue;
		snprintf(path, sizeof(path), "containers[%zu].id", (size_t)(sorted[i] - c));
		ff_parse_fault(p, path, "\"%s\" is also the id of containers[%zu]", sorted[i]->id,
			       (size_t)(sorted[i - 1] - c));
	}
	free(sorted);
	check_addresses(p, c, n);
}
