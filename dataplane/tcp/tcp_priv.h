/* SPDX-License-Identifier: MIT */
/*
 * Between the files of this folder. Each container has a thread of its own, the reader, that takes
 * what its processes send to tcp.sock: whatever comes along may block whom holds it (close() of a
 * socket that lingers, of a file of FUSE; getsockopt() of one whose owner waits inside a system
 * call). It looks at the socket, and tells the control thread what it has seen, which decides.
 * So a container can block its own reader and nobody else. Descriptors of containers are only ever
 * in the readers' tables, which are no other thread's: a freeflowd that is killed beside a reader
 * that nothing wakes cannot vanish before the container lets go, but holds no lock, no socket and
 * no file that its successor needs.
 *
 *     shims -- tcp.sock --> reader -- struct tcp_event --> control thread
 *     shims <-------------- reader <-- struct tcp_order -- control thread
 *
 * Control thread, but for what says that it is the reader's.
 */
#ifndef FF_TCP_PRIV_H
#define FF_TCP_PRIV_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include <freeflow/tcp.h>

#include "../channel/container.h"
#include "../core/loop.h"
#include "tcp.h"

/* Bounds of each container; tests make them smaller before a reader starts. */
struct tcp_bounds {
	uint32_t conns;	   /* connections to tcp.sock; further ones are closed */
	uint32_t hello_ms; /* whoever has not said HELLO after that is closed */
	uint32_t offers;   /* streams that are being handed over; further ones wait */
};
extern struct tcp_bounds tcp_bounds;

/* A connection as one of its ends sees it. Addresses: IPv4 as ::ffff:a.b.c.d. */
struct tcp_tuple {
	uint8_t local[16], remote[16];
	uint16_t local_port, remote_port; /* host order */
};

/* socket.c. What the kernel says of a socket that a shim has sent. Any thread that may block. */
struct tcp_look {
	int32_t rc; /* 0; -EPROTOTYPE: not plain TCP; -ENOTCONN: not established; or -errno */
	struct tcp_tuple tuple;
	uint64_t cookie;       /* the socket's, unique while the machine is up */
	uint64_t netns_cookie; /* of the network namespace in which it was made */
};
void tcp_socket_look(int fd, struct tcp_look *out);

/* ---- between the reader and the control thread: SOCK_SEQPACKET, one struct each ---- */

enum tcp_event_type {
	TCP_EVENT_OPENED,  /* a process has connected and said HELLO */
	TCP_EVENT_MESSAGE, /* msg; look: of an ASK's socket */
	TCP_EVENT_CLOSED,  /* the connection of slot; why: if it was the reader's will */
	TCP_EVENT_REFUSED, /* one that never was OPENED; why */
};
struct tcp_event {
	uint32_t type;
	uint32_t slot;	 /* below tcp_bounds.conns; one connection's from OPENED to CLOSED */
	uint32_t serial; /* which connection in that slot */
	uint32_t why;	 /* enum ff_tcp_refusal */
	struct ff_tcp_msg msg;
	struct tcp_look look;
};

/* msg is sent to the connection, with the descriptors that come along; type 0: it is closed. */
struct tcp_order {
	uint32_t slot, serial;
	struct ff_tcp_msg msg;
};

/*
 * reader_thread.c. Takes over listen_fd, in any case. *channel: the control thread's end; when it
 * is closed the reader ends, as soon as nothing blocks it. It is not waited for. 0 or -errno.
 */
int tcp_reader_start(int listen_fd, int *channel);
/* reader.c. One look at all that there is; false: the channel is closed. */
struct tcp_reader;
bool tcp_reader_pass(struct tcp_reader *r, int timeout_ms);

/* message.c. 0, or why it breaks the protocol: -EPROTO, -EPROTONOSUPPORT (another version). */
int tcp_message_check(const struct ff_tcp_msg *m, size_t len, unsigned num_fds, bool greeted);

/* ---- index.c: objects by a hash of what names them ---- */

struct tcp_node {
	struct tcp_node *next;
	uint32_t hash;
};
struct tcp_index {
	struct tcp_node **slots; /* a power of two; NULL: none yet */
	uint32_t num_slots, count;
};
/* Containers choose what is hashed, but not to what. */
uint32_t tcp_hash(const void *key, uint32_t len);
/* 0 or -ENOMEM. */
int tcp_index_add(struct tcp_index *x, struct tcp_node *n, uint32_t hash);
void tcp_index_remove(struct tcp_index *x, struct tcp_node *n);
/* Of the nodes of that hash the first, and the one after n; NULL: no more. */
struct tcp_node *tcp_index_first(const struct tcp_index *x, uint32_t hash);
struct tcp_node *tcp_index_next(const struct tcp_node *n);

/* ---- the control thread's view ---- */

/* A process that has connected to tcp.sock. */
struct tcp_conn {
	struct tcp_container *owner;
	struct ff_container *container;
	uint32_t slot, serial;
	bool closing; /* the reader has been told; what still comes is ignored */
	TAILQ_HEAD(, tcp_stream) streams;
};

/* One end of a connection whose shim has asked, until it is forgotten. */
struct tcp_stream {
	struct tcp_conn *conn;
	uint32_t id; /* the shim's */
	struct tcp_tuple tuple;
	uint64_t cookie;
	bool offered;		   /* holds one of tcp_bounds.offers */
	bool delayed;		   /* on its container's list */
	struct tcp_stream *peer;   /* both have been offered a pair */
	struct tcp_host_ask *host; /* the other end is another host's (host.h) */
	struct tcp_node by_id, by_tuple, by_cookie;
	TAILQ_ENTRY(tcp_stream) of_conn;
	TAILQ_ENTRY(tcp_stream) of_delayed;
};

struct tcp_container {
	struct ff_container *container;
	int channel;
	struct ff_source src;
	struct tcp_conn **conns; /* by slot */
	uint32_t max_conns;
	struct ff_tcp_stats stats;
	uint64_t looked_ms; /* when confined was last found out; 0: never */
	bool confined;	    /* tcp_host_is_confined() */
	/* They would be offered a pair if less were being handed over. */
	TAILQ_HEAD(, tcp_stream) delayed;
};

void tcp_refuse(struct tcp_container *t, enum ff_tcp_refusal why);
/* streams.c. False: the shim has broken the protocol. */
bool tcp_stream_ask(struct tcp_conn *cn, uint32_t id, const struct tcp_look *look);
void tcp_stream_forget(struct tcp_stream *s);
void tcp_stream_poke(struct tcp_stream *s);
/* fd, which stays the caller's, is its end of a connection between hosts. May forget s. */
void tcp_stream_offer_host(struct tcp_stream *s, int fd);
struct tcp_stream *tcp_stream_find(struct tcp_conn *cn, uint32_t id);
/* conn.c. Without waiting; false: it is too much for the reader, or for the shim. */
bool tcp_conn_send(struct tcp_conn *cn, uint32_t type, uint32_t stream, uint32_t value,
		   const int *fds, unsigned num_fds);

/* offer.c. A socket pair whose ends are marked as those two containers' (mark.c), and a page. */
struct tcp_offer {
	int ends[2];
	int page;
};
int tcp_offer_make(struct tcp_offer *o, const struct ff_container *a, const struct ff_container *b);
void tcp_offer_close(struct tcp_offer *o);

/* mark.c: it is there as long as the socket; nobody can take it away again. */
struct tcp_mark {
	uint8_t guid[2][8]; /* of both containers */
};
int tcp_mark_set(int fd, const struct tcp_mark *m);
/* False: fd is not a marked end of a pair. */
bool tcp_mark_get(int fd, struct tcp_mark *m);
/*
 * revoke.c. Every stream that has this container at an end is shut down, wherever it is, on a
 * thread of its own that nobody waits for.
 */
void tcp_revoke(const uint8_t guid[8]);

#endif
