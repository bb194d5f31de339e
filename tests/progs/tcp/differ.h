/* SPDX-License-Identifier: MIT */
/*
 * The differential test of TCP mode: two programs, one at each end of a connection, play the same
 * random script of socket operations in lock-step, and print what each operation returned. What is
 * printed must be the same whatever the connection is made of.
 *
 * Both ends draw the whole script from its seed. A step has an actor; the other end does nothing,
 * or its part of the step. After a step the ends swap what they have done (struct side) by a
 * connection of their own that the shim does not know, and each waits until its socket shows all
 * of it: so the next result does not depend on time.
 *
 * Not compared is what no program can rely on, and nothing else:
 * - how many bytes a full socket takes (op_full), and how many are taken for an end that is gone
 *   until RST says so (op_write_gone);
 * - edge triggered events without anything new (op_epoll_wait): the kernel's TCP makes them too, as
 *   acknowledgements come in. One must not fail to come;
 * - the entries of epoll_wait() behind those that it has returned;
 * - the values, not the results, of TCP_MAXSEG and TCP_QUICKACK: the kernel changes them by itself;
 * - ports, but for being the same all the time (op_names).
 */
#ifndef TEST_DIFFER_H
#define TEST_DIFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

/*
 * Bytes that may be under way and unread. Every kind takes them at once, and stays writable: with
 * more, that depends on when the kernel's TCP acknowledges.
 */
#define ROOM_MAX  12000u
#define BLOCK_MAX (4u << 20)
#define ARGS	  5u

/* What one end has done to the connection, told to the other after each step. */
struct side {
	uint64_t sent, taken;
	uint8_t fin;	/* shutdown(SHUT_WR), or closed */
	uint8_t deaf;	/* shutdown(SHUT_RD) */
	uint8_t closed; /* no descriptor is left */
	uint8_t reset;	/* closed so that the other end is told with RST */
	uint8_t broken; /* has sent what was answered with RST */
};

struct step {
	const struct op *op;
	unsigned actor;
	uint32_t arg[ARGS];
};

/* When a step can be played. */
#define WHEN_OPEN  1u /* the actor has a descriptor */
#define WHEN_ALIVE 2u /* both directions are whole */
#define WHEN_GONE  4u /* the other end takes nothing any more */
#define WHEN_EMPTY 8u /* the actor has read everything */

struct op {
	const char *name;
	void (*play)(const struct step *st);
	bool both; /* both ends play it */
	unsigned when;
	unsigned weight;
};
extern const struct op ops_data[], ops_state[], ops_wait[], ops_process[]; /* end with name NULL */

#define EXTRA_MAX 4u

struct differ {
	unsigned role; /* 0: server. Index of side[] */
	int ctl, fd;
	int extra[EXTRA_MAX]; /* further names of fd */
	unsigned num_extra;
	int ep[2];     /* level and edge triggered; -1 */
	bool in_ep[2]; /* fd is in it */
	bool news;     /* something has come since the edge triggered set was asked */
	uint64_t seed;
	unsigned number; /* of the step */
	struct side side[2];
	uint16_t port[2]; /* of the connection, as it was made */
	uint8_t *buf;	  /* BLOCK_MAX */
};
extern struct differ d;

static inline struct side *
own(void)
{
	return &d.side[d.role];
}

static inline struct side *
other(void)
{
	return &d.side[1 - d.role];
}

static inline bool
is_actor(const struct step *st)
{
	return st->actor == d.role;
}

/* Bytes that this end can read. */
static inline uint64_t
unread(void)
{
	return other()->sent - own()->taken;
}

/* The next read has an answer. */
static inline bool
has_answer(void)
{
	return unread() || other()->fin || own()->deaf || own()->broken || other()->broken;
}

/* Who sends to it is told so by RST. */
static inline bool
is_gone(const struct side *s)
{
	return s->closed || (s->fin && s->deaf);
}

/* ---- differ.c ---- */

__attribute__((format(printf, 1, 2), noreturn)) void fail(const char *format, ...);
/* One line of output: "SEED.STEP NAME text". */
__attribute__((format(printf, 2, 3))) void say(const struct step *st, const char *format, ...);
/* " = rc", and the name of errno where it is -1; the text lives until the next but three. */
const char *result(int64_t rc);
/* Between the ends, within a step. */
void tell(void);
void hear(void);
/* Every descriptor of the connection under test, and the epoll sets. */
void data_close(void);

/* ---- differ_io.c ---- */

/* The bytes of the stream that role sends, from offset at on. */
void stream_fill(unsigned role, uint64_t at, uint8_t *buf, size_t len);
/* Compares what was read from the other end: "" or " BAD AT offset". */
const char *stream_check(uint64_t at, const uint8_t *buf, size_t len);
/* Until this end's socket shows all that the other has done. */
void settle(const struct step *st);
/* Until the kernel's TCP has an acknowledgement of all: before that it may be full, or half closed.
 */
void quiet(void);
/* Sets or clears O_NONBLOCK, returns what it was. */
bool nonblock(bool on);
/* What this end sends next, and reads. */
void send_whole(size_t len);
void recv_whole(const struct step *st, size_t len);
bool is_exchanged(int fd);

#define MUST(cond)                                                    \
	do {                                                          \
		if (!(cond))                                          \
			fail("%s:%d: %s", __FILE__, __LINE__, #cond); \
	} while (0)

#endif
