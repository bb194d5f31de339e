/* SPDX-License-Identifier: MIT */
/*
 * FIFOs between two processes: each state that an end can be in, step by step, with a hand that
 * plays the other side where it stops between two steps or cheats.
 */
#include "../../../shim/fifo.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <CUnit/Basic.h>

#include "../../../shim/real.h"
#include "../suite.h"

static struct {
	struct ff_fifo f;
	uint8_t ring[FF_FIFO_SIZE];
	int w, r; /* the pair */
	struct fifo_tx tx;
	struct fifo_rx rx;
} u = {.w = -1, .r = -1};
static uint8_t src[2 * FF_FIFO_SIZE], dst[2 * FF_FIFO_SIZE];

/* Anew; both indices are at index. */
static void
setup(uint32_t index)
{
	int sv[2], size = FIFO_SNDBUF;

	if (!src[1])
		for (size_t i = 0; i < sizeof(src); i++)
			src[i] = (uint8_t)(i * 7 + i / 251);
	if (u.w >= 0)
		close(u.w);
	if (u.r >= 0)
		close(u.r);
	CU_ASSERT_FATAL(socketpair(AF_UNIX, SOCK_STREAM, 0, sv) == 0);
	for (int i = 0; i < 2; i++)
		setsockopt(sv[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	u.w = sv[0];
	u.r = sv[1];
	fifo_init(&u.f);
	fifo_tx_init(&u.tx, &u.f, u.ring, u.w);
	fifo_rx_init(&u.rx, &u.f, u.ring, u.r);
	atomic_store(&u.f.tail, index);
	atomic_store(&u.f.head, index);
	u.tx.tail = u.tx.head = u.rx.tail = u.rx.head = index;
}

static size_t
put(size_t off, size_t len, bool fill)
{
	struct iovec v = {src + off, len};

	return fifo_put(&u.tx, &v, 1, 0, fill);
}

static size_t
get(size_t len)
{
	struct iovec v = {dst, len};

	return fifo_get(&u.rx, &v, 1, 0, false);
}

static bool
is_ready(int fd, short what)
{
	struct pollfd p = {.fd = fd, .events = what};

	return poll(&p, 1, 0) == 1 && (p.revents & what);
}

static int
in_socket(void)
{
	char bytes[4096];
	ssize_t n = recv(u.r, bytes, sizeof(bytes), MSG_DONTWAIT | MSG_PEEK);

	return n < 0 ? 0 : (int)n;
}

/* fifo.h: what is in the socket is what is counted. */
static void
check_ledger(void)
{
	CU_ASSERT_EQUAL(in_socket(), u.rx.debt + atomic_load(&u.f.fillers) +
					     (atomic_load(&u.f.readable) ? 0 : 1));
}

static void
test_one_byte_tells(void)
{
	setup(0);
	CU_ASSERT_FALSE(is_ready(u.r, POLLIN));
	CU_ASSERT_EQUAL(put(0, 10, true), 10);
	CU_ASSERT_EQUAL(put(10, 10, true), 10);
	CU_ASSERT_EQUAL(in_socket(), 1);
	CU_ASSERT_EQUAL(fifo_bytes(&u.rx), 20);
	CU_ASSERT_EQUAL(get(20), 20); /* all that was wanted */
	CU_ASSERT_EQUAL(memcmp(dst, src, 20), 0);
	CU_ASSERT_TRUE(is_ready(u.r, POLLIN));
	/* More, before the reader has found it empty, costs no byte. */
	CU_ASSERT_EQUAL(put(0, 5, true), 5);
	CU_ASSERT_EQUAL(in_socket(), 1);
	CU_ASSERT_EQUAL(get(10), 5);
	CU_ASSERT_FALSE(fifo_rx_rest(&u.rx));
	CU_ASSERT_FALSE(is_ready(u.r, POLLIN));
	check_ledger();
	CU_ASSERT_FALSE(fifo_rx_rest(&u.rx));
	check_ledger();
	CU_ASSERT_EQUAL(put(0, 1, true), 1);
	CU_ASSERT_EQUAL(in_socket(), 1);
}

static void
test_empty_no_more(void)
{
	setup(0);
	CU_ASSERT_EQUAL(put(0, 4, true), 4);
	CU_ASSERT_EQUAL(get(8), 4);
	CU_ASSERT_EQUAL(put(4, 4, true), 4);
	CU_ASSERT_TRUE(fifo_rx_rest(&u.rx));
	CU_ASSERT_EQUAL(in_socket(), 1);
	check_ledger();
	CU_ASSERT_EQUAL(get(8), 4);
	CU_ASSERT_FALSE(fifo_rx_rest(&u.rx));
	check_ledger();
}

/* A writer stopped between the exchange and the byte. */
static void
test_late_byte(void)
{
	static const char byte;

	setup(0);
	memcpy(u.ring, src, 3);
	u.tx.tail = 3;
	atomic_store(&u.f.tail, 3);
	CU_ASSERT_EQUAL(atomic_exchange(&u.f.readable, 0), 1);
	CU_ASSERT_EQUAL(get(8), 3);
	CU_ASSERT_FALSE(fifo_rx_rest(&u.rx));
	CU_ASSERT_EQUAL(u.rx.debt, 1);
	CU_ASSERT_FALSE(u.rx.broken);
	CU_ASSERT_EQUAL(send(u.w, &byte, 1, 0), 1);
	check_ledger();
	/* It wakes for nothing, once. */
	CU_ASSERT_EQUAL(get(8), 0);
	CU_ASSERT_FALSE(fifo_rx_rest(&u.rx));
	CU_ASSERT_EQUAL(in_socket(), 0);
	CU_ASSERT_EQUAL(put(0, 1, true), 1);
	CU_ASSERT_TRUE(is_ready(u.r, POLLIN));

	/* Its byte and the next one's come together. */
	setup(0);
	atomic_store(&u.f.tail, u.tx.tail = 3);
	atomic_exchange(&u.f.readable, 0);
	CU_ASSERT_EQUAL(get(8), 3);
	CU_ASSERT_FALSE(fifo_rx_rest(&u.rx));
	CU_ASSERT_EQUAL(send(u.w, &byte, 1, 0), 1);
	CU_ASSERT_EQUAL(put(3, 2, true), 2);
	CU_ASSERT_EQUAL(in_socket(), 2);
	CU_ASSERT_TRUE(is_ready(u.w, POLLOUT)); /* FIFO_SNDBUF */
	CU_ASSERT_EQUAL(get(2), 2);
	CU_ASSERT_EQUAL(in_socket(), 1);
	CU_ASSERT_FALSE(fifo_rx_rest(&u.rx));
	CU_ASSERT_EQUAL(in_socket(), 0);
}

/* Between the reader's look and its return: the writer sees readable, or does not. */
static void
test_change_of_mind(void)
{
	setup(0);
	CU_ASSERT_EQUAL(put(0, 2, true), 2);
	CU_ASSERT_EQUAL(get(8), 2);
	/* As publish(), before the writer looks at readable. */
	atomic_store(&u.f.tail, u.tx.tail = 5);
	CU_ASSERT_TRUE(fifo_rx_rest(&u.rx));
	CU_ASSERT_EQUAL(atomic_load(&u.f.readable), 0);
	check_ledger();
	CU_ASSERT_EQUAL(in_socket(), 1);
}

static void
test_end(void)
{
	/* Nothing was ever sent. */
	setup(0);
	close(u.w);
	u.w = -1;
	CU_ASSERT_EQUAL(get(4), 0);
	CU_ASSERT_FALSE(fifo_rx_rest(&u.rx));
	CU_ASSERT_TRUE(u.rx.end && !u.rx.error && !u.rx.broken);

	/* Behind bytes, and behind a byte that tells of them. */
	setup(0);
	CU_ASSERT_EQUAL(put(0, 100, true), 100);
	shutdown(u.w, SHUT_WR);
	CU_ASSERT_EQUAL(get(60), 60);
	CU_ASSERT_TRUE(fifo_rx_rest(&u.rx));
	CU_ASSERT_EQUAL(get(60), 40);
	CU_ASSERT_FALSE(fifo_rx_rest(&u.rx));
	CU_ASSERT_TRUE(u.rx.end && !u.rx.error);

	/* A writer that died before its byte. */
	setup(0);
	memcpy(u.ring, src, 3);
	atomic_store(&u.f.tail, 3);
	atomic_exchange(&u.f.readable, 0);
	close(u.w);
	u.w = -1;
	CU_ASSERT_EQUAL(get(8), 3);
	CU_ASSERT_FALSE(fifo_rx_rest(&u.rx));
	CU_ASSERT_TRUE(u.rx.end);
}

/* The writer goes with something unread in its own end: its bytes come, then the error, once. */
static void
test_reset(void)
{
	setup(0);
	CU_ASSERT_EQUAL(put(0, 10, true), 10);
	CU_ASSERT_EQUAL(send(u.r, "x", 1, 0), 1);
	close(u.w);
	u.w = -1;
	CU_ASSERT_EQUAL(get(20), 10);
	CU_ASSERT_FALSE(fifo_rx_rest(&u.rx));
	CU_ASSERT_EQUAL(u.rx.error, ECONNRESET);
	u.rx.error = 0;
	CU_ASSERT_FALSE(fifo_rx_rest(&u.rx));
	CU_ASSERT_EQUAL(u.rx.error, 0);
	CU_ASSERT_TRUE(u.rx.end);
}

static void
test_full(void)
{
	setup(0);
	CU_ASSERT_EQUAL(fifo_room(&u.tx), FF_FIFO_SIZE);
	CU_ASSERT_EQUAL(put(0, FF_FIFO_SIZE - 1, true), FF_FIFO_SIZE - 1);
	CU_ASSERT_TRUE(is_ready(u.w, POLLOUT));
	/* A short one is the sign of a full FIFO to an edge-triggered writer. */
	CU_ASSERT_EQUAL(put(0, 2, true), 1);
	CU_ASSERT_FALSE(is_ready(u.w, POLLOUT));
	CU_ASSERT_TRUE(atomic_load(&u.f.fillers) > 0);
	check_ledger();
	CU_ASSERT_EQUAL(put(0, 1, true), 0);
	/* Room that is not worth it. */
	CU_ASSERT_EQUAL(get(1), 1);
	CU_ASSERT_FALSE(is_ready(u.w, POLLOUT));
	CU_ASSERT_EQUAL(put(0, 1, true), 1);
	CU_ASSERT_EQUAL(get(FF_FIFO_SIZE / 2), FF_FIFO_SIZE / 2);
	CU_ASSERT_TRUE(is_ready(u.w, POLLOUT));
	check_ledger();
	CU_ASSERT_EQUAL(get(FF_FIFO_SIZE), FF_FIFO_SIZE / 2);
	CU_ASSERT_FALSE(fifo_rx_rest(&u.rx));
	CU_ASSERT_EQUAL(in_socket(), 0);
}

static void
test_full_without_fillers(void)
{
	setup(0);
	CU_ASSERT_EQUAL(put(0, sizeof(src), false), FF_FIFO_SIZE);
	CU_ASSERT_EQUAL(put(0, 1, false), 0);
	CU_ASSERT_EQUAL(atomic_load(&u.f.fillers), 0);
	CU_ASSERT_TRUE(is_ready(u.w, POLLOUT));
}

/* Bytes that were taken out while the writer filled up: more comes on top. */
static void
test_fillers_on_top(void)
{
	setup(0);
	CU_ASSERT_EQUAL(put(0, sizeof(src), true), FF_FIFO_SIZE);
	CU_ASSERT_FALSE(is_ready(u.w, POLLOUT));
	u.rx.debt = 1; /* as if one was due, and came before the fillers */
	atomic_fetch_sub(&u.f.fillers, 1);
	CU_ASSERT_EQUAL(get(1), 1);
	CU_ASSERT_TRUE(is_ready(u.w, POLLOUT));
	CU_ASSERT_EQUAL(put(0, 2, true), 1);
	CU_ASSERT_FALSE(is_ready(u.w, POLLOUT));
	check_ledger();
}

/* Writers that died while they filled up: the end is seen, whatever is left in the socket. */
static void
test_death_filling(void)
{
	static const char byte;

	for (int sent = 0; sent < 2; sent++) {
		setup(0);
		CU_ASSERT_EQUAL(put(0, FF_FIFO_SIZE, true), FF_FIFO_SIZE);
		CU_ASSERT_EQUAL(get(FF_FIFO_SIZE), FF_FIFO_SIZE);
		atomic_fetch_add(&u.f.fillers, 1);
		if (sent)
			CU_ASSERT_EQUAL(send(u.w, &byte, 1, 0), 1);
		close(u.w);
		u.w = -1;
		CU_ASSERT_EQUAL(get(1), 0);
		CU_ASSERT_FALSE(fifo_rx_rest(&u.rx));
		CU_ASSERT_TRUE(u.rx.end && !u.rx.broken);
	}
}

/* It is asleep: whoever finds the FIFO empty lets it go on. */
static void
test_fillers_of_a_stopped_writer(void)
{
	setup(0);
	CU_ASSERT_EQUAL(put(0, FF_FIFO_SIZE, true), FF_FIFO_SIZE);
	CU_ASSERT_EQUAL(get(FF_FIFO_SIZE), FF_FIFO_SIZE);
	CU_ASSERT_FALSE(fifo_rx_rest(&u.rx));
	atomic_fetch_add(&u.f.fillers, 1);
	CU_ASSERT_EQUAL(send(u.w, "", 1, 0), 1);
	CU_ASSERT_FALSE(fifo_rx_rest(&u.rx));
	CU_ASSERT_EQUAL(in_socket(), 0);
	CU_ASSERT_FALSE(u.rx.broken);
}

static void
test_reader_gone(void)
{
	setup(0);
	close(u.r);
	u.r = -1;
	put(0, 10, true);
	CU_ASSERT_EQUAL(u.tx.error, EPIPE);
	CU_ASSERT_EQUAL(put(0, 10, true), 0);

	/* While the FIFO has its byte; it gets full. */
	setup(0);
	CU_ASSERT_EQUAL(put(0, 10, true), 10);
	close(u.r);
	u.r = -1;
	CU_ASSERT_EQUAL(put(0, sizeof(src), true), FF_FIFO_SIZE - 10);
	CU_ASSERT_EQUAL(u.tx.error, EPIPE);
}

static void
test_vectors(void)
{
	struct iovec in[] = {{src, 3}, {src + 3, 0}, {src + 3, 4}, {src + 7, 5}};
	struct iovec out[] = {{dst, 0}, {dst, 6}, {dst + 6, 6}};

	setup(FF_FIFO_SIZE - 5); /* across the ring's end */
	CU_ASSERT_EQUAL(fifo_put(&u.tx, in, 4, 2, true), 10);
	memset(dst, 0, sizeof(dst));
	CU_ASSERT_EQUAL(fifo_get(&u.rx, out, 3, 0, true), 10);
	CU_ASSERT_EQUAL(memcmp(dst, src + 2, 10), 0);
	CU_ASSERT_EQUAL(fifo_bytes(&u.rx), 10);
	fifo_drop(&u.rx, 1);
	memset(dst, 0, sizeof(dst));
	CU_ASSERT_EQUAL(fifo_get(&u.rx, out, 3, 4, false), 8);
	CU_ASSERT_EQUAL(memcmp(dst + 4, src + 3, 8), 0);
	CU_ASSERT_EQUAL(get(9), 1);
	CU_ASSERT_EQUAL(dst[0], src[11]);
	CU_ASSERT_EQUAL(fifo_put(&u.tx, in, 4, 12, true), 0);
	CU_ASSERT_EQUAL(fifo_put(&u.tx, in, 0, 0, true), 0);
}

/* Indices run over 2^32, at full and at empty. */
static void
test_index_wrap(void)
{
	for (uint32_t before = 0; before < 4; before++) {
		setup(0u - before * (FF_FIFO_SIZE / 2) - 1);
		for (int i = 0; i < 4; i++) {
			CU_ASSERT_EQUAL(put(0, sizeof(src), true), FF_FIFO_SIZE);
			memset(dst, 0, FF_FIFO_SIZE);
			CU_ASSERT_EQUAL(get(sizeof(dst)), FF_FIFO_SIZE);
			CU_ASSERT_EQUAL(memcmp(dst, src, FF_FIFO_SIZE), 0);
			CU_ASSERT_FALSE(fifo_rx_rest(&u.rx));
			check_ledger();
		}
		CU_ASSERT_FALSE(u.tx.broken || u.rx.broken);
	}
}

static void
test_hostile_writer(void)
{
	static const uint32_t tails[] = {FF_FIFO_SIZE + 101, 99, 0x80000000u, 0xffffffffu};

	for (size_t i = 0; i < sizeof(tails) / sizeof(tails[0]); i++) {
		setup(100);
		atomic_store(&u.f.tail, tails[i]);
		CU_ASSERT_EQUAL(get(sizeof(dst)), 0);
		CU_ASSERT_TRUE(u.rx.broken);
		CU_ASSERT_EQUAL(fifo_bytes(&u.rx), 0);
		CU_ASSERT_FALSE(fifo_rx_rest(&u.rx));
	}
	/* Bytes that it takes back. */
	setup(0);
	CU_ASSERT_EQUAL(put(0, 10, true), 10);
	CU_ASSERT_EQUAL(fifo_bytes(&u.rx), 10);
	atomic_store(&u.f.tail, 9);
	CU_ASSERT_EQUAL(fifo_bytes(&u.rx), 0);
	CU_ASSERT_TRUE(u.rx.broken);
	/* Fillers beyond all measure. */
	setup(0);
	CU_ASSERT_EQUAL(put(0, 10, true), 10);
	atomic_store(&u.f.fillers, 0xffffffffu);
	CU_ASSERT_EQUAL(get(10), 10);
	CU_ASSERT_TRUE(u.rx.broken);
	/* And so often that the sum is. */
	setup(0);
	for (int i = 0; i < 4 && !u.rx.broken; i++) {
		CU_ASSERT_EQUAL(put(0, 10, true), 10);
		atomic_store(&u.f.fillers, 4096);
		CU_ASSERT_EQUAL(get(10), 10);
	}
	CU_ASSERT_TRUE(u.rx.broken);
	/* A byte that tells of nothing: the reader would be awake for ever. */
	setup(0);
	CU_ASSERT_EQUAL(send(u.w, "", 1, 0), 1);
	CU_ASSERT_FALSE(fifo_rx_rest(&u.rx));
	CU_ASSERT_TRUE(u.rx.broken);
	/* readable taken, and no byte, again and again. */
	setup(0);
	for (int i = 0; i < 100000 && !u.rx.broken; i++) {
		atomic_store(&u.f.readable, 0);
		fifo_rx_rest(&u.rx);
	}
	CU_ASSERT_TRUE(u.rx.broken);
}

static void
test_hostile_reader(void)
{
	static const uint32_t heads[] = {111, 99, 0x80000000u, 0xffffffffu};

	for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
		setup(100);
		CU_ASSERT_EQUAL(put(0, 10, true), 10);
		atomic_store(&u.f.head, heads[i]);
		CU_ASSERT_EQUAL(put(0, sizeof(src), true), 0);
		CU_ASSERT_TRUE(u.tx.broken);
		CU_ASSERT_EQUAL(fifo_room(&u.tx), 0);
	}
	/* It wants a byte for each, and takes none. */
	setup(0);
	for (int i = 0; i < 1000 && !u.tx.broken; i++) {
		atomic_store(&u.f.readable, 1);
		put(0, 1, true);
	}
	CU_ASSERT_TRUE(u.tx.broken);
	/* Fillers that are not ours: no more are sent, and that is all. */
	setup(0);
	atomic_store(&u.f.fillers, 0xffffffffu);
	CU_ASSERT_EQUAL(put(0, sizeof(src), true), FF_FIFO_SIZE);
	CU_ASSERT_EQUAL(put(0, 1, true), 0);
	CU_ASSERT_EQUAL(in_socket(), 1);
}

int
main(void)
{
	static const struct suite_test tests[] = {
		{"one byte tells", test_one_byte_tells},
		{"empty, and not any more", test_empty_no_more},
		{"late byte", test_late_byte},
		{"change of mind", test_change_of_mind},
		{"end", test_end},
		{"reset", test_reset},
		{"full", test_full},
		{"full, without fillers", test_full_without_fillers},
		{"fillers on top", test_fillers_on_top},
		{"death while filling up", test_death_filling},
		{"fillers of a stopped writer", test_fillers_of_a_stopped_writer},
		{"reader gone", test_reader_gone},
		{"vectors", test_vectors},
		{"index wrap", test_index_wrap},
		{"hostile writer", test_hostile_writer},
		{"hostile reader", test_hostile_reader},
	};

	return suite_main("fifo", tests, sizeof(tests) / sizeof(tests[0]));
}
