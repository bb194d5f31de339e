/* SPDX-License-Identifier: MIT */
/*
 * The kernel provider: when the ways to addresses are looked for, and looked for again. Control
 * thread.
 *
 * An address that has been asked for is followed until it is forgotten: what the kernel says of
 * routes, links, neighbours and FDBs, in the host's namespace and in that of the container, makes
 * the requests that depend on it due. A timer runs only while there is something to do; what it
 * does in a period is bounded, and namespaces take turns, so that a container that keeps changing
 * its own tables delays itself.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "../core/log.h"
#include "../core/worker.h"
#include "kernel_priv.h"

#define MS	   1000000ull
#define TICK_MS	   20u
/* Looks in one period; each is some 5 to 10 questions to the kernel. */
#define BUDGET	   64u
#define TURN	   8u /* looks of one namespace, then comes the next */
/* All are looked at so often, also without a notification: is what they depend on still fresh? */
#define CONFIRM_MS 10000u
#define RENEW	   (100 * MS) /* between two looks at everything in a namespace */
#define RECV_MAX   64u	      /* notifications read in one go */
#define SCAN_MAX   32u	      /* of which so many are told apart; more: anything has changed */

TAILQ_HEAD(netspace_list, netspace);

static struct {
	struct netspace host;
	struct netspace_list spaces; /* the next one whose turn it is first */
	struct ff_timer timer, confirm;
	unsigned budget;
	bool up;
} kern;

static void tick(void *arg);

static void
timer_need(void)
{
	int rc = kern.timer.src.added ? 0 : ff_loop_timer_start(&kern.timer, TICK_MS, tick, NULL);

	if (rc)
		ff_warn("overlay", "no timer: %s", strerror(-rc));
}

/* ---- namespaces ---- */

static void netspace_ready(struct ff_source *s, uint32_t events);

/* What is there concerns everybody. */
static bool
shared(const struct netspace *ns)
{
	return ns == &kern.host || ns->transit;
}

static int
netspace_start(struct netspace *ns, int fd)
{
	int rc = netspace_open(ns, fd);

	if (rc)
		return rc;
	rc = ff_loop_add(&ns->src, ns->notify_fd, EPOLLIN, netspace_ready, ns);
	if (rc) {
		netspace_close(ns);
		return rc;
	}
	TAILQ_INIT(&ns->idle);
	TAILQ_INIT(&ns->due);
	TAILQ_INSERT_TAIL(&kern.spaces, ns, link);
	return 0;
}

static void
netspace_free(struct netspace *ns)
{
	TAILQ_REMOVE(&kern.spaces, ns, link);
	ff_loop_del(&ns->src);
	netspace_close(ns);
	path_links_free(ns);
	free(ns);
}

/* Gives it up unless somebody asks from it. The host's own stays. */
static void
netspace_put(struct netspace *ns)
{
	if (!shared(ns) && TAILQ_EMPTY(&ns->idle) && TAILQ_EMPTY(&ns->due))
		netspace_free(ns);
}

static int
netspace_get(int fd, struct netspace **out)
{
	struct netspace *ns = &kern.host;
	dev_t dev = ns->dev;
	ino_t ino = ns->ino;
	int rc = fd < 0 ? 0 : netspace_identity(fd, &dev, &ino);

	if (rc)
		return rc;
	/* Nobody's requests are on one between containers and the host: it may go. */
	TAILQ_FOREACH (ns, &kern.spaces, link) {
		if (ns->dev == dev && ns->ino == ino && !ns->transit)
			break;
	}
	if (!ns) {
		ns = calloc(1, sizeof(*ns));
		rc = ns ? netspace_start(ns, fd) : -ENOMEM;
		if (rc) {
			free(ns);
			return rc;
		}
	}
	*out = ns;
	return 0;
}

struct netspace *
netspace_transit(int fd)
{
	struct netspace *ns = calloc(1, sizeof(*ns));

	if (!ns || netspace_start(ns, fd)) {
		free(ns);
		return NULL;
	}
	ns->transit = true;
	return ns;
}

void
netspace_transit_end(struct netspace *ns)
{
	netspace_free(ns);
}

/* ---- the timer ---- */

static void
all_due(struct netspace *ns)
{
	struct request *r;

	while ((r = TAILQ_FIRST(&ns->idle)))
		request_due(r);
}

static void
changes_spread(uint64_t now)
{
	struct netspace *ns, *other;

	TAILQ_FOREACH (ns, &kern.spaces, link) {
		if (!ns->changed || now - ns->renewed_ns < RENEW)
			continue;
		ns->changed = false;
		ns->renewed_ns = now;
		if (!shared(ns)) {
			all_due(ns);
			continue;
		}
		TAILQ_FOREACH (other, &kern.spaces, link) {
			all_due(other);
		}
	}
}

static void
confirm(void *arg)
{
	struct netspace *ns;

	TAILQ_FOREACH (ns, &kern.spaces, link) {
		all_due(ns);
	}
	transits_release(2 * CONFIRM_MS * MS);
	timer_need();
}

static bool
turn_run(struct netspace *ns, uint64_t now)
{
	struct request *r;
	bool any = false;

	for (unsigned i = 0; i < TURN && kern.budget && (r = TAILQ_FIRST(&ns->due)); i++) {
		kern.budget--;
		request_look(r, &kern.host, now);
		any = true;
	}
	return any;
}

static void
due_run(uint64_t now)
{
	struct netspace *ns;
	bool any;

	do {
		any = false;
		TAILQ_FOREACH (ns, &kern.spaces, link) {
			any |= turn_run(ns, now);
		}
	} while (any && kern.budget);
	ns = TAILQ_FIRST(&kern.spaces);
	TAILQ_REMOVE(&kern.spaces, ns, link);
	TAILQ_INSERT_TAIL(&kern.spaces, ns, link);
}

static bool
work_left(void)
{
	struct netspace *ns;

	if (requests_waiting())
		return true;
	TAILQ_FOREACH (ns, &kern.spaces, link) {
		if (ns->changed || !TAILQ_EMPTY(&ns->due))
			return true;
	}
	return false;
}

static void
tick(void *arg)
{
	uint64_t now = ff_now_ns();

	kern.budget = BUDGET;
	requests_wake(now);
	changes_spread(now);
	due_run(now);
	if (work_left())
		return;
	kern.budget = BUDGET;
	ff_loop_timer_stop(&kern.timer);
}

/* ---- notifications ---- */

struct scan {
	struct netspace *ns;
	unsigned left; /* that are still told apart */
};

static void
change_seen(enum nl_change what, const uint8_t *id, void *arg)
{
	struct scan *s = arg;
	struct netspace *other;

	if (what == NL_LINK)
		path_links_changed(s->ns);
	if (what == NL_LINK || what == NL_OTHER || !s->left) {
		s->ns->changed = true;
		return;
	}
	s->left--;
	if (!shared(s->ns)) {
		requests_changed(s->ns, what, id);
		return;
	}
	TAILQ_FOREACH (other, &kern.spaces, link) {
		requests_changed(other, what, id);
	}
}

static void
netspace_ready(struct ff_source *src, uint32_t events)
{
	struct netspace *ns = src->arg;
	struct scan s = {.ns = ns, .left = SCAN_MAX};
	char buf[16384];

	for (unsigned i = 0; i < RECV_MAX; i++) {
		ssize_t len = recv(ns->notify_fd, buf, sizeof(buf), MSG_DONTWAIT | MSG_TRUNC);

		if (len < 0 && errno != ENOBUFS)
			break;
		/* Some were lost, or are too long: anything may have changed. */
		if (len < 0 || (size_t)len > sizeof(buf))
			change_seen(NL_LINK, NULL, &s);
		else
			nl_changes(buf, (size_t)len, change_seen, &s);
	}
	if (work_left())
		timer_need();
}

/* ---- the provider ---- */

/* The request for it, seen from where the asker is; two who ask in turn do not move it each time.
 */
static int
request_get(const struct ff_overlay_scope *scope, const uint8_t gid[16], uint64_t now,
	    struct request **out)
{
	struct request *r = request_find(scope->tenant, gid);
	struct netspace *ns, *old;
	int rc;

	*out = r;
	if (r && (r->state == REQUEST_FOUND || now - r->moved_ns < RENEW))
		return 0;
	rc = netspace_get(scope->netns_fd, &ns);
	if (rc)
		return rc;
	if (!r) {
		*out = request_new(scope->tenant, gid, ns);
		rc = *out ? 0 : -ENOMEM;
	} else if (r->ns != ns) {
		/* Who asked first may be gone. */
		old = r->ns;
		request_move(r, ns);
		r->moved_ns = now;
		netspace_put(old);
	}
	netspace_put(ns);
	return rc;
}

static int
kernel_resolve(const struct ff_overlay_scope *scope, const uint8_t gid[16])
{
	uint64_t now = ff_now_ns();
	struct request *r;
	int rc = request_get(scope, gid, now, &r);

	if (rc)
		return rc;
	r->asked = true;
	if (kern.budget && (!r->looked_ns || now - r->looked_ns >= TICK_MS * MS)) {
		kern.budget--;
		request_look(r, &kern.host, now);
	} else {
		request_due(r);
	}
	timer_need();
	return 0;
}

static void
kernel_forget(uint32_t tenant, const uint8_t gid[16])
{
	struct request *r = kern.up ? request_find(tenant, gid) : NULL;
	struct netspace *ns;

	if (!r)
		return;
	ns = r->ns;
	request_free(r);
	netspace_put(ns);
}

static int
kernel_init(const void *conf)
{
	int rc;

	TAILQ_INIT(&kern.spaces);
	kern.budget = BUDGET;
	rc = ff_loop_timer_start(&kern.confirm, CONFIRM_MS, confirm, NULL);
	if (rc)
		return rc;
	rc = netspace_start(&kern.host, -1);
	if (rc)
		ff_loop_timer_stop(&kern.confirm);
	kern.up = !rc;
	return rc;
}

static void
kernel_fini(void)
{
	struct request *r;

	if (!kern.up)
		return;
	while ((r = request_any()))
		kernel_forget(r->tenant, r->gid);
	kern.up = false;
	transits_release(0);
	ff_loop_timer_stop(&kern.timer);
	ff_loop_timer_stop(&kern.confirm);
	ff_loop_del(&kern.host.src);
	netspace_close(&kern.host);
	path_links_free(&kern.host);
}

const struct ff_overlay_provider ff_overlay_kernel = {
	.name = "kernel",
	.init = kernel_init,
	.fini = kernel_fini,
	.resolve = kernel_resolve,
	.forget = kernel_forget,
};
