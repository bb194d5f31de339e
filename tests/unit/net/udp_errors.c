/* SPDX-License-Identifier: MIT */
/* Tests dataplane/net/udp*.c: hostile datagrams, and what the kernel refuses to send. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/udp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "harness.h"

#define UDP_NO_CHECK6_TX 101 /* linux/udp.h */

static uint8_t sent[1 << 20];

/* A socket of somebody else, connected to our port. */
static int
stranger(const char *host)
{
	bool v6 = strchr(host, ':');
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(UDP_PORT)};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(UDP_PORT)};
	int fd = socket(v6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int rc;

	inet_pton(in.sin_family, host, &in.sin_addr);
	inet_pton(in6.sin6_family, host, &in6.sin6_addr);
	rc = v6 ? connect(fd, (struct sockaddr *)&in6, sizeof(in6))
		: connect(fd, (struct sockaddr *)&in, sizeof(in));
	CU_ASSERT_EQUAL_FATAL(rc, 0);
	return fd;
}

/* 42 + extra bytes; the inner IPv4 packet has 20 + extra. */
static void
good(uint8_t *b, unsigned extra)
{
	memset(b, 0, 42 + extra);
	b[0] = 0x08;
	b[6] = 7; /* VNI */
	b[20] = 0x08;
	b[22] = 0x45;
	b[25] = (uint8_t)(20 + extra);
}

static unsigned hostile_sent;

static void
hostile(int fd, const uint8_t *b, size_t len)
{
	CU_ASSERT_EQUAL(send(fd, b, len, 0), (ssize_t)len);
	hostile_sent++;
}

static void
send_hostile(int fd)
{
	/* Byte and its new value: flags, types, versions, lengths. */
	static const uint8_t changes[][2] = {
		{0, 0x00},  {0, 0xf7},	{20, 0x86}, {20, 0x81}, {21, 0x06}, {21, 0xdd}, {20, 0x00},
		{22, 0x65}, {22, 0x05}, {22, 0xff}, {24, 0x01}, {25, 53},   {25, 19},	{25, 0}};
	static uint8_t big[65507];
	uint8_t b[74];

	hostile_sent = 0;
	for (unsigned len = 0; len < 42; len++) {
		good(b, 32);
		hostile(fd, b, len);
	}
	for (unsigned i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		good(b, 32);
		b[changes[i][0]] = changes[i][1];
		hostile(fd, b, sizeof(b));
	}
	good(b, 32);
	b[20] = 0x86; /* IPv6, but shorter than its header */
	b[21] = 0xdd;
	b[22] = 0x60;
	hostile(fd, b, 22 + 39);
	memset(big, 0xff, sizeof(big));
	hostile(fd, big, sizeof(big));
	memset(big, 0, sizeof(big));
	hostile(fd, big, sizeof(big));
}

static void
hostile_at(const char *host)
{
	struct ff_port *p = net_open_ok(host, 1);
	struct ff_port_queue *q = ff_port_queue_get(p, 0);
	struct net_sink *s = net_sink_get();
	int fd = stranger(host);
	uint8_t b[74];

	send_hostile(fd);
	good(b, 32);
	CU_ASSERT_EQUAL(send(fd, b, sizeof(b), 0), sizeof(b));
	net_receive(q, s, 1, FF_PORT_BURST);
	CU_ASSERT(s->num == 1 && s->vni == 7 && s->lens[0] == 52);
	CU_ASSERT_EQUAL(net_counter(q, FF_PC_RX_BAD), hostile_sent);
	CU_ASSERT_EQUAL(net_counter(q, FF_PC_RX_PACKETS), 1);
	close(fd);
	ff_port_close(p);
}

static void
test_hostile(void)
{
	hostile_at("127.0.0.1");
	hostile_at("::1");
}

/* Trains of datagrams: bad ones in between, others of one byte; the good ones come through. */
static void
test_hostile_trains(void)
{
	struct ff_port *p = net_open_ok("127.0.0.1", 1);
	struct ff_port_queue *q = ff_port_queue_get(p, 0);
	struct net_sink *s = net_sink_get();
	int fd = stranger("127.0.0.1"), size = 50;
	uint8_t b[64 * 50] = {0};

	CU_ASSERT_EQUAL(setsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &size, sizeof(size)), 0);
	for (unsigned i = 0; i < 64; i += 3)
		good(b + i * 50, 8); /* 22 of them, the last is the train's last */
	CU_ASSERT_EQUAL(send(fd, b, sizeof(b), 0), sizeof(b));
	/* Last one cut short. */
	CU_ASSERT_EQUAL(send(fd, b, sizeof(b) - 1, 0), sizeof(b) - 1);
	size = 1;
	CU_ASSERT_EQUAL(setsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &size, sizeof(size)), 0);
	CU_ASSERT_EQUAL(send(fd, b, 64, 0), 64);
	size = 0;
	CU_ASSERT_EQUAL(setsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &size, sizeof(size)), 0);
	CU_ASSERT_EQUAL(send(fd, b, 50, 0), 50);
	net_receive(q, s, 22 + 21 + 1, 3);
	CU_ASSERT_EQUAL(net_counter(q, FF_PC_RX_BAD), 42 + 43 + 64);
	CU_ASSERT_EQUAL(s->len, s->num * 28);
	close(fd);
	ff_port_close(p);
}

/* As RFC 7348 wants it sent, over both families. */
static void
test_no_checksum(void)
{
	struct ff_port *p = net_open_ok("", 1);
	struct ff_port_queue *q = ff_port_queue_get(p, 0);
	int v4 = stranger("127.0.0.1"), v6 = stranger("::1"), on = 1;
	uint8_t b[74];

	good(b, 32);
	CU_ASSERT_EQUAL(setsockopt(v4, SOL_SOCKET, SO_NO_CHECK, &on, sizeof(on)), 0);
	CU_ASSERT_EQUAL(setsockopt(v6, IPPROTO_UDP, UDP_NO_CHECK6_TX, &on, sizeof(on)), 0);
	CU_ASSERT_EQUAL(send(v4, b, sizeof(b), 0), sizeof(b));
	CU_ASSERT_EQUAL(send(v6, b, sizeof(b), 0), sizeof(b));
	net_receive(q, net_sink_get(), 2, FF_PORT_BURST);
	close(v4);
	close(v6);
	ff_port_close(p);
}

static void
test_open_refused(void)
{
	struct ff_port_conf conf = {.kind = "pigeon", .udp_port = UDP_PORT, .num_queues = 1};
	struct ff_port *p;
	int err = 0;

	CU_ASSERT(!ff_port_open(&conf, &err) && err == -EINVAL);
	conf.kind = NULL;
	CU_ASSERT(!ff_port_open(&conf, &err) && err == -EINVAL);
	conf.kind = "udp";
	conf.num_queues = 0;
	CU_ASSERT(!ff_port_open(&conf, &err) && err == -EINVAL);
	conf.num_queues = 1;
	conf.udp_port = 0;
	CU_ASSERT(!ff_port_open(&conf, &err) && err == -EINVAL);
	p = net_open("192.0.2.1", 1, &err); /* not ours */
	CU_ASSERT(!p && err == -EADDRNOTAVAIL);
	ff_port_close(NULL);
}

/* tx alone, of which nothing leaves; calls: system calls that it takes to know. */
static void
expect_lost(struct ff_port_queue *q, const struct ff_port_tx *tx, unsigned packets, bool calls)
{
	uint64_t dropped = net_counter(q, FF_PC_TX_DROPPED), n = net_counter(q, FF_PC_TX_CALLS);
	uint64_t gone = net_counter(q, FF_PC_TX_PACKETS);

	CU_ASSERT_EQUAL(ff_port_tx(q, tx, 1), 0);
	CU_ASSERT_EQUAL(net_counter(q, FF_PC_TX_DROPPED) - dropped, packets);
	CU_ASSERT_EQUAL(net_counter(q, FF_PC_TX_PACKETS), gone);
	CU_ASSERT_EQUAL(net_counter(q, FF_PC_TX_CALLS) > n, calls);
}

static void
test_not_sendable(void)
{
	struct ff_port *p = net_open_ok("127.0.0.1", 1);
	struct ff_port_queue *q = ff_port_queue_get(p, 0);
	struct ff_path path = net_path("127.0.0.1");
	struct ff_port_tx tx = {.path = &path, .bytes = sent, .seg_len = 100};

	tx.len = net_packets(sent, 4, 3, 100, 100);
	path.mtu = 99;
	expect_lost(q, &tx, 3, false);
	path = net_path("127.0.0.1");
	path.encap = FF_ENCAP_NONE;
	expect_lost(q, &tx, 3, false);
	path = net_path("127.0.0.1");
	path.vni = 1u << 24;
	expect_lost(q, &tx, 3, false);
	path = net_path("::1"); /* the socket is IPv4 */
	expect_lost(q, &tx, 3, false);
	net_address("192.0.2.1", path.host); /* no route from here */
	expect_lost(q, &tx, 3, true);
	path = net_path("127.0.0.1");
	tx.seg_len = UINT16_MAX;
	expect_lost(q, &tx, 1, false);
	tx.seg_len = 0;
	expect_lost(q, &tx, 1, false);
	tx.seg_len = 100;
	sent[FF_PORT_HEADROOM] = 0x55;
	expect_lost(q, &tx, 3, false);
	ff_port_close(p);
}

static void
too_long(const char *host, unsigned headers)
{
	struct ff_port *p = net_open_ok(host, 1);
	struct ff_port_queue *q = ff_port_queue_get(p, 0);
	struct ff_path path = net_path(host);
	struct net_sink *s = net_sink_get();
	uint16_t mtu = ff_port_mtu(p), over = mtu + 1;
	struct ff_port_tx tx[3];

	CU_ASSERT_EQUAL(mtu, 1500 - headers);
	for (unsigned i = 0; i < 3; i++)
		tx[i] = (struct ff_port_tx){.path = &path, .bytes = sent, .seg_len = mtu};
	for (unsigned num = 1; num < 80; num += 39) {
		tx[0].seg_len = over;
		tx[0].len = net_packets(sent, 4, num, over, over);
		expect_lost(q, tx, num, true);
	}
	/* In between others, it is lost alone. */
	tx[1] = tx[0];
	tx[1].len = 2 * (FF_PORT_HEADROOM + over);
	tx[1].bytes = sent + 10000;
	net_packets(sent + 10000, 4, 2, over, over);
	tx[0].seg_len = mtu;
	tx[0].len = tx[2].len = net_packets(sent, 4, 3, mtu, 77);
	CU_ASSERT_EQUAL(ff_port_tx(q, tx, 3), 2);
	net_receive(q, s, 6, FF_PORT_BURST);
	CU_ASSERT(s->num == 6 && net_same(s, 0, 3, sent) && net_same(s, 3, 3, sent));
	ff_port_close(p);
}

static void
test_too_long(void)
{
	CU_ASSERT_FATAL(net_command("ip link set lo mtu 1500"));
	too_long("127.0.0.1", 20 + 8 + 8 + 14);
	too_long("::1", 40 + 8 + 8 + 14);
	CU_ASSERT(net_command("ip link set lo mtu 65536"));
}

/* The kernel refuses UDP_SEGMENT on a socket that sends no checksums: packet by packet then. */
static void
test_without_segmentation(void)
{
	struct ff_port *p = net_open_ok("127.0.0.1", 1);
	struct ff_port_queue *q = ff_port_queue_get(p, 0);
	struct ff_path path = net_path("127.0.0.1");
	struct ff_port_tx tx = {.path = &path, .bytes = sent, .seg_len = 1001};
	int on = 1, off = 0;

	CU_ASSERT_EQUAL(setsockopt(ff_port_queue_fd(q), SOL_SOCKET, SO_NO_CHECK, &on, sizeof(on)),
			0);
	for (unsigned i = 0; i < 3; i++) {
		struct net_sink *s = net_sink_get();

		tx.len = net_packets(sent, 4, 300, 1001, 60);
		CU_ASSERT_EQUAL(ff_port_tx(q, &tx, 1), 1);
		net_receive(q, s, 300, FF_PORT_BURST);
		CU_ASSERT(net_same(s, 0, s->num, sent));
	}
	CU_ASSERT_EQUAL(net_counter(q, FF_PC_TX_DROPPED), 0);
	/* It is tried again some time. */
	CU_ASSERT_EQUAL(setsockopt(ff_port_queue_fd(q), SOL_SOCKET, SO_NO_CHECK, &off, sizeof(off)),
			0);
	tx.len = net_packets(sent, 4, 1, 1001, 1001);
	for (unsigned i = 0; i < 1100; i++) {
		CU_ASSERT_EQUAL(ff_port_tx(q, &tx, 1), 1);
		net_receive(q, net_sink_get(), 1, FF_PORT_BURST);
	}
	tx.len = net_packets(sent, 4, 256, 1001, 1001);
	on = (int)net_counter(q, FF_PC_TX_CALLS);
	CU_ASSERT_EQUAL(ff_port_tx(q, &tx, 1), 1);
	CU_ASSERT_EQUAL(net_counter(q, FF_PC_TX_CALLS) - (unsigned)on, 1);
	net_receive(q, net_sink_get(), 256, FF_PORT_BURST);
	ff_port_close(p);
}

/* A neighbour that does not answer keeps what we send in our socket's buffer. */
static void
test_full(void)
{
	struct ff_port_tx tx[FF_PORT_BURST];
	struct ff_path path = net_path("10.9.0.2");
	struct ff_port_queue *q;
	struct ff_port *p;
	unsigned whole;
	int small = 1;

	CU_ASSERT_FATAL(net_command("ip link add v0 mtu 1400 type veth peer name v1 && "
				    "ip link set v0 up && ip link set v1 up && "
				    "ip addr add 10.9.0.1/24 dev v0"));
	p = net_open_ok("", 1);
	CU_ASSERT_EQUAL(ff_port_mtu(p), 1400 - 40 - 8 - 8 - 14); /* the smallest that is not lo */
	ff_port_close(p);
	p = net_open_ok("127.0.0.1", 1);
	CU_ASSERT_EQUAL(ff_port_mtu(p), 65535 - 20 - 8 - 8 - 14);
	ff_port_close(p);
	p = net_open_ok("10.9.0.1", 1);
	CU_ASSERT_EQUAL(ff_port_mtu(p), 1400 - 20 - 8 - 8 - 14);
	q = ff_port_queue_get(p, 0);
	CU_ASSERT_EQUAL(
		setsockopt(ff_port_queue_fd(q), SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
	for (unsigned i = 0; i < FF_PORT_BURST; i++)
		tx[i] = (struct ff_port_tx){&path, sent, 0, 1200, 0, 0};
	for (unsigned i = 0; i < FF_PORT_BURST; i++)
		tx[i].len = net_packets(sent, 4, 40, 1200, 1200);
	whole = ff_port_tx(q, tx, FF_PORT_BURST);
	CU_ASSERT(whole > 0 && whole < FF_PORT_BURST);
	CU_ASSERT_EQUAL(net_counter(q, FF_PC_TX_PACKETS), whole * 40);
	CU_ASSERT_EQUAL(net_counter(q, FF_PC_TX_DROPPED), (FF_PORT_BURST - whole) * 40);
	CU_ASSERT(net_counter(q, FF_PC_TX_CALLS) <= 3); /* full: it does not go on asking */
	ff_port_close(p);
	CU_ASSERT(net_command("ip link del v0"));
}

/* What the socket has no room for is counted when the next one comes in. */
static void
test_receive_overflow(void)
{
	struct ff_port *p = net_open_ok("127.0.0.1", 1);
	struct ff_port_queue *q = ff_port_queue_get(p, 0);
	struct net_sink *s = net_sink_get();
	int fd = stranger("127.0.0.1"), small = 1;
	uint8_t b[74];

	CU_ASSERT_EQUAL(
		setsockopt(ff_port_queue_fd(q), SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)), 0);
	good(b, 32);
	for (unsigned i = 0; i < 100; i++)
		CU_ASSERT_EQUAL(send(fd, b, sizeof(b), 0), sizeof(b));
	net_drain(q, s);
	b[6] = 8; /* the marker's VNI */
	for (unsigned i = 0; i < 1000 && s->vni != 8; i++) {
		CU_ASSERT_EQUAL(send(fd, b, sizeof(b), 0), sizeof(b));
		net_receive(q, s, s->num + 1, 1);
	}
	CU_ASSERT(net_counter(q, FF_PC_RX_DROPPED) > 0);
	CU_ASSERT(net_counter(q, FF_PC_RX_DROPPED) + s->num >= 101);
	close(fd);
	ff_port_close(p);
}

CU_TestInfo udp_error_tests[] = {
	{"hostile datagrams", test_hostile},
	{"hostile trains", test_hostile_trains},
	{"no outer checksum", test_no_checksum},
	{"not opened", test_open_refused},
	{"not sendable", test_not_sendable},
	{"too long", test_too_long},
	{"UDP_SEGMENT refused", test_without_segmentation},
	{"socket full", test_full},
	{"receive overflow", test_receive_overflow},
	CU_TEST_INFO_NULL,
};
