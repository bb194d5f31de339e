/* SPDX-License-Identifier: MIT */
/*
 * Holding writers off a range for a moment without any thread noticing: userfaultfd write-protect
 * where the process may use it for faults of the kernel too, else mprotect with a SIGSEGV guard.
 * Holds are made by one thread at a time (ff_mem.lock); the guard runs on any thread.
 */
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "mem_priv.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#define FEATURE_WP_UNPOPULATED (1u << 13) /* linux/userfaultfd.h of 6.4 */

_Atomic uint32_t ff_hold_seq;

static int hold_uffd = -1;	  /* holder of ff_mem.lock, between begin and end */
static _Atomic int hold_tid;	  /* who holds */
static bool hold_no_uffd;	  /* was refused once. Holder of ff_mem.lock */
static bool probe_by_populate;	  /* constant after init */
static struct ff_maps guard_maps; /* guard, old kernels only; under guard_lock */
static struct ff_lock guard_lock;
static _Atomic uint32_t probe_page_word[FF_PAGE / 4] __attribute__((aligned(4096)));

static int
uffd_open(void)
{
	struct uffdio_api api = {.api = UFFD_API};
	int fd, dev;

	fd = (int)ff_sys(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK, 0, 0, 0, 0, 0);
	if (fd < 0) {
		dev = ff_sys_openat(AT_FDCWD, "/dev/userfaultfd", O_RDWR | O_CLOEXEC);
		if (dev < 0)
			return dev;
		/* USERFAULTFD_IOC_NEW */
		fd = (int)ff_sys(SYS_ioctl, dev, _IO(0xAA, 0x00), O_CLOEXEC | O_NONBLOCK, 0, 0, 0);
		ff_sys_close(dev);
		if (fd < 0)
			return fd;
	}
	/*
	 * Without the second one (6.4), pages that are not there yet can only be protected by
	 * blocking their readers: and this thread is one.
	 */
	api.features = UFFD_FEATURE_PAGEFAULT_FLAG_WP | FEATURE_WP_UNPOPULATED;
	if (ff_sys_ioctl(fd, UFFDIO_API, &api) < 0) {
		ff_sys_close(fd);
		return -EINVAL;
	}
	return fd;
}

static int
uffd_hold(void *addr, size_t len)
{
	struct uffdio_register reg = {
		.range = {.start = (uintptr_t)addr, .len = len},
		.mode = UFFDIO_REGISTER_MODE_WP,
	};
	struct uffdio_writeprotect wp = {
		.range = reg.range,
		.mode = UFFDIO_WRITEPROTECT_MODE_WP,
	};
	int rc;

	rc = ff_sys_ioctl(hold_uffd, UFFDIO_REGISTER, &reg);
	if (rc < 0)
		return rc;
	rc = ff_sys_ioctl(hold_uffd, UFFDIO_WRITEPROTECT, &wp);
	if (rc < 0)
		ff_sys_ioctl(hold_uffd, UFFDIO_UNREGISTER, &reg.range);
	return rc;
}

static void
uffd_release(void *addr, size_t len, bool replaced)
{
	struct uffdio_range range = {.start = (uintptr_t)addr, .len = len};
	struct uffdio_writeprotect wp = {.range = range, .mode = 0};

	if (!replaced) {
		ff_sys_ioctl(hold_uffd, UFFDIO_WRITEPROTECT, &wp);
		ff_sys_ioctl(hold_uffd, UFFDIO_UNREGISTER, &range);
	}
	ff_sys_ioctl(hold_uffd, UFFDIO_WAKE, &range);
}

void
ff_hold_begin(void)
{
	if (hold_uffd < 0 && !hold_no_uffd) {
		hold_uffd = uffd_open();
		if (hold_uffd < 0)
			hold_no_uffd = true;
	}
	atomic_store_explicit(&hold_tid, ff_sys_gettid(), memory_order_relaxed);
	atomic_fetch_add(&ff_hold_seq, 1);
}

enum ff_hold_way
ff_hold_range(void *addr, size_t len)
{
	int rc;

	if (hold_uffd >= 0) {
		rc = uffd_hold(addr, len);
		if (rc == 0)
			return FF_HOLD_UFFD;
		/* The program's own userfaultfd is on it. */
		if (rc == -EBUSY)
			return FF_HOLD_NONE;
	}
	return ff_sys_mprotect(addr, len, PROT_READ) < 0 ? FF_HOLD_NONE : FF_HOLD_MPROTECT;
}

void
ff_hold_release(enum ff_hold_way way, void *addr, size_t len, bool replaced)
{
	if (way == FF_HOLD_UFFD)
		uffd_release(addr, len, replaced);
	else if (way == FF_HOLD_MPROTECT && !replaced)
		ff_sys_mprotect(addr, len, PROT_READ | PROT_WRITE);
}

void
ff_hold_end(void)
{
	if (hold_uffd >= 0) {
		ff_sys_close(hold_uffd);
		hold_uffd = -1;
	}
	atomic_store_explicit(&hold_tid, 0, memory_order_relaxed);
	atomic_fetch_add(&ff_hold_seq, 1);
	ff_sys_futex_wake_all(&ff_hold_seq);
}

void
ff_hold_child(void)
{
	if (hold_uffd >= 0) {
		ff_sys_close(hold_uffd);
		hold_uffd = -1;
	}
	atomic_store(&guard_lock.word, 0);
	atomic_store_explicit(&hold_tid, 0, memory_order_relaxed);
	if (atomic_load(&ff_hold_seq) & 1)
		atomic_fetch_add(&ff_hold_seq, 1);
}

bool
ff_hold_wait(uint32_t seq)
{
	uint32_t now;

	while ((now = atomic_load(&ff_hold_seq)) & 1)
		ff_sys_futex_wait(&ff_hold_seq, now);
	return now != seq;
}

/* Does the mapping at addr allow writing now? */
static bool
addr_writable(void *addr)
{
	uintptr_t page = (uintptr_t)addr & ~(FF_PAGE - 1);
	struct ff_vma v;
	bool w;

	if (probe_by_populate)
		return ff_sys_madvise((void *)page, FF_PAGE, MADV_POPULATE_WRITE) == 0;
	ff_lock_acquire(&guard_lock);
	w = ff_maps_open(&guard_maps, AT_FDCWD, "/proc/self/maps") == 0;
	if (w) {
		w = ff_maps_find(&guard_maps, page, &v) == 0 && v.start <= page && v.w;
		ff_maps_close(&guard_maps);
	}
	ff_lock_release(&guard_lock);
	return w;
}

/*
 * The fault may be older than the state that is seen here. Reading seq first settles it: not
 * writable while seq was even and has not moved means that no hold had a part in it.
 */
bool
ff_hold_retry(void *addr)
{
	uint32_t seq;

	ff_mem_is_vfork();
	for (;;) {
		seq = atomic_load(&ff_hold_seq);
		if (addr_writable(addr))
			return true;
		if (seq & 1) {
			if (atomic_load(&hold_tid) == ff_sys_gettid())
				return false;
			ff_sys_futex_wait(&ff_hold_seq, seq);
		} else if (atomic_load(&ff_hold_seq) == seq) {
			return false;
		}
	}
}

/* A write to a page that is there but may not be written. */
static bool
guard_segv(siginfo_t *info, void *ucontext)
{
#if defined(__x86_64__)
	const ucontext_t *uc = ucontext;

	if (!(uc->uc_mcontext.gregs[REG_ERR] & 2)) /* page fault error code: write */
		return false;
#endif
	return info->si_code == SEGV_ACCERR && ff_hold_retry(info->si_addr);
}

void
ff_hold_init(void)
{
	const char *use = getenv("FREEFLOW_UFFD");

	hold_no_uffd = use && strcmp(use, "0") == 0;
	probe_by_populate = ff_sys_madvise(probe_page_word, FF_PAGE, MADV_POPULATE_WRITE) == 0;
	ff_signal_guard(SIGSEGV, guard_segv);
}
