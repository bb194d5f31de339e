/* SPDX-License-Identifier: MIT */
/* Tests dataplane/net/udp*.c against another VXLAN: the kernel's, in one more network namespace. */
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"

#define PINGS	 30u
#define PING_LEN 1000u
#define STRIDE	 (FF_PORT_HEADROOM + PING_LEN)

/* A process that holds a new network namespace; -1: no. */
static pid_t
holder_start(void)
{
	int ready[2];
	pid_t pid;
	char ok = 0;

	if (pipe(ready))
		return -1;
	pid = fork();
	if (!pid) {
		ok = !prctl(PR_SET_PDEATHSIG, SIGKILL) && !unshare(CLONE_NEWNET);
		if (write(ready[1], &ok, 1) == 1)
			pause();
		_exit(0);
	}
	if (read(ready[0], &ok, 1) != 1)
		ok = 0;
	close(ready[0]);
	close(ready[1]);
	return ok ? pid : -1;
}

/*
 * Underlay 10.8.0.1 (here) and 10.8.0.2; 10.99.0.2 is on the vxlan device there. That has no IPv6,
 * whose solicitations and reports of groups would come amid the replies, when they like.
 */
static bool
peer_make(pid_t pid, const char *csum)
{
	char cmd[1024];

	snprintf(cmd, sizeof(cmd),
		 "ip link add w0 type veth peer name w1 netns %d && ip addr add 10.8.0.1/24 dev w0 "
		 "&& ip link set w0 up && nsenter -t %d -n sh -ec '"
		 "v6=/proc/sys/net/ipv6/conf/default/disable_ipv6; [ ! -e $v6 ] || echo 1 >$v6; "
		 "ip addr add 10.8.0.2/24 dev w1; ip link set w1 up; ip link add vx0 address "
		 "02:01:00:00:00:00 type vxlan id %u dstport %u local 10.8.0.2 remote 10.8.0.1 %s; "
		 "ip addr add 10.99.0.2/24 dev vx0; ip link set vx0 up; "
		 "ip neigh add 10.99.0.1 lladdr 02:02:00:00:00:00 dev vx0 nud permanent; "
		 /* Before, the devices drop what they get. */
		 "until ip link show w1 | grep -q state.UP; do sleep 0.01; done' && "
		 "until ip link show w0 | grep -q state.UP; do sleep 0.01; done",
		 (int)pid, (int)pid, VNI, UDP_PORT, csum);
	return net_command(cmd);
}

static void
checksum_put(uint8_t *at, const uint8_t *p, unsigned len)
{
	uint32_t sum = 0;

	for (unsigned i = 0; i < len; i += 2)
		sum += (uint32_t)(p[i] << 8 | p[i + 1]);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = ~(sum + (sum >> 16));
	at[0] = (uint8_t)(sum >> 8);
	at[1] = (uint8_t)sum;
}

/* Echo requests from 10.99.0.1, of which each has its own number and data. */
static uint32_t
pings_make(uint8_t *out)
{
	static const uint8_t ends[8] = {10, 99, 0, 1, 10, 99, 0, 2};
	uint32_t len = net_packets(out, 4, PINGS, PING_LEN, PING_LEN);

	for (unsigned i = 0; i < PINGS; i++) {
		uint8_t *ip = out + i * STRIDE + FF_PORT_HEADROOM, *icmp = ip + 20;

		memset(ip + 4, 0, 8);
		ip[1] = 0;
		ip[8] = 64;
		ip[9] = 1;
		memcpy(ip + 12, ends, 8);
		checksum_put(ip + 10, ip, 20);
		memset(icmp, 0, 8);
		icmp[0] = 8;
		icmp[7] = (uint8_t)i;
		checksum_put(icmp + 2, icmp, PING_LEN - 20);
	}
	return len;
}

/* The replies come back in order, with the data of the requests. */
static void
pings(struct ff_port_queue *q)
{
	static uint8_t sent[PINGS * STRIDE];
	struct ff_path path = net_path("10.8.0.2");
	struct ff_port_tx tx = {.path = &path, .bytes = sent, .seg_len = PING_LEN};
	struct net_sink *s = net_sink_get();
	unsigned same = 0;

	tx.len = pings_make(sent);
	CU_ASSERT_EQUAL(ff_port_tx(q, &tx, 1), 1);
	CU_ASSERT_EQUAL(net_counter(q, FF_PC_TX_CALLS), 1);
	net_receive(q, s, PINGS, FF_PORT_BURST);
	for (unsigned i = 0; i < s->num && s->lens[i] == PING_LEN; i++) {
		const uint8_t *want = sent + i * STRIDE + FF_PORT_HEADROOM + 24,
			      *ip = s->bytes + i * PING_LEN;

		same += ip[9] == 1 && ip[20] == 0 && !memcmp(ip + 24, want, PING_LEN - 24);
	}
	CU_ASSERT_EQUAL(same, PINGS);
	CU_ASSERT_EQUAL(s->vni, VNI);
	CU_ASSERT_EQUAL(memcmp(s->host, path.host, 16), 0);
}

void
test_kernel_vxlan(void)
{
	static const char *const checksums[] = {"udpcsum", "noudpcsum"};

	for (unsigned i = 0; i < 2; i++) {
		pid_t pid = holder_start();

		CU_ASSERT_FATAL(pid > 0);
		if (peer_make(pid, checksums[i])) {
			struct ff_port *p = net_open_ok("10.8.0.1", 1);

			pings(ff_port_queue_get(p, 0));
			ff_port_close(p);
		} else {
			puts("no vxlan device in this kernel: left out");
		}
		(void)net_command("ip link del w0");
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
}
