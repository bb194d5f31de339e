/* SPDX-License-Identifier: MIT */
/* Tests the naps of nic/soft_roce/stage.c: when a sleeping worker lets its socket rest. */
#include <CUnit/CUnit.h>

#include "../suite.h"
#include "pair.h"

static uint64_t
sleep_end(unsigned worker)
{
	return h_deadline(worker) - h_now;
}

/* A write of four packets has been sent, and none has arrived. Worker 1 has a socket to let rest.
 */
static struct sworker *
nap_setup(void)
{
	struct sworker *sw;

	pair_setup(IB_UVERBS_QPT_RC, W_V4, true);
	sw = sroce_worker(b->qp.worker);
	sw->rx_polled = false;
	sw->rx_fd = 0;
	w_cut = true;
	pair_post(a, IB_UVERBS_WR_RDMA_WRITE, 1, 0, 4096);
	h_pass(0);
	h_pass(1);
	h_pass(1);
	CU_ASSERT_EQUAL_FATAL(w_num_packets, 4);
	return sw;
}

static void
nap_teardown(struct sworker *sw)
{
	h_now += 1000000;
	h_pass(1);
	CU_ASSERT(h_sleepy(1) && !w_resting);
	sw->rx_polled = true;
	sw->rx_fd = FF_PORT_POLLED;
	w_cut = false;
	h_now += 1000000000;
	w_settle();
	pair_teardown();
}

/* Whether the worker lets its socket rest after the packet, and for how long. */
static bool
naps_after(const struct w_packet *k)
{
	w_arrives(1, k);
	sroce_worker(b->qp.worker)->rx_look = true; /* as at the end of a sleep */
	h_pass(1);
	h_pass(1);
	CU_ASSERT_TRUE(h_sleepy(1));
	CU_ASSERT(!w_resting || sleep_end(1) <= 20000);
	return w_resting;
}

/* Amid a message, and not at its end, and not where the packet was not for us. */
static void
test_nap(void)
{
	struct sworker *sw = nap_setup();
	struct w_packet stray = w_packets[1];

	CU_ASSERT_TRUE(naps_after(&w_packets[0]));
	/* What comes during the nap is seen at its end, which no packet puts off unseen. */
	h_now += 15000;
	CU_ASSERT(h_sleepy(1) && w_resting && sleep_end(1) <= 5000);
	CU_ASSERT_TRUE(naps_after(&w_packets[1]));
	CU_ASSERT_TRUE(naps_after(&w_packets[2]));
	/* Its end begins no other nap: the socket is back when this one is over. */
	naps_after(&w_packets[3]);
	h_now += 20000;
	h_pass(1);
	CU_ASSERT(h_sleepy(1) && !w_resting);
	/* A duplicate, and one that was broken on its way. */
	CU_ASSERT_FALSE(naps_after(&w_packets[1]));
	stray.bytes[stray.len - 1] ^= 1;
	CU_ASSERT_FALSE(naps_after(&stray));
	nap_teardown(sw);
}

/* Naps that find nothing end soon, but for a try now and then. */
static void
test_nap_pays(void)
{
	struct sworker *sw = nap_setup();
	unsigned naps = 0;

	for (unsigned i = 0; i < 320; i++) {
		sw->rx_more = true;
		CU_ASSERT_TRUE(h_sleepy(1));
		naps += w_resting;
		h_now += 20000;
		h_pass(1);
	}
	CU_ASSERT(naps >= 10 && naps <= 20);
	nap_teardown(sw);
}

int
main(void)
{
	static const struct suite_test tests[] = {
		{"amid a message", test_nap},
		{"naps that pay", test_nap_pays},
	};
	int rc;

	if (h_init())
		return 1;
	w_init();
	rc = suite_main("naps", tests, sizeof(tests) / sizeof(tests[0]));
	h_fini();
	return rc;
}
