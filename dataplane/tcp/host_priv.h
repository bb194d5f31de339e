/* SPDX-License-Identifier: MIT */
/* Between host.c, who pairs, and host_setup.c, who starts and ends. Control thread. */
#ifndef FF_TCP_HOST_PRIV_H
#define FF_TCP_HOST_PRIV_H

#include "peers.h"

extern const struct tcp_peers_events tcp_host_events;
/* Nobody waits any more. */
void tcp_host_stop(void);

#endif
