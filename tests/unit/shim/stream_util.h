/* SPDX-License-Identifier: MIT */
/*
 * Two processes with a TCP connection between them, both under the shim, and a router between the
 * shims: the test's process itself. Each end sends bytes that say where in the stream they are, and
 * checks those that come.
 */
#ifndef TEST_SHIM_STREAM_UTIL_H
#define TEST_SHIM_STREAM_UTIL_H

#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "../../../shim/stream.h"

enum { SERVER, CLIENT, ENDS };

/* What an end has done so far. In memory that all three processes share. */
struct end_report {
	_Atomic uint64_t sent_begun, sent, received;
	_Atomic uint64_t turns;	 /* calls that have come back */
	_Atomic bool ended;	 /* the other end's bytes have an end, of whatever kind */
	_Atomic bool wrong;	 /* a byte was not what it should be */
	_Atomic bool hit;	 /* the fault has struck */
	_Atomic bool exchanged;	 /* at the end, its descriptor was one of a pair */
	_Atomic uint32_t failed; /* line of the test in which something else went wrong */
};

struct scene {
	const char *mode; /* FREEFLOW_TCP */
	/* One end is hit by a signal at a step of the exchange; signal 0: it is not. */
	int victim, signal;
	enum stream_fault at;
	/* What the ends do with their socket; the process leaves with 0 if all is well. */
	void (*play[ENDS])(int fd);
};

extern struct end_report *reports; /* [ENDS] */
extern int own_end;		   /* in a process of one */

/* Plays it to its end. False: it never came to one. */
bool scene_play(const struct scene *s);
/* Sends total bytes and receives as many, at once; then says and awaits the end. */
void exchange_bytes(int fd, uint64_t total);
/* In blocking calls. */
void all_send(int fd, size_t len);
void all_receive(int fd, size_t len);
/* ..., by turns: the client begins. */
void ping_pong(int fd, unsigned rounds, size_t size);
uint8_t byte_at(int end, uint64_t offset); /* what it sends there */
bool is_unix(int fd);			   /* whatever the shim says of it */
/* FREEFLOW_TCP, with which something is exchanged. */
extern const char *const modes[];
/* Plays it: nothing is wrong, and it comes to its end. */
void one_scene(const struct scene *s);
void all_arrived(uint64_t total); /* in the last scene, at both ends */
/* By turns: in EXCHANGE_ROUNDS they have exchanged, and then there are two more. */
#define EXCHANGE_ROUNDS 1000u
void other_plays(int fd);

/* In a process of an end. */
#define END_ASSERT(cond)                                                  \
	do {                                                              \
		if (!(cond) && !reports[own_end].failed)                  \
			atomic_store(&reports[own_end].failed, __LINE__); \
	} while (0)

#endif
