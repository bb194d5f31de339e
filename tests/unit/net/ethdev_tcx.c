/* SPDX-License-Identifier: MIT */
/* Tests of dataplane/net/ethdev_tcx.c on a wire: what the kernel's stack behind it still gets. */
#include <linux/if_packet.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ethdev_harness.h"
#include "net/ethdev_priv.h"
#include "prog_harness.h"

#define WAIT_MS 30000
#define PACKETS 100u
#define LEN	1000u

/* False, and a word about it: this kernel has none, or we may not. */
static bool
has_tcx(const struct ff_port *p)
{
	const struct ethdev *d = p->priv;

	if (d->tcx.link < 0)
		printf("(not tested: no TCX) ");
	return d->tcx.link >= 0;
}

static unsigned long
received(void)
{
	return wire_snmp("Ip:", "InReceives");
}

static void
await(unsigned long (*counter)(void), unsigned long value)
{
	for (unsigned ms = 0; ms < WAIT_MS && counter() < value; ms++)
		usleep(1000);
	CU_ASSERT_EQUAL(counter(), value);
}

/*
 * The router's packets have gone from the first side to the second, and its stack has seen so many
 * of them: what comes behind them is through, and nothing else.
 */
static void
stack_sees(struct ff_port *p[SIDES], const struct ff_path *path, unsigned num)
{
	struct net_sink *s = net_sink_get();
	struct ff_port_queue *q = ff_port_queue_get(p[1], 0);
	struct ff_port_tx tx = {.path = path, .bytes = wire_sent, .seg_len = LEN};
	unsigned long before = received();

	tx.len = wire_packets(path->encap, PACKETS, LEN, LEN);
	CU_ASSERT_EQUAL(ff_port_tx(ff_port_queue_get(p[0], 0), &tx, 1), 1);
	net_receive(q, s, PACKETS, FF_PORT_BURST);
	CU_ASSERT_EQUAL(s->num, PACKETS);
	CU_ASSERT(net_same(s, 0, PACKETS, wire_sent));
	await(received, before + num);
	wire_send("10.9.0.2", 1, "x", 1);
	await(received, before + num + 1);
}

/* Of what AF_PACKET sends, the first piece holds the Ethernet header alone. */
static void
test_vxlan(void)
{
	struct ff_port *p[SIDES] = {wire_open_ok(0, FF_ENCAP_VXLAN, 1, ""),
				    wire_open_ok(1, FF_ENCAP_VXLAN, 1, "")};
	struct ff_path path = wire_path(1, FF_ENCAP_VXLAN, "10.9.0.2");
	unsigned long errors = wire_snmp("Udp:", "InErrors");

	if (has_tcx(p[1])) {
		stack_sees(p, &path, 0);
		CU_ASSERT_EQUAL(wire_snmp("Udp:", "InErrors"), errors);
	}
	ff_port_close(p[0]);
	ff_port_close(p[1]);
}

static void
test_none(void)
{
	struct ff_port *p[SIDES] = {wire_open_ok(0, FF_ENCAP_NONE, 1, ""),
				    wire_open_ok(1, FF_ENCAP_NONE, 1, "")};
	struct ff_path path = wire_path(1, FF_ENCAP_NONE, "10.9.0.2");
	uint8_t ours[16], other[16];

	net_address("10.1.0.2", ours);
	net_address("10.1.0.3", other);
	if (has_tcx(p[1])) {
		ff_port_address(p[1], other, true);
		stack_sees(p, &path, PACKETS);
		ff_port_address(p[1], ours, true);
		stack_sees(p, &path, 0);
		ff_port_address(p[1], ours, false);
		ff_port_address(p[1], ours, false);
		stack_sees(p, &path, PACKETS);
	}
	ff_port_close(p[0]);
	ff_port_close(p[1]);
}

/* A frame like ours, behind a VLAN tag or not. */
static void
frame_send(bool tagged)
{
	static const uint8_t tag[4] = {0x81}; /* VLAN 0: the interface's own stack has it */
	struct frame_conf c = prog_conf(FF_ENCAP_VXLAN);
	struct sockaddr_ll to = {.sll_family = AF_PACKET};
	uint8_t frame[FRAME_MAX + sizeof(tag)];
	uint32_t len;
	int fd;

	c.udp_port = UDP_PORT;
	memcpy(c.mac, wire_path(1, c.encap, "").next_mac, 6);
	memcpy(c.own4, (uint8_t[4]){10, 9, 0, 1}, 4);
	len = prog_frame(&c, 4, frame);
	memcpy(frame + IP + 16, (uint8_t[4]){10, 9, 0, 2}, 4);
	prog_sum(frame);
	if (tagged) {
		memmove(frame + 12 + sizeof(tag), frame + 12, len - 12);
		memcpy(frame + 12, tag, sizeof(tag));
		len += sizeof(tag);
	}
	wire_enter(0);
	fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	to.sll_ifindex = (int)if_nametoindex("va");
	CU_ASSERT_EQUAL(sendto(fd, frame, len, 0, (struct sockaddr *)&to, sizeof(to)), len);
	close(fd);
}

static unsigned long
dropped(void)
{
	return wire_snmp("Udp:", "InErrors");
}

/* The kernel keeps a tag beside the frame, which then looks like ours; the port does not take it.
 */
static void
test_tag(void)
{
	struct ff_port *p = wire_open_ok(1, FF_ENCAP_VXLAN, 1, "");
	struct ff_port_queue *q = ff_port_queue_get(p, 0);
	struct net_sink *s = net_sink_get();
	unsigned long before = dropped();

	if (has_tcx(p)) {
		frame_send(true);
		await(dropped, before + 1); /* by the guard */
		net_drain(q, s);
		CU_ASSERT(!s->num && !net_counter(q, FF_PC_RX_BAD));
		frame_send(false);
		net_receive(q, s, 1, FF_PORT_BURST);
		CU_ASSERT_EQUAL(s->num, 1);
		frame_send(true);
		await(dropped, before + 2);
	}
	ff_port_close(p);
}

/* The port works without. */
static void
test_refused(void)
{
	struct ethdev d = {
		.iface = "none", .tcx = {-1, -1}, .frame = {.encap = FF_ENCAP_NONE, .mac = {2}}};
	struct ff_port p = {.priv = &d};

	ethdev_tcx_open(&d);
	CU_ASSERT(d.tcx.link == -1 && d.tcx.map == -1);
	ethdev_address(&p, d.frame.own6, true);
	ethdev_tcx_close(&d);
}

CU_TestInfo ethdev_tcx_tests[] = {
	{"VXLAN", test_vxlan},	   {"encap none", test_none}, {"a VLAN tag", test_tag},
	{"refused", test_refused}, CU_TEST_INFO_NULL,
};
