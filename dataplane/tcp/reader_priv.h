/* SPDX-License-Identifier: MIT */
/* Between reader.c, what it does, and reader_thread.c, where. The reader's thread. */
#ifndef FF_TCP_READER_PRIV_H
#define FF_TCP_READER_PRIV_H

#include <semaphore.h>
#include <time.h>

#include "tcp_priv.h"

struct reader_conn {
	int fd;
	uint32_t slot, serial;
	bool greeted;
	uint64_t since_ms;
	TAILQ_ENTRY(reader_conn) link; /* not greeted: tcp_reader.silent */
};

struct tcp_reader {
	struct tcp_bounds bounds;
	int listen_fd, channel, epoll;
	struct reader_conn **conns; /* by slot */
	uint32_t *free_slots;
	uint32_t num_free, last_serial;
	TAILQ_HEAD(, reader_conn) silent; /* the oldest first */
	uint64_t paused_ms;		  /* nobody is accepted, since then; 0: not paused */
	timer_t timer;
	bool has_timer;
	/* Until the thread has started; it waits for neither afterwards. */
	sem_t started;
	bool own_files;
	_Atomic unsigned refs; /* its thread, and who starts it */
};

/* Does not take over the descriptors until reader_begin(). NULL: no memory. */
struct tcp_reader *reader_alloc(int listen_fd, int channel);
void reader_free(struct tcp_reader *r);
int reader_begin(struct tcp_reader *r);
void reader_end(struct tcp_reader *r);

/*
 * Between these, a call that waits for something that a signal can end (close() of a socket that
 * lingers) is over soon.
 */
void reader_interrupt_arm(struct tcp_reader *r);
void reader_interrupt_disarm(struct tcp_reader *r);

#endif
