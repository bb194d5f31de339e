/* SPDX-License-Identifier: MIT */
/*
 * Streams that stay where they are: what is done to them, or by whom they are shared, an exchange
 * must not meet. Any thread.
 */
#include "real.h"
#include "stream.h"

static _Atomic uint32_t forks; /* that are under way */

static void
stays(struct stream *s, void *arg)
{
	if (stream_is_exchanged(s))
		atomic_store(&s->shared, true);
	if (stream_is_exchanged(s) || stream_state_is(s, STREAM_STAYS))
		return;
	stream_lock(s);
	if (!stream_is_exchanged(s)) {
		stream_forget(s);
		stream_offer_drop(s);
		atomic_store(&s->state, STREAM_STAYS);
	}
	stream_unlock(s);
}

void
stream_stays(int fd)
{
	struct stream *s = stream_get(fd);

	if (!s)
		return;
	stays(s, NULL);
	fdobj_put(s->obj);
}

void
stream_forked(void)
{
	stream_foreach(stays, NULL);
}

void
stream_fork_begin(void)
{
	atomic_fetch_add(&forks, 1); /* seq_cst: before the locks that stays() takes */
	stream_forked();
}

void
stream_fork_end(void)
{
	stream_forked();
	atomic_fetch_sub(&forks, 1);
}

bool
stream_forks(void)
{
	return atomic_load(&forks) != 0;
}

/* Also of those that are new since stream_fork_begin(). */
static void
child_reset(struct stream *s, void *arg)
{
	atomic_store(&s->lock.word, 0);
	atomic_store(&s->shut, false);
	atomic_store(&s->inside, 0);
	if (stream_is_exchanged(s))
		atomic_store(&s->shared, true);
	else
		atomic_store(&s->state, STREAM_STAYS);
}

/* Threads that were in the middle of something are not here. */
void
stream_fork_child(void)
{
	atomic_store(&forks, 0);
	stream_list_fork_child();
	stream_foreach(child_reset, NULL);
	stream_router_fork_child();
	stream_wait_fork_child();
}
