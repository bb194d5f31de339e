/* SPDX-License-Identifier: MIT */
/* Scaffold and main program of the verbs conformance test; see vt.h. Runs inside a container. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "vt.h"

#define POLL_MS 20000
#define PSN	0xfffff0 /* wraps within the first messages */

struct vt vt;
struct vt_pair vt_p;
char vt_why[512], vt_skip[512];
static unsigned failed;
static const char *only;

static double
now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static int
poll_for(struct ibv_cq *cq, struct ibv_wc *wc, int ms)
{
	double end = now_ms() + ms;
	int n;

	do {
		n = ibv_poll_cq(cq, 1, wc);
		if (n)
			return n;
	} while (now_ms() < end);
	return 0;
}

int
vt_poll(struct ibv_cq *cq, struct ibv_wc *wc)
{
	return poll_for(cq, wc, POLL_MS);
}

int
vt_poll_long(struct ibv_cq *cq, struct ibv_wc *wc)
{
	return poll_for(cq, wc, 5 * POLL_MS);
}

bool
vt_silent(struct ibv_cq *cq)
{
	struct ibv_wc wc;

	return poll_for(cq, &wc, 50) == 0;
}

enum ibv_qp_state
vt_state(struct ibv_qp *qp)
{
	struct ibv_qp_init_attr init;
	struct ibv_qp_attr attr;

	if (ibv_query_qp(qp, &attr, IBV_QP_STATE, &init))
		return IBV_QPS_UNKNOWN;
	return attr.qp_state;
}

int
vt_to_state(struct ibv_qp *qp, enum ibv_qp_state s)
{
	struct ibv_qp_attr a = {.qp_state = s};

	return ibv_modify_qp(qp, &a, IBV_QP_STATE);
}

static int
to_init(struct ibv_qp *qp, enum ibv_qp_type type)
{
	struct ibv_qp_attr a = {.qp_state = IBV_QPS_INIT,
				.port_num = 1,
				.qkey = 0x1234,
				.qp_access_flags = VT_ACCESS & ~IBV_ACCESS_MW_BIND};

	return ibv_modify_qp(qp, &a,
			     IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT |
				     (type == IBV_QPT_UD ? IBV_QP_QKEY : IBV_QP_ACCESS_FLAGS));
}

static int
to_rtr(struct ibv_qp *qp, struct ibv_qp *peer, const struct vt_opts *o)
{
	struct ibv_qp_attr a = {
		.qp_state = IBV_QPS_RTR,
		.path_mtu = IBV_MTU_1024,
		.dest_qp_num = peer->qp_num,
		.rq_psn = PSN,
		.max_dest_rd_atomic = 8,
		.min_rnr_timer = o->min_rnr_timer ? o->min_rnr_timer : 12,
		.ah_attr = {.is_global = 1,
			    .port_num = 1,
			    .grh = {.dgid = vt.gid, .hop_limit = 64}},
	};
	int mask = IBV_QP_STATE;

	if (o->type != IBV_QPT_UD)
		mask |= IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN;
	if (o->type == IBV_QPT_RC)
		mask |= IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER;
	return ibv_modify_qp(qp, &a, mask);
}

static int
to_rts(struct ibv_qp *qp, const struct vt_opts *o)
{
	struct ibv_qp_attr a = {
		.qp_state = IBV_QPS_RTS,
		.sq_psn = PSN,
		.timeout = o->timeout ? o->timeout : 14,
		.retry_cnt = o->retry_cnt ? o->retry_cnt : 7,
		.rnr_retry = o->no_rnr_retry ? 0
			     : o->rnr_retry  ? o->rnr_retry
					     : 7,
		.max_rd_atomic = 8,
	};
	int mask = IBV_QP_STATE | IBV_QP_SQ_PSN;

	if (o->type == IBV_QPT_RC)
		mask |= IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY |
			IBV_QP_MAX_QP_RD_ATOMIC;
	return ibv_modify_qp(qp, &a, mask);
}

static uint32_t
or_default(uint32_t v, uint32_t d)
{
	return v ? v : d;
}

static struct ibv_qp *
new_qp(struct ibv_cq *cq, struct ibv_srq *srq, const struct vt_opts *o)
{
	struct ibv_qp_init_attr a = {
		.send_cq = cq,
		.recv_cq = cq,
		.srq = srq,
		.qp_type = o->type,
		.cap = {.max_send_wr = or_default(o->max_wr, 64),
			.max_recv_wr = or_default(o->max_wr, 64),
			.max_send_sge = or_default(o->max_sge, 4),
			.max_recv_sge = or_default(o->max_sge, 4),
			.max_inline_data = or_default(o->max_inline, 64)},
	};

	return ibv_create_qp(vt.pd, &a);
}

int
vt_pair_open(struct vt_pair *p, const struct vt_opts *opts)
{
	struct vt_opts o = *opts;

	memset(p, 0, sizeof(*p));
	if (!o.type)
		o.type = IBV_QPT_RC;
	p->type = o.type;
	p->len = o.len ? o.len : 65536;
	p->buf = mmap(NULL, p->len, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	p->acq = ibv_create_cq(vt.ctx, (int)or_default(o.cqe, 256), NULL, o.ch, 0);
	p->bcq = ibv_create_cq(vt.ctx, (int)or_default(o.cqe, 256), NULL, o.ch, 0);
	if (p->buf == MAP_FAILED || !p->acq || !p->bcq)
		return -1;
	p->mr = ibv_reg_mr(vt.pd, p->buf, p->len, VT_ACCESS);
	if (!p->mr)
		return -1;
	if (o.srq) {
		struct ibv_srq_init_attr s = {.attr = {.max_wr = 64, .max_sge = 4}};

		p->srq = ibv_create_srq(vt.pd, &s);
		if (!p->srq)
			return -1;
	}
	p->a = new_qp(p->acq, NULL, &o);
	p->b = new_qp(p->bcq, p->srq, &o);
	if (!p->a || !p->b)
		return -1;
	if (to_init(p->a, o.type) || to_init(p->b, o.type) || to_rtr(p->a, p->b, &o) ||
	    to_rtr(p->b, p->a, &o) || to_rts(p->a, &o) || to_rts(p->b, &o))
		return -1;
	return 0;
}

void
vt_pair_close(struct vt_pair *p)
{
	if (p->a)
		ibv_destroy_qp(p->a);
	if (p->b)
		ibv_destroy_qp(p->b);
	if (p->srq)
		ibv_destroy_srq(p->srq);
	if (p->mr)
		ibv_dereg_mr(p->mr);
	if (p->acq)
		ibv_destroy_cq(p->acq);
	if (p->bcq)
		ibv_destroy_cq(p->bcq);
	if (p->buf && p->buf != MAP_FAILED)
		munmap(p->buf, p->len);
	memset(p, 0, sizeof(*p));
}

int
vt_recv(struct vt_pair *p, uint64_t id, void *addr, uint32_t len)
{
	struct ibv_sge sge = {(uintptr_t)addr, len, p->mr->lkey};
	struct ibv_recv_wr wr = {.wr_id = id, .sg_list = &sge, .num_sge = len != 0}, *bad;

	return p->srq ? ibv_post_srq_recv(p->srq, &wr, &bad) : ibv_post_recv(p->b, &wr, &bad);
}

int
vt_send(struct ibv_qp *qp, enum ibv_wr_opcode op, uint64_t id, void *addr, uint32_t len,
	uint32_t lkey, void *raddr, uint32_t rkey, unsigned flags)
{
	struct ibv_sge sge = {(uintptr_t)addr, len, lkey};
	struct ibv_send_wr wr = {.wr_id = id,
				 .sg_list = &sge,
				 .num_sge = len != 0,
				 .opcode = op,
				 .send_flags = flags | IBV_SEND_SIGNALED,
				 .imm_data = 0x01020304},
			   *bad;

	wr.wr.rdma.remote_addr = (uintptr_t)raddr;
	wr.wr.rdma.rkey = rkey;
	return ibv_post_send(qp, &wr, &bad);
}

bool
vt_async(enum ibv_event_type want)
{
	struct pollfd p = {.fd = vt.ctx->async_fd, .events = POLLIN};
	struct ibv_async_event ev;

	if (poll(&p, 1, POLL_MS) != 1 || ibv_get_async_event(vt.ctx, &ev))
		return false;
	ibv_ack_async_event(&ev);
	if (ev.event_type != want)
		snprintf(vt_why, sizeof(vt_why), "async event %d, want %d", ev.event_type, want);
	return ev.event_type == want;
}

static void
drain_async(void)
{
	struct pollfd p = {.fd = vt.ctx->async_fd, .events = POLLIN};
	struct ibv_async_event ev;

	while (poll(&p, 1, 0) == 1 && !ibv_get_async_event(vt.ctx, &ev))
		ibv_ack_async_event(&ev);
}

void
vt_run(const char *name, void (*fn)(void))
{
	if (only && !strstr(name, only))
		return;
	vt_why[0] = vt_skip[0] = '\0';
	drain_async();
	fn();
	vt_pair_close(&vt_p);
	if (vt_skip[0]) {
		printf("skip %s - %s\n", name, vt_skip);
	} else if (vt_why[0]) {
		failed++;
		printf("not ok %s - %s\n", name, vt_why);
	} else {
		printf("ok %s\n", name);
	}
	fflush(stdout);
}

int
main(int argc, char **argv)
{
	struct ibv_device **list = ibv_get_device_list(NULL);

	only = argc > 1 ? argv[1] : NULL;
	if (!list || !list[0]) {
		printf("not ok device - no RDMA device\n");
		return 1;
	}
	vt.ctx = ibv_open_device(list[0]);
	if (!vt.ctx || ibv_query_gid(vt.ctx, 1, 0, &vt.gid)) {
		printf("not ok device - cannot open %s: %s\n", ibv_get_device_name(list[0]),
		       strerror(errno));
		return 1;
	}
	vt.pd = ibv_alloc_pd(vt.ctx);
	if (!vt.pd) {
		printf("not ok pd - %s\n", strerror(errno));
		return 1;
	}
	vt_data_cases();
	vt_error_cases();
	vt_object_cases();
	ibv_dealloc_pd(vt.pd);
	ibv_close_device(vt.ctx);
	ibv_free_device_list(list);
	return failed != 0;
}
