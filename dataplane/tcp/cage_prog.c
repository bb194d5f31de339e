/* SPDX-License-Identifier: MIT */
/* The programs of the cage, instruction by instruction (Linux, "BPF Instruction Set"). */
#include <assert.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>

#include "cage.h"

#define PASS   1
#define REFUSE 0

#define ALLOW(level, name)                          \
	{                                           \
		(uint16_t)(level), (uint16_t)(name) \
	}
/* What a socket that is exchanged for the program's own must be able to take over from it. */
static const struct {
	uint16_t level, name;
} allowed[] = {
	ALLOW(SOL_SOCKET, SO_REUSEADDR),      ALLOW(SOL_SOCKET, SO_SNDBUF),
	ALLOW(SOL_SOCKET, SO_RCVBUF),	      ALLOW(SOL_SOCKET, SO_SNDBUFFORCE),
	ALLOW(SOL_SOCKET, SO_RCVBUFFORCE),    ALLOW(SOL_SOCKET, SO_BUF_LOCK),
	ALLOW(SOL_SOCKET, SO_KEEPALIVE),      ALLOW(SOL_SOCKET, SO_LINGER),
	ALLOW(SOL_SOCKET, SO_OOBINLINE),      ALLOW(SOL_SOCKET, SO_RCVLOWAT),
	ALLOW(SOL_SOCKET, SO_RCVTIMEO_OLD),   ALLOW(SOL_SOCKET, SO_SNDTIMEO_OLD),
	ALLOW(SOL_SOCKET, SO_RCVTIMEO_NEW),   ALLOW(SOL_SOCKET, SO_SNDTIMEO_NEW),
	ALLOW(IPPROTO_IPV6, IPV6_V6ONLY),     ALLOW(IPPROTO_TCP, TCP_NODELAY),
	ALLOW(IPPROTO_TCP, TCP_CORK),	      ALLOW(IPPROTO_TCP, TCP_KEEPIDLE),
	ALLOW(IPPROTO_TCP, TCP_KEEPINTVL),    ALLOW(IPPROTO_TCP, TCP_KEEPCNT),
	ALLOW(IPPROTO_TCP, TCP_LINGER2),      ALLOW(IPPROTO_TCP, TCP_QUICKACK),
	ALLOW(IPPROTO_TCP, TCP_USER_TIMEOUT), ALLOW(IPPROTO_TCP, TCP_NOTSENT_LOWAT),
	ALLOW(IPPROTO_TCP, TCP_INQ),
};
#define NUM_ALLOWED (sizeof(allowed) / sizeof(allowed[0]))

static void
emit(struct tcp_cage_prog *p, unsigned code, unsigned dst, unsigned src, int off, int32_t imm)
{
	assert(p->num < TCP_CAGE_INSNS);
	p->insn[p->num++] = (struct bpf_insn){.code = (uint8_t)code,
					      .dst_reg = dst & 15,
					      .src_reg = src & 15,
					      .off = (int16_t)off,
					      .imm = imm};
}

static void
finish(struct tcp_cage_prog *p, int32_t result)
{
	emit(p, BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, result);
	emit(p, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
}

static void
call(struct tcp_cage_prog *p, int32_t function)
{
	emit(p, BPF_JMP | BPF_CALL, 0, 0, 0, function);
}

/* Ends with PASS if the cookie of the context in R6 is in its slot of the table. */
static void
judge(struct tcp_cage_prog *p, int map)
{
	emit(p, BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_1, BPF_REG_6, 0, 0);
	call(p, BPF_FUNC_get_socket_cookie);
	emit(p, BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_7, BPF_REG_0, 0, 0);
	emit(p, BPF_ALU64 | BPF_AND | BPF_K, BPF_REG_0, 0, 0, TCP_CAGE_OPEN - 1);
	emit(p, BPF_STX | BPF_MEM | BPF_W, BPF_REG_10, BPF_REG_0, -4, 0);
	emit(p, BPF_LD | BPF_IMM | BPF_DW, BPF_REG_1, BPF_PSEUDO_MAP_FD, 0, map);
	emit(p, 0, 0, 0, 0, 0);
	emit(p, BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_2, BPF_REG_10, 0, 0);
	emit(p, BPF_ALU64 | BPF_ADD | BPF_K, BPF_REG_2, 0, 0, -4);
	call(p, BPF_FUNC_map_lookup_elem);
	emit(p, BPF_JMP | BPF_JEQ | BPF_K, BPF_REG_0, 0, 4, 0);
	emit(p, BPF_LDX | BPF_MEM | BPF_DW, BPF_REG_0, BPF_REG_0, 0, 0);
	emit(p, BPF_JMP | BPF_JNE | BPF_X, BPF_REG_0, BPF_REG_7, 2, 0);
	finish(p, PASS);
	finish(p, REFUSE);
}

static void
address_make(struct tcp_cage_prog *p, int map)
{
	emit(p, BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_6, BPF_REG_1, 0, 0);
	judge(p, map);
}

/* A socket that does not listen gets what comes; without one, nobody knows. */
static void
ingress_make(struct tcp_cage_prog *p, int map)
{
	emit(p, BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_6, BPF_REG_1, 0, 0);
	emit(p, BPF_LDX | BPF_MEM | BPF_DW, BPF_REG_1, BPF_REG_6, offsetof(struct __sk_buff, sk),
	     0);
	emit(p, BPF_JMP | BPF_JNE | BPF_K, BPF_REG_1, 0, 2, 0);
	finish(p, REFUSE);
	call(p, BPF_FUNC_sk_fullsock);
	emit(p, BPF_JMP | BPF_JNE | BPF_K, BPF_REG_0, 0, 2, 0);
	finish(p, REFUSE);
	emit(p, BPF_LDX | BPF_MEM | BPF_W, BPF_REG_0, BPF_REG_0, offsetof(struct bpf_sock, state),
	     0);
	emit(p, BPF_JMP | BPF_JEQ | BPF_K, BPF_REG_0, 0, 2, BPF_TCP_LISTEN);
	finish(p, PASS);
	judge(p, map);
}

/* R2: level and name as one number. */
static void
options_make(struct tcp_cage_prog *p)
{
	emit(p, BPF_LDX | BPF_MEM | BPF_W, BPF_REG_2, BPF_REG_1,
	     offsetof(struct bpf_sockopt, level), 0);
	emit(p, BPF_LDX | BPF_MEM | BPF_W, BPF_REG_3, BPF_REG_1,
	     offsetof(struct bpf_sockopt, optname), 0);
	emit(p, BPF_ALU64 | BPF_LSH | BPF_K, BPF_REG_2, 0, 0, 32);
	emit(p, BPF_ALU64 | BPF_OR | BPF_X, BPF_REG_2, BPF_REG_3, 0, 0);
	for (unsigned i = 0; i < NUM_ALLOWED; i++) {
		emit(p, BPF_LD | BPF_IMM | BPF_DW, BPF_REG_3, 0, 0, allowed[i].name);
		emit(p, 0, 0, 0, 0, allowed[i].level);
		emit(p, BPF_JMP | BPF_JEQ | BPF_X, BPF_REG_2, BPF_REG_3,
		     (int)(3 * (NUM_ALLOWED - 1 - i)) + 2, 0);
	}
	finish(p, REFUSE);
	finish(p, PASS);
}

void
tcp_cage_prog(unsigned i, int map, struct tcp_cage_prog *out)
{
	static const struct {
		const char *name;
		enum bpf_prog_type type;
		enum bpf_attach_type attach;
	} kinds[TCP_CAGE_PROGS] = {
		{"ff_connect4", BPF_PROG_TYPE_CGROUP_SOCK_ADDR, BPF_CGROUP_INET4_CONNECT},
		{"ff_connect6", BPF_PROG_TYPE_CGROUP_SOCK_ADDR, BPF_CGROUP_INET6_CONNECT},
		{"ff_bind4", BPF_PROG_TYPE_CGROUP_SOCK_ADDR, BPF_CGROUP_INET4_BIND},
		{"ff_bind6", BPF_PROG_TYPE_CGROUP_SOCK_ADDR, BPF_CGROUP_INET6_BIND},
		{"ff_ingress", BPF_PROG_TYPE_CGROUP_SKB, BPF_CGROUP_INET_INGRESS},
		{"ff_setsockopt", BPF_PROG_TYPE_CGROUP_SOCKOPT, BPF_CGROUP_SETSOCKOPT},
	};

	memset(out, 0, sizeof(*out));
	out->name = kinds[i].name;
	out->type = kinds[i].type;
	out->attach = kinds[i].attach;
	if (out->type == BPF_PROG_TYPE_CGROUP_SOCK_ADDR)
		address_make(out, map);
	else if (out->type == BPF_PROG_TYPE_CGROUP_SKB)
		ingress_make(out, map);
	else
		options_make(out);
}
