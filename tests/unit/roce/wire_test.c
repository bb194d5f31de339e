/* SPDX-License-Identifier: MIT */
/* Tests dataplane/roce/wire.c and icrc.c. */
#include <CUnit/Basic.h>
#include <errno.h>
#include <string.h>

#include "../suite.h"
#include "roce/wire.h"

/* Every opcode there is, built and taken apart again; every shorter packet is refused. */
static void
test_headers(void)
{
	uint8_t bytes[ROCE_HEADERS_MAX + 64], again[ROCE_HEADERS_MAX + 64];
	unsigned known = 0;

	for (unsigned op = 0; op < 256; op++) {
		struct roce_pkt in =
					{
						.opcode = (uint8_t)op,
						.solicited = op & 1,
						.ack_req = op & 2,
						.fecn = op & 4,
						.becn = op & 8,
						.pkey = 0x8001,
						.qpn = 0xabcdef,
						.psn = 0xfedcba,
						.va = 0x123456789abcdef0,
						.rkey = 0xdeadbeef,
						.dma_len = 0x01020304,
						.swap_add = 0x1111222233334444,
						.compare = 0x5555666677778888,
						.syndrome = 0x65,
						.msn = 0x345678,
						.atomic_old = 0x9999aaaabbbbcccc,
						.imm = 0x11223344,
						.ieth = 0x55667788,
						.qkey = 0x80010000,
						.src_qpn = 0x010203,
					},
				out;
		uint32_t f = roce_opcode_flags((uint8_t)op);
		unsigned head, len;

		memset(bytes, 0, sizeof(bytes));
		if (!f) {
			bytes[0] = (uint8_t)op;
			CU_ASSERT_EQUAL(roce_parse(&out, bytes, sizeof(bytes)), -EPROTO);
			continue;
		}
		known++;
		in.len = f & ROCE_F_PAYLOAD ? 5 : 0;
		head = roce_build(&in, bytes);
		CU_ASSERT_EQUAL(head, roce_headers_len((uint8_t)op));
		CU_ASSERT(head <= ROCE_HEADERS_MAX || (f & ROCE_F_CNP));
		len = head + in.len + roce_pad(in.len);
		CU_ASSERT_EQUAL(roce_parse(&out, bytes, len), 0);
		CU_ASSERT_EQUAL(out.len, in.len);
		CU_ASSERT_PTR_EQUAL(out.payload, bytes + head);
		CU_ASSERT_EQUAL(out.flags, f);
		CU_ASSERT(out.qpn == in.qpn && out.psn == in.psn && out.pkey == in.pkey);
		CU_ASSERT(out.migrated);
		/* What it has came through: it builds the same bytes. */
		CU_ASSERT_EQUAL(roce_build(&out, again), head);
		CU_ASSERT_EQUAL(memcmp(again, bytes, head), 0);
		for (unsigned cut = 0; cut < head; cut++)
			CU_ASSERT_EQUAL(roce_parse(&out, bytes, cut), -EPROTO);
	}
	CU_ASSERT_EQUAL(known, 23 + 12 + 2 + 1);
}

static void
test_refused(void)
{
	uint8_t bytes[ROCE_BTH + ROCE_MTU_MAX + 8] = {ROCE_SEND_ONLY};
	struct roce_pkt p;

	CU_ASSERT_EQUAL(roce_parse(&p, bytes, ROCE_BTH + ROCE_MTU_MAX), 0);
	CU_ASSERT_EQUAL(roce_parse(&p, bytes, ROCE_BTH + ROCE_MTU_MAX + 1), -EPROTO);
	bytes[1] = 1; /* version */
	CU_ASSERT_EQUAL(roce_parse(&p, bytes, ROCE_BTH), -EPROTO);
	bytes[1] = 3 << 4; /* more pad than there is */
	CU_ASSERT_EQUAL(roce_parse(&p, bytes, ROCE_BTH + 2), -EPROTO);
	bytes[0] = ROCE_ACK; /* has no payload */
	bytes[1] = 0;
	CU_ASSERT_EQUAL(roce_parse(&p, bytes, ROCE_BTH + ROCE_AETH), 0);
	CU_ASSERT_EQUAL(roce_parse(&p, bytes, ROCE_BTH + ROCE_AETH + 4), -EPROTO);
}

static void
test_psn(void)
{
	CU_ASSERT_EQUAL(roce_psn_diff(0, 0xffffff), 1);
	CU_ASSERT_EQUAL(roce_psn_diff(0xffffff, 0), -1);
	CU_ASSERT_EQUAL(roce_psn_diff(0x7fffff, 0), 0x7fffff);
	CU_ASSERT(roce_psn_diff(0x800000, 0) < 0);
	CU_ASSERT_EQUAL(roce_psn_add(0xffffff, 2), 1);
}

/* A clock that runs faster with each look, or slower: who is measured first wins, or loses. */
static uint64_t fake_now, fake_step;
static bool fake_faster;

static uint64_t
fake_clock(void)
{
	fake_step += fake_faster ? 1 : -1;
	return fake_now += fake_step;
}

static const char *
choose(bool faster)
{
	fake_step = 1000;
	fake_faster = faster;
	return roce_icrc_choose(fake_clock);
}

/* A CNP as a ConnectX-4 Lx sends it. */
static void
icrc_known(void)
{
	static const uint8_t cnp[] = {
		0x45, 0xc2, 0x00, 0x3c, 0x71, 0x8c, 0x40, 0x00, 0x40, 0x11, 0x91, 0x61, 0x0a, 0x00,
		0x11, 0x01, 0x0a, 0x00, 0x12, 0x01, 0x00, 0x00, 0x12, 0xb7, 0x00, 0x28, 0x00, 0x00,
		0x81, 0x00, 0xff, 0xff, 0x40, 0x00, 0x01, 0x18, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
		0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	};
	static const uint8_t wire[4] = {0x82, 0xfd, 0x00, 0x2a};
	uint8_t changed[sizeof(cnp)];
	uint32_t crc = roce_icrc(cnp, sizeof(cnp));

	CU_ASSERT_EQUAL(memcmp(&crc, wire, sizeof(wire)), 0); /* little-endian machine */
	/* What a router changes on the way does not count; all else does. */
	for (size_t i = 0; i < sizeof(cnp); i++) {
		bool free_field =
			i == 1 || i == 8 || i == 10 || i == 11 || i == 26 || i == 27 || i == 32;

		if (i == 0)
			continue;
		memcpy(changed, cnp, sizeof(cnp));
		changed[i] ^= 0x20;
		CU_ASSERT_EQUAL(roce_icrc(changed, sizeof(cnp)) == crc, free_field);
	}
}

static void
test_icrc(void)
{
	icrc_known();
	CU_ASSERT_STRING_EQUAL(choose(false), "isa-l");
	icrc_known();
	CU_ASSERT_STRING_EQUAL(choose(true), "zlib");
	icrc_known();
}

int
main(void)
{
	static const struct suite_test tests[] = {
		{"headers", test_headers},
		{"refused", test_refused},
		{"psn", test_psn},
		{"icrc", test_icrc},
	};

	return suite_main("roce wire", tests, sizeof(tests) / sizeof(tests[0]));
}
