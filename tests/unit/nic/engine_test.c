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

#define CASES(X)                                                                             \
	X(data)                                                                              \
	X(inline_and_order)                                                                  \
	X(rnr)                                                                               \
	X(retry) X(remote_errors) X(recv_errors) X(flush) X(vanish) X(sqd_reset) X(uc) X(ud) \
		X(local_ops) X(hostile_wqe) X(fairness) X(loopback)

#define X(name)                              \
	static void name##_one_worker(void)  \
	{                                    \
		worker_b = 0;                \
		mapped = true;               \
		run_##name();                \
	}                                    \
	static void name##_two_workers(void) \
	{                                    \
		worker_b = 1;                \
		mapped = true;               \
		run_##name();                \
	}
CASES(X)
#undef X

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
#define X(name)                                                   \
	CU_add_test(s, #name " (one worker)", name##_one_worker); \
	CU_add_test(s, #name " (two workers)", name##_two_workers);
	CASES(X)
#undef X
	CU_add_test(s, "process_vm", data_process_vm);
	CU_basic_set_mode(CU_BRM_VERBOSE);
	CU_basic_run_tests();
	failed = CU_get_number_of_tests_failed();
	CU_cleanup_registry();
	h_fini();
	return failed != 0;
}
