/* SPDX-License-Identifier: MIT */
/* main() of a test program that needs nothing around its tests. */
#ifndef TEST_SUITE_H
#define TEST_SUITE_H

struct suite_test {
	const char *name;
	void (*fn)(void);
};

/* Runs them in that order; what main() returns: 0, or 1 where any failed. */
int suite_main(const char *name, const struct suite_test *tests, unsigned n);

#endif
