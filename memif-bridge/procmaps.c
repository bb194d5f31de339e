/* SPDX-License-Identifier: MIT */
/*
 * Reader of /proc/<pid>/maps. Works without libc's allocator, errno or TLS, so also in a signal
 * handler. One thread per struct ff_maps.
 */
#include <fcntl.h>
#include <linux/ioctl.h>
#include <stdio.h>
#include <string.h>

#include <freeflow/abi.h>

#include "procmaps.h"
#include "rawsys.h"

/* linux/fs.h, struct procmap_query (6.11); older headers do not have it. */
struct procmap_query {
	uint64_t size;
	uint64_t query_flags, query_addr;
	uint64_t vma_start, vma_end, vma_flags, vma_page_size, vma_offset, inode;
	uint32_t dev_major, dev_minor;
	uint32_t vma_name_size, build_id_size;
	uint64_t vma_name_addr, build_id_addr;
};
static_assert(sizeof(struct procmap_query) == 104, "kernel ABI");
#define PROCMAP_QUERY_IOCTL	 _IOWR('f', 17, struct procmap_query)
#define PROCMAP_COVERING_OR_NEXT 0x10u
#define PROCMAP_R		 1u
#define PROCMAP_W		 2u
#define PROCMAP_X		 4u
#define PROCMAP_SHARED		 8u

static bool
name_is(const char *name, size_t len, const char *what, size_t what_len)
{
	return len == what_len && memcmp(name, what, what_len) == 0;
}

static enum ff_vma_name
name_class(const char *name, size_t len)
{
#define IS(text) name_is(name, len, text, sizeof(text) - 1)
	if (len == 0)
		return FF_VMA_ANON;
	if (IS("[heap]"))
		return FF_VMA_HEAP;
	if (IS("[stack]"))
		return FF_VMA_STACK;
	if (IS("/memfd:" FF_MR_MEMFD_NAME " (deleted)"))
		return FF_VMA_CONVERTED;
	if (len >= 6 && memcmp(name, "[anon:", 6) == 0)
		return FF_VMA_ANON;
	return FF_VMA_OTHER;
#undef IS
}

/* Reads digits up to the stop character and steps over it; NULL: there are none, or too many. */
static const char *
parse_number(const char *p, const char *end, unsigned base, char stop, uint64_t *out)
{
	const char *first = p;
	uint64_t v = 0;

	for (; p < end && *p != stop; p++) {
		unsigned digit;

		if (*p >= '0' && *p <= '9')
			digit = (unsigned)(*p - '0');
		else if (*p >= 'a' && *p <= 'f')
			digit = (unsigned)(*p - 'a') + 10;
		else
			return NULL;
		if (digit >= base || v > (UINT64_MAX - digit) / base)
			return NULL;
		v = v * base + digit;
	}
	if (p == first || p == end)
		return NULL;
	*out = v;
	return p + 1;
}

/* "start-end rwxp offset major:minor inode   name" */
int
ff_maps_parse(const char *line, size_t len, struct ff_vma *v)
{
	const char *p = line, *end = line + len;
	uint64_t major, minor;

	p = parse_number(p, end, 16, '-', &v->start);
	p = p ? parse_number(p, end, 16, ' ', &v->end) : NULL;
	if (!p || v->start >= v->end || end - p < 5 || p[4] != ' ')
		return -EINVAL;
	v->r = p[0] == 'r';
	v->w = p[1] == 'w';
	v->x = p[2] == 'x';
	v->shared = p[3] == 's';
	p = parse_number(p + 5, end, 16, ' ', &v->offset);
	p = p ? parse_number(p, end, 16, ':', &major) : NULL;
	p = p ? parse_number(p, end, 16, ' ', &minor) : NULL;
	p = p ? parse_number(p, end, 10, ' ', &v->ino) : NULL;
	if (!p || major > UINT32_MAX || minor > UINT32_MAX)
		return -EINVAL;
	v->dev_major = (uint32_t)major;
	v->dev_minor = (uint32_t)minor;
	while (p < end && *p == ' ')
		p++;
	v->name = name_class(p, (size_t)(end - p));
	return 0;
}

int
ff_maps_open(struct ff_maps *m, int dirfd, const char *path)
{
	m->fd = ff_sys_openat(dirfd, path, O_RDONLY | O_CLOEXEC);
	m->text = false;
	m->eof = false;
	m->pos = 0;
	m->used = m->len = 0;
	return m->fd < 0 ? m->fd : 0;
}

void
ff_maps_close(struct ff_maps *m)
{
	ff_sys_close(m->fd);
	m->fd = -1;
}

/* Moves what is left to the front and reads on. */
static int
text_fill(struct ff_maps *m)
{
	long n;

	memmove(m->buf, m->buf + m->used, m->len - m->used);
	m->len -= m->used;
	m->used = 0;
	if (m->len == sizeof(m->buf))
		return -EINVAL; /* longer than any path: not a line of maps */
	n = ff_sys_read(m->fd, m->buf + m->len, sizeof(m->buf) - m->len);
	if (n == -EINTR)
		return 0;
	if (n < 0)
		return (int)n;
	if (n == 0)
		m->eof = true;
	m->len += (size_t)n;
	return 0;
}

int
ff_maps_line(struct ff_maps *m, const char **line, size_t *len)
{
	const char *nl;
	int rc;

	for (;;) {
		nl = memchr(m->buf + m->used, '\n', m->len - m->used);
		if (nl)
			break;
		if (m->eof)
			return -ENOENT;
		rc = text_fill(m);
		if (rc)
			return rc;
	}
	*line = m->buf + m->used;
	*len = (size_t)(nl - *line);
	m->used += *len + 1;
	return 0;
}

static int
text_find(struct ff_maps *m, uint64_t addr, struct ff_vma *v)
{
	const char *line;
	size_t len;
	int rc;

	if (addr < m->pos) {
		ff_sys(SYS_lseek, m->fd, 0, SEEK_SET, 0, 0, 0);
		m->used = m->len = 0;
		m->eof = false;
		m->pos = 0;
	}
	do {
		rc = ff_maps_line(m, &line, &len);
		if (rc)
			return rc;
		rc = ff_maps_parse(line, len, v);
		if (rc)
			return rc;
		m->pos = v->end;
	} while (v->end <= addr);
	return 0;
}

static int
query_find(struct ff_maps *m, uint64_t addr, struct ff_vma *v)
{
	struct procmap_query q = {
		.size = sizeof(q),
		.query_flags = PROCMAP_COVERING_OR_NEXT,
		.query_addr = addr,
		.vma_name_size = sizeof(m->name),
		.vma_name_addr = (uintptr_t)m->name,
	};
	int rc = ff_sys_ioctl(m->fd, PROCMAP_QUERY_IOCTL, &q);

	v->name = FF_VMA_OTHER;
	if (rc == -ENAMETOOLONG) { /* none of the names that matter */
		q.vma_name_size = 0;
		q.vma_name_addr = 0;
		rc = ff_sys_ioctl(m->fd, PROCMAP_QUERY_IOCTL, &q);
	} else if (rc == 0) {
		v->name = name_class(m->name, q.vma_name_size ? q.vma_name_size - 1 : 0);
	}
	if (rc)
		return rc;
	v->start = q.vma_start;
	v->end = q.vma_end;
	v->offset = q.vma_offset;
	v->ino = q.inode;
	v->dev_major = q.dev_major;
	v->dev_minor = q.dev_minor;
	v->r = q.vma_flags & PROCMAP_R;
	v->w = q.vma_flags & PROCMAP_W;
	v->x = q.vma_flags & PROCMAP_X;
	v->shared = q.vma_flags & PROCMAP_SHARED;
	return 0;
}

int
ff_maps_find(struct ff_maps *m, uint64_t addr, struct ff_vma *v)
{
	int rc;

	if (!m->text) {
		rc = query_find(m, addr, v);
		if (rc == 0 || rc == -ENOENT)
			return rc;
		if (rc == -ESRCH)
			return rc;
		m->text = true;
	}
	return text_find(m, addr, v);
}
