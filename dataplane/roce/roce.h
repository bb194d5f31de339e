/* SPDX-License-Identifier: MIT */
/*
 * The RoCEv2 transport as a machine without surroundings: packets and work requests in; packets,
 * completions and memory operations out. It knows no sockets, no DPDK, no clock and no threads:
 * time is passed in, one thread owns a QP, and all that it needs it calls through roce_ops.
 *
 * Source: IBTA vol. 1, ch. 9.
 */
#ifndef FF_ROCE_ROCE_H
#define FF_ROCE_ROCE_H

#include "wire.h"

#define ROCE_WINDOW    64u /* work requests between post and completion */
#define ROCE_MSG_MAX   (1u << 31)
#define ROCE_RESOURCES 128u /* READs and atomics that a responder remembers */

enum roce_type { ROCE_TYPE_RC, ROCE_TYPE_UC, ROCE_TYPE_UD };

/* What a work request does. */
enum roce_op { ROCE_OP_SEND, ROCE_OP_WRITE, ROCE_OP_READ, ROCE_OP_CMP_SWAP, ROCE_OP_FETCH_ADD };

/* How one ends. The values are those of enum ibv_wc_status. */
enum roce_status {
	ROCE_OK = 0,
	ROCE_LOC_LEN_ERR = 1,
	ROCE_LOC_QP_OP_ERR = 2,
	ROCE_LOC_PROT_ERR = 4,
	ROCE_WR_FLUSH_ERR = 5,
	ROCE_BAD_RESP_ERR = 7,
	ROCE_LOC_ACCESS_ERR = 8,
	ROCE_REM_INV_REQ_ERR = 9,
	ROCE_REM_ACCESS_ERR = 10,
	ROCE_REM_OP_ERR = 11,
	ROCE_RETRY_EXC_ERR = 12,
	ROCE_RNR_RETRY_EXC_ERR = 13,
	ROCE_REM_INV_RD_REQ_ERR = 14,
};

/* Why a responder gave up; the values are those of enum ibv_event_type. */
enum roce_event { ROCE_EVENT_INVALID = 2, ROCE_EVENT_ACCESS = 3, ROCE_EVENT_COMM_EST = 4 };

/* A work request of the send queue. The caller's, until it is completed. */
struct roce_wr {
	void *ctx; /* the caller's */
	enum roce_op op;
	bool solicited, fence, has_imm, has_inv;
	uint32_t length; /* <= ROCE_MSG_MAX */
	uint32_t imm;	 /* network byte order */
	uint32_t inv_rkey;
	uint64_t raddr; /* remote */
	uint32_t rkey;
	uint64_t compare, swap_add;
	uint32_t qkey, qpn; /* UD: whereto; the address itself is the caller's matter */
	/* The engine's: */
	uint32_t first_psn, last_psn;
	bool numbered;
	uint32_t got; /* READ: bytes that have come back */
};

/* A message that has come in whole. */
struct roce_recv {
	uint32_t length;
	bool has_imm, has_inv, is_write, solicited;
	uint32_t imm, inv_rkey;
	uint32_t src_qpn; /* UD */
};

/*
 * ctx is the QP's. Calls that touch memory return 0, -EFAULT (no right to it, or it is gone),
 * -EACCES (remote_check, remote_atomic: not even the QP allows that operation), -EMSGSIZE
 * (recv_write: longer than the receive WQE), or -EAGAIN: not now; then nothing has happened, and
 * the engine asks again: a packet that came in counts as lost.
 */
struct roce_ops {
	/* Requester: bytes at off of what wr sends; bytes of a READ or atomic, to where wr says. */
	int (*wr_read)(void *ctx, struct roce_wr *wr, uint64_t off, void *to, uint32_t len);
	int (*wr_write)(void *ctx, struct roce_wr *wr, uint64_t off, const void *from,
			uint32_t len);
	/* In the order of posting. The engine has let go of wr. */
	void (*wr_done)(void *ctx, struct roce_wr *wr, enum roce_status status);
	/*
	 * Responder: the next receive WQE becomes the current one. -ENOENT: there is none;
	 * -EINVAL: it is malformed, but is the current one all the same.
	 */
	int (*recv_take)(void *ctx);
	int (*recv_write)(void *ctx, uint64_t off, const void *from, uint32_t len);
	/* The current receive WQE is done; r is NULL when status is not OK. */
	void (*recv_done)(void *ctx, const struct roce_recv *r, enum roce_status status);
	/* access: enum ibv_access_flags. The range as a whole. */
	int (*remote_check)(void *ctx, uint32_t rkey, uint64_t va, uint32_t len, unsigned access);
	int (*remote_read)(void *ctx, uint32_t rkey, uint64_t va, void *to, uint32_t len);
	int (*remote_write)(void *ctx, uint32_t rkey, uint64_t va, const void *from, uint32_t len);
	int (*remote_atomic)(void *ctx, uint32_t rkey, uint64_t va, bool compare_swap,
			     uint64_t compare, uint64_t swap_add, uint64_t *old);
	int (*invalidate)(void *ctx, uint32_t rkey);
	/* The QP is in error: all work requests have been completed. event: for the program; 0:
	 * none. */
	void (*error)(void *ctx, unsigned event);
	/* The first packet came while the QP was in RTR. */
	void (*established)(void *ctx);
};

/* What modify_qp sets. Constant but for roce_set(). */
struct roce_conf {
	enum roce_type type;
	uint32_t mtu; /* payload bytes of a packet: 256 ... 4096 */
	uint32_t qpn, dest_qpn, qkey;
	uint16_t pkey;
	uint64_t timeout_ns;			     /* 0: never */
	uint8_t retry_cnt, rnr_retry, min_rnr_timer; /* rnr_retry 7: for ever */
	uint8_t max_rd_atomic, max_dest_rd_atomic;   /* more than ROCE_RESOURCES mean that */
};

enum roce_counter {
	ROCE_C_TX_PACKETS,
	ROCE_C_RX_PACKETS,
	ROCE_C_TX_AGAIN, /* packets sent again */
	ROCE_C_TIMEOUT,
	ROCE_C_PROBE, /* sent again without waiting for the time-out */
	ROCE_C_NAK_SEQ_SENT,
	ROCE_C_NAK_SEQ_GOT,
	ROCE_C_RNR_SENT,
	ROCE_C_RNR_GOT,
	ROCE_C_IMPLIED_NAK, /* a response was lost */
	ROCE_C_DUPLICATE,
	ROCE_C_AHEAD,	/* behind a gap: dropped */
	ROCE_C_REFUSED, /* answered by a NAK that ends the QP */
	ROCE_C_RX_BAD,	/* does not fit this QP: dropped */
	ROCE_C_RX_BUSY, /* -EAGAIN: dropped */
	ROCE_C_CNP_SENT,
	ROCE_C_CNP_GOT,
	ROCE_C_ECN_MARKED,
	ROCE_C_MAX,
};

/* A READ or atomic that a responder answers, or may have to answer again. */
struct roce_resource {
	uint32_t first_psn, last_psn, msn;
	uint32_t rkey, len;
	uint32_t begin, off; /* READ: answered from begin to off */
	uint64_t va, old;
	bool atomic, active, valid;
	bool amid; /* answered as the middle of a READ; see rx_duplicate() */
};

/*
 * What CNPs leave of a QP's rate (cc.c: DCQCN). A QP without a recent CNP has none: it is bounded
 * by its window alone. Rates are bytes per second.
 */
struct roce_rate {
	uint64_t now;		/* 0: no limit */
	uint64_t target;	/* what it was before the last cut, and a little more each time */
	uint32_t alpha;		/* how bad congestion is, in 1/65536 */
	uint8_t timed, counted; /* increases by timer and byte counter since the last cut */
	uint64_t cut_ns, alpha_ns, increase_ns;
	uint64_t bytes;	  /* towards the next increase by the byte counter */
	int64_t tokens;	  /* bytes that may go at once; below 0: they went on credit */
	uint64_t fill_ns; /* when tokens were counted */
	uint64_t wait_ns; /* nothing goes before; 0: no */
	/* How fast it went without a limit, where no window tells: answers, UC. */
	uint64_t sent, sent_ns, sent_rate;
};

struct roce_qp {
	const struct roce_ops *ops;
	void *ctx;
	struct roce_conf conf;
	bool receives, sends, broken; /* RTR and later; RTS; error */
	uint64_t counters[ROCE_C_MAX];

	/* Requester: wr[una] ... wr[nxt] have been sent in part or whole, up to wr[end] posted. */
	struct roce_wr *wr[ROCE_WINDOW];
	uint32_t una, nxt, end; /* free-running */
	uint32_t nxt_off;	/* bytes of wr[nxt] that have been sent, or asked for */
	uint32_t psn;		/* of the next work request that gets numbers */
	uint32_t una_psn;	/* oldest that is not acknowledged */
	uint32_t sent_psn;	/* one after the highest that was ever sent */
	uint32_t ack_asked;	/* last PSN with AckReq */
	/*
	 * Requests for answers, by the last PSN of each: one for an atomic, one or more for a READ
	 * (requester.c). From rd_una to rd_nxt they are out, up to rd_end they were once.
	 */
	uint32_t rd_last[ROCE_RESOURCES];
	uint32_t rd_una, rd_nxt, rd_end; /* free-running */
	uint8_t retry_left, rnr_left, backoff;
	uint8_t stuck; /* enum roce_status that wr[nxt] gets when all before it are done; 0: no */
	bool ask;      /* the next packet has AckReq: without an answer nothing can follow it */
	bool implied;  /* implied_psn: the gap that was last acted upon */
	uint32_t implied_psn, implied_by;
	uint32_t back_psn; /* sent again from there, at back_ns */
	uint64_t back_ns;
	uint64_t timer;	     /* retransmission; 0: off */
	uint64_t timer_span; /* how long it runs; 0: to be worked out */
	bool probe, probed;  /* it is a probe's; there was one since the last answer */
	uint64_t rnr_end;    /* nothing is sent before; 0: no */

	/* Congestion (cc.c). */
	uint32_t cwnd, cwnd_acked;  /* packets */
	uint32_t ssthresh, cut_psn; /* one reduction until this is acknowledged */
	bool cut;
	struct roce_rate rate;
	uint32_t srtt_ns, rttvar_ns; /* RFC 6298; 0: not known. srtt_ns is for others to see, too */
	uint64_t rtt_ns;	     /* rtt_psn left then; 0: none is measured */
	uint32_t rtt_psn;
	bool answered; /* the last packet was an answer: a request is next */

	/* Responder. */
	uint32_t exp_psn, msn;
	bool established, recv_taken, nak_sent;
	uint32_t nak_psn; /* what the last sequence NAK was for: not yet expected */
	bool dying;	  /* in error as soon as the NAK has gone, with dying_event */
	unsigned dying_event;
	uint8_t msg; /* enum msg_kind: of the message under way */
	uint32_t msg_off;
	uint64_t msg_va;
	uint32_t msg_rkey, msg_left;
	bool ack_due;
	uint8_t ack_syndrome;
	uint32_t ack_psn, ack_msn;
	uint32_t dup_psn; /* of the last duplicate */
	bool dup_acked;	  /* since the last packet in order */
	/*
	 * Free-running: the newest is res_end - 1. Those before res_first have been answered to
	 * their end at least once, those before res_next have nothing to send.
	 */
	struct roce_resource res[ROCE_RESOURCES];
	uint32_t res_first, res_next, res_end;
	bool cnp_due;
	uint64_t cnp_ns;
};

/* A QP in RESET: nothing moves. */
void roce_init(struct roce_qp *q, const struct roce_ops *ops, void *ctx);
/* RTR: packets are taken from rq_psn on. RTS: work requests are numbered from sq_psn on. */
void roce_start_receive(struct roce_qp *q, const struct roce_conf *conf, uint32_t rq_psn);
void roce_start_send(struct roce_qp *q, const struct roce_conf *conf, uint32_t sq_psn);
/* Other values of conf, under way. */
void roce_set(struct roce_qp *q, const struct roce_conf *conf);
/*
 * To error: work requests that were posted are flushed; the receive WQE that was taken too.
 * Not through ops->error.
 */
void roce_stop(struct roce_qp *q);

/* Room for another work request? */
static inline bool
roce_can_post(const struct roce_qp *q)
{
	return q->end - q->una < ROCE_WINDOW;
}
void roce_post(struct roce_qp *q, struct roce_wr *wr);

/*
 * The next packet that wants to go out, from BTH to pad; 0: none. buf: room for ROCE_HEADERS_MAX +
 * conf.mtu + 3 bytes. CNPs, ACKs and NAKs first; then answers and requests in turn.
 */
size_t roce_tx(struct roce_qp *q, uint64_t now, uint8_t *buf);
/* A packet for this QP (dest QPN, addresses and iCRC are right). ce: it was marked on its way. */
void roce_rx(struct roce_qp *q, uint64_t now, const struct roce_pkt *p, bool ce);
/* When roce_tick() is due; UINT64_MAX: never. */
uint64_t roce_deadline(const struct roce_qp *q);
void roce_tick(struct roce_qp *q, uint64_t now);

/*
 * UD: one packet for wr, as roce_tx(); the caller completes it. *len; 0, -errno of wr_read, or
 * -EMSGSIZE: longer than the MTU.
 */
int roce_ud_tx(struct roce_qp *q, struct roce_wr *wr, uint8_t *buf, size_t *len);

/* IBTA table 45, in ns; 4.096 us * 2^timeout, 0: none. */
uint64_t roce_rnr_ns(uint8_t timer);
uint64_t roce_timeout_ns(uint8_t timeout);

#endif
