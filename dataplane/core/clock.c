/* SPDX-License-Identifier: MIT */
/* The clock: the TSC, scaled to CLOCK_MONOTONIC, where it can be trusted. Any thread. */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <x86intrin.h>
#endif

#include "worker_priv.h"

#define SHIFT	     32
#define CALIBRATE_NS 50000000u /* two samples so far apart: 1e-6 of error from the reading */

static uint64_t
kernel_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

#if defined(__x86_64__)

/* Written once, by ff_clock_calibrate(), before there are threads. mult 0: no TSC. */
static struct {
	uint64_t mult; /* ns per tick, times 2^SHIFT */
	uint64_t tsc0, ns0;
	bool started;
} clock_tsc;

/* Invariant (Intel SDM 17.17.1, CPUID 80000007H EDX bit 8), and the kernel itself relies on it. */
static bool
tsc_usable(void)
{
	unsigned a, b, c, d;
	char source[32] = "";
	FILE *f;

	if (!__get_cpuid(0x80000007u, &a, &b, &c, &d) || !(d & (1u << 8)))
		return false;
	f = fopen("/sys/devices/system/clocksource/clocksource0/current_clocksource", "re");
	if (!f)
		return false;
	if (!fgets(source, sizeof(source), f))
		source[0] = '\0';
	fclose(f);
	source[strcspn(source, "\n")] = '\0';
	return strcmp(source, "tsc") == 0 || strcmp(source, "kvm-clock") == 0;
}

/* The pair whose reading took least: an interrupt in between would skew it. */
static void
sample(uint64_t *tsc, uint64_t *ns)
{
	uint64_t best = UINT64_MAX, before, after, t;
	int i;

	for (i = 0; i < 16; i++) {
		before = __rdtsc();
		t = kernel_ns();
		after = __rdtsc();
		if (after - before < best) {
			best = after - before;
			*tsc = before + (after - before) / 2;
			*ns = t;
		}
	}
}

void
ff_clock_start(void)
{
	if (clock_tsc.started || !tsc_usable())
		return;
	sample(&clock_tsc.tsc0, &clock_tsc.ns0);
	clock_tsc.started = true;
}

void
ff_clock_calibrate(void)
{
	uint64_t tsc = 0, ns = 0;
	struct timespec ts = {0, CALIBRATE_NS};

	ff_clock_start();
	if (!clock_tsc.started || clock_tsc.mult)
		return;
	if (kernel_ns() - clock_tsc.ns0 < CALIBRATE_NS)
		nanosleep(&ts, NULL);
	sample(&tsc, &ns);
	clock_tsc.mult = (uint64_t)(((unsigned __int128)(ns - clock_tsc.ns0) << SHIFT) /
				    (tsc - clock_tsc.tsc0));
}

uint64_t
ff_now_ns(void)
{
	if (!clock_tsc.mult)
		return kernel_ns();
	return clock_tsc.ns0 +
	       (uint64_t)(((unsigned __int128)(__rdtsc() - clock_tsc.tsc0) * clock_tsc.mult) >>
			  SHIFT);
}

#else

void
ff_clock_start(void)
{
}

void
ff_clock_calibrate(void)
{
}

uint64_t
ff_now_ns(void)
{
	return kernel_ns();
}

#endif
