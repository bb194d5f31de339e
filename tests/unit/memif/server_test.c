/* SPDX-License-Identifier: MIT */
/* memif-bridge/server.c: what a hostile client may announce, and how it is refused. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fixture.h"

#define REGION_SIZE 65536u
#define RING_LOG2   3u
#define RING_BYTES  (128u + (16u << RING_LOG2))

static struct ff_memif_conf conf;
static struct raw raw;
static uint8_t *shm;
static int region_fd, efd;

static struct memif_ring *
ring_at(uint32_t offset)
{
	return (struct memif_ring *)(void *)(shm + offset);
}

static void
hello_done(void)
{
	CU_ASSERT_EQUAL_FATAL(raw_recv(&raw, NULL), MEMIF_MSG_TYPE_HELLO);
}

static void
start(void)
{
	raw_open(&raw, &conf);
	region_fd = make_memfd(REGION_SIZE, F_SEAL_SHRINK, (void **)&shm);
	efd = eventfd(0, EFD_NONBLOCK);
	for (uint32_t off = 0; off < 8 * RING_BYTES; off += RING_BYTES)
		ring_at(off)->cookie = MEMIF_COOKIE;
	hello_done();
}

/* Up to where rings may be announced. */
static void
start_with_region(void)
{
	struct memif_msg init = msg_init(), region = msg_region(0, REGION_SIZE);

	start();
	CU_ASSERT_EQUAL_FATAL(raw_ask(&raw, &init, -1), MEMIF_MSG_TYPE_ACK);
	CU_ASSERT_EQUAL_FATAL(raw_ask(&raw, &region, region_fd), MEMIF_MSG_TYPE_ACK);
}

static void
stop(void)
{
	raw_close(&raw);
	munmap(shm, REGION_SIZE);
	close(region_fd);
	close(efd);
}

static void
refused_ring(struct memif_msg msg, const int *fd, const char *why)
{
	start_with_region();
	raw_expect_refused(&raw, &msg, *fd, why);
	stop();
}

static void
hello(void)
{
	struct memif_msg msg = {0};

	raw_open(&raw, &conf);
	CU_ASSERT_EQUAL(raw_recv(&raw, &msg), MEMIF_MSG_TYPE_HELLO);
	CU_ASSERT_EQUAL(msg.hello.min_version, 0x200);
	CU_ASSERT_EQUAL(msg.hello.max_version, 0x200);
	CU_ASSERT_EQUAL(msg.hello.max_s2m_ring, 1);
	CU_ASSERT_EQUAL(msg.hello.max_m2s_ring, 0);
	CU_ASSERT_EQUAL(msg.hello.max_region, FF_MEMIF_MAX_REGIONS - 1);
	CU_ASSERT_EQUAL(msg.hello.max_log2_ring_size, RING_LOG2);
	CU_ASSERT_STRING_EQUAL((char *)msg.hello.name, "unit");
	raw_close(&raw);
}

static void
versions(void)
{
	static const uint16_t bad[] = {0, 0x1ff, 0x201, 0x300, 0x100, 0xffff};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct memif_msg msg = msg_init();

		start();
		msg.init.version = bad[i];
		raw_expect_refused(&raw, &msg, -1, "unsupported protocol version");
		stop();
	}
}

static void
modes(void)
{
	struct memif_msg msg = msg_init();

	start();
	msg.init.mode = MEMIF_INTERFACE_MODE_IP;
	raw_expect_refused(&raw, &msg, -1, "unsupported interface mode");
	stop();
}

static int
ask_owner(void *arg, struct ff_memif *m, uint32_t id, const uint8_t *secret)
{
	CU_ASSERT_PTR_EQUAL(arg, &raw);
	CU_ASSERT_PTR_NOT_NULL(m);
	CU_ASSERT_EQUAL(id, 7);
	return memcmp(secret, "0123456789abcdef01234567", FF_MEMIF_SECRET_LEN) ? -EACCES : 0;
}

static void
secrets(void)
{
	struct memif_msg msg = msg_init();

	conf.on_init = ask_owner;
	conf.arg = &raw;
	start();
	raw_expect_refused(&raw, &msg, -1, "Permission denied");
	stop();
	start();
	memcpy(msg.init.secret, "0123456789abcdef01234567", FF_MEMIF_SECRET_LEN);
	CU_ASSERT_EQUAL(raw_ask(&raw, &msg, -1), MEMIF_MSG_TYPE_ACK);
	stop();
	conf.on_init = NULL;
}

/* Every message at every step but its own. */
static void
order(void)
{
	for (unsigned type = 0; type < 12; type++) {
		for (int step = 0; step < 3; step++) {
			struct memif_msg msg = {.type = (uint16_t)type};
			struct memif_msg ring = msg_ring(true, 0, 0, RING_LOG2);
			struct memif_msg connect = msg_connect();
			bool setup = type == MEMIF_MSG_TYPE_ADD_REGION ||
				     type == MEMIF_MSG_TYPE_ADD_RING ||
				     type == MEMIF_MSG_TYPE_CONNECT;

			if (type == MEMIF_MSG_TYPE_DISCONNECT ||
			    (step == 0 && type == MEMIF_MSG_TYPE_INIT) || (step == 1 && setup))
				continue;
			if (step == 0)
				start();
			else
				start_with_region();
			if (step == 2) {
				CU_ASSERT_EQUAL(raw_ask(&raw, &ring, efd), MEMIF_MSG_TYPE_ACK);
				CU_ASSERT_EQUAL(raw_ask(&raw, &connect, -1),
						MEMIF_MSG_TYPE_CONNECTED);
			}
			raw_expect_refused(&raw, &msg, -1, "unexpected message");
			stop();
		}
	}
}

static void
ring_geometry(void)
{
	const uint32_t last = REGION_SIZE - RING_BYTES;
	struct memif_msg msg;

	refused_ring(msg_ring(true, 0, 0, RING_LOG2 + 1), &efd, "too large");
	refused_ring(msg_ring(true, 0, 0, 255), &efd, "too large");
	refused_ring(msg_ring(true, 0, last + 16, RING_LOG2), &efd, "not inside its region");
	refused_ring(msg_ring(true, 0, REGION_SIZE, 0), &efd, "not inside its region");
	refused_ring(msg_ring(true, 0, 0xfffffff0u, 0), &efd, "not inside its region");
	refused_ring(msg_ring(true, 0, 8, RING_LOG2), &efd, "not aligned");
	refused_ring(msg_ring(true, 0, 1, RING_LOG2), &efd, "not aligned");
	msg = msg_ring(true, 0, 0, RING_LOG2);
	msg.add_ring.region = 1;
	refused_ring(msg, &efd, "unknown region");
	msg.add_ring.region = 0xffff;
	refused_ring(msg, &efd, "unknown region");
	msg = msg_ring(true, 0, 0, RING_LOG2);
	msg.add_ring.flags |= 2;
	refused_ring(msg, &efd, "unknown ring flags");
	refused_ring(msg_ring(true, 1, 0, RING_LOG2), &efd, "bad ring index");
	refused_ring(msg_ring(false, 0xffff, 0, RING_LOG2), &efd, "bad ring index");

	/* The very end is fine, and so is a ring of one descriptor. */
	start_with_region();
	msg = msg_ring(true, 0, last, RING_LOG2);
	CU_ASSERT_EQUAL(raw_ask(&raw, &msg, efd), MEMIF_MSG_TYPE_ACK);
	msg = msg_ring(true, 1, REGION_SIZE - 144, 0);
	CU_ASSERT_EQUAL(raw_ask(&raw, &msg, efd), MEMIF_MSG_TYPE_ACK);
	stop();
}

static void
ring_twice(void)
{
	struct memif_msg msg = msg_ring(true, 0, 0, RING_LOG2);

	start_with_region();
	CU_ASSERT_EQUAL(raw_ask(&raw, &msg, efd), MEMIF_MSG_TYPE_ACK);
	raw_expect_refused(&raw, &msg, efd, "bad ring index");
	stop();
}

static void
ring_too_many(void)
{
	struct memif_msg msg;

	start_with_region();
	for (unsigned i = 0; i < conf.num_s2m_rings; i++) {
		msg = msg_ring(true, i, i * RING_BYTES, RING_LOG2);
		CU_ASSERT_EQUAL(raw_ask(&raw, &msg, efd), MEMIF_MSG_TYPE_ACK);
	}
	msg = msg_ring(true, conf.num_s2m_rings, 0, RING_LOG2);
	raw_expect_refused(&raw, &msg, efd, "bad ring index");
	stop();
}

static void
ring_signals(void)
{
	const int none = -1;
	int fds[2];

	CU_ASSERT_EQUAL_FATAL(pipe(fds), 0);
	refused_ring(msg_ring(true, 0, 0, RING_LOG2), &none, "without an eventfd");
	refused_ring(msg_ring(true, 0, 0, RING_LOG2), &fds[1], "without an eventfd");
	refused_ring(msg_ring(false, 0, 0, RING_LOG2), &fds[0], "without an eventfd");
	close(fds[0]);
	close(fds[1]);
}

static void
no_cookie(void)
{
	struct memif_msg ring = msg_ring(true, 0, 0, RING_LOG2), connect = msg_connect();

	start_with_region();
	ring_at(0)->cookie = MEMIF_COOKIE + 1;
	CU_ASSERT_EQUAL(raw_ask(&raw, &ring, efd), MEMIF_MSG_TYPE_ACK);
	raw_expect_refused(&raw, &connect, -1, "without cookie");
	stop();
	start_with_region();
	raw_expect_refused(&raw, &connect, -1, "no rings");
	stop();
}

/* Two rings in one place: the client's loss, not ours. */
static void
overlap(void)
{
	struct memif_msg a = msg_ring(true, 0, 0, RING_LOG2), b = msg_ring(true, 1, 16, RING_LOG2);
	struct memif_msg connect = msg_connect();
	struct ff_memif_ring *ra, *rb;
	struct ff_memif_desc d[8];

	start_with_region();
	ring_at(16)->cookie = MEMIF_COOKIE;
	ring_at(0)->cookie = MEMIF_COOKIE;
	CU_ASSERT_EQUAL(raw_ask(&raw, &a, efd), MEMIF_MSG_TYPE_ACK);
	CU_ASSERT_EQUAL(raw_ask(&raw, &b, efd), MEMIF_MSG_TYPE_ACK);
	CU_ASSERT_EQUAL(raw_ask(&raw, &connect, -1), MEMIF_MSG_TYPE_CONNECTED);
	ra = ff_memif_ring_get(raw.m, true, 0);
	rb = ff_memif_ring_get(raw.m, true, 1);
	CU_ASSERT_PTR_NOT_NULL_FATAL(rb);
	for (unsigned i = 0; i < 65536; i++) {
		int n;

		ring_at(0)->head = (uint16_t)(i * 3);
		ring_at(16)->head = (uint16_t)(i * 5);
		n = ff_memif_ring_consume(ra, d, 8);
		if (n > 0)
			ff_memif_ring_release(ra, (unsigned)n);
		n = ff_memif_ring_consume(rb, d, 8);
		if (n > 0)
			ff_memif_ring_release(rb, (unsigned)n);
		CU_ASSERT_FATAL(n <= 8);
	}
	stop();
}

/* As many regions as there can be, and a descriptor in the one after. */
static void
one_region_too_far(void)
{
	struct memif_msg ring = msg_ring(true, 0, 0, RING_LOG2), connect = msg_connect();
	struct ff_memif_desc d;

	start_with_region();
	for (unsigned i = 1; i < FF_MEMIF_MAX_REGIONS; i++) {
		struct memif_msg region = msg_region(i, REGION_SIZE);

		CU_ASSERT_EQUAL(raw_ask(&raw, &region, region_fd), MEMIF_MSG_TYPE_ACK);
	}
	CU_ASSERT_EQUAL(raw_ask(&raw, &ring, efd), MEMIF_MSG_TYPE_ACK);
	CU_ASSERT_EQUAL(raw_ask(&raw, &connect, -1), MEMIF_MSG_TYPE_CONNECTED);
	ring_at(0)->head = 2;
	for (unsigned i = 0; i < 2; i++) {
		ring_at(0)->desc[i].region = (uint16_t)(FF_MEMIF_MAX_REGIONS - 1 + i);
		ring_at(0)->desc[i].length = 1;
	}
	CU_ASSERT_EQUAL(ff_memif_ring_consume(ff_memif_ring_get(raw.m, true, 0), &d, 1), 1);
	CU_ASSERT_EQUAL(ff_memif_ring_consume(ff_memif_ring_get(raw.m, true, 0), &d, 1), -EPROTO);
	stop();
}

int
main(void)
{
	static const struct test tests[] = {
		{"hello", hello},
		{"versions", versions},
		{"modes", modes},
		{"secrets", secrets},
		{"order of messages", order},
		{"ring geometry", ring_geometry},
		{"ring announced twice", ring_twice},
		{"too many rings", ring_too_many},
		{"ring signals", ring_signals},
		{"cookies", no_cookie},
		{"overlapping rings", overlap},
		{"one region too far", one_region_too_far},
	};

	conf = conf_of(FF_MEMIF_SERVER);
	return run_tests("memif server", tests, sizeof(tests) / sizeof(tests[0]));
}
