/* SPDX-License-Identifier: MIT */
/* shim/doorbell.c: what is sent, what is left out, full rings, other processes, arming. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "router.h"

#define QPN    0x123456u
#define HANDLE 300u /* not in the first leaf of the table */

static struct rxe_queue_buf *sq, *rq, *cq;
static _Atomic uint32_t slow_posts, slow_notifies, next_off;

static void
answer(const uint8_t *cmd, uint32_t len, struct router_reply *rep)
{
	struct ib_uverbs_cmd_hdr hdr;

	memcpy(&hdr, cmd, sizeof(hdr));
	switch (hdr.command) {
	case IB_USER_VERBS_CMD_CREATE_QP:
		router_add_queue(rep, FF_QUEUE_SQ, HANDLE, QPN, next_off += 0x10000, &sq);
		router_add_queue(rep, FF_QUEUE_RQ, HANDLE, 0, next_off += 0x10000, &rq);
		break;
	case IB_USER_VERBS_CMD_CREATE_CQ:
	case IB_USER_VERBS_CMD_RESIZE_CQ:
		router_add_queue(rep, FF_QUEUE_CQ, HANDLE, 0, next_off += 0x10000, &cq);
		break;
	case IB_USER_VERBS_CMD_POST_SEND:
		slow_posts++;
		break;
	case IB_USER_VERBS_CMD_REQ_NOTIFY_CQ:
		slow_notifies++;
		break;
	}
}

static int
setup(void)
{
	struct ib_uverbs_create_qp qp = {0};
	struct ib_uverbs_create_cq create = {.comp_channel = -1};
	int fd;

	router_start();
	router.command = answer;
	slow_posts = slow_notifies = 0;
	fd = open_device();
	CU_ASSERT(write_command(fd, IB_USER_VERBS_CMD_CREATE_QP, &qp, sizeof(qp), 0) > 0);
	CU_ASSERT(write_command(fd, IB_USER_VERBS_CMD_CREATE_CQ, &create, sizeof(create), 0) > 0);
	return fd;
}

static void
teardown(int fd)
{
	close(fd);
	router_stop();
	munmap(sq, QUEUE_SIZE);
	munmap(rq, QUEUE_SIZE);
	munmap(cq, QUEUE_SIZE);
}

static void
test_send(void)
{
	int fd = setup();

	errno = 12345;
	for (uint32_t i = 1; i <= 100; i++) {
		CU_ASSERT_EQUAL(write_doorbell(fd, HANDLE), 32);
		CU_ASSERT_TRUE(router_reached(&router.doorbells, i));
	}
	CU_ASSERT_EQUAL(router.last_qpn, QPN);
	CU_ASSERT_EQUAL(errno, 12345);
	CU_ASSERT_EQUAL(slow_posts, 0);
	teardown(fd);
}

static void
test_left_out(void)
{
	int fd = setup();

	*FF_QUEUE_ANNEX(sq) = FF_SQ_POLLED;
	for (int i = 0; i < 100; i++)
		CU_ASSERT_EQUAL(write_doorbell(fd, HANDLE), 32);
	*FF_QUEUE_ANNEX(sq) = FF_SQ_IDLE;
	CU_ASSERT_EQUAL(write_doorbell(fd, HANDLE), 32);
	CU_ASSERT_TRUE(router_reached(&router.doorbells, 1));
	CU_ASSERT_EQUAL(router.doorbells, 1);
	teardown(fd);
}

/* A handle that the shim does not know, or no longer: the router answers. */
static void
test_unknown(void)
{
	struct ib_uverbs_destroy_qp destroy = {.qp_handle = HANDLE};
	int fd = setup();

	CU_ASSERT_EQUAL(write_doorbell(fd, HANDLE + 1), 32);
	CU_ASSERT_EQUAL(write_doorbell(fd, 0xfffffffe), 32);
	CU_ASSERT_EQUAL(slow_posts, 2);
	CU_ASSERT(write_command(fd, IB_USER_VERBS_CMD_DESTROY_QP, &destroy, sizeof(destroy), 0) >
		  0);
	CU_ASSERT_EQUAL(write_doorbell(fd, HANDLE), 32);
	CU_ASSERT_EQUAL(slow_posts, 3);
	CU_ASSERT_EQUAL(router.doorbells, 0);
	teardown(fd);
}

static void
test_full(void)
{
	int fd = setup(), sent = 0;

	router.paused = true;
	while (sent < 1000 && write_doorbell(fd, HANDLE) == 32)
		sent++;
	CU_ASSERT_EQUAL(errno, EAGAIN);
	CU_ASSERT_EQUAL(sent, 1 << router.log2_ring);
	router.paused = false;
	CU_ASSERT_EQUAL(write_doorbell(fd, HANDLE), 32);
	CU_ASSERT_TRUE(router_reached(&router.doorbells, sent + 1));
	teardown(fd);
}

static void
test_router_gone(void)
{
	int fd = setup(), sent = 0;

	router_stop();
	while (sent < 1000 && write_doorbell(fd, HANDLE) == 32)
		sent++;
	CU_ASSERT_EQUAL(errno, EIO);
	CU_ASSERT_EQUAL(sent, 1 << router.log2_ring);
	router_start();
	teardown(fd);
}

static void
test_fork(void)
{
	int fd = setup(), status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(write_doorbell(fd, HANDLE) != 32);
	CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
	CU_ASSERT_EQUAL(status, 0);
	CU_ASSERT_EQUAL(slow_posts, 1);
	CU_ASSERT_EQUAL(write_doorbell(fd, HANDLE), 32);
	CU_ASSERT_TRUE(router_reached(&router.doorbells, 1));
	teardown(fd);
}

#define THREADS 6 /* more than rings */
#define ROUNDS	2000
static void *
ring_often(void *arg)
{
	int fd = *(int *)arg;

	for (int i = 0; i < ROUNDS; i++)
		if (write_doorbell(fd, HANDLE) != 32)
			return (void *)1;
	return NULL;
}

static void
test_threads(void)
{
	int fd = setup();
	pthread_t t[THREADS];
	void *bad;

	for (int i = 0; i < THREADS; i++)
		pthread_create(&t[i], NULL, ring_often, &fd);
	for (int i = 0; i < THREADS; i++) {
		pthread_join(t[i], &bad);
		CU_ASSERT_PTR_NULL(bad);
	}
	CU_ASSERT_TRUE(router_reached(&router.doorbells, THREADS * ROUNDS));
	CU_ASSERT_EQUAL(router.doorbells, THREADS * ROUNDS);
	teardown(fd);
}

static void
test_arm(void)
{
	struct ib_uverbs_destroy_cq destroy = {.cq_handle = HANDLE};
	struct ib_uverbs_resize_cq resize = {.cq_handle = HANDLE};
	int fd = setup();
	uint32_t commands = router.commands;
	struct rxe_queue_buf *old = cq;

	CU_ASSERT_EQUAL(write_notify(fd, HANDLE, true), 16);
	CU_ASSERT_EQUAL(*FF_QUEUE_ANNEX(cq), FF_CQ_ARM_SOLICITED);
	CU_ASSERT_EQUAL(write_notify(fd, HANDLE, false), 16);
	CU_ASSERT_EQUAL(*FF_QUEUE_ANNEX(cq), FF_CQ_ARM_NEXT);
	/* The wider request stays. */
	CU_ASSERT_EQUAL(write_notify(fd, HANDLE, true), 16);
	CU_ASSERT_EQUAL(*FF_QUEUE_ANNEX(cq), FF_CQ_ARM_NEXT);
	*FF_QUEUE_ANNEX(cq) = FF_CQ_DISARMED;
	CU_ASSERT_EQUAL(router.commands, commands);
	/* Another queue takes its place. */
	CU_ASSERT(write_command(fd, IB_USER_VERBS_CMD_RESIZE_CQ, &resize, sizeof(resize), 0) > 0);
	CU_ASSERT_PTR_NOT_EQUAL(cq, old);
	CU_ASSERT_EQUAL(write_notify(fd, HANDLE, false), 16);
	CU_ASSERT_EQUAL(*FF_QUEUE_ANNEX(cq), FF_CQ_ARM_NEXT);
	CU_ASSERT_EQUAL(*FF_QUEUE_ANNEX(old), FF_CQ_DISARMED);
	CU_ASSERT(write_command(fd, IB_USER_VERBS_CMD_DESTROY_CQ, &destroy, sizeof(destroy), 0) >
		  0);
	CU_ASSERT_EQUAL(slow_notifies, 0);
	CU_ASSERT_EQUAL(write_notify(fd, HANDLE, false), 16);
	CU_ASSERT_EQUAL(slow_notifies, 1);
	munmap(old, QUEUE_SIZE);
	teardown(fd);
}

/* No rings at all: every doorbell is a command. */
static void
test_no_rings(void)
{
	int fd;

	router_start();
	router.num_rings = 0;
	router.command = answer;
	slow_posts = 0;
	fd = open_device();
	CU_ASSERT(write_command(fd, IB_USER_VERBS_CMD_CREATE_QP, "", 0, 0) > 0);
	CU_ASSERT_EQUAL(write_doorbell(fd, HANDLE), 32);
	CU_ASSERT_EQUAL(slow_posts, 1);
	close(fd);
	router_stop();
	munmap(sq, QUEUE_SIZE);
	munmap(rq, QUEUE_SIZE);
}

int
main(void)
{
	static const struct test tests[] = {
		{"sent", test_send},
		{"left out", test_left_out},
		{"unknown handles", test_unknown},
		{"full ring", test_full},
		{"router gone", test_router_gone},
		{"fork", test_fork},
		{"threads", test_threads},
		{"arm", test_arm},
		{"no rings", test_no_rings},
	};
	int ret;

	router_dir_make();
	ret = RUN("doorbell", tests);
	router_dir_remove();
	return ret;
}
