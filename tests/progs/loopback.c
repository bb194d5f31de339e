/* SPDX-License-Identifier: MIT */
/* See loopback.h. The caller's thread. */
#include "loopback.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define PATIENCE_S 60

/*
 * libibverbs 44 looks for devices under a lock of its own, and a child that was forked meanwhile
 * would wait for that lock for ever: nobody forks while a thread here is inside.
 */
static pthread_mutex_t list_lock = PTHREAD_MUTEX_INITIALIZER;

static void
list_lock_take(void)
{
	pthread_mutex_lock(&list_lock);
}

static void
list_lock_drop(void)
{
	pthread_mutex_unlock(&list_lock);
}

__attribute__((constructor)) static void
list_lock_init(void)
{
	pthread_atfork(list_lock_take, list_lock_drop, list_lock_drop);
}

struct ibv_context *
loopback_device(void)
{
	struct ibv_device **list;
	struct ibv_context *ctx;

	list_lock_take();
	list = ibv_get_device_list(NULL);
	list_lock_drop();
	if (!list)
		return NULL;
	errno = ENODEV;
	ctx = list[0] ? ibv_open_device(list[0]) : NULL;
	ibv_free_device_list(list);
	return ctx;
}

static int
qp_connect(struct ibv_qp *qp, uint32_t peer, const union ibv_gid *gid)
{
	struct ibv_qp_attr a = {.qp_state = IBV_QPS_INIT,
				.port_num = 1,
				.qp_access_flags = IBV_ACCESS_REMOTE_WRITE};

	if (ibv_modify_qp(qp, &a,
			  IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS))
		return -1;
	a = (struct ibv_qp_attr){.qp_state = IBV_QPS_RTR,
				 .path_mtu = IBV_MTU_4096,
				 .dest_qp_num = peer,
				 .max_dest_rd_atomic = 1,
				 .min_rnr_timer = 1,
				 .ah_attr = {.is_global = 1, .port_num = 1, .grh = {.dgid = *gid}}};
	if (ibv_modify_qp(qp, &a,
			  IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN |
				  IBV_QP_RQ_PSN | IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER))
		return -1;
	a = (struct ibv_qp_attr){.qp_state = IBV_QPS_RTS,
				 .timeout = 14,
				 .retry_cnt = 7,
				 .rnr_retry = 7,
				 .max_rd_atomic = 1};
	return ibv_modify_qp(qp, &a,
			     IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY |
				     IBV_QP_SQ_PSN | IBV_QP_MAX_QP_RD_ATOMIC)
		       ? -1
		       : 0;
}

int
loopback_open(struct loopback *l, struct ibv_context *ctx, size_t half)
{
	struct ibv_qp_init_attr i = {.qp_type = IBV_QPT_RC, .cap = {4, 4, 1, 1, 0}};
	union ibv_gid gid;

	memset(l, 0, sizeof(*l));
	l->ctx = ctx;
	l->half = half;
	l->buf = mmap(NULL, 2 * half, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (l->buf == MAP_FAILED) {
		l->buf = NULL;
		return -1;
	}
	if (!(l->pd = ibv_alloc_pd(ctx)) || !(l->cq = ibv_create_cq(ctx, 16, NULL, NULL, 0)) ||
	    !(l->mr = ibv_reg_mr(l->pd, l->buf, 2 * half,
				 IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE)))
		return -1;
	i.send_cq = i.recv_cq = l->cq;
	for (int k = 0; k < 2; k++)
		if (!(l->qp[k] = ibv_create_qp(l->pd, &i)))
			return -1;
	if (ibv_query_gid(ctx, 1, 0, &gid))
		return -1;
	return qp_connect(l->qp[0], l->qp[1]->qp_num, &gid) ||
			       qp_connect(l->qp[1], l->qp[0]->qp_num, &gid)
		       ? -1
		       : 0;
}

/* How far a loopback_open() that failed has come. */
static const char *
step(const struct loopback *l)
{
	if (!l->buf)
		return "mmap";
	if (!l->pd)
		return "ibv_alloc_pd";
	if (!l->cq)
		return "ibv_create_cq";
	if (!l->mr)
		return "ibv_reg_mr";
	return l->qp[0] && l->qp[1] ? "ibv_modify_qp" : "ibv_create_qp";
}

void
loopback_close(struct loopback *l)
{
	for (int k = 0; k < 2; k++)
		if (l->qp[k])
			ibv_destroy_qp(l->qp[k]);
	if (l->mr)
		ibv_dereg_mr(l->mr);
	if (l->cq)
		ibv_destroy_cq(l->cq);
	if (l->pd)
		ibv_dealloc_pd(l->pd);
	if (l->buf)
		munmap(l->buf, 2 * l->half);
	memset(l, 0, sizeof(*l));
}

static void
fill(uint8_t *p, size_t len, uint32_t seed)
{
	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)(seed + i * 7 + (i >> 8));
}

static const char *
await(struct loopback *l, unsigned count, const volatile int *stop)
{
	time_t end = time(NULL) + PATIENCE_S;
	struct ibv_wc wc;

	while (count) {
		int n = ibv_poll_cq(l->cq, 1, &wc);

		if (n < 0)
			return "ibv_poll_cq";
		if (n && wc.status)
			return ibv_wc_status_str(wc.status);
		count -= (unsigned)n;
		if (n)
			continue;
		if (stop && *stop)
			return "stopped";
		if (time(NULL) > end)
			return "no completion";
		sched_yield();
	}
	return NULL;
}

static const char *
check(const struct loopback *l)
{
	const char *same = memcmp(l->buf, l->buf + l->half, l->half) ? "wrong data" : NULL;

	memset(l->buf + l->half, 0, l->half);
	return same;
}

const char *
loopback_round(struct loopback *l, uint32_t seed, const volatile int *stop)
{
	struct ibv_sge from = {(uintptr_t)l->buf, (uint32_t)l->half, l->mr->lkey};
	struct ibv_sge to = {(uintptr_t)l->buf + l->half, (uint32_t)l->half, l->mr->lkey};
	struct ibv_send_wr wr = {.sg_list = &from,
				 .num_sge = 1,
				 .opcode = IBV_WR_RDMA_WRITE,
				 .send_flags = IBV_SEND_SIGNALED,
				 .wr.rdma = {.remote_addr = to.addr, .rkey = l->mr->rkey}};
	struct ibv_recv_wr rr = {.sg_list = &to, .num_sge = 1}, *bad_recv;
	struct ibv_send_wr *bad_send;
	const char *why;

	fill(l->buf, l->half, seed);
	if (ibv_post_send(l->qp[0], &wr, &bad_send))
		return "ibv_post_send of a WRITE";
	why = await(l, 1, stop);
	if (why || (why = check(l)))
		return why;
	fill(l->buf, l->half, seed + 1);
	wr.opcode = IBV_WR_SEND;
	if (ibv_post_recv(l->qp[0], &rr, &bad_recv))
		return "ibv_post_recv";
	if (ibv_post_send(l->qp[1], &wr, &bad_send))
		return "ibv_post_send of a SEND";
	why = await(l, 2, stop);
	return why ? why : check(l);
}

const char *
loopback_run(unsigned rounds, size_t half, uint32_t seed)
{
	struct ibv_context *ctx = loopback_device();
	static __thread char text[96];
	const char *why = NULL;
	struct loopback l;

	if (!ctx)
		return "the device cannot be opened";
	if (loopback_open(&l, ctx, half)) {
		snprintf(text, sizeof(text), "no QPs: %s: %m", step(&l));
		why = text;
	}
	for (unsigned i = 0; i < rounds && !why; i++)
		why = loopback_round(&l, seed + 31 * i, NULL);
	loopback_close(&l);
	if (ibv_close_device(ctx) && !why)
		why = "ibv_close_device";
	return why;
}
