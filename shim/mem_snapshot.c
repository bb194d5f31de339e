/* SPDX-License-Identifier: MIT */
/*
 * The child's share of converted memory: before clone the forking thread copies it into private
 * memory, of which the child gets a copy-on-write copy as of any other, and puts it in place of
 * the shared mappings. Under ff_mem.lock; no libc.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>

#include "mem_priv.h"
#include "mem_snapshot.h"

#define CHUNK_PAGES 4096u

struct piece {
	uint64_t start, end;
	uint8_t *copy;
	int prot; /* the program's */
	enum ff_hold_way way;
};

struct ff_snapshot {
	size_t bytes; /* of this mapping */
	size_t count, cap;
	int maps_fd; /* kept so that the child, which needs one too, is sure to get it */
	bool holding;
	struct piece pieces[];
};

static unsigned char resident[CHUNK_PAGES];

static size_t
snapshot_cap(size_t bytes)
{
	return (bytes - sizeof(struct ff_snapshot)) / sizeof(struct piece);
}

static struct ff_snapshot *
snapshot_new(void)
{
	size_t bytes = 4 * FF_PAGE;
	struct ff_snapshot *s = ff_sys_mmap(NULL, bytes, PROT_READ | PROT_WRITE,
					    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (ff_sys_bad(s))
		return NULL;
	s->bytes = bytes;
	s->cap = snapshot_cap(bytes);
	return s;
}

/* hold: no stack is in it. Held at once: until then the program may map something else there. */
static int
snapshot_add(struct ff_snapshot **sp, const struct ff_vma *v, uint64_t start, uint64_t end,
	     bool hold)
{
	struct ff_snapshot *s = *sp;
	struct piece *p;

	if (s->count == s->cap) {
		s = ff_sys_mremap(s, s->bytes, s->bytes * 2, MREMAP_MAYMOVE, NULL);
		if (ff_sys_bad(s))
			return -ENOMEM;
		s->bytes *= 2;
		s->cap = snapshot_cap(s->bytes);
		*sp = s;
	}
	p = &s->pieces[s->count++];
	*p = (struct piece){
		.start = start,
		.end = end,
		.prot = (v->r ? PROT_READ : 0) | (v->w ? PROT_WRITE : 0) | (v->x ? PROT_EXEC : 0),
	};
	if (s->holding && hold && v->r && v->w)
		p->way = ff_hold_range((void *)start, end - start);
	return 0;
}

static int
snapshot_mapping(struct ff_snapshot **sp, const struct ff_vma *v)
{
	struct ff_stacks_range keep;
	uint64_t at = v->start;
	int rc = 0;

	while (rc == 0 && ff_stacks_next(v, at, v->end, &keep)) {
		if (keep.start > at)
			rc = snapshot_add(sp, v, at, keep.start, true);
		if (rc == 0)
			rc = snapshot_add(sp, v, keep.start > at ? keep.start : at, keep.end,
					  false);
		at = keep.end;
	}
	if (rc == 0 && at < v->end)
		rc = snapshot_add(sp, v, at, v->end, true);
	return rc;
}

static int
snapshot_list(struct ff_snapshot **sp)
{
	bool smaps = atomic_load(&ff_mem.dontfork) && ff_smaps_open() == 0;
	struct ff_vma v = {.end = 0};
	int rc = 0;

	while (rc == 0 && (rc = ff_maps_find(&ff_mem.maps, v.end, &v)) == 0) {
		if (v.name == FF_VMA_CONVERTED && v.shared &&
		    !(smaps && ff_smaps_dontfork(v.start)))
			rc = snapshot_mapping(sp, &v);
	}
	if (smaps)
		ff_smaps_close();
	return rc == -ENOENT ? 0 : rc;
}

/*
 * Another thread may unmap it meanwhile: by the kernel, to whom that is an error and no fault.
 * What is gone is not put in place either (piece_install).
 */
static void
run_copy(void *to, const void *from, size_t len)
{
	struct iovec local = {to, len}, remote = {(void *)from, len};
	long n;

	while (len) {
		n = ff_sys(SYS_process_vm_readv, ff_sys_getpid(), &local, 1, &remote, 1, 0);
		if (n == -EFAULT)
			return;
		if (n <= 0) { /* not allowed here */
			memcpy(local.iov_base, remote.iov_base, len);
			return;
		}
		len -= (size_t)n;
		local = (struct iovec){(uint8_t *)local.iov_base + n, len};
		remote = (struct iovec){(uint8_t *)remote.iov_base + n, len};
	}
}

static void
piece_copy(const struct piece *p, bool holes)
{
	size_t total = (p->end - p->start) / FF_PAGE, done, n, i, first;
	const uint8_t *from = (const uint8_t *)p->start;

	for (done = 0; done < total; done += n) {
		n = total - done < CHUNK_PAGES ? total - done : CHUNK_PAGES;
		if (!holes ||
		    ff_sys(SYS_mincore, from + done * FF_PAGE, n * FF_PAGE, resident, 0, 0, 0) < 0)
			memset(resident, 1, n);
		for (i = 0; i < n;) {
			if (!(resident[i] & 1)) {
				i++;
				continue;
			}
			for (first = i; i < n && (resident[i] & 1); i++)
				;
			run_copy(p->copy + (done + first) * FF_PAGE,
				 from + (done + first) * FF_PAGE, (i - first) * FF_PAGE);
		}
	}
}

static int
piece_take(struct piece *p, bool holes)
{
	size_t len = p->end - p->start;

	p->copy = ff_sys_mmap(NULL, len, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (ff_sys_bad(p->copy)) {
		p->copy = NULL;
		return -ENOMEM;
	}
	if (!(p->prot & PROT_READ) && ff_sys_mprotect((void *)p->start, len, PROT_READ) < 0)
		return -ENOMEM;
	piece_copy(p, holes);
	if (!(p->prot & PROT_READ))
		ff_sys_mprotect((void *)p->start, len, p->prot);
	return 0;
}

/* Calls fn for each part of the piece that is a converted mapping now. */
static void
piece_foreach(struct piece *p, void (*fn)(struct piece *p, uint64_t start, size_t len))
{
	uint64_t at = p->start, to;
	struct ff_vma v;

	while (at < p->end && ff_maps_find(&ff_mem.maps, at, &v) == 0 && v.start < p->end) {
		if (at < v.start)
			at = v.start;
		to = v.end < p->end ? v.end : p->end;
		if (v.name == FF_VMA_CONVERTED && v.shared)
			fn(p, at, to - at);
		at = to;
	}
}

static void
part_release(struct piece *p, uint64_t start, size_t len)
{
	ff_hold_release(p->way, (void *)start, len, false);
}

int
ff_snapshot_take(struct ff_snapshot **out, bool hold)
{
	struct ff_snapshot *s = snapshot_new();
	bool holes;
	size_t i;
	int rc;

	if (!s)
		return -ENOMEM;
	rc = ff_maps_open(&ff_mem.maps, AT_FDCWD, "/proc/self/maps");
	if (rc) {
		ff_sys_munmap(s, s->bytes);
		return rc;
	}
	s->maps_fd = ff_mem.maps.fd;
	if (hold) {
		ff_hold_begin();
		s->holding = true;
	}
	rc = snapshot_list(&s);
	/* A page that mincore() does not see has no contents, unless it may be in swap. */
	holes = !ff_mem_swapping();
	for (i = 0; i < s->count && rc == 0; i++)
		rc = piece_take(&s->pieces[i], holes);
	if (rc) {
		ff_snapshot_drop(s);
		return -ENOMEM;
	}
	*out = s;
	return 0;
}

/* Only what is still ours is given its protection back: the rest has been mapped anew. */
void
ff_snapshot_drop(struct ff_snapshot *s)
{
	size_t i;

	for (i = 0; i < s->count; i++) {
		struct piece *p = &s->pieces[i];

		if (p->way == FF_HOLD_MPROTECT)
			piece_foreach(p, part_release);
		else if (p->way != FF_HOLD_NONE)
			ff_hold_release(p->way, (void *)p->start, p->end - p->start, false);
		if (p->copy)
			ff_sys_munmap(p->copy, p->end - p->start);
	}
	if (s->holding)
		ff_hold_end();
	ff_sys_close(s->maps_fd);
	ff_sys_munmap(s, s->bytes);
}

/*
 * Where the shared mapping still is, the copy takes its place; elsewhere another thread of the
 * parent was faster. The child must never go on with memory that its parent writes to, and there
 * is no one to tell: the parent then sees a child that has ended.
 */
static void
part_install(struct piece *p, uint64_t start, size_t len)
{
	if (ff_sys_bad(ff_sys_mremap(p->copy + (start - p->start), len, len,
				     MREMAP_MAYMOVE | MREMAP_FIXED, (void *)start)))
		ff_sys(SYS_exit_group, 127, 0, 0, 0, 0, 0);
}

void
ff_snapshot_install(struct ff_snapshot *s)
{
	size_t i;

	ff_sys_close(s->maps_fd);
	if (s->count && ff_maps_open(&ff_mem.maps, AT_FDCWD, "/proc/self/maps"))
		ff_sys(SYS_exit_group, 127, 0, 0, 0, 0, 0);
	for (i = 0; i < s->count; i++) {
		struct piece *p = &s->pieces[i];

		if (p->prot != (PROT_READ | PROT_WRITE))
			ff_sys_mprotect(p->copy, p->end - p->start, p->prot);
		piece_foreach(p, part_install);
		ff_sys_munmap(p->copy, p->end - p->start); /* what was not needed */
	}
	if (s->count)
		ff_maps_close(&ff_mem.maps);
	if (s->holding)
		ff_hold_child();
	ff_sys_munmap(s, s->bytes);
}
