/* SPDX-License-Identifier: MIT */
/*
 * A container that does its worst to tcp.sock hurts nobody but itself: what it passes may block
 * whom closes it or looks at it, or be more than there is room for.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "shims.h"

static struct tcp_bounds usual;

static void
begin(void)
{
	usual = tcp_bounds;
	containers_make();
}

static void
end(void)
{
	expect_forgotten("c1");
	expect_forgotten("c2");
	containers_drop();
	tcp_bounds = usual;
}

/* c2 is served, whatever c1 does. */
static void
expect_c2_served(void)
{
	int sock = shim_open("c2");

	shim_say(sock, FF_TCP_ASK, 1, 0, STDIN_FILENO);
	expect_refused(sock, 1, EPROTOTYPE);
	close(sock);
}

/* ---- what blocks ---- */

/* Sends from memory that is not there until somebody puts it there, and holds the socket's lock. */
struct held {
	int uffd, tcp[2];
	void *memory;
	pthread_t sender;
};

static void *
held_send(void *arg)
{
	struct held *h = arg;

	(void)!send(h->tcp[0], h->memory, 4096, 0);
	return NULL;
}

static bool
held_try(struct held *h)
{
	struct uffdio_api api = {.api = UFFD_API};
	struct uffdio_register reg = {.mode = UFFDIO_REGISTER_MODE_MISSING};
	struct uffd_msg msg;

	h->uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	if (h->uffd < 0 || ioctl(h->uffd, UFFDIO_API, &api))
		return false;
	h->memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	reg.range = (struct uffdio_range){(uintptr_t)h->memory, 4096};
	if (ioctl(h->uffd, UFFDIO_REGISTER, &reg))
		return false;
	tcp_connect(h->tcp);
	if (pthread_create(&h->sender, NULL, held_send, h))
		return false;
	return read(h->uffd, &msg, sizeof(msg)) == sizeof(msg); /* it waits */
}

static bool
held_make(struct held *h)
{
	if (held_try(h))
		return true;
	printf("skipped: no userfaultfd ... ");
	return false;
}

static void
held_end(struct held *h)
{
	struct uffdio_zeropage zero = {.range = {(uintptr_t)h->memory, 4096}};

	CU_ASSERT_EQUAL(ioctl(h->uffd, UFFDIO_ZEROPAGE, &zero), 0);
	pthread_join(h->sender, NULL);
	close(h->uffd);
	munmap(h->memory, 4096);
}

static void
held_close(const struct held *h)
{
	close(h->tcp[0]);
	close(h->tcp[1]);
}

/* A connection whose peer reads nothing, full, and lingering: close() waits for an hour. */
static int
lingering(int *peer)
{
	struct linger l = {.l_onoff = 1, .l_linger = 3600};
	static char much[1 << 16];
	int tcp[2];

	tcp_connect(tcp);
	while (send(tcp[0], much, sizeof(much), MSG_DONTWAIT) > 0)
		;
	CU_ASSERT_EQUAL(setsockopt(tcp[0], SOL_SOCKET, SO_LINGER, &l, sizeof(l)), 0);
	*peer = tcp[1];
	return tcp[0];
}

/* Nobody but the router has it: its reader has not come to it yet. */
static void
lingering_pass(int sock, uint32_t stream, int *peer)
{
	int fd = lingering(peer);

	CU_ASSERT_EQUAL(shim_say(sock, FF_TCP_ASK, stream, 0, fd), 0);
	close(fd);
}

static void
test_linger(void)
{
	int sock, peers[4];
	struct held h;

	if (!held_make(&h))
		return;
	begin();
	sock = shim_open("c1");
	shim_say(sock, FF_TCP_ASK, 4, 0, h.tcp[0]);
	for (unsigned i = 0; i < 4; i++)
		lingering_pass(sock, i, &peers[i]);
	held_end(&h);
	expect_c2_served();
	/* Its own reader is through with them soon, too. */
	for (int i = 0; i < 20000 && stats_of("c1").streams < 5; i++)
		usleep(1000);
	CU_ASSERT_EQUAL(stats_of("c1").streams, 5);
	shim_say(sock, FF_TCP_ASK, 9, 0, STDIN_FILENO);
	expect_refused(sock, 9, EPROTOTYPE);
	held_close(&h);
	for (unsigned i = 0; i < 4; i++)
		close(peers[i]);
	close(sock);
	end();
}

/* Passed, and never looked at: it is in a queue that is closed. */
static void
test_linger_unread(void)
{
	const struct ff_tcp_msg bad = {.type = UINT32_MAX};
	int sock, peers[3];
	struct held h;

	if (!held_make(&h))
		return;
	begin();
	sock = shim_open("c1");
	shim_say(sock, FF_TCP_ASK, 0, 0, h.tcp[0]);
	client_send_raw(sock, &bad, sizeof(bad), NULL, 0);
	lingering_pass(sock, 1, &peers[0]);
	held_end(&h);
	expect_closed(sock);
	held_close(&h);
	close(sock);
	CU_ASSERT_TRUE(held_make(&h));
	sock = shim_open("c1");
	shim_say(sock, FF_TCP_ASK, 0, 0, h.tcp[0]);
	lingering_pass(sock, 1, &peers[1]);
	lingering_pass(sock, 2, &peers[2]);
	CU_ASSERT_EQUAL(harness_del("c1"), 0);
	held_end(&h);
	expect_c2_served();
	expect_closed(sock);
	held_close(&h);
	for (unsigned i = 0; i < 3; i++)
		close(peers[i]);
	close(sock);
	end();
}

static void
test_held_lock(void)
{
	struct pollfd p = {.events = POLLIN};
	struct held h;
	int sock;

	if (!held_make(&h))
		return;
	begin();
	sock = p.fd = shim_open("c1");
	shim_say(sock, FF_TCP_ASK, 1, 0, h.tcp[0]);
	shim_say(sock, FF_TCP_ASK, 2, 0, STDIN_FILENO);
	expect_c2_served();
	/* No signal helps its own reader; it is left behind when the container goes. */
	CU_ASSERT_EQUAL(poll(&p, 1, 300), 0);
	CU_ASSERT_EQUAL(harness_del("c1"), 0);
	expect_c2_served();
	CU_ASSERT_EQUAL(container_make("c1", "10.32.0.1", "/proc/self/ns/net"), 0);
	held_end(&h);
	expect_closed(sock);
	held_close(&h);
	close(sock);
	sock = shim_open("c1");
	shim_say(sock, FF_TCP_ASK, 2, 0, STDIN_FILENO);
	expect_refused(sock, 2, EPROTOTYPE);
	close(sock);
	end();
}

/* ---- what is too much ---- */

static void
test_many_connections(void)
{
	int sock[9];

	usual = tcp_bounds;
	tcp_bounds.conns = 8;
	containers_make();
	for (unsigned i = 0; i < 8; i++)
		sock[i] = shim_open("c1");
	sock[8] = client_connect("c1", FF_TCP_SOCK);
	expect_closed(sock[8]);
	expect_refusals("c1", FF_TCP_REFUSED_CONNECTIONS, 1);
	expect_c2_served();
	close(sock[8]);
	/* Whoever leaves makes room. */
	close(sock[3]);
	for (int i = 0; i < 20000 && stats_of("c1").conns > 7; i++)
		usleep(1000);
	sock[3] = shim_open("c1");
	shim_say(sock[3], FF_TCP_ASK, 1, 0, STDIN_FILENO);
	expect_refused(sock[3], 1, EPROTOTYPE);
	for (unsigned i = 0; i < 8; i++)
		close(sock[i]);
	end();
}

static void
test_silent(void)
{
	int sock[3], greeted;

	usual = tcp_bounds;
	tcp_bounds.hello_ms = 200;
	containers_make();
	greeted = shim_open("c1");
	for (unsigned i = 0; i < 3; i++)
		sock[i] = client_connect("c1", FF_TCP_SOCK);
	for (unsigned i = 0; i < 3; i++) {
		expect_closed(sock[i]);
		close(sock[i]);
	}
	expect_refusals("c1", FF_TCP_REFUSED_SILENT, 3);
	/* Whoever has said HELLO may then be silent. */
	shim_say(greeted, FF_TCP_ASK, 1, 0, STDIN_FILENO);
	expect_refused(greeted, 1, EPROTOTYPE);
	close(greeted);
	end();
}

static void
test_many_streams(void)
{
	int sock, tcp[4][2];

	begin();
	limit_set("c1", FF_QUOTA_STREAMS, 3);
	sock = shim_open("c1");
	for (unsigned i = 0; i < 4; i++) {
		tcp_connect(tcp[i]);
		shim_say(sock, FF_TCP_ASK, i, 0, tcp[i][0]);
	}
	expect_refused(sock, 3, ENOBUFS);
	CU_ASSERT_EQUAL(stats_of("c1").refused[FF_TCP_REFUSED_LIMIT], 1);
	shim_say(sock, FF_TCP_FORGET, 1, 0, -1);
	shim_say(sock, FF_TCP_ASK, 5, 0, tcp[3][0]);
	shim_say(sock, FF_TCP_ASK, 9, 0, STDIN_FILENO);
	expect_refused(sock, 9, EPROTOTYPE);
	CU_ASSERT_EQUAL(stats_of("c1").streams, 3);
	for (unsigned i = 0; i < 4; i++) {
		close(tcp[i][0]);
		close(tcp[i][1]);
	}
	close(sock);
	end();
}

/* More than may be under way at once wait for their turn, and get it. */
static void
test_many_offers(void)
{
	int sock[2], tcp[6][2];
	unsigned seen = 0;
	struct heard h;

	usual = tcp_bounds;
	tcp_bounds.offers = 2;
	containers_make();
	sock[0] = shim_open("c1");
	sock[1] = shim_open("c2");
	for (unsigned i = 0; i < 6; i++) {
		tcp_connect(tcp[i]);
		shim_say(sock[0], FF_TCP_ASK, i, 0, tcp[i][0]);
		shim_say(sock[1], FF_TCP_ASK, i, 0, tcp[i][1]);
	}
	for (int i = 0; i < 20000 && stats_of("c1").streams + stats_of("c2").streams < 12; i++)
		usleep(1000);
	CU_ASSERT_EQUAL(stats_of("c1").offers, 2);
	CU_ASSERT_EQUAL(stats_of("c2").offers, 2);
	for (unsigned i = 0; i < 6; i++) {
		CU_ASSERT_EQUAL(shim_hear(sock[0], &h), 0);
		heard_close(&h);
		expect_heard(sock[1], FF_TCP_OFFER, h.m.stream, NULL);
		CU_ASSERT_FALSE(seen & 1u << h.m.stream);
		seen |= 1u << h.m.stream;
		/* In either order. */
		shim_say(sock[i & 1], FF_TCP_FORGET, h.m.stream, 0, -1);
		shim_say(sock[!(i & 1)], FF_TCP_FORGET, h.m.stream, 0, -1);
	}
	CU_ASSERT_EQUAL(seen, 0x3f);
	for (unsigned i = 0; i < 6; i++) {
		close(tcp[i][0]);
		close(tcp[i][1]);
	}
	close(sock[0]);
	close(sock[1]);
	end();
}

/* A shim that reads nothing keeps nobody waiting, nor the descriptors that it does not fetch. */
static void
test_reads_nothing(void)
{
	int sock = -1, rc;

	begin();
	sock = shim_open("c1");
	for (uint32_t i = 0; i < 2000; i++) {
		rc = shim_say(sock, FF_TCP_ASK, i, 0, STDIN_FILENO);
		CU_ASSERT_EQUAL(rc, 0);
	}
	expect_refusals("c1", FF_TCP_REFUSED_SOCKET, 2000);
	expect_c2_served();
	close(sock);
	end();
}

static void
test_many_files(void)
{
	struct ff_tcp_msg m = {.type = FF_TCP_ASK};
	char control[CMSG_SPACE(253 * sizeof(int))] = {0};
	struct iovec iov = {&m, sizeof(m)};
	struct msghdr mh = {.msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = control,
			    .msg_controllen = sizeof(control)};
	struct cmsghdr *c = CMSG_FIRSTHDR(&mh);
	int sock, peer, fd;
	struct held h;

	if (!held_make(&h))
		return;
	begin();
	fd = lingering(&peer);
	sock = shim_open("c1");
	shim_say(sock, FF_TCP_ASK, 0, 0, h.tcp[0]);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(253 * sizeof(int));
	for (unsigned i = 0; i < 253; i++)
		memcpy(CMSG_DATA(c) + i * sizeof(fd), &fd, sizeof(fd));
	CU_ASSERT_EQUAL(sendmsg(sock, &mh, 0), (ssize_t)sizeof(m));
	close(fd);
	held_end(&h);
	expect_closed(sock);
	expect_refusals("c1", FF_TCP_REFUSED_PROTOCOL, 1);
	expect_c2_served();
	held_close(&h);
	close(peer);
	close(sock);
	end();
}

int
main(void)
{
	static const struct harness_test tests[] = {
		{"a socket that lingers", test_linger},
		{"one that lingers in a queue", test_linger_unread},
		{"a socket that is locked", test_held_lock},
		{"too many connections", test_many_connections},
		{"no HELLO", test_silent},
		{"too many streams", test_many_streams},
		{"too many offers", test_many_offers},
		{"a shim that reads nothing", test_reads_nothing},
		{"too many files at once", test_many_files},
	};

	return shims_main("tcp/hostile", tests, sizeof(tests) / sizeof(tests[0]));
}
