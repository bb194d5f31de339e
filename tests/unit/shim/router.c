/* SPDX-License-Identifier: MIT */
/* The fake router (router.h): one thread, poll(), no timers. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "../../../memif-bridge/memif.h"
#include "router.h"

struct router router;

enum conn_kind { CONN_NEW, CONN_CHANNEL, CONN_CONTEXT, CONN_MEMIF };
struct conn {
	int fd; /* 0: unused */
	enum conn_kind kind;
	struct ff_memif *memif;
};
static struct conn conns[ROUTER_CONNS];
static int listeners[2];

static const uint8_t token[FF_TOKEN_LEN] = "0123456789abcde";

static int
listen_on(const char *name)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s/%s", router.dir, name);
	if (fd < 0 || bind(fd, (struct sockaddr *)&sun, sizeof(sun)) < 0 || listen(fd, 16) < 0) {
		perror(sun.sun_path);
		abort();
	}
	return fd;
}

static void
conn_close(struct conn *c)
{
	if (c->kind == CONN_CONTEXT)
		router.closed_contexts++;
	if (c->kind == CONN_CHANNEL)
		router.detached++;
	if (c->memif)
		ff_memif_destroy(c->memif);
	else
		close(c->fd);
	memset(c, 0, sizeof(*c));
}

static void
conn_add(int fd, enum conn_kind kind)
{
	struct conn *c = conns;
	struct ff_memif_conf conf = {
		.role = FF_MEMIF_SERVER,
		.name = "router",
		.num_s2m_rings = FF_MEMIF_MAX_RINGS,
		.num_m2s_rings = FF_MEMIF_MAX_RINGS,
		.log2_ring_size = FF_MEMIF_MAX_LOG2_RING,
	};

	while (c->fd)
		c++;
	*c = (struct conn){.fd = fd, .kind = kind};
	if (kind == CONN_MEMIF && ff_memif_create(&c->memif, fd, &conf))
		abort();
}

static void
send_reply(int fd, const struct ff_msg_hdr *req, int32_t status, const void *body, uint32_t len,
	   const struct router_reply *rep)
{
	static uint8_t msg[FF_MSG_MAX];
	struct ff_msg_hdr hdr = {.type = req->type, .seq = req->seq, .status = status, .len = len};
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(FF_MSG_FDS_MAX * sizeof(int))];
	} ctl;
	struct iovec iov = {.iov_base = msg, .iov_len = sizeof(hdr) + len};
	struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};

	if (rep) {
		hdr.seq += rep->lie_seq;
		hdr.type += rep->lie_type;
		hdr.len += rep->lie_len;
	}
	memcpy(msg, &hdr, sizeof(hdr));
	if (len)
		memcpy(msg + sizeof(hdr), body, len);
	if (rep && rep->cut)
		iov.iov_len = rep->cut;
	if (rep && rep->num_fds) {
		mh.msg_control = &ctl;
		mh.msg_controllen = CMSG_SPACE(rep->num_fds * sizeof(int));
		ctl.align = (struct cmsghdr){.cmsg_len = CMSG_LEN(rep->num_fds * sizeof(int)),
					     .cmsg_level = SOL_SOCKET,
					     .cmsg_type = SCM_RIGHTS};
		memcpy(CMSG_DATA(&ctl.align), rep->fd, rep->num_fds * sizeof(int));
	}
	(void)!sendmsg(fd, &mh, MSG_NOSIGNAL);
}

static void
handle_command(struct conn *c, const struct ff_msg_hdr *hdr, const uint8_t *body)
{
	static uint8_t msg[FF_MSG_MAX];
	struct ff_msg_uverbs_reply head = {0};
	struct router_reply rep = {0};
	struct ff_msg_uverbs u;
	router_command command = router.command;

	memcpy(&u, body, sizeof(u));
	if (u.cmd_len != hdr->len - sizeof(u))
		abort();
	rep.status = u.cmd_len;
	if (command)
		command(body + sizeof(u), u.cmd_len, &rep);
	router.commands++;
	if (rep.hang_up) {
		conn_close(c);
		return;
	}
	head.out_len = rep.out_len + rep.lie_out_len;
	head.num_fds = rep.num_fds + rep.lie_num_fds;
	memcpy(head.fds, rep.fds, sizeof(head.fds));
	memcpy(msg, &head, sizeof(head));
	memcpy(msg + sizeof(head), rep.out, rep.out_len);
	if (rep.stale_first) {
		struct router_reply stale = {.lie_seq = -1u, .num_fds = 1, .fd = {rep.fd[0]}};

		send_reply(c->fd, hdr, 0, msg, sizeof(head), &stale);
	}
	send_reply(c->fd, hdr, rep.status, msg, sizeof(head) + rep.out_len, &rep);
	for (uint32_t i = 0; i < rep.num_fds && !rep.keep_fds; i++)
		close(rep.fd[i]);
}

static void
handle_attach(struct conn *c, const struct ff_msg_hdr *hdr)
{
	struct ff_msg_attach_reply att = {.abi_version = FF_ABI_VERSION,
					  .channel_id = 7,
					  .num_rings = router.num_rings,
					  .log2_ring_size = router.log2_ring};

	memcpy(att.token, token, sizeof(token));
	c->kind = CONN_CHANNEL;
	router.attaches++;
	send_reply(c->fd, hdr, router.attach_status, &att, sizeof(att), NULL);
}

static void
handle_context(struct conn *c, const struct ff_msg_hdr *hdr, const uint8_t *body)
{
	struct ff_msg_context ctx;
	int32_t status = 0;

	memcpy(&ctx, body, sizeof(ctx));
	if (memcmp(ctx.token, token, sizeof(token)) || ctx.abi_version != FF_ABI_VERSION)
		status = -EACCES;
	c->kind = CONN_CONTEXT;
	router.contexts++;
	send_reply(c->fd, hdr, status, NULL, 0, NULL);
}

static void
conn_read(struct conn *c)
{
	static uint8_t msg[FF_MSG_MAX];
	struct ff_msg_hdr hdr;
	ssize_t n;

	if (c->memif) {
		if (ff_memif_process(c->memif))
			conn_close(c);
		return;
	}
	n = recv(c->fd, msg, sizeof(msg), MSG_DONTWAIT);
	if (n < 0 && errno == EAGAIN)
		return;
	if (n < (ssize_t)sizeof(hdr)) {
		conn_close(c);
		return;
	}
	memcpy(&hdr, msg, sizeof(hdr));
	if (hdr.type == FF_MSG_ATTACH)
		handle_attach(c, &hdr);
	else if (hdr.type == FF_MSG_CONTEXT)
		handle_context(c, &hdr, msg + sizeof(hdr));
	else
		handle_command(c, &hdr, msg + sizeof(hdr));
}

/* Rings are polled on every wake-up; their eventfds are in the poll set. */
static void
take_doorbells(struct conn *c)
{
	struct ff_memif_desc d;

	for (unsigned int i = 0; i < ff_memif_num_rings(c->memif, true); i++) {
		struct ff_memif_ring *r = ff_memif_ring_get(c->memif, true, i);

		while (r && !router.paused && ff_memif_ring_consume(r, &d, 1) == 1) {
			if (d.region != FF_DOORBELL_REGION || d.length || d.flags)
				abort();
			router.last_qpn = d.metadata;
			ff_memif_ring_release(r, 1);
			router.doorbells++;
		}
	}
}

static unsigned int
poll_set(struct pollfd *p)
{
	unsigned int n = 0;

	p[n++] = (struct pollfd){.fd = router.wake, .events = POLLIN};
	for (int i = 0; i < 2; i++)
		p[n++] = (struct pollfd){.fd = listeners[i], .events = POLLIN};
	for (int i = 0; i < ROUTER_CONNS; i++) {
		struct ff_memif_ring *r;

		if (!conns[i].fd)
			continue;
		p[n++] = (struct pollfd){.fd = conns[i].fd, .events = POLLIN};
		for (unsigned int k = 0; conns[i].memif && k < FF_MEMIF_MAX_RINGS; k++) {
			r = ff_memif_ring_get(conns[i].memif, true, k);
			if (r)
				p[n++] = (struct pollfd){.fd = ff_memif_ring_eventfd(r),
							 .events = POLLIN};
		}
	}
	return n;
}

static void *
router_run(void *arg)
{
	struct pollfd p[3 + ROUTER_CONNS * (1 + FF_MEMIF_MAX_RINGS)];
	uint64_t count;

	while (!router.stop) {
		unsigned int n = poll_set(p);

		poll(p, n, -1);
		for (unsigned int i = 3; i < n; i++) {
			/* A connection or an eventfd: tell by which it is. */
			for (int k = 0; k < ROUTER_CONNS; k++)
				if (conns[k].fd == p[i].fd && p[i].revents)
					goto next;
			if (p[i].revents & POLLIN)
				(void)!read(p[i].fd, &count, sizeof(count));
		next:;
		}
		if (p[0].revents)
			(void)!read(router.wake, &count, sizeof(count));
		for (int i = 0; i < 2; i++)
			if (p[1 + i].revents)
				conn_add(accept4(listeners[i], NULL, NULL, SOCK_CLOEXEC),
					 i ? CONN_MEMIF : CONN_NEW);
		for (int k = 0; k < ROUTER_CONNS; k++) {
			if (conns[k].fd)
				conn_read(&conns[k]);
			if (conns[k].fd && conns[k].memif)
				take_doorbells(&conns[k]);
		}
	}
	for (int k = 0; k < ROUTER_CONNS; k++)
		if (conns[k].fd)
			conn_close(&conns[k]);
	return arg;
}

void
router_start(void)
{
	struct router fresh = {.num_rings = 2, .log2_ring = 4};
	sigset_t all, old;

	memcpy(fresh.dir, router.dir, sizeof(fresh.dir));
	memcpy(&router, &fresh, sizeof(router));
	listeners[0] = listen_on(FF_ROUTER_SOCK);
	listeners[1] = listen_on(FF_MEMIF_SOCK);
	for (int i = 0; i < 2; i++)
		fcntl(listeners[i], F_SETFL, O_NONBLOCK);
	router.wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	/* Signals are for the test's side. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	if (pthread_create(&router.thread, NULL, router_run, NULL))
		abort();
	pthread_sigmask(SIG_SETMASK, &old, NULL);
}

void
router_stop(void)
{
	char path[128];
	uint64_t one = 1;

	router.stop = true;
	(void)!write(router.wake, &one, sizeof(one));
	pthread_join(router.thread, NULL);
	close(router.wake);
	for (int i = 0; i < 2; i++)
		close(listeners[i]);
	snprintf(path, sizeof(path), "%s/" FF_ROUTER_SOCK, router.dir);
	unlink(path);
	snprintf(path, sizeof(path), "%s/" FF_MEMIF_SOCK, router.dir);
	unlink(path);
}
