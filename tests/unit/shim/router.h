/* SPDX-License-Identifier: MIT */
/*
 * A router to test the shim with: a thread of the test that speaks the command protocol and the
 * server's side of memif, and answers commands as the test says. The shim's hooks are linked into
 * the test program, so that its libc calls go through them.
 */
#ifndef TEST_SHIM_ROUTER_H
#define TEST_SHIM_ROUTER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <CUnit/Basic.h>

#include <freeflow/abi.h>
#include <freeflow/uverbs.h>

#define ROUTER_CONNS 64
#define QUEUE_SIZE   8192u

struct router_reply {
	int32_t status;
	uint32_t out_len;
	uint8_t out[2048];
	uint32_t num_fds;
	struct ff_fd_desc fds[FF_MSG_FDS_MAX];
	int fd[FF_MSG_FDS_MAX]; /* closed by the router after sending, but for keep_fds */
	bool keep_fds;
	/* Lies, for hostile replies. 0: the truth. */
	uint32_t lie_out_len, lie_num_fds, lie_seq, lie_type, lie_len;
	uint32_t cut;	  /* the message ends after so many bytes */
	bool stale_first; /* one with an old sequence number, and an fd, goes first */
	bool hang_up;	  /* closes the connection instead */
};

/* Runs on the router's thread: cmd is what the program wrote. status is len beforehand. */
typedef void (*router_command)(const uint8_t *cmd, uint32_t len, struct router_reply *rep);

struct router {
	char dir[64];
	pthread_t thread;
	int wake; /* eventfd: something changed, or stop */
	_Atomic bool stop;
	uint32_t num_rings, log2_ring;
	_Atomic(router_command) command;
	_Atomic bool paused; /* takes no doorbells */
	/* What happened. */
	_Atomic uint32_t attaches, contexts, commands, doorbells, closed_contexts, detached;
	_Atomic uint32_t last_qpn;
	_Atomic int32_t attach_status;
};

extern struct router router;

/* Makes the directory (with a sysfs view) and names it in FREEFLOW_DIR, for path tests alone. */
void router_dir_make(void);
void router_dir_remove(void);
/* And the thread with its sockets. */
void router_start(void);
void router_stop(void);
/* Waits until *counter is at least value: false after 10 s. */
bool router_reached(_Atomic uint32_t *counter, uint32_t value);

/* Open descriptors of this process, the router's included; and until there are n of them. */
int number_of_fds(void);
bool fds_reach(int n);

/* A sealed memfd with a queue; the test's own mapping of it in *buf. */
int router_queue(struct rxe_queue_buf **buf);
void router_add_queue(struct router_reply *rep, enum ff_queue_role role, uint32_t handle,
		      uint32_t qpn, uint64_t mmap_off, struct rxe_queue_buf **buf);

/* How often and for what the shim asked for memory to be made shareable (a fake of mem.c). */
struct prepared {
	uint32_t calls;
	void *addr;
	size_t len;
	uint32_t holds; /* so often memory was held when it was looked at */
};
extern struct prepared prepared;

int open_device(void); /* open("/dev/infiniband/uverbs0"), fatal if it fails */
/* Writes a legacy command of body_len bytes after the header. */
ssize_t write_command(int fd, uint32_t op, const void *body, size_t body_len, size_t out_len);
/* The program's side of post_send's doorbell and of req_notify_cq. */
ssize_t write_doorbell(int fd, uint32_t qp_handle);
ssize_t write_notify(int fd, uint32_t cq_handle, bool solicited);

struct test {
	const char *name;
	void (*fn)(void);
};
/* Runs a suite; the program's exit status. */
int run_tests(const char *suite, const struct test *tests, unsigned int count);
#define RUN(suite, tests) run_tests(suite, tests, sizeof(tests) / sizeof((tests)[0]))

#endif
