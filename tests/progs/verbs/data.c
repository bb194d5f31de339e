/* SPDX-License-Identifier: MIT */
/* Conformance: what arrives, in which order, with which completion fields. */
#include <arpa/inet.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "vt.h"

#define HALF   (vt_p.len / 2)
#define A(off) (vt_p.buf + (off))
#define B(off) (vt_p.buf + HALF + (off))
#define KEY    (vt_p.mr->lkey)

static void
fill(uint8_t *p, size_t n, unsigned seed)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)(i * 7 + seed + (i >> 9));
}

static void
rc_send(void)
{
	static const uint32_t sizes[] = {0, 1, 2, 63, 64, 65, 1023, 1024, 1025, 4096, 30000};
	struct ibv_wc wc;

	CHECK(!vt_pair_open(&vt_p, &(struct vt_opts){0}));
	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		fill(A(0), sizes[i], i);
		CHECK(!vt_recv(&vt_p, 100 + i, B(0), sizes[i]));
		CHECK(!vt_send(vt_p.a, IBV_WR_SEND_WITH_IMM, i, A(0), sizes[i], KEY, NULL, 0, 0));
		CHECK(vt_poll(vt_p.acq, &wc) == 1 && wc.status == 0 && wc.wr_id == i);
		CHECK(wc.opcode == IBV_WC_SEND && wc.qp_num == vt_p.a->qp_num);
		CHECK(vt_poll(vt_p.bcq, &wc) == 1 && wc.status == 0 && wc.wr_id == 100 + i);
		CHECK(wc.opcode == IBV_WC_RECV && wc.byte_len == sizes[i]);
		CHECK(wc.wc_flags == IBV_WC_WITH_IMM && wc.imm_data == 0x01020304);
		CHECK(wc.qp_num == vt_p.b->qp_num);
		CHECK(!memcmp(A(0), B(0), sizes[i]));
	}
}

static void
rc_write_read(void)
{
	struct ibv_wc wc;

	CHECK(!vt_pair_open(&vt_p, &(struct vt_opts){.len = 4 << 20}));
	fill(A(0), HALF, 3);
	CHECK(!vt_send(vt_p.a, IBV_WR_RDMA_WRITE, 1, A(0), HALF, KEY, B(0), vt_p.mr->rkey, 0));
	CHECK(vt_poll(vt_p.acq, &wc) == 1 && wc.status == 0 && wc.opcode == IBV_WC_RDMA_WRITE);
	CHECK(!memcmp(A(0), B(0), HALF));
	fill(B(0), HALF, 4);
	CHECK(!vt_send(vt_p.a, IBV_WR_RDMA_READ, 2, A(0), HALF, KEY, B(0), vt_p.mr->rkey, 0));
	CHECK(vt_poll(vt_p.acq, &wc) == 1 && wc.status == 0 && wc.opcode == IBV_WC_RDMA_READ);
	CHECK(wc.byte_len == HALF && !memcmp(A(0), B(0), HALF));
	CHECK(!vt_recv(&vt_p, 7, NULL, 0));
	CHECK(!vt_send(vt_p.a, IBV_WR_RDMA_WRITE_WITH_IMM, 3, A(1), 77, KEY, B(5), vt_p.mr->rkey,
		       0));
	CHECK(vt_poll(vt_p.bcq, &wc) == 1 && wc.status == 0 && wc.wr_id == 7);
	CHECK(wc.opcode == IBV_WC_RECV_RDMA_WITH_IMM && wc.byte_len == 77);
	CHECK(wc.imm_data == 0x01020304 && !memcmp(A(1), B(5), 77));
	CHECK(vt_silent(vt_p.bcq));
}

static int
atomic(enum ibv_wr_opcode op, uint64_t id, uint64_t compare_add, uint64_t swap)
{
	struct ibv_sge sge = {(uintptr_t)A(8), 8, KEY};
	struct ibv_send_wr wr = {.wr_id = id,
				 .sg_list = &sge,
				 .num_sge = 1,
				 .opcode = op,
				 .send_flags = IBV_SEND_SIGNALED},
			   *bad;

	wr.wr.atomic.remote_addr = (uintptr_t)B(16);
	wr.wr.atomic.rkey = vt_p.mr->rkey;
	wr.wr.atomic.compare_add = compare_add;
	wr.wr.atomic.swap = swap;
	return ibv_post_send(vt_p.a, &wr, &bad);
}

static void
rc_atomic(void)
{
	struct ibv_wc wc;
	uint64_t *remote, *result;

	CHECK(!vt_pair_open(&vt_p, &(struct vt_opts){0}));
	remote = (uint64_t *)B(16);
	result = (uint64_t *)A(8);
	*remote = 5;
	CHECK(!atomic(IBV_WR_ATOMIC_FETCH_AND_ADD, 1, UINT64_MAX, 0));
	CHECK(vt_poll(vt_p.acq, &wc) == 1 && wc.status == 0 && wc.opcode == IBV_WC_FETCH_ADD);
	CHECK(*result == 5 && *remote == 4);
	CHECK(!atomic(IBV_WR_ATOMIC_CMP_AND_SWP, 2, 3, 9));
	CHECK(vt_poll(vt_p.acq, &wc) == 1 && wc.status == 0 && wc.opcode == IBV_WC_COMP_SWAP);
	CHECK(*result == 4 && *remote == 4);
	CHECK(!atomic(IBV_WR_ATOMIC_CMP_AND_SWP, 3, 4, 9));
	CHECK(vt_poll(vt_p.acq, &wc) == 1 && wc.status == 0);
	CHECK(*result == 4 && *remote == 9);
}

static void
rc_inline(void)
{
	uint8_t local[64];
	struct ibv_wc wc;

	CHECK(!vt_pair_open(&vt_p, &(struct vt_opts){0}));
	fill(local, sizeof(local), 1);
	CHECK(!vt_recv(&vt_p, 1, B(0), 64));
	CHECK(!vt_send(vt_p.a, IBV_WR_SEND, 1, local, 64, 0, NULL, 0, IBV_SEND_INLINE));
	memset(local, 0, sizeof(local)); /* inline: the buffer is ours again at once */
	CHECK(vt_poll(vt_p.bcq, &wc) == 1 && wc.status == 0);
	fill(local, sizeof(local), 1);
	CHECK(!memcmp(B(0), local, 64));
	CHECK(!vt_send(vt_p.a, IBV_WR_RDMA_WRITE, 2, local, 33, 0, B(100), vt_p.mr->rkey,
		       IBV_SEND_INLINE));
	CHECK(vt_poll(vt_p.acq, &wc) == 1 && vt_poll(vt_p.acq, &wc) == 1 && wc.wr_id == 2);
	CHECK(!memcmp(B(100), local, 33));
}

/* 32 elements on both sides that do not line up, some empty, odd lengths. */
static void
rc_sges(void)
{
	struct ibv_sge s[32], r[32];
	struct ibv_send_wr swr = {.sg_list = s,
				  .num_sge = 32,
				  .opcode = IBV_WR_SEND,
				  .send_flags = IBV_SEND_SIGNALED},
			   *sbad;
	struct ibv_recv_wr rwr = {.sg_list = r, .num_sge = 32}, *rbad;
	uint32_t total = 0, room = 0;
	struct ibv_wc wc;
	uint8_t *x, *y;
	uint32_t n = 0;

	CHECK(!vt_pair_open(&vt_p, &(struct vt_opts){.max_sge = 32}));
	fill(A(0), HALF, 8);
	for (unsigned i = 0; i < 32; i++) {
		s[i] = (struct ibv_sge){(uintptr_t)A(i * 700 + i), (i * 37) % 500, KEY};
		r[i] = (struct ibv_sge){(uintptr_t)B(i * 700 + 3), (i * 91 + 20) % 650, KEY};
		total += s[i].length;
		room += r[i].length;
	}
	CHECK(room >= total);
	CHECK(!ibv_post_recv(vt_p.b, &rwr, &rbad));
	CHECK(!ibv_post_send(vt_p.a, &swr, &sbad));
	CHECK(vt_poll(vt_p.bcq, &wc) == 1 && wc.status == 0 && wc.byte_len == total);
	x = malloc(total);
	y = malloc(room);
	for (unsigned i = 0; i < 32; n += s[i].length, i++)
		memcpy(x + n, (void *)s[i].addr, s[i].length);
	n = 0;
	for (unsigned i = 0; i < 32; n += r[i].length, i++)
		memcpy(y + n, (void *)r[i].addr, r[i].length);
	n = (uint32_t)memcmp(x, y, total);
	free(x);
	free(y);
	CHECK(n == 0);
}

/* Order of completions, unsignaled ones left out, a fence behind READs. */
static void
rc_order(void)
{
	struct ibv_sge sge;
	struct ibv_send_wr wr = {.sg_list = &sge, .num_sge = 1, .opcode = IBV_WR_RDMA_WRITE}, *bad;
	struct ibv_wc wc;
	unsigned seen = 0;

	CHECK(!vt_pair_open(&vt_p, &(struct vt_opts){0}));
	wr.wr.rdma.rkey = vt_p.mr->rkey;
	for (unsigned i = 0; i < 5000; i++) {
		sge = (struct ibv_sge){(uintptr_t)A(i % 1000), 8, KEY};
		wr.wr.rdma.remote_addr = (uintptr_t)B(i % 1000);
		wr.wr_id = i;
		wr.opcode = i % 7 ? IBV_WR_RDMA_WRITE : IBV_WR_RDMA_READ;
		wr.send_flags = (i % 4 == 3 ? IBV_SEND_SIGNALED : 0) | (i % 5 ? 0 : IBV_SEND_FENCE);
		CHECK(!ibv_post_send(vt_p.a, &wr, &bad));
		if (i % 32 != 31)
			continue;
		while (seen <= i / 4 - 1) {
			CHECK(vt_poll(vt_p.acq, &wc) == 1 && wc.status == 0);
			CHECK(wc.wr_id == seen * 4 + 3);
			seen++;
		}
	}
}

static void
rc_srq(void)
{
	struct ibv_srq_attr attr = {.srq_limit = 3};
	struct ibv_wc wc;

	CHECK(!vt_pair_open(&vt_p, &(struct vt_opts){.srq = true}));
	for (unsigned i = 0; i < 8; i++)
		CHECK(!vt_recv(&vt_p, i, B(i * 64), 64));
	CHECK(!ibv_modify_srq(vt_p.srq, &attr, IBV_SRQ_LIMIT));
	for (unsigned i = 0; i < 6; i++) {
		CHECK(!vt_send(vt_p.a, IBV_WR_SEND, i, A(0), 64, KEY, NULL, 0, 0));
		CHECK(vt_poll(vt_p.bcq, &wc) == 1 && wc.status == 0 && wc.wr_id == i);
	}
	CHECK(vt_async(IBV_EVENT_SRQ_LIMIT_REACHED));
	CHECK(!ibv_query_srq(vt_p.srq, &attr) && attr.srq_limit == 0);
	CHECK(!vt_to_state(vt_p.b, IBV_QPS_ERR));
	CHECK(vt_async(IBV_EVENT_QP_LAST_WQE_REACHED));
	CHECK(vt_silent(vt_p.bcq)); /* an SRQ's WQEs are not flushed */
}

static void
uc_data(void)
{
	struct ibv_wc wc;

	CHECK(!vt_pair_open(&vt_p, &(struct vt_opts){.type = IBV_QPT_UC}));
	fill(A(0), 5000, 2);
	CHECK(!vt_recv(&vt_p, 1, B(0), 5000));
	CHECK(!vt_send(vt_p.a, IBV_WR_SEND, 1, A(0), 5000, KEY, NULL, 0, 0));
	CHECK(vt_poll(vt_p.bcq, &wc) == 1 && wc.status == 0 && wc.byte_len == 5000);
	CHECK(vt_poll(vt_p.acq, &wc) == 1 && wc.status == 0);
	CHECK(!memcmp(A(0), B(0), 5000));
	/* No receive WQE: lost, completes all the same. */
	CHECK(!vt_send(vt_p.a, IBV_WR_SEND, 2, A(0), 10, KEY, NULL, 0, 0));
	CHECK(vt_poll(vt_p.acq, &wc) == 1 && wc.status == 0);
	CHECK(!vt_send(vt_p.a, IBV_WR_RDMA_WRITE, 3, A(0), 10, KEY, B(9000), vt_p.mr->rkey, 0));
	CHECK(vt_poll(vt_p.acq, &wc) == 1 && wc.status == 0 && !memcmp(A(0), B(9000), 10));
	CHECK(ibv_post_send(vt_p.a, &(struct ibv_send_wr){.opcode = IBV_WR_RDMA_READ},
			    &(struct ibv_send_wr *){NULL}) ||
	      (vt_poll(vt_p.acq, &wc) == 1 && wc.status == IBV_WC_LOC_QP_OP_ERR));
}

static int
ud_send(struct ibv_ah *ah, uint32_t qpn, uint32_t qkey, uint64_t id, uint32_t len)
{
	struct ibv_sge sge = {(uintptr_t)A(0), len, KEY};
	struct ibv_send_wr wr = {.wr_id = id,
				 .sg_list = &sge,
				 .num_sge = 1,
				 .opcode = IBV_WR_SEND,
				 .send_flags = IBV_SEND_SIGNALED},
			   *bad;

	wr.wr.ud.ah = ah;
	wr.wr.ud.remote_qpn = qpn;
	wr.wr.ud.remote_qkey = qkey;
	return ibv_post_send(vt_p.a, &wr, &bad);
}

static void
ud_data(void)
{
	struct ibv_ah_attr aa = {
		.is_global = 1, .port_num = 1, .grh = {.dgid = vt.gid, .hop_limit = 33}};
	struct ibv_wc wc;
	struct ibv_ah *ah, *back;

	CHECK(!vt_pair_open(&vt_p, &(struct vt_opts){.type = IBV_QPT_UD}));
	ah = ibv_create_ah(vt.pd, &aa);
	CHECK(ah);
	fill(A(0), 4096, 2);
	CHECK(!vt_recv(&vt_p, 1, B(0), 4096 + 40));
	CHECK(!ud_send(ah, vt_p.b->qp_num, 0x1234, 1, 4096));
	CHECK(vt_poll(vt_p.bcq, &wc) == 1 && wc.status == 0 && wc.byte_len == 4136);
	CHECK((wc.wc_flags & IBV_WC_GRH) && wc.src_qp == vt_p.a->qp_num);
	CHECK(!memcmp(A(0), B(40), 4096));
	if (!memcmp(vt.gid.raw, "\0\0\0\0\0\0\0\0\0\0\xff\xff", 12)) {
		CHECK(B(20)[0] == 0x45 && B(20)[8] == 33 && B(20)[9] == 17);
		CHECK(!memcmp(B(32), vt.gid.raw + 12, 4) && !memcmp(B(36), vt.gid.raw + 12, 4));
	}
	back = ibv_create_ah_from_wc(vt.pd, &wc, (struct ibv_grh *)B(0), 1);
	CHECK(back && !ibv_destroy_ah(back));
	CHECK(vt_poll(vt_p.acq, &wc) == 1 && wc.status == 0);
	/* Wrong qkey, unknown QPN: lost. */
	CHECK(!vt_recv(&vt_p, 2, B(0), 200));
	CHECK(!ud_send(ah, vt_p.b->qp_num, 0x9999, 2, 10));
	CHECK(!ud_send(ah, 0x3fffff, 0x1234, 3, 10));
	CHECK(vt_poll(vt_p.acq, &wc) == 1 && wc.status == 0);
	CHECK(vt_poll(vt_p.acq, &wc) == 1 && wc.status == 0);
	CHECK(vt_silent(vt_p.bcq));
	/* Longer than the MTU: refused at the sender. */
	CHECK(!ud_send(ah, vt_p.b->qp_num, 0x1234, 4, 4097));
	CHECK(vt_poll(vt_p.acq, &wc) == 1 && wc.status == IBV_WC_LOC_LEN_ERR);
	CHECK(!ibv_destroy_ah(ah));
}

static void
ud_multicast(void)
{
	union ibv_gid mgid = {.raw = {[10] = 0xff, [11] = 0xff, 239, 1, 2, 3}};
	struct ibv_ah_attr aa = {.is_global = 1, .port_num = 1, .grh = {.dgid = mgid}};
	struct ibv_wc wc;
	struct ibv_ah *ah;

	CHECK(!vt_pair_open(&vt_p, &(struct vt_opts){.type = IBV_QPT_UD}));
	ah = ibv_create_ah(vt.pd, &aa);
	CHECK(ah);
	CHECK(!vt_recv(&vt_p, 1, B(0), 200));
	CHECK(!ud_send(ah, 0xffffff, 0x1234, 1, 100));
	CHECK(vt_poll(vt_p.acq, &wc) == 1 && wc.status == 0);
	CHECK(vt_silent(vt_p.bcq)); /* not attached */
	CHECK(!ibv_attach_mcast(vt_p.b, &mgid, 0));
	CHECK(!ud_send(ah, 0xffffff, 0x1234, 2, 100));
	CHECK(vt_poll(vt_p.bcq, &wc) == 1 && wc.status == 0 && wc.byte_len == 140);
	CHECK(!memcmp(A(0), B(40), 100));
	CHECK(!ibv_detach_mcast(vt_p.b, &mgid, 0));
	CHECK(!vt_recv(&vt_p, 2, B(0), 200));
	CHECK(!ud_send(ah, 0xffffff, 0x1234, 3, 100));
	CHECK(vt_silent(vt_p.bcq));
	CHECK(!ibv_destroy_ah(ah));
}

static void
big_message(void)
{
	size_t len = (2ul << 30) - 4096; /* page 0 of each half is touched at the ends only */
	struct ibv_wc wc;

	CHECK(!vt_pair_open(&vt_p, &(struct vt_opts){.len = 4ul << 30}));
	A(0)[0] = 1;
	A(len - 1)[0] = 2;
	CHECK(!vt_send(vt_p.a, IBV_WR_RDMA_WRITE, 1, A(0), len, KEY, B(0), vt_p.mr->rkey, 0));
	CHECK(vt_poll_long(vt_p.acq, &wc) == 1 && wc.status == 0);
	CHECK(B(0)[0] == 1 && B(len - 1)[0] == 2 && B(len / 2)[0] == 0);
}

/* One QP that is connected to itself. */
static void
loopback_self(void)
{
	struct ibv_qp_attr rtr, rts;
	struct ibv_qp_init_attr init;
	struct ibv_qp *qp;
	struct ibv_wc wc;

	CHECK(!vt_pair_open(&vt_p, &(struct vt_opts){0}));
	qp = vt_p.a;
	CHECK(!ibv_query_qp(qp, &rtr, IBV_QP_STATE | IBV_QP_AV, &init));
	rts = rtr;
	CHECK(!vt_to_state(qp, IBV_QPS_RESET));
	rtr.qp_state = IBV_QPS_INIT;
	rtr.port_num = 1;
	rtr.pkey_index = 0;
	rtr.qp_access_flags = VT_ACCESS & ~IBV_ACCESS_MW_BIND;
	CHECK(!ibv_modify_qp(qp, &rtr,
			     IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS));
	rtr.qp_state = IBV_QPS_RTR;
	rtr.dest_qp_num = qp->qp_num;
	CHECK(!ibv_modify_qp(qp, &rtr,
			     IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN |
				     IBV_QP_RQ_PSN | IBV_QP_MAX_DEST_RD_ATOMIC |
				     IBV_QP_MIN_RNR_TIMER));
	rts.qp_state = IBV_QPS_RTS;
	rts.sq_psn = rtr.rq_psn;
	CHECK(!ibv_modify_qp(qp, &rts,
			     IBV_QP_STATE | IBV_QP_SQ_PSN | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT |
				     IBV_QP_RNR_RETRY | IBV_QP_MAX_QP_RD_ATOMIC));
	vt_p.b = qp;
	CHECK(!vt_recv(&vt_p, 1, B(0), 500));
	vt_p.b = NULL;
	fill(A(0), 500, 6);
	CHECK(!vt_send(qp, IBV_WR_SEND, 2, A(0), 500, KEY, NULL, 0, 0));
	CHECK(vt_poll(vt_p.acq, &wc) == 1 && wc.status == 0);
	CHECK(vt_poll(vt_p.acq, &wc) == 1 && wc.status == 0);
	CHECK(!memcmp(A(0), B(0), 500));
}

static bool
event(struct ibv_comp_channel *ch, struct ibv_cq *want, int ms)
{
	struct pollfd p = {.fd = ch->fd, .events = POLLIN};
	struct ibv_cq *cq;
	void *ctx;

	if (poll(&p, 1, ms) != 1 || ibv_get_cq_event(ch, &cq, &ctx))
		return false;
	ibv_ack_cq_events(cq, 1);
	return cq == want;
}

static void
comp_events(void)
{
	struct ibv_comp_channel *ch = ibv_create_comp_channel(vt.ctx);
	struct ibv_wc wc;

	CHECK(ch);
	CHECK(!vt_pair_open(&vt_p, &(struct vt_opts){.ch = ch}));
	for (unsigned i = 0; i < 3; i++)
		CHECK(!vt_recv(&vt_p, i, B(0), 64));
	/* Not armed: no event. */
	CHECK(!vt_send(vt_p.a, IBV_WR_SEND, 1, A(0), 64, KEY, NULL, 0, IBV_SEND_SOLICITED));
	CHECK(vt_poll(vt_p.bcq, &wc) == 1 && !event(ch, vt_p.bcq, 50));
	/* Solicited only. */
	CHECK(!ibv_req_notify_cq(vt_p.bcq, 1));
	CHECK(!vt_send(vt_p.a, IBV_WR_SEND, 2, A(0), 64, KEY, NULL, 0, 0));
	CHECK(vt_poll(vt_p.bcq, &wc) == 1 && !event(ch, vt_p.bcq, 50));
	CHECK(!vt_send(vt_p.a, IBV_WR_SEND, 3, A(0), 64, KEY, NULL, 0, IBV_SEND_SOLICITED));
	CHECK(event(ch, vt_p.bcq, 5000) && vt_poll(vt_p.bcq, &wc) == 1);
	/* Any, once. */
	CHECK(!ibv_req_notify_cq(vt_p.acq, 0));
	CHECK(!vt_send(vt_p.a, IBV_WR_RDMA_WRITE, 4, A(0), 64, KEY, B(0), vt_p.mr->rkey, 0));
	CHECK(event(ch, vt_p.acq, 5000));
	CHECK(!vt_send(vt_p.a, IBV_WR_RDMA_WRITE, 5, A(0), 64, KEY, B(0), vt_p.mr->rkey, 0));
	CHECK(!event(ch, vt_p.acq, 50));
	vt_pair_close(&vt_p);
	CHECK(!ibv_destroy_comp_channel(ch));
}

/* Events that nobody has read when the CQ goes: destroy neither hangs nor loses another CQ's. */
static void
comp_events_unread(void)
{
	struct ibv_comp_channel *ch = ibv_create_comp_channel(vt.ctx);
	struct ibv_wc wc;

	CHECK(ch);
	CHECK(!vt_pair_open(&vt_p, &(struct vt_opts){.ch = ch}));
	CHECK(!vt_recv(&vt_p, 1, B(0), 64));
	CHECK(!ibv_req_notify_cq(vt_p.acq, 0) && !ibv_req_notify_cq(vt_p.bcq, 0));
	CHECK(!vt_send(vt_p.a, IBV_WR_SEND, 1, A(0), 64, KEY, NULL, 0, 0));
	CHECK(vt_poll(vt_p.acq, &wc) == 1 && vt_poll(vt_p.bcq, &wc) == 1);
	CHECK(!ibv_destroy_qp(vt_p.a));
	vt_p.a = NULL;
	CHECK(!ibv_destroy_cq(vt_p.acq));
	vt_p.acq = NULL;
	CHECK(event(ch, vt_p.bcq, 5000));
	vt_pair_close(&vt_p);
	CHECK(!ibv_destroy_comp_channel(ch));
}

void
vt_data_cases(void)
{
	vt_run("rc_send", rc_send);
	vt_run("rc_write_read", rc_write_read);
	vt_run("rc_atomic", rc_atomic);
	vt_run("rc_inline", rc_inline);
	vt_run("rc_sges", rc_sges);
	vt_run("rc_order", rc_order);
	vt_run("rc_srq", rc_srq);
	vt_run("uc_data", uc_data);
	vt_run("ud_data", ud_data);
	vt_run("ud_multicast", ud_multicast);
	vt_run("big_message", big_message);
	vt_run("loopback_self", loopback_self);
	vt_run("comp_events", comp_events);
	vt_run("comp_events_unread", comp_events_unread);
}
