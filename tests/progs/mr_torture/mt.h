/* SPDX-License-Identifier: MIT */
/*
 * mr_torture: memory registration end to end, through whatever RDMA device the program sees. One
 * process, two RC QPs connected to each other. Cases print "ok", "not ok" or "skip" lines.
 */
#ifndef FF_TEST_MT_H
#define FF_TEST_MT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <pthread.h>

#include <infiniband/verbs.h>

#define MB   (1ul << 20)
#define GB   (1ul << 30)
#define PAGE 4096ul
#define MT_ALL                                                                       \
	(IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ | \
	 IBV_ACCESS_REMOTE_ATOMIC)

struct mt {
	struct ibv_context *ctx;
	struct ibv_pd *pd;
	struct ibv_cq *cq[2];
	struct ibv_qp *qp[2]; /* 0 sends, 1 answers */
	union ibv_gid gid;
	bool process_vm; /* FREEFLOW_MR=process_vm: nothing is converted */
	struct ibv_mr *src_mr;
	uint8_t *src; /* 1 MB of a pattern, registered, page-aligned */
};
extern struct mt mt;

/* What a case returns: NULL, or why it failed; mt_skip() for one that cannot run here. */
const char *mt_why(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
const char *mt_skip(const char *why);
#define MT_CHECK(cond)                                                              \
	do {                                                                        \
		if (!(cond))                                                        \
			return mt_why("%s:%d: %s", __FILE_NAME__, __LINE__, #cond); \
	} while (0)
#define MT_TRY(call)                              \
	do {                                      \
		const char *mt_failure_ = (call); \
		if (mt_failure_)                  \
			return mt_failure_;       \
	} while (0)

/* One operation from qp[0] to qp[1]; waits for its completions. Status, or -1 for a timeout. */
#define MT_NOT_POSTED (-2)
int mt_rdma(enum ibv_wr_opcode op, void *local, uint32_t lkey, const void *remote, uint32_t rkey,
	    uint32_t len);
int mt_send(const void *from, uint32_t lkey, void *to, uint32_t to_lkey, uint32_t len);
int mt_atomic(enum ibv_wr_opcode op, void *result, uint32_t lkey, const void *remote, uint32_t rkey,
	      uint64_t compare_add, uint64_t swap);
/* Both QPs anew, after an error. 0 or -errno. */
int mt_reconnect(void);

/* A deterministic pattern: byte i of seed. */
uint8_t mt_byte(unsigned seed, size_t i);
void mt_fill(uint8_t *p, size_t len, unsigned seed);
/* Index of the first byte that is wrong, or len. */
size_t mt_verify(const uint8_t *p, size_t len, unsigned seed);

/*
 * All of it on one registered buffer: WRITE in, READ out, SEND in, READ results in, at its start
 * and end; contents checked through the program's pointer. NULL or why.
 */
const char *mt_exercise(struct ibv_mr *mr, uint8_t *buf, size_t len);

/* A thread that increments bytes that are nobody else's, until it is stopped. */
struct mt_neighbour {
	pthread_t thread;
	volatile uint8_t *bytes[2]; /* ranges before and after a buffer */
	size_t len[2];
	_Atomic bool stop;
	uint8_t count; /* what each byte must be afterwards */
};
int mt_neighbour_start(struct mt_neighbour *n);
/* Stops it; true if each byte has all of its increments. */
bool mt_neighbour_stop(struct mt_neighbour *n);

struct mt_case {
	const char *name;
	const char *(*fn)(void);
};
extern const struct mt_case mt_align_cases[], mt_kind_cases[], mt_life_cases[];

#endif
