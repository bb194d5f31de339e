/* SPDX-License-Identifier: MIT */
/*
 * The uverbs objects. Made and destroyed on the control thread; what a worker writes says so.
 * A worker finds objects through the tables (QPNs, keys) anew in each pass, or through pointers
 * between objects whose lifetimes verbs nests (QP -> CQ, PD, SRQ). No DPDK in this folder.
 *
 * Handles are per ucontext, dense and small; QPNs and keys are random and unique on the host.
 */
#ifndef FF_VERBS_VERBS_H
#define FF_VERBS_VERBS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include <freeflow/abi.h>
#include <freeflow/uverbs.h>
#include <rdma/ib_user_ioctl_verbs.h>

#include "../channel/channel.h"
#include "../core/idtab.h"
#include "queue.h"
#include "umem.h"

/* Limits of the device, as query_device says them (rxe_param.h has the same order). */
#define FF_MAX_QP_WR	 16384u
#define FF_MAX_SGE	 32u
#define FF_MAX_INLINE	 512u
#define FF_MAX_CQE	 32767u
#define FF_MAX_SRQ_WR	 32767u
#define FF_MAX_SRQ_SGE	 27u
#define FF_MAX_MSG	 (1u << 31)
#define FF_MAX_RD_ATOMIC 128u
#define FF_PORT_NUM	 1u

/* IBTA 10.3.1; values of enum ibv_qp_state. */
enum ff_qp_state {
	FF_QPS_RESET,
	FF_QPS_INIT,
	FF_QPS_RTR,
	FF_QPS_RTS,
	FF_QPS_SQD,
	FF_QPS_SQE,
	FF_QPS_ERR,
};

/* Values of enum ibv_access_flags. */
enum ff_access {
	FF_ACCESS_LOCAL_WRITE = 1,
	FF_ACCESS_REMOTE_WRITE = 2,
	FF_ACCESS_REMOTE_READ = 4,
	FF_ACCESS_REMOTE_ATOMIC = 8,
	FF_ACCESS_MW_BIND = 16,
	FF_ACCESS_ZERO_BASED = 32,
};

/* Values of enum ibv_wc_status. */
enum ff_wc_status {
	FF_WC_SUCCESS,
	FF_WC_LOC_LEN_ERR,
	FF_WC_LOC_QP_OP_ERR,
	FF_WC_LOC_EEC_OP_ERR,
	FF_WC_LOC_PROT_ERR,
	FF_WC_WR_FLUSH_ERR,
	FF_WC_MW_BIND_ERR,
	FF_WC_BAD_RESP_ERR,
	FF_WC_LOC_ACCESS_ERR,
	FF_WC_REM_INV_REQ_ERR,
	FF_WC_REM_ACCESS_ERR,
	FF_WC_REM_OP_ERR,
	FF_WC_RETRY_EXC_ERR,
	FF_WC_RNR_RETRY_EXC_ERR,
	FF_WC_LOC_RDD_VIOL_ERR,
	FF_WC_REM_INV_RD_REQ_ERR,
	FF_WC_REM_ABORT_ERR,
	FF_WC_INV_EECN_ERR,
	FF_WC_INV_EEC_STATE_ERR,
	FF_WC_FATAL_ERR,
	FF_WC_RESP_TIMEOUT_ERR,
	FF_WC_GENERAL_ERR,
};

/* Values of enum ibv_send_flags. */
enum ff_send_flags {
	FF_SEND_FENCE = 1,
	FF_SEND_SIGNALED = 2,
	FF_SEND_SOLICITED = 4,
	FF_SEND_INLINE = 8,
};

/* Values of enum ibv_wc_flags. */
enum ff_wc_flags { FF_WC_GRH = 1, FF_WC_WITH_IMM = 2, FF_WC_WITH_INV = 8 };

/* Values of enum ibv_wc_opcode, receive side; send side: enum ib_uverbs_wc_opcode. */
enum ff_wc_recv_opcode { FF_WC_RECV = 128, FF_WC_RECV_RDMA_WITH_IMM = 129 };

/* Values of enum ibv_event_type. */
enum ff_event {
	FF_EVENT_CQ_ERR,
	FF_EVENT_QP_FATAL,
	FF_EVENT_QP_REQ_ERR,
	FF_EVENT_QP_ACCESS_ERR,
	FF_EVENT_COMM_EST,
	FF_EVENT_SQ_DRAINED,
	FF_EVENT_PATH_MIG,
	FF_EVENT_PATH_MIG_ERR,
	FF_EVENT_DEVICE_FATAL,
	FF_EVENT_PORT_ACTIVE,
	FF_EVENT_PORT_ERR,
	FF_EVENT_LID_CHANGE,
	FF_EVENT_PKEY_CHANGE,
	FF_EVENT_SM_CHANGE,
	FF_EVENT_SRQ_ERR,
	FF_EVENT_SRQ_LIMIT_REACHED,
	FF_EVENT_QP_LAST_WQE_REACHED,
	FF_EVENT_CLIENT_REREGISTER,
	FF_EVENT_GID_CHANGE,
};

/* Values of enum ibv_qp_attr_mask; the mask of qp_modify. */
enum ff_qp_mask {
	FF_QPM_STATE = 1 << 0,
	FF_QPM_CUR_STATE = 1 << 1,
	FF_QPM_EN_SQD_ASYNC_NOTIFY = 1 << 2,
	FF_QPM_ACCESS_FLAGS = 1 << 3,
	FF_QPM_PKEY_INDEX = 1 << 4,
	FF_QPM_PORT = 1 << 5,
	FF_QPM_QKEY = 1 << 6,
	FF_QPM_AV = 1 << 7,
	FF_QPM_PATH_MTU = 1 << 8,
	FF_QPM_TIMEOUT = 1 << 9,
	FF_QPM_RETRY_CNT = 1 << 10,
	FF_QPM_RNR_RETRY = 1 << 11,
	FF_QPM_RQ_PSN = 1 << 12,
	FF_QPM_MAX_QP_RD_ATOMIC = 1 << 13,
	FF_QPM_ALT_PATH = 1 << 14,
	FF_QPM_MIN_RNR_TIMER = 1 << 15,
	FF_QPM_SQ_PSN = 1 << 16,
	FF_QPM_MAX_DEST_RD_ATOMIC = 1 << 17,
	FF_QPM_PATH_MIG_STATE = 1 << 18,
	FF_QPM_CAP = 1 << 19,
	FF_QPM_DEST_QPN = 1 << 20,
};

/*
 * A completion or async event channel: a pipe whose read end the program has. Workers only write
 * single records to fd; all else is the control thread's.
 */
struct ff_event_pipe {
	int fd;	       /* write end, O_NONBLOCK; -1: none */
	uint32_t refs; /* CQs that use it, plus the ucontext's list */
	TAILQ_ENTRY(ff_event_pipe) link;
	uint32_t handle;   /* comp channels: what CREATE_CQ names it by (abi.h) */
	uint32_t rec_size; /* bytes of a record, divides PIPE_BUF */
	uint8_t *pending;  /* records that did not fit, oldest first */
	uint32_t pend_len, pend_cap;
	uint64_t dropped; /* records lost because pending was full */
	bool retrying;	  /* on the list of the retry timer */
	TAILQ_ENTRY(ff_event_pipe) retry_link;
};

/* Where async events come from: part of each object that can have some (async.c). */
struct ff_async_src {
	_Atomic uint32_t pending;  /* a bit per event; not 0: it is on the list */
	struct ff_async_src *next; /* writer: who made pending non-zero. Reader: control */
	uint8_t kind;		   /* enum async_kind, constant */
};

enum ff_obj_type {
	FF_OBJ_PD,
	FF_OBJ_MR,
	FF_OBJ_MW,
	FF_OBJ_CQ,
	FF_OBJ_QP,
	FF_OBJ_SRQ,
	FF_OBJ_AH,
	FF_OBJ_MAX
};

/* Head of each object; refs: other objects that use it (destroy gives EBUSY). Control thread. */
struct ff_obj {
	struct ff_ucontext *uc;
	uint32_t handle;
	uint32_t refs;
	uint64_t user_handle;
};

struct ff_handle_table {
	struct ff_obj **slots;
	uint32_t size, used, hint;
};

/* One open of the device file. Control thread. */
struct ff_ucontext {
	struct ff_channel *channel;
	struct ff_container *container; /* = channel->container */
	struct ff_worker *worker;	/* = channel->worker */
	struct ff_handle_table tables[FF_OBJ_MAX];
	struct ff_event_pipe async; /* struct ib_uverbs_async_event_desc records */
	struct ff_async_src async_src;
	TAILQ_HEAD(, ff_event_pipe) comp_channels;
	uint32_t num_comp_channels, gc_at, next_channel;
	uint64_t next_mmap_off;
	bool got_context;	       /* GET_CONTEXT was done */
	TAILQ_ENTRY(ff_ucontext) link; /* channel->contexts; ff_ucontext_create/destroy keep it */
	void *priv;		       /* channel.c: its socket */
};

struct ff_pd {
	struct ff_obj obj;
	uint32_t id; /* unique on the host, never reused: what keys are checked against */
};

struct ff_mr;
struct ff_mw;

/* The key table's entries say what they are. */
enum ff_key_kind { FF_KEY_MR, FF_KEY_MW };
struct ff_key {
	enum ff_key_kind kind;
	union {
		struct ff_mr *mr;
		struct ff_mw *mw;
	};
};

/* Constant while it is in the key table: rereg_mr makes a new one. */
struct ff_mr {
	struct ff_obj obj;
	struct ff_pd *pd;
	struct ff_key ent;
	uint32_t key_id; /* in ff_keys */
	uint32_t key;	 /* lkey = rkey; idtab id << 8 | variant */
	uint32_t pd_id;
	uint32_t access;
	uint64_t iova; /* hca_va: address that sge.addr and remote_addr use */
	uint64_t length;
	uint32_t mws; /* windows bound to it. Owner worker */
	struct ff_umem umem;
	/* LOCAL_INV / remote invalidate of an MR is refused (rxe: only fast-reg MRs). */
};

enum ff_mw_state { FF_MW_FREE, FF_MW_VALID, FF_MW_INVALID };
struct ff_mw {
	struct ff_obj obj;
	struct ff_pd *pd;
	struct ff_key ent;
	uint32_t key_id; /* index part of the rkey, constant */
	uint8_t type;	 /* 1 or 2 (IBV_MW_TYPE_*) */
	uint32_t pd_id;
	/* Owner worker, inside an odd seq; other workers read under it (key.c): */
	_Atomic uint32_t seq;
	uint32_t rkey; /* current key; its low byte changes by bind */
	enum ff_mw_state state;
	uint32_t access;
	uint64_t addr, length;	   /* window */
	struct ff_mr *mr;	   /* bound to; mr->mws counts */
	uint32_t qpn;		   /* type 2: only this QP may use it */
	LIST_ENTRY(ff_mw) qp_link; /* type 2, bound: its QP's windows. Owner worker */
};

struct ff_cq {
	struct ff_obj obj;
	struct ff_queue q; /* elements: struct ib_uverbs_wc. Owner worker */
	uint32_t consumer; /* the program's index as last seen. Owner worker */
	uint32_t cqe;	   /* usable entries, as the program was told */
	struct ff_event_pipe *comp;
	struct ff_async_src async_src;
	_Atomic uint32_t comp_due; /* events that found the pipe full: for the control thread */
	uint64_t comp_sent;	   /* control: records that it put into comp */
	bool overrun;		   /* owner worker: no more completions, QPs are in error */
	uint64_t events_sent;	   /* owner worker: records written to comp */
	uint32_t async_sent;	   /* control */
	uint64_t completions;	   /* owner worker, for telemetry */
};

struct ff_srq {
	struct ff_obj obj;
	struct ff_pd *pd;
	struct ff_queue q; /* elements: struct rxe_recv_wqe + sges. Owner worker */
	uint32_t max_wr, max_sge;
	uint32_t limit; /* owner worker: SRQ_LIMIT_REACHED below it, once; 0: off */
	uint32_t srqn;
	bool error; /* owner worker */
	struct ff_async_src async_src;
	uint32_t async_sent; /* control */
};

struct ff_ah_attr {
	uint8_t dgid[16];
	uint8_t sgid_index, hop_limit, traffic_class, sl, port_num;
	uint32_t flow_label;
	bool is_global;
	bool away; /* of a QP: no container of this host had the address when it was set */
};
struct ff_ah {
	struct ff_obj obj;
	struct ff_pd *pd;
	uint32_t ah_num; /* index in the table ff_ahs; what a UD WQE names */
	struct ff_ah_attr attr;
};

/* Attributes that modify_qp sets; the owner worker reads and writes them. */
struct ff_qp_attr {
	enum ff_qp_state state, cur_state;
	uint32_t path_mtu; /* enum ib_mtu */
	uint32_t qkey, rq_psn, sq_psn, dest_qpn;
	uint32_t access; /* enum ff_access: remote operations that are allowed */
	uint16_t pkey_index;
	uint8_t port_num, sq_draining;
	uint8_t max_rd_atomic, max_dest_rd_atomic;
	uint8_t min_rnr_timer, timeout, retry_cnt, rnr_retry;
	struct ff_ah_attr ah, alt_ah;
	uint8_t alt_port_num, alt_timeout, path_mig_state;
	bool en_sqd_async_notify;
	uint16_t alt_pkey_index;
};

enum ff_qp_counter {
	FF_QC_SEND,
	FF_QC_WRITE,
	FF_QC_READ,
	FF_QC_ATOMIC,
	FF_QC_BIND,
	FF_QC_INV,
	FF_QC_RECV,
	FF_QC_TX_BYTES,
	FF_QC_RX_BYTES,
	FF_QC_DOORBELLS,
	FF_QC_RNR,
	FF_QC_RETRY,
	FF_QC_DROPPED,
	FF_QC_COPY_DIRECT, /* slices copied between mapped memory */
	FF_QC_COPY_BOUNCE, /* slices that needed procmem.h */
	FF_QC_ERR_BASE,	   /* + enum ff_wc_status: completions with that error */
	FF_QC_MAX = FF_QC_ERR_BASE + 22,
};
extern const char *const ff_qp_counter_names[FF_QC_MAX];

struct ff_qp {
	struct ff_obj obj;
	uint32_t qpn;
	uint8_t type; /* enum ib_uverbs_qp_type */
	bool sig_all;
	struct ff_worker *worker; /* owner */
	struct ff_container *container;
	struct ff_pd *pd;
	struct ff_cq *scq, *rcq;
	struct ff_srq *srq;
	uint32_t max_send_wr, max_recv_wr, max_send_sge, max_recv_sge, max_inline;
	struct ff_queue sq, rq; /* owner worker */
	struct ff_qp_attr attr; /* owner worker; attr.state is the QP's state */
	void *nic;		/* the backend's part */
	struct ff_async_src async_src;
	uint32_t async_sent;	      /* control */
	uint32_t mcasts;	      /* control: groups it is in; destroy gives EBUSY */
	bool detached;		      /* owner worker: the backend knows it no more */
	LIST_HEAD(, ff_mw) windows;   /* owner worker: of type 2, bound to it */
	uint64_t counters[FF_QC_MAX]; /* writer: owner worker; readers sum */
};

/* Tables; workers look up, the control thread changes. */
extern struct ff_idtab ff_qps;	/* QPN -> struct ff_qp */
extern struct ff_idtab ff_keys; /* key >> 8 -> struct ff_key */
extern struct ff_idtab ff_ahs;	/* ah_num -> struct ff_ah */
/* The multicast group's members of a tenant: calls fn for each QP. Worker. */
void ff_mcast_foreach(const struct ff_tenant *t, const uint8_t mgid[16],
		      void (*fn)(struct ff_qp *qp, void *arg), void *arg);

int ff_verbs_init(void);
void ff_verbs_fini(void);

/* ---- ucontexts (ucontext.c) ---- */
/* Links it into ch->contexts; destroy unlinks it. NULL and errno. */
struct ff_ucontext *ff_ucontext_create(struct ff_channel *ch);
/*
 * The device is about to go: all QPs to error, so that who only polls a CQ sees flushed work
 * requests; then the event.
 */
void ff_ucontext_fatal(struct ff_ucontext *uc);
/* Destroys all objects of it in the order QP, SRQ, CQ, MW, MR, AH, PD; then itself. */
void ff_ucontext_destroy(struct ff_ucontext *uc);

struct ff_uverbs_reply {
	uint8_t *out; /* caller's buffer */
	uint32_t out_cap, out_len;
	uint32_t num_fds;
	struct ff_fd_desc fds[FF_MSG_FDS_MAX];
	int fd[FF_MSG_FDS_MAX];
	bool close_fd[FF_MSG_FDS_MAX]; /* the caller closes fd[i] after sending */
};
/*
 * One write() to the device: cmd is the caller's private copy, len bytes. Returns what write()
 * returns: len, or -errno. On error nothing was made and rep is empty.
 */
int ff_uverbs_command(struct ff_ucontext *uc, const void *cmd, uint32_t len,
		      struct ff_uverbs_reply *rep);

/* ---- for backends: owner worker, unless said otherwise ---- */

/*
 * Posts a completion (qp->qpn and port are the caller's to fill in) and the event that it is due.
 * solicited: also wakes FF_CQ_ARM_SOLICITED (errors always do). A full CQ: IBV_EVENT_CQ_ERR, the
 * CQ and its QPs go to error; returns -EOVERFLOW.
 */
int ff_cq_post(struct ff_cq *cq, const struct ib_uverbs_wc *wc, bool solicited);
/* Async events: any worker (a message to the control thread) or the control thread itself. */
void ff_async_qp(struct ff_qp *qp, uint32_t ib_event);
void ff_async_cq(struct ff_cq *cq, uint32_t ib_event);
void ff_async_srq(struct ff_srq *srq, uint32_t ib_event);
void ff_async_ucontext(struct ff_ucontext *uc, uint32_t ib_event, uint32_t element);
/* Port events to all ucontexts of a container (GID_CHANGE when its addresses change). Control. */
void ff_async_container(struct ff_container *c, uint32_t ib_event);

/*
 * Checks a key. want: enum ff_access bits that are needed (0: local read). Local (lkey): an MR of
 * pd_id. Remote (rkey): an MR or a bound window of pd_id; type 2 windows only for qpn. Sets the
 * MR and the offset of va in it. 0, or -EACCES (no such key, wrong PD, no right), or -ERANGE
 * (outside). len 0 always passes and gives *mr NULL.
 */
int ff_key_check_local(uint32_t pd_id, uint32_t lkey, uint64_t va, uint64_t len, uint32_t want,
		       struct ff_mr **mr, uint64_t *off);
int ff_key_check_remote(uint32_t pd_id, uint32_t qpn, uint32_t rkey, uint64_t va, uint64_t len,
			uint32_t want, struct ff_mr **mr, uint64_t *off);
/* Bind (WQE or ibv_bind_mw) and invalidate. 0 or -EINVAL/-EACCES. */
struct ff_mw_bind {
	uint64_t addr, length;
	uint32_t mr_lkey, mw_rkey, rkey, access;
};
int ff_mw_bind(struct ff_qp *qp, const struct ff_mw_bind *b);
int ff_key_invalidate(struct ff_qp *qp, uint32_t rkey, bool remote);

#endif
