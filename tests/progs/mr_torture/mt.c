/* SPDX-License-Identifier: MIT */
/* Main program and helpers of mr_torture; see mt.h. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "mt.h"

#define SRC_LEN MB
#define WAIT_S	30

struct mt mt;
static char why[512];
static const char skipped[] = "skip";
static const char *skip_why;

const char *
mt_why(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	return why;
}

const char *
mt_skip(const char *text)
{
	skip_why = text;
	return skipped;
}

/* ---- operations ---- */

static double
now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int
wait_one(struct ibv_cq *cq)
{
	double end = now_s() + WAIT_S;
	struct ibv_wc wc;
	int n;

	do {
		n = ibv_poll_cq(cq, 1, &wc);
		if (n > 0)
			return (int)wc.status;
	} while (n == 0 && now_s() < end);
	return -1;
}

static int
post(struct ibv_send_wr *wr)
{
	struct ibv_send_wr *bad;

	wr->send_flags = IBV_SEND_SIGNALED;
	if (ibv_post_send(mt.qp[0], wr, &bad))
		return MT_NOT_POSTED;
	return wait_one(mt.cq[0]);
}

int
mt_rdma(enum ibv_wr_opcode op, void *local, uint32_t lkey, const void *remote, uint32_t rkey,
	uint32_t len)
{
	struct ibv_sge sge = {(uintptr_t)local, len, lkey};
	struct ibv_send_wr wr = {
		.opcode = op,
		.sg_list = &sge,
		.num_sge = 1,
		.wr.rdma = {.remote_addr = (uintptr_t)remote, .rkey = rkey},
	};

	return post(&wr);
}

int
mt_atomic(enum ibv_wr_opcode op, void *result, uint32_t lkey, const void *remote, uint32_t rkey,
	  uint64_t compare_add, uint64_t swap)
{
	struct ibv_sge sge = {(uintptr_t)result, 8, lkey};
	struct ibv_send_wr wr = {
		.opcode = op,
		.sg_list = &sge,
		.num_sge = 1,
		.wr.atomic = {.remote_addr = (uintptr_t)remote,
			      .rkey = rkey,
			      .compare_add = compare_add,
			      .swap = swap},
	};

	return post(&wr);
}

int
mt_send(const void *from, uint32_t lkey, void *to, uint32_t to_lkey, uint32_t len)
{
	struct ibv_sge in = {(uintptr_t)to, len, to_lkey}, out = {(uintptr_t)from, len, lkey};
	struct ibv_send_wr wr = {.opcode = IBV_WR_SEND, .sg_list = &out, .num_sge = 1};
	struct ibv_recv_wr recv = {.sg_list = &in, .num_sge = 1}, *bad;
	int status, received;

	if (ibv_post_recv(mt.qp[1], &recv, &bad))
		return -1;
	status = post(&wr);
	received = wait_one(mt.cq[1]);
	return status ? status : received;
}

/* ---- patterns ---- */

uint8_t
mt_byte(unsigned seed, size_t i)
{
	return (uint8_t)(seed * 31 + i * 7 + (i >> 8) * 13 + (i >> 16));
}

void
mt_fill(uint8_t *p, size_t len, unsigned seed)
{
	size_t i;

	for (i = 0; i < len; i++)
		p[i] = mt_byte(seed, i);
}

size_t
mt_verify(const uint8_t *p, size_t len, unsigned seed)
{
	size_t i;

	for (i = 0; i < len && p[i] == mt_byte(seed, i); i++)
		;
	return i;
}

/* One window [buf, buf + n) of the buffer. */
static const char *
exercise_window(struct ibv_mr *mr, uint8_t *buf, uint32_t n)
{
	static unsigned seed;
	uint32_t skey = mt.src_mr->lkey;
	uint8_t *back = mt.src + SRC_LEN / 2;

	mt_fill(mt.src, n, ++seed);
	MT_CHECK(mt_rdma(IBV_WR_RDMA_WRITE, mt.src, skey, buf, mr->rkey, n) == 0);
	MT_CHECK(mt_verify(buf, n, seed) == n);
	memset(back, 0, n);
	MT_CHECK(mt_rdma(IBV_WR_RDMA_READ, back, skey, buf, mr->rkey, n) == 0);
	MT_CHECK(mt_verify(back, n, seed) == n);
	/* Into the buffer as a receive, and as the place for what READ brings. */
	mt_fill(mt.src, n, ++seed);
	MT_CHECK(mt_send(mt.src, skey, buf, mr->lkey, n) == 0);
	MT_CHECK(mt_verify(buf, n, seed) == n);
	mt_fill(back, n, ++seed);
	MT_CHECK(mt_rdma(IBV_WR_RDMA_READ, buf, mr->lkey, back, mt.src_mr->rkey, n) == 0);
	MT_CHECK(mt_verify(buf, n, seed) == n);
	/* And out of it, as the source of a SEND. */
	mt_fill(buf, n, ++seed);
	memset(back, 0, n);
	MT_CHECK(mt_send(buf, mr->lkey, back, skey, n) == 0);
	MT_CHECK(mt_verify(back, n, seed) == n);
	return NULL;
}

const char *
mt_exercise(struct ibv_mr *mr, uint8_t *buf, size_t len)
{
	size_t n = len < 200000 ? len : 200000;

	MT_TRY(exercise_window(mr, buf, (uint32_t)n));
	if (len > n)
		MT_TRY(exercise_window(mr, buf + len - n, (uint32_t)n));
	return NULL;
}

/* ---- neighbours ---- */

static void *
neighbour_main(void *arg)
{
	struct mt_neighbour *n = arg;
	size_t i;
	int k;

	while (!atomic_load_explicit(&n->stop, memory_order_relaxed)) {
		for (k = 0; k < 2; k++)
			for (i = 0; i < n->len[k]; i++)
				n->bytes[k][i]++;
		n->count++;
	}
	return NULL;
}

int
mt_neighbour_start(struct mt_neighbour *n)
{
	int k;

	for (k = 0; k < 2; k++)
		memset((void *)n->bytes[k], 0, n->len[k]);
	n->count = 0;
	atomic_store(&n->stop, false);
	return pthread_create(&n->thread, NULL, neighbour_main, n);
}

bool
mt_neighbour_stop(struct mt_neighbour *n)
{
	bool good = true;
	size_t i;
	int k;

	atomic_store(&n->stop, true);
	pthread_join(n->thread, NULL);
	for (k = 0; k < 2; k++)
		for (i = 0; i < n->len[k]; i++)
			good = good && n->bytes[k][i] == n->count;
	return good;
}

/* ---- set-up ---- */

static int
qp_make(int i)
{
	struct ibv_qp_init_attr init = {
		.qp_type = IBV_QPT_RC,
		.send_cq = mt.cq[i],
		.recv_cq = mt.cq[i],
		.cap = {.max_send_wr = 16, .max_recv_wr = 16, .max_send_sge = 4, .max_recv_sge = 4},
	};
	struct ibv_qp_attr attr = {
		.qp_state = IBV_QPS_INIT,
		.port_num = 1,
		.qp_access_flags = MT_ALL,
	};

	mt.qp[i] = ibv_create_qp(mt.pd, &init);
	if (!mt.qp[i])
		return -errno;
	return -ibv_modify_qp(mt.qp[i], &attr,
			      IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS);
}

static int
qp_connect(int i)
{
	struct ibv_qp_attr attr = {
		.qp_state = IBV_QPS_RTR,
		.path_mtu = IBV_MTU_1024,
		.dest_qp_num = mt.qp[!i]->qp_num,
		.max_dest_rd_atomic = 4,
		.min_rnr_timer = 5,
		.ah_attr = {.is_global = 1,
			    .port_num = 1,
			    .grh = {.dgid = mt.gid, .hop_limit = 64}},
	};
	int rc;

	rc = ibv_modify_qp(mt.qp[i], &attr,
			   IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN |
				   IBV_QP_RQ_PSN | IBV_QP_MAX_DEST_RD_ATOMIC |
				   IBV_QP_MIN_RNR_TIMER);
	if (rc)
		return -rc;
	attr = (struct ibv_qp_attr){
		.qp_state = IBV_QPS_RTS,
		.timeout = 14,
		.retry_cnt = 7,
		.rnr_retry = 7,
		.max_rd_atomic = 4,
	};
	return -ibv_modify_qp(mt.qp[i], &attr,
			      IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY |
				      IBV_QP_SQ_PSN | IBV_QP_MAX_QP_RD_ATOMIC);
}

int
mt_reconnect(void)
{
	struct ibv_wc wc;
	int i, rc;

	for (i = 0; i < 2; i++) {
		if (mt.qp[i])
			ibv_destroy_qp(mt.qp[i]);
		while (ibv_poll_cq(mt.cq[i], 1, &wc) > 0)
			;
		rc = qp_make(i);
		if (rc)
			return rc;
	}
	rc = qp_connect(0);
	return rc ? rc : qp_connect(1);
}

static int
setup(void)
{
	struct ibv_device **list = ibv_get_device_list(NULL);
	const char *way = getenv("FREEFLOW_MR");
	int i;

	if (!list || !list[0])
		return -ENODEV;
	mt.process_vm = way && strcmp(way, "process_vm") == 0;
	mt.ctx = ibv_open_device(list[0]);
	ibv_free_device_list(list);
	if (!mt.ctx || ibv_query_gid(mt.ctx, 1, 0, &mt.gid))
		return -errno;
	mt.pd = ibv_alloc_pd(mt.ctx);
	if (!mt.pd)
		return -errno;
	for (i = 0; i < 2; i++) {
		mt.cq[i] = ibv_create_cq(mt.ctx, 64, NULL, NULL, 0);
		if (!mt.cq[i])
			return -errno;
	}
	mt.src = mmap(NULL, SRC_LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (mt.src == MAP_FAILED)
		return -errno;
	mt.src_mr = ibv_reg_mr(mt.pd, mt.src, SRC_LEN, MT_ALL);
	if (!mt.src_mr)
		return -errno;
	return mt_reconnect();
}

static unsigned
run(const struct mt_case *c, const char *only)
{
	unsigned failed = 0;
	const char *result;

	for (; c->name; c++) {
		if (only && strcmp(only, c->name) != 0)
			continue;
		result = c->fn();
		if (!result) {
			printf("ok %s\n", c->name);
		} else if (result == skipped) {
			printf("skip %s - %s\n", c->name, skip_why);
		} else {
			printf("not ok %s - %s\n", c->name, result);
			failed++;
			if (mt_reconnect())
				break;
		}
		fflush(stdout);
	}
	return failed;
}

int
main(int argc, char **argv)
{
	const char *only = argc > 1 ? argv[1] : NULL;
	unsigned failed;
	int rc = setup();

	if (rc) {
		printf("not ok setup - %s\n", strerror(-rc));
		return 1;
	}
	failed = run(mt_align_cases, only) + run(mt_kind_cases, only) + run(mt_life_cases, only);
	ibv_dereg_mr(mt.src_mr);
	return failed != 0;
}
