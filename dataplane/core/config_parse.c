/* SPDX-License-Identifier: MIT */
/* Reads JSON objects into structs by tables of fields, and says what is wrong and where. */
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "config_priv.h"

void
ff_parse_fault(struct ff_parse *p, const char *path, const char *fmt, ...)
{
	va_list ap;

	p->faults++;
	fprintf(p->err, "%s: ", path[0] ? path : "(top level)");
	va_start(ap, fmt);
	vfprintf(p->err, fmt, ap);
	va_end(ap);
	fputc('\n', p->err);
}

void
ff_path_index(char out[FF_JSON_PATH], const char *parent, size_t index)
{
	snprintf(out, FF_JSON_PATH, "%.*s[%zu]", (int)FF_JSON_PATH - 24, parent, index);
}

void
ff_path_key(char out[FF_JSON_PATH], const char *parent, const char *key)
{
	int n = snprintf(out, FF_JSON_PATH, "%.*s%s", (int)FF_JSON_PATH / 2, parent,
			 parent[0] ? "." : "");

	snprintf(out + n, FF_JSON_PATH - (size_t)n, "%s", key);
}

const char *
ff_json_type_name(const json_t *value)
{
	if (!value)
		return "missing";
	switch (json_typeof(value)) {
	case JSON_OBJECT:
		return "an object";
	case JSON_ARRAY:
		return "an array";
	case JSON_STRING:
		return "a string";
	case JSON_INTEGER:
		return "an integer";
	case JSON_REAL:
		return "a number with a fraction";
	case JSON_TRUE:
	case JSON_FALSE:
		return "a boolean";
	default:
		return "null";
	}
}

void *
ff_parse_array_room(struct ff_parse *p, json_t *value, const char *path, size_t max, size_t elem)
{
	void *room;

	if (!json_is_array(value)) {
		ff_parse_fault(p, path, "must be an array, is %s", ff_json_type_name(value));
		return NULL;
	}
	if (json_array_size(value) > max) {
		ff_parse_fault(p, path, "has %zu elements, %zu are the most",
			       json_array_size(value), max);
		return NULL;
	}
	room = calloc(json_array_size(value) + 1, elem);
	if (!room)
		ff_parse_fault(p, path, "no memory for %zu elements", json_array_size(value));
	return room;
}

static bool
number_get(struct ff_parse *p, json_t *value, const char *path, const struct ff_field *f,
	   json_int_t *out)
{
	if (!json_is_integer(value)) {
		ff_parse_fault(p, path, "must be an integer, is %s", ff_json_type_name(value));
		return false;
	}
	*out = json_integer_value(value);
	/* As signed numbers: an FF_FIELD_INT has a negative min, stored as uint64_t. */
	if (*out < (json_int_t)f->min || *out > (json_int_t)f->max) {
		ff_parse_fault(p, path, "is %lld, must be %lld to %lld", (long long)*out,
			       (long long)f->min, (long long)f->max);
		return false;
	}
	return true;
}

static const char *
string_get(struct ff_parse *p, json_t *value, const char *path)
{
	if (json_is_string(value))
		return json_string_value(value);
	ff_parse_fault(p, path, "must be a string, is %s", ff_json_type_name(value));
	return NULL;
}

/* Names become file names and parts of log lines. */
static void
name_set(struct ff_parse *p, json_t *value, const char *path, char *out)
{
	static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				      "0123456789_.-";
	const char *s = string_get(p, value, path);

	if (!s)
		return;
	if (!s[0] || strlen(s) >= FF_ID_LEN || s[strspn(s, allowed)] || s[0] == '.' ||
	    s[0] == '-') {
		ff_parse_fault(p, path,
			       "must be 1 to %u characters of A-Z a-z 0-9 _ . - that begin with "
			       "neither . nor -",
			       FF_ID_LEN - 1);
		return;
	}
	strcpy(out, s);
}

static void
string_set(struct ff_parse *p, json_t *value, const char *path, const struct ff_field *f, char *out)
{
	const char *s = string_get(p, value, path), *c;

	if (!s)
		return;
	for (c = s; *c; c++) {
		if ((unsigned char)*c < ' ' || *c == 0x7f) {
			ff_parse_fault(p, path, "contains a control character");
			return;
		}
	}
	if (!s[0] || strlen(s) >= f->size) {
		ff_parse_fault(p, path, "must be 1 to %zu bytes long", f->size - 1);
		return;
	}
	strcpy(out, s);
}

static void
enum_set(struct ff_parse *p, json_t *value, const char *path, const struct ff_field *f, void *out)
{
	const char *s = string_get(p, value, path);
	char list[128] = "";
	int i;

	if (!s)
		return;
	for (i = 0; f->names[i]; i++) {
		if (strcmp(s, f->names[i]) == 0) {
			memcpy(out, &i, sizeof(i));
			return;
		}
		snprintf(list + strlen(list), sizeof(list) - strlen(list), "%s\"%s\"",
			 i ? ", " : "", f->names[i]);
	}
	ff_parse_fault(p, path, "must be one of %s", list);
}

void
ff_parse_value(struct ff_parse *p, json_t *value, const char *path, const struct ff_field *f,
	       void *base)
{
	char *out = (char *)base + f->off;
	json_int_t n;

	switch (f->type) {
	case FF_FIELD_U32:
		if (number_get(p, value, path, f, &n))
			*(uint32_t *)(void *)out = (uint32_t)n;
		break;
	case FF_FIELD_U64:
		if (number_get(p, value, path, f, &n))
			*(uint64_t *)(void *)out = (uint64_t)n;
		break;
	case FF_FIELD_INT:
		if (number_get(p, value, path, f, &n))
			*(int *)(void *)out = (int)n;
		break;
	case FF_FIELD_NAME:
		name_set(p, value, path, out);
		break;
	case FF_FIELD_STRING:
		string_set(p, value, path, f, out);
		break;
	case FF_FIELD_ENUM:
		enum_set(p, value, path, f, out);
		break;
	case FF_FIELD_CUSTOM:
		f->fn(p, value, path, base);
		break;
	}
}

static void
unknown_key(struct ff_parse *p, const char *path, const struct ff_field *fields, unsigned n)
{
	char list[256] = "";
	unsigned i;

	for (i = 0; i < n; i++)
		snprintf(list + strlen(list), sizeof(list) - strlen(list), "%s%s", i ? ", " : "",
			 fields[i].key);
	ff_parse_fault(p, path, "unknown key (known here: %s)", list);
}

void
ff_parse_object(struct ff_parse *p, json_t *obj, const char *path, const struct ff_field *fields,
		unsigned num_fields, void *base)
{
	char sub[FF_JSON_PATH];
	const char *key;
	json_t *value;
	unsigned i;

	if (!json_is_object(obj)) {
		ff_parse_fault(p, path, "must be an object, is %s", ff_json_type_name(obj));
		return;
	}
	json_object_foreach (obj, key, value) {
		if (strcmp(key, "$comment") == 0 || strcmp(key, "$schema") == 0)
			continue;
		ff_path_key(sub, path, key);
		for (i = 0; i < num_fields; i++)
			if (strcmp(fields[i].key, key) == 0)
				break;
		if (i < num_fields)
			ff_parse_value(p, value, sub, &fields[i], base);
		else
			unknown_key(p, sub, fields, num_fields);
	}
}
