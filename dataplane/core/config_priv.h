/* SPDX-License-Identifier: MIT */
/* Typed readers of JSON objects, driven by tables of fields. config_parse.c; control thread. */
#ifndef FF_CORE_CONFIG_PRIV_H
#define FF_CORE_CONFIG_PRIV_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <jansson.h>

#define FF_JSON_PATH 160u

/* Where faults go; each is counted, none stops the reading. */
struct ff_parse {
	FILE *err;
	unsigned faults;
};

/* "path: text" */
void ff_parse_fault(struct ff_parse *p, const char *path, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

enum ff_field_type {
	FF_FIELD_U32, /* min..max */
	FF_FIELD_U64,
	FF_FIELD_INT,
	FF_FIELD_NAME,	 /* char[FF_ID_LEN]: an identifier */
	FF_FIELD_STRING, /* char[size]: no control characters, not empty */
	FF_FIELD_ENUM,	 /* int-sized enum: index in names */
	FF_FIELD_CUSTOM, /* fn reads it */
};

struct ff_field {
	const char *key;
	enum ff_field_type type;
	size_t off;  /* in the struct that the object fills */
	size_t size; /* FF_FIELD_STRING */
	uint64_t min, max;
	const char *const *names; /* FF_FIELD_ENUM, NULL at the end */
	void (*fn)(struct ff_parse *p, json_t *value, const char *path, void *base);
};

/* Reads obj into base. Unknown keys are faults, but for "$comment" and "$schema". */
void ff_parse_object(struct ff_parse *p, json_t *obj, const char *path,
		     const struct ff_field *fields, unsigned num_fields, void *base);
/* A single value, such as an array's element. */
void ff_parse_value(struct ff_parse *p, json_t *value, const char *path, const struct ff_field *f,
		    void *base);
/* "parent[i]" and "parent.key" ("key" when parent is empty). */
void ff_path_index(char out[FF_JSON_PATH], const char *parent, size_t index);
void ff_path_key(char out[FF_JSON_PATH], const char *parent, const char *key);
/* For messages: "a string", "an object". */
const char *ff_json_type_name(const json_t *value);

/*
 * Checks that value is an array of at most max and makes room for its elements, zeroed. NULL: a
 * fault.
 */
void *ff_parse_array_room(struct ff_parse *p, json_t *value, const char *path, size_t max,
			  size_t elem);

/* config_tenant.c */
struct ff_config;
struct ff_overlay_conf;
void ff_parse_tenants(struct ff_parse *p, json_t *value, const char *path, void *base);
/* No VNI has two tenants. */
void ff_check_vnis(struct ff_parse *p, const struct ff_config *c);

/* config_overlay.c */
void ff_parse_overlay(struct ff_parse *p, json_t *value, const char *path, void *base);
void ff_config_overlay_defaults(struct ff_overlay_conf *o);
void ff_config_overlay_free(struct ff_overlay_conf *o);

/* config_wire.c */
void ff_parse_wire(struct ff_parse *p, json_t *value, const char *path, void *base);

/* config_container.c */
void ff_parse_container(struct ff_parse *p, json_t *value, const char *path,
			struct ff_container_conf *c);
void ff_parse_limits(struct ff_parse *p, json_t *value, const char *path, struct ff_limits *l);
/* Duplicate ids, and addresses twice in one tenant. */
void ff_check_containers(struct ff_parse *p, const struct ff_container_conf *c, unsigned n);

#endif
