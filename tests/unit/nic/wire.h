/* SPDX-License-Identifier: MIT */
/*
 * What nic/soft_roce has around it, without a network: a port whose packets go from one fake worker
 * to the other, and a resolver that says what the test wrote down. For harness.h's QPs.
 */
#ifndef TEST_NIC_WIRE_H
#define TEST_NIC_WIRE_H

#include "../../../dataplane/nic/soft_roce/sroce_priv.h"
#include "../../../dataplane/overlay/overlay.h"
#include "harness.h"

#define W_PACKETS  512u
#define W_ELEMENTS 128u
#define W_VNI	   77u

/* A container's addresses, by their place in its GID table. The first two end in the same bytes. */
enum w_gid { W_V4, W_V6, W_V4_MORE, W_GIDS };

/* One that the port was given. */
struct w_packet {
	uint32_t vni, len;
	uint8_t outer_tos;
	uint8_t bytes[SROCE_PACKET_MAX];
};

/* An element of a call of the port. */
struct w_element {
	struct ff_path path;
	unsigned first, num; /* its packets in w_packets */
	uint16_t seg_len, src_port;
	uint8_t tos;
};

extern struct w_packet w_packets[W_PACKETS]; /* all that were sent, in order */
extern struct w_element w_elements[W_ELEMENTS];
extern unsigned w_num_packets, w_num_elements;

extern bool w_cut;			 /* what is sent does not arrive */
extern bool w_astray;			 /* it arrives at the wrong worker */
extern bool w_wants_mac;		 /* ff_port_wants_mac() */
extern unsigned w_ifindex;		 /* ff_port_ifindex() */
extern uint8_t w_outer_ecn, w_inner_ecn; /* what the network adds to the types of service */

extern bool w_resting;	 /* the last word of ff_worker_wake_socket_rest() */
extern unsigned w_asked; /* questions to the resolver */
/* What it says of an address: may be written to. */
struct ff_overlay_entry *w_entry(uint32_t tenant, const uint8_t gid[16]);

/* After h_init(): both containers have their addresses, each on another host. */
void w_init(void);
/* As at the beginning; before each test. */
void w_reset(void);
const uint8_t *w_gid(unsigned container, enum w_gid which);
/* A QP of container c on worker c, and what it is set to with that peer. */
struct h_qp *w_qp(uint8_t type, unsigned c);
struct ff_qp_attr w_attr(const struct h_qp *peer, enum w_gid which);
void w_connect(struct h_qp *a, struct h_qp *b, enum w_gid which);
struct sqp *w_sqp(const struct h_qp *q);
uint64_t w_drops(unsigned worker, enum sroce_drop why);
/* An AH for q; ah->ah_num is its number. */
void w_ah(struct ff_ah *ah, struct h_qp *q, const struct ff_ah_attr *attr);
void w_ah_free(struct ff_ah *ah);
/* As h_settle(); in each of its passes the port is looked at again, for which time goes on. */
void w_settle(void);
/* Comes to a worker from the wire. */
void w_arrives(unsigned worker, const struct w_packet *k);

#endif
