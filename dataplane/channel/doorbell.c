/* SPDX-License-Identifier: MIT */
/*
 * The doorbell stage: takes QPNs off the memif rings of a worker's channels and tells the backend.
 * Runs on the worker.
 *
 * Hot channels (a doorbell within the last COLD_AFTER passes) are looked at in each pass, cold ones
 * in every COLD_EVERY-th, a part of them in each.
 *
 * Where workers sleep, interrupts are unmasked but for channels that ring again and again while the
 * worker is awake: the flag shares a cache line with the ring's head, so setting and clearing it
 * for each sleep would cost the process more than it saves. Whoever is unmasked writes its eventfd,
 * which ends the next sleep at once; so going to sleep costs by the channels in use, not by those
 * that exist.
 */
#include <errno.h>
#include <stdlib.h>

#include "../nic/nic.h"
#include "channel_priv.h"

#define BURST	   32u
#define COLD_AFTER 1024u
#define COLD_EVERY 16u
#define MASK_AFTER 4u

TAILQ_HEAD(doorbell_list, doorbell_chan);

struct doorbell_worker {
	struct doorbell_list hot, cold;
	unsigned num_cold;
	bool sleeps;	/* the idle policy does; else all rings stay masked */
	bool scan_cold; /* it slept: a cold channel may be what woke it */
};

static int doorbell_slot = -1;
static bool doorbell_sleeps;

static void
chan_mask(struct doorbell_chan *db, bool masked)
{
	for (unsigned i = 0; i < db->num_rings; i++)
		ff_memif_ring_mask(db->rings[i], masked);
	db->masked = masked;
}

static bool
chan_pending(const struct doorbell_chan *db)
{
	for (unsigned i = 0; i < db->num_rings; i++)
		if (ff_memif_ring_pending(db->rings[i]))
			return true;
	return false;
}

static void
chan_ring(struct ff_channel *ch, const struct ff_memif_desc *d)
{
	struct ff_qp *qp;

	ch->doorbells++;
	qp = ff_idtab_get(&ff_qps, d->metadata);
	if (d->region != FF_DOORBELL_REGION || d->length || d->offset || d->flags || !qp ||
	    qp->obj.uc->channel != ch) {
		ch->bad_doorbells++;
		return;
	}
	ff_nic->post(qp);
}

static void
chan_broken(struct doorbell_chan *db)
{
	db->broken = true;
	ff_channel_detach_async(db->ch, FF_DETACH_RING);
}

/* One burst of each ring: the next pass takes the rest. */
static unsigned
chan_poll(struct doorbell_chan *db)
{
	struct ff_memif_desc d[BURST];
	unsigned work = 0;

	if (db->broken) { /* the message to the control thread may have found no room */
		ff_channel_detach_async(db->ch, FF_DETACH_RING);
		return 0;
	}
	for (unsigned i = 0; i < db->num_rings; i++) {
		int n;

		if (!ff_memif_ring_pending(db->rings[i]))
			continue;
		n = ff_memif_ring_consume(db->rings[i], d, BURST);
		if (n < 0) {
			chan_broken(db);
			return work;
		}
		ff_memif_ring_release(db->rings[i], (unsigned)n);
		for (int k = 0; k < n; k++)
			chan_ring(db->ch, &d[k]);
		work += (unsigned)n;
	}
	return work;
}

static void
chan_cool(struct doorbell_worker *dw, struct doorbell_chan *db)
{
	/* Pairs with the producer: descriptor published, fence, mask loaded. */
	if (dw->sleeps && db->masked) {
		chan_mask(db, false);
		if (chan_pending(db))
			return;
	}
	db->hot = false;
	TAILQ_REMOVE(&dw->hot, db, link);
	TAILQ_INSERT_TAIL(&dw->cold, db, link);
	dw->num_cold++;
}

static void
chan_heat(struct doorbell_worker *dw, struct doorbell_chan *db)
{
	db->hot = true;
	db->idle = 0;
	db->busy = 0;
	TAILQ_REMOVE(&dw->cold, db, link);
	TAILQ_INSERT_TAIL(&dw->hot, db, link);
	dw->num_cold--;
}

static unsigned
poll_hot(struct doorbell_worker *dw)
{
	struct doorbell_chan *db, *next;
	unsigned total = 0, work;

	for (db = TAILQ_FIRST(&dw->hot); db; db = next) {
		next = TAILQ_NEXT(db, link);
		work = chan_poll(db);
		total += work;
		if (!work) {
			if (++db->idle >= COLD_AFTER)
				chan_cool(dw, db);
			continue;
		}
		db->idle = 0;
		if (!db->masked && ++db->busy >= MASK_AFTER)
			chan_mask(db, true);
	}
	return total;
}

static unsigned
poll_cold(struct doorbell_worker *dw)
{
	unsigned n = dw->num_cold, total = 0, work;

	if (!dw->scan_cold)
		n = (n + COLD_EVERY - 1) / COLD_EVERY;
	dw->scan_cold = false;
	while (n--) {
		struct doorbell_chan *db = TAILQ_FIRST(&dw->cold);

		work = chan_poll(db);
		total += work;
		if (work) {
			chan_heat(dw, db);
			continue;
		}
		TAILQ_REMOVE(&dw->cold, db, link);
		TAILQ_INSERT_TAIL(&dw->cold, db, link);
	}
	return total;
}

static unsigned
doorbell_poll(struct ff_worker *w, uint64_t now_ns)
{
	struct doorbell_worker *dw = ff_worker_priv(w, doorbell_slot);
	unsigned work = poll_hot(dw);

	/* What woke the worker is most often hot: then the others wait for a quiet pass. */
	if (dw->num_cold && !(dw->scan_cold && work))
		work += poll_cold(dw);
	return work;
}

static bool
doorbell_sleep_prepare(struct ff_worker *w)
{
	struct doorbell_worker *dw = ff_worker_priv(w, doorbell_slot);
	struct doorbell_chan *db;
	bool pending = false;

	TAILQ_FOREACH (db, &dw->hot, link) {
		db->busy = 0;
		if (db->masked)
			chan_mask(db, false);
		pending |= !db->broken && chan_pending(db);
	}
	return pending;
}

static void
doorbell_sleep_done(struct ff_worker *w)
{
	struct doorbell_worker *dw = ff_worker_priv(w, doorbell_slot);

	dw->scan_cold = true;
}

static int
doorbell_worker_init(struct ff_worker *w)
{
	struct doorbell_worker *dw = calloc(1, sizeof(*dw));

	if (!dw)
		return -ENOMEM;
	TAILQ_INIT(&dw->hot);
	TAILQ_INIT(&dw->cold);
	dw->sleeps = doorbell_sleeps;
	ff_worker_priv_set(w, doorbell_slot, dw);
	return 0;
}

static void
doorbell_worker_fini(struct ff_worker *w)
{
	free(ff_worker_priv(w, doorbell_slot));
	ff_worker_priv_set(w, doorbell_slot, NULL);
}

int
doorbell_init(void)
{
	static const struct ff_worker_stage stage = {
		.name = "doorbell",
		.init = doorbell_worker_init,
		.fini = doorbell_worker_fini,
		.poll = doorbell_poll,
		.sleep_prepare = doorbell_sleep_prepare,
		.sleep_done = doorbell_sleep_done,
	};
	int slot = ff_worker_stage_register(&stage);

	if (slot < 0)
		return slot;
	doorbell_slot = slot;
	doorbell_sleeps = ff_config.idle != FF_IDLE_POLL;
	return 0;
}

struct doorbell_call {
	struct doorbell_chan *db;
	int rc;
};

static void
add_on_worker(void *arg)
{
	struct doorbell_call *call = arg;
	struct doorbell_chan *db = call->db;
	struct ff_worker *w = db->ch->worker;
	struct doorbell_worker *dw = ff_worker_priv(w, doorbell_slot);
	unsigned i;

	call->rc = dw ? 0 : -ESHUTDOWN;
	for (i = 0; !call->rc && i < db->num_rings; i++)
		call->rc = ff_worker_wake_fd_add(w, ff_memif_ring_eventfd(db->rings[i]));
	if (call->rc) {
		while (dw && i-- > 1)
			ff_worker_wake_fd_del(w, ff_memif_ring_eventfd(db->rings[i - 1]));
		return;
	}
	db->idle = db->busy = 0;
	db->broken = false;
	db->hot = true;
	chan_mask(db, !dw->sleeps);
	TAILQ_INSERT_TAIL(&dw->hot, db, link);
}

static void
remove_on_worker(void *arg)
{
	struct doorbell_call *call = arg;
	struct doorbell_chan *db = call->db;
	struct ff_worker *w = db->ch->worker;
	struct doorbell_worker *dw = ff_worker_priv(w, doorbell_slot);

	if (!dw) /* the worker has ended */
		return;
	for (unsigned i = 0; i < db->num_rings; i++)
		ff_worker_wake_fd_del(w, ff_memif_ring_eventfd(db->rings[i]));
	if (db->hot) {
		TAILQ_REMOVE(&dw->hot, db, link);
	} else {
		TAILQ_REMOVE(&dw->cold, db, link);
		dw->num_cold--;
	}
}

int
doorbell_add(struct doorbell_chan *db)
{
	struct doorbell_call call = {.db = db};

	ff_worker_call(db->ch->worker, add_on_worker, &call);
	return call.rc;
}

void
doorbell_remove(struct doorbell_chan *db)
{
	struct doorbell_call call = {.db = db};

	ff_worker_call(db->ch->worker, remove_on_worker, &call);
}
