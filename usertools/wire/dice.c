/* SPDX-License-Identifier: MIT */
/* Seeded decisions: splitmix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Generators). */
#include "dice.h"

#define GOLDEN 0x9e3779b97f4a7c15ull

static uint64_t
mix(uint64_t z)
{
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

static uint64_t
draw(struct wire_dice *dice)
{
	dice->state += GOLDEN;
	return mix(dice->state);
}

void
wire_dice_seed(struct wire_dice *dice, uint64_t seed, unsigned port)
{
	/* Mixed twice: the streams of neighbouring ports and seeds start far from each other. */
	dice->state = mix(mix(seed + GOLDEN) ^ (port + 1ull) * GOLDEN);
}

/* The upper half of a draw decides, so that the lower one is free for a second use. */
static bool
happens(uint64_t value, double percent)
{
	return (double)(value >> 32) < percent / 100 * 0x1p32;
}

struct wire_fate
wire_dice_throw(struct wire_dice *dice, const struct wire_settings *s)
{
	struct wire_fate fate = {0};
	uint64_t value;

	fate.lost = happens(draw(dice), s->loss);
	fate.duplicated = happens(draw(dice), s->dup);
	value = draw(dice);
	if (happens(value, s->reorder))
		fate.hold = (uint8_t)(1 + (uint32_t)value % WIRE_HOLD_MAX);
	fate.corrupted = happens(draw(dice), s->corrupt);
	fate.place = draw(dice);
	/* jitter is at most 2^36 ns: the product fits when the draw has 28 bits. */
	fate.jitter = (draw(dice) >> 36) * (s->jitter + 1) >> 28;
	return fate;
}
