/* SPDX-License-Identifier: MIT */
/* BPF programs, instruction by instruction (Linux, bpf-docs "BPF Instruction Set"). Any thread. */
#include "frame_prog.h"

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

unsigned
maker_emit(struct maker *m, unsigned code, unsigned dst, unsigned src, int off, int32_t imm)
{
	assert(m->p->num < FRAME_PROG_MAX);
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

void
maker_pass(struct maker *m, unsigned jump)
{
	m->pass[m->num_pass++] = jump;
}

/* Compares R4, of 32 bits. */
static unsigned
jump_if(struct maker *m, unsigned op, uint32_t value)
{
	return maker_emit(m, BPF_JMP32 | op | BPF_K, BPF_REG_4, 0, 0, (int32_t)value);
}

static unsigned
jump(struct maker *m)
{
	return maker_emit(m, BPF_JMP | BPF_JA, 0, 0, 0, 0);
}

static void
load(struct maker *m, unsigned size, unsigned off)
{
	maker_emit(m, BPF_LDX | BPF_MEM | size, BPF_REG_4, BPF_REG_2, (int)off, 0);
}

/* The value is as in memory. */
static void
demand(struct maker *m, unsigned size, unsigned off, uint32_t value)
{
	load(m, size, off);
	maker_pass(m, jump_if(m, BPF_JNE, value));
}

/* Context and pointers differ by the hook; the rest is the same. */
static void
load_context(struct maker *m, unsigned dst, unsigned xdp_off, unsigned skb_off)
{
	maker_emit(m, BPF_LDX | BPF_MEM | BPF_W, dst, BPF_REG_6, (int)(m->skb ? skb_off : xdp_off),
		   0);
}

static void
load_frame(struct maker *m)
{
	load_context(m, BPF_REG_2, offsetof(struct xdp_md, data), offsetof(struct __sk_buff, data));
	load_context(m, BPF_REG_3, offsetof(struct xdp_md, data_end),
		     offsetof(struct __sk_buff, data_end));
}

/* The jump is taken when R2 + bytes op R3. */
static unsigned
jump_length(struct maker *m, unsigned op, unsigned bytes)
{
	maker_emit(m, BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_4, BPF_REG_2, 0, 0);
	maker_emit(m, BPF_ALU64 | BPF_ADD | BPF_K, BPF_REG_4, 0, 0, (int32_t)bytes);
	return maker_emit(m, BPF_JMP | op | BPF_X, BPF_REG_4, BPF_REG_3, 0, 0);
}

/*
 * What AF_PACKET has sent over a veth pair has its Ethernet header alone in one piece: R3 is behind
 * that. bpf_skb_pull_data() makes the piece longer, as the kernel's stack would.
 */
static void
demand_length(struct maker *m, unsigned bytes)
{
	unsigned enough;

	if (m->skb) {
		enough = jump_length(m, BPF_JLE, bytes);
		maker_emit(m, BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_1, BPF_REG_6, 0, 0);
		maker_emit(m, BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_2, 0, 0, (int32_t)bytes);
		maker_emit(m, BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_skb_pull_data);
		load_frame(m);
		maker_pass(m, jump_length(m, BPF_JGT, bytes));
		land(m, enough);
	} else {
		maker_pass(m, jump_length(m, BPF_JGT, bytes));
	}
}

static void
store(struct maker *m, int off, unsigned src)
{
	maker_emit(m, BPF_STX | BPF_MEM | BPF_W, BPF_REG_10, src, MAKER_KEY + off, 0);
}

/* Words of the destination, in front of them those that make it IPv6. */
static void
keep_address(struct maker *m, unsigned off, unsigned words)
{
	static const uint8_t mapped[16] = {[10] = 0xff, 0xff};
	uint32_t word;

	for (unsigned i = 0; i < 4; i++) {
		memcpy(&word, mapped + 4 * i, 4);
		if (i < 4 - words)
			maker_emit(m, BPF_ALU | BPF_MOV | BPF_K, BPF_REG_4, 0, 0, (int32_t)word);
		else
			load(m, BPF_W, off + 4 * (i - (4 - words)));
		store(m, (int)(4 * i), BPF_REG_4);
	}
}

/* To us; or, without encapsulation, to anybody but this host itself. */
static void
demand_address(struct maker *m, unsigned off, const uint8_t *own, unsigned words)
{
	bool vxlan = m->c->encap == FF_ENCAP_VXLAN;
	unsigned other[4];
	uint32_t word;

	for (unsigned i = 0; i < words; i++) {
		memcpy(&word, own + 4 * i, 4);
		load(m, BPF_W, off + 4 * i);
		other[i] = jump_if(m, BPF_JNE, word);
		if (vxlan)
			maker_pass(m, other[i]);
	}
	if (vxlan)
		return;
	maker_pass(m, jump(m));
	for (unsigned i = 0; i < words; i++)
		land(m, other[i]);
}

static void
demand_v4(struct maker *m, uint16_t port)
{
	demand_length(m, IP4 + FRAME_IP4 + FRAME_UDP);
	demand(m, BPF_B, IP4, NO_OPTS);
	demand(m, BPF_B, IP4 + 9, IPPROTO_UDP);
	load(m, BPF_H, IP4 + 6);
	maker_pass(m, jump_if(m, BPF_JSET, htons(MF_OFF)));
	demand(m, BPF_H, IP4 + FRAME_IP4 + 2, htons(port));
	if (m->c->has4)
		demand_address(m, IP4 + 16, m->c->own4, 1);
	if (m->key)
		keep_address(m, IP4 + 16, 1);
}

static void
demand_v6(struct maker *m, uint16_t port)
{
	demand_length(m, IP6 + FRAME_IP6 + FRAME_UDP);
	load(m, BPF_B, IP6);
	maker_emit(m, BPF_ALU64 | BPF_AND | BPF_K, BPF_REG_4, 0, 0, 0xf0);
	maker_pass(m, jump_if(m, BPF_JNE, 0x60));
	demand(m, BPF_B, IP6 + 6, IPPROTO_UDP);
	demand(m, BPF_H, IP6 + FRAME_IP6 + 2, htons(port));
	if (m->c->has6)
		demand_address(m, IP6 + 24, m->c->own6, 4);
	if (m->key)
		keep_address(m, IP6 + 24, 4);
}

static void
demand_mac(struct maker *m)
{
	uint32_t first;
	uint16_t last;

	memcpy(&first, m->c->mac, 4);
	memcpy(&last, m->c->mac + 4, 2);
	demand(m, BPF_W, 0, first);
	demand(m, BPF_H, 4, last);
}

/* The tag of a frame in an skb is beside it. */
static void
demand_no_tag(struct maker *m)
{
	load_context(m, BPF_REG_4, 0, offsetof(struct __sk_buff, vlan_present));
	maker_pass(m, jump_if(m, BPF_JNE, 0));
}

int
maker_ours(struct maker *m)
{
	bool none = m->c->encap == FF_ENCAP_NONE;
	bool v4 = none || m->c->has4, v6 = none || m->c->has6;
	uint16_t port = none ? FRAME_ROCE_PORT : m->c->udp_port;
	unsigned to_v6 = 0, to_end = 0;

	if (!v4 && !v6)
		return -EADDRNOTAVAIL;
	m->p->num = m->p->map = 0;
	maker_emit(m, BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_6, BPF_REG_1, 0, 0);
	if (m->skb)
		demand_no_tag(m);
	load_frame(m);
	maker_pass(m, jump_length(m, BPF_JGT, FF_ETHER_LEN));
	demand_mac(m);
	load(m, BPF_H, 12);
	/* The kernel refuses a program with instructions that nothing leads to. */
	if (v6)
		to_v6 = jump_if(m, BPF_JEQ, htons(ETH_P_IPV6));
	maker_pass(m, v4 ? jump_if(m, BPF_JNE, htons(ETH_P_IP)) : jump(m));
	if (v4)
		demand_v4(m, port);
	if (v4 && v6)
		to_end = jump(m);
	if (v6) {
		land(m, to_v6);
		demand_v6(m, port);
	}
	if (v4 && v6)
		land(m, to_end);
	return 0;
}

void
maker_map(struct maker *m)
{
	m->p->map = maker_emit(m, BPF_LD | BPF_IMM | BPF_DW, BPF_REG_1, 0, 0, 0);
	maker_emit(m, 0, 0, 0, 0, 0); /* the other half of the map's address */
}

void
maker_end(struct maker *m, int32_t pass)
{
	maker_emit(m, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
	for (unsigned i = 0; i < m->num_pass; i++)
		land(m, m->pass[i]);
	maker_emit(m, BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, pass);
	maker_emit(m, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
}
