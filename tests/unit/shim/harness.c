/* SPDX-License-Identifier: MIT */
/* What the shim's tests share beside the fake router: its directory, the program's side, CUnit. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "../../../shim/mem.h"
#include "router.h"

struct prepared prepared;

void
ff_mem_prepare(void *addr, size_t len)
{
	prepared.calls++;
	prepared.addr = addr;
	prepared.len = len;
}

uint32_t
ff_mem_moment(void)
{
	return 1;
}

bool
ff_mem_was_held(uint32_t moment)
{
	(void)moment;
	return prepared.holds && prepared.holds--;
}

static const char *const dirs[] = {
	"",
	"/sys",
	"/sys/class",
	"/sys/class/infiniband",
	"/sys/class/infiniband/rxe0",
	"/sys/class/infiniband_verbs",
	"/sys/class/infiniband_verbs/uverbs0",
};
static const char *const node_type = "/sys/class/infiniband/rxe0/node_type";

void
router_dir_make(void)
{
	char path[256];
	int fd;

	strcpy(router.dir, "/tmp/ff-shim-test-XXXXXX");
	if (!mkdtemp(router.dir))
		abort();
	for (unsigned int i = 1; i < sizeof(dirs) / sizeof(dirs[0]); i++) {
		snprintf(path, sizeof(path), "%s%s", router.dir, dirs[i]);
		if (mkdir(path, 0755))
			abort();
	}
	snprintf(path, sizeof(path), "%s%s", router.dir, node_type);
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
	if (fd < 0 || write(fd, "1: CA\n", 6) != 6)
		abort();
	close(fd);
	setenv("FREEFLOW_DIR", router.dir, 1);
}

void
router_dir_remove(void)
{
	char path[256];

	snprintf(path, sizeof(path), "%s%s", router.dir, node_type);
	unlink(path);
	for (unsigned int i = sizeof(dirs) / sizeof(dirs[0]); i-- > 0;) {
		snprintf(path, sizeof(path), "%s%s", router.dir, dirs[i]);
		rmdir(path);
	}
}

bool
router_reached(_Atomic uint32_t *counter, uint32_t value)
{
	static const struct timespec tick = {.tv_nsec = 1000000};

	for (int i = 0; i < 10000 && *counter < value; i++)
		nanosleep(&tick, NULL);
	return *counter >= value;
}

int
number_of_fds(void)
{
	int n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

bool
fds_reach(int n)
{
	static const struct timespec tick = {.tv_nsec = 1000000};

	for (int i = 0; i < 10000 && number_of_fds() != n; i++)
		nanosleep(&tick, NULL);
	return number_of_fds() == n;
}

int
router_queue(struct rxe_queue_buf **buf)
{
	int fd = memfd_create("queue", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0 || ftruncate(fd, QUEUE_SIZE) < 0)
		abort();
	fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
	if (buf)
		*buf = mmap(NULL, QUEUE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	return fd;
}

void
router_add_queue(struct router_reply *rep, enum ff_queue_role role, uint32_t handle, uint32_t qpn,
		 uint64_t mmap_off, struct rxe_queue_buf **buf)
{
	rep->fd[rep->num_fds] = router_queue(buf);
	rep->fds[rep->num_fds++] = (struct ff_fd_desc){
		.kind = FF_FD_QUEUE,
		.mmap_off = mmap_off,
		.size = QUEUE_SIZE,
		.role = role,
		.handle = handle,
		.qpn = qpn,
	};
}

int
open_device(void)
{
	int fd = open("/dev/infiniband/uverbs0", O_RDWR | O_CLOEXEC);

	CU_ASSERT_FATAL(fd >= 0);
	return fd;
}

ssize_t
write_command(int fd, uint32_t op, const void *body, size_t body_len, size_t out_len)
{
	struct {
		struct ib_uverbs_cmd_hdr hdr;
		uint8_t body[512];
	} cmd = {.hdr = {.command = op,
			 .in_words = (sizeof(cmd.hdr) + body_len) / 4,
			 .out_words = out_len / 4}};

	memcpy(cmd.body, body, body_len);
	return write(fd, &cmd, sizeof(cmd.hdr) + body_len);
}

ssize_t
write_doorbell(int fd, uint32_t qp_handle)
{
	struct ib_uverbs_post_send_resp resp;
	struct ib_uverbs_post_send cmd = {.response = (uintptr_t)&resp, .qp_handle = qp_handle};

	return write_command(fd, IB_USER_VERBS_CMD_POST_SEND, &cmd, sizeof(cmd), sizeof(resp));
}

ssize_t
write_notify(int fd, uint32_t cq_handle, bool solicited)
{
	struct ib_uverbs_req_notify_cq cmd = {.cq_handle = cq_handle, .solicited_only = solicited};

	return write_command(fd, IB_USER_VERBS_CMD_REQ_NOTIFY_CQ, &cmd, sizeof(cmd), 0);
}

int
run_tests(const char *suite, const struct test *tests, unsigned int count)
{
	CU_pSuite s;
	unsigned int failed;

	if (CU_initialize_registry() != CUE_SUCCESS)
		return 1;
	s = CU_add_suite(suite, NULL, NULL);
	for (unsigned int i = 0; i < count; i++)
		if (!s || !CU_add_test(s, tests[i].name, tests[i].fn))
			return 1;
	CU_basic_set_mode(CU_BRM_VERBOSE);
	CU_basic_run_tests();
	failed = CU_get_number_of_failures() + CU_get_number_of_suites_failed();
	CU_cleanup_registry();
	return failed ? 1 : 0;
}
