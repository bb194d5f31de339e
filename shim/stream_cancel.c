/* SPDX-License-Identifier: MIT */
/*
 * Threads that are cancelled inside of a stream, in a system call that waits: what they hold of it
 * is given back when the thread ends. Else the stream would never be closed, and its other end
 * never learn of it. The thread itself.
 */
#include <pthread.h>

#include "real.h"
#include "stream.h"

/* Calls in signal handlers that came amid others; what is beyond is not given back. */
#define DEPTH 8u

static __thread struct {
	struct stream *held[DEPTH];
	bool inside[DEPTH];
	unsigned depth;
	bool known; /* to the key */
} thread __attribute__((tls_model("initial-exec")));

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key;
static bool has_key;

static void
thread_ends(void *arg)
{
	while (thread.depth) {
		unsigned i = --thread.depth;

		if (i >= DEPTH)
			continue;
		if (thread.inside[i])
			atomic_fetch_sub(&thread.held[i]->inside, 1);
		fdobj_put(thread.held[i]->obj);
	}
	thread.known = false;
}

static void
key_make(void)
{
	has_key = !pthread_key_create(&key, thread_ends);
}

void
stream_cancel_init(void)
{
	pthread_once(&once, key_make);
}

void
stream_cancel_push(struct stream *s, bool inside)
{
	unsigned i = thread.depth;

	if (i < DEPTH) {
		thread.held[i] = s;
		thread.inside[i] = inside;
	}
	/* A handler that comes before this ends before this goes on. */
	thread.depth = i + 1;
	if (!__builtin_expect(thread.known, 1) && has_key)
		thread.known = !pthread_setspecific(key, &thread);
}

void
stream_cancel_inside(void)
{
	if (thread.depth <= DEPTH)
		thread.inside[thread.depth - 1] = true;
}

void
stream_cancel_pop(void)
{
	thread.depth--;
}
