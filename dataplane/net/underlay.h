/* SPDX-License-Identifier: MIT */
/* What an interface of the kernel's is on the underlay. underlay.c; control thread. */
#ifndef FF_NET_UNDERLAY_H
#define FF_NET_UNDERLAY_H

#include <stdbool.h>
#include <stdint.h>

struct ff_underlay {
	unsigned mtu; /* 0: there is no such interface */
	uint8_t mac[6];
	bool has4, has6;
	uint8_t own4[4], own6[16]; /* its first addresses, no link-local ones */
};
void ff_underlay_own(const char *iface, struct ff_underlay *out);

#endif
