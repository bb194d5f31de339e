/* SPDX-License-Identifier: MIT */
/* What harness.c (the test's side) and fakes.c (the backend's surroundings) share. */
#ifndef TEST_NIC_HARNESS_PRIV_H
#define TEST_NIC_HARNESS_PRIV_H

#include "../../../dataplane/nic/local/local_priv.h"
#include "harness.h"

#define H_MSGS 1024u
#define H_MRS  64u

struct ff_worker {
	unsigned index;
	void *priv[FF_STAGES_MAX];
	struct ff_msg *msgs[H_MSGS];
	unsigned head, tail;
};

struct h_mrs {
	struct ff_mr mr;
	struct ff_umem_seg seg;
	struct ff_ucontext uc;
	bool used;
};

/* What the backend registered, in that order. */
extern const struct ff_worker_stage *h_stages[FF_STAGES_MAX];
extern unsigned h_num_stages;
extern struct h_mrs h_mrs[H_MRS]; /* by key */
extern struct ff_proc h_proc;

void h_run_jobs(void);	  /* the fake copier */
void h_run_control(void); /* messages to the control thread */
/* Deterministic ids, one leaf for all of them. */
void h_idtab_init(struct ff_idtab *t);
void h_idtab_insert(struct ff_idtab *t, void *obj, uint32_t *id);
void h_idtab_remove(struct ff_idtab *t, uint32_t id);

#endif
