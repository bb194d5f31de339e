/* SPDX-License-Identifier: MIT */
/* Buffers in every kind of memory that a program has. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <unistd.h>

#include "mt.h"

#define LEN (40 * PAGE)
#define RW  (PROT_READ | PROT_WRITE)

/* Unaligned, and once again after another registration of it has gone. */
static const char *
use(uint8_t *p, size_t len)
{
	struct ibv_mr *mr;
	int round;

	for (round = 0; round < 2; round++) {
		mr = ibv_reg_mr(mt.pd, p + 5, len - 10, MT_ALL);
		if (!mr)
			return mt_why("reg_mr: %s", strerror(errno));
		p[0] = p[4] = 0x42;
		p[len - 1] = p[len - 5] = 0x43;
		MT_TRY(mt_exercise(mr, p + 5, len - 10));
		MT_CHECK(p[0] == 0x42 && p[4] == 0x42 && p[len - 1] == 0x43 && p[len - 5] == 0x43);
		MT_CHECK(ibv_dereg_mr(mr) == 0);
	}
	return NULL;
}

static const char *
case_stack(void)
{
	uint8_t buf[LEN];

	return use(buf, sizeof(buf));
}

static void *
thread_stack_main(void *arg)
{
	uint8_t buf[LEN];

	return (void *)use(buf, sizeof(buf));
}

static const char *
case_thread_stack(void)
{
	pthread_t thread;
	void *result;

	MT_CHECK(pthread_create(&thread, NULL, thread_stack_main, NULL) == 0);
	pthread_join(thread, &result);
	return result;
}

static const char *
case_data(void)
{
	static uint8_t data[LEN] = {1};

	return use(data, sizeof(data));
}

static const char *
case_bss(void)
{
	static uint8_t bss[LEN];

	return use(bss, sizeof(bss));
}

/* Maps fd, uses it, and sees in the file what came. */
static const char *
use_file(int fd, int flags, size_t len)
{
	const char *result;
	uint8_t *p, back;

	if (fd < 0)
		return mt_why("open: %s", strerror(errno));
	if (ftruncate(fd, (off_t)len) < 0) {
		close(fd);
		return mt_why("ftruncate: %s", strerror(errno));
	}
	p = mmap(NULL, len, RW, flags, fd, 0);
	if (p == MAP_FAILED) {
		close(fd);
		return mt_why("mmap: %s", strerror(errno));
	}
	result = use(p, len);
	if (!result && (flags & MAP_SHARED) && (pread(fd, &back, 1, 77) != 1 || back != p[77]))
		result = mt_why("the file has not what the mapping shows");
	munmap(p, len);
	close(fd);
	return result;
}

static const char *
case_file(void)
{
	char name[] = "/tmp/mr_torture-XXXXXX", private[] = "/tmp/mr_torture-XXXXXX";
	int fd;

	fd = mkstemp(name);
	unlink(name);
	MT_TRY(use_file(fd, MAP_SHARED, LEN));
	fd = mkstemp(private);
	unlink(private);
	return use_file(fd, MAP_PRIVATE, LEN);
}

static const char *
case_shm(void)
{
	char name[64];
	int fd;

	snprintf(name, sizeof(name), "/mr_torture-%d", (int)getpid());
	fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
	shm_unlink(name);
	return use_file(fd, MAP_SHARED, LEN);
}

static const char *
case_sysv_shm(void)
{
	int id = shmget(IPC_PRIVATE, LEN, IPC_CREAT | 0600);
	const char *result;
	uint8_t *p;

	MT_CHECK(id >= 0);
	p = shmat(id, NULL, 0);
	shmctl(id, IPC_RMID, NULL);
	MT_CHECK(p != (void *)-1);
	result = use(p, LEN);
	shmdt(p);
	return result;
}

static const char *
case_shared_anonymous(void)
{
	uint8_t *p = mmap(NULL, LEN, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	const char *result;

	MT_CHECK(p != MAP_FAILED);
	result = use(p, LEN);
	munmap(p, LEN);
	return result;
}

/* Without and with the seal that lets the router map it. */
static const char *
case_memfd(void)
{
	int fd = memfd_create("mr_torture", MFD_CLOEXEC);

	MT_TRY(use_file(fd, MAP_SHARED, LEN));
	fd = memfd_create("mr_torture", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	MT_CHECK(fd >= 0 && ftruncate(fd, LEN) == 0);
	MT_CHECK(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) == 0);
	return use_file(fd, MAP_SHARED, LEN);
}

static const char *
case_hugetlb(void)
{
	int flags[] = {MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB,
		       MAP_SHARED | MAP_ANONYMOUS | MAP_HUGETLB};
	int fd = memfd_create("mr_torture", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_HUGETLB);
	const char *result = NULL;
	uint8_t *p;
	int i;

	for (i = 0; i < 2 && !result; i++) {
		p = mmap(NULL, 4 * MB, RW, flags[i], -1, 0);
		if (p == MAP_FAILED) {
			if (fd >= 0)
				close(fd);
			return mt_skip("no large pages");
		}
		result = use(p + 3 * PAGE, 3 * MB);
		munmap(p, 4 * MB);
	}
	if (result || fd < 0)
		return result;
	MT_CHECK(ftruncate(fd, 4 * MB) == 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) == 0);
	return use_file(fd, MAP_SHARED, 4 * MB);
}

static const char *
case_thp(void)
{
	uint8_t *area = mmap(NULL, 16 * MB, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *p;
	const char *result;

	MT_CHECK(area != MAP_FAILED);
	p = (uint8_t *)(((uintptr_t)area + 2 * MB) & ~(2 * MB - 1));
	madvise(p, 8 * MB, MADV_HUGEPAGE);
	mt_fill(p, 8 * MB, 99);
	/* Part of a large page; the rest of it stays as it was. */
	result = use(p + 12345, 3 * MB);
	if (!result && mt_verify(p, 12345, 99) != 12345)
		result = mt_why("bytes before the buffer changed");
	if (!result && p[5 * MB] != mt_byte(99, 5 * MB))
		result = mt_why("bytes behind the buffer changed");
	munmap(area, 16 * MB);
	return result;
}

/* Several kinds side by side under one registration. */
static const char *
case_mixed(void)
{
	uint8_t *p = mmap(NULL, 12 * PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int fd = memfd_create("mr_torture", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	const char *result;

	MT_CHECK(p != MAP_FAILED && fd >= 0 && ftruncate(fd, 8 * PAGE) == 0);
	MT_CHECK(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) == 0);
	MT_CHECK(mmap(p + 2 * PAGE, 2 * PAGE, RW, MAP_SHARED | MAP_FIXED, fd, 4 * PAGE) !=
		 MAP_FAILED);
	MT_CHECK(mmap(p + 6 * PAGE, 2 * PAGE, RW, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0) !=
		 MAP_FAILED);
	result = use(p, 12 * PAGE);
	munmap(p, 12 * PAGE);
	close(fd);
	return result;
}

static const char *
case_more_than_4g(void)
{
	const size_t len = 5 * GB;
	uint8_t *p = mmap(NULL, len, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	const char *result;
	struct ibv_mr *mr;

	if (p == MAP_FAILED)
		return mt_skip("no address space");
	mr = ibv_reg_mr(mt.pd, p + 1, len - 2, MT_ALL);
	if (!mr && errno == ENOMEM) {
		munmap(p, len);
		return mt_skip("over the quota of pinned memory");
	}
	MT_CHECK(mr != NULL);
	result = mt_exercise(mr, p + 1, len - 2);
	/* Across 4 GiB, both in addresses of the registration and in the process. */
	mt_fill(mt.src, 100000, 7);
	if (!result && mt_rdma(IBV_WR_RDMA_WRITE, mt.src, mt.src_mr->lkey, p + 4 * GB - 50000,
			       mr->rkey, 100000))
		result = mt_why("WRITE across 4 GiB failed");
	if (!result && mt_verify(p + 4 * GB - 50000, 100000, 7) != 100000)
		result = mt_why("WRITE across 4 GiB: wrong bytes");
	ibv_dereg_mr(mr);
	munmap(p, len);
	return result;
}

const struct mt_case mt_kind_cases[] = {
	{"stack", case_stack},
	{"thread-stack", case_thread_stack},
	{"data", case_data},
	{"bss", case_bss},
	{"file", case_file},
	{"shm", case_shm},
	{"sysv-shm", case_sysv_shm},
	{"shared-anonymous", case_shared_anonymous},
	{"memfd", case_memfd},
	{"hugetlb", case_hugetlb},
	{"thp", case_thp},
	{"mixed", case_mixed},
	{"more-than-4-gib", case_more_than_4g},
	{NULL, NULL},
};
