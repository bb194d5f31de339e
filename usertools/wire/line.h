/* SPDX-License-Identifier: MIT */
/*
 * Where frames wait. A line is what lies behind the port that a frame has come in by: it reorders
 * and delays. A queue is in front of the port by which it leaves: the bottleneck. Time is passed
 * in, in ns, and only grows.
 */
#ifndef FF_WIRE_LINE_H
#define FF_WIRE_LINE_H

#include "frame.h"
#include "spec.h"

/* A held frame goes on after this time, overtaken or not: it may be the last of its burst. */
#define WIRE_HOLD_NS 5000000ull
#define WIRE_NEVER   UINT64_MAX

/* Its frames are bounded by the pool. */
struct wire_line {
	struct wire_frames held;    /* by time, as they came */
	struct wire_frames delayed; /* by time: what is not held keeps its order, jitter or not */
	uint64_t last;		    /* time of the latest one of delayed */
	unsigned count;		    /* frames in both */
};

void wire_line_init(struct wire_line *line);
/* frame->hold and jitter say what becomes of it. */
void wire_line_put(struct wire_line *line, struct wire_frame *frame, const struct wire_settings *s,
		   uint64_t now);
/* The next frame that has come through by now, or NULL; its time says when it did. */
struct wire_frame *wire_line_take(struct wire_line *line, const struct wire_settings *s,
				  uint64_t now);
/* When take is worth a try, or WIRE_NEVER. */
uint64_t wire_line_next(const struct wire_line *line);

/* Full: put refuses the frame (WIRE_REFUSED), it is still the caller's. */
struct wire_queue {
	struct wire_frames frames;
	uint64_t bytes;
	uint64_t busy_until; /* the bottleneck, with the frame before the first one */
	unsigned count;
};

enum wire_verdict {
	WIRE_QUEUED,
	WIRE_MARKED, /* queued too */
	WIRE_REFUSED,
};

void wire_queue_init(struct wire_queue *queue);
enum wire_verdict wire_queue_put(struct wire_queue *queue, struct wire_frame *frame,
				 const struct wire_settings *s);
/* The next frame whose last bit has left by now, or NULL. */
struct wire_frame *wire_queue_take(struct wire_queue *queue, const struct wire_settings *s,
				   uint64_t now);
uint64_t wire_queue_next(const struct wire_queue *queue, const struct wire_settings *s);

#endif
