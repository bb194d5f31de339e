/* SPDX-License-Identifier: MIT */
/*
 * The verbs room with fakes of all that is around it: containers, workers (direct calls), memory
 * and a backend that only remembers what it was asked. One ucontext. One thread. No CUnit: the
 * fuzzer uses it too.
 */
#ifndef FF_TEST_VERBS_WORLD_H
#define FF_TEST_VERBS_WORLD_H

#include <infiniband/verbs.h>
#include <stdbool.h>
#include <stdint.h>

#include "../../../dataplane/nic/nic.h"
#include "../../../dataplane/verbs/verbs.h"

struct world {
	struct ff_tenant tenant;
	struct ff_container c;	   /* gids[0] is valid */
	struct ff_container other; /* of the same tenant; policy is other_allowed */
	struct ff_channel channel;
	struct ff_proc proc;
	struct ff_ucontext *uc;

	/* The backend. */
	int nic_create_rc, nic_modify_rc, mr_reg_rc;
	unsigned qps, detached, mrs, posts, srq_changes, modifies;
	int ask_rc;
	unsigned asks;
	uint32_t last_mask;
	struct ff_qp_attr last_attr;

	/* The surroundings. */
	bool other_allowed;
	int umem_rc;
	unsigned umems, syncs, calls, retired;
	bool umem_write;	    /* last ff_umem_get */
	int control_full;	    /* ff_control_post: so many times -ENOSPC */
	struct ff_msg *control_msg; /* last one posted */
	bool on_worker;		    /* ff_worker_self() */
	void (*meanwhile)(void);    /* what the worker does before it is called */

	/* The last command's outcome. */
	uint8_t out[8192];
	struct ff_uverbs_reply rep;
};
extern struct world w;

void world_begin(void);	  /* w.uc has not done GET_CONTEXT yet */
unsigned world_end(void); /* destroys it; returns how many things are left over: 0 */

#endif
