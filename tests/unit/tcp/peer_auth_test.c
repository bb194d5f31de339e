/* SPDX-License-Identifier: MIT */
/* Tests dataplane/tcp/peer_auth.c: two routers, and somebody between them. */
#include <CUnit/Basic.h>
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../suite.h"
#include "tcp/peer_auth.h"

static const struct tcp_peer_secret secret = {.bytes = "0123456789abcdef0123456789abcdef",
					      .len = 32};
static const struct tcp_peer_secret other_secret = {.bytes = "0123456789abcdef0123456789abcdeF",
						    .len = 32};
static const uint8_t dialler_id[TCP_PEER_ID] = {1}, other_id[TCP_PEER_ID] = {2};

struct greeting {
	struct tcp_peer_hello hello;
	struct tcp_peer_challenge challenge;
	struct tcp_peer_proof proof;
	struct tcp_peer_session sessions[2];
};

static void
greet(struct greeting *g)
{
	uint8_t nonces[2][TCP_PEER_NONCE];
	uint32_t kind;

	CU_ASSERT_EQUAL_FATAL(tcp_peer_random(nonces, sizeof(nonces)), 0);
	tcp_peer_hello_make(&g->hello, dialler_id, nonces[0]);
	CU_ASSERT(tcp_peer_hello_check(&g->hello, &kind));
	CU_ASSERT_EQUAL(kind, TCP_PEER_CONTROL);
	tcp_peer_challenge_make(&secret, &g->hello, other_id, nonces[1], &g->challenge);
	tcp_peer_proof_make(&secret, &g->hello, &g->challenge, &g->proof);
	for (unsigned i = 0; i < 2; i++)
		tcp_peer_session_make(&secret, &g->hello, &g->challenge, &g->sessions[i]);
}

static void
test_greeting(void)
{
	struct greeting g, again;

	greet(&g);
	CU_ASSERT(tcp_peer_challenge_check(&secret, &g.hello, &g.challenge));
	CU_ASSERT(tcp_peer_proof_check(&secret, &g.hello, &g.challenge, &g.proof));
	CU_ASSERT_FALSE(tcp_peer_challenge_check(&other_secret, &g.hello, &g.challenge));
	CU_ASSERT_FALSE(tcp_peer_proof_check(&other_secret, &g.hello, &g.challenge, &g.proof));
	/* What was said once is worth nothing in another greeting. */
	greet(&again);
	CU_ASSERT_FALSE(tcp_peer_challenge_check(&secret, &again.hello, &g.challenge));
	CU_ASSERT_FALSE(tcp_peer_proof_check(&secret, &again.hello, &again.challenge, &g.proof));
	CU_ASSERT_NOT_EQUAL(memcmp(&g.sessions[0], &again.sessions[0], sizeof(g.sessions[0])), 0);
	/* One is not the other. */
	memcpy(g.proof.mac, g.challenge.mac, sizeof(g.proof.mac));
	CU_ASSERT_FALSE(tcp_peer_proof_check(&secret, &g.hello, &g.challenge, &g.proof));
}

/* Somebody gives a router back its own words. */
static void
test_mirror(void)
{
	struct greeting g;
	uint8_t nonce[TCP_PEER_NONCE] = {7};

	greet(&g);
	tcp_peer_challenge_make(&secret, &g.hello, dialler_id, nonce, &g.challenge);
	CU_ASSERT_FALSE(tcp_peer_challenge_check(&secret, &g.hello, &g.challenge));
	tcp_peer_proof_make(&secret, &g.hello, &g.challenge, &g.proof);
	CU_ASSERT_FALSE(tcp_peer_proof_check(&secret, &g.hello, &g.challenge, &g.proof));
}

static struct tcp_peer_frame
want(void)
{
	struct tcp_peer_frame f;

	memset(&f, 0, sizeof(f));
	f.type = htonl(TCP_PEER_WANT);
	f.ref = 5;
	strcpy(f.tenant, "default");
	return f;
}

/* Each byte of it counts. */
static void
test_frame(void)
{
	struct tcp_peer_frame f = want(), bad;
	struct tcp_peer_session s;
	struct greeting g;

	greet(&g);
	tcp_peer_frame_seal(&g.sessions[0], &f);
	for (size_t i = 0; i < sizeof(f); i++) {
		s = g.sessions[1];
		bad = f;
		((uint8_t *)&bad)[i] ^= 0x10;
		CU_ASSERT_FALSE(tcp_peer_frame_check(&s, &bad));
	}
	CU_ASSERT(tcp_peer_frame_check(&g.sessions[1], &f));
	/* Again; and one too early. */
	CU_ASSERT_FALSE(tcp_peer_frame_check(&g.sessions[1], &f));
	f = want();
	tcp_peer_frame_seal(&g.sessions[0], &f);
	bad = want();
	tcp_peer_frame_seal(&g.sessions[0], &bad);
	CU_ASSERT_FALSE(tcp_peer_frame_check(&g.sessions[1], &bad));
	CU_ASSERT(tcp_peer_frame_check(&g.sessions[1], &f));
	CU_ASSERT(tcp_peer_frame_check(&g.sessions[1], &bad));
}

/* What is sealed well, but makes no sense. */
static void
test_sense(void)
{
	struct tcp_peer_frame f;
	struct greeting g;

	greet(&g);
	f = want();
	f.type = htonl(TCP_PEER_TYPES);
	tcp_peer_frame_seal(&g.sessions[0], &f);
	CU_ASSERT_FALSE(tcp_peer_frame_check(&g.sessions[1], &f));
	f = want();
	memset(f.tenant, 'x', sizeof(f.tenant));
	tcp_peer_frame_seal(&g.sessions[0], &f);
	CU_ASSERT_FALSE(tcp_peer_frame_check(&g.sessions[1], &f));
}

static void
test_data(void)
{
	struct tcp_peer_hello h, bad;
	struct tcp_peer_proof p;
	struct greeting g, other;
	uint32_t kind;

	greet(&g);
	greet(&other);
	tcp_peer_data_make(&g.sessions[0], 77, &h);
	CU_ASSERT(tcp_peer_hello_check(&h, &kind));
	CU_ASSERT_EQUAL(kind, TCP_PEER_DATA);
	CU_ASSERT(tcp_peer_data_check(&g.sessions[1], &h));
	CU_ASSERT_FALSE(tcp_peer_data_check(&other.sessions[1], &h));
	for (size_t i = 0; i < sizeof(h); i++) {
		bad = h;
		((uint8_t *)&bad)[i] ^= 1;
		CU_ASSERT_FALSE(tcp_peer_data_check(&g.sessions[1], &bad));
	}
	tcp_peer_ready_make(&g.sessions[1], 77, &p);
	CU_ASSERT(tcp_peer_ready_check(&g.sessions[0], 77, &p));
	CU_ASSERT_FALSE(tcp_peer_ready_check(&g.sessions[0], 78, &p));
	CU_ASSERT_FALSE(tcp_peer_ready_check(&other.sessions[0], 77, &p));
}

static void
file_write(const char *path, const char *text, mode_t mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	CU_ASSERT_FATAL(fd >= 0);
	CU_ASSERT_EQUAL(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	CU_ASSERT_EQUAL(fchmod(fd, mode), 0);
	close(fd);
}

static void
test_secret(void)
{
	static const char good[] = "0123456789abcdef0123456789abcdef\n";
	char path[] = "/tmp/ff_secret_XXXXXX", big[TCP_PEER_SECRET_MAX + 2];
	struct tcp_peer_secret s;
	int fd = mkstemp(path);

	CU_ASSERT_FATAL(fd >= 0);
	close(fd);
	file_write(path, good, 0600);
	CU_ASSERT_EQUAL(tcp_peer_secret_load(path, &s), 0);
	CU_ASSERT_EQUAL(s.len, 32);
	file_write(path, good, 0640);
	CU_ASSERT_EQUAL(tcp_peer_secret_load(path, &s), -EPERM);
	file_write(path, good, 0604);
	CU_ASSERT_EQUAL(tcp_peer_secret_load(path, &s), -EPERM);
	file_write(path, good + 4, 0600);
	CU_ASSERT_EQUAL(tcp_peer_secret_load(path, &s), -EINVAL);
	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = 0;
	file_write(path, big, 0600);
	CU_ASSERT_EQUAL(tcp_peer_secret_load(path, &s), -EINVAL);
	if (!geteuid()) {
		file_write(path, good, 0600);
		CU_ASSERT_EQUAL(chown(path, 65534, 65534), 0);
		CU_ASSERT_EQUAL(tcp_peer_secret_load(path, &s), -EPERM);
	}
	unlink(path);
	CU_ASSERT_EQUAL(tcp_peer_secret_load(path, &s), -ENOENT);
	CU_ASSERT_EQUAL(tcp_peer_secret_load("/dev/zero", &s), -EINVAL);
}

int
main(void)
{
	static const struct suite_test tests[] = {
		{"greeting", test_greeting}, {"mirror", test_mirror}, {"frame", test_frame},
		{"sense", test_sense},	     {"data", test_data},     {"secret", test_secret},
	};

	return suite_main("tcp/peer_auth", tests, sizeof(tests) / sizeof(tests[0]));
}
