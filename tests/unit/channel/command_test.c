/* SPDX-License-Identifier: MIT */
/* Parsing of messages on the command socket. */
#include <CUnit/Basic.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "channel/channel_priv.h"

/* In a block of exactly its size, so that ASan sees each read past the end. */
static int
parse(uint32_t type, uint32_t len_field, const void *body, size_t body_len)
{
	struct ff_msg_hdr h = {.type = type, .seq = 7, .len = len_field};
	uint8_t *m = malloc(sizeof(h) + body_len + 1);
	struct command c;
	int rc;

	memcpy(m, &h, sizeof(h));
	memcpy(m + sizeof(h), body, body_len);
	m = realloc(m, sizeof(h) + body_len);
	rc = command_parse(m, sizeof(h) + body_len, &c);
	if (!rc && type == FF_MSG_UVERBS) {
		CU_ASSERT_EQUAL(c.payload_len, body_len - sizeof(struct ff_msg_uverbs));
		CU_ASSERT_PTR_EQUAL(c.payload, m + sizeof(h) + sizeof(struct ff_msg_uverbs));
	}
	CU_ASSERT_EQUAL(c.hdr.seq, 7);
	free(m);
	return rc;
}

static void
test_good(void)
{
	struct ff_msg_attach a = {.abi_version = FF_ABI_VERSION};
	struct ff_msg_context c = {.abi_version = FF_ABI_VERSION};
	uint8_t u[sizeof(struct ff_msg_uverbs) + 24] = {24};

	CU_ASSERT_EQUAL(parse(FF_MSG_ATTACH, sizeof(a), &a, sizeof(a)), 0);
	CU_ASSERT_EQUAL(parse(FF_MSG_CONTEXT, sizeof(c), &c, sizeof(c)), 0);
	CU_ASSERT_EQUAL(parse(FF_MSG_UVERBS, sizeof(u), u, sizeof(u)), 0);
	memset(u, 0, sizeof(u));
	CU_ASSERT_EQUAL(parse(FF_MSG_UVERBS, 8, u, 8), 0);
}

static void
test_lengths(void)
{
	static uint8_t big[FF_MSG_MAX + 64];
	struct ff_msg_attach a = {.abi_version = FF_ABI_VERSION};
	uint8_t u[sizeof(struct ff_msg_uverbs) + 24] = {24};
	struct command c;

	for (size_t n = 0; n < sizeof(struct ff_msg_hdr); n++)
		CU_ASSERT_EQUAL(command_parse(big, n, &c), -EPROTO);
	for (uint32_t n = 0; n < sizeof(a); n++) {
		CU_ASSERT_EQUAL(parse(FF_MSG_ATTACH, n, &a, n), -EPROTO);
		CU_ASSERT_EQUAL(parse(FF_MSG_CONTEXT, n, &a, n), -EPROTO);
	}
	CU_ASSERT_EQUAL(parse(FF_MSG_ATTACH, 9, &a, sizeof(a)), -EPROTO);
	CU_ASSERT_EQUAL(parse(FF_MSG_ATTACH, UINT32_MAX, &a, sizeof(a)), -EPROTO);
	CU_ASSERT_EQUAL(parse(FF_MSG_CONTEXT, sizeof(a), &a, sizeof(a)), -EPROTO);
	for (uint32_t n = 0; n < sizeof(u); n++) /* cmd_len says 24 */
		CU_ASSERT_EQUAL(parse(FF_MSG_UVERBS, n, u, n), -EPROTO);
	memset(u, 0xff, 4);
	CU_ASSERT_EQUAL(parse(FF_MSG_UVERBS, sizeof(u), u, sizeof(u)), -EPROTO);
	CU_ASSERT_EQUAL(command_parse(big, sizeof(big), &c), -EMSGSIZE);
}

static void
test_values(void)
{
	struct ff_msg_attach a = {.abi_version = FF_ABI_VERSION + 1};
	struct ff_msg_context c = {.abi_version = 0};
	struct ff_msg_uverbs u = {.reserved = 1};
	uint8_t longer[64];

	CU_ASSERT_EQUAL(parse(FF_MSG_ATTACH, sizeof(a), &a, sizeof(a)), -EPROTONOSUPPORT);
	CU_ASSERT_EQUAL(parse(FF_MSG_CONTEXT, sizeof(c), &c, sizeof(c)), -EPROTONOSUPPORT);
	/* A later version may have a longer message: what it is told is the version. */
	memset(longer, 0x55, sizeof(longer));
	CU_ASSERT_EQUAL(parse(FF_MSG_ATTACH, sizeof(longer), longer, sizeof(longer)),
			-EPROTONOSUPPORT);
	a.abi_version = c.abi_version = FF_ABI_VERSION;
	a.flags = c.flags = 0x80000000u;
	CU_ASSERT_EQUAL(parse(FF_MSG_ATTACH, sizeof(a), &a, sizeof(a)), -EINVAL);
	CU_ASSERT_EQUAL(parse(FF_MSG_CONTEXT, sizeof(c), &c, sizeof(c)), -EINVAL);
	CU_ASSERT_EQUAL(parse(FF_MSG_UVERBS, sizeof(u), &u, sizeof(u)), -EINVAL);
	CU_ASSERT_EQUAL(parse(0, sizeof(a), &a, sizeof(a)), -EINVAL);
	CU_ASSERT_EQUAL(parse(UINT32_MAX, sizeof(a), &a, sizeof(a)), -EINVAL);
}

int
main(void)
{
	unsigned failures;
	CU_pSuite s;

	if (CU_initialize_registry())
		return 1;
	s = CU_add_suite("command", NULL, NULL);
	CU_add_test(s, "good", test_good);
	CU_add_test(s, "lengths", test_lengths);
	CU_add_test(s, "values", test_values);
	CU_basic_set_mode(CU_BRM_VERBOSE);
	CU_basic_run_tests();
	failures = CU_get_number_of_failures();
	CU_cleanup_registry();
	return failures ? 1 : 0;
}
