/* SPDX-License-Identifier: MIT */
/* The worker stage of QPs with peers elsewhere: receive, timers, send. Owner workers. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include <rte_lcore.h>
#include <rte_mempool.h>

#include "sroce_priv.h"

#define RX_LOOK_NS 2000u
/* A worker that sleeps, and that nothing tells of packets, looks so often. */
#define RX_POLL_NS 50000u

/* nap() */
#define NAP_NS		20000u
#define NAP_LATE_NS	500000u
#define NAP_PAYS	2u /* packets that it finds */
#define NAP_CREDIT	64u
#define NAP_PROBE_EVERY 32u

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

/* ---- naps ---- */

/* While it rests, the port's socket does not wake the worker; all else does. */
static void
rest(struct sworker *sw, bool on)
{
	if (sw->resting == on || ff_worker_wake_socket_rest(sw->w, sw->rx_fd, on))
		return;
	sw->resting = on;
}

/* What came while it slept says whether the next nap is worth it. */
static void
nap_judge(struct sworker *sw, uint64_t now, unsigned packets)
{
	if (!sw->nap_end)
		return;
	sw->nap_packets += packets;
	if (now < sw->nap_end)
		return;
	if (now - sw->nap_end > NAP_LATE_NS || sw->nap_packets < NAP_PAYS)
		sw->nap_credit /= 2;
	else if (sw->nap_credit < NAP_CREDIT)
		sw->nap_credit++;
	sw->nap_end = 0;
	sw->nap_packets = 0;
}

/*
 * Amid a message, and with nobody who waits for an answer, more comes in a moment. To be woken for
 * each packet costs both sides more than the packet itself. So the worker sleeps without its socket
 * for a little, and what comes may gather, as a NIC's interrupt moderation has it: no packet waits
 * longer than NAP_NS, and doorbells, messages and timers do not wait at all. Where naps have found
 * nothing of late, it is tried now and then.
 */
static bool
nap(struct sworker *sw)
{
	if (sw->rx_more && sw->rx_fd >= 0 &&
	    (sw->nap_credit || ++sw->nap_probe % NAP_PROBE_EVERY == 0))
		sw->nap_end = ff_now_ns() + NAP_NS;
	sw->rx_more = false;
	rest(sw, sw->nap_end != 0);
	return sw->resting;
}

/* ---- the stage ---- */

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
		nap_judge(sw, now_ns, work);
		sw->rx_look = work != 0;
		sw->rx_ns = now_ns;
	}
	timers(sw);
	return work + send_all(sw);
}

static bool
stage_sleep_prepare(struct ff_worker *w)
{
	struct sworker *sw = sroce_worker(w);

	if (sw->rx_full || !TAILQ_EMPTY(&sw->active))
		return true;
	return !nap(sw) && ff_port_arm(sw->port);
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

	if (sw->resting && sw->nap_end < look)
		look = sw->nap_end;
	return look < sw->next_deadline ? look : sw->next_deadline;
}

static int
stage_init(struct ff_worker *w)
{
	struct sworker *sw = calloc(1, sizeof(*sw));
	char name[RTE_MEMPOOL_NAMESIZE];

	if (!sw)
		return -ENOMEM;
	sw->w = w;
	TAILQ_INIT(&sw->active);
	TAILQ_INIT(&sw->timed);
	TAILQ_INIT(&sw->all);
	sw->next_deadline = UINT64_MAX;
	sw->nap_credit = NAP_CREDIT;
	sw->port = ff_port_queue_get(sroce_port(), ff_worker_index(w));
	sw->src_mask = ff_port_src_mask(sroce_port());
	ff_worker_priv_set(w, slot, sw);
	snprintf(name, sizeof(name), "ff_handover%u", ff_worker_index(w));
	sw->handovers = rte_mempool_create(name, SROCE_HANDOVERS, SROCE_HANDOVER_SIZE, 0, 0, NULL,
					   NULL, NULL, NULL, SOCKET_ID_ANY, 0);
	if (!sw->handovers)
		return -ENOMEM;
	sw->rx_fd = ff_port_queue_fd(sw->port);
	sw->rx_polled = sw->rx_fd == FF_PORT_POLLED;
	return sw->rx_fd < 0 ? 0 : ff_worker_wake_socket_add(w, sw->rx_fd);
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
