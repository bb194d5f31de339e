/* SPDX-License-Identifier: MIT */
/*
 * What chance does to a frame. One stream of random numbers for each port, of which each frame
 * takes the same number, whatever the settings: the n-th frame since the seed was set meets the
 * same fate whenever the seed is the same, and another setting changes that setting's part alone.
 */
#ifndef FF_WIRE_DICE_H
#define FF_WIRE_DICE_H

#include <stdbool.h>
#include <stdint.h>

#include "spec.h"

/* Frames that overtake a reordered one, at most. */
#define WIRE_HOLD_MAX 3u

struct wire_dice {
	uint64_t state;
};

struct wire_fate {
	bool lost, duplicated, corrupted;
	uint8_t hold;	 /* 0, or after how many other frames it goes on */
	uint64_t place;	 /* of the corruption: scaled to the frame by its user */
	uint64_t jitter; /* ns */
};

void wire_dice_seed(struct wire_dice *dice, uint64_t seed, unsigned port);
struct wire_fate wire_dice_throw(struct wire_dice *dice, const struct wire_settings *s);

#endif
