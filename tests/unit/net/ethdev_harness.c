/* SPDX-License-Identifier: MIT */
/* See ethdev_harness.h. */
#include "ethdev_harness.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

uint8_t wire_sent[8u << 20];
static int ns[SIDES]; /* of the ends va and vb */
static const uint8_t macs[SIDES][6] = {{2, 0, 0, 0, 0, 0xa}, {2, 0, 0, 0, 0, 0xb}};

void
wire_enter(unsigned side)
{
	CU_ASSERT_EQUAL_FATAL(setns(ns[side], CLONE_NEWNET), 0);
}

bool
wire_make(void)
{
	char cmd[512];

	for (unsigned i = 0; i < SIDES; i++) {
		if (unshare(CLONE_NEWNET))
			return false;
		ns[i] = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
		if (ns[i] < 0)
			return false;
	}
	/* We are in the second one now. */
	snprintf(cmd, sizeof(cmd),
		 "ip link add vb address 02:00:00:00:00:0b type veth peer name va address "
		 "02:00:00:00:00:0a netns /proc/%d/fd/%d && ip addr add 10.9.0.2/24 dev vb && "
		 "ip addr add fd09::2/64 dev vb nodad && ip link set lo up && ip link set vb up",
		 getpid(), ns[0]);
	if (!net_command(cmd) || setns(ns[0], CLONE_NEWNET))
		return false;
	return net_command("ip addr add 10.9.0.1/24 dev va && ip addr add fd09::1/64 dev va nodad "
			   "&& ip link set lo up && ip link set va up");
}

struct ff_port *
wire_open(unsigned side, enum ff_encap encap, unsigned queues, const char *more, int *err)
{
	char devargs[128];
	struct ff_port_conf conf = {.kind = "ethdev",
				    .devargs = devargs,
				    .encap = encap,
				    .vni = VNI,
				    .udp_port = UDP_PORT,
				    .num_queues = (uint16_t)queues};

	snprintf(devargs, sizeof(devargs), "net_af_packet%u,iface=v%c%s", side, "ab"[side], more);
	wire_enter(side);
	return ff_port_open(&conf, err);
}

struct ff_port *
wire_open_ok(unsigned side, enum ff_encap encap, unsigned queues, const char *more)
{
	int err;
	struct ff_port *p = wire_open(side, encap, queues, more, &err);

	if (!p)
		fprintf(stderr, "side %u: %s\n", side, strerror(-err));
	CU_ASSERT_PTR_NOT_NULL_FATAL(p);
	CU_ASSERT(ff_port_wants_mac(p));
	return p;
}

struct ff_path
wire_path(unsigned side, enum ff_encap encap, const char *host)
{
	struct ff_path p = net_path(host);

	p.encap = encap;
	memcpy(p.next_mac, macs[side], 6);
	return p;
}

/* With encap none, the packet must look like one to UDP port 4791. */
uint32_t
wire_packets(enum ff_encap encap, unsigned num, uint16_t len, uint16_t last)
{
	uint32_t all = net_packets(wire_sent, 4, num, len, last), sum;

	for (unsigned i = 0; encap == FF_ENCAP_NONE && i < num; i++) {
		uint8_t *ip = wire_sent + i * (FF_PORT_HEADROOM + len) + FF_PORT_HEADROOM;
		unsigned udp_len = (i + 1 < num ? len : last) - 20u;

		memcpy(ip + 4, (uint8_t[]){0, 0, 0x40, 0, 64, 17, 0, 0, 10, 1, 0, 1, 10, 1, 0, 2},
		       16);
		sum = 0;
		for (unsigned k = 0; k < 20; k += 2)
			sum += (uint32_t)(ip[k] << 8 | ip[k + 1]);
		sum = ~((sum & 0xffff) + (sum >> 16));
		ip[10] = (uint8_t)(sum >> 8);
		ip[11] = (uint8_t)sum;
		memcpy(ip + 22,
		       (uint8_t[]){4791 >> 8, 4791 & 0xff, (uint8_t)(udp_len >> 8),
				   (uint8_t)udp_len},
		       4);
	}
	return all;
}

void
wire_send(const char *address, uint16_t port, const void *bytes, size_t len)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
	int fd;

	wire_enter(0);
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	inet_pton(AF_INET, address, &to.sin_addr);
	CU_ASSERT_EQUAL(sendto(fd, bytes, len, 0, (struct sockaddr *)&to, sizeof(to)), len);
	close(fd);
}

unsigned long
wire_snmp(const char *protocol, const char *counter)
{
	char names[1024] = "", values[1024] = "", *n, *v, *sn, *sv;
	unsigned long found = 0;
	FILE *f;

	wire_enter(1);
	f = fopen("/proc/thread-self/net/snmp", "re");
	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	while (fgets(values, sizeof(values), f) && strncmp(values, protocol, strlen(protocol)) != 0)
		continue;
	strcpy(names, values);
	CU_ASSERT_PTR_NOT_NULL(fgets(values, sizeof(values), f));
	fclose(f);
	n = strtok_r(names, " \n", &sn);
	v = strtok_r(values, " \n", &sv);
	while (n && v && strcmp(n, counter) != 0) {
		n = strtok_r(NULL, " \n", &sn);
		v = strtok_r(NULL, " \n", &sv);
	}
	CU_ASSERT_PTR_NOT_NULL_FATAL(v);
	sscanf(v, "%lu", &found);
	return found;
}
