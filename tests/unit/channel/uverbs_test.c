/* SPDX-License-Identifier: MIT */
/* Commands of an open device: answers, violations, peers that do not read. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <rdma/ib_user_verbs.h>

#include "harness.h"

/* A uverbs message with these command bytes. */
static int
send_uverbs(int fd, uint32_t seq, const void *cmd, uint32_t len)
{
	uint8_t body[FF_MSG_MAX];
	struct ff_msg_uverbs u = {.cmd_len = len};

	memcpy(body, &u, sizeof(u));
	memcpy(body + sizeof(u), cmd, len);
	return client_send(fd, FF_MSG_UVERBS, seq, body, (uint32_t)sizeof(u) + len);
}

/* GET_CONTEXT as a program writes it: ib_uverbs_cmd_hdr, response. No pointer is followed. */
static const uint16_t get_context[] = {
	IB_USER_VERBS_CMD_GET_CONTEXT,
	0, /* command */
	4,
	sizeof(struct ib_uverbs_get_context_resp) / 4, /* in_words, out_words */
	0x1000,
	0,
	0,
	0,
};

static int
open_context(int *attach)
{
	struct ff_msg_attach_reply r;
	int u = client_connect("c1", FF_ROUTER_SOCK);

	*attach = client_connect("c1", FF_ROUTER_SOCK);
	CU_ASSERT_EQUAL(client_attach(*attach, &r), 0);
	CU_ASSERT_EQUAL(client_context(u, r.token), 0);
	return u;
}

/* A command of the real device: the async fd comes with the reply, and is no fd of ours. */
static void
test_uverbs(void)
{
	uint8_t body[sizeof(struct ff_msg_uverbs_reply) + 64];
	struct ff_msg_uverbs_reply *rep = (void *)body;
	char control[256];
	struct ff_msg_hdr h;
	struct iovec iov[2] = {{&h, sizeof(h)}, {body, sizeof(body)}};
	struct msghdr mh = {.msg_iov = iov,
			    .msg_iovlen = 2,
			    .msg_control = control,
			    .msg_controllen = sizeof(control)};
	unsigned at_first = harness_fds(), fds;
	int a, u = open_context(&a), fd;

	fds = harness_fds();
	CU_ASSERT_EQUAL(send_uverbs(u, 9, get_context, sizeof(get_context)), 0);
	CU_ASSERT_TRUE(recvmsg(u, &mh, 0) > 0);
	CU_ASSERT_EQUAL(h.type, FF_MSG_UVERBS);
	CU_ASSERT_EQUAL(h.seq, 9);
	CU_ASSERT_EQUAL(h.status, sizeof(get_context));
	CU_ASSERT_EQUAL(rep->num_fds, 1);
	CU_ASSERT_EQUAL(rep->fds[0].kind, FF_FD_PATCH);
	CU_ASSERT_EQUAL(h.len, sizeof(*rep) + rep->out_len);
	CU_ASSERT_PTR_NOT_NULL_FATAL(CMSG_FIRSTHDR(&mh));
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&mh)), sizeof(fd));
	CU_ASSERT_EQUAL(CMSG_FIRSTHDR(&mh)->cmsg_len, CMSG_LEN(sizeof(fd)));
	harness_passes(1); /* the router has closed its copy of what it sent */
	CU_ASSERT_EQUAL(harness_fds(), fds + 2); /* ours, and the router's write end */
	close(fd);
	close(u);
	close(a);
	expect_nothing_left();
	CU_ASSERT_EQUAL(harness_fds(), at_first);
}

/* Errors of commands are answers, not violations. */
static void
test_uverbs_errors(void)
{
	uint64_t cut = c1->counters[FF_CC_DETACHED], errors = c1->counters[FF_CC_COMMAND_ERRORS];
	struct ff_msg_hdr h;
	struct ff_msg_uverbs_reply rep;
	static uint8_t cmd[FF_MSG_MAX + 512];
	int a, u = open_context(&a);

	CU_ASSERT_EQUAL(send_uverbs(u, 1, cmd, 0), 0);
	CU_ASSERT_EQUAL(client_recv(u, &h, &rep, sizeof(rep)), sizeof(rep));
	CU_ASSERT_TRUE(h.status < 0);
	CU_ASSERT_EQUAL(rep.num_fds, 0);
	memset(cmd, 0xff, sizeof(cmd));
	CU_ASSERT_EQUAL(send_uverbs(u, 2, cmd, 64), 0);
	CU_ASSERT_EQUAL(client_recv(u, &h, &rep, sizeof(rep)), sizeof(rep));
	CU_ASSERT_TRUE(h.status < 0);
	/* Longer than a message: the program's fault, not the shim's. */
	memcpy(cmd, &(struct ff_msg_hdr){.type = FF_MSG_UVERBS, .seq = 3}, sizeof(h));
	CU_ASSERT_EQUAL(client_send_raw(u, cmd, sizeof(cmd), NULL, 0), 0);
	CU_ASSERT_EQUAL(client_recv(u, &h, &rep, sizeof(rep)), 0);
	CU_ASSERT_EQUAL(h.status, -EMSGSIZE);
	CU_ASSERT_EQUAL(h.seq, 3);
	CU_ASSERT_EQUAL(c1->counters[FF_CC_DETACHED], cut);
	CU_ASSERT_EQUAL(c1->counters[FF_CC_COMMAND_ERRORS], errors + 3);
	close(u);
	close(a);
	expect_nothing_left();
}

static void
test_uverbs_violation(void)
{
	static const uint32_t types[] = {FF_MSG_ATTACH, FF_MSG_CONTEXT, 0, 99};
	uint8_t body[sizeof(struct ff_msg_context)] = {FF_ABI_VERSION};
	struct ff_msg_uverbs lie = {.cmd_len = 4096};

	for (unsigned i = 0; i < 5; i++) {
		int a, u = open_context(&a);

		SNAPSHOT(before);
		CU_ASSERT_EQUAL(i < 4 ? client_send(u, types[i], 1, body, sizeof(body))
				      : client_send(u, FF_MSG_UVERBS, 1, &lie, sizeof(lie)),
				0);
		expect_detached(before, FF_DETACH_PROTOCOL);
		CU_ASSERT_TRUE(client_closed(u));
		CU_ASSERT_TRUE(client_closed(a));
		close(a);
		close(u);
	}
	expect_nothing_left();
}

/* A peer that sends without reading is not served and hinders nobody; then it reads and goes on. */
static void
test_flood(void)
{
	uint8_t cmd[8] = {0};
	struct ff_msg_uverbs_reply rep;
	struct ff_msg_attach_reply r;
	struct ff_msg_hdr h;
	uint64_t served = c1->counters[FF_CC_COMMANDS];
	int a, u = open_context(&a), other;
	unsigned sent = 0;

	fcntl(u, F_SETFL, O_NONBLOCK);
	while (sent < 10000 && !send_uverbs(u, sent, cmd, sizeof(cmd)))
		sent++;
	CU_ASSERT_TRUE(sent >= 2 && sent < 10000); /* full: the router holds nothing back */
	other = client_connect("c1", FF_ROUTER_SOCK);
	CU_ASSERT_EQUAL(client_attach(other, &r), 0);
	CU_ASSERT_TRUE(c1->counters[FF_CC_COMMANDS] <= served + 1);
	fcntl(u, F_SETFL, 0);
	for (unsigned i = 0; i < sent; i++) {
		CU_ASSERT_EQUAL(client_recv(u, &h, &rep, sizeof(rep)), sizeof(rep));
		CU_ASSERT_EQUAL(h.seq, i);
	}
	close(other);
	close(u);
	close(a);
	expect_nothing_left();
}

int
main(void)
{
	static const struct harness_test tests[] = {
		{"containers", attach_setup},	{"command", test_uverbs},
		{"errors", test_uverbs_errors}, {"violations", test_uverbs_violation},
		{"flood", test_flood},
	};

	return harness_main("uverbs", tests, sizeof(tests) / sizeof(tests[0]));
}
