/* SPDX-License-Identifier: MIT */
/*
 * What the memif tests share: a pair of connections, a raw peer that says anything, and the frame
 * of a CUnit program. Single-threaded.
 */
#ifndef MEMIF_FIXTURE_H
#define MEMIF_FIXTURE_H

#include <stdbool.h>
#include <stdint.h>

#include <CUnit/CUnit.h>

#include "memif.h"
#include "memif_priv.h"
#include "proto.h"

struct pair {
	struct ff_memif *srv, *cli;
};

struct ff_memif_conf conf_of(enum ff_memif_role role);
/* Makes both ends; NULL: conf_of(). pump() runs them until neither has anything to do. */
void pair_open(struct pair *p, const struct ff_memif_conf *srv, const struct ff_memif_conf *cli);
void pair_pump(struct pair *p);
void pair_close(struct pair *p);

/* One connection of ours, and the other end of its socket in the hands of the test. */
struct raw {
	struct ff_memif *m;
	int sock;
};

void raw_open(struct raw *r, const struct ff_memif_conf *conf);
void raw_close(struct raw *r);
void raw_send(struct raw *r, const struct memif_msg *msg, int fd);
/* Type of the next message that m sent; -1: none, or end of file. *msg may be NULL. */
int raw_recv(struct raw *r, struct memif_msg *msg);
/* Sends, lets m handle it, and returns the type of the answer. */
int raw_ask(struct raw *r, const struct memif_msg *msg, int fd);
/* The answer must be DISCONNECT, the state CLOSED, and the reason contain text. */
void raw_expect_refused(struct raw *r, const struct memif_msg *msg, int fd, const char *text);

/* Well-formed messages of a client. */
struct memif_msg msg_init(void);
struct memif_msg msg_region(unsigned index, uint64_t size);
struct memif_msg msg_ring(bool s2m, unsigned index, uint32_t offset, unsigned log2);
struct memif_msg msg_connect(void);
/* A sealed memfd, and a mapping of it if map is not NULL. */
int make_memfd(uint64_t size, int seals, void **map);
unsigned count_fds(void);

struct test {
	const char *name;
	void (*fn)(void);
};
int run_tests(const char *suite, const struct test *tests, unsigned num);

#endif
