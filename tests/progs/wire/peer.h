/* SPDX-License-Identifier: MIT */
/*
 * wire_peer: two processes in containers of different hosts, and QPs between them. What is agreed
 * on goes through a TCP connection. Whatever fails that the mode does not expect ends the program:
 * it prints `failed: WHY` and leaves with 1.
 */
#ifndef TEST_PEER_H
#define TEST_PEER_H

#include <infiniband/verbs.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PEER_ACCESS                                                                  \
	(IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ | \
	 IBV_ACCESS_REMOTE_ATOMIC | IBV_ACCESS_MW_BIND)
#define PEER_QKEY 0x1234u

struct peer {
	bool client;
	int sock;
	struct ibv_context *ctx;
	struct ibv_pd *pd;
	union ibv_gid gid;
	/* The command line's: */
	int gid_index;
	uint8_t timeout, retry;
	enum ibv_mtu mtu;
	uint32_t size;
	unsigned pause_ms; /* mode load: between looks, for who must not fill the machine */
};
extern struct peer peer;

/* What one side tells the other. */
struct peer_end {
	uint32_t qpn, psn, rkey, unused;
	uint64_t va;
	union ibv_gid gid;
};

struct peer_link {
	enum ibv_qp_type type;
	struct ibv_cq *cq;
	struct ibv_qp *qp;
	struct ibv_ah *ah; /* UD */
	struct peer_end mine, theirs;
};

struct peer_opts {
	enum ibv_qp_type type;
	uint32_t depth; /* of both queues */
	bool no_rnr_retry;
	struct ibv_comp_channel *channel; /* or NULL */
	struct ibv_srq *srq;		  /* or NULL */
	struct ibv_mr *mr;		  /* the other side is told of it */
};

_Noreturn void peer_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
#define PEER_MUST(cond)                                                        \
	do {                                                                   \
		if (!(cond))                                                   \
			peer_fail("%s:%d: %s: %m", __FILE__, __LINE__, #cond); \
	} while (0)

/* Both sides: connected, the QP in RTS. */
void peer_link_open(struct peer_link *l, const struct peer_opts *o);
void peer_link_close(struct peer_link *l);
/* Both sides: gives a word for a word. */
uint32_t peer_swap(uint32_t word);
void peer_recv(struct peer_link *l, uint64_t id, void *at, uint32_t len, uint32_t lkey);
/* Waits up to 20 s for the next completion; fails without. */
void peer_wait(struct peer_link *l, struct ibv_wc *wc);
void peer_fill(uint8_t *at, size_t len, unsigned seed);
/* Offset of the first byte that peer_fill() would not write; len: there is none. */
size_t peer_check(const uint8_t *at, size_t len, unsigned seed);
/* Memory of whole pages, registered with PEER_ACCESS; it ends with the program. */
struct ibv_mr *peer_memory(size_t len);

/* The modes. */
void peer_ops(void);
void peer_load(void);
void peer_victim(void);
void peer_srq(void);

#endif
