/* SPDX-License-Identifier: MIT */
/*
 * A process that writes anything to the device file: sequences of commands, some as they come,
 * most with a sound header and small handles so that they get somewhere; between them a worker
 * that posts completions, raises events and checks keys, and a program that scribbles over its
 * queues and closes its fds. At the end nothing may be left.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../unit/verbs/world.h"

/*
 * Tables of ids that give the same ones in each run, from one leaf: a crash can be repeated, and
 * there are no 4096 pointers to clear.
 */
static _Atomic(void *) leaves[8][FF_IDTAB_LEAF];
static unsigned tables;

void
ff_idtab_init(struct ff_idtab *t, uint32_t min_id)
{
	atomic_store(&t->root[0], leaves[tables++]);
	t->count = 0;
	t->min_id = min_id;
}

void
ff_idtab_fini(struct ff_idtab *t)
{
	if (t->count)
		abort();
	tables--;
}

int
ff_idtab_insert(struct ff_idtab *t, void *obj, uint32_t *id)
{
	_Atomic(void *) *leaf = atomic_load(&t->root[0]);

	for (uint32_t i = t->min_id; i < FF_IDTAB_LEAF; i++) {
		if (atomic_load(&leaf[i]))
			continue;
		*id = i;
		atomic_store(&leaf[i], obj);
		t->count++;
		return 0;
	}
	return -ENOSPC;
}

void
ff_idtab_remove(struct ff_idtab *t, uint32_t id)
{
	_Atomic(void *) *leaf = atomic_load(&t->root[0]);

	if (!atomic_exchange(&leaf[id], NULL))
		abort();
	t->count--;
}

struct input {
	const uint8_t *p;
	size_t len;
};

static uint8_t
byte(struct input *in)
{
	if (!in->len)
		return 0;
	in->len--;
	return *in->p++;
}

static uint32_t
word(struct input *in)
{
	uint32_t v = 0;

	for (unsigned i = 0; i < 4; i++)
		v = v << 8 | byte(in);
	return v;
}

static void
fill(struct input *in, void *to, size_t len)
{
	size_t n = in->len < len ? in->len : len;

	memset(to, 0, len);
	memcpy(to, in->p, n);
	in->p += n;
	in->len -= n;
}

/* The program keeps the first few fds that it gets. */
#define FDS 4u
static int fds[FDS];
static unsigned num_fds;

static void
keep_fds(void)
{
	for (uint32_t i = 0; i < w.rep.num_fds; i++) {
		if (!w.rep.close_fd[i])
			continue;
		if (num_fds == FDS || w.rep.fds[i].kind == FF_FD_QUEUE) {
			close(w.rep.fd[i]);
			continue;
		}
		fcntl(w.rep.fd[i], F_SETFL, O_NONBLOCK);
		fds[num_fds++] = w.rep.fd[i];
	}
}

static void
run(const void *buf, uint32_t len)
{
	void *copy = malloc(len ? len : 1);
	int rc;

	memcpy(copy, buf, len);
	w.rep = (struct ff_uverbs_reply){.out = w.out, .out_cap = sizeof(w.out)};
	rc = ff_uverbs_command(w.uc, copy, len, &w.rep);
	free(copy);
	if (rc > 0 && (uint32_t)rc != len)
		abort();
	if (rc <= 0 && (w.rep.out_len || w.rep.num_fds))
		abort(); /* "nothing was made" */
	if (w.rep.out_len > w.rep.out_cap || w.rep.num_fds > FF_MSG_FDS_MAX)
		abort();
	keep_fds();
}

static void
raw_command(struct input *in)
{
	uint8_t buf[256];
	uint32_t len = byte(in);

	fill(in, buf, len);
	run(buf, len);
}

/* What a program would send: sizes of request, response, provider's request and response. */
static const struct shape {
	uint8_t num;
	bool ex;
	uint16_t req, resp, drv_in, drv_out;
} shapes[] = {
	{IB_USER_VERBS_CMD_GET_CONTEXT, false, 8, 8, 0, 0},
	{IB_USER_VERBS_CMD_QUERY_DEVICE, false, 8, 192, 0, 0},
	{IB_USER_VERBS_CMD_QUERY_PORT, false, 16, 48, 0, 0},
	{IB_USER_VERBS_CMD_ALLOC_PD, false, 8, 4, 0, 0},
	{IB_USER_VERBS_CMD_DEALLOC_PD, false, 4, 0, 0, 0},
	{IB_USER_VERBS_CMD_CREATE_AH, false, sizeof(struct ib_uverbs_create_ah), 4, 0, 8},
	{IB_USER_VERBS_CMD_DESTROY_AH, false, 4, 0, 0, 0},
	{IB_USER_VERBS_CMD_REG_MR, false, sizeof(struct ib_uverbs_reg_mr), 12, 0, 0},
	{IB_USER_VERBS_CMD_REREG_MR, false, sizeof(struct ib_uverbs_rereg_mr), 8, 0, 0},
	{IB_USER_VERBS_CMD_DEREG_MR, false, 4, 0, 0, 0},
	{IB_USER_VERBS_CMD_ALLOC_MW, false, 16, 8, 0, 0},
	{IB_USER_VERBS_CMD_DEALLOC_MW, false, 4, 0, 0, 0},
	{IB_USER_VERBS_CMD_CREATE_COMP_CHANNEL, false, 8, 4, 0, 0},
	{IB_USER_VERBS_CMD_CREATE_CQ, false, sizeof(struct ib_uverbs_create_cq), 8, 0, 16},
	{IB_USER_VERBS_CMD_RESIZE_CQ, false, 16, 8, 0, 16},
	{IB_USER_VERBS_CMD_DESTROY_CQ, false, 16, 8, 0, 0},
	{IB_USER_VERBS_CMD_POLL_CQ, false, 16, 200, 0, 0},
	{IB_USER_VERBS_CMD_REQ_NOTIFY_CQ, false, 8, 0, 0, 0},
	{IB_USER_VERBS_CMD_CREATE_QP, false, sizeof(struct ib_uverbs_create_qp), 32, 0, 32},
	{IB_USER_VERBS_CMD_QUERY_QP, false, 16, sizeof(struct ib_uverbs_query_qp_resp), 0, 0},
	{IB_USER_VERBS_CMD_MODIFY_QP, false, sizeof(struct ib_uverbs_modify_qp), 0, 0, 0},
	{IB_USER_VERBS_CMD_DESTROY_QP, false, 16, 4, 0, 0},
	{IB_USER_VERBS_CMD_POST_SEND, false, 24, 4, 0, 0},
	{IB_USER_VERBS_CMD_POST_RECV, false, 24, 4, 0, 0},
	{IB_USER_VERBS_CMD_ATTACH_MCAST, false, 24, 0, 0, 0},
	{IB_USER_VERBS_CMD_DETACH_MCAST, false, 24, 0, 0, 0},
	{IB_USER_VERBS_CMD_CREATE_SRQ, false, 32, 16, 0, 24},
	{IB_USER_VERBS_CMD_MODIFY_SRQ, false, 16, 0, 8, 0},
	{IB_USER_VERBS_CMD_QUERY_SRQ, false, 16, 16, 0, 0},
	{IB_USER_VERBS_CMD_DESTROY_SRQ, false, 16, 4, 0, 0},
	{IB_USER_VERBS_CMD_POST_SRQ_RECV, false, 24, 4, 0, 0},
	{IB_USER_VERBS_CMD_CREATE_XSRQ, false, sizeof(struct ib_uverbs_create_xsrq), 16, 0, 24},
	{IB_USER_VERBS_EX_CMD_QUERY_DEVICE, true, 8, 304, 0, 0},
	{IB_USER_VERBS_EX_CMD_CREATE_CQ, true, 40, 16, 0, 16},
	{IB_USER_VERBS_EX_CMD_CREATE_QP, true, 72, 40, 0, 32},
	{IB_USER_VERBS_EX_CMD_MODIFY_QP, true, sizeof(struct ib_uverbs_ex_modify_qp), 8, 0, 0},
};
#define NUM_SHAPES (sizeof(shapes) / sizeof(shapes[0]))

/* Handles and sizes that are likely to fit; the input still chooses among them. */
static void
tame(uint8_t num, bool ex, uint8_t *req, struct input *in)
{
	struct ib_uverbs_modify_qp *m = (struct ib_uverbs_modify_qp *)req;
	struct ib_uverbs_create_qp *qp = (struct ib_uverbs_create_qp *)req;
	struct ib_uverbs_ex_create_qp *qpx = (struct ib_uverbs_ex_create_qp *)req;
	struct ib_uverbs_reg_mr *mr = (struct ib_uverbs_reg_mr *)req;
	struct ib_uverbs_create_cq *cq = (struct ib_uverbs_create_cq *)req;
	struct ib_uverbs_create_ah *ah = (struct ib_uverbs_create_ah *)req;

	switch (num) {
	case IB_USER_VERBS_CMD_MODIFY_QP:
		m->qp_handle &= 3;
		m->dest.is_global = m->dest.port_num = m->port_num = 1;
		m->dest.sgid_index &= 1;
		m->pkey_index = 0;
		m->qp_state %= 7;
		m->path_mtu = 1 + m->path_mtu % 5;
		m->attr_mask &= 0x1fffff;
		memcpy(m->dest.dgid, w.other.gids[0].raw, 16);
		break;
	case IB_USER_VERBS_CMD_CREATE_QP:
		if (ex) {
			*qpx = (struct ib_uverbs_ex_create_qp){.pd_handle = byte(in) & 1,
							       .send_cq_handle = byte(in) & 3,
							       .recv_cq_handle = byte(in) & 3,
							       .max_send_wr = byte(in),
							       .max_recv_wr = byte(in),
							       .max_send_sge = byte(in) & 31,
							       .max_inline_data = byte(in),
							       .qp_type = 2 + byte(in) % 3};
			break;
		}
		qp->pd_handle &= 1;
		qp->send_cq_handle &= 3;
		qp->recv_cq_handle &= 3;
		qp->srq_handle &= 1;
		qp->is_srq &= 1;
		qp->max_send_wr &= 127;
		qp->max_recv_wr &= 127;
		qp->max_send_sge &= 31;
		qp->max_recv_sge &= 31;
		qp->max_inline_data &= 255;
		qp->qp_type = 2 + qp->qp_type % 3;
		break;
	case IB_USER_VERBS_CMD_REG_MR:
		mr->start &= 0xffffff;
		mr->hca_va = mr->start;
		mr->length &= 0xffff;
		mr->pd_handle &= 1;
		mr->access_flags = (mr->access_flags & 63) | 1;
		break;
	case IB_USER_VERBS_CMD_CREATE_CQ:
		if (ex)
			break;
		cq->cqe &= 63;
		cq->comp_vector = 0;
		cq->comp_channel = (cq->comp_channel & 3) - 1;
		cq->user_handle &= 3;
		break;
	case IB_USER_VERBS_CMD_CREATE_AH:
		ah->pd_handle &= 1;
		ah->attr.is_global = ah->attr.port_num = 1;
		ah->attr.sl &= 15;
		ah->attr.grh.sgid_index &= 1;
		break;
	case IB_USER_VERBS_CMD_REREG_MR:
		break;
	default:
		/* Most others have a handle in their first or third word. */
		*(uint32_t *)(void *)req &= 3;
		*(uint32_t *)(void *)(req + 8) &= 3;
		break;
	}
}

static void
shaped_command(struct input *in)
{
	const struct shape *s = &shapes[byte(in) % NUM_SHAPES];
	struct {
		struct ib_uverbs_cmd_hdr hdr;
		uint8_t rest[248];
	} __attribute__((aligned(8))) c = {.hdr = {s->num, 0, 0}};
	struct ib_uverbs_ex_cmd_hdr ex = {.response = s->resp != 0};
	uint32_t len = sizeof(c.hdr), body = s->req + s->drv_in;
	bool wild = byte(in) & 1;
	uint8_t *req = c.rest;

	if (s->ex) {
		c.hdr.command |= IB_USER_VERBS_CMD_FLAG_EXTENDED;
		c.hdr.in_words = s->req / 8;
		c.hdr.out_words = s->resp / 8;
		ex.provider_in_words = s->drv_in / 8;
		ex.provider_out_words = s->drv_out / 8;
		memcpy(c.rest, &ex, sizeof(ex));
		req += sizeof(ex);
		len += sizeof(ex);
	} else {
		c.hdr.in_words = (uint16_t)((len + body) / 4);
		c.hdr.out_words = (uint16_t)((s->resp + s->drv_out) / 4);
	}
	fill(in, req, body);
	if (!wild)
		tame(s->num, s->ex, req, in);
	run(&c, len + body);
}

static void *
object(enum ff_obj_type type, uint8_t pick)
{
	const struct ff_handle_table *t = &w.uc->tables[type];

	return t->size ? t->slots[pick % t->size] : NULL;
}

static void
worker_step(struct input *in)
{
	uint8_t what = byte(in), pick = byte(in);
	struct ff_cq *cq = object(FF_OBJ_CQ, pick);
	struct ff_qp *qp = object(FF_OBJ_QP, pick);
	struct ff_srq *srq = object(FF_OBJ_SRQ, pick);
	struct ff_mr *mr = object(FF_OBJ_MR, pick);
	struct ff_mw *mw = object(FF_OBJ_MW, pick);
	struct ib_uverbs_wc wc = {.status = byte(in) & 15};

	switch (what % 6) {
	case 0:
		if (cq)
			ff_cq_post(cq, &wc, what & 8);
		break;
	case 1:
		if (qp)
			ff_async_qp(qp, what & 31);
		if (srq)
			ff_async_srq(srq, what & 31);
		break;
	case 2:
		if (w.control_msg && !w.control_full)
			w.control_msg->fn(w.control_msg);
		w.control_full = what >> 6;
		break;
	case 3:
		if (qp && mr && mw) {
			struct ff_mw_bind b = {.addr = mr->iova + byte(in),
					       .length = word(in),
					       .mr_lkey = mr->key,
					       .mw_rkey = mw->rkey,
					       .rkey = byte(in),
					       .access = byte(in)};

			ff_mw_bind(qp, &b);
		}
		break;
	case 4:
		if (qp && mw)
			ff_key_invalidate(qp, mw->rkey, what & 8);
		break;
	case 5:
		if (qp && mr) {
			uint64_t len = word(in), va = mr->iova + (int32_t)word(in), off;
			uint32_t key = what & 8 && mw ? mw->rkey : mr->key;
			struct ff_mr *m;

			if (!ff_key_check_remote(qp->pd->id, qp->qpn, key, va, len, what >> 4, &m,
						 &off) &&
			    len && (off > m->length || len > m->length - off))
				abort();
		}
		break;
	}
}

/* The container's side of a queue: any word, any value. */
static void
scribble(const struct ff_queue *q, struct input *in)
{
	static const size_t words[] = {
		offsetof(struct rxe_queue_buf, log2_elem_size),
		offsetof(struct rxe_queue_buf, index_mask),
		offsetof(struct rxe_queue_buf, producer_index),
		offsetof(struct rxe_queue_buf, consumer_index),
		FF_QUEUE_ANNEX_OFF,
	};
	uint8_t which = byte(in);
	uint32_t value = which & 0x80 ? word(in) : byte(in) & 3;

	if (q->buf)
		memcpy((uint8_t *)q->buf + words[which % 5], &value, sizeof(value));
}

static void
program_step(struct input *in)
{
	uint8_t what = byte(in), pick = byte(in), buf[64];
	struct ff_cq *cq = object(FF_OBJ_CQ, pick);
	struct ff_qp *qp = object(FF_OBJ_QP, pick);
	struct ff_srq *srq = object(FF_OBJ_SRQ, pick);

	switch (what % 5) {
	case 0:
		if (cq)
			scribble(&cq->q, in);
		break;
	case 1:
		if (srq)
			scribble(&srq->q, in);
		break;
	case 2:
		if (qp)
			scribble(what & 8 ? &qp->sq : &qp->rq, in);
		break;
	case 3:
		if (num_fds)
			(void)!read(fds[pick % num_fds], buf, 1 + what / 4);
		break;
	case 4:
		if (num_fds)
			close(fds[--num_fds]);
		break;
	}
}

static void
surroundings_step(struct input *in)
{
	uint8_t what = byte(in);

	w.umem_rc = what & 1 ? -14 : 0;
	w.mr_reg_rc = what & 2 ? -12 : 0;
	w.nic_create_rc = what & 4 ? -12 : 0;
	w.nic_modify_rc = what & 8 ? -12 : 0;
	w.other_allowed = !(what & 16);
	w.c.gids[1].valid = what & 32;
	w.c.limits[FF_QUOTA_PINNED] = what & 64 ? 1 << 16 : 1 << 26;
	w.c.limits[FF_QUOTA_MCAST] = what & 128 ? 1 : 100;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct input in = {data, len};

	world_begin();
	w.c.limits[FF_QUOTA_PINNED] = 1 << 26;
	num_fds = 0;
	while (in.len) {
		switch (byte(&in) & 15) {
		case 0:
			raw_command(&in);
			break;
		case 1:
		case 2:
		case 3:
			worker_step(&in);
			break;
		case 4:
		case 5:
			program_step(&in);
			break;
		case 6:
			surroundings_step(&in);
			break;
		default:
			shaped_command(&in);
			break;
		}
	}
	if (world_end())
		abort();
	while (num_fds)
		close(fds[--num_fds]);
	return 0;
}
