/* SPDX-License-Identifier: MIT */
/* Attach, contexts and teardown, against well-behaved and hostile peers. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"

static void
check_first_channel(void *arg)
{
	struct ff_channel *ch = TAILQ_FIRST(&c1->channels);

	CU_ASSERT_PTR_NOT_NULL_FATAL(ch);
	CU_ASSERT_EQUAL(ch->proc->pid, getpid());
	CU_ASSERT_EQUAL(ch->uid, getuid());
}

static void
test_attach(void)
{
	struct ff_msg_attach_reply r1, r2;
	int a = client_connect("c1", FF_ROUTER_SOCK), b = client_connect("c1", FF_ROUTER_SOCK);

	SNAPSHOT(before);
	CU_ASSERT_EQUAL(client_attach(a, &r1), 0);
	CU_ASSERT_EQUAL(client_attach(b, &r2), 0);
	CU_ASSERT_EQUAL(r1.abi_version, FF_ABI_VERSION);
	CU_ASSERT_EQUAL(r1.num_rings, FF_CHANNEL_RINGS);
	CU_ASSERT_NOT_EQUAL(r1.channel_id, r2.channel_id);
	CU_ASSERT_NOT_EQUAL(memcmp(r1.token, r2.token, FF_TOKEN_LEN), 0);
	CU_ASSERT_TRUE(harness_wait_u64(&c1->used[FF_QUOTA_PROCESSES], 2));
	harness_control(check_first_channel, NULL);
	close(a);
	expect_detached(before, FF_DETACH_CLOSED);
	close(b);
	expect_nothing_left();
}

/* A context keeps its channel alive when the process's own connection is gone (fork). */
static void
test_context(void)
{
	struct ff_msg_attach_reply r;
	int a = client_connect("c1", FF_ROUTER_SOCK), u1, u2;

	CU_ASSERT_EQUAL(client_attach(a, &r), 0);
	u1 = client_connect("c1", FF_ROUTER_SOCK);
	u2 = client_connect("c1", FF_ROUTER_SOCK);
	CU_ASSERT_EQUAL(client_context(u1, r.token), 0);
	CU_ASSERT_EQUAL(client_context(u2, r.token), 0);
	CU_ASSERT_TRUE(harness_wait_u64(&c1->used[FF_QUOTA_CONTEXTS], 2));
	close(a);
	close(u1);
	CU_ASSERT_TRUE(harness_wait_u64(&c1->used[FF_QUOTA_CONTEXTS], 1));
	CU_ASSERT_TRUE(harness_wait_u64(&c1->used[FF_QUOTA_PROCESSES], 1));
	close(u2);
	expect_nothing_left();
}

static void
test_tokens(void)
{
	struct ff_msg_attach_reply r1, r2;
	uint8_t token[FF_TOKEN_LEN] = {0};
	int a = client_connect("c1", FF_ROUTER_SOCK), b = client_connect("c2", FF_ROUTER_SOCK), u;

	CU_ASSERT_EQUAL(client_attach(a, &r1), 0);
	CU_ASSERT_EQUAL(client_attach(b, &r2), 0);
	/* Nobody's; another container's; one bit wrong. */
	u = client_connect("c1", FF_ROUTER_SOCK);
	CU_ASSERT_EQUAL(client_context(u, token), -EACCES);
	CU_ASSERT_TRUE(client_closed(u));
	close(u);
	u = client_connect("c1", FF_ROUTER_SOCK);
	CU_ASSERT_EQUAL(client_context(u, r2.token), -EACCES);
	close(u);
	memcpy(token, r1.token, sizeof(token));
	token[FF_TOKEN_LEN - 1] ^= 1;
	u = client_connect("c1", FF_ROUTER_SOCK);
	CU_ASSERT_EQUAL(client_context(u, token), -EACCES);
	close(u);
	close(a);
	close(b);
	expect_nothing_left();
}

/* Another process with the token: the context would register the wrong one's memory. */
static void
test_other_process(void)
{
	struct ff_msg_attach_reply r;
	int a = client_connect("c1", FF_ROUTER_SOCK), status;
	pid_t pid;

	CU_ASSERT_EQUAL(client_attach(a, &r), 0);
	pid = fork();
	if (!pid)
		_exit(client_context(client_connect("c1", FF_ROUTER_SOCK), r.token) == -EPERM ? 0
											      : 1);
	CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
	CU_ASSERT_EQUAL(status, 0);
	close(a);
	expect_nothing_left();
}

/* First messages that are refused: told why, then closed; nobody else is hurt. */
static void
test_bad_first(void)
{
	struct ff_msg_attach at = {.abi_version = FF_ABI_VERSION};
	struct {
		uint32_t type, len, version;
		int status;
	} cases[] = {
		{FF_MSG_ATTACH, 8, FF_ABI_VERSION + 1, -EPROTONOSUPPORT},
		{FF_MSG_ATTACH, 4, FF_ABI_VERSION, -EPROTO},
		{FF_MSG_CONTEXT, 8, FF_ABI_VERSION, -EPROTO},
		{FF_MSG_UVERBS, 8, 0, -EPROTO},
		{0, 0, 0, -EINVAL},
		{77, 8, 0, -EINVAL},
	};
	struct ff_msg_attach_reply keep;
	struct ff_msg_hdr h;
	int good = client_connect("c1", FF_ROUTER_SOCK);

	CU_ASSERT_EQUAL(client_attach(good, &keep), 0);
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int fd = client_connect("c1", FF_ROUTER_SOCK);

		at.abi_version = cases[i].version;
		CU_ASSERT_EQUAL(client_send(fd, cases[i].type, 5, &at, cases[i].len), 0);
		CU_ASSERT_EQUAL(client_recv(fd, &h, NULL, 0), 0);
		CU_ASSERT_EQUAL(h.status, cases[i].status);
		CU_ASSERT_EQUAL(h.seq, 5);
		CU_ASSERT_TRUE(client_closed(fd));
		close(fd);
	}
	CU_ASSERT_TRUE(harness_wait_u64(&c1->used[FF_QUOTA_PROCESSES], 1));
	close(good);
	expect_nothing_left();
}

static void
test_garbage(void)
{
	static uint8_t big[2 * FF_MSG_MAX];
	int fd;

	/* Shorter than a header. */
	for (size_t n = 1; n < sizeof(struct ff_msg_hdr); n += 5) {
		fd = client_connect("c1", FF_ROUTER_SOCK);
		CU_ASSERT_EQUAL(client_send_raw(fd, big, n, NULL, 0), 0);
		CU_ASSERT_TRUE(client_closed(fd));
		close(fd);
	}
	/* Longer than a message may be. */
	fd = client_connect("c1", FF_ROUTER_SOCK);
	CU_ASSERT_EQUAL(client_send_raw(fd, big, sizeof(big), NULL, 0), 0);
	CU_ASSERT_TRUE(client_closed(fd));
	close(fd);
	/* Says nothing and goes. */
	close(client_connect("c1", FF_ROUTER_SOCK));
	expect_nothing_left();
}

static void
test_attach_connection_speaks(void)
{
	struct ff_msg_attach at = {.abi_version = FF_ABI_VERSION};
	struct ff_msg_attach_reply r;
	int a = client_connect("c1", FF_ROUTER_SOCK), u = client_connect("c1", FF_ROUTER_SOCK);
	uint64_t cut = c1->counters[FF_CC_DETACHED];

	SNAPSHOT(before);
	CU_ASSERT_EQUAL(client_attach(a, &r), 0);
	CU_ASSERT_EQUAL(client_context(u, r.token), 0);
	CU_ASSERT_EQUAL(client_send(a, FF_MSG_ATTACH, 2, &at, sizeof(at)), 0);
	expect_detached(before, FF_DETACH_PROTOCOL);
	CU_ASSERT_TRUE(client_closed(a));
	CU_ASSERT_TRUE(client_closed(u));
	CU_ASSERT_EQUAL(c1->counters[FF_CC_DETACHED], cut + 1);
	close(a);
	close(u);
	expect_nothing_left();
}

/*
 * fds that come with messages are not received, on any kind of connection: the kernel refuses them
 * (SO_PASSRIGHTS), or is too old for that and drops them.
 */
static void
test_fds_attached(void)
{
	struct {
		struct ff_msg_hdr h;
		struct ff_msg_attach a;
	} m = {{.type = FF_MSG_ATTACH, .len = sizeof(m.a)}, {.abi_version = FF_ABI_VERSION}};
	struct ff_msg_attach_reply r;
	struct ff_msg_hdr h;
	unsigned open_fds = harness_fds();
	int fds[8], rc, refuses, a = client_connect("c1", FF_ROUTER_SOCK);
	socklen_t len = sizeof(refuses);

	for (unsigned i = 0; i < 8; i++)
		fds[i] = memfd_create("x", MFD_CLOEXEC);
	rc = client_send_raw(a, &m, sizeof(m), fds, 8);
	if (!getsockopt(a, SOL_SOCKET, 83 /* SO_PASSRIGHTS */, &refuses, &len)) {
		CU_ASSERT_EQUAL(rc, -EPERM);
		rc = client_send_raw(a, &m, sizeof(m), NULL, 0);
	}
	CU_ASSERT_EQUAL(rc, 0);
	CU_ASSERT_EQUAL(client_recv(a, &h, &r, sizeof(r)), sizeof(r));
	CU_ASSERT_EQUAL(h.status, 0);
	/* Ours, both ends of the connection, the pidfd. */
	CU_ASSERT_EQUAL(harness_fds(), open_fds + 8 + 2 + 1);
	for (unsigned i = 0; i < 8; i++)
		close(fds[i]);
	close(a);
	expect_nothing_left();
}

static void
later_tick(void *arg)
{
	conn_tick(c1, ff_now_ns() + CONN_PATIENCE_NS + 1000);
	memif_tick(c1, ff_now_ns() + CONN_PATIENCE_NS + 1000);
}

static void
test_silent(void)
{
	struct ff_msg_attach_reply r;
	int fds[CONN_NEW_MAX + 1], attached = client_connect("c1", FF_ROUTER_SOCK), m;

	CU_ASSERT_EQUAL(client_attach(attached, &r), 0);
	for (unsigned i = 0; i <= CONN_NEW_MAX; i++)
		fds[i] = client_connect("c1", FF_ROUTER_SOCK);
	CU_ASSERT_TRUE(client_closed(fds[CONN_NEW_MAX])); /* one too many */
	m = client_connect("c1", FF_MEMIF_SOCK);
	harness_control(later_tick, NULL);
	for (unsigned i = 0; i <= CONN_NEW_MAX; i++) {
		CU_ASSERT_TRUE(client_closed(fds[i]));
		close(fds[i]);
	}
	close(m);
	CU_ASSERT_TRUE(
		harness_wait_u64(&c1->used[FF_QUOTA_PROCESSES], 1)); /* being attached is enough */
	close(attached);
	expect_nothing_left();
}

static void
set_limit(void *arg)
{
	c1->limits[FF_QUOTA_PROCESSES] = *(unsigned *)arg;
}

static void
test_process_quota(void)
{
	struct ff_msg_attach_reply r;
	unsigned two = 2, many = 1000;
	int a[3];

	harness_control(set_limit, &two);
	for (unsigned i = 0; i < 3; i++) {
		a[i] = client_connect("c1", FF_ROUTER_SOCK);
		CU_ASSERT_EQUAL(client_attach(a[i], &r), i < 2 ? 0 : -ENOMEM);
	}
	for (unsigned i = 0; i < 3; i++)
		close(a[i]);
	expect_nothing_left();
	harness_control(set_limit, &many);
}

/* Removal cuts everybody off; the async pipe says so before it ends. */
static void
test_removal(void)
{
	struct ff_msg_attach_reply r;
	int a = client_connect("c3", FF_ROUTER_SOCK), u = client_connect("c3", FF_ROUTER_SOCK);
	int silent = client_connect("c3", FF_ROUTER_SOCK);

	SNAPSHOT(before);
	CU_ASSERT_EQUAL(client_attach(a, &r), 0);
	CU_ASSERT_EQUAL(client_context(u, r.token), 0);
	CU_ASSERT_EQUAL(harness_del("c3"), 0);
	expect_detached(before, FF_DETACH_REMOVED);
	CU_ASSERT_TRUE(client_closed(a));
	CU_ASSERT_TRUE(client_closed(u));
	CU_ASSERT_TRUE(client_closed(silent));
	CU_ASSERT_EQUAL(client_connect("c3", FF_ROUTER_SOCK), -1);
	close(a);
	close(u);
	close(silent);
}

/* A process that is killed: the kernel closes its sockets, the rest follows. */
static void
test_killed(void)
{
	int ready[2], status;
	char byte;
	pid_t pid;

	SNAPSHOT(before);
	CU_ASSERT_EQUAL(pipe(ready), 0);
	pid = fork();
	if (!pid) {
		struct ff_msg_attach_reply r;
		int a = client_connect("c1", FF_ROUTER_SOCK);
		int u = client_connect("c1", FF_ROUTER_SOCK);

		if (client_attach(a, &r) || client_context(u, r.token))
			_exit(1);
		if (write(ready[1], "x", 1) != 1)
			_exit(2);
		pause();
	}
	CU_ASSERT_EQUAL(read(ready[0], &byte, 1), 1);
	CU_ASSERT_TRUE(harness_wait_u64(&c1->used[FF_QUOTA_CONTEXTS], 1));
	kill(pid, SIGKILL);
	CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
	expect_detached(before, FF_DETACH_CLOSED);
	close(ready[0]);
	close(ready[1]);
	expect_nothing_left();
}

int
main(void)
{
	static const struct harness_test tests[] = {
		{"containers", attach_setup},
		{"attach", test_attach},
		{"context", test_context},
		{"tokens", test_tokens},
		{"another process", test_other_process},
		{"bad first messages", test_bad_first},
		{"garbage", test_garbage},
		{"attach connection speaks", test_attach_connection_speaks},
		{"fds attached", test_fds_attached},
		{"silent connections", test_silent},
		{"process quota", test_process_quota},
		{"killed", test_killed},
		{"removal", test_removal},
	};

	return harness_main("attach", tests, sizeof(tests) / sizeof(tests[0]));
}
