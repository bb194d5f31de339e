/* SPDX-License-Identifier: MIT */
/*
 * The stat family, by name and by fd: the device's node is a character device with the numbers
 * that sysfs says, though there is no such node. Any thread.
 */
#include <errno.h>
#include <fcntl.h>

#include "fdtab.h"
#include "path.h"
#include "real.h"
#include "uverbs.h"

/* What programs that were linked against a libc before 2.33 call. */
int __xstat(int ver, const char *path, struct stat *st);
int __lxstat(int ver, const char *path, struct stat *st);
int __fxstat(int ver, int fd, struct stat *st);
int __fxstatat(int ver, int dirfd, const char *path, struct stat *st, int flags);
int __xstat64(int ver, const char *path, struct stat64 *st);
int __lxstat64(int ver, const char *path, struct stat64 *st);
int __fxstat64(int ver, int fd, struct stat64 *st);
int __fxstatat64(int ver, int dirfd, const char *path, struct stat64 *st, int flags);

_Static_assert(sizeof(struct stat) == sizeof(struct stat64), "64-bit machines only");

static bool
is_device(const char *path)
{
	return path_is_uverbs(path) && path_active();
}

/* Names the descriptor itself (with AT_EMPTY_PATH). Programs probe statx() with NULL. */
static bool
is_empty(const char *path)
{
	return !path || path[0] == '\0';
}

static bool
is_device_fd(int fd)
{
	const struct fdobj *o = fdtab_peek(fd);

	return o && o->kind == FDOBJ_UVERBS;
}

FF_HOOK int
stat(const char *restrict path, struct stat *restrict st)
{
	char buf[PATH_BUF];

	if (is_device(path)) {
		uverbs_stat(st);
		return 0;
	}
	return ff_real.stat(path_map(path, buf), st);
}

FF_HOOK int
lstat(const char *restrict path, struct stat *restrict st)
{
	char buf[PATH_BUF];

	if (is_device(path)) {
		uverbs_stat(st);
		return 0;
	}
	return ff_real.lstat(path_map(path, buf), st);
}

FF_HOOK int
fstat(int fd, struct stat *st)
{
	if (__builtin_expect(is_device_fd(fd), 0)) {
		uverbs_stat(st);
		return 0;
	}
	return ff_real.fstat(fd, st);
}

FF_HOOK int
fstatat(int dirfd, const char *restrict path, struct stat *restrict st, int flags)
{
	char buf[PATH_BUF];

	if (is_device(path) || ((flags & AT_EMPTY_PATH) && is_device_fd(dirfd) && is_empty(path))) {
		uverbs_stat(st);
		return 0;
	}
	return ff_real.fstatat(dirfd, path_map(path, buf), st, flags);
}

FF_HOOK int
stat64(const char *restrict path, struct stat64 *restrict st)
{
	return stat(path, (struct stat *)st);
}

FF_HOOK int
lstat64(const char *restrict path, struct stat64 *restrict st)
{
	return lstat(path, (struct stat *)st);
}

FF_HOOK int
fstat64(int fd, struct stat64 *st)
{
	return fstat(fd, (struct stat *)st);
}

FF_HOOK int
fstatat64(int dirfd, const char *restrict path, struct stat64 *restrict st, int flags)
{
	return fstatat(dirfd, path, (struct stat *)st, flags);
}

FF_HOOK int
statx(int dirfd, const char *restrict path, int flags, unsigned int mask,
      struct statx *restrict stx)
{
	char buf[PATH_BUF];

	if (is_device(path) || ((flags & AT_EMPTY_PATH) && is_device_fd(dirfd) && is_empty(path))) {
		uverbs_statx(stx);
		return 0;
	}
	return ff_real.statx(dirfd, path_map(path, buf), flags, mask, stx);
}

/* Both versions that x86-64 knows, and the one of aarch64, mean today's struct. */
static int
version_known(int ver)
{
	if (ver == 0 || ver == 1)
		return 1;
	errno = EINVAL;
	return 0;
}

FF_HOOK int
__xstat(int ver, const char *path, struct stat *st)
{
	return version_known(ver) ? stat(path, st) : -1;
}

FF_HOOK int
__lxstat(int ver, const char *path, struct stat *st)
{
	return version_known(ver) ? lstat(path, st) : -1;
}

FF_HOOK int
__fxstat(int ver, int fd, struct stat *st)
{
	return version_known(ver) ? fstat(fd, st) : -1;
}

FF_HOOK int
__fxstatat(int ver, int dirfd, const char *path, struct stat *st, int flags)
{
	return version_known(ver) ? fstatat(dirfd, path, st, flags) : -1;
}

FF_HOOK int
__xstat64(int ver, const char *path, struct stat64 *st)
{
	return __xstat(ver, path, (struct stat *)st);
}

FF_HOOK int
__lxstat64(int ver, const char *path, struct stat64 *st)
{
	return __lxstat(ver, path, (struct stat *)st);
}

FF_HOOK int
__fxstat64(int ver, int fd, struct stat64 *st)
{
	return __fxstat(ver, fd, (struct stat *)st);
}

FF_HOOK int
__fxstatat64(int ver, int dirfd, const char *path, struct stat64 *st, int flags)
{
	return __fxstatat(ver, dirfd, path, (struct stat *)st, flags);
}
