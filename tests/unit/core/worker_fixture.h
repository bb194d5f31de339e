/* SPDX-License-Identifier: MIT */
/* Real lcores and a stage that a test programs; for the tests of workers. */
#ifndef FF_TEST_WORKER_FIXTURE_H
#define FF_TEST_WORKER_FIXTURE_H

#include <CUnit/Basic.h>
#include <stdatomic.h>

#include "core/config.h"
#include "core/worker_priv.h"

#define WORKERS 2

/* What the stage does; NULL: nothing. All zero after workers_down(). */
struct fixture_stage {
	int init_rc; /* of the last worker */
	unsigned inits, finis;
	unsigned (*poll)(struct ff_worker *w, uint64_t now_ns);
	bool (*prepare)(struct ff_worker *w);
	uint64_t (*deadline)(struct ff_worker *w);
	_Atomic unsigned done;
};
extern struct fixture_stage stage;

/* Of the suite: EAL with WORKERS lcores. */
int fixture_setup(void);
int fixture_cleanup(void);
/* Runs all tests; main's exit status. */
int fixture_run(void);

void stage_reset(void);
void workers_up(enum ff_idle_policy idle);
void workers_down(void);
void wait_parked(unsigned i);
/*
 * How often to repeat. Polling workers leave the test no CPU of a small machine: each round takes a
 * time slice.
 */
unsigned rounds(void);
/* Runs test under each policy. */
void each_policy(void (*test)(void));

#endif
