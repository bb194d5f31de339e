/* SPDX-License-Identifier: MIT */
/*
 * The local backend without threads: every case runs with both QPs on one worker and with one on
 * each, so that list moves and messages between workers give the same answers.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <CUnit/Basic.h>

#include "engine_cases.h"

struct h_qp *a, *b;
uint8_t *src, *dst;
uint32_t lkey, rkey;
unsigned worker_b;
bool mapped = true;

void
fill(uint8_t *p, size_t n, unsigned seed)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)(i * 31 + seed + (i >> 8));
}

void
setup(uint8_t type)
{
	memset(h_events, 0, sizeof(h_events));
	src = malloc(LEN);
	dst = malloc(LEN);
	fill(src, LEN, 1);
	memset(dst, 0, LEN);
	a = h_qp_new(type, 0, 0);
	b = h_qp_new(type, 1, worker_b);
	lkey = h_mr(a, src, LEN, ALL, mapped);
	rkey = h_mr(b, dst, LEN, ALL, mapped);
	h_connect(a, b);
}

void
teardown(void)
{
	h_qp_free(a);
	h_qp_free(b);
	h_settle();
	h_mr_drop(lkey);
	h_mr_drop(rkey);
	free(src);
	free(dst);
}

void
expect(struct h_cq *cq, uint64_t wr_id, uint32_t status)
{
	const struct ib_uverbs_wc *wc = h_wc(cq);

	CU_ASSERT_PTR_NOT_NULL_FATAL(wc);
	CU_ASSERT_EQUAL(wc->wr_id, wr_id);
	CU_ASSERT_EQUAL(wc->status, status);
	if (wc->wr_id != wr_id || wc->status != status)
		printf("[wr %lu status %u, want %lu %u]", (unsigned long)wc->wr_id, wc->status,
		       (unsigned long)wr_id, status);
}

void
post(uint64_t id, uint32_t len)
{
	h_post_send(a, &(struct h_wr){.opcode = IB_UVERBS_WR_SEND,
				      .wr_id = id,
				      .addr = src,
				      .len = len,
				      .lkey = lkey});
}

void
rdma(uint8_t opcode, uint64_t id, uint32_t len)
{
	h_post_send(a, &(struct h_wr){.opcode = opcode,
				      .wr_id = id,
				      .addr = src,
				      .len = len,
				      .lkey = lkey,
				      .raddr = (uint64_t)dst,
				      .rkey = rkey,
				      .imm = 0x1234});
}

static const struct {
	const char *name;
	void (*run)(void);
} cases[] = {
	{"data", run_data},
	{"inline and order", run_inline_and_order},
	{"RNR", run_rnr},
	{"retry", run_retry},
	{"remote errors", run_remote_errors},
	{"receive errors", run_recv_errors},
	{"flush", run_flush},
	{"an end vanishes", run_vanish},
	{"SQD and RESET", run_sqd_reset},
	{"UC", run_uc},
	{"UD", run_ud},
	{"local operations", run_local_ops},
	{"hostile WQEs", run_hostile_wqe},
	{"fairness", run_fairness},
	{"loopback", run_loopback},
};
#define NUM_CASES (sizeof(cases) / sizeof(cases[0]))

/* CUnit's tests have no argument: they run in the order in which they were added. */
static unsigned next_case;

static void
run_next(void)
{
	worker_b = next_case >= NUM_CASES;
	mapped = true;
	cases[next_case++ % NUM_CASES].run();
}

static void
data_process_vm(void)
{
	mapped = false;
	for (worker_b = 0; worker_b < 2; worker_b++) {
		run_data();
		run_ud();
		run_vanish();
		run_recv_errors();
		run_stuck_copier();
	}
	mapped = true;
}

int
main(void)
{
	CU_pSuite s;
	unsigned failed;

	if (h_init() || CU_initialize_registry())
		return 1;
	s = CU_add_suite("local engine", NULL, NULL);
	for (unsigned i = 0; i < 2 * NUM_CASES; i++) {
		char name[64];

		snprintf(name, sizeof(name), "%s (%s)", cases[i % NUM_CASES].name,
			 i < NUM_CASES ? "one worker" : "two workers");
		CU_add_test(s, name, run_next);
	}
	CU_add_test(s, "process_vm", data_process_vm);
	CU_basic_set_mode(CU_BRM_VERBOSE);
	CU_basic_run_tests();
	failed = CU_get_number_of_tests_failed();
	CU_cleanup_registry();
	h_fini();
	return failed != 0;
}
