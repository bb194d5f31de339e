/* SPDX-License-Identifier: MIT */
/* SIGHUP: what of the configuration can change while freeflowd runs. Control thread. */
#ifndef FF_RELOAD_H
#define FF_RELOAD_H

#include <stdbool.h>

/* path: the file that was read; NULL: none. keep_*: the command line chose these. */
void ff_reload_init(const char *path, bool keep_level, bool keep_run_dir);
/*
 * Rereads it: log levels, limits, tenants' weights and VNIs, containers that came or went, the
 * static table of the overlay. Says in the log what it could not change. A file with faults changes
 * nothing.
 */
void ff_reload(void);

#endif
