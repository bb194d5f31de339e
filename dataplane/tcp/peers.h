/* SPDX-License-Identifier: MIT */
/*
 * Routers of other hosts, on tcp.port of the underlay (peer_auth.h): sessions that we have dialled,
 * by which we say what we want; those that others have dialled, by which they do; and connections
 * that are made for a container. All sockets are the cage's. Strangers are bounded in number and
 * time, and counted. Control thread.
 */
#ifndef FF_TCP_PEERS_H
#define FF_TCP_PEERS_H

#include <stdbool.h>
#include <stdint.h>

#include "cage.h"
#include "peer_auth.h"

#define TCP_PEERS_STRANGERS  256u /* who has not proved itself yet; the oldest has to go */
#define TCP_PEERS_STRANGE_MS 3000u
#define TCP_PEERS_HOSTS	     4096u
#define TCP_PEERS_QUEUE	     (1u << 20) /* bytes of frames that a host does not take */
#define TCP_PEERS_DIALS	     128u	/* at a time */

enum tcp_peers_counter {
	TCP_PEERS_ACCEPTED,
	TCP_PEERS_PROVEN,      /* sessions that others dialled */
	TCP_PEERS_SESSIONS,    /* that we dialled */
	TCP_PEERS_STRANGE,     /* not a hello of ours, or of a wrong key */
	TCP_PEERS_CROWDED_OUT, /* TCP_PEERS_STRANGERS */
	TCP_PEERS_TOO_LATE,    /* TCP_PEERS_STRANGE_MS */
	TCP_PEERS_BAD_FRAMES,  /* and the session with it */
	TCP_PEERS_BAD_TOKENS,
	TCP_PEERS_DIAL_FAILED,
	TCP_PEERS_COUNTERS,
};
extern const char *const tcp_peers_counter_names[TCP_PEERS_COUNTERS];

/* A session that another router has dialled. */
struct tcp_peer_in {
	struct tcp_peer_session session;
	uint8_t host[16];
	void *priv; /* the user's */
};

struct tcp_peers_events {
	/* A session to that host, again: nothing that was said before counts. */
	void (*up)(const uint8_t host[16]);
	void (*frame)(struct tcp_peer_in *from, const struct tcp_peer_frame *f);
	void (*lost)(struct tcp_peer_in *from);
	/* That host dials for ref. NULL: there is none; else it is gone, and granted() follows. */
	void *(*claim)(const uint8_t host[16], uint64_t ref);
	void (*granted)(void *claimed, int fd); /* takes over fd; -1: it has failed */
	/* Of tcp_peers_dial(); takes over fd; -errno: it has failed. */
	void (*dialled)(void *arg, int fd);
};

struct tcp_peers_conf {
	struct tcp_cage *cage;
	const struct tcp_peer_secret *secret;
	const struct tcp_peers_events *events;
	const uint8_t *address; /* to listen at, IPv4 as ::ffff:a.b.c.d; NULL: any */
	uint16_t port;
};

/* What conf points to is the caller's, until tcp_peers_fini(). 0 or -errno. */
int tcp_peers_init(const struct tcp_peers_conf *conf);
void tcp_peers_fini(void);
/* Dials when there is no session yet: then, and when it is full, false; up() will be called. */
bool tcp_peers_send(const uint8_t host[16], struct tcp_peer_frame *f);
/* A connection to host for ref, which it has named by session from. 0 or -errno. */
struct tcp_peer_dial;
int tcp_peers_dial(const uint8_t host[16], const struct tcp_peer_in *from, uint64_t ref, void *arg,
		   struct tcp_peer_dial **out);
/* dialled() will not be called. */
void tcp_peers_dial_cancel(struct tcp_peer_dial *d);
uint64_t tcp_peers_count(enum tcp_peers_counter which);
/* Sessions that are up: dialled by us. */
unsigned tcp_peers_sessions(void);
uint16_t tcp_peers_port(void); /* at which it listens */

#endif
