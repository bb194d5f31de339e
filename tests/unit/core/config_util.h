/* SPDX-License-Identifier: MIT */
/* What the tests of the configuration share: a text, and the faults that are found in it. */
#ifndef CONFIG_UTIL_H
#define CONFIG_UTIL_H

#include <CUnit/Basic.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/config.h"

static char *faults; /* of the last parse() */

static inline int
parse(const char *text, struct ff_config *c)
{
	size_t len;
	FILE *err;
	int rc;

	free(faults);
	faults = NULL;
	err = open_memstream(&faults, &len);
	rc = ff_config_parse(text, strlen(text), c, err);
	fclose(err);
	return rc;
}

static inline unsigned
fault_lines(void)
{
	unsigned n = 0;
	char *s;

	for (s = faults; (s = strchr(s, '\n')); s++)
		n++;
	return n;
}

/* The text has exactly one fault, on that path, that says this. */
static inline void
expect_fault(const char *text, const char *path, const char *says)
{
	struct ff_config c;
	size_t len = strlen(path);
	int rc = parse(text, &c);

	if (rc != -EINVAL || fault_lines() != 1 || strncmp(faults, path, len) != 0 ||
	    faults[len] != ':' || !strstr(faults + len, says)) {
		fprintf(stderr, "\n%s\n  expected \"%s: ...%s...\", rc %d:\n%s", text, path, says,
			rc, faults);
		CU_FAIL("fault not reported as expected");
	}
	if (!rc)
		ff_config_free(&c);
}

#endif
