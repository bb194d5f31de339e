/* SPDX-License-Identifier: MIT */
/*
 * Two QPs of the RoCE engine on a wire that exists only here: it loses, doubles, holds back and
 * damages packets as a seed says, and time goes on only when nothing else is to be done. So a
 * failure comes again with the same seed.
 */
#ifndef TEST_ROCE_PAIR_H
#define TEST_ROCE_PAIR_H

#include "../suite.h"
#include "roce/roce.h"

#define PAIR_MEMORY   (1u << 20)
#define PAIR_RKEY     0x1234u
#define PAIR_WRS      512u
#define PAIR_RECVS    512u
/* Room of a receive WQE that is malformed. */
#define PAIR_RECV_BAD UINT32_MAX

/* What is sent, and where it may go. Filled by pair_main(). */
extern uint8_t data[PAIR_MEMORY], got[PAIR_MEMORY];

struct pair_wire {
	unsigned loss, dup, reorder; /* in 1/10000 */
	uint64_t delay_ns, jitter_ns;
	bool cut;  /* nothing passes */
	bool mark; /* all packets are marked CE */
};

struct pair_wr {
	struct roce_wr wr;
	const uint8_t *src; /* SEND, WRITE */
	uint8_t *dst;	    /* READ, atomics */
	int status;	    /* -1: not yet */
};

struct pair_recv {
	uint8_t *buf;
	uint32_t room;
	int status; /* -1: not yet */
	struct roce_recv r;
};

struct pair_end {
	struct pair *pair;
	struct roce_qp qp;
	struct roce_conf conf;
	unsigned access;    /* ibv_access_flags of the memory */
	unsigned qp_access; /* and of the QP */
	uint8_t *memory;    /* PAIR_MEMORY bytes, address 0, PAIR_RKEY */
	struct pair_wr wrs[PAIR_WRS];
	unsigned num_wrs, posted, done;
	struct pair_recv recvs[PAIR_RECVS];
	unsigned num_recvs, taken, completed;
	unsigned errors, last_event, established, invalidated;
	bool busy;	  /* memory says -EAGAIN now and then */
	bool absent;	  /* and always */
	uint64_t packets; /* delivered */
};

struct pair_packet;
struct pair {
	struct pair_end end[2];
	struct pair_wire wire;
	struct pair_packet *queue; /* by arrival */
	uint64_t now, seed;
	/* Looks at each packet before it is sent; false: it is lost. */
	bool (*tap)(struct pair *p, unsigned from, uint8_t *bytes, size_t *len);
	uint64_t tapped;
};

/* RC of that MTU, both in RTS, PSNs close to the end of the circle. */
void pair_init(struct pair *p, enum roce_type type, uint32_t mtu, uint64_t seed);
/* conf changed: once more, before anything is posted. */
void pair_start(struct pair *p);
void pair_fini(struct pair *p);
uint64_t pair_random(struct pair *p);

struct pair_wr *pair_post(struct pair_end *e, enum roce_op op, const uint8_t *src, uint8_t *dst,
			  uint32_t len, uint64_t raddr);
/* What was posted goes to the engine, as far as that has room; pair_run() does it, too. */
void pair_feed(struct pair_end *e);
struct pair_recv *pair_recv(struct pair_end *e, uint8_t *buf, uint32_t room);
/* Until nothing more happens, or until that time has passed. */
void pair_run(struct pair *p, uint64_t for_ns);
/* A packet from nowhere to end `to`. */
void pair_inject(struct pair *p, unsigned to, const struct roce_pkt *pkt, const void *payload);
/* The same without a wire: at once, its payload from data. */
void pair_give(struct pair *p, unsigned to, const struct roce_pkt *pkt);
/* The next packet that end `from` sends; false: none. Valid until the next call. */
bool pair_sends(struct pair *p, unsigned from, struct roce_pkt *pkt);

/* main() of a test program. */
int pair_main(const char *suite, const struct suite_test *tests, unsigned n);

#endif
