/* SPDX-License-Identifier: MIT */
/* What the responder's two files share: admit.c decides, responder.c executes. */
#ifndef FF_NIC_LOCAL_RESPONDER_PRIV_H
#define FF_NIC_LOCAL_RESPONDER_PRIV_H

#include "local_priv.h"

enum start {
	START_GO,   /* op->src and op->dst are set: copy */
	START_WAIT, /* no receive WQE: RNR */
	START_END,  /* finished */
};

/* What a failed check means for both ends (IBTA 9.9.3.1 classes, table 58). */
struct nak {
	int requester; /* enum ff_wc_status */
	int receiver;  /* of a receive WQE that was taken */
	int event;     /* at the responder's QP; 0: none */
	bool fatal_uc; /* a UC QP goes to error, too */
};
extern const struct nak lnak_invalid, lnak_length, lnak_access, lnak_operation, lnak_bad_recv;

static inline bool
lop_is_write(const struct lop *op)
{
	return op->opcode == IB_UVERBS_WR_RDMA_WRITE ||
	       op->opcode == IB_UVERBS_WR_RDMA_WRITE_WITH_IMM;
}

static inline bool
lop_is_atomic(const struct lop *op)
{
	return op->opcode == IB_UVERBS_WR_ATOMIC_CMP_AND_SWP ||
	       op->opcode == IB_UVERBS_WR_ATOMIC_FETCH_AND_ADD;
}

/* admit.c */
enum start lresp_admit(struct lqp *l, struct lop *op);

/* responder.c: each takes op out of inq and gives it back */
void lresp_finish(struct lqp *l, struct lop *op, int status);
void lresp_drop(struct lqp *l, struct lop *op);
/* RC: both ends learn of it and are in error. UC: the receiver only. UD: a lost datagram. */
void lresp_refuse(struct lqp *l, struct lop *op, const struct nak *n);

#endif
