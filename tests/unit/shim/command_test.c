/* SPDX-License-Identifier: MIT */
/* shim/command.c and msg.c: what goes to the router, what comes back; bad replies. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "router.h"

static struct router_reply next; /* copied into the next answer */
static uint8_t seen[FF_MSG_MAX]; /* the last command */
static _Atomic uint32_t seen_len;
static int pipe_fd[2];

static void
answer(const uint8_t *cmd, uint32_t len, struct router_reply *rep)
{
	int32_t status = next.status ? next.status : (int32_t)len;

	memcpy(seen, cmd, len);
	seen_len = len;
	*rep = next;
	rep->status = status;
	for (uint32_t i = 0; i < rep->num_fds; i++)
		if (!rep->keep_fds)
			rep->fd[i] = rep->fd[i] == -1 ? router_queue(NULL) : dup(rep->fd[i]);
}

static int
setup(void)
{
	memset(&next, 0, sizeof(next));
	memset(seen, 0, sizeof(seen));
	router_start();
	router.command = answer;
	return open_device();
}

static void
teardown(int fd)
{
	close(fd);
	router_stop();
}

static void
test_out_bytes(void)
{
	struct {
		uint8_t bytes[16], guard[16];
	} resp;
	struct ib_uverbs_query_device cmd = {.response = (uintptr_t)&resp};
	int fd = setup();

	memset(&resp, 0xaa, sizeof(resp));
	memset(next.out, 0x55, sizeof(next.out));
	next.out_len = 1000;
	CU_ASSERT_EQUAL(write_command(fd, IB_USER_VERBS_CMD_QUERY_DEVICE, &cmd, sizeof(cmd), 16),
			16);
	CU_ASSERT_EQUAL(seen_len, 16);
	for (int i = 0; i < 16; i++)
		CU_ASSERT(resp.bytes[i] == 0x55 && resp.guard[i] == 0xaa);
	/* Shorter than the program's room: the rest stays. */
	memset(&resp, 0xaa, sizeof(resp));
	next.out_len = 4;
	CU_ASSERT_EQUAL(write_command(fd, IB_USER_VERBS_CMD_QUERY_DEVICE, &cmd, sizeof(cmd), 16),
			16);
	CU_ASSERT(resp.bytes[3] == 0x55 && resp.bytes[4] == 0xaa);
	/* No room: response is not even an address. */
	cmd.response = 1;
	CU_ASSERT_EQUAL(write_command(fd, IB_USER_VERBS_CMD_QUERY_DEVICE, &cmd, sizeof(cmd), 0),
			16);
	next.status = -EOPNOTSUPP;
	CU_ASSERT_EQUAL(write_command(fd, IB_USER_VERBS_CMD_QUERY_DEVICE, &cmd, sizeof(cmd), 16),
			-1);
	CU_ASSERT_EQUAL(errno, EOPNOTSUPP);
	teardown(fd);
}

static void
test_extended(void)
{
	struct {
		uint8_t bytes[32], guard[8];
	} resp;
	struct {
		struct ib_uverbs_cmd_hdr hdr;
		struct ib_uverbs_ex_cmd_hdr ex;
		struct ib_uverbs_ex_query_device body;
	} cmd = {
		.hdr = {IB_USER_VERBS_CMD_FLAG_EXTENDED | IB_USER_VERBS_EX_CMD_QUERY_DEVICE, 1, 3},
		.ex = {.response = (uintptr_t)&resp, .provider_out_words = 1},
	};
	int fd = setup();

	memset(&resp, 0xaa, sizeof(resp));
	memset(next.out, 0x55, sizeof(next.out));
	next.out_len = 500;
	CU_ASSERT_EQUAL(write(fd, &cmd, sizeof(cmd)), sizeof(cmd));
	CU_ASSERT_EQUAL(resp.bytes[31], 0x55);
	CU_ASSERT_EQUAL(resp.guard[0], 0xaa);
	teardown(fd);
}

static void
test_short_commands(void)
{
	uint8_t big[FF_MSG_MAX] = {0};
	int fd = setup();

	CU_ASSERT_EQUAL(write(fd, big, 0), -1);
	CU_ASSERT_EQUAL(write(fd, big, 7), -1);
	CU_ASSERT_EQUAL(errno, EINVAL);
	CU_ASSERT_EQUAL(write(fd, big, sizeof(big)), -1);
	CU_ASSERT_EQUAL(errno, EINVAL);
	CU_ASSERT_EQUAL(router.commands, 0);
	/* Headers alone, of every command: nothing is read past their ends. */
	for (uint32_t op = 0; op < 64; op++) {
		struct ib_uverbs_cmd_hdr *hdr = malloc(sizeof(*hdr));

		*hdr = (struct ib_uverbs_cmd_hdr){.command = op, .in_words = 2, .out_words = 1};
		CU_ASSERT_EQUAL(write(fd, hdr, sizeof(*hdr)), 8);
		hdr->command |= IB_USER_VERBS_CMD_FLAG_EXTENDED;
		CU_ASSERT_EQUAL(write(fd, hdr, sizeof(*hdr)), 8);
		free(hdr);
	}
	CU_ASSERT_EQUAL(write(fd, big, 8000), 8000);
	CU_ASSERT_EQUAL(seen_len, 8000);
	teardown(fd);
}

static int
create_comp_channel(int fd, uint32_t handle)
{
	struct ib_uverbs_create_comp_channel_resp resp = {.fd = 0};
	struct ib_uverbs_create_comp_channel cmd = {.response = (uintptr_t)&resp};

	next.out_len = sizeof(resp);
	next.num_fds = 1;
	next.fd[0] = pipe_fd[0];
	next.fds[0] = (struct ff_fd_desc){.kind = FF_FD_PATCH, .handle = handle};
	CU_ASSERT_EQUAL(write_command(fd, IB_USER_VERBS_CMD_CREATE_COMP_CHANNEL, &cmd, sizeof(cmd),
				      sizeof(resp)),
			16);
	next.num_fds = 0;
	next.out_len = 0;
	return resp.fd;
}

static ssize_t
create_cq(int fd, int comp, int32_t *sent)
{
	struct ib_uverbs_create_cq cmd = {.cqe = 9, .comp_channel = comp, .reserved = 0x77};
	ssize_t ret;

	ret = write_command(fd, IB_USER_VERBS_CMD_CREATE_CQ, &cmd, sizeof(cmd), 0);
	memcpy(&cmd, seen + 8, sizeof(cmd));
	CU_ASSERT(ret < 0 || (cmd.cqe == 9 && cmd.reserved == 0x77 && seen_len == 40));
	*sent = cmd.comp_channel;
	return ret;
}

static void
test_comp_channel(void)
{
	struct {
		struct ib_uverbs_cmd_hdr hdr;
		struct ib_uverbs_ex_cmd_hdr ex;
		struct ib_uverbs_ex_create_cq body;
	} ex = {.hdr = {IB_USER_VERBS_CMD_FLAG_EXTENDED | IB_USER_VERBS_EX_CMD_CREATE_CQ, 4, 0}};
	int fd = setup(), other = open_device(), comp, copy;
	int32_t sent;
	char c;

	comp = create_comp_channel(fd, 4711);
	CU_ASSERT_EQUAL(write(pipe_fd[1], "x", 1), 1);
	CU_ASSERT_EQUAL(read(comp, &c, 1), 1);
	CU_ASSERT(fcntl(comp, F_GETFD) & FD_CLOEXEC);
	CU_ASSERT_EQUAL(create_cq(fd, comp, &sent), 40);
	CU_ASSERT_EQUAL(sent, 4711);
	CU_ASSERT_EQUAL(create_cq(fd, -1, &sent), 40);
	CU_ASSERT_EQUAL(sent, -1);
	copy = dup(comp);
	close(comp);
	CU_ASSERT_EQUAL(create_cq(fd, copy, &sent), 40);
	CU_ASSERT_EQUAL(sent, 4711);
	ex.body.comp_channel = copy;
	CU_ASSERT_EQUAL(write(fd, &ex, sizeof(ex)), sizeof(ex));
	memcpy(&ex, seen, sizeof(ex));
	CU_ASSERT_EQUAL(ex.body.comp_channel, 4711);
	/* Of another context, no channel at all, closed. */
	CU_ASSERT_EQUAL(create_cq(other, copy, &sent), -1);
	CU_ASSERT_EQUAL(errno, EBADF);
	CU_ASSERT_EQUAL(create_cq(fd, STDOUT_FILENO, &sent), -1);
	CU_ASSERT_EQUAL(create_cq(fd, fd, &sent), -1);
	CU_ASSERT_EQUAL(create_cq(fd, -2, &sent), -1);
	close(copy);
	CU_ASSERT_EQUAL(create_cq(fd, copy, &sent), -1);
	CU_ASSERT_EQUAL(errno, EBADF);
	close(other);
	teardown(fd);
}

static void
test_memory(void)
{
	struct ib_uverbs_reg_mr reg = {
		.start = 0x1000, .length = 8192, .hca_va = 0x5000, .access_flags = 7};
	struct ib_uverbs_rereg_mr rereg = {
		.flags = 1, .start = 0x7000, .length = 4096, .hca_va = 0x7000};
	int fd = setup();

	memset(&prepared, 0, sizeof(prepared));
	CU_ASSERT(write_command(fd, IB_USER_VERBS_CMD_REG_MR, &reg, sizeof(reg), 0) > 0);
	CU_ASSERT_EQUAL(prepared.calls, 1);
	CU_ASSERT_PTR_EQUAL(prepared.addr, (void *)0x1000);
	CU_ASSERT_EQUAL(prepared.len, 8192);
	CU_ASSERT(write_command(fd, IB_USER_VERBS_CMD_REREG_MR, &rereg, sizeof(rereg), 0) > 0);
	CU_ASSERT_EQUAL(prepared.calls, 2);
	CU_ASSERT_PTR_EQUAL(prepared.addr, (void *)0x7000);
	/* What the router refuses is not touched. */
	rereg.flags = 2;
	CU_ASSERT(write_command(fd, IB_USER_VERBS_CMD_REREG_MR, &rereg, sizeof(rereg), 0) > 0);
	reg.access_flags = 2;
	CU_ASSERT(write_command(fd, IB_USER_VERBS_CMD_REG_MR, &reg, sizeof(reg), 0) > 0);
	reg.access_flags = 0x41;
	CU_ASSERT(write_command(fd, IB_USER_VERBS_CMD_REG_MR, &reg, sizeof(reg), 0) > 0);
	reg.access_flags = 1;
	reg.length = UINT64_MAX;
	CU_ASSERT(write_command(fd, IB_USER_VERBS_CMD_REG_MR, &reg, sizeof(reg), 0) > 0);
	reg.length = 0;
	CU_ASSERT(write_command(fd, IB_USER_VERBS_CMD_REG_MR, &reg, sizeof(reg), 0) > 0);
	CU_ASSERT_EQUAL(prepared.calls, 2);
	teardown(fd);
}

/* Memory that was held for a fork as the router looked: it looks again. */
static void
test_memory_held(void)
{
	struct ib_uverbs_reg_mr reg = {
		.start = 0x1000, .length = 8192, .hca_va = 0x5000, .access_flags = 7};
	int fd = setup();

	memset(&prepared, 0, sizeof(prepared));
	prepared.holds = 2;
	next.status = -EFAULT;
	CU_ASSERT_EQUAL(write_command(fd, IB_USER_VERBS_CMD_REG_MR, &reg, sizeof(reg), 0), -1);
	CU_ASSERT_EQUAL(errno, EFAULT);
	CU_ASSERT_EQUAL(atomic_load(&router.commands), 3);
	next.status = -EINVAL;
	prepared.holds = 2;
	CU_ASSERT_EQUAL(write_command(fd, IB_USER_VERBS_CMD_REG_MR, &reg, sizeof(reg), 0), -1);
	CU_ASSERT_EQUAL(errno, EINVAL);
	CU_ASSERT_EQUAL(atomic_load(&router.commands), 4);
	prepared.holds = 0;
	teardown(fd);
}

static void
test_modify_srq(void)
{
	struct mminfo mi = {0};
	struct {
		struct ib_uverbs_modify_srq core;
		struct rxe_modify_srq_cmd drv;
	} cmd = {.drv.mmap_info_addr = (uintptr_t)&mi};
	int fd = setup();
	void *p;

	CU_ASSERT(write_command(fd, IB_USER_VERBS_CMD_MODIFY_SRQ, &cmd, sizeof(cmd), 0) > 0);
	CU_ASSERT_EQUAL(mi.size, 0);
	next.num_fds = 1;
	next.fd[0] = -1;
	next.fds[0] = (struct ff_fd_desc){
		.kind = FF_FD_QUEUE, .mmap_off = 0x30000, .size = QUEUE_SIZE, .role = FF_QUEUE_SRQ};
	CU_ASSERT(write_command(fd, IB_USER_VERBS_CMD_MODIFY_SRQ, &cmd, sizeof(cmd), 0) > 0);
	CU_ASSERT_EQUAL(mi.size, QUEUE_SIZE);
	CU_ASSERT_EQUAL(mi.offset, 0x30000);
	p = mmap(NULL, mi.size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, mi.offset);
	CU_ASSERT_NOT_EQUAL(p, MAP_FAILED);
	munmap(p, mi.size);
	teardown(fd);
}

/* Each of these must end in EIO, with the connection given up and nothing written. */
static void
bad_reply(const struct router_reply *spoilt)
{
	struct {
		uint8_t bytes[16], guard[64];
	} resp;
	struct ib_uverbs_query_device cmd = {.response = (uintptr_t)&resp};
	int fd = setup();

	memset(&resp, 0xaa, sizeof(resp));
	next = *spoilt;
	memset(next.out, 0x55, sizeof(next.out));
	next.out_len = 64;
	next.fd[0] = pipe_fd[0];
	CU_ASSERT_EQUAL(write_command(fd, IB_USER_VERBS_CMD_QUERY_DEVICE, &cmd, sizeof(cmd), 16),
			-1);
	CU_ASSERT_EQUAL(errno, EIO);
	for (unsigned int i = 0; i < sizeof(resp); i++)
		CU_ASSERT_EQUAL(((uint8_t *)&resp)[i], 0xaa);
	memset(&next, 0, sizeof(next));
	CU_ASSERT_EQUAL(write_command(fd, IB_USER_VERBS_CMD_DEALLOC_PD, "abcd", 4, 0), -1);
	CU_ASSERT_EQUAL(errno, EIO);
	CU_ASSERT_TRUE(router_reached(&router.closed_contexts, 1));
	teardown(fd);
}

static void
test_bad_replies(void)
{
	static const struct router_reply spoilt[] = {
		{.lie_out_len = 1},
		{.lie_out_len = UINT32_MAX - 100},
		{.lie_num_fds = 1},
		{.lie_num_fds = 1u << 31},
		{.lie_len = 1000},
		{.lie_type = 1},
		{.cut = 10},
		{.hang_up = true},
		{.num_fds = 1, .fds[0] = {.kind = FF_FD_PATCH, .patch_off = 64 - 3}},
		{.num_fds = 1, .fds[0] = {.kind = 99}},
		{.num_fds = 1, .lie_num_fds = -1u},
	};
	int before;

	bad_reply(&spoilt[0]);
	before = number_of_fds();
	for (unsigned int i = 0; i < sizeof(spoilt) / sizeof(spoilt[0]); i++)
		bad_reply(&spoilt[i]);
	CU_ASSERT_TRUE(fds_reach(before));
}

static void
test_stale_reply(void)
{
	int fd = setup(), before = number_of_fds();

	next.stale_first = true;
	next.fd[0] = pipe_fd[0];
	CU_ASSERT_EQUAL(write_command(fd, IB_USER_VERBS_CMD_DEALLOC_PD, "abcd", 4, 0), 12);
	CU_ASSERT_TRUE(fds_reach(before));
	teardown(fd);
}

/* The program is out of descriptors: the object does not stay behind in the router. */
static void
test_out_of_fds(void)
{
	struct ib_uverbs_create_cq cmd = {.comp_channel = -1};
	struct ib_uverbs_destroy_cq undo;
	struct rlimit old, low;
	int fd = setup(), before, fill[1024], n = 0;

	next.num_fds = 1;
	next.fd[0] = router_queue(NULL);
	next.keep_fds = true;
	next.fds[0] = (struct ff_fd_desc){.kind = FF_FD_QUEUE,
					  .mmap_off = 0x30000,
					  .size = QUEUE_SIZE,
					  .role = FF_QUEUE_CQ,
					  .handle = 42};
	before = number_of_fds();
	getrlimit(RLIMIT_NOFILE, &old);
	low = old;
	low.rlim_cur = 1024;
	setrlimit(RLIMIT_NOFILE, &low);
	while (n < 1024 && (fill[n] = dup(STDERR_FILENO)) >= 0)
		n++;
	CU_ASSERT_EQUAL(write_command(fd, IB_USER_VERBS_CMD_CREATE_CQ, &cmd, sizeof(cmd), 0), -1);
	CU_ASSERT_EQUAL(errno, EMFILE);
	while (n > 0)
		close(fill[--n]);
	setrlimit(RLIMIT_NOFILE, &old);
	CU_ASSERT_TRUE(fds_reach(before));
	close(next.fd[0]);
	memcpy(&undo, seen + 8, sizeof(undo));
	CU_ASSERT_EQUAL(((struct ib_uverbs_cmd_hdr *)seen)->command, IB_USER_VERBS_CMD_DESTROY_CQ);
	CU_ASSERT_EQUAL(undo.cq_handle, 42);
	CU_ASSERT_EQUAL(router.commands, 2);
	teardown(fd);
}

static _Atomic int signals;

static void
on_signal(int sig)
{
	signals++;
}

static void
slowly(const uint8_t *cmd, uint32_t len, struct router_reply *rep)
{
	poll(NULL, 0, 20);
}

/* Signals with handlers do not end a command; a non-blocking socket does not either. */
static void
test_interrupted(void)
{
	struct sigaction sa = {.sa_handler = on_signal}, old;
	int fd = setup();
	timer_t timer;
	struct itimerspec every = {.it_interval.tv_nsec = 1000000, .it_value.tv_nsec = 1000000};

	router.command = slowly;
	fcntl(fd, F_SETFL, O_NONBLOCK);
	sigaction(SIGALRM, &sa, &old);
	CU_ASSERT_EQUAL(timer_create(CLOCK_MONOTONIC, NULL, &timer), 0);
	timer_settime(timer, 0, &every, NULL);
	for (int i = 0; i < 10; i++)
		CU_ASSERT_EQUAL(write_command(fd, IB_USER_VERBS_CMD_DEALLOC_PD, "abcd", 4, 0), 12);
	timer_delete(timer);
	sigaction(SIGALRM, &old, NULL);
	CU_ASSERT(signals > 0);
	teardown(fd);
}

int
main(void)
{
	static const struct test tests[] = {
		{"out bytes", test_out_bytes},
		{"extended", test_extended},
		{"short and long commands", test_short_commands},
		{"completion channels", test_comp_channel},
		{"memory", test_memory},
		{"memory held", test_memory_held},
		{"modify_srq", test_modify_srq},
		{"bad replies", test_bad_replies},
		{"stale reply", test_stale_reply},
		{"out of descriptors", test_out_of_fds},
		{"interrupted", test_interrupted},
	};
	int ret;

	if (pipe2(pipe_fd, O_CLOEXEC))
		return 1;
	router_dir_make();
	ret = RUN("command", tests);
	router_dir_remove();
	return ret;
}
