/* SPDX-License-Identifier: MIT */
/*
 * Tests dataplane/nic/soft_roce/port.c, without encapsulation: which next hop a path gets from what
 * the resolver says, and what is not sent at all; and flows' source ports. See soft_roce_test.c.
 */
#include <CUnit/CUnit.h>
#include <errno.h>
#include <string.h>

#include "../../../dataplane/core/config.h"
#include "../suite.h"
#include "wire.h"

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
		struct h_qp *a, *b;
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

static uint16_t
source_port(const struct w_packet *k)
{
	const uint8_t *udp = k->bytes + (k->bytes[0] >> 4 == 4 ? SROCE_IP4 : SROCE_IP6);

	return (uint16_t)(udp[0] << 8 | udp[1]);
}

/* Annex 17: what spreads flows over a network. A flow keeps its port; nobody listens there. */
static void
test_source_ports(void)
{
	static uint8_t bytes[3000];
	uint16_t port, differ = 0, before = 0;

	for (unsigned i = 0; i < 8; i++) {
		uint8_t type = i & 1 ? IB_UVERBS_QPT_UC : IB_UVERBS_QPT_RC;
		struct h_wr wr = {.opcode = IB_UVERBS_WR_SEND, .addr = bytes, .len = sizeof(bytes)};
		enum w_gid which = i & 2 ? W_V6 : W_V4;
		struct ff_qp_attr to;
		struct h_qp *a, *b;

		port_is(true);
		*w_entry(h_container[0].tenant->index, w_gid(1, which)) = entry(OWN, true);
		a = w_qp(type, 0);
		b = w_qp(type, 1);
		to = w_attr(b, which);
		to.dest_qpn ^= i << 4;
		h_to_rts(a, &to);
		wr.lkey = h_mr(a, bytes, sizeof(bytes), 0, true);
		h_post_send(a, &wr);
		h_pass(0);
		CU_ASSERT_EQUAL_FATAL(w_num_packets, 3);
		port = source_port(&w_packets[0]);
		CU_ASSERT(port >= 0xc000);
		for (unsigned k = 0; k < w_num_packets; k++)
			CU_ASSERT_EQUAL(source_port(&w_packets[k]), port);
		for (unsigned k = 0; k < w_num_elements; k++)
			CU_ASSERT_EQUAL(w_elements[k].src_port, port);
		differ += i && port != before;
		before = port;
		h_qp_free(a);
		h_qp_free(b);
		w_settle();
		h_mr_drop(wr.lkey);
	}
	CU_ASSERT_EQUAL(differ, 7);
}

int
main(void)
{
	static const struct suite_test tests[] = {
		{"beside the kernel", test_beside},  {"a host's next hop", test_host},
		{"a port of our own", test_alone},   {"counted", test_counted},
		{"source ports", test_source_ports},
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
