/* SPDX-License-Identifier: MIT */
/*
 * The wire as a whole: a switch that learns, and what befalls the frames in it. Knows no sockets
 * and no clock. A frame goes
 *
 *   in -> cable, mtu, dice of the port it comes in by -> line of that port (reordering, delay)
 *      -> queue of each port it leaves by (bottleneck, ECN) -> cable -> out
 *
 * What is not IP, above all ARP, is never lost, duplicated, held or corrupted at random and takes
 * no dice: when it is sent depends on timers of the kernel, and what it tells is remembered for
 * longer than a fault should last.
 */
#ifndef FF_WIRE_HUB_H
#define FF_WIRE_HUB_H

#include <stdio.h>

#include "dice.h"
#include "frame.h"
#include "line.h"
#include "spec.h"

#define WIRE_PORTS_MAX	    254u
#define WIRE_FRAMES_WAITING 32768u /* in lines and queues together */

/* Of the frames that come in by a port. */
struct wire_from {
	uint64_t received;
	uint64_t ip; /* those of them that have taken dice */
	uint64_t lost, duplicated, reordered, corrupted;
	uint64_t mtu;	    /* too long for the setting, or for any */
	uint64_t down;	    /* the cable they came by */
	uint64_t local;	    /* to an address behind the same port */
	uint64_t full;	    /* WIRE_FRAMES_WAITING; those that were not even read take no dice */
	uint64_t offloaded; /* not cut into frames: see port.c */
	uint64_t missed;    /* the kernel had to drop them before we could read them */
};

/* Of those that leave by it. */
struct wire_to {
	uint64_t sent, marked;
	uint64_t queue;	 /* over the bottleneck's limit */
	uint64_t down;	 /* the cable they would have left by */
	uint64_t unsent; /* the kernel refused them */
};

struct wire_port {
	struct wire_dice dice;
	struct wire_line line;
	struct wire_queue queue;
	struct wire_from from;
	struct wire_to to;
};

/* Takes the frame over. */
typedef void (*wire_output)(void *arg, unsigned port, struct wire_frame *frame);

#define WIRE_MACS 4096u

/* An address hashes to one place; the next one there takes it, and the first is flooded again. */
struct wire_mac {
	uint64_t address; /* 0: none */
	uint16_t port;
};

struct wire_hub {
	struct wire_pool pool;
	struct wire_port *ports;
	struct wire_settings *settings; /* of each port */
	const char *const *names;
	unsigned num;
	wire_output output;
	void *arg;
	struct wire_mac macs[WIRE_MACS];
};

/* names must live as long as the hub. Returns 0, -EINVAL (number of ports) or -ENOMEM. */
int wire_hub_init(struct wire_hub *hub, const char *const *names, unsigned num, wire_output output,
		  void *arg);
void wire_hub_fini(struct wire_hub *hub);

/* As wire_spec_apply(). A seed in it starts the dice of its ports anew. */
int wire_hub_set(struct wire_hub *hub, const char *spec, char *error, size_t size);

/* A frame that has come in by a port. Takes it over. */
void wire_hub_input(struct wire_hub *hub, unsigned port, struct wire_frame *frame, uint64_t now);

/* Outputs what is due by now. Returns when there is more to do, or WIRE_NEVER. */
uint64_t wire_hub_run(struct wire_hub *hub, uint64_t now);

/* Settings and counters, as JSON. */
void wire_hub_print(const struct wire_hub *hub, FILE *out);

#endif
