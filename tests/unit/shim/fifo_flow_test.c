/* SPDX-License-Identifier: MIT */
/*
 * Two threads and a FIFO between them: bytes in random pieces, by each way that a program has to
 * wait for either side. All arrive, in order, and nobody is left asleep.
 */
#include "../../../shim/fifo.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <CUnit/Basic.h>

#include "../../../shim/real.h"
#include "../suite.h"

#define TOTAL	(200u << 20) /* bytes, by each pair of ways */
#define PIECE	(2 * FF_FIFO_SIZE)
#define PERIOD	1048573u /* of what is sent: a prime */
#define HANG_MS 60000	 /* a wake-up that has not come by then has been lost */

enum way { BLOCKING, LEVEL, EDGE, NUM_WAYS };

static struct {
	struct ff_fifo f;
	uint8_t ring[FF_FIFO_SIZE];
	struct fifo_tx tx;
	struct fifo_rx rx;
	enum way writer, reader;
} u;
static uint8_t pattern[PERIOD + PIECE];

static uint32_t
random_next(uint32_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 17;
	return *x ^= *x << 5;
}

/* As many small ones as large ones. */
static size_t
random_size(uint32_t *x)
{
	return 1 + random_next(x) % (2u << random_next(x) % 19);
}

static void
lost(const char *side)
{
	fprintf(stderr,
		"%s (writer %d, reader %d) hangs: tail %u, head %u, readable %u, fillers %u\n",
		side, u.writer, u.reader, atomic_load(&u.f.tail), atomic_load(&u.f.head),
		atomic_load(&u.f.readable), atomic_load(&u.f.fillers));
	abort();
}

static int
epoll_make(int fd, uint32_t events)
{
	struct epoll_event e = {.events = events};
	int ep = epoll_create1(0);

	if (ep < 0 || epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e))
		abort();
	return ep;
}

/* Until the kernel has said so. Returns what of. */
static uint32_t
wait_for(int fd, int ep, short events, const char *side)
{
	struct pollfd p = {.fd = fd, .events = events};
	struct epoll_event e = {0};
	int n = ep < 0 ? poll(&p, 1, HANG_MS) : epoll_wait(ep, &e, 1, HANG_MS);

	if (n != 1)
		lost(side);
	return ep < 0 ? (uint32_t)p.revents : e.events;
}

static void *
writer(void *arg)
{
	int ep = u.writer == BLOCKING
			 ? -1
			 : epoll_make(u.tx.fd, u.writer == EDGE ? EPOLLOUT | EPOLLET : EPOLLOUT);
	size_t sent = 0, n;
	uint32_t x = 12345;

	while (sent < TOTAL) {
		size_t len = random_size(&x), done = 0;

		len = len < TOTAL - sent ? len : TOTAL - sent;
		if (u.writer == LEVEL)
			wait_for(u.tx.fd, ep, POLLOUT, "writer");
		while (done < len) {
			struct iovec iov[] = {{pattern + sent % PERIOD, len / 3},
					      {pattern + sent % PERIOD + len / 3, len - len / 3}};

			/* A caller that looks again by itself may do so first. */
			n = fifo_put(&u.tx, iov, 2, done, random_next(&x) % 4 != 0);
			if (u.tx.broken || u.tx.error)
				lost("writer");
			done += n;
			if (done == len)
				break;
			n = fifo_put(&u.tx, iov, 2, done, true);
			done += n;
			if (done < len)
				wait_for(u.tx.fd, ep, POLLOUT, "writer");
		}
		sent += len;
	}
	shutdown(u.tx.fd, SHUT_WR);
	if (ep >= 0)
		close(ep);
	return NULL;
}

/* Bytes up to len, 0: none, in a way that a program may wait behind it. */
static size_t
get(uint8_t *buf, size_t len, uint32_t *x)
{
	struct iovec iov[] = {{buf, len / 2}, {buf + len / 2, len - len / 2}};
	size_t done = 0, n;

	do {
		if (random_next(x) % 8 == 0) {
			n = fifo_get(&u.rx, iov, 2, done, true);
			fifo_drop(&u.rx, n);
		} else {
			n = fifo_get(&u.rx, iov, 2, done, false);
		}
		done += n;
		if (u.rx.broken || u.rx.error)
			lost("reader");
	} while (done < len && fifo_rx_rest(&u.rx));
	return done;
}

static void
reader(void)
{
	int ep = u.reader == BLOCKING
			 ? -1
			 : epoll_make(u.rx.fd,
				      EPOLLIN | EPOLLRDHUP | (u.reader == EDGE ? EPOLLET : 0u));
	bool wait = u.reader != BLOCKING, knows_end = false, same = true;
	uint8_t *buf = malloc(PIECE);
	size_t got = 0, len, n;
	uint32_t x = 54321;

	for (;;) {
		if (wait && (wait_for(u.rx.fd, ep, POLLIN, "reader") & EPOLLRDHUP))
			knows_end = true;
		len = random_size(&x);
		n = get(buf, len, &x);
		if (!n && u.rx.end)
			break;
		same = same && !memcmp(buf, pattern + got % PERIOD, n);
		got += n;
		/* Edge: few bytes are all to it, but for those before the end. */
		wait = u.reader == LEVEL || !n || (u.reader == EDGE && n < len && !knows_end);
	}
	CU_ASSERT_TRUE(same);
	CU_ASSERT_EQUAL(got, TOTAL);
	CU_ASSERT_EQUAL(atomic_load(&u.f.fillers), 0);
	if (ep >= 0)
		close(ep);
	free(buf);
}

static void
flow(enum way by_writer, enum way by_reader)
{
	int sv[2], size = FIFO_SNDBUF;
	pthread_t thread;

	CU_ASSERT_FATAL(socketpair(AF_UNIX, SOCK_STREAM, 0, sv) == 0);
	setsockopt(sv[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	u.writer = by_writer;
	u.reader = by_reader;
	fifo_init(&u.f);
	fifo_tx_init(&u.tx, &u.f, u.ring, sv[0]);
	fifo_rx_init(&u.rx, &u.f, u.ring, sv[1]);
	CU_ASSERT_FATAL(pthread_create(&thread, NULL, writer, NULL) == 0);
	reader();
	pthread_join(thread, NULL);
	close(sv[0]);
	close(sv[1]);
}

static void
test_flow(void)
{
	for (enum way w = BLOCKING; w < NUM_WAYS; w++)
		for (enum way r = BLOCKING; r < NUM_WAYS; r++)
			flow(w, r);
}

int
main(void)
{
	static const struct suite_test tests[] = {{"each way to wait", test_flow}};
	uint32_t x = 1;

	for (size_t i = 0; i < PERIOD; i++)
		pattern[i] = (uint8_t)random_next(&x);
	memcpy(pattern + PERIOD, pattern, PIECE);
	return suite_main("fifo flow", tests, 1);
}
