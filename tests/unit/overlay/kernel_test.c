/* SPDX-License-Identifier: MIT */
/*
 * Tests dataplane/overlay/kernel*.c against real namespaces: overlays that flood and learn, that
 * Flannel makes, that are routed. Needs CAP_SYS_ADMIN and CAP_NET_ADMIN, ip(8) and bridge(8).
 */
#include <CUnit/Basic.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/loop.h"
#include "resolver.h"

#define SKIP 77 /* what meson takes for a skipped test */

static struct netns self, underlay, host2, host3, c1;
static const struct netns nobody = {.fd = RESOLVER_UNDERLAY};

#define RUN(ns, ...) CU_ASSERT_TRUE_FATAL(netns_run(ns, __VA_ARGS__))

#define SAYS(address, wanted)	    CU_ASSERT_TRUE(says(c1, address, wanted, false))
#define SAYS_ASKED(address, wanted) CU_ASSERT_TRUE(says(c1, address, wanted, true))

/* ---- an overlay that floods and learns: the lab's, plain VXLAN ---- */

static bool
vxlan_bridge(struct netns host, unsigned index, const char *others)
{
	return netns_run(host,
			 "ip link add br0 mtu 1450 type bridge mcast_snooping 0\n"
			 "ip link add vxlan0 mtu 1450 type vxlan id 7 local 192.168.1.%u dev eth0 "
			 "dstport 4789\n"
			 "ip link set vxlan0 master br0 up\n"
			 "ip link set br0 up\n"
			 "for o in %s; do\n"
			 "  bridge fdb append 00:00:00:00:00:00 dev vxlan0 dst 192.168.1.$o self\n"
			 "done",
			 index, others);
}

/* announce: tells the others of its address when it comes up. Timers of a lively neighbourhood. */
static bool
container_up(struct netns c, const char *address, bool announce)
{
	return netns_run(c,
			 "cd /proc/sys/net\n"
			 "echo 0 > ipv6/conf/eth0/accept_dad\n"
			 "echo %d > ipv4/conf/eth0/arp_notify\n"
			 "echo 1 > ipv4/neigh/eth0/delay_first_probe_time\n"
			 "echo 2000 > ipv4/neigh/eth0/base_reachable_time_ms\n"
			 "echo 300 > ipv4/neigh/eth0/retrans_time_ms\n"
			 "ip address add 10.32.0.%s/12 dev eth0\n"
			 "ip address add fd32::%s/64 dev eth0 nodad\n"
			 "ip link set eth0 up",
			 announce, address, address);
}

static void
test_learned(void)
{
	struct netns c2 = netns_new(), other = netns_new();

	CU_ASSERT_TRUE_FATAL(vxlan_bridge(self, 1, "2 3") && vxlan_bridge(host2, 2, "1 3") &&
			     vxlan_bridge(host3, 3, "1 2"));
	CU_ASSERT_TRUE_FATAL(container_connect(c1, self, "c1", "br0", "02:00:00:00:00:01", 1450) &&
			     container_up(c1, "1", false));
	CU_ASSERT_TRUE_FATAL(
		container_connect(other, self, "other", "br0", "02:00:00:00:00:09", 1450) &&
		container_up(other, "9", false));
	CU_ASSERT_TRUE_FATAL(container_connect(c2, host2, "c2", "br0", "02:00:00:00:00:02", 1450) &&
			     container_up(c2, "2", false));

	/* Nobody has talked to anybody: the kernel must find the neighbour. */
	ask(c1, "10.32.0.2");
	ask(c1, "fd32::2");
	CU_ASSERT_EQUAL(ask(c1, "10.32.0.77").state, FF_OVERLAY_UNKNOWN);
	SAYS("10.32.0.2", "vxlan ::ffff:192.168.1.2 vni 7 mac 02:00:00:00:00:02 mtu 1450");
	SAYS("fd32::2", "vxlan ::ffff:192.168.1.2 vni 7 mac 02:00:00:00:00:02 mtu 1450");
	/* Nobody has it; it comes up later. */
	SAYS("10.32.0.77", "none");
	/* On this host, and none of ours; the container's own; beyond a router that is not there.
	 */
	ask(c1, "10.32.0.9");
	SAYS("10.32.0.9", "none");
	CU_ASSERT_EQUAL(ask(c1, "10.32.0.1").state, FF_OVERLAY_NONE);
	CU_ASSERT_EQUAL(ask(c1, "10.64.0.1").state, FF_OVERLAY_NONE);
	CU_ASSERT_EQUAL(ask(c1, "fd64::1").state, FF_OVERLAY_NONE);

	/* The interface's MTU is the least on the way. */
	RUN(c1, "ip link set eth0 mtu 1400");
	SAYS("10.32.0.2", "vxlan ::ffff:192.168.1.2 vni 7 mac 02:00:00:00:00:02 mtu 1400");
	RUN(c1, "ip link set eth0 mtu 1450");
	netns_end(&c2);
	netns_end(&other);
}

static void
test_moved(void)
{
	struct netns c2, c3 = netns_new();

	/* To another host, with its MAC, as a live migration does. */
	CU_ASSERT_TRUE_FATAL(container_connect(c3, host3, "c3", "br0", "02:00:00:00:00:02", 1450) &&
			     container_up(c3, "2", true));
	SAYS("10.32.0.2", "vxlan ::ffff:192.168.1.3 vni 7 mac 02:00:00:00:00:02 mtu 1450");
	/* To another host in silence, with another MAC, as a container that is made anew. */
	netns_end(&c3);
	c2 = netns_new();
	CU_ASSERT_TRUE_FATAL(container_connect(c2, host2, "c2", "br0", "02:00:00:00:00:22", 1450) &&
			     container_up(c2, "2", false));
	SAYS("10.32.0.2", "vxlan ::ffff:192.168.1.2 vni 7 mac 02:00:00:00:00:22 mtu 1450");
	/* An entry that ages, or is flushed, is learned anew without anybody's asking. */
	RUN(self, "bridge fdb del 02:00:00:00:00:22 dev vxlan0 dst 192.168.1.2 self");
	SAYS("10.32.0.2", "vxlan ::ffff:192.168.1.2 vni 7 mac 02:00:00:00:00:22 mtu 1450");
	/* The one that nobody had comes up. */
	RUN(c2, "ip address add 10.32.0.77/12 dev eth0");
	SAYS_ASKED("10.32.0.77", "vxlan ::ffff:192.168.1.2 vni 7 mac 02:00:00:00:00:22 mtu 1450");
	/* And nobody is left. */
	netns_end(&c2);
	SAYS("10.32.0.2", "none");
	SAYS("10.32.0.77", "none");
}

/* The same MAC in another overlay, which a tenant there may well have made up. */
static void
test_apart(void)
{
	RUN(self, "ip link add br1 type bridge\n"
		  "ip link add vxlan1 type vxlan id 8 local 192.168.1.1 dev eth0 dstport 4789\n"
		  "ip link set vxlan1 master br1 up\n"
		  "ip link set br1 up\n"
		  "bridge fdb add 02:00:00:00:00:66 dev vxlan1 dst 192.168.1.3 self");
	RUN(c1, "ip neigh add 10.32.0.66 lladdr 02:00:00:00:00:66 dev eth0 nud permanent");
	CU_ASSERT_EQUAL(ask(c1, "10.32.0.66").state, FF_OVERLAY_UNKNOWN);
	SAYS("10.32.0.66", "none");
	RUN(self, "bridge fdb add 02:00:00:00:00:66 dev vxlan0 dst 192.168.1.2 self");
	SAYS("10.32.0.66", "vxlan ::ffff:192.168.1.2 vni 7 mac 02:00:00:00:00:66 mtu 1450");
	/* An interface of the container's own leads nowhere. */
	RUN(c1, "ip link add mine type veth peer name yours\n"
		"ip address add 10.99.0.1/24 dev mine\n"
		"ip link set mine up\nip link set yours up\n"
		"ip neigh add 10.99.0.2 lladdr 02:00:00:00:00:66 dev mine nud permanent\n"
		"ip link add gone type vxlan id 7 remote 10.99.0.2 dstport 4789 dev mine\n"
		"ip address add 10.98.0.1/24 dev gone\n"
		"ip link set gone up\n"
		"ip neigh add 10.98.0.2 lladdr 02:00:00:00:00:66 dev gone nud permanent");
	CU_ASSERT_EQUAL(ask(c1, "10.99.0.2").state, FF_OVERLAY_NONE);
	CU_ASSERT_EQUAL(ask(c1, "10.98.0.2").state, FF_OVERLAY_NONE);
	RUN(c1, "ip link del gone\nip link del mine");
}

/* The control thread is busy: more notifications come than its socket holds. */
static void
overflow(void *arg)
{
	*(bool *)arg = netns_run(
		self,
		"f=$(mktemp)\n"
		"trap \"rm $f\" EXIT\n"
		"for i in $(seq 250); do for j in $(seq 16); do\n"
		"echo neigh replace 10.200.$i.$j lladdr 02:00:00:00:00:00 dev br0 nud permanent\n"
		"done; done > $f\n"
		"ip -batch $f\n"
		"bridge fdb replace 02:00:00:00:00:66 dev vxlan0 dst 192.168.1.3 self\n"
		"sed s/replace/del/ $f | ip -batch -");
}

/* What counts is among those that are lost. */
static void
test_overflow(void)
{
	bool done = false;

	ff_loop_call(overflow, &done);
	CU_ASSERT_TRUE(done);
	SAYS("10.32.0.66", "vxlan ::ffff:192.168.1.3 vni 7 mac 02:00:00:00:00:66 mtu 1450");
}

/* ---- routed overlays ---- */

/* As Flannel does: a bridge for the host's containers, flannel.1 for the others' subnets. */
static void
test_flannel(void)
{
	RUN(self, "ip link del c1\n"
		  "ip link add cni0 type bridge\n"
		  "ip address add 10.244.1.1/24 dev cni0\n"
		  "ip link set cni0 mtu 1450 up\n"
		  "ip link add flannel.1 mtu 1450 type vxlan id 1 local 192.168.1.1 dev eth0 "
		  "dstport 8472 nolearning\n"
		  "ip address add 10.244.1.0/32 dev flannel.1\n"
		  "ip link set flannel.1 up\n"
		  "ip route add 10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink\n"
		  "ip neigh add 10.244.2.0 lladdr 02:00:00:00:f1:02 dev flannel.1 nud permanent\n"
		  "bridge fdb add 02:00:00:00:f1:02 dev flannel.1 dst 192.168.1.2 self");
	CU_ASSERT_TRUE_FATAL(container_connect(c1, self, "f1", "cni0", "02:00:00:00:01:01", 1450));
	RUN(c1, "ip address add 10.244.1.2/24 dev eth0\n"
		"ip link set eth0 up\n"
		"ip route add default via 10.244.1.1");
	ask(c1, "10.244.2.5");
	SAYS("10.244.2.5", "vxlan ::ffff:192.168.1.2 vni 1 mac 02:00:00:00:f1:02 mtu 1450");
	/* The subnet moves. */
	RUN(self, "bridge fdb replace 02:00:00:00:f1:02 dev flannel.1 dst 192.168.1.3 self");
	SAYS("10.244.2.5", "vxlan ::ffff:192.168.1.3 vni 1 mac 02:00:00:00:f1:02 mtu 1450");
	RUN(self,
	    "ip neigh replace 10.244.2.0 lladdr 02:00:00:00:f1:03 dev flannel.1 nud permanent\n"
	    "bridge fdb add 02:00:00:00:f1:03 dev flannel.1 dst 192.168.1.3 self");
	SAYS("10.244.2.5", "vxlan ::ffff:192.168.1.3 vni 1 mac 02:00:00:00:f1:03 mtu 1450");
	RUN(self, "ip route replace 10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink mtu 1300");
	SAYS("10.244.2.5", "vxlan ::ffff:192.168.1.3 vni 1 mac 02:00:00:00:f1:03 mtu 1300");
	/* The host's own view, for a container that has no namespace of its own. */
	ask(network_self(), "10.244.2.6");
	SAYS("10.244.2.6", "vxlan ::ffff:192.168.1.3 vni 1 mac 02:00:00:00:f1:03 mtu 1300");
	/* No subnet of any host; the host's own address; a host of the underlay: no containers. */
	RUN(self, "ip route add default via 192.168.1.2");
	ask(c1, "10.244.9.9");
	SAYS("10.244.9.9", "none");
	ask(c1, "10.244.1.1");
	SAYS("10.244.1.1", "none");
	ask(c1, "192.168.1.3");
	SAYS("192.168.1.3", "none");
	RUN(self, "ip route del 10.244.2.0/24");
	SAYS("10.244.2.5", "none");
	RUN(self, "ip route add 10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink");
	SAYS("10.244.2.5", "vxlan ::ffff:192.168.1.3 vni 1 mac 02:00:00:00:f1:03 mtu 1450");
	/* The device is made anew, as when its VNI is changed. */
	RUN(self, "ip link del flannel.1\n"
		  "ip link add flannel.1 mtu 1450 type vxlan id 2 local 192.168.1.1 dev eth0 "
		  "dstport 8472 nolearning\n"
		  "ip link set flannel.1 up\n"
		  "ip neigh add 10.244.2.0 lladdr 02:00:00:00:f1:02 dev flannel.1 nud permanent\n"
		  "bridge fdb add 02:00:00:00:f1:02 dev flannel.1 dst 192.168.1.2 self\n"
		  "ip route add 10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink");
	SAYS("10.244.2.5", "vxlan ::ffff:192.168.1.2 vni 2 mac 02:00:00:00:f1:02 mtu 1450");
}

/* Flannel's host-gw, Calico without tunnels: the next hop on the underlay is the host. */
static void
test_host_gw(void)
{
	struct netns c4 = netns_new();

	RUN(self, "ip route add 10.245.2.0/24 via 192.168.1.2");
	ask(c1, "10.245.2.7");
	SAYS("10.245.2.7", "plain ::ffff:192.168.1.2 vni 0 mac 02:00:c0:a8:01:02 mtu 1450 by eth0");
	RUN(self, "ip route replace 10.245.2.0/24 via 192.168.1.3");
	SAYS("10.245.2.7", "plain ::ffff:192.168.1.3 vni 0 mac 02:00:c0:a8:01:03 mtu 1450 by eth0");
	RUN(self, "ip route replace blackhole 10.245.2.0/24");
	SAYS("10.245.2.7", "none");
	/* Calico: no bridge; a router that has no address of its own. */
	CU_ASSERT_TRUE_FATAL(container_connect(c4, self, "cali4", NULL, "02:00:00:00:04:01", 1500));
	RUN(self, "echo 1 > /proc/sys/net/ipv4/conf/cali4/proxy_arp\n"
		  "ip route add 10.246.1.2/32 dev cali4\n"
		  "ip route add 10.246.2.0/24 via 192.168.1.2 mtu 1480");
	RUN(c4, "ip address add 10.246.1.2/32 dev eth0\n"
		"ip link set eth0 up\n"
		"ip route add 169.254.1.1 dev eth0\n"
		"ip route add default via 169.254.1.1");
	ask(c4, "10.246.2.9");
	SAYS("10.246.2.9", "plain ::ffff:192.168.1.2 vni 0 mac 02:00:c0:a8:01:02 mtu 1480 by eth0");
	/* A neighbour on this host that is none of ours. */
	ask(c1, "10.246.1.2");
	SAYS("10.246.1.2", "none");
	netns_end(&c4);
}

/* ---- ends ---- */

/* Network namespaces that this process holds a file of. */
static unsigned
namespaces_held(void)
{
	DIR *d = opendir("/proc/self/fd");
	struct dirent *e;
	char target[64];
	unsigned n = 0;

	while (d && (e = readdir(d)))
		n += readlinkat(dirfd(d), e->d_name, target, sizeof(target)) > 4 &&
		     !memcmp(target, "net:", 4);
	if (d)
		closedir(d);
	return n;
}

/* Hosts themselves: the next hop's MAC, followed live. */
static void
test_underlay(void)
{
	ask(nobody, "192.168.1.2");
	CU_ASSERT(says(nobody, "192.168.1.2",
		       "plain ::ffff:192.168.1.2 vni 0 mac 02:00:c0:a8:01:02 mtu 1500 by eth0",
		       false));
	RUN(self, "ip route add 198.51.100.0/24 via 192.168.1.3");
	ask(nobody, "198.51.100.7");
	CU_ASSERT(says(nobody, "198.51.100.7",
		       "plain ::ffff:192.168.1.3 vni 0 mac 02:00:c0:a8:01:03 mtu 1500 by eth0",
		       false));
	RUN(self, "ip route replace 198.51.100.0/24 via 192.168.1.2 mtu 1400");
	CU_ASSERT(says(nobody, "198.51.100.7",
		       "plain ::ffff:192.168.1.2 vni 0 mac 02:00:c0:a8:01:02 mtu 1400 by eth0",
		       false));
	RUN(self, "ip route replace blackhole 198.51.100.0/24");
	CU_ASSERT(says(nobody, "198.51.100.7", "none", false));
}

/* IPv6 on the underlay, and addresses of either family behind it. */
static void
test_host_gw6(void)
{
	struct netns c6 = netns_new();

	RUN(self, "echo 1 > /proc/sys/net/ipv6/conf/all/forwarding\n"
		  "ip address add fd33::1/64 dev eth0 nodad\n"
		  "ip route add fd46::/64 via fd33::2\n"
		  "ip route add 10.247.2.0/24 via inet6 fd33::2");
	RUN(host2, "ip address add fd33::2/64 dev eth0 nodad");
	RUN(host3, "ip address add fe80::3/64 dev eth0 nodad");
	CU_ASSERT_TRUE_FATAL(container_connect(c6, self, "cali6", NULL, "02:00:00:00:06:01", 1500));
	RUN(self, "ip address add fe80::1 dev cali6 nodad\n"
		  "echo 1 > /proc/sys/net/ipv4/conf/cali6/proxy_arp");
	RUN(c6, "ip address add 10.246.1.6/32 dev eth0\n"
		"ip address add fd32::6/128 dev eth0 nodad\n"
		"ip link set eth0 up\n"
		"ip route add 169.254.1.1 dev eth0\n"
		"ip route add default via 169.254.1.1\n"
		"ip route add default via fe80::1 dev eth0");
	ask(c6, "fd46::9");
	ask(c6, "10.247.2.9");
	CU_ASSERT(says(c6, "fd46::9", "plain fd33::2 vni 0 mac 02:00:c0:a8:01:02 mtu 1500 by eth0",
		       false));
	CU_ASSERT(says(c6, "10.247.2.9",
		       "plain fd33::2 vni 0 mac 02:00:c0:a8:01:02 mtu 1500 by eth0", false));
	/* Another MAC; and the neighbour must be found anew. */
	RUN(self, "ip neigh replace fd33::2 lladdr 02:00:c0:a8:01:22 dev eth0 nud permanent");
	CU_ASSERT(says(c6, "fd46::9", "plain fd33::2 vni 0 mac 02:00:c0:a8:01:22 mtu 1500 by eth0",
		       false));
	RUN(self, "ip neigh del fd33::2 dev eth0");
	CU_ASSERT(says(c6, "fd46::9", "plain fd33::2 vni 0 mac 02:00:c0:a8:01:02 mtu 1500 by eth0",
		       false));
	/* As routing daemons announce it. */
	RUN(self, "ip route replace fd46::/64 via fe80::3 dev eth0 mtu 1280");
	CU_ASSERT(says(c6, "fd46::9", "plain fe80::3 vni 0 mac 02:00:c0:a8:01:03 mtu 1280 by eth0",
		       false));
	RUN(self, "ip route replace unreachable fd46::/64");
	CU_ASSERT(says(c6, "fd46::9", "none", false));
	netns_end(&c6);
}

/* VXLAN over that. */
static void
test_outer_v6(void)
{
	struct netns c6 = netns_new();

	RUN(self, "ip link add br6 up type bridge\n"
		  "ip link add vxlan6 type vxlan id 9 local fd33::1 dev eth0 dstport 4789\n"
		  "ip link set vxlan6 master br6 up\n"
		  "bridge fdb add 02:00:00:00:00:06 dev vxlan6 dst fd33::2 self");
	CU_ASSERT_TRUE_FATAL(container_connect(c6, self, "o6", "br6", "02:00:00:00:06:02", 1430));
	RUN(c6, "ip address add 10.66.0.1/24 dev eth0\nip link set eth0 up\n"
		"ip neigh add 10.66.0.2 lladdr 02:00:00:00:00:06 dev eth0 nud permanent");
	CU_ASSERT(says(c6, "10.66.0.2", "vxlan fd33::2 vni 9 mac 02:00:00:00:00:06 mtu 1430", 1));
	netns_end(&c6);
}

/* A second link: routes tell which; on a bridge, where the MAC was seen. */
static void
test_interface(void)
{
	RUN(self,
	    "ip link add side type veth peer name side address 02:00:c0:a8:02:03 netns %d\n"
	    "ip address add 192.168.2.1/24 dev side\n"
	    "ip link set side up\n"
	    "ip route add 203.0.113.0/24 via 192.168.1.3",
	    (int)host3.pid);
	RUN(host3, "ip address add 192.168.2.3/24 dev side\nip link set side up");
	ask(nobody, "203.0.113.3");
	CU_ASSERT(says(nobody, "203.0.113.3",
		       "plain ::ffff:192.168.1.3 vni 0 mac 02:00:c0:a8:01:03 mtu 1500 by eth0",
		       false));
	RUN(self, "ip route replace 203.0.113.0/24 via 192.168.2.3");
	CU_ASSERT(says(nobody, "203.0.113.3",
		       "plain ::ffff:192.168.2.3 vni 0 mac 02:00:c0:a8:02:03 mtu 1500 by side",
		       false));
	RUN(self, "ip link add br9 type bridge\n"
		  "ip link set br9 up\n"
		  "ip address del 192.168.2.1/24 dev side\n"
		  "ip link set side master br9\n"
		  "ip address add 192.168.2.1/24 dev br9\n"
		  "ip route replace 203.0.113.0/24 via 192.168.2.3");
	CU_ASSERT(says(nobody, "203.0.113.3",
		       "plain ::ffff:192.168.2.3 vni 0 mac 02:00:c0:a8:02:03 mtu 1500 by side",
		       false));
	/* No port has shown it. */
	RUN(self, "ip neigh replace 192.168.2.77 lladdr 02:00:00:00:00:77 dev br9 nud permanent");
	ask(nobody, "192.168.2.77");
	CU_ASSERT(says(nobody, "192.168.2.77",
		       "plain ::ffff:192.168.2.77 vni 0 mac 02:00:00:00:00:77 mtu 1500 by any",
		       false));
	RUN(self, "ip link del side\nip link del br9");
}

/* What is forgotten holds no namespace. And one that is none is refused. */
static void
test_forget(void)
{
	struct question q = question(c1, "10.32.0.200");
	struct netns c5 = netns_new();
	unsigned before;

	resolver_flush();
	before = namespaces_held();
	CU_ASSERT_EQUAL(ask(c5, "10.32.0.2").state, FF_OVERLAY_NONE);
	CU_ASSERT_EQUAL(ask(c1, "10.32.0.66").state, FF_OVERLAY_NONE);
	CU_ASSERT_EQUAL(namespaces_held(), before + 2);
	/* Asked from elsewhere: the first namespace is given up. */
	for (unsigned i = 0; i < 1000 && namespaces_held() > before + 1; i++) {
		CU_ASSERT_EQUAL(ask(c1, "10.32.0.2").state, FF_OVERLAY_NONE);
		usleep(10000);
	}
	CU_ASSERT_EQUAL(namespaces_held(), before + 1);
	resolver_flush();
	CU_ASSERT_EQUAL(namespaces_held(), before);
	q.scope.netns_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	question_ask(&q);
	CU_ASSERT_EQUAL(q.rc, -EINVAL);
	CU_ASSERT_EQUAL(q.e.state, FF_OVERLAY_UNKNOWN);
	close(q.scope.netns_fd);
	question_ask(&q);
	CU_ASSERT_EQUAL(q.rc, -EBADF);
	netns_end(&c5);
}

static bool
world_make(void)
{
	self = network_self();
	underlay = netns_new();
	host2 = netns_new();
	host3 = netns_new();
	c1 = netns_new();
	return netns_run(underlay, "ip link add br0 type bridge && ip link set br0 up") &&
	       host_connect(self, underlay, 1) && host_connect(host2, underlay, 2) &&
	       host_connect(host3, underlay, 3);
}

static void
world_end(void)
{
	struct netns *all[] = {&c1, &host2, &host3, &underlay};

	for (unsigned i = 0; i < 4; i++)
		netns_end(all[i]);
}

static unsigned
tests_run(void)
{
	CU_pSuite s = CU_add_suite("kernel", NULL, NULL);

	CU_add_test(s, "flooding and learning", test_learned);
	CU_add_test(s, "moves", test_moved);
	CU_add_test(s, "overlays are apart", test_apart);
	CU_add_test(s, "lost notifications", test_overflow);
	CU_add_test(s, "Flannel", test_flannel);
	CU_add_test(s, "host-gw", test_host_gw);
	CU_add_test(s, "host-gw, IPv6", test_host_gw6);
	CU_add_test(s, "the underlay", test_underlay);
	CU_add_test(s, "VXLAN over IPv6", test_outer_v6);
	CU_add_test(s, "interfaces", test_interface);
	CU_add_test(s, "forgotten", test_forget);
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
