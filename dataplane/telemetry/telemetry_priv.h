/* SPDX-License-Identifier: MIT */
/* A telemetry answer in the making: pages of records, each small enough for DPDK's 16 KB. */
#ifndef FF_TELEMETRY_PRIV_H
#define FF_TELEMETRY_PRIV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <rte_telemetry.h>

#include "../channel/channel.h"
#include "../channel/container.h"
#include "../core/config.h"
#include "../nic/nic.h"
#include "../verbs/verbs.h"

/* What a worker writes while we read. */
#define READ(field) __atomic_load_n(&(field), __ATOMIC_RELAXED)

/* A JSON object and what it will need as text. */
#define TEL_KIDS 4u
struct tel_obj {
	struct rte_tel_data *d; /* NULL: no memory; everything into it is lost */
	size_t bytes;
	/* Objects inside it, which DPDK frees with an answer but not with a dropped object. */
	struct rte_tel_data *kids[TEL_KIDS];
	unsigned num_kids;
};
struct tel_obj tel_obj_new(void);
void tel_obj_drop(struct tel_obj *o);
void tel_str(struct tel_obj *o, const char *name, const char *value); /* made printable */
void tel_num(struct tel_obj *o, const char *name, uint64_t value);
void tel_obj(struct tel_obj *o, const char *name, struct tel_obj *value); /* takes it over */
/* "name": {the counters that are not zero} */
void tel_counters(struct tel_obj *o, const char *name, const char *const *names,
		  const uint64_t *values, unsigned n);

/* IPv4 or IPv6, as people write them. */
void tel_address(struct tel_obj *o, const char *name, const uint8_t raw[16]);

/* One request: "start,count,container", each may be left out; and the page that answers it. */
struct tel_page {
	uint32_t start, count;
	char container[FF_ID_LEN]; /* "": all */
	/* In the making: */
	uint32_t seen; /* records that match, so far */
	uint32_t used; /* in the page */
	bool full;
	struct tel_obj items;
};
/* 0 or -EINVAL. params may be NULL. */
int tel_page_parse(struct tel_page *p, const char *params);
bool tel_page_wants(const struct tel_page *p, const struct ff_container *c);
/* The next record belongs into the page; else it has been counted. */
bool tel_page_next(struct tel_page *p);
/* Adds it, or finds that it has no more room: then it is the first one of the next page. */
void tel_page_add(struct tel_page *p, struct tel_obj *record);
/* {"total": N, "items": {...}, "next": M if there is more} */
void tel_page_finish(struct tel_page *p, struct rte_tel_data *d);

/* Each fills a page; control thread. */
void tel_containers(struct tel_page *p);
void tel_processes(struct tel_page *p);
void tel_stats(struct tel_page *p);
void tel_workers(struct tel_page *p);
void tel_ports(struct tel_page *p);
void tel_peers(struct tel_page *p);
void tel_streams(struct tel_page *p);
void tel_qps(struct tel_page *p);
void tel_cqs(struct tel_page *p);
void tel_mrs(struct tel_page *p);

#endif
