/* SPDX-License-Identifier: MIT */
/* shim/mem_hooks.c, mem_kio.c: converted memory behaves as private memory does. */
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "mem_util.h"

static void *volatile low_page = (void *)8; /* the compiler shall not see that it is bad */

static bool
all_are(const uint8_t *p, size_t len, uint8_t value)
{
	size_t i;

	for (i = 0; i < len && p[i] == value; i++)
		;
	return i == len;
}

/* ---- madvise ---- */

static void
test_dontneed(void)
{
	uint8_t *p = converted(4 * MB);

	CU_ASSERT_EQUAL(madvise(p + MB, 2 * MB, MADV_DONTNEED), 0);
	CU_ASSERT(all_are(p, MB, 1));
	CU_ASSERT(all_are(p + MB, 2 * MB, 0));
	CU_ASSERT(all_are(p + 3 * MB, MB, 1));
	p[MB] = 7;
	CU_ASSERT_EQUAL(p[MB], 7);
	mprotect(p + 3 * MB, MB, PROT_READ);
	CU_ASSERT_EQUAL(madvise(p + 3 * MB, MB, MADV_DONTNEED), 0);
	CU_ASSERT(all_are(p + 3 * MB, MB, 0));
	/* Errors are the kernel's; what is there is dropped all the same. */
	p[0] = 9;
	munmap(p + MB, MB);
	CU_ASSERT_EQUAL(madvise(p, 2 * MB, MADV_DONTNEED), -1);
	CU_ASSERT_EQUAL(errno, ENOMEM);
	CU_ASSERT_EQUAL(p[0], 0);
	CU_ASSERT_EQUAL(madvise(p + 1, PAGE, MADV_DONTNEED), -1);
	CU_ASSERT_EQUAL(errno, EINVAL);
	munmap(p, 4 * MB);
}

/* Partly converted, partly not; a shared mapping of the program's own beside it is not emptied. */
static void
test_dontneed_mixed(void)
{
	uint8_t *p = anon(3 * MB);

	memset(p, 1, 2 * MB);
	CU_ASSERT_FATAL(mmap(p + 2 * MB, MB, PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED);
	memset(p + 2 * MB, 1, MB);
	ff_mem_prepare(p, MB);
	CU_ASSERT_EQUAL(madvise(p, 3 * MB, MADV_DONTNEED), 0);
	CU_ASSERT(all_are(p, 2 * MB, 0));
	CU_ASSERT(all_are(p + 2 * MB, MB, 1));
	munmap(p, 3 * MB);
}

static void
test_free(void)
{
	uint8_t *p = converted(MB), *q = anon(MB);

	CU_ASSERT_EQUAL(madvise(p, MB, MADV_FREE), 0);
	CU_ASSERT(p[0] == 0 || p[0] == 1);
	p[0] = 4;
	CU_ASSERT_EQUAL(p[0], 4);
	CU_ASSERT_EQUAL(madvise(q, MB, MADV_FREE), 0);
	CU_ASSERT_EQUAL(madvise(q + 1, MB, MADV_FREE), -1);
	CU_ASSERT_EQUAL(errno, EINVAL);
	munmap(p, MB);
	munmap(q, MB);
}

/* ---- mremap, munmap, realloc ---- */

static void
test_mremap(void)
{
	uint8_t *area = anon(16 * MB), *p, *q;

	/* No room to grow in place: it moves. What it grows by is zero, also the second time. */
	memset(area, 1, 2 * MB);
	memset(area + 2 * MB, 2, MB);
	ff_mem_prepare(area, 3 * MB);
	CU_ASSERT_EQUAL(mremap(area, MB, 2 * MB, 0), MAP_FAILED);
	CU_ASSERT_EQUAL(errno, ENOMEM);
	p = mremap(area, 2 * MB, 4 * MB, MREMAP_MAYMOVE);
	CU_ASSERT_FATAL(p != MAP_FAILED);
	CU_ASSERT(all_are(p, 2 * MB, 1));
	CU_ASSERT(all_are(p + 2 * MB, 2 * MB, 0));
	CU_ASSERT_EQUAL(converted_bytes(p, 4 * MB), 2 * MB);
	memset(p, 3, 4 * MB);
	CU_ASSERT(all_are(area + 2 * MB, MB, 2));
	CU_ASSERT_EQUAL(mremap(p, 4 * MB, MB, 0), p);
	p = mremap(p, MB, 3 * MB, MREMAP_MAYMOVE);
	CU_ASSERT_FATAL(p != MAP_FAILED);
	CU_ASSERT(all_are(p, MB, 3));
	CU_ASSERT(all_are(p + MB, 2 * MB, 0));
	q = mremap(p, 3 * MB, 3 * MB, MREMAP_MAYMOVE | MREMAP_FIXED, area + 8 * MB);
	CU_ASSERT_EQUAL(q, area + 8 * MB);
	CU_ASSERT(all_are(q, MB, 3));
	CU_ASSERT(all_are(q + MB, 2 * MB, 0));
	munmap(area, 16 * MB);
}

/* libc grows mappings by its own mremap: nothing of ours sees it. */
static void
test_realloc(void)
{
	uint8_t *p = malloc(MB);
	size_t len;

	memset(p, 6, MB);
	ff_mem_prepare(p, MB);
	for (len = 2 * MB; len <= 64 * MB; len *= 2) {
		p = realloc(p, len);
		CU_ASSERT(all_are(p, len / 2, 6));
		memset(p, 6, len);
		ff_mem_prepare(p + len / 4, len / 2);
	}
	p = realloc(p, 1000);
	CU_ASSERT(all_are(p, 1000, 6));
	p = realloc(p, 9 * MB);
	CU_ASSERT(all_are(p, 1000, 6));
	memset(p, 6, 9 * MB);
	free(p);
	/* The kernel's own growth of a whole converted mapping finds zeroes. */
	p = converted(MB);
	p = (uint8_t *)syscall(SYS_mremap, p, MB, 3 * MB, MREMAP_MAYMOVE, NULL);
	CU_ASSERT(all_are(p, MB, 1));
	CU_ASSERT(all_are(p + MB, 2 * MB, 0));
	memset(p, 2, 3 * MB);
	munmap(p, 3 * MB);
}

static void
test_heap_trim(void)
{
	uint8_t *p[200];
	unsigned i, round;

	mallopt(M_MMAP_THRESHOLD, 1 << 30);
	for (round = 0; round < 4; round++) {
		for (i = 0; i < 200; i++) {
			p[i] = calloc(1, 60000);
			CU_ASSERT(all_are(p[i], 60000, 0));
			memset(p[i], 0xee, 60000);
			if (i % 3 == 0)
				ff_mem_prepare(p[i], 60000);
		}
		for (i = 0; i < 200; i++)
			free(p[i]);
		malloc_trim(0);
	}
	mallopt(M_MMAP_THRESHOLD, 128 * 1024);
}

/* ---- the kernel as writer ---- */

struct reader {
	uint8_t *volatile buf;
	_Atomic bool stop;
	int fd;
	size_t errors, bytes;
};

static void *
reader_main(void *arg)
{
	struct reader *r = arg;
	ssize_t n;

	while (!atomic_load(&r->stop)) {
		n = read(r->fd, r->buf, 256 * 1024);
		if (n < 0)
			r->errors++;
		else
			r->bytes += (size_t)n;
	}
	return NULL;
}

/* A stream, read into pages that are being converted: no error, nothing lost, nothing twice. */
struct stream {
	int fd[2];
	size_t total;
};

static void *
stream_feed(void *arg)
{
	struct stream *s = arg;
	uint32_t block[4096], n = 0;
	size_t sent, i;

	for (sent = 0; sent < s->total; sent += sizeof(block)) {
		for (i = 0; i < 4096; i++)
			block[i] = n++;
		if (write(s->fd[0], block, sizeof(block)) != sizeof(block))
			break;
	}
	shutdown(s->fd[0], SHUT_WR);
	return NULL;
}

static void *
convert_main(void *arg)
{
	struct reader *r = arg;

	while (!atomic_load(&r->stop)) {
		uint8_t *p = anon(MB);

		r->buf = p;
		usleep(100);
		ff_mem_prepare(p, MB);
		usleep(100);
		/* Not unmapped: the reader may be in it. Its size is what bounds the test. */
	}
	return NULL;
}

static void
test_kernel_writes(void)
{
	struct stream s = {.total = 48 * MB};
	struct reader r = {.fd = open("/dev/zero", O_RDONLY)};
	pthread_t feeder, converter, zero;
	uint32_t want = 0, got[1024];
	size_t have = 0, bad = 0, i;
	ssize_t n;

	CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM, 0, s.fd), 0);
	r.buf = anon(MB);
	pthread_create(&feeder, NULL, stream_feed, &s);
	pthread_create(&converter, NULL, convert_main, &r);
	pthread_create(&zero, NULL, reader_main, &r);
	for (;;) {
		uint8_t *buf = r.buf + 512 * 1024;

		n = recv(s.fd[1], buf, 100000, 0);
		if (n <= 0)
			break;
		for (i = 0; i < (size_t)n; i++) {
			((uint8_t *)got)[have++] = buf[i];
			if (have == 4) {
				bad += got[0] != want++;
				have = 0;
			}
		}
	}
	atomic_store(&r.stop, true);
	pthread_join(feeder, NULL);
	pthread_join(converter, NULL);
	pthread_join(zero, NULL);
	CU_ASSERT_EQUAL(n, 0);
	CU_ASSERT_EQUAL(bad, 0);
	CU_ASSERT_EQUAL(want, s.total / 4);
	CU_ASSERT_EQUAL(r.errors, 0);
	CU_ASSERT(r.bytes > 0);
	/* A bad address stays one. */
	CU_ASSERT_EQUAL(read(r.fd, low_page, 10), -1);
	CU_ASSERT_EQUAL(errno, EFAULT);
	close(r.fd);
	close(s.fd[0]);
	close(s.fd[1]);
}

int
main(void)
{
	CU_TestInfo tests[] = {
		{"MADV_DONTNEED", test_dontneed},
		{"MADV_DONTNEED, mixed range", test_dontneed_mixed},
		{"MADV_FREE", test_free},
		{"mremap", test_mremap},
		{"realloc", test_realloc},
		{"heap trim", test_heap_trim},
		{"kernel writes", test_kernel_writes},
		CU_TEST_INFO_NULL,
	};

	return run_tests("shim/mem_hooks", tests);
}
