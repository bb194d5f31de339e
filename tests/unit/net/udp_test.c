/* SPDX-License-Identifier: MIT */
/* Tests dataplane/net/udp*.c: packets over lo of a network namespace of our own. Needs root. */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "harness.h"

#define SKIP 77 /* what meson takes for a skipped test */

static uint8_t sent[8u << 20]; /* what one test sends */

/* num packets from a to b, read burst by burst; data and counters are compared. */
static void
round_trip(struct ff_port_queue *a, struct ff_port_queue *b, const struct ff_path *path,
	   unsigned version, unsigned num, uint16_t seg_len, uint16_t last)
{
	uint64_t before_tx[FF_PC_MAX], before_rx[FF_PC_MAX], tx_now[FF_PC_MAX], rx_now[FF_PC_MAX];
	struct net_sink *s = net_sink_get();
	struct ff_port_tx tx = {.path = path, .bytes = sent, .seg_len = seg_len};
	unsigned bad_lens = 0, bytes;

	tx.len = net_packets(sent, version, num, seg_len, last);
	bytes = tx.len - num * FF_PORT_HEADROOM;
	ff_port_counters(a, before_tx);
	ff_port_counters(b, before_rx);
	CU_ASSERT_EQUAL(ff_port_tx(a, &tx, 1), 1);
	net_receive(b, s, num, 1 + num % FF_PORT_BURST);
	ff_port_counters(a, tx_now);
	ff_port_counters(b, rx_now);
	CU_ASSERT_EQUAL(s->num, num);
	CU_ASSERT_EQUAL(s->len, bytes);
	CU_ASSERT(net_same(s, 0, num, sent));
	for (unsigned i = 0; i < num; i++)
		bad_lens += s->lens[i] != (i + 1 < num ? seg_len : last);
	CU_ASSERT_EQUAL(bad_lens, 0);
	CU_ASSERT_EQUAL(s->vni, VNI);
	CU_ASSERT_EQUAL(tx_now[FF_PC_TX_PACKETS] - before_tx[FF_PC_TX_PACKETS], num);
	CU_ASSERT_EQUAL(tx_now[FF_PC_TX_BYTES] - before_tx[FF_PC_TX_BYTES], bytes);
	CU_ASSERT_EQUAL(rx_now[FF_PC_RX_PACKETS] - before_rx[FF_PC_RX_PACKETS], num);
	CU_ASSERT_EQUAL(rx_now[FF_PC_RX_BYTES] - before_rx[FF_PC_RX_BYTES], bytes);
	CU_ASSERT(rx_now[FF_PC_RX_CALLS] > before_rx[FF_PC_RX_CALLS]);
	/* One sendmmsg() carries 64 messages. */
	CU_ASSERT_EQUAL(tx_now[FF_PC_TX_CALLS] - before_tx[FF_PC_TX_CALLS],
			tx.len < 64u * 32768 ? 1 : 2);
	CU_ASSERT(!tx_now[FF_PC_TX_DROPPED] && !rx_now[FF_PC_RX_BAD] && !rx_now[FF_PC_RX_DROPPED]);
}

static void
all_sizes(struct ff_port_queue *a, struct ff_port_queue *b, const struct ff_path *path)
{
	static const unsigned nums[] = {1, 2, 64, 65, 500};
	static const uint16_t lens[] = {48, 61, 1128, 1451, 4001};

	for (unsigned n = 0; n < sizeof(nums) / sizeof(nums[0]); n++)
		for (unsigned l = 0; l < sizeof(lens) / sizeof(lens[0]); l++) {
			round_trip(a, b, path, 4, nums[n], lens[l], lens[l]);
			round_trip(a, b, path, 6, nums[n], lens[l], 47);
		}
}

/* Between two ports; the source address is the one that the other is bound to. */
static void
between(const char *from, const char *to)
{
	struct ff_port *pa = net_open_ok(from, 1), *pb = net_open_ok(to, 1);
	struct ff_port_queue *a = ff_port_queue_get(pa, 0), *b = ff_port_queue_get(pb, 0);
	struct ff_path path = net_path(to), own = net_path(from);

	CU_ASSERT_PTR_NULL(ff_port_queue_get(pa, 1));
	all_sizes(a, b, &path);
	CU_ASSERT_EQUAL(memcmp(net_sink_get()->host, own.host, 16), 0);
	round_trip(a, b, &path, 4, 3, ff_port_mtu(pa), 20);
	round_trip(b, a, &own, 6, 1, ff_port_mtu(pb), ff_port_mtu(pb));
	CU_ASSERT_EQUAL(memcmp(net_sink_get()->host, path.host, 16), 0);
	ff_port_close(pa);
	ff_port_close(pb);
}

static void
test_ipv4(void)
{
	between("127.0.0.1", "127.0.0.2");
}

static void
test_ipv6(void)
{
	between("fd00::1", "fd00::2");
	between("::1", "fd00::2");
}

/* Bound to any address: one socket for both families; it reaches itself. */
static void
test_any(void)
{
	static const char *const hosts[] = {"127.0.0.1", "::1", "fd00::1"};
	struct ff_port *p = net_open_ok("", 1);
	struct ff_port_queue *q = ff_port_queue_get(p, 0);

	for (unsigned i = 0; i < 3; i++) {
		struct ff_path path = net_path(hosts[i]);

		round_trip(q, q, &path, 4, 1, 100, 100);
		round_trip(q, q, &path, 4, 500, 1128, 99);
		CU_ASSERT_EQUAL(memcmp(net_sink_get()->host, path.host, 16), 0);
	}
	ff_port_close(p);
}

/* Elements of one call may differ in everything, and leave in order. */
static void
test_burst(void)
{
	struct ff_port *p = net_open_ok("", 1);
	struct ff_port_queue *q = ff_port_queue_get(p, 0);
	struct ff_path paths[2] = {net_path("127.0.0.1"), net_path("::1")};
	struct ff_port_tx tx[200];
	struct net_sink *s = net_sink_get();
	uint32_t len = 0;
	unsigned num = 0;

	for (unsigned i = 0; i < 200; i++) {
		unsigned n = i % 5; /* also none */

		tx[i] = (struct ff_port_tx){&paths[i / 100], sent + len, 0, 60 + i, 0, 0};
		tx[i].len = n ? net_packets(sent + len, 4 + i % 2 * 2, n, tx[i].seg_len, 50) : 0;
		len += tx[i].len;
		num += n;
	}
	CU_ASSERT_EQUAL(ff_port_tx(q, tx, 200), 200);
	net_receive(q, s, num, 7);
	CU_ASSERT(s->num == num && s->len == len - num * FF_PORT_HEADROOM &&
		  net_same(s, 0, num, sent));
	CU_ASSERT(net_counter(q, FF_PC_TX_CALLS) <= 4);
	CU_ASSERT_EQUAL(ff_port_tx(q, tx, 0), 0);
	ff_port_close(p);
}

/* What one call handed out stays as it is until the next one. */
static void
test_valid_until_next(void)
{
	struct ff_port *p = net_open_ok("127.0.0.1", 1);
	struct ff_port_queue *q = ff_port_queue_get(p, 0);
	struct ff_path path = net_path("127.0.0.1");
	struct ff_port_tx tx = {.path = &path, .bytes = sent, .seg_len = 200};
	struct ff_port_rx rx[FF_PORT_BURST];
	unsigned total = 0;

	tx.len = net_packets(sent, 4, 300, 200, 200);
	CU_ASSERT_EQUAL(ff_port_tx(q, &tx, 1), 1);
	while (total < 300) {
		unsigned got = ff_port_rx(q, rx, 50);

		for (unsigned i = 0; i < got; i++, total++)
			CU_ASSERT(total < 300 && rx[i].len == 200 &&
				  !memcmp(rx[i].bytes, sent + total * 222 + FF_PORT_HEADROOM, 200));
		/* Packets on the way meanwhile. */
		if (total == 50)
			CU_ASSERT(!memcmp(rx[0].bytes, sent + FF_PORT_HEADROOM, 200));
	}
	CU_ASSERT_EQUAL(ff_port_rx(q, rx, FF_PORT_BURST), 0);
	ff_port_close(p);
}

static void
tos_of(struct ff_port_queue *q, const char *host)
{
	static const uint8_t values[] = {0, 1, 2, 3, 0x6a, 0xb8, 0xff, 0x02};
	struct ff_path path = net_path(host);
	struct ff_port_tx tx = {.path = &path, .bytes = sent, .seg_len = 100};

	for (unsigned i = 0; i < sizeof(values); i++)
		for (unsigned num = 1; num < 4; num += 2) {
			struct net_sink *s = net_sink_get();

			tx.tos = values[i];
			tx.len = net_packets(sent, 4, num, 100, 100);
			CU_ASSERT_EQUAL(ff_port_tx(q, &tx, 1), 1);
			net_receive(q, s, num, FF_PORT_BURST);
			CU_ASSERT_EQUAL(s->tos, values[i]);
		}
}

static void
test_tos(void)
{
	static const char *const bound[] = {"", "127.0.0.1", "::1"};

	for (unsigned i = 0; i < 3; i++) {
		struct ff_port *p = net_open_ok(bound[i], 1);

		if (i != 2)
			tos_of(ff_port_queue_get(p, 0), "127.0.0.1");
		if (i != 1)
			tos_of(ff_port_queue_get(p, 0), "::1");
		ff_port_close(p);
	}
}

/* A good datagram from sockets with ports of their own. */
static void
send_from_strangers(unsigned num)
{
	struct sockaddr_in to = {.sin_family = AF_INET,
				 .sin_port = htons(UDP_PORT),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	uint8_t b[62] = {[0] = 0x08, [20] = 0x08, [22] = 0x45, [25] = 40};

	for (unsigned i = 0; i < num; i++) {
		int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

		CU_ASSERT_EQUAL(sendto(fd, b, sizeof(b), 0, (struct sockaddr *)&to, sizeof(to)),
				sizeof(b));
		close(fd);
	}
}

/* ---- source ports ---- */

#define FLOWS	 16u
#define SOURCES	 4u
#define ROUNDS	 12u
#define FLOW_LEN 200u
#define AT	 60u /* in an inner packet: its flow and its number, 2 bytes each */

/* A socket of another kind on the port's number: it sees datagrams, and where they come from. */
static int
plain_socket(const char *host)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(UDP_PORT)};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), size = 4 << 20;

	CU_ASSERT_EQUAL(inet_pton(AF_INET, host, &a.sin_addr), 1);
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	CU_ASSERT_EQUAL_FATAL(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	return fd;
}

/* One call with an element of 1 to 3 packets of each flow; returns how many packets. */
static unsigned
flows_send(struct ff_port_queue *q, const struct ff_path *path, uint16_t number[FLOWS])
{
	struct ff_port_tx tx[FLOWS];
	uint32_t len = 0;
	unsigned num = 0;

	for (unsigned f = 0; f < FLOWS; f++) {
		unsigned n = 1 + (f + number[f]) % 3;

		tx[f] = (struct ff_port_tx){
			path, sent + len, 0, FLOW_LEN, (uint16_t)(0xc000 + f * 5), 0};
		tx[f].len = net_packets(sent + len, 4, n, FLOW_LEN, FLOW_LEN);
		for (unsigned i = 0; i < n; i++) {
			uint16_t mark[2] = {(uint16_t)f, number[f]++};

			memcpy(sent + len + i * (FF_PORT_HEADROOM + FLOW_LEN) + FF_PORT_HEADROOM +
				       AT,
			       mark, sizeof(mark));
		}
		len += tx[f].len;
		num += n;
	}
	CU_ASSERT_EQUAL(ff_port_tx(q, tx, FLOWS), FLOWS);
	return num;
}

/* Takes num datagrams: each flow in order and from one port, which is written down. */
static void
flows_take(int fd, unsigned num, uint16_t ports[FLOWS])
{
	uint16_t next[FLOWS] = {0}, mark[2];
	struct pollfd p = {.fd = fd, .events = POLLIN};
	uint8_t bytes[FF_PORT_HEADROOM + FLOW_LEN + 1];
	struct sockaddr_in from;
	socklen_t len;

	for (unsigned i = 0; i < num; i++) {
		len = sizeof(from);
		CU_ASSERT_EQUAL_FATAL(poll(&p, 1, 30000), 1);
		CU_ASSERT_EQUAL_FATAL(
			recvfrom(fd, bytes, sizeof(bytes), 0, (struct sockaddr *)&from, &len),
			FF_PORT_HEADROOM + FLOW_LEN);
		memcpy(mark, bytes + FF_PORT_HEADROOM + AT, sizeof(mark));
		CU_ASSERT_FATAL(mark[0] < FLOWS);
		CU_ASSERT_EQUAL(mark[1], next[mark[0]]++);
		if (!ports[mark[0]])
			ports[mark[0]] = ntohs(from.sin_port);
		CU_ASSERT_EQUAL(ports[mark[0]], ntohs(from.sin_port));
	}
}

/* Who sends to a source port gets neither heard nor refused. */
static void
source_is_deaf(struct ff_port_queue *q, uint16_t port)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ff_port_rx rx[FF_PORT_BURST];

	CU_ASSERT_EQUAL(inet_pton(AF_INET, "127.0.0.1", &to.sin_addr), 1);
	CU_ASSERT_EQUAL(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	for (unsigned i = 0; i < 3; i++)
		CU_ASSERT_EQUAL(send(fd, "x", 1, 0), 1);
	CU_ASSERT_EQUAL(ff_port_rx(q, rx, FF_PORT_BURST), 0);
	CU_ASSERT_EQUAL(net_counter(q, FF_PC_RX_BAD), 0);
	close(fd);
}

static void
test_flows(void)
{
	struct ff_port *p = net_open_ok("127.0.0.1", 1);
	struct ff_port_queue *q = ff_port_queue_get(p, 0);
	struct ff_path path = net_path("127.0.0.2");
	uint16_t number[FLOWS] = {0}, ports[FLOWS] = {0};
	int fd = plain_socket("127.0.0.2");
	unsigned num = 0, different = 0;

	CU_ASSERT_EQUAL(ff_port_src_mask(p), SOURCES - 1);
	for (unsigned i = 0; i < ROUNDS; i++)
		num += flows_send(q, &path, number);
	flows_take(fd, num, ports);
	for (unsigned f = 0; f < FLOWS; f++) {
		bool first = true;

		for (unsigned g = 0; g < f; g++) {
			bool together = !((f * 5 ^ g * 5) & ff_port_src_mask(p));

			CU_ASSERT_EQUAL(ports[f] == ports[g], together);
			first &= ports[f] != ports[g];
		}
		different += first;
		if (ports[f] != UDP_PORT)
			source_is_deaf(q, ports[f]);
	}
	CU_ASSERT_EQUAL(different, SOURCES);
	CU_ASSERT_EQUAL(net_counter(q, FF_PC_TX_PACKETS), num);
	close(fd);
	ff_port_close(p);
}

/* ---- queues ---- */

static void
test_two_queues(void)
{
	struct ff_port *p = net_open_ok("127.0.0.1", 2), *other;
	struct ff_port_queue *q[2] = {ff_port_queue_get(p, 0), ff_port_queue_get(p, 1)};
	struct net_sink *s = net_sink_get();
	int err, ep = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event e = {.events = EPOLLIN};

	CU_ASSERT(q[0] && q[1] && q[0] != q[1]);
	/* Nobody joins in, or takes the port. */
	for (unsigned n = 1; n < 3; n++) {
		other = net_open("127.0.0.1", n, &err);
		CU_ASSERT(!other && err == -EADDRINUSE);
	}
	for (unsigned i = 0; i < 2; i++) {
		e.data.u32 = i;
		epoll_ctl(ep, EPOLL_CTL_ADD, ff_port_queue_fd(q[i]), &e);
	}
	send_from_strangers(64);
	while (s->num < 64 && epoll_wait(ep, &e, 1, 30000) == 1)
		net_drain(q[e.data.u32], s);
	CU_ASSERT_EQUAL(s->num, 64);
	CU_ASSERT(net_counter(q[0], FF_PC_RX_PACKETS) && net_counter(q[1], FF_PC_RX_PACKETS));
	close(ep);
	ff_port_close(p);
	p = net_open_ok("127.0.0.1", 1);
	other = net_open("127.0.0.1", 2, &err);
	CU_ASSERT(!other && err == -EADDRINUSE);
	ff_port_close(p);
}

static void
test_epoll(void)
{
	struct ff_port *p = net_open_ok("127.0.0.1", 1);
	struct ff_port_queue *q = ff_port_queue_get(p, 0);
	struct epoll_event e = {.events = EPOLLIN};
	int ep = epoll_create1(EPOLL_CLOEXEC);

	CU_ASSERT_EQUAL(epoll_ctl(ep, EPOLL_CTL_ADD, ff_port_queue_fd(q), &e), 0);
	for (unsigned i = 0; i < 3; i++) {
		CU_ASSERT_EQUAL(epoll_wait(ep, &e, 1, 0), 0);
		send_from_strangers(2);
		CU_ASSERT_EQUAL(epoll_wait(ep, &e, 1, 30000), 1);
		CU_ASSERT_EQUAL(epoll_wait(ep, &e, 1, 30000), 1); /* level */
		net_receive(q, net_sink_get(), 2, FF_PORT_BURST);
	}
	close(ep);
	ff_port_close(p);
}

int
main(void)
{
	CU_TestInfo tests[] = {
		{"IPv4", test_ipv4},
		{"IPv6", test_ipv6},
		{"any address", test_any},
		{"many elements", test_burst},
		{"valid until the next call", test_valid_until_next},
		{"TOS and ECN", test_tos},
		{"flows and source ports", test_flows},
		{"two queues", test_two_queues},
		{"epoll", test_epoll},
		{"the kernel's vxlan", test_kernel_vxlan},
		CU_TEST_INFO_NULL,
	};
	CU_SuiteInfo suites[] = {{"net/udp", NULL, NULL, NULL, NULL, tests},
				 {"net/udp errors", NULL, NULL, NULL, NULL, udp_error_tests},
				 CU_SUITE_INFO_NULL};
	unsigned failed;

	if (geteuid() || !net_namespace_enter()) {
		puts("needs root, ip(8) and a network namespace of its own");
		return SKIP;
	}
	if (CU_initialize_registry() != CUE_SUCCESS || CU_register_suites(suites) != CUE_SUCCESS)
		return 1;
	CU_basic_set_mode(CU_BRM_VERBOSE);
	CU_basic_run_tests();
	failed = CU_get_number_of_failures();
	CU_cleanup_registry();
	return failed != 0;
}
