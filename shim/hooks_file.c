/* SPDX-License-Identifier: MIT */
/*
 * libc's ways to open and to look at files by name, for the device's node and its sysfs view. Any
 * thread, also before this library's constructor. Each hook costs a look at the first characters
 * of the name.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include "fdtab.h"
#include "path.h"
#include "real.h"
#include "uverbs.h"

/* What a program compiled with _FORTIFY_SOURCE calls; libc declares some of them to nobody. */
int __open_2(const char *path, int flags);
int __open64_2(const char *path, int flags);
int __openat_2(int dirfd, const char *path, int flags);
int __openat64_2(int dirfd, const char *path, int flags);
char *__realpath_chk(const char *path, char *resolved, size_t size);
ssize_t __readlink_chk(const char *path, char *buf, size_t len, size_t size);
ssize_t __readlinkat_chk(int dirfd, const char *path, char *buf, size_t len, size_t size);
void __chk_fail(void) __attribute__((noreturn));

/* -1 and errno for -errno. */
static int
hook_result(int ret)
{
	if (ret >= 0)
		return ret;
	errno = -ret;
	return -1;
}

static int
hook_open_device(int flags)
{
	int saved = errno, ret;

	if ((flags & O_DIRECTORY) || (flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL))
		return hook_result(flags & O_DIRECTORY ? -ENOTDIR : -EEXIST);
	ret = hook_result(uverbs_open(flags));
	if (ret >= 0)
		errno = saved;
	return ret;
}

static bool
is_device(const char *path)
{
	return path_is_uverbs(path) && path_active();
}

static int
hook_open(const char *path, int flags, mode_t mode)
{
	char buf[PATH_BUF];
	int fd;

	if (is_device(path))
		return hook_open_device(flags);
	fd = ff_real.open(path_map(path, buf), flags, mode);
	return fdtab_fresh(fd);
}

static int
hook_openat(int dirfd, const char *path, int flags, mode_t mode)
{
	char buf[PATH_BUF];
	int fd;

	if (is_device(path))
		return hook_open_device(flags);
	fd = ff_real.openat(dirfd, path_map(path, buf), flags, mode);
	return fdtab_fresh(fd);
}

/* The mode is only there if the flags ask for it. */
#define TAKE_MODE(flags, mode)                   \
	mode_t mode = 0;                         \
	if ((flags) & (O_CREAT | __O_TMPFILE)) { \
		va_list ap;                      \
		va_start(ap, flags);             \
		mode = va_arg(ap, mode_t);       \
		va_end(ap);                      \
	}

FF_HOOK int
open(const char *path, int flags, ...)
{
	TAKE_MODE(flags, mode);
	return hook_open(path, flags, mode);
}

FF_HOOK int
open64(const char *path, int flags, ...)
{
	TAKE_MODE(flags, mode);
	return hook_open(path, flags | O_LARGEFILE, mode);
}

FF_HOOK int
openat(int dirfd, const char *path, int flags, ...)
{
	TAKE_MODE(flags, mode);
	return hook_openat(dirfd, path, flags, mode);
}

FF_HOOK int
openat64(int dirfd, const char *path, int flags, ...)
{
	TAKE_MODE(flags, mode);
	return hook_openat(dirfd, path, flags | O_LARGEFILE, mode);
}

FF_HOOK int
__open_2(const char *path, int flags)
{
	if (flags & (O_CREAT | __O_TMPFILE))
		__chk_fail();
	return hook_open(path, flags, 0);
}

FF_HOOK int
__open64_2(const char *path, int flags)
{
	return __open_2(path, flags | O_LARGEFILE);
}

FF_HOOK int
__openat_2(int dirfd, const char *path, int flags)
{
	if (flags & (O_CREAT | __O_TMPFILE))
		__chk_fail();
	return hook_openat(dirfd, path, flags, 0);
}

FF_HOOK int
__openat64_2(int dirfd, const char *path, int flags)
{
	return __openat_2(dirfd, path, flags | O_LARGEFILE);
}

FF_HOOK FILE *
fopen(const char *path, const char *mode)
{
	char buf[PATH_BUF];

	if (!FF_REAL(fopen)) {
		errno = ENOSYS;
		return NULL;
	}
	return ff_real.fopen(path_map(path, buf), mode);
}

FF_HOOK FILE *
fopen64(const char *path, const char *mode)
{
	return fopen(path, mode);
}

FF_HOOK DIR *
opendir(const char *path)
{
	char buf[PATH_BUF];

	if (!FF_REAL(opendir)) {
		errno = ENOSYS;
		return NULL;
	}
	return ff_real.opendir(path_map(path, buf));
}

FF_HOOK int
scandir(const char *restrict path, struct dirent ***restrict list, ff_dirent_filter filter,
	ff_dirent_compar compar)
{
	char buf[PATH_BUF];

	if (!FF_REAL(scandir)) {
		errno = ENOSYS;
		return -1;
	}
	return ff_real.scandir(path_map(path, buf), list, filter, compar);
}

/* struct dirent64 is struct dirent on 64-bit machines. */
FF_HOOK int
scandir64(const char *restrict path, struct dirent64 ***restrict list,
	  int (*filter)(const struct dirent64 *),
	  int (*compar)(const struct dirent64 **, const struct dirent64 **))
{
	return scandir(path, (struct dirent ***)list, (ff_dirent_filter)filter,
		       (ff_dirent_compar)compar);
}

static int
device_access(int mode)
{
	if (mode & X_OK) {
		errno = EACCES;
		return -1;
	}
	return 0;
}

FF_HOOK int
access(const char *path, int mode)
{
	char buf[PATH_BUF];

	if (is_device(path))
		return device_access(mode);
	return ff_real.access(path_map(path, buf), mode);
}

FF_HOOK int
faccessat(int dirfd, const char *path, int mode, int flags)
{
	char buf[PATH_BUF];

	if (is_device(path))
		return device_access(mode);
	return ff_real.faccessat(dirfd, path_map(path, buf), mode, flags);
}

FF_HOOK ssize_t
readlink(const char *restrict path, char *restrict out, size_t len)
{
	char buf[PATH_BUF];

	return ff_real.readlink(path_map(path, buf), out, len);
}

FF_HOOK ssize_t
readlinkat(int dirfd, const char *restrict path, char *restrict out, size_t len)
{
	char buf[PATH_BUF];

	return ff_real.readlinkat(dirfd, path_map(path, buf), out, len);
}

FF_HOOK ssize_t
__readlink_chk(const char *path, char *out, size_t len, size_t size)
{
	if (len > size)
		__chk_fail();
	return readlink(path, out, len);
}

FF_HOOK ssize_t
__readlinkat_chk(int dirfd, const char *path, char *out, size_t len, size_t size)
{
	if (len > size)
		__chk_fail();
	return readlinkat(dirfd, path, out, len);
}

FF_HOOK char *
realpath(const char *restrict path, char *restrict resolved)
{
	char buf[PATH_BUF];

	if (!FF_REAL(realpath)) {
		errno = ENOSYS;
		return NULL;
	}
	return ff_real.realpath(path_map(path, buf), resolved);
}

FF_HOOK char *
__realpath_chk(const char *path, char *resolved, size_t size)
{
	if (size < PATH_MAX)
		__chk_fail();
	return realpath(path, resolved);
}

FF_HOOK char *
canonicalize_file_name(const char *path)
{
	return realpath(path, NULL);
}
