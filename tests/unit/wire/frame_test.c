/* SPDX-License-Identifier: MIT */
/* Tests usertools/wire/frame.c: the pool, checksums, corruption, ECN, on short and odd frames. */
#include "wire_util.h"

static struct wire_frame frame, before;

static unsigned
bits_different(unsigned *first)
{
	unsigned i, count = 0;

	for (i = frame.len; i-- > 0;) {
		unsigned bits = (unsigned)__builtin_popcount(frame.bytes[i] ^ before.bytes[i]);

		/* The checksum's own bytes follow. */
		if (i == 40 || i == 41)
			continue;
		count += bits;
		if (bits)
			*first = i;
	}
	return count;
}

static uint64_t
place_of(unsigned n, unsigned of)
{
	/* Spreads over the payload, each bit number in turn. */
	return ((uint64_t)n << 32) / of << 32 | n % 8;
}

static void
test_pool(void)
{
	struct wire_frame *a, *b, *copy;
	struct wire_pool pool;

	wire_pool_init(&pool, 2);
	a = wire_pool_get(&pool);
	CU_ASSERT_PTR_NOT_NULL_FATAL(a);
	udp4_make(a, 100, true);
	copy = wire_pool_clone(&pool, a);
	CU_ASSERT_PTR_NOT_NULL_FATAL(copy);
	CU_ASSERT_EQUAL(copy->len, a->len);
	CU_ASSERT(!memcmp(copy->bytes, a->bytes, a->len));
	CU_ASSERT_PTR_NULL(wire_pool_get(&pool));
	CU_ASSERT_PTR_NULL(wire_pool_clone(&pool, a));
	wire_pool_put(&pool, a);
	b = wire_pool_get(&pool);
	CU_ASSERT_PTR_EQUAL(a, b);
	wire_pool_put(&pool, b);
	wire_pool_put(&pool, copy);
	wire_pool_fini(&pool);
}

static void
test_checksum_left_to_us(void)
{
	unsigned payload;

	for (payload = 0; payload < 64; payload++) {
		unsigned sum;

		udp4_make(&frame, payload, false);
		/* As the kernel leaves it: the sum of the pseudo header. */
		sum = ones_sum(frame.bytes + 26, 8, 17 + 8 + payload);
		frame.bytes[40] = (uint8_t)(sum >> 8);
		frame.bytes[41] = (uint8_t)sum;
		CU_ASSERT(wire_frame_checksum(&frame, 34, 6));
		CU_ASSERT_EQUAL(udp4_sum(&frame), 0xffff);
	}
	udp4_make(&frame, 10, false);
	CU_ASSERT(!wire_frame_checksum(&frame, frame.len + 1, 0));
	CU_ASSERT(!wire_frame_checksum(&frame, frame.len - 1, 0));
	CU_ASSERT(!wire_frame_checksum(&frame, 34, frame.len - 34 - 1));
	CU_ASSERT(!wire_frame_checksum(&frame, 34, UINT32_MAX));
	CU_ASSERT(wire_frame_checksum(&frame, 34, frame.len - 34 - 2));
}

static void
test_corrupt_udp_keeps_the_checksum(void)
{
	unsigned payload, n, at = 0;

	for (payload = 1; payload < 40; payload++) {
		for (n = 0; n < 200; n++) {
			udp4_make(&frame, payload, true);
			memcpy(&before, &frame, offsetof(struct wire_frame, bytes) + frame.len);
			CU_ASSERT_FATAL(wire_frame_corrupt(&frame, place_of(n, 200), true));
			CU_ASSERT_EQUAL(bits_different(&at), 1);
			CU_ASSERT(at >= 42);
			CU_ASSERT_EQUAL(udp4_sum(&frame), 0xffff);
			CU_ASSERT(word(frame.bytes + 40) != 0);
		}
	}
}

static void
test_corrupt_udp_without_checksum(void)
{
	unsigned at = 0;

	udp4_make(&frame, 33, false);
	before = frame;
	CU_ASSERT(wire_frame_corrupt(&frame, UINT64_MAX, true));
	CU_ASSERT_EQUAL(bits_different(&at), 1);
	CU_ASSERT_EQUAL(at, frame.len - 1);
	CU_ASSERT_EQUAL(word(frame.bytes + 40), 0);
}

/* A sum of 0 is written as 0xffff: 0 would say that there is none. */
static void
test_corrupt_never_leaves_a_zero(void)
{
	unsigned value, at = 0;

	for (value = 0; value < 0x10000; value++) {
		unsigned sum;

		udp4_make(&frame, 2, false);
		frame.bytes[42] = (uint8_t)(value >> 8);
		frame.bytes[43] = (uint8_t)value;
		sum = ~udp4_sum(&frame) & 0xffff;
		sum = sum ? sum : 0xffff;
		frame.bytes[40] = (uint8_t)(sum >> 8);
		frame.bytes[41] = (uint8_t)sum;
		memcpy(&before, &frame, offsetof(struct wire_frame, bytes) + frame.len);
		CU_ASSERT_FATAL(wire_frame_corrupt(&frame, value % 8, true));
		CU_ASSERT_EQUAL(bits_different(&at), 1);
		CU_ASSERT(word(frame.bytes + 40) != 0);
		CU_ASSERT_EQUAL(udp4_sum(&frame), 0xffff);
	}
}

static void
test_corrupt_without_repair(void)
{
	bool header = false, payload = false;
	unsigned n, at = 0;

	for (n = 0; n < 400; n++) {
		udp4_make(&frame, 20, true);
		before = frame;
		CU_ASSERT_FATAL(wire_frame_corrupt(&frame, place_of(n, 400), false));
		CU_ASSERT(memcmp(frame.bytes, before.bytes, 14) == 0);
		if (bits_different(&at)) {
			header |= at < 34;
			payload |= at >= 42;
		}
	}
	CU_ASSERT(header && payload);
}

static void
test_corrupt_odd_frames(void)
{
	unsigned len, at = 0;

	/* Every length, cut anywhere: must not reach outside. */
	for (len = 0; len < 60; len++) {
		udp4_make(&frame, 18, true);
		frame.len = len;
		before = frame;
		CU_ASSERT_EQUAL(wire_frame_corrupt(&frame, UINT64_MAX, true),
				len > 14 && len != 42);
		CU_ASSERT(!memcmp(frame.bytes + len, before.bytes + len, 60 - len));
	}
	/* Padding is not the datagram's. */
	udp4_make(&frame, 1, true);
	frame.len = 60;
	before = frame;
	CU_ASSERT(wire_frame_corrupt(&frame, UINT64_MAX, true));
	CU_ASSERT_EQUAL(bits_different(&at), 1);
	CU_ASSERT_EQUAL(at, 42);
	/* A later fragment has no UDP header; a TCP segment neither. */
	udp4_make(&frame, 18, true);
	frame.bytes[21] = 1;
	before = frame;
	CU_ASSERT(wire_frame_corrupt(&frame, 0, true));
	CU_ASSERT_EQUAL(bits_different(&at), 1);
	CU_ASSERT_EQUAL(at, 14);
	/* Lengths that lie. */
	udp4_make(&frame, 18, true);
	frame.bytes[14] = 0x4f;
	CU_ASSERT(wire_frame_corrupt(&frame, UINT64_MAX, true));
	udp4_make(&frame, 18, true);
	frame.bytes[38] = 0xff;
	CU_ASSERT(wire_frame_corrupt(&frame, UINT64_MAX, true));
}

static void
test_corrupt_ipv6(void)
{
	unsigned at = 0;

	memset(&frame, 0, sizeof(frame));
	frame.len = 14 + 40 + 8 + 6;
	frame.bytes[12] = 0x86;
	frame.bytes[13] = 0xdd;
	frame.bytes[14] = 0x60;
	frame.bytes[20] = 17;
	frame.bytes[59] = 14;
	frame.bytes[60] = 0x12;
	before = frame;
	CU_ASSERT(wire_frame_corrupt(&frame, 0, true));
	bits_different(&at);
	CU_ASSERT_EQUAL(at, 60); /* the checksum's first byte: it has followed */
	CU_ASSERT_EQUAL(frame.bytes[62], 1);
	CU_ASSERT_EQUAL(word(frame.bytes + 60), 0x1100);
}

static void
test_ecn_mark(void)
{
	unsigned tos;

	for (tos = 0; tos < 256; tos++) {
		unsigned sum;

		udp4_make(&frame, 20, true);
		frame.bytes[15] = (uint8_t)tos;
		frame.bytes[24] = frame.bytes[25] = 0;
		sum = ~ones_sum(frame.bytes + 14, 20, 0);
		frame.bytes[24] = (uint8_t)(sum >> 8);
		frame.bytes[25] = (uint8_t)sum;
		CU_ASSERT_EQUAL(wire_frame_mark(&frame), (tos & 3) != 0);
		CU_ASSERT_EQUAL(frame.bytes[15], tos & 3 ? tos | 3 : tos);
		CU_ASSERT_EQUAL(ones_sum(frame.bytes + 14, 20, 0), 0xffff);
	}
	memset(&frame, 0, sizeof(frame));
	frame.len = 14 + 40;
	frame.bytes[12] = 0x86;
	frame.bytes[13] = 0xdd;
	frame.bytes[14] = 0x6a;
	frame.bytes[15] = 0x9c;
	CU_ASSERT(wire_frame_mark(&frame));
	CU_ASSERT_EQUAL(frame.bytes[15], 0xbc);
	CU_ASSERT_EQUAL(frame.bytes[14], 0x6a);
	frame.bytes[15] = 0x8c;
	CU_ASSERT(!wire_frame_mark(&frame));
	frame.bytes[15] = 0x9c;
	frame.len = 53;
	CU_ASSERT(!wire_frame_mark(&frame));
	frame.len = 5;
	CU_ASSERT(!wire_frame_mark(&frame) && !wire_frame_is_ip(&frame));
}

int
main(void)
{
	unsigned failures;
	CU_pSuite suite;

	CU_initialize_registry();
	suite = CU_add_suite("wire/frame", NULL, NULL);
	CU_add_test(suite, "pool", test_pool);
	CU_add_test(suite, "checksum left to us", test_checksum_left_to_us);
	CU_add_test(suite, "corrupt UDP, checksum kept", test_corrupt_udp_keeps_the_checksum);
	CU_add_test(suite, "corrupt UDP without checksum", test_corrupt_udp_without_checksum);
	CU_add_test(suite, "never a checksum of 0", test_corrupt_never_leaves_a_zero);
	CU_add_test(suite, "corrupt without repair", test_corrupt_without_repair);
	CU_add_test(suite, "corrupt odd frames", test_corrupt_odd_frames);
	CU_add_test(suite, "corrupt IPv6", test_corrupt_ipv6);
	CU_add_test(suite, "ECN", test_ecn_mark);
	CU_basic_run_tests();
	failures = CU_get_number_of_failures();
	CU_cleanup_registry();
	return failures != 0;
}
