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
/* Nothing has come for a while: from the oldest packet on, again. */
/* Is the oldest packet that is not acknowledged to be sent again, and has not been yet? */
bool roce_req_behind(const struct roce_qp *q);
void roce_req_probe(struct roce_qp *q, uint64_t now);

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
/* To error, which the program is told by event. */
void roce_resp_end(struct roce_qp *q, unsigned event);
/* The next ACK has this syndrome and PSN. */
void roce_resp_ack(struct roce_qp *q, uint8_t syndrome, uint32_t psn);
/*
 * A request that cannot be executed. RC: the requester is told, then the QP is in error, and the
 * program is told by event; 0: only by the receive completion. UC drops what is not allowed; where
 * a receive WQE fails, its QP is in error, too.
 */
void roce_resp_refuse(struct roce_qp *q, const struct roce_pkt *p, enum roce_nak code,
		      enum roce_status receiver, unsigned event);

/* The memory cannot be touched now: as if the packet had been lost. */
bool roce_resp_busy(struct roce_qp *q, int rc);
/* It may not be touched: not by this key, or by no request of that kind at all. */
void roce_resp_no_access(struct roce_qp *q, const struct roce_pkt *p, int rc);

/* ---- reads.c ---- */
/* True when the request was executed, and the next packet is expected. */
bool roce_read_rx(struct roce_qp *q, const struct roce_pkt *p);
bool roce_atomic_rx(struct roce_qp *q, const struct roce_pkt *p);
/* A request that has been executed before. */
void roce_read_again(struct roce_qp *q, const struct roce_pkt *p);

static inline struct roce_resource *
roce_res_at(struct roce_qp *q, uint32_t i)
{
	return &q->res[i % ROCE_RESOURCES];
}

/* res_next: on to one that has something to send. */
static inline void
roce_res_skip(struct roce_qp *q)
{
	while (q->res_next != q->res_end && !roce_res_at(q, q->res_next)->active)
		q->res_next++;
}

/* ---- answer.c ---- */
/* An ACK or NAK, unless READs or atomics are to be answered before it. */
size_t roce_resp_ack_tx(struct roce_qp *q, uint8_t *buf);
/* An answer to a READ or atomic. */
size_t roce_resp_tx(struct roce_qp *q, uint64_t now, uint8_t *buf);

static inline bool
roce_resp_active(const struct roce_qp *q)
{
	return q->res_next != q->res_end && !q->broken;
}

/* ---- cc.c ---- */
void roce_cc_init(struct roce_qp *q);
/* Packets were acknowledged when `flight` were on their way. */
void roce_cc_acked(struct roce_qp *q, uint32_t packets, uint32_t flight);
void roce_cc_lost(struct roce_qp *q, uint64_t now, bool timeout);
/* Something of this QP met congestion on its way: a CNP came, or an answer that is marked. */
void roce_cc_marked(struct roce_qp *q, uint64_t now);
/* Bytes go out, or are asked for. */
void roce_cc_spend(struct roce_qp *q, uint64_t bytes);
/* What may go at a time while there is a rate, in bytes. */
uint64_t roce_cc_burst(const struct roce_qp *q);
/* Bytes go out that no window bounds. */
void roce_cc_meter(struct roce_qp *q, uint64_t now, uint64_t bytes);
bool roce_cc_wait(struct roce_qp *q, uint64_t now);
/* psn leaves, for the first time, and will be answered at once; is acknowledged; leaves again. */
void roce_rtt_start(struct roce_qp *q, uint64_t now, uint32_t psn);
void roce_rtt_end(struct roce_qp *q, uint64_t now);
void roce_rtt_cancel(struct roce_qp *q, uint32_t psn);
#define BACKOFF_MAX 2u
/* How long an answer is waited for: doubled up to BACKOFF_MAX times. */
uint64_t roce_rtt_timeout(const struct roce_qp *q);
uint64_t roce_rtt_probe(const struct roce_qp *q);
/* Between reactions to congestion. */
uint64_t roce_rtt_interval(const struct roce_qp *q);

/* Must data wait? */
static inline bool
roce_cc_held(struct roce_qp *q, uint64_t now)
{
	return q->rate.now && roce_cc_wait(q, now);
}

/* Whose clock went back, has not waited. */
static inline uint64_t
roce_since(uint64_t now, uint64_t then)
{
	return now > then ? now - then : 0;
}

static inline uint32_t
roce_rd_last(const struct roce_qp *q, uint32_t i)
{
	return q->rd_last[i % ROCE_RESOURCES];
}

static inline uint32_t
roce_rd_out(const struct roce_qp *q)
{
	return q->rd_nxt - q->rd_una;
}

#endif
