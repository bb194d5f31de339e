/* SPDX-License-Identifier: MIT */
/* Event pipes: order, removal, what a program does to its end, a reader that runs meanwhile. */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "../../../dataplane/verbs/verbs_priv.h"
#include "harness.h"

static bool
odd(const void *rec, void *arg)
{
	uint64_t v;

	memcpy(&v, rec, sizeof(v));
	return v & 1;
}

static bool
none(const void *rec, void *arg)
{
	return false;
}

static void
put(struct ff_event_pipe *p, uint64_t v)
{
	CU_ASSERT_EQUAL(event_pipe_send(p, &v), 0);
}

static void
test_remove_keeps_order(void)
{
	struct ff_event_pipe p;
	uint64_t v;
	int fd;

	CU_ASSERT_EQUAL_FATAL(event_pipe_open(&p, 8, &fd), 0);
	for (uint64_t i = 0; i < 100; i++)
		put(&p, i);
	CU_ASSERT_EQUAL(event_pipe_remove(&p, none, NULL), 0);
	CU_ASSERT_EQUAL(event_pipe_remove(&p, odd, NULL), 50);
	CU_ASSERT_EQUAL(event_pipe_remove(&p, odd, NULL), 0);
	CU_ASSERT_EQUAL(readable(fd, 8), 50);
	for (uint64_t i = 0; i < 100; i += 2) {
		CU_ASSERT_EQUAL(read(fd, &v, 8), 8);
		CU_ASSERT_EQUAL(v, i);
	}
	event_pipe_close(&p);
	CU_ASSERT_EQUAL(read(fd, &v, 8), 0);
	close(fd);
}

/* More than the largest pipe: the rest follows as the program reads. */
static void
test_overflow(void)
{
	const uint64_t num = 180000;
	struct ff_event_pipe p;
	uint64_t v, removed;
	int fd;

	CU_ASSERT_EQUAL_FATAL(event_pipe_open(&p, 8, &fd), 0);
	for (uint64_t i = 0; i < num; i++)
		put(&p, i);
	CU_ASSERT(p.pend_len > 0);
	CU_ASSERT_EQUAL(p.dropped, 0);
	removed = event_pipe_remove(&p, odd, NULL);
	CU_ASSERT_EQUAL(removed, num / 2);
	for (uint64_t i = 0; i < num; i += 2) {
		event_pipes_retry();
		CU_ASSERT_EQUAL_FATAL(read(fd, &v, 8), 8);
		CU_ASSERT_EQUAL_FATAL(v, i);
	}
	CU_ASSERT_EQUAL(p.pend_len, 0);
	event_pipe_close(&p);
	close(fd);
}

static void
test_bound(void)
{
	struct ff_event_pipe p;
	unsigned lost = 0;
	uint64_t v = 0;
	int fd;

	CU_ASSERT_EQUAL_FATAL(event_pipe_open(&p, 8, &fd), 0);
	for (; v < 300000; v++)
		lost += event_pipe_send(&p, &v) == -ENOSPC;
	CU_ASSERT(lost > 0);
	CU_ASSERT_EQUAL(p.dropped, lost);
	CU_ASSERT(p.pend_len <= 65536 * 8);
	event_pipe_close(&p);
	close(fd);
}

/* The program has read half a record: the other half stays in front. */
static void
test_partial_read(void)
{
	struct ff_event_pipe p;
	uint64_t v;
	uint32_t half;
	int fd;

	CU_ASSERT_EQUAL_FATAL(event_pipe_open(&p, 8, &fd), 0);
	put(&p, 0x1111111122222222);
	put(&p, 3);
	put(&p, 4);
	CU_ASSERT_EQUAL(read(fd, &half, 4), 4);
	CU_ASSERT_EQUAL(half, 0x22222222);
	CU_ASSERT_EQUAL(event_pipe_remove(&p, odd, NULL), 1);
	CU_ASSERT_EQUAL(read(fd, &half, 4), 4);
	CU_ASSERT_EQUAL(half, 0x11111111);
	CU_ASSERT_EQUAL(read(fd, &v, 8), 8);
	CU_ASSERT_EQUAL(v, 4);
	event_pipe_close(&p);
	close(fd);
}

static void
test_reader_gone(void)
{
	struct ff_event_pipe p;
	uint64_t v = 1;
	int fd;

	world_open(); /* ignores SIGPIPE */
	CU_ASSERT_EQUAL_FATAL(event_pipe_open(&p, 8, &fd), 0);
	put(&p, 1);
	CU_ASSERT_FALSE(event_pipe_orphan(&p));
	close(fd);
	CU_ASSERT_TRUE(event_pipe_orphan(&p));
	CU_ASSERT_EQUAL(event_pipe_send(&p, &v), -EPIPE);
	CU_ASSERT_EQUAL(event_pipe_write(&p, &v), -EPIPE);
	event_pipe_remove(&p, none, NULL); /* writes back to nobody */
	CU_ASSERT_EQUAL(p.pend_len, 0);
	event_pipe_close(&p);
	event_pipe_close(&p);
	world_close();
}

/*
 * A program that reads all the time, and CQs that come and go: what destroy says is what the
 * program has read of the CQ, no more and no less. libibverbs waits for exactly that.
 */
#define ROUNDS 300u
#define EVENTS 40u

static int reader_fd;
static _Atomic uint32_t seen[ROUNDS + 1];

static void *
reader(void *arg)
{
	uint64_t v;

	while (read(reader_fd, &v, sizeof(v)) == sizeof(v) && v <= ROUNDS)
		atomic_fetch_add(&seen[v], 1);
	return NULL;
}

static void
test_destroy_counts(void)
{
	uint32_t chan, comp[ROUNDS + 1];
	pthread_t thread;
	uint64_t stop = UINT64_MAX;
	uint32_t other;

	world_open();
	reader_fd = make_channel(&chan);
	other = make_cq(7, (int32_t)chan);
	cq_of(other)->obj.user_handle = 0;
	CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, reader, NULL), 0);
	for (uint32_t r = 1; r <= ROUNDS; r++) {
		uint32_t h = make_cq(15, (int32_t)chan);
		struct ff_cq *cq = cq_of(h);
		struct ib_uverbs_wc wc = {0};

		cq->obj.user_handle = r;
		for (unsigned i = 0; i < EVENTS; i++) {
			struct ff_cq *to = i % 4 ? cq : cq_of(other);

			atomic_store(ff_queue_word(FF_QUEUE_ANNEX(to->q.buf)), FF_CQ_ARM_NEXT);
			ff_cq_post(to, &wc, false);
			to->q.buf->consumer_index = to->q.buf->producer_index;
		}
		CU_ASSERT(destroy_cq(h, &comp[r], NULL) > 0);
	}
	CU_ASSERT(destroy_cq(other, &comp[0], NULL) > 0);
	CU_ASSERT_EQUAL(write(w.uc->comp_channels.tqh_first->fd, &stop, sizeof(stop)), 8);
	pthread_join(thread, NULL);
	for (uint32_t r = 0; r <= ROUNDS; r++)
		CU_ASSERT_EQUAL(comp[r], atomic_load(&seen[r]));
	close(reader_fd);
	world_close();
}

int
main(void)
{
	static const struct test_case cases[] = {
		{"remove keeps order", test_remove_keeps_order},
		{"overflow", test_overflow},
		{"bound", test_bound},
		{"partial read", test_partial_read},
		{"reader gone", test_reader_gone},
		{"destroy counts", test_destroy_counts},
	};

	return run_suite("verbs events", cases, COUNT_OF(cases));
}
