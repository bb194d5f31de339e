/* SPDX-License-Identifier: MIT */
/*
 * What carries QPs: the operations that the verbs layer calls. Backends: `local` (memory copy
 * inside the host); later soft_roce, verbs, mlx5. Nothing here assumes that packets, keys or QPNs
 * are ours.
 */
#ifndef FF_NIC_NIC_H
#define FF_NIC_NIC_H

#include <stdbool.h>
#include <stdint.h>

#include "../core/worker.h"

struct ff_mr;
struct ff_qp;
struct ff_qp_attr;
struct ff_srq;

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
};

extern const struct ff_nic_ops *ff_nic; /* the backend in use */
extern const struct ff_nic_ops ff_nic_local;

#endif
