/* SPDX-License-Identifier: MIT */
/*
 * The ends whose shims have asked, by the addresses of their connections: where two fit together,
 * both get a socket pair and a page to meet in. Control thread.
 */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "../core/log.h"
#include "../core/worker.h"
#include "host.h"
#include "tcp_priv.h"

#define of_node(n, member) \
	((struct tcp_stream *)(void *)((char *)(n)-offsetof(struct tcp_stream, member)))

/* Of all containers. */
static struct tcp_index ids, tuples, cookies;

/* ---- finding ---- */

struct id_key {
	uint64_t conn; /* its address: unique as long as it is there */
	uint32_t id, zero;
};

static uint32_t
id_hash(const struct tcp_conn *cn, uint32_t id)
{
	const struct id_key key = {(uintptr_t)cn, id, 0};

	return tcp_hash(&key, sizeof(key));
}

struct tcp_stream *
tcp_stream_find(struct tcp_conn *cn, uint32_t id)
{
	struct tcp_node *n = tcp_index_first(&ids, id_hash(cn, id));

	for (; n; n = tcp_index_next(n)) {
		struct tcp_stream *s = of_node(n, by_id);

		if (s->conn == cn && s->id == id)
			return s;
	}
	return NULL;
}

static struct tcp_tuple
reversed(const struct tcp_tuple *t)
{
	struct tcp_tuple r;

	memset(&r, 0, sizeof(r));
	r.local_port = t->remote_port;
	r.remote_port = t->local_port;
	memcpy(r.local, t->remote, sizeof(r.local));
	memcpy(r.remote, t->local, sizeof(r.remote));
	return r;
}

/* The other end of s, if its shim has asked and been offered nothing. */
static struct tcp_stream *
waiting_find(const struct tcp_stream *s)
{
	struct tcp_tuple wanted = reversed(&s->tuple);
	struct tcp_node *n = tcp_index_first(&tuples, tcp_hash(&wanted, sizeof(wanted)));

	for (; n; n = tcp_index_next(n)) {
		struct tcp_stream *other = of_node(n, by_tuple);

		if (!other->offered && other != s &&
		    other->conn->container->tenant == s->conn->container->tenant &&
		    !memcmp(&other->tuple, &wanted, sizeof(wanted)))
			return other;
	}
	return NULL;
}

static bool
is_known(uint64_t cookie)
{
	struct tcp_node *n = tcp_index_first(&cookies, tcp_hash(&cookie, sizeof(cookie)));

	while (n && of_node(n, by_cookie)->cookie != cookie)
		n = tcp_index_next(n);
	return n;
}

/* ---- whether ---- */

/* Looking at all processes takes its time. */
#define CONFINED_MS 10000u

static bool
is_confined(const struct ff_container *c)
{
	struct tcp_container *t = c->service;
	uint64_t now = ff_now_ns() / 1000000u;

	if (!t)
		return false;
	if (!t->looked_ms || now - t->looked_ms > CONFINED_MS) {
		t->confined = tcp_host_is_confined(ff_container_netns(c));
		t->looked_ms = now;
	}
	return t->confined;
}

static enum ff_tcp_refusal
host_check(const struct ff_container *c)
{
	if (!tcp_host_is_on() || !c->tenant->vni)
		return FF_TCP_REFUSED_PEER;
	return is_confined(c) ? FF_TCP_NOT_REFUSED : FF_TCP_REFUSED_PRIVILEGED;
}

/* What holds for a connection now, and may not tomorrow: asked again at the offer. */
static enum ff_tcp_refusal
ends_check(const struct ff_container *c, const struct tcp_tuple *t)
{
	const struct ff_container *other;

	if (!ff_container_has_gid(c, t->local))
		return FF_TCP_REFUSED_ADDRESS;
	other = ff_container_by_gid(c->tenant, t->remote);
	if (!other)
		return host_check(c);
	return ff_policy_allows(c, other) && ff_policy_allows(other, c) ? FF_TCP_NOT_REFUSED
									: FF_TCP_REFUSED_POLICY;
}

static enum ff_tcp_refusal
ask_check(const struct tcp_conn *cn, const struct tcp_look *look)
{
	uint64_t netns = ff_container_netns_cookie(cn->container);

	if (look->rc)
		return look->rc == -EPROTOTYPE ? FF_TCP_REFUSED_SOCKET : FF_TCP_REFUSED_STATE;
	/* Anybody can make a namespace, and any connection in it. */
	if (!netns || look->netns_cookie != netns || !look->cookie)
		return FF_TCP_REFUSED_NAMESPACE;
	if (is_known(look->cookie))
		return FF_TCP_REFUSED_DUPLICATE;
	return ends_check(cn->container, &look->tuple);
}

static int
refusal_errno(enum ff_tcp_refusal why)
{
	static const int errnos[FF_TCP_REFUSAL_MAX] = {
		[FF_TCP_REFUSED_SOCKET] = EPROTOTYPE, [FF_TCP_REFUSED_STATE] = ENOTCONN,
		[FF_TCP_REFUSED_NAMESPACE] = EXDEV,   [FF_TCP_REFUSED_ADDRESS] = EADDRNOTAVAIL,
		[FF_TCP_REFUSED_PEER] = EHOSTUNREACH, [FF_TCP_REFUSED_POLICY] = EACCES,
		[FF_TCP_REFUSED_PRIVILEGED] = EPERM,  [FF_TCP_REFUSED_DUPLICATE] = EALREADY,
		[FF_TCP_REFUSED_LIMIT] = ENOBUFS,     [FF_TCP_REFUSED_MEMORY] = ENOMEM,
	};

	return errnos[why] ? errnos[why] : EPERM;
}

static void
refuse(struct tcp_conn *cn, uint32_t id, enum ff_tcp_refusal why)
{
	tcp_refuse(cn->owner, why);
	ff_container_count(cn->container, FF_CC_TCP_REFUSED, 1);
	(void)tcp_conn_send(cn, FF_TCP_REFUSED, id, (uint32_t)refusal_errno(why), NULL, 0);
}

/* ---- the offer ---- */

static void
delay(struct tcp_stream *s)
{
	struct tcp_container *t = s->conn->owner;

	if (s->delayed)
		return;
	s->delayed = true;
	t->stats.delayed++;
	TAILQ_INSERT_TAIL(&t->delayed, s, of_delayed);
}

static void
undelay(struct tcp_stream *s)
{
	struct tcp_container *t = s->conn->owner;

	if (!s->delayed)
		return;
	s->delayed = false;
	t->stats.delayed--;
	TAILQ_REMOVE(&t->delayed, s, of_delayed);
}

static bool
offer_send(struct tcp_stream *s, const struct tcp_offer *o, unsigned side)
{
	const int fds[FF_TCP_OFFER_FDS] = {o->ends[side], o->ends[1 - side], o->page};

	if (!tcp_conn_send(s->conn, FF_TCP_OFFER, s->id, side, fds, FF_TCP_OFFER_FDS))
		return false;
	/* Once, until it is forgotten: descriptors that nobody fetches are few. */
	s->offered = true;
	s->conn->owner->stats.offers++;
	undelay(s);
	return true;
}

/* Both are told, or both are not: one that waits alone gives up by itself. */
static void
offer(struct tcp_stream *a, struct tcp_stream *b)
{
	struct tcp_offer o;
	int rc = tcp_offer_make(&o, a->conn->container, b->conn->container);

	if (rc) {
		ff_warn("tcp", "no pair for a stream of container %s: %s", a->conn->container->id,
			strerror(-rc));
		return;
	}
	if (offer_send(a, &o, 0) && offer_send(b, &o, 1)) {
		a->peer = b;
		b->peer = a;
		ff_container_count(a->conn->container, FF_CC_TCP_OFFERED, 1);
		ff_container_count(b->conn->container, FF_CC_TCP_OFFERED, 1);
	}
	tcp_offer_close(&o);
}

/* False: refused, and forgotten. */
static bool
still_allowed(struct tcp_stream *s)
{
	enum ff_tcp_refusal why = ends_check(s->conn->container, &s->tuple);

	if (!why)
		return true;
	refuse(s->conn, s->id, why);
	tcp_stream_forget(s);
	return false;
}

static bool
has_room(struct tcp_stream *s)
{
	if (s->conn->owner->stats.offers < tcp_bounds.offers)
		return true;
	delay(s);
	return false;
}

/* s has asked; or there is room for it again. */
static void
pair_up(struct tcp_stream *s)
{
	struct tcp_stream *peer = waiting_find(s);

	if (!peer || !has_room(s) || !has_room(peer))
		return;
	if (still_allowed(peer) && still_allowed(s))
		offer(peer, s);
}

void
tcp_stream_offer_host(struct tcp_stream *s, int fd)
{
	if (!still_allowed(s) || s->conn->owner->stats.offers >= tcp_bounds.offers)
		return;
	if (!tcp_conn_send(s->conn, FF_TCP_OFFER_HOST, s->id, 0, &fd, FF_TCP_OFFER_HOST_FDS))
		return;
	s->offered = true;
	s->conn->owner->stats.offers++;
	ff_container_count(s->conn->container, FF_CC_TCP_OFFERED, 1);
}

/* ---- asking and forgetting ---- */

static int
insert(struct tcp_stream *s)
{
	if (tcp_index_add(&ids, &s->by_id, id_hash(s->conn, s->id)))
		return -ENOMEM;
	if (tcp_index_add(&tuples, &s->by_tuple, tcp_hash(&s->tuple, sizeof(s->tuple))))
		goto no_tuple;
	if (tcp_index_add(&cookies, &s->by_cookie, tcp_hash(&s->cookie, sizeof(s->cookie))))
		goto no_cookie;
	TAILQ_INSERT_HEAD(&s->conn->streams, s, of_conn);
	s->conn->owner->stats.streams++;
	return 0;
no_cookie:
	tcp_index_remove(&tuples, &s->by_tuple);
no_tuple:
	tcp_index_remove(&ids, &s->by_id);
	return -ENOMEM;
}

static enum ff_tcp_refusal
stream_new(struct tcp_conn *cn, uint32_t id, const struct tcp_look *look, struct tcp_stream **out)
{
	struct tcp_stream *s;

	if (ff_quota_take(cn->container, FF_QUOTA_STREAMS, 1))
		return FF_TCP_REFUSED_LIMIT;
	s = calloc(1, sizeof(*s));
	if (!s)
		goto no_memory;
	s->conn = cn;
	s->id = id;
	s->tuple = look->tuple;
	s->cookie = look->cookie;
	if (!insert(s)) {
		*out = s;
		return FF_TCP_NOT_REFUSED;
	}
	free(s);
no_memory:
	ff_quota_give(cn->container, FF_QUOTA_STREAMS, 1);
	return FF_TCP_REFUSED_MEMORY;
}

bool
tcp_stream_ask(struct tcp_conn *cn, uint32_t id, const struct tcp_look *look)
{
	struct tcp_stream *s = NULL;
	enum ff_tcp_refusal why;

	if (tcp_stream_find(cn, id))
		return false;
	why = ask_check(cn, look);
	if (!why)
		why = stream_new(cn, id, look, &s);
	if (why) {
		refuse(cn, id, why);
		return true;
	}
	ff_container_count(cn->container, FF_CC_TCP_ASKED, 1);
	if (ff_container_by_gid(cn->container->tenant, s->tuple.remote)) {
		pair_up(s);
	} else if (!tcp_host_ask(s)) {
		refuse(cn, id, FF_TCP_REFUSED_PEER);
		tcp_stream_forget(s);
	}
	return true;
}

/* There is room for one more: the one that has waited longest, and whose peer still does. */
static void
next_delayed(struct tcp_container *t)
{
	struct tcp_stream *s;

	while ((s = TAILQ_FIRST(&t->delayed)) && t->stats.offers < tcp_bounds.offers) {
		undelay(s);
		pair_up(s);
	}
}

void
tcp_stream_forget(struct tcp_stream *s)
{
	struct tcp_conn *cn = s->conn;
	struct tcp_container *t = cn->owner;
	bool offered = s->offered;

	if (s->peer)
		s->peer->peer = NULL;
	tcp_host_forget(s);
	undelay(s);
	if (offered)
		t->stats.offers--;
	TAILQ_REMOVE(&cn->streams, s, of_conn);
	tcp_index_remove(&ids, &s->by_id);
	tcp_index_remove(&tuples, &s->by_tuple);
	tcp_index_remove(&cookies, &s->by_cookie);
	t->stats.streams--;
	ff_quota_give(cn->container, FF_QUOTA_STREAMS, 1);
	free(s);
	if (offered && !cn->container->removing)
		next_delayed(t);
}

void
tcp_stream_poke(struct tcp_stream *s)
{
	if (s->peer)
		(void)tcp_conn_send(s->peer->conn, FF_TCP_POKE, s->peer->id, 0, NULL, 0);
}
