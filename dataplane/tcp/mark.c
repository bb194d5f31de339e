/* SPDX-License-Identifier: MIT */
/*
 * Whose stream a socket is, written on the socket itself: the constants of a classic BPF program
 * that is attached as its filter and locked. Stream sockets of AF_UNIX run no filter. Neither the
 * containers nor a restart of freeflowd takes it away, and it keeps nothing open. Any thread.
 */
#include <errno.h>
#include <linux/filter.h>
#include <string.h>
#include <sys/socket.h>

#include "tcp_priv.h"

#define MAGIC	0x46665463u /* "FfTc" */
#define INSNS	6u	    /* the magic, four words, the end */
#define LOAD(k) BPF_STMT(BPF_LD | BPF_IMM, (k))

static_assert(sizeof(struct tcp_mark) == 4 * sizeof(uint32_t), "four words");

int
tcp_mark_set(int fd, const struct tcp_mark *m)
{
	static const int yes = 1;
	uint32_t w[4];

	memcpy(w, m, sizeof(w));
	struct sock_filter insns[INSNS] = {
		LOAD(MAGIC), LOAD(w[0]), LOAD(w[1]),
		LOAD(w[2]),  LOAD(w[3]), BPF_STMT(BPF_RET | BPF_K, 0xffffffffu),
	};
	const struct sock_fprog prog = {.len = INSNS, .filter = insns};

	if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof(prog)) ||
	    setsockopt(fd, SOL_SOCKET, SO_LOCK_FILTER, &yes, sizeof(yes)))
		return -errno;
	return 0;
}

static bool
is_unix_stream(int fd)
{
	int domain = -1, type = -1;
	socklen_t len = sizeof(int);

	return !getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) && domain == AF_UNIX &&
	       !getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) && type == SOCK_STREAM;
}

bool
tcp_mark_get(int fd, struct tcp_mark *m)
{
	struct sock_filter insns[INSNS];
	/* Counted in instructions; longer ones are refused. */
	socklen_t len = INSNS;
	uint32_t w[4];

	memset(insns, 0, sizeof(insns));
	if (!is_unix_stream(fd) || getsockopt(fd, SOL_SOCKET, SO_GET_FILTER, insns, &len) ||
	    len != INSNS || insns[0].code != (BPF_LD | BPF_IMM) || insns[0].k != MAGIC)
		return false;
	for (unsigned i = 0; i < 4; i++)
		w[i] = insns[1 + i].k;
	memcpy(m, w, sizeof(w));
	return true;
}
