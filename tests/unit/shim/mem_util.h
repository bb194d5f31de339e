/* SPDX-License-Identifier: MIT */
/* What the tests of shim/mem*.c share. The hooks are linked into the tests themselves. */
#ifndef FF_TEST_MEM_UTIL_H
#define FF_TEST_MEM_UTIL_H

#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include <CUnit/Basic.h>

#include "../../../shim/mem.h"
#include "../../../memif-bridge/procmaps.h"

#define MB   (1ul << 20)
#define PAGE 4096ul

/* Bytes of [addr, addr + len) that lie in converted mappings. */
static inline size_t
converted_bytes(const void *addr, size_t len)
{
	uint64_t at = (uintptr_t)addr, end = at + len, to;
	static struct ff_maps m;
	struct ff_vma v;
	size_t sum = 0;

	if (ff_maps_open(&m, AT_FDCWD, "/proc/self/maps"))
		return 0;
	while (at < end && ff_maps_find(&m, at, &v) == 0 && v.start < end) {
		at = at < v.start ? v.start : at;
		to = v.end < end ? v.end : end;
		if (v.name == FF_VMA_CONVERTED && v.shared)
			sum += to - at;
		at = to;
	}
	ff_maps_close(&m);
	return sum;
}

/* A child's verdict: it ends with _exit(0) when all was well. */
static inline int
child_status(pid_t pid)
{
	int status;

	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static inline int
run_tests(const char *name, CU_TestInfo *tests)
{
	CU_SuiteInfo suites[] = {{name, NULL, NULL, NULL, NULL, tests}, CU_SUITE_INFO_NULL};
	unsigned failed;

	if (CU_initialize_registry() != CUE_SUCCESS || CU_register_suites(suites) != CUE_SUCCESS)
		return 1;
	CU_basic_set_mode(CU_BRM_VERBOSE);
	CU_basic_run_tests();
	failed = CU_get_number_of_failures();
	CU_cleanup_registry();
	return failed != 0;
}

/* Fresh private memory. */
static inline uint8_t *
anon(size_t len)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	CU_ASSERT_FATAL(p != MAP_FAILED);
	return p;
}

/* The same, registered. */
static inline uint8_t *
converted(size_t len)
{
	uint8_t *p = anon(len);

	memset(p, 1, len);
	ff_mem_prepare(p, len);
	CU_ASSERT_EQUAL_FATAL(converted_bytes(p, len), len);
	return p;
}

#endif
