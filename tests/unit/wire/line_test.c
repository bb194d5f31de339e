/* SPDX-License-Identifier: MIT */
/* Tests usertools/wire/line.c: order, delay and the bottleneck, at times that the test chooses. */
#include <stdlib.h>

#include "line.h"
#include "wire_util.h"

#define MS 1000000ull

static struct wire_settings settings;
static struct wire_line line;
static struct wire_queue queue;

static struct wire_frame *
frame_make(unsigned payload, unsigned hold)
{
	struct wire_frame *frame = malloc(sizeof(*frame));

	CU_ASSERT_PTR_NOT_NULL_FATAL(frame);
	udp4_make(frame, payload, true);
	frame->hold = (uint8_t)hold;
	return frame;
}

static void
line_reset(void)
{
	wire_settings_init(&settings);
	wire_line_init(&line);
}

static struct wire_frame *
put(unsigned hold, uint64_t now)
{
	struct wire_frame *frame = frame_make(20, hold);

	wire_line_put(&line, frame, &settings, now);
	return frame;
}

/* The frame is the next that comes through, at the time it says. */
static void
expect(struct wire_frame *frame, uint64_t now)
{
	struct wire_frame *got = wire_line_take(&line, &settings, now);

	CU_ASSERT_PTR_EQUAL_FATAL(got, frame);
	free(frame);
}

static void
test_no_impairment(void)
{
	struct wire_frame *a, *b;

	line_reset();
	CU_ASSERT_EQUAL(wire_line_next(&line), WIRE_NEVER);
	a = put(0, 5);
	b = put(0, 5);
	CU_ASSERT_EQUAL(line.count, 2);
	expect(a, 5);
	expect(b, 5);
	CU_ASSERT_PTR_NULL(wire_line_take(&line, &settings, WIRE_NEVER));
	CU_ASSERT_EQUAL(line.count, 0);
}

static void
test_delay(void)
{
	struct wire_frame *a;

	line_reset();
	settings.delay = 10 * MS;
	a = put(0, 1 * MS);
	CU_ASSERT_EQUAL(wire_line_next(&line), 11 * MS);
	CU_ASSERT_PTR_NULL(wire_line_take(&line, &settings, 11 * MS - 1));
	expect(a, 11 * MS);
}

static void
test_jitter_keeps_order(void)
{
	struct wire_frame *a, *b = frame_make(20, 0);

	line_reset();
	settings.delay = 10 * MS;
	a = frame_make(20, 0);
	a->jitter = 3 * MS;
	wire_line_put(&line, a, &settings, 0);
	wire_line_put(&line, b, &settings, 1 * MS);
	CU_ASSERT_PTR_NULL(wire_line_take(&line, &settings, 12 * MS));
	expect(a, 13 * MS);
	expect(b, 13 * MS);
	/* Neither does a delay that has become shorter under way. */
	a = put(0, 20 * MS);
	settings.delay = 0;
	b = put(0, 21 * MS);
	CU_ASSERT_PTR_NULL(wire_line_take(&line, &settings, 29 * MS));
	expect(a, 30 * MS);
	expect(b, 30 * MS);
}

static void
test_reorder(void)
{
	struct wire_frame *f[6];

	line_reset();
	f[0] = put(2, 0);
	f[1] = put(0, 0);
	f[2] = put(1, 0);
	f[3] = put(0, 0);
	f[4] = put(3, 0);
	f[5] = put(0, 0);
	/* 0 waits for 1 and 3, 2 for 3; a held one overtakes nobody. */
	expect(f[1], 0);
	expect(f[3], 0);
	expect(f[0], 0);
	expect(f[2], 0);
	expect(f[5], 0);
	CU_ASSERT_PTR_NULL(wire_line_take(&line, &settings, WIRE_HOLD_NS - 1));
	CU_ASSERT_EQUAL(wire_line_next(&line), WIRE_HOLD_NS);
	expect(f[4], WIRE_HOLD_NS);
	CU_ASSERT_EQUAL(line.count, 0);
}

/* What is held goes on in time although the next frame comes late, and is delayed as well. */
static void
test_hold_ends(void)
{
	struct wire_frame *a, *b;

	line_reset();
	settings.delay = 2 * MS;
	a = put(3, 0);
	b = put(0, 100 * MS);
	expect(a, 100 * MS);
	CU_ASSERT_PTR_NULL(wire_line_take(&line, &settings, 101 * MS));
	expect(b, 102 * MS);
}

static void
queue_reset(uint64_t rate, uint64_t limit, uint64_t ecn)
{
	wire_settings_init(&settings);
	settings.rate = rate;
	settings.limit = limit;
	settings.ecn = ecn;
	wire_queue_init(&queue);
}

static struct wire_frame *
queued(unsigned payload, unsigned tos, uint64_t now, enum wire_verdict want)
{
	struct wire_frame *frame = frame_make(payload, 0);

	frame->bytes[15] = (uint8_t)tos;
	frame->time = now;
	CU_ASSERT_EQUAL_FATAL(wire_queue_put(&queue, frame, &settings), want);
	if (want != WIRE_REFUSED)
		return frame;
	free(frame);
	return NULL;
}

static void
left(struct wire_frame *frame, uint64_t now)
{
	CU_ASSERT_EQUAL(wire_queue_next(&queue, &settings), now);
	CU_ASSERT_PTR_NULL(wire_queue_take(&queue, &settings, now - 1));
	CU_ASSERT_PTR_EQUAL_FATAL(wire_queue_take(&queue, &settings, now), frame);
	free(frame);
}

/* 1000 bytes at 8 Mbit/s take 1 ms. */
static void
test_rate(void)
{
	struct wire_frame *a, *b, *c;

	queue_reset(8000000, 100000, 0);
	a = queued(958, 0, 10 * MS, WIRE_QUEUED);
	b = queued(958, 0, 10 * MS, WIRE_QUEUED);
	left(a, 11 * MS);
	left(b, 12 * MS);
	/* After a pause the line is free, but has saved nothing. */
	a = queued(958, 0, 50 * MS, WIRE_QUEUED);
	b = queued(958, 0, 50 * MS, WIRE_QUEUED);
	c = queued(958, 0, 50 * MS, WIRE_QUEUED);
	left(a, 51 * MS);
	/* Looked at late: what should have left by then has. */
	CU_ASSERT_PTR_EQUAL(wire_queue_take(&queue, &settings, 60 * MS), b);
	CU_ASSERT_PTR_EQUAL(wire_queue_take(&queue, &settings, 60 * MS), c);
	free(b);
	free(c);
	CU_ASSERT_EQUAL(queue.bytes, 0);
	CU_ASSERT_EQUAL(queue.count, 0);
	CU_ASSERT_EQUAL(wire_queue_next(&queue, &settings), WIRE_NEVER);
}

static void
test_limit(void)
{
	struct wire_frame *f[2];

	queue_reset(8000000, 2000, 0);
	f[0] = queued(958, 2, 0, WIRE_QUEUED);
	f[1] = queued(958, 0, 0, WIRE_QUEUED);
	queued(0, 0, 0, WIRE_REFUSED);
	left(f[0], 1 * MS);
	queued(959, 0, 1 * MS, WIRE_REFUSED);
	f[0] = queued(958, 0, 1 * MS, WIRE_QUEUED);
	settings.limit = 10;
	queued(0, 0, 1 * MS, WIRE_REFUSED);
	/* Without the bottleneck all of it leaves at once. */
	settings.rate = 0;
	CU_ASSERT_PTR_EQUAL(wire_queue_take(&queue, &settings, 1 * MS), f[1]);
	CU_ASSERT_PTR_EQUAL(wire_queue_take(&queue, &settings, 1 * MS), f[0]);
	free(f[0]);
	free(f[1]);
}

static void
test_ecn(void)
{
	struct wire_frame *f[5];
	unsigned i;

	queue_reset(8000000, 1000000, 2000);
	f[0] = queued(958, 2, 0, WIRE_QUEUED);
	f[1] = queued(958, 1, 0, WIRE_QUEUED);
	f[2] = queued(958, 2, 0, WIRE_MARKED);
	f[3] = queued(958, 0, 0, WIRE_QUEUED);
	f[4] = queued(958, 1, 0, WIRE_MARKED);
	CU_ASSERT_EQUAL(f[1]->bytes[15], 1);
	CU_ASSERT_EQUAL(f[2]->bytes[15], 3);
	CU_ASSERT_EQUAL(f[3]->bytes[15], 0);
	for (i = 0; i < 5; i++)
		left(f[i], (i + 1) * MS);
	f[0] = queued(958, 2, 9 * MS, WIRE_QUEUED);
	left(f[0], 10 * MS);
}

int
main(void)
{
	unsigned failures;
	CU_pSuite suite;

	CU_initialize_registry();
	suite = CU_add_suite("wire/line", NULL, NULL);
	CU_add_test(suite, "no impairment", test_no_impairment);
	CU_add_test(suite, "delay", test_delay);
	CU_add_test(suite, "jitter keeps order", test_jitter_keeps_order);
	CU_add_test(suite, "reorder", test_reorder);
	CU_add_test(suite, "a hold ends", test_hold_ends);
	CU_add_test(suite, "rate", test_rate);
	CU_add_test(suite, "limit", test_limit);
	CU_add_test(suite, "ECN", test_ecn);
	CU_basic_run_tests();
	failures = CU_get_number_of_failures();
	CU_cleanup_registry();
	return failures != 0;
}
