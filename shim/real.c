/* SPDX-License-Identifier: MIT */
/*
 * The table of libc's own entries. Before the constructor of this library has run, other
 * constructors and a malloc that is called by dlsym() may already be inside our hooks: so the
 * table starts out with plain system calls. Any thread.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../memif-bridge/rawsys.h"
#include "real.h"

static ssize_t
sys_read(int fd, void *buf, size_t len)
{
	return syscall(SYS_read, fd, buf, len);
}

static ssize_t
sys_write(int fd, const void *buf, size_t len)
{
	return syscall(SYS_write, fd, buf, len);
}

static ssize_t
sys_writev(int fd, const struct iovec *iov, int count)
{
	return syscall(SYS_writev, fd, iov, count);
}

static int
sys_close(int fd)
{
	return (int)syscall(SYS_close, fd);
}

static int
sys_close_range(unsigned int first, unsigned int last, int flags)
{
	return (int)syscall(SYS_close_range, first, last, flags);
}

static int
sys_dup(int fd)
{
	return (int)syscall(SYS_dup, fd);
}

static int
sys_dup3(int oldfd, int newfd, int flags)
{
	return (int)syscall(SYS_dup3, oldfd, newfd, flags);
}

static int
sys_dup2(int oldfd, int newfd)
{
	/* dup3 refuses equal numbers; aarch64 has no dup2. */
	if (oldfd == newfd)
		return syscall(SYS_fcntl, oldfd, F_GETFD) < 0 ? -1 : newfd;
	return sys_dup3(oldfd, newfd, 0);
}

static int
sys_fcntl(int fd, int cmd, ...)
{
	va_list ap;
	void *arg;

	va_start(ap, cmd);
	arg = va_arg(ap, void *);
	va_end(ap);
	return (int)syscall(SYS_fcntl, fd, cmd, arg);
}

static int
sys_socket(int domain, int type, int protocol)
{
	return (int)syscall(SYS_socket, domain, type, protocol);
}

static int
sys_ioctl(int fd, unsigned long request, ...)
{
	va_list ap;
	void *arg;

	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	return (int)syscall(SYS_ioctl, fd, request, arg);
}

static int
sys_open(const char *path, int flags, ...)
{
	va_list ap;
	mode_t mode;

	va_start(ap, flags);
	mode = va_arg(ap, mode_t);
	va_end(ap);
	return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

static int
sys_openat(int dirfd, const char *path, int flags, ...)
{
	va_list ap;
	mode_t mode;

	va_start(ap, flags);
	mode = va_arg(ap, mode_t);
	va_end(ap);
	return (int)syscall(SYS_openat, dirfd, path, flags, mode);
}

/* struct stat is the kernel's on the 64-bit machines that this library is for. */
static int
sys_fstatat(int dirfd, const char *path, struct stat *st, int flags)
{
	return (int)syscall(SYS_newfstatat, dirfd, path, st, flags);
}

static int
sys_stat(const char *path, struct stat *st)
{
	return sys_fstatat(AT_FDCWD, path, st, 0);
}

static int
sys_lstat(const char *path, struct stat *st)
{
	return sys_fstatat(AT_FDCWD, path, st, AT_SYMLINK_NOFOLLOW);
}

static int
sys_fstat(int fd, struct stat *st)
{
	return (int)syscall(SYS_fstat, fd, st);
}

static int
sys_statx(int dirfd, const char *path, int flags, unsigned int mask, struct statx *stx)
{
	return (int)syscall(SYS_statx, dirfd, path, flags, mask, stx);
}

static int
sys_faccessat(int dirfd, const char *path, int mode, int flags)
{
	if (flags)
		return (int)syscall(SYS_faccessat2, dirfd, path, mode, flags);
	return (int)syscall(SYS_faccessat, dirfd, path, mode);
}

static int
sys_access(const char *path, int mode)
{
	return sys_faccessat(AT_FDCWD, path, mode, 0);
}

static ssize_t
sys_readlinkat(int dirfd, const char *path, char *buf, size_t size)
{
	return syscall(SYS_readlinkat, dirfd, path, buf, size);
}

static ssize_t
sys_readlink(const char *path, char *buf, size_t size)
{
	return sys_readlinkat(AT_FDCWD, path, buf, size);
}

static void *
sys_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t off)
{
	return (void *)syscall(SYS_mmap, addr, len, prot, flags, fd, off);
}

static int
sys_munmap(void *addr, size_t len)
{
	return (int)syscall(SYS_munmap, addr, len);
}

static void *
sys_mremap(void *addr, size_t old_len, size_t new_len, int flags, ...)
{
	va_list ap;
	void *new_addr;

	va_start(ap, flags);
	new_addr = va_arg(ap, void *);
	va_end(ap);
	return (void *)syscall(SYS_mremap, addr, old_len, new_len, flags, new_addr);
}

static int
sys_madvise(void *addr, size_t len, int advice)
{
	return (int)syscall(SYS_madvise, addr, len, advice);
}

/* As libc's, without the hook: it is what that goes on to. */
static long
sys_syscall(long nr, ...)
{
	long arg[6], ret;
	va_list ap;

	va_start(ap, nr);
	for (unsigned i = 0; i < 6; i++)
		arg[i] = va_arg(ap, long);
	va_end(ap);
	ret = ff_sys6(nr, arg[0], arg[1], arg[2], arg[3], arg[4], arg[5]);
	if ((unsigned long)ret < -4095ul)
		return ret;
	errno = (int)-ret;
	return -1;
}

#define BOOT(name) .name = sys_##name
struct ff_real ff_real = {
	BOOT(read),	BOOT(write),   BOOT(writev), BOOT(close),      BOOT(close_range),
	BOOT(dup),	BOOT(dup2),    BOOT(dup3),   BOOT(fcntl),      BOOT(socket),
	BOOT(ioctl),	BOOT(open),    BOOT(openat), BOOT(stat),       BOOT(lstat),
	BOOT(fstat),	BOOT(fstatat), BOOT(statx),  BOOT(access),     BOOT(faccessat),
	BOOT(readlink), BOOT(mmap),    BOOT(munmap), BOOT(readlinkat), BOOT(mremap),
	BOOT(madvise),	BOOT(syscall),
};
#undef BOOT

static _Atomic bool initialised;
static __thread bool in_dlsym __attribute__((tls_model("initial-exec")));

ssize_t (*_Atomic ff_read_filter)(int fd, void *buf, size_t len, ssize_t n);
_Atomic uint64_t ff_signal_interrupts;
const struct ff_io_gate *_Atomic ff_io_gate;

/* A name that this libc does not have keeps its system call (or NULL). */
static void
real_resolve(void **slot, const char *name)
{
	void *sym = dlsym(RTLD_NEXT, name);

	if (sym)
		__atomic_store_n(slot, sym, __ATOMIC_RELEASE);
}

void
ff_real_init(void)
{
	int saved = errno;

	if (in_dlsym || atomic_load_explicit(&initialised, memory_order_acquire))
		return;
	in_dlsym = true;
	/* Two threads may do this at once: both store the same values. */
#define X(ret, name, params) real_resolve((void **)&ff_real.name, #name);
	FF_REAL_LIST(X)
#undef X
	in_dlsym = false;
	atomic_store_explicit(&initialised, true, memory_order_release);
	errno = saved;
}

__attribute__((constructor(101))) static void
real_construct(void)
{
	ff_real_init();
}
