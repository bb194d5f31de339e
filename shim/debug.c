/* SPDX-License-Identifier: MIT */
/* The shim's trace lines. Any thread; each line is one write() to stderr. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "debug.h"
#include "real.h"

bool debug_on;

__attribute__((constructor(102))) static void
debug_construct(void)
{
	const char *v = secure_getenv("FREEFLOW_DEBUG");

	debug_on = v && v[0] && v[0] != '0';
}

void
debug_print(const char *fmt, ...)
{
	char line[256];
	int saved = errno, n, m;
	va_list ap;

	n = snprintf(line, sizeof(line), "freeflow[%d]: ", (int)getpid());
	va_start(ap, fmt);
	m = vsnprintf(line + n, sizeof(line) - n, fmt, ap);
	va_end(ap);
	if (m > 0)
		n += m;
	if ((size_t)n > sizeof(line) - 1)
		n = sizeof(line) - 1;
	line[n++] = '\n';
	(void)!ff_real.write(STDERR_FILENO, line, n);
	errno = saved;
}
