/* SPDX-License-Identifier: MIT */
/* What happens to registered memory later: fork, madvise, munmap, mremap; and what is refused. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mt.h"

#define RW (PROT_READ | PROT_WRITE)

static uint8_t *
anon(size_t len)
{
	void *p = mmap(NULL, len, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static int
write_in(uint8_t *to, struct ibv_mr *mr, uint32_t len, unsigned seed)
{
	mt_fill(mt.src, len, seed);
	return mt_rdma(IBV_WR_RDMA_WRITE, mt.src, mt.src_mr->lkey, to, mr->rkey, len);
}

/* libibverbs itself then keeps registered pages from children, as on hardware. */
static bool
fork_safe(void)
{
	return getenv("IBV_FORK_SAFE") || getenv("RDMAV_FORK_SAFE");
}

/* ---- fork ---- */

static int
heap_use(unsigned rounds)
{
	void *slot[32] = {0};
	unsigned i, k;
	uint8_t *p;

	for (i = 0; i < rounds; i++) {
		k = i * 7919 % 32;
		p = slot[k];
		if (p && (p[0] != k || p[23] != k))
			return 1;
		free(p);
		p = slot[k] = malloc(24 + i * 131 % 5000);
		p[0] = p[23] = (uint8_t)k;
	}
	for (i = 0; i < 32; i++)
		free(slot[i]);
	return 0;
}

/* The child's part: its memory is as of fork, whatever the parent's device does. */
static int
fork_child(uint8_t *buf, int go, int ready)
{
	char c;

	if (mt_verify(buf, 5000, 11) != 5000)
		return 1;
	memset(buf + 1000, 0xcc, 1000);
	if (heap_use(3000))
		return 2;
	if (write(ready, "x", 1) != 1 || read(go, &c, 1) != 1)
		return 3;
	if (mt_verify(buf, 1000, 11) != 1000 || buf[1500] != 0xcc)
		return 4;
	return heap_use(3000) ? 5 : 0;
}

static const char *
fork_once(struct ibv_mr *mr, uint8_t *buf)
{
	int go[2], ready[2], status;
	pid_t pid;
	char c;

	MT_CHECK(pipe(go) == 0 && pipe(ready) == 0);
	mt_fill(buf, 5000, 11);
	pid = fork();
	MT_CHECK(pid >= 0);
	if (pid == 0)
		_exit(fork_child(buf, go[0], ready[1]));
	MT_CHECK(heap_use(3000) == 0);
	MT_CHECK(read(ready[0], &c, 1) == 1);
	MT_CHECK(mt_verify(buf, 5000, 11) == 5000);
	/* What comes in now is the parent's alone. */
	MT_CHECK(write_in(buf, mr, 5000, 12) == 0);
	MT_CHECK(mt_verify(buf, 5000, 12) == 5000);
	MT_CHECK(write(go[1], "x", 1) == 1);
	MT_CHECK(waitpid(pid, &status, 0) == pid);
	if (status)
		return mt_why("the child failed with status %#x", status);
	MT_CHECK(mt_verify(buf, 5000, 12) == 5000);
	MT_TRY(mt_exercise(mr, buf, 5000));
	close(go[0]);
	close(go[1]);
	close(ready[0]);
	close(ready[1]);
	return NULL;
}

static const char *
case_fork(void)
{
	uint8_t *block, *small;
	struct ibv_mr *mr, *small_mr;
	unsigned i;

	if (fork_safe())
		return mt_skip("registered memory is not for children under IBV_FORK_SAFE");
	block = malloc(200000);
	small = malloc(100);
	mr = ibv_reg_mr(mt.pd, block + 77, 5000, MT_ALL);
	small_mr = ibv_reg_mr(mt.pd, small, 100, MT_ALL);
	MT_CHECK(mr && small_mr);
	for (i = 0; i < 20; i++)
		MT_TRY(fork_once(mr, block + 77));
	ibv_dereg_mr(mr);
	ibv_dereg_mr(small_mr);
	free(block);
	free(small);
	return NULL;
}

static _Atomic bool heap_stop;

static void *
heap_main(void *arg)
{
	intptr_t bad = 0;

	while (!atomic_load(&heap_stop))
		bad |= heap_use(500);
	return (void *)bad;
}

/* The same while other threads of the parent use the heap, registered pages in the middle of it. */
static const char *
case_fork_threads(void)
{
	enum { N = 60 };
	const char *result = NULL;
	struct ibv_mr *mr[N];
	pthread_t threads[2];
	void *bad = NULL;
	uint8_t *p[N];
	unsigned i;
	int status;
	pid_t pid;

	if (fork_safe())
		return mt_skip("registered memory is not for children under IBV_FORK_SAFE");
	atomic_store(&heap_stop, false);
	for (i = 0; i < 2; i++)
		pthread_create(&threads[i], NULL, heap_main, NULL);
	for (i = 0; i < N; i++) {
		p[i] = malloc(3000);
		mr[i] = ibv_reg_mr(mt.pd, p[i], 3000, MT_ALL);
		MT_CHECK(mr[i] != NULL);
	}
	for (i = 0; i < 30 && !result; i++) {
		pid = fork();
		if (pid == 0)
			_exit(heap_use(2000));
		if (mt_exercise(mr[i % N], p[i % N], 3000))
			result = mt_why("traffic beside a child failed");
		if (waitpid(pid, &status, 0) != pid || status)
			result = mt_why("the child failed with status %#x", status);
	}
	atomic_store(&heap_stop, true);
	for (i = 0; i < 2; i++) {
		pthread_join(threads[i], &bad);
		if (bad && !result)
			result = mt_why("the heap of a thread was damaged");
	}
	for (i = 0; i < N; i++) {
		ibv_dereg_mr(mr[i]);
		free(p[i]);
	}
	return result;
}

/* ---- madvise, munmap, mremap ---- */

static const char *
case_dontneed(void)
{
	uint8_t *p = anon(MB);
	struct ibv_mr *mr;
	size_t i;

	MT_CHECK(p);
	memset(p, 5, MB);
	mr = ibv_reg_mr(mt.pd, p + 10, MB - 20, MT_ALL);
	MT_CHECK(mr);
	MT_CHECK(madvise(p + 100 * PAGE, 50 * PAGE, MADV_DONTNEED) == 0);
	for (i = 0; i < 50 * PAGE && p[100 * PAGE + i] == 0; i++)
		;
	MT_CHECK(i == 50 * PAGE);
	MT_CHECK(p[100 * PAGE - 1] == 5 && p[150 * PAGE] == 5);
	MT_CHECK(madvise(p, 10 * PAGE, MADV_FREE) == 0);
	MT_CHECK(write_in(p + 90 * PAGE, mr, 80 * PAGE, 3) == 0);
	MT_CHECK(mt_verify(p + 90 * PAGE, 10 * PAGE, 3) == 10 * PAGE);
	MT_CHECK(ibv_dereg_mr(mr) == 0);
	munmap(p, MB);
	return NULL;
}

/* The registration keeps its pages; what is mapped there later is never touched. */
static const char *
case_munmap(void)
{
	uint8_t *p = anon(MB), *again;
	struct ibv_mr *mr;
	int status;

	MT_CHECK(p);
	mt_fill(p, MB, 21);
	mr = ibv_reg_mr(mt.pd, p, MB, MT_ALL);
	MT_CHECK(mr);
	munmap(p, MB);
	if (mt.process_vm) {
		/* The pages are gone: an error, and not a hang. */
		status = write_in(p, mr, 1000, 22);
		MT_CHECK(status > 0);
		MT_CHECK(mt_reconnect() == 0);
		MT_CHECK(ibv_dereg_mr(mr) == 0);
		return NULL;
	}
	memset(mt.src + MB / 2, 0, 1000);
	MT_CHECK(mt_rdma(IBV_WR_RDMA_READ, mt.src + MB / 2, mt.src_mr->lkey, p, mr->rkey, 1000) ==
		 0);
	MT_CHECK(mt_verify(mt.src + MB / 2, 1000, 21) == 1000);
	again = mmap(p, MB, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	MT_CHECK(again == p);
	MT_CHECK(write_in(p, mr, 1000, 22) == 0);
	MT_CHECK(p[0] == 0 && p[999] == 0);
	MT_CHECK(ibv_dereg_mr(mr) == 0);
	munmap(p, MB);
	return NULL;
}

static const char *
case_mremap(void)
{
	uint8_t *p = anon(2 * MB), *q;
	struct ibv_mr *mr;

	MT_CHECK(p);
	mt_fill(p, MB, 31);
	mr = ibv_reg_mr(mt.pd, p, MB, MT_ALL);
	MT_CHECK(mr);
	munmap(p + MB, MB);
	q = mremap(p, MB, 4 * MB, MREMAP_MAYMOVE);
	MT_CHECK(q != MAP_FAILED);
	MT_CHECK(mt_verify(q, MB, 31) == MB);
	MT_CHECK(q[MB] == 0 && q[4 * MB - 1] == 0);
	if (!mt.process_vm) {
		MT_CHECK(write_in(p + 5000, mr, 3000, 32) == 0);
		MT_CHECK(mt_verify(q + 5000, 3000, 32) == 3000);
	}
	MT_CHECK(ibv_dereg_mr(mr) == 0);
	mr = ibv_reg_mr(mt.pd, q + 3, 4 * MB - 6, MT_ALL);
	MT_CHECK(mr);
	MT_TRY(mt_exercise(mr, q + 3, 4 * MB - 6));
	MT_CHECK(ibv_dereg_mr(mr) == 0);
	munmap(q, 4 * MB);
	return NULL;
}

/* Blocks that grow while and after they are registered. */
static const char *
case_realloc(void)
{
	uint8_t *p = malloc(300000);
	struct ibv_mr *mr;
	size_t len;

	mt_fill(p, 300000, 41);
	for (len = 300000; len < 20 * MB; len *= 2) {
		mr = ibv_reg_mr(mt.pd, p, len, MT_ALL);
		MT_CHECK(mr);
		MT_CHECK(write_in(p, mr, 300000, 41) == 0);
		MT_CHECK(ibv_dereg_mr(mr) == 0);
		p = realloc(p, 2 * len);
		MT_CHECK(p && mt_verify(p, 300000, 41) == 300000);
		memset(p + len, 1, len);
	}
	free(p);
	return NULL;
}

/* ---- what is refused ---- */

static const char *
refused(void *addr, size_t len, int access, int want)
{
	struct ibv_mr *mr;

	errno = 0;
	mr = ibv_reg_mr(mt.pd, addr, len, access);
	if (mr) {
		ibv_dereg_mr(mr);
		return mt_why("registered %zu bytes at %p with access %#x", len, addr, access);
	}
	/* Its own madvise() comes first there, and does not know EFAULT. */
	if (want == EFAULT && errno == ENOMEM && fork_safe())
		return NULL;
	if (errno != want)
		return mt_why("%zu bytes at %p: %s instead of %s", len, addr, strerror(errno),
			      strerror(want));
	return NULL;
}

static const char *
case_refused(void)
{
	uint8_t *p = anon(4 * PAGE);
	struct ibv_mr *mr;

	MT_CHECK(p);
	munmap(p + 2 * PAGE, PAGE);
	mprotect(p + 3 * PAGE, PAGE, PROT_READ);
	MT_TRY(refused(p, 4 * PAGE, MT_ALL, EFAULT));
	MT_TRY(refused(p + 2 * PAGE, 1, 0, EFAULT));
	MT_TRY(refused(p + PAGE, PAGE + 1, IBV_ACCESS_REMOTE_READ, EFAULT));
	MT_TRY(refused(p + 3 * PAGE, 10, MT_ALL, EFAULT));
	MT_TRY(refused((void *)8, 100, 0, EFAULT));
	MT_TRY(refused(p, PAGE, IBV_ACCESS_REMOTE_WRITE, EINVAL)); /* IBTA 10.6.3.1: needs local */
	mr = ibv_reg_mr(mt.pd, p + 3 * PAGE, PAGE, IBV_ACCESS_REMOTE_READ);
	MT_CHECK(mr != NULL);
	MT_CHECK(mt_rdma(IBV_WR_RDMA_READ, mt.src, mt.src_mr->lkey, p + 3 * PAGE, mr->rkey, PAGE) ==
		 0);
	MT_CHECK(ibv_dereg_mr(mr) == 0);
	mr = ibv_reg_mr(mt.pd, p, 2 * PAGE, MT_ALL);
	MT_CHECK(mr != NULL);
	MT_TRY(mt_exercise(mr, p, 2 * PAGE));
	MT_CHECK(ibv_dereg_mr(mr) == 0);
	munmap(p, 4 * PAGE);
	return NULL;
}

/* At the quota: ENOMEM, nothing is lost, and what is given back can be had again. */
static const char *
case_quota(void)
{
	enum { MAX = 4096 };
	const size_t len = 64 * GB;
	static struct ibv_mr *mr[MAX];
	unsigned n = 0, i;
	uint8_t *p;
	int err;

	p = mmap(NULL, len, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return mt_skip("no address space");
	while (n < MAX && (mr[n] = ibv_reg_mr(mt.pd, p, len, MT_ALL)) != NULL)
		n++;
	err = errno;
	for (i = 0; i < n; i++)
		MT_CHECK(ibv_dereg_mr(mr[i]) == 0);
	munmap(p, len);
	if (n == MAX)
		return mt_skip("no quota in reach");
	if (err != ENOMEM)
		return mt_why("%s instead of ENOMEM", strerror(err));
	p = anon(MB);
	mr[0] = ibv_reg_mr(mt.pd, p, MB, MT_ALL);
	MT_CHECK(mr[0] != NULL);
	MT_TRY(mt_exercise(mr[0], p, MB));
	MT_CHECK(ibv_dereg_mr(mr[0]) == 0);
	munmap(p, MB);
	return NULL;
}

const struct mt_case mt_life_cases[] = {
	{"fork", case_fork},
	{"fork-threads", case_fork_threads},
	{"dontneed", case_dontneed},
	{"munmap", case_munmap},
	{"mremap", case_mremap},
	{"realloc", case_realloc},
	{"refused", case_refused},
	{"quota", case_quota},
	{NULL, NULL},
};
