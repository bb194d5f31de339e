/* SPDX-License-Identifier: MIT */
/* Tests usertools/wire/dice.c: decisions that a seed repeats, and their frequencies. */
#include <CUnit/Basic.h>
#include <stdlib.h>
#include <string.h>

#include "dice.h"

#define FRAMES 100000u

static struct wire_settings
settings_none(void)
{
	struct wire_settings s;

	wire_settings_init(&s);
	return s;
}

static bool
fates_equal(const struct wire_fate *a, const struct wire_fate *b)
{
	return a->lost == b->lost && a->duplicated == b->duplicated &&
	       a->corrupted == b->corrupted && a->hold == b->hold && a->place == b->place &&
	       a->jitter == b->jitter;
}

static unsigned
fates_different(uint64_t seed_a, unsigned port_a, uint64_t seed_b, unsigned port_b)
{
	struct wire_settings s = settings_none();
	struct wire_dice a, b;
	unsigned i, different = 0;

	s.loss = s.dup = s.reorder = s.corrupt = 50;
	s.jitter = 3000000;
	wire_dice_seed(&a, seed_a, port_a);
	wire_dice_seed(&b, seed_b, port_b);
	for (i = 0; i < 1000; i++) {
		struct wire_fate x = wire_dice_throw(&a, &s), y = wire_dice_throw(&b, &s);

		different += !fates_equal(&x, &y);
	}
	return different;
}

static void
test_same_seed_same_fates(void)
{
	CU_ASSERT_EQUAL(fates_different(7, 0, 7, 0), 0);
	CU_ASSERT_EQUAL(fates_different(0, 253, 0, 253), 0);
	CU_ASSERT(fates_different(7, 0, 8, 0) > 990);
	CU_ASSERT(fates_different(7, 0, 7, 1) > 990);
	CU_ASSERT(fates_different(7, 1, 8, 0) > 990);
}

static void
test_frequencies(void)
{
	static const double percents[] = {0, 0.1, 1, 5, 50, 100};
	unsigned i, k;

	for (k = 0; k < sizeof(percents) / sizeof(percents[0]); k++) {
		struct wire_settings s = settings_none();
		double want = percents[k] * FRAMES / 100, slack = want / 4;
		unsigned lost = 0, duplicated = 0, held = 0, corrupted = 0;
		struct wire_dice dice;

		s.loss = s.dup = s.reorder = s.corrupt = percents[k];
		wire_dice_seed(&dice, 7, 0);
		for (i = 0; i < FRAMES; i++) {
			struct wire_fate fate = wire_dice_throw(&dice, &s);

			lost += fate.lost;
			duplicated += fate.duplicated;
			held += fate.hold > 0;
			corrupted += fate.corrupted;
		}
		CU_ASSERT(labs((long)lost - (long)want) <= (long)slack);
		CU_ASSERT(labs((long)duplicated - (long)want) <= (long)slack);
		CU_ASSERT(labs((long)held - (long)want) <= (long)slack);
		CU_ASSERT(labs((long)corrupted - (long)want) <= (long)slack);
		if (percents[k] == 100)
			CU_ASSERT_EQUAL(lost, FRAMES);
	}
}

/* Another setting must not change which frames are lost: they could not be compared. */
static void
test_settings_do_not_disturb_each_other(void)
{
	struct wire_settings only_loss = settings_none(), all = settings_none();
	struct wire_dice a, b;
	unsigned i, different = 0;

	only_loss.loss = all.loss = 5;
	all.dup = all.reorder = all.corrupt = 30;
	all.jitter = 1000000;
	wire_dice_seed(&a, 7, 0);
	wire_dice_seed(&b, 7, 0);
	for (i = 0; i < FRAMES; i++)
		different += wire_dice_throw(&a, &only_loss).lost != wire_dice_throw(&b, &all).lost;
	CU_ASSERT_EQUAL(different, 0);
}

static void
test_ranges(void)
{
	struct wire_settings s = settings_none();
	unsigned i, holds[WIRE_HOLD_MAX + 1] = {0};
	uint64_t most = 0, least = UINT64_MAX;
	struct wire_dice dice;

	s.reorder = 100;
	s.jitter = 60000000000ull;
	wire_dice_seed(&dice, 7, 0);
	for (i = 0; i < FRAMES; i++) {
		struct wire_fate fate = wire_dice_throw(&dice, &s);

		CU_ASSERT_FATAL(fate.hold <= WIRE_HOLD_MAX);
		holds[fate.hold]++;
		most = fate.jitter > most ? fate.jitter : most;
		least = fate.jitter < least ? fate.jitter : least;
	}
	CU_ASSERT_EQUAL(holds[0], 0);
	for (i = 1; i <= WIRE_HOLD_MAX; i++)
		CU_ASSERT(holds[i] > FRAMES / 4);
	CU_ASSERT(most <= s.jitter && most > s.jitter - s.jitter / 100);
	CU_ASSERT(least < s.jitter / 100);
}

int
main(void)
{
	unsigned failures;
	CU_pSuite suite;

	CU_initialize_registry();
	suite = CU_add_suite("wire/dice", NULL, NULL);
	CU_add_test(suite, "same seed, same fates", test_same_seed_same_fates);
	CU_add_test(suite, "frequencies", test_frequencies);
	CU_add_test(suite, "settings do not disturb each other",
		    test_settings_do_not_disturb_each_other);
	CU_add_test(suite, "ranges", test_ranges);
	CU_basic_run_tests();
	failures = CU_get_number_of_failures();
	CU_cleanup_registry();
	return failures != 0;
}
