/* SPDX-License-Identifier: MIT */
/*
 * The shared queues of the emulated rxe device and the words that Freeflow adds to them.
 *
 * Source of the layout: rdma/rdma_user_rxe.h, struct rxe_queue_buf. The provider writes and reads
 * nothing in pad_3, so its first words, next to consumer_index, are ours: shim and router use them
 * to leave out doorbells and notification calls. A container can write all of a queue: each word
 * is a hint that can only hurt the one who forges it.
 */
#ifndef FREEFLOW_UVERBS_H
#define FREEFLOW_UVERBS_H

#include <assert.h>
#include <netinet/in.h> /* before linux/in.h, which then defines nothing twice */
#include <stddef.h>
#include <stdint.h>

#include <rdma/ib_user_verbs.h>
#include <rdma/rdma_user_rxe.h>

/*
 * SQ. Writer: router. Reader: shim. FF_SQ_POLLED: the router polls producer_index by itself, so a
 * doorbell may be left out. Shim: producer_index is published, full fence, load. Router: store
 * FF_SQ_IDLE, full fence, load producer_index once more; not empty: stay active.
 */
#define FF_SQ_IDLE   0u
#define FF_SQ_POLLED 1u

/*
 * CQ. Writers: shim (arms, FF_CQ_ARM_*), router (disarms when it sends the event). Shim: store,
 * full fence; the program polls after that, as verbs ask of it. Router: producer_index is
 * published, full fence, exchange with FF_CQ_DISARMED.
 */
#define FF_CQ_DISARMED	    0u
#define FF_CQ_ARM_SOLICITED 1u
#define FF_CQ_ARM_NEXT	    2u

/* Byte offset in the queue of the word above. */
#define FF_QUEUE_ANNEX_OFF  (offsetof(struct rxe_queue_buf, pad_3))
#define FF_QUEUE_ANNEX(buf) (&(buf)->pad_3[0])

static_assert(sizeof(struct rxe_queue_buf) == 384, "rxe ABI");
static_assert(FF_QUEUE_ANNEX_OFF == 260, "rxe ABI");
static_assert(sizeof(struct ib_uverbs_wc) == 48, "uverbs ABI");
static_assert(sizeof(struct rxe_sge) == 16, "rxe ABI");
static_assert(offsetof(struct rxe_send_wqe, dma) == 184, "rxe ABI");
static_assert(offsetof(struct rxe_recv_wqe, dma) == 16, "rxe ABI");

#endif
