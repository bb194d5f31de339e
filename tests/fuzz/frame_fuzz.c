/* SPDX-License-Identifier: MIT */
/* libFuzzer: what ff-wire does to the bytes of a frame that a host has sent. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../usertools/wire/frame.h"

struct call {
	uint8_t what;
	uint64_t place;
	uint16_t start, offset;
} __attribute__((packed));

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned
bits_changed(const struct wire_frame *f, const uint8_t *before)
{
	unsigned n = 0;

	for (uint32_t i = 0; i < f->len; i++)
		n += (unsigned)__builtin_popcount(f->bytes[i] ^ before[i]);
	return n;
}

static void
run(struct wire_frame *f, const struct call *c, const uint8_t *before)
{
	bool repair = c->what & 4;

	switch (c->what & 3) {
	case 0:
		if (!wire_frame_corrupt(f, c->place, repair)) {
			if (bits_changed(f, before))
				abort();
		} else if (!bits_changed(f, before) || (!repair && bits_changed(f, before) != 1)) {
			abort();
		}
		break;
	case 1:
		/* Marked once, it stays as it is. */
		if (wire_frame_mark(f) && (!wire_frame_is_ip(f) || !wire_frame_mark(f)))
			abort();
		break;
	case 2:
		/* Two bytes, or none. */
		if (!wire_frame_checksum(f, c->start, c->offset) && bits_changed(f, before))
			abort();
		if (bits_changed(f, before) > 16)
			abort();
		break;
	default:
		wire_frame_is_ip(f);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct wire_frame *f;
	struct call c;
	uint32_t len;

	if (size < sizeof(c) || size - sizeof(c) > WIRE_FRAME_MAX)
		return 0;
	memcpy(&c, data, sizeof(c));
	len = (uint32_t)(size - sizeof(c));
	/* No longer than the frame is: a read beyond it is seen. */
	f = malloc(offsetof(struct wire_frame, bytes) + len);
	if (!f)
		abort();
	f->len = len;
	memcpy(f->bytes, data + sizeof(c), len);
	run(f, &c, data + sizeof(c));
	if (f->len != len)
		abort();
	free(f);
	return 0;
}
