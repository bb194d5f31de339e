/* SPDX-License-Identifier: MIT */
/* See host.h. Control thread. */
#include "host.h"

#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../core/log.h"
#include "../overlay/overlay.h"
#include "host_priv.h"
#include "tcp_priv.h"

/* The resolver, or a free place to dial, is waited for; then the shim is left alone. */
#define TICK_MS	   10u
#define WAIT_TICKS 300u

#define of_node(n, type, member) ((type *)(void *)((char *)(n)-offsetof(type, member)))

/* A stream of ours whose other end is elsewhere. */
struct tcp_host_ask {
	struct tcp_stream *s;
	uint64_t ref;
	uint8_t host[16];
	bool located, dialler;
	unsigned ticks;
	struct tcp_peer_dial *dial;
	struct tcp_node by_ref, by_ends;
	TAILQ_ENTRY(tcp_host_ask) link, of_waiting;
	bool waiting; /* on that list */
};

/* A stream of another router's, before its other end has asked here. */
struct want {
	struct tcp_peer_in *from;
	uint64_t ref;
	char tenant[FF_ID_LEN];
	struct tcp_tuple tuple; /* as its end here sees it */
	struct tcp_node by_ref, by_ends;
	TAILQ_ENTRY(want) of_router;
};
struct router {
	TAILQ_HEAD(, want) wants;
	uint32_t num_wants;
};

static TAILQ_HEAD(, tcp_host_ask) asks = TAILQ_HEAD_INITIALIZER(asks);
static TAILQ_HEAD(, tcp_host_ask) waiting = TAILQ_HEAD_INITIALIZER(waiting);
static unsigned num_waiting;
static struct tcp_index asks_by_ref, asks_by_ends, wants_by_ref, wants_by_ends;
static struct ff_timer timer;
static bool timer_runs;

/* ---- finding ---- */

static uint32_t
ends_hash(const struct tcp_tuple *t)
{
	return tcp_hash(t, sizeof(*t));
}

static struct tcp_host_ask *
ask_by_ref(uint64_t ref)
{
	struct tcp_node *n = tcp_index_first(&asks_by_ref, tcp_hash(&ref, sizeof(ref)));

	while (n && of_node(n, struct tcp_host_ask, by_ref)->ref != ref)
		n = tcp_index_next(n);
	return n ? of_node(n, struct tcp_host_ask, by_ref) : NULL;
}

static const char *
tenant_of(const struct tcp_host_ask *a)
{
	return a->s->conn->container->tenant->name;
}

static struct tcp_host_ask *
ask_by_ends(const char *tenant, const struct tcp_tuple *t)
{
	struct tcp_node *n = tcp_index_first(&asks_by_ends, ends_hash(t));

	for (; n; n = tcp_index_next(n)) {
		struct tcp_host_ask *a = of_node(n, struct tcp_host_ask, by_ends);

		if (!memcmp(&a->s->tuple, t, sizeof(*t)) && !strcmp(tenant_of(a), tenant))
			return a;
	}
	return NULL;
}

static struct want *
want_by_ends(const char *tenant, const struct tcp_tuple *t)
{
	struct tcp_node *n = tcp_index_first(&wants_by_ends, ends_hash(t));

	for (; n; n = tcp_index_next(n)) {
		struct want *w = of_node(n, struct want, by_ends);

		if (!memcmp(&w->tuple, t, sizeof(*t)) && !strcmp(w->tenant, tenant))
			return w;
	}
	return NULL;
}

static struct want *
want_by_ref(const struct tcp_peer_in *from, uint64_t ref)
{
	struct tcp_node *n = tcp_index_first(&wants_by_ref, tcp_hash(&ref, sizeof(ref)));

	for (; n; n = tcp_index_next(n)) {
		struct want *w = of_node(n, struct want, by_ref);

		if (w->from == from && w->ref == ref)
			return w;
	}
	return NULL;
}

/* ---- what other routers want ---- */

static void
want_free(struct want *w)
{
	struct router *r = w->from->priv;

	TAILQ_REMOVE(&r->wants, w, of_router);
	r->num_wants--;
	tcp_index_remove(&wants_by_ref, &w->by_ref);
	tcp_index_remove(&wants_by_ends, &w->by_ends);
	free(w);
}

static struct router *
router_of(struct tcp_peer_in *from)
{
	struct router *r = from->priv;

	if (r)
		return r;
	r = calloc(1, sizeof(*r));
	if (r)
		TAILQ_INIT(&r->wants);
	from->priv = r;
	return r;
}

static struct want *
want_new(struct tcp_peer_in *from, const struct tcp_peer_frame *f, const struct tcp_tuple *t)
{
	struct router *r = router_of(from);
	struct want *w;

	if (!r || r->num_wants == TCP_HOST_WANTS_MAX)
		return NULL;
	w = calloc(1, sizeof(*w));
	if (!w)
		return NULL;
	w->from = from;
	w->ref = be64toh(f->ref);
	memcpy(w->tenant, f->tenant, sizeof(w->tenant));
	w->tuple = *t;
	if (tcp_index_add(&wants_by_ref, &w->by_ref, tcp_hash(&w->ref, sizeof(w->ref))))
		goto no_ref;
	if (tcp_index_add(&wants_by_ends, &w->by_ends, ends_hash(&w->tuple)))
		goto no_ends;
	TAILQ_INSERT_TAIL(&r->wants, w, of_router);
	r->num_wants++;
	return w;
no_ends:
	tcp_index_remove(&wants_by_ref, &w->by_ref);
no_ref:
	free(w);
	return NULL;
}

/* ---- waiting ---- */

static void ask_proceed(struct tcp_host_ask *a);

static void
wait_end(struct tcp_host_ask *a)
{
	if (!a->waiting)
		return;
	TAILQ_REMOVE(&waiting, a, of_waiting);
	num_waiting--;
	a->waiting = false;
}

/* Each has its turn once; whoever has to, waits again. */
static void
tick(void *arg)
{
	for (unsigned left = num_waiting; left; left--) {
		struct tcp_host_ask *a = TAILQ_FIRST(&waiting);

		wait_end(a);
		ask_proceed(a);
	}
	if (num_waiting)
		return;
	ff_loop_timer_stop(&timer);
	timer_runs = false;
}

static void
wait_begin(struct tcp_host_ask *a)
{
	if (a->waiting || ++a->ticks > WAIT_TICKS)
		return;
	if (!timer_runs)
		timer_runs = !ff_loop_timer_start(&timer, TICK_MS, tick, NULL);
	if (!timer_runs)
		return;
	a->waiting = true;
	num_waiting++;
	TAILQ_INSERT_TAIL(&waiting, a, of_waiting);
}

/* ---- our own ---- */

/* 1: a->host is known; 0: not yet; -errno: no other host has it. */
static int
locate(struct tcp_host_ask *a)
{
	const struct ff_container *c = a->s->conn->container;
	struct ff_overlay_scope scope = {.tenant = c->tenant->index,
					 .tenant_name = c->tenant->name,
					 .netns_fd = ff_container_netns(c)};
	struct ff_overlay_entry e;
	int rc;

	ff_overlay_lookup(c->tenant->index, a->s->tuple.remote, &e);
	switch (e.state) {
	case FF_OVERLAY_REMOTE:
		memcpy(a->host, e.host, sizeof(a->host));
		a->located = true;
		return 1;
	case FF_OVERLAY_LOCAL:
		return -EHOSTUNREACH;
	case FF_OVERLAY_NONE:
	case FF_OVERLAY_UNKNOWN:
		break;
	}
	rc = ff_overlay_ask(&scope, a->s->tuple.remote);
	return rc < 0 ? rc : 0;
}

static void
say(const struct tcp_host_ask *a, enum tcp_peer_type type)
{
	const struct tcp_tuple *t = &a->s->tuple;
	struct tcp_peer_frame f;

	memset(&f, 0, sizeof(f));
	f.type = htonl(type);
	f.ref = htobe64(a->ref);
	if (type == TCP_PEER_WANT) {
		memcpy(f.tenant, tenant_of(a), strlen(tenant_of(a)));
		memcpy(f.local, t->local, sizeof(f.local));
		memcpy(f.remote, t->remote, sizeof(f.remote));
		f.local_port = htons(t->local_port);
		f.remote_port = htons(t->remote_port);
	}
	/* Where there is no session: all is said when there is one again. */
	(void)tcp_peers_send(a->host, &f);
}

static void
ask_dial(struct tcp_host_ask *a)
{
	struct want *w = want_by_ends(tenant_of(a), &a->s->tuple);
	int rc;

	if (!w || a->dial || a->s->offered)
		return;
	rc = tcp_peers_dial(a->host, w->from, w->ref, a, &a->dial);
	if (rc == -EBUSY)
		wait_begin(a);
	else
		want_free(w); /* a token for one connection */
}

static void
ask_proceed(struct tcp_host_ask *a)
{
	bool known = a->located;

	if (!known && locate(a) <= 0) {
		wait_begin(a);
		return;
	}
	if (a->dialler)
		ask_dial(a);
	else if (!known)
		say(a, TCP_PEER_WANT);
}

static void
ask_free(struct tcp_host_ask *a)
{
	wait_end(a);
	if (a->dial)
		tcp_peers_dial_cancel(a->dial);
	a->s->host = NULL;
	TAILQ_REMOVE(&asks, a, link);
	tcp_index_remove(&asks_by_ref, &a->by_ref);
	tcp_index_remove(&asks_by_ends, &a->by_ends);
	free(a);
}

/* The same on both hosts, the other way round. */
static bool
is_dialler(const struct tcp_tuple *t)
{
	int order = memcmp(t->local, t->remote, sizeof(t->local));

	return order ? order < 0 : t->local_port < t->remote_port;
}

bool
tcp_host_ask(struct tcp_stream *s)
{
	struct tcp_host_ask *a = calloc(1, sizeof(*a));
	uint64_t ref = 0;

	if (!a || tcp_peer_random(&ref, sizeof(ref)) || ask_by_ref(ref)) {
		free(a);
		return false;
	}
	a->s = s;
	a->ref = ref;
	a->dialler = is_dialler(&s->tuple);
	if (tcp_index_add(&asks_by_ref, &a->by_ref, tcp_hash(&ref, sizeof(ref))))
		goto no_ref;
	if (tcp_index_add(&asks_by_ends, &a->by_ends, ends_hash(&s->tuple)))
		goto no_ends;
	TAILQ_INSERT_TAIL(&asks, a, link);
	s->host = a;
	if (locate(a) >= 0) {
		a->located = false;
		ask_proceed(a);
		return true;
	}
	ask_free(a);
	return false;
no_ends:
	tcp_index_remove(&asks_by_ref, &a->by_ref);
no_ref:
	free(a);
	return false;
}

void
tcp_host_forget(struct tcp_stream *s)
{
	struct tcp_host_ask *a = s->host;

	if (!a)
		return;
	if (a->located && !a->dialler && !s->offered)
		say(a, TCP_PEER_DROP);
	ask_free(a);
}

/* ---- what the routers' connections tell ---- */

static void
up(const uint8_t host[16])
{
	struct tcp_host_ask *a;

	TAILQ_FOREACH (a, &asks, link)
		if (a->located && !a->dialler && !a->s->offered && !memcmp(a->host, host, 16))
			say(a, TCP_PEER_WANT);
}

static void
frame(struct tcp_peer_in *from, const struct tcp_peer_frame *f)
{
	struct tcp_host_ask *a;
	struct tcp_tuple t;
	struct want *w = want_by_ref(from, be64toh(f->ref));

	if (w)
		want_free(w);
	if (ntohl(f->type) != TCP_PEER_WANT)
		return;
	memset(&t, 0, sizeof(t));
	memcpy(t.local, f->remote, sizeof(t.local));
	memcpy(t.remote, f->local, sizeof(t.remote));
	t.local_port = ntohs(f->remote_port);
	t.remote_port = ntohs(f->local_port);
	/* The newest counts. */
	w = want_by_ends(f->tenant, &t);
	if (w)
		want_free(w);
	if (!is_dialler(&t) || !want_new(from, f, &t))
		return;
	a = ask_by_ends(f->tenant, &t);
	if (a && a->located)
		ask_dial(a);
}

static void
lost(struct tcp_peer_in *from)
{
	struct router *r = from->priv;

	if (!r)
		return;
	while (!TAILQ_EMPTY(&r->wants))
		/* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): it leaves */
		want_free(TAILQ_FIRST(&r->wants));
	free(r);
	from->priv = NULL;
}

static void *
claim(const uint8_t host[16], uint64_t ref)
{
	struct tcp_host_ask *a = ask_by_ref(ref);

	/* It is offered, or not, before anybody else can ask. */
	if (!a || a->dialler || !a->located || a->s->offered || memcmp(a->host, host, 16))
		return NULL;
	return a;
}

/* Takes over fd. */
static void
offer(struct tcp_host_ask *a, int fd)
{
	if (fd < 0)
		return;
	tcp_stream_offer_host(a->s, fd);
	close(fd);
}

static void
granted(void *claimed, int fd)
{
	offer(claimed, fd);
}

static void
dialled(void *arg, int fd)
{
	struct tcp_host_ask *a = arg;

	a->dial = NULL;
	offer(a, fd);
}

const struct tcp_peers_events tcp_host_events = {
	.up = up,
	.frame = frame,
	.lost = lost,
	.claim = claim,
	.granted = granted,
	.dialled = dialled,
};

void
tcp_host_stop(void)
{
	while (!TAILQ_EMPTY(&asks))
		ask_free(TAILQ_FIRST(&asks));
	if (timer_runs)
		ff_loop_timer_stop(&timer);
	timer_runs = false;
}
