/* SPDX-License-Identifier: MIT */
/*
 * The cage: TCP sockets of the host's network that may be given to a container. A container that
 * holds one can talk to the socket's peer, and to nobody else: however it goes about it, the kernel
 * refuses connect() and bind(), nobody can connect to it after listen(), and what setsockopt()
 * may change is a short list without source routes, devices and ports.
 *
 * The sockets are made in a cgroup of their own (the kernel notes a socket's cgroup when it is
 * made, and keeps it wherever the socket goes; what is accepted is in its listener's), on which BPF
 * programs are attached: cgroup/connect4, connect6, bind4, bind6, skb ingress (nothing comes to a
 * socket that listens) and setsockopt. They let those sockets pass whose cookie stands in a table
 * of ours: from tcp_cage_socket() to tcp_cage_seal(). What is accepted never stands there. Nothing
 * goes by the process that asks: a number that freeflowd had may be another's tomorrow.
 *
 * Programs are attached to the cgroup, not by links: they stay with its sockets when freeflowd has
 * gone, and even when the cgroup has been removed.
 *
 * Not stopped: questions to the host's network by ioctl (its interfaces' names and addresses are
 * told to anybody), and whoever has CAP_NET_ADMIN in the host's user namespace. One thread.
 */
#ifndef FF_TCP_CAGE_H
#define FF_TCP_CAGE_H

#include <stdbool.h>
#include <stdint.h>

#include <linux/bpf.h>

/* Sockets that are not sealed, at the most. A power of two. */
#define TCP_CAGE_OPEN  256u
#define TCP_CAGE_STOCK 16u /* made at a time */
#define TCP_CAGE_INSNS 128u
#define TCP_CAGE_PROGS 6u

struct tcp_cage {
	char name[160];
	int root, own, dir; /* cgroup2: all of it; the one that we are in; the cage in there */
	int map;
	_Atomic uint64_t *open; /* of cookies; programs read it. Slot: the cookie's low bits */
	int progs[TCP_CAGE_PROGS];
	int stock[2][TCP_CAGE_STOCK]; /* AF_INET, AF_INET6 */
	unsigned num_stock[2];
};

/*
 * name: of the cgroup below our own; one that is left of a former freeflowd is replaced. Tries
 * whether it holds. -errno: it cannot be done here, and why is in the log.
 */
int tcp_cage_make(struct tcp_cage *c, const char *name);
/* Sockets that are sealed stay so. */
void tcp_cage_destroy(struct tcp_cage *c);
/* A TCP socket in the cage, not sealed yet. Or -errno. */
int tcp_cage_socket(struct tcp_cage *c, int family);
/* From now on, for good. */
void tcp_cage_seal(struct tcp_cage *c, int fd);

/* ---- cage_prog.c ---- */

struct tcp_cage_prog {
	const char *name;
	enum bpf_prog_type type;
	enum bpf_attach_type attach;
	unsigned num;
	struct bpf_insn insn[TCP_CAGE_INSNS];
};
/* The i-th of TCP_CAGE_PROGS; map: the descriptor of the table. */
void tcp_cage_prog(unsigned i, int map, struct tcp_cage_prog *out);

#endif
