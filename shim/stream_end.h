/* SPDX-License-Identifier: MIT */
/* One direction of a stream's FIFOs, at this side (stream_end.c). */
#ifndef FF_SHIM_STREAM_END_H
#define FF_SHIM_STREAM_END_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define STREAM_SPIN_FIRST_NS 10000u

struct stream_end {
	_Atomic uint32_t lock; /* 0, or the holder's thread id, and whether others wait */
	uint32_t spin_ns;      /* anyone: a hint */
};

/* Outlives its holder. False: he is gone, in the middle of something; it is the caller's now. */
bool stream_end_lock(struct stream_end *e);
void stream_end_unlock(struct stream_end *e);
/* True: word is not what it was. Without the lock. */
bool stream_end_spin(struct stream_end *e, _Atomic uint32_t *word, uint32_t was);
/* The only thread of a child: it has another thread id. */
void stream_end_fork_child(void);

#endif
