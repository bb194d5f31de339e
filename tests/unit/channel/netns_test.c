/* SPDX-License-Identifier: MIT */
/* Addresses of a network namespace, followed as they change. Needs CAP_SYS_ADMIN and ip(8). */
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "nic/nic.h"

#define SKIP 77 /* what meson takes for a skipped test */

static char ns_path[64];
static pid_t holder;

/* A process that holds a new network namespace with one veth pair. -1: not allowed. */
static pid_t
namespace_make(void)
{
	int ready[2];
	char ok = 0;
	pid_t pid;

	if (pipe(ready))
		return -1;
	pid = fork();
	if (!pid) {
		ok = !unshare(CLONE_NEWNET) &&
		     !system("ip link add eth0 type veth peer name peer0 && ip link set peer0 up "
			     "&& ip link set eth0 up && ip link set lo up");
		if (write(ready[1], &ok, 1) != 1)
			_exit(1);
		pause();
		_exit(0);
	}
	if (read(ready[0], &ok, 1) != 1)
		ok = 0;
	close(ready[0]);
	close(ready[1]);
	if (!ok && pid > 0)
		kill(pid, SIGKILL);
	return ok ? pid : -1;
}

static void
in_namespace(const char *ip_args)
{
	char cmd[256];

	snprintf(cmd, sizeof(cmd), "nsenter --net=%s ip %s", ns_path, ip_args);
	CU_ASSERT_EQUAL(system(cmd), 0);
}

/* Waits until slot shows text (NULL: empty) in the view of /sys. */
static bool
slot_is(const char *id, unsigned slot, const char *text)
{
	struct addr a = {0};
	char name[96], want[41], got[41];

	if (text && addr_parse(text, &a))
		return false;
	for (unsigned i = 0; i < 8; i++)
		snprintf(want + i * 5, 6, "%02x%02x%s", a.raw[2 * i], a.raw[2 * i + 1],
			 i < 7 ? ":" : "");
	snprintf(name, sizeof(name), "sys/class/infiniband/rxe0/ports/1/gids/%u", slot);
	for (unsigned i = 0; i < 1000; i++) {
		FILE *f = fopen(harness_path(id, name), "r");
		bool same = f && fscanf(f, "%40s", got) == 1 && !strcmp(got, want);

		if (f)
			fclose(f);
		if (same)
			return true;
		usleep(10000);
	}
	printf(" slot %u is %s, not %s\n", slot, got, want);
	return false;
}

static void
add(void *arg)
{
	struct ff_container_conf conf = {.id = "n", .tenant = "t"};
	char err[256] = "";

	snprintf(conf.netns, sizeof(conf.netns), "%s", ns_path);
	*(int *)arg = ff_container_add(&conf, err, sizeof(err));
	CU_ASSERT_STRING_EQUAL(err, "");
}

/* The control thread's own. */
static void
ndev_copy(void *arg)
{
	strcpy(arg, harness_container("n")->gids[0].ndev);
}

static bool
ndev_is(const char *name)
{
	char is[sizeof(((struct ff_gid_entry *)0)->ndev)];

	harness_control(ndev_copy, is);
	return !strcmp(is, name);
}

static void
test_follow(void)
{
	struct ff_container *c;
	uint32_t gen;
	int rc = -1;

	in_namespace("address add 10.40.0.2/24 dev eth0");
	in_namespace("address add fd40::2/64 dev eth0 nodad");
	harness_control(add, &rc);
	CU_ASSERT_EQUAL_FATAL(rc, 0);
	c = harness_container("n");
	CU_ASSERT_TRUE(slot_is("n", 0, "10.40.0.2"));
	CU_ASSERT_TRUE(slot_is("n", 1, "fd40::2"));
	CU_ASSERT_TRUE(slot_is("n", 2, NULL)); /* neither loopback nor link-local */
	CU_ASSERT_TRUE(ndev_is("eth0"));

	gen = c->gid_gen;
	in_namespace("address add 10.40.0.3/24 dev eth0");
	CU_ASSERT_TRUE(slot_is("n", 2, "10.40.0.3"));
	CU_ASSERT_NOT_EQUAL(c->gid_gen, gen);
	in_namespace("address del fd40::2/64 dev eth0");
	CU_ASSERT_TRUE(slot_is("n", 1, NULL));
	CU_ASSERT_TRUE(slot_is("n", 0, "10.40.0.2"));
	CU_ASSERT_TRUE(slot_is("n", 2, "10.40.0.3"));
	in_namespace("address flush dev eth0 scope global");
	CU_ASSERT_TRUE(slot_is("n", 2, NULL));
	in_namespace("address add 10.40.0.9/24 dev eth0");
	CU_ASSERT_TRUE(slot_is("n", 0, "10.40.0.9") || slot_is("n", 1, "10.40.0.9"));
}

static bool
link_mtu_is(uint32_t mtu)
{
	struct ff_container *c = harness_container("n");

	for (unsigned i = 0; i < 1000 && atomic_load(&c->link_mtu) != mtu; i++)
		usleep(10000);
	return atomic_load(&c->link_mtu) == mtu;
}

/* The least of the interfaces that have an address. */
static void
test_link_mtu(void)
{
	CU_ASSERT_TRUE(link_mtu_is(1500));
	in_namespace("link set eth0 mtu 1400");
	CU_ASSERT_TRUE(link_mtu_is(1400));
	in_namespace("link add narrow mtu 1300 type bridge");
	in_namespace("link set narrow up");
	in_namespace("link set eth0 mtu 1450");
	CU_ASSERT_TRUE(link_mtu_is(1450));
	in_namespace("address add 10.41.0.2/24 dev narrow");
	CU_ASSERT_TRUE(link_mtu_is(1300));
	in_namespace("link del narrow");
	CU_ASSERT_TRUE(link_mtu_is(1450));
}

static void
test_rename(void)
{
	in_namespace("link set eth0 down");
	in_namespace("link set eth0 name net7");
	in_namespace("link set net7 up");
	for (unsigned i = 0; i < 1000 && !ndev_is("net7"); i++)
		usleep(10000);
	CU_ASSERT_TRUE(ndev_is("net7"));
}

/* Told apart from other faults: at start, such a container is left out, the others go on. */
static void
missing(void *arg)
{
	struct ff_container_conf conf = {.id = "m", .tenant = "t", .netns = "/run/netns/nowhere"};
	char err[256] = "";

	CU_ASSERT_EQUAL(ff_container_add(&conf, err, sizeof(err)), -ENODEV);
	CU_ASSERT_PTR_NOT_NULL(strstr(err, "/run/netns/nowhere"));
	CU_ASSERT_EQUAL(access(harness_path("m", ""), F_OK), -1);
	/* The directory of a former run may be mounted somewhere: it stays. */
	CU_ASSERT_EQUAL(mkdir(harness_path("m", ""), 0755), 0);
	CU_ASSERT_EQUAL(ff_container_add(&conf, err, sizeof(err)), -ENODEV);
	CU_ASSERT_EQUAL(access(harness_path("m", ""), F_OK), 0);
	CU_ASSERT_EQUAL(access(harness_path("m", "router.sock"), F_OK), -1);
	rundir_remove("m");
}

static void
test_missing(void)
{
	harness_control(missing, NULL);
}

/* What the backend hears of container "r": '-' an address is gone, '+' it is there. */
static char heard[16];

static void
hear(const struct ff_container *c, const uint8_t gid[16], bool here)
{
	size_t n = strlen(heard);

	if (!strcmp(c->id, "r") && n + 1 < sizeof(heard))
		heard[n] = here ? '+' : '-';
}

static char link_path[128];

static void
add_by_link(void *arg)
{
	struct ff_container_conf conf = {.id = "r", .tenant = "t"};
	char err[256] = "";

	memset(heard, 0, sizeof(heard));
	snprintf(conf.netns, sizeof(conf.netns), "%s", link_path);
	*(int *)arg = ff_container_add(&conf, err, sizeof(err));
	CU_ASSERT_STRING_EQUAL(err, "");
}

static void
hear_set(void *arg)
{
	static const struct ff_nic_ops *before;
	static struct ff_nic_ops ops;

	if (arg) {
		before = ff_nic;
		ops = *before;
		ops.address = hear;
		ff_nic = &ops;
	} else {
		ff_nic = before;
	}
}

/* link_path leads to a new namespace, of the same address. */
static pid_t
relink(void)
{
	pid_t pid = namespace_make();
	char cmd[128], target[64];

	CU_ASSERT_FATAL(pid > 0);
	snprintf(cmd, sizeof(cmd),
		 "nsenter --net=/proc/%d/ns/net ip address add 10.41.0.2/24 dev "
		 "eth0",
		 (int)pid);
	CU_ASSERT_EQUAL(system(cmd), 0);
	snprintf(target, sizeof(target), "/proc/%d/ns/net", (int)pid);
	unlink(link_path);
	CU_ASSERT_EQUAL(symlink(target, link_path), 0);
	return pid;
}

/*
 * A container's namespace is made anew, under the same name and with the same address: who holds
 * on to the old one is told to let go.
 */
static void
test_anew(void)
{
	pid_t pids[2];
	uint32_t gen;
	int rc = -1;

	harness_control(hear_set, "");
	snprintf(link_path, sizeof(link_path), "%s/anew", harness_run_dir());
	pids[0] = relink();
	harness_control(add_by_link, &rc);
	CU_ASSERT_EQUAL_FATAL(rc, 0);
	CU_ASSERT_STRING_EQUAL(heard, "+");
	gen = harness_container("r")->gid_gen;
	harness_control(add_by_link, &rc);
	CU_ASSERT_EQUAL(rc, 0);
	CU_ASSERT_STRING_EQUAL(heard, "");
	pids[1] = relink();
	harness_control(add_by_link, &rc);
	CU_ASSERT_EQUAL(rc, 0);
	CU_ASSERT_STRING_EQUAL(heard, "-+");
	CU_ASSERT_NOT_EQUAL(harness_container("r")->gid_gen, gen);
	CU_ASSERT_TRUE(slot_is("r", 0, "10.41.0.2"));
	CU_ASSERT_EQUAL(harness_del("r"), 0);
	unlink(link_path);
	harness_control(hear_set, NULL);
	for (unsigned i = 0; i < 2; i++) {
		kill(pids[i], SIGKILL);
		waitpid(pids[i], NULL, 0);
	}
}

/* The same container added again: it is followed as before. */
static void
test_again(void)
{
	pid_t old = holder;
	int rc = -1;

	harness_control(add, &rc);
	CU_ASSERT_EQUAL(rc, 0);
	CU_ASSERT_EQUAL(harness_del("n"), 0);
	kill(old, SIGKILL);
	waitpid(old, NULL, 0);
}

int
main(void)
{
	static const struct harness_test tests[] = {
		{"follow", test_follow},   {"link MTU", test_link_mtu}, {"rename", test_rename},
		{"missing", test_missing}, {"anew", test_anew},		{"again", test_again},
	};

	holder = geteuid() ? -1 : namespace_make();
	if (holder < 0) {
		printf("needs root, ip and nsenter\n");
		return SKIP;
	}
	snprintf(ns_path, sizeof(ns_path), "/proc/%d/ns/net", (int)holder);
	return harness_main("netns", tests, sizeof(tests) / sizeof(tests[0]));
}
