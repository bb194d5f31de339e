/* SPDX-License-Identifier: MIT */
/* The streams of a container that is removed end, in whatever process they are; others do not. */
#include <errno.h>
#include <linux/filter.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shims.h"

#define PATIENCE_MS 20000

/* Offered to a and b, whose processes keep their ends and nothing else. */
static void
offered(const char *a, const char *b, struct tcp_offer *o)
{
	struct ff_container *ca = harness_container(a), *cb = harness_container(b);

	CU_ASSERT_EQUAL_FATAL(tcp_offer_make(o, ca, cb), 0);
}

/* A process in another network namespace that holds the pair, and leaves when both ends end. */
static pid_t
holder(const struct tcp_offer *o)
{
	struct pollfd p[2] = {{.fd = o->ends[0], .events = POLLIN},
			      {.fd = o->ends[1], .events = POLLIN}};
	int ready[2];
	char byte = 0;
	pid_t pid;

	CU_ASSERT_EQUAL_FATAL(pipe(ready), 0);
	pid = fork();
	if (!pid) {
		byte = !unshare(CLONE_NEWNET);
		if (write(ready[1], &byte, 1) != 1)
			_exit(2);
		for (unsigned i = 0; i < 2; i++)
			if (poll(&p[i], 1, PATIENCE_MS) != 1 || read(p[i].fd, &byte, 1) != 0)
				_exit(1);
		_exit(send(p[0].fd, "", 1, MSG_NOSIGNAL) < 0 && errno == EPIPE ? 0 : 3);
	}
	CU_ASSERT_EQUAL(read(ready[0], &byte, 1), 1);
	CU_ASSERT_EQUAL(byte, 1);
	close(ready[0]);
	close(ready[1]);
	return pid;
}

static int
status_of(pid_t pid)
{
	int status = -1;

	CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
	return status;
}

static bool
is_open(const struct tcp_offer *o)
{
	char byte = 0;

	return write(o->ends[0], "x", 1) == 1 && read(o->ends[1], &byte, 1) == 1 && byte == 'x';
}

static void
test_removal(void)
{
	struct tcp_offer gone[2], stays;
	pid_t pids[2];

	containers_make();
	CU_ASSERT_EQUAL(container_make("c3", "10.32.0.3", "/proc/self/ns/net"), 0);
	offered("c1", "c2", &gone[0]);
	offered("c3", "c1", &gone[1]);
	offered("c2", "c3", &stays);
	for (unsigned i = 0; i < 2; i++)
		pids[i] = holder(&gone[i]);
	/* Nobody of ours: the holders are all that is left. */
	tcp_offer_close(&gone[0]);
	tcp_offer_close(&gone[1]);
	CU_ASSERT_EQUAL(harness_del("c1"), 0);
	for (unsigned i = 0; i < 2; i++)
		CU_ASSERT_EQUAL(status_of(pids[i]), 0);
	CU_ASSERT_TRUE(is_open(&stays));
	tcp_offer_close(&stays);
	CU_ASSERT_EQUAL(harness_del("c3"), 0);
	containers_drop();
}

/* Nobody can take the mark from a socket, or give it to one that has none but by making one. */
static void
test_mark(void)
{
	struct sock_filter accept = BPF_STMT(BPF_RET | BPF_K, 0xffffffffu);
	struct sock_fprog other = {1, &accept};
	struct tcp_mark m, got;
	struct tcp_offer o;
	int plain[2], no = 0;

	containers_make();
	offered("c1", "c2", &o);
	memcpy(m.guid[0], harness_container("c1")->guid, 8);
	memcpy(m.guid[1], harness_container("c2")->guid, 8);
	for (unsigned i = 0; i < 2; i++) {
		CU_ASSERT_TRUE(tcp_mark_get(o.ends[i], &got));
		CU_ASSERT_EQUAL(memcmp(&m, &got, sizeof(m)), 0);
		CU_ASSERT_NOT_EQUAL(
			setsockopt(o.ends[i], SOL_SOCKET, SO_DETACH_FILTER, &no, sizeof(no)), 0);
		CU_ASSERT_NOT_EQUAL(
			setsockopt(o.ends[i], SOL_SOCKET, SO_LOCK_FILTER, &no, sizeof(no)), 0);
		CU_ASSERT_NOT_EQUAL(
			setsockopt(o.ends[i], SOL_SOCKET, SO_ATTACH_FILTER, &other, sizeof(other)),
			0);
		CU_ASSERT_TRUE(tcp_mark_get(o.ends[i], &got));
	}
	CU_ASSERT_TRUE(is_open(&o));
	tcp_offer_close(&o);
	CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM, 0, plain), 0);
	CU_ASSERT_FALSE(tcp_mark_get(plain[0], &got));
	CU_ASSERT_EQUAL(setsockopt(plain[0], SOL_SOCKET, SO_ATTACH_FILTER, &other, sizeof(other)),
			0);
	CU_ASSERT_FALSE(tcp_mark_get(plain[0], &got));
	CU_ASSERT_FALSE(tcp_mark_get(STDIN_FILENO, &got));
	close(plain[0]);
	close(plain[1]);
	containers_drop();
}

/* The kernel's TCP takes no descriptors to the peer. */
static void
test_no_descriptors(void)
{
	socklen_t len = sizeof(int);
	struct tcp_offer o;
	int value, fd = 0;

	containers_make();
	offered("c1", "c2", &o);
	if (getsockopt(o.ends[0], SOL_SOCKET, 83 /* SO_PASSRIGHTS */, &value, &len))
		printf("skipped: the kernel has no SO_PASSRIGHTS ... ");
	else
		for (unsigned i = 0; i < 2; i++)
			CU_ASSERT_EQUAL(client_send_raw(o.ends[i], "x", 1, &fd, 1), -EPERM);
	CU_ASSERT_TRUE(is_open(&o));
	tcp_offer_close(&o);
	containers_drop();
}

int
main(void)
{
	static const struct harness_test tests[] = {
		{"a container is removed", test_removal},
		{"the mark", test_mark},
		{"descriptors over a pair", test_no_descriptors},
	};

	return shims_main("tcp/revoke", tests, sizeof(tests) / sizeof(tests[0]));
}
