/* SPDX-License-Identifier: MIT */
/*
 * libFuzzer target: all that a container can put into its send and receive queues. The input's
 * first bytes choose QP type, workers and events; the rest is laid over the queues of two
 * connected QPs, indices included. Memory is registered at 0x1000, so that good addresses are
 * within reach. Leaks, crashes, hangs and undefined behaviour count.
 */
#include <stdlib.h>
#include <string.h>

#include "../unit/nic/harness.h"

#define MEM    (16u * 1024)
#define IOVA   0x1000u
#define ROUNDS 12u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
	if (h_init())
		abort();
	return 0;
}

struct input {
	const uint8_t *p;
	size_t left;
};

static uint8_t
next(struct input *in)
{
	if (!in->left)
		return 0;
	in->left--;
	return *in->p++;
}

static void
lay_over(struct input *in, struct ff_queue *q)
{
	size_t room = ff_queue_elem_size(q) * 3u, n = in->left / 2 < room ? in->left / 2 : room;

	memcpy(q->data, in->p, n);
	in->p += n;
	in->left -= n;
	q->buf->producer_index = next(in) & 1 ? 3 : next(in) * 0x01010101u;
}

static void
act(struct h_qp *a, struct h_qp *b, uint8_t what)
{
	switch (what & 15) {
	case 0:
		h_set_state(a, FF_QPS_ERR);
		break;
	case 1:
		h_set_state(b, FF_QPS_ERR);
		break;
	case 2:
		h_set_state(b, FF_QPS_RESET);
		break;
	case 3:
		h_hold_jobs = !h_hold_jobs;
		break;
	case 4:
		h_copy_fault = !h_copy_fault;
		break;
	case 5:
		h_set_state(a, FF_QPS_SQD);
		break;
	case 6:
		h_set_state(a, FF_QPS_RTS);
		break;
	default:
		h_now += 1ull << (what & 31);
	}
	ff_nic->post(&a->qp);
	h_pass(0);
	h_pass(1);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t types[] = {IB_UVERBS_QPT_RC, IB_UVERBS_QPT_UC, IB_UVERBS_QPT_UD};
	struct input in = {data, size};
	uint8_t how = next(&in), *mem = calloc(2, MEM);
	struct h_qp *a, *b;
	uint32_t ka, kb;

	a = h_qp_new(types[how % 3], 0, 0);
	b = h_qp_new(types[how % 3], 1, how >> 2 & 1);
	ka = h_mr_at(a, mem, MEM, 15, how >> 3 & 1, IOVA);
	kb = h_mr_at(b, mem + MEM, MEM, 15, how >> 4 & 1, IOVA);
	h_connect(a, how & 32 ? a : b);
	lay_over(&in, &a->qp.sq);
	lay_over(&in, &b->qp.rq);
	lay_over(&in, &b->qp.sq);
	ff_nic->post(&b->qp);
	for (unsigned i = 0; i < ROUNDS; i++)
		act(a, b, next(&in));
	h_hold_jobs = false;
	h_copy_fault = 0;
	h_qp_free(a);
	h_pass(0);
	h_pass(1);
	h_qp_free(b);
	for (unsigned i = 0; i < 3; i++)
		h_drain();
	h_mr_drop(ka);
	h_mr_drop(kb);
	free(mem);
	return 0;
}
