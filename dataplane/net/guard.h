/* SPDX-License-Identifier: MIT */
/*
 * Guards: what reaches a DPDK port reaches the kernel's stack as well, which would answer that
 * nobody listens (ICMP port unreachable) and make the peer give up. A bound socket that drops all
 * keeps it quiet, and the UDP port from others; nobody else's traffic is touched, and it is gone
 * when we are.
 */
#ifndef FF_NET_GUARD_H
#define FF_NET_GUARD_H

#include <stdint.h>

/*
 * In the network namespace of netns_fd, -1: our own. A socket, which is to be closed, or -errno:
 * -EADDRINUSE: somebody has the port. Any thread that may wait.
 */
int ff_guard_open(int netns_fd, uint16_t udp_port);
/* From here on fd receives nothing. 0 or -errno. Any thread. */
int ff_guard_drop_all(int fd);

#endif
