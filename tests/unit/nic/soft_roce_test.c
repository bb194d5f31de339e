/* SPDX-License-Identifier: MIT */
/*
 * Tests dataplane/nic/soft_roce, between the real local backend and the real engine: two workers
 * that are two hosts to each other. No threads, no clock but h_now.
 */
#include <CUnit/CUnit.h>
#include <stdlib.h>
#include <string.h>

#include <rte_mempool.h>

#include "../suite.h"
#include "pair.h"

#define SECOND 1000000000ull

static uint64_t
handed_over(void)
{
	return sroce_worker(ff_worker_get(0))->handed_over +
	       sroce_worker(ff_worker_get(1))->handed_over;
}

/* ---- what all else stands on ---- */

static void
test_data(void)
{
	for (unsigned i = 0; i < 8; i++) {
		pair_setup(IB_UVERBS_QPT_RC, i & 1 ? W_V6 : W_V4, i & 2);
		w_astray = i & 4;
		h_post_recv(b, 100, dst, PAIR_LEN, rkey);
		pair_post(a, IB_UVERBS_WR_SEND, 1, 0, PAIR_LEN);
		w_settle();
		pair_expect(&a->scq, 1, 0);
		pair_expect(&b->rcq, 100, 0);
		CU_ASSERT_EQUAL(memcmp(src, dst, PAIR_LEN), 0);
		memset(dst, 0, PAIR_LEN);
		pair_post(a, IB_UVERBS_WR_RDMA_WRITE, 2, 0, PAIR_LEN);
		w_settle();
		pair_expect(&a->scq, 2, 0);
		CU_ASSERT_EQUAL(memcmp(src, dst, PAIR_LEN), 0);
		memset(src, 0, PAIR_LEN);
		pair_post(a, IB_UVERBS_WR_RDMA_READ, 3, 0, PAIR_LEN);
		w_settle();
		pair_expect(&a->scq, 3, 0);
		CU_ASSERT_EQUAL(memcmp(src, dst, PAIR_LEN), 0);
		CU_ASSERT_EQUAL(w_sqp(a)->q.counters[ROCE_C_TX_AGAIN], 0);
		CU_ASSERT(w_num_packets > 30);
		for (unsigned k = 0; k < w_num_packets; k++)
			CU_ASSERT(w_packets[k].vni == W_VNI &&
				  w_packets[k].bytes[0] >> 4 == (i & 1 ? 6 : 4));
		for (enum sroce_drop why = 0; why < SROCE_DROP_MAX; why++)
			CU_ASSERT(!w_drops(0, why) && !w_drops(1, why));
		CU_ASSERT_TRUE(h_sleepy(0) && h_sleepy(1));
		CU_ASSERT_EQUAL(handed_over(), i & 4 ? w_num_packets : 0);
		pair_teardown();
	}
}

/* ---- packets for another worker ---- */

/* Takes all that worker 0 could copy packets to; returns how many. */
static unsigned
pool_empty(struct sworker *sw, void *taken[SROCE_HANDOVERS])
{
	unsigned n = 0;

	while (n < SROCE_HANDOVERS && !rte_mempool_get(sw->handovers, &taken[n]))
		n++;
	return n;
}

/* No room for the copy, or in the other worker's queue: dropped, counted, and sent again. */
static void
test_handover_full(void)
{
	static void *taken[SROCE_HANDOVERS];
	struct sworker *sw = sroce_worker(ff_worker_get(0));

	for (unsigned ring = 0; ring < 2; ring++) {
		unsigned n = 0;

		pair_setup(IB_UVERBS_QPT_RC, W_V4, true);
		w_astray = true;
		if (ring)
			h_worker_full = true;
		else
			n = pool_empty(sw, taken);
		CU_ASSERT_EQUAL(n, ring ? 0 : SROCE_HANDOVERS);
		/* To b, but worker 0 gets it. */
		pair_post(a, IB_UVERBS_WR_RDMA_WRITE, 1, 0, 3000);
		h_pass(0);
		h_now += 3000;
		h_pass(0);
		CU_ASSERT_EQUAL(w_num_packets, 3);
		CU_ASSERT_EQUAL(w_drops(0, SROCE_DROP_BUSY), 3);
		CU_ASSERT_EQUAL(handed_over(), 0);
		while (n)
			rte_mempool_put(sw->handovers, taken[--n]);
		h_worker_full = false;
		CU_ASSERT_EQUAL(a->scq.n, 0);
		h_now += SECOND;
		w_settle();
		pair_expect(&a->scq, 1, 0);
		CU_ASSERT_EQUAL(memcmp(src, dst, 3000), 0);
		CU_ASSERT(w_sqp(a)->q.counters[ROCE_C_TX_AGAIN] > 0);
		CU_ASSERT_EQUAL(w_drops(0, SROCE_DROP_BUSY), 3);
		CU_ASSERT(handed_over() > 3);
		/* Nothing of the pool is lost. */
		n = pool_empty(sw, taken);
		CU_ASSERT_EQUAL(n, SROCE_HANDOVERS);
		while (n)
			rte_mempool_put(sw->handovers, taken[--n]);
		pair_teardown();
	}
}

/* ---- who is on which wire ---- */

/* A tenant without a VNI is on no wire: what comes with the number 0 is not for it. */
static void
test_vni_zero(void)
{
	struct w_packet k;

	pair_setup(IB_UVERBS_QPT_RC, W_V4, true);
	w_cut = true;
	pair_post(a, IB_UVERBS_WR_RDMA_WRITE, 1, 0, 8);
	w_settle();
	CU_ASSERT_EQUAL_FATAL(w_num_packets, 1);
	k = w_packets[0];
	h_container[0].tenant->vni = 0;
	for (k.vni = 0; k.vni <= W_VNI; k.vni += W_VNI)
		w_arrives(1, &k);
	pair_post(a, IB_UVERBS_WR_RDMA_WRITE, 2, 0, 8);
	w_settle();
	CU_ASSERT_EQUAL(w_drops(1, SROCE_DROP_TENANT), 2);
	CU_ASSERT_EQUAL(dst[0] | dst[1], 0);
	CU_ASSERT_EQUAL(w_num_packets, 1);
	CU_ASSERT_EQUAL(w_drops(0, SROCE_DROP_PATH), 1);
	/* It has one again: number 0 is still nobody's. */
	h_container[0].tenant->vni = W_VNI;
	k.vni = 0;
	w_arrives(1, &k);
	w_settle();
	CU_ASSERT_EQUAL(w_drops(1, SROCE_DROP_TENANT), 3);
	k.vni = W_VNI;
	w_arrives(1, &k);
	w_settle();
	CU_ASSERT_EQUAL(memcmp(src, dst, 8), 0);
	pair_teardown();
}

/* ---- runs of packets ---- */

/* Two QPs of that IP version each send a packet of 8 bytes in one pass. In how many elements? */
static unsigned
elements(enum w_gid first, enum w_gid second, uint16_t src_mask)
{
	struct h_qp *c, *d;
	unsigned n;

	pair_setup(IB_UVERBS_QPT_RC, first, true);
	c = w_qp(IB_UVERBS_QPT_RC, 0);
	d = w_qp(IB_UVERBS_QPT_RC, 1);
	w_connect(c, d, second);
	c->qp.pd = a->qp.pd; /* keys are of a */
	d->qp.pd = b->qp.pd;
	w_sqp(a)->sport = 0xc001;
	w_sqp(c)->sport = 0xc002;
	sroce_worker(c->qp.worker)->src_mask = src_mask;
	pair_post(a, IB_UVERBS_WR_RDMA_WRITE, 1, 0, 8);
	pair_post(c, IB_UVERBS_WR_RDMA_WRITE, 2, 8, 8);
	h_pass(0);
	CU_ASSERT_EQUAL(w_num_packets, 2);
	n = w_num_elements;
	for (unsigned i = 0; i < n; i++)
		for (unsigned k = 0; k < w_elements[i].num; k++)
			CU_ASSERT_EQUAL(w_packets[w_elements[i].first + k].bytes[0] >> 4,
					w_packets[w_elements[i].first].bytes[0] >> 4);
	w_settle();
	pair_expect(&a->scq, 1, 0);
	pair_expect(&c->scq, 2, 0);
	CU_ASSERT_EQUAL(memcmp(src, dst, 16), 0);
	h_qp_free(c);
	h_qp_free(d);
	pair_teardown();
	return n;
}

static void
test_elements(void)
{
	CU_ASSERT_EQUAL(elements(W_V4, W_V4, 0), 1);
	CU_ASSERT_EQUAL(elements(W_V6, W_V6, 0x3ffc), 1);
	CU_ASSERT_EQUAL(elements(W_V4, W_V4, 0x0003), 2);
	CU_ASSERT_EQUAL(elements(W_V4, W_V4_MORE, 0), 2); /* another source MAC */
	/* The Ethernet type in front is one for all. */
	CU_ASSERT_EQUAL(elements(W_V6, W_V4, 0), 2);
	CU_ASSERT_EQUAL(elements(W_V4, W_V6, 0), 2);
}

/* ---- marks ---- */

/* Each counts once, however often the packet is looked at until its memory is there. */
static void
test_mark_once(void)
{
	for (unsigned i = 0; i < 3; i++) {
		struct roce_qp *q;

		pair_setup(IB_UVERBS_QPT_RC, W_V4, false);
		w_outer_ecn = i == 0 ? 3 : 0;
		w_inner_ecn = i == 1 ? 3 : 0;
		h_hold_jobs = true;
		for (unsigned k = 0; k < 4; k++)
			pair_post(a, IB_UVERBS_WR_RDMA_WRITE, k, 8 * k, 8);
		w_settle();
		q = &w_sqp(b)->q;
		CU_ASSERT(q->counters[ROCE_C_RX_BUSY] > 0);
		CU_ASSERT_EQUAL(w_sqp(b)->num_held, 4);
		CU_ASSERT_EQUAL(q->counters[ROCE_C_ECN_MARKED], i < 2);
		w_outer_ecn = w_inner_ecn = 0;
		h_hold_jobs = false;
		w_settle();
		CU_ASSERT_EQUAL(a->scq.n, 4);
		CU_ASSERT_EQUAL(memcmp(src, dst, 32), 0);
		CU_ASSERT_EQUAL(q->counters[ROCE_C_ECN_MARKED], i < 2 ? 4 : 0);
		CU_ASSERT_EQUAL(w_sqp(a)->q.counters[ROCE_C_TX_AGAIN], 0);
		pair_teardown();
	}
}

/* ---- the resolver ---- */

/* A question that the control thread has no room for is put again, not a second later. */
static void
test_ask_again(void)
{
	pair_setup(IB_UVERBS_QPT_RC, W_V4, true);
	w_entry(h_container[0].tenant->index, w_gid(1, W_V4))->state = FF_OVERLAY_NONE;
	h_control_full = true;
	pair_post(a, IB_UVERBS_WR_RDMA_WRITE, 1, 0, 8);
	w_settle();
	CU_ASSERT_EQUAL(w_asked, 0);
	CU_ASSERT_EQUAL(w_drops(0, SROCE_DROP_PATH), 1);
	h_control_full = false;
	pair_post(a, IB_UVERBS_WR_RDMA_WRITE, 2, 8, 8);
	w_settle();
	CU_ASSERT_EQUAL(w_asked, 1);
	pair_post(a, IB_UVERBS_WR_RDMA_WRITE, 3, 16, 8);
	w_settle();
	CU_ASSERT_EQUAL(w_asked, 1);
	pair_teardown();
}

static void
ud_post(struct ff_ah *ah, uint64_t id)
{
	h_post_send(a, &(struct h_wr){.opcode = IB_UVERBS_WR_SEND,
				      .wr_id = id,
				      .addr = src,
				      .len = 100,
				      .lkey = lkey,
				      .remote_qpn = b->qp.qpn,
				      .qkey = 0x11,
				      .ah_num = ah->ah_num});
}

/* A UD message waits for the way to its host, as for the host itself. */
static void
test_ud_waits(void)
{
	struct ff_overlay_entry *host;
	struct ff_qp_attr attr;
	struct ff_ah ah;

	pair_setup(IB_UVERBS_QPT_UD, W_V4, true);
	w_wants_mac = true;
	attr = w_attr(b, W_V4);
	w_ah(&ah, a, &attr.ah);
	host = w_entry(FF_OVERLAY_UNDERLAY, w_entry(1, w_gid(1, W_V4))->host);
	h_post_recv(b, 100, dst, 140, rkey);
	ud_post(&ah, 1);
	w_settle();
	CU_ASSERT(a->scq.n == 0 && w_num_packets == 0 && w_asked == 1);
	*host = (struct ff_overlay_entry){.state = FF_OVERLAY_REMOTE, .mac = {2, 7, 7, 7, 7, 7}};
	h_now += 2000000;
	w_settle();
	pair_expect(&a->scq, 1, 0);
	pair_expect(&b->rcq, 100, 0);
	CU_ASSERT_EQUAL(memcmp(dst + 40, src, 100), 0);
	CU_ASSERT_EQUAL(memcmp(w_elements[0].path.next_mac, host->mac, 6), 0);
	CU_ASSERT_EQUAL(w_drops(0, SROCE_DROP_PATH), 0);
	w_ah_free(&ah);
	pair_teardown();
}

/* So does a QP with one peer: UC would not send its first message again. */
static void
test_uc_waits(void)
{
	struct ff_overlay_entry *e, found;

	pair_setup(IB_UVERBS_QPT_UC, W_V4, true);
	e = w_entry(h_container[0].tenant->index, w_gid(1, W_V4));
	found = *e;
	*e = (struct ff_overlay_entry){.state = FF_OVERLAY_UNKNOWN};
	pair_post(a, IB_UVERBS_WR_RDMA_WRITE, 1, 0, 3000);
	w_settle();
	CU_ASSERT(a->scq.n == 0 && w_num_packets == 0 && w_asked == 1);
	*e = found;
	h_now += 2000000;
	w_settle();
	pair_expect(&a->scq, 1, 0);
	CU_ASSERT_EQUAL(memcmp(dst, src, 3000), 0);
	/* Not for ever. */
	*e = (struct ff_overlay_entry){.state = FF_OVERLAY_UNKNOWN};
	pair_post(a, IB_UVERBS_WR_RDMA_WRITE, 2, 0, 8);
	for (unsigned i = 0; i < 3000 && !w_drops(0, SROCE_DROP_PATH); i++) {
		h_now += 1000000;
		h_drain();
	}
	CU_ASSERT_EQUAL(w_drops(0, SROCE_DROP_PATH), 1);
	w_settle();
	pair_expect(&a->scq, 2, 0);
	*e = found;
	pair_teardown();
}

/* ---- what the network sees of a message ---- */

/* UD: the Ethernet source is the one of the address that the message comes from. */
static void
test_ud_source(void)
{
	static const enum w_gid from[] = {W_V4, W_V4_MORE, W_V4};
	struct ff_ah ahs[3];

	pair_setup(IB_UVERBS_QPT_UD, W_V4, true);
	for (unsigned i = 0; i < 3; i++) {
		struct ff_ah_attr attr = w_attr(b, W_V4).ah;

		attr.sgid_index = from[i];
		w_ah(&ahs[i], a, &attr);
		h_post_recv(b, 100 + i, dst, 140, rkey);
		ud_post(&ahs[i], i);
	}
	w_settle();
	CU_ASSERT(a->scq.n == 3 && b->rcq.n == 3);
	CU_ASSERT_EQUAL_FATAL(w_num_elements, 3);
	for (unsigned i = 0; i < 3; i++) {
		const uint8_t *gid = w_gid(0, from[i]);

		CU_ASSERT_EQUAL(memcmp(w_packets[i].bytes + 12, gid + 12, 4), 0);
		CU_ASSERT_EQUAL(memcmp(w_elements[i].path.src_mac + 2, gid + 12, 4), 0);
		w_ah_free(&ahs[i]);
	}
	pair_teardown();
}

static uint8_t
inner_tos(const struct w_packet *k)
{
	return k->bytes[0] >> 4 == 4 ? k->bytes[1] : (uint8_t)(k->bytes[0] << 4 | k->bytes[1] >> 4);
}

/* One message of that kind with that traffic class and SL; returns its type of service. */
static uint8_t
tos_of(uint8_t type, enum w_gid which, uint8_t traffic_class, uint8_t sl)
{
	struct ff_qp_attr attr;
	struct ff_ah ah;
	uint8_t tos;

	pair_setup(type, which, true);
	attr = w_attr(b, which);
	attr.state = FF_QPS_RTS;
	attr.ah.traffic_class = traffic_class;
	attr.ah.sl = sl;
	w_ah(&ah, a, &attr.ah);
	if (type == IB_UVERBS_QPT_UD) {
		ud_post(&ah, 1);
	} else {
		ff_nic_local.qp_modify(&a->qp, &attr, FF_QPM_AV);
		pair_post(a, IB_UVERBS_WR_RDMA_WRITE, 1, 0, 8);
	}
	w_settle();
	pair_expect(&a->scq, 1, 0);
	tos = inner_tos(&w_packets[0]);
	CU_ASSERT_EQUAL(w_elements[0].tos, tos);
	w_ah_free(&ah);
	pair_teardown();
	return tos;
}

/* RFC 2474: class selectors, where the program has set a service level and no traffic class. */
static void
test_tos(void)
{
	static const uint8_t types[] = {IB_UVERBS_QPT_RC, IB_UVERBS_QPT_UC, IB_UVERBS_QPT_UD};
	static const struct {
		uint8_t traffic_class, sl, dscp;
	} c[] = {
		{0, 0, 0},   {0, 1, 8},	       {0, 3, 24},	 {0, 7, 56},   {0, 8, 0},
		{0, 15, 56}, {26 << 2, 0, 26}, {26 << 2, 3, 26}, {106, 5, 26}, {3, 3, 0},
	};

	for (unsigned t = 0; t < 3; t++)
		for (unsigned i = 0; i < sizeof(c) / sizeof(c[0]); i++)
			for (enum w_gid which = W_V4; which <= W_V6; which++)
				CU_ASSERT_EQUAL(
					tos_of(types[t], which, c[i].traffic_class, c[i].sl),
					c[i].dscp << 2 | 2);
}

/* ---- time ---- */

/* Messages of a pass are of a time after its beginning: it does not go back. */
static void
test_clock(void)
{
	struct sworker *sw;
	uint64_t then = h_now + 5000;

	pair_setup(IB_UVERBS_QPT_RC, W_V4, true);
	sw = sroce_worker(a->qp.worker);
	sroce_now_set(sw, then);
	pair_post(a, IB_UVERBS_WR_RDMA_WRITE, 1, 0, 8);
	h_pass(0);
	CU_ASSERT(w_num_packets && sw->now == then);
	w_settle();
	pair_teardown();
}

int
main(void)
{
	static const struct suite_test tests[] = {
		{"data", test_data},
		{"hand-over is full", test_handover_full},
		{"VNI 0", test_vni_zero},
		{"elements", test_elements},
		{"a mark counts once", test_mark_once},
		{"ask again", test_ask_again},
		{"UD waits for the next hop", test_ud_waits},
		{"UC waits for the address", test_uc_waits},
		{"UD source", test_ud_source},
		{"type of service", test_tos},
		{"clock", test_clock},
	};
	int rc;

	if (h_init())
		return 1;
	w_init();
	rc = suite_main("soft_roce", tests, sizeof(tests) / sizeof(tests[0]));
	h_fini();
	return rc;
}
