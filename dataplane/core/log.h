/* SPDX-License-Identifier: MIT */
/* Leveled, component-tagged log lines on stderr (journald priorities). Any thread but no worker's
 * fast path. */
#ifndef FF_CORE_LOG_H
#define FF_CORE_LOG_H

#include <stdbool.h>

enum ff_log_level { FF_LOG_ERR, FF_LOG_WARN, FF_LOG_INFO, FF_LOG_DEBUG };

/* Levels: one for all, then per component ("channel", "verbs", ...; see log.c). */
void ff_log_level_set(const char *component, enum ff_log_level level); /* NULL: all */
/* Parses "error", "warning", "info", "debug". Returns 0 or -EINVAL. */
int ff_log_level_parse(const char *text, enum ff_log_level *level);
bool ff_log_component_known(const char *component);
/* Each component may write 200 lines a second; then it says how many were left out. */
void ff_log(enum ff_log_level level, const char *component, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#define ff_err(comp, ...)   ff_log(FF_LOG_ERR, comp, __VA_ARGS__)
#define ff_warn(comp, ...)  ff_log(FF_LOG_WARN, comp, __VA_ARGS__)
#define ff_info(comp, ...)  ff_log(FF_LOG_INFO, comp, __VA_ARGS__)
#define ff_debug(comp, ...) ff_log(FF_LOG_DEBUG, comp, __VA_ARGS__)

#endif
