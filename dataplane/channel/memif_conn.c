/* SPDX-License-Identifier: MIT */
/*
 * Connections on memif.sock: a memif server for each, bound to a channel of the same container by
 * the token in its INIT message, once; when it is connected its rings go to the channel's worker.
 * Control thread.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "channel_priv.h"

/* Rings without buffers need a tenth of it. */
#define MEMORY_MAX (4u << 20)

static_assert(FF_MEMIF_SECRET_LEN >= FF_TOKEN_LEN, "the token is in the secret");

static int
memif_on_init(void *arg, struct ff_memif *m, uint32_t id, const uint8_t *secret)
{
	struct memif_conn *mc = arg;
	struct ff_channel *ch = channel_by_token(mc->container, secret);

	if (!ch)
		return -EACCES;
	if (mc->ch || channel_priv(ch)->memif_bound)
		return -EBUSY;
	channel_priv(ch)->memif_bound = true;
	channel_priv(ch)->memif = mc;
	mc->ch = ch;
	return 0;
}

static void
memif_rings_take_back(struct memif_conn *mc)
{
	struct channel_priv *p = channel_priv(mc->ch);

	if (p->db_added)
		doorbell_remove(&p->db);
	p->db_added = false;
	p->db.num_rings = 0;
	mc->live = false;
}

void
memif_close(struct memif_conn *mc)
{
	struct container_priv *cp = container_priv(mc->container);

	ff_loop_del(&mc->src);
	if (mc->live)
		memif_rings_take_back(mc);
	else
		cp->new_memifs--;
	if (mc->ch)
		channel_priv(mc->ch)->memif = NULL;
	TAILQ_REMOVE(&cp->memifs, mc, link);
	ff_memif_destroy(mc->m);
	free(mc);
}

static int
memif_go_live(struct memif_conn *mc)
{
	struct channel_priv *p = channel_priv(mc->ch);
	unsigned n = ff_memif_num_rings(mc->m, true);
	int rc;

	if (!n || n > FF_CHANNEL_RINGS)
		return -EPROTO;
	for (unsigned i = 0; i < n; i++) {
		p->db.rings[i] = ff_memif_ring_get(mc->m, true, i);
		if (!p->db.rings[i])
			return -EPROTO;
	}
	p->db.ch = mc->ch;
	p->db.num_rings = n;
	rc = doorbell_add(&p->db);
	if (rc)
		return rc;
	p->db_added = true;
	mc->live = true;
	container_priv(mc->container)->new_memifs--;
	return 0;
}

/* Frees mc. broken: it did not just close. */
static void
memif_ended(struct memif_conn *mc, bool broken)
{
	struct ff_container *c = mc->container;
	struct ff_channel *ch = mc->ch;
	char why[96];

	snprintf(why, sizeof(why), "%s", ff_memif_reason(mc->m));
	memif_close(mc);
	if (ch && broken) {
		ff_channel_detach(ch, FF_DETACH_MEMIF, why);
		return;
	}
	if (!broken)
		return;
	ff_container_count(c, FF_CC_COMMAND_ERRORS, 1);
	ff_debug("channel", "container %s: memif connection refused: %s", c->id, why);
}

static void
memif_event(struct ff_source *s, uint32_t events)
{
	struct memif_conn *mc = s->arg;
	int rc = ff_memif_process(mc->m);

	if (rc || ff_memif_state(mc->m) == FF_MEMIF_CLOSED) {
		/* Which of its sockets a dying process closes first is chance. */
		memif_ended(mc, rc != -ECONNRESET && rc != -ECONNREFUSED && rc != -EPIPE);
		return;
	}
	if (ff_memif_state(mc->m) != FF_MEMIF_CONNECTED || mc->live)
		return;
	rc = mc->ch ? memif_go_live(mc) : -EPROTO;
	if (rc) {
		ff_warn("channel", "container %s: cannot take rings: %s", mc->container->id,
			strerror(-rc));
		memif_ended(mc, true);
	}
}

void
memif_accepted(struct ff_container *c, int fd)
{
	struct container_priv *cp = container_priv(c);
	struct ff_memif_conf conf = {
		.role = FF_MEMIF_SERVER,
		.name = "freeflow",
		.num_s2m_rings = FF_CHANNEL_RINGS,
		.num_m2s_rings = FF_CHANNEL_RINGS,
		.log2_ring_size = FF_CHANNEL_LOG2_RING,
		.max_memory = MEMORY_MAX,
		.on_init = memif_on_init,
	};
	struct memif_conn *mc;

	if (cp->new_memifs >= CONN_NEW_MAX) {
		ff_container_count(c, FF_CC_QUOTA_REFUSED, 1);
		close(fd);
		return;
	}
	mc = calloc(1, sizeof(*mc));
	if (!mc) {
		close(fd);
		return;
	}
	mc->container = c;
	mc->since_ns = ff_now_ns();
	conf.arg = mc;
	if (ff_memif_create(&mc->m, fd, &conf)) {
		free(mc);
		return;
	}
	if (ff_loop_add(&mc->src, ff_memif_fd(mc->m), EPOLLIN, memif_event, mc)) {
		ff_memif_destroy(mc->m);
		free(mc);
		return;
	}
	cp->new_memifs++;
	TAILQ_INSERT_TAIL(&cp->memifs, mc, link);
}

void
memif_tick(struct ff_container *c, uint64_t now_ns)
{
	struct memif_conn *mc, *next;

	/* Only unbound ones are closed here, so next stays. A bound one goes with its channel. */
	for (mc = TAILQ_FIRST(&container_priv(c)->memifs); mc; mc = next) {
		next = TAILQ_NEXT(mc, link);
		if (!mc->live && now_ns - mc->since_ns > CONN_PATIENCE_NS)
			memif_close(mc);
	}
}
