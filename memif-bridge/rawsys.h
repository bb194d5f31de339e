/* SPDX-License-Identifier: MIT */
/*
 * System calls without libc: no errno, no TLS, no hook of ours in the way. For code that runs
 * while pages are write-protected, in signal handlers, and between clone and return of fork.
 * Results are the kernel's: a value or -errno. Any thread..
 */
#ifndef FF_RAWSYS_H
#define FF_RAWSYS_H

#include <errno.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>

#if defined(__x86_64__)
static inline long
ff_sys6(long nr, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}
#elif defined(__aarch64__)
static inline long
ff_sys6(long nr, long a, long b, long c, long d, long e, long f)
{
	register long x8 __asm__("x8") = nr;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	register long x5 __asm__("x5") = f;

	__asm__ volatile("svc #0"
			 : "+r"(x0)
			 : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
			 : "memory");
	return x0;
}
#else
#error "system call convention of this machine is missing"
#endif

#define ff_sys(nr, a, b, c, d, e, f) \
	ff_sys6((nr), (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))

static inline int
ff_sys_openat(int dirfd, const char *path, int flags)
{
	return (int)ff_sys(SYS_openat, dirfd, path, flags, 0, 0, 0);
}

static inline int
ff_sys_close(int fd)
{
	return (int)ff_sys(SYS_close, fd, 0, 0, 0, 0, 0);
}

static inline long
ff_sys_read(int fd, void *buf, size_t len)
{
	return ff_sys(SYS_read, fd, buf, len, 0, 0, 0);
}

static inline long
ff_sys_pread(int fd, void *buf, size_t len, uint64_t off)
{
	return ff_sys(SYS_pread64, fd, buf, len, off, 0, 0);
}

static inline int
ff_sys_ioctl(int fd, unsigned long request, void *arg)
{
	return (int)ff_sys(SYS_ioctl, fd, request, arg, 0, 0, 0);
}

/* MAP_FAILED is never returned: test with ff_sys_bad(). */
static inline void *
ff_sys_mmap(void *addr, size_t len, int prot, int flags, int fd, uint64_t off)
{
	return (void *)ff_sys(SYS_mmap, addr, len, prot, flags, fd, off);
}

static inline void *
ff_sys_mremap(void *addr, size_t old_len, size_t new_len, int flags, void *new_addr)
{
	return (void *)ff_sys(SYS_mremap, addr, old_len, new_len, flags, new_addr, 0);
}

/* True if a pointer result is in fact -errno. */
static inline int
ff_sys_bad(const void *p)
{
	return (uintptr_t)p >= (uintptr_t)-4095;
}

static inline int
ff_sys_munmap(void *addr, size_t len)
{
	return (int)ff_sys(SYS_munmap, addr, len, 0, 0, 0, 0);
}

static inline int
ff_sys_mprotect(void *addr, size_t len, int prot)
{
	return (int)ff_sys(SYS_mprotect, addr, len, prot, 0, 0, 0);
}

static inline int
ff_sys_madvise(void *addr, size_t len, int advice)
{
	return (int)ff_sys(SYS_madvise, addr, len, advice, 0, 0, 0);
}

static inline int
ff_sys_gettid(void)
{
	return (int)ff_sys(SYS_gettid, 0, 0, 0, 0, 0, 0);
}

static inline int
ff_sys_getpid(void)
{
	return (int)ff_sys(SYS_getpid, 0, 0, 0, 0, 0, 0);
}

/* how: SIG_BLOCK, ...; masks are the kernel's 64 bits. */
static inline int
ff_sys_sigmask(int how, const uint64_t *set, uint64_t *old)
{
	return (int)ff_sys(SYS_rt_sigprocmask, how, set, old, sizeof(uint64_t), 0, 0);
}

static inline void
ff_sys_futex_wait(_Atomic uint32_t *word, uint32_t seen)
{
	ff_sys(SYS_futex, word, FUTEX_WAIT_PRIVATE, seen, 0, 0, 0);
}

static inline void
ff_sys_futex_wake_all(_Atomic uint32_t *word)
{
	ff_sys(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT32_MAX, 0, 0, 0);
}

/* A lock: 0 free, 1 held, 2 held and waited for. Hold it with signals blocked. */
struct ff_lock {
	_Atomic uint32_t word;
};

static inline void
ff_lock_acquire(struct ff_lock *l)
{
	uint32_t free_word = 0;

	if (atomic_compare_exchange_strong_explicit(&l->word, &free_word, 1, memory_order_acquire,
						    memory_order_relaxed))
		return;
	while (atomic_exchange_explicit(&l->word, 2, memory_order_acquire) != 0)
		ff_sys_futex_wait(&l->word, 2);
}

static inline void
ff_lock_release(struct ff_lock *l)
{
	if (atomic_exchange_explicit(&l->word, 0, memory_order_release) == 2)
		ff_sys(SYS_futex, &l->word, FUTEX_WAKE_PRIVATE, 1, 0, 0, 0);
}

#endif
