/* SPDX-License-Identifier: MIT */
/*
 * The mappings of a process as the kernel shows them: /proc/<pid>/maps, by the PROCMAP_QUERY
 * ioctl where the kernel has it (6.11), else as text. No allocation. The shim looks at itself with
 * it, the router at its clients.
 */
#ifndef FF_PROCMAPS_H
#define FF_PROCMAPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum ff_vma_name {
	FF_VMA_ANON,	  /* none, or [anon:...] */
	FF_VMA_HEAP,	  /* [heap] */
	FF_VMA_STACK,	  /* [stack] */
	FF_VMA_CONVERTED, /* a memfd that the shim made (FF_MR_MEMFD_NAME) */
	FF_VMA_OTHER,
};

struct ff_vma {
	uint64_t start, end; /* bytes */
	uint64_t offset;     /* of start in the file */
	uint64_t ino;	     /* 0: no file */
	uint32_t dev_major, dev_minor;
	bool r, w, x, shared;
	enum ff_vma_name name;
};

/* One reader. Large: keep it static or mapped in the shim. */
struct ff_maps {
	int fd;
	bool text; /* the ioctl is not there */
	bool eof;
	uint64_t pos;	  /* text: end of the mapping read last */
	size_t used, len; /* text: buf[used, len) is not yet parsed */
	char name[64];
	char buf[8192];
};

/* dirfd and path as of openat(). 0 or -errno. */
int ff_maps_open(struct ff_maps *m, int dirfd, const char *path);
void ff_maps_close(struct ff_maps *m);
/* The mapping that holds addr, or else the next one above. 0, -ENOENT: none; -errno. */
int ff_maps_find(struct ff_maps *m, uint64_t addr, struct ff_vma *v);
/* One line, without its newline. 0 or -EINVAL. */
int ff_maps_parse(const char *line, size_t len, struct ff_vma *v);
/* The next line of the text (maps, or smaps): *line points into the buffer. -ENOENT at its end. */
int ff_maps_line(struct ff_maps *m, const char **line, size_t *len);

#endif
