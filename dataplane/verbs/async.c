/* SPDX-License-Identifier: MIT */
/*
 * Async events (IBTA 11.6.3): from any worker to the program's async pipe. A worker sets a bit in
 * the object and, when it is the first, puts the object on a list; the control thread takes the
 * whole list and writes the records. No allocation, and no message that can outlive the object:
 * destroy drains the list once the workers have let go of it.
 */
#include <stdlib.h>

#include "../core/loop.h"
#include "verbs_priv.h"

/* Not an event of the program: the CQ has completion events that found its pipe full. */
#define ASYNC_COMP_DUE	31u
#define ASYNC_EVENTS	20u   /* enum ibv_event_type */
#define ASYNC_SAFETY_MS 1000u /* a wake-up that was lost to a full queue */

/* Writers push (workers: release), the control thread takes all (acquire). */
static _Atomic(struct ff_async_src *) list;
static atomic_bool waking; /* the message is on its way */
static void on_wake(struct ff_msg *m);
static struct ff_msg wake = {.fn = on_wake};
static struct ff_timer safety;

void
async_src_init(struct ff_async_src *s, enum async_kind kind)
{
	atomic_init(&s->pending, 0);
	s->next = NULL;
	s->kind = kind;
}

static void
push(struct ff_async_src *s)
{
	struct ff_async_src *head = atomic_load_explicit(&list, memory_order_relaxed);

	do {
		s->next = head;
	} while (!atomic_compare_exchange_weak_explicit(&list, &head, s, memory_order_release,
							memory_order_relaxed));
}

static void
raise_event(struct ff_async_src *s, uint32_t event)
{
	if (atomic_fetch_or_explicit(&s->pending, 1u << event, memory_order_acq_rel))
		return; /* still on the list */
	push(s);
	if (atomic_exchange_explicit(&waking, true, memory_order_acq_rel))
		return;
	/* The queue is full: the control thread is at work anyway; the timer will look. */
	if (ff_control_post(&wake))
		atomic_store_explicit(&waking, false, memory_order_release);
}

/* True if the record went, or will go, into the pipe. */
static bool
emit(struct ff_ucontext *uc, uint64_t element, uint32_t event)
{
	struct ib_uverbs_async_event_desc rec = {.element = element, .event_type = event};

	return uc->got_context && !event_pipe_send(&uc->async, &rec);
}

static void
emit_comp_due(struct ff_cq *cq)
{
	uint32_t n = atomic_exchange_explicit(&cq->comp_due, 0, memory_order_acq_rel);
	struct ib_uverbs_comp_event_desc rec = {.cq_handle = cq->obj.user_handle};

	while (n--) {
		if (!event_pipe_send(cq->comp, &rec))
			cq->comp_sent++;
	}
}

static void
deliver_one(struct ff_async_src *s, uint32_t event)
{
	struct ff_ucontext *uc;
	struct ff_srq *srq;
	struct ff_cq *cq;
	struct ff_qp *qp;

	switch ((enum async_kind)s->kind) {
	case ASYNC_QP:
		qp = (struct ff_qp *)((uint8_t *)s - offsetof(struct ff_qp, async_src));
		qp->async_sent += emit(qp->obj.uc, qp->obj.user_handle, event);
		break;
	case ASYNC_CQ:
		cq = (struct ff_cq *)((uint8_t *)s - offsetof(struct ff_cq, async_src));
		if (event == ASYNC_COMP_DUE) {
			emit_comp_due(cq);
			break;
		}
		cq->async_sent += emit(cq->obj.uc, cq->obj.user_handle, event);
		if (cq->overrun)
			qps_to_error(cq->obj.uc, cq);
		break;
	case ASYNC_SRQ:
		srq = (struct ff_srq *)((uint8_t *)s - offsetof(struct ff_srq, async_src));
		srq->async_sent += emit(srq->obj.uc, srq->obj.user_handle, event);
		break;
	case ASYNC_UCONTEXT:
		uc = (struct ff_ucontext *)((uint8_t *)s - offsetof(struct ff_ucontext, async_src));
		emit(uc, FF_PORT_NUM, event);
		break;
	}
}

/* The list is last in, first out. */
static struct ff_async_src *
reverse(struct ff_async_src *s)
{
	struct ff_async_src *out = NULL;

	while (s) {
		struct ff_async_src *next = s->next;

		s->next = out;
		out = s;
		s = next;
	}
	return out;
}

void
async_drain(void)
{
	struct ff_async_src *s =
		reverse(atomic_exchange_explicit(&list, NULL, memory_order_acquire));

	while (s) {
		struct ff_async_src *next = s->next;
		/* From here on a worker may put it on the list again. */
		uint32_t events = atomic_exchange_explicit(&s->pending, 0, memory_order_acq_rel);

		while (events) {
			uint32_t event = (uint32_t)__builtin_ctz(events);

			events &= events - 1;
			deliver_one(s, event);
		}
		s = next;
	}
}

static void
on_wake(struct ff_msg *m)
{
	atomic_store_explicit(&waking, false, memory_order_release);
	async_drain();
}

static void
on_safety_timer(void *arg)
{
	async_drain();
}

int
async_init(void)
{
	atomic_store(&waking, false);
	/* Without a loop (unit tests) there is nobody to lose a message to. */
	(void)ff_loop_timer_start(&safety, ASYNC_SAFETY_MS, on_safety_timer, NULL);
	return 0;
}

void
async_fini(void)
{
	ff_loop_timer_stop(&safety);
	async_drain();
}

void
async_comp_due(struct ff_cq *cq)
{
	raise_event(&cq->async_src, ASYNC_COMP_DUE);
}

void
ff_async_qp(struct ff_qp *qp, uint32_t ib_event)
{
	if (ib_event < ASYNC_EVENTS)
		raise_event(&qp->async_src, ib_event);
}

void
ff_async_cq(struct ff_cq *cq, uint32_t ib_event)
{
	if (ib_event < ASYNC_EVENTS)
		raise_event(&cq->async_src, ib_event);
}

void
ff_async_srq(struct ff_srq *srq, uint32_t ib_event)
{
	if (ib_event < ASYNC_EVENTS)
		raise_event(&srq->async_src, ib_event);
}

void
ff_async_ucontext(struct ff_ucontext *uc, uint32_t ib_event, uint32_t element)
{
	if (ib_event >= ASYNC_EVENTS)
		return;
	if (ff_worker_self())
		raise_event(&uc->async_src, ib_event); /* element is the port: there is one */
	else
		emit(uc, element, ib_event);
}

void
ff_async_container(struct ff_container *c, uint32_t ib_event)
{
	struct ff_ucontext *uc;
	struct ff_channel *ch;

	TAILQ_FOREACH (ch, &c->channels, link) {
		TAILQ_FOREACH (uc, &ch->contexts, link)
			emit(uc, FF_PORT_NUM, ib_event);
	}
}

/* enum ibv_event_type, by the kind of object that element names. */
#define EVENTS_CQ  (1u << 0)
#define EVENTS_SRQ (1u << 14 | 1u << 15)
#define EVENTS_QP  (1u << 1 | 1u << 2 | 1u << 3 | 1u << 4 | 1u << 5 | 1u << 6 | 1u << 7 | 1u << 16)

struct forget {
	uint64_t element;
	uint32_t events;
};

static bool
forget_match(const void *rec, void *arg)
{
	const struct forget *f = arg;
	struct ib_uverbs_async_event_desc d;

	memcpy(&d, rec, sizeof(d));
	return d.element == f->element && d.event_type < 32 && (f->events & 1u << d.event_type);
}

uint32_t
async_forget(struct ff_ucontext *uc, uint64_t user_handle, enum async_kind kind)
{
	struct forget f = {
		.element = user_handle,
		.events = kind == ASYNC_QP   ? EVENTS_QP
			  : kind == ASYNC_CQ ? EVENTS_CQ
					     : EVENTS_SRQ,
	};

	return event_pipe_remove(&uc->async, forget_match, &f);
}
