/* SPDX-License-Identifier: MIT */
/* What the resolver's files share: the cache's side of the control thread (cache.c). */
#ifndef FF_OVERLAY_OVERLAY_PRIV_H
#define FF_OVERLAY_OVERLAY_PRIV_H

#include "overlay.h"

/* Control thread, all of them. forgotten is called for what bounds, age or a flush remove. */
int overlay_cache_init(void (*forgotten)(uint32_t tenant, const uint8_t gid[16]));
void overlay_cache_fini(void);
/* Constant until the next call of a function of the cache; NULL: not there. */
const struct ff_overlay_entry *overlay_cache_get(uint32_t tenant, const uint8_t gid[16]);
/* Inserts or replaces; e->generation does not matter. 0, -EINVAL (tenant) or -ENOMEM. */
int overlay_cache_put(uint32_t tenant, const uint8_t gid[16], const struct ff_overlay_entry *e);
void overlay_cache_remove(uint32_t tenant, const uint8_t gid[16]);
/* Removes what has not been looked up since the call before the last. */
void overlay_cache_age(void);
void overlay_cache_flush(uint32_t tenant);
/* All but the generation. */
bool overlay_entry_same(const struct ff_overlay_entry *a, const struct ff_overlay_entry *b);
/*
 * Calls fn for each entry of a tenant that is not LOCAL. fn may change or remove that one.
 */
typedef void overlay_cache_check(uint32_t tenant, const uint8_t gid[16],
				 const struct ff_overlay_entry *e, void *arg);
void overlay_cache_check_all(overlay_cache_check *fn, void *arg);

/*
 * static.c: the table of conf from now on. What it says otherwise than the former one, is changed
 * in the cache where that had it from there, else forgotten, so that it is asked for anew.
 */
void overlay_static_replace(const struct ff_overlay_conf *conf, ff_overlay_tenant_name *name_of);

#endif
