/* SPDX-License-Identifier: MIT */
/* shim/path.c: which names are mapped, and what of them. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "../../../shim/path.h"
#include "router.h"

static void
expect_mapped(const char *path, const char *want)
{
	char buf[PATH_BUF], full[PATH_BUF];

	snprintf(full, sizeof(full), "%s%s", router.dir, want);
	CU_ASSERT_STRING_EQUAL(path_map(path, buf), full);
}

static void
expect_alone(const char *path)
{
	char buf[PATH_BUF];

	CU_ASSERT_PTR_EQUAL(path_map(path, buf), path);
}

static void
test_mapped(void)
{
	expect_mapped("/sys/class/infiniband", "/sys/class/infiniband");
	expect_mapped("/sys/class/infiniband/", "/sys/class/infiniband/");
	expect_mapped("/sys/class/infiniband_verbs/uverbs0/dev",
		      "/sys/class/infiniband_verbs/uverbs0/dev");
	expect_mapped("/sys//class///infiniband/rxe0", "/sys/class/infiniband/rxe0");
	expect_mapped("//sys/class/infiniband_mad", "/sys/class/infiniband_mad");
	expect_mapped("/sys/class/infiniband/rxe0/../rxe0", "/sys/class/infiniband/rxe0/../rxe0");
}

static void
test_left_alone(void)
{
	char longer[PATH_BUF + 64];

	expect_alone(NULL);
	expect_alone("");
	expect_alone("sys/class/infiniband");
	expect_alone("/sys/class/net");
	expect_alone("/sys/class/infini");
	expect_alone("/sys/classinfiniband");
	expect_alone("/proc/self/maps");
	expect_alone("/sys/class/infiniband/../net/lo");
	expect_alone("/sys/class/infiniband/rxe0/../../net/lo");
	memset(longer, 'x', sizeof(longer));
	memcpy(longer, "/sys/class/infiniband/", 22);
	longer[sizeof(longer) - 1] = '\0';
	expect_alone(longer);
}

static void
test_not_active(void)
{
	char from[128], to[128];

	snprintf(from, sizeof(from), "%s/sys", router.dir);
	snprintf(to, sizeof(to), "%s/gone", router.dir);
	CU_ASSERT_EQUAL_FATAL(rename(from, to), 0);
	errno = 12345;
	CU_ASSERT_FALSE(path_active());
	expect_alone("/sys/class/infiniband");
	CU_ASSERT_EQUAL(errno, 12345);
	CU_ASSERT_EQUAL(open("/dev/infiniband/uverbs0", O_RDWR), -1);
	CU_ASSERT_EQUAL(errno, ENOENT);
	CU_ASSERT_EQUAL_FATAL(rename(to, from), 0);
	CU_ASSERT_TRUE(path_active());
}

static void
test_device_names(void)
{
	CU_ASSERT_TRUE(path_is_uverbs("/dev/infiniband/uverbs0"));
	CU_ASSERT_TRUE(path_is_uverbs("/dev//infiniband//uverbs0"));
	CU_ASSERT_TRUE(path_is_uverbs("/dev/char/231:192"));
	CU_ASSERT_FALSE(path_is_uverbs("/dev/infiniband/uverbs01"));
	CU_ASSERT_FALSE(path_is_uverbs("/dev/infiniband/uverbs1"));
	CU_ASSERT_FALSE(path_is_uverbs("/dev/infiniband"));
	CU_ASSERT_FALSE(path_is_uverbs("/dev/null"));
	CU_ASSERT_FALSE(path_is_uverbs(NULL));
}

static int
count_entries(const struct dirent *d)
{
	return d->d_name[0] != '.';
}

/* Through libc, as libibverbs and others look. */
static void
test_hooks(void)
{
	const char *name = "/sys/class/infiniband/rxe0/node_type";
	char text[16] = "", real[512], want[512];
	struct dirent **list;
	struct stat st;
	struct statx stx;
	DIR *dir;
	FILE *f;
	int fd;

	fd = open(name, O_RDONLY);
	CU_ASSERT_EQUAL(read(fd, text, sizeof(text)), 6);
	close(fd);
	fd = openat(AT_FDCWD, name, O_RDONLY);
	CU_ASSERT(fd >= 0);
	close(fd);
	f = fopen(name, "r");
	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	CU_ASSERT_PTR_NOT_NULL(fgets(text, sizeof(text), f));
	CU_ASSERT_STRING_EQUAL(text, "1: CA\n");
	fclose(f);
	dir = opendir("/sys/class/infiniband_verbs");
	CU_ASSERT_PTR_NOT_NULL_FATAL(dir);
	closedir(dir);
	CU_ASSERT_EQUAL(scandir("/sys/class/infiniband", &list, count_entries, alphasort), 1);
	CU_ASSERT_STRING_EQUAL(list[0]->d_name, "rxe0");
	free(list[0]);
	free(list);
	CU_ASSERT_EQUAL(stat(name, &st), 0);
	CU_ASSERT(S_ISREG(st.st_mode) && st.st_size == 6);
	CU_ASSERT_EQUAL(statx(AT_FDCWD, name, 0, STATX_SIZE, &stx), 0);
	CU_ASSERT_EQUAL(stx.stx_size, 6);
	CU_ASSERT_EQUAL(access(name, R_OK), 0);
	CU_ASSERT_EQUAL(faccessat(AT_FDCWD, name, R_OK, 0), 0);
	CU_ASSERT_PTR_NOT_NULL(realpath(name, real));
	snprintf(want, sizeof(want), "%s%s", router.dir, name);
	CU_ASSERT_STRING_EQUAL(real, want);
	CU_ASSERT_EQUAL(open("/sys/class/infiniband/none", O_RDONLY), -1);
	CU_ASSERT_EQUAL(errno, ENOENT);
}

static void
test_device_stat(void)
{
	const char *dev = "/dev/infiniband/uverbs0";
	struct statx stx;
	struct stat st;

	errno = 12345;
	CU_ASSERT_EQUAL(stat(dev, &st), 0);
	CU_ASSERT(S_ISCHR(st.st_mode));
	CU_ASSERT_EQUAL(st.st_rdev, makedev(231, 192));
	CU_ASSERT_EQUAL(lstat(dev, &st), 0);
	CU_ASSERT(S_ISCHR(st.st_mode));
	CU_ASSERT_EQUAL(fstatat(AT_FDCWD, dev, &st, 0), 0);
	CU_ASSERT_EQUAL(st.st_rdev, makedev(231, 192));
	CU_ASSERT_EQUAL(statx(AT_FDCWD, dev, 0, STATX_BASIC_STATS, &stx), 0);
	CU_ASSERT_EQUAL(stx.stx_rdev_major, 231);
	CU_ASSERT_EQUAL(stx.stx_rdev_minor, 192);
	CU_ASSERT_EQUAL(access(dev, R_OK | W_OK), 0);
	CU_ASSERT_EQUAL(errno, 12345);
	CU_ASSERT_EQUAL(access(dev, X_OK), -1);
	CU_ASSERT_EQUAL(errno, EACCES);
	CU_ASSERT_EQUAL(open(dev, O_RDWR | O_DIRECTORY), -1);
	CU_ASSERT_EQUAL(errno, ENOTDIR);
	/* The view is there, the router is not. */
	CU_ASSERT_EQUAL(open(dev, O_RDWR), -1);
	CU_ASSERT_EQUAL(errno, ENODEV);
}

int
main(void)
{
	static const struct test tests[] = {
		{"mapped", test_mapped},	 {"left alone", test_left_alone},
		{"not active", test_not_active}, {"names of the device", test_device_names},
		{"libc calls", test_hooks},	 {"the device's node", test_device_stat},
	};
	int ret;

	router_dir_make();
	ret = RUN("path", tests);
	router_dir_remove();
	return ret;
}
