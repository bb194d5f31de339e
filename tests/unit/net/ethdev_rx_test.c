/* SPDX-License-Identifier: MIT */
/*
 * Tests dataplane/net/ethdev*.c on devices of DPDK's own, which need nothing of the machine: what
 * one call receives, and how devices are named.
 */
#include <CUnit/Basic.h>
#include <string.h>

#include <rte_eal.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>

#include "net/ethdev_priv.h"

#define FRAMES 1000u /* of the 1023 that fit into the driver's ring */
#define PACKET 100u

static struct rte_mempool *pool;

static struct ff_port *
port_open(const char *devargs)
{
	struct ff_port_conf conf = {.kind = "ethdev",
				    .devargs = devargs,
				    .encap = FF_ENCAP_NONE,
				    .vni = 7,
				    .udp_port = 47910,
				    .num_queues = 1};
	int err;
	struct ff_port *p = ff_port_open(&conf, &err);

	CU_ASSERT_PTR_NOT_NULL_FATAL(p);
	return p;
}

static void
frame_send(uint16_t port, const uint8_t *bytes, uint16_t len)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(pool);

	CU_ASSERT_PTR_NOT_NULL_FATAL(m);
	memcpy(rte_pktmbuf_append(m, len), bytes, len);
	CU_ASSERT_EQUAL_FATAL(rte_eth_tx_burst(port, 0, &m, 1), 1);
}

/* RoCE over IPv6 from one container to another. */
static void
ours_send(uint16_t port)
{
	uint8_t f[14 + PACKET] = {
		[12] = 0x86, [13] = 0xdd,      [14] = 0x60,	   [19] = PACKET - 40,
		[20] = 17,   [22] = 0xfd,      [37] = 1,	   [38] = 0xfd,
		[53] = 2,    [56] = 4791 >> 8, [57] = 4791 & 0xff, [59] = PACKET - 40};
	struct rte_ether_addr mac;

	CU_ASSERT_EQUAL_FATAL(rte_eth_macaddr_get(port, &mac), 0);
	memcpy(f, mac.addr_bytes, 6);
	frame_send(port, f, sizeof(f));
}

/* Whatever is in front of them, the packets that are there come with the first call. */
static void
test_all_there(void)
{
	static const uint8_t foreign[60];
	struct ff_port *p = port_open("net_ring0");
	struct ff_port_queue *q = ff_port_queue_get(p, 0);
	struct ff_port_rx rx[FF_PORT_BURST];
	uint16_t port;

	CU_ASSERT_EQUAL_FATAL(rte_eth_dev_get_port_by_name("net_ring0", &port), 0);
	for (unsigned i = 0; i < FRAMES; i++)
		frame_send(port, foreign, sizeof(foreign));
	ours_send(port);
	CU_ASSERT_EQUAL_FATAL(ff_port_rx(q, rx, FF_PORT_BURST), 1);
	CU_ASSERT_EQUAL(rx[0].len, PACKET);
	CU_ASSERT_EQUAL(rx[0].vni, 7);
	CU_ASSERT_EQUAL(ff_port_rx(q, rx, FF_PORT_BURST), 0);
	CU_ASSERT(!ff_port_arm(q));
	/* As many as asked for, one by one. */
	for (unsigned i = 0; i < FRAMES; i++)
		ours_send(port);
	for (unsigned i = 0; i < FRAMES / 50; i++)
		CU_ASSERT_EQUAL(ff_port_rx(q, rx, 50), 50);
	CU_ASSERT_EQUAL(ff_port_rx(q, rx, 50), 0);
	ff_port_close(p);
}

/* A device that always has another frame for somebody else does not keep the worker. */
static void
test_flood(void)
{
	struct ff_port *p = port_open("net_null0");
	struct ff_port_queue *q = ff_port_queue_get(p, 0);
	struct ff_port_rx rx[FF_PORT_BURST];

	for (unsigned i = 0; i < 3; i++)
		CU_ASSERT_EQUAL(ff_port_rx(q, rx, FF_PORT_BURST), 0);
	CU_ASSERT(ff_port_arm(q));
	ff_port_disarm(q);
	ff_port_close(p);
}

static void
name_is(const char *devargs, const char *wanted)
{
	struct ff_port_conf conf = {.kind = "ethdev", .devargs = devargs, .num_queues = 1};
	struct ethdev d = {.xdp = {-1, -1}};
	char args[ETHDEV_ARGS_MAX];

	CU_ASSERT_EQUAL(ethdev_args(&d, &conf, args), 0);
	CU_ASSERT_STRING_EQUAL(args, wanted);
}

static void
test_names(void)
{
	name_is("03:00.0", "0000:03:00.0");
	name_is("0000:03:00.0", "0000:03:00.0");
	name_is("1:0a:1f.7", "0001:0a:1f.7");
	name_is("81:00.1,representor=0,x=03:00.0", "0000:81:00.1,representor=0,x=03:00.0");
	name_is("net_ring0", "net_ring0");
	name_is("net_memif0,role=client", "net_memif0,role=client");
	name_is("net_tap0,iface=dtap0", "net_tap0,iface=dtap0");
}

int
main(void)
{
	char *argv[] = {"ethdev_rx_test",
			"--no-huge",
			"--no-pci",
			"--no-shconf",
			"--no-telemetry",
			"-m",
			"64",
			"--log-level=critical",
			"-l",
			"0"};
	CU_TestInfo tests[] = {
		{"all that is there", test_all_there},
		{"a flood of foreign frames", test_flood},
		{"names of devices", test_names},
		CU_TEST_INFO_NULL,
	};
	CU_SuiteInfo suites[] = {{"net/ethdev_rx", NULL, NULL, NULL, NULL, tests},
				 CU_SUITE_INFO_NULL};
	unsigned failed;

	if (rte_eal_init(sizeof(argv) / sizeof(argv[0]), argv) < 0)
		return 1;
	pool = rte_pktmbuf_pool_create("test", 2047, 0, 0, RTE_MBUF_DEFAULT_BUF_SIZE,
				       SOCKET_ID_ANY);
	if (!pool || CU_initialize_registry() != CUE_SUCCESS ||
	    CU_register_suites(suites) != CUE_SUCCESS)
		return 1;
	CU_basic_set_mode(CU_BRM_VERBOSE);
	CU_basic_run_tests();
	failed = CU_get_number_of_failures();
	CU_cleanup_registry();
	rte_mempool_free(pool);
	rte_eal_cleanup();
	return failed != 0;
}
