/* SPDX-License-Identifier: MIT */
/*
 * What the fuzzed engines of roce_fuzz.c call, with the rules of roce.h checked: a breach aborts.
 * One thread.
 */
#ifndef FUZZ_ROCE_WORLD_H
#define FUZZ_ROCE_WORLD_H

#include <stdlib.h>

#include "../../dataplane/roce/roce.h"

#define MEM	 8192u
#define RKEY	 0x1234u
#define ITEMS	 96u
#define PACKETS	 256u
#define CHECK(x) ((x) ? (void)0 : abort())

struct range {
	uint64_t va;
	uint32_t len;
};

struct packet {
	unsigned to;
	size_t len;
	uint8_t *bytes; /* exact: a read beyond it is seen */
};

struct world;
struct end {
	struct world *w;
	struct roce_qp qp;
	struct roce_wr wrs[ITEMS];
	uint32_t rooms[ITEMS];
	unsigned posted, done, recvs, taken, completed, errors, established;
	struct range write, *reads;
	unsigned num_reads, num_atomics;
	uint32_t *atomics, rx_psn;
	uint8_t *memory;
	bool busy, stopped;
	uint64_t counters[ROCE_C_MAX];
};

struct world {
	const uint8_t *in;
	size_t left;
	struct end end[2];
	struct packet queue[PACKETS], old[8];
	unsigned queued, kept;
	uint64_t now;
	bool ce;	 /* all packets are marked */
	uint8_t ce_some; /* or those whose number has one of these bits */
	uint8_t given;
};

/* The script's next bytes; 0 when it has ended. */
uint8_t world_next(struct world *w);
uint32_t world_next16(struct world *w);
extern const struct roce_ops world_ops;

#endif
