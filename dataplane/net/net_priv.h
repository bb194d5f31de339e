/* SPDX-License-Identifier: MIT */
/* Inside of dataplane/net: what a kind of port gives to port.c. */
#ifndef FF_NET_PRIV_H
#define FF_NET_PRIV_H

#include <stdatomic.h>

#include "port.h"

struct ff_port_ops {
	const char *kind;
	uint16_t src_port_mask; /* bits of the flow hash that make the outer source port */
	/*
	 * Control thread. Fills p->queues, all of p->num_queues, and p->mtu. 0 or -errno; close is
	 * called after a failure too.
	 */
	int (*open)(struct ff_port *p, const struct ff_port_conf *conf);
	/* Frees the queues; those that are NULL were never made. */
	void (*close)(struct ff_port *p);
	/* The queue's worker. */
	unsigned (*tx)(struct ff_port_queue *q, const struct ff_port_tx *tx, unsigned n);
	unsigned (*rx)(struct ff_port_queue *q, struct ff_port_rx *rx, unsigned n);
	int (*fd)(const struct ff_port_queue *q);
	/* NULL: nothing to do, and false. */
	bool (*arm)(struct ff_port_queue *q);
	void (*disarm)(struct ff_port_queue *q);
	/* Control thread. NULL: nothing to do. */
	void (*address)(struct ff_port *p, const uint8_t address[16], bool here);
	/* Any thread: adds what is counted elsewhere. May be NULL. */
	void (*more_counters)(const struct ff_port_queue *q, uint64_t out[FF_PC_MAX]);
};

/* At the beginning of each kind's own queue. */
struct ff_port_queue {
	const struct ff_port_ops *ops;
	/* Writer: the queue's worker. Readers: any thread. Relaxed. */
	_Atomic uint64_t counters[FF_PC_MAX];
};

struct ff_port {
	const struct ff_port_ops *ops;
	uint16_t mtu;
	uint16_t num_queues;
	bool wants_mac;
	unsigned ifindex;
	void *priv; /* the kind's */
	struct ff_port_queue *queues[];
};

extern const struct ff_port_ops ff_udp_port, ff_ethdev_port;

/* One writer: no locked instruction is needed. */
static inline void
ff_port_count(struct ff_port_queue *q, enum ff_port_counter c, uint64_t by)
{
	uint64_t old = atomic_load_explicit(&q->counters[c], memory_order_relaxed);

	atomic_store_explicit(&q->counters[c], old + by, memory_order_relaxed);
}

#endif
