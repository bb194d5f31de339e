/* SPDX-License-Identifier: MIT */
/* shim/fdtab.c and the hooks that end or copy descriptors: what an fd means, and until when. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../../shim/fdtab.h"
#include "../../../shim/fork.h"
#include "router.h"

static unsigned int destroyed;

static void
count_destroyed(struct fdobj *o)
{
	destroyed++;
}

/* An open fd that is an object without a file. */
static int
object_fd(void)
{
	struct fdobj *o = fdobj_new(FDOBJ_COMP, NULL, count_destroyed);
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	CU_ASSERT_FATAL(o && fd >= 0);
	CU_ASSERT_EQUAL_FATAL(fdtab_set(fd, o), 0);
	fdobj_put(o);
	destroyed = 0;
	return fd;
}

static bool
is_open(int fd)
{
	return syscall(SYS_fcntl, fd, F_GETFD) >= 0;
}

static void
test_lookup(void)
{
	int fd = object_fd();
	struct fdobj *o = fdtab_get(fd);

	CU_ASSERT_PTR_NOT_NULL_FATAL(o);
	CU_ASSERT_PTR_EQUAL(fdtab_peek(fd), o);
	CU_ASSERT_PTR_NULL(fdtab_peek(-1));
	CU_ASSERT_PTR_NULL(fdtab_peek(INT32_MAX));
	CU_ASSERT_PTR_NULL(fdtab_peek(FDTAB_MAX));
	CU_ASSERT_PTR_NULL(fdtab_peek(fd + 1));
	CU_ASSERT_PTR_NULL(fdtab_peek(FDTAB_MAX - 1));
	CU_ASSERT_EQUAL(fdtab_set(FDTAB_MAX, o), -EMFILE);
	CU_ASSERT_EQUAL(fdtab_set(-1, o), -EMFILE);
	CU_ASSERT_EQUAL(fdtab_set(FDTAB_MAX - 1, o), 0);
	CU_ASSERT_EQUAL(fdtab_next(fd + 1), FDTAB_MAX - 1);
	fdtab_clear(FDTAB_MAX - 1);
	/* A call in progress outlives close(). */
	CU_ASSERT_EQUAL(close(fd), 0);
	CU_ASSERT_PTR_NULL(fdtab_peek(fd));
	CU_ASSERT_EQUAL(destroyed, 0);
	fdobj_put(o);
	CU_ASSERT_EQUAL(destroyed, 1);
	CU_ASSERT_EQUAL(fdtab_next(0), -1);
}

static void
test_dup(void)
{
	int fd = object_fd(), fds[6];
	struct fdobj *o = fdtab_peek(fd);

	fds[0] = fd;
	fds[1] = dup(fd);
	fds[2] = dup2(fd, 200);
	fds[3] = dup3(fd, 201, O_CLOEXEC);
	fds[4] = fcntl(fd, F_DUPFD, 300);
	fds[5] = fcntl(fd, F_DUPFD_CLOEXEC, 300);
	for (int i = 0; i < 6; i++)
		CU_ASSERT_PTR_EQUAL(fdtab_peek(fds[i]), o);
	CU_ASSERT_EQUAL(dup2(fd, fd), fd);
	CU_ASSERT_EQUAL(dup2(999, fds[1]), -1);
	CU_ASSERT_PTR_EQUAL(fdtab_peek(fds[1]), o);
	/* Something else takes the number. */
	CU_ASSERT_EQUAL(dup2(STDERR_FILENO, fds[2]), fds[2]);
	CU_ASSERT_PTR_NULL(fdtab_peek(fds[2]));
	for (int i = 0; i < 6; i++) {
		CU_ASSERT_EQUAL(destroyed, 0);
		CU_ASSERT_EQUAL(close(fds[i]), 0);
	}
	CU_ASSERT_EQUAL(destroyed, 1);
}

static void
test_close_range(void)
{
	int fd = object_fd(), base = 400, hidden;

	hidden = dup2(STDERR_FILENO, base + 2);
	CU_ASSERT_EQUAL(fdtab_hide(hidden), 0);
	CU_ASSERT_EQUAL(dup2(fd, base), base);
	CU_ASSERT_EQUAL(dup2(fd, base + 4), base + 4);
	CU_ASSERT_EQUAL(dup2(STDERR_FILENO, base + 3), base + 3);
	close(fd);
	CU_ASSERT_EQUAL(close_range(base + 1, base, 0), -1);
	CU_ASSERT_EQUAL(close_range(base, base + 3, 0), 0);
	CU_ASSERT_PTR_NULL(fdtab_peek(base));
	CU_ASSERT_FALSE(is_open(base) || is_open(base + 3));
	CU_ASSERT_TRUE(is_open(hidden) && is_open(base + 4));
	CU_ASSERT_EQUAL(destroyed, 0);
	closefrom(base);
	CU_ASSERT_EQUAL(destroyed, 1);
	CU_ASSERT_TRUE(is_open(hidden));
	CU_ASSERT_FALSE(is_open(base + 4));
	/* The shim's own descriptors do not exist for the program, but work. */
	CU_ASSERT_EQUAL(close(hidden), -1);
	CU_ASSERT_EQUAL(errno, EBADF);
	CU_ASSERT_EQUAL(dup2(STDERR_FILENO, hidden), -1);
	CU_ASSERT_EQUAL(errno, EBUSY);
	fdtab_clear(hidden);
	CU_ASSERT_EQUAL(close(hidden), 0);
}

/* Closed past the hooks: the number's next owner must not be taken for the object. */
static void
test_stale(void)
{
	int fd = object_fd(), again;

	syscall(SYS_close, fd);
	again = open("/dev/null", O_RDWR | O_CLOEXEC);
	CU_ASSERT_EQUAL(again, fd);
	CU_ASSERT_PTR_NULL(fdtab_peek(fd));
	CU_ASSERT_EQUAL(destroyed, 1);
	close(again);
}

static void
test_vfork(void)
{
	int fd = object_fd(), status;
	pid_t pid;

	pid = vfork();
	if (pid == 0) {
		close(fd);
		close_range(fd, fd + 100, 0);
		_exit(is_open(fd));
	}
	CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
	CU_ASSERT_EQUAL(status, 0);
	CU_ASSERT_TRUE(is_open(fd));
	CU_ASSERT_PTR_NOT_NULL(fdtab_peek(fd));
	CU_ASSERT_EQUAL(destroyed, 0);
	close(fd);
	CU_ASSERT_EQUAL(destroyed, 1);
}

static void
test_fork(void)
{
	uint64_t gen = fork_generation();
	int fd = object_fd(), status;
	pid_t pid = fork();

	if (pid == 0) {
		int bad = fork_generation() == gen || fork_shares_memory() || !fdtab_peek(fd);

		close(fd);
		_exit(bad || destroyed != 1 || is_open(fd));
	}
	CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
	CU_ASSERT_EQUAL(status, 0);
	CU_ASSERT_EQUAL(fork_generation(), gen);
	CU_ASSERT_EQUAL(destroyed, 0);
	close(fd);
	/* A child that no fork handler saw. */
	fd = object_fd();
	pid = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
	if (pid == 0)
		syscall(SYS_exit_group, fork_generation_peek() != 0 || fork_generation() == gen);
	CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
	CU_ASSERT_EQUAL(status, 0);
	close(fd);
}

#define RACE_ROUNDS 20000
static _Atomic int race_fd;

static void *
race_reader(void *arg)
{
	unsigned int *seen = arg;

	while (race_fd >= 0) {
		struct fdobj *o = fdtab_get(race_fd);

		if (o && o->kind == FDOBJ_COMP)
			(*seen)++;
		fdobj_put(o);
	}
	return NULL;
}

/* Readers against set and clear: each object is destroyed once, no reference is lost. */
static void
test_race(void)
{
	unsigned int seen[2] = {0};
	pthread_t t[2];

	destroyed = 0;
	race_fd = 50;
	for (int i = 0; i < 2; i++)
		pthread_create(&t[i], NULL, race_reader, &seen[i]);
	for (int i = 0; i < RACE_ROUNDS; i++) {
		struct fdobj *o = fdobj_new(FDOBJ_COMP, NULL, NULL);

		CU_ASSERT_PTR_NOT_NULL_FATAL(o);
		fdtab_set(50, o);
		fdobj_put(o);
		fdtab_clear(50);
	}
	race_fd = -1;
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	CU_ASSERT_PTR_NULL(fdtab_peek(50));
}

int
main(void)
{
	static const struct test tests[] = {
		{"look-up", test_lookup}, {"dup", test_dup},	 {"close_range", test_close_range},
		{"stale", test_stale},	  {"vfork", test_vfork}, {"fork", test_fork},
		{"race", test_race},
	};

	if (fork_init())
		return 1;
	return RUN("fdtab", tests);
}
