/* SPDX-License-Identifier: MIT */
/* dataplane/verbs/copy.c: every length and alignment, order of the last bytes, SIGBUS. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CUnit/Basic.h>

#include "../../../dataplane/verbs/umem.h"

#define PAGE 4096ul

static void
check_copy(uint8_t *to, const uint8_t *from, size_t len)
{
	static unsigned bad;
	size_t i;

	bad = 0;
	memset(to - 64, 0xaa, len + 128);
	CU_ASSERT_EQUAL(ff_umem_copy(to, from, len), 0);
	bad += memcmp(to, from, len) != 0;
	for (i = 1; i <= 64; i++)
		bad += to[-(ptrdiff_t)i] != 0xaa || to[len + i - 1] != 0xaa;
	CU_ASSERT_EQUAL(bad, 0);
}

static void
test_lengths(void)
{
	static const size_t large[] = {511,  512,  513,	 1023,	1024,  1025,
				       4095, 4096, 4097, 65535, 65536, 100001};
	uint8_t *from = malloc(200000), *to = malloc(200000);
	size_t len, i, a;

	for (i = 0; i < 200000; i++)
		from[i] = (uint8_t)(i * 7 + i / 256);
	for (len = 0; len <= 300; len++)
		for (a = 0; a < 17; a++)
			check_copy(to + 64 + a, from + (a * 5 + len) % 31, len);
	for (i = 0; i < sizeof(large) / sizeof(large[0]); i++)
		for (a = 0; a < 9; a++)
			check_copy(to + 64 + a, from + a * 3, large[i]);
	free(from);
	free(to);
}

/* A program that polls the last byte of a message sees all of it. */
struct poller {
	uint8_t *buf;
	size_t len;
	_Atomic unsigned round;
	_Atomic bool stop;
	unsigned bad;
};

static void *
poller_main(void *arg)
{
	struct poller *p = arg;
	uint8_t want = 0;
	size_t i;

	while (!atomic_load(&p->stop)) {
		if (__atomic_load_n(&p->buf[p->len - 1], __ATOMIC_ACQUIRE) == want)
			continue;
		want = p->buf[p->len - 1];
		for (i = 0; i < p->len; i++)
			p->bad += p->buf[i] != want;
		atomic_fetch_add(&p->round, 1);
	}
	return NULL;
}

static void
test_order(void)
{
	static const size_t lens[] = {2, 3, 7, 12, 24, 40, 100, 300, 1500, 9000, 65536};
	uint8_t *from = malloc(65536), *to = calloc(1, 65536);
	unsigned i, n;

	for (i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		struct poller p = {.buf = to, .len = lens[i]};
		pthread_t thread;

		memset(to, 0, 65536);
		pthread_create(&thread, NULL, poller_main, &p);
		for (n = 1; n <= 60; n++) {
			memset(from, (int)n, lens[i]);
			CU_ASSERT_EQUAL(ff_umem_copy(to, from, lens[i]), 0);
			while (atomic_load(&p.round) < n)
				;
		}
		atomic_store(&p.stop, true);
		pthread_join(thread, NULL);
		CU_ASSERT_EQUAL(p.bad, 0);
	}
	free(from);
	free(to);
}

/* Four pages of a file that was cut to two afterwards. */
static uint8_t *
cut_file(void)
{
	int fd = memfd_create("cut", MFD_CLOEXEC);
	uint8_t *p;

	CU_ASSERT_EQUAL_FATAL(ftruncate(fd, 4 * PAGE), 0);
	p = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CU_ASSERT_FATAL(p != MAP_FAILED);
	memset(p, 3, 4 * PAGE);
	CU_ASSERT_EQUAL_FATAL(ftruncate(fd, 2 * PAGE), 0);
	close(fd);
	return p;
}

static void
test_sigbus(void)
{
	uint8_t *p = cut_file(), *q = malloc(4 * PAGE);
	uint64_t old = 0;
	size_t len;

	for (len = 1; len <= 4000; len += len < 140 ? 1 : 401) {
		CU_ASSERT_EQUAL(ff_umem_copy(q, p + 2 * PAGE, len), -EFAULT);
		CU_ASSERT_EQUAL(ff_umem_copy(p + 2 * PAGE, q, len), -EFAULT);
		/* The fault comes in the middle. */
		CU_ASSERT_EQUAL(ff_umem_copy(q, p + 2 * PAGE - len, 2 * len), -EFAULT);
		CU_ASSERT_EQUAL(ff_umem_copy(p + 2 * PAGE - len, q, 2 * len), -EFAULT);
		CU_ASSERT_EQUAL(ff_umem_copy(q, p + 2 * PAGE - len, len), 0);
	}
	CU_ASSERT_EQUAL(ff_umem_copy(q, p + PAGE, 3 * PAGE), -EFAULT);
	CU_ASSERT_EQUAL(ff_umem_atomic(FF_ATOMIC_FETCH_ADD, (uint64_t *)(p + 3 * PAGE), 1, 0, &old),
			-EFAULT);
	CU_ASSERT_EQUAL(ff_umem_atomic(FF_ATOMIC_CMP_SWAP, (uint64_t *)(p + 3 * PAGE), 1, 0, &old),
			-EFAULT);
	munmap(p, 4 * PAGE);
	free(q);
}

static void *
sigbus_thread(void *arg)
{
	uint8_t *p = arg, q[64];
	intptr_t bad = 0;
	unsigned i;

	for (i = 0; i < 2000; i++) {
		bad += ff_umem_copy(q, p + 3 * PAGE, 64) != -EFAULT;
		bad += ff_umem_copy(q, p, 64) != 0;
	}
	return (void *)bad;
}

static void
test_sigbus_threads(void)
{
	uint8_t *p = cut_file();
	pthread_t threads[3];
	void *bad;
	unsigned i;

	for (i = 0; i < 3; i++)
		pthread_create(&threads[i], NULL, sigbus_thread, p);
	for (i = 0; i < 3; i++) {
		pthread_join(threads[i], &bad);
		CU_ASSERT(!bad);
	}
	munmap(p, 4 * PAGE);
}

/* Faults of others are not swallowed. */
static void
test_sigbus_foreign(void)
{
#ifdef __SANITIZE_THREAD__
	return; /* its runtime takes SIGBUS and ends the process in its own way */
#endif
	uint8_t *p = cut_file();
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		close(STDERR_FILENO); /* a sanitizer, which had the signal first, has much to say */
		*(volatile uint8_t *)(p + 3 * PAGE) = 1;
		_exit(42);
	}
	CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
	CU_ASSERT(WIFSIGNALED(status) ? WTERMSIG(status) == SIGBUS : WEXITSTATUS(status) != 42);
	munmap(p, 4 * PAGE);
}

static void
test_atomics(void)
{
	uint64_t word = 5, old = 0;

	CU_ASSERT_EQUAL(ff_umem_atomic(FF_ATOMIC_FETCH_ADD, &word, 10, 0, &old), 0);
	CU_ASSERT(word == 15 && old == 5);
	CU_ASSERT_EQUAL(ff_umem_atomic(FF_ATOMIC_CMP_SWAP, &word, 15, 99, &old), 0);
	CU_ASSERT(word == 99 && old == 15);
	CU_ASSERT_EQUAL(ff_umem_atomic(FF_ATOMIC_CMP_SWAP, &word, 15, 7, &old), 0);
	CU_ASSERT(word == 99 && old == 99);
	CU_ASSERT_EQUAL(ff_umem_atomic(FF_ATOMIC_FETCH_ADD, &word, UINT64_MAX, 0, &old), 0);
	CU_ASSERT(word == 98 && old == 99);
}

int
main(void)
{
	CU_TestInfo tests[] = {
		{"lengths and alignments", test_lengths},
		{"the end is stored last", test_order},
		{"SIGBUS", test_sigbus},
		{"SIGBUS in threads", test_sigbus_threads},
		{"SIGBUS of others", test_sigbus_foreign},
		{"atomics", test_atomics},
		CU_TEST_INFO_NULL,
	};
	CU_SuiteInfo suites[] = {{"verbs/copy", NULL, NULL, NULL, NULL, tests}, CU_SUITE_INFO_NULL};
	unsigned failed;

	if (ff_umem_copy_init() || CU_initialize_registry() != CUE_SUCCESS ||
	    CU_register_suites(suites) != CUE_SUCCESS)
		return 1;
	CU_basic_set_mode(CU_BRM_VERBOSE);
	CU_basic_run_tests();
	failed = CU_get_number_of_failures();
	CU_cleanup_registry();
	return failed != 0;
}
