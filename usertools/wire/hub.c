/* SPDX-License-Identifier: MIT */
/* The switch and the way of a frame through it. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "hub.h"

#define MAC_LEN 6u

int
wire_hub_init(struct wire_hub *hub, const char *const *names, unsigned num, wire_output output,
	      void *arg)
{
	unsigned i;

	if (num == 0 || num > WIRE_PORTS_MAX)
		return -EINVAL;
	memset(hub, 0, sizeof(*hub));
	hub->ports = calloc(num, sizeof(*hub->ports));
	hub->settings = calloc(num, sizeof(*hub->settings));
	if (!hub->ports || !hub->settings) {
		free(hub->ports);
		free(hub->settings);
		return -ENOMEM;
	}
	wire_pool_init(&hub->pool, WIRE_FRAMES_WAITING);
	hub->names = names;
	hub->num = num;
	hub->output = output;
	hub->arg = arg;
	for (i = 0; i < num; i++) {
		struct wire_port *port = &hub->ports[i];

		wire_settings_init(&hub->settings[i]);
		wire_dice_seed(&port->dice, hub->settings[i].seed, i);
		wire_line_init(&port->line);
		wire_queue_init(&port->queue);
	}
	return 0;
}

static void
frames_drop(struct wire_hub *hub, struct wire_frames *frames)
{
	struct wire_frame *frame;

	while ((frame = TAILQ_FIRST(frames))) {
		TAILQ_REMOVE(frames, frame, link);
		wire_pool_put(&hub->pool, frame);
	}
}

void
wire_hub_fini(struct wire_hub *hub)
{
	unsigned i;

	for (i = 0; i < hub->num; i++) {
		frames_drop(hub, &hub->ports[i].line.held);
		frames_drop(hub, &hub->ports[i].line.delayed);
		frames_drop(hub, &hub->ports[i].queue.frames);
	}
	wire_pool_fini(&hub->pool);
	free(hub->ports);
	free(hub->settings);
}

int
wire_hub_set(struct wire_hub *hub, const char *spec, char *error, size_t size)
{
	bool reseed[hub->num];
	unsigned i;
	int rc = wire_spec_apply(hub->settings, hub->names, hub->num, spec, reseed, error, size);

	for (i = 0; !rc && i < hub->num; i++)
		if (reseed[i])
			wire_dice_seed(&hub->ports[i].dice, hub->settings[i].seed, i);
	return rc;
}

static uint64_t
mac_get(const uint8_t *bytes)
{
	uint64_t address = 0;
	unsigned i;

	for (i = 0; i < MAC_LEN; i++)
		address = address << 8 | bytes[i];
	return address;
}

static struct wire_mac *
mac_place(struct wire_hub *hub, uint64_t address)
{
	return &hub->macs[(address * 0x9e3779b97f4a7c15ull >> 32) % WIRE_MACS];
}

/* Learns where the sender is, and finds where the frame goes. */
static uint16_t
mac_switch(struct wire_hub *hub, unsigned in, const struct wire_frame *frame)
{
	uint64_t to = mac_get(frame->bytes), from = mac_get(frame->bytes + MAC_LEN);
	const struct wire_mac *place;
	bool group = frame->bytes[0] & 1;

	if (!(frame->bytes[MAC_LEN] & 1))
		*mac_place(hub, from) = (struct wire_mac){from, (uint16_t)in};
	place = mac_place(hub, to);
	return group || !to || place->address != to ? WIRE_FLOOD : place->port;
}

void
wire_hub_input(struct wire_hub *hub, unsigned in, struct wire_frame *frame, uint64_t now)
{
	struct wire_port *port = &hub->ports[in];
	const struct wire_settings *s = &hub->settings[in];
	uint64_t *dropped = NULL;
	struct wire_fate fate = {0};

	port->from.received++;
	/* First of all: a frame takes its dice whatever becomes of it. */
	if (wire_frame_is_ip(frame)) {
		port->from.ip++;
		fate = wire_dice_throw(&port->dice, s);
	}
	frame->in = (uint16_t)in;
	frame->out = WIRE_FLOOD;
	if (s->down)
		dropped = &port->from.down;
	else if (frame->len < WIRE_ETH_LEN || (s->mtu && frame->len - WIRE_ETH_LEN > s->mtu))
		dropped = &port->from.mtu;
	else if ((frame->out = mac_switch(hub, in, frame)) == in)
		dropped = &port->from.local;
	else if (fate.lost)
		dropped = &port->from.lost;
	if (dropped) {
		++*dropped;
		wire_pool_put(&hub->pool, frame);
		return;
	}
	if (fate.corrupted && wire_frame_corrupt(frame, fate.place, s->repair))
		port->from.corrupted++;
	port->from.duplicated += fate.duplicated;
	port->from.reordered += fate.hold > 0;
	frame->copies = (uint8_t)(1 + fate.duplicated);
	frame->hold = fate.hold;
	frame->jitter = fate.jitter;
	wire_line_put(&port->line, frame, s, now);
}

static void
queue_put(struct wire_hub *hub, unsigned out, struct wire_frame *frame)
{
	struct wire_port *port = &hub->ports[out];

	switch (wire_queue_put(&port->queue, frame, &hub->settings[out])) {
	case WIRE_MARKED:
		port->to.marked++;
		break;
	case WIRE_REFUSED:
		port->to.queue++;
		wire_pool_put(&hub->pool, frame);
		break;
	case WIRE_QUEUED:
		break;
	}
}

static void
copy_put(struct wire_hub *hub, unsigned out, const struct wire_frame *frame)
{
	struct wire_frame *copy = wire_pool_clone(&hub->pool, frame);

	if (copy)
		queue_put(hub, out, copy);
	else
		hub->ports[frame->in].from.full++;
}

/* From its line to the queues: all its copies for one port, then all for the next. */
static void
frame_forward(struct wire_hub *hub, struct wire_frame *frame)
{
	unsigned out, copy;

	for (out = 0; out < hub->num; out++) {
		if (frame->out == WIRE_FLOOD ? out == frame->in : out != frame->out)
			continue;
		for (copy = frame->out != WIRE_FLOOD; copy < frame->copies; copy++)
			copy_put(hub, out, frame);
	}
	/* To one port the frame itself goes last; a flood consists of copies alone. */
	if (frame->out != WIRE_FLOOD)
		queue_put(hub, frame->out, frame);
	else
		wire_pool_put(&hub->pool, frame);
}

uint64_t
wire_hub_run(struct wire_hub *hub, uint64_t now)
{
	uint64_t next = WIRE_NEVER, time;
	struct wire_frame *frame;
	unsigned i;

	for (i = 0; i < hub->num; i++) {
		struct wire_line *line = &hub->ports[i].line;

		while ((frame = wire_line_take(line, &hub->settings[i], now)))
			frame_forward(hub, frame);
		time = wire_line_next(line);
		next = time < next ? time : next;
	}
	for (i = 0; i < hub->num; i++) {
		struct wire_port *port = &hub->ports[i];
		const struct wire_settings *s = &hub->settings[i];

		while ((frame = wire_queue_take(&port->queue, s, now))) {
			if (s->down) {
				port->to.down++;
				wire_pool_put(&hub->pool, frame);
			} else {
				port->to.sent++;
				hub->output(hub->arg, i, frame);
			}
		}
		time = wire_queue_next(&port->queue, s);
		next = time < next ? time : next;
	}
	return next;
}

static void
counters_print(const struct wire_port *port, FILE *out)
{
	const struct wire_from *f = &port->from;
	const struct wire_to *t = &port->to;

	fprintf(out,
		"\"from\": {\"received\": %" PRIu64 ", \"ip\": %" PRIu64 ", \"lost\": %" PRIu64
		", \"duplicated\": %" PRIu64 ", \"reordered\": %" PRIu64 ", \"corrupted\": %" PRIu64
		", \"mtu\": %" PRIu64 ", \"down\": %" PRIu64 ", \"local\": %" PRIu64
		", \"full\": %" PRIu64 ", \"offloaded\": %" PRIu64 ", \"missed\": %" PRIu64 "}, ",
		f->received, f->ip, f->lost, f->duplicated, f->reordered, f->corrupted, f->mtu,
		f->down, f->local, f->full, f->offloaded, f->missed);
	fprintf(out,
		"\"to\": {\"sent\": %" PRIu64 ", \"marked\": %" PRIu64 ", \"queue\": %" PRIu64
		", \"down\": %" PRIu64 ", \"unsent\": %" PRIu64 "}, \"waiting\": %u",
		t->sent, t->marked, t->queue, t->down, t->unsent,
		port->line.count + port->queue.count);
}

void
wire_hub_print(const struct wire_hub *hub, FILE *out)
{
	unsigned i;

	fprintf(out, "{\"ports\": [");
	for (i = 0; i < hub->num; i++) {
		fprintf(out, "%s{\"name\": \"%s\", \"settings\": ", i ? ", " : "", hub->names[i]);
		wire_settings_print(&hub->settings[i], out);
		fprintf(out, ", ");
		counters_print(&hub->ports[i], out);
		fprintf(out, "}");
	}
	fprintf(out, "]}\n");
}
