/* SPDX-License-Identifier: MIT */
/*
 * The ends whose shims have asked, by the addresses of their connections: where two fit together,
 * both get a socket pair and a page to meet in. Control thread.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include <rte_jhash.h>

#include "../core/log.h"
#include "tcp_priv.h"

#define BUCKETS 4096u /* a power of two */

TAILQ_HEAD(bucket, tcp_stream);
static struct bucket buckets[BUCKETS];
static uint32_t seed; /* containers choose ports, but not what they hash to */

static struct bucket *
bucket_of(const struct tcp_tuple *t)
{
	if (!seed) {
		while (getrandom(&seed, sizeof(seed), 0) != sizeof(seed) || !seed)
			;
		for (unsigned i = 0; i < BUCKETS; i++)
			TAILQ_INIT(&buckets[i]);
	}
	return &buckets[rte_jhash(t, sizeof(*t), seed) % BUCKETS];
}

static struct tcp_tuple
reversed(const struct tcp_tuple *t)
{
	struct tcp_tuple r = {.local_port = t->remote_port, .remote_port = t->local_port};

	memcpy(r.local, t->remote, sizeof(r.local));
	memcpy(r.remote, t->local, sizeof(r.remote));
	return r;
}

static struct tcp_stream *
waiting_find(const struct ff_tenant *tenant, const struct tcp_tuple *t)
{
	struct tcp_stream *s;

	TAILQ_FOREACH (s, bucket_of(t), of_bucket)
		if (!s->peer && s->conn->container->tenant == tenant &&
		    !memcmp(&s->tuple, t, sizeof(*t)))
			return s;
	return NULL;
}

struct tcp_stream *
tcp_stream_find(struct tcp_conn *cn, uint32_t id)
{
	struct tcp_stream *s;

	/* The newest first: what is said of one is mostly said soon. */
	TAILQ_FOREACH (s, &cn->streams, of_conn)
		if (s->id == id)
			return s;
	return NULL;
}

/* ---- the offer ---- */

struct offer {
	int ends[2];
	int page;
};

static void
offer_close(struct offer *o)
{
	for (unsigned i = 0; i < 2; i++)
		if (o->ends[i] >= 0)
			close(o->ends[i]);
	if (o->page >= 0)
		close(o->page);
}

static int
page_make(void)
{
	int fd = memfd_create("freeflow-tcp", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0)
		return -errno;
	if (!ftruncate(fd, FF_TCP_MEMORY) &&
	    !fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
		return fd;
	close(fd);
	return -EIO;
}

static int
offer_make(struct offer *o)
{
	static const int size = FF_TCP_END_BUFFER;

	*o = (struct offer){{-1, -1}, -1};
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, o->ends))
		return -errno;
	/* As much as we can get; the shims look how much it is. */
	for (unsigned i = 0; i < 2; i++)
		if (setsockopt(o->ends[i], SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)))
			(void)setsockopt(o->ends[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	o->page = page_make();
	if (o->page >= 0)
		return 0;
	offer_close(o);
	return o->page;
}

static bool
offer_send(struct tcp_stream *s, const struct offer *o, unsigned side)
{
	const int fds[FF_TCP_OFFER_FDS] = {o->ends[side], o->ends[1 - side], o->page};

	return tcp_conn_send(s->conn, FF_TCP_OFFER, s->id, side, fds, FF_TCP_OFFER_FDS);
}

/* Both are told, or both are not: one that waits alone gives up by itself. */
static void
pair_up(struct tcp_stream *a, struct tcp_stream *b)
{
	struct offer o;
	int rc = offer_make(&o);

	if (!rc) {
		if (offer_send(a, &o, 0) && offer_send(b, &o, 1)) {
			a->peer = b;
			b->peer = a;
			ff_container_count(a->conn->container, FF_CC_TCP_OFFERED, 1);
			ff_container_count(b->conn->container, FF_CC_TCP_OFFERED, 1);
		}
		offer_close(&o);
	}
	if (rc)
		ff_warn("tcp", "no pair for a stream of container %s: %s", a->conn->container->id,
			strerror(-rc));
}

/* ---- asking ---- */

/* 0, or why there will never be anything for this connection. */
static int
ask_check(const struct tcp_conn *cn, const struct tcp_tuple *t)
{
	const struct ff_container *c = cn->container, *other;

	if (!ff_container_has_gid(c, t->local))
		return -EADDRNOTAVAIL;
	other = ff_container_by_gid(c->tenant, t->remote);
	if (!other)
		return -EHOSTUNREACH;
	return ff_policy_allows(c, other) ? 0 : -EACCES;
}

void
tcp_stream_ask(struct tcp_conn *cn, uint32_t id, int fd)
{
	struct tcp_tuple tuple, wanted;
	struct tcp_stream *s = NULL, *peer;
	int rc;

	memset(&tuple, 0, sizeof(tuple));
	rc = tcp_socket_look(fd, &tuple);
	if (!rc)
		rc = ask_check(cn, &tuple);
	if (!rc && cn->num_streams == TCP_STREAMS_MAX)
		rc = -ENOBUFS;
	if (!rc && !(s = calloc(1, sizeof(*s))))
		rc = -ENOMEM;
	ff_container_count(cn->container, rc ? FF_CC_TCP_REFUSED : FF_CC_TCP_ASKED, 1);
	if (rc) {
		(void)tcp_conn_send(cn, FF_TCP_REFUSED, id, (uint32_t)-rc, NULL, 0);
		/* cppcheck-suppress memleak ; s is the last that can fail */
		return;
	}
	s->conn = cn;
	s->id = id;
	s->tuple = tuple;
	wanted = reversed(&tuple);
	peer = waiting_find(cn->container->tenant, &wanted);
	TAILQ_INSERT_HEAD(&cn->streams, s, of_conn);
	TAILQ_INSERT_HEAD(bucket_of(&tuple), s, of_bucket);
	cn->num_streams++;
	if (peer)
		pair_up(peer, s);
}

void
tcp_stream_forget(struct tcp_stream *s)
{
	if (s->peer)
		s->peer->peer = NULL;
	TAILQ_REMOVE(&s->conn->streams, s, of_conn);
	TAILQ_REMOVE(bucket_of(&s->tuple), s, of_bucket);
	s->conn->num_streams--;
	free(s);
}

void
tcp_stream_poke(struct tcp_stream *s)
{
	if (s->peer)
		(void)tcp_conn_send(s->peer->conn, FF_TCP_POKE, s->peer->id, 0, NULL, 0);
}
