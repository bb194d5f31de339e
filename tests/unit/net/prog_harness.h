/* SPDX-License-Identifier: MIT */
/* What the tests of BPF programs share: frames, and the kernel's run of a program on them. */
#ifndef TESTS_UNIT_NET_PROG_HARNESS_H
#define TESTS_UNIT_NET_PROG_HARNESS_H

#include <CUnit/Basic.h>
#include <stdbool.h>
#include <stdint.h>

#include "net/frame.h"

#define SKIP	  77  /* what meson takes for a skipped test */
#define IP	  14u /* the outer, or only, network header */
#define FRAME_MAX 256u

struct frame_conf prog_conf(enum ff_encap encap);
/*
 * A frame that ff_frame_parse() takes, of IP version outer: in VXLAN to us, bare to 10.0.0.1, or
 * fd10::1. Its length.
 */
uint32_t prog_frame(const struct frame_conf *c, unsigned outer, uint8_t out[FRAME_MAX]);
/* Of the outer IPv4 header, without options. */
void prog_sum(uint8_t *frame);
/* What the program returns. */
unsigned prog_run(int prog, const uint8_t *frame, uint32_t len);

struct prog_verdicts {
	unsigned ours, kernels;
	bool skb;	 /* the kernel runs such a program on whole IP headers alone */
	bool containers; /* ours is what goes to those addresses of prog_frame() alone */
};
/* The program must judge as ff_frame_parse() does: each bit of the headers, turned; each length. */
void prog_compare(const struct frame_conf *c, unsigned outer, int prog,
		  const struct prog_verdicts *v);

/* With each way in which a host may have addresses: compare's outer is 4 or 6. */
typedef void prog_compare_fn(const struct frame_conf *c, unsigned outer);
void prog_vxlan(prog_compare_fn *compare);
void prog_none(prog_compare_fn *compare);

#endif
