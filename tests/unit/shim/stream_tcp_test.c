/* SPDX-License-Identifier: MIT */
/* Both ends of an exchanged stream in one process: what TCP would say, from what each has done. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../../../shim/fifo.h"
#include "../../../shim/stream.h"
#include "../../../shim/stream_end.h"
#include "../../../shim/stream_fifo.h"
#include "router.h"

#define FIN    FF_TCP_FLAG_FIN
#define DEAF   FF_TCP_FLAG_DEAF
#define RESET  FF_TCP_FLAG_RESET
#define CLOSED FF_TCP_FLAG_CLOSED

static struct stream ends[2];
static struct ff_tcp_page *page;
static uint8_t buf[FF_FIFO_SIZE];

static void
teardown(void)
{
	for (unsigned i = 0; i < 2; i++) {
		stream_fifo_end(&ends[i]);
		if (ends[i].end >= 0)
			close(ends[i].end);
		ends[i].end = -1;
	}
	if (page)
		munmap(page, FF_TCP_MEMORY);
	page = NULL;
}

static void
setup(bool fifo)
{
	int sv[2], size = FIFO_SNDBUF;

	page = mmap(NULL, FF_TCP_MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CU_ASSERT_FATAL(page != MAP_FAILED);
	CU_ASSERT_FATAL(socketpair(AF_UNIX, SOCK_STREAM, 0, sv) == 0);
	memset(ends, 0, sizeof(ends));
	for (unsigned i = 0; i < 2; i++) {
		ends[i].side = i;
		ends[i].page = page;
		ends[i].end = sv[i];
		ends[i].anchor = -1;
		atomic_store(&ends[i].state, fifo ? STREAM_FIFO : STREAM_PAIRED);
		if (!fifo)
			continue;
		setsockopt(sv[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
		CU_ASSERT_FATAL(stream_fifo_prepare(&ends[i]));
		stream_fifo_begin(&ends[i], 0);
	}
}

static void
flags_set(uint32_t own, uint32_t other)
{
	atomic_store(&page->side[0].flags, own);
	atomic_store(&page->side[1].flags, other);
}

static ssize_t
put(unsigned side, size_t len)
{
	struct iovec v = {buf, len};

	return stream_fifo_send(&ends[side], ends[side].end, &v, 1, MSG_DONTWAIT);
}

static ssize_t
get(unsigned side, size_t len)
{
	struct iovec v = {buf, len};

	return stream_fifo_recv(&ends[side], ends[side].end, &v, 1, MSG_DONTWAIT);
}

static bool
is_readable(unsigned side)
{
	struct pollfd p = {.fd = ends[side].end, .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

/* As the kernel has it: include/net/tcp.h's tcp_poll(), tcp_sendmsg(), tcp_reset(). */
static void
test_ends(void)
{
	static const struct {
		uint32_t own, other, events;
		int send, recv; /* errno; recv: of the end */
	} cases[] = {
		{0, 0, 0, 0, 0},
		{0, FIN, POLLIN | POLLRDHUP, 0, 0},
		{0, DEAF, 0, 0, 0},
		{DEAF, 0, POLLIN | POLLRDHUP, 0, 0},
		{FIN, 0, POLLOUT, EPIPE, 0},
		{FIN, FIN, POLLIN | POLLOUT | POLLRDHUP | POLLHUP, EPIPE, 0},
		{FIN | DEAF, 0, POLLIN | POLLOUT | POLLRDHUP | POLLHUP, EPIPE, 0},
		{0, RESET, POLLIN | POLLOUT | POLLRDHUP | POLLHUP | POLLERR, ECONNRESET,
		 ECONNRESET},
		/* RST behind FIN, in CLOSE-WAIT. */
		{0, FIN | RESET, POLLIN | POLLOUT | POLLRDHUP | POLLHUP | POLLERR, EPIPE, 0},
		{0, FIN | DEAF, POLLIN | POLLRDHUP, EPIPE, 0},
		{0, FIN | CLOSED, POLLIN | POLLRDHUP, EPIPE, 0},
		/* It has sent to who was gone: nobody tells it anything any more. */
		{RESET, FIN | DEAF, POLLIN | POLLOUT | POLLRDHUP | POLLHUP, EPIPE, 0},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		setup(false);
		flags_set(cases[i].own, cases[i].other);
		CU_ASSERT_EQUAL(stream_events(&ends[0], POLLIN | POLLOUT | POLLRDHUP, 0),
				cases[i].events);
		CU_ASSERT_EQUAL(stream_ended(&ends[0]), -cases[i].recv);
		flags_set(cases[i].own, cases[i].other);
		CU_ASSERT_EQUAL(stream_send_error(&ends[0], false), -cases[i].send);
		teardown();
	}
}

static void
test_error_is_told_once(void)
{
	setup(false);
	flags_set(0, RESET | CLOSED);
	CU_ASSERT_EQUAL(stream_error(&ends[0], false), ECONNRESET);
	CU_ASSERT_EQUAL(stream_error(&ends[0], true), ECONNRESET);
	CU_ASSERT_EQUAL(stream_error(&ends[0], true), 0);
	CU_ASSERT_FALSE(stream_events(&ends[0], POLLIN, 0) & POLLERR);
	CU_ASSERT_EQUAL(stream_ended(&ends[0]), 0);
	CU_ASSERT_EQUAL(stream_send_error(&ends[0], false), -EPIPE);
	teardown();
}

/* Bytes that find nobody: the other side, which only had shut down, is reset. */
static void
test_bytes_for_nobody(void)
{
	setup(false);
	flags_set(0, FIN | DEAF);
	CU_ASSERT_EQUAL(stream_send_error(&ends[0], true), 0); /* no bytes */
	CU_ASSERT_EQUAL(stream_send_error(&ends[0], false), -EPIPE);
	CU_ASSERT_TRUE(stream_events(&ends[0], POLLOUT, 0) & POLLHUP);
	CU_ASSERT_EQUAL(stream_error(&ends[1], true), ECONNRESET);
	teardown();
}

/* Who is killed says nothing: the kernel closes its end of the pair. */
static void
test_killed(void)
{
	for (int fifo = 0; fifo < 2; fifo++) {
		for (int unread = 0; unread < 2; unread++) {
			setup(fifo);
			if (unread && fifo)
				CU_ASSERT_EQUAL(put(0, 100), 100);
			if (unread && !fifo)
				CU_ASSERT_EQUAL(send(ends[0].end, buf, 100, 0), 100);
			close(ends[1].end);
			ends[1].end = -1;
			CU_ASSERT_EQUAL(stream_ended(&ends[0]), unread ? -ECONNRESET : 0);
			CU_ASSERT_EQUAL(stream_send_error(&ends[0], false), -EPIPE);
			teardown();
		}
	}
}

/* ... and a writer that has room learns of it, too. */
static void
test_killed_reader_of_fifo(void)
{
	struct timespec nap = {.tv_nsec = 30000000};

	setup(true);
	CU_ASSERT_EQUAL(put(0, 100), 100);
	close(ends[1].end);
	ends[1].end = -1;
	nanosleep(&nap, NULL);
	CU_ASSERT_EQUAL(put(0, 100), -EPIPE);
	teardown();
}

/* The byte that tells of what was read is no byte that was left unread. */
static void
test_end_behind_full_read(void)
{
	setup(true);
	CU_ASSERT_EQUAL(put(0, 100), 100);
	CU_ASSERT_EQUAL(get(1, 100), 100);
	CU_ASSERT_EQUAL(put(1, 10), 10);
	atomic_fetch_or(&page->side[1].flags, FIN | CLOSED);
	close(ends[1].end);
	ends[1].end = -1;
	CU_ASSERT_EQUAL(get(0, 100), 10);
	CU_ASSERT_EQUAL(get(0, 100), 0);
	CU_ASSERT_EQUAL(stream_ended(&ends[0]), 0);
	teardown();
}

/* In an epoll set the pair is true also for who got all it asked for. */
static void
test_watched_full_read(void)
{
	setup(true);
	stream_fifo_watch(&ends[1]);
	for (unsigned i = 0; i < 3; i++) {
		CU_ASSERT_EQUAL(put(0, 100), 100);
		CU_ASSERT_TRUE(is_readable(1));
		CU_ASSERT_EQUAL(get(1, 60), 60);
		CU_ASSERT_TRUE(is_readable(1));
		CU_ASSERT_EQUAL(get(1, 40), 40);
		CU_ASSERT_FALSE(is_readable(1));
	}
	teardown();
	/* One that was read before it was watched. */
	setup(true);
	CU_ASSERT_EQUAL(put(0, 100), 100);
	CU_ASSERT_EQUAL(get(1, 100), 100);
	stream_fifo_watch(&ends[1]);
	CU_ASSERT_FALSE(is_readable(1));
	teardown();
}

/* One of several processes was killed inside: nobody is left to wait for what it has begun. */
static void
test_killed_sharer(void)
{
	for (unsigned tx = 0; tx < 2; tx++) {
		struct stream_end *directions; /* struct stream_own begins with both */
		pid_t pid = fork();

		CU_ASSERT_FATAL(pid >= 0);
		if (pid == 0)
			_exit(0);
		CU_ASSERT_EQUAL(waitpid(pid, NULL, 0), pid);
		setup(true);
		CU_ASSERT_EQUAL(put(1, 10), 10);
		directions = (struct stream_end *)ends[0].own;
		atomic_store(&directions[tx].lock, (uint32_t)pid);
		CU_ASSERT_EQUAL(tx ? put(0, 10) : get(0, 10), -ECONNRESET);
		CU_ASSERT_EQUAL(tx ? put(0, 10) : get(0, 10), -ECONNRESET);
		teardown();
	}
}

/* recv() of nothing waits for something, as TCP's does; it takes nothing. */
static void
test_nothing(void)
{
	setup(true);
	CU_ASSERT_EQUAL(get(1, 0), -EAGAIN);
	CU_ASSERT_EQUAL(put(0, 1), 1);
	CU_ASSERT_EQUAL(get(1, 0), 0);
	CU_ASSERT_EQUAL(stream_fifo_unread(&ends[1]), 1);
	teardown();
}

int
main(void)
{
	static const struct test tests[] = {
		{"how it ends", test_ends},
		{"an error is told once", test_error_is_told_once},
		{"bytes for nobody", test_bytes_for_nobody},
		{"killed", test_killed},
		{"killed reader of a FIFO", test_killed_reader_of_fifo},
		{"end behind a full read", test_end_behind_full_read},
		{"full read in an epoll set", test_watched_full_read},
		{"nothing", test_nothing},
		{"killed sharer", test_killed_sharer},
	};

	return RUN("stream as TCP", tests);
}
