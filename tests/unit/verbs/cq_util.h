/* SPDX-License-Identifier: MIT */
/* A completion queue from both ends: what the engine posts and what a program takes. */
#ifndef TEST_VERBS_CQ_UTIL_H
#define TEST_VERBS_CQ_UTIL_H

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "harness.h"

static inline _Atomic uint32_t *
annex(struct ff_cq *cq)
{
	return ff_queue_word(FF_QUEUE_ANNEX(cq->q.buf));
}

static inline int
post(struct ff_cq *cq, uint64_t wr_id, uint32_t status, bool solicited)
{
	struct ib_uverbs_wc wc = {.wr_id = wr_id, .status = status};

	return ff_cq_post(cq, &wc, solicited);
}

/* The program's side. */
static inline bool
take(struct ff_cq *cq, struct ib_uverbs_wc *wc)
{
	struct rxe_queue_buf *buf = cq->q.buf;

	if (buf->consumer_index == buf->producer_index)
		return false;
	memcpy(wc, buf->data + ((size_t)buf->consumer_index << buf->log2_elem_size), sizeof(*wc));
	buf->consumer_index = (buf->consumer_index + 1) & buf->index_mask;
	return true;
}

static inline int
resize(uint32_t h, uint32_t cqe, struct ib_uverbs_resize_cq_resp *resp)
{
	struct ib_uverbs_resize_cq req = {.cq_handle = h, .cqe = cqe};
	int rc = command(IB_USER_VERBS_CMD_RESIZE_CQ, &req, sizeof(req),
			 sizeof(*resp) + sizeof(struct rxe_resize_cq_resp));

	memcpy(resp, w.out, sizeof(*resp));
	return rc;
}

#endif
