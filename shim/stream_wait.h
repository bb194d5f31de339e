/* SPDX-License-Identifier: MIT */
/* What poll() and select() of streams share (stream_wait.c). Any thread. */
#ifndef FF_SHIM_STREAM_WAIT_H
#define FF_SHIM_STREAM_WAIT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

/* Who sleeps: an eventfd each, so that a kick reaches all. */
struct waiter {
	int fd;
	struct waiter *next;
};

/* Those that sleep in libc's own calls, where nobody can wake them. */
extern _Atomic uint32_t wait_num_native;

struct waiter *waiter_begin(void); /* NULL: no memory, no descriptor */
void waiter_end(struct waiter *w);
/* until - now, not below 0. */
struct timespec wait_left(const struct timespec *until);
struct timespec wait_until(const struct timespec *timeout);
/* May fd be exchanged while somebody waits for it? */
bool wait_may_move(int fd);

#endif
