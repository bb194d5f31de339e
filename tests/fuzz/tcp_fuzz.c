/* SPDX-License-Identifier: MIT */
/*
 * Shims of two containers that say anything to tcp.sock, with any descriptors, in any order, while
 * policy, addresses and limits change: the readers and the control thread's part, turn by turn on
 * one thread. At the end nothing may be left, no descriptor either.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "../../dataplane/core/log.h"
#include "../../dataplane/tcp/host.h"
#include "../../dataplane/tcp/reader_priv.h"

#define CONTAINERS 2u
#define SHIMS	   4u /* of each container */
#define TCPS	   4u

static struct {
	struct ff_container c;
	struct ff_tenant *tenant;
	bool has_address;
	struct tcp_reader *reader;
	struct ff_source *src;
	struct sockaddr_un name;
	socklen_t name_len;
	int shims[SHIMS]; /* -1: none */
} world[CONTAINERS];
static struct ff_tenant tenant, other_tenant;
static int tcps[TCPS][2];
static uint8_t gids[CONTAINERS][16];
static uint64_t netns;
static bool allowed, netns_known;
static const struct ff_container_service *service;
static unsigned starting;

/* ---- what is around the folder ---- */

struct ff_config ff_config;

void
ff_log(enum ff_log_level level, const char *component, const char *fmt, ...)
{
}

uint64_t
ff_now_ns(void)
{
	return 1;
}

int
ff_container_netns(const struct ff_container *c)
{
	return -1;
}

/* Nothing between hosts. */
bool
tcp_host_is_on(void)
{
	return false;
}

bool
tcp_host_is_confined(int netns_fd)
{
	return false;
}

bool
tcp_host_ask(struct tcp_stream *s)
{
	return false;
}

void
tcp_host_forget(struct tcp_stream *s)
{
}

void
ff_container_service_set(const struct ff_container_service *s)
{
	service = s;
}

bool
ff_container_has_gid(const struct ff_container *c, const uint8_t gid[16])
{
	unsigned i = c == &world[1].c;

	return world[i].has_address && !memcmp(gids[i], gid, 16);
}

struct ff_container *
ff_container_by_gid(const struct ff_tenant *t, const uint8_t gid[16])
{
	for (unsigned i = 0; i < CONTAINERS; i++)
		if (world[i].c.tenant == t && ff_container_has_gid(&world[i].c, gid))
			return &world[i].c;
	return NULL;
}

uint64_t
ff_container_netns_cookie(const struct ff_container *c)
{
	return netns_known ? netns : 0;
}

bool
ff_policy_allows(const struct ff_container *a, const struct ff_container *b)
{
	return allowed && a->tenant == b->tenant;
}

int
ff_quota_take(struct ff_container *c, enum ff_quota q, uint64_t amount)
{
	if (c->used[q] + amount > c->limits[q])
		return -ENOMEM;
	c->used[q] += amount;
	return 0;
}

void
ff_quota_give(struct ff_container *c, enum ff_quota q, uint64_t amount)
{
	if (amount > c->used[q])
		abort();
	c->used[q] -= amount;
}

void
ff_rights_refuse(int fd)
{
}

int
ff_loop_add(struct ff_source *s, int fd, uint32_t events, ff_source_fn fn, void *arg)
{
	*s = (struct ff_source){.fd = fd, .fn = fn, .arg = arg, .added = true};
	world[starting].src = s;
	return 0;
}

void
ff_loop_del(struct ff_source *s)
{
	s->added = false;
	for (unsigned i = 0; i < CONTAINERS; i++)
		if (world[i].src == s)
			world[i].src = NULL;
}

void
tcp_revoke(const uint8_t guid[8])
{
}

void
reader_interrupt_arm(struct tcp_reader *r)
{
}

void
reader_interrupt_disarm(struct tcp_reader *r)
{
}

int
tcp_reader_start(int listen_fd, int *channel)
{
	int ends[2];
	struct tcp_reader *r;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends))
		abort();
	r = reader_alloc(listen_fd, ends[1]);
	if (!r || reader_begin(r))
		abort();
	world[starting].reader = r;
	*channel = ends[0];
	return 0;
}

/* ---- the world ---- */

static void
tcps_make(void)
{
	struct sockaddr_in from = {.sin_family = AF_INET}, to = from;
	socklen_t len = sizeof(to);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	inet_pton(AF_INET, "127.0.0.1", &from.sin_addr);
	inet_pton(AF_INET, "127.0.0.2", &to.sin_addr);
	for (unsigned i = 0; i < CONTAINERS; i++) {
		gids[i][10] = gids[i][11] = 0xff;
		memcpy(gids[i] + 12, i ? &to.sin_addr : &from.sin_addr, 4);
	}
	if (bind(listener, (struct sockaddr *)&to, len) || listen(listener, TCPS) ||
	    getsockname(listener, (struct sockaddr *)&to, &len))
		abort();
	for (unsigned i = 0; i < TCPS; i++) {
		tcps[i][0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (bind(tcps[i][0], (struct sockaddr *)&from, sizeof(from)) ||
		    connect(tcps[i][0], (struct sockaddr *)&to, sizeof(to)))
			abort();
		tcps[i][1] = accept(listener, NULL, NULL);
	}
	close(listener);
	len = sizeof(netns);
	if (getsockopt(tcps[0][0], SOL_SOCKET, 71 /* SO_NETNS_COOKIE */, &netns, &len))
		abort();
}

static void
container_up(unsigned i)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	world[i].name_len = sizeof(world[i].name);
	if (bind(fd, (struct sockaddr *)&sun, sizeof(sa_family_t)) || listen(fd, SHIMS) ||
	    getsockname(fd, (struct sockaddr *)&world[i].name, &world[i].name_len))
		abort();
	memset(&world[i].c, 0, sizeof(world[i].c));
	world[i].c.tenant = &tenant;
	world[i].c.limits[FF_QUOTA_STREAMS] = 8;
	world[i].has_address = true;
	memset(world[i].shims, 0xff, sizeof(world[i].shims));
	starting = i;
	if (service->start(&world[i].c, fd))
		abort();
}

static void
container_down(unsigned i)
{
	const struct ff_tcp_stats *s = ff_tcp_stats(&world[i].c);

	if (!s)
		abort();
	world[i].c.removing = true;
	service->stop(&world[i].c, true);
	if (world[i].c.used[FF_QUOTA_STREAMS] || world[i].src)
		abort();
	while (tcp_reader_pass(world[i].reader, 0))
		;
	reader_end(world[i].reader);
	reader_free(world[i].reader);
	for (unsigned k = 0; k < SHIMS; k++)
		if (world[i].shims[k] >= 0)
			close(world[i].shims[k]);
}

/* As much as there is for the reader, then for the control thread. */
static void
turn(unsigned i)
{
	const struct ff_tcp_stats *s = ff_tcp_stats(&world[i].c);
	char byte;

	(void)tcp_reader_pass(world[i].reader, 0);
	while (recv(world[i].src->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0)
		world[i].src->fn(world[i].src, 1);
	if (s->offers > s->streams || s->delayed > s->streams ||
	    s->streams != world[i].c.used[FF_QUOTA_STREAMS] || s->conns > SHIMS + 1)
		abort();
}

/* ---- the input ---- */

struct input {
	const uint8_t *p;
	size_t len;
};

static uint8_t
byte_get(struct input *in)
{
	if (!in->len)
		return 0;
	in->len--;
	return *in->p++;
}

static void
shim_connect(int *shim, unsigned i, bool greets)
{
	const struct ff_tcp_msg hello = {.type = FF_TCP_HELLO, .value = FF_TCP_ABI_VERSION};

	if (*shim >= 0)
		close(*shim);
	*shim = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	/* The backlog may be full. */
	if (connect(*shim, (struct sockaddr *)&world[i].name, world[i].name_len)) {
		close(*shim);
		*shim = -1;
	} else if (greets) {
		(void)!send(*shim, &hello, sizeof(hello), MSG_NOSIGNAL);
	}
}

static void
shim_send(int shim, const void *buf, size_t len, const int *fds, unsigned num)
{
	char control[CMSG_SPACE(4 * sizeof(int))] = {0};
	struct iovec iov = {(void *)buf, len};
	struct msghdr h = {.msg_iov = &iov, .msg_iovlen = 1};
	struct cmsghdr *c = (struct cmsghdr *)control;

	if (num) {
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(num * sizeof(int));
		memcpy(CMSG_DATA(c), fds, num * sizeof(int));
		h.msg_control = control;
		h.msg_controllen = CMSG_SPACE(num * sizeof(int));
	}
	(void)!sendmsg(shim, &h, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* What a sound shim would say, but for when. */
static void
shim_say(struct input *in, unsigned i, int shim)
{
	uint8_t what = byte_get(in), pick = byte_get(in);
	struct ff_tcp_msg m = {.type = FF_TCP_ASK + what % 3, .stream = pick & 7};
	int fd = tcps[(pick >> 3) % TCPS][what & 8 ? !i : i];

	shim_send(shim, &m, sizeof(m), &fd, m.type == FF_TCP_ASK);
}

static void
shim_shout(struct input *in, unsigned i, int shim)
{
	uint8_t buf[32], len = byte_get(in) & 31, num = byte_get(in);
	const int fds[4] = {shim, tcps[0][i], STDIN_FILENO, tcps[1][i]};

	for (uint8_t k = 0; k < len; k++)
		buf[k] = byte_get(in);
	shim_send(shim, buf, len, fds, num % 5);
}

static void
shim_hear(int shim)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(8 * sizeof(int))];
	struct ff_tcp_msg m;
	struct iovec iov = {&m, sizeof(m)};
	struct msghdr h = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = control,
			   .msg_controllen = sizeof(control)};
	ssize_t n = recvmsg(shim, &h, MSG_DONTWAIT);
	struct cmsghdr *c = n > 0 ? CMSG_FIRSTHDR(&h) : NULL;
	int fd;

	if (n > 0 && (n != sizeof(m) || m.type < FF_TCP_POKE || m.type > FF_TCP_REFUSED ||
		      !c != (m.type != FF_TCP_OFFER)))
		abort();
	for (unsigned i = 0; c && i < FF_TCP_OFFER_FDS; i++) {
		memcpy(&fd, CMSG_DATA(c) + i * sizeof(fd), sizeof(fd));
		close(fd);
	}
}

static void
surroundings(struct input *in, unsigned i)
{
	uint8_t what = byte_get(in);

	allowed = !(what & 1);
	netns_known = !(what & 2);
	world[i].has_address = !(what & 4);
	world[i].c.tenant = what & 8 ? &other_tenant : &tenant;
	world[i].c.limits[FF_QUOTA_STREAMS] = what & 16 ? 2 : 8;
	tcp_bounds.offers = what & 32 ? 4 : 1;
}

static void
step(struct input *in)
{
	uint8_t op = byte_get(in);
	unsigned i = op >> 7;
	int *shim = &world[i].shims[(op >> 5) % SHIMS];

	switch (op & 15) {
	case 0:
	case 1:
		shim_connect(shim, i, true);
		break;
	case 2:
		shim_connect(shim, i, false);
		break;
	case 3:
		if (*shim >= 0)
			close(*shim);
		*shim = -1;
		break;
	case 4:
		shim_shout(in, i, *shim);
		break;
	case 5:
		surroundings(in, i);
		break;
	case 6:
	case 7:
		shim_hear(*shim);
		break;
	case 8:
	case 9:
	case 10:
		turn(i);
		break;
	default:
		shim_say(in, i, *shim);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct input in = {data, len};
	int before, after;

	if (!service) {
		ff_config.streams = FF_STREAMS_LOCAL;
		ff_tcp_init();
		tcps_make();
	}
	tcp_bounds = (struct tcp_bounds){.conns = SHIMS - 1, .hello_ms = 100000, .offers = 1};
	allowed = netns_known = true;
	before = dup(STDIN_FILENO);
	close(before);
	for (unsigned i = 0; i < CONTAINERS; i++)
		container_up(i);
	while (in.len)
		step(&in);
	for (unsigned i = 0; i < CONTAINERS; i++)
		turn(i);
	for (unsigned i = 0; i < CONTAINERS; i++)
		container_down(i);
	after = dup(STDIN_FILENO);
	close(after);
	if (after != before)
		abort();
	return 0;
}
