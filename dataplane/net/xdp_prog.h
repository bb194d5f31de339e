/* SPDX-License-Identifier: MIT */
/*
 * The XDP program that shares an interface between the kernel and an AF_XDP socket: to the socket
 * what is ours, to the kernel all else, and all when the queue has no socket. Any thread.
 */
#ifndef FF_NET_XDP_PROG_H
#define FF_NET_XDP_PROG_H

#include "frame_prog.h"

/* map: of sockets. As maker_ours(). */
int ff_xdp_prog(const struct frame_conf *c, struct frame_prog *out);

/*
 * A file, which is to be closed, that libbpf loads: an ELF object with the program as "ff_xdp" and
 * the map of sockets as "xsks_map", the name that net_af_xdp looks for. Or -errno. xdp_object.c
 */
int ff_xdp_object(const struct frame_prog *prog);

#endif
