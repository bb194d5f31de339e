/* SPDX-License-Identifier: MIT */
/* memif-bridge/client.c: what our client announces, and servers that are none. */
#include <errno.h>
#include <string.h>

#include "fixture.h"

static struct memif_msg
hello(void)
{
	struct memif_msg msg = {.type = MEMIF_MSG_TYPE_HELLO};

	msg.hello.min_version = msg.hello.max_version = MEMIF_VERSION;
	msg.hello.max_s2m_ring = msg.hello.max_m2s_ring = 255;
	msg.hello.max_log2_ring_size = 14;
	return msg;
}

static void
sequence(void)
{
	const struct memif_msg ack = {.type = MEMIF_MSG_TYPE_ACK};
	const struct memif_msg connected = {.type = MEMIF_MSG_TYPE_CONNECTED};
	struct ff_memif_conf conf = conf_of(FF_MEMIF_CLIENT);
	struct memif_msg msg = hello(), got;
	struct raw r;
	uint64_t size;

	memcpy(conf.secret, "0123456789abcdef01234567", FF_MEMIF_SECRET_LEN);
	raw_open(&r, &conf);
	CU_ASSERT_EQUAL(raw_recv(&r, NULL), -1); /* the server speaks first */
	raw_send(&r, &msg, -1);
	CU_ASSERT_EQUAL(ff_memif_process(r.m), 0);
	CU_ASSERT_EQUAL(raw_recv(&r, &got), MEMIF_MSG_TYPE_INIT);
	CU_ASSERT_EQUAL(got.init.version, MEMIF_VERSION);
	CU_ASSERT_EQUAL(got.init.id, 7);
	CU_ASSERT_EQUAL(got.init.mode, MEMIF_INTERFACE_MODE_ETHERNET);
	CU_ASSERT_EQUAL(memcmp(got.init.secret, conf.secret, FF_MEMIF_SECRET_LEN), 0);
	raw_send(&r, &ack, -1);
	CU_ASSERT_EQUAL(ff_memif_process(r.m), 0);
	CU_ASSERT_EQUAL(raw_recv(&r, &got), MEMIF_MSG_TYPE_ADD_REGION);
	CU_ASSERT_EQUAL(got.add_region.index, 0);
	size = got.add_region.size;
	CU_ASSERT_EQUAL(size, 3 * (256 + 8 * 256));
	for (unsigned i = 0; i < 3; i++) {
		raw_send(&r, &ack, -1);
		CU_ASSERT_EQUAL(ff_memif_process(r.m), 0);
		CU_ASSERT_EQUAL(raw_recv(&r, &got), MEMIF_MSG_TYPE_ADD_RING);
		CU_ASSERT_EQUAL(got.add_ring.flags, i < 2 ? MEMIF_MSG_ADD_RING_FLAG_S2M : 0);
		CU_ASSERT_EQUAL(got.add_ring.index, i < 2 ? i : 0);
		CU_ASSERT_EQUAL(got.add_ring.log2_ring_size, 3);
		CU_ASSERT_EQUAL(got.add_ring.offset, i * 256);
	}
	raw_send(&r, &ack, -1);
	CU_ASSERT_EQUAL(ff_memif_process(r.m), 0);
	CU_ASSERT_EQUAL(raw_recv(&r, &got), MEMIF_MSG_TYPE_CONNECT);
	CU_ASSERT_EQUAL(ff_memif_state(r.m), FF_MEMIF_INIT);
	/* A server may zero the indices up to now. */
	CU_ASSERT_EQUAL(r.m->rings[false][0].shm->head, 0);
	raw_send(&r, &connected, -1);
	CU_ASSERT_EQUAL(ff_memif_process(r.m), 0);
	CU_ASSERT_EQUAL(ff_memif_state(r.m), FF_MEMIF_CONNECTED);
	CU_ASSERT_EQUAL(r.m->rings[false][0].shm->head, 8);
	CU_ASSERT_EQUAL(r.m->rings[false][0].shm->desc[7].length, 256);
	raw_close(&r);
}

/* The smaller of both sides' wishes. */
static void
limits(void)
{
	struct ff_memif_conf srv = conf_of(FF_MEMIF_SERVER), cli = conf_of(FF_MEMIF_CLIENT);
	struct pair p;

	cli.num_s2m_rings = 5;
	cli.num_m2s_rings = 4;
	cli.log2_ring_size = 10;
	srv.num_s2m_rings = 3;
	srv.num_m2s_rings = 2;
	srv.log2_ring_size = 6;
	pair_open(&p, &srv, &cli);
	CU_ASSERT_EQUAL(ff_memif_state(p.srv), FF_MEMIF_CONNECTED);
	CU_ASSERT_EQUAL(ff_memif_num_rings(p.cli, true), 3);
	CU_ASSERT_EQUAL(ff_memif_num_rings(p.cli, false), 2);
	CU_ASSERT_EQUAL(ff_memif_ring_free(ff_memif_ring_get(p.cli, true, 2)), 64);
	CU_ASSERT_EQUAL(ff_memif_ring_free(ff_memif_ring_get(p.srv, false, 1)), 64);
	pair_close(&p);
}

/* Doorbells only: no ring in the other direction, no buffers. */
static void
doorbells(void)
{
	struct ff_memif_conf cli = conf_of(FF_MEMIF_CLIENT), srv = conf_of(FF_MEMIF_SERVER);
	struct pair p;

	cli.num_m2s_rings = srv.num_m2s_rings = 0;
	cli.buffer_size = 0;
	pair_open(&p, &srv, &cli);
	CU_ASSERT_EQUAL(ff_memif_state(p.srv), FF_MEMIF_CONNECTED);
	CU_ASSERT_EQUAL(ff_memif_num_rings(p.srv, true), 2);
	CU_ASSERT_EQUAL(ff_memif_num_rings(p.srv, false), 0);
	pair_close(&p);
}

static void
refused_by_server(void)
{
	struct ff_memif_conf conf = conf_of(FF_MEMIF_CLIENT);
	struct memif_msg msg = {.type = MEMIF_MSG_TYPE_DISCONNECT};
	struct raw r;

	memcpy(msg.disconnect.string, "no room", 8);
	raw_open(&r, &conf);
	raw_send(&r, &msg, -1);
	CU_ASSERT_EQUAL(ff_memif_wait_connected(r.m, 1000), -ECONNREFUSED);
	CU_ASSERT_STRING_EQUAL(ff_memif_reason(r.m), "peer disconnected: no room");
	raw_close(&r);
}

static void
bad_servers(void)
{
	struct ff_memif_conf conf = conf_of(FF_MEMIF_CLIENT);
	struct memif_msg msg = hello();
	struct raw r;

	raw_open(&r, &conf);
	msg.hello.min_version = MEMIF_VERSION + 1;
	msg.hello.max_version = MEMIF_VERSION + 1;
	raw_expect_refused(&r, &msg, -1, "unsupported protocol version");
	raw_close(&r);

	raw_open(&r, &conf);
	msg.hello.min_version = 0;
	msg.hello.max_version = MEMIF_VERSION - 1;
	raw_expect_refused(&r, &msg, -1, "unsupported protocol version");
	raw_close(&r);

	for (unsigned type = 0; type < 12; type++) {
		struct memif_msg odd = {.type = (uint16_t)type};

		if (type == MEMIF_MSG_TYPE_HELLO || type == MEMIF_MSG_TYPE_DISCONNECT)
			continue;
		raw_open(&r, &conf);
		raw_expect_refused(&r, &odd, -1, "unexpected message");
		raw_close(&r);
		if (type == MEMIF_MSG_TYPE_ACK)
			continue;
		raw_open(&r, &conf);
		msg = hello();
		CU_ASSERT_EQUAL(raw_ask(&r, &msg, -1), MEMIF_MSG_TYPE_INIT);
		raw_expect_refused(&r, &odd, -1, "unexpected message");
		raw_close(&r);
	}
}

/* More buffers than offsets of 32 bits can name. */
static void
too_large(void)
{
	struct ff_memif_conf conf = conf_of(FF_MEMIF_CLIENT);
	struct memif_msg msg = hello();
	struct raw r;

	conf.log2_ring_size = 14;
	conf.buffer_size = 1u << 20;
	raw_open(&r, &conf);
	raw_expect_refused(&r, &msg, -1, "cannot make the rings");
	raw_close(&r);
}

int
main(void)
{
	static const struct test tests[] = {
		{"sequence", sequence},	       {"limits", limits},
		{"doorbells only", doorbells}, {"refused by the server", refused_by_server},
		{"bad servers", bad_servers},  {"too large", too_large},
	};

	return run_tests("memif client", tests, sizeof(tests) / sizeof(tests[0]));
}
