/* SPDX-License-Identifier: MIT */
/*
 * Tests dataplane/net/ethdev*.c: two ports on af_packet at the ends of a veth pair, in network
 * namespaces of their own; and on memif, which has no kernel beside it. Needs root.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <rte_eal.h>
#include <rte_ethdev.h>

#include "ethdev_harness.h"
#include "net/ethdev_priv.h"

/*
 * DPDK's interrupt thread synchronizes by spinlocks in a library that is not instrumented: TSan
 * does not see them. The memif driver, which works on that thread, is left out there altogether.
 */
const char *__tsan_default_suppressions(void);
const char *
__tsan_default_suppressions(void)
{
	return "race:librte_eal.so\n";
}

#define SKIP	77 /* what meson takes for a skipped test */
#define WAIT_MS 30000

static void
round_trip(struct ff_port_queue *a, struct ff_port_queue *b, const struct ff_path *path,
	   unsigned num, uint16_t len, uint16_t last)
{
	struct net_sink *s = net_sink_get();
	struct ff_port_tx tx = {.path = path, .bytes = wire_sent, .seg_len = len, .tos = 0x62};
	uint64_t dropped = net_counter(a, FF_PC_TX_DROPPED), got = net_counter(b, FF_PC_RX_PACKETS);
	uint64_t bytes = net_counter(b, FF_PC_RX_BYTES), out = net_counter(a, FF_PC_TX_BYTES);

	tx.len = wire_packets(path->encap, num, len, last);
	CU_ASSERT_EQUAL(ff_port_tx(a, &tx, 1), 1);
	net_receive(b, s, num, 1 + num % FF_PORT_BURST);
	CU_ASSERT_EQUAL(s->num, num);
	CU_ASSERT(net_same(s, 0, num, wire_sent));
	CU_ASSERT_EQUAL(s->vni, VNI);
	if (path->encap == FF_ENCAP_VXLAN)
		CU_ASSERT_EQUAL(s->tos, 0x62);
	CU_ASSERT_EQUAL(net_counter(a, FF_PC_TX_DROPPED), dropped);
	CU_ASSERT_EQUAL(net_counter(b, FF_PC_RX_PACKETS) - got, num);
	CU_ASSERT_EQUAL(net_counter(b, FF_PC_RX_BYTES) - bytes, tx.len - num * FF_PORT_HEADROOM);
	CU_ASSERT_EQUAL(net_counter(a, FF_PC_TX_BYTES) - out, tx.len - num * FF_PORT_HEADROOM);
	CU_ASSERT_EQUAL(net_counter(b, FF_PC_RX_BAD), 0);
}

static void
both_ways(enum ff_encap encap, const char *const hosts[SIDES])
{
	static const unsigned nums[] = {1, 2, 64, 65, 300};
	static const uint16_t lens[] = {48, 61, 1128, 1300};
	struct ff_port *p[SIDES] = {wire_open_ok(0, encap, 1, ""), wire_open_ok(1, encap, 1, "")};
	struct ff_port_queue *q[SIDES] = {ff_port_queue_get(p[0], 0), ff_port_queue_get(p[1], 0)};

	CU_ASSERT_EQUAL(ff_port_mtu(p[0]), encap == FF_ENCAP_NONE ? 1500 : 1500 - 70);
	for (unsigned to = 0; to < SIDES; to++) {
		struct ff_path path = wire_path(to, encap, hosts[to]), from;

		for (unsigned n = 0; n < 5; n++)
			for (unsigned l = 0; l < 4; l++)
				round_trip(q[!to], q[to], &path, nums[n], lens[l], 47);
		round_trip(q[!to], q[to], &path, 3, ff_port_mtu(p[0]), 48);
		from = wire_path(!to, encap, hosts[!to]);
		if (encap == FF_ENCAP_VXLAN)
			CU_ASSERT(!memcmp(net_sink_get()->host, from.host, 16));
	}
	ff_port_close(p[0]);
	ff_port_close(p[1]);
}

static void
test_vxlan(void)
{
	both_ways(FF_ENCAP_VXLAN, (const char *const[]){"10.9.0.1", "10.9.0.2"});
	both_ways(FF_ENCAP_VXLAN, (const char *const[]){"fd09::1", "fd09::2"});
}

static void
test_none(void)
{
	both_ways(FF_ENCAP_NONE, (const char *const[]){"10.9.0.1", "10.9.0.2"});
}

/* ICMP destination unreachable that the second side has sent. */
static unsigned long
unreachables(void)
{
	return wire_snmp("Icmp:", "OutDestUnreachs");
}

/* What the kernel's stack gets of ours it says nothing about; of other ports it does. */
static void
test_quiet(void)
{
	struct ff_port *p = wire_open_ok(1, FF_ENCAP_VXLAN, 1, ""), *other;
	struct ff_port_queue *q = ff_port_queue_get(p, 0);
	struct net_sink *s = net_sink_get();
	unsigned long before = unreachables();
	int err;

	wire_send("10.9.0.2", 1, "x", 1);
	CU_ASSERT_EQUAL(unreachables(), before + 1);
	wire_send("10.9.0.2", UDP_PORT, "no VXLAN", 8);
	while (!net_counter(q, FF_PC_RX_BAD) && !s->num)
		net_drain(q, s);
	CU_ASSERT_EQUAL(net_counter(q, FF_PC_RX_BAD), 1);
	CU_ASSERT_EQUAL(s->num, 0);
	CU_ASSERT_EQUAL(unreachables(), before + 1);
	/* Nobody else gets the port meanwhile. */
	wire_enter(1);
	other = net_open("10.9.0.2", 1, &err);
	CU_ASSERT(!other && err == -EADDRINUSE);
	ff_port_close(p);
	wire_send("10.9.0.2", UDP_PORT, "x", 1);
	CU_ASSERT_EQUAL(unreachables(), before + 2);
}

/* The kernel's traffic on the interface does not wake us, and is no fault. */
static void
test_shared(void)
{
	struct ff_port *p = wire_open_ok(1, FF_ENCAP_VXLAN, 1, "");
	struct ff_port_queue *q = ff_port_queue_get(p, 0);
	struct pollfd fd = {.fd = ff_port_queue_fd(q), .events = POLLIN};
	uint8_t good[22 + 40] = {0x08, [20] = 0x08, [22] = 0x45, [25] = 40};
	unsigned long before = unreachables();
	struct net_sink *s = net_sink_get();

	CU_ASSERT_FATAL(fd.fd >= 0);
	net_drain(q, s); /* what came between the driver's bind() and the filter */
	for (unsigned i = 0; i < 10; i++)
		wire_send("10.9.0.2", 1, "x", 1);
	CU_ASSERT(unreachables() > before); /* they are through */
	CU_ASSERT_EQUAL(poll(&fd, 1, 0), 0);
	net_drain(q, s);
	CU_ASSERT(!s->num && !net_counter(q, FF_PC_RX_BAD) && !ff_port_arm(q));
	wire_send("10.9.0.2", UDP_PORT, good, sizeof(good));
	CU_ASSERT_EQUAL(poll(&fd, 1, WAIT_MS), 1);
	ff_port_disarm(q);
	net_receive(q, s, 1, FF_PORT_BURST);
	CU_ASSERT(s->num == 1 && s->len == 40);
	CU_ASSERT_EQUAL(poll(&fd, 1, 0), 0);
	ff_port_close(p);
}

/* Each flow has a source port, by which the kernel spreads them. */
static void
test_two_queues(void)
{
	struct ff_port *p[SIDES] = {wire_open_ok(0, FF_ENCAP_VXLAN, 2, ",qpairs=1"),
				    wire_open_ok(1, FF_ENCAP_VXLAN, 2, "")};
	struct ff_port_queue *q[2] = {ff_port_queue_get(p[1], 0), ff_port_queue_get(p[1], 1)};
	struct ff_path path = wire_path(1, FF_ENCAP_VXLAN, "10.9.0.2");
	struct net_sink *s = net_sink_get();
	struct ff_port_tx tx = {.path = &path, .bytes = wire_sent, .seg_len = 100};

	CU_ASSERT(ff_port_queue_fd(q[0]) >= 0 && ff_port_queue_fd(q[1]) >= 0);
	CU_ASSERT_NOT_EQUAL(ff_port_queue_fd(q[0]), ff_port_queue_fd(q[1]));
	for (unsigned i = 0; i < 64; i++) {
		tx.len = wire_packets(FF_ENCAP_VXLAN, 1, 100, 100);
		tx.src_port = (uint16_t)i;
		/* Both workers of the first side send, over the one queue that it has. */
		CU_ASSERT_EQUAL(ff_port_tx(ff_port_queue_get(p[0], i % 2), &tx, 1), 1);
	}
	while (s->num < 64) {
		struct pollfd fd[2] = {{ff_port_queue_fd(q[0]), POLLIN, 0},
				       {ff_port_queue_fd(q[1]), POLLIN, 0}};

		CU_ASSERT_FATAL(poll(fd, 2, WAIT_MS) > 0);
		net_drain(q[fd[0].revents ? 0 : 1], s);
	}
	CU_ASSERT(net_counter(q[0], FF_PC_RX_PACKETS) && net_counter(q[1], FF_PC_RX_PACKETS));
	/* The other side has nothing to receive on its second queue. */
	CU_ASSERT_EQUAL(ff_port_queue_fd(ff_port_queue_get(p[0], 1)), FF_PORT_NO_RX);
	CU_ASSERT(!ff_port_arm(ff_port_queue_get(p[0], 1)));
	net_drain(ff_port_queue_get(p[0], 1), s);
	CU_ASSERT_EQUAL(s->num, 64);
	ff_port_close(p[0]);
	ff_port_close(p[1]);
}

/* Elements that cannot leave are lost alone, and counted. */
static void
test_lost(void)
{
	struct ff_port *p = wire_open_ok(0, FF_ENCAP_VXLAN, 1, "");
	struct ff_port_queue *q = ff_port_queue_get(p, 0);
	struct ff_path path = wire_path(1, FF_ENCAP_VXLAN, "10.9.0.2"), bare = path, small = path;
	struct ff_port_tx tx[5];

	bare.encap = FF_ENCAP_NONE;
	small.mtu = 50;
	for (unsigned i = 0; i < 5; i++)
		tx[i] = (struct ff_port_tx){.path = i == 1   ? &bare
						    : i == 2 ? &small
							     : &path,
					    .bytes = wire_sent,
					    .seg_len = i == 3 ? 1451 : 100,
					    .len = FF_PORT_HEADROOM + (i == 3 ? 1451 : 100)};
	net_packets(wire_sent, 4, 1, 1451, 1451);
	CU_ASSERT_EQUAL(ff_port_tx(q, tx, 5), 2);
	CU_ASSERT_EQUAL(net_counter(q, FF_PC_TX_PACKETS), 2);
	CU_ASSERT_EQUAL(net_counter(q, FF_PC_TX_DROPPED), 3);
	ff_port_close(p);
}

/* The bytes are the caller's again: the device has nothing of them, whatever became of it all. */
static void
lent_and_back(enum ff_encap encap)
{
	static uint8_t copy[sizeof(wire_sent)];
	struct ff_port *p[SIDES] = {wire_open_ok(0, encap, 1, ""), wire_open_ok(1, encap, 1, "")};
	struct ff_port_queue *q = ff_port_queue_get(p[0], 0);
	struct ff_path path = wire_path(1, encap, "10.9.0.2"), small = path;
	struct net_sink *s = net_sink_get();
	struct ff_port_tx tx[3];
	const struct ethdev *d = p[0]->priv;
	uint32_t len = wire_packets(encap, 100, 1300, 200);

	CU_ASSERT(d->lend);
	small.mtu = 1299;
	for (unsigned i = 0; i < 3; i++)
		tx[i] = (struct ff_port_tx){.path = i == 1 ? &small : &path,
					    .bytes = wire_sent,
					    .len = len,
					    .seg_len = 1300};
	memcpy(copy, wire_sent, len);
	CU_ASSERT_EQUAL(ff_port_tx(q, tx, 3), 2);
	memset(wire_sent, 0xee, len);
	CU_ASSERT_EQUAL(rte_mempool_in_use_count(d->pool), 0);
	net_receive(ff_port_queue_get(p[1], 0), s, 200, FF_PORT_BURST);
	CU_ASSERT(s->num == 200 && net_same(s, 0, 100, copy) && net_same(s, 100, 100, copy));
	wire_enter(0);
	CU_ASSERT(net_command("ip link set va down"));
	memcpy(wire_sent, copy, len);
	ff_port_tx(q, tx, 1);
	CU_ASSERT_EQUAL(rte_mempool_in_use_count(d->pool), 0);
	CU_ASSERT(net_command("ip link set va up && ip addr replace fd09::1/64 dev va nodad"));
	ff_port_close(p[0]);
	ff_port_close(p[1]);
}

static void
test_lent(void)
{
	lent_and_back(FF_ENCAP_NONE);
	lent_and_back(FF_ENCAP_VXLAN);
}

static void
test_refused(void)
{
	struct ff_port_conf conf = {
		.kind = "ethdev", .encap = FF_ENCAP_VXLAN, .udp_port = UDP_PORT, .num_queues = 1};
	int err;

	wire_enter(0);
	CU_ASSERT(!ff_port_open(&conf, &err) && err == -EINVAL);
	conf.devargs = "net_af_packet7,iface=none";
	CU_ASSERT(!ff_port_open(&conf, &err) && err == -ENODEV);
	conf.devargs = "net_nonesuch0";
	CU_ASSERT(!ff_port_open(&conf, &err) && err < 0);
	/* More sockets than anybody looks at. */
	CU_ASSERT(!wire_open(0, FF_ENCAP_VXLAN, 1, ",qpairs=2", &err) && err == -EINVAL);
	/* Nothing is left of them. */
	ff_port_close(wire_open_ok(0, FF_ENCAP_VXLAN, 1, ""));
}

#ifndef __SANITIZE_THREAD__
/* The driver does not like to be closed while it is told that the peer has gone. */
static void
link_down_await(const char *name)
{
	struct rte_eth_link link;
	uint16_t id;

	CU_ASSERT_EQUAL_FATAL(rte_eth_dev_get_port_by_name(name, &id), 0);
	for (unsigned ms = 0; ms < WAIT_MS; ms++) {
		if (!rte_eth_link_get_nowait(id, &link) && !link.link_status)
			return;
		usleep(1000);
	}
	CU_FAIL("the peer's end is not seen");
}

static struct ff_port *
memif_open(const char *address, unsigned id, const char *role)
{
	char devargs[200];
	struct ff_port_conf conf = {.kind = "ethdev",
				    .devargs = devargs,
				    .encap = FF_ENCAP_VXLAN,
				    .udp_port = UDP_PORT,
				    .num_queues = 1};
	struct ff_port *p;
	int err;

	snprintf(devargs, sizeof(devargs),
		 "net_memif%u,role=%s,socket=/ff-ethdev-test-%d,socket-abstract=yes,"
		 "mac=02:00:00:00:00:%02x",
		 id, role, getpid(), id);
	net_address(address, conf.address);
	p = ff_port_open(&conf, &err);
	CU_ASSERT_PTR_NOT_NULL_FATAL(p);
	return p;
}

/* No kernel beside it, no neighbours: broadcast reaches the one peer. */
static void
test_memif(void)
{
	struct ff_port *p[SIDES] = {memif_open("10.8.0.1", 0, "server"),
				    memif_open("10.8.0.2", 1, "client")};
	struct ff_port_queue *a = ff_port_queue_get(p[0], 0), *b = ff_port_queue_get(p[1], 0);
	struct ff_path path = net_path("10.8.0.2");
	struct net_sink *s = net_sink_get();
	struct ff_port_tx tx = {.path = &path, .bytes = wire_sent, .seg_len = 1128};

	CU_ASSERT(!ff_port_wants_mac(p[0]));
	CU_ASSERT_EQUAL(ff_port_queue_fd(b), FF_PORT_POLLED);
	tx.len = wire_packets(FF_ENCAP_VXLAN, 20, 1128, 60);
	/* Dropped, and counted, until the two have found each other and b has made room. */
	for (unsigned ms = 0; ms < WAIT_MS && !ff_port_tx(a, &tx, 1); ms++) {
		net_drain(b, s);
		usleep(1000);
	}
	CU_ASSERT_FATAL(net_counter(a, FF_PC_TX_PACKETS) >= 20);
	while (net_counter(b, FF_PC_RX_PACKETS) < net_counter(a, FF_PC_TX_PACKETS))
		net_drain(b, s);
	CU_ASSERT(s->num >= 20 && net_same(s, s->num - 20, 20, wire_sent));
	ff_port_close(p[0]);
	link_down_await("net_memif1");
	ff_port_close(p[1]);
}
#endif

int
main(void)
{
	char *argv[] = {"ethdev_test",
			"--no-huge",
			"--no-pci",
			"--no-shconf",
			"--no-telemetry",
			"-m",
			"128",
			"--log-level=critical",
			"-l",
			"0"};
	CU_TestInfo tests[] = {
		{"VXLAN", test_vxlan},
		{"encap none", test_none},
		{"the kernel is quiet", test_quiet},
		{"a shared interface", test_shared},
		{"two queues", test_two_queues},
		{"lost", test_lost},
		{"lent", test_lent},
		{"refused", test_refused},
#ifndef __SANITIZE_THREAD__
		{"memif", test_memif},
#endif
		CU_TEST_INFO_NULL,
	};
	CU_SuiteInfo suites[] = {{"net/ethdev", NULL, NULL, NULL, NULL, tests},
				 {"net/ethdev_tcx", NULL, NULL, NULL, NULL, ethdev_tcx_tests},
				 CU_SUITE_INFO_NULL};
	unsigned failed;

	if (geteuid() || !wire_make()) {
		puts("needs root, ip(8) and network namespaces of its own");
		return SKIP;
	}
	if (rte_eal_init(sizeof(argv) / sizeof(argv[0]), argv) < 0)
		return 1;
	if (CU_initialize_registry() != CUE_SUCCESS || CU_register_suites(suites) != CUE_SUCCESS)
		return 1;
	CU_basic_set_mode(CU_BRM_VERBOSE);
	CU_basic_run_tests();
	failed = CU_get_number_of_failures();
	CU_cleanup_registry();
	rte_eal_cleanup();
	return failed != 0;
}
