/* SPDX-License-Identifier: MIT */
/* Buffers of every alignment and length, with neighbours that are written all the time. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mt.h"

#define EDGE 64

/* Registers [buf, buf + len) of a heap block, uses it, and looks at the bytes around it. */
static const char *
one_buffer(size_t align, size_t len)
{
	uint8_t *block = malloc(len + 3 * EDGE), *buf;
	struct mt_neighbour n = {0};
	const char *result;
	struct ibv_mr *mr;

	buf = (uint8_t *)(((uintptr_t)block + EDGE + EDGE - 1) & ~(uintptr_t)(EDGE - 1)) + align;
	n.bytes[0] = block;
	n.len[0] = (size_t)(buf - block);
	n.bytes[1] = buf + len;
	n.len[1] = (size_t)(block + len + 3 * EDGE - (buf + len));
	memset(buf, 0xee, len);
	MT_CHECK(mt_neighbour_start(&n) == 0);
	mr = ibv_reg_mr(mt.pd, buf, len, MT_ALL);
	result = mr ? mt_exercise(mr, buf, len) : mt_why("reg_mr: %s", strerror(errno));
	if (mr && ibv_dereg_mr(mr) && !result)
		result = mt_why("dereg_mr failed");
	if (!mt_neighbour_stop(&n) && !result)
		result = mt_why("neighbours of %zu bytes at alignment %zu lost writes", len, align);
	free(block);
	return result;
}

static const char *
case_alignments(void)
{
	static const size_t lens[] = {1, 2, 3, 7, 8, 13, 64, 100, 4000, 4096, 9001};
	size_t align, i;

	for (align = 0; align < EDGE; align++)
		for (i = 0; i < sizeof(lens) / sizeof(lens[0]); i++)
			MT_TRY(one_buffer(align, lens[i]));
	return NULL;
}

static const char *
case_large_unaligned(void)
{
	static const size_t lens[] = {65536 + 1, 300000, 3 * MB + 77};
	size_t i;

	for (i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		MT_TRY(one_buffer(0, lens[i]));
		MT_TRY(one_buffer(17, lens[i]));
		MT_TRY(one_buffer(63, lens[i]));
	}
	return NULL;
}

/* The word must be aligned, the place for its old value need not. */
static const char *
case_atomics(void)
{
	uint8_t *block = calloc(1, 4096);
	struct ibv_mr *mr = ibv_reg_mr(mt.pd, block + 3, 2000, MT_ALL);
	struct mt_neighbour n = {
		.bytes = {block, block + 2003},
		.len = {3, 2000},
	};
	const char *result = NULL;
	uint64_t *word = (uint64_t *)(block + 64), old, want = 5;
	unsigned i;

	MT_CHECK(mr != NULL);
	MT_CHECK(mt_neighbour_start(&n) == 0);
	*word = want;
	for (i = 0; i < 64 && !result; i++) {
		uint8_t *at = block + 200 + i;

		if (mt_atomic(IBV_WR_ATOMIC_FETCH_AND_ADD, at, mr->lkey, word, mr->rkey, i, 0))
			result = mt_why("fetch and add failed");
		memcpy(&old, at, 8);
		if (!result && (old != want || *word != want + i))
			result = mt_why("fetch and add: wrong value at offset %u", i);
		want += i;
		if (!result && mt_atomic(IBV_WR_ATOMIC_CMP_AND_SWP, at, mr->lkey, word, mr->rkey,
					 want, want * 3))
			result = mt_why("compare and swap failed");
		memcpy(&old, at, 8);
		if (!result && (old != want || *word != want * 3))
			result = mt_why("compare and swap: wrong value at offset %u", i);
		want *= 3;
	}
	if (!mt_neighbour_stop(&n) && !result)
		result = mt_why("neighbours lost writes");
	if (!result) {
		i = (unsigned)mt_atomic(IBV_WR_ATOMIC_FETCH_AND_ADD, block + 200, mr->lkey,
					block + 65, mr->rkey, 1, 0);
		/* rxe's provider does not even post it. */
		if ((i != IBV_WC_REM_INV_REQ_ERR && (int)i != MT_NOT_POSTED) || mt_reconnect())
			result = mt_why("an unaligned atomic ended with status %d", (int)i);
	}
	ibv_dereg_mr(mr);
	free(block);
	return result;
}

/* The same bytes in many registrations, which come and go. */
static const char *
case_overlapping(void)
{
	uint8_t *block = malloc(2 * MB);
	struct ibv_mr *mr[40];
	unsigned i, k;

	for (i = 0; i < 40; i++) {
		mr[i] = ibv_reg_mr(mt.pd, block + i * 1111, MB + (i % 7) * 5000, MT_ALL);
		MT_CHECK(mr[i] != NULL);
		MT_CHECK(i == 0 || mr[i]->rkey != mr[i - 1]->rkey);
	}
	for (k = 0; k < 40; k++) {
		i = k * 17 % 40;
		MT_TRY(mt_exercise(mr[i], block + i * 1111, MB + (i % 7) * 5000));
		/* What one registration brings, all others show. */
		mt_fill(mt.src, 500, k);
		MT_CHECK(mt_rdma(IBV_WR_RDMA_WRITE, mt.src, mt.src_mr->lkey, block + 900000,
				 mr[i]->rkey, 500) == 0);
		MT_CHECK(mt_rdma(IBV_WR_RDMA_READ, mt.src + MB / 2, mt.src_mr->lkey, block + 900000,
				 mr[(i + 1) % 40] ? mr[(i + 1) % 40]->rkey : mr[i]->rkey,
				 500) == 0);
		MT_CHECK(mt_verify(mt.src + MB / 2, 500, k) == 500);
		MT_CHECK(ibv_dereg_mr(mr[i]) == 0);
		mr[i] = NULL;
	}
	free(block);
	return NULL;
}

/* Small blocks, each registered by itself, next to blocks in use: as rings of requests are. */
static const char *
case_many_small(void)
{
	enum { N = 300 };
	static uint8_t *block[N];
	static struct ibv_mr *mr[N];
	unsigned i;

	for (i = 0; i < N; i++) {
		block[i] = malloc(40 + i % 200);
		mt_fill(block[i], 40 + i % 200, i);
	}
	for (i = 0; i < N; i += 2) {
		mr[i] = ibv_reg_mr(mt.pd, block[i], 40 + i % 200, MT_ALL);
		MT_CHECK(mr[i] != NULL);
	}
	for (i = 0; i < N; i++)
		MT_CHECK(mt_verify(block[i], 40 + i % 200, i) == 40 + i % 200);
	for (i = 0; i < N; i += 2)
		MT_TRY(mt_exercise(mr[i], block[i], 40 + i % 200));
	for (i = 1; i < N; i += 2)
		MT_CHECK(mt_verify(block[i], 40 + i % 200, i) == 40 + i % 200);
	for (i = 0; i < N; i++) {
		if (mr[i])
			MT_CHECK(ibv_dereg_mr(mr[i]) == 0);
		mr[i] = NULL;
		free(block[i]);
	}
	return NULL;
}

/* ---- threads that register and deregister what others use ---- */

#define CHURNERS 3
static _Atomic bool churn_stop;
static uint8_t *churn_block;

static void *
churn_main(void *arg)
{
	size_t off = (size_t)(uintptr_t)arg;
	struct ibv_mr *mr;
	unsigned i;

	for (i = 0; !atomic_load(&churn_stop); i++) {
		mr = ibv_reg_mr(mt.pd, churn_block + (off + i * 777) % MB, 5000 + i % 90000,
				MT_ALL);
		if (!mr || ibv_dereg_mr(mr))
			return (void *)1;
	}
	return NULL;
}

static const char *
case_churn(void)
{
	pthread_t threads[CHURNERS];
	const char *result = NULL;
	struct ibv_mr *mr;
	void *bad = NULL;
	unsigned i;

	churn_block = malloc(2 * MB);
	mr = ibv_reg_mr(mt.pd, churn_block + 333, MB, MT_ALL);
	MT_CHECK(mr != NULL);
	atomic_store(&churn_stop, false);
	for (i = 0; i < CHURNERS; i++)
		pthread_create(&threads[i], NULL, churn_main, (void *)(uintptr_t)(i * 12345));
	for (i = 0; i < 60 && !result; i++)
		result = mt_exercise(mr, churn_block + 333, MB);
	atomic_store(&churn_stop, true);
	for (i = 0; i < CHURNERS; i++) {
		pthread_join(threads[i], &bad);
		if (bad && !result)
			result = mt_why("a thread could not register");
	}
	ibv_dereg_mr(mr);
	free(churn_block);
	return result;
}

const struct mt_case mt_align_cases[] = {
	{"alignments", case_alignments},
	{"large-unaligned", case_large_unaligned},
	{"atomics", case_atomics},
	{"overlapping", case_overlapping},
	{"many-small", case_many_small},
	{"churn", case_churn},
	{NULL, NULL},
};
