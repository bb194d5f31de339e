/* SPDX-License-Identifier: MIT */
/* What the tests of ports on af_packet share: a veth pair between two namespaces, and ports on it.
 */
#ifndef TESTS_UNIT_NET_ETHDEV_HARNESS_H
#define TESTS_UNIT_NET_ETHDEV_HARNESS_H

#include "harness.h"

#define SIDES 2u

extern uint8_t wire_sent[8u << 20]; /* for packets to send */

/*
 * The ends va and vb in namespaces of their own, with 10.9.0.1 and .2, fd09::1 and ::2; encap none:
 * packets are from 10.1.0.1 to 10.1.0.2. False: we may not.
 */
bool wire_make(void);
void wire_enter(unsigned side);
struct ff_port *wire_open(unsigned side, enum ff_encap encap, unsigned queues, const char *more,
			  int *err);
/* The same, and it must work. */
struct ff_port *wire_open_ok(unsigned side, enum ff_encap encap, unsigned queues, const char *more);
struct ff_path wire_path(unsigned side, enum ff_encap encap, const char *host);
/* As net_packets(), in wire_sent. */
uint32_t wire_packets(enum ff_encap encap, unsigned num, uint16_t len, uint16_t last);
/* A datagram of the kernel's, from the first side. */
void wire_send(const char *address, uint16_t port, const void *bytes, size_t len);
/* A counter of the second side's stack, such as "Icmp:", "OutDestUnreachs". */
unsigned long wire_snmp(const char *protocol, const char *counter);

/* ethdev_tcx.c */
extern CU_TestInfo ethdev_tcx_tests[];

#endif
