/* SPDX-License-Identifier: MIT */
/*
 * Tests dataplane/nic/soft_roce: packets that are too long for their path, or not to the QP's own
 * address. See soft_roce_test.c.
 */
#include <CUnit/CUnit.h>
#include <string.h>

#include "../suite.h"
#include "pair.h"

/* ---- the path's MTU ---- */

/* What the path does not take is not sent, and counted; what is shorter goes. */
static void
test_narrow_path(void)
{
	pair_setup(IB_UVERBS_QPT_RC, W_V4, true);
	w_entry(h_container[0].tenant->index, w_gid(1, W_V4))->mtu = 600;
	pair_post(a, IB_UVERBS_WR_RDMA_WRITE, 1, 0, 500);
	w_settle();
	pair_expect(&a->scq, 1, 0);
	CU_ASSERT_EQUAL(w_drops(0, SROCE_DROP_MTU), 0);
	w_num_packets = 0;
	pair_post(a, IB_UVERBS_WR_RDMA_WRITE, 2, 0, 1024);
	w_settle();
	CU_ASSERT_EQUAL(w_drops(0, SROCE_DROP_MTU), 1);
	CU_ASSERT_EQUAL(w_num_packets, 0);
	pair_teardown();
}

/* A program is told what both the port and the container's own interface take. */
static void
test_active_mtu(void)
{
	static const struct {
		uint32_t link;
		uint8_t mtu;
	} c[] = {{0, 5}, {9000, 5}, {4300, 5}, {4096, 4}, {1500, 3}, {1450, 3}, {1024, 2}, {68, 1}};

	for (unsigned i = 0; i < sizeof(c) / sizeof(c[0]); i++) {
		h_container[0].link_mtu = c[i].link;
		CU_ASSERT_EQUAL(sroce_mtu(&h_container[0]), c[i].mtu);
	}
	h_container[0].link_mtu = 0;
}

/* ---- the QP's address ---- */

/* A packet to another address of the container is not the QP's (annex 17.4.3). */
static void
test_own_gid(void)
{
	struct ff_qp_attr attr;

	pair_setup(IB_UVERBS_QPT_RC, W_V4, true);
	attr = a->qp.attr;
	memcpy(attr.ah.dgid, w_gid(1, W_V4_MORE), 16);
	ff_nic_local.qp_modify(&a->qp, &attr, FF_QPM_AV);
	pair_post(a, IB_UVERBS_WR_RDMA_WRITE, 1, 0, 8);
	h_pass(0);
	h_now += 5000;
	h_pass(1);
	CU_ASSERT_EQUAL(w_drops(1, SROCE_DROP_ADDRESS), 1);
	CU_ASSERT_NOT_EQUAL(memcmp(src, dst, 8), 0);
	memcpy(attr.ah.dgid, w_gid(1, W_V4), 16);
	ff_nic_local.qp_modify(&a->qp, &attr, FF_QPM_AV);
	pair_post(a, IB_UVERBS_WR_RDMA_WRITE, 2, 8, 8);
	for (unsigned i = 0; i < 100 && a->scq.n < 2; i++) {
		h_now += 100000000;
		w_settle();
	}
	pair_expect(&a->scq, 1, 0);
	pair_expect(&a->scq, 2, 0);
	CU_ASSERT_EQUAL(memcmp(src, dst, 16), 0);
	pair_teardown();
}

int
main(void)
{
	static const struct suite_test tests[] = {
		{"narrow path", test_narrow_path},
		{"active MTU", test_active_mtu},
		{"QP's own address", test_own_gid},
	};
	int rc;

	if (h_init())
		return 1;
	w_init();
	rc = suite_main("fit", tests, sizeof(tests) / sizeof(tests[0]));
	h_fini();
	return rc;
}
