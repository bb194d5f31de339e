/* SPDX-License-Identifier: MIT */
/* Between peers.c, who accepts, and peers_out.c, who dials. Control thread. */
#ifndef FF_TCP_PEERS_PRIV_H
#define FF_TCP_PEERS_PRIV_H

#include <sys/queue.h>
#include <sys/socket.h>

#include "../core/loop.h"
#include "peers.h"

struct peers {
	struct tcp_peers_conf conf;
	uint8_t id[TCP_PEER_ID];
	struct ff_timer timer;
	uint64_t counters[TCP_PEERS_COUNTERS];
};
extern struct peers tcp_peers;

#define TCP_PEERS_TICK_MS 500u

/* Bytes until there are enough of them for one message. */
struct peer_buf {
	uint32_t have;
	uint8_t bytes[sizeof(struct tcp_peer_frame)];
};
/*
 * Reads no more than want. 1: they are there, and buf is empty again, but for its bytes; 0: not
 * yet; -errno: it has ended.
 */
int peer_read(int fd, struct peer_buf *buf, uint32_t want);
/* All of it, at once: into a socket that holds nothing. */
bool peer_write(int fd, const void *p, size_t len);
uint64_t peer_now_ms(void);
socklen_t peer_sockaddr(const uint8_t host[16], uint16_t port, struct sockaddr_storage *out);
void peer_host_of(int fd, uint8_t host[16]);
/* Dead peers are noticed. */
void peer_options_set(int fd);
/* Room for what two shims will move through it. */
void peer_room_set(int fd);

/* peers_out.c. The session that we dialled with that id, and its host; NULL: there is none. */
const struct tcp_peer_session *peer_out_find(const uint8_t id[TCP_PEER_ID], const uint8_t **host);
void peer_out_tick(uint64_t now_ms);
void peer_out_fini(void);

#endif
