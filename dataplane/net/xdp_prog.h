/* SPDX-License-Identifier: MIT */
/*
 * The XDP program that shares an interface between the kernel and an AF_XDP socket: to the socket
 * what ff_frame_parse() would take or call bad, to the kernel all else, and all when the queue has
 * no socket. Made at run time, as instructions: it depends on the configuration, and nobody needs a
 * compiler for BPF. Any thread.
 */
#ifndef FF_NET_XDP_PROG_H
#define FF_NET_XDP_PROG_H

#include <linux/bpf.h>

#include "frame.h"

#define XDP_PROG_MAX 128u

struct xdp_prog {
	unsigned num;
	unsigned map; /* the instruction that gets the address of the map of sockets */
	struct bpf_insn insn[XDP_PROG_MAX];
};

/*
 * Broadcasts, fragments, IPv4 options and VLAN tags are the kernel's: nobody who speaks RoCEv2 to
 * us sends such, and the guard drops what has our port (guard.h). 0, or -EADDRNOTAVAIL: VXLAN, and
 * we have no address.
 */
int ff_xdp_prog(const struct frame_conf *c, struct xdp_prog *out);

/*
 * A file, which is to be closed, that libbpf loads: an ELF object with the program as "ff_xdp" and
 * the map of sockets as "xsks_map", the name that net_af_xdp looks for. Or -errno. xdp_object.c
 */
int ff_xdp_object(const struct xdp_prog *prog);

#endif
