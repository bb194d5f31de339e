/* SPDX-License-Identifier: MIT */
/* What the tests of ports share: a network namespace, packets to send, what has come in. */
#ifndef TESTS_UNIT_NET_HARNESS_H
#define TESTS_UNIT_NET_HARNESS_H

#include <CUnit/Basic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/port.h"

#define UDP_PORT 47890u
#define VNI	 0xabcdefu

/* lo with 127.0.0.0/8, ::1, fd00::1 and fd00::2; nothing else. False: we may not. */
bool net_namespace_enter(void);
bool net_command(const char *cmd); /* sh -c */

/* IPv4 as ::ffff:a.b.c.d; "" : any */
void net_address(const char *text, uint8_t out[16]);
struct ff_port *net_open(const char *address, unsigned queues, int *err);
/* The same, and it must work. */
struct ff_port *net_open_ok(const char *address, unsigned queues);
struct ff_path net_path(const char *host);
uint64_t net_counter(const struct ff_port_queue *q, enum ff_port_counter c);

/*
 * Writes num inner packets of seg_len bytes, the last of last bytes, each behind a headroom that
 * stays as it is; returns the sum of all.
 */
uint32_t net_packets(uint8_t *out, unsigned version, unsigned num, uint16_t seg_len, uint16_t last);

/* Inner packets that came in, one behind the other. */
struct net_sink {
	uint8_t bytes[8u << 20];
	size_t len;
	unsigned num;
	uint32_t lens[1024];
	uint8_t tos, host[16]; /* of the last one */
	uint32_t vni;
};
struct net_sink *net_sink_get(void); /* the only one, emptied */
/* Waits until num packets have come, or for a very long time; at most burst in one call. */
void net_receive(struct ff_port_queue *q, struct net_sink *s, unsigned num, unsigned burst);
/* Are the num packets from first on those that net_packets() wrote? */
bool net_same(const struct net_sink *s, unsigned first, unsigned num, const uint8_t *out);
/* Takes what is there now. */
void net_drain(struct ff_port_queue *q, struct net_sink *s);

/* udp_errors.c */
extern CU_TestInfo udp_error_tests[];
/* udp_kernel.c */
void test_kernel_vxlan(void);

#endif
