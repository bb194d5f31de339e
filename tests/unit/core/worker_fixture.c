/* SPDX-License-Identifier: MIT */
/* The fixture of the tests of workers: EAL, a stage, start and stop. */
#include "worker_fixture.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/eal.h"

struct fixture_stage stage;
static int stage_slot;

static int
stage_init(struct ff_worker *w)
{
	if (ff_worker_index(w) == WORKERS - 1 && stage.init_rc)
		return stage.init_rc;
	ff_worker_priv_set(w, stage_slot, w);
	__atomic_fetch_add(&stage.inits, 1, __ATOMIC_SEQ_CST);
	return 0;
}

static void
stage_fini(struct ff_worker *w)
{
	CU_ASSERT_PTR_EQUAL(ff_worker_priv(w, stage_slot), w);
	__atomic_fetch_add(&stage.finis, 1, __ATOMIC_SEQ_CST);
}

static unsigned
stage_poll(struct ff_worker *w, uint64_t now_ns)
{
	return stage.poll ? stage.poll(w, now_ns) : 0;
}

static bool
stage_prepare(struct ff_worker *w)
{
	return stage.prepare ? stage.prepare(w) : false;
}

static void
stage_done(struct ff_worker *w)
{
	atomic_fetch_add(&stage.done, 1);
}

static uint64_t
stage_deadline(struct ff_worker *w)
{
	return stage.deadline ? stage.deadline(w) : UINT64_MAX;
}

static const struct ff_worker_stage the_stage = {
	.name = "test",
	.init = stage_init,
	.fini = stage_fini,
	.poll = stage_poll,
	.sleep_prepare = stage_prepare,
	.sleep_done = stage_done,
	.deadline = stage_deadline,
};

void
stage_reset(void)
{
	memset(&stage, 0, sizeof(stage));
}

void
workers_up(enum ff_idle_policy idle)
{
	ff_config.idle = idle;
	CU_ASSERT_EQUAL_FATAL(ff_workers_start(), 0);
	CU_ASSERT_EQUAL(ff_worker_count(), WORKERS);
}

void
workers_down(void)
{
	ff_workers_stop();
	CU_ASSERT_EQUAL(ff_worker_count(), 0);
	CU_ASSERT_EQUAL(stage.finis, stage.inits);
	stage_reset();
}

void
wait_parked(unsigned i)
{
	while (!atomic_load(&ff_worker_get(i)->parked))
		sched_yield();
}

unsigned
rounds(void)
{
	return ff_config.idle == FF_IDLE_POLL ? 20 : 2000;
}

void
each_policy(void (*test)(void))
{
	int idle;

	for (idle = FF_IDLE_POLL; idle <= FF_IDLE_INTERRUPT; idle++) {
		workers_up((enum ff_idle_policy)idle);
		test();
		workers_down();
	}
}

int
fixture_setup(void)
{
	static char dir[] = "/tmp/ff-worker-test-XXXXXX";

	ff_config_defaults(&ff_config);
	if (!mkdtemp(dir))
		return 1;
	strcpy(ff_config.run_dir, dir);
	ff_config.num_workers = WORKERS;
	ff_config.hugepages = FF_HUGE_NEVER;
	ff_config.memory_mb = 32;
	stage_slot = ff_worker_stage_register(&the_stage);
	return ff_eal_init() ? 1 : 0;
}

int
fixture_cleanup(void)
{
	ff_eal_fini();
	return rmdir(ff_config.run_dir);
}

int
fixture_run(void)
{
	unsigned failed;

	CU_basic_set_mode(CU_BRM_VERBOSE);
	CU_basic_run_tests();
	failed = CU_get_number_of_failures() + CU_get_number_of_suites_failed();
	CU_cleanup_registry();
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#ifdef __SANITIZE_THREAD__
/* DPDK reads the head of its ring as a volatile, where another producer writes it atomically. */
const char *__tsan_default_suppressions(void);
const char *
__tsan_default_suppressions(void)
{
	return "race:__rte_ring_rts_";
}
#endif
