/* SPDX-License-Identifier: MIT */
/* What both ways of an exchange need, inside a host and between hosts. Lock held. */
#ifndef FF_SHIM_STREAM_MEET_H
#define FF_SHIM_STREAM_MEET_H

#include "stream.h"

int64_t stream_now_ns(void);
/* What somebody has done past the hooks shows in the figures. */
bool stream_kernel_is_same(int fd, const struct stream_extent *e);
/* s->anchor is another descriptor of the kernel's socket, or none again. */
bool stream_anchor_take(struct stream *s, int fd);
void stream_anchor_drop(struct stream *s);
/* The program's descriptors become s->end. False: the connection is to end. */
bool stream_fds_replace(struct stream *s);
/* No exchange; the kernel's stream goes on, and asks later. */
void stream_part(struct stream *s);

#endif
