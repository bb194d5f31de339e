/* SPDX-License-Identifier: MIT */
/*
 * Streams whose other end is on another host: the program's descriptors become a TCP socket of the
 * host's network (freeflow/tcp.h, struct ff_tcp_word), native in all but its names and options,
 * which the kernel's socket behind it keeps.
 */
#ifndef FF_SHIM_STREAM_HOST_H
#define FF_SHIM_STREAM_HOST_H

#include "stream.h"

/*
 * OFFERED; lock held, nobody inside; fd: of the program; the anchor is taken. Goes as far as it
 * can: HOST, OFFERED or KERNEL afterwards.
 */
void stream_host_meet(struct stream *s, int fd);
/* The new socket takes over the options of the one behind it. Lock held. */
void stream_host_adopt(struct stream *s);
/* OFFERED: the other shim has said something. Lock held. */
bool stream_host_is_awaited(const struct stream *s);
/* HOST: the last descriptor goes. Lock held. */
void stream_host_close(struct stream *s);

static inline bool
stream_is_host_offer(const struct stream *s)
{
	return s->end >= 0 && !s->page && stream_state_is(s, STREAM_OFFERED);
}

static inline bool
stream_is_host_fd(int fd)
{
	const struct fdobj *o = fdtab_peek(fd);

	return __builtin_expect(o && o->kind == FDOBJ_STREAM, 0) &&
	       stream_state_is(o->priv, STREAM_HOST);
}

/* As setsockopt() and getsockopt() of a descriptor that is HOST. */
int stream_host_set(int fd, int level, int name, const void *value, socklen_t len);
int stream_host_get(int fd, int level, int name, void *value, socklen_t *len);

#endif
