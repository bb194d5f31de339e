/* SPDX-License-Identifier: MIT */
/*
 * Tests dataplane/tcp/peers.c and peers_out.c over loopback: strangers, liars, and a router that is
 * this test. Needs root: sockets are the cage's.
 */
#include <CUnit/Basic.h>
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/loop.h"
#include "tcp/peers.h"

#define SKIP 77 /* what meson takes for a skipped test */
#define PORT 47911
#define REF  99u

static struct tcp_cage cage;
static const struct tcp_peer_secret secret = {.bytes = "0123456789abcdef0123456789abcdef",
					      .len = 32};
static const struct tcp_peer_secret other_secret = {.bytes = "0123456789abcdef0123456789abcdeF",
						    .len = 32};
static const uint8_t us[16] = {[10] = 0xff, [11] = 0xff, 127, 0, 0, 1};
static const uint8_t them[16] = {[10] = 0xff, [11] = 0xff, 127, 0, 0, 2};
static const uint8_t our_id[TCP_PEER_ID] = {42};

/* ---- what the routers' part tells its user; its thread ---- */

static sem_t told;
static _Atomic int num_up, num_frames, num_lost, granted_fd = -1, dialled_fd = -EAGAIN;
static _Atomic bool has_claim;
static struct tcp_peer_in *last_from;

static void
up(const uint8_t host[16])
{
	num_up += !memcmp(host, them, 16);
	sem_post(&told);
}

static void
frame(struct tcp_peer_in *from, const struct tcp_peer_frame *f)
{
	last_from = from;
	num_frames++;
	sem_post(&told);
}

static void
lost(struct tcp_peer_in *from)
{
	num_lost++;
	sem_post(&told);
}

static void *
claim(const uint8_t host[16], uint64_t ref)
{
	bool once = true;

	if (ref != REF || memcmp(host, them, 16))
		return NULL;
	return atomic_compare_exchange_strong(&has_claim, &once, false) ? &told : NULL;
}

static void
granted(void *claimed, int fd)
{
	granted_fd = fd;
	sem_post(&told);
}

static void
dialled(void *arg, int fd)
{
	dialled_fd = fd;
	sem_post(&told);
}

static const struct tcp_peers_events events = {up, frame, lost, claim, granted, dialled};
static const struct tcp_peers_conf conf = {&cage, &secret, &events, us, PORT};

/* ---- the loop ---- */

/* The control thread is who makes the loop. */
static void *
loop_run(void *arg)
{
	int *rc = arg;

	*rc = ff_loop_init();
	if (!*rc)
		*rc = tcp_peers_init(&conf);
	sem_post(&told);
	if (*rc)
		return NULL;
	(void)ff_loop_run();
	tcp_peers_fini();
	ff_loop_fini();
	return NULL;
}

static void
count_read(void *arg)
{
	uint64_t *out = arg;

	*out = tcp_peers_count((enum tcp_peers_counter) * out);
}

static uint64_t
count(enum tcp_peers_counter which)
{
	uint64_t value = which;

	CU_ASSERT_EQUAL(ff_loop_call(count_read, &value), 0);
	return value;
}

/* ---- somebody else ---- */

static int
stranger(void)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(PORT)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	CU_ASSERT_EQUAL_FATAL(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	return fd;
}

/* It has nothing more to say to us. */
static void
closed(int fd)
{
	char c;

	CU_ASSERT(recv(fd, &c, 1, 0) <= 0);
	close(fd);
}

/* Until the counter has grown by one: who comes is looked at by another thread. */
static void
counted(enum tcp_peers_counter which, uint64_t before)
{
	while (count(which) == before)
		poll(NULL, 0, 1);
	CU_ASSERT_EQUAL(count(which), before + 1);
}

struct talk {
	struct tcp_peer_hello hello;
	struct tcp_peer_challenge challenge;
	struct tcp_peer_proof proof;
	struct tcp_peer_session session;
};

/* We dial; what we know is the secret with. */
static int
greet(struct talk *t, const struct tcp_peer_secret *with)
{
	uint8_t nonce[TCP_PEER_NONCE];
	int fd = stranger();

	CU_ASSERT_EQUAL(tcp_peer_random(nonce, sizeof(nonce)), 0);
	tcp_peer_hello_make(&t->hello, our_id, nonce);
	CU_ASSERT_EQUAL(send(fd, &t->hello, sizeof(t->hello), 0), (ssize_t)sizeof(t->hello));
	CU_ASSERT_EQUAL(recv(fd, &t->challenge, sizeof(t->challenge), MSG_WAITALL),
			(ssize_t)sizeof(t->challenge));
	CU_ASSERT_EQUAL(tcp_peer_challenge_check(with, &t->hello, &t->challenge), with == &secret);
	tcp_peer_proof_make(with, &t->hello, &t->challenge, &t->proof);
	tcp_peer_session_make(with, &t->hello, &t->challenge, &t->session);
	CU_ASSERT_EQUAL(send(fd, &t->proof, sizeof(t->proof), 0), (ssize_t)sizeof(t->proof));
	return fd;
}

static struct tcp_peer_frame
want(struct tcp_peer_session *s)
{
	struct tcp_peer_frame f;

	memset(&f, 0, sizeof(f));
	f.type = htonl(TCP_PEER_WANT);
	f.ref = htobe64(REF);
	strcpy(f.tenant, "default");
	tcp_peer_frame_seal(s, &f);
	return f;
}

/* ---- tests ---- */

static void
test_garbage(void)
{
	uint64_t before = count(TCP_PEERS_STRANGE);
	char bytes[sizeof(struct tcp_peer_hello)];
	int fd = stranger();

	memset(bytes, 'x', sizeof(bytes));
	CU_ASSERT_EQUAL(send(fd, bytes, sizeof(bytes), 0), (ssize_t)sizeof(bytes));
	closed(fd);
	counted(TCP_PEERS_STRANGE, before);
	/* Cut short. */
	fd = stranger();
	CU_ASSERT_EQUAL(send(fd, bytes, 5, 0), 5);
	close(fd);
	counted(TCP_PEERS_STRANGE, before + 1);
}

static void
test_wrong_key(void)
{
	uint64_t before = count(TCP_PEERS_STRANGE);
	struct talk t;

	closed(greet(&t, &other_secret));
	counted(TCP_PEERS_STRANGE, before);
}

static void
test_frames(void)
{
	uint64_t before = count(TCP_PEERS_BAD_FRAMES);
	struct tcp_peer_frame f;
	struct talk t, again;
	int fd = greet(&t, &secret);

	f = want(&t.session);
	CU_ASSERT_EQUAL(send(fd, &f, sizeof(f), 0), (ssize_t)sizeof(f));
	sem_wait(&told);
	CU_ASSERT_EQUAL(num_frames, 1);
	/* The same once more. */
	CU_ASSERT_EQUAL(send(fd, &f, sizeof(f), 0), (ssize_t)sizeof(f));
	sem_wait(&told);
	CU_ASSERT_EQUAL(num_lost, 1);
	closed(fd);
	CU_ASSERT_EQUAL(count(TCP_PEERS_BAD_FRAMES), before + 1);
	/* In another session. */
	fd = greet(&again, &secret);
	CU_ASSERT_EQUAL(send(fd, &f, sizeof(f), 0), (ssize_t)sizeof(f));
	sem_wait(&told);
	closed(fd);
	CU_ASSERT_EQUAL(count(TCP_PEERS_BAD_FRAMES), before + 2);
	CU_ASSERT_EQUAL(num_frames, 1);
}

/* Whoever fills the list with silence crowds out himself; a router gets in. */
static void
test_flood(void)
{
	int fds[TCP_PEERS_STRANGERS + 20];
	uint64_t before = count(TCP_PEERS_CROWDED_OUT);
	struct talk t;
	int fd;

	for (unsigned i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		fds[i] = stranger();
	fd = greet(&t, &secret);
	while (count(TCP_PEERS_CROWDED_OUT) < before + 20)
		poll(NULL, 0, 1);
	closed(fds[0]);
	close(fd);
	sem_wait(&told);
	for (unsigned i = 1; i < sizeof(fds) / sizeof(fds[0]); i++)
		close(fds[i]);
}

static void
send_one(void *arg)
{
	struct tcp_peer_frame f = {.type = htonl(TCP_PEER_DROP), .ref = htobe64(1)};

	*(bool *)arg = tcp_peers_send(them, &f);
}

static int
router_listen(void)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(PORT)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

	memcpy(&sa.sin_addr, them + 12, 4);
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	CU_ASSERT_EQUAL_FATAL(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	CU_ASSERT_EQUAL_FATAL(listen(fd, 8), 0);
	return fd;
}

/* They dial; we answer with what we know. */
static int
answer(int listener, struct talk *t, const struct tcp_peer_secret *with)
{
	uint8_t nonce[TCP_PEER_NONCE] = {1};
	int fd = accept(listener, NULL, NULL);

	CU_ASSERT_FATAL(fd >= 0);
	CU_ASSERT_EQUAL(recv(fd, &t->hello, sizeof(t->hello), MSG_WAITALL),
			(ssize_t)sizeof(t->hello));
	tcp_peer_challenge_make(with, &t->hello, our_id, nonce, &t->challenge);
	CU_ASSERT_EQUAL(send(fd, &t->challenge, sizeof(t->challenge), 0),
			(ssize_t)sizeof(t->challenge));
	tcp_peer_session_make(with, &t->hello, &t->challenge, &t->session);
	return fd;
}

static ssize_t
data(const struct talk *t, uint64_t ref, int *fd)
{
	struct tcp_peer_proof ready;
	struct tcp_peer_hello h;
	ssize_t n;

	*fd = stranger();
	tcp_peer_data_make(&t->session, ref, &h);
	CU_ASSERT_EQUAL(send(*fd, &h, sizeof(h), 0), (ssize_t)sizeof(h));
	n = recv(*fd, &ready, sizeof(ready), MSG_WAITALL);
	if (n == (ssize_t)sizeof(ready))
		CU_ASSERT(tcp_peer_ready_check(&t->session, ref, &ready));
	return n;
}

static void
test_dialling(void)
{
	int listener = router_listen(), liar, fd, other;
	struct talk t, lie;
	bool done;
	char c;

	CU_ASSERT_EQUAL(ff_loop_call(send_one, &done), 0);
	CU_ASSERT_FALSE(done);
	/* Who does not know the secret does not learn what is wanted. */
	liar = answer(listener, &lie, &other_secret);
	closed(liar);
	fd = answer(listener, &t, &secret);
	sem_wait(&told);
	CU_ASSERT_EQUAL(num_up, 1);
	CU_ASSERT_EQUAL(recv(fd, &t.proof, sizeof(t.proof), MSG_WAITALL), (ssize_t)sizeof(t.proof));
	CU_ASSERT(tcp_peer_proof_check(&secret, &t.hello, &t.challenge, &t.proof));
	/* A token is for one connection, and of one session. */
	has_claim = true;
	CU_ASSERT(data(&lie, REF, &other) <= 0);
	close(other);
	CU_ASSERT(data(&t, REF + 1, &other) <= 0);
	close(other);
	CU_ASSERT_EQUAL(data(&t, REF, &other), (ssize_t)sizeof(struct tcp_peer_proof));
	sem_wait(&told);
	CU_ASSERT_FATAL(granted_fd >= 0);
	CU_ASSERT_EQUAL(send(granted_fd, "x", 1, 0), 1);
	CU_ASSERT_EQUAL(recv(other, &c, 1, 0), 1);
	close(granted_fd);
	close(other);
	CU_ASSERT(data(&t, REF, &other) <= 0);
	close(other);
	CU_ASSERT_EQUAL(count(TCP_PEERS_BAD_TOKENS), 3);
	close(fd);
	close(listener);
}

static void
dial_one(void *arg)
{
	struct tcp_peer_dial *d;

	*(int *)arg = tcp_peers_dial(them, last_from, REF, NULL, &d);
}

/* A connection for a container of ours: who is there has to know the session's key. */
static void
test_data(void)
{
	int listener = router_listen(), session, fd, rc;
	struct tcp_peer_proof ready;
	struct tcp_peer_hello h;
	struct tcp_peer_frame f;
	struct talk t;

	session = greet(&t, &secret);
	f = want(&t.session);
	CU_ASSERT_EQUAL(send(session, &f, sizeof(f), 0), (ssize_t)sizeof(f));
	sem_wait(&told);
	for (unsigned good = 0; good < 2; good++) {
		CU_ASSERT_EQUAL(ff_loop_call(dial_one, &rc), 0);
		CU_ASSERT_EQUAL_FATAL(rc, 0);
		do {
			fd = accept(listener, NULL, NULL);
			CU_ASSERT_EQUAL(recv(fd, &h, sizeof(h), MSG_WAITALL), (ssize_t)sizeof(h));
		} while (ntohl(h.kind) != TCP_PEER_DATA && close(fd) == 0);
		CU_ASSERT(tcp_peer_data_check(&t.session, &h));
		tcp_peer_ready_make(&t.session, REF + !good, &ready);
		CU_ASSERT_EQUAL(send(fd, &ready, sizeof(ready), 0), (ssize_t)sizeof(ready));
		sem_wait(&told);
		CU_ASSERT_EQUAL(dialled_fd >= 0, good);
		if (dialled_fd >= 0)
			close(dialled_fd);
		close(fd);
	}
	close(session);
	sem_wait(&told);
	close(listener);
}

static bool
loopback_up(void)
{
	struct ifreq r = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), rc;

	rc = ioctl(fd, SIOCSIFFLAGS, &r);
	close(fd);
	return rc == 0;
}

int
main(void)
{
	CU_TestInfo tests[] = {
		{"garbage", test_garbage}, {"wrong key", test_wrong_key},
		{"frames", test_frames},   {"flood", test_flood},
		{"data", test_data},	   {"dialling", test_dialling},
		CU_TEST_INFO_NULL,
	};
	CU_SuiteInfo suites[] = {{"tcp/peers", NULL, NULL, NULL, NULL, tests}, CU_SUITE_INFO_NULL};
	pthread_t thread;
	unsigned failed;
	char name[64];
	int rc;

#ifdef __SANITIZE_THREAD__
	puts("the thread sanitizer sees no locks any more behind the cage's clone(CLONE_VM)");
	return SKIP;
#endif
	if (geteuid() || unshare(CLONE_NEWNET) || !loopback_up()) {
		puts("needs root: namespaces, cgroups and BPF programs");
		return SKIP;
	}
	snprintf(name, sizeof(name), "ff-peers-test-%d", (int)getpid());
	if (tcp_cage_make(&cage, name)) {
		puts("the kernel has no cgroup2, or takes no BPF programs for it");
		return SKIP;
	}
	sem_init(&told, 0, 0);
	if (pthread_create(&thread, NULL, loop_run, &rc))
		return 1;
	sem_wait(&told);
	if (rc)
		return 1;
	if (CU_initialize_registry() != CUE_SUCCESS || CU_register_suites(suites) != CUE_SUCCESS)
		return 1;
	CU_basic_set_mode(CU_BRM_VERBOSE);
	CU_basic_run_tests();
	failed = CU_get_number_of_failures();
	CU_cleanup_registry();
	ff_loop_stop();
	pthread_join(thread, NULL);
	tcp_cage_destroy(&cage);
	return failed != 0;
}
