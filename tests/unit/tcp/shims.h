/* SPDX-License-Identifier: MIT */
/*
 * Containers c1 (10.32.0.1) and c2 (10.32.0.2) in a network namespace that has both addresses, and
 * shims of theirs that say whatever a test wants, on the channel tests' freeflowd.
 */
#ifndef TEST_TCP_SHIMS_H
#define TEST_TCP_SHIMS_H

#include "../channel/harness.h"
#include "tcp/tcp_priv.h"

#define SKIP 77 /* what meson takes for a skipped test */

/* main(): harness_main() in a namespace of its own; 77 where that is not allowed. */
int shims_main(const char *suite, const struct harness_test *tests, unsigned n);

/* Makes c1 and c2 anew; what a test has left of them goes. */
void containers_make(void);
void containers_drop(void);
/* Adds container id with that address, in namespace netns. 0 or -errno. */
int container_make(const char *id, const char *address, const char *netns);

/* A connection from 10.32.0.1 to 10.32.0.2: fd[0] is c1's end. */
void tcp_connect(int fd[2]);

/* Connected to id's tcp.sock; HELLO is said. */
int shim_open(const char *id);
/* One message; fd: -1 for none. 0 or -errno. */
int shim_say(int sock, uint32_t type, uint32_t stream, uint32_t value, int fd);
struct heard {
	struct ff_tcp_msg m;
	int fds[FF_TCP_OFFER_FDS]; /* -1: not there */
};
/* The next message: 0, -ECONNRESET (closed) or -ETIMEDOUT, after long. */
int shim_hear(int sock, struct heard *h);
void heard_close(struct heard *h);
/* A message is heard, of that type for that stream; h may be NULL: its descriptors are closed. */
void expect_heard(int sock, uint32_t type, uint32_t stream, struct heard *h);
/* The shim is refused, with that errno. */
void expect_refused(int sock, uint32_t stream, int error);
void expect_closed(int sock);

/* Of container id, as the control thread has them. */
struct ff_tcp_stats stats_of(const char *id);
/* Waits until it has been refused so often for that reason. */
void expect_refusals(const char *id, enum ff_tcp_refusal why, uint64_t times);
/* Waits until nothing is known of any process of id. */
void expect_forgotten(const char *id);
void limit_set(const char *id, enum ff_quota q, uint64_t limit);

#endif
