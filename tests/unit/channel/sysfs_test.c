/* SPDX-License-Identifier: MIT */
/* The view of /sys and the container's directory. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "harness.h"

#define IB    "sys/class/infiniband/rxe0/"
#define PORT  IB "ports/1/"
#define VERBS "sys/class/infiniband_verbs/"

static const char *
content(const char *name)
{
	static char buf[4][256];
	static unsigned next;
	char *b = buf[next++ % 4];
	int fd = open(harness_path("s", name), O_RDONLY);
	ssize_t n;

	if (fd < 0)
		return "(absent)";
	n = read(fd, b, sizeof(buf[0]) - 1);
	close(fd);
	b[n > 0 ? n : 0] = 0;
	return b;
}

static void
test_tree(void)
{
	static const char *const want[][2] = {
		{VERBS "abi_version", "6\n"},
		{VERBS "uverbs0/ibdev", "rxe0\n"},
		{VERBS "uverbs0/dev", "231:192\n"},
		{VERBS "uverbs0/abi_version", "2\n"},
		{IB "node_type", "1: CA\n"},
		{IB "fw_ver", "0.1.0\n"},
		{PORT "state", "4: ACTIVE\n"},
		{PORT "phys_state", "5: LinkUp\n"},
		{PORT "link_layer", "Ethernet\n"},
		{PORT "lid", "0x0\n"},
		{PORT "pkeys/0", "0xffff\n"},
		{PORT "gids/0", "0000:0000:0000:0000:0000:ffff:0a20:0002\n"},
		{PORT "gids/1", "0000:0000:0000:0000:0000:0000:0000:0000\n"},
		{PORT "gids/15", "0000:0000:0000:0000:0000:0000:0000:0000\n"},
		{PORT "gids/16", "(absent)"},
		{PORT "gid_attrs/types/0", "RoCE v2\n"},
		{PORT "gid_attrs/types/1", "IB/RoCE v1\n"},
		{PORT "gid_attrs/ndevs/0", "(absent)"},
		{PORT "counters/port_xmit_data", "0\n"},
		{PORT "hw_counters/rdma_sends", "0\n"},
		{"lib/libfreeflow.so", "not really a library"},
	};
	struct stat st;

	CU_ASSERT_EQUAL(harness_add("s", "10.32.0.2"), 0);
	for (unsigned i = 0; i < sizeof(want) / sizeof(want[0]); i++)
		CU_ASSERT_STRING_EQUAL(content(want[i][0]), want[i][1]);
	CU_ASSERT_EQUAL(strlen(content(IB "node_guid")), 20);
	CU_ASSERT_STRING_EQUAL(content(IB "node_guid"), content(IB "sys_image_guid"));
	CU_ASSERT_EQUAL(stat(harness_path("s", "router.sock"), &st), 0);
	CU_ASSERT_EQUAL(st.st_mode & 0777, 0666);
	CU_ASSERT_EQUAL(stat(harness_path("s", "lib/libfreeflow.so"), &st), 0);
	CU_ASSERT_EQUAL(st.st_mode & 0777, 0755);
	CU_ASSERT_EQUAL(stat(harness_path("s", IB "ports"), &st), 0);
	CU_ASSERT_EQUAL(st.st_mode & 0777, 0755);
	CU_ASSERT_EQUAL(stat(harness_path("s", PORT "gids/0"), &st), 0);
	CU_ASSERT_EQUAL(st.st_mode & 0777, 0444);
}

static void
change_addresses(void *arg)
{
	struct addr_list l = {0};
	struct addr a;

	addr_parse("fd00::1", &a);
	strcpy(a.ndev, "eth0");
	addr_list_add(&l, &a);
	addr_apply(ff_container_find("s"), &l);
}

static void
test_addresses(void)
{
	struct stat before, after;
	uint32_t gen = harness_container("s")->gid_gen;

	stat(harness_path("s", IB), &before);
	harness_control(change_addresses, NULL);
	CU_ASSERT_NOT_EQUAL(harness_container("s")->gid_gen, gen);
	CU_ASSERT_STRING_EQUAL(content(PORT "gids/0"), "fd00:0000:0000:0000:0000:0000:0000:0001\n");
	CU_ASSERT_STRING_EQUAL(content(PORT "gid_attrs/types/0"), "RoCE v2\n");
	CU_ASSERT_STRING_EQUAL(content(PORT "gid_attrs/ndevs/0"), "eth0\n");
	/* libibverbs would take it for another device. */
	stat(harness_path("s", IB), &after);
	CU_ASSERT_EQUAL(memcmp(&before.st_mtim, &after.st_mtim, sizeof(before.st_mtim)), 0);
}

static void
tick(void *arg)
{
	struct ff_container *c = ff_container_find("s");
	static struct ff_qp qp;

	qp.counters[FF_QC_SEND] = 3;
	qp.counters[FF_QC_TX_BYTES] = 4000;
	qp.counters[FF_QC_ERR_BASE + FF_WC_RETRY_EXC_ERR] = 1;
	ff_container_qp_retired(c, &qp);
	sysfs_tick(c);
}

static void
test_counters(void)
{
	harness_control(tick, NULL);
	CU_ASSERT_STRING_EQUAL(content(PORT "counters/port_xmit_data"), "1000\n");
	CU_ASSERT_STRING_EQUAL(content(PORT "counters/port_xmit_packets"), "3\n");
	CU_ASSERT_STRING_EQUAL(content(PORT "hw_counters/retry_exceeded_err"), "1\n");
	harness_control(tick, NULL);
	CU_ASSERT_STRING_EQUAL(content(PORT "hw_counters/rdma_sends"), "6\n");
}

static void
restart(void *arg)
{
	struct stat *st = arg;
	int rc;

	ff_containers_fini();
	CU_ASSERT_EQUAL(access(harness_path("s", "router.sock"), F_OK), -1);
	CU_ASSERT_EQUAL(access(harness_path("s", "lib/libfreeflow.so"), F_OK), 0);
	CU_ASSERT_EQUAL(stat(harness_path("s", ""), st), 0);
	/* One of the configuration, another that nobody knows any more. */
	ff_config.containers = calloc(1, sizeof(*ff_config.containers));
	ff_config.num_containers = 1;
	strcpy(ff_config.containers[0].id, "s");
	strcpy(ff_config.containers[0].tenant, "t");
	CU_ASSERT_EQUAL(mkdir(harness_path("stale", ""), 0755), 0);
	CU_ASSERT_EQUAL(mkdir(harness_path("stale", "sys"), 0755), 0);
	CU_ASSERT_EQUAL(symlink("/etc", harness_path("stale", "sys/link")), 0);
	rc = ff_containers_init();
	CU_ASSERT_EQUAL(rc, 0);
}

/* A container has the directory mounted: it must be the same one after a restart. */
static void
test_restart(void)
{
	struct stat before, after;
	int fd;

	harness_control(restart, &before);
	CU_ASSERT_EQUAL(stat(harness_path("s", ""), &after), 0);
	CU_ASSERT_EQUAL(before.st_ino, after.st_ino);
	CU_ASSERT_EQUAL(access(harness_path("stale", ""), F_OK), -1);
	CU_ASSERT_EQUAL(access("/etc/passwd", F_OK), 0);
	CU_ASSERT_STRING_EQUAL(content(PORT "gids/0"), "0000:0000:0000:0000:0000:0000:0000:0000\n");
	fd = client_connect("s", "router.sock");
	CU_ASSERT_TRUE(fd >= 0);
	close(fd);
	CU_ASSERT_EQUAL(harness_del("s"), 0);
	CU_ASSERT_EQUAL(access(harness_path("s", ""), F_OK), -1);
}

static void
no_shim(void *arg)
{
	struct ff_container_conf conf = {.id = "n", .tenant = "t"};
	char err[256] = "", saved[256];

	strcpy(saved, ff_config.shim_path);
	strcpy(ff_config.shim_path, "/nowhere/libfreeflow.so");
	CU_ASSERT_EQUAL(ff_container_add(&conf, err, sizeof(err)), -ENOENT);
	CU_ASSERT_PTR_NOT_NULL(strstr(err, "/nowhere/libfreeflow.so"));
	CU_ASSERT_PTR_NULL(ff_container_find("n"));
	CU_ASSERT_EQUAL(access(harness_path("n", ""), F_OK), -1);
	strcpy(ff_config.shim_path, saved);
}

static void
test_no_shim(void)
{
	harness_control(no_shim, NULL);
}

int
main(void)
{
	static const struct harness_test tests[] = {
		{"tree", test_tree},	     {"addresses change", test_addresses},
		{"counters", test_counters}, {"restart", test_restart},
		{"no shim", test_no_shim},
	};

	return harness_main("sysfs", tests, sizeof(tests) / sizeof(tests[0]));
}
