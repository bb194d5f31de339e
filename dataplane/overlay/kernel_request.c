/* SPDX-License-Identifier: MIT */
/*
 * An address that somebody asked for: what it depends on, how long it is waited for, and what is
 * answered. Control thread.
 *
 * Our traffic does not pass through the kernel, so nothing there would notice that a neighbour has
 * gone, or keep a learned FDB entry from ageing: entries that are no longer fresh are probed.
 */
#include <errno.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "kernel_priv.h"

#define MS	 1000000ull
#define PATIENCE (3000 * MS) /* for a neighbour that does not answer */
#define RELOOK	 (1000 * MS) /* while waiting, also without a notification */
#define PROBE	 (1000 * MS) /* between probes while somebody waits */
#define CONFIRM	 (5000 * MS) /* else */

static void *tree; /* of requests, by request_compare(): tsearch(3) */
static struct request_list waiting = TAILQ_HEAD_INITIALIZER(waiting); /* by relook_ns */

static int
request_compare(const void *a, const void *b)
{
	const struct request *x = a, *y = b;

	if (x->tenant != y->tenant)
		return x->tenant < y->tenant ? -1 : 1;
	return memcmp(x->gid, y->gid, 16);
}

struct request *
request_find(uint32_t tenant, const uint8_t gid[16])
{
	struct request key = {.tenant = tenant};
	void *found;

	memcpy(key.gid, gid, 16);
	found = tfind(&key, &tree, request_compare);
	return found ? *(struct request **)found : NULL;
}

void
request_due(struct request *r)
{
	if (r->due)
		return;
	r->due = true;
	TAILQ_REMOVE(&r->ns->idle, r, link);
	TAILQ_INSERT_TAIL(&r->ns->due, r, link);
}

static void
request_idle(struct request *r)
{
	if (!r->due)
		return;
	r->due = false;
	TAILQ_REMOVE(&r->ns->due, r, link);
	TAILQ_INSERT_TAIL(&r->ns->idle, r, link);
}

static void
request_set(struct request *r, enum request_state state, uint64_t now)
{
	if (r->state == state)
		return;
	if (r->state == REQUEST_WAITING)
		TAILQ_REMOVE(&waiting, r, wait);
	if (state == REQUEST_WAITING) {
		r->relook_ns = now + RELOOK;
		r->deadline_ns = now + PATIENCE;
		TAILQ_INSERT_TAIL(&waiting, r, wait);
	}
	r->state = state;
}

void
request_free(struct request *r)
{
	tdelete(r, &tree, request_compare);
	request_set(r, REQUEST_NONE, 0);
	request_idle(r);
	TAILQ_REMOVE(&r->ns->idle, r, link);
	free(r);
}

struct request *
request_new(uint32_t tenant, const uint8_t gid[16], struct netspace *ns)
{
	struct request *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->tenant = tenant;
	memcpy(r->gid, gid, 16);
	if (!tsearch(r, &tree, request_compare)) {
		free(r);
		return NULL;
	}
	r->ns = ns;
	TAILQ_INSERT_TAIL(&ns->idle, r, link);
	return r;
}

void
request_move(struct request *r, struct netspace *ns)
{
	request_idle(r);
	TAILQ_REMOVE(&r->ns->idle, r, link);
	r->ns = ns;
	TAILQ_INSERT_TAIL(&ns->idle, r, link);
}

struct request *
request_any(void)
{
	return tree ? *(struct request **)tree : NULL;
}

/* ---- a look ---- */

static void
hops_keep(struct request *r, const struct path *p)
{
	r->num_hops = p->num_hops;
	for (unsigned i = 0; i < p->num_hops; i++) {
		memcpy(r->hop[i].addr, p->hop[i].addr, 16);
		memcpy(r->hop[i].mac, p->hop[i].mac, 6);
	}
}

static void
hops_probe(struct request *r, const struct path *p, uint64_t now)
{
	uint64_t pause = r->asked || r->state == REQUEST_WAITING ? PROBE : CONFIRM;
	bool any = false;

	if (r->state == REQUEST_NONE || (r->probed_ns && now - r->probed_ns < pause))
		return;
	for (unsigned i = 0; i < p->num_hops; i++) {
		if (!p->hop[i].probe)
			continue;
		netspace_probe(p->hop[i].ns, p->hop[i].addr, p->hop[i].ifindex);
		any = true;
	}
	if (any)
		r->probed_ns = now;
}

/* The kernel has to find something first. Nobody waits for an address that nobody asks for. */
static void
request_wait(struct request *r, uint64_t now)
{
	if (r->state == REQUEST_FOUND || (r->state == REQUEST_NONE && r->asked))
		request_set(r, REQUEST_WAITING, now);
	else if (r->state == REQUEST_WAITING && now >= r->deadline_ns)
		request_set(r, REQUEST_NONE, now);
}

void
request_look(struct request *r, struct netspace *host, uint64_t now)
{
	static const struct ff_overlay_entry none = {.state = FF_OVERLAY_NONE};
	struct path p;
	int rc = r->tenant == FF_OVERLAY_UNDERLAY ? path_find_host(host, r->gid, &p)
						  : path_find(host, r->ns, r->gid, &p);

	if (!rc)
		request_set(r, REQUEST_FOUND, now);
	else if (rc == -ENOENT)
		request_set(r, REQUEST_NONE, now);
	else /* -EAGAIN; or a fault that may be over before long */
		request_wait(r, now);
	request_idle(r);
	hops_keep(r, &p);
	hops_probe(r, &p, now);
	r->asked = false;
	r->looked_ns = now;
	/* Where there is a request, there is an entry: none is evicted, no request forgotten here.
	 */
	if (r->state != REQUEST_WAITING)
		ff_overlay_answer(r->tenant, r->gid, rc ? &none : &p.e);
}

/* ---- what makes them due ---- */

void
requests_wake(uint64_t now)
{
	struct request *r;

	while ((r = TAILQ_FIRST(&waiting)) && r->relook_ns <= now) {
		TAILQ_REMOVE(&waiting, r, wait);
		r->relook_ns = now + RELOOK;
		TAILQ_INSERT_TAIL(&waiting, r, wait);
		request_due(r);
	}
}

static bool
request_depends(const struct request *r, enum nl_change what, const uint8_t *id)
{
	for (unsigned i = 0; i < r->num_hops; i++)
		if (what == NL_FDB ? !memcmp(r->hop[i].mac, id, 6)
				   : !memcmp(r->hop[i].addr, id, 16))
			return true;
	return false;
}

void
requests_changed(struct netspace *ns, enum nl_change what, const uint8_t *id)
{
	struct request *r, *next;

	for (r = TAILQ_FIRST(&ns->idle); r; r = next) {
		next = TAILQ_NEXT(r, link);
		if (request_depends(r, what, id))
			request_due(r);
	}
}

bool
requests_waiting(void)
{
	return !TAILQ_EMPTY(&waiting);
}
