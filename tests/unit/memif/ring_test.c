/* SPDX-License-Identifier: MIT */
/* memif-bridge/ring.c: data both ways, full, empty, wrapped, masked, and broken by the peer. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

#include "fixture.h"

#define SIZE 8u

static struct pair p;
static struct ff_memif_ring *s2m_tx, *s2m_rx, *m2s_tx, *m2s_rx;

static void
open_rings(void)
{
	pair_open(&p, NULL, NULL);
	s2m_tx = ff_memif_ring_get(p.cli, true, 0);
	s2m_rx = ff_memif_ring_get(p.srv, true, 0);
	m2s_tx = ff_memif_ring_get(p.srv, false, 0);
	m2s_rx = ff_memif_ring_get(p.cli, false, 0);
	CU_ASSERT_PTR_NOT_NULL_FATAL(m2s_rx);
	CU_ASSERT_PTR_NOT_NULL_FATAL(s2m_rx);
}

static void
put(struct ff_memif_ring *tx, uint32_t value)
{
	struct ff_memif_desc d = {.length = sizeof(value), .metadata = ~value};
	uint32_t cap = 0;
	void *buf = NULL;

	CU_ASSERT_EQUAL_FATAL(ff_memif_ring_buffer(tx, 0, &buf, &cap), 0);
	CU_ASSERT_EQUAL(cap, 256);
	memcpy(buf, &value, sizeof(value));
	CU_ASSERT_EQUAL_FATAL(ff_memif_ring_produce(tx, &d, 1, true), 1);
}

static void
get(struct ff_memif_ring *rx, uint32_t value)
{
	struct ff_memif_desc d = {0};
	uint32_t got = 0;

	CU_ASSERT_EQUAL_FATAL(ff_memif_ring_consume(rx, &d, 1), 1);
	CU_ASSERT_EQUAL(d.length, sizeof(got));
	CU_ASSERT_EQUAL(d.metadata, ~value);
	memcpy(&got, d.addr, sizeof(got));
	CU_ASSERT_EQUAL(got, value);
	ff_memif_ring_release(rx, 1);
}

/* Through every value of the 16-bit indices, with the ring empty, half full and full. */
static void
wrap(struct ff_memif_ring *tx, struct ff_memif_ring *rx)
{
	uint32_t in = 0, out = 0;

	for (unsigned depth = 1; depth <= SIZE; depth += depth == 1 ? 3 : 4) {
		while (in - out < depth)
			put(tx, in++);
		for (unsigned i = 0; i < 70000; i++) {
			get(rx, out++);
			put(tx, in++);
		}
		while (out != in)
			get(rx, out++);
	}
	CU_ASSERT_EQUAL(ff_memif_ring_free(tx), SIZE);
	CU_ASSERT_FALSE(ff_memif_ring_pending(rx));
}

static void
both_ways(void)
{
	open_rings();
	wrap(s2m_tx, s2m_rx);
	wrap(m2s_tx, m2s_rx);
	pair_close(&p);
}

static void
full_and_empty(struct ff_memif_ring *tx, struct ff_memif_ring *rx)
{
	struct ff_memif_desc d[SIZE + 4] = {{.region = 0xffff}};
	uint32_t cap;
	void *buf;

	CU_ASSERT_EQUAL(ff_memif_ring_consume(rx, d, SIZE), 0);
	CU_ASSERT_FALSE(ff_memif_ring_pending(rx));
	CU_ASSERT_EQUAL(ff_memif_ring_free(tx), SIZE);
	CU_ASSERT_EQUAL(ff_memif_ring_buffer(tx, SIZE - 1, &buf, &cap), 0);
	CU_ASSERT_EQUAL(ff_memif_ring_buffer(tx, SIZE, &buf, &cap), -ENOBUFS);
	CU_ASSERT_EQUAL(ff_memif_ring_buffer(tx, ~0u, &buf, &cap), -ENOBUFS);
	for (unsigned i = 0; i < SIZE + 4; i++)
		d[i] = (struct ff_memif_desc){.region = 0xffff, .metadata = i};
	CU_ASSERT_EQUAL(ff_memif_ring_produce(tx, d, 0, false), 0);
	CU_ASSERT_EQUAL(ff_memif_ring_produce(tx, d, SIZE + 4, false), SIZE);
	CU_ASSERT_EQUAL(ff_memif_ring_produce(tx, d, 1, false), 0);
	CU_ASSERT_EQUAL(ff_memif_ring_free(tx), 0);
	CU_ASSERT_EQUAL(ff_memif_ring_buffer(tx, 0, &buf, &cap), -ENOBUFS);
	CU_ASSERT_TRUE(ff_memif_ring_pending(rx));
	memset(d, 0xff, sizeof(d));
	CU_ASSERT_EQUAL(ff_memif_ring_consume(rx, d, 3), 3);
	CU_ASSERT_EQUAL(ff_memif_ring_consume(rx, d + 3, SIZE), SIZE - 3);
	CU_ASSERT_EQUAL(ff_memif_ring_consume(rx, d, SIZE), 0);
	for (unsigned i = 0; i < SIZE; i++) {
		CU_ASSERT_EQUAL(d[i].metadata, i);
		CU_ASSERT_EQUAL(d[i].region, 0xffff);
		CU_ASSERT_EQUAL(d[i].length, 0);
		CU_ASSERT_PTR_NULL(d[i].addr);
	}
	/* Taken is not given back. */
	CU_ASSERT_EQUAL(ff_memif_ring_free(tx), 0);
	ff_memif_ring_release(rx, 2);
	CU_ASSERT_EQUAL(ff_memif_ring_free(tx), 2);
	ff_memif_ring_release(rx, SIZE - 2);
	CU_ASSERT_EQUAL(ff_memif_ring_free(tx), SIZE);
	/* And a slot that carried no buffer has its own again. */
	CU_ASSERT_EQUAL(ff_memif_ring_buffer(tx, 0, &buf, &cap), 0);
	CU_ASSERT_EQUAL(cap, 256);
}

static void
boundaries(void)
{
	open_rings();
	full_and_empty(s2m_tx, s2m_rx);
	full_and_empty(m2s_tx, m2s_rx);
	pair_close(&p);
}

static void
chains(void)
{
	struct ff_memif_desc d[3] = {
		{.flags = MEMIF_DESC_FLAG_NEXT, .length = 256},
		{.flags = 0xffff, .length = 256},
		{.flags = 0, .length = 1},
	};
	struct ff_memif_desc got[3];

	open_rings();
	CU_ASSERT_EQUAL(ff_memif_ring_produce(m2s_tx, d, 3, true), 3);
	CU_ASSERT_EQUAL(ff_memif_ring_consume(m2s_rx, got, 3), 3);
	CU_ASSERT_EQUAL(got[0].flags, MEMIF_DESC_FLAG_NEXT);
	CU_ASSERT_EQUAL(got[1].flags, MEMIF_DESC_FLAG_NEXT); /* no other flag is passed on */
	CU_ASSERT_EQUAL(got[2].flags, 0);
	CU_ASSERT_EQUAL((uint8_t *)got[1].addr - (uint8_t *)got[0].addr, 256);
	ff_memif_ring_release(m2s_rx, 3);
	/* A chain that never ends is handed out as it is: n bounds it. */
	for (unsigned i = 0; i < SIZE; i++)
		CU_ASSERT_EQUAL(ff_memif_ring_produce(s2m_tx, d, 1, true), 1);
	CU_ASSERT_EQUAL(ff_memif_ring_consume(s2m_rx, got, 3), 3);
	CU_ASSERT_EQUAL(got[2].flags, MEMIF_DESC_FLAG_NEXT);
	ff_memif_ring_release(s2m_rx, 3);
	pair_close(&p);
}

static bool
readable(struct ff_memif_ring *r)
{
	struct pollfd pfd = {.fd = ff_memif_ring_eventfd(r), .events = POLLIN};

	return poll(&pfd, 1, 0) == 1;
}

static void
signals(struct ff_memif_ring *tx, struct ff_memif_ring *rx)
{
	uint64_t n = UINT64_MAX - 1;

	CU_ASSERT_TRUE(ff_memif_ring_should_notify(tx));
	ff_memif_ring_mask(rx, true);
	CU_ASSERT_FALSE(ff_memif_ring_should_notify(tx));
	ff_memif_ring_mask(rx, false);
	CU_ASSERT_TRUE(ff_memif_ring_should_notify(tx));

	CU_ASSERT_FALSE(readable(rx));
	ff_memif_ring_notify(tx);
	CU_ASSERT_TRUE(readable(rx));
	ff_memif_ring_drain(rx);
	CU_ASSERT_FALSE(readable(rx));

	/* The peer fills the counter, and the last reader was quicker: neither call may block. */
	alarm(20);
	CU_ASSERT_EQUAL(write(ff_memif_ring_eventfd(rx), &n, sizeof(n)), sizeof(n));
	ff_memif_ring_notify(tx);
	ff_memif_ring_drain(rx);
	ff_memif_ring_drain(rx);
	alarm(0);
	CU_ASSERT_FALSE(readable(rx));
}

static void
eventfds(void)
{
	open_rings();
	signals(s2m_tx, s2m_rx);
	signals(m2s_tx, m2s_rx);
	pair_close(&p);
}

static struct ff_memif_desc one = {.length = 16};

static void
publish(struct ff_memif_ring *tx, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		CU_ASSERT_EQUAL_FATAL(ff_memif_ring_produce(tx, &one, 1, true), 1);
}

/* Every head a client can write, with some descriptors taken and some not given back. */
static void
head_jumps(void)
{
	struct ff_memif_desc d[SIZE];

	open_rings();
	publish(s2m_tx, 6);
	CU_ASSERT_EQUAL(ff_memif_ring_consume(s2m_rx, d, 5), 5);
	ff_memif_ring_release(s2m_rx, 2);
	for (unsigned head = 0; head <= 0xffff; head++) {
		uint16_t pos = s2m_rx->pos;
		int n;

		s2m_rx->shm->head = (uint16_t)head;
		n = ff_memif_ring_consume(s2m_rx, d, SIZE);
		CU_ASSERT_EQUAL(n, head >= 5 && head <= 2 + SIZE ? (int)head - 5 : -EPROTO);
		s2m_rx->pos = pos;
	}
	pair_close(&p);
}

/* The same for a server's tail, and for what a producer sees. */
static void
tail_jumps(void)
{
	struct ff_memif_desc d[SIZE];

	open_rings();
	publish(m2s_tx, 6);
	CU_ASSERT_EQUAL(ff_memif_ring_consume(m2s_rx, d, 4), 4);
	ff_memif_ring_release(m2s_rx, 4);
	for (unsigned tail = 0; tail <= 0xffff; tail++) {
		uint16_t pos = m2s_rx->pos;
		int n;

		m2s_rx->shm->tail = (uint16_t)tail;
		n = ff_memif_ring_consume(m2s_rx, d, SIZE);
		CU_ASSERT_EQUAL(n, tail >= 4 && tail <= 4 + SIZE ? (int)tail - 4 : -EPROTO);
		m2s_rx->pos = pos;
	}
	for (unsigned idx = 0; idx <= 0xffff; idx++) {
		s2m_tx->shm->tail = (uint16_t)idx;
		m2s_tx->shm->head = (uint16_t)idx;
		CU_ASSERT(ff_memif_ring_free(s2m_tx) <= SIZE);
		CU_ASSERT(ff_memif_ring_free(m2s_tx) <= SIZE);
		if (idx > 6 + SIZE)
			CU_ASSERT_EQUAL(ff_memif_ring_free(m2s_tx), 0);
	}
	pair_close(&p);
}

/* What a client writes into a descriptor, as seen by both uses that a server makes of it. */
static void
bad_descriptors(void)
{
	static const struct {
		struct memif_desc d;
		bool ok;
	} cases[] = {
		{{.region = 0, .length = 1, .offset = 0}, true},
		{{.region = 1, .length = 1, .offset = 0}, false},
		{{.region = 7, .length = 1, .offset = 0}, false},
		{{.region = 8, .length = 1, .offset = 0}, false},
		{{.region = 0xffff, .length = 1, .offset = 0}, false},
		{{.region = 0, .length = 6912, .offset = 0}, true},
		{{.region = 0, .length = 6913, .offset = 0}, false},
		{{.region = 0, .length = 1, .offset = 6911}, true},
		{{.region = 0, .length = 1, .offset = 6912}, false},
		{{.region = 0, .length = 2, .offset = 6911}, false},
		{{.region = 0, .length = 1, .offset = UINT32_MAX}, false},
		{{.region = 0, .length = UINT32_MAX, .offset = 1}, false},
		{{.region = 0, .length = UINT32_MAX, .offset = UINT32_MAX}, false},
	};
	struct ff_memif_desc d;
	uint32_t cap;
	void *buf;

	open_rings();
	CU_ASSERT_EQUAL_FATAL(p.srv->regions[0].size, 6912);
	publish(s2m_tx, 1);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		s2m_rx->shm->desc[0] = cases[i].d;
		CU_ASSERT_EQUAL(ff_memif_ring_consume(s2m_rx, &d, 1), cases[i].ok ? 1 : -EPROTO);
		if (cases[i].ok)
			CU_ASSERT_PTR_EQUAL(d.addr, p.srv->regions[0].base + cases[i].d.offset);
		s2m_rx->pos = 0;

		m2s_tx->shm->desc[0] = cases[i].d;
		CU_ASSERT_EQUAL(ff_memif_ring_buffer(m2s_tx, 0, &buf, &cap),
				cases[i].ok ? 0 : -EPROTO);
		if (cases[i].ok)
			CU_ASSERT_EQUAL(cap, cases[i].d.length);
	}
	m2s_tx->shm->desc[0].length = 0;
	CU_ASSERT_EQUAL(ff_memif_ring_buffer(m2s_tx, 0, &buf, &cap), -ENOBUFS);
	pair_close(&p);
}

/* A client's frame may not run into the next slot's buffer. */
static void
too_long(void)
{
	struct ff_memif_desc d = {.length = 257}, got;

	open_rings();
	CU_ASSERT_EQUAL(ff_memif_ring_produce(s2m_tx, &d, 1, true), 1);
	CU_ASSERT_EQUAL(ff_memif_ring_consume(s2m_rx, &got, 1), 1);
	CU_ASSERT_EQUAL(got.length, 256);
	pair_close(&p);
}

#define STREAM 400000u

static void *
stream_producer(void *arg)
{
	struct ff_memif_desc d = {.region = 0xffff};

	for (uint32_t i = 0; i < STREAM; i++) {
		d.metadata = i;
		while (!ff_memif_ring_produce(s2m_tx, &d, 1, false))
			sched_yield();
		if (ff_memif_ring_should_notify(s2m_tx))
			ff_memif_ring_notify(s2m_tx);
	}
	return arg;
}

/* Two threads, the consumer sleeping whenever it can: a lost wake-up would time out. */
static void
sleeping_consumer(void)
{
	struct ff_memif_desc d[SIZE];
	uint32_t next = 0;
	bool in_order = true;
	pthread_t t;

	open_rings();
	CU_ASSERT_EQUAL_FATAL(pthread_create(&t, NULL, stream_producer, NULL), 0);
	while (next < STREAM) {
		struct pollfd pfd = {.fd = ff_memif_ring_eventfd(s2m_rx), .events = POLLIN};
		int n;

		ff_memif_ring_mask(s2m_rx, true);
		while ((n = ff_memif_ring_consume(s2m_rx, d, SIZE)) > 0) {
			for (int i = 0; i < n; i++)
				in_order &= d[i].metadata == next++;
			ff_memif_ring_release(s2m_rx, (unsigned)n);
		}
		CU_ASSERT_EQUAL_FATAL(n, 0);
		ff_memif_ring_mask(s2m_rx, false);
		if (next == STREAM || ff_memif_ring_pending(s2m_rx))
			continue;
		CU_ASSERT_EQUAL_FATAL(poll(&pfd, 1, 20000), 1);
		ff_memif_ring_drain(s2m_rx);
	}
	CU_ASSERT_TRUE(in_order);
	pthread_join(t, NULL);
	pair_close(&p);
}

int
main(void)
{
	static const struct test tests[] = {
		{"data both ways, wrapping", both_ways},
		{"full and empty", boundaries},
		{"chains", chains},
		{"masks and eventfds", eventfds},
		{"head jumps", head_jumps},
		{"tail jumps", tail_jumps},
		{"bad descriptors", bad_descriptors},
		{"too long for its slot", too_long},
		{"consumer that sleeps", sleeping_consumer},
	};

	return run_tests("memif ring", tests, sizeof(tests) / sizeof(tests[0]));
}
