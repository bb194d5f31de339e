/* SPDX-License-Identifier: MIT */
/* The reader of /proc/<pid>/maps: a process chooses names and layout of what is in there. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../memif-bridge/procmaps.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
lines(const uint8_t *data, size_t size)
{
	struct ff_vma v;
	char *copy = malloc(size); /* exact: a read beyond it is seen */

	memcpy(copy, data, size);
	if (ff_maps_parse(copy, size, &v) == 0 && v.start >= v.end)
		abort();
	free(copy);
}

/* As a file: buffer handling, lines of any length. */
static void
file(const uint8_t *data, size_t size)
{
	struct ff_maps m = {.fd = memfd_create("maps", MFD_CLOEXEC), .text = true};
	uint64_t at = 0;
	struct ff_vma v;

	if (m.fd < 0 || write(m.fd, data, size) != (ssize_t)size || lseek(m.fd, 0, SEEK_SET))
		abort();
	while (ff_maps_find(&m, at, &v) == 0) {
		if (v.end <= at || v.start >= v.end)
			abort();
		at = v.end;
	}
	ff_maps_close(&m);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	lines(data, size);
	file(data, size);
	return 0;
}
