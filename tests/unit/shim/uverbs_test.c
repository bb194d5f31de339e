/* SPDX-License-Identifier: MIT */
/* shim/uverbs.c and channel.c: opening, mapping, forking and closing the device. */
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <poll.h>
#include <pthread.h>
#include <rdma/rdma_user_ioctl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "router.h"

#define OFF 0x10000

static struct rxe_queue_buf *queue;

static void
make_queue(const uint8_t *cmd, uint32_t len, struct router_reply *rep)
{
	router_add_queue(rep, FF_QUEUE_RQ, 3, 0, OFF, &queue);
}

/* The program's smallest numbers stay its own, also after the shim has attached. */
static void
test_numbers(void)
{
	int fd, next;

	router_start();
	fd = open_device();
	CU_ASSERT(fd < 900);
	next = fcntl(STDERR_FILENO, F_DUPFD, 900);
	CU_ASSERT_EQUAL(next, 900);
	close(next);
	next = fcntl(STDERR_FILENO, F_DUPFD, 960);
	CU_ASSERT(next >= 960 + 1 + 1 + (int)router.num_rings);
	closefrom(960);
	close(fd);
	fd = open_device();
	close(fd);
	CU_ASSERT_EQUAL(router.attaches, 1);
	router_stop();
}

static void
test_open_close(void)
{
	int before, fd, other;
	struct stat st;

	router_start();
	CU_ASSERT_EQUAL(router.attaches, 0);
	before = number_of_fds();
	errno = 12345;
	fd = open_device();
	other = open_device();
	CU_ASSERT_EQUAL(errno, 12345);
	CU_ASSERT_EQUAL(router.attaches, 1);
	CU_ASSERT_EQUAL(router.contexts, 2);
	CU_ASSERT(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	CU_ASSERT_EQUAL(fstat(fd, &st), 0);
	CU_ASSERT(S_ISCHR(st.st_mode));
	CU_ASSERT_EQUAL(st.st_rdev, makedev(231, 192));
	CU_ASSERT_EQUAL(fstatat(fd, "", &st, AT_EMPTY_PATH), 0);
	CU_ASSERT(S_ISCHR(st.st_mode));
	CU_ASSERT_EQUAL(ioctl(fd, RDMA_VERBS_IOCTL, NULL), -1);
	CU_ASSERT_EQUAL(errno, ENOTTY);
	CU_ASSERT_EQUAL(ioctl(fd, FIOCLEX), 0);
	CU_ASSERT_EQUAL(close(fd), 0);
	CU_ASSERT_TRUE(router_reached(&router.closed_contexts, 1));
	CU_ASSERT_EQUAL(close(other), 0);
	CU_ASSERT_TRUE(router_reached(&router.closed_contexts, 2));
	/* The channel stays: its socket, memif's, an eventfd for each ring; and nothing else. */
	fd = open_device();
	close(fd);
	CU_ASSERT_EQUAL(router.attaches, 1);
	CU_ASSERT_TRUE(router_reached(&router.closed_contexts, 3));
	CU_ASSERT(number_of_fds() > before);
	router_stop();
}

static void
test_last_close(void)
{
	int fd, copy;

	router_start();
	fd = open_device();
	copy = dup(fd);
	close(fd);
	CU_ASSERT_EQUAL(write_command(copy, IB_USER_VERBS_CMD_DEALLOC_PD, "abcd", 4, 0), 12);
	CU_ASSERT_EQUAL(router.closed_contexts, 0);
	close(copy);
	CU_ASSERT_TRUE(router_reached(&router.closed_contexts, 1));
	CU_ASSERT_EQUAL(write_command(copy, IB_USER_VERBS_CMD_DEALLOC_PD, "abcd", 4, 0), -1);
	CU_ASSERT_EQUAL(errno, EBADF);
	router_stop();
}

static void
test_mmap(void)
{
	struct rxe_queue_buf *mine;
	int fd, before;

	router_start();
	router.command = make_queue;
	fd = open_device();
	before = number_of_fds();
	CU_ASSERT_EQUAL(mmap(NULL, QUEUE_SIZE, PROT_READ, MAP_SHARED, fd, OFF), MAP_FAILED);
	CU_ASSERT_EQUAL(write_command(fd, IB_USER_VERBS_CMD_CREATE_SRQ, "12345678", 8, 8), 16);
	CU_ASSERT_EQUAL(mmap(NULL, 2 * QUEUE_SIZE, PROT_READ, MAP_SHARED, fd, OFF), MAP_FAILED);
	CU_ASSERT_EQUAL(errno, EINVAL);
	CU_ASSERT_EQUAL(mmap(NULL, QUEUE_SIZE, PROT_READ, MAP_SHARED, fd, 0), MAP_FAILED);
	mine = mmap(NULL, QUEUE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, OFF);
	CU_ASSERT_NOT_EQUAL_FATAL(mine, MAP_FAILED);
	mine->producer_index = 77;
	CU_ASSERT_EQUAL(queue->producer_index, 77);
	/* Once, as the kernel has it; and the descriptor is gone. */
	CU_ASSERT_EQUAL(mmap(NULL, QUEUE_SIZE, PROT_READ, MAP_SHARED, fd, OFF), MAP_FAILED);
	CU_ASSERT_TRUE(fds_reach(before));
	munmap(mine, QUEUE_SIZE);
	/* One that is never mapped goes with its file. */
	CU_ASSERT_EQUAL(write_command(fd, IB_USER_VERBS_CMD_CREATE_SRQ, "12345678", 8, 8), 16);
	CU_ASSERT_TRUE(fds_reach(before + 1));
	close(fd);
	CU_ASSERT_TRUE(fds_reach(before - 2)); /* both ends */
	router_stop();
}

static void
test_writev(void)
{
	struct ib_uverbs_cmd_hdr hdr = {.command = IB_USER_VERBS_CMD_DEALLOC_PD, .in_words = 3};
	uint32_t handle = 1;
	struct iovec iov[2] = {{&hdr, sizeof(hdr)}, {&handle, sizeof(handle)}};
	int fd;

	router_start();
	fd = open_device();
	CU_ASSERT_EQUAL(writev(fd, iov, 2), 12);
	CU_ASSERT_EQUAL(router.commands, 1);
	close(fd);
	router_stop();
}

static int
command_once(int fd)
{
	return write_command(fd, IB_USER_VERBS_CMD_DEALLOC_PD, "abcd", 4, 0) == 12 ? 0 : 1;
}

/* The child goes on with its parent's file, and attaches for itself when it opens one. */
static void
test_fork(void)
{
	int fd, status;
	pid_t pid;

	router_start();
	fd = open_device();
	CU_ASSERT_EQUAL(command_once(fd), 0);
	pid = fork();
	if (pid == 0) {
		int bad = 0, own;

		for (int i = 0; i < 200; i++)
			bad |= command_once(fd);
		own = open("/dev/infiniband/uverbs0", O_RDWR);
		bad |= own < 0 || command_once(own);
		close(own);
		_exit(bad);
	}
	for (int i = 0; i < 200; i++)
		CU_ASSERT_EQUAL(command_once(fd), 0);
	CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
	CU_ASSERT_EQUAL(status, 0);
	CU_ASSERT_EQUAL(router.attaches, 2);
	CU_ASSERT_EQUAL(router.contexts, 2);
	CU_ASSERT_TRUE(router_reached(&router.detached, 1));
	CU_ASSERT_TRUE(router_reached(&router.closed_contexts, 1));
	CU_ASSERT_EQUAL(command_once(fd), 0);
	close(fd);
	router_stop();
}

static _Atomic int hang;

static void
never_answer(const uint8_t *cmd, uint32_t len, struct router_reply *rep)
{
	hang = 1;
	while (hang)
		poll(NULL, 0, 1);
}

/* A process that dies inside a command leaves the lock and a late reply behind. */
static void
test_killed_in_command(void)
{
	int fd, status;
	pid_t pid;

	router_start();
	fd = open_device();
	router.command = never_answer;
	hang = 0;
	pid = fork();
	if (pid == 0)
		_exit(command_once(fd));
	while (!hang)
		poll(NULL, 0, 1);
	kill(pid, SIGKILL);
	CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
	router.command = NULL;
	hang = 0;
	CU_ASSERT_EQUAL(command_once(fd), 0);
	close(fd);
	router_stop();
}

#define THREADS 8
static void *
open_many(void *arg)
{
	for (int i = 0; i < 50; i++) {
		int fd = open("/dev/infiniband/uverbs0", O_RDWR | O_CLOEXEC);

		if (fd < 0 || command_once(fd))
			return (void *)1;
		close(fd);
	}
	return NULL;
}

static void
test_threads(void)
{
	pthread_t t[THREADS];
	void *bad;

	router_start();
	for (int i = 0; i < THREADS; i++)
		pthread_create(&t[i], NULL, open_many, NULL);
	for (int i = 0; i < THREADS; i++) {
		pthread_join(t[i], &bad);
		CU_ASSERT_PTR_NULL(bad);
	}
	CU_ASSERT_EQUAL(router.attaches, 1);
	CU_ASSERT_TRUE(router_reached(&router.closed_contexts, THREADS * 50));
	router_stop();
}

static void
test_router_gone(void)
{
	int fd, again;

	router_start();
	fd = open_device();
	router_stop();
	CU_ASSERT_EQUAL(write_command(fd, IB_USER_VERBS_CMD_DEALLOC_PD, "abcd", 4, 0), -1);
	CU_ASSERT_EQUAL(errno, EIO);
	CU_ASSERT_EQUAL(open("/dev/infiniband/uverbs0", O_RDWR), -1);
	CU_ASSERT_EQUAL(errno, ENODEV);
	/* Another router: new files work, old ones do not. */
	router_start();
	again = open_device();
	CU_ASSERT_EQUAL(command_once(again), 0);
	CU_ASSERT_EQUAL(write_command(fd, IB_USER_VERBS_CMD_DEALLOC_PD, "abcd", 4, 0), -1);
	CU_ASSERT_EQUAL(errno, EIO);
	close(fd);
	close(again);
	router_stop();
	/* Refused. */
	router_start();
	router.attach_status = -EACCES;
	CU_ASSERT_EQUAL(open("/dev/infiniband/uverbs0", O_RDWR), -1);
	CU_ASSERT_EQUAL(errno, EACCES);
	router_stop();
}

static void
test_netlink_rdma(void)
{
	int fd;

	CU_ASSERT_EQUAL(socket(AF_NETLINK, SOCK_RAW, NETLINK_RDMA), -1);
	CU_ASSERT_EQUAL(errno, EPROTONOSUPPORT);
	fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	CU_ASSERT(fd >= 0);
	close(fd);
}

int
main(void)
{
	static const struct test tests[] = {
		{"numbers", test_numbers},
		{"open and close", test_open_close},
		{"last close", test_last_close},
		{"mmap", test_mmap},
		{"writev", test_writev},
		{"fork", test_fork},
		{"killed in a command", test_killed_in_command},
		{"threads", test_threads},
		{"router gone", test_router_gone},
		{"netlink", test_netlink_rdma},
	};
	int ret;

	router_dir_make();
	ret = RUN("uverbs", tests);
	router_dir_remove();
	return ret;
}
