/* SPDX-License-Identifier: MIT */
/*
 * The local backend: QPs of containers of one host, memory to memory, no packets.
 *
 * An operation (struct lop) is a private copy of one send WQE. The requester's worker makes it,
 * the destination QP's worker executes it (checks, copies in slices, receive completion), the
 * requester's worker completes it. When both QPs have one worker, that is a list move; else an
 * rte_ring message. Each QP owns its window of operations for life, so no QP can take them from
 * another. Nothing points to memory or QPs of another container across passes: operations keep
 * QPNs and keys and look them up again for each slice.
 */
#ifndef FF_NIC_LOCAL_PRIV_H
#define FF_NIC_LOCAL_PRIV_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "../../verbs/procmem.h"
#include "../../verbs/verbs.h"
#include "../../roce/roce.h"
#include "../nic.h"

#define LOCAL_WINDOW	  8u		/* operations in flight per QP, inside the host */
#define LOCAL_WINDOW_WIRE ROCE_WINDOW	/* to another host */
#define LOCAL_SLICE	  (64u * 1024)	/* most bytes copied in one step of one QP */
#define LOCAL_PASS_BYTES  (256u * 1024) /* copy budget of one pass */
#define LOCAL_OP_COST	  512u		/* bytes that an operation counts for by itself */
/*
 * Who posts a receive WQE rings no bell. A receiver that was kept from its CPU by the worker has
 * posted some as soon as the worker sleeps: so the first look is not long after; later ones wait
 * for twice as long each.
 */
#define LOCAL_RNR_PAUSE	  10000u
#define LOCAL_POLL_NS	  50000u    /* an SQ is polled this long after its last WQE */
#define LOCAL_POLLED_MAX  64u	    /* SQs polled without a doorbell, per worker */
#define LOCAL_ERR_SCAN_NS 10000000u /* QPs in error: look for new receive WQEs to flush */
#define LOCAL_GRH	  40u	    /* IBTA 8.3; in front of every UD message */

/* Where an operation is. Written by the worker that holds it. */
enum lop_phase {
	LOP_FREE,   /* slot of the requester, unused */
	LOP_QUEUED, /* in the destination's inq, not started */
	LOP_RNR,    /* started, waits for a receive WQE */
	LOP_MOVE,   /* copying */
	LOP_BOUNCE, /* waits for a procmem job */
	LOP_WIRE,   /* at the RoCE engine, on its way to another host */
	LOP_DONE,   /* back at the requester; status is valid */
};

/* What came of it; LST_WC + enum ff_wc_status is an error completion. */
enum lop_status {
	LST_OK = 0,
	LST_NORESP = -1,    /* not executed: nobody answers, as if packets were lost */
	LST_CANCELLED = -2, /* the requester asked for it back */
			    /* > 0: enum ff_wc_status at the requester */
};

/* A position in source or destination memory. */
enum lspan_kind {
	LSPAN_BYTES,  /* router's own bytes: inline data, atomic result, GRH */
	LSPAN_SGL,    /* local keys of pd_id */
	LSPAN_REMOTE, /* one rkey */
};
struct lspan {
	enum lspan_kind kind;
	uint32_t pd_id;
	uint32_t qpn;		   /* LSPAN_REMOTE: for type 2 windows */
	uint32_t want;		   /* enum ff_access bits */
	uint32_t num, idx;	   /* LSPAN_SGL */
	uint64_t off;		   /* in the current element */
	const struct rxe_sge *sge; /* LSPAN_SGL: private copy */
	uint8_t *bytes;		   /* LSPAN_BYTES */
	uint64_t addr;		   /* LSPAN_REMOTE */
	uint64_t length;	   /* LSPAN_BYTES, LSPAN_REMOTE */
	uint32_t rkey;
};

/* A piece of a span that is contiguous in the router's view. */
struct lchunk {
	uint8_t *ptr; /* NULL: not mapped here */
	uint64_t len;
	struct ff_mr *mr; /* NULL: router's own bytes */
	uint64_t va;	  /* in the process */
};

struct lqp;
struct lbounce;

struct lop {
	struct ff_msg msg;     /* between workers; first member */
	TAILQ_ENTRY(lop) link; /* inq, done list or backlog */
	struct lqp *req;       /* requester; NULL: it is gone, free me. Requester's worker */
	struct lqp *at;	       /* in whose inq; its worker. NULL: nobody's */
	struct ff_worker *src_worker, *dst_worker, *post_to;
	/*
	 * Writer: requester's worker, relaxed; reader: the executing one, at each step. The
	 * operation itself comes back by the ring, which orders everything else.
	 */
	_Atomic uint32_t cancel;
	enum lop_phase phase;
	int status;	    /* enum lop_status */
	bool on_done;	    /* on lw->done */
	bool recv_imm;	    /* needs a receive WQE, but no data goes there */
	struct lop *parent; /* multicast copy (from the pool) of that operation */
	uint32_t clones;    /* copies that are still out */
	uint8_t opcode;	    /* enum ib_uverbs_wr_opcode */
	uint8_t qp_type;
	uint8_t rnr_left; /* 7: for ever */
	uint8_t sl, traffic_class, hop_limit;
	uint32_t flags; /* IB_UVERBS_SEND_* of the WQE */
	uint32_t src_qpn, dst_qpn, src_pd;
	uint32_t psn;
	uint32_t tenant; /* index */
	uint32_t qkey;
	uint32_t imm; /* as on the wire (__be32), or rkey to invalidate */
	uint32_t rkey;
	uint32_t flow_label;
	uint64_t wr_id;
	uint64_t raddr, compare_add, swap;
	uint64_t length, moved;
	struct lspan src, dst, grh_span;
	struct lbounce *bounce;
	uint64_t deadline; /* LOP_RNR */
	uint64_t recv_wr_id;
	bool recv_taken;
	uint8_t sgid[16], dgid[16];
	uint32_t num_sge, num_rsge;
	uint64_t atomic_old;
	uint8_t grh[LOCAL_GRH];
	uint32_t grh_left;
	struct rxe_sge rsge[FF_MAX_SGE]; /* receive WQE */
	struct roce_wr rwr;		 /* LOP_WIRE */
	union {
		struct rxe_sge sge[FF_MAX_SGE];
		uint8_t data[FF_MAX_INLINE];
	};
};
TAILQ_HEAD(lop_list, lop);

/* A procmem job with its bytes; from the worker's pool. */
struct lbounce {
	struct ff_procmem_job job; /* job.msg first */
	struct lop *op;		   /* NULL: the operation was given up meanwhile */
	struct lworker *lw;
	uint32_t len, off; /* bytes there, bytes used */
	bool busy;	   /* the copier has it */
	bool store;	   /* on its way to op->dst, not from op->src */
	uint8_t data[FF_PROCMEM_MAX] __attribute__((aligned(64)));
};

/* The backend's part of a QP: qp->nic. Owner worker. */
struct lqp {
	struct ff_qp *qp;
	struct lworker *lw;
	bool attached;

	/* Requester. Operations complete in the order of slots: head is the oldest. */
	struct lop *slot[LOCAL_WINDOW_WIRE]; /* the first `window` of them */
	uint32_t window;
	uint32_t head, tail; /* free-running */
	uint32_t sq_psn;
	bool blocked; /* the next WQE waits for an empty window (fence, bind) */
	bool stop;    /* a WQE with an error is last in the window */
	bool waiting; /* nobody answered: retry_deadline is set */
	uint8_t retry_left;
	uint64_t retry_deadline;
	uint64_t last_wqe_ns;
	bool active; /* on lw->active: SQ is polled */
	TAILQ_ENTRY(lqp) active_link, wait_link;

	/* Responder. */
	struct lop_list inq;
	bool ready;   /* on its tenant's ready list */
	bool starved; /* on lw->starved: no bounce buffer or no room at the copier */
	bool rnr;     /* on lw->rnr: inq's head waits for a receive WQE */
	bool comm_est;
	int64_t deficit;
	uint32_t exp_psn;
	uint32_t ok_gid_gen; /* dgid below was found in the container at that generation */
	uint8_t ok_dgid[16];
	TAILQ_ENTRY(lqp) ready_link, rnr_link, starved_link;

	bool err_listed;
	TAILQ_ENTRY(lqp) err_link;
	uint8_t sgid[16];

	struct sqp *wire; /* soft_roce/: its peers may be elsewhere; NULL: not yet, or no wire */
	bool away;	  /* RC, UC: its peer is */
};
TAILQ_HEAD(lqp_list, lqp);

struct ltenant {
	struct lqp_list ready;
	int64_t deficit;
	uint32_t weight;
	bool listed;
	TAILQ_ENTRY(ltenant) link;
};
TAILQ_HEAD(ltenant_list, ltenant);

struct rte_mempool;

/* A worker's part of the backend. */
struct lworker {
	struct ff_worker *w;
	uint64_t now;
	struct lqp_list active; /* requesters whose SQ is polled */
	uint32_t num_active;
	struct lqp_list waiting; /* requesters that nobody answered */
	uint64_t next_retry;	 /* the earliest retry_deadline among them, or earlier */
	struct lqp_list rnr;	 /* responders without a receive WQE */
	uint64_t rnr_pause;	 /* until the next look at them, if it comes to sleeping */
	struct lqp_list starved; /* responders that wait for somebody's bounce buffer */
	uint64_t starved_retry;	 /* look again then, or when one of ours is free */
	struct lqp_list err;	 /* QPs in error with a receive queue */
	uint64_t err_scan;	 /* next look at them */
	struct ltenant_list sched;
	struct ltenant *tenants; /* FF_TENANTS_MAX */
	struct lop_list done;	 /* operations of this worker's QPs that are back */
	struct lop_list backlog; /* messages that found a ring full */
	struct rte_mempool *bounces;
	struct rte_mempool *clones;
	uint64_t drops_no_clone;
};

/* ---- requester.c ---- */
/* Starts WQEs as the state and the window allow. Returns how many. */
unsigned lreq_run(struct lqp *l);
/* Sends op (again) towards its destination. */
void lreq_submit(struct lqp *l, struct lop *op);
/* The SQ has or may have WQEs: poll it. */
void lreq_activate(struct lqp *l);
/* Back to doorbells. False: a WQE came in between, it stays active. */
bool lreq_park(struct lqp *l);
/* All WQEs that were not started become flush completions. */
void lreq_flush_sq(struct lqp *l);
uint32_t lreq_wc_opcode(uint8_t wr_opcode);

/* ---- wqe.c ---- */
/* Copies and checks the WQE at sq index idx into op. LST_OK or an enum ff_wc_status. */
int lwqe_load(struct lqp *l, uint32_t idx, struct lop *op);
/* Takes the next receive WQE of the QP or its SRQ. False: there is none. Malformed: num_rsge 0
 * and *bad. */
bool lwqe_recv(struct ff_qp *qp, struct lop *op, bool *bad);
/* UD: address, qkey. LST_OK or an enum ff_wc_status. */
int lwqe_ud(struct lqp *l, const struct rxe_send_wr *wr, struct lop *op);
void lwqe_grh(struct lop *op); /* the 40 bytes in front */
/* ud.c: to a group? Then it has been sent to all members. */
bool lud_multicast(struct lqp *l, struct lop *op);

/* ---- responder.c ---- */
void lresp_enqueue(struct lqp *l, struct lop *op);
/* Executes what inq holds, up to budget bytes. Returns the cost in bytes. */
uint64_t lresp_run(struct lqp *l, uint64_t budget);
/* Everything in inq goes back with LST_NORESP. */
void lresp_bounce_all(struct lqp *l);
/* Takes one operation out of wherever it is in l's inq. */
void lresp_withdraw(struct lqp *l, struct lop *op);
void lresp_flush_rq(struct lqp *l);
void lresp_rnr_check(struct lqp *l);
void lresp_msg(struct ff_msg *m);

/* ---- move.c ---- */
enum lmove {
	LMOVE_DONE, /* the whole message */
	LMOVE_MORE, /* went on */
	LMOVE_WAIT, /* a job is out: bounce_back() makes the QP ready again */
	LMOVE_BUSY, /* no bounce buffer or no room in the copier's queue: try again */
	LMOVE_SRC_FAULT,
	LMOVE_DST_FAULT,
};
/* One slice from op->src to op->dst, up to max bytes; *moved says how many. */
enum lmove lmove_step(struct lworker *lw, struct lop *op, uint64_t max, uint64_t *moved);
/* Gives the bounce buffer back, at once or when its job is. */
void lmove_release(struct lop *op);

/* ---- span.c ---- */
/* Is the whole span there, with its rights? 0 or -errno as ff_key_check_*. */
int lspan_check(const struct lspan *s);
/* The next chunk of s. -EFAULT: the key is gone or does not allow it. */
int lspan_chunk(struct lspan *s, struct lchunk *c);
/* To off bytes from its start; -EFAULT: beyond its end. */
int lspan_seek(struct lspan *s, uint64_t off);

/* ---- completer.c ---- */
/* On the worker that executed it: gives op back to its requester. */
void lop_finish(struct lworker *lw, struct lop *op, int status);
void lcomp_msg(struct ff_msg *m);
/* Completes what is back, in order. */
unsigned lcomp_run(struct lworker *lw);
/* State to error, everything flushed, peers bounced. event: async event or 0. */
void lqp_error(struct lqp *l, int event);
/* Gives up all operations in flight; silent: their slots are free at once, no completions. */
void lqp_cancel(struct lqp *l, bool silent);
void lcomp_retry(struct lqp *l);

/* ---- sched.c ---- */
void lsched_ready(struct lqp *l);
void lsched_unready(struct lqp *l);
/* Not ready until a bounce buffer comes free, or for a short time: a worker must not spin for it.
 */
void lsched_starve(struct lqp *l);
uint64_t lsched_run(struct lworker *lw, uint64_t budget);
void lsched_timers(struct lworker *lw);
uint64_t lsched_deadline(struct lworker *lw);

/* ---- local.c ---- */
struct lworker *llocal_worker(struct ff_worker *w);
/* Sends op to another worker, where fn gets it; queues it here when the ring is full. */
void lpost(struct lworker *lw, struct ff_worker *to, struct lop *op, void (*fn)(struct ff_msg *));
struct lop *lop_alloc(void); /* control thread, or a worker that the control thread waits for */
void lop_free_async(struct lop *op);

/* ---- modify.c ---- */
/* Every slot of the window has its operation. 0 or -ENOMEM. As lop_alloc(). */
int lqp_slots_fill(struct lqp *l);
int lqp_modify(struct ff_qp *qp, const struct ff_qp_attr *new, uint32_t mask);
void lqp_detach(struct ff_qp *qp);

static inline struct lop *
lqp_slot(struct lqp *l, uint32_t i)
{
	return l->slot[i % l->window];
}

#endif
