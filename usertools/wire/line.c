/* SPDX-License-Identifier: MIT */
/* Reordering, delay, bottleneck. */
#include "line.h"

#define NS 1000000000ull

void
wire_line_init(struct wire_line *line)
{
	TAILQ_INIT(&line->held);
	TAILQ_INIT(&line->delayed);
	line->last = 0;
	line->count = 0;
}

static void
line_delay(struct wire_line *line, struct wire_frame *frame, const struct wire_settings *s,
	   uint64_t now)
{
	frame->time = now + s->delay + frame->jitter;
	if (frame->time < line->last)
		frame->time = line->last;
	line->last = frame->time;
	TAILQ_INSERT_TAIL(&line->delayed, frame, link);
}

/* A frame has gone by: those that have waited for it follow. */
static void
held_count_down(struct wire_line *line, const struct wire_settings *s, uint64_t now)
{
	struct wire_frame *frame, *next;

	for (frame = TAILQ_FIRST(&line->held); frame; frame = next) {
		next = TAILQ_NEXT(frame, link);
		if (--frame->hold)
			continue;
		TAILQ_REMOVE(&line->held, frame, link);
		line_delay(line, frame, s, now);
	}
}

static void
held_expire(struct wire_line *line, const struct wire_settings *s, uint64_t now)
{
	struct wire_frame *frame;

	while ((frame = TAILQ_FIRST(&line->held)) && frame->time <= now) {
		TAILQ_REMOVE(&line->held, frame, link);
		line_delay(line, frame, s, frame->time);
	}
}

void
wire_line_put(struct wire_line *line, struct wire_frame *frame, const struct wire_settings *s,
	      uint64_t now)
{
	held_expire(line, s, now);
	line->count++;
	if (frame->hold) {
		frame->time = now + WIRE_HOLD_NS;
		TAILQ_INSERT_TAIL(&line->held, frame, link);
		return;
	}
	line_delay(line, frame, s, now);
	held_count_down(line, s, now);
}

struct wire_frame *
wire_line_take(struct wire_line *line, const struct wire_settings *s, uint64_t now)
{
	struct wire_frame *frame;

	held_expire(line, s, now);
	frame = TAILQ_FIRST(&line->delayed);
	if (!frame || frame->time > now)
		return NULL;
	TAILQ_REMOVE(&line->delayed, frame, link);
	line->count--;
	return frame;
}

uint64_t
wire_line_next(const struct wire_line *line)
{
	const struct wire_frame *held = TAILQ_FIRST(&line->held);
	const struct wire_frame *delayed = TAILQ_FIRST(&line->delayed);
	uint64_t next = held ? held->time : WIRE_NEVER;

	return delayed && delayed->time < next ? delayed->time : next;
}

void
wire_queue_init(struct wire_queue *queue)
{
	TAILQ_INIT(&queue->frames);
	queue->bytes = 0;
	queue->busy_until = 0;
	queue->count = 0;
}

enum wire_verdict
wire_queue_put(struct wire_queue *queue, struct wire_frame *frame, const struct wire_settings *s)
{
	bool marked = false;

	if (s->rate) {
		if (queue->bytes > s->limit || frame->len > s->limit - queue->bytes)
			return WIRE_REFUSED;
		marked = s->ecn && queue->bytes + frame->len > s->ecn && wire_frame_mark(frame);
	}
	TAILQ_INSERT_TAIL(&queue->frames, frame, link);
	queue->bytes += frame->len;
	queue->count++;
	return marked ? WIRE_MARKED : WIRE_QUEUED;
}

/*
 * When its last bit is out. It is reckoned from the frame before it, not from when that one was
 * looked at: a wake-up that comes late does not lower the rate.
 */
static uint64_t
departure(const struct wire_queue *queue, const struct wire_frame *frame,
	  const struct wire_settings *s)
{
	uint64_t start = queue->busy_until > frame->time ? queue->busy_until : frame->time;

	return s->rate ? start + frame->len * 8ull * NS / s->rate : frame->time;
}

struct wire_frame *
wire_queue_take(struct wire_queue *queue, const struct wire_settings *s, uint64_t now)
{
	struct wire_frame *frame = TAILQ_FIRST(&queue->frames);
	uint64_t time;

	if (!frame)
		return NULL;
	time = departure(queue, frame, s);
	if (time > now)
		return NULL;
	queue->busy_until = time;
	TAILQ_REMOVE(&queue->frames, frame, link);
	queue->bytes -= frame->len;
	queue->count--;
	return frame;
}

uint64_t
wire_queue_next(const struct wire_queue *queue, const struct wire_settings *s)
{
	const struct wire_frame *frame = TAILQ_FIRST(&queue->frames);

	return frame ? departure(queue, frame, s) : WIRE_NEVER;
}
