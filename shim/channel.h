/* SPDX-License-Identifier: MIT */
/*
 * The process's channel: its connection to the router and the doorbell rings. Made by the first
 * open of the device; a process that opens none never connects. Contexts keep the channel that
 * they were opened on; a forked child makes its own for what it opens itself.
 */
#ifndef FF_SHIM_CHANNEL_H
#define FF_SHIM_CHANNEL_H

#include <stdatomic.h>
#include <stdint.h>

#include <freeflow/abi.h>

#include "../memif-bridge/memif.h"

struct channel_ring {
	/* Threads of this process share the ring; held for a few instructions. */
	_Atomic uint32_t lock;
	struct ff_memif_ring *ring;
} __attribute__((aligned(64)));

struct channel {
	struct channel_ring rings[FF_MEMIF_MAX_RINGS];
	unsigned int num_rings;
	uint64_t generation;   /* fork.h: only this process may use the rings */
	_Atomic uint32_t refs; /* one for each context, one for being current */
	int sock;	       /* of ATTACH: its last close is the channel's end */
	struct ff_memif *memif;
	uint32_t id;
	uint8_t token[FF_TOKEN_LEN];
};

/*
 * A new connection that is a context of the current channel (made if need be, or made anew if the
 * router is another one by now): a plain fd with flags SOCK_CLOEXEC or 0. *out gets a reference.
 * Returns fd or -errno; -ENODEV when there is no router.
 */
int channel_open_context(int flags, struct channel **out);
void channel_put(struct channel *ch); /* NULL is allowed */
/* True if the router closed it or died. One system call. */
int channel_is_dead(const struct channel *ch);
/* In a forked child: nothing is current; locks are free. */
void channel_fork_child(void);

#endif
