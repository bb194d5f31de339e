/* SPDX-License-Identifier: MIT */
/* shim/mem_fork.c: after fork each side has its own memory, exact as of fork. */
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "mem_util.h"

/* Neither sees what the other writes. */
static void
test_separate(void)
{
	uint8_t *p = converted(3 * MB);
	int back[2], status;
	char c;
	pid_t pid;

	CU_ASSERT_EQUAL_FATAL(pipe(back), 0);
	pid = fork();
	if (pid == 0) {
		int bad = converted_bytes(p, 3 * MB) ? 1 : 0;

		bad |= p[0] != 1 || p[2 * MB] != 1 ? 2 : 0;
		p[2 * MB] = 9;
		(void)!write(back[1], "x", 1);
		usleep(20000);
		bad |= p[0] != 1 || p[2 * MB] != 9 ? 4 : 0;
		_exit(bad);
	}
	p[0] = 5;
	CU_ASSERT_EQUAL(read(back[0], &c, 1), 1);
	CU_ASSERT_EQUAL(p[2 * MB], 1);
	status = child_status(pid);
	CU_ASSERT_EQUAL(status, 0);
	CU_ASSERT_EQUAL(converted_bytes(p, 3 * MB), 3 * MB);
	close(back[0]);
	close(back[1]);
	munmap(p, 3 * MB);
}

static int
clone_main(void *arg)
{
	uint8_t *p = arg;

	if (converted_bytes(p, MB) || p[100] != 1)
		return 1;
	p[100] = 3;
	return 0;
}

static void
test_other_calls(void)
{
	uint8_t *p = converted(MB), *stack = anon(64 * 1024);
	pid_t pid;

	pid = _Fork();
	if (pid == 0)
		_exit(clone_main(p));
	CU_ASSERT_EQUAL(child_status(pid), 0);
	CU_ASSERT_EQUAL(p[100], 1);
	pid = clone(clone_main, stack + 64 * 1024, SIGCHLD, p);
	CU_ASSERT_EQUAL(child_status(pid), 0);
	CU_ASSERT_EQUAL(p[100], 1);
	/* vfork shares the memory until exec; spawn and system too. */
	pid = vfork();
	if (pid == 0)
		_exit(converted_bytes(p, 1) ? 0 : 1);
	CU_ASSERT_EQUAL(child_status(pid), 0);
	CU_ASSERT_EQUAL(system("true"), 0);
	CU_ASSERT_EQUAL(converted_bytes(p, MB), MB);
	munmap(p, MB);
	munmap(stack, 64 * 1024);
}

/* ---- exactness ---- */

/* Written in this order, over and over: so at any instant first >= second >= third >= first - 1. */
struct order {
	_Atomic uint64_t *first, *second, *third;
	_Atomic bool stop;
};

static void *
order_main(void *arg)
{
	struct order *o = arg;
	uint64_t n;

	for (n = 1; !atomic_load_explicit(&o->stop, memory_order_relaxed); n++) {
		atomic_store_explicit(o->first, n, memory_order_release);
		atomic_store_explicit(o->second, n, memory_order_release);
		atomic_store_explicit(o->third, n, memory_order_release);
	}
	return NULL;
}

static int
order_check(const struct order *o)
{
	uint64_t a = atomic_load(o->first), b = atomic_load(o->second), c = atomic_load(o->third);

	return a >= b && b >= c && c + 1 >= a ? 0 : 1;
}

/* Converted and plain memory in the child are of the same instant. */
static void
test_exact(void)
{
	uint8_t *one = converted(4 * MB), *two = converted(4 * MB), *plain = anon(PAGE);
	struct order o = {
		.first = (_Atomic uint64_t *)(one + 3 * MB),
		.second = (_Atomic uint64_t *)plain,
		.third = (_Atomic uint64_t *)(two + 64),
	};
	pthread_t thread;
	unsigned i, bad = 0;
	pid_t pid;

	memset(one, 0, 4 * MB);
	memset(two, 0, 4 * MB);
	pthread_create(&thread, NULL, order_main, &o);
	for (i = 0; i < 60; i++) {
		pid = fork();
		if (pid == 0)
			_exit(order_check(&o));
		bad += child_status(pid) != 0;
	}
	CU_ASSERT_EQUAL(bad, 0);
	atomic_store(&o.stop, true);
	pthread_join(thread, NULL);
	CU_ASSERT(order_check(&o) == 0);
	munmap(one, 4 * MB);
	munmap(two, 4 * MB);
	munmap(plain, PAGE);
}

/* ---- the heap, in use by all threads, on both sides ---- */

static _Atomic bool heap_stop;

static int
heap_use(unsigned rounds)
{
	void *slot[64] = {0};
	unsigned i, k;
	size_t len;

	for (i = 0; i < rounds; i++) {
		uint8_t *p;

		k = i * 7919 % 64;
		/* Some come from mmap and go by munmap, while others fork. */
		len = i % 48 == 0 ? 300000 : 16 + i * 131 % 3000;
		p = slot[k];
		if (p && (p[0] != k || p[15] != k))
			return 1;
		free(p);
		p = slot[k] = malloc(len);
		p[0] = p[15] = (uint8_t)k;
		if (i % 16 == 0)
			ff_mem_prepare(p, len);
	}
	for (i = 0; i < 64; i++)
		free(slot[i]);
	return 0;
}

static void *
heap_main(void *arg)
{
	intptr_t bad = 0;

	while (!atomic_load(&heap_stop))
		bad |= heap_use(300);
	return (void *)bad;
}

/* Locks of malloc in converted pages, held by threads that fork must wait for. */
static void
test_heap(void)
{
	pthread_t threads[3];
	unsigned i, bad = 0;
	void *result;
	pid_t pid;

	mallopt(M_MMAP_THRESHOLD, 128 * 1024);
	alarm(120); /* a deadlock shall not hang the run */
	atomic_store(&heap_stop, false);
	for (i = 0; i < 3; i++)
		pthread_create(&threads[i], NULL, heap_main, NULL);
	for (i = 0; i < 60; i++) {
		pid = fork();
		if (pid == 0)
			_exit(heap_use(500));
		bad += (unsigned)heap_use(100);
		bad += child_status(pid) != 0;
	}
	atomic_store(&heap_stop, true);
	for (i = 0; i < 3; i++) {
		pthread_join(threads[i], &result);
		bad += result != NULL;
	}
	alarm(0);
	CU_ASSERT_EQUAL(bad, 0);
}

/* A child's child; registering in a child; threads in a child. */
static void
test_generations(void)
{
	uint8_t *p = converted(MB);
	pid_t pid = fork();

	if (pid == 0) {
		p[5] = 2;
		ff_mem_prepare(p, MB);
		if (converted_bytes(p, MB) != MB)
			_exit(1);
		pid = fork();
		if (pid == 0) {
			p[5] = 3;
			_exit(converted_bytes(p, MB) ? 1 : 0);
		}
		if (child_status(pid))
			_exit(2);
		_exit(p[5] == 2 ? 0 : 3);
	}
	CU_ASSERT_EQUAL(child_status(pid), 0);
	CU_ASSERT_EQUAL(p[5], 1);
	munmap(p, MB);
}

/* MADV_DONTFORK, set before or after the conversion: the child has no such memory, nor its cost. */
static void
test_dontfork(void)
{
	uint8_t *before = anon(2 * MB), *after = converted(2 * MB);
	unsigned char core[1];
	pid_t pid;

	memset(before, 1, 2 * MB);
	CU_ASSERT_EQUAL(madvise(before, MB, MADV_DONTFORK), 0);
	ff_mem_prepare(before, 2 * MB);
	CU_ASSERT_EQUAL(converted_bytes(before, 2 * MB), 2 * MB);
	CU_ASSERT_EQUAL(madvise(after, MB, MADV_DONTFORK), 0);
	pid = fork();
	if (pid == 0) {
		int bad = 0;

		bad |= mincore(before, PAGE, core) == 0 || errno != ENOMEM ? 1 : 0;
		bad |= mincore(after, PAGE, core) == 0 || errno != ENOMEM ? 2 : 0;
		bad |= before[MB] != 1 || after[MB] != 1 ? 4 : 0;
		_exit(bad);
	}
	CU_ASSERT_EQUAL(child_status(pid), 0);
	madvise(after, MB, MADV_DOFORK);
	pid = fork();
	if (pid == 0)
		_exit(after[0] == 1 ? 0 : 1);
	CU_ASSERT_EQUAL(child_status(pid), 0);
	munmap(before, 2 * MB);
	munmap(after, 2 * MB);
}

/* Protections of the program's own come along. */
static void
test_protections(void)
{
	uint8_t *p = converted(3 * MB);
	pid_t pid;

	mprotect(p, MB, PROT_READ);
	mprotect(p + MB, MB, PROT_NONE);
	pid = fork();
	if (pid == 0) {
		if (p[0] != 1 || p[2 * MB] != 1)
			_exit(1);
		mprotect(p + MB, MB, PROT_READ);
		if (p[MB] != 1)
			_exit(2);
		p[0] = 1; /* dies here */
		_exit(3);
	}
	CU_ASSERT_EQUAL(child_status(pid), 1000 + SIGSEGV);
	munmap(p, 3 * MB);
}

/* fork on a stack that was converted while it was plain memory. */
static void *
fork_thread(void *arg)
{
	volatile uint64_t mark = 0x1234;
	pid_t pid = fork();

	if (pid == 0)
		_exit(mark == 0x1234 ? 0 : 1);
	mark++;
	return (void *)(intptr_t)(child_status(pid) || mark != 0x1235);
}

static void
test_converted_stack(void)
{
	uint8_t *stack = converted(MB);
	pthread_attr_t attr;
	pthread_t thread;
	void *bad;
	unsigned i;

	pthread_attr_init(&attr);
	pthread_attr_setstack(&attr, stack, MB);
	for (i = 0; i < 20; i++) {
		CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, &attr, fork_thread, NULL), 0);
		pthread_join(thread, &bad);
		CU_ASSERT(!bad);
	}
	pthread_attr_destroy(&attr);
	munmap(stack, MB);
}

/* The signal mask and the alternate stack are as they were. */
static void
test_state_kept(void)
{
	uint8_t *p = converted(MB);
	sigset_t set, now;
	stack_t alt;
	pid_t pid;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_SETMASK, &set, NULL);
	pid = fork();
	sigprocmask(SIG_SETMASK, NULL, &now);
	sigaltstack(NULL, &alt);
	if (pid == 0)
		_exit(sigismember(&now, SIGUSR1) != 1 || sigismember(&now, SIGUSR2) != 0 ||
		      !(alt.ss_flags & SS_DISABLE));
	CU_ASSERT_EQUAL(child_status(pid), 0);
	CU_ASSERT_EQUAL(sigismember(&now, SIGUSR1), 1);
	CU_ASSERT_EQUAL(sigismember(&now, SIGUSR2), 0);
	CU_ASSERT(alt.ss_flags & SS_DISABLE);
	sigemptyset(&set);
	sigprocmask(SIG_SETMASK, &set, NULL);
	munmap(p, MB);
}

/* atfork handlers, around ours on both sides, that make system calls and write to the memory. */
static uint8_t *atfork_page;
static _Atomic int atfork_calls;

static void
atfork_prepare(void)
{
	sigset_t set;

	atfork_page[0]++;
	close(dup(0));
	sigprocmask(SIG_BLOCK, NULL, &set);
	pthread_sigmask(SIG_SETMASK, &set, NULL);
	atfork_calls++;
}

static void
atfork_child(void)
{
	atfork_page[1] = 77;
}

static void
test_atfork_handlers(void)
{
	pid_t pid;

	atfork_page = converted(PAGE);
	pthread_atfork(atfork_prepare, atfork_prepare, atfork_child);
	pid = fork();
	if (pid == 0)
		_exit(atfork_page[0] == 2 && atfork_page[1] == 77 ? 0 : 1);
	CU_ASSERT_EQUAL(child_status(pid), 0);
	CU_ASSERT_EQUAL(atfork_page[0], 3);
	CU_ASSERT_EQUAL(atfork_page[1], 1);
	CU_ASSERT_EQUAL(atfork_calls, 2);
}

/* Holes of large sparse memory stay holes, in the child too. */
static void
test_sparse(void)
{
	const size_t len = 3ul << 30;
	uint8_t *p = anon(len);
	pid_t pid;

	p[0] = 1;
	p[len - 1] = 2;
	ff_mem_prepare(p, len);
	pid = fork();
	if (pid == 0) {
		char line[128];
		size_t kb = 0;
		FILE *f = fopen("/proc/self/status", "r");

		while (f && fgets(line, sizeof(line), f))
			if (strncmp(line, "VmRSS:", 6) == 0)
				kb = strtoul(line + 6, NULL, 10);
		_exit(p[0] == 1 && p[len - 1] == 2 && p[len / 2] == 0 && kb < 200 * 1024 ? 0 : 1);
	}
	CU_ASSERT_EQUAL(child_status(pid), 0);
	munmap(p, len);
}

int
main(void)
{
	CU_TestInfo tests[] = {
		{"separate", test_separate},
		{"_Fork, clone, vfork, system", test_other_calls},
		{"exact as of fork", test_exact},
		{"heap on both sides, many threads", test_heap},
		{"generations", test_generations},
		{"MADV_DONTFORK", test_dontfork},
		{"protections", test_protections},
		{"fork on a converted stack", test_converted_stack},
		{"signal mask and stack kept", test_state_kept},
		{"sparse memory", test_sparse},
		{"atfork handlers", test_atfork_handlers},
		CU_TEST_INFO_NULL,
	};

	return run_tests("shim/mem_fork", tests);
}
