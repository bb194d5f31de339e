/* SPDX-License-Identifier: MIT */
/*
 * Router to router: what is said on tcp.port of the underlay, and how each knows that the other one
 * has the pre-shared key (HMAC-SHA256). Pure: bytes in, bytes out. Any thread.
 *
 * Every connection begins with struct tcp_peer_hello, whose kind says what it is.
 *
 * TCP_PEER_CONTROL: who has dialled tells the other what it wants; for the other direction, the
 * other one dials.
 *     dialler  hello: its id, a nonce
 *     other    challenge: its id, a nonce, MAC(key, "router answers", hello, challenge)
 *     dialler  proof: MAC(key, "router asks", hello, challenge)
 *     dialler  frames, each with a number and a MAC by a key of this session
 * An id is chosen at random when a router starts: nobody is made to talk to himself.
 *
 * TCP_PEER_DATA: will be a container's. The session is that by which the other one has said that it
 * wants it, ref is its word for it: a token for one connection.
 *     dialler  hello: session, ref, MAC(data key of the session)
 *     other    ready: MAC(data key of the session); what comes behind it is not ours
 *
 * Whoever sees what goes over the wire can repeat none of it: ids, nonces, numbers and refs are
 * used once.
 */
#ifndef FF_TCP_PEER_AUTH_H
#define FF_TCP_PEER_AUTH_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TCP_PEER_MAGIC	 0x46464c4f5754434full
#define TCP_PEER_VERSION 1u
#define TCP_PEER_CONTROL 1u
#define TCP_PEER_DATA	 2u
#define TCP_PEER_MAC	 32u
#define TCP_PEER_ID	 16u
#define TCP_PEER_NONCE	 32u
#define TCP_PEER_TENANT	 64u

/* Integers: network order. */
struct tcp_peer_hello {
	uint64_t magic;
	uint32_t version, kind;
	uint8_t id[TCP_PEER_ID];     /* CONTROL: the dialler's; DATA: the session's */
	uint64_t ref;		     /* CONTROL: 0 */
	uint8_t proof[TCP_PEER_MAC]; /* CONTROL: a nonce; DATA: MAC */
};
static_assert(sizeof(struct tcp_peer_hello) == 72, "wire");

struct tcp_peer_challenge {
	uint8_t id[TCP_PEER_ID], nonce[TCP_PEER_NONCE], mac[TCP_PEER_MAC];
};
static_assert(sizeof(struct tcp_peer_challenge) == 80, "wire");

struct tcp_peer_proof {
	uint8_t mac[TCP_PEER_MAC];
};
static_assert(sizeof(struct tcp_peer_proof) == 32, "wire");

enum tcp_peer_type {
	/* A container of the sender's would have a connection of the host's in place of this one.
	 */
	TCP_PEER_WANT = 1,
	TCP_PEER_DROP = 2, /* no longer: ref alone */
	TCP_PEER_TYPES,
};

/* As the end at the sender's host sees its connection. Addresses: IPv4 as ::ffff:a.b.c.d. */
struct tcp_peer_frame {
	uint32_t type, zero;
	uint64_t number; /* from 0 on */
	uint64_t ref;
	char tenant[TCP_PEER_TENANT]; /* NUL-padded */
	uint8_t local[16], remote[16];
	uint16_t local_port, remote_port;
	uint32_t zero2;
	uint8_t mac[TCP_PEER_MAC];
};
static_assert(sizeof(struct tcp_peer_frame) == 160, "wire");

#define TCP_PEER_SECRET_MIN 32u
#define TCP_PEER_SECRET_MAX 4096u
struct tcp_peer_secret {
	uint8_t bytes[TCP_PEER_SECRET_MAX];
	uint32_t len;
};

/*
 * The file's bytes, without white space at the end. 0; -EPERM: others than its owner, who is we or
 * root, can read or write it; -EINVAL: too short or too long; or -errno.
 */
int tcp_peer_secret_load(const char *path, struct tcp_peer_secret *out);

/* What both know when they have proved themselves. */
struct tcp_peer_session {
	uint8_t id[TCP_PEER_ID];
	uint8_t frame_key[TCP_PEER_MAC], data_key[TCP_PEER_MAC];
	uint64_t next; /* number of the next frame */
};

int tcp_peer_random(void *out, size_t len);
void tcp_peer_hello_make(struct tcp_peer_hello *out, const uint8_t id[TCP_PEER_ID],
			 const uint8_t nonce[TCP_PEER_NONCE]);
/* True: one that is understood; *kind. */
bool tcp_peer_hello_check(const struct tcp_peer_hello *h, uint32_t *kind);
void tcp_peer_challenge_make(const struct tcp_peer_secret *secret, const struct tcp_peer_hello *h,
			     const uint8_t id[TCP_PEER_ID], const uint8_t nonce[TCP_PEER_NONCE],
			     struct tcp_peer_challenge *out);
/* The dialler: is it from one who has the secret, and is not ourselves? */
bool tcp_peer_challenge_check(const struct tcp_peer_secret *secret, const struct tcp_peer_hello *h,
			      const struct tcp_peer_challenge *c);
void tcp_peer_proof_make(const struct tcp_peer_secret *secret, const struct tcp_peer_hello *h,
			 const struct tcp_peer_challenge *c, struct tcp_peer_proof *out);
bool tcp_peer_proof_check(const struct tcp_peer_secret *secret, const struct tcp_peer_hello *h,
			  const struct tcp_peer_challenge *c, const struct tcp_peer_proof *p);
void tcp_peer_session_make(const struct tcp_peer_secret *secret, const struct tcp_peer_hello *h,
			   const struct tcp_peer_challenge *c, struct tcp_peer_session *out);

/* Gives it its number and its MAC. */
void tcp_peer_frame_seal(struct tcp_peer_session *s, struct tcp_peer_frame *f);
/* True: the next one of the session, and it makes sense. Once for each. */
bool tcp_peer_frame_check(struct tcp_peer_session *s, const struct tcp_peer_frame *f);

void tcp_peer_data_make(const struct tcp_peer_session *s, uint64_t ref, struct tcp_peer_hello *out);
bool tcp_peer_data_check(const struct tcp_peer_session *s, const struct tcp_peer_hello *h);
void tcp_peer_ready_make(const struct tcp_peer_session *s, uint64_t ref,
			 struct tcp_peer_proof *out);
bool tcp_peer_ready_check(const struct tcp_peer_session *s, uint64_t ref,
			  const struct tcp_peer_proof *p);

#endif
