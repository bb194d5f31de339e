/* SPDX-License-Identifier: MIT */
/*
 * Hooks that keep converted memory looking private: madvise and mremap. Any thread. What libc
 * itself does to mappings does not come by here; the memfds are made so that it does no harm.
 */
#include <fcntl.h>
#include <stdarg.h>
#include <sys/mman.h>

#include "mem_priv.h"
#include "real.h"

#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif

static int
result(long rc)
{
	if (rc >= 0)
		return (int)rc;
	errno = (int)-rc;
	return -1;
}

/* ---- madvise ---- */

/*
 * Empties pages of the memfd. Through a second mapping (old size 0 makes one of a shared mapping)
 * since the program may have made its own read-only.
 */
static void
converted_zero(uint64_t start, size_t len)
{
	void *dup;

	if (ff_sys_madvise((void *)start, len, MADV_REMOVE) == 0)
		return;
	dup = ff_sys_mremap((void *)start, 0, len, MREMAP_MAYMOVE, NULL);
	if (ff_sys_bad(dup))
		return;
	ff_sys_mprotect(dup, len, PROT_READ | PROT_WRITE);
	ff_sys_madvise(dup, len, MADV_REMOVE);
	ff_sys_munmap(dup, len);
}

/* Calls fn for each converted part of [start, end). Lock held. */
static void
converted_foreach(uint64_t start, uint64_t end, void (*fn)(uint64_t start, size_t len))
{
	struct ff_vma v;
	uint64_t to;

	if (ff_maps_open(&ff_mem.maps, AT_FDCWD, "/proc/self/maps"))
		return;
	while (start < end && ff_maps_find(&ff_mem.maps, start, &v) == 0 && v.start < end) {
		if (start < v.start)
			start = v.start;
		to = v.end < end ? v.end : end;
		if (v.name == FF_VMA_CONVERTED && v.shared)
			fn(start, to - start);
		start = to;
	}
	ff_maps_close(&ff_mem.maps);
}

static bool found; /* under ff_mem.lock */

static void
converted_found(uint64_t start, size_t len)
{
	found = true;
}

/*
 * The whole call under the lock: a page that is dropped while a conversion copies it would come
 * back.
 */
static int
madvise_drop(void *addr, size_t len, int advice)
{
	uint64_t start = (uintptr_t)addr, end = start + ((len + FF_PAGE - 1) & ~(FF_PAGE - 1)),
		 mask;
	int rc;

	ff_mem_lock(&mask);
	rc = ff_sys_madvise(addr, len, advice);
	if (rc == 0 || rc == -ENOMEM)
		converted_foreach(start, end, converted_zero);
	ff_mem_unlock(&mask);
	return result(rc);
}

/* The kernel takes no MADV_FREE for shared mappings; others in the range still get it. */
static int
madvise_free(void *addr, size_t len)
{
	uint64_t start = (uintptr_t)addr, end = start + ((len + FF_PAGE - 1) & ~(FF_PAGE - 1)),
		 mask;
	int rc;

	rc = ff_sys_madvise(addr, len, MADV_FREE);
	if (rc != -EINVAL || (start & (FF_PAGE - 1)))
		return result(rc);
	ff_mem_lock(&mask);
	found = false;
	converted_foreach(start, end, converted_found);
	if (found)
		rc = 0;
	ff_mem_unlock(&mask);
	return result(rc);
}

FF_HOOK int
madvise(void *addr, size_t len, int advice)
{
	if (advice == MADV_DONTFORK)
		atomic_store(&ff_mem.dontfork, true);
	if (!atomic_load_explicit(&ff_mem.active, memory_order_acquire))
		return ff_real.madvise(addr, len, advice);
	if (advice == MADV_DONTNEED || advice == MADV_DONTNEED_LOCKED)
		return madvise_drop(addr, len, advice);
	if (advice == MADV_FREE)
		return madvise_free(addr, len);
	return ff_real.madvise(addr, len, advice);
}

/* ---- mremap ---- */

/*
 * A range with converted pages is moved mapping by mapping, and what it grows by is fresh private
 * memory: the memfd behind its end may hold something else. Lock held, pages are whole.
 */
static long
pieces_move(uint64_t from, size_t len, uint64_t to)
{
	struct ff_vma v;
	uint64_t at = from, end = from + len, next;
	void *p;

	if (ff_maps_open(&ff_mem.maps, AT_FDCWD, "/proc/self/maps"))
		return -ENOMEM;
	while (at < end && ff_maps_find(&ff_mem.maps, at, &v) == 0 && v.start <= at) {
		next = v.end < end ? v.end : end;
		p = ff_sys_mremap((void *)at, next - at, next - at, MREMAP_MAYMOVE | MREMAP_FIXED,
				  (void *)(to + (at - from)));
		if (ff_sys_bad(p))
			break;
		at = next;
	}
	ff_maps_close(&ff_mem.maps);
	return at == end ? 0 : -EFAULT;
}

/* Fresh pages behind a range; fixed: over what is there (ours). */
static int
tail_map(uint64_t at, size_t len, bool fixed)
{
	void *p = ff_sys_mmap(
		(void *)at, len, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | (fixed ? MAP_FIXED : MAP_FIXED_NOREPLACE), -1, 0);

	if (ff_sys_bad(p))
		return (int)(intptr_t)p;
	if ((uintptr_t)p == at)
		return 0;
	ff_sys_munmap(p, len); /* older kernels take it as a hint */
	return -EEXIST;
}

static long
converted_mremap(uint64_t from, size_t old_len, size_t new_len, int flags, uint64_t to)
{
	size_t keep = new_len < old_len ? new_len : old_len;
	void *area = (void *)to;
	long rc;

	if (new_len < old_len)
		ff_sys_munmap((void *)(from + new_len), old_len - new_len);
	if (!(flags & MREMAP_FIXED)) {
		if (new_len <= old_len || tail_map(from + old_len, new_len - old_len, false) == 0)
			return (long)from;
		if (!(flags & MREMAP_MAYMOVE))
			return -ENOMEM;
		area = NULL;
	}
	area = ff_sys_mmap(area, new_len, PROT_NONE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | (area ? MAP_FIXED : 0), -1,
			   0);
	if (ff_sys_bad(area))
		return (long)area;
	rc = pieces_move(from, keep, (uintptr_t)area);
	if (rc == 0 && new_len > keep)
		rc = tail_map((uintptr_t)area + keep, new_len - keep, true);
	return rc ? rc : (long)area;
}

static size_t
pages(size_t len)
{
	return (len + FF_PAGE - 1) & ~(FF_PAGE - 1);
}

FF_HOOK void *
mremap(void *addr, size_t old_len, size_t new_len, int flags, ...)
{
	uint64_t from = (uintptr_t)addr, mask;
	bool ours = false;
	void *to;
	va_list ap;
	long rc = 0;

	va_start(ap, flags);
	to = va_arg(ap, void *); /* looked at only with MREMAP_FIXED */
	va_end(ap);
	if (!(flags & MREMAP_FIXED))
		to = NULL;
	/* Strange ones are the kernel's to refuse. */
	if (!atomic_load_explicit(&ff_mem.active, memory_order_acquire) || !old_len || !new_len ||
	    (from | (uintptr_t)to) & (FF_PAGE - 1) || new_len > PTRDIFF_MAX ||
	    old_len > PTRDIFF_MAX || (flags & ~(MREMAP_MAYMOVE | MREMAP_FIXED)) ||
	    ((flags & MREMAP_FIXED) && !(flags & MREMAP_MAYMOVE)))
		return ff_real.mremap(addr, old_len, new_len, flags, to);
	ff_mem_lock(&mask);
	found = false;
	converted_foreach(from, from + pages(old_len), converted_found);
	ours = found && !(to && (uintptr_t)to < from + pages(old_len) &&
			  from < (uintptr_t)to + pages(new_len));
	if (ours)
		rc = converted_mremap(from, pages(old_len), pages(new_len), flags, (uintptr_t)to);
	ff_mem_unlock(&mask);
	if (!ours)
		return ff_real.mremap(addr, old_len, new_len, flags, to);
	if (rc < 0 && rc > -4096) {
		errno = (int)-rc;
		return MAP_FAILED;
	}
	return (void *)rc;
}
