/* SPDX-License-Identifier: MIT */
/*
 * Conversion: private anonymous pages become, in place, a mapping of a sealed memfd that the
 * router can map. Runs on the thread that registers memory, under ff_mem.lock; any thread.
 *
 * A slice at a time: a second mapping of the memfd is made ready, writers are held off, what is
 * there is copied, one mremap() puts the second mapping over the first. Nobody ever reads anything
 * but the memory's contents, and no write is lost. The only record of what was converted is the
 * kernel's own (/proc/self/maps): libc unmaps and moves memory behind our back.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>

#include <freeflow/abi.h>

#include "mem.h"
#include "mem_priv.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

#define SLICE	    (2 * FF_HUGE)
#define SLICE_PAGES (SLICE / FF_PAGE)
/*
 * A mapping that libc grows by an mremap() of its own must find zeroes behind its end, not the end
 * of the file. The file is sparse: size costs nothing.
 */
#define FILE_SIZE   (1ull << 47)

#define PAGEMAP_PRESENT (1ull << 63)
#define PAGEMAP_SWAPPED (1ull << 62)
#define PAGEMAP_THERE	(PAGEMAP_PRESENT | PAGEMAP_SWAPPED) /* has contents */

struct ff_mem ff_mem;

static _Atomic bool mem_ready;
static bool mem_off; /* constant once it is ready */
/* Under ff_mem.lock: */
static struct {
	int pagemap;		       /* /proc/self/pagemap, or -1: all pages count as there */
	uint64_t entries[SLICE_PAGES]; /* pagemap of the slice */
	unsigned char core[SLICE_PAGES];
	bool dontfork; /* the mapping is not for children */
	bool huge;     /* large enough for large pages */
} work = {.pagemap = -1};

/* ---- whose memory ---- */

/* A page that a child gets zeroed: pid of the process whose memory this is. */
static _Atomic(_Atomic int *) owner;

static void
owner_init(void)
{
	_Atomic int *page = ff_sys_mmap(NULL, FF_PAGE, PROT_READ | PROT_WRITE,
					MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (ff_sys_bad(page))
		return;
	ff_sys_madvise((void *)page, FF_PAGE, MADV_WIPEONFORK);
	atomic_store(page, ff_sys_getpid());
	atomic_store(&owner, page);
}

bool
ff_mem_is_vfork(void)
{
	_Atomic int *page = atomic_load_explicit(&owner, memory_order_acquire);
	int pid;

	if (!page)
		return false;
	while ((pid = atomic_load_explicit(page, memory_order_acquire)) <= 0) {
		if (pid < 0 || !atomic_compare_exchange_strong(page, &pid, -1))
			continue; /* another thread of the child is at it */
		ff_hold_child();
		ff_signal_child();
		atomic_store(&ff_mem.lock.word, 0);
		atomic_store_explicit(page, ff_sys_getpid(), memory_order_release);
	}
	return pid != ff_sys_getpid();
}

void
ff_mem_lock(uint64_t *mask)
{
	const uint64_t all = FF_SIG_ALL_ASYNC;

	ff_sys_sigmask(SIG_BLOCK, &all, mask);
	ff_mem_is_vfork();
	ff_lock_acquire(&ff_mem.lock);
}

void
ff_mem_unlock(const uint64_t *mask)
{
	ff_lock_release(&ff_mem.lock);
	ff_sys_sigmask(SIG_SETMASK, mask, NULL);
}

bool
ff_mem_swapping(void)
{
	struct sysinfo si = {0};

	return ff_sys(SYS_sysinfo, &si, 0, 0, 0, 0, 0) < 0 || si.totalswap != si.freeswap;
}

/* ---- one slice ---- */

/* A second mapping at the same place within a large page, so that both can use large pages. */
static void *
slice_map(int fd, uint64_t start, size_t len, uint64_t off)
{
	size_t pad = work.huge ? FF_HUGE : 0;
	size_t shift;
	uint8_t *area;
	void *p;

	area = ff_sys_mmap(NULL, len + pad, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
			   -1, 0);
	if (ff_sys_bad(area))
		return NULL;
	shift = pad ? (start - (uintptr_t)area) & (FF_HUGE - 1) : 0;
	p = ff_sys_mmap(area + shift, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, off);
	if (shift)
		ff_sys_munmap(area, shift);
	if (pad > shift)
		ff_sys_munmap(area + shift + len, pad - shift);
	if (ff_sys_bad(p)) {
		ff_sys_munmap(area + shift, len);
		return NULL;
	}
	if (pad)
		ff_sys_madvise(p, len, MADV_HUGEPAGE);
	if (work.dontfork)
		ff_sys_madvise(p, len, MADV_DONTFORK);
	return p;
}

/*
 * Under userfaultfd a page that was never used has a marker, which pagemap shows as swapped.
 * mincore() does not see markers, but all that is in memory. What neither shows can only be in
 * swap, if anything is.
 */
static void
slice_drop_markers(uint64_t start, size_t len)
{
	size_t n = len / FF_PAGE, i;

	for (i = 0; i < n; i++)
		if ((work.entries[i] & PAGEMAP_THERE) == PAGEMAP_SWAPPED)
			break;
	if (i == n || ff_mem_swapping() || ff_sys(SYS_mincore, start, len, work.core, 0, 0, 0) < 0)
		return;
	for (; i < n; i++)
		if (!(work.entries[i] & PAGEMAP_PRESENT) && !(work.core[i] & 1))
			work.entries[i] = 0;
}

static void
slice_look(uint64_t start, size_t len)
{
	size_t bytes = len / FF_PAGE * sizeof(uint64_t);

	if (work.pagemap < 0 || ff_sys_pread(work.pagemap, work.entries, bytes,
					     start / FF_PAGE * sizeof(uint64_t)) != (long)bytes)
		memset(work.entries, 0xff, bytes);
	else
		slice_drop_markers(start, len);
}

/* Calls fn for each run of pages that have contents. */
static void
slice_runs(void *to, uint64_t from, size_t len, void (*fn)(void *, const void *, size_t))
{
	size_t n = len / FF_PAGE, i = 0, first;

	while (i < n) {
		if (!(work.entries[i] & PAGEMAP_THERE)) {
			i++;
			continue;
		}
		for (first = i; i < n && (work.entries[i] & PAGEMAP_THERE); i++)
			;
		fn((uint8_t *)to + first * FF_PAGE, (const void *)(from + first * FF_PAGE),
		   (i - first) * FF_PAGE);
	}
}

static void
run_populate(void *to, const void *from, size_t len)
{
	ff_sys_madvise(to, len, MADV_POPULATE_WRITE);
}

static void
run_copy(void *to, const void *from, size_t len)
{
	memcpy(to, from, len);
}

static int
slice_convert(int fd, uint64_t start, size_t len, uint64_t off)
{
	void *to, *at = (void *)start;
	enum ff_hold_way way;
	bool done;

	to = slice_map(fd, start, len, off);
	if (!to)
		return -ENOMEM;
	/* New pages are zeroed before the writers are held off. */
	slice_look(start, len);
	slice_runs(to, start, len, run_populate);

	ff_hold_begin();
	way = ff_hold_range(at, len);
	done = way != FF_HOLD_NONE;
	if (done) {
		slice_look(start, len);
		slice_runs(to, start, len, run_copy);
		done = !ff_sys_bad(ff_sys_mremap(to, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, at));
		ff_hold_release(way, at, len, done);
	}
	ff_hold_end();
	if (!done)
		ff_sys_munmap(to, len);
	return done ? 0 : -ENOMEM;
}

/* ---- one mapping ---- */

static int
file_create(uint64_t need)
{
	uint64_t size = FILE_SIZE;
	struct rlimit lim = {RLIM_INFINITY, RLIM_INFINITY};
	int fd;

	/* Beyond this limit ftruncate() raises SIGXFSZ. */
	ff_sys(SYS_prlimit64, 0, RLIMIT_FSIZE, NULL, &lim, 0, 0);
	if (lim.rlim_cur < size)
		size = lim.rlim_cur & ~(FF_PAGE - 1);
	if (size < need)
		return -EFBIG;
	fd = (int)ff_sys(SYS_memfd_create, FF_MR_MEMFD_NAME,
			 MFD_CLOEXEC | MFD_ALLOW_SEALING | 0x0008U /* MFD_NOEXEC_SEAL, 6.3 */, 0, 0,
			 0, 0);
	if (fd == -EINVAL)
		fd = (int)ff_sys(SYS_memfd_create, FF_MR_MEMFD_NAME,
				 MFD_CLOEXEC | MFD_ALLOW_SEALING, 0, 0, 0, 0);
	if (fd < 0)
		return fd;
	if (ff_sys(SYS_ftruncate, fd, size, 0, 0, 0, 0) < 0 ||
	    ff_sys(SYS_fcntl, fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL, 0, 0, 0) <
		    0) {
		ff_sys_close(fd);
		return -ENOMEM;
	}
	return fd;
}

/* [start, end): part of one mapping, without stacks. */
static void
range_convert(uint64_t start, uint64_t end)
{
	uint64_t base = start & ~(FF_HUGE - 1), next;
	int fd;

	fd = file_create(end - base);
	if (fd < 0)
		return;
	for (; start < end; start = next) {
		next = (start & ~(FF_HUGE - 1)) + SLICE;
		if (next > end)
			next = end;
		if (slice_convert(fd, start, next - start, start - base))
			break; /* the rest is left to process_vm */
	}
	ff_sys_close(fd);
}

static void
mapping_convert(const struct ff_vma *v, uint64_t start, uint64_t end)
{
	struct ff_stacks_range keep;

	if (!v->r || !v->w || v->x || v->shared || v->ino ||
	    (v->name != FF_VMA_ANON && v->name != FF_VMA_HEAP))
		return;
	atomic_store(&ff_mem.active, true);
	work.huge = end - start >= FF_HUGE;
	work.dontfork = atomic_load(&ff_mem.dontfork) && ff_smaps_open() == 0;
	if (work.dontfork) {
		work.dontfork = ff_smaps_dontfork(v->start);
		ff_smaps_close();
	}
	while (ff_stacks_next(v, start, end, &keep)) {
		if (keep.start > start)
			range_convert(start, keep.start);
		start = keep.end;
	}
	if (start < end)
		range_convert(start, end);
}

/* ---- entry ---- */

static void
mem_init(void)
{
	const char *way = getenv("FREEFLOW_MR");

	mem_off = way && strcmp(way, "process_vm") == 0;
	if (mem_off)
		return;
	owner_init();
	ff_hold_init();
	mem_off = !ff_fork_init();
}

/* A fork may have copied another thread's half of this; then the child begins again. */
static bool
mem_use(void)
{
	static _Atomic int by; /* pid of who does it */
	int pid, was = 0;

	while (!atomic_load_explicit(&mem_ready, memory_order_acquire)) {
		pid = ff_sys_getpid();
		if (was == pid) {
			ff_sys(SYS_sched_yield, 0, 0, 0, 0, 0, 0);
			was = 0;
		}
		if (!atomic_compare_exchange_strong(&by, &was, pid))
			continue;
		mem_init();
		atomic_store_explicit(&mem_ready, true, memory_order_release);
	}
	return !mem_off;
}

static void
range_prepare(uint64_t start, uint64_t end)
{
	struct ff_vma v;
	uint64_t at = start, to;

	if (ff_maps_open(&ff_mem.maps, AT_FDCWD, "/proc/self/maps"))
		return;
	work.pagemap = ff_sys_openat(AT_FDCWD, "/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	while (at < end && ff_maps_find(&ff_mem.maps, at, &v) == 0 && v.start < end) {
		if (at < v.start)
			at = v.start;
		to = v.end < end ? v.end : end;
		mapping_convert(&v, at, to);
		at = to;
	}
	if (work.pagemap >= 0)
		ff_sys_close(work.pagemap);
	work.pagemap = -1;
	ff_maps_close(&ff_mem.maps);
}

void
ff_mem_prepare(void *addr, size_t len)
{
	uint64_t start = (uintptr_t)addr & ~(FF_PAGE - 1), mask;

	if (!len || (uintptr_t)addr + len < (uintptr_t)addr || !mem_use())
		return;
	ff_mem_lock(&mask);
	if (!ff_fork_unguarded())
		range_prepare(start, ((uintptr_t)addr + len + FF_PAGE - 1) & ~(FF_PAGE - 1));
	ff_mem_unlock(&mask);
}

uint32_t
ff_mem_moment(void)
{
	return atomic_load(&ff_hold_seq);
}

bool
ff_mem_was_held(uint32_t moment)
{
	return ff_hold_wait(moment);
}
