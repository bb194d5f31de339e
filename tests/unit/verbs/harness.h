/* SPDX-License-Identifier: MIT */
/*
 * The verbs room with fakes of all that is around it: containers, workers (direct calls), memory
 * and a backend that only remembers what it was asked. One ucontext, driven by command bytes as
 * libibverbs writes them. One thread.
 */
#ifndef FF_TEST_VERBS_HARNESS_H
#define FF_TEST_VERBS_HARNESS_H

#include <CUnit/CUnit.h>
#include <infiniband/verbs.h>
#include <stdbool.h>
#include <stdint.h>

#include "../../../dataplane/nic/nic.h"
#include "../../../dataplane/verbs/verbs.h"

#define NO_DRV 0u

struct world {
	struct ff_tenant tenant;
	struct ff_container c;      /* gids[0] is valid */
	struct ff_container other;  /* of the same tenant; policy is other_allowed */
	struct ff_channel channel;
	struct ff_proc proc;
	struct ff_ucontext *uc;

	/* The backend. */
	int nic_create_rc, nic_modify_rc, mr_reg_rc;
	unsigned qps, detached, mrs, posts, srq_changes, modifies;
	uint32_t last_mask;
	struct ff_qp_attr last_attr;

	/* The surroundings. */
	bool other_allowed;
	int umem_rc;
	unsigned umems, syncs, calls, retired;
	bool umem_write;            /* last ff_umem_get */
	int control_full;           /* ff_control_post: so many times -ENOSPC */
	struct ff_msg *control_msg; /* last one posted */
	bool on_worker;             /* ff_worker_self() */

	/* The last command's outcome. */
	uint8_t out[8192];
	struct ff_uverbs_reply rep;
};
extern struct world w;

void world_open(void);  /* with a ucontext that has done GET_CONTEXT; w.async_fd reads events */
void world_close(void); /* destroys it and checks that nothing is left */
/* The program's end of the async pipe. */
extern int async_fd;

/* A legacy command: req without header; out: bytes of response, provider's included. */
int command(uint32_t num, const void *req, uint32_t len, uint32_t out);
/* An extended one, with a response of out and drv_out bytes. */
int command_ex(uint32_t num, const void *req, uint32_t len, const void *drv, uint32_t drv_len,
	       uint32_t out, uint32_t drv_out);
/* Raw bytes. */
int command_raw(const void *buf, uint32_t len);

/* The least of each object; these check that it worked and return the handle. */
uint32_t make_pd(void);
uint32_t make_cq(uint32_t cqe, int32_t channel);
int make_channel(uint32_t *handle); /* returns the read end */
uint32_t make_mr(uint32_t pd, uint64_t addr, uint64_t len, uint32_t access, uint32_t *key);
uint32_t make_mw(uint32_t pd, uint8_t type, uint32_t *rkey);
uint32_t make_srq(uint32_t pd, uint32_t wr, uint32_t sge);
struct ib_uverbs_create_qp_resp make_qp(uint32_t pd, uint32_t cq, uint8_t type);
uint32_t make_ah(uint32_t pd, uint32_t *ah_num);

int destroy(uint32_t num, uint32_t handle); /* the commands with nothing but a handle */
int dealloc_pd(uint32_t h);
/* *events: of QP and SRQ; comp, async: of CQ. */
int destroy_qp(uint32_t h, uint32_t *events);
int destroy_srq(uint32_t h, uint32_t *events);
int destroy_cq(uint32_t h, uint32_t *comp, uint32_t *async);

struct ff_qp *qp_of(uint32_t h);
struct ff_cq *cq_of(uint32_t h);
struct ff_srq *srq_of(uint32_t h);
struct ff_mr *mr_of(uint32_t h);
struct ff_mw *mw_of(uint32_t h);

/* Through INIT, RTR and RTS with sound attributes. */
void qp_to_rts(uint32_t h);
int modify(uint32_t h, const struct ib_uverbs_modify_qp *attr, uint32_t mask);
/* Attributes that are right for every transition of w's QPs. */
struct ib_uverbs_modify_qp good_attr(uint32_t state);

/* Records that can be read now without waiting. */
unsigned readable(int fd, uint32_t rec_size);

/* Runs one suite; returns the exit status. */
struct test_case {
	const char *name;
	void (*fn)(void);
};
int run_suite(const char *name, const struct test_case *cases, unsigned num);
#define COUNT_OF(a) (sizeof(a) / sizeof((a)[0]))

#endif
