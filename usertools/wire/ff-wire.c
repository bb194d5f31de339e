/* SPDX-License-Identifier: MIT */
/*
 * The wire between the hosts of a lab, for kernels without sch_netem: a switch in user space that
 * loses, doubles, reorders, corrupts, delays, marks and drops frames, from a seed, so that a
 * failure can be replayed. One thread. A decision depends on the seed and on how many IP frames
 * the port has brought since it was set; what depends on time (a full queue, an ECN mark, whether
 * a held frame was overtaken in time) is not repeatable.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "control.h"
#include "port.h"

#define NS 1000000000ull

struct wire {
	struct wire_hub hub;
	struct wire_control control;
	struct wire_socket *sockets;
};

static uint64_t
now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NS + (uint64_t)ts.tv_nsec;
}

static void
output(void *arg, unsigned port, struct wire_frame *frame)
{
	struct wire *wire = arg;

	wire_socket_put(&wire->sockets[port], port, &wire->hub, frame);
}

static void
flush_all(struct wire *wire)
{
	unsigned i;

	for (i = 0; i < wire->hub.num; i++)
		if (wire->sockets[i].count)
			wire_socket_flush(&wire->sockets[i], i, &wire->hub);
}

static void
read_all(struct wire *wire, const struct pollfd *polls)
{
	uint64_t now = now_ns();
	unsigned i;

	for (i = 0; i < wire->hub.num; i++)
		if (polls[i].revents)
			wire_socket_read(&wire->sockets[i], i, &wire->hub, now);
}

static void
control_serve(struct wire *wire, const struct pollfd *polls)
{
	unsigned i, busy = 0;

	for (i = 0; i < WIRE_CONTROL_FDS; i++)
		busy += polls[i].fd >= 0 && polls[i].revents;
	if (!busy)
		return;
	for (i = 0; i < wire->hub.num; i++)
		wire_socket_count(&wire->sockets[i], i, &wire->hub);
	wire_control_serve(&wire->control, polls, &wire->hub);
}

static void
wire_run(struct wire *wire)
{
	struct pollfd polls[WIRE_PORTS_MAX + WIRE_CONTROL_FDS];
	unsigned i, num = wire->hub.num;

	for (i = 0; i < num; i++)
		polls[i] = (struct pollfd){.fd = wire->sockets[i].fd, .events = POLLIN};
	for (;;) {
		uint64_t now = now_ns(), next = wire_hub_run(&wire->hub, now), wait;
		struct timespec timeout;
		int ready;

		flush_all(wire);
		wait = next > now ? next - now : 0;
		timeout = (struct timespec){(time_t)(wait / NS), (long)(wait % NS)};
		wire_control_poll(&wire->control, polls + num);
		ready = ppoll(polls, num + WIRE_CONTROL_FDS, next == WIRE_NEVER ? NULL : &timeout,
			      NULL);
		if (ready <= 0)
			continue;
		read_all(wire, polls);
		control_serve(wire, polls + num);
	}
}

static int
wire_open(struct wire *wire, const char *control)
{
	const char *what = "memory";
	unsigned i;
	int rc;

	wire->sockets = calloc(wire->hub.num, sizeof(*wire->sockets));
	rc = wire->sockets ? 0 : -ENOMEM;
	for (i = 0; !rc && i < wire->hub.num; i++)
		rc = wire_socket_open(&wire->sockets[i], wire->hub.names[i], &what);
	if (rc) {
		fprintf(stderr, "ff-wire: %s: %s: %s\n", wire->hub.names[i ? i - 1 : 0], what,
			strerror(-rc));
		return rc;
	}
	rc = wire_control_open(&wire->control, control);
	if (rc)
		fprintf(stderr, "ff-wire: %s: %s\n", control, strerror(-rc));
	return rc;
}

/*
 * Waits end when they should, not up to 50 us later, and the kernel need not drop frames while we
 * wait for a CPU: that would be loss that no seed repeats. Below freeflowd's workers.
 */
static void
punctual_become(void)
{
	struct sched_param param = {.sched_priority = 1};

	prctl(PR_SET_TIMERSLACK, 1ul);
	sched_setscheduler(0, SCHED_FIFO, &param);
}

/* Who has started us waits for a line, or for the end of our output. */
static void
ready_tell(void)
{
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

	printf("ready\n");
	fflush(stdout);
	if (null >= 0)
		dup2(null, STDOUT_FILENO);
}

static int
usage(void)
{
	fprintf(stderr,
		"Usage: ff-wire [--impair SPEC] --control PATH | --check INTERFACE...\n"
		"A switch between the interfaces that impairs what goes through it. SPEC is what\n"
		"`ff-lab impair --help` tells; --check: only says whether it is one.\n");
	return 2;
}

int
main(int argc, char **argv)
{
	static const struct option options[] = {{"impair", required_argument, NULL, 'i'},
						{"control", required_argument, NULL, 'c'},
						{"check", no_argument, NULL, 'k'},
						{NULL}};
	const char *spec = "none", *control = NULL;
	static struct wire wire;
	char error[512];
	bool check = false;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		if (option == 'i')
			spec = optarg;
		else if (option == 'c')
			control = optarg;
		else if (option == 'k')
			check = true;
		else
			return usage();
	}
	if (check == !!control || wire_hub_init(&wire.hub, (const char *const *)argv + optind,
						(unsigned)(argc - optind), output, &wire))
		return usage();
	if (wire_hub_set(&wire.hub, spec, error, sizeof(error))) {
		fprintf(stderr, "ff-wire: %s\n", error);
		return 2;
	}
	if (check)
		return 0;
	if (wire_open(&wire, control))
		return 1;
	punctual_become();
	ready_tell();
	wire_run(&wire);
}
