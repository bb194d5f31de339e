/* SPDX-License-Identifier: MIT */
/* A network interface, the lab's end of a host's veth, read and written as a packet socket. */
#ifndef FF_WIRE_PORT_H
#define FF_WIRE_PORT_H

#include <linux/virtio_net.h>

#include "hub.h"

#define WIRE_BATCH 64u

struct wire_socket {
	int fd;
	unsigned count; /* frames of out that wait for the next flush */
	struct wire_frame *out[WIRE_BATCH];
};

/* Returns 0 or -errno; *what is the step that failed. */
int wire_socket_open(struct wire_socket *sock, const char *interface, const char **what);

/* Reads what is there, at most a batch, and gives it to the hub. Never blocks. */
void wire_socket_read(struct wire_socket *sock, unsigned port, struct wire_hub *hub, uint64_t now);

/* Takes the frame over. It is sent by the next flush, or sooner. */
void wire_socket_put(struct wire_socket *sock, unsigned port, struct wire_hub *hub,
		     struct wire_frame *frame);
void wire_socket_flush(struct wire_socket *sock, unsigned port, struct wire_hub *hub);

/* Adds what the kernel has dropped since the last call to the port's counters. */
void wire_socket_count(struct wire_socket *sock, unsigned port, struct wire_hub *hub);

#endif
