/* SPDX-License-Identifier: MIT */
/*
 * Tests dataplane/tcp/cage.c in the kernel: a hostile process, in another network namespace, holds
 * a sealed socket and tries to reach somebody else. Needs root.
 */
#include <CUnit/Basic.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tcp/cage.h"

#define SKIP 77 /* what meson takes for a skipped test */

static struct tcp_cage cage;
static char name[64];

union address {
	struct sockaddr sa;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
};

static socklen_t
address_len(const union address *a)
{
	return a->sa.sa_family == AF_INET ? sizeof(a->in) : sizeof(a->in6);
}

/* The loopback of that family. */
static union address
loopback(int family, uint16_t port)
{
	union address a;

	memset(&a, 0, sizeof(a));
	a.sa.sa_family = (sa_family_t)family;
	if (family == AF_INET) {
		a.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		a.in.sin_port = htons(port);
	} else {
		a.in6.sin6_addr = in6addr_loopback;
		a.in6.sin6_port = htons(port);
	}
	return a;
}

static union address
name_of(int fd)
{
	union address a;
	socklen_t len = sizeof(a);

	memset(&a, 0, sizeof(a));
	CU_ASSERT_EQUAL_FATAL(getsockname(fd, &a.sa, &len), 0);
	return a;
}

static void
listen_at(int fd, int family)
{
	union address a = loopback(family, 0);

	CU_ASSERT_EQUAL_FATAL(bind(fd, &a.sa, address_len(&a)), 0);
	CU_ASSERT_EQUAL_FATAL(listen(fd, 8), 0);
}

/* Who connected, and who was accepted; both are sealed. */
static void
pair_make(struct tcp_cage *c, int family, int ends[2])
{
	int listener = tcp_cage_socket(c, family);
	struct pollfd p = {.fd = listener, .events = POLLIN};
	union address a;

	CU_ASSERT_FATAL(listener >= 0);
	listen_at(listener, family);
	a = name_of(listener);
	ends[0] = tcp_cage_socket(c, family);
	CU_ASSERT_FATAL(ends[0] >= 0);
	CU_ASSERT_FATAL(connect(ends[0], &a.sa, address_len(&a)) == 0 || errno == EINPROGRESS);
	CU_ASSERT_EQUAL_FATAL(poll(&p, 1, -1), 1);
	/* A second call ends what the first has begun. */
	CU_ASSERT_EQUAL(connect(ends[0], &a.sa, address_len(&a)), 0);
	ends[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	CU_ASSERT_FATAL(ends[1] >= 0);
	tcp_cage_seal(c, ends[0]);
	tcp_cage_seal(c, listener);
	close(listener);
}

/* ---- the hostile process ---- */

static bool
option_set(int fd, int level, int option, const void *value, socklen_t len)
{
	return setsockopt(fd, level, option, value, len) == 0 || errno != EPERM;
}

/* The first thing that was not refused, or NULL. */
static const char *
options_try(int fd)
{
	static const uint8_t route[] = {131, 7, 4, 127, 0, 0, 1, 0};
	/* RFC 8754: a segment list of one. */
	static const uint8_t segments[24] = {6, 2, 4, 0, 0, 0, 0, 0, [23] = 1};
	static const struct {
		const char *name;
		int level, option;
	} numbers[] = {
		{"SO_REUSEPORT", SOL_SOCKET, SO_REUSEPORT},
		{"SO_MARK", SOL_SOCKET, SO_MARK},
		{"SO_PRIORITY", SOL_SOCKET, SO_PRIORITY},
		{"SO_BINDTOIFINDEX", SOL_SOCKET, SO_BINDTOIFINDEX},
		{"IP_TRANSPARENT", IPPROTO_IP, IP_TRANSPARENT},
		{"IP_FREEBIND", IPPROTO_IP, IP_FREEBIND},
		{"IP_LOCAL_PORT_RANGE", IPPROTO_IP, 51},
		{"IPV6_ADDRFORM", IPPROTO_IPV6, IPV6_ADDRFORM},
		{"TCP_FASTOPEN", IPPROTO_TCP, TCP_FASTOPEN},
		{"TCP_FASTOPEN_CONNECT", IPPROTO_TCP, TCP_FASTOPEN_CONNECT},
		{"TCP_REPAIR", IPPROTO_TCP, TCP_REPAIR},
		{"TCP_ULP", IPPROTO_TCP, TCP_ULP},
	};
	static const int one = 1;

	for (unsigned i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		if (option_set(fd, numbers[i].level, numbers[i].option, &one, sizeof(one)))
			return numbers[i].name;
	if (option_set(fd, IPPROTO_IP, IP_OPTIONS, route, sizeof(route)))
		return "IP_OPTIONS";
	if (option_set(fd, IPPROTO_IPV6, IPV6_RTHDR, segments, sizeof(segments)))
		return "IPV6_RTHDR";
	if (option_set(fd, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3))
		return "SO_BINDTODEVICE";
	return NULL;
}

static const char *
reach_try(int fd, const union address *to)
{
	union address any = loopback(to->sa.sa_family, 0);

	if (connect(fd, &to->sa, address_len(to)) == 0 || errno != EPERM)
		return "connect";
	if (sendto(fd, "x", 1, MSG_FASTOPEN, &to->sa, address_len(to)) > 0 || errno != EPERM)
		return "sendto";
	if (bind(fd, &any.sa, address_len(&any)) == 0 || errno != EPERM)
		return "bind";
	return NULL;
}

/* Free of its peer, what can it do? The port at which it listens at the end goes to the parent. */
static const char *
attack(int fd, const union address *to, int parent)
{
	static const struct sockaddr nobody = {.sa_family = AF_UNSPEC};
	union address mapped = {.in6 = {.sin6_family = AF_INET6}}, own;
	const char *what;
	socklen_t len = sizeof(own);

	what = options_try(fd);
	if (what)
		return what;
	if (connect(fd, &to->sa, address_len(to)) == 0 || (errno != EISCONN && errno != EPERM))
		return "connect of a connected one";
	if (connect(fd, &nobody, sizeof(nobody)))
		return "AF_UNSPEC";
	what = options_try(fd);
	if (!what)
		what = reach_try(fd, to);
	if (!what && to->sa.sa_family == AF_INET6) {
		mapped.in6.sin6_port = to->in6.sin6_port;
		mapped.in6.sin6_addr =
			(struct in6_addr){{{[10] = 0xff, [11] = 0xff, [12] = 127, [15] = 1}}};
		what = reach_try(fd, &mapped);
	}
	if (what)
		return what;
	if (listen(fd, 8) || getsockname(fd, &own.sa, &len))
		return "listen";
	if (write(parent, &own, sizeof(own)) != sizeof(own))
		return "write";
	return NULL;
}

/* Nobody gets a connection to the hostile process's socket. */
static void
nobody_answers(union address *at)
{
	union address a = loopback(at->sa.sa_family, ntohs(at->in.sin_port));
	int fd = socket(at->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct pollfd p = {.fd = fd, .events = POLLOUT};

	CU_ASSERT_EQUAL(connect(fd, &a.sa, address_len(&a)), -1);
	CU_ASSERT_EQUAL(errno, EINPROGRESS);
	CU_ASSERT_EQUAL(poll(&p, 1, 100), 0);
	close(fd);
}

static void
hostile(int fd, int family)
{
	int go[2], said[2], stranger = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0), status;
	union address to, at;
	const char *what;
	pid_t pid;

	listen_at(stranger, family);
	to = name_of(stranger);
	CU_ASSERT_EQUAL_FATAL(pipe(go), 0);
	CU_ASSERT_EQUAL_FATAL(pipe(said), 0);
	pid = fork();
	CU_ASSERT_FATAL(pid >= 0);
	if (!pid) {
		char byte;

		close(go[1]);
		what = unshare(CLONE_NEWNET) ? "unshare" : attack(fd, &to, said[1]);
		if (what)
			fprintf(stderr, "not refused: %s (%s)\n", what, strerror(errno));
		close(said[1]);
		(void)!read(go[0], &byte, 1);
		_exit(what != NULL);
	}
	close(go[0]);
	close(said[1]);
	memset(&at, 0, sizeof(at));
	CU_ASSERT_EQUAL(read(said[0], &at, sizeof(at)), (ssize_t)sizeof(at));
	if (at.sa.sa_family == (sa_family_t)family)
		nobody_answers(&at);
	close(go[1]);
	CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
	CU_ASSERT_EQUAL(status, 0);
	close(said[0]);
	close(stranger);
}

/* ---- tests ---- */

static void
both_ends(int family)
{
	int ends[2];

	pair_make(&cage, family, ends);
	hostile(ends[0], family);
	hostile(ends[1], family);
	close(ends[0]);
	close(ends[1]);
}

static void
test_v4(void)
{
	both_ends(AF_INET);
}

static void
test_v6(void)
{
	both_ends(AF_INET6);
}

static void
test_bytes(void)
{
	static const int one = 1;
	int ends[2];
	char c = 0;

	pair_make(&cage, AF_INET, ends);
	for (unsigned i = 0; i < 2; i++) {
		CU_ASSERT_EQUAL(setsockopt(ends[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)),
				0);
		CU_ASSERT_EQUAL(write(ends[i], "x", 1), 1);
		CU_ASSERT_EQUAL(recv(ends[1 - i], &c, 1, MSG_WAITALL), 1);
		CU_ASSERT_EQUAL(c, 'x');
	}
	CU_ASSERT_EQUAL(shutdown(ends[0], SHUT_WR), 0);
	CU_ASSERT_EQUAL(read(ends[1], &c, 1), 0);
	close(ends[0]);
	close(ends[1]);
}

/* More open ones than the table has room for: refused, not forgotten. */
static void
test_many(void)
{
	int fds[TCP_CAGE_OPEN + 1], n = 0, fd = -1;

	while (n <= (int)TCP_CAGE_OPEN && (fd = tcp_cage_socket(&cage, AF_INET)) >= 0)
		fds[n++] = fd;
	CU_ASSERT(n > 0);
	CU_ASSERT(n <= (int)TCP_CAGE_OPEN);
	CU_ASSERT_EQUAL(fd, -EBUSY);
	while (n > 0) {
		tcp_cage_seal(&cage, fds[--n]);
		close(fds[n]);
	}
	fd = tcp_cage_socket(&cage, AF_INET);
	CU_ASSERT(fd >= 0);
	tcp_cage_seal(&cage, fd);
	close(fd);
}

static int
fd_receive(int sock)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(2 * sizeof(int))];
	struct iovec iov = {.iov_base = (char[1]){0}, .iov_len = 1};
	struct msghdr h = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = control,
			   .msg_controllen = sizeof(control)};
	int fd = -1;

	if (recvmsg(sock, &h, 0) == 1 && CMSG_FIRSTHDR(&h))
		memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&h)), sizeof(fd));
	return fd;
}

static void
fd_send(int sock, int fd)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {0};
	struct iovec iov = {.iov_base = (char[1]){0}, .iov_len = 1};
	struct msghdr h = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = control,
			   .msg_controllen = sizeof(control)};
	struct cmsghdr *c = CMSG_FIRSTHDR(&h);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	(void)!sendmsg(sock, &h, 0);
}

/* Who made the cage has been killed; then its cgroup is removed as well. */
static void
test_killed(void)
{
	struct tcp_cage other;
	int way[2], ends[2], fd[2], status;
	pid_t pid;

	CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, way), 0);
	pid = fork();
	CU_ASSERT_FATAL(pid >= 0);
	if (!pid) {
		if (tcp_cage_make(&other, "ff-cage-test-killed"))
			_exit(1);
		for (unsigned i = 0; i < 2; i++) {
			pair_make(&other, AF_INET, ends);
			fd_send(way[1], ends[i]);
		}
		for (;;)
			pause();
	}
	close(way[1]);
	fd[0] = fd_receive(way[0]);
	fd[1] = fd_receive(way[0]);
	close(way[0]);
	CU_ASSERT_EQUAL(kill(pid, SIGKILL), 0);
	CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
	CU_ASSERT_FATAL(fd[0] >= 0 && fd[1] >= 0);
	/* The peers were the dead process's: what is left is attacked as it is. */
	for (unsigned i = 0; i < 2; i++) {
		union address to = loopback(AF_INET, 9);

		if (i) {
			CU_ASSERT_EQUAL(tcp_cage_make(&other, "ff-cage-test-killed"), 0);
			tcp_cage_destroy(&other);
		}
		(void)connect(fd[i], &(struct sockaddr){.sa_family = AF_UNSPEC},
			      sizeof(struct sockaddr));
		CU_ASSERT_PTR_NULL(reach_try(fd[i], &to));
		CU_ASSERT_PTR_NULL(options_try(fd[i]));
		CU_ASSERT_EQUAL(listen(fd[i], 8), 0);
		to = name_of(fd[i]);
		nobody_answers(&to);
		close(fd[i]);
	}
}

/* With connections still there, another cage of the same name takes the place of the first. */
static void
test_again(void)
{
	int ends[2];

	pair_make(&cage, AF_INET, ends);
	tcp_cage_destroy(&cage);
	CU_ASSERT_EQUAL_FATAL(tcp_cage_make(&cage, name), 0);
	hostile(ends[0], AF_INET);
	hostile(ends[1], AF_INET);
	close(ends[0]);
	close(ends[1]);
}

static bool
loopback_up(void)
{
	struct ifreq r = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), rc;

	rc = ioctl(fd, SIOCSIFFLAGS, &r);
	close(fd);
	return rc == 0;
}

int
main(void)
{
	CU_TestInfo tests[] = {
		{"IPv4", test_v4},
		{"IPv6", test_v6},
		{"bytes", test_bytes},
		{"many", test_many},
		{"its maker has been killed", test_killed},
		{"another one in its place", test_again},
		CU_TEST_INFO_NULL,
	};
	CU_SuiteInfo suites[] = {{"tcp/cage", NULL, NULL, NULL, NULL, tests}, CU_SUITE_INFO_NULL};
	unsigned failed;

	if (geteuid() || unshare(CLONE_NEWNET) || !loopback_up()) {
		puts("needs root: namespaces, cgroups and BPF programs");
		return SKIP;
	}
	snprintf(name, sizeof(name), "ff-cage-test-%d", (int)getpid());
	if (tcp_cage_make(&cage, name)) {
		puts("the kernel has no cgroup2, or takes no BPF programs for it");
		return SKIP;
	}
	if (CU_initialize_registry() != CUE_SUCCESS || CU_register_suites(suites) != CUE_SUCCESS)
		return 1;
	CU_basic_set_mode(CU_BRM_VERBOSE);
	CU_basic_run_tests();
	failed = CU_get_number_of_failures();
	CU_cleanup_registry();
	tcp_cage_destroy(&cage);
	return failed != 0;
}
