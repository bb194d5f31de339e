/* SPDX-License-Identifier: MIT */
/* The engine's cases: a pair of QPs that each of them sets up, and what they all look at. */
#ifndef TEST_NIC_ENGINE_CASES_H
#define TEST_NIC_ENGINE_CASES_H

#include "../../../dataplane/nic/local/local_priv.h"
#include "harness.h"

#define ALL (FF_ACCESS_REMOTE_WRITE | FF_ACCESS_REMOTE_READ | FF_ACCESS_REMOTE_ATOMIC)
#define LEN (300u * 1024)

/* a sends, b receives; src is a's memory (lkey), dst is b's (rkey), LEN bytes each. */
extern struct h_qp *a, *b;
extern uint8_t *src, *dst;
extern uint32_t lkey, rkey;
extern unsigned worker_b; /* b's worker; a's is 0 */
extern bool mapped;	  /* false: memory that only the copier reaches */

void fill(uint8_t *p, size_t n, unsigned seed);
void setup(uint8_t type);
void teardown(void);
void expect(struct h_cq *cq, uint64_t wr_id, uint32_t status);
void post(uint64_t id, uint32_t len);		      /* SEND */
void rdma(uint8_t opcode, uint64_t id, uint32_t len); /* WRITE, READ from src to dst */

void run_data(void);
void run_inline_and_order(void);
void run_rnr(void);
void run_retry(void);
void run_remote_errors(void);
void run_recv_errors(void);
void run_flush(void);
void run_vanish(void);
void run_stuck_copier(void);
void run_sqd_reset(void);
void run_uc(void);
void run_ud(void);
void run_local_ops(void);
void run_hostile_wqe(void);
void run_fairness(void);
void run_loopback(void);

#endif
