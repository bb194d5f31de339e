/* SPDX-License-Identifier: MIT */
/* The XDP program, instruction by instruction (Linux, bpf-docs "BPF Instruction Set"). */
#include "xdp_prog.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <stddef.h>
#include <string.h>

#define IP4	FF_ETHER_LEN
#define IP6	FF_ETHER_LEN
#define MF_OFF	0x3fff /* more fragments, or an offset */
#define NO_OPTS 0x45

/* Registers: R2 the frame, R3 its end, R6 the context, R4 a value. */

struct maker {
	struct xdp_prog *p;
	unsigned pass[XDP_PROG_MAX]; /* jumps to the end, where frames are left to the kernel */
	unsigned num_pass;
};

static unsigned
emit(struct maker *m, unsigned code, unsigned dst, unsigned src, int off, int32_t imm)
{
	assert(m->p->num < XDP_PROG_MAX);
	m->p->insn[m->p->num] = (struct bpf_insn){.code = (uint8_t)code,
						  .dst_reg = dst & 15,
						  .src_reg = src & 15,
						  .off = (int16_t)off,
						  .imm = imm};
	return m->p->num++;
}

/* The jump goes to what comes next. */
static void
land(struct maker *m, unsigned jump)
{
	m->p->insn[jump].off = (int16_t)(m->p->num - jump - 1);
}

static void
pass(struct maker *m, unsigned jump)
{
	m->pass[m->num_pass++] = jump;
}

/* Compares R4, of 32 bits. */
static unsigned
jump_if(struct maker *m, unsigned op, uint32_t value)
{
	return emit(m, BPF_JMP32 | op | BPF_K, BPF_REG_4, 0, 0, (int32_t)value);
}

static unsigned
jump(struct maker *m)
{
	return emit(m, BPF_JMP | BPF_JA, 0, 0, 0, 0);
}

static void
load(struct maker *m, unsigned size, unsigned off)
{
	emit(m, BPF_LDX | BPF_MEM | size, BPF_REG_4, BPF_REG_2, (int)off, 0);
}

/* The value is as in memory. */
static void
demand(struct maker *m, unsigned size, unsigned off, uint32_t value)
{
	load(m, size, off);
	pass(m, jump_if(m, BPF_JNE, value));
}

static void
demand_length(struct maker *m, unsigned bytes)
{
	emit(m, BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_4, BPF_REG_2, 0, 0);
	emit(m, BPF_ALU64 | BPF_ADD | BPF_K, BPF_REG_4, 0, 0, (int32_t)bytes);
	pass(m, emit(m, BPF_JMP | BPF_JGT | BPF_X, BPF_REG_4, BPF_REG_3, 0, 0));
}

/* To us; or, without encapsulation, to anybody but this host itself. */
static void
demand_address(struct maker *m, const struct frame_conf *c, unsigned off, const uint8_t *own,
	       unsigned words)
{
	unsigned other[4];
	uint32_t word;

	for (unsigned i = 0; i < words; i++) {
		memcpy(&word, own + 4 * i, 4);
		load(m, BPF_W, off + 4 * i);
		other[i] = jump_if(m, BPF_JNE, word);
		if (c->encap == FF_ENCAP_VXLAN)
			pass(m, other[i]);
	}
	if (c->encap == FF_ENCAP_VXLAN)
		return;
	pass(m, jump(m));
	for (unsigned i = 0; i < words; i++)
		land(m, other[i]);
}

static void
demand_v4(struct maker *m, const struct frame_conf *c, uint16_t port)
{
	demand_length(m, IP4 + FRAME_IP4 + FRAME_UDP);
	demand(m, BPF_B, IP4, NO_OPTS);
	demand(m, BPF_B, IP4 + 9, IPPROTO_UDP);
	load(m, BPF_H, IP4 + 6);
	pass(m, jump_if(m, BPF_JSET, htons(MF_OFF)));
	demand(m, BPF_H, IP4 + FRAME_IP4 + 2, htons(port));
	if (c->has4)
		demand_address(m, c, IP4 + 16, c->own4, 1);
}

static void
demand_v6(struct maker *m, const struct frame_conf *c, uint16_t port)
{
	demand_length(m, IP6 + FRAME_IP6 + FRAME_UDP);
	load(m, BPF_B, IP6);
	emit(m, BPF_ALU64 | BPF_AND | BPF_K, BPF_REG_4, 0, 0, 0xf0);
	pass(m, jump_if(m, BPF_JNE, 0x60));
	demand(m, BPF_B, IP6 + 6, IPPROTO_UDP);
	demand(m, BPF_H, IP6 + FRAME_IP6 + 2, htons(port));
	if (c->has6)
		demand_address(m, c, IP6 + 24, c->own6, 4);
}

static void
demand_mac(struct maker *m, const struct frame_conf *c)
{
	uint32_t first;
	uint16_t last;

	memcpy(&first, c->mac, 4);
	memcpy(&last, c->mac + 4, 2);
	demand(m, BPF_W, 0, first);
	demand(m, BPF_H, 4, last);
}

/* return bpf_redirect_map(map, ctx->rx_queue_index, XDP_PASS); and pass: return XDP_PASS; */
static void
finish(struct maker *m)
{
	emit(m, BPF_LDX | BPF_MEM | BPF_W, BPF_REG_2, BPF_REG_6,
	     offsetof(struct xdp_md, rx_queue_index), 0);
	m->p->map = emit(m, BPF_LD | BPF_IMM | BPF_DW, BPF_REG_1, 0, 0, 0);
	emit(m, 0, 0, 0, 0, 0); /* the other half of the map's address */
	emit(m, BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_3, 0, 0, XDP_PASS);
	emit(m, BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_redirect_map);
	emit(m, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
	for (unsigned i = 0; i < m->num_pass; i++)
		land(m, m->pass[i]);
	emit(m, BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, XDP_PASS);
	emit(m, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
}

int
ff_xdp_prog(const struct frame_conf *c, struct xdp_prog *out)
{
	bool none = c->encap == FF_ENCAP_NONE, v4 = none || c->has4, v6 = none || c->has6;
	uint16_t port = none ? FRAME_ROCE_PORT : c->udp_port;
	struct maker m = {.p = out};
	unsigned to_v6 = 0, to_end = 0;

	if (!v4 && !v6)
		return -EADDRNOTAVAIL;
	out->num = 0;
	emit(&m, BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_6, BPF_REG_1, 0, 0);
	emit(&m, BPF_LDX | BPF_MEM | BPF_W, BPF_REG_2, BPF_REG_1, offsetof(struct xdp_md, data), 0);
	emit(&m, BPF_LDX | BPF_MEM | BPF_W, BPF_REG_3, BPF_REG_1, offsetof(struct xdp_md, data_end),
	     0);
	demand_length(&m, FF_ETHER_LEN);
	demand_mac(&m, c);
	load(&m, BPF_H, 12);
	/* The kernel refuses a program with instructions that nothing leads to. */
	if (v6)
		to_v6 = jump_if(&m, BPF_JEQ, htons(ETH_P_IPV6));
	pass(&m, v4 ? jump_if(&m, BPF_JNE, htons(ETH_P_IP)) : jump(&m));
	if (v4)
		demand_v4(&m, c, port);
	if (v4 && v6)
		to_end = jump(&m);
	if (v6) {
		land(&m, to_v6);
		demand_v6(&m, c, port);
	}
	if (v4 && v6)
		land(&m, to_end);
	finish(&m);
	return 0;
}
