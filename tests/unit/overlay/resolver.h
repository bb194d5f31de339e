/* SPDX-License-Identifier: MIT */
/* A control thread with the kernel provider, for tests: questions, and what the cache says. */
#ifndef FF_TEST_RESOLVER_H
#define FF_TEST_RESOLVER_H

#include "network.h"
#include "overlay/overlay.h"

/* In the namespace of the caller. After a failed start: resolver_end(), all the same. */
bool resolver_start(void);
void resolver_end(void);
void resolver_flush(void);

struct question {
	struct ff_overlay_scope scope;
	uint8_t gid[16];
	struct ff_overlay_entry e; /* what the cache says when it has just been put */
	int rc;
};
/* from.fd -1: from this process's namespace; or: of the underlay itself. */
#define RESOLVER_UNDERLAY -2
struct question question(struct netns from, const char *address);
void question_ask(struct question *q);
/* Both of them, for a question that must be taken. */
struct ff_overlay_entry ask(struct netns from, const char *address);
/*
 * Waits until the cache says what is wanted: "none", or "vxlan HOST vni N mac MAC mtu N", "plain"
 * for vxlan, and "by INTERFACE" behind it where a route on the underlay names one. ask_again: all
 * the time, as a QP does that gets no answer.
 */
bool says(struct netns from, const char *address, const char *wanted, bool ask_again);

#endif
