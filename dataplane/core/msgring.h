/* SPDX-License-Identifier: MIT */
/* A bounded queue of messages: any number of producers, one consumer. An rte_ring without EAL. */
#ifndef FF_CORE_MSGRING_H
#define FF_CORE_MSGRING_H

#include <stdbool.h>

#include "worker.h"

struct ff_msgring;

/* size: a power of two; one slot stays free. NULL: no memory. */
struct ff_msgring *ff_msgring_create(unsigned size);
void ff_msgring_destroy(struct ff_msgring *r); /* NULL is allowed */
/* 0, or -ENOSPC when full. Never waits for another producer. */
int ff_msgring_post(struct ff_msgring *r, struct ff_msg *m);
/* Consumer: up to n messages, the oldest first. */
unsigned ff_msgring_take(struct ff_msgring *r, struct ff_msg **out, unsigned n);
bool ff_msgring_pending(const struct ff_msgring *r);

#endif
