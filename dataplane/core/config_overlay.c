/* SPDX-License-Identifier: MIT */
/* The configuration's word on which hosts addresses are. Control thread. */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "config_priv.h"

#define PREFIXES_MAX 65536u
/* Less than IPv4 asks of every link (RFC 791) or IPv6 (RFC 8200, 5) is a mistake. */
#define MTU_MIN_V4   576u
#define MTU_MIN_V6   1280u

static const char *const encap_names[] = {
	[FF_OVERLAY_VXLAN] = "vxlan", [FF_OVERLAY_PLAIN] = "none", NULL};

/* ---- values ---- */

static bool
address_is_v4(const uint8_t raw[16])
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

	return !memcmp(raw, mapped, sizeof(mapped));
}

/* IPv4 as ::ffff:a.b.c.d. True for an address, of whatever kind. */
static bool
address_parse(const char *text, uint8_t raw[16], bool *v4)
{
	memset(raw, 0, 16);
	*v4 = inet_pton(AF_INET, text, raw + 12) == 1;
	if (*v4)
		raw[10] = raw[11] = 0xff;
	else if (inet_pton(AF_INET6, text, raw) != 1)
		return false;
	*v4 = address_is_v4(raw);
	return true;
}

/* An address that one host has. */
static bool
address_unicast(const uint8_t raw[16], bool v4)
{
	struct in6_addr a;

	memcpy(&a, raw, 16);
	if (v4)
		return raw[12] != 0 && raw[12] != 127 && raw[12] < 224;
	return !IN6_IS_ADDR_UNSPECIFIED(&a) && !IN6_IS_ADDR_LOOPBACK(&a) &&
	       !IN6_IS_ADDR_MULTICAST(&a);
}

bool
ff_overlay_prefix_mask(uint8_t raw[16], unsigned len)
{
	bool any = false;

	for (unsigned i = 0; i < 16; i++) {
		unsigned keep = len > i * 8 ? len - i * 8 : 0;
		uint8_t mask = keep >= 8 ? 0xff : (uint8_t)(0xff00u >> keep);

		any |= raw[i] & (uint8_t)~mask;
		raw[i] &= mask;
	}
	return any;
}

/* The number behind the slash: digits only, at most max. */
static bool
length_parse(const char *text, unsigned max, unsigned *out)
{
	unsigned n = 0;

	if (!text[0] || strlen(text) > 3 || text[strspn(text, "0123456789")])
		return false;
	for (; *text; text++)
		n = n * 10 + (unsigned)(*text - '0');
	*out = n;
	return n <= max;
}

static const char *
text_get(struct ff_parse *p, json_t *value, const char *path)
{
	if (!json_is_string(value))
		ff_parse_fault(p, path, "must be a string, is %s", ff_json_type_name(value));
	return json_string_value(value);
}

static void
prefix_set(struct ff_parse *p, json_t *value, const char *path, void *base)
{
	struct ff_overlay_prefix *out = base;
	const char *text = text_get(p, value, path), *slash;
	char addr[INET6_ADDRSTRLEN];
	unsigned most, len;
	int n;

	if (!text)
		return;
	slash = strchr(text, '/');
	n = slash ? (int)(slash - text) : (int)strnlen(text, sizeof(addr));
	if (n >= (int)sizeof(addr) || (snprintf(addr, sizeof(addr), "%.*s", n, text) < 0) ||
	    !address_parse(addr, out->addr, &out->v4)) {
		ff_parse_fault(p, path, "must be an IPv4 or IPv6 address or prefix");
		return;
	}
	len = most = out->v4 ? 32 : 128;
	if (slash && !length_parse(slash + 1, most, &len)) {
		ff_parse_fault(p, path, "the prefix length must be 0 to %u", most);
		return;
	}
	if (len == most && !address_unicast(out->addr, out->v4)) {
		ff_parse_fault(p, path, "is not an address that a container can have");
		return;
	}
	out->len = out->v4 ? 96 + len : len;
	if (ff_overlay_prefix_mask(out->addr, out->len))
		ff_parse_fault(p, path, "has bits behind the first %u", len);
}

static void
host_set(struct ff_parse *p, json_t *value, const char *path, void *base)
{
	struct ff_overlay_prefix *out = base;
	const char *text = text_get(p, value, path);
	bool v4;

	if (text && (!address_parse(text, out->host, &v4) || !address_unicast(out->host, v4)))
		ff_parse_fault(p, path, "must be the IPv4 or IPv6 unicast address of a host");
}

/* Six pairs of hexadecimal digits, of one interface: not a group's, not zero. */
static void
mac_set(struct ff_parse *p, json_t *value, const char *path, void *base)
{
	static const char digits[] = "0123456789abcdefABCDEF";
	static const uint8_t zero[6];
	struct ff_overlay_prefix *out = base;
	const char *text = text_get(p, value, path);
	bool ok = text && strlen(text) == 17;

	for (unsigned i = 0; ok && i < 6; i++) {
		const char *pair = text + i * 3;

		ok = strspn(pair, digits) == 2 && pair[2] == (i < 5 ? ':' : '\0');
		if (ok)
			out->mac[i] = (uint8_t)strtoul(pair, NULL, 16);
	}
	if (text && (!ok || out->mac[0] & 1 || !memcmp(out->mac, zero, 6)))
		ff_parse_fault(p, path, "must be a unicast MAC address such as 02:00:0a:20:00:01");
}

static const struct ff_field prefix_fields[] = {
	{.key = "prefix", .type = FF_FIELD_CUSTOM, .fn = prefix_set},
	{.key = "host", .type = FF_FIELD_CUSTOM, .fn = host_set},
	{.key = "encap",
	 .type = FF_FIELD_ENUM,
	 .off = offsetof(struct ff_overlay_prefix, encap),
	 .names = encap_names},
	{.key = "mac", .type = FF_FIELD_CUSTOM, .fn = mac_set},
	{.key = "mtu",
	 .type = FF_FIELD_U32,
	 .off = offsetof(struct ff_overlay_prefix, mtu),
	 .min = MTU_MIN_V4,
	 .max = UINT16_MAX},
	{.key = "tenant", .type = FF_FIELD_NAME, .off = offsetof(struct ff_overlay_prefix, tenant)},
};

/* ---- the array ---- */

static void
prefix_check(struct ff_parse *p, json_t *value, const char *path, const struct ff_overlay_prefix *x)
{
	static const char *const required[] = {"prefix", "host"};
	char sub[FF_JSON_PATH];

	for (unsigned i = 0; i < 2; i++) {
		ff_path_key(sub, path, required[i]);
		if (!json_object_get(value, required[i]))
			ff_parse_fault(p, sub, "is missing");
	}
	if (!x->v4 && x->len && x->mtu && x->mtu < MTU_MIN_V6) {
		ff_path_key(sub, path, "mtu");
		ff_parse_fault(p, sub, "is %u, IPv6 needs at least %u", x->mtu, MTU_MIN_V6);
	}
}

int
ff_overlay_prefix_compare(const void *a, const void *b)
{
	const struct ff_overlay_prefix *x = a, *y = b;
	int c;

	if (x->v4 != y->v4)
		return x->v4 ? -1 : 1;
	if (x->len != y->len)
		return x->len > y->len ? -1 : 1;
	c = memcmp(x->addr, y->addr, 16);
	return c ? c : strcmp(x->tenant, y->tenant);
}

/* Equal ones in the order of the file, so that the later one is the one that is wrong. */
static int
prefix_order(const void *a, const void *b)
{
	const struct ff_overlay_prefix *x = a, *y = b;
	int c = ff_overlay_prefix_compare(a, b);

	return c ? c : (x->index > y->index) - (x->index < y->index);
}

static void
statics_sort(struct ff_parse *p, struct ff_overlay_conf *o, const char *path)
{
	const struct ff_overlay_prefix *x = o->statics;
	char element[FF_JSON_PATH], sub[FF_JSON_PATH];

	qsort(o->statics, o->num_statics, sizeof(*o->statics), prefix_order);
	for (unsigned i = 1; i < o->num_statics; i++) {
		if (ff_overlay_prefix_compare(&x[i - 1], &x[i]))
			continue;
		ff_path_index(element, path, x[i].index);
		ff_path_key(sub, element, "prefix");
		ff_parse_fault(p, sub, "is also the prefix of element %u", x[i - 1].index);
	}
}

static void
overlay_static(struct ff_parse *p, json_t *value, const char *path, void *base)
{
	struct ff_overlay_conf *o = &((struct ff_config *)base)->overlay;
	char sub[FF_JSON_PATH];
	json_t *element;
	size_t i;

	o->statics = ff_parse_array_room(p, value, path, PREFIXES_MAX, sizeof(*o->statics));
	if (!o->statics)
		return;
	json_array_foreach (value, i, element) {
		struct ff_overlay_prefix *x = &o->statics[o->num_statics];
		unsigned faults = p->faults;

		memset(x, 0, sizeof(*x));
		x->index = (unsigned)i;
		ff_path_index(sub, path, i);
		ff_parse_object(p, element, sub, prefix_fields,
				sizeof(prefix_fields) / sizeof(prefix_fields[0]), x);
		if (json_is_object(element))
			prefix_check(p, element, sub, x);
		/* What is wrong already is no duplicate of anything. */
		o->num_statics += p->faults == faults;
	}
	statics_sort(p, o, path);
}

/* ---- the section ---- */

static const char *const provider_names[] = {
	[FF_CONF_OVERLAY_STATIC] = "static", [FF_CONF_OVERLAY_KERNEL] = "kernel", NULL};

static void
overlay_providers(struct ff_parse *p, json_t *value, const char *path, void *base)
{
	static const struct ff_field provider = {.type = FF_FIELD_ENUM, .names = provider_names};
	struct ff_overlay_conf *o = &((struct ff_config *)base)->overlay;
	enum ff_overlay_kind kind;
	char sub[FF_JSON_PATH];
	json_t *element;
	size_t i;

	if (!json_is_array(value)) {
		ff_parse_fault(p, path, "must be an array, is %s", ff_json_type_name(value));
		return;
	}
	if (!json_array_size(value) || json_array_size(value) > FF_CONF_OVERLAY_KINDS) {
		ff_parse_fault(p, path, "must list 1 to %u of them", FF_CONF_OVERLAY_KINDS);
		return;
	}
	o->num_providers = 0;
	json_array_foreach (value, i, element) {
		unsigned faults = p->faults;

		ff_path_index(sub, path, i);
		ff_parse_value(p, element, sub, &provider, &kind);
		if (p->faults != faults)
			continue;
		for (unsigned j = 0; j < o->num_providers; j++)
			if (o->providers[j] == kind)
				ff_parse_fault(p, sub, "\"%s\" is listed twice",
					       provider_names[kind]);
		o->providers[o->num_providers++] = kind;
	}
}

static const struct ff_field overlay_fields[] = {
	{.key = "providers", .type = FF_FIELD_CUSTOM, .fn = overlay_providers},
	{.key = "static", .type = FF_FIELD_CUSTOM, .fn = overlay_static},
};

void
ff_parse_overlay(struct ff_parse *p, json_t *value, const char *path, void *base)
{
	const struct ff_overlay_conf *o = &((struct ff_config *)base)->overlay;
	bool used = false;

	ff_parse_object(p, value, path, overlay_fields,
			sizeof(overlay_fields) / sizeof(overlay_fields[0]), base);
	for (unsigned i = 0; i < o->num_providers; i++)
		used |= o->providers[i] == FF_CONF_OVERLAY_STATIC;
	if (o->num_statics && o->num_providers && !used)
		ff_parse_fault(p, "overlay.static",
			       "has no meaning unless overlay.providers has \"static\"");
}

void
ff_config_overlay_defaults(struct ff_overlay_conf *o)
{
	*o = (struct ff_overlay_conf){
		.num_providers = 2,
		.providers = {FF_CONF_OVERLAY_STATIC, FF_CONF_OVERLAY_KERNEL},
	};
}

void
ff_config_overlay_free(struct ff_overlay_conf *o)
{
	free(o->statics);
	o->statics = NULL;
	o->num_statics = 0;
}
