/* SPDX-License-Identifier: MIT */
/* Completions into a CQ and the events that they are due. Owner worker, every message. */
#include <infiniband/verbs.h>

#include "verbs_priv.h"

#define unlikely(x) __builtin_expect(!!(x), 0)

/* IBTA 11.6.3.1: no more completions in this CQ; the control thread puts its QPs into error. */
static __attribute__((noinline, cold)) int
cq_overrun(struct ff_cq *cq)
{
	if (!cq->overrun) {
		cq->overrun = true;
		ff_async_cq(cq, IBV_EVENT_CQ_ERR);
	}
	return -EOVERFLOW;
}

static __attribute__((noinline)) void
cq_event(struct ff_cq *cq, uint32_t armed, bool due)
{
	_Atomic uint32_t *word = ff_queue_word(FF_QUEUE_ANNEX(cq->q.buf));
	struct ib_uverbs_comp_event_desc rec = {.cq_handle = cq->obj.user_handle};
	int rc;

	if (armed == FF_CQ_ARM_SOLICITED && !due)
		return;
	if (atomic_exchange(word, FF_CQ_DISARMED) == FF_CQ_DISARMED)
		return;
	rc = event_pipe_write(cq->comp, &rec);
	if (!rc) {
		cq->events_sent++;
	} else if (rc == -EAGAIN) {
		atomic_fetch_add_explicit(&cq->comp_due, 1, memory_order_release);
		async_comp_due(cq);
	}
	/* Else the program has closed its end: the event has no reader. */
}

int
ff_cq_post(struct ff_cq *cq, const struct ib_uverbs_wc *wc, bool solicited)
{
	struct ff_queue *q = &cq->q;
	uint32_t next = (q->index + 1) & q->mask;
	uint32_t armed;

	if (unlikely(cq->overrun))
		return -EOVERFLOW;
	if (unlikely(next == cq->consumer)) {
		/* Full as far as we know: only then is the program's cache line touched. */
		cq->consumer = ff_queue_consumer(q);
		if (next == cq->consumer)
			return cq_overrun(cq);
	}
	memcpy(ff_queue_elem(q, q->index), wc, sizeof(*wc));
	q->index = next;
	ff_queue_publish_producer(q);
	cq->completions++;
	if (!cq->comp)
		return 0;
	/* Pairs with the shim's fence: arm, fence, poll (include/freeflow/uverbs.h). */
	atomic_thread_fence(memory_order_seq_cst);
	armed = atomic_load_explicit(ff_queue_word(FF_QUEUE_ANNEX(q->buf)), memory_order_relaxed);
	if (armed != FF_CQ_DISARMED)
		cq_event(cq, armed, solicited || wc->status != FF_WC_SUCCESS);
	return 0;
}
