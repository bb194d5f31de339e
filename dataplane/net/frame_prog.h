/* SPDX-License-Identifier: MIT */
/*
 * The maker of BPF programs that know frames of ours, for the hooks XDP (xdp_prog.h) and TCX
 * (tcx_prog.h). Made at run time, as instructions: they depend on the configuration, and nobody
 * needs a compiler for BPF. Any thread.
 */
#ifndef FF_NET_FRAME_PROG_H
#define FF_NET_FRAME_PROG_H

#include <linux/bpf.h>
#include <stdbool.h>

#include "frame.h"

#define FRAME_PROG_MAX 160u

struct frame_prog {
	unsigned num;
	unsigned map; /* the instruction that gets the address of the map; 0: there is none */
	struct bpf_insn insn[FRAME_PROG_MAX];
};

/* Where the destination of a packet is kept, from R10: 16 bytes, IPv4 as ::ffff:a.b.c.d. */
#define MAKER_KEY -16

struct maker {
	struct frame_prog *p;
	const struct frame_conf *c;
	bool skb;		       /* the context is a struct __sk_buff, not a struct xdp_md */
	bool key;		       /* keep the destination */
	unsigned pass[FRAME_PROG_MAX]; /* jumps to the end, where frames are left to the kernel */
	unsigned num_pass;
};

/* The number of the instruction. */
unsigned maker_emit(struct maker *m, unsigned code, unsigned dst, unsigned src, int off,
		    int32_t imm);
/* The jump goes to where the frame is left to the kernel. */
void maker_pass(struct maker *m, unsigned jump);
/*
 * What comes next is for frames that ff_frame_parse() would take or call bad; R6 is the context.
 * Broadcasts, fragments, IPv4 options and VLAN tags are the kernel's: nobody who speaks RoCEv2 to
 * us sends such, and the guard drops what has our port (guard.h). 0, or -EADDRNOTAVAIL: VXLAN, and
 * we have no address.
 */
int maker_ours(struct maker *m);
/* R1 = the map. */
void maker_map(struct maker *m);
/* The end, twice: R0 for frames that are ours is set already; for the kernel's: pass. */
void maker_end(struct maker *m, int32_t pass);

#endif
