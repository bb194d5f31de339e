/* SPDX-License-Identifier: MIT */
/*
 * What the wire does to frames, and its text form: KEY=VALUE,... as in
 * `loss=1,delay=10ms,host2.rate=100mbit`. "PORT." before a key means that port alone.
 */
#ifndef FF_WIRE_SPEC_H
#define FF_WIRE_SPEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/*
 * One for each port. The first group is for the frames that come from its host, the second for the
 * queue towards its host, down for both directions of its cable.
 */
struct wire_settings {
	double loss, dup, reorder, corrupt; /* percent of the frames */
	uint64_t delay, jitter;		    /* ns; a frame takes delay to delay + jitter */
	uint64_t mtu;			    /* longest frame without its Ethernet header; 0: any */
	uint64_t seed;
	bool repair; /* make a corrupted datagram pass the checksum of the outer UDP header */

	uint64_t rate;	/* bit/s; 0: no bottleneck, and then limit and ecn do not matter */
	uint64_t limit; /* bytes that may wait in front of the bottleneck */
	uint64_t ecn;	/* bytes waiting above which ECT becomes CE; 0: never */

	bool down;
};

void wire_settings_init(struct wire_settings *s);

/*
 * Changes the settings of the num ports called names as spec says, all or nothing. "none" in it
 * takes back all but the seed. reseed[port] becomes true where the seed was given, as it was or
 * not. Returns 0 or -EINVAL, with the reason, which names the key, in error.
 */
int wire_spec_apply(struct wire_settings *ports, const char *const *names, unsigned num,
		    const char *spec, bool *reseed, char *error, size_t size);

/* As a JSON object, in units that a spec takes without a suffix. */
void wire_settings_print(const struct wire_settings *s, FILE *out);

#endif
