/* SPDX-License-Identifier: MIT */
/* See peers.h: who comes to us. Control thread. */
#include "peers.h"

#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "../core/log.h"
#include "peers_priv.h"

#define ACCEPTS	   16u /* in one turn of the loop */
#define BACKLOG	   128
#define DEAD_MS	   10000u
#define ROOM_BYTES (8 << 20)

struct peers tcp_peers;

const char *const tcp_peers_counter_names[TCP_PEERS_COUNTERS] = {
	[TCP_PEERS_ACCEPTED] = "accepted",	 [TCP_PEERS_PROVEN] = "proven",
	[TCP_PEERS_SESSIONS] = "sessions",	 [TCP_PEERS_STRANGE] = "strangers",
	[TCP_PEERS_CROWDED_OUT] = "crowded_out", [TCP_PEERS_TOO_LATE] = "too_late",
	[TCP_PEERS_BAD_FRAMES] = "bad_frames",	 [TCP_PEERS_BAD_TOKENS] = "bad_tokens",
	[TCP_PEERS_DIAL_FAILED] = "dial_failed",
};

/* Whoever has connected to us. */
enum guest_state {
	GUEST_HELLO,  /* nothing said yet */
	GUEST_PROOF,  /* challenged */
	GUEST_FRAMES, /* a router */
};
struct guest {
	struct tcp_peer_in in;
	struct ff_source src;
	int fd;
	enum guest_state state;
	uint64_t since_ms;
	struct peer_buf buf;
	struct tcp_peer_hello hello;
	struct tcp_peer_challenge challenge;
	TAILQ_ENTRY(guest) link;
};
static TAILQ_HEAD(, guest) strangers = TAILQ_HEAD_INITIALIZER(strangers),
			   routers = TAILQ_HEAD_INITIALIZER(routers);
static unsigned num_strangers;
static struct ff_source listener;
static int listen_fd = -1;

/* ---- sockets ---- */

uint64_t
peer_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000u + (uint64_t)ts.tv_nsec / 1000000u;
}

int
peer_read(int fd, struct peer_buf *buf, uint32_t want)
{
	ssize_t n = recv(fd, buf->bytes + buf->have, want - buf->have, MSG_DONTWAIT);

	if (n == 0)
		return -ECONNRESET;
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	buf->have += (uint32_t)n;
	if (buf->have < want)
		return 0;
	buf->have = 0;
	return 1;
}

bool
peer_write(int fd, const void *p, size_t len)
{
	return send(fd, p, len, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)len;
}

socklen_t
peer_sockaddr(const uint8_t host[16], uint16_t port, struct sockaddr_storage *out)
{
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};

	memset(out, 0, sizeof(*out));
	memcpy(&in6.sin6_addr, host, 16);
	if (IN6_IS_ADDR_V4MAPPED(&in6.sin6_addr)) {
		memcpy(&in.sin_addr, host + 12, 4);
		memcpy(out, &in, sizeof(in));
		return sizeof(in);
	}
	memcpy(out, &in6, sizeof(in6));
	return sizeof(in6);
}

void
peer_host_of(int fd, uint8_t host[16])
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	struct sockaddr_storage sa = {0};
	socklen_t len = sizeof(sa);

	memset(host, 0, 16);
	if (getpeername(fd, (struct sockaddr *)&sa, &len))
		return;
	if (sa.ss_family == AF_INET) {
		memcpy(host, mapped, sizeof(mapped));
		memcpy(host + 12, &((struct sockaddr_in *)&sa)->sin_addr, 4);
	} else {
		memcpy(host, &((struct sockaddr_in6 *)&sa)->sin6_addr, 16);
	}
}

void
peer_options_set(int fd)
{
	static const int one = 1, idle_s = 5, each_s = 2, count = 3, dead_ms = DEAD_MS;

	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	(void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &each_s, sizeof(each_s));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &dead_ms, sizeof(dead_ms));
}

void
peer_room_set(int fd)
{
	static const int size = ROOM_BYTES, one = 1;

	/* The shims' words are short, and each waits for the other's. */
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	/* As much as we can get; the shims look how much it is. */
	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)))
		(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
}

/* ---- guests ---- */

/* Its descriptor is not closed. */
static void
guest_free(struct guest *g)
{
	ff_loop_del(&g->src);
	if (g->state == GUEST_FRAMES) {
		TAILQ_REMOVE(&routers, g, link);
		tcp_peers.conf.events->lost(&g->in);
	} else {
		TAILQ_REMOVE(&strangers, g, link);
		num_strangers--;
	}
	free(g);
}

static void
guest_close(struct guest *g, enum tcp_peers_counter why)
{
	int fd = g->fd;

	if (why < TCP_PEERS_COUNTERS)
		tcp_peers.counters[why]++;
	guest_free(g);
	close(fd);
}
#define ENDED TCP_PEERS_COUNTERS /* nothing to be counted */

static void
control_greet(struct guest *g)
{
	uint8_t nonce[TCP_PEER_NONCE];

	if (tcp_peer_random(nonce, sizeof(nonce))) {
		guest_close(g, ENDED);
		return;
	}
	tcp_peer_challenge_make(tcp_peers.conf.secret, &g->hello, tcp_peers.id, nonce,
				&g->challenge);
	g->state = GUEST_PROOF;
	if (!peer_write(g->fd, &g->challenge, sizeof(g->challenge)))
		guest_close(g, ENDED);
}

/* Behind the ready, the connection is the container's. */
static void
data_take(struct guest *g)
{
	const struct tcp_peers_events *events = tcp_peers.conf.events;
	const struct tcp_peer_session *s;
	struct tcp_peer_proof ready;
	void *claimed = NULL;
	const uint8_t *host;
	int fd = g->fd;

	s = peer_out_find(g->hello.id, &host);
	if (s && tcp_peer_data_check(s, &g->hello))
		claimed = events->claim(host, be64toh(g->hello.ref));
	if (!claimed) {
		guest_close(g, TCP_PEERS_BAD_TOKENS);
		return;
	}
	tcp_peer_ready_make(s, be64toh(g->hello.ref), &ready);
	guest_free(g);
	peer_room_set(fd);
	if (!peer_write(fd, &ready, sizeof(ready))) {
		close(fd);
		fd = -1;
	}
	events->granted(claimed, fd);
}

static void
hello_read(struct guest *g)
{
	int rc = peer_read(g->fd, &g->buf, sizeof(g->hello));
	uint32_t kind;

	if (rc == 0)
		return;
	memcpy(&g->hello, g->buf.bytes, sizeof(g->hello));
	if (rc < 0 || !tcp_peer_hello_check(&g->hello, &kind))
		guest_close(g, TCP_PEERS_STRANGE);
	else if (kind == TCP_PEER_CONTROL)
		control_greet(g);
	else
		data_take(g);
}

static void
proof_read(struct guest *g)
{
	int rc = peer_read(g->fd, &g->buf, sizeof(struct tcp_peer_proof));
	struct tcp_peer_proof p;

	if (rc == 0)
		return;
	memcpy(&p, g->buf.bytes, sizeof(p));
	if (rc < 0 || !tcp_peer_proof_check(tcp_peers.conf.secret, &g->hello, &g->challenge, &p)) {
		guest_close(g, TCP_PEERS_STRANGE);
		return;
	}
	tcp_peer_session_make(tcp_peers.conf.secret, &g->hello, &g->challenge, &g->in.session);
	peer_host_of(g->fd, g->in.host);
	peer_options_set(g->fd);
	TAILQ_REMOVE(&strangers, g, link);
	num_strangers--;
	g->state = GUEST_FRAMES;
	TAILQ_INSERT_TAIL(&routers, g, link);
	tcp_peers.counters[TCP_PEERS_PROVEN]++;
}

static void
frame_read(struct guest *g)
{
	int rc = peer_read(g->fd, &g->buf, sizeof(struct tcp_peer_frame));
	struct tcp_peer_frame f;

	if (rc == 0)
		return;
	memcpy(&f, g->buf.bytes, sizeof(f));
	if (rc < 0)
		guest_close(g, ENDED);
	else if (!tcp_peer_frame_check(&g->in.session, &f))
		guest_close(g, TCP_PEERS_BAD_FRAMES);
	else
		tcp_peers.conf.events->frame(&g->in, &f);
}

static void
guest_event(struct ff_source *src, uint32_t events)
{
	struct guest *g = src->arg;

	switch (g->state) {
	case GUEST_HELLO:
		hello_read(g);
		break;
	case GUEST_PROOF:
		proof_read(g);
		break;
	case GUEST_FRAMES:
		frame_read(g);
		break;
	}
}

static void
guest_new(int fd)
{
	struct guest *g = calloc(1, sizeof(*g));

	if (!g || ff_loop_add(&g->src, fd, EPOLLIN, guest_event, g)) {
		free(g);
		close(fd);
		return;
	}
	g->fd = fd;
	g->since_ms = peer_now_ms();
	TAILQ_INSERT_TAIL(&strangers, g, link);
	num_strangers++;
	tcp_peers.counters[TCP_PEERS_ACCEPTED]++;
	/* A router needs a moment; who fills the list up needs it for longer. */
	if (num_strangers > TCP_PEERS_STRANGERS)
		guest_close(TAILQ_FIRST(&strangers), TCP_PEERS_CROWDED_OUT);
}

static void
listener_event(struct ff_source *src, uint32_t events)
{
	int fd;

	for (unsigned i = 0; i < ACCEPTS; i++) {
		fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0)
			return;
		guest_new(fd);
	}
}

static void
tick(void *arg)
{
	uint64_t now = peer_now_ms();
	struct guest *g;

	while ((g = TAILQ_FIRST(&strangers)) && now - g->since_ms >= TCP_PEERS_STRANGE_MS)
		guest_close(g, TCP_PEERS_TOO_LATE);
	peer_out_tick(now);
}

/* ---- start and end ---- */

static int
listen_at(int family)
{
	static const uint8_t any4[16] = {[10] = 0xff, [11] = 0xff}, any6[16];
	const struct tcp_peers_conf *conf = &tcp_peers.conf;
	static const int one = 1, zero;
	struct sockaddr_storage sa;
	socklen_t len;
	int rc = 0;

	listen_fd = tcp_cage_socket(conf->cage, family);
	if (listen_fd < 0)
		return listen_fd;
	(void)setsockopt(listen_fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (family == AF_INET6 && !conf->address)
		(void)setsockopt(listen_fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero));
	len = peer_sockaddr(conf->address	 ? conf->address
			    : family == AF_INET6 ? any6
						 : any4,
			    conf->port, &sa);
	if (bind(listen_fd, (struct sockaddr *)&sa, len) || listen(listen_fd, BACKLOG))
		rc = -errno;
	if (!rc)
		rc = ff_loop_add(&listener, listen_fd, EPOLLIN, listener_event, NULL);
	if (!rc)
		return 0;
	tcp_cage_seal(conf->cage, listen_fd);
	close(listen_fd);
	listen_fd = -1;
	return rc;
}

static int
listen_start(void)
{
	const uint8_t *address = tcp_peers.conf.address;
	struct sockaddr_storage sa;
	int rc;

	if (address) {
		(void)peer_sockaddr(address, 0, &sa);
		return listen_at(sa.ss_family);
	}
	rc = listen_at(AF_INET6);
	/* A kernel without IPv6. */
	return rc == -EAFNOSUPPORT || rc == -EADDRNOTAVAIL ? listen_at(AF_INET) : rc;
}

int
tcp_peers_init(const struct tcp_peers_conf *conf)
{
	int rc;

	memset(&tcp_peers, 0, sizeof(tcp_peers));
	tcp_peers.conf = *conf;
	rc = tcp_peer_random(tcp_peers.id, sizeof(tcp_peers.id));
	if (!rc)
		rc = listen_start();
	if (rc)
		return rc;
	rc = ff_loop_timer_start(&tcp_peers.timer, TCP_PEERS_TICK_MS, tick, NULL);
	if (rc)
		tcp_peers_fini();
	return rc;
}

void
tcp_peers_fini(void)
{
	struct guest *g;

	if (listen_fd < 0)
		return;
	ff_loop_timer_stop(&tcp_peers.timer);
	ff_loop_del(&listener);
	tcp_cage_seal(tcp_peers.conf.cage, listen_fd);
	close(listen_fd);
	listen_fd = -1;
	while ((g = TAILQ_FIRST(&strangers)) || (g = TAILQ_FIRST(&routers)))
		guest_close(g, ENDED);
	peer_out_fini();
}

uint64_t
tcp_peers_count(enum tcp_peers_counter which)
{
	return tcp_peers.counters[which];
}

uint16_t
tcp_peers_port(void)
{
	struct sockaddr_storage sa = {0};
	socklen_t len = sizeof(sa);

	if (listen_fd < 0 || getsockname(listen_fd, (struct sockaddr *)&sa, &len))
		return 0;
	/* At the same place in both. NOLINTNEXTLINE(clang-analyzer-core.CallAndMessage) */
	return ntohs(((struct sockaddr_in *)&sa)->sin_port);
}
