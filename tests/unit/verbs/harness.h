/* SPDX-License-Identifier: MIT */
/* world.h, driven by command bytes as libibverbs writes them. */
#ifndef FF_TEST_VERBS_HARNESS_H
#define FF_TEST_VERBS_HARNESS_H

#include <CUnit/CUnit.h>

#include "world.h"

void world_open(void);	/* with a ucontext that has done GET_CONTEXT */
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
