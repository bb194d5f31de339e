/* SPDX-License-Identifier: MIT */
/*
 * A freeflowd without EAL for the tests of dataplane/channel: the loop runs on the main thread, one
 * worker is driven by hand on it, the tests run on a second thread, as a container's processes do.
 */
#ifndef TEST_CHANNEL_HARNESS_H
#define TEST_CHANNEL_HARNESS_H

#include <CUnit/CUnit.h>

#include "channel/channel_priv.h"

struct harness_test {
	const char *name;
	void (*fn)(void);
};
/* main() of a test program: 0 or 1. */
int harness_main(const char *suite, const struct harness_test *tests, unsigned n);

/* The rest is for the tests' thread. <run_dir> of this run; the directory of a container. */
const char *harness_run_dir(void);
/* name under the container's directory, in a static buffer of which there are four. */
const char *harness_path(const char *id, const char *name);
/* fn(arg) on the control thread. */
void harness_control(void (*fn)(void *arg), void *arg);
/* A container with that address (NULL: none), of tenant "t". 0 or -errno. */
int harness_add(const char *id, const char *address);
int harness_del(const char *id);
struct ff_container *harness_container(const char *id);
/* Passes of the worker; returns the work done. */
unsigned harness_passes(unsigned n);
/* *value, as the control thread sees it. */
uint64_t harness_u64(const uint64_t *value);
/* Waits until *value == want, as seen by the control thread; false after ten seconds. */
bool harness_wait_u64(const uint64_t *value, uint64_t want);
/* Number of entries in /proc/self/fd. */
unsigned harness_fds(void);

/* The shim's side. -1 and errno. */
int client_connect(const char *id, const char *sock);
/* Sends one message, with fds if num_fds. 0 or -errno. */
int client_send(int fd, uint32_t type, uint32_t seq, const void *body, uint32_t len);
int client_send_raw(int fd, const void *msg, size_t len, const int *fds, unsigned num_fds);
/* Receives a reply; its header, and up to cap bytes of the body. Returns the body's length, or
 * -ECONNRESET (closed), -ETIMEDOUT, -errno. */
int client_recv(int fd, struct ff_msg_hdr *h, void *body, size_t cap);
/* ATTACH: 0 and *rep, or -errno as the router said. */
int client_attach(int fd, struct ff_msg_attach_reply *rep);
int client_context(int fd, const uint8_t token[FF_TOKEN_LEN]);
/* True when the peer closes it (waits for that). */
bool client_closed(int fd);

/* Container c1 and its like in the tests of attaching. */
extern struct ff_container *c1;
void attach_setup(void);
/* All that a test made in c1 is gone. */
void expect_nothing_left(void);
/* Exactly one channel more was detached since before, for that reason. */
void expect_detached(const uint64_t before[FF_DETACH_MAX], enum ff_detach_reason why);
#define SNAPSHOT(name)                \
	uint64_t name[FF_DETACH_MAX]; \
	memcpy(name, ff_channel_detached, sizeof(name))

#endif
