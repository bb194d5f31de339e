/* SPDX-License-Identifier: MIT */
/* memif-bridge/region.c: memory that a server maps, and memory that it does not. */
#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fixture.h"

static struct ff_memif_conf conf;
static struct raw raw;

static void
start(void)
{
	struct memif_msg init = msg_init();

	raw_open(&raw, &conf);
	CU_ASSERT_EQUAL_FATAL(raw_recv(&raw, NULL), MEMIF_MSG_TYPE_HELLO);
	CU_ASSERT_EQUAL_FATAL(raw_ask(&raw, &init, -1), MEMIF_MSG_TYPE_ACK);
}

/* fd: closed here. */
static void
refused(struct memif_msg msg, int fd, const char *why)
{
	unsigned before = count_fds();

	start();
	raw_expect_refused(&raw, &msg, fd, why);
	raw_close(&raw);
	CU_ASSERT_EQUAL(count_fds(), before);
	if (fd >= 0)
		close(fd);
}

static void
sizes(void)
{
	refused(msg_region(0, 0), make_memfd(4096, F_SEAL_SHRINK, NULL), "empty or too large");
	refused(msg_region(0, 4097), make_memfd(4096, F_SEAL_SHRINK, NULL),
		"smaller than announced");
	refused(msg_region(0, 1), make_memfd(0, F_SEAL_SHRINK, NULL), "smaller than announced");
	refused(msg_region(0, UINT64_MAX), make_memfd(4096, F_SEAL_SHRINK, NULL),
		"empty or too large");
	refused(msg_region(0, FF_MEMIF_MAX_MEMORY + 1), make_memfd(4096, F_SEAL_SHRINK, NULL),
		"empty or too large");
}

static void
not_a_memfd(void)
{
	char path[] = "/tmp/ff-region-XXXXXX";
	int fds[2], fd;

	refused(msg_region(0, 4096), -1, "without descriptor");
	CU_ASSERT_EQUAL_FATAL(pipe(fds), 0);
	refused(msg_region(0, 4096), fds[0], "not a memfd");
	close(fds[1]);
	refused(msg_region(0, 4096), eventfd(0, 0), "not a memfd");
	fd = mkstemp(path);
	CU_ASSERT_FATAL(fd >= 0);
	unlink(path);
	CU_ASSERT_EQUAL(ftruncate(fd, 4096), 0);
	refused(msg_region(0, 4096), fd, "region is not");
	/* On tmpfs F_GET_SEALS works, but nothing can be sealed. */
	fd = open("/dev/shm", O_TMPFILE | O_RDWR, 0600);
	if (fd >= 0) {
		CU_ASSERT_EQUAL(ftruncate(fd, 4096), 0);
		refused(msg_region(0, 4096), fd, "region is not");
	}
}

static void
seals(void)
{
	int fd = memfd_create("plain", MFD_CLOEXEC);

	CU_ASSERT_EQUAL(ftruncate(fd, 4096), 0);
	refused(msg_region(0, 4096), fd, "not sealed");
	refused(msg_region(0, 4096), make_memfd(4096, F_SEAL_GROW, NULL), "not sealed");
	refused(msg_region(0, 4096), make_memfd(4096, F_SEAL_SHRINK | F_SEAL_WRITE, NULL),
		"cannot be mapped");
}

static void
huge_pages(void)
{
	int fd = memfd_create("huge", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_HUGETLB);

	if (fd < 0)
		return; /* no hugetlbfs in this kernel */
	if (ftruncate(fd, 2 << 20) == 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) == 0)
		refused(msg_region(0, 4096), fd, "not in plain memory");
	else
		close(fd);
}

static void
indices(void)
{
	struct memif_msg msg;
	int fd = make_memfd(4096, F_SEAL_SHRINK, NULL);

	refused(msg_region(1, 4096), dup(fd), "bad region index");
	refused(msg_region(0xffff, 4096), dup(fd), "bad region index");
	start();
	for (unsigned i = 0; i < FF_MEMIF_MAX_REGIONS; i++) {
		msg = msg_region(i, 4096);
		CU_ASSERT_EQUAL(raw_ask(&raw, &msg, fd), MEMIF_MSG_TYPE_ACK);
	}
	msg = msg_region(FF_MEMIF_MAX_REGIONS, 4096);
	raw_expect_refused(&raw, &msg, fd, "bad region index");
	raw_close(&raw);
	close(fd);
}

/* The limit is for all regions together. */
static void
limit(void)
{
	struct memif_msg msg = msg_region(0, 8192);
	int fd = make_memfd(8192, F_SEAL_SHRINK, NULL);

	conf.max_memory = 12288;
	start();
	CU_ASSERT_EQUAL(raw_ask(&raw, &msg, fd), MEMIF_MSG_TYPE_ACK);
	msg = msg_region(1, 4096);
	CU_ASSERT_EQUAL(raw_ask(&raw, &msg, fd), MEMIF_MSG_TYPE_ACK);
	msg = msg_region(2, 1);
	raw_expect_refused(&raw, &msg, fd, "too large");
	raw_close(&raw);
	conf.max_memory = 0;
	close(fd);
}

/* What our own client makes: sealed, and readable by nobody else's leave. */
static void
created(void)
{
	struct ff_memif m = {.region_fd = -1};
	void *map;

	CU_ASSERT_EQUAL_FATAL(memif_region_create(&m, 10000), 0);
	CU_ASSERT_EQUAL(m.num_regions, 1);
	CU_ASSERT_EQUAL(m.regions[0].size, 10000);
	CU_ASSERT(fcntl(m.region_fd, F_GET_SEALS) & F_SEAL_SHRINK);
	CU_ASSERT(fcntl(m.region_fd, F_GETFD) & FD_CLOEXEC);
	CU_ASSERT(ftruncate(m.region_fd, 5000) < 0);
	map = mmap(NULL, 10000, PROT_READ, MAP_SHARED, m.region_fd, 0);
	CU_ASSERT_FATAL(map != MAP_FAILED);
	m.regions[0].base[9999] = 0x5a;
	CU_ASSERT_EQUAL(((uint8_t *)map)[9999], 0x5a);
	munmap(map, 10000);
	memif_region_unmap_all(&m);
	CU_ASSERT_EQUAL(m.num_regions, 0);
	close(m.region_fd);
}

int
main(void)
{
	static const struct test tests[] = {
		{"sizes", sizes},	    {"not a memfd", not_a_memfd},
		{"seals", seals},	    {"huge pages", huge_pages},
		{"indices", indices},	    {"limit of memory", limit},
		{"created by us", created},
	};

	conf = conf_of(FF_MEMIF_SERVER);
	return run_tests("memif region", tests, sizeof(tests) / sizeof(tests[0]));
}
