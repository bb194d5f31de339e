/* SPDX-License-Identifier: MIT */
/*
 * What carries QPs: the operations that the verbs layer calls. Backends: `local` (memory copy
 * inside the host, and with soft_roce/ the wire to others); later verbs, mlx5. Nothing here assumes
 * that packets, keys or QPNs are ours.
 */
#ifndef FF_NIC_NIC_H
#define FF_NIC_NIC_H

#include <stdbool.h>
#include <stdint.h>

#include "../core/worker.h"

struct ff_container;
struct ff_mr;
struct ff_qp;
struct ff_qp_attr;
struct ff_srq;

#define FF_NIC_COUNTERS_MAX 32u
struct ff_nic_counters {
	unsigned num;
	const char *names[FF_NIC_COUNTERS_MAX];
	uint64_t values[FF_NIC_COUNTERS_MAX];
};

/* A connected QP whose peer is on another host, as its worker has it at this moment. */
struct ff_nic_peer {
	uint8_t gid[16];
	uint64_t tx_packets, rx_packets, retransmitted, timeouts, cnp_sent, cnp_received;
	uint64_t rtt_ns;   /* smoothed; 0: not measured yet */
	uint32_t window;   /* packets that may be under way; 0: the transport has none */
	uint64_t rate_bps; /* what congestion notifications have left of the rate; 0: all */
};

/* Operations behind srq_changed may be NULL: no hosts but this one. */
struct ff_nic_ops {
	const char *name;
	/* Control thread, once, before workers start; registers its worker stage. 0 or -errno. */
	int (*probe)(void);
	void (*fini)(void);
	/* Control thread. mr_reg may replace mr->key by the device's own. */
	int (*mr_reg)(struct ff_mr *mr);
	void (*mr_dereg)(struct ff_mr *mr);
	/* Control thread: qp is complete but not yet in the table. */
	int (*qp_create)(struct ff_qp *qp);
	/*
	 * Owner worker (ff_worker_call): the attributes have been checked; new is the whole new
	 * set, mask says what changed (IB_QP_*: values of enum ibv_qp_attr_mask). The backend
	 * stores it in qp->attr and does what the transition asks (reset, flush, drain).
	 */
	int (*qp_modify)(struct ff_qp *qp, const struct ff_qp_attr *new, uint32_t mask);
	/* Owner worker: stop using it: no completion, no lookup by a peer after this. */
	void (*qp_detach)(struct ff_qp *qp);
	/* Control thread, after ff_workers_synchronize(): frees qp->nic. */
	void (*qp_destroy)(struct ff_qp *qp);
	/* Owner worker: the container rang: the SQ has something. */
	void (*post)(struct ff_qp *qp);
	/* Owner worker: SRQ or RQ was posted to by POST_*_RECV, or re-armed; wakes RNR waiters. */
	void (*srq_changed)(struct ff_srq *srq);
	/*
	 * Control thread: c is about to talk to gid, which no container of this host has.
	 * -ENETUNREACH: its tenant has no way to other hosts.
	 */
	int (*ask)(struct ff_container *c, const uint8_t gid[16]);
	/* Control thread: gid is one of c's addresses (here), or is no more. */
	void (*address)(const struct ff_container *c, const uint8_t gid[16], bool here);
	/* Control thread: another tenant may get its index. */
	void (*tenant_gone)(uint32_t index);
	/* enum ib_mtu that c's way to other hosts takes; 0: there is none. */
	uint8_t (*mtu)(const struct ff_container *c);
	/* Control thread: of a worker's queue of the port, and of a QP there. num 0: there is none.
	 */
	void (*port_counters)(unsigned worker, struct ff_nic_counters *out);
	void (*qp_counters)(const struct ff_qp *qp, struct ff_nic_counters *out);
	/* Control thread: sums over all QPs that a worker has, or had, on the wire. */
	void (*transport_counters)(unsigned worker, struct ff_nic_counters *out);
	/* Control thread: false: its peer is not on another host, or it has no single one. */
	bool (*qp_peer)(const struct ff_qp *qp, struct ff_nic_peer *out);
};

extern const struct ff_nic_ops *ff_nic; /* the backend in use */
extern const struct ff_nic_ops ff_nic_local;

#endif
