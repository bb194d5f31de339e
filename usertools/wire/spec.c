/* SPDX-License-Identifier: MIT */
/* The wire's settings as text. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "spec.h"

#define SPEC_MAX    1024u
#define KEY_MAX	    64u
#define LIMIT_BYTES 262144u
#define NS_IN_MS    1000000.0

enum kind {
	PERCENT,
	TIME,  /* ms without a suffix */
	RATE,  /* bit/s without a suffix */
	BYTES, /* k, m: times 1024 */
	COUNT,
	LINK,
	SWITCH,
};

static const struct key {
	const char *name;
	enum kind kind;
	size_t offset;
} keys[] = {
	{"loss", PERCENT, offsetof(struct wire_settings, loss)},
	{"dup", PERCENT, offsetof(struct wire_settings, dup)},
	{"reorder", PERCENT, offsetof(struct wire_settings, reorder)},
	{"corrupt", PERCENT, offsetof(struct wire_settings, corrupt)},
	{"repair", SWITCH, offsetof(struct wire_settings, repair)},
	{"delay", TIME, offsetof(struct wire_settings, delay)},
	{"jitter", TIME, offsetof(struct wire_settings, jitter)},
	{"rate", RATE, offsetof(struct wire_settings, rate)},
	{"limit", BYTES, offsetof(struct wire_settings, limit)},
	{"ecn", BYTES, offsetof(struct wire_settings, ecn)},
	{"mtu", BYTES, offsetof(struct wire_settings, mtu)},
	{"link", LINK, offsetof(struct wire_settings, down)},
	{"seed", COUNT, offsetof(struct wire_settings, seed)},
};
#define NUM_KEYS (sizeof(keys) / sizeof(keys[0]))

static const struct unit {
	enum kind kind;
	const char *suffix;
	double factor, max;
} units[] = {
	{PERCENT, "", 1, 100},	   {PERCENT, "%", 1, 100},

	{TIME, "", 1e6, 60e9},	   {TIME, "us", 1e3, 60e9},	{TIME, "ms", 1e6, 60e9},
	{TIME, "s", 1e9, 60e9},

	{RATE, "", 1, 1e12},	   {RATE, "bit", 1, 1e12},	{RATE, "kbit", 1e3, 1e12},
	{RATE, "mbit", 1e6, 1e12}, {RATE, "gbit", 1e9, 1e12},

	{BYTES, "", 1, 1 << 30},   {BYTES, "k", 1024, 1 << 30}, {BYTES, "m", 1 << 20, 1 << 30},
};
#define NUM_UNITS (sizeof(units) / sizeof(units[0]))

static const char *const forms[] = {
	[PERCENT] = "a percentage, 0 to 100",
	[TIME] = "a time such as 10ms, 500us, 2s, at most 60s",
	[RATE] = "a rate such as 100mbit, 2gbit, at most 1000gbit",
	[BYTES] = "a number of bytes such as 30000, 64k, at most 1024m",
	[COUNT] = "a number, 0 to 2^64 - 1",
	[LINK] = "up or down",
	[SWITCH] = "on or off",
};

void
wire_settings_init(struct wire_settings *s)
{
	*s = (struct wire_settings){.limit = LIMIT_BYTES, .seed = 1, .repair = true};
}

/* A decimal number and one of the units of that kind. */
static int
measure_parse(const char *text, enum kind kind, double *value)
{
	char *end;
	size_t i;

	/* strtod() takes signs, spaces, "inf" and "0x1" too. */
	if ((!isdigit((unsigned char)text[0]) && text[0] != '.') || tolower(text[1]) == 'x')
		return -EINVAL;
	*value = strtod(text, &end);
	if (end == text)
		return -EINVAL;
	for (i = 0; i < NUM_UNITS; i++) {
		if (units[i].kind != kind || strcmp(end, units[i].suffix))
			continue;
		*value *= units[i].factor;
		return *value <= units[i].max ? 0 : -EINVAL;
	}
	return -EINVAL;
}

static int
count_parse(const char *text, uint64_t *value)
{
	char *end;

	if (!isdigit((unsigned char)text[0]))
		return -EINVAL;
	errno = 0;
	*value = strtoull(text, &end, 10);
	return *end || errno ? -EINVAL : 0;
}

static int
choice_parse(const char *text, const char *yes, const char *no, bool *value)
{
	*value = !strcmp(text, yes);
	return *value || !strcmp(text, no) ? 0 : -EINVAL;
}

static int
value_set(struct wire_settings *s, const struct key *key, const char *text)
{
	void *field = (char *)s + key->offset;
	double value;
	int rc;

	switch (key->kind) {
	case COUNT:
		return count_parse(text, field);
	case LINK:
		return choice_parse(text, "down", "up", field);
	case SWITCH:
		return choice_parse(text, "on", "off", field);
	default:
		break;
	}
	rc = measure_parse(text, key->kind, &value);
	if (rc)
		return rc;
	if (key->kind == PERCENT)
		*(double *)field = value;
	else
		*(uint64_t *)field = (uint64_t)(value + 0.5);
	return 0;
}

static const struct key *
key_find(const char *name)
{
	size_t i;

	for (i = 0; i < NUM_KEYS; i++)
		if (!strcmp(keys[i].name, name))
			return &keys[i];
	return NULL;
}

/* Which ports an item is for: first to last. name: what is left of "PORT.KEY". */
static int
ports_find(const char **name, const char *const *names, unsigned num, unsigned *first,
	   unsigned *last)
{
	const char *dot = strrchr(*name, '.');
	unsigned i;

	*first = 0;
	*last = num - 1;
	if (!dot)
		return 0;
	for (i = 0; i < num; i++) {
		size_t length = (size_t)(dot - *name);

		if (strlen(names[i]) == length && !strncmp(names[i], *name, length)) {
			*first = *last = i;
			*name = dot + 1;
			return 0;
		}
	}
	return -ENOENT;
}

static int
key_unknown(const char *name, char *error, size_t size)
{
	size_t i, used;

	used = (size_t)snprintf(error, size, "%.*s: no such key (", (int)KEY_MAX, name);
	for (i = 0; i < NUM_KEYS && used < size; i++)
		used += (size_t)snprintf(error + used, size - used, "%s%s", i ? ", " : "",
					 keys[i].name);
	if (used < size)
		snprintf(error + used, size - used, ")");
	return -EINVAL;
}

static void
all_reset(struct wire_settings *ports, unsigned num)
{
	unsigned i;

	for (i = 0; i < num; i++) {
		uint64_t seed = ports[i].seed;

		wire_settings_init(&ports[i]);
		ports[i].seed = seed;
	}
}

/* One KEY=VALUE, which it takes apart. */
static int
item_apply(struct wire_settings *ports, const char *const *names, unsigned num, char *item,
	   bool *reseed, char *error, size_t size)
{
	char *value = strchr(item, '=');
	const char *name = item;
	const struct key *key;
	unsigned i, first, last;

	if (!strcmp(item, "none")) {
		all_reset(ports, num);
		return 0;
	}
	if (value)
		*value++ = '\0';
	if (ports_find(&name, names, num, &first, &last)) {
		snprintf(error, size, "%.*s: no such port", (int)KEY_MAX, item);
		return -EINVAL;
	}
	key = key_find(name);
	if (!key)
		return key_unknown(name, error, size);
	for (i = first; i <= last; i++) {
		if (!value || value_set(&ports[i], key, value)) {
			snprintf(error, size, "%s=%.*s: %s", name, (int)KEY_MAX, value ? value : "",
				 forms[key->kind]);
			return -EINVAL;
		}
		reseed[i] = reseed[i] || !strcmp(key->name, "seed");
	}
	return 0;
}

int
wire_spec_apply(struct wire_settings *ports, const char *const *names, unsigned num,
		const char *spec, bool *reseed, char *error, size_t size)
{
	struct wire_settings changed[num];
	char text[SPEC_MAX], *item, *rest = text;
	bool seeds[num];

	memset(seeds, 0, sizeof(seeds));
	memcpy(changed, ports, sizeof(changed));
	if (snprintf(text, sizeof(text), "%s", spec) >= (int)sizeof(text)) {
		snprintf(error, size, "longer than %u characters", SPEC_MAX - 1);
		return -EINVAL;
	}
	while ((item = strsep(&rest, ",")))
		if (item_apply(changed, names, num, item, seeds, error, size))
			return -EINVAL;
	memcpy(ports, changed, sizeof(changed));
	memcpy(reseed, seeds, sizeof(seeds));
	return 0;
}

void
wire_settings_print(const struct wire_settings *s, FILE *out)
{
	size_t i;

	for (i = 0; i < NUM_KEYS; i++) {
		const void *field = (const char *)s + keys[i].offset;
		uint64_t number =
			keys[i].kind == LINK || keys[i].kind == SWITCH || keys[i].kind == PERCENT
				? 0
				: *(const uint64_t *)field;

		fprintf(out, "%s\"%s\": ", i ? ", " : "{", keys[i].name);
		switch (keys[i].kind) {
		case PERCENT:
			fprintf(out, "%.9g", *(const double *)field);
			break;
		case TIME:
			fprintf(out, "%.9g", (double)number / NS_IN_MS);
			break;
		case LINK:
			fprintf(out, "\"%s\"", *(const bool *)field ? "down" : "up");
			break;
		case SWITCH:
			fprintf(out, "\"%s\"", *(const bool *)field ? "on" : "off");
			break;
		default:
			fprintf(out, "%llu", (unsigned long long)number);
		}
	}
	fprintf(out, "}");
}
