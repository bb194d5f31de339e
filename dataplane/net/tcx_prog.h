/* SPDX-License-Identifier: MIT */
/*
 * The TCX program (Linux 6.6) that takes from the kernel's stack what an AF_PACKET socket on the
 * interface has got already: the kernel hands a packet to such sockets first. Any thread.
 */
#ifndef FF_NET_TCX_PROG_H
#define FF_NET_TCX_PROG_H

#include "frame_prog.h"

/* As <linux/bpf.h> has them since Linux 6.6. */
enum { FF_TCX_NEXT = -1, FF_TCX_DROP = 2, FF_TCX_INGRESS = 46 };

/*
 * Without encapsulation, ours is what goes to an address in the map, a hash of keys of 16 bytes
 * (MAKER_KEY); in VXLAN there is no map. As maker_ours().
 */
int ff_tcx_prog(const struct frame_conf *c, struct frame_prog *out);

#endif
