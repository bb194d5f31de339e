/* SPDX-License-Identifier: MIT */
/*
 * TCP streams of containers: which connections of this host have both ends under a shim, and the
 * faster way between them (freeflow/tcp.h). The payload never comes by here. Control thread.
 */
#ifndef FF_TCP_TCP_H
#define FF_TCP_TCP_H

/* Before ff_containers_init(). */
void ff_tcp_init(void);

#endif
