/* SPDX-License-Identifier: MIT */
/*
 * QPs whose peers are on other hosts: the RoCEv2 engine (roce/) between the backend's work requests
 * (local/) and a port (net/). The local backend loads and completes WQEs as for a peer in the same
 * host; what is in between goes over the wire.
 */
#ifndef FF_NIC_SOFT_ROCE_H
#define FF_NIC_SOFT_ROCE_H

#include <stdbool.h>
#include <stdint.h>

struct ff_container;
struct ff_nic_counters;
struct ff_nic_peer;
struct ff_qp;
struct lop;
struct lqp;

/* Control thread, before workers start: opens the port of the configuration, if there is one. */
int sroce_init(void);
void sroce_fini(void);
/* Any thread: is there a wire at all? */
bool sroce_enabled(void);
/* enum ib_mtu that fits the underlay. */
uint8_t sroce_mtu(const struct ff_container *c);
/* Control thread: c is about to talk to gid, which is not on this host; see nic.h. */
int sroce_ask(struct ff_container *c, const uint8_t gid[16]);
void sroce_address(const struct ff_container *c, const uint8_t gid[16], bool here);

void sroce_port_counters(unsigned worker, struct ff_nic_counters *out);
void sroce_qp_counters(const struct ff_qp *qp, struct ff_nic_counters *out);
void sroce_transport_counters(unsigned worker, struct ff_nic_counters *out);
bool sroce_qp_peer(const struct ff_qp *qp, struct ff_nic_peer *out);
/* Control thread: another tenant may get its index. */
void sroce_tenant_gone(uint32_t index);

/* Owner worker, all below. To RTR or RTS, or other attributes; 0 or -ENOMEM. */
int sroce_modify(struct lqp *l);
/* op leaves the host; it comes back on lw->done. */
void sroce_post(struct lqp *l, struct lop *op);
/* All operations come back, flushed if they were under way; nothing moves until sroce_modify(). */
void sroce_stop(struct lqp *l);
/* UD: is that address on another host? */
bool sroce_is_remote(const struct lqp *l, const uint8_t gid[16]);
/* Control thread, after ff_workers_synchronize(). */
void sroce_free(struct lqp *l);

#endif
