/* SPDX-License-Identifier: MIT */
/*
 * Network namespaces for tests: an underlay, hosts on it, containers. The test's own process is the
 * first host. All is gone when the process ends, however it ends.
 */
#ifndef FF_TEST_NETWORK_H
#define FF_TEST_NETWORK_H

#include <stdbool.h>
#include <sys/types.h>

struct netns {
	pid_t pid; /* of the process that holds it */
	int fd;
};

/* Moves this process to a namespace of its own. False: not allowed, or the kernel lacks VXLAN. */
bool network_start(void);
/* The first host: this process. */
struct netns network_self(void);
struct netns netns_new(void);
void netns_end(struct netns *ns);
/* Runs a shell script in it; false, with its output on stderr, if any line fails. */
bool netns_run(struct netns ns, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* eth0 with 192.168.1.INDEX/24 on the underlay. */
bool host_connect(struct netns host, struct netns underlay, unsigned index);
/* eth0 in the container, NAME in the host, a port of bridge (NULL: of none). mac: of eth0. */
bool container_connect(struct netns c, struct netns host, const char *name, const char *bridge,
		       const char *mac, unsigned mtu);

#endif
