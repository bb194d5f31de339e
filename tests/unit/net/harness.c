/* SPDX-License-Identifier: MIT */
/* Network namespace, packets, and a sink for them. */
#include <arpa/inet.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness.h"

#define DEADLINE_MS 30000

bool
net_command(const char *cmd)
{
	return system(cmd) == 0;
}

bool
net_namespace_enter(void)
{
	return !unshare(CLONE_NEWNET) &&
	       net_command("ip link set lo up && ip addr add fd00::1/128 dev lo nodad && "
			   "ip addr add fd00::2/128 dev lo nodad");
}

void
net_address(const char *text, uint8_t out[16])
{
	memset(out, 0, 16);
	if (!text[0] || inet_pton(AF_INET6, text, out) == 1)
		return;
	memset(out + 10, 0xff, 2);
	CU_ASSERT_EQUAL_FATAL(inet_pton(AF_INET, text, out + 12), 1);
}

struct ff_port *
net_open(const char *address, unsigned queues, int *err)
{
	struct ff_port_conf conf = {
		.kind = "udp", .udp_port = UDP_PORT, .num_queues = (uint16_t)queues};

	net_address(address, conf.address);
	return ff_port_open(&conf, err);
}

struct ff_port *
net_open_ok(const char *address, unsigned queues)
{
	int err;
	struct ff_port *p = net_open(address, queues, &err);

	if (!p)
		fprintf(stderr, "%s: %s\n", address, strerror(-err));
	CU_ASSERT_PTR_NOT_NULL_FATAL(p);
	CU_ASSERT_EQUAL(err, 0);
	return p;
}

struct ff_path
net_path(const char *host)
{
	struct ff_path p = {.vni = VNI,
			    .mtu = UINT16_MAX,
			    .encap = FF_ENCAP_VXLAN,
			    .dst_mac = {2, 1},
			    .src_mac = {2, 2}};

	net_address(host, p.host);
	return p;
}

uint64_t
net_counter(const struct ff_port_queue *q, enum ff_port_counter c)
{
	uint64_t all[FF_PC_MAX];

	ff_port_counters(q, all);
	return all[c];
}

uint32_t
net_packets(uint8_t *out, unsigned version, unsigned num, uint16_t seg_len, uint16_t last)
{
	static uint32_t random = 1;
	uint8_t *at = out;

	for (unsigned i = 0; i < num; i++) {
		unsigned len = i + 1 < num ? seg_len : last;
		unsigned claim = version == 4 ? len : len - 40;
		uint8_t *field;

		at += FF_PORT_HEADROOM;
		field = at + (version == 4 ? 2 : 4);
		for (unsigned k = 0; k < len; k++) {
			random = random * 1664525u + 1013904223u;
			at[k] = (uint8_t)(random >> 24);
		}
		at[0] = (uint8_t)(version << 4 | 5);
		field[0] = (uint8_t)(claim >> 8);
		field[1] = (uint8_t)claim;
		at += len;
	}
	return (uint32_t)(at - out);
}

struct net_sink *
net_sink_get(void)
{
	static struct net_sink s;

	s.len = s.num = 0;
	return &s;
}

static void
sink_add(struct net_sink *s, const struct ff_port_rx *rx)
{
	if (s->num == 1024 || rx->len > sizeof(s->bytes) - s->len) {
		CU_FAIL_FATAL("more than was sent");
		return;
	}
	memcpy(s->bytes + s->len, rx->bytes, rx->len);
	s->len += rx->len;
	s->lens[s->num++] = rx->len;
	s->tos = rx->outer_tos;
	s->vni = rx->vni;
	memcpy(s->host, rx->host, 16);
}

bool
net_same(const struct net_sink *s, unsigned first, unsigned num, const uint8_t *out)
{
	const uint8_t *got = s->bytes;

	for (unsigned i = 0; i < first; i++)
		got += s->lens[i];
	for (unsigned i = first; i < first + num; i++) {
		out += FF_PORT_HEADROOM;
		if (i >= s->num || memcmp(got, out, s->lens[i]))
			return false;
		got += s->lens[i];
		out += s->lens[i];
	}
	return true;
}

static unsigned
receive_once(struct ff_port_queue *q, struct net_sink *s, unsigned burst)
{
	struct ff_port_rx rx[FF_PORT_BURST];
	unsigned got = ff_port_rx(q, rx, burst);

	for (unsigned i = 0; i < got; i++)
		sink_add(s, &rx[i]);
	return got;
}

void
net_receive(struct ff_port_queue *q, struct net_sink *s, unsigned num, unsigned burst)
{
	struct pollfd p = {.fd = ff_port_queue_fd(q), .events = POLLIN};

	while (s->num < num) {
		/* Fewer than asked for: now the fd tells. */
		if (receive_once(q, s, burst) < burst && s->num < num &&
		    poll(&p, 1, DEADLINE_MS) != 1) {
			fprintf(stderr, "%u of %u packets\n", s->num, num);
			CU_FAIL("packets are missing");
			return;
		}
	}
}

void
net_drain(struct ff_port_queue *q, struct net_sink *s)
{
	uint64_t bad;

	do
		bad = net_counter(q, FF_PC_RX_BAD);
	while (receive_once(q, s, FF_PORT_BURST) || net_counter(q, FF_PC_RX_BAD) != bad);
}
