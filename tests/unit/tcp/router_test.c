/* SPDX-License-Identifier: MIT */
/* tcp.sock as shims see it that keep to the protocol, and as those that do not. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shims.h"

static void
ask_both(const int sock[2], const int tcp[2], uint32_t stream)
{
	CU_ASSERT_EQUAL(shim_say(sock[0], FF_TCP_ASK, stream, 0, tcp[0]), 0);
	CU_ASSERT_EQUAL(shim_say(sock[1], FF_TCP_ASK, stream, 0, tcp[1]), 0);
}

static void
open_both(int sock[2])
{
	containers_make();
	sock[0] = shim_open("c1");
	sock[1] = shim_open("c2");
}

static void
close_both(const int fd[2])
{
	close(fd[0]);
	close(fd[1]);
}

/* All is given back: descriptors, streams, connections. */
static void
end_both(const int sock[2])
{
	close_both(sock);
	expect_forgotten("c1");
	expect_forgotten("c2");
	containers_drop();
}

/* ---- the protocol ---- */

static void
test_offer(void)
{
	unsigned before = harness_fds();
	struct heard h[2];
	int sock[2], tcp[2];
	struct stat st;
	char byte = 0;

	open_both(sock);
	tcp_connect(tcp);
	ask_both(sock, tcp, 7);
	expect_heard(sock[0], FF_TCP_OFFER, 7, &h[0]);
	expect_heard(sock[1], FF_TCP_OFFER, 7, &h[1]);
	CU_ASSERT_EQUAL(h[0].m.value + h[1].m.value, 1);
	/* One's own end and the other's; the same page. */
	CU_ASSERT_EQUAL(write(h[0].fds[0], "x", 1), 1);
	CU_ASSERT_EQUAL(read(h[1].fds[0], &byte, 1), 1);
	CU_ASSERT_EQUAL(byte, 'x');
	CU_ASSERT_EQUAL(write(h[0].fds[1], "y", 1), 1);
	CU_ASSERT_EQUAL(read(h[0].fds[0], &byte, 1), 1);
	CU_ASSERT_EQUAL(fstat(h[0].fds[2], &st), 0);
	CU_ASSERT_EQUAL(st.st_size, FF_TCP_MEMORY);
	CU_ASSERT_EQUAL(fcntl(h[1].fds[2], F_GET_SEALS), F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
	CU_ASSERT_EQUAL(shim_say(sock[0], FF_TCP_POKE, 7, 0, -1), 0);
	expect_heard(sock[1], FF_TCP_POKE, 7, NULL);
	heard_close(&h[0]);
	heard_close(&h[1]);
	CU_ASSERT_EQUAL(stats_of("c1").offers, 1);
	shim_say(sock[0], FF_TCP_FORGET, 7, 0, -1);
	shim_say(sock[1], FF_TCP_FORGET, 7, 0, -1);
	/* The name is free again. */
	ask_both(sock, tcp, 7);
	expect_heard(sock[0], FF_TCP_OFFER, 7, NULL);
	expect_heard(sock[1], FF_TCP_OFFER, 7, NULL);
	close_both(tcp);
	end_both(sock);
	CU_ASSERT_EQUAL(harness_fds(), before);
}

static void
test_waits(void)
{
	int sock[2], tcp[2][2];

	open_both(sock);
	tcp_connect(tcp[0]);
	tcp_connect(tcp[1]);
	/* Of two connections one end each: nothing fits. Then one does. */
	shim_say(sock[0], FF_TCP_ASK, 1, 0, tcp[0][0]);
	shim_say(sock[1], FF_TCP_ASK, 1, 0, tcp[1][1]);
	shim_say(sock[1], FF_TCP_ASK, 2, 0, tcp[0][1]);
	expect_heard(sock[1], FF_TCP_OFFER, 2, NULL);
	expect_heard(sock[0], FF_TCP_OFFER, 1, NULL);
	CU_ASSERT_EQUAL(stats_of("c2").streams, 2);
	CU_ASSERT_EQUAL(stats_of("c2").offers, 1);
	close_both(tcp[0]);
	close_both(tcp[1]);
	end_both(sock);
}

static void
test_broken(void)
{
	static const struct ff_tcp_msg bad[] = {
		{FF_TCP_ASK, 1, 0, 0},	 /* no socket */
		{FF_TCP_HELLO, 0, 1, 0}, /* again */
		{FF_TCP_OFFER, 1, 0, 0}, {FF_TCP_REFUSED, 1, 0, 0}, {0, 0, 0, 0},
		{UINT32_MAX, 1, 0, 0},	 {FF_TCP_FORGET, 1, 0, 1},
	};
	int sock, fds[FF_TCP_OFFER_FDS] = {0, 1, 2};
	struct ff_tcp_msg m[2] = {{FF_TCP_FORGET, 1, 0, 0}};
	uint64_t n = 0;

	containers_make();
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		sock = shim_open("c1");
		client_send_raw(sock, &bad[i], sizeof(bad[i]), NULL, 0);
		expect_closed(sock);
		close(sock);
		expect_refusals("c1", FF_TCP_REFUSED_PROTOCOL, ++n);
	}
	for (unsigned what = 0; what < 5; what++) {
		sock = what ? shim_open("c1") : client_connect("c1", FF_TCP_SOCK);
		m[0].type = what == 4 ? FF_TCP_ASK : FF_TCP_FORGET;
		/* No HELLO; short; long; a socket too much; three. */
		client_send_raw(sock, m,
				what == 1   ? 15
				: what == 2 ? 17
					    : 16,
				fds,
				what == 3   ? 1
				: what == 4 ? 3
					    : 0);
		expect_closed(sock);
		close(sock);
		expect_refusals("c1", FF_TCP_REFUSED_PROTOCOL, ++n);
	}
	expect_forgotten("c1");
	containers_drop();
}

static void
test_version(void)
{
	int sock;

	containers_make();
	sock = client_connect("c1", FF_TCP_SOCK);
	shim_say(sock, FF_TCP_HELLO, 0, FF_TCP_ABI_VERSION + 1, -1);
	expect_closed(sock);
	close(sock);
	containers_drop();
}

static void
test_id_twice(void)
{
	int sock[2], tcp[2][2];

	open_both(sock);
	tcp_connect(tcp[0]);
	tcp_connect(tcp[1]);
	shim_say(sock[0], FF_TCP_ASK, 1, 0, tcp[0][0]);
	shim_say(sock[0], FF_TCP_ASK, 1, 0, tcp[1][0]);
	expect_closed(sock[0]);
	expect_refusals("c1", FF_TCP_REFUSED_PROTOCOL, 1);
	expect_forgotten("c1");
	close_both(tcp[0]);
	close_both(tcp[1]);
	end_both(sock);
}

/* ---- whose connection it is ---- */

static int
tcp_listening(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	listen(fd, 1);
	return fd;
}

static void
test_other_files(void)
{
	int pipes[2], pair[2], tcp[2], sock;

	containers_make();
	sock = shim_open("c1");
	CU_ASSERT_EQUAL_FATAL(pipe2(pipes, O_CLOEXEC), 0);
	CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	tcp_connect(tcp);
	CU_ASSERT_EQUAL(shutdown(tcp[0], SHUT_WR), 0);

	const int files[] = {pipes[0], pair[0], open("/dev/null", O_RDWR | O_CLOEXEC),
			     socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), sock};
	const int states[] = {tcp_listening(), socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0),
			      tcp[0]};
	unsigned i, n = sizeof(files) / sizeof(files[0]), k = sizeof(states) / sizeof(states[0]);

	for (i = 0; i < n; i++) {
		shim_say(sock, FF_TCP_ASK, i, 0, files[i]);
		expect_refused(sock, i, EPROTOTYPE);
	}
	for (i = 0; i < k; i++) {
		shim_say(sock, FF_TCP_ASK, 100 + i, 0, states[i]);
		expect_refused(sock, 100 + i, ENOTCONN);
	}
	CU_ASSERT_EQUAL(stats_of("c1").refused[FF_TCP_REFUSED_SOCKET], n);
	CU_ASSERT_EQUAL(stats_of("c1").refused[FF_TCP_REFUSED_STATE], k);
	for (i = 2; i < 4; i++)
		close(files[i]);
	close(states[0]);
	close(states[1]);
	close_both(pipes);
	close_both(pair);
	close_both(tcp);
	close(sock);
	expect_forgotten("c1");
	containers_drop();
}

/* Runs fn in a child that has the same addresses in a namespace of its own, until told to end. */
static pid_t
elsewhere(void (*fn)(int sock), int *sock)
{
	int pair[2];
	pid_t pid;

	CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	pid = fork();
	if (!pid) {
		close(pair[0]);
		if (!unshare(CLONE_NEWNET) &&
		    !system("ip link set lo up && ip address add 10.32.0.1/32 dev lo && "
			    "ip address add 10.32.0.2/32 dev lo"))
			fn(pair[1]);
		_exit(0);
	}
	close(pair[1]);
	*sock = pair[0];
	return pid;
}

static void
elsewhere_connect(int sock)
{
	int tcp[2];
	char byte;

	tcp_connect(tcp);
	client_send_raw(sock, "", 1, tcp, 2);
	(void)!read(sock, &byte, 1);
}

static int
fds_receive(int sock, int *fds, unsigned n)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(2 * sizeof(int))];
	char byte;
	struct iovec iov = {&byte, 1};
	struct msghdr mh = {.msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = control,
			    .msg_controllen = sizeof(control)};

	if (recvmsg(sock, &mh, MSG_CMSG_CLOEXEC) != 1 || !CMSG_FIRSTHDR(&mh))
		return -EIO;
	memcpy(fds, CMSG_DATA(CMSG_FIRSTHDR(&mh)), n * sizeof(int));
	return 0;
}

static void
test_namespace(void)
{
	int sock[2], tcp[2], from;
	pid_t pid;

	open_both(sock);
	pid = elsewhere(elsewhere_connect, &from);
	CU_ASSERT_EQUAL_FATAL(fds_receive(from, tcp, 2), 0);
	ask_both(sock, tcp, 1);
	expect_refused(sock[0], 1, EXDEV);
	expect_refused(sock[1], 1, EXDEV);
	CU_ASSERT_EQUAL(stats_of("c1").refused[FF_TCP_REFUSED_NAMESPACE], 1);
	close(from);
	waitpid(pid, NULL, 0);
	close_both(tcp);
	end_both(sock);
}

/* A container whose namespace nobody knows gets nothing. */
static void
test_no_namespace(void)
{
	int tcp[2], sock;

	CU_ASSERT_EQUAL_FATAL(harness_add("c1", "10.32.0.1"), 0);
	sock = shim_open("c1");
	tcp_connect(tcp);
	shim_say(sock, FF_TCP_ASK, 1, 0, tcp[0]);
	expect_refused(sock, 1, EXDEV);
	close_both(tcp);
	close(sock);
	CU_ASSERT_EQUAL(harness_del("c1"), 0);
}

static void
test_addresses(void)
{
	int sock[2], tcp[2];

	open_both(sock);
	tcp_connect(tcp);
	/* c1 passes c2's end. */
	shim_say(sock[0], FF_TCP_ASK, 1, 0, tcp[1]);
	expect_refused(sock[0], 1, EADDRNOTAVAIL);
	CU_ASSERT_EQUAL(harness_del("c2"), 0);
	shim_say(sock[0], FF_TCP_ASK, 2, 0, tcp[0]);
	expect_refused(sock[0], 2, EHOSTUNREACH);
	CU_ASSERT_EQUAL(stats_of("c1").refused[FF_TCP_REFUSED_ADDRESS], 1);
	CU_ASSERT_EQUAL(stats_of("c1").refused[FF_TCP_REFUSED_PEER], 1);
	close_both(tcp);
	end_both(sock);
}

/* What held when the first end asked holds no more when the second one does. */
static void
test_asked_again(void)
{
	int sock[2], tcp[2];

	open_both(sock);
	tcp_connect(tcp);
	shim_say(sock[0], FF_TCP_ASK, 1, 0, tcp[0]);
	for (int i = 0; i < 10000 && !stats_of("c1").streams; i++)
		usleep(1000);
	close(sock[1]);
	CU_ASSERT_EQUAL(harness_del("c2"), 0);
	CU_ASSERT_EQUAL(container_make("c2", "10.32.0.3", "/proc/self/ns/net"), 0);
	sock[1] = shim_open("c2");
	shim_say(sock[1], FF_TCP_ASK, 1, 0, tcp[1]);
	expect_refused(sock[1], 1, EADDRNOTAVAIL);
	CU_ASSERT_EQUAL(stats_of("c1").offers, 0);
	close_both(tcp);
	end_both(sock);
}

static void
test_duplicate(void)
{
	int sock[2], tcp[2], again;

	open_both(sock);
	tcp_connect(tcp);
	shim_say(sock[0], FF_TCP_ASK, 1, 0, tcp[0]);
	shim_say(sock[0], FF_TCP_ASK, 2, 0, tcp[0]);
	expect_refused(sock[0], 2, EALREADY);
	/* Another process is no better; when the first one forgets it is free. */
	again = shim_open("c1");
	shim_say(again, FF_TCP_ASK, 1, 0, tcp[0]);
	expect_refused(again, 1, EALREADY);
	CU_ASSERT_EQUAL(stats_of("c1").refused[FF_TCP_REFUSED_DUPLICATE], 2);
	shim_say(sock[0], FF_TCP_FORGET, 1, 0, -1);
	for (int i = 0; i < 10000 && stats_of("c1").streams; i++)
		usleep(1000);
	shim_say(again, FF_TCP_ASK, 1, 0, tcp[0]);
	shim_say(sock[1], FF_TCP_ASK, 1, 0, tcp[1]);
	expect_heard(again, FF_TCP_OFFER, 1, NULL);
	close(again);
	close_both(tcp);
	end_both(sock);
}

int
main(void)
{
	static const struct harness_test tests[] = {
		{"both ask, both are offered", test_offer},
		{"one that asks waits for its peer", test_waits},
		{"broken messages", test_broken},
		{"another version", test_version},
		{"an id twice", test_id_twice},
		{"files that are no connection", test_other_files},
		{"another namespace's connection", test_namespace},
		{"a container whose namespace is not known", test_no_namespace},
		{"addresses of others", test_addresses},
		{"the offer asks again", test_asked_again},
		{"one socket twice", test_duplicate},
	};

	return shims_main("tcp/router", tests, sizeof(tests) / sizeof(tests[0]));
}
