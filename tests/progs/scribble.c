/* SPDX-License-Identifier: MIT */
/*
 * A hostile tenant: children that misuse everything a container can reach (shared queues, rings,
 * registered memory, the sockets) in random ways, for some seconds.
 * Children may crash: their own provider trusts the queues. What counts is what the router does;
 * the caller looks at that. Usage: scribble SECONDS SEED, under the shim.
 */
#include <errno.h>
#include <fcntl.h>
#include <infiniband/verbs.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <freeflow/abi.h>
#include <freeflow/tcp.h>
#include <freeflow/uverbs.h>

#define CHILD_MS 300
#define BUF_LEN	 (256u * 1024)

struct area {
	uint8_t *start;
	size_t len;
};

static uint64_t rng;
static struct area areas[256];
static unsigned num_areas;

/* xorshift64*: repeatable from the seed. */
static uint64_t
rnd(void)
{
	rng ^= rng >> 12;
	rng ^= rng << 25;
	rng ^= rng >> 27;
	return rng * 0x2545f4914f6cdd1dull;
}

static double
now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static uint64_t
nasty(void)
{
	static const uint64_t v[] = {0,		 1,	     2,		 0x7f,	     0x80,
				     0xff,	 0x7fff,     0xffff,	 0x7fffffff, 0x80000000,
				     0xffffffff, UINT64_MAX, 1ull << 63, 384,	     4096};

	return rnd() & 1 ? v[rnd() % (sizeof(v) / sizeof(v[0]))] : rnd();
}

static void
find_areas(void)
{
	FILE *f = fopen("/proc/self/maps", "r");
	char line[512], perms[5];
	unsigned long a, b;

	while (f && fgets(line, sizeof(line), f) && num_areas < 256) {
		if (sscanf(line, "%lx-%lx %4s", &a, &b, perms) != 3 || !strstr(line, "memfd:"))
			continue;
		if (perms[1] == 'w' && perms[3] == 's')
			areas[num_areas++] = (struct area){(uint8_t *)a, b - a};
	}
	if (f)
		fclose(f);
}

/* Heads of rings and queues are in the first bytes: half of the writes go there. */
static void
scribble_once(void)
{
	struct area *r = &areas[rnd() % num_areas];
	size_t room = rnd() & 1 && r->len > 512 ? 512 : r->len;
	size_t off = rnd() % room & ~3ull;
	uint64_t v = nasty();

	memcpy(r->start + off, &v, r->len - off >= 8 && rnd() & 1 ? 8 : 4);
}

static void *
scribbler(void *arg)
{
	double end = now_ms() + CHILD_MS;

	while (now_ms() < end)
		for (unsigned i = 0; i < 64; i++)
			scribble_once();
	return NULL;
}

static struct ibv_qp *
make_qp(struct ibv_pd *pd, struct ibv_cq *cq, struct ibv_srq *srq, enum ibv_qp_type type)
{
	struct ibv_qp_init_attr a = {.send_cq = cq,
				     .recv_cq = cq,
				     .srq = srq,
				     .qp_type = type,
				     .cap = {64, 64, 8, 8, 128}};
	struct ibv_qp_attr init = {.qp_state = IBV_QPS_INIT,
				   .port_num = 1,
				   .qkey = 1,
				   .qp_access_flags = IBV_ACCESS_REMOTE_WRITE |
						      IBV_ACCESS_REMOTE_READ |
						      IBV_ACCESS_REMOTE_ATOMIC};
	struct ibv_qp *qp = ibv_create_qp(pd, &a);

	if (qp)
		ibv_modify_qp(qp, &init,
			      IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT |
				      (type == IBV_QPT_UD ? IBV_QP_QKEY : IBV_QP_ACCESS_FLAGS));
	return qp;
}

static void
connect_qp(struct ibv_context *ctx, struct ibv_qp *qp, uint32_t peer)
{
	struct ibv_qp_attr a = {.qp_state = IBV_QPS_RTR,
				.path_mtu = IBV_MTU_1024,
				.dest_qp_num = peer,
				.max_dest_rd_atomic = 4,
				.min_rnr_timer = 1,
				.ah_attr = {.is_global = 1, .port_num = 1}};

	ibv_query_gid(ctx, 1, 0, &a.ah_attr.grh.dgid);
	ibv_modify_qp(qp, &a,
		      IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN |
			      IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER);
	a.qp_state = IBV_QPS_RTS;
	a.timeout = 8;
	a.retry_cnt = 1;
	a.rnr_retry = 1;
	a.max_rd_atomic = 4;
	ibv_modify_qp(qp, &a,
		      IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY |
			      IBV_QP_SQ_PSN | IBV_QP_MAX_QP_RD_ATOMIC);
}

static void
post(struct ibv_qp *qp, struct ibv_mr *mr, uint8_t *buf)
{
	struct ibv_sge sge = {(uintptr_t)buf + rnd() % 4096, (uint32_t)(rnd() % 8192), mr->lkey};
	struct ibv_send_wr wr = {.sg_list = &sge,
				 .num_sge = 1,
				 .opcode = rnd() % 7,
				 .send_flags = IBV_SEND_SIGNALED},
			   *bad;
	struct ibv_recv_wr rwr = {.sg_list = &sge, .num_sge = 1}, *rbad;

	wr.wr.rdma.remote_addr = (uintptr_t)buf + rnd() % 4096;
	wr.wr.rdma.rkey = mr->rkey;
	ibv_post_recv(qp, &rwr, &rbad);
	ibv_post_send(qp, &wr, &bad);
}

static void
mode_scribble(void)
{
	struct ibv_device **list = ibv_get_device_list(NULL);
	struct ibv_context *ctx = list && list[0] ? ibv_open_device(list[0]) : NULL;
	struct ibv_comp_channel *ch;
	struct ibv_srq_init_attr sa = {.attr = {.max_wr = 64, .max_sge = 4}};
	struct ibv_qp *qp[4];
	struct ibv_cq *cq;
	struct ibv_pd *pd;
	struct ibv_mr *mr;
	uint8_t *buf =
		mmap(NULL, BUF_LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	pthread_t t;
	double end;

	if (!ctx || !(pd = ibv_alloc_pd(ctx)))
		_exit(3);
	ch = ibv_create_comp_channel(ctx);
	cq = ibv_create_cq(ctx, 128, NULL, ch, 0);
	mr = ibv_reg_mr(pd, buf, BUF_LEN, 15);
	if (!cq || !mr)
		_exit(3);
	for (unsigned i = 0; i < 4; i++) {
		struct ibv_srq *srq = i == 3 ? ibv_create_srq(pd, &sa) : NULL;

		qp[i] = make_qp(pd, cq, srq, IBV_QPT_RC);
		if (!qp[i])
			_exit(3);
	}
	connect_qp(ctx, qp[0], qp[1]->qp_num);
	connect_qp(ctx, qp[1], qp[0]->qp_num);
	connect_qp(ctx, qp[2], qp[2]->qp_num);
	find_areas();
	if (!num_areas)
		_exit(4);
	pthread_create(&t, NULL, scribbler, NULL);
	for (end = now_ms() + CHILD_MS; now_ms() < end;) {
		struct ibv_wc wc[8];

		post(qp[rnd() % 3], mr, buf);
		ibv_poll_cq(cq, 8, wc);
		if (rnd() % 16 == 0)
			ibv_req_notify_cq(cq, rnd() & 1);
	}
}

static int
dial(const char *name)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	const char *dir = getenv("FREEFLOW_DIR");
	int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);

	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/%s", dir ? dir : FF_MOUNT, name);
	if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)))
		_exit(3);
	return fd;
}

/* Sends len bytes, now and then with some fds, and looks at what comes back without waiting. */
static void
throw_at(int fd, void *msg, size_t len)
{
	char ctl[CMSG_SPACE(4 * sizeof(int))] = {0}, back[4096];
	struct iovec io = {msg, len};
	struct msghdr h = {.msg_iov = &io, .msg_iovlen = 1};

	if (rnd() % 8 == 0) {
		struct cmsghdr *c;
		int fds[4] = {0, 1, 2, fd};

		h.msg_control = ctl;
		h.msg_controllen = sizeof(ctl);
		c = CMSG_FIRSTHDR(&h);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(fds));
		memcpy(CMSG_DATA(c), fds, sizeof(fds));
	}
	sendmsg(fd, &h, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (rnd() & 1)
		recv(fd, back, sizeof(back), MSG_DONTWAIT);
}

static void
mode_garbage(const char *sock)
{
	static uint8_t msg[FF_MSG_MAX + 100];
	double end = now_ms() + CHILD_MS;

	while (now_ms() < end) {
		int fd = dial(sock);

		for (unsigned i = rnd() % 8; i < 8; i++) {
			size_t len = rnd() % 3 ? rnd() % 256 : rnd() % sizeof(msg);
			struct ff_msg_hdr h = {.type = (uint32_t)(1 + rnd() % 4),
					       .len = (uint32_t)(len - sizeof(h))};

			for (size_t k = 0; k + 8 <= len; k += 8) {
				uint64_t v = nasty();

				memcpy(msg + k, &v, 8);
			}
			if (len >= sizeof(h) && rnd() & 1)
				memcpy(msg, &h, sizeof(h));
			throw_at(fd, msg, len);
		}
		close(fd);
	}
}

/* A connection that is full, and whose close() waits. */
static int
lingering(int *peer)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	struct linger l = {.l_onoff = 1, .l_linger = 1000};
	int listener = socket(AF_INET, SOCK_STREAM, 0), fd = socket(AF_INET, SOCK_STREAM, 0);
	socklen_t len = sizeof(sin);
	static char much[65536];

	if (listen(listener, 1) || getsockname(listener, (struct sockaddr *)&sin, &len))
		_exit(3);
	sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (connect(fd, (struct sockaddr *)&sin, sizeof(sin)))
		_exit(3);
	*peer = accept(listener, NULL, NULL);
	close(listener);
	while (send(fd, much, sizeof(much), MSG_DONTWAIT) > 0)
		;
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l));
	return fd;
}

/* Streams: what a shim says, out of turn, with sockets that linger; and anything else. */
static void
mode_streams(void)
{
	struct ff_tcp_msg m = {.type = FF_TCP_HELLO, .value = FF_TCP_ABI_VERSION};
	double end = now_ms() + CHILD_MS;
	char ctl[CMSG_SPACE(sizeof(int))];
	int peer, tcp = lingering(&peer);

	while (now_ms() < end) {
		int fd = dial(FF_TCP_SOCK);

		send(fd, &m, sizeof(m), MSG_NOSIGNAL);
		for (unsigned i = rnd() % 64; i; i--) {
			struct ff_tcp_msg say = {FF_TCP_ASK + rnd() % 3, rnd() % 4, 0, 0};
			struct iovec io = {&say, sizeof(say)};
			struct msghdr h = {.msg_iov = &io, .msg_iovlen = 1};
			struct cmsghdr *c = (struct cmsghdr *)ctl;

			if (say.type == FF_TCP_ASK) {
				c->cmsg_level = SOL_SOCKET;
				c->cmsg_type = SCM_RIGHTS;
				c->cmsg_len = CMSG_LEN(sizeof(int));
				memcpy(CMSG_DATA(c), rnd() % 8 ? &tcp : &fd, sizeof(int));
				h.msg_control = ctl;
				h.msg_controllen = sizeof(ctl);
			}
			sendmsg(fd, &h, MSG_DONTWAIT | MSG_NOSIGNAL);
		}
		close(fd);
	}
	mode_garbage(FF_TCP_SOCK);
}

/* Commands that a driver would send, with fields turned over: through the shim's own write(). */
static void
mode_commands(void)
{
	struct ibv_device **list = ibv_get_device_list(NULL);
	struct ibv_context *ctx = list && list[0] ? ibv_open_device(list[0]) : NULL;
	uint32_t cmd[64], resp[256];
	double end = now_ms() + CHILD_MS;
	struct ibv_pd *pd;

	if (!ctx || !(pd = ibv_alloc_pd(ctx)))
		_exit(3);
	while (now_ms() < end) {
		uint64_t addr = (uintptr_t)resp;
		uint32_t words = 4 + rnd() % 30;
		bool ex = rnd() % 3 == 0;

		for (unsigned i = 0; i < 64; i++)
			cmd[i] = rnd() % 4 ? rnd() % 4 : (uint32_t)nasty();
		cmd[0] = rnd() % 42 | (ex ? IB_USER_VERBS_CMD_FLAG_EXTENDED : 0);
		cmd[1] = ex ? words / 2 | 16 << 16 : words | 32 << 16;
		memcpy(&cmd[2], &addr, 8);
		if (ex) {
			cmd[4] = 0;
			cmd[5] = 0;
		}
		if (write(ctx->cmd_fd, cmd, ex ? 24 + words / 2 * 8 : words * 4) < 0 &&
		    errno == EIO)
			break;
	}
}

static void
child(unsigned mode)
{
	switch (mode) {
	case 0:
	case 1:
		mode_scribble();
		break;
	case 2:
		mode_garbage(FF_ROUTER_SOCK);
		break;
	case 3:
		mode_garbage(FF_MEMIF_SOCK);
		break;
	case 4:
		mode_streams();
		break;
	default:
		mode_commands();
	}
	_exit(0);
}

int
main(int argc, char **argv)
{
	double end = now_ms() + 1000 * (argc > 1 ? atof(argv[1]) : 5);
	unsigned n = 0, crashed = 0, refused = 0;

	rng = (argc > 2 ? strtoull(argv[2], NULL, 0) : 1) | 1;
	while (now_ms() < end) {
		unsigned mode = n++ % 6;
		uint64_t seed = rnd();
		pid_t pid = fork();
		int st;

		if (pid == 0) {
			signal(SIGALRM, SIG_DFL);
			alarm(10);
			rng = seed | 1;
			freopen("/dev/null", "w", stderr);
			child(mode);
		}
		if (pid < 0 || waitpid(pid, &st, 0) != pid)
			return 1;
		crashed += WIFSIGNALED(st);
		refused += WIFEXITED(st) && WEXITSTATUS(st);
	}
	printf("%u children, %u crashed, %u could not start\n", n, crashed, refused);
	return refused == n;
}
