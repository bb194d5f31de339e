/* SPDX-License-Identifier: MIT */
/*
 * Scaffold of the verbs conformance program: one process, one device, pairs of QPs connected to
 * each other. A case prints `ok NAME` or `not ok NAME - why`; CHECK leaves the case at its first
 * failure.
 */
#ifndef TEST_VT_H
#define TEST_VT_H

#include <errno.h>
#include <infiniband/verbs.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define VT_ACCESS                                                                    \
	(IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ | \
	 IBV_ACCESS_REMOTE_ATOMIC | IBV_ACCESS_MW_BIND)

struct vt {
	struct ibv_context *ctx;
	struct ibv_pd *pd;
	union ibv_gid gid;
};
extern struct vt vt;
extern char vt_why[512];  /* not empty: the case failed */
extern char vt_skip[512]; /* not empty: it could not be run, and why */

#define CHECK(cond)                                                                        \
	do {                                                                               \
		if (!(cond)) {                                                             \
			snprintf(vt_why, sizeof(vt_why), "%s:%d: %s (errno %d)", __FILE__, \
				 __LINE__, #cond, errno);                                  \
			return;                                                            \
		}                                                                          \
	} while (0)

struct vt_pair {
	enum ibv_qp_type type;
	struct ibv_qp *a, *b;
	struct ibv_cq *acq, *bcq; /* both directions of each */
	struct ibv_srq *srq;	  /* of b, or NULL */
	struct ibv_mr *mr;
	uint8_t *buf; /* a's part first, b's in the second half */
	size_t len;
};

struct vt_opts {
	enum ibv_qp_type type; /* 0: RC */
	bool srq;
	size_t len;			  /* of the buffer; 0: 64 KiB */
	uint8_t rnr_retry, min_rnr_timer; /* 0 and 0: 7 and 12 */
	bool no_rnr_retry;
	uint8_t timeout, retry_cnt;		   /* 0: 14, 7 */
	uint32_t max_wr, max_sge, max_inline, cqe; /* 0: 64, 4, 64, 256 */
	struct ibv_comp_channel *ch;
};
/* The case's pair: vt_run() closes it afterwards, however the case ended. */
extern struct vt_pair vt_p;
/* 0, or -1 with errno; close undoes also a half-made one. */
int vt_pair_open(struct vt_pair *p, const struct vt_opts *o);
void vt_pair_close(struct vt_pair *p);
int vt_to_state(struct ibv_qp *qp, enum ibv_qp_state s);
enum ibv_qp_state vt_state(struct ibv_qp *qp);

/* Waits up to 20 s. 1: *wc is the next completion. */
int vt_poll(struct ibv_cq *cq, struct ibv_wc *wc);
int vt_poll_long(struct ibv_cq *cq, struct ibv_wc *wc); /* 100 s: gigabytes of new pages */
/* Nothing within 50 ms. */
bool vt_silent(struct ibv_cq *cq);
int vt_recv(struct vt_pair *p, uint64_t id, void *addr, uint32_t len);
int vt_send(struct ibv_qp *qp, enum ibv_wr_opcode op, uint64_t id, void *addr, uint32_t len,
	    uint32_t lkey, void *raddr, uint32_t rkey, unsigned flags);
bool vt_async(enum ibv_event_type want); /* the next async event within 5 s, acked */

void vt_run(const char *name, void (*fn)(void));
void vt_data_cases(void);
void vt_error_cases(void);
void vt_object_cases(void);

#endif
