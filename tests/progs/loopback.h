/* SPDX-License-Identifier: MIT */
/*
 * Two RC QPs of one process, connected to each other, and rounds of checked data through them. For
 * the programs that test what happens around the data. One thread uses a loopback at a time.
 */
#ifndef TEST_LOOPBACK_H
#define TEST_LOOPBACK_H

#include <infiniband/verbs.h>
#include <stddef.h>
#include <stdint.h>

struct loopback {
	struct ibv_context *ctx;
	struct ibv_pd *pd;
	struct ibv_cq *cq;
	struct ibv_qp *qp[2];
	struct ibv_mr *mr;
	uint8_t *buf; /* half of it for each QP */
	size_t half;
};

/* The first device, or NULL and errno. */
struct ibv_context *loopback_device(void);
/* 0, or -1 and errno; close undoes also a half-made one. ctx stays the caller's. */
int loopback_open(struct loopback *l, struct ibv_context *ctx, size_t half);
void loopback_close(struct loopback *l);
/*
 * A WRITE and a SEND of `half` bytes, that of the data checked. NULL, or what was wrong. Gives up
 * waiting when *stop is not 0 (NULL: after a minute alone).
 */
const char *loopback_round(struct loopback *l, uint32_t seed, const volatile int *stop);
/* Opens a device and all else, does that many rounds, closes. NULL, or what was wrong. */
const char *loopback_run(unsigned rounds, size_t half, uint32_t seed);

#endif
