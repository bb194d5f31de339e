/* SPDX-License-Identifier: MIT */
/* FREEFLOW_DEBUG=1: one line per event on stderr; nothing is ever printed without it. */
#ifndef FF_SHIM_DEBUG_H
#define FF_SHIM_DEBUG_H

#include <stdbool.h>

extern bool debug_on;
/* Keeps errno. */
void debug_print(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#define debug(...)                                 \
	do {                                       \
		if (__builtin_expect(debug_on, 0)) \
			debug_print(__VA_ARGS__);  \
	} while (0)

#endif
