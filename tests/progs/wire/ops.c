/* SPDX-License-Identifier: MIT */
/*
 * Mode ops: every operation of RC, UC and UD once or more, with checked results; and the ways in
 * which a responder refuses one. Each has a QP of its own. For a wire that loses nothing.
 */
#include <stdio.h>
#include <string.h>

#include "peer.h"

#define SPACE 16384u
#define IMM   0x01020304u
#define GRH   40u

/* What the server does wrong, or the client. */
enum trouble { NONE, NO_RECV, SHORT_RECV, BAD_RECV_KEY, BAD_KEY };

struct step {
	const char *name;
	enum ibv_qp_type type;
	enum ibv_wr_opcode op;
	uint32_t len;
	enum ibv_wc_status want; /* at the client */
	enum trouble trouble;
};

/* clang-format off */
static const struct step steps[] = {
	{"rc send, no byte", IBV_QPT_RC, IBV_WR_SEND, 0, 0, NONE},
	{"rc send", IBV_QPT_RC, IBV_WR_SEND, 101, 0, NONE},
	{"rc send, 4 packets", IBV_QPT_RC, IBV_WR_SEND, 3077, 0, NONE},
	{"rc send with imm", IBV_QPT_RC, IBV_WR_SEND_WITH_IMM, 102, 0, NONE},
	{"rc send with imm, 4 packets", IBV_QPT_RC, IBV_WR_SEND_WITH_IMM, 3078, 0, NONE},
	{"rc send with inv", IBV_QPT_RC, IBV_WR_SEND_WITH_INV, 103, 0, NONE},
	{"rc send with inv, 4 packets", IBV_QPT_RC, IBV_WR_SEND_WITH_INV, 3079, 0, NONE},
	{"rc write", IBV_QPT_RC, IBV_WR_RDMA_WRITE, 105, 0, NONE},
	{"rc write, 4 packets", IBV_QPT_RC, IBV_WR_RDMA_WRITE, 3081, 0, NONE},
	{"rc write with imm", IBV_QPT_RC, IBV_WR_RDMA_WRITE_WITH_IMM, 106, 0, NONE},
	{"rc write with imm, 4 packets", IBV_QPT_RC, IBV_WR_RDMA_WRITE_WITH_IMM, 3082, 0, NONE},
	{"rc read", IBV_QPT_RC, IBV_WR_RDMA_READ, 107, 0, NONE},
	{"rc read, 4 packets", IBV_QPT_RC, IBV_WR_RDMA_READ, 3083, 0, NONE},
	{"rc compare and swap", IBV_QPT_RC, IBV_WR_ATOMIC_CMP_AND_SWP, 8, 0, NONE},
	{"rc fetch and add", IBV_QPT_RC, IBV_WR_ATOMIC_FETCH_AND_ADD, 8, 0, NONE},
	{"uc send", IBV_QPT_UC, IBV_WR_SEND, 109, 0, NONE},
	{"uc send, 4 packets", IBV_QPT_UC, IBV_WR_SEND, 3085, 0, NONE},
	{"uc send with imm", IBV_QPT_UC, IBV_WR_SEND_WITH_IMM, 110, 0, NONE},
	{"uc send with imm, 4 packets", IBV_QPT_UC, IBV_WR_SEND_WITH_IMM, 3086, 0, NONE},
	{"uc write, then with imm", IBV_QPT_UC, IBV_WR_RDMA_WRITE, 111, 0, NONE},
	{"uc write, 4 packets, then with imm", IBV_QPT_UC, IBV_WR_RDMA_WRITE, 3087, 0, NONE},
	{"uc write with imm, 4 packets", IBV_QPT_UC, IBV_WR_RDMA_WRITE_WITH_IMM, 3088, 0, NONE},
	{"ud send", IBV_QPT_UD, IBV_WR_SEND, 113, 0, NONE},
	{"ud send with imm", IBV_QPT_UD, IBV_WR_SEND_WITH_IMM, 114, 0, NONE},
	{"no receive", IBV_QPT_RC, IBV_WR_SEND, 10, IBV_WC_RNR_RETRY_EXC_ERR, NO_RECV},
	{"receive too short", IBV_QPT_RC, IBV_WR_SEND, 300, IBV_WC_REM_INV_REQ_ERR, SHORT_RECV},
	{"receive without right", IBV_QPT_RC, IBV_WR_SEND, 300, IBV_WC_REM_OP_ERR, BAD_RECV_KEY},
	{"write without right", IBV_QPT_RC, IBV_WR_RDMA_WRITE, 99, IBV_WC_REM_ACCESS_ERR, BAD_KEY},
	{"read without right", IBV_QPT_RC, IBV_WR_RDMA_READ, 99, IBV_WC_REM_ACCESS_ERR, BAD_KEY},
	{"atomic without right", IBV_QPT_RC, IBV_WR_ATOMIC_FETCH_AND_ADD, 8,
	 IBV_WC_REM_ACCESS_ERR, BAD_KEY},
};
/* clang-format on */

static struct ibv_mr *mr;
static uint8_t *buf;

static bool
is_atomic(enum ibv_wr_opcode op)
{
	return op == IBV_WR_ATOMIC_CMP_AND_SWP || op == IBV_WR_ATOMIC_FETCH_AND_ADD;
}

static bool
is_write(const struct step *s)
{
	return s->op == IBV_WR_RDMA_WRITE || s->op == IBV_WR_RDMA_WRITE_WITH_IMM;
}

/* A plain UC WRITE says nothing when it is done: one with immediate data follows. */
static bool
takes_recv(const struct step *s)
{
	return s->op != IBV_WR_RDMA_READ && !is_atomic(s->op) &&
	       (s->op != IBV_WR_RDMA_WRITE || s->type == IBV_QPT_UC);
}

static void
post(struct peer_link *l, const struct step *s, enum ibv_wr_opcode op, uint32_t window)
{
	uint32_t rkey = s->trouble == BAD_KEY ? l->theirs.rkey ^ 0x5a00 : l->theirs.rkey;
	struct ibv_sge sge = {(uintptr_t)buf, s->len, mr->lkey};
	struct ibv_send_wr wr = {.opcode = op,
				 .sg_list = &sge,
				 .num_sge = s->len != 0,
				 .send_flags = IBV_SEND_SIGNALED | IBV_SEND_SOLICITED},
			   *bad;

	if (op == IBV_WR_SEND_WITH_INV)
		wr.invalidate_rkey = window;
	else
		wr.imm_data = IMM;
	if (s->type == IBV_QPT_UD) {
		wr.wr.ud.ah = l->ah;
		wr.wr.ud.remote_qpn = l->theirs.qpn;
		wr.wr.ud.remote_qkey = PEER_QKEY;
	} else if (is_atomic(op)) {
		wr.wr.atomic.remote_addr = l->theirs.va;
		wr.wr.atomic.rkey = rkey;
		wr.wr.atomic.compare_add = op == IBV_WR_ATOMIC_CMP_AND_SWP ? 5 : 3;
		wr.wr.atomic.swap = 8;
	} else {
		wr.wr.rdma.remote_addr = l->theirs.va;
		wr.wr.rdma.rkey = rkey;
	}
	PEER_MUST(!ibv_post_send(l->qp, &wr, &bad));
}

static void
client_step(struct peer_link *l, const struct step *s)
{
	/* To rxe, a receive that is too short is an error of its own. */
	enum ibv_wc_status want =
		s->trouble == SHORT_RECV && l->theirs.rxe ? IBV_WC_REM_OP_ERR : s->want;
	uint32_t window;
	struct ibv_wc wc;
	uint64_t old;

	peer_fill(buf, s->len, 1);
	window = peer_swap(0);
	post(l, s, s->op, window);
	peer_wait(l, &wc);
	if (wc.status != want)
		peer_fail("%s: %s", s->name, ibv_wc_status_str(wc.status));
	if (s->op == IBV_WR_RDMA_WRITE && s->type == IBV_QPT_UC) {
		post(l, s, IBV_WR_RDMA_WRITE_WITH_IMM, 0);
		peer_wait(l, &wc);
	}
	if (s->want == IBV_WC_SUCCESS && s->op == IBV_WR_RDMA_READ &&
	    peer_check(buf, s->len, 2) != s->len)
		peer_fail("%s: wrong data", s->name);
	memcpy(&old, buf, sizeof(old));
	if (s->want == IBV_WC_SUCCESS && is_atomic(s->op) && old != 5)
		peer_fail("%s: old value %#lx", s->name, old);
	peer_swap(0);
}

/* A type 2 window for the client to invalidate. */
static struct ibv_mw *
window_bind(struct peer_link *l)
{
	struct ibv_mw *mw = ibv_alloc_mw(peer.pd, IBV_MW_TYPE_2);
	struct ibv_send_wr wr = {.opcode = IBV_WR_BIND_MW, .send_flags = IBV_SEND_SIGNALED}, *bad;
	struct ibv_wc wc;

	PEER_MUST(mw);
	wr.bind_mw.mw = mw;
	wr.bind_mw.rkey = ibv_inc_rkey(mw->rkey);
	wr.bind_mw.bind_info =
		(struct ibv_mw_bind_info){.mr = mr,
					  .addr = (uintptr_t)mr->addr,
					  .length = 64,
					  .mw_access_flags = IBV_ACCESS_REMOTE_WRITE};
	PEER_MUST(!ibv_post_send(l->qp, &wr, &bad));
	peer_wait(l, &wc);
	PEER_MUST(wc.status == IBV_WC_SUCCESS);
	mw->rkey = wr.bind_mw.rkey;
	return mw;
}

static void
took_check(struct peer_link *l, const struct step *s, uint32_t window)
{
	bool imm = s->op != IBV_WR_SEND && s->op != IBV_WR_SEND_WITH_INV;
	/* rxe gives programs the kernel's bit, which is another one there. */
	unsigned inv = peer.rxe ? IBV_WC_IP_CSUM_OK : IBV_WC_WITH_INV;
	uint32_t grh = s->type == IBV_QPT_UD ? GRH : 0;
	struct ibv_wc wc;

	peer_wait(l, &wc);
	if (wc.status != IBV_WC_SUCCESS || wc.byte_len != s->len + grh)
		peer_fail("%s: server: %s, %u bytes", s->name, ibv_wc_status_str(wc.status),
			  wc.byte_len);
	if (wc.opcode != (is_write(s) ? IBV_WC_RECV_RDMA_WITH_IMM : IBV_WC_RECV))
		peer_fail("%s: server: opcode %d", s->name, wc.opcode);
	if (imm && (!(wc.wc_flags & IBV_WC_WITH_IMM) || wc.imm_data != IMM))
		peer_fail("%s: server: immediate data %#x", s->name, wc.imm_data);
	if (s->op == IBV_WR_SEND_WITH_INV &&
	    (!(wc.wc_flags & inv) || wc.invalidated_rkey != window))
		peer_fail("%s: server: invalidated %#x, flags %#x", s->name, wc.invalidated_rkey,
			  wc.wc_flags);
}

static void
memory_check(const struct step *s)
{
	uint32_t at = s->type == IBV_QPT_UD ? GRH : 0, want = s->len;
	bool stored = s->want == IBV_WC_SUCCESS && s->op != IBV_WR_RDMA_READ;
	uint64_t value;

	memcpy(&value, buf, sizeof(value));
	if (is_atomic(s->op)) {
		if (value != (stored ? 8 : 5))
			peer_fail("%s: server: value %#lx", s->name, value);
		return;
	}
	if (!stored)
		at = want = 0;
	if (peer_check(buf + at, want, 1) != want)
		peer_fail("%s: server: wrong data", s->name);
	if (peer_check(buf + at + want, 64, stored ? 9 : 2) != 64)
		peer_fail("%s: server: bytes behind the data", s->name);
}

static void
server_step(struct peer_link *l, const struct step *s)
{
	uint32_t at = s->type == IBV_QPT_UD ? GRH : 0, value = 5;
	struct ibv_mw *mw = NULL;

	/* What must not change behind the data begins with a pattern of its own. */
	peer_fill(buf, SPACE, 2);
	if (s->want == IBV_WC_SUCCESS && s->op != IBV_WR_RDMA_READ)
		peer_fill(buf + at + s->len, 64, 9);
	if (is_atomic(s->op))
		memcpy(buf, &(uint64_t){value}, 8);
	if (s->trouble == SHORT_RECV)
		peer_recv(l, 0, buf, s->len - 1, mr->lkey);
	else if (s->trouble == BAD_RECV_KEY)
		peer_recv(l, 0, buf, s->len, mr->lkey ^ 0x5a00);
	else if (takes_recv(s) && s->trouble != NO_RECV)
		peer_recv(l, 0, buf, s->len + at, mr->lkey);
	if (s->op == IBV_WR_SEND_WITH_INV)
		mw = window_bind(l);
	peer_swap(mw ? mw->rkey : 0);
	if (takes_recv(s) && s->trouble == NONE)
		took_check(l, s, mw ? mw->rkey : 0);
	peer_swap(0);
	if (s->trouble != SHORT_RECV)
		memory_check(s);
	if (mw)
		ibv_dealloc_mw(mw);
}

void
peer_ops(void)
{
	struct peer_link l;

	mr = peer_memory(SPACE);
	buf = mr->addr;
	for (unsigned i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		const struct step *s = &steps[i];

		peer_link_open(&l, &(struct peer_opts){.type = s->type,
						       .depth = 4,
						       .no_rnr_retry = s->trouble == NO_RECV,
						       .mr = mr});
		if (peer.client)
			client_step(&l, s);
		else
			server_step(&l, s);
		peer_swap(0);
		peer_link_close(&l);
	}
	printf("done\n");
}
