/* SPDX-License-Identifier: MIT */
/*
 * The static provider: prefixes of the configuration and the hosts that have them. Control thread.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../core/config.h"
#include "../core/config_priv.h"
#include "overlay_priv.h"

#define PREFIXES_MAX 65536u
#define VNI_MAX	     0xffffffu
/* Less than IPv4 asks of every link (RFC 791) or IPv6 (RFC 8200, 5) is a mistake. */
#define MTU_MIN_V4   576u
#define MTU_MIN_V6   1280u

enum encap { ENCAP_VXLAN, ENCAP_NONE };
static const char *const encap_names[] = {"vxlan", "none", NULL};

struct prefix {
	char tenant[FF_ID_LEN]; /* "": every tenant */
	uint8_t addr[16];	/* IPv4 as ::ffff:a.b.c.d */
	unsigned len;		/* of 128 bits */
	bool v4;
	enum encap encap;
	uint32_t vni, mtu;
	uint8_t host[16], mac[6];
	unsigned index; /* in the configuration */
};

/* Sorted by prefix_compare(). */
struct table {
	struct prefix *p;
	unsigned num;
};

static struct table table;

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

/* Clears what lies behind the first len bits. Returns whether any was set. */
static bool
address_mask(uint8_t raw[16], unsigned len)
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
	struct prefix *out = base;
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
	if (address_mask(out->addr, out->len))
		ff_parse_fault(p, path, "has bits behind the first %u", len);
}

static void
host_set(struct ff_parse *p, json_t *value, const char *path, void *base)
{
	struct prefix *out = base;
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
	struct prefix *out = base;
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
	 .off = offsetof(struct prefix, encap),
	 .names = encap_names},
	{.key = "vni", .type = FF_FIELD_U32, .off = offsetof(struct prefix, vni), .max = VNI_MAX},
	{.key = "mac", .type = FF_FIELD_CUSTOM, .fn = mac_set},
	{.key = "mtu",
	 .type = FF_FIELD_U32,
	 .off = offsetof(struct prefix, mtu),
	 .min = MTU_MIN_V4,
	 .max = UINT16_MAX},
	{.key = "tenant", .type = FF_FIELD_NAME, .off = offsetof(struct prefix, tenant)},
};

/* ---- the array ---- */

static void
prefix_check(struct ff_parse *p, json_t *value, const char *path, const struct prefix *x)
{
	static const char *const required[] = {"prefix", "host"};
	char sub[FF_JSON_PATH];

	for (unsigned i = 0; i < 2; i++) {
		ff_path_key(sub, path, required[i]);
		if (!json_object_get(value, required[i]))
			ff_parse_fault(p, sub, "is missing");
	}
	ff_path_key(sub, path, "vni");
	if (x->encap == ENCAP_VXLAN && !json_object_get(value, "vni"))
		ff_parse_fault(p, sub, "is missing, and encap is \"vxlan\"");
	else if (x->encap == ENCAP_NONE && json_object_get(value, "vni"))
		ff_parse_fault(p, sub, "has no meaning when encap is \"none\"");
	if (!x->v4 && x->len && x->mtu && x->mtu < MTU_MIN_V6) {
		ff_path_key(sub, path, "mtu");
		ff_parse_fault(p, sub, "is %u, IPv6 needs at least %u", x->mtu, MTU_MIN_V6);
	}
}

/* Longest first; IPv4 before IPv6, which has no part in ::ffff:0:0/96 even with ::/0. */
static int
prefix_compare(const void *a, const void *b)
{
	const struct prefix *x = a, *y = b;
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
	const struct prefix *x = a, *y = b;
	int c = prefix_compare(a, b);

	return c ? c : (x->index > y->index) - (x->index < y->index);
}

static void
table_sort(struct ff_parse *p, struct table *t, const char *path)
{
	char element[FF_JSON_PATH], sub[FF_JSON_PATH];

	qsort(t->p, t->num, sizeof(*t->p), prefix_order);
	for (unsigned i = 1; i < t->num; i++) {
		if (prefix_compare(&t->p[i - 1], &t->p[i]))
			continue;
		ff_path_index(element, path, t->p[i].index);
		ff_path_key(sub, element, "prefix");
		ff_parse_fault(p, sub, "is also the prefix of element %u", t->p[i - 1].index);
	}
}

/* 0, -EINVAL with faults in p, or -ENOMEM. The table is the caller's in any case. */
static int
table_parse(struct ff_parse *p, json_t *value, const char *path, struct table *t)
{
	char sub[FF_JSON_PATH];
	json_t *element;
	size_t i;

	if (!json_is_array(value)) {
		ff_parse_fault(p, path, "must be an array, is %s", ff_json_type_name(value));
		return -EINVAL;
	}
	if (json_array_size(value) > PREFIXES_MAX) {
		ff_parse_fault(p, path, "has %zu elements, %u are the most", json_array_size(value),
			       PREFIXES_MAX);
		return -EINVAL;
	}
	t->p = calloc(json_array_size(value) + 1, sizeof(*t->p));
	if (!t->p)
		return -ENOMEM;
	json_array_foreach (value, i, element) {
		struct prefix *x = &t->p[t->num];
		unsigned faults = p->faults;

		memset(x, 0, sizeof(*x));
		x->index = (unsigned)i;
		ff_path_index(sub, path, i);
		ff_parse_object(p, element, sub, prefix_fields,
				sizeof(prefix_fields) / sizeof(prefix_fields[0]), x);
		if (json_is_object(element))
			prefix_check(p, element, sub, x);
		/* What is wrong already is no duplicate of anything. */
		t->num += p->faults == faults;
	}
	table_sort(p, t, path);
	return p->faults ? -EINVAL : 0;
}

int
ff_overlay_static_check(const void *json, const char *path, FILE *err)
{
	struct ff_parse p = {.err = err};
	struct table t = {0};
	int rc = table_parse(&p, (json_t *)json, path, &t);

	free(t.p);
	return rc;
}

/* ---- the provider ---- */

static void
static_fini(void)
{
	free(table.p);
	table = (struct table){0};
}

/* On a fault, said on stderr, the table stays as it was. */
static int
static_init(const void *conf)
{
	struct ff_parse p = {.err = stderr};
	struct table t = {0};
	int rc = conf ? table_parse(&p, (json_t *)conf, "overlay.static", &t) : 0;

	if (rc) {
		free(t.p);
		return rc;
	}
	static_fini();
	table = t;
	return 0;
}

/* The prefix of that family, length and tenant, or NULL. */
static const struct prefix *
table_get(const struct prefix *key)
{
	return table.num ? bsearch(key, table.p, table.num, sizeof(*table.p), prefix_compare)
			 : NULL;
}

static const struct prefix *
table_find(const char *tenant, const uint8_t gid[16])
{
	struct prefix key = {0};
	const struct prefix *found = NULL;

	memcpy(key.addr, gid, 16);
	key.v4 = address_is_v4(gid);
	for (int len = 128; len >= (key.v4 ? 96 : 0) && !found; len--) {
		key.len = (unsigned)len;
		(void)address_mask(key.addr, key.len);
		snprintf(key.tenant, sizeof(key.tenant), "%s", tenant ? tenant : "");
		found = table_get(&key);
		key.tenant[0] = '\0';
		if (!found)
			found = table_get(&key);
	}
	return found;
}

static int
static_resolve(const struct ff_overlay_scope *scope, const uint8_t gid[16])
{
	const struct prefix *x = table_find(scope->tenant_name, gid);
	struct ff_overlay_entry e = {.state = FF_OVERLAY_REMOTE};

	if (!x)
		return -ENOENT;
	memcpy(e.host, x->host, 16);
	memcpy(e.mac, x->mac, 6);
	e.vxlan = x->encap == ENCAP_VXLAN;
	e.vni = x->vni;
	e.mtu = (uint16_t)x->mtu;
	ff_overlay_answer(scope->tenant, gid, &e);
	return 0;
}

const struct ff_overlay_provider ff_overlay_static = {
	.name = "static",
	.init = static_init,
	.fini = static_fini,
	.resolve = static_resolve,
};
