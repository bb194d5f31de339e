/* SPDX-License-Identifier: MIT */
/* See peers.h: whom we dial. Control thread. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "../core/log.h"
#include "peers_priv.h"

#define DIAL_MS	    3000u
#define BACKOFF_MS  1000u
#define BACKOFF_MAX 30000u

/* A session to one host, from the first time that we have something to say. */
enum out_state {
	OUT_DOWN,
	OUT_CONNECTING,
	OUT_CHALLENGE, /* hello is said */
	OUT_UP,
};
struct out {
	uint8_t host[16];
	enum out_state state;
	struct ff_source src;
	int fd;
	uint64_t since_ms, retry_ms, backoff_ms;
	struct tcp_peer_hello hello;
	struct tcp_peer_session session;
	struct peer_buf buf;
	uint8_t *queue; /* of TCP_PEERS_QUEUE bytes; UP */
	uint32_t num_queued;
	bool told; /* since it is down, the log has said so */
	TAILQ_ENTRY(out) link;
};
static TAILQ_HEAD(, out) outs = TAILQ_HEAD_INITIALIZER(outs);
static unsigned num_outs, num_up;

struct tcp_peer_dial {
	struct ff_source src;
	int fd;
	bool connected;
	uint64_t since_ms, ref;
	struct tcp_peer_session session;
	struct peer_buf buf;
	uint8_t host[16];
	void *arg;
	TAILQ_ENTRY(tcp_peer_dial) link;
};
static TAILQ_HEAD(, tcp_peer_dial) dials = TAILQ_HEAD_INITIALIZER(dials);
static unsigned num_dials;

/* ---- connecting ---- */

static int
dial(const uint8_t host[16])
{
	struct sockaddr_storage sa;
	socklen_t len = peer_sockaddr(host, tcp_peers.conf.port, &sa);
	int fd = tcp_cage_socket(tcp_peers.conf.cage, sa.ss_family), rc;

	if (fd < 0)
		return fd;
	if (connect(fd, (struct sockaddr *)&sa, len) == 0 || errno == EINPROGRESS)
		return fd;
	rc = -errno;
	tcp_cage_seal(tcp_peers.conf.cage, fd);
	close(fd);
	return rc;
}

/* 0: it is connected, and sealed; -EINPROGRESS: not yet; or -errno. */
static int
dial_end(int fd, const uint8_t host[16])
{
	struct sockaddr_storage sa;
	socklen_t len = peer_sockaddr(host, tcp_peers.conf.port, &sa);

	/* The second call ends what the first has begun. */
	if (connect(fd, (struct sockaddr *)&sa, len))
		return errno == EALREADY ? -EINPROGRESS : -errno;
	tcp_cage_seal(tcp_peers.conf.cage, fd);
	return 0;
}

static void
dial_close(int fd)
{
	tcp_cage_seal(tcp_peers.conf.cage, fd);
	close(fd);
}

/* ---- sessions ---- */

static struct out *
out_of(const uint8_t host[16])
{
	struct out *o;

	TAILQ_FOREACH (o, &outs, link)
		if (!memcmp(o->host, host, 16))
			return o;
	return NULL;
}

const struct tcp_peer_session *
peer_out_find(const uint8_t id[TCP_PEER_ID], const uint8_t **host)
{
	struct out *o;

	TAILQ_FOREACH (o, &outs, link) {
		if (o->state != OUT_UP || memcmp(o->session.id, id, TCP_PEER_ID))
			continue;
		*host = o->host;
		return &o->session;
	}
	return NULL;
}

static void
out_down(struct out *o, int rc)
{
	char text[INET6_ADDRSTRLEN];

	if (o->state == OUT_DOWN)
		return;
	num_up -= o->state == OUT_UP;
	if (o->state != OUT_UP)
		tcp_peers.counters[TCP_PEERS_DIAL_FAILED]++;
	if (!o->told)
		ff_warn("tcp", "router of host %s: %s; said once",
			inet_ntop(AF_INET6, o->host, text, sizeof(text)), strerror(-rc));
	o->told = true;
	o->state = OUT_DOWN;
	ff_loop_del(&o->src);
	dial_close(o->fd);
	free(o->queue);
	o->queue = NULL;
	o->num_queued = 0;
	o->buf.have = 0;
	o->retry_ms = peer_now_ms() + o->backoff_ms;
	o->backoff_ms = o->backoff_ms * 2 < BACKOFF_MAX ? o->backoff_ms * 2 : BACKOFF_MAX;
}

static void
out_greet(struct out *o)
{
	uint8_t nonce[TCP_PEER_NONCE];
	int rc = dial_end(o->fd, o->host);

	if (rc == -EINPROGRESS)
		return;
	if (!rc)
		rc = tcp_peer_random(nonce, sizeof(nonce));
	if (!rc) {
		peer_options_set(o->fd);
		tcp_peer_hello_make(&o->hello, tcp_peers.id, nonce);
		o->state = OUT_CHALLENGE;
		rc = peer_write(o->fd, &o->hello, sizeof(o->hello)) ? 0 : -EIO;
	}
	if (!rc)
		rc = ff_loop_mod(&o->src, EPOLLIN);
	if (rc)
		out_down(o, rc);
}

static void
out_prove(struct out *o)
{
	int rc = peer_read(o->fd, &o->buf, sizeof(struct tcp_peer_challenge));
	struct tcp_peer_challenge c;
	struct tcp_peer_proof p;

	if (rc == 0)
		return;
	memcpy(&c, o->buf.bytes, sizeof(c));
	if (rc > 0 && !tcp_peer_challenge_check(tcp_peers.conf.secret, &o->hello, &c)) {
		tcp_peers.counters[TCP_PEERS_STRANGE]++;
		rc = -EKEYREJECTED;
	}
	if (rc > 0) {
		tcp_peer_proof_make(tcp_peers.conf.secret, &o->hello, &c, &p);
		tcp_peer_session_make(tcp_peers.conf.secret, &o->hello, &c, &o->session);
		rc = peer_write(o->fd, &p, sizeof(p)) ? 0 : -EIO;
	}
	if (!rc && !(o->queue = malloc(TCP_PEERS_QUEUE)))
		rc = -ENOMEM;
	if (rc) {
		out_down(o, rc);
		return;
	}
	o->state = OUT_UP;
	o->backoff_ms = BACKOFF_MS;
	o->told = false;
	num_up++;
	tcp_peers.counters[TCP_PEERS_SESSIONS]++;
	tcp_peers.conf.events->up(o->host);
}

/* The other side has nothing to say here: what comes is the end. */
static void
out_flush(struct out *o)
{
	uint32_t done = 0;
	uint8_t byte;
	ssize_t n;

	n = recv(o->fd, &byte, 1, MSG_DONTWAIT);
	if (n >= 0 || (errno != EAGAIN && errno != EINTR)) {
		out_down(o, n < 0 ? -errno : -ECONNRESET);
		return;
	}
	while (done < o->num_queued && (n = send(o->fd, o->queue + done, o->num_queued - done,
						 MSG_DONTWAIT | MSG_NOSIGNAL)) > 0)
		done += (uint32_t)n;
	memmove(o->queue, o->queue + done, o->num_queued - done);
	o->num_queued -= done;
	if (ff_loop_mod(&o->src, o->num_queued ? EPOLLIN | EPOLLOUT : EPOLLIN))
		out_down(o, -EIO);
}

static void
out_event(struct ff_source *src, uint32_t events)
{
	struct out *o = src->arg;

	if (o->state == OUT_CONNECTING)
		out_greet(o);
	else if (o->state == OUT_CHALLENGE)
		out_prove(o);
	else
		out_flush(o);
}

static void
out_dial(struct out *o)
{
	int fd = dial(o->host), rc;

	o->since_ms = peer_now_ms();
	if (fd < 0) {
		o->retry_ms = o->since_ms + o->backoff_ms;
		tcp_peers.counters[TCP_PEERS_DIAL_FAILED]++;
		return;
	}
	o->fd = fd;
	o->state = OUT_CONNECTING;
	rc = ff_loop_add(&o->src, fd, EPOLLOUT, out_event, o);
	if (rc)
		out_down(o, rc);
}

static struct out *
out_new(const uint8_t host[16])
{
	struct out *o = num_outs < TCP_PEERS_HOSTS ? calloc(1, sizeof(*o)) : NULL;

	if (!o)
		return NULL;
	memcpy(o->host, host, 16);
	o->fd = -1;
	o->backoff_ms = BACKOFF_MS;
	TAILQ_INSERT_TAIL(&outs, o, link);
	num_outs++;
	return o;
}

bool
tcp_peers_send(const uint8_t host[16], struct tcp_peer_frame *f)
{
	struct out *o = out_of(host);

	if (!o)
		o = out_new(host);
	if (!o)
		return false;
	if (o->state == OUT_DOWN && peer_now_ms() >= o->retry_ms)
		out_dial(o);
	if (o->state != OUT_UP)
		return false;
	if (sizeof(*f) > TCP_PEERS_QUEUE - o->num_queued) {
		/* It does not read; what is missing is said when there is a session again. */
		out_down(o, -ENOBUFS);
		return false;
	}
	tcp_peer_frame_seal(&o->session, f);
	memcpy(o->queue + o->num_queued, f, sizeof(*f));
	o->num_queued += (uint32_t)sizeof(*f);
	/* Not now: the caller may be in the middle of its list. */
	if (o->num_queued == sizeof(*f) && ff_loop_mod(&o->src, EPOLLIN | EPOLLOUT))
		out_down(o, -EIO);
	return true;
}

unsigned
tcp_peers_sessions(void)
{
	return num_up;
}

/* ---- connections for containers ---- */

static void
peer_dial_free(struct tcp_peer_dial *d)
{
	ff_loop_del(&d->src);
	TAILQ_REMOVE(&dials, d, link);
	num_dials--;
	free(d);
}

/* result: the descriptor is the user's; or -errno. */
static void
peer_dial_done(struct tcp_peer_dial *d, int result)
{
	void *arg = d->arg;

	if (result < 0) {
		dial_close(d->fd);
		tcp_peers.counters[TCP_PEERS_DIAL_FAILED]++;
	}
	peer_dial_free(d);
	tcp_peers.conf.events->dialled(arg, result);
}

static void
peer_dial_greet(struct tcp_peer_dial *d)
{
	int rc = dial_end(d->fd, d->host);
	struct tcp_peer_hello h;

	if (rc == -EINPROGRESS)
		return;
	if (!rc) {
		d->connected = true;
		peer_room_set(d->fd);
		tcp_peer_data_make(&d->session, d->ref, &h);
		rc = peer_write(d->fd, &h, sizeof(h)) ? 0 : -EIO;
	}
	if (!rc)
		rc = ff_loop_mod(&d->src, EPOLLIN);
	if (rc)
		peer_dial_done(d, rc);
}

static void
peer_dial_event(struct ff_source *src, uint32_t events)
{
	struct tcp_peer_dial *d = src->arg;
	struct tcp_peer_proof p;
	int rc;

	if (!d->connected) {
		peer_dial_greet(d);
		return;
	}
	rc = peer_read(d->fd, &d->buf, sizeof(p));
	if (rc == 0)
		return;
	memcpy(&p, d->buf.bytes, sizeof(p));
	if (rc > 0 && !tcp_peer_ready_check(&d->session, d->ref, &p))
		rc = -EKEYREJECTED;
	peer_dial_done(d, rc > 0 ? d->fd : rc);
}

int
tcp_peers_dial(const uint8_t host[16], const struct tcp_peer_in *from, uint64_t ref, void *arg,
	       struct tcp_peer_dial **out)
{
	struct tcp_peer_dial *d = num_dials < TCP_PEERS_DIALS ? calloc(1, sizeof(*d)) : NULL;
	int rc;

	if (!d)
		return -EBUSY;
	d->fd = dial(host);
	if (d->fd < 0) {
		rc = d->fd;
		free(d);
		return rc;
	}
	rc = ff_loop_add(&d->src, d->fd, EPOLLOUT, peer_dial_event, d);
	if (rc) {
		dial_close(d->fd);
		free(d);
		return rc;
	}
	memcpy(d->host, host, 16);
	d->session = from->session;
	d->ref = ref;
	d->arg = arg;
	d->since_ms = peer_now_ms();
	TAILQ_INSERT_TAIL(&dials, d, link);
	num_dials++;
	*out = d;
	return 0;
}

void
tcp_peers_dial_cancel(struct tcp_peer_dial *d)
{
	dial_close(d->fd);
	peer_dial_free(d);
}

/* ---- time ---- */

void
peer_out_tick(uint64_t now_ms)
{
	struct tcp_peer_dial *d;
	struct out *o;

	while ((d = TAILQ_FIRST(&dials)) && now_ms - d->since_ms >= DIAL_MS)
		peer_dial_done(d, -ETIMEDOUT);
	TAILQ_FOREACH (o, &outs, link) {
		if ((o->state == OUT_CONNECTING || o->state == OUT_CHALLENGE) &&
		    now_ms - o->since_ms >= DIAL_MS)
			out_down(o, -ETIMEDOUT);
		else if (o->state == OUT_DOWN && now_ms >= o->retry_ms)
			out_dial(o);
	}
}

void
peer_out_fini(void)
{
	struct tcp_peer_dial *d;
	struct out *o;

	while ((d = TAILQ_FIRST(&dials)))
		peer_dial_done(d, -ESHUTDOWN);
	while ((o = TAILQ_FIRST(&outs))) {
		/* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): the one before it has left */
		o->told = true;
		out_down(o, 0);
		TAILQ_REMOVE(&outs, o, link);
		num_outs--;
		free(o);
	}
}
