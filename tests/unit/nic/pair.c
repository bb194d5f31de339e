/* SPDX-License-Identifier: MIT */
#include "pair.h"

#include <CUnit/CUnit.h>
#include <string.h>

#define ALL (FF_ACCESS_REMOTE_WRITE | FF_ACCESS_REMOTE_READ | FF_ACCESS_REMOTE_ATOMIC)

struct h_qp *a, *b;
uint8_t src[PAIR_LEN], dst[PAIR_LEN];
uint32_t lkey, rkey;

void
pair_setup(uint8_t type, enum w_gid which, bool mapped)
{
	w_reset();
	for (unsigned i = 0; i < PAIR_LEN; i++)
		src[i] = (uint8_t)(i * 31 + (i >> 8));
	memset(dst, 0, PAIR_LEN);
	a = w_qp(type, 0);
	b = w_qp(type, 1);
	lkey = h_mr(a, src, PAIR_LEN, ALL, true);
	rkey = h_mr(b, dst, PAIR_LEN, ALL, mapped);
	w_connect(a, b, which);
}

void
pair_teardown(void)
{
	h_qp_free(a);
	h_qp_free(b);
	w_settle();
	h_mr_drop(lkey);
	h_mr_drop(rkey);
}

void
pair_post(struct h_qp *q, uint8_t opcode, uint64_t id, uint32_t off, uint32_t len)
{
	h_post_send(q, &(struct h_wr){.opcode = opcode,
				      .wr_id = id,
				      .addr = src + off,
				      .len = len,
				      .lkey = lkey,
				      .raddr = (uint64_t)dst + off,
				      .rkey = rkey});
}

void
pair_expect(struct h_cq *cq, uint64_t id, uint32_t status)
{
	const struct ib_uverbs_wc *wc = h_wc(cq);

	CU_ASSERT_PTR_NOT_NULL_FATAL(wc);
	CU_ASSERT(wc->wr_id == id && wc->status == status);
}
