/* SPDX-License-Identifier: MIT */
/*
 * What arrives at the routers' port: greetings, frames and tokens of whoever has the secret or has
 * not. Nothing is believed that was not made with it.
 */
#include <stdlib.h>
#include <string.h>

#include "../../dataplane/tcp/peer_auth.h"

static const struct tcp_peer_secret secret = {.bytes = "0123456789abcdef0123456789abcdef",
					      .len = 32};

static void
take(void *to, size_t len, const uint8_t **data, size_t *size)
{
	size_t n = len < *size ? len : *size;

	memset(to, 0, len);
	memcpy(to, *data, n);
	*data += n;
	*size -= n;
}

static void
demand(bool condition)
{
	if (!condition)
		abort();
}

static void
frames(struct tcp_peer_session *s, const uint8_t *data, size_t size)
{
	struct tcp_peer_frame f;
	uint64_t next;

	while (size) {
		next = s->next;
		take(&f, sizeof(f), &data, &size);
		demand(!tcp_peer_frame_check(s, &f) && s->next == next);
		/* With the key, sense is all that is missing. */
		f.number = 0;
		tcp_peer_frame_seal(s, &f);
		s->next = next;
		(void)tcp_peer_frame_check(s, &f);
		demand(s->next == next + 1);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t nonce[TCP_PEER_NONCE] = {1};
	struct tcp_peer_challenge challenge, made;
	struct tcp_peer_session session;
	struct tcp_peer_hello hello;
	struct tcp_peer_proof proof;
	uint32_t kind;

	take(&hello, sizeof(hello), &data, &size);
	take(&challenge, sizeof(challenge), &data, &size);
	take(&proof, sizeof(proof), &data, &size);
	(void)tcp_peer_hello_check(&hello, &kind);
	demand(!tcp_peer_challenge_check(&secret, &hello, &challenge));
	tcp_peer_challenge_make(&secret, &hello, challenge.id, nonce, &made);
	demand(!tcp_peer_proof_check(&secret, &hello, &made, &proof));
	tcp_peer_session_make(&secret, &hello, &made, &session);
	demand(!tcp_peer_data_check(&session, &hello));
	demand(!tcp_peer_ready_check(&session, hello.ref, &proof));
	frames(&session, data, size);
	return 0;
}
