/* SPDX-License-Identifier: MIT */
/* Between the files of this folder. Control thread. */
#ifndef FF_TCP_PRIV_H
#define FF_TCP_PRIV_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include <freeflow/tcp.h>

#include "../channel/container.h"
#include "../core/loop.h"

/* Streams of one process that wait, or are being handed over. */
#define TCP_STREAMS_MAX 65536u

/* A connection as one of its ends sees it. Addresses: IPv4 as ::ffff:a.b.c.d. */
struct tcp_tuple {
	uint8_t local[16], remote[16];
	uint16_t local_port, remote_port; /* host order */
};

/* A process that has connected to tcp.sock. */
struct tcp_conn {
	struct ff_source src;
	int fd;
	struct ff_container *container;
	bool greeted;
	uint32_t num_streams;
	TAILQ_HEAD(, tcp_stream) streams;
	TAILQ_ENTRY(tcp_conn) link;
};

/* One end of a connection whose shim has asked, until it is forgotten. */
struct tcp_stream {
	struct tcp_conn *conn;
	uint32_t id; /* the shim's */
	struct tcp_tuple tuple;
	struct tcp_stream *peer; /* both have been offered a pair */
	TAILQ_ENTRY(tcp_stream) of_conn;
	TAILQ_ENTRY(tcp_stream) of_bucket;
};

/*
 * socket.c. What the kernel says of a socket that a shim has sent. 0; -EPROTOTYPE: not TCP;
 * -ENOTCONN: not established; or -errno.
 */
int tcp_socket_look(int fd, struct tcp_tuple *out);
/* streams.c. The shim of cn asks for stream id, which is the socket fd (the caller's to close). */
void tcp_stream_ask(struct tcp_conn *cn, uint32_t id, int fd);
void tcp_stream_forget(struct tcp_stream *s);
void tcp_stream_poke(struct tcp_stream *s);
struct tcp_stream *tcp_stream_find(struct tcp_conn *cn, uint32_t id);
/* conn.c. Without waiting; false: it does not read, or is gone, and its loop will tell. */
bool tcp_conn_send(struct tcp_conn *cn, uint32_t type, uint32_t stream, uint32_t value,
		   const int *fds, unsigned num_fds);

#endif
