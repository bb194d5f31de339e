/* SPDX-License-Identifier: MIT */
/* memif-bridge/control.c: a connection's life, both roles, and messages that are none. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fixture.h"

static struct ff_memif_conf srv_conf, cli_conf;

static void
connects(void)
{
	struct pair p;
	unsigned fds;

	memif_kick_init(); /* one descriptor, for good */
	fds = count_fds();
	pair_open(&p, NULL, NULL);
	CU_ASSERT_EQUAL(ff_memif_state(p.srv), FF_MEMIF_CONNECTED);
	CU_ASSERT_EQUAL(ff_memif_state(p.cli), FF_MEMIF_CONNECTED);
	CU_ASSERT_STRING_EQUAL(ff_memif_reason(p.srv), "");
	CU_ASSERT_EQUAL(ff_memif_num_rings(p.srv, true), 2);
	CU_ASSERT_EQUAL(ff_memif_num_rings(p.srv, false), 1);
	CU_ASSERT_EQUAL(ff_memif_num_rings(p.cli, true), 2);
	CU_ASSERT_PTR_NOT_NULL(ff_memif_ring_get(p.srv, true, 1));
	CU_ASSERT_PTR_NULL(ff_memif_ring_get(p.srv, true, 2));
	CU_ASSERT_PTR_NULL(ff_memif_ring_get(p.cli, false, 1));
	CU_ASSERT_EQUAL(ff_memif_wait_connected(p.cli, 0), 0);
	pair_close(&p);
	CU_ASSERT_EQUAL(count_fds(), fds);
}

static void
largest(void)
{
	struct pair p;

	srv_conf = conf_of(FF_MEMIF_SERVER);
	cli_conf = conf_of(FF_MEMIF_CLIENT);
	srv_conf.num_s2m_rings = srv_conf.num_m2s_rings = FF_MEMIF_MAX_RINGS;
	cli_conf.num_s2m_rings = cli_conf.num_m2s_rings = FF_MEMIF_MAX_RINGS;
	srv_conf.log2_ring_size = cli_conf.log2_ring_size = FF_MEMIF_MAX_LOG2_RING;
	pair_open(&p, &srv_conf, &cli_conf);
	CU_ASSERT_EQUAL(ff_memif_state(p.cli), FF_MEMIF_CONNECTED);
	CU_ASSERT_EQUAL(ff_memif_num_rings(p.srv, true), FF_MEMIF_MAX_RINGS);
	CU_ASSERT_EQUAL(ff_memif_num_rings(p.srv, false), FF_MEMIF_MAX_RINGS);
	pair_close(&p);
}

/* The peer is told, keeps its rings mapped until it lets go, and gives the reason. */
static void
disconnects(void)
{
	struct ff_memif_ring *r;
	struct ff_memif_desc d;
	struct pair p;

	pair_open(&p, NULL, NULL);
	r = ff_memif_ring_get(p.srv, true, 0);
	ff_memif_destroy(p.cli);
	CU_ASSERT_EQUAL(ff_memif_process(p.srv), -ECONNRESET);
	CU_ASSERT_EQUAL(ff_memif_state(p.srv), FF_MEMIF_CLOSED);
	CU_ASSERT_STRING_EQUAL(ff_memif_reason(p.srv), "peer disconnected: closed");
	CU_ASSERT_PTR_NULL(ff_memif_ring_get(p.srv, true, 0));
	CU_ASSERT_EQUAL(ff_memif_ring_consume(r, &d, 1), 0);
	p.cli = NULL;
	pair_close(&p);

	pair_open(&p, NULL, NULL);
	ff_memif_destroy(p.srv);
	CU_ASSERT_EQUAL(ff_memif_process(p.cli), -ECONNRESET);
	p.srv = NULL;
	pair_close(&p);
}

/* A peer that dies says nothing. */
static void
end_of_file(void)
{
	struct memif_msg msg = msg_init();
	struct raw r;

	srv_conf = conf_of(FF_MEMIF_SERVER);
	for (int step = 0; step < 3; step++) {
		raw_open(&r, &srv_conf);
		if (step > 0)
			raw_ask(&r, &msg, -1);
		if (step > 1) {
			struct memif_msg region = msg_region(0, 4096);
			int fd = make_memfd(4096, F_SEAL_SHRINK, NULL);

			while (raw_recv(&r, NULL) >= 0)
				;
			CU_ASSERT_EQUAL(raw_ask(&r, &region, fd), MEMIF_MSG_TYPE_ACK);
			close(fd);
		}
		shutdown(r.sock, SHUT_RDWR);
		CU_ASSERT_EQUAL(ff_memif_process(r.m), -ECONNRESET);
		CU_ASSERT_STRING_EQUAL(ff_memif_reason(r.m), "peer is gone");
		raw_close(&r);
	}
}

static void
bad_sizes(void)
{
	static const size_t sizes[] = {1, 2, 127, 129, 4096};
	char buf[4096] = {MEMIF_MSG_TYPE_INIT};
	struct raw r;

	srv_conf = conf_of(FF_MEMIF_SERVER);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		raw_open(&r, &srv_conf);
		CU_ASSERT_EQUAL(send(r.sock, buf, sizes[i], 0), (ssize_t)sizes[i]);
		CU_ASSERT_EQUAL(ff_memif_process(r.m), -EPROTO);
		CU_ASSERT_STRING_EQUAL(ff_memif_reason(r.m), "message of wrong size");
		raw_close(&r);
	}
}

/* However many descriptors come, none is left open. */
static void
many_fds(void)
{
	union {
		char buf[CMSG_SPACE(40 * sizeof(int))];
		struct cmsghdr align;
	} ctl;
	struct memif_msg msg = msg_region(0, 4096), init = msg_init();
	unsigned before = count_fds();

	srv_conf = conf_of(FF_MEMIF_SERVER);
	for (size_t n = 2; n <= 40; n++) {
		struct iovec iov = {.iov_base = &msg, .iov_len = sizeof(msg)};
		struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = ctl.buf};
		struct raw r;

		memset(&ctl, 0, sizeof(ctl));
		mh.msg_controllen = CMSG_SPACE(n * sizeof(int));
		ctl.align.cmsg_level = SOL_SOCKET;
		ctl.align.cmsg_type = SCM_RIGHTS;
		ctl.align.cmsg_len = CMSG_LEN(n * sizeof(int));
		raw_open(&r, &srv_conf);
		raw_ask(&r, &init, -1);
		CU_ASSERT_EQUAL(sendmsg(r.sock, &mh, 0), sizeof(msg)); /* n times descriptor 0 */
		CU_ASSERT_EQUAL(ff_memif_process(r.m), -EPROTO);
		CU_ASSERT_STRING_EQUAL(ff_memif_reason(r.m), "too many descriptors in a message");
		raw_close(&r);
	}
	CU_ASSERT_EQUAL(count_fds(), before);
}

static void
unexpected_fd(void)
{
	struct memif_msg msg = msg_init();
	unsigned before = count_fds();
	struct raw r;

	srv_conf = conf_of(FF_MEMIF_SERVER);
	raw_open(&r, &srv_conf);
	CU_ASSERT_EQUAL(raw_recv(&r, NULL), MEMIF_MSG_TYPE_HELLO);
	raw_expect_refused(&r, &msg, 0, "unexpected descriptor");
	raw_close(&r);
	CU_ASSERT_EQUAL(count_fds(), before);
}

/* The reason of a peer has no end and is full of terminal codes. */
static void
hostile_reason(void)
{
	struct memif_msg msg = {.type = MEMIF_MSG_TYPE_DISCONNECT};
	struct raw r;

	srv_conf = conf_of(FF_MEMIF_SERVER);
	memset(&msg.disconnect.string, 0x1b, MEMIF_DISC_STRING_SZ);
	msg.disconnect.string[0] = 'x';
	raw_open(&r, &srv_conf);
	CU_ASSERT_EQUAL(raw_recv(&r, NULL), MEMIF_MSG_TYPE_HELLO);
	raw_send(&r, &msg, -1);
	CU_ASSERT_EQUAL(ff_memif_process(r.m), -ECONNREFUSED);
	CU_ASSERT_EQUAL(strlen(ff_memif_reason(r.m)),
			strlen("peer disconnected: ") + MEMIF_DISC_STRING_SZ);
	CU_ASSERT_PTR_NOT_NULL(strstr(ff_memif_reason(r.m), "x????"));
	CU_ASSERT_PTR_NULL(strchr(ff_memif_reason(r.m), 0x1b));
	CU_ASSERT_EQUAL(raw_recv(&r, NULL), -1);
	raw_close(&r);
}

/* A client that never reads is not waited for. */
static void
deaf_client(void)
{
	struct memif_msg init = msg_init(), region;
	int fd = make_memfd(4096, F_SEAL_SHRINK, NULL), one = 1;
	struct raw r;

	srv_conf = conf_of(FF_MEMIF_SERVER);
	raw_open(&r, &srv_conf);
	setsockopt(r.m->sock, SOL_SOCKET, SO_SNDBUF, &one, sizeof(one));
	raw_send(&r, &init, -1);
	for (unsigned i = 0; i < FF_MEMIF_MAX_REGIONS; i++) {
		region = msg_region(i, 4096);
		raw_send(&r, &region, fd);
		if (ff_memif_process(r.m) < 0)
			break;
	}
	CU_ASSERT_EQUAL(ff_memif_state(r.m), FF_MEMIF_CLOSED);
	CU_ASSERT_PTR_NOT_NULL(strstr(ff_memif_reason(r.m), "sending failed"));
	raw_close(&r);
	close(fd);
}

static void
times_out(void)
{
	struct raw r;

	cli_conf = conf_of(FF_MEMIF_CLIENT);
	raw_open(&r, &cli_conf);
	CU_ASSERT_EQUAL(ff_memif_wait_connected(r.m, 20), -ETIMEDOUT);
	CU_ASSERT_EQUAL(ff_memif_state(r.m), FF_MEMIF_INIT);
	shutdown(r.sock, SHUT_RDWR);
	CU_ASSERT_EQUAL(ff_memif_wait_connected(r.m, 5000), -ECONNRESET);
	raw_close(&r);
}

/* The child of a fork may destroy its copy; the parent's connection goes on. */
static void
fork_child(void)
{
	struct ff_memif_desc d = {.region = 0xffff, .metadata = 42};
	struct pair p;
	pid_t pid;
	int status = -1;

	pair_open(&p, NULL, NULL);
	pid = fork();
	if (pid == 0) {
		ff_memif_destroy(p.cli);
		ff_memif_destroy(p.srv);
		_exit(0);
	}
	CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
	CU_ASSERT_EQUAL(status, 0);
	CU_ASSERT_EQUAL(ff_memif_process(p.srv), 0);
	CU_ASSERT_EQUAL(ff_memif_process(p.cli), 0);
	CU_ASSERT_EQUAL(ff_memif_ring_produce(ff_memif_ring_get(p.cli, true, 0), &d, 1, false), 1);
	d.metadata = 0;
	CU_ASSERT_EQUAL(ff_memif_ring_consume(ff_memif_ring_get(p.srv, true, 0), &d, 1), 1);
	CU_ASSERT_EQUAL(d.metadata, 42);
	pair_close(&p);
}

/* Out of a program's way, and still the same connection. */
static void
moved_fds(void)
{
	struct ff_memif_desc d = {.region = 0xffff, .metadata = 42};
	struct ff_memif_ring *tx, *rx;
	unsigned before;
	struct pair p;

	pair_open(&p, NULL, NULL);
	before = count_fds();
	CU_ASSERT_EQUAL(ff_memif_move_fds(p.cli, 700), 0);
	CU_ASSERT_EQUAL(count_fds(), before);
	CU_ASSERT(ff_memif_fd(p.cli) >= 700);
	CU_ASSERT(fcntl(ff_memif_fd(p.cli), F_GETFD) & FD_CLOEXEC);
	tx = ff_memif_ring_get(p.cli, true, 1);
	rx = ff_memif_ring_get(p.srv, true, 1);
	CU_ASSERT(ff_memif_ring_eventfd(tx) >= 700);
	CU_ASSERT_EQUAL(ff_memif_ring_produce(tx, &d, 1, false), 1);
	ff_memif_ring_notify(tx);
	CU_ASSERT_EQUAL(
		poll(&(struct pollfd){.fd = ff_memif_ring_eventfd(rx), .events = POLLIN}, 1, 0), 1);
	CU_ASSERT_EQUAL(ff_memif_ring_consume(rx, &d, 1), 1);
	pair_pump(&p);
	CU_ASSERT_EQUAL(ff_memif_state(p.srv), FF_MEMIF_CONNECTED);
	pair_close(&p);
}

/* The socket is closed also when the configuration is refused. */
static void
bad_conf(void)
{
	struct ff_memif_conf bad[5];
	struct ff_memif *m;
	unsigned before = count_fds();

	for (int i = 0; i < 5; i++)
		bad[i] = conf_of(FF_MEMIF_CLIENT);
	bad[0].num_s2m_rings = FF_MEMIF_MAX_RINGS + 1;
	bad[1].num_m2s_rings = FF_MEMIF_MAX_RINGS + 1;
	bad[2].log2_ring_size = FF_MEMIF_MAX_LOG2_RING + 1;
	bad[3].num_s2m_rings = bad[3].num_m2s_rings = 0;
	bad[4].role = (enum ff_memif_role)9;
	for (int i = 0; i < 5; i++) {
		int sv[2];

		CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sv), 0);
		CU_ASSERT_EQUAL(ff_memif_create(&m, sv[0], &bad[i]), -EINVAL);
		close(sv[1]);
	}
	CU_ASSERT_EQUAL(count_fds(), before);
	cli_conf = conf_of(FF_MEMIF_CLIENT);
	CU_ASSERT_EQUAL(ff_memif_create(&m, -1, &cli_conf), -EBADF);
	ff_memif_destroy(NULL);
}

int
main(void)
{
	static const struct test tests[] = {
		{"connects", connects},
		{"largest", largest},
		{"disconnects", disconnects},
		{"end of file", end_of_file},
		{"messages of bad size", bad_sizes},
		{"many descriptors", many_fds},
		{"unexpected descriptor", unexpected_fd},
		{"hostile reason", hostile_reason},
		{"client that does not read", deaf_client},
		{"times out", times_out},
		{"child of fork", fork_child},
		{"moved descriptors", moved_fds},
		{"bad configuration", bad_conf},
	};

	return run_tests("memif control", tests, sizeof(tests) / sizeof(tests[0]));
}
