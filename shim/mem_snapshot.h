/* SPDX-License-Identifier: MIT */
/* A private copy of all converted memory, for a child (mem_fork.c). All under ff_mem.lock. */
#ifndef FF_SHIM_MEM_SNAPSHOT_H
#define FF_SHIM_MEM_SNAPSHOT_H

#include <stdbool.h>

struct ff_snapshot;

/* hold: writers stay held off until drop. 0 or -ENOMEM. */
int ff_snapshot_take(struct ff_snapshot **out, bool hold);
/* In the parent, after clone: lets writers go on and frees it. */
void ff_snapshot_drop(struct ff_snapshot *s);
/* In the child, after clone: puts it in place of the shared mappings. */
void ff_snapshot_install(struct ff_snapshot *s);

#endif
