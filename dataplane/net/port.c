/* SPDX-License-Identifier: MIT */
/* The kinds of port: which there are, and calls handed on to them. Control thread and workers. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "net_priv.h"

static const struct ff_port_ops *const kinds[] = {&ff_udp_port, &ff_ethdev_port};

static const struct ff_port_ops *
kind_find(const char *name)
{
	for (unsigned i = 0; name && i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (!strcmp(kinds[i]->kind, name))
			return kinds[i];
	return NULL;
}

struct ff_port *
ff_port_open(const struct ff_port_conf *conf, int *err)
{
	const struct ff_port_ops *ops = kind_find(conf->kind);
	struct ff_port *p;

	*err = -EINVAL;
	if (!ops || !conf->num_queues)
		return NULL;
	*err = -ENOMEM;
	p = calloc(1, sizeof(*p) + conf->num_queues * sizeof(p->queues[0]));
	if (!p)
		return NULL;
	p->ops = ops;
	p->num_queues = conf->num_queues;
	*err = ops->open(p, conf);
	if (*err) {
		ff_port_close(p);
		return NULL;
	}
	return p;
}

void
ff_port_close(struct ff_port *p)
{
	if (!p)
		return;
	p->ops->close(p);
	free(p);
}

struct ff_port_queue *
ff_port_queue_get(struct ff_port *p, unsigned queue)
{
	return queue < p->num_queues ? p->queues[queue] : NULL;
}

unsigned
ff_port_tx(struct ff_port_queue *q, const struct ff_port_tx *tx, unsigned n)
{
	return q->ops->tx(q, tx, n);
}

unsigned
ff_port_rx(struct ff_port_queue *q, struct ff_port_rx *rx, unsigned n)
{
	return q->ops->rx(q, rx, n);
}

int
ff_port_queue_fd(const struct ff_port_queue *q)
{
	return q->ops->fd(q);
}

bool
ff_port_arm(struct ff_port_queue *q)
{
	return q->ops->arm && q->ops->arm(q);
}

void
ff_port_disarm(struct ff_port_queue *q)
{
	if (q->ops->disarm)
		q->ops->disarm(q);
}

void
ff_port_address(struct ff_port *p, const uint8_t address[16], bool here)
{
	if (p->ops->address)
		p->ops->address(p, address, here);
}

bool
ff_port_wants_mac(const struct ff_port *p)
{
	return p->wants_mac;
}

unsigned
ff_port_ifindex(const struct ff_port *p)
{
	return p->ifindex;
}

uint16_t
ff_port_mtu(const struct ff_port *p)
{
	return p->mtu;
}

uint16_t
ff_port_src_mask(const struct ff_port *p)
{
	return p->ops->src_port_mask;
}

void
ff_port_counters(const struct ff_port_queue *q, uint64_t out[FF_PC_MAX])
{
	for (unsigned i = 0; i < FF_PC_MAX; i++)
		out[i] = atomic_load_explicit(&q->counters[i], memory_order_relaxed);
	if (q->ops->more_counters)
		q->ops->more_counters(q, out);
}
