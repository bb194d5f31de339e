/* SPDX-License-Identifier: MIT */
/*
 * A host for the local backend without threads: two fake workers whose passes the test runs one
 * by one, a clock that stands still, memory registrations and completion queues that record.
 */
#ifndef TEST_NIC_HARNESS_H
#define TEST_NIC_HARNESS_H

#include <stdbool.h>
#include <stdint.h>

#include "../../../dataplane/nic/nic.h"
#include "../../../dataplane/verbs/verbs.h"

#define H_WORKERS 2u
#define H_CQES	  256u

struct h_cq {
	struct ff_cq cq;
	struct ib_uverbs_wc wc[H_CQES];
	bool solicited[H_CQES];
	unsigned n, taken;
};

struct h_qp {
	struct ff_qp qp;
	struct h_cq scq, rcq;
	struct ff_pd pd;
	struct ff_container *container;
};

int h_init(void);
void h_fini(void);

extern uint64_t h_now;
extern unsigned h_events[64]; /* by enum ff_event */
extern struct ff_container h_container[2];

/* A QP of container c on worker w; its queues hold 16. NULL on failure. */
struct h_qp *h_qp_new(uint8_t type, unsigned c, unsigned w);
void h_qp_free(struct h_qp *q);
/* What h_connect() sets: a test may set something else. */
struct ff_qp_attr h_attr(const struct h_qp *peer);
void h_to_rts(struct h_qp *q, const struct ff_qp_attr *attr);
/* Both to RTS, connected to each other. */
void h_connect(struct h_qp *a, struct h_qp *b);
void h_set_state(struct h_qp *q, enum ff_qp_state s);

/* Registers memory; mapped false: only by (fake) process_vm. Returns the key. */
uint32_t h_mr(struct h_qp *q, void *addr, uint64_t len, uint32_t access, bool mapped);
/* The same at address iova of the program. */
uint32_t h_mr_at(struct h_qp *q, void *addr, uint64_t len, uint32_t access, bool mapped,
		 uint64_t iova);
void h_mr_drop(uint32_t key);

struct h_wr {
	uint8_t opcode;
	uint32_t flags;
	uint64_t wr_id;
	void *addr;
	uint32_t len, lkey;
	uint64_t raddr;
	uint32_t rkey;
	uint64_t compare_add, swap;
	uint32_t imm;
	uint32_t remote_qpn, qkey, ah_num;
	uint32_t num_sge; /* 0: 1 sge of addr, len (none when len is 0) */
};
void h_post_send(struct h_qp *q, const struct h_wr *wr);
void h_post_recv(struct h_qp *q, uint64_t wr_id, void *addr, uint32_t len, uint32_t lkey);

/* One pass of a worker: messages, then its stage. */
void h_pass(unsigned w);
/* The fake copier's jobs, a pass of each worker, the control thread's messages. */
void h_drain(void);
/* That, until nothing can move any more. */
void h_settle(void);
bool h_sleepy(unsigned w);	 /* sleep_prepare says that there is nothing to do */
uint64_t h_deadline(unsigned w); /* until when it would sleep */
/* The next completion, or NULL. */
const struct ib_uverbs_wc *h_wc(struct h_cq *cq);
extern bool h_hold_jobs;    /* the copier is stuck */
extern bool h_control_full; /* so is the control thread */
extern bool h_worker_full;  /* no worker takes a message */
extern int h_copy_fault;    /* ff_umem_copy fails on this address range */
extern unsigned h_freed;    /* operations freed on the control thread */

#endif
