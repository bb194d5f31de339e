/* SPDX-License-Identifier: MIT */
/* Streams whose bytes go by FIFOs. Any thread, and processes that inherited one by fork. */
#ifndef FF_SHIM_STREAM_FIFO_H
#define FF_SHIM_STREAM_FIFO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

struct stream;

/* As recv() and send() of iov on fd, which is one of s. Bytes, 0: the end, or -errno. */
ssize_t stream_fifo_recv(struct stream *s, int fd, const struct iovec *iov, size_t count,
			 int flags);
ssize_t stream_fifo_send(struct stream *s, int fd, const struct iovec *iov, size_t count,
			 int flags);
size_t stream_fifo_room(struct stream *s);
size_t stream_fifo_unread(struct stream *s); /* FIONREAD */
/* The kernel calls the descriptor readable: is it? */
bool stream_fifo_is_readable(struct stream *s);
bool stream_fifo_is_drained(struct stream *s); /* the other side has read all */
/* Before it is in an epoll set: from now on the kernel is right at any time. */
void stream_fifo_watch(struct stream *s);

/* The exchange (stream_meet.c), lock of s held. False: no memory. */
bool stream_fifo_prepare(struct stream *s);
/* len bytes for what the kernel's stream still holds; NULL: no memory. */
uint8_t *stream_fifo_front(struct stream *s, size_t len);
/* Before FF_TCP_STEP_READY; with a front, its byte is in the end. */
void stream_fifo_begin(struct stream *s, size_t front_len);
void stream_fifo_end(struct stream *s);

#endif
