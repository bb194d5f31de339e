/* SPDX-License-Identifier: MIT */
/* Chains of a table that grows and is emptied again; and what a message may be. */
#include <CUnit/CUnit.h>
#include <errno.h>
#include <stdlib.h>

#include "../suite.h"
#include "tcp/tcp_priv.h"

#define NODES 5000u

static bool
has(const struct tcp_index *x, const struct tcp_node *wanted, uint32_t hash)
{
	struct tcp_node *n = tcp_index_first(x, hash);

	while (n && n != wanted)
		n = tcp_index_next(n);
	return n;
}

/* Every tenth has a hash that many others have, too. */
static uint32_t
hash_of(unsigned i)
{
	return i % 10 ? i * 2654435761u : i % 3;
}

static void
test_index(void)
{
	struct tcp_node *nodes = calloc(NODES, sizeof(*nodes));
	struct tcp_index x = {0};

	CU_ASSERT_PTR_NULL(tcp_index_first(&x, 0));
	for (unsigned i = 0; i < NODES; i++)
		CU_ASSERT_EQUAL(tcp_index_add(&x, &nodes[i], hash_of(i)), 0);
	CU_ASSERT_EQUAL(x.count, NODES);
	for (unsigned i = 0; i < NODES; i += 2)
		tcp_index_remove(&x, &nodes[i]);
	for (unsigned i = 0; i < NODES; i++)
		CU_ASSERT_EQUAL(has(&x, &nodes[i], hash_of(i)), i % 2);
	for (unsigned i = 1; i < NODES; i += 2)
		tcp_index_remove(&x, &nodes[i]);
	CU_ASSERT_EQUAL(x.count, 0);
	CU_ASSERT_PTR_NULL(x.slots);
	free(nodes);
}

static void
test_message(void)
{
	struct ff_tcp_msg m = {.type = FF_TCP_HELLO, .value = FF_TCP_ABI_VERSION};
	const size_t len = sizeof(m);

	CU_ASSERT_EQUAL(tcp_message_check(&m, len, 0, false), 0);
	CU_ASSERT_EQUAL(tcp_message_check(&m, len, 0, true), -EPROTO);
	CU_ASSERT_EQUAL(tcp_message_check(&m, len, 1, false), -EPROTO);
	CU_ASSERT_EQUAL(tcp_message_check(&m, len - 1, 0, false), -EPROTO);
	m.stream = 1;
	CU_ASSERT_EQUAL(tcp_message_check(&m, len, 0, false), -EPROTO);
	m.stream = 0;
	m.value++;
	CU_ASSERT_EQUAL(tcp_message_check(&m, len, 0, false), -EPROTONOSUPPORT);
	for (m.type = FF_TCP_ASK; m.type <= FF_TCP_POKE; m.type++) {
		unsigned fds = m.type == FF_TCP_ASK;

		CU_ASSERT_EQUAL(tcp_message_check(&m, len, fds, true), 0);
		CU_ASSERT_EQUAL(tcp_message_check(&m, len, fds, false), -EPROTO);
		CU_ASSERT_EQUAL(tcp_message_check(&m, len, fds + 1, true), -EPROTO);
		CU_ASSERT_EQUAL(tcp_message_check(&m, len, !fds, true), -EPROTO);
	}
	m.type = FF_TCP_OFFER;
	CU_ASSERT_EQUAL(tcp_message_check(&m, len, 0, true), -EPROTO);
	m.type = FF_TCP_FORGET;
	m.reserved = 1;
	CU_ASSERT_EQUAL(tcp_message_check(&m, len, 0, true), -EPROTO);
}

int
main(void)
{
	static const struct suite_test tests[] = {
		{"index", test_index},
		{"messages", test_message},
	};

	return suite_main("tcp/index", tests, sizeof(tests) / sizeof(tests[0]));
}
