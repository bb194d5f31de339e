/* SPDX-License-Identifier: MIT */
/*
 * Tests dataplane/overlay/kernel_transit.c: an overlay network as Docker makes it, whose bridge and
 * VXLAN device are in a namespace of their own, and where other containers are is said in advance.
 */
#include <CUnit/Basic.h>
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "overlay/kernel_priv.h"
#include "resolver.h"

#define SKIP 77 /* what meson takes for a skipped test */

static struct netns self, underlay, host2, sandbox, c1;
static char dir[] = "/tmp/docker_testXXXXXX", entry[64];

#define RUN(ns, ...) CU_ASSERT_TRUE_FATAL(netns_run(ns, __VA_ARGS__))

/* Docker makes the VXLAN device in the host, and so it sends from there; then it moves it. */
static void
test_docker(void)
{
	RUN(self,
	    "ip link add vx-001001 mtu 1450 type vxlan id 4097 dstport 4789 dev eth0 proxy "
	    "nolearning\n"
	    "ip link set vx-001001 netns %d name vxlan0",
	    (int)sandbox.pid);
	RUN(sandbox, "ip link add br0 mtu 1450 type bridge\n"
		     "ip address add 10.0.9.1/24 dev br0\n"
		     "ip link set vxlan0 master br0 up\n"
		     "ip link set br0 up\n"
		     "ip neigh add 10.0.9.3 lladdr 02:42:0a:00:09:03 dev vxlan0 nud permanent\n"
		     "bridge fdb add 02:42:0a:00:09:03 dev vxlan0 dst 192.168.1.2 self permanent");
	CU_ASSERT_TRUE_FATAL(
		container_connect(c1, sandbox, "veth0", "br0", "02:42:0a:00:09:02", 1450));
	RUN(c1, "ip address add 10.0.9.2/24 dev eth0\nip link set eth0 up");
	ask(c1, "10.0.9.3");
	CU_ASSERT_TRUE(says(c1, "10.0.9.3",
			    "vxlan ::ffff:192.168.1.2 vni 4097 mac 02:42:0a:00:09:03 mtu 1450",
			    true));
}

/* As Docker does when a container comes up elsewhere: followed, not only asked for. */
static void
test_moves(void)
{
	RUN(sandbox, "bridge fdb replace 02:42:0a:00:09:03 dev vxlan0 dst 192.168.1.7 self");
	CU_ASSERT_TRUE(says(c1, "10.0.9.3",
			    "vxlan ::ffff:192.168.1.7 vni 4097 mac 02:42:0a:00:09:03 mtu 1450",
			    false));
	/* The bridge's own address there leads nowhere. */
	RUN(c1, "ip route add 10.0.10.0/24 via 10.0.9.1");
	ask(c1, "10.0.10.5");
	CU_ASSERT_TRUE(says(c1, "10.0.10.5", "none", true));
	RUN(sandbox, "ip link del vxlan0");
	CU_ASSERT_TRUE(says(c1, "10.0.9.3", "none", false));
}

/* A veth whose other end is in a namespace that nobody has named leads nowhere. */
static void
test_unnamed(void)
{
	struct netns other = netns_new(), c2 = netns_new();

	RUN(other, "ip link add br0 type bridge\nip link set br0 up");
	CU_ASSERT_TRUE_FATAL(
		container_connect(c2, other, "veth0", "br0", "02:00:00:00:00:21", 1500));
	RUN(c2, "ip address add 10.0.11.2/24 dev eth0\nip link set eth0 up");
	CU_ASSERT_EQUAL(ask(c2, "10.0.11.3").state, FF_OVERLAY_NONE);
	netns_end(&c2);
	netns_end(&other);
}

static unsigned
num_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	while (d && readdir(d))
		n++;
	closedir(d);
	return n;
}

static void
release(void *arg)
{
	transits_release(0);
}

/* What nothing leads through is let go of: Docker may have done with it. */
static void
test_let_go(void)
{
	unsigned before;

	resolver_flush();
	before = num_fds();
	ff_loop_call(release, NULL);
	CU_ASSERT(num_fds() < before);
}

static bool
symlink_to(int fd, const char *path)
{
	char target[64];

	snprintf(target, sizeof(target), "/proc/%d/fd/%d", (int)getpid(), fd);
	return symlink(target, path) == 0;
}

/* A container's namespace in the same directory is none between others and the host. */
static void
test_container(void)
{
	struct netns c2 = netns_new(), c3 = netns_new();
	char other[64];

	snprintf(other, sizeof(other), "%s/0a1b2c3d4e5f", dir);
	CU_ASSERT_TRUE_FATAL(symlink_to(c2.fd, other));
	RUN(c2, "ip link add br0 type bridge\nip link set br0 up\n"
		"ip link add vxlan0 type vxlan id 9 remote 192.168.1.2 dstport 4789\n"
		"ip link set vxlan0 master br0 up");
	CU_ASSERT_TRUE_FATAL(container_connect(c3, c2, "veth0", "br0", "02:00:00:00:00:31", 1450));
	RUN(c3, "ip address add 10.0.12.2/24 dev eth0\nip link set eth0 up\n"
		"ip neigh add 10.0.12.3 lladdr 02:00:00:00:00:32 dev eth0 nud permanent");
	RUN(c2, "bridge fdb add 02:00:00:00:00:32 dev vxlan0 dst 192.168.1.2 self permanent");
	CU_ASSERT_EQUAL(ask(c3, "10.0.12.3").state, FF_OVERLAY_NONE);
	unlink(other);
	netns_end(&c3);
	netns_end(&c2);
}

static bool
world_make(void)
{
	self = network_self();
	underlay = netns_new();
	host2 = netns_new();
	sandbox = netns_new();
	c1 = netns_new();
	if (!mkdtemp(dir))
		return false;
	snprintf(entry, sizeof(entry), "%s/1-w9x0", dir);
	transit_dir_set(dir);
	/* Docker binds the namespace to a file; what opens is the same. */
	return symlink_to(sandbox.fd, entry) &&
	       netns_run(underlay, "ip link add br0 type bridge && ip link set br0 up") &&
	       host_connect(self, underlay, 1) && host_connect(host2, underlay, 2);
}

static void
world_end(void)
{
	struct netns *all[] = {&c1, &sandbox, &host2, &underlay};

	for (unsigned i = 0; i < 4; i++)
		netns_end(all[i]);
	unlink(entry);
	rmdir(dir);
}

static unsigned
tests_run(void)
{
	CU_pSuite s = CU_add_suite("docker", NULL, NULL);

	CU_add_test(s, "an address", test_docker);
	CU_add_test(s, "moves", test_moves);
	CU_add_test(s, "unnamed", test_unnamed);
	CU_add_test(s, "let go", test_let_go);
	CU_add_test(s, "a container's", test_container);
	CU_basic_set_mode(CU_BRM_VERBOSE);
	CU_basic_run_tests();
	return CU_get_number_of_failures();
}

int
main(void)
{
	unsigned failed = 1;

	if (!network_start()) {
		printf("no network namespace or no VXLAN here: skipped\n");
		return SKIP;
	}
	if (!world_make() || CU_initialize_registry() != CUE_SUCCESS)
		goto end;
	if (resolver_start())
		failed = tests_run();
	resolver_end();
	CU_cleanup_registry();
end:
	world_end();
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
