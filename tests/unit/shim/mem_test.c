/* SPDX-License-Identifier: MIT */
/* shim/mem.c: conversion in place: what is converted, and that no write is lost. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <unistd.h>

#include "mem_util.h"

#define WRITERS 2

static uint8_t data_buf[3 * PAGE] = {1, 2, 3};
static uint8_t bss_buf[16 * PAGE];

/* ---- writers at full speed ---- */

struct writer {
	pthread_t thread;
	uint64_t *words; /* every stride-th one is this thread's */
	size_t count, stride;
	uint64_t passes; /* out */
	bool block_signals;
	_Atomic bool *stop;
};

static void *
writer_main(void *arg)
{
	struct writer *w = arg;
	sigset_t all;
	size_t i;

	if (w->block_signals) {
		sigfillset(&all);
		pthread_sigmask(SIG_SETMASK, &all, NULL);
	}
	while (!atomic_load_explicit(w->stop, memory_order_relaxed)) {
		for (i = 0; i < w->count; i++)
			w->words[i * w->stride]++;
		w->passes++;
	}
	return NULL;
}

static size_t
writer_lost(const struct writer *w)
{
	size_t lost = 0, i;

	for (i = 0; i < w->count; i++)
		lost += w->words[i * w->stride] != w->passes;
	return lost;
}

/* Threads count in words of the same pages while [buf + skew, ...) is converted. */
static void
writers_during_conversion(size_t len, size_t skew, bool block_signals)
{
	struct writer w[WRITERS] = {0};
	_Atomic bool stop = false;
	uint8_t *buf = anon(len + PAGE);
	unsigned t;

	for (t = 0; t < WRITERS; t++) {
		w[t] = (struct writer){
			.words = (uint64_t *)buf + t * 64,
			.count = len / PAGE,
			.stride = PAGE / 8,
			.block_signals = block_signals,
			.stop = &stop,
		};
		pthread_create(&w[t].thread, NULL, writer_main, &w[t]);
	}
	usleep(2000);
	ff_mem_prepare(buf + skew, len - 2 * skew);
	usleep(2000);
	atomic_store(&stop, true);
	for (t = 0; t < WRITERS; t++) {
		pthread_join(w[t].thread, NULL);
		CU_ASSERT_EQUAL(writer_lost(&w[t]), 0);
	}
	CU_ASSERT_EQUAL(converted_bytes(buf, len), len);
	CU_ASSERT_EQUAL(converted_bytes(buf + len, PAGE), 0);
	munmap(buf, len + PAGE);
}

static void
test_writers_1(void)
{
	unsigned i;

	for (i = 0; i < 20; i++)
		writers_during_conversion(1 * MB, 13, false);
}

static void
test_writers_16(void)
{
	writers_during_conversion(16 * MB, 13, false);
}

static void
test_writers_256(void)
{
	writers_during_conversion(256 * MB, 4095, false);
}

static void
test_writers_block_signals(void)
{
	unsigned i;

	for (i = 0; i < 10; i++)
		writers_during_conversion(4 * MB, 1, true);
}

/* ---- unaligned heap buffers and their neighbours ---- */

#define CHUNKS 400

static void
test_heap_neighbours(void)
{
	struct writer w[WRITERS] = {0};
	_Atomic bool stop = false;
	uint8_t *chunk[CHUNKS];
	uint64_t *table;
	unsigned i, t;

	for (i = 0; i < CHUNKS; i++) {
		chunk[i] = malloc(24 + i * 37 % 9000);
		memset(chunk[i], (int)i, 24 + i * 37 % 9000);
	}
	/* Its words lie between the chunks' pages: same heap, made last. */
	table = calloc(4096, 8);
	for (t = 0; t < WRITERS; t++) {
		w[t] = (struct writer){.words = table + t,
				       .count = 4096 / WRITERS,
				       .stride = WRITERS,
				       .stop = &stop};
		pthread_create(&w[t].thread, NULL, writer_main, &w[t]);
	}
	for (i = 0; i < CHUNKS; i += 2)
		ff_mem_prepare(chunk[i] + i % 24, 24 + i * 37 % 9000 - i % 24);
	ff_mem_prepare((uint8_t *)table + 5, 100);
	ff_mem_prepare((uint8_t *)table + 5000, 20000);
	atomic_store(&stop, true);
	for (t = 0; t < WRITERS; t++) {
		pthread_join(w[t].thread, NULL);
		CU_ASSERT_EQUAL(writer_lost(&w[t]), 0);
	}
	for (i = 0; i < CHUNKS; i++) {
		size_t len = 24 + i * 37 % 9000, j, bad = 0;

		for (j = 0; j < len; j++)
			bad += chunk[i][j] != (uint8_t)i;
		CU_ASSERT_EQUAL(bad, 0);
		if (i % 2 == 0)
			CU_ASSERT_EQUAL(converted_bytes(chunk[i] + i % 24, len - i % 24),
					len - i % 24);
		free(chunk[i]);
	}
	free(table);
}

/* ---- kinds of memory ---- */

static void
test_repeated(void)
{
	uint8_t *p = anon(8 * MB);
	size_t i;

	for (i = 0; i < 8 * MB; i += 97)
		p[i] = (uint8_t)(i / 97);
	ff_mem_prepare(p + 100, 5000);
	ff_mem_prepare(p + 3000, 100000);
	ff_mem_prepare(p, 8 * MB);
	ff_mem_prepare(p, 8 * MB);
	CU_ASSERT_EQUAL(converted_bytes(p, 8 * MB), 8 * MB);
	for (i = 0; i < 8 * MB && p[i] == (uint8_t)(i / 97); i += 97)
		;
	CU_ASSERT(i >= 8 * MB);
	munmap(p, 8 * MB);
}

static void *
stack_thread(void *arg)
{
	volatile uint8_t buf[3 * PAGE];

	memset((void *)buf, 7, sizeof(buf));
	ff_mem_prepare((void *)buf, sizeof(buf));
	return (void *)converted_bytes((const void *)buf, sizeof(buf));
}

static void
test_stacks(void)
{
	uint8_t buf[3 * PAGE];
	pthread_t thread;
	void *converted;

	memset(buf, 5, sizeof(buf));
	ff_mem_prepare(buf, sizeof(buf));
	CU_ASSERT_EQUAL(converted_bytes(buf, sizeof(buf)), 0);
	CU_ASSERT_EQUAL(buf[PAGE], 5);
	pthread_create(&thread, NULL, stack_thread, NULL);
	pthread_join(thread, &converted);
	CU_ASSERT_EQUAL((size_t)converted, 0);
}

static _Atomic int other_state;

static void *
other_stack_thread(void *arg)
{
	volatile uint8_t buf[4 * PAGE];
	volatile uint64_t n = 0;

	memset((void *)buf, 7, sizeof(buf));
	*(volatile uint8_t **)arg = buf;
	atomic_store(&other_state, 1);
	while (atomic_load(&other_state) == 1)
		n++;
	return NULL;
}

/* A buffer on the stack of a thread that runs: its frames are written by the kernel too. */
static void
test_other_stack(void)
{
	uint8_t *buf;
	pthread_t thread;
	unsigned i;

	atomic_store(&other_state, 0);
	pthread_create(&thread, NULL, other_stack_thread, &buf);
	while (!atomic_load(&other_state))
		;
	for (i = 0; i < 100; i++)
		ff_mem_prepare(buf, 4 * PAGE);
	CU_ASSERT_EQUAL(converted_bytes(buf, 4 * PAGE), 0);
	atomic_store(&other_state, 2);
	pthread_join(thread, NULL);
}

static void
test_static(void)
{
	bss_buf[5000] = 9;
	ff_mem_prepare(data_buf, sizeof(data_buf));
	ff_mem_prepare(bss_buf, sizeof(bss_buf));
	CU_ASSERT_EQUAL(data_buf[0], 1);
	CU_ASSERT_EQUAL(data_buf[2], 3);
	CU_ASSERT_EQUAL(bss_buf[5000], 9);
	bss_buf[5000]++;
	data_buf[2]++;
	CU_ASSERT_EQUAL(bss_buf[5000], 10);
	CU_ASSERT_EQUAL(data_buf[2], 4);
}

/* Shared memory and file mappings are not ours to turn. */
static void
test_shared(void)
{
	char name[] = "/tmp/freeflow-mem-XXXXXX";
	int fd = mkstemp(name), mfd = memfd_create("own", 0);
	int id = shmget(IPC_PRIVATE, 4 * PAGE, IPC_CREAT | 0600);
	uint8_t *p[4];
	unsigned i;

	CU_ASSERT_FATAL(fd >= 0 && mfd >= 0 && id >= 0);
	CU_ASSERT_EQUAL_FATAL(ftruncate(fd, 4 * PAGE) | ftruncate(mfd, 4 * PAGE), 0);
	p[0] = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	p[1] = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	p[2] = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, mfd, 0);
	p[3] = shmat(id, NULL, 0);
	shmctl(id, IPC_RMID, NULL);
	for (i = 0; i < 4; i++) {
		CU_ASSERT_FATAL(p[i] != MAP_FAILED);
		p[i][77] = (uint8_t)i;
		ff_mem_prepare(p[i], 4 * PAGE);
		CU_ASSERT_EQUAL(converted_bytes(p[i], 4 * PAGE), 0);
		CU_ASSERT_EQUAL(p[i][77], i);
	}
	for (i = 0; i < 3; i++)
		munmap(p[i], 4 * PAGE);
	shmdt(p[3]);
	unlink(name);
	close(fd);
	close(mfd);
}

static size_t
status_kb(const char *key)
{
	FILE *f = fopen("/proc/self/status", "r");
	char line[128];
	size_t kb = 0, n = strlen(key);

	while (f && fgets(line, sizeof(line), f))
		if (strncmp(line, key, n) == 0)
			kb = strtoul(line + n, NULL, 10);
	if (f)
		fclose(f);
	return kb;
}

/* More than 4 GiB; pages that were never used stay so. */
static void
test_sparse(void)
{
	const size_t len = 5ul << 30;
	uint8_t *p = anon(len);
	size_t before = status_kb("RssShmem:");

	p[0] = 1;
	p[len / 2] = 2;
	p[(4ul << 30) + 5] = 3;
	p[len - 1] = 4;
	ff_mem_prepare(p, len);
	CU_ASSERT_EQUAL(converted_bytes(p, len), len);
	CU_ASSERT_EQUAL(p[0] + 10 * p[len / 2] + 100 * p[(4ul << 30) + 5] + 1000 * p[len - 1],
			4321);
	CU_ASSERT(status_kb("RssShmem:") - before < 64 * 1024);
	munmap(p, len);
}

static void
test_thp(void)
{
	uint8_t *area = anon(12 * MB), *p = (uint8_t *)(((uintptr_t)area + 2 * MB) & ~(2 * MB - 1));
	size_t i;

	madvise(p, 8 * MB, MADV_HUGEPAGE);
	for (i = 0; i < 8 * MB; i += 8)
		memcpy(p + i, &i, 8);
	ff_mem_prepare(p + 12345, 6 * MB);
	for (i = 0; i < 8 * MB && memcmp(p + i, &i, 8) == 0; i += 8)
		;
	CU_ASSERT_EQUAL(i, 8 * MB);
	CU_ASSERT(converted_bytes(p, 8 * MB) >= 6 * MB);
	munmap(area, 12 * MB);
}

static void
test_odd_ranges(void)
{
	uint8_t *p = anon(4 * PAGE);

	ff_mem_prepare(NULL, 0);
	ff_mem_prepare(p, 0);
	ff_mem_prepare((void *)-PAGE, 2 * PAGE);
	ff_mem_prepare(NULL, 100);
	munmap(p + PAGE, PAGE);
	mprotect(p + 3 * PAGE, PAGE, PROT_READ);
	p[0] = 3;
	ff_mem_prepare(p, 4 * PAGE);
	CU_ASSERT_EQUAL(p[0], 3);
	CU_ASSERT_EQUAL(converted_bytes(p, 4 * PAGE), 2 * PAGE);
	munmap(p, 4 * PAGE);
}

/* The ioctl of new kernels and the text of old ones say the same. */
static void
test_maps(void)
{
	static struct ff_maps query, text;
	uint8_t *p = anon(4 * PAGE);
	struct ff_vma a = {0}, b = {0};
	unsigned count = 0, bad = 0;
	int rc;

	ff_mem_prepare(p + PAGE, PAGE);
	CU_ASSERT_EQUAL_FATAL(ff_maps_open(&query, AT_FDCWD, "/proc/self/maps"), 0);
	CU_ASSERT_EQUAL_FATAL(ff_maps_open(&text, AT_FDCWD, "/proc/self/maps"), 0);
	text.text = true;
	for (;;) {
		rc = ff_maps_find(&query, a.end, &a);
		if (rc || a.start >> 63) /* [vsyscall] is in the text only */
			break;
		CU_ASSERT_EQUAL_FATAL(ff_maps_find(&text, b.end, &b), 0);
		bad += a.start != b.start || a.end != b.end || a.offset != b.offset ||
		       a.ino != b.ino || a.dev_major != b.dev_major || a.dev_minor != b.dev_minor ||
		       a.r != b.r || a.w != b.w || a.x != b.x || a.shared != b.shared ||
		       a.name != b.name;
		count++;
	}
	CU_ASSERT(rc == -ENOENT || a.start >> 63);
	CU_ASSERT_EQUAL(bad, 0);
	CU_ASSERT(count > 10);
	/* Backwards, and between mappings. */
	CU_ASSERT_EQUAL(ff_maps_find(&text, (uintptr_t)p + PAGE + 5, &b), 0);
	CU_ASSERT(b.start == (uintptr_t)p + PAGE && b.name == FF_VMA_CONVERTED && b.shared);
	CU_ASSERT_EQUAL(ff_maps_find(&text, 0, &b), 0);
	CU_ASSERT(b.start <= (uintptr_t)data_buf);
	ff_maps_close(&query);
	ff_maps_close(&text);
	munmap(p, 4 * PAGE);
}

static void
test_maps_lines(void)
{
	static const char *const bad[] = {
		"",
		"-",
		"1-2",
		"2-1 rw-p 0 0:0 0 ",
		"1000-2000 rw-p",
		"1000-2000 rw-p 0 00:00",
		"1000-2000 rw-pp 00000000 00:00 0 ",
		"x000-2000 rw-p 00000000 00:00 0 ",
		"1000-2000 rw-p 00000000 00:00 a ",
		"11111111111111111-2 rw-p 0 00:00 0 ",
		"1000-2000 rw-p 00000000 100000000:00 0 ",
		"VmFlags: rd wr",
	};
	static const char good[] =
		"7f0000000000-7f0000002000 r-xs 0001f000 fe:0a 42   /memfd:freeflow-mr (deleted)";
	struct ff_vma v;
	unsigned i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CU_ASSERT_EQUAL(ff_maps_parse(bad[i], strlen(bad[i]), &v), -EINVAL);
	CU_ASSERT_EQUAL(ff_maps_parse(good, strlen(good), &v), 0);
	CU_ASSERT(v.start == 0x7f0000000000 && v.end == 0x7f0000002000 && v.offset == 0x1f000);
	CU_ASSERT(v.dev_major == 0xfe && v.dev_minor == 10 && v.ino == 42);
	CU_ASSERT(v.r && !v.w && v.x && v.shared && v.name == FF_VMA_CONVERTED);
	CU_ASSERT_EQUAL(ff_maps_parse(good, strlen(good) - 1, &v), 0);
	CU_ASSERT_EQUAL(v.name, FF_VMA_OTHER);
}

/* No descriptor stays. */
static void
test_no_fds(void)
{
	int before = dup(0), after;
	uint8_t *p;
	unsigned i;

	close(before);
	for (i = 0; i < 50; i++) {
		p = anon(4 * PAGE);
		ff_mem_prepare(p, 4 * PAGE);
		munmap(p, 4 * PAGE);
	}
	after = dup(0);
	CU_ASSERT_EQUAL(before, after);
	close(after);
}

int
main(void)
{
	CU_TestInfo tests[] = {
		{"maps", test_maps},
		{"lines of maps", test_maps_lines},
		{"repeated and overlapping", test_repeated},
		{"odd ranges", test_odd_ranges},
		{"writers, 1 MB", test_writers_1},
		{"writers, 16 MB", test_writers_16},
		{"writers, 256 MB", test_writers_256},
		{"writers that block all signals", test_writers_block_signals},
		{"unaligned heap buffers", test_heap_neighbours},
		{"stacks", test_stacks},
		{"another thread's stack", test_other_stack},
		{".data and .bss", test_static},
		{"shared and file mappings", test_shared},
		{"more than 4 GiB, sparse", test_sparse},
		{"large pages", test_thp},
		{"no descriptor stays", test_no_fds},
		CU_TEST_INFO_NULL,
	};

	return run_tests("shim/mem", tests);
}
