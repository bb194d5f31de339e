/* SPDX-License-Identifier: MIT */
/*
 * The wire's control socket: SOCK_SEQPACKET, a request is one message, and so is its answer.
 *   show		settings and counters, as JSON
 *   set SPEC	changes settings (spec.h); answers as show does
 * What goes wrong is answered with {"error": "..."}.
 */
#ifndef FF_WIRE_CONTROL_H
#define FF_WIRE_CONTROL_H

#include <poll.h>

#include "hub.h"

/* More clients than that wait until one has left. */
#define WIRE_CLIENTS	 4u
#define WIRE_CONTROL_FDS (1 + WIRE_CLIENTS)

struct wire_control {
	int fds[WIRE_CONTROL_FDS]; /* the listening one, clients; -1: none */
};

/* Returns 0 or -errno: -ENAMETOOLONG, what bind() says. */
int wire_control_open(struct wire_control *control, const char *path);
void wire_control_poll(const struct wire_control *control, struct pollfd *polls);
/* polls: as they have come back. Never blocks. */
void wire_control_serve(struct wire_control *control, const struct pollfd *polls,
			struct wire_hub *hub);

#endif
