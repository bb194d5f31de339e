/* SPDX-License-Identifier: MIT */
/* dataplane/verbs/umem.c: ranges of a process become segments. The process is the test itself. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CUnit/Basic.h>

#include <freeflow/abi.h>

#include "../../../dataplane/channel/container.h"
#include "../../../dataplane/verbs/umem.h"

#define PAGE 4096ul
#define MB   (1ul << 20)
#define RW   (PROT_READ | PROT_WRITE)

static struct ff_container container;
static struct ff_proc *self;

static uint64_t
counter(enum ff_container_counter c)
{
	return atomic_load(&container.counters[c]);
}

static int
get(struct ff_umem *m, const void *va, uint64_t len, bool need_write)
{
	return ff_umem_get(m, &container, self, (uintptr_t)va, len, need_write);
}

static int
memfd(const char *name, size_t size, int seals)
{
	int fd = memfd_create(name, MFD_ALLOW_SEALING | MFD_CLOEXEC);

	CU_ASSERT_FATAL(fd >= 0);
	CU_ASSERT_EQUAL_FATAL(ftruncate(fd, (off_t)size), 0);
	CU_ASSERT_EQUAL_FATAL(fcntl(fd, F_ADD_SEALS, seals), 0);
	return fd;
}

static uint8_t *
map(void *at, size_t len, int prot, int flags, int fd, size_t off)
{
	void *p = mmap(at, len, prot, flags | (at ? MAP_FIXED : 0), fd, (off_t)off);

	CU_ASSERT_FATAL(p != MAP_FAILED);
	return p;
}

/* An unmapped area to put mappings side by side in. */
static uint8_t *
area(size_t len)
{
	return map(NULL, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
}

static void
test_private(void)
{
	uint8_t *p = map(NULL, 4 * PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t before = counter(FF_CC_MR_PROCESS_VM);
	struct ff_umem m;

	mprotect(p + PAGE, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC); /* three mappings */
	CU_ASSERT_EQUAL_FATAL(get(&m, p + 5, 3 * PAGE, true), 0);
	CU_ASSERT_EQUAL_FATAL(m.num_segs, 1);
	CU_ASSERT_PTR_NULL(m.segs[0].ptr);
	CU_ASSERT_EQUAL(m.segs[0].off, 0);
	CU_ASSERT_EQUAL(m.segs[0].len, 3 * PAGE);
	CU_ASSERT_EQUAL(counter(FF_CC_MR_PROCESS_VM), before + 1);
	CU_ASSERT_PTR_EQUAL(ff_umem_seg_at(&m, 3 * PAGE - 1), &m.segs[0]);
	ff_umem_put(&m);
	munmap(p, 4 * PAGE);
}

/* Adjacent mappings of one file are one segment; a gap in the file begins another. */
static void
test_sealed(void)
{
	int fd = memfd(FF_MR_MEMFD_NAME, MB, F_SEAL_SHRINK | F_SEAL_GROW);
	uint64_t conv = counter(FF_CC_MR_CONVERTED);
	uint8_t *p = area(MB);
	struct ff_umem m;

	map(p, 4 * PAGE, RW, MAP_SHARED, fd, 8 * PAGE);
	madvise(p + PAGE, PAGE, MADV_RANDOM); /* splits the mapping */
	map(p + 4 * PAGE, 4 * PAGE, RW, MAP_SHARED, fd, 20 * PAGE);
	memset(p, 5, 8 * PAGE);
	CU_ASSERT_EQUAL_FATAL(get(&m, p + 100, 7 * PAGE, true), 0);
	CU_ASSERT_EQUAL_FATAL(m.num_segs, 2);
	CU_ASSERT_EQUAL(m.segs[0].len, 4 * PAGE - 100);
	CU_ASSERT_EQUAL(m.segs[1].off, 4 * PAGE - 100);
	CU_ASSERT_EQUAL(m.segs[1].len, 3 * PAGE + 100);
	CU_ASSERT(m.segs[0].writable && m.segs[1].writable);
	CU_ASSERT_EQUAL(counter(FF_CC_MR_CONVERTED), conv + 2);
	CU_ASSERT_PTR_EQUAL(ff_umem_seg_at(&m, 0), &m.segs[0]);
	CU_ASSERT_PTR_EQUAL(ff_umem_seg_at(&m, 4 * PAGE - 101), &m.segs[0]);
	CU_ASSERT_PTR_EQUAL(ff_umem_seg_at(&m, 4 * PAGE - 100), &m.segs[1]);
	m.segs[0].ptr[0] = 9;
	m.segs[1].ptr[7] = 8;
	CU_ASSERT_EQUAL(p[100], 9);
	CU_ASSERT_EQUAL(p[4 * PAGE + 7], 8);
	/* The registration keeps the pages. */
	munmap(p, MB);
	CU_ASSERT_EQUAL(m.segs[0].ptr[0], 9);
	ff_umem_put(&m);
	close(fd);
}

static void
test_read_only(void)
{
	int fd = memfd("ro", 4 * PAGE, F_SEAL_SHRINK);
	uint8_t *p = map(NULL, 4 * PAGE, PROT_READ, MAP_SHARED, fd, 0);
	uint8_t *q = map(NULL, 4 * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t shared = counter(FF_CC_MR_SHARED);
	struct ff_umem m;

	CU_ASSERT_EQUAL(get(&m, p, 4 * PAGE, true), -EFAULT);
	CU_ASSERT_EQUAL_FATAL(get(&m, p, 4 * PAGE, false), 0);
	CU_ASSERT_EQUAL(m.num_segs, 1);
	CU_ASSERT_PTR_NOT_NULL(m.segs[0].ptr);
	CU_ASSERT_FALSE(m.segs[0].writable);
	CU_ASSERT_EQUAL(counter(FF_CC_MR_SHARED), shared + 1);
	ff_umem_put(&m);
	CU_ASSERT_EQUAL(get(&m, q, PAGE, true), -EFAULT);
	CU_ASSERT_EQUAL(get(&m, q, PAGE, false), 0);
	ff_umem_put(&m);
	munmap(p, 4 * PAGE);
	munmap(q, 4 * PAGE);
	close(fd);
}

/* What may shrink, and what is on a file system that is not the kernel's own: never mapped. */
static void
test_not_trusted(void)
{
	char name[] = "/tmp/freeflow-umem-XXXXXX";
	int fd[3], id = shmget(IPC_PRIVATE, 4 * PAGE, IPC_CREAT | 0600);
	struct ff_umem m;
	uint8_t *p[5];
	unsigned i;

	fd[0] = memfd("unsealed", 4 * PAGE, 0);
	fd[1] = memfd("grow only", 4 * PAGE, F_SEAL_GROW);
	fd[2] = mkstemp(name);
	CU_ASSERT_EQUAL_FATAL(ftruncate(fd[2], 4 * PAGE), 0);
	for (i = 0; i < 3; i++)
		p[i] = map(NULL, 4 * PAGE, RW, MAP_SHARED, fd[i], 0);
	p[3] = map(NULL, 4 * PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	p[4] = shmat(id, NULL, 0);
	shmctl(id, IPC_RMID, NULL);
	for (i = 0; i < 5; i++) {
		CU_ASSERT_EQUAL_FATAL(get(&m, p[i] + 1, 2 * PAGE, true), 0);
		CU_ASSERT_EQUAL(m.num_segs, 1);
		CU_ASSERT_PTR_NULL(m.segs[0].ptr);
		ff_umem_put(&m);
	}
	for (i = 0; i < 4; i++)
		munmap(p[i], 4 * PAGE);
	shmdt(p[4]);
	for (i = 0; i < 3; i++)
		close(fd[i]);
	unlink(name);
}

/* A mapping that reaches beyond the file's end is left to process_vm as a whole. */
static void
test_beyond_end(void)
{
	int fd = memfd("short", 2 * PAGE, F_SEAL_SHRINK);
	uint8_t *p = map(NULL, 4 * PAGE, RW, MAP_SHARED, fd, 0);
	struct ff_umem m;

	CU_ASSERT_EQUAL_FATAL(get(&m, p, 4 * PAGE, true), 0);
	CU_ASSERT_PTR_NULL(m.segs[0].ptr);
	ff_umem_put(&m);
	CU_ASSERT_EQUAL_FATAL(get(&m, p, 2 * PAGE, true), 0);
	CU_ASSERT_PTR_NOT_NULL(m.segs[0].ptr);
	ff_umem_put(&m);
	munmap(p, 4 * PAGE);
	close(fd);
}

static void
test_mixed(void)
{
	int fd = memfd("mixed", MB, F_SEAL_SHRINK);
	uint8_t *p = area(MB);
	struct ff_umem m;
	uint64_t off = 0;
	unsigned i;

	for (i = 0; i < 16; i++)
		map(p + i * 2 * PAGE, 2 * PAGE, RW,
		    i % 2 ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS, i % 2 ? fd : -1,
		    i % 2 ? i * 4 * PAGE : 0);
	CU_ASSERT_EQUAL_FATAL(get(&m, p + 11, 32 * PAGE - 22, true), 0);
	CU_ASSERT_EQUAL(m.num_segs, 16);
	for (i = 0; i < m.num_segs; i++) {
		CU_ASSERT_EQUAL(m.segs[i].off, off);
		CU_ASSERT_EQUAL(m.segs[i].ptr != NULL, i % 2);
		CU_ASSERT_PTR_EQUAL(ff_umem_seg_at(&m, off), &m.segs[i]);
		CU_ASSERT_PTR_EQUAL(ff_umem_seg_at(&m, off + m.segs[i].len - 1), &m.segs[i]);
		off += m.segs[i].len;
	}
	CU_ASSERT_EQUAL(off, m.length);
	ff_umem_put(&m);
	munmap(p, MB);
	close(fd);
}

static void
test_refused(void)
{
	uint8_t *p = area(8 * PAGE);
	struct ff_umem m;

	map(p + PAGE, 2 * PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	munmap(p + 4 * PAGE, PAGE);
	CU_ASSERT_EQUAL(get(&m, p + PAGE, 2 * PAGE + 1, false), -EFAULT); /* PROT_NONE */
	CU_ASSERT_EQUAL(get(&m, p + PAGE - 1, 2, false), -EFAULT);
	CU_ASSERT_EQUAL(get(&m, p + 4 * PAGE, PAGE, false), -EFAULT); /* nothing */
	CU_ASSERT_EQUAL(get(&m, NULL, 1, false), -EFAULT);
	CU_ASSERT_EQUAL(get(&m, (void *)~0xfffful, 0x8000, false), -EFAULT);
	CU_ASSERT_EQUAL(get(&m, p, UINT64_MAX, false), -EINVAL);
	CU_ASSERT_EQUAL(get(&m, p + PAGE, 0, true), 0);
	CU_ASSERT_EQUAL(m.num_segs, 0);
	ff_umem_put(&m);
	CU_ASSERT_EQUAL(atomic_load(&self->refs), 1);
	munmap(p, 8 * PAGE);
}

/* More than 4 GiB, sparse: costs no memory. */
static void
test_large(void)
{
	const size_t len = 6ul << 30;
	int fd = memfd(FF_MR_MEMFD_NAME, len, F_SEAL_SHRINK);
	uint8_t *p = map(NULL, len, RW, MAP_SHARED | MAP_NORESERVE, fd, 0);
	struct ff_umem m;

	CU_ASSERT_EQUAL_FATAL(get(&m, p + 1, len - 1, true), 0);
	CU_ASSERT_EQUAL(m.num_segs, 1);
	p[5ul << 30] = 3;
	CU_ASSERT_EQUAL(m.segs[0].ptr[(5ul << 30) - 1], 3);
	ff_umem_put(&m);
	munmap(p, len);
	close(fd);
}

static void
test_hugetlb(void)
{
	int fd = memfd_create("huge", MFD_ALLOW_SEALING | MFD_HUGETLB | 21 << MAP_HUGE_SHIFT);
	struct ff_umem m;
	uint8_t *p;

	if (fd < 0 || ftruncate(fd, 4 * MB) < 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) < 0 ||
	    (p = mmap(NULL, 4 * MB, RW, MAP_SHARED, fd, 0)) == MAP_FAILED) {
		printf("(no large pages here) ");
		if (fd >= 0)
			close(fd);
		return;
	}
	p[3 * MB] = 7;
	CU_ASSERT_EQUAL_FATAL(get(&m, p + 2 * MB + 12345, MB, true), 0);
	CU_ASSERT_EQUAL(m.num_segs, 1);
	CU_ASSERT_PTR_NOT_NULL_FATAL(m.segs[0].ptr);
	CU_ASSERT_EQUAL(m.segs[0].ptr[MB - 12345], 7);
	ff_umem_put(&m);
	munmap(p, 4 * MB);
	close(fd);
}

static void
test_dead_process(void)
{
	struct ff_proc *proc;
	struct ff_umem m;
	pid_t pid = fork();
	int fd;

	if (pid == 0) {
		pause();
		_exit(0);
	}
	fd = (int)syscall(SYS_pidfd_open, pid, 0);
	proc = ff_proc_new(pid, fd);
	CU_ASSERT_PTR_NOT_NULL_FATAL(proc);
	CU_ASSERT_EQUAL(ff_umem_get(&m, &container, proc, (uintptr_t)&container, 8, true), 0);
	ff_umem_put(&m);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	CU_ASSERT_EQUAL(ff_umem_get(&m, &container, proc, (uintptr_t)&container, 8, true), -ESRCH);
	CU_ASSERT_EQUAL(atomic_load(&proc->refs), 1);
	CU_ASSERT_PTR_EQUAL(ff_proc_ref(proc), proc);
	ff_proc_unref(proc);
	ff_proc_unref(proc);
	CU_ASSERT_EQUAL(fcntl(fd, F_GETFD), -1);
}

/* No descriptor and no mapping stays behind. */
static void
test_no_leak(void)
{
	int fd = memfd("leak", 4 * PAGE, F_SEAL_SHRINK), before = dup(0), after;
	uint8_t *p = map(NULL, 4 * PAGE, RW, MAP_SHARED, fd, 0);
	struct ff_umem m;
	unsigned i;

	close(before);
	for (i = 0; i < 200; i++) {
		CU_ASSERT_EQUAL(get(&m, p, 4 * PAGE, true), 0);
		ff_umem_put(&m);
		CU_ASSERT_EQUAL(get(&m, p, 5ul << 40, true), -EFAULT);
	}
	after = dup(0);
	close(after);
	CU_ASSERT_EQUAL(before, after);
	munmap(p, 4 * PAGE);
	close(fd);
}

/* Other processes' files can only be opened with the router's rights. */
static bool
have_rights(void)
{
	void *p = mmap(NULL, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	char name[80];
	int fd;

	snprintf(name, sizeof(name), "/proc/self/map_files/%lx-%lx", (unsigned long)p,
		 (unsigned long)p + PAGE);
	fd = open(name, O_RDWR | O_CLOEXEC);
	if (fd >= 0)
		close(fd);
	munmap(p, PAGE);
	return fd >= 0;
}

int
main(void)
{
	CU_TestInfo tests[] = {
		{"private memory", test_private},    {"sealed memfd", test_sealed},
		{"read-only", test_read_only},	     {"not trusted", test_not_trusted},
		{"beyond the end", test_beyond_end}, {"mixed", test_mixed},
		{"refused", test_refused},	     {"more than 4 GiB", test_large},
		{"hugetlb", test_hugetlb},	     {"dead process", test_dead_process},
		{"no leak", test_no_leak},	     CU_TEST_INFO_NULL,
	};
	CU_SuiteInfo suites[] = {{"verbs/umem", NULL, NULL, NULL, NULL, tests}, CU_SUITE_INFO_NULL};
	unsigned failed;

	if (!have_rights()) {
		puts("needs CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN");
		return 77;
	}
	self = ff_proc_new(getpid(), (int)syscall(SYS_pidfd_open, getpid(), 0));
	if (!self || CU_initialize_registry() != CUE_SUCCESS ||
	    CU_register_suites(suites) != CUE_SUCCESS)
		return 1;
	CU_basic_set_mode(CU_BRM_VERBOSE);
	CU_basic_run_tests();
	failed = CU_get_number_of_failures();
	CU_cleanup_registry();
	ff_proc_unref(self);
	return failed != 0;
}
