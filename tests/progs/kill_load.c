/* SPDX-License-Identifier: MIT */
/*
 * Pairs of processes under load, one of which is killed at a random moment of its life, again and
 * again. The other must learn of it by an error completion. Usage: kill_load ROUNDS SEED, under the
 * shim. Prints what happened; exit 1 if a survivor did not notice or saw wrong data.
 */
#include <errno.h>
#include <infiniband/verbs.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LEN	  (1u << 20)
#define DEPTH	  8
#define NOTICE_MS 60000

enum verdict {
	SAW_ERROR = 0, /* an error completion */
	NOT_CONNECTED, /* the other died before the connection was made */
	NO_NOTICE,
	BAD_DATA,
	NO_DEVICE,
	NUM_VERDICTS,
};

struct end {
	union ibv_gid gid;
	uint32_t qpn, rkey;
	uint64_t addr;
};

static int ready_pipe[2]; /* a byte from each child that is connected */

static double
now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static struct ibv_qp *
connect_qp(struct ibv_context *ctx, struct ibv_pd *pd, struct ibv_cq *cq, int sock,
	   struct end *mine, struct end *peer)
{
	struct ibv_qp_init_attr i = {.send_cq = cq,
				     .recv_cq = cq,
				     .qp_type = IBV_QPT_RC,
				     .cap = {DEPTH, DEPTH, 1, 1, 0}};
	struct ibv_qp_attr a = {.qp_state = IBV_QPS_INIT,
				.port_num = 1,
				.qp_access_flags = IBV_ACCESS_REMOTE_WRITE};
	struct ibv_qp *qp = ibv_create_qp(pd, &i);

	if (!qp ||
	    ibv_modify_qp(qp, &a,
			  IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS))
		_exit(NO_DEVICE);
	ibv_query_gid(ctx, 1, 0, &mine->gid);
	mine->qpn = qp->qp_num;
	if (send(sock, mine, sizeof(*mine), MSG_NOSIGNAL) != sizeof(*mine) ||
	    recv(sock, peer, sizeof(*peer), MSG_WAITALL) != sizeof(*peer))
		_exit(NOT_CONNECTED);
	a = (struct ibv_qp_attr){
		.qp_state = IBV_QPS_RTR,
		.path_mtu = IBV_MTU_4096,
		.dest_qp_num = peer->qpn,
		.max_dest_rd_atomic = 1,
		.min_rnr_timer = 1,
		.ah_attr = {.is_global = 1, .port_num = 1, .grh = {.dgid = peer->gid}}};
	ibv_modify_qp(qp, &a,
		      IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN |
			      IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER);
	a = (struct ibv_qp_attr){.qp_state = IBV_QPS_RTS,
				 .timeout = 10,
				 .retry_cnt = 7,
				 .rnr_retry = 7,
				 .max_rd_atomic = 1};
	if (ibv_modify_qp(qp, &a,
			  IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY |
				  IBV_QP_SQ_PSN | IBV_QP_MAX_QP_RD_ATOMIC))
		_exit(NO_DEVICE);
	return qp;
}

/* Writes its byte all over the other's half, again and again, until that fails. */
static void
load(struct ibv_qp *qp, struct ibv_cq *cq, struct ibv_mr *mr, uint8_t *buf, uint8_t peer_byte,
     const struct end *peer)
{
	struct ibv_sge sge = {(uintptr_t)buf, LEN, mr->lkey};
	struct ibv_send_wr wr = {.sg_list = &sge,
				 .num_sge = 1,
				 .opcode = IBV_WR_RDMA_WRITE,
				 .send_flags = IBV_SEND_SIGNALED},
			   *bad;
	double end = now_ms() + NOTICE_MS;
	unsigned posted = 0;
	struct ibv_wc wc;

	wr.wr.rdma.remote_addr = peer->addr + LEN;
	wr.wr.rdma.rkey = peer->rkey;
	while (now_ms() < end) {
		for (; posted < DEPTH; posted++)
			if (ibv_post_send(qp, &wr, &bad))
				_exit(NO_DEVICE);
		while (ibv_poll_cq(cq, 1, &wc) == 1) {
			posted--;
			if (wc.status)
				_exit(SAW_ERROR);
		}
		/* Ours is the first half; the second holds nothing but the peer's byte or zero. */
		for (size_t i = 0; i < LEN; i += 4096)
			if (buf[LEN + i] && buf[LEN + i] != peer_byte)
				_exit(BAD_DATA);
	}
	_exit(NO_NOTICE);
}

static void
child(int sock, uint8_t byte, uint8_t peer_byte)
{
	struct ibv_device **list = ibv_get_device_list(NULL);
	struct ibv_context *ctx = list && list[0] ? ibv_open_device(list[0]) : NULL;
	uint8_t *buf =
		mmap(NULL, 2 * LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct end mine = {.addr = (uintptr_t)buf}, peer;
	struct ibv_pd *pd;
	struct ibv_cq *cq;
	struct ibv_mr *mr;
	struct ibv_qp *qp;

	if (!ctx || !(pd = ibv_alloc_pd(ctx)) || !(cq = ibv_create_cq(ctx, 64, NULL, NULL, 0)))
		_exit(NO_DEVICE);
	memset(buf, byte, LEN);
	mr = ibv_reg_mr(pd, buf, 2 * LEN, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE);
	if (!mr)
		_exit(NO_DEVICE);
	mine.rkey = mr->rkey;
	qp = connect_qp(ctx, pd, cq, sock, &mine, &peer);
	if (write(ready_pipe[1], "", 1) != 1)
		_exit(NO_DEVICE);
	load(qp, cq, mr, buf, peer_byte, &peer);
}

/* Every other round the kill comes when both are connected: it hits the load. */
static void
wait_connected(int fd)
{
	char byte[2];
	struct pollfd p = {.fd = fd, .events = POLLIN};

	for (unsigned got = 0; got < 2 && poll(&p, 1, NOTICE_MS) == 1;) {
		ssize_t n = read(fd, byte, 1);

		if (n <= 0)
			return;
		got++;
	}
}

static pid_t
spawn(int sock, int other, unsigned round, bool second)
{
	uint8_t a = (uint8_t)(1 + round % 100), b = (uint8_t)(101 + round % 100);
	pid_t pid = fork();

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	close(other);
	child(sock, second ? b : a, second ? a : b);
	_exit(NO_DEVICE);
}

static int
one_round(unsigned round)
{
	int sv[2], st = 0;
	pid_t p[2];
	unsigned victim = rand() & 1;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, sv) || pipe(ready_pipe))
		return -1;
	p[0] = spawn(sv[0], sv[1], round, false);
	p[1] = spawn(sv[1], sv[0], round, true);
	close(sv[0]);
	close(sv[1]);
	close(ready_pipe[1]);
	if (round & 1)
		wait_connected(ready_pipe[0]);
	usleep((unsigned)rand() % 40000);
	kill(p[victim], SIGKILL);
	waitpid(p[victim], &st, 0);
	if (waitpid(p[!victim], &st, 0) < 0)
		st = -1;
	close(ready_pipe[0]);
	return WIFEXITED(st) ? WEXITSTATUS(st) : -1;
}

int
main(int argc, char **argv)
{
	unsigned rounds = argc > 1 ? (unsigned)atoi(argv[1]) : 20, n[NUM_VERDICTS] = {0}, bad = 0;

	srand(argc > 2 ? (unsigned)atoi(argv[2]) : 1);
	for (unsigned i = 0; i < rounds; i++) {
		int v = one_round(i);

		if (v < 0 || v >= NUM_VERDICTS)
			bad++;
		else
			n[v]++;
	}
	printf("%u kills: %u noticed, %u before the connection, %u not noticed, %u wrong data, "
	       "%u without a device, %u others\n",
	       rounds, n[SAW_ERROR], n[NOT_CONNECTED], n[NO_NOTICE], n[BAD_DATA], n[NO_DEVICE],
	       bad);
	return n[NO_NOTICE] || n[BAD_DATA] || n[NO_DEVICE] || bad || !n[SAW_ERROR];
}
