/* SPDX-License-Identifier: MIT */
/*
 * Streams between hosts. A shim asks as for any other stream; where the other end is a container of
 * another host, its router is found by the overlay's resolver, and the two routers make one TCP
 * connection of the host's network for this one stream (peers.h), out of the cage (cage.h). Each
 * shim is given its end of that, and is then alone with the other shim: they agree by the new
 * connection itself on where the kernel's overlay connection ends (freeflow/tcp.h). No router is on
 * the way of the bytes, or needed any more.
 *
 *     end with the higher address              end with the lower one
 *     shim asks                                shim asks
 *     WANT, ref ------------------------------> (kept until its shim asks)
 *       <--------- connects to tcp.port, hello: the session of that WANT, ref
 *     ready ---------------------------------->
 *     shim is offered its end                  shim is offered its end
 *
 * Each router knows its own end by the socket that its shim has passed; of the other end it knows
 * what the other router says, which has the same secret. The tenant's name has to be the same.
 *
 * Off, and the log says why, where the cage does not hold, the secret is missing or readable by
 * others, or there is no resolver. Control thread.
 */
#ifndef FF_TCP_HOST_H
#define FF_TCP_HOST_H

#include <stdbool.h>
#include <stdint.h>

#include "peers.h"

struct ff_container;
struct tcp_stream;
struct tcp_host_ask;

#define TCP_HOST_WANTS_MAX 65536u /* of one router, for which nobody here has asked */

bool tcp_host_is_on(void);
/* The other end of s may be on another host. False: nobody knows it, or no memory. */
bool tcp_host_ask(struct tcp_stream *s);
/*
 * No process in that network namespace could come by capabilities over the host's network. False
 * also where we cannot know. host_caps.c
 */
bool tcp_host_is_confined(int netns_fd);
/* s is forgotten. */
void tcp_host_forget(struct tcp_stream *s);

#endif
