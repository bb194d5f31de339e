/* SPDX-License-Identifier: MIT */
/* Maps paths of the RDMA device to the container's Freeflow directory. Any thread; no state but
 * the directory's name, which is read from the environment once. */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <freeflow/abi.h>

#include "path.h"
#include "real.h"

static const char *
path_dir_read(void)
{
	const char *env = secure_getenv("FREEFLOW_DIR");

	return env && env[0] == '/' ? strdup(env) : FF_MOUNT;
}

const char *
path_dir(void)
{
	static const char *_Atomic dir;
	const char *d = atomic_load_explicit(&dir, memory_order_acquire);

	if (d)
		return d;
	/* A copy: setenv() may move the environment. Two first callers: one copy is lost. */
	d = path_dir_read();
	if (!d)
		return FF_MOUNT;
	atomic_store_explicit(&dir, d, memory_order_release);
	return d;
}

bool
path_active(void)
{
	char path[PATH_BUF];
	int saved = errno;
	bool there;

	if (snprintf(path, sizeof(path), "%s/" FF_SYSFS_DIR, path_dir()) >= (int)sizeof(path))
		return false;
	there = ff_real.access(path, F_OK) == 0;
	errno = saved;
	return there;
}

/* Skips one or more '/' and then name. NULL if something else is there. */
static const char *
skip_component(const char *p, const char *name)
{
	size_t len = strlen(name);

	if (*p != '/')
		return NULL;
	while (*p == '/')
		p++;
	return strncmp(p, name, len) == 0 ? p + len : NULL;
}

static bool
path_is(const char *p, const char *dir1, const char *dir2, const char *name)
{
	p = skip_component(p, dir1);
	if (p)
		p = skip_component(p, dir2);
	if (p)
		p = skip_component(p, name);
	return p && *p == '\0';
}

bool
path_is_uverbs(const char *path)
{
	if (!path || path[0] != '/' || (path[1] != 'd' && path[1] != '/'))
		return false;
	return path_is(path, "dev", "infiniband", FF_UVERBS_NAME) ||
	       path_is(path, "dev", "char", "231:192");
}
_Static_assert(FF_UVERBS_MAJOR == 231 && FF_UVERBS_MINOR == 192, "name in /dev/char");

/* Does what follows "/sys/class/infiniband" leave the class by ".."? */
static bool
leaves_class(const char *rest)
{
	int depth = 1;

	rest = strchrnul(rest, '/');
	while (*rest) {
		size_t len;

		while (*rest == '/')
			rest++;
		len = strchrnul(rest, '/') - rest;
		if (len == 2 && rest[0] == '.' && rest[1] == '.')
			depth--;
		else if (len && !(len == 1 && rest[0] == '.'))
			depth++;
		if (depth < 1)
			return true;
		rest += len;
	}
	return false;
}

const char *
path_map(const char *path, char buf[PATH_BUF])
{
	const char *rest;

	if (!path || path[0] != '/' || (path[1] != 's' && path[1] != '/'))
		return path;
	rest = skip_component(path, "sys");
	if (rest)
		rest = skip_component(rest, "class");
	if (rest)
		rest = skip_component(rest, "infiniband");
	if (!rest || leaves_class(rest) || !path_active())
		return path;
	if (snprintf(buf, PATH_BUF, "%s/" FF_SYSFS_DIR "/class/infiniband%s", path_dir(), rest) >=
	    (int)PATH_BUF)
		return path;
	return buf;
}
