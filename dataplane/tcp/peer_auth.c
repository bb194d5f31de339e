/* SPDX-License-Identifier: MIT */
/* See peer_auth.h. HMAC-SHA256 is libcrypto's. Any thread. */
#include "peer_auth.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

/* ---- the secret ---- */

static int
secret_check(int fd)
{
	struct stat st;

	if (fstat(fd, &st))
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	if ((st.st_mode & (S_IRWXG | S_IRWXO)) || (st.st_uid && st.st_uid != geteuid()))
		return -EPERM;
	return 0;
}

int
tcp_peer_secret_load(const char *path, struct tcp_peer_secret *out)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK), rc;
	uint8_t more;
	ssize_t n = 0;

	out->len = 0;
	if (fd < 0)
		return -errno;
	rc = secret_check(fd);
	while (!rc && out->len < sizeof(out->bytes) &&
	       (n = read(fd, out->bytes + out->len, sizeof(out->bytes) - out->len)) > 0)
		out->len += (uint32_t)n;
	if (!rc && n < 0)
		rc = -errno;
	if (!rc && read(fd, &more, 1) > 0)
		rc = -EINVAL;
	close(fd);
	while (!rc && out->len && isspace(out->bytes[out->len - 1]))
		out->len--;
	return rc ? rc : out->len < TCP_PEER_SECRET_MIN ? -EINVAL : 0;
}

int
tcp_peer_random(void *out, size_t len)
{
	return getrandom(out, len, 0) == (ssize_t)len ? 0 : -EIO;
}

/* ---- MACs ---- */

/* What a MAC is for is part of what it covers: none can stand in for another. */
enum purpose {
	ROUTER_ANSWERS,
	ROUTER_ASKS,
	KEY_FRAMES,
	KEY_DATA,
	SESSION_ID,
	FRAME,
	DATA_HELLO,
	DATA_READY,
};

#define COVERED_MAX 256u
struct covered {
	uint8_t bytes[COVERED_MAX];
	size_t len;
};

static void
cover(struct covered *c, const void *p, size_t len)
{
	assert(len <= sizeof(c->bytes) - c->len);
	memcpy(c->bytes + c->len, p, len);
	c->len += len;
}

static struct covered
covered(enum purpose purpose)
{
	struct covered c = {.len = 1};

	c.bytes[0] = (uint8_t)purpose;
	return c;
}

static void
mac(const void *key, size_t key_len, const struct covered *c, uint8_t out[TCP_PEER_MAC])
{
	unsigned len = TCP_PEER_MAC;
	const uint8_t *p = HMAC(EVP_sha256(), key, (int)key_len, c->bytes, c->len, out, &len);

	/* Out of memory, or no SHA-256: nothing that anybody could have sent. */
	if (!p && tcp_peer_random(out, TCP_PEER_MAC))
		__builtin_trap();
}

static bool
same(const uint8_t a[TCP_PEER_MAC], const uint8_t b[TCP_PEER_MAC])
{
	return CRYPTO_memcmp(a, b, TCP_PEER_MAC) == 0;
}

/* ---- who is it? ---- */

void
tcp_peer_hello_make(struct tcp_peer_hello *out, const uint8_t id[TCP_PEER_ID],
		    const uint8_t nonce[TCP_PEER_NONCE])
{
	memset(out, 0, sizeof(*out));
	out->magic = htobe64(TCP_PEER_MAGIC);
	out->version = htonl(TCP_PEER_VERSION);
	out->kind = htonl(TCP_PEER_CONTROL);
	memcpy(out->id, id, TCP_PEER_ID);
	memcpy(out->proof, nonce, TCP_PEER_NONCE);
}

bool
tcp_peer_hello_check(const struct tcp_peer_hello *h, uint32_t *kind)
{
	*kind = ntohl(h->kind);
	if (be64toh(h->magic) != TCP_PEER_MAGIC || ntohl(h->version) != TCP_PEER_VERSION)
		return false;
	return *kind == TCP_PEER_DATA || (*kind == TCP_PEER_CONTROL && !h->ref);
}

/* Under the secret: the purpose, and all that both have said. */
static void
greeting_mac(const struct tcp_peer_secret *secret, enum purpose purpose,
	     const struct tcp_peer_hello *h, const struct tcp_peer_challenge *ch,
	     uint8_t out[TCP_PEER_MAC])
{
	struct covered c = covered(purpose);

	cover(&c, h, sizeof(*h));
	cover(&c, ch, offsetof(struct tcp_peer_challenge, mac));
	mac(secret->bytes, secret->len, &c, out);
}

void
tcp_peer_challenge_make(const struct tcp_peer_secret *secret, const struct tcp_peer_hello *h,
			const uint8_t id[TCP_PEER_ID], const uint8_t nonce[TCP_PEER_NONCE],
			struct tcp_peer_challenge *out)
{
	memcpy(out->id, id, TCP_PEER_ID);
	memcpy(out->nonce, nonce, TCP_PEER_NONCE);
	greeting_mac(secret, ROUTER_ANSWERS, h, out, out->mac);
}

bool
tcp_peer_challenge_check(const struct tcp_peer_secret *secret, const struct tcp_peer_hello *h,
			 const struct tcp_peer_challenge *c)
{
	uint8_t expected[TCP_PEER_MAC];

	greeting_mac(secret, ROUTER_ANSWERS, h, c, expected);
	return same(expected, c->mac) && memcmp(h->id, c->id, TCP_PEER_ID) != 0;
}

void
tcp_peer_proof_make(const struct tcp_peer_secret *secret, const struct tcp_peer_hello *h,
		    const struct tcp_peer_challenge *c, struct tcp_peer_proof *out)
{
	greeting_mac(secret, ROUTER_ASKS, h, c, out->mac);
}

bool
tcp_peer_proof_check(const struct tcp_peer_secret *secret, const struct tcp_peer_hello *h,
		     const struct tcp_peer_challenge *c, const struct tcp_peer_proof *p)
{
	uint8_t expected[TCP_PEER_MAC];

	greeting_mac(secret, ROUTER_ASKS, h, c, expected);
	return same(expected, p->mac) && memcmp(h->id, c->id, TCP_PEER_ID) != 0;
}

void
tcp_peer_session_make(const struct tcp_peer_secret *secret, const struct tcp_peer_hello *h,
		      const struct tcp_peer_challenge *c, struct tcp_peer_session *out)
{
	uint8_t id[TCP_PEER_MAC];

	greeting_mac(secret, KEY_FRAMES, h, c, out->frame_key);
	greeting_mac(secret, KEY_DATA, h, c, out->data_key);
	greeting_mac(secret, SESSION_ID, h, c, id);
	memcpy(out->id, id, sizeof(out->id));
	out->next = 0;
}

/* ---- frames ---- */

static void
frame_mac(const struct tcp_peer_session *s, const struct tcp_peer_frame *f,
	  uint8_t out[TCP_PEER_MAC])
{
	struct covered c = covered(FRAME);

	cover(&c, f, offsetof(struct tcp_peer_frame, mac));
	mac(s->frame_key, sizeof(s->frame_key), &c, out);
}

void
tcp_peer_frame_seal(struct tcp_peer_session *s, struct tcp_peer_frame *f)
{
	f->number = htobe64(s->next++);
	frame_mac(s, f, f->mac);
}

bool
tcp_peer_frame_check(struct tcp_peer_session *s, const struct tcp_peer_frame *f)
{
	uint8_t expected[TCP_PEER_MAC];
	uint32_t type = ntohl(f->type);

	frame_mac(s, f, expected);
	if (!same(expected, f->mac) || be64toh(f->number) != s->next)
		return false;
	s->next++;
	if (!type || type >= TCP_PEER_TYPES || f->zero || f->zero2)
		return false;
	return type != TCP_PEER_WANT || memchr(f->tenant, 0, sizeof(f->tenant));
}

/* ---- connections that will be a container's ---- */

void
tcp_peer_data_make(const struct tcp_peer_session *s, uint64_t ref, struct tcp_peer_hello *out)
{
	struct covered c = covered(DATA_HELLO);

	memset(out, 0, sizeof(*out));
	out->magic = htobe64(TCP_PEER_MAGIC);
	out->version = htonl(TCP_PEER_VERSION);
	out->kind = htonl(TCP_PEER_DATA);
	memcpy(out->id, s->id, sizeof(out->id));
	out->ref = htobe64(ref);
	cover(&c, out, offsetof(struct tcp_peer_hello, proof));
	mac(s->data_key, sizeof(s->data_key), &c, out->proof);
}

bool
tcp_peer_data_check(const struct tcp_peer_session *s, const struct tcp_peer_hello *h)
{
	struct tcp_peer_hello expected;

	tcp_peer_data_make(s, be64toh(h->ref), &expected);
	return memcmp(h, &expected, offsetof(struct tcp_peer_hello, proof)) == 0 &&
	       same(h->proof, expected.proof);
}

void
tcp_peer_ready_make(const struct tcp_peer_session *s, uint64_t ref, struct tcp_peer_proof *out)
{
	struct covered c = covered(DATA_READY);
	uint64_t wire = htobe64(ref);

	cover(&c, s->id, sizeof(s->id));
	cover(&c, &wire, sizeof(wire));
	mac(s->data_key, sizeof(s->data_key), &c, out->mac);
}

bool
tcp_peer_ready_check(const struct tcp_peer_session *s, uint64_t ref, const struct tcp_peer_proof *p)
{
	struct tcp_peer_proof expected;

	tcp_peer_ready_make(s, ref, &expected);
	return same(expected.mac, p->mac);
}
