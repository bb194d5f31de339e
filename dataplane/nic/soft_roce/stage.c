/* SPDX-License-Identifier: MIT */
/* The worker stage of QPs with peers elsewhere: receive, timers, send. Owner workers. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <rte_lcore.h>
#include <rte_mempool.h>

#include "sroce_priv.h"

#define RX_LOOK_NS 2000u
/* A worker that sleeps, and that nothing tells of packets, looks so often. */
#define RX_POLL_NS 50000u

/* nap() */
#define NAP_NS	      20000u
#define NAP_LATE_NS   500000u
#define NAP_LATE_COST 16u
#define NAPS_MAX      256u

static int slot = -1;

struct sworker *
sroce_worker(struct ff_worker *w)
{
	return ff_worker_priv(w, slot);
}

void
sroce_activate(struct sqp *s)
{
	if (s->active || !s->started)
		return;
	s->active = true;
	TAILQ_INSERT_TAIL(&s->sw->active, s, active_link);
}

void
sroce_deactivate(struct sqp *s)
{
	if (!s->active)
		return;
	s->active = false;
	TAILQ_REMOVE(&s->sw->active, s, active_link);
}

void
sroce_deadline_set(struct sqp *s)
{
	uint64_t d = s->started ? roce_deadline(&s->q) : UINT64_MAX;

	if (s->started && s->again_ns && s->again_ns < d)
		d = s->again_ns;
	s->deadline = d;
	if (d == UINT64_MAX) {
		if (s->timed)
			TAILQ_REMOVE(&s->sw->timed, s, timer_link);
		s->timed = false;
		return;
	}
	if (!s->timed) {
		s->timed = true;
		TAILQ_INSERT_TAIL(&s->sw->timed, s, timer_link);
	}
	if (d < s->sw->next_deadline)
		s->sw->next_deadline = d;
}

static void
timers(struct sworker *sw)
{
	struct sqp *s, *next;

	if (sw->now < sw->next_deadline)
		return;
	sw->next_deadline = UINT64_MAX;
	for (s = TAILQ_FIRST(&sw->timed); s; s = next) {
		next = TAILQ_NEXT(s, timer_link);
		if (sw->now >= s->deadline) {
			roce_tick(&s->q, sw->now);
			if (s->again_ns && sw->now >= s->again_ns) {
				s->again_ns = 0;
				sroce_rx_again(s);
			}
			sroce_activate(s);
			sroce_deadline_set(s);
		} else if (s->deadline < sw->next_deadline) {
			sw->next_deadline = s->deadline;
		}
	}
}

static unsigned
send_all(struct sworker *sw)
{
	struct sqp *s, *next;
	unsigned n = 0;

	/* One turn each; who has more to send goes on in the next pass. */
	for (s = TAILQ_FIRST(&sw->active); s; s = next) {
		next = TAILQ_NEXT(s, active_link);
		n += sroce_tx_qp(sw, s);
	}
	sroce_tx_flush(sw);
	return n;
}

static unsigned
stage_poll(struct ff_worker *w, uint64_t now_ns)
{
	struct sworker *sw = sroce_worker(w);
	unsigned work = 0;

	sroce_now_set(sw, now_ns);
	/* A look costs a system call: in each pass only where packets come, or are waited for. */
	if (sw->rx_look || sw->rx_full || !TAILQ_EMPTY(&sw->timed) ||
	    now_ns - sw->rx_ns > RX_LOOK_NS) {
		work = sroce_rx_poll(sw);
		sw->rx_look = work != 0;
		sw->rx_ns = now_ns;
	}
	timers(sw);
	return work + send_all(sw);
}

/*
 * Amid a message, and with nobody who waits for an answer, more comes in a moment. To be woken for
 * each packet costs both sides more than the packet itself: so what comes is let to gather. A nap
 * that finds nothing is the last one. Clocks that are too coarse for naps do without.
 */
static bool
nap(struct sworker *sw)
{
	static const struct timespec length = {.tv_nsec = NAP_NS};
	uint64_t from;

	if (!sw->rx_more || !sw->naps)
		return false;
	sw->rx_more = false;
	from = ff_now_ns();
	clock_nanosleep(CLOCK_MONOTONIC, 0, &length, NULL);
	if (ff_now_ns() - from > NAP_LATE_NS)
		sw->naps = sw->naps > NAP_LATE_COST ? sw->naps - NAP_LATE_COST : 0;
	else if (sw->naps < NAPS_MAX)
		sw->naps++;
	sw->rx_look = true;
	return true;
}

static bool
stage_sleep_prepare(struct ff_worker *w)
{
	struct sworker *sw = sroce_worker(w);

	return sw->rx_full || !TAILQ_EMPTY(&sw->active) || nap(sw) || ff_port_arm(sw->port);
}

/* What arrived meanwhile may be what woke it. */
static void
stage_sleep_done(struct ff_worker *w)
{
	struct sworker *sw = sroce_worker(w);

	ff_port_disarm(sw->port);
	sw->rx_look = true;
}

static uint64_t
stage_deadline(struct ff_worker *w)
{
	const struct sworker *sw = sroce_worker(w);
	uint64_t look = sw->rx_polled ? sw->rx_ns + RX_POLL_NS : UINT64_MAX;

	return look < sw->next_deadline ? look : sw->next_deadline;
}

static int
stage_init(struct ff_worker *w)
{
	struct sworker *sw = calloc(1, sizeof(*sw));
	char name[RTE_MEMPOOL_NAMESIZE];
	int fd;

	if (!sw)
		return -ENOMEM;
	sw->w = w;
	TAILQ_INIT(&sw->active);
	TAILQ_INIT(&sw->timed);
	TAILQ_INIT(&sw->all);
	sw->next_deadline = UINT64_MAX;
	sw->naps = NAPS_MAX;
	sw->port = ff_port_queue_get(sroce_port(), ff_worker_index(w));
	sw->src_mask = ff_port_src_mask(sroce_port());
	ff_worker_priv_set(w, slot, sw);
	snprintf(name, sizeof(name), "ff_handover%u", ff_worker_index(w));
	sw->handovers = rte_mempool_create(name, SROCE_HANDOVERS, SROCE_HANDOVER_SIZE, 0, 0, NULL,
					   NULL, NULL, NULL, SOCKET_ID_ANY, 0);
	if (!sw->handovers)
		return -ENOMEM;
	fd = ff_port_queue_fd(sw->port);
	sw->rx_polled = fd == FF_PORT_POLLED;
	return fd < 0 ? 0 : ff_worker_wake_socket_add(w, fd);
}

static void
stage_fini(struct ff_worker *w)
{
	struct sworker *sw = sroce_worker(w);

	if (!sw)
		return;
	rte_mempool_free(sw->handovers);
	free(sw);
	ff_worker_priv_set(w, slot, NULL);
}

int
sroce_stage_register(void)
{
	static const struct ff_worker_stage stage = {
		.name = "soft_roce",
		.init = stage_init,
		.fini = stage_fini,
		.poll = stage_poll,
		.sleep_prepare = stage_sleep_prepare,
		.sleep_done = stage_sleep_done,
		.deadline = stage_deadline,
	};

	slot = ff_worker_stage_register(&stage);
	return slot < 0 ? slot : 0;
}
