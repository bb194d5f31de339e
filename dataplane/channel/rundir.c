/* SPDX-License-Identifier: MIT */
/*
 * The containers' directories: <run_dir>/containers/<id>. Containers have them bind-mounted, so a
 * directory outlives freeflowd: what is inside is replaced, its inode is not. Control thread.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "channel_priv.h"

#define TREE_DEPTH_MAX 16
#define LISTEN_BACKLOG 64
#define SHIM_NAME      "libfreeflow.so"

static int containers_fd = -1; /* <run_dir>/containers */

static int
make_dir(int at, const char *name)
{
	int fd;

	if (mkdirat(at, name, 0755) && errno != EEXIST)
		return -errno;
	fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (fchmod(fd, 0755)) {
		int rc = -errno;

		close(fd);
		return rc;
	}
	return fd;
}

int
rundir_init(void)
{
	char path[sizeof(ff_config.run_dir) + 32];
	int rc;

	/* All parents, as mkdir -p. */
	snprintf(path, sizeof(path), "%s", ff_config.run_dir);
	for (char *p = path + 1; *p; p++) {
		if (*p != '/')
			continue;
		*p = 0;
		if (mkdir(path, 0755) && errno != EEXIST)
			return -errno;
		*p = '/';
	}
	if (mkdir(path, 0755) && errno != EEXIST)
		return -errno;
	snprintf(path, sizeof(path), "%s/containers", ff_config.run_dir);
	rc = make_dir(AT_FDCWD, path);
	if (rc < 0)
		return rc;
	containers_fd = rc;
	return 0;
}

void
rundir_fini(void)
{
	if (containers_fd >= 0)
		close(containers_fd);
	containers_fd = -1;
}

static void
remove_tree(int at, const char *name, int depth)
{
	struct dirent *e;
	DIR *d;
	int fd;

	if (!unlinkat(at, name, 0) || errno == ENOENT || depth == TREE_DEPTH_MAX)
		return;
	fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return;
	d = fdopendir(fd);
	if (!d) {
		close(fd);
		return;
	}
	while ((e = readdir(d)))
		if (strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
			remove_tree(dirfd(d), e->d_name, depth + 1);
	closedir(d);
	(void)unlinkat(at, name, AT_REMOVEDIR);
}

void
rundir_remove_tree(int at, const char *name)
{
	remove_tree(at, name, 0);
}

int
rundir_write(int at, const char *name, const char *text, size_t len, mode_t mode)
{
	static const char tmp[] = ".new";
	ssize_t n;
	int fd, rc = 0;

	fd = openat(at, tmp, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, mode);
	if (fd < 0)
		return -errno;
	n = write(fd, text, len);
	if (n < 0 || fchmod(fd, mode)) /* the umask is not ours to trust */
		rc = -errno;
	else if ((size_t)n != len)
		rc = -ENOSPC;
	close(fd);
	if (!rc && renameat(at, tmp, at, name))
		rc = -errno;
	if (rc)
		(void)unlinkat(at, tmp, 0);
	return rc;
}

static int
copy_file(int from, int to)
{
	ssize_t n;

	do {
		n = sendfile(to, from, NULL, 1u << 20);
	} while (n > 0 || (n < 0 && errno == EINTR));
	return n < 0 ? -errno : 0;
}

/* Programs that have the old copy mapped keep it: the new one is another inode. */
static int
install_shim(int dirfd, char *err, size_t err_len)
{
	int from, lib, to = -1, rc;

	from = open(ff_config.shim_path, O_RDONLY | O_CLOEXEC);
	if (from < 0) {
		rc = -errno;
		snprintf(err, err_len, "cannot read the shim %s: %s", ff_config.shim_path,
			 strerror(-rc));
		return rc;
	}
	rc = lib = make_dir(dirfd, "lib");
	if (lib < 0)
		goto out;
	to = openat(lib, ".new", O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0755);
	if (to < 0) {
		rc = -errno;
		goto out;
	}
	rc = copy_file(from, to);
	if (!rc && fchmod(to, 0755))
		rc = -errno;
	if (!rc && renameat(lib, ".new", lib, SHIM_NAME))
		rc = -errno;
out:
	if (rc < 0)
		snprintf(err, err_len, "cannot copy the shim %s: %s", ff_config.shim_path,
			 strerror(-rc));
	if (to >= 0)
		close(to);
	if (lib >= 0)
		close(lib);
	close(from);
	return rc < 0 ? rc : 0;
}

int
rundir_make(const char *id, int *out, bool *is_new, char *err, size_t err_len)
{
	int fd, rc;

	*is_new = faccessat(containers_fd, id, F_OK, AT_SYMLINK_NOFOLLOW) != 0;
	fd = make_dir(containers_fd, id);
	if (fd < 0) {
		snprintf(err, err_len, "cannot make %s/containers/%s: %s", ff_config.run_dir, id,
			 strerror(-fd));
		return fd;
	}
	(void)unlinkat(fd, FF_ROUTER_SOCK, 0);
	(void)unlinkat(fd, FF_MEMIF_SOCK, 0);
	rundir_remove_tree(fd, FF_SYSFS_DIR);
	rc = install_shim(fd, err, err_len);
	if (rc) {
		close(fd);
		return rc;
	}
	*out = fd;
	return 0;
}

void
rundir_remove(const char *id)
{
	rundir_remove_tree(containers_fd, id);
}

void
rundir_clean(bool (*keep)(const char *id))
{
	struct dirent *e;
	int fd = openat(containers_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);

	if (!d) {
		if (fd >= 0)
			close(fd);
		return;
	}
	while ((e = readdir(d))) {
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..") || keep(e->d_name))
			continue;
		ff_info("channel", "removing the directory of a former container: %s", e->d_name);
		rundir_remove_tree(containers_fd, e->d_name);
	}
	closedir(d);
}

int
rundir_listen(int dirfd, const char *name, mode_t mode)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd, rc;

	/* The directory's own path may be longer than sun_path; this one never is. */
	snprintf(sa.sun_path, sizeof(sa.sun_path), "/proc/self/fd/%d/%s", dirfd, name);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	(void)unlinkat(dirfd, name, 0);
	if (bind(fd, (struct sockaddr *)&sa, sizeof(sa)) || fchmodat(dirfd, name, mode, 0) ||
	    listen(fd, LISTEN_BACKLOG)) {
		rc = -errno;
		close(fd);
		return rc;
	}
	return fd;
}
