/* SPDX-License-Identifier: MIT */
/* Which connections are looked at: the environment's word. Any thread. */
#ifndef FF_SHIM_STREAM_PREFIX_H
#define FF_SHIM_STREAM_PREFIX_H

#include <stdbool.h>
#include <sys/socket.h>

/*
 * Is fd a TCP socket whose peer is in $VNET_PREFIX ("10.32.0.0/12,fd32::/16"; not set: any but
 * loopback), and does $FREEFLOW_TCP (off, the default; unix; fifo) allow more than the kernel's?
 * peer: NULL: is asked for. Keeps errno. False too where there is no router.
 */
bool stream_prefix_wanted(int fd, const struct sockaddr *peer);
/* Does $FREEFLOW_TCP allow FIFOs? After the former. */
bool stream_fifo_wanted(void);
bool stream_host_wanted(void); /* streams between hosts */

#endif
