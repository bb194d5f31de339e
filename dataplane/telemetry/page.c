/* SPDX-License-Identifier: MIT */
/* Records, their size as JSON, and pages of them. Control thread, while a telemetry thread waits.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "telemetry_priv.h"

/*
 * DPDK answers with 16 KB at the most and silently leaves out what does not fit. The rest of the
 * answer (command, total, next) takes less than 256 bytes.
 */
#define PAGE_BYTES   (16384u - 512u)
/* Of a dictionary, RTE_TEL_MAX_DICT_ENTRIES. */
#define PAGE_RECORDS 200u

struct tel_obj
tel_obj_new(void)
{
	struct tel_obj o = {.d = rte_tel_data_alloc(), .bytes = 2};

	if (o.d)
		rte_tel_data_start_dict(o.d);
	return o;
}

void
tel_obj_drop(struct tel_obj *o)
{
	while (o->num_kids)
		rte_tel_data_free(o->kids[--o->num_kids]);
	rte_tel_data_free(o->d);
	o->d = NULL;
}

void
tel_str(struct tel_obj *o, const char *name, const char *value)
{
	char clean[RTE_TEL_MAX_STRING_LEN];
	size_t i, n = strnlen(value, sizeof(clean) - 1);

	/* Nothing that JSON must escape, so that its length is known. */
	for (i = 0; i < n; i++)
		clean[i] = value[i] < ' ' || value[i] > '~' || value[i] == '"' || value[i] == '\\'
				   ? '?'
				   : value[i];
	clean[n] = '\0';
	o->bytes += strlen(name) + n + 6; /* "":"", */
	if (o->d)
		rte_tel_data_add_dict_string(o->d, name, clean);
}

void
tel_num(struct tel_obj *o, const char *name, uint64_t value)
{
	char digits[24];

	o->bytes += strlen(name) + 4 +
		    (size_t)snprintf(digits, sizeof(digits), "%llu", (unsigned long long)value);
	if (o->d)
		rte_tel_data_add_dict_u64(o->d, name, value);
}

void
tel_address(struct tel_obj *o, const char *name, const uint8_t raw[16])
{
	char text[INET6_ADDRSTRLEN];
	struct in6_addr a;

	memcpy(&a, raw, sizeof(a));
	if (IN6_IS_ADDR_V4MAPPED(&a))
		inet_ntop(AF_INET, raw + 12, text, sizeof(text));
	else
		inet_ntop(AF_INET6, raw, text, sizeof(text));
	tel_str(o, name, text);
}

void
tel_obj(struct tel_obj *o, const char *name, struct tel_obj *value)
{
	o->bytes += strlen(name) + 4 + value->bytes;
	if (!o->d || !value->d) {
		tel_obj_drop(value);
		return;
	}
	rte_tel_data_add_dict_container(o->d, name, value->d, 0);
	if (o->num_kids < TEL_KIDS)
		o->kids[o->num_kids++] = value->d;
	value->d = NULL;
}

void
tel_counters(struct tel_obj *o, const char *name, const char *const *names, const uint64_t *values,
	     unsigned n)
{
	struct tel_obj counters = tel_obj_new();
	unsigned i;

	for (i = 0; i < n; i++)
		if (values[i])
			tel_num(&counters, names[i], values[i]);
	tel_obj(o, name, &counters);
}

/* One number of params, up to a comma. */
static int
param_number(const char **s, uint32_t *out)
{
	unsigned long long v;
	char *end;

	if (**s && **s != ',') {
		if (**s < '0' || **s > '9')
			return -EINVAL;
		v = strtoull(*s, &end, 10);
		if (v > UINT32_MAX || (*end && *end != ','))
			return -EINVAL;
		*out = (uint32_t)v;
		*s = end;
	}
	if (**s == ',')
		(*s)++;
	return 0;
}

int
tel_page_parse(struct tel_page *p, const char *params)
{
	const char *s = params ? params : "";
	int rc;

	*p = (struct tel_page){.count = PAGE_RECORDS};
	rc = param_number(&s, &p->start);
	if (!rc)
		rc = param_number(&s, &p->count);
	if (rc || strlen(s) >= sizeof(p->container))
		return -EINVAL;
	if (!p->count || p->count > PAGE_RECORDS)
		p->count = PAGE_RECORDS;
	strcpy(p->container, s);
	return 0;
}

bool
tel_page_wants(const struct tel_page *p, const struct ff_container *c)
{
	return !p->container[0] || strcmp(p->container, c->id) == 0;
}

bool
tel_page_next(struct tel_page *p)
{
	uint32_t n = p->seen++;

	return n >= p->start && !p->full && p->used < p->count;
}

void
tel_page_add(struct tel_page *p, struct tel_obj *record)
{
	char name[16];

	snprintf(name, sizeof(name), "%u", p->used);
	if (p->items.bytes + record->bytes + sizeof(name) > PAGE_BYTES) {
		p->full = true;
		tel_obj_drop(record);
		return;
	}
	tel_obj(&p->items, name, record);
	p->used++;
}

void
tel_page_finish(struct tel_page *p, struct rte_tel_data *d)
{
	rte_tel_data_start_dict(d);
	rte_tel_data_add_dict_u64(d, "total", p->seen);
	if (p->used && p->start + p->used < p->seen)
		rte_tel_data_add_dict_u64(d, "next", p->start + p->used);
	if (p->items.d)
		rte_tel_data_add_dict_container(d, "items", p->items.d, 0);
	p->items.d = NULL;
}
