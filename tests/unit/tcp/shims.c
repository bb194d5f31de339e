/* SPDX-License-Identifier: MIT */
/* See shims.h. */
#include "shims.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/config.h"

#define PATIENCE_MS 20000

int
shims_main(const char *suite, const struct harness_test *tests, unsigned n)
{
	if (unshare(CLONE_NEWNET) ||
	    system("ip link set lo up && ip address add 10.32.0.1/32 dev lo && "
		   "ip address add 10.32.0.2/32 dev lo")) {
		fprintf(stderr, "no network namespace of its own: %s\n", strerror(errno));
		return SKIP;
	}
	ff_config.streams = FF_STREAMS_LOCAL;
	ff_tcp_init();
	return harness_main(suite, tests, n);
}

/* ---- containers ---- */

struct add_call {
	struct ff_container_conf conf;
	char err[256];
	int rc;
};

static void
add_on_control(void *arg)
{
	struct add_call *c = arg;

	c->rc = ff_container_add(&c->conf, c->err, sizeof(c->err));
}

int
container_make(const char *id, const char *address, const char *netns)
{
	struct add_call c = {.rc = 0};

	snprintf(c.conf.id, sizeof(c.conf.id), "%s", id);
	snprintf(c.conf.tenant, sizeof(c.conf.tenant), "t");
	snprintf(c.conf.netns, sizeof(c.conf.netns), "%s", netns);
	snprintf(c.conf.addresses[0], sizeof(c.conf.addresses[0]), "%s", address);
	c.conf.num_addresses = 1;
	harness_control(add_on_control, &c);
	return c.rc;
}

void
containers_make(void)
{
	CU_ASSERT_EQUAL_FATAL(container_make("c1", "10.32.0.1", "/proc/self/ns/net"), 0);
	CU_ASSERT_EQUAL_FATAL(container_make("c2", "10.32.0.2", "/proc/self/ns/net"), 0);
}

void
containers_drop(void)
{
	(void)harness_del("c1");
	(void)harness_del("c2");
}

struct stats_call {
	const char *id;
	struct ff_tcp_stats stats;
};

static void
stats_on_control(void *arg)
{
	struct stats_call *c = arg;
	const struct ff_container *k = ff_container_find(c->id);

	if (k && ff_tcp_stats(k))
		c->stats = *ff_tcp_stats(k);
}

struct ff_tcp_stats
stats_of(const char *id)
{
	struct stats_call c = {.id = id};

	harness_control(stats_on_control, &c);
	return c.stats;
}

void
expect_refusals(const char *id, enum ff_tcp_refusal why, uint64_t times)
{
	for (int i = 0; i < PATIENCE_MS && stats_of(id).refused[why] < times; i++)
		usleep(1000);
	CU_ASSERT_EQUAL(stats_of(id).refused[why], times);
}

void
expect_forgotten(const char *id)
{
	struct ff_tcp_stats s = stats_of(id);

	for (int i = 0; i < PATIENCE_MS && s.conns; i++) {
		usleep(1000);
		s = stats_of(id);
	}
	CU_ASSERT_EQUAL(s.conns, 0);
	CU_ASSERT_EQUAL(s.streams, 0);
	CU_ASSERT_EQUAL(s.offers, 0);
	CU_ASSERT_EQUAL(s.delayed, 0);
}

struct limit_call {
	const char *id;
	enum ff_quota q;
	uint64_t limit;
};

static void
limit_on_control(void *arg)
{
	const struct limit_call *c = arg;

	ff_container_find(c->id)->limits[c->q] = c->limit;
}

void
limit_set(const char *id, enum ff_quota q, uint64_t limit)
{
	struct limit_call c = {id, q, limit};

	harness_control(limit_on_control, &c);
}

/* ---- programs ---- */

static struct sockaddr_in
address(const char *text)
{
	struct sockaddr_in sin = {.sin_family = AF_INET};

	inet_pton(AF_INET, text, &sin.sin_addr);
	return sin;
}

void
tcp_connect(int fd[2])
{
	struct sockaddr_in from = address("10.32.0.1"), to = address("10.32.0.2");
	socklen_t len = sizeof(to);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	CU_ASSERT_EQUAL_FATAL(bind(listener, (struct sockaddr *)&to, len), 0);
	CU_ASSERT_EQUAL_FATAL(listen(listener, 1), 0);
	CU_ASSERT_EQUAL_FATAL(getsockname(listener, (struct sockaddr *)&to, &len), 0);
	fd[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CU_ASSERT_EQUAL_FATAL(bind(fd[0], (struct sockaddr *)&from, sizeof(from)), 0);
	CU_ASSERT_EQUAL_FATAL(connect(fd[0], (struct sockaddr *)&to, sizeof(to)), 0);
	fd[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	CU_ASSERT_TRUE_FATAL(fd[1] >= 0);
	close(listener);
}

int
shim_say(int sock, uint32_t type, uint32_t stream, uint32_t value, int fd)
{
	const struct ff_tcp_msg m = {.type = type, .stream = stream, .value = value};

	return client_send_raw(sock, &m, sizeof(m), &fd, fd >= 0);
}

int
shim_open(const char *id)
{
	int sock = client_connect(id, FF_TCP_SOCK);

	CU_ASSERT_TRUE_FATAL(sock >= 0);
	CU_ASSERT_EQUAL(shim_say(sock, FF_TCP_HELLO, 0, FF_TCP_ABI_VERSION, -1), 0);
	return sock;
}

int
shim_hear(int sock, struct heard *h)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(h->fds))];
	struct iovec iov = {&h->m, sizeof(h->m)};
	struct msghdr mh = {.msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = control,
			    .msg_controllen = sizeof(control)};
	struct pollfd p = {.fd = sock, .events = POLLIN};
	struct cmsghdr *c;
	ssize_t n;

	memset(h->fds, 0xff, sizeof(h->fds));
	if (poll(&p, 1, PATIENCE_MS) != 1)
		return -ETIMEDOUT;
	n = recvmsg(sock, &mh, MSG_CMSG_CLOEXEC);
	if (n != (ssize_t)sizeof(h->m))
		return n && errno != ECONNRESET ? -EPROTO : -ECONNRESET;
	c = CMSG_FIRSTHDR(&mh);
	if (c && c->cmsg_type == SCM_RIGHTS)
		memcpy(h->fds, CMSG_DATA(c), c->cmsg_len - CMSG_LEN(0));
	return 0;
}

void
heard_close(struct heard *h)
{
	for (unsigned i = 0; i < FF_TCP_OFFER_FDS; i++)
		if (h->fds[i] >= 0)
			close(h->fds[i]);
}

void
expect_heard(int sock, uint32_t type, uint32_t stream, struct heard *h)
{
	struct heard own;

	if (!h)
		h = &own;
	CU_ASSERT_EQUAL_FATAL(shim_hear(sock, h), 0);
	CU_ASSERT_EQUAL(h->m.type, type);
	CU_ASSERT_EQUAL(h->m.stream, stream);
	CU_ASSERT_EQUAL(h->fds[FF_TCP_OFFER_FDS - 1] >= 0, type == FF_TCP_OFFER);
	if (h == &own)
		heard_close(h);
}

void
expect_refused(int sock, uint32_t stream, int error)
{
	struct heard h;

	expect_heard(sock, FF_TCP_REFUSED, stream, &h);
	CU_ASSERT_EQUAL(h.m.value, (uint32_t)error);
}

void
expect_closed(int sock)
{
	struct heard h;
	int rc;

	while (!(rc = shim_hear(sock, &h)))
		heard_close(&h);
	CU_ASSERT_EQUAL(rc, -ECONNRESET);
}
