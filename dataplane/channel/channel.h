/* SPDX-License-Identifier: MIT */
/*
 * Channels: one for each process of a container that uses the shim. Attach, the memif connection
 * and its doorbell rings, ucontexts, teardown. Control thread, but for the doorbell stage, which
 * runs on the channel's worker.
 */
#ifndef FF_CHANNEL_CHANNEL_H
#define FF_CHANNEL_CHANNEL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>

#include <freeflow/abi.h>

#include "../core/worker.h"
#include "../verbs/umem.h"
#include "container.h"

#define FF_CHANNEL_RINGS     4u
#define FF_CHANNEL_LOG2_RING 10u

struct ff_ucontext; /* verbs/verbs.h */

/* Why a channel ended; each is a counter. */
enum ff_detach_reason {
	FF_DETACH_CLOSED,   /* the process closed it or died */
	FF_DETACH_REMOVED,  /* its container was removed */
	FF_DETACH_SHUTDOWN, /* freeflowd leaves */
	FF_DETACH_PROTOCOL, /* broke the command protocol */
	FF_DETACH_MEMIF,    /* broke the memif protocol */
	FF_DETACH_RING,	    /* broke a ring */
	FF_DETACH_MAX,
};
extern const char *const ff_detach_reason_names[FF_DETACH_MAX];

struct ff_channel {
	uint32_t id;
	struct ff_container *container;
	struct ff_worker *worker; /* owner of the rings and of all verbs objects below */
	struct ff_proc *proc;	  /* verbs/umem.h; counted */
	uid_t uid;
	char comm[16];
	uint8_t token[FF_TOKEN_LEN];
	uint64_t doorbells, bad_doorbells; /* writer: worker */
	TAILQ_HEAD(, ff_ucontext) contexts;
	TAILQ_ENTRY(ff_channel) link; /* container->channels */
	void *priv;		      /* channel.c: sockets, memif, worker list */
};

int ff_channels_init(void); /* registers the doorbell stage */
void ff_channels_fini(void);
extern uint64_t ff_channel_detached[FF_DETACH_MAX];

/* Control thread. Destroys its ucontexts and all they hold, then itself. */
void ff_channel_detach(struct ff_channel *ch, enum ff_detach_reason why, const char *text);
/* Any worker: asks the control thread to detach. */
void ff_channel_detach_async(struct ff_channel *ch, enum ff_detach_reason why);
void ff_channel_foreach(void (*fn)(struct ff_channel *ch, void *arg), void *arg);

#endif
