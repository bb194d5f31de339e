/* SPDX-License-Identifier: MIT */
/*
 * What several threads do at once: workers that raise events while the control thread delivers
 * them, a window that its owner binds again and again while another worker checks its key. Also
 * for ThreadSanitizer.
 */
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "../../../dataplane/verbs/verbs_priv.h"
#include "harness.h"

#define QPS    8u
#define ROUNDS 20000u
#define BINDS  1000000u

static struct ff_qp *qps[QPS];
static struct ff_cq *cq;
static atomic_uint running;
static int comp_fd;

/* Each has QPs of its own; the first owns the CQ. */
static void *
worker(void *arg)
{
	unsigned me = (unsigned)(uintptr_t)arg;
	struct ib_uverbs_wc wc = {0};

	for (unsigned i = 0; i < ROUNDS; i++) {
		ff_async_qp(qps[i % (QPS / 2) + me * (QPS / 2)], 1 + i % 3);
		if (me)
			continue;
		atomic_store(ff_queue_word(FF_QUEUE_ANNEX(cq->q.buf)), FF_CQ_ARM_NEXT);
		ff_cq_post(cq, &wc, false);
		atomic_store(ff_queue_word(&cq->q.buf->consumer_index), cq->q.index);
	}
	atomic_fetch_sub(&running, 1);
	return NULL;
}

static uint64_t
count_records(int fd, uint32_t size)
{
	uint8_t rec[64];
	uint64_t n = 0;

	for (; readable(fd, size); n++)
		CU_ASSERT_EQUAL_FATAL(read(fd, rec, size), size);
	return n;
}

static void
test_events(void)
{
	uint64_t async = 0, comp = 0, sent = 0;
	struct ff_msg *m;
	pthread_t t[2];
	uint32_t pd, h, chan;

	world_open();
	pd = make_pd();
	comp_fd = make_channel(&chan);
	h = make_cq(3, (int32_t)chan);
	cq = cq_of(h);
	for (unsigned i = 0; i < QPS; i++)
		qps[i] = qp_of(make_qp(pd, h, IBV_QPT_RC).qp_handle);
	atomic_store(&running, 2);
	for (uintptr_t i = 0; i < 2; i++)
		CU_ASSERT_EQUAL_FATAL(pthread_create(&t[i], NULL, worker, (void *)i), 0);
	while (atomic_load(&running)) {
		m = __atomic_exchange_n(&w.control_msg, NULL, __ATOMIC_ACQ_REL);
		if (m)
			m->fn(m);
		async += count_records(async_fd, sizeof(struct ib_uverbs_async_event_desc));
		comp += count_records(comp_fd, sizeof(uint64_t));
	}
	pthread_join(t[0], NULL);
	pthread_join(t[1], NULL);
	async_drain();
	event_pipes_retry();
	async += count_records(async_fd, sizeof(struct ib_uverbs_async_event_desc));
	do {
		comp += count_records(comp_fd, sizeof(uint64_t));
		event_pipes_retry();
	} while (readable(comp_fd, sizeof(uint64_t)));
	for (unsigned i = 0; i < QPS; i++) {
		CU_ASSERT_EQUAL(atomic_load(&qps[i]->async_src.pending), 0);
		CU_ASSERT(qps[i]->async_sent > 0);
		sent += qps[i]->async_sent;
	}
	CU_ASSERT_EQUAL(async, sent);
	/* One event for each time that it was armed. */
	CU_ASSERT_EQUAL(comp, ROUNDS);
	CU_ASSERT_EQUAL(cq->events_sent + cq->comp_sent, ROUNDS);
	close(comp_fd);
	world_close();
}

#define BASE  0x10000u
#define WIDE  0x100u  /* the window at BASE */
#define FAR   0x2000u /* where the other one begins */
#define SHORT 0x10u   /* its length */
#define SEEN  100u    /* that often, each must have been found while they change */

static uint32_t rkey, lkey;
static struct ff_qp *binder;
static atomic_uint bind_errors;

static void *
bind_loop(void *arg)
{
	struct ff_mw_bind b = {
		.mr_lkey = lkey, .mw_rkey = rkey, .rkey = rkey, .access = IBV_ACCESS_REMOTE_READ};

	/* Its last one is the far one. */
	for (unsigned i = 0; i < BINDS || i & 1 || atomic_load(&running); i++) {
		b.addr = i & 1 ? BASE + FAR : BASE;
		b.length = i & 1 ? SHORT : WIDE;
		atomic_fetch_add(&bind_errors, ff_mw_bind(binder, &b) != 0);
	}
	return NULL;
}

static int
check(uint64_t va, uint64_t len, uint64_t *off)
{
	struct ff_mr *mr;

	return ff_key_check_remote(binder->pd->id, binder->qpn, rkey, va, len,
				   IBV_ACCESS_REMOTE_READ, &mr, off);
}

/* The key stays the same; the window is the one or the other, never something between. */
static void
test_window(void)
{
	uint64_t off, near = 0, far = 0;
	pthread_t t;
	uint32_t pd, h;

	world_open();
	pd = make_pd();
	binder = qp_of(make_qp(pd, make_cq(3, -1), IBV_QPT_RC).qp_handle);
	make_mr(pd, BASE, 0x4000, IBV_ACCESS_MW_BIND, &lkey);
	h = make_mw(pd, IBV_MW_TYPE_1, &rkey);
	atomic_store(&running, 1);
	CU_ASSERT_EQUAL_FATAL(pthread_create(&t, NULL, bind_loop, NULL), 0);
	while (near < SEEN || far < SEEN) {
		if (!check(BASE, WIDE, &off)) {
			CU_ASSERT_EQUAL(off, 0);
			near++;
		}
		if (!check(BASE + FAR, SHORT, &off)) {
			CU_ASSERT_EQUAL(off, FAR);
			far++;
		}
		CU_ASSERT_NOT_EQUAL(check(BASE + FAR, SHORT + 1, &off), 0);
		CU_ASSERT_NOT_EQUAL(check(BASE + WIDE - 1, 2, &off), 0);
	}
	atomic_store(&running, 0);
	pthread_join(t, NULL);
	CU_ASSERT_EQUAL(atomic_load(&bind_errors), 0);
	CU_ASSERT_EQUAL(check(BASE + FAR, SHORT, &off), 0);
	/* Its owner stands still in the middle of a change: no. */
	atomic_fetch_add(&mw_of(h)->seq, 1);
	CU_ASSERT_EQUAL(check(BASE + FAR, SHORT, &off), -EACCES);
	atomic_fetch_add(&mw_of(h)->seq, 1);
	CU_ASSERT_EQUAL(check(BASE + FAR, SHORT, &off), 0);
	world_close();
}

int
main(void)
{
	static const struct test_case cases[] = {
		{"events", test_events},
		{"window", test_window},
	};

	return run_suite("verbs threads", cases, COUNT_OF(cases));
}
