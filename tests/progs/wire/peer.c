/* SPDX-License-Identifier: MIT */
/* Main program and what the modes share; see peer.h. Runs inside a container. */
#include <arpa/inet.h>
#include <netdb.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "peer.h"

#define WAIT_S 20

struct peer peer = {.timeout = 16, .retry = 7, .mtu = IBV_MTU_1024, .size = 20000};

void
peer_fail(const char *format, ...)
{
	va_list args;

	printf("failed: ");
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n");
	exit(1);
}

void
peer_fill(uint8_t *at, size_t len, unsigned seed)
{
	for (size_t i = 0; i < len; i++)
		at[i] = (uint8_t)(i * 7 + seed + (i >> 8));
}

size_t
peer_check(const uint8_t *at, size_t len, unsigned seed)
{
	size_t i = 0;

	while (i < len && at[i] == (uint8_t)(i * 7 + seed + (i >> 8)))
		i++;
	return i;
}

struct ibv_mr *
peer_memory(size_t len)
{
	struct ibv_mr *mr;
	void *at;

	at = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	PEER_MUST(at != MAP_FAILED);
	mr = ibv_reg_mr(peer.pd, at, len, PEER_ACCESS);
	PEER_MUST(mr);
	return mr;
}

/* ---- the TCP connection ---- */

static void
tcp_exchange(const void *give, void *take, size_t len)
{
	PEER_MUST(send(peer.sock, give, len, MSG_NOSIGNAL) == (ssize_t)len);
	PEER_MUST(recv(peer.sock, take, len, MSG_WAITALL) == (ssize_t)len);
}

uint32_t
peer_swap(uint32_t word)
{
	uint32_t other;

	tcp_exchange(&word, &other, sizeof(word));
	return other;
}

static int
tcp_listen(const char *port)
{
	struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)atoi(port))};
	int s = socket(AF_INET6, SOCK_STREAM, 0), on = 1, c;

	PEER_MUST(s >= 0 && !setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)));
	PEER_MUST(!bind(s, (struct sockaddr *)&a, sizeof(a)) && !listen(s, 1));
	c = accept(s, NULL, NULL);
	close(s);
	return c;
}

static int
tcp_connect(const char *host, const char *port)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
	int s;

	if (getaddrinfo(host, port, &hints, &found))
		peer_fail("%s: no address", host);
	s = socket(found->ai_family, SOCK_STREAM, 0);
	PEER_MUST(s >= 0 && !connect(s, found->ai_addr, found->ai_addrlen));
	freeaddrinfo(found);
	return s;
}

/* ---- QPs ---- */

static void
to_init(struct peer_link *l)
{
	struct ibv_qp_attr a = {.qp_state = IBV_QPS_INIT,
				.port_num = 1,
				.qkey = PEER_QKEY,
				.qp_access_flags = PEER_ACCESS & ~IBV_ACCESS_MW_BIND};

	PEER_MUST(!ibv_modify_qp(
		l->qp, &a,
		IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT |
			(l->type == IBV_QPT_UD ? IBV_QP_QKEY : IBV_QP_ACCESS_FLAGS)));
}

static struct ibv_ah_attr
path_of(const struct peer_link *l)
{
	return (struct ibv_ah_attr){.is_global = 1,
				    .port_num = 1,
				    .grh = {.dgid = l->theirs.gid,
					    .sgid_index = (uint8_t)peer.gid_index,
					    .hop_limit = 64}};
}

static void
to_rtr(struct peer_link *l)
{
	struct ibv_qp_attr a = {.qp_state = IBV_QPS_RTR,
				.path_mtu = peer.mtu,
				.dest_qp_num = l->theirs.qpn,
				.rq_psn = l->theirs.psn,
				.max_dest_rd_atomic = 8,
				.min_rnr_timer = 12,
				.ah_attr = path_of(l)};
	int mask = IBV_QP_STATE;

	if (l->type != IBV_QPT_UD)
		mask |= IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN;
	if (l->type == IBV_QPT_RC)
		mask |= IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER;
	PEER_MUST(!ibv_modify_qp(l->qp, &a, mask));
}

static void
to_rts(struct peer_link *l, bool no_rnr_retry)
{
	struct ibv_qp_attr a = {.qp_state = IBV_QPS_RTS,
				.sq_psn = l->mine.psn,
				.timeout = peer.timeout,
				.retry_cnt = peer.retry,
				.rnr_retry = no_rnr_retry ? 0 : 7,
				.max_rd_atomic = 8};
	int mask = IBV_QP_STATE | IBV_QP_SQ_PSN;

	if (l->type == IBV_QPT_RC)
		mask |= IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY |
			IBV_QP_MAX_QP_RD_ATOMIC;
	PEER_MUST(!ibv_modify_qp(l->qp, &a, mask));
}

void
peer_link_open(struct peer_link *l, const struct peer_opts *o)
{
	struct ibv_qp_init_attr init = {.qp_type = o->type,
					.cap = {.max_send_wr = o->depth,
						.max_recv_wr = o->depth,
						.max_send_sge = 1,
						.max_recv_sge = 1}};

	memset(l, 0, sizeof(*l));
	l->type = o->type;
	l->cq = ibv_create_cq(peer.ctx, (int)(2 * o->depth), NULL, o->channel, 0);
	PEER_MUST(l->cq);
	init.send_cq = init.recv_cq = l->cq;
	init.srq = o->srq;
	l->qp = ibv_create_qp(peer.pd, &init);
	PEER_MUST(l->qp);
	to_init(l);
	l->mine = (struct peer_end){.qpn = l->qp->qp_num,
				    .psn = 0xfffff8, /* wraps soon */
				    .rkey = o->mr->rkey,
				    .va = (uintptr_t)o->mr->addr,
				    .gid = peer.gid};
	tcp_exchange(&l->mine, &l->theirs, sizeof(l->mine));
	to_rtr(l);
	to_rts(l, o->no_rnr_retry);
	if (l->type == IBV_QPT_UD) {
		struct ibv_ah_attr a = path_of(l);

		l->ah = ibv_create_ah(peer.pd, &a);
		PEER_MUST(l->ah);
	}
	peer_swap(0);
}

void
peer_link_close(struct peer_link *l)
{
	if (l->ah)
		ibv_destroy_ah(l->ah);
	PEER_MUST(!ibv_destroy_qp(l->qp) && !ibv_destroy_cq(l->cq));
}

void
peer_recv(struct peer_link *l, uint64_t id, void *at, uint32_t len, uint32_t lkey)
{
	struct ibv_sge sge = {(uintptr_t)at, len, lkey};
	struct ibv_recv_wr wr = {.wr_id = id, .sg_list = &sge, .num_sge = 1}, *bad;

	PEER_MUST(!ibv_post_recv(l->qp, &wr, &bad));
}

void
peer_wait(struct peer_link *l, struct ibv_wc *wc)
{
	struct timespec end, now;
	int n;

	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += WAIT_S;
	while ((n = ibv_poll_cq(l->cq, 1, wc)) == 0) {
		clock_gettime(CLOCK_MONOTONIC, &now);
		if (now.tv_sec > end.tv_sec)
			peer_fail("no completion after %d s", WAIT_S);
		usleep(100);
	}
	PEER_MUST(n == 1);
}

/* ---- start ---- */

static void
device_open(void)
{
	struct ibv_device **list = ibv_get_device_list(NULL);

	PEER_MUST(list && list[0]);
	peer.ctx = ibv_open_device(list[0]);
	PEER_MUST(peer.ctx && !ibv_query_gid(peer.ctx, 1, peer.gid_index, &peer.gid));
	ibv_free_device_list(list);
	peer.pd = ibv_alloc_pd(peer.ctx);
	PEER_MUST(peer.pd);
}

static enum ibv_mtu
mtu_of(int bytes)
{
	int mtu = IBV_MTU_256;

	while (mtu < IBV_MTU_4096 && 128 << mtu < bytes)
		mtu++;
	return (enum ibv_mtu)mtu;
}

static const struct {
	const char *name;
	void (*run)(void);
} modes[] = {{"ops", peer_ops}, {"load", peer_load}, {"victim", peer_victim}, {"srq", peer_srq}};

int
main(int argc, char **argv)
{
	const char *port = "18600";
	unsigned i;
	int c;

	setvbuf(stdout, NULL, _IOLBF, 0);
	while ((c = getopt(argc, argv, "g:t:r:m:s:p:w:")) != -1) {
		if (c == 'g')
			peer.gid_index = atoi(optarg);
		else if (c == 't')
			peer.timeout = (uint8_t)atoi(optarg);
		else if (c == 'r')
			peer.retry = (uint8_t)atoi(optarg);
		else if (c == 'm')
			peer.mtu = mtu_of(atoi(optarg));
		else if (c == 's')
			peer.size = (uint32_t)atoi(optarg);
		else if (c == 'w')
			peer.pause_ms = (unsigned)atoi(optarg);
		else if (c == 'p')
			port = optarg;
		else
			return 2;
	}
	for (i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
		if (optind < argc && !strcmp(argv[optind], modes[i].name))
			break;
	if (i == sizeof(modes) / sizeof(modes[0]))
		peer_fail("wire_peer [-g GID] [-t TIMEOUT] [-r RETRIES] [-m MTU] [-s SIZE] "
			  "[-w PAUSE] [-p PORT] ops|load|victim|srq [SERVER]");
	peer.client = optind + 1 < argc;
	device_open();
	peer.sock = peer.client ? tcp_connect(argv[optind + 1], port) : tcp_listen(port);
	PEER_MUST(peer.sock >= 0);
	modes[i].run();
	ibv_close_device(peer.ctx);
	return 0;
}
