/* SPDX-License-Identifier: MIT */
/* Namespaces by processes that hold them, set up by ip(8) and bridge(8). */
#include "network.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

bool
network_start(void)
{
	if (unshare(CLONE_NEWNET))
		return false;
	return netns_run(network_self(), "ip link set lo up && ip link add probe0 type vxlan id 1 "
					 "dstport 4789 && ip link del probe0 && "
					 "ip link add probe0 type bridge && ip link del probe0");
}

struct netns
network_self(void)
{
	return (struct netns){getpid(), -1};
}

static void
hold(int ready)
{
	char ok;

	/* Ends with the test, also when that is killed. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	ok = !unshare(CLONE_NEWNET) && !system("ip link set lo up");
	if (write(ready, &ok, 1) != 1)
		_exit(1);
	for (;;)
		pause();
}

struct netns
netns_new(void)
{
	struct netns ns = {.fd = -1};
	char path[64], ok = 0;
	int ready[2];

	if (pipe2(ready, O_CLOEXEC))
		return ns;
	ns.pid = fork();
	if (!ns.pid)
		hold(ready[1]);
	close(ready[1]);
	if (read(ready[0], &ok, 1) != 1 || !ok)
		fprintf(stderr, "no namespace\n");
	close(ready[0]);
	snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)ns.pid);
	ns.fd = open(path, O_RDONLY | O_CLOEXEC);
	return ns;
}

void
netns_end(struct netns *ns)
{
	close(ns->fd);
	ns->fd = -1;
	kill(ns->pid, SIGKILL);
	waitpid(ns->pid, NULL, 0);
}

bool
netns_run(struct netns ns, const char *fmt, ...)
{
	char script[4096], cmd[4352];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(script, sizeof(script), fmt, ap);
	va_end(ap);
	snprintf(cmd, sizeof(cmd), "nsenter --net=/proc/%d/ns/net sh -ec '%s' >&2", (int)ns.pid,
		 script);
	if (system(cmd) == 0)
		return true;
	fprintf(stderr, "failed: %s\n", script);
	return false;
}

bool
host_connect(struct netns host, struct netns underlay, unsigned index)
{
	return netns_run(underlay,
			 "ip link add host%u type veth peer name eth0 netns %d\n"
			 "ip link set host%u master br0 up",
			 index, (int)host.pid, index) &&
	       netns_run(host,
			 "ip link set eth0 address 02:00:c0:a8:01:%02x\n"
			 "ip address add 192.168.1.%u/24 dev eth0\n"
			 "ip link set eth0 up\n"
			 "echo 1 > /proc/sys/net/ipv4/ip_forward",
			 index, index);
}

bool
container_connect(struct netns c, struct netns host, const char *name, const char *bridge,
		  const char *mac, unsigned mtu)
{
	/* That of a namespace that has ended may not have gone yet. */
	return netns_run(host,
			 "ip link del %s 2>/dev/null || :\n"
			 "ip link add %s mtu %u type veth peer name eth0 mtu %u address %s "
			 "netns %d\n"
			 "ip link set %s %s %s up",
			 name, name, mtu, mtu, mac, (int)c.pid, name, bridge ? "master" : "",
			 bridge ? bridge : "");
}
