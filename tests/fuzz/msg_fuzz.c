/* SPDX-License-Identifier: MIT */
/*
 * libFuzzer target of the command socket: the parser alone, then whole conversations of several
 * connections with a container's router.sock. The input is a list of steps:
 * {op, connection, length (2 bytes)}, bytes of the message. What hangs on a connection must be gone
 * when it is closed.
 */
#include <errno.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "channel/channel_priv.h"
#include "core/worker_priv.h"
#include "nic/nic.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

#define CLIENTS	  4u
#define STEPS_MAX 64u

/* TOKEN: that of the container's first channel goes to where CONTEXT has it. */
enum step {
	STEP_RAW,
	STEP_RAW_TOKEN,
	STEP_TYPED,
	STEP_TYPED_TOKEN,
	STEP_CLOSE,
	STEP_FDS,
	STEP_MAX
};

static struct ff_container *container;
static int clients[CLIENTS];
static char run_dir[] = "/tmp/ff-msg-fuzz-XXXXXX";

static int
nic_mr(struct ff_mr *mr)
{
	return 0;
}

static void
nic_mr_gone(struct ff_mr *mr)
{
}

static int
nic_qp(struct ff_qp *qp)
{
	return 0;
}

static int
nic_modify(struct ff_qp *qp, const struct ff_qp_attr *new, uint32_t mask)
{
	qp->attr = *new;
	return 0;
}

static void
nic_none(struct ff_qp *qp)
{
}

static void
nic_srq(struct ff_srq *srq)
{
}

/* The conversations are about commands: no data moves. */
static const struct ff_nic_ops nic = {
	.name = "fuzz",
	.mr_reg = nic_mr,
	.mr_dereg = nic_mr_gone,
	.qp_create = nic_qp,
	.qp_modify = nic_modify,
	.qp_detach = nic_none,
	.qp_destroy = nic_none,
	.post = nic_none,
	.srq_changed = nic_srq,
};

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

static void
clean_up(void)
{
	nftw(run_dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
	struct ff_container_conf conf = {.id = "f", .tenant = "t", .num_addresses = 1};
	char err[256];
	FILE *shim;

	signal(SIGPIPE, SIG_IGN);
	ff_config_defaults(&ff_config);
	ff_config.limits.processes = 8;
	ff_config.limits.pinned_bytes = 64u << 20;
	ff_log_level_set(NULL, FF_LOG_ERR);
	if (!mkdtemp(run_dir))
		abort();
	atexit(clean_up);
	snprintf(ff_config.run_dir, sizeof(ff_config.run_dir), "%s", run_dir);
	snprintf(ff_config.shim_path, sizeof(ff_config.shim_path), "%s/shim.so", run_dir);
	shim = fopen(ff_config.shim_path, "w");
	if (!shim || fputs("not a library", shim) < 0 || fclose(shim))
		abort();
	snprintf(conf.addresses[0], sizeof(conf.addresses[0]), "10.32.0.1");
	ff_nic = &nic;
	if (ff_loop_init() || ff_verbs_init() || ff_channels_init() ||
	    ff_worker_create(ff_worker_get(0), 0) || ff_worker_enter(ff_worker_get(0)) ||
	    ff_containers_init() || ff_container_add(&conf, err, sizeof(err)))
		abort();
	container = ff_container_find("f");
	for (unsigned i = 0; i < CLIENTS; i++)
		clients[i] = -1;
	return 0;
}

/* One turn of the loop, without the loop: each connection that has something gets one event. */
static bool
pump_once(void)
{
	struct pollfd p[CLIENTS * 2];
	struct conn *at[CLIENTS * 2], *cn;
	unsigned n = 0;
	bool any = false;

	TAILQ_FOREACH (cn, &container_priv(container)->conns, link) {
		p[n] = (struct pollfd){.fd = cn->fd, .events = POLLIN};
		at[n++] = cn;
	}
	if (poll(p, n, 0) <= 0)
		return false;
	for (unsigned i = 0; i < n; i++) {
		TAILQ_FOREACH (cn, &container_priv(container)->conns, link) {
			if (cn == at[i] && cn->fd == p[i].fd && p[i].revents)
				break;
		}
		if (!cn) /* gone by now */
			continue;
		any = true;
		cn->src.fn(&cn->src, p[i].revents & POLLHUP ? EPOLLIN | EPOLLHUP : EPOLLIN);
	}
	return any;
}

/* Reads all replies, and closes the fds that come with them. */
static void
drain(int fd)
{
	char control[CMSG_SPACE(sizeof(int) * FF_MSG_FDS_MAX)];
	uint8_t buf[FF_MSG_MAX];

	for (;;) {
		struct iovec iov = {buf, sizeof(buf)};
		struct msghdr mh = {.msg_iov = &iov,
				    .msg_iovlen = 1,
				    .msg_control = control,
				    .msg_controllen = sizeof(control)};
		struct cmsghdr *c;
		int fds[FF_MSG_FDS_MAX];
		size_t n;

		if (recvmsg(fd, &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) <= 0)
			return;
		c = CMSG_FIRSTHDR(&mh);
		n = c ? (c->cmsg_len - CMSG_LEN(0)) / sizeof(int) : 0;
		if (n)
			memcpy(fds, CMSG_DATA(c), n * sizeof(int));
		while (n)
			close(fds[--n]);
	}
}

static void
pump(void)
{
	for (unsigned i = 0; i < 4 && pump_once(); i++)
		for (unsigned k = 0; k < CLIENTS; k++)
			if (clients[k] >= 0)
				drain(clients[k]);
}

static int
client(unsigned i)
{
	int fd[2];

	if (clients[i] < 0) {
		if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fd))
			abort();
		clients[i] = fd[0];
		conn_accepted(container, fd[1]);
	}
	return clients[i];
}

static void
client_close(unsigned i)
{
	if (clients[i] >= 0)
		close(clients[i]);
	clients[i] = -1;
}

static void
put_token(uint8_t *msg, size_t len)
{
	size_t off = sizeof(struct ff_msg_hdr) + offsetof(struct ff_msg_context, token);
	struct ff_channel *ch = TAILQ_FIRST(&container->channels);

	if (ch && len >= off + FF_TOKEN_LEN)
		memcpy(msg + off, ch->token, FF_TOKEN_LEN);
}

/* The lengths that a well-behaved peer would have written. */
static void
put_lengths(uint8_t *msg, size_t len)
{
	struct ff_msg_hdr h;
	struct ff_msg_uverbs u = {0};

	if (len < sizeof(h))
		return;
	memcpy(&h, msg, sizeof(h));
	h.type = h.type % 4;
	h.len = (uint32_t)(len - sizeof(h));
	memcpy(msg, &h, sizeof(h));
	if (h.type == FF_MSG_UVERBS && h.len >= sizeof(u)) {
		u.cmd_len = h.len - (uint32_t)sizeof(u);
		memcpy(msg + sizeof(h), &u, sizeof(u));
	}
}

static void
step(unsigned op, unsigned who, uint8_t *msg, size_t len)
{
	char control[CMSG_SPACE(sizeof(int))] = {0};
	struct iovec iov = {msg, len};
	struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};
	struct cmsghdr *c = (struct cmsghdr *)control;
	int null = 0;

	if (op == STEP_CLOSE) {
		client_close(who);
		return;
	}
	if (op == STEP_TYPED || op == STEP_TYPED_TOKEN)
		put_lengths(msg, len);
	if (op == STEP_RAW_TOKEN || op == STEP_TYPED_TOKEN)
		put_token(msg, len);
	if (op == STEP_FDS) {
		mh.msg_control = control;
		mh.msg_controllen = sizeof(control);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &null, sizeof(null));
	}
	if (sendmsg(client(who), &mh, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 && errno == EPIPE)
		client_close(who); /* the router has closed it: the next step opens another */
}

static void
parse_only(const uint8_t *data, size_t size)
{
	struct command c;

	if (command_parse(data, size, &c))
		return;
	if (size > FF_MSG_MAX || c.hdr.len != size - sizeof(c.hdr) ||
	    (c.payload && c.payload + c.payload_len != data + size))
		abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t msg[UINT16_MAX];

	parse_only(data, size);
	for (unsigned n = 0; n < STEPS_MAX && size >= 4; n++) {
		unsigned op = data[0] % STEP_MAX, who = data[1] % CLIENTS;
		size_t len = data[2] | (size_t)data[3] << 8;

		data += 4;
		size -= 4;
		if (len > size)
			len = size;
		memcpy(msg, data, len);
		data += len;
		size -= len;
		step(op, who, msg, len);
		pump();
	}
	for (unsigned i = 0; i < CLIENTS; i++)
		client_close(i);
	while (pump_once())
		;
	for (unsigned i = 0; i < FF_QUOTA_MAX; i++)
		if (container->used[i])
			abort();
	return 0;
}
