/* SPDX-License-Identifier: MIT */
/*
 * Holds connected but idle queue pairs: makes N of them, each connected to itself, or to the same
 * number at a peer's address (which need not have it), says "ready", and keeps them until its
 * standard input ends.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <infiniband/verbs.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PORT	  1
#define COUNT_MAX 100000

struct holder {
	struct ibv_context *ctx;
	struct ibv_pd *pd;
	struct ibv_cq *cq;
	union ibv_gid gid;
};

static int
fail(const char *what)
{
	fprintf(stderr, "ff-idle-qps: %s: %s\n", what, strerror(errno));
	return 1;
}

static int
qp_connect(struct ibv_qp *qp, const union ibv_gid *gid)
{
	struct ibv_qp_attr init = {.qp_state = IBV_QPS_INIT, .port_num = PORT};
	struct ibv_qp_attr rtr = {
		.qp_state = IBV_QPS_RTR,
		.path_mtu = IBV_MTU_1024,
		.dest_qp_num = qp->qp_num,
		.max_dest_rd_atomic = 1,
		.min_rnr_timer = 12,
		.ah_attr = {.is_global = 1,
			    .port_num = PORT,
			    .grh = {.dgid = *gid, .hop_limit = 64}},
	};
	struct ibv_qp_attr rts = {
		.qp_state = IBV_QPS_RTS,
		.timeout = 14,
		.retry_cnt = 7,
		.rnr_retry = 7,
		.max_rd_atomic = 1,
	};

	if (ibv_modify_qp(qp, &init,
			  IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS))
		return -1;
	if (ibv_modify_qp(qp, &rtr,
			  IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN |
				  IBV_QP_RQ_PSN | IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER))
		return -1;
	return ibv_modify_qp(qp, &rts,
			     IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY |
				     IBV_QP_SQ_PSN | IBV_QP_MAX_QP_RD_ATOMIC);
}

static int
holder_open(struct holder *h)
{
	struct ibv_device **list = ibv_get_device_list(NULL);

	if (!list)
		return fail("ibv_get_device_list");
	errno = ENODEV;
	h->ctx = list[0] ? ibv_open_device(list[0]) : NULL;
	ibv_free_device_list(list);
	if (!h->ctx)
		return fail("no device");
	h->pd = ibv_alloc_pd(h->ctx);
	h->cq = ibv_create_cq(h->ctx, 16, NULL, NULL, 0);
	if (!h->pd || !h->cq)
		return fail("ibv_create_cq");
	if (ibv_query_gid(h->ctx, PORT, 0, &h->gid))
		return fail("ibv_query_gid");
	return 0;
}

static int
holder_fill(struct holder *h, const union ibv_gid *peer, long count)
{
	struct ibv_qp_init_attr attr = {
		.send_cq = h->cq,
		.recv_cq = h->cq,
		.cap = {.max_send_wr = 4, .max_recv_wr = 4, .max_send_sge = 1, .max_recv_sge = 1},
		.qp_type = IBV_QPT_RC,
	};
	long i;

	for (i = 0; i < count; i++) {
		struct ibv_qp *qp = ibv_create_qp(h->pd, &attr);

		if (!qp)
			return fail("ibv_create_qp");
		if (qp_connect(qp, peer))
			return fail("ibv_modify_qp");
	}
	return 0;
}

/* IPv4 as ::ffff:a.b.c.d; false: neither that nor IPv6. */
static bool
gid_parse(const char *text, union ibv_gid *gid)
{
	memset(gid->raw, 0, 10);
	gid->raw[10] = gid->raw[11] = 0xff;
	return inet_pton(AF_INET, text, gid->raw + 12) == 1 ||
	       inet_pton(AF_INET6, text, gid->raw) == 1;
}

int
main(int argc, char **argv)
{
	long count = -1;
	struct holder h;
	char *end = "";
	union ibv_gid peer;
	char byte;

	if (argc == 2 || argc == 3)
		count = strtol(argv[1], &end, 10);
	if (count < 0 || count > COUNT_MAX || *end || (argc == 3 && !gid_parse(argv[2], &peer))) {
		fprintf(stderr, "Usage: ff-idle-qps COUNT [PEER]\n");
		return 2;
	}
	if (holder_open(&h))
		return 1;
	if (argc == 2)
		peer = h.gid;
	if (holder_fill(&h, &peer, count))
		return 1;
	printf("ready\n");
	fflush(stdout);
	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
	/* The end of the process destroys all of it. */
	return 0;
}
