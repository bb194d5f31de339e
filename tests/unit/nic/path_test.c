/* SPDX-License-Identifier: MIT */
/*
 * Tests dataplane/nic/soft_roce/port.c, without encapsulation: which next hop a path gets from what
 * the resolver says, and what is not sent at all. See soft_roce_test.c.
 */
#include <CUnit/CUnit.h>
#include <errno.h>
#include <string.h>

#include "../../../dataplane/core/config.h"
#include "../suite.h"
#include "pair.h"

#define OWN   5u /* the interface that the port is on */
#define OTHER 6u

static const uint8_t mac[6] = {2, 9, 9, 9, 9, 9}, nothing[6];

/* A port beside the kernel, or one that is ours alone. */
static void
port_is(bool beside)
{
	w_reset();
	w_wants_mac = beside;
	w_ifindex = beside ? OWN : 0;
}

static struct ff_overlay_entry
entry(uint32_t ifindex, bool has_mac)
{
	struct ff_overlay_entry e = {.state = FF_OVERLAY_REMOTE,
				     .ifindex = ifindex,
				     .host = {[10] = 0xff, 0xff, 192, 168, 1, 9}};

	memcpy(e.mac, has_mac ? mac : nothing, 6);
	return e;
}

/* What comes of it; with 0, the path must have that next hop. */
static int
path_of(const struct ff_overlay_entry *e, const uint8_t next_mac[6], enum sroce_drop *why)
{
	struct ff_path path;
	int rc = sroce_path(&h_container[0], e, &path, why);

	if (!rc) {
		CU_ASSERT_EQUAL(path.encap, FF_ENCAP_NONE);
		CU_ASSERT_EQUAL(memcmp(path.next_mac, next_mac, 6), 0);
	}
	return rc;
}

static void
test_beside(void)
{
	static const uint32_t good[] = {OWN, FF_OVERLAY_IFINDEX_ANY, 0 /* of the table */};
	struct ff_overlay_entry e;
	enum sroce_drop why;

	port_is(true);
	for (unsigned i = 0; i < 3; i++) {
		e = entry(good[i], true);
		CU_ASSERT_EQUAL(path_of(&e, mac, &why), 0);
	}
	e = entry(OTHER, true);
	CU_ASSERT_EQUAL(path_of(&e, mac, &why), -EHOSTUNREACH);
	CU_ASSERT_EQUAL(why, SROCE_DROP_LINK);
	e = entry(OWN, true);
	e.vxlan = true;
	CU_ASSERT_EQUAL(path_of(&e, mac, &why), -EHOSTUNREACH);
	CU_ASSERT_EQUAL(why, SROCE_DROP_PATH);
}

/* The table names the host alone: its next hop is asked for. */
static void
test_host(void)
{
	struct ff_overlay_entry e, *host;
	enum sroce_drop why;

	port_is(true);
	e = entry(0, false);
	host = w_entry(FF_OVERLAY_UNDERLAY, e.host);
	CU_ASSERT_EQUAL(path_of(&e, mac, &why), -EAGAIN);
	*host = entry(OWN, true);
	CU_ASSERT_EQUAL(path_of(&e, mac, &why), 0);
	host->ifindex = OTHER;
	CU_ASSERT_EQUAL(path_of(&e, mac, &why), -EHOSTUNREACH);
	CU_ASSERT_EQUAL(why, SROCE_DROP_LINK);
	host->state = FF_OVERLAY_NONE;
	CU_ASSERT_EQUAL(path_of(&e, mac, &why), -EHOSTUNREACH);
	CU_ASSERT_EQUAL(why, SROCE_DROP_PATH);
}

/* The kernel's neighbours are on links of its own: only what the table says holds here. */
static void
test_alone(void)
{
	struct ff_overlay_entry e;
	enum sroce_drop why;

	port_is(false);
	e = entry(0, true);
	CU_ASSERT_EQUAL(path_of(&e, mac, &why), 0);
	e = entry(OTHER, true);
	CU_ASSERT_EQUAL(path_of(&e, nothing, &why), 0);
	e = entry(0, false);
	CU_ASSERT_EQUAL(path_of(&e, nothing, &why), 0);
}

/* Each packet of a QP, and each message of UD. */
static void
test_counted(void)
{
	static uint8_t bytes[64];
	static const uint8_t types[] = {IB_UVERBS_QPT_RC, IB_UVERBS_QPT_UD};

	for (unsigned i = 0; i < 2; i++) {
		struct ff_ah ah;
		struct ff_ah_attr to;
		struct h_wr wr = {.opcode = IB_UVERBS_WR_SEND, .addr = bytes, .len = 64};

		port_is(true);
		*w_entry(h_container[0].tenant->index, w_gid(1, W_V4)) = entry(OTHER, true);
		a = w_qp(types[i], 0);
		b = w_qp(types[i], 1);
		w_connect(a, b, W_V4);
		to = w_attr(b, W_V4).ah;
		w_ah(&ah, a, &to);
		wr.lkey = h_mr(a, bytes, sizeof(bytes), 0, true);
		wr.remote_qpn = b->qp.qpn;
		wr.ah_num = ah.ah_num;
		h_post_send(a, &wr);
		h_pass(0);
		CU_ASSERT_EQUAL(w_drops(0, SROCE_DROP_LINK), 1);
		CU_ASSERT_EQUAL(w_drops(0, SROCE_DROP_PATH), 0);
		CU_ASSERT_EQUAL(w_num_packets, 0);
		w_ah_free(&ah);
		h_qp_free(a);
		h_qp_free(b);
		w_settle();
		h_mr_drop(wr.lkey);
	}
}

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
		{"beside the kernel", test_beside}, {"a host's next hop", test_host},
		{"a port of our own", test_alone},  {"counted", test_counted},
		{"narrow path", test_narrow_path},  {"active MTU", test_active_mtu},
		{"QP's own address", test_own_gid},
	};
	int rc;

	ff_config.wire.port = FF_WIRE_ETHDEV;
	ff_config.wire.encap = FF_WIRE_NONE;
	ff_config.wire.vni = W_VNI;
	if (h_init())
		return 1;
	w_init();
	rc = suite_main("soft_roce paths", tests, sizeof(tests) / sizeof(tests[0]));
	h_fini();
	return rc;
}
