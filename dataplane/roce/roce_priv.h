/* SPDX-License-Identifier: MIT */
/* Between the files of the engine. The thread that owns the QP. */
#ifndef FF_ROCE_ROCE_PRIV_H
#define FF_ROCE_ROCE_PRIV_H

#include "roce.h"

/* Values of enum ibv_access_flags. */
#define ACCESS_REMOTE_WRITE  2u
#define ACCESS_REMOTE_READ   4u
#define ACCESS_REMOTE_ATOMIC 8u

/* The message that a responder is in the middle of. */
enum msg_kind { MSG_NONE, MSG_SEND, MSG_WRITE, MSG_SKIP /* UC: lost in part, to its end */ };

static inline struct roce_wr *
roce_slot(const struct roce_qp *q, uint32_t i)
{
	return q->wr[i % ROCE_WINDOW];
}

static inline bool
roce_wr_answered(const struct roce_wr *wr)
{
	return wr->op >= ROCE_OP_READ;
}

static inline uint32_t
roce_packets(const struct roce_qp *q, uint32_t len)
{
	return len ? (uint32_t)(((uint64_t)len + q->conf.mtu - 1) / q->conf.mtu) : 1;
}

/* ---- requester.c ---- */
size_t roce_req_tx(struct roce_qp *q, uint64_t now, uint8_t *buf);
/* Sends again from psn on: which may be in the middle of a work request. */
void roce_req_rewind(struct roce_qp *q, uint32_t psn);
void roce_req_timer(struct roce_qp *q, uint64_t now);

/* ---- completer.c ---- */
void roce_comp_rx(struct roce_qp *q, uint64_t now, const struct roce_pkt *p);
/* Something is lost, from psn on: again, or the oldest work request fails. */
void roce_comp_retry(struct roce_qp *q, uint64_t now, uint32_t psn);
/* The oldest work request ends with status; the QP is in error. */
void roce_comp_fail(struct roce_qp *q, enum roce_status status, unsigned event);
/* wr[nxt] could not be sent: fails once it is the oldest. */
void roce_comp_stuck(struct roce_qp *q);

/* ---- responder.c ---- */
void roce_resp_rx(struct roce_qp *q, const struct roce_pkt *p);
void roce_resp_stop(struct roce_qp *q);
/* The next ACK has this syndrome and PSN. */
void roce_resp_ack(struct roce_qp *q, uint8_t syndrome, uint32_t psn);
/*
 * A request that cannot be executed. RC: the requester is told, then the QP is in error, and the
 * program is told by event; 0: only by the receive completion. UC drops the message.
 */
void roce_resp_refuse(struct roce_qp *q, const struct roce_pkt *p, enum roce_nak code,
		      enum roce_status receiver, unsigned event);

static inline struct roce_resource *
roce_res_at(struct roce_qp *q, uint32_t i)
{
	return &q->res[i % ROCE_RESOURCES];
}

/* ---- answer.c ---- */
size_t roce_resp_tx(struct roce_qp *q, uint8_t *buf);

/* ---- cc.c ---- */
void roce_cc_init(struct roce_qp *q);
void roce_cc_acked(struct roce_qp *q, uint32_t packets);
void roce_cc_lost(struct roce_qp *q, bool timeout);

#endif
