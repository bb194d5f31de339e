/* SPDX-License-Identifier: MIT */
/* Two QPs of two hosts (wire.h), connected to each other, with memory to write to. */
#ifndef TEST_NIC_PAIR_H
#define TEST_NIC_PAIR_H

#include "wire.h"

#define PAIR_LEN 10000u

extern struct h_qp *a, *b; /* of container 0 and worker 0, and of 1 */
extern uint8_t src[PAIR_LEN], dst[PAIR_LEN];
extern uint32_t lkey, rkey; /* of src, to a; of dst, to b */

/* mapped: dst is; else its owner has to be asked. */
void pair_setup(uint8_t type, enum w_gid which, bool mapped);
void pair_teardown(void);
/* From src, and to or from dst, at the same offset. */
void pair_post(struct h_qp *q, uint8_t opcode, uint64_t id, uint32_t off, uint32_t len);
/* The next completion of cq is that. */
void pair_expect(struct h_cq *cq, uint64_t id, uint32_t status);

#endif
