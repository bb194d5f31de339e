/* SPDX-License-Identifier: MIT */
/*
 * A memif peer on memif-bridge: listens or connects, then sends, echoes or counts Ethernet frames.
 * For interoperability tests against other implementations. Single-threaded.
 *
 *   memif_peer -l|-c PATH -m source|echo|sink [-n frames] [-s size] [-b buffer] [-r log2]
 *              [-w window] [-t seconds] [-p] [-k]
 *
 * source sends numbered frames to a peer that sends each back with its MAC addresses swapped, at
 * most a window of them on their way, and checks that all come back, in order, byte by byte. The
 * others end after that many frames. -p: poll only, never sleep. -k: when done, leave it to the
 * peer to disconnect. Exit status 0: all went well.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "memif.h"

#define BURST	     64u
#define FRAME_MAX    9216u
#define SEGS_MAX     256u
#define HEADER	     14u     /* Ethernet */
#define ETHERTYPE    0x88b5u /* IEEE 802, local experimental */
#define DESC_NEXT    1u
#define SPINS	     64u
#define CONTROL_EACH 4096u /* turns of a busy loop between two looks at the control socket */

enum mode { SOURCE, ECHO, SINK };

static struct {
	bool listen;
	const char *path;
	enum mode mode;
	uint64_t frames;
	uint32_t size, buffer, window;
	unsigned log2;
	int seconds;
	bool poll_only, keep;
} opt = {
	.frames = 1000000,
	.size = 64,
	.buffer = 2048,
	.window = 256,
	.log2 = 10,
	.seconds = 60,
};

static struct peer {
	struct ff_memif *m;
	struct ff_memif_ring *rx, *tx;
	uint64_t sent, received, bad, sleeps, signals;
	uint8_t frame[FRAME_MAX]; /* being received */
	uint32_t len;
	bool whole; /* echo: frame waits to be sent */
	bool broken;
} peer;

static volatile sig_atomic_t stopped;

static void
on_signal(int sig)
{
	stopped = sig;
}

static double
now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + 1e-9 * (double)ts.tv_nsec;
}

static void
make_frame(uint8_t *f, uint64_t seq)
{
	static const uint8_t macs[12] = {2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1};
	uint64_t x = seq * 0x9e3779b97f4a7c15ull;

	memcpy(f, macs, sizeof(macs));
	f[12] = ETHERTYPE >> 8;
	f[13] = ETHERTYPE & 0xff;
	memcpy(f + HEADER, &seq, sizeof(seq));
	for (uint32_t i = HEADER + 8; i < opt.size; i++) {
		f[i] = (uint8_t)(x >> 56);
		x = x * 5 + 1;
	}
}

/* Spreads a frame over as many slots as it takes. Returns whether there was room. */
static bool
transmit(const uint8_t *f, uint32_t len)
{
	struct ff_memif_desc d[SEGS_MAX] = {{0}};
	unsigned n = 0;

	while (len) {
		uint32_t cap;
		void *buf;
		int err = n < SEGS_MAX ? ff_memif_ring_buffer(peer.tx, n, &buf, &cap) : -ENOBUFS;

		if (err == -EPROTO)
			peer.broken = true;
		if (err)
			return false;
		d[n].length = len < cap ? len : cap;
		memcpy(buf, f, d[n].length);
		f += d[n].length;
		len -= d[n].length;
		d[n++].flags = len ? DESC_NEXT : 0;
	}
	if (ff_memif_ring_produce(peer.tx, d, n, true) != n) {
		fprintf(stderr, "a slot was free and is not\n");
		peer.broken = true;
		return false;
	}
	peer.sent++;
	return true;
}

/* What make_frame() made, with the addresses swapped. */
static bool
frame_good(uint64_t seq)
{
	uint8_t want[FRAME_MAX], mac[6];

	make_frame(want, seq);
	memcpy(mac, want, 6);
	memcpy(want, want + 6, 6);
	memcpy(want + 6, mac, 6);
	return peer.len == opt.size && !memcmp(want, peer.frame, opt.size);
}

static void
frame_done(void)
{
	if (opt.mode == SOURCE && !frame_good(peer.received))
		peer.bad++;
	if (opt.mode == ECHO)
		peer.whole = true;
	else
		peer.len = 0;
	peer.received++;
}

static void
swap_macs(void)
{
	uint8_t mac[6];

	memcpy(mac, peer.frame, 6);
	memcpy(peer.frame, peer.frame + 6, 6);
	memcpy(peer.frame + 6, mac, 6);
}

static bool
flush_echo(void)
{
	if (!peer.whole)
		return true;
	swap_macs();
	if (!transmit(peer.frame, peer.len)) {
		swap_macs();
		return false;
	}
	peer.whole = false;
	peer.len = 0;
	return true;
}

static void
take_segment(const struct ff_memif_desc *d)
{
	uint32_t n = d->length;

	if (n > FRAME_MAX - peer.len)
		n = FRAME_MAX - peer.len; /* frame_good() finds it too short */
	if (n)
		memcpy(peer.frame + peer.len, d->addr, n);
	peer.len += n;
	if (!(d->flags & DESC_NEXT))
		frame_done();
}

static unsigned
receive(void)
{
	struct ff_memif_desc d[BURST];
	unsigned total = 0;

	while (total < BURST && flush_echo()) {
		/* An echo takes one at a time: each may have to wait for room. */
		int n = ff_memif_ring_consume(peer.rx, d, opt.mode == ECHO ? 1 : BURST);

		if (n < 0)
			peer.broken = true;
		if (n <= 0)
			break;
		for (int i = 0; i < n; i++)
			take_segment(&d[i]);
		ff_memif_ring_release(peer.rx, (unsigned)n);
		total += (unsigned)n;
	}
	return total;
}

static unsigned
send_more(void)
{
	uint8_t f[FRAME_MAX];
	unsigned n = 0;

	if (opt.mode != SOURCE)
		return 0;
	while (n < BURST && peer.sent < opt.frames && peer.sent - peer.received < opt.window) {
		make_frame(f, peer.sent);
		if (!transmit(f, opt.size))
			break;
		n++;
	}
	return n;
}

static bool
done(void)
{
	return opt.mode == ECHO ? peer.sent >= opt.frames : peer.received >= opt.frames;
}

/* Waits for the peer's eventfd, or for a while where only the peer's reading makes room. */
static void
doze(void)
{
	struct pollfd pfd[2] = {
		{.fd = ff_memif_fd(peer.m), .events = POLLIN},
		{.fd = ff_memif_ring_eventfd(peer.rx), .events = POLLIN},
	};

	ff_memif_ring_mask(peer.rx, false);
	if (!ff_memif_ring_pending(peer.rx)) {
		peer.sleeps++;
		poll(pfd, 2, peer.whole ? 1 : 100);
		peer.signals += pfd[1].revents != 0;
		ff_memif_ring_drain(peer.rx);
	}
	ff_memif_ring_mask(peer.rx, true);
}

static int
run_rings(double end)
{
	unsigned idle = 0;
	uint64_t sent = 0;

	peer.rx = ff_memif_ring_get(peer.m, opt.listen, 0);
	peer.tx = ff_memif_ring_get(peer.m, !opt.listen, 0);
	if (!peer.rx || !peer.tx)
		return -EPROTO;
	ff_memif_ring_mask(peer.rx, true);
	for (unsigned turn = 1; !done() && !peer.broken && !stopped; turn++) {
		unsigned work = receive() + send_more();

		if (peer.sent != sent && ff_memif_ring_should_notify(peer.tx))
			ff_memif_ring_notify(peer.tx);
		sent = peer.sent;
		idle = work ? 0 : idle + 1;
		if (idle >= SPINS && !opt.poll_only)
			doze();
		if (idle < SPINS && turn % CONTROL_EACH)
			continue;
		if (now() > end)
			return -ETIMEDOUT;
		if (ff_memif_process(peer.m) < 0) {
			/* What a peer sent before it left still counts. */
			while (receive())
				;
			break;
		}
	}
	return done() && !peer.bad ? 0 : -EIO;
}

/* Some peers crash when their rings go while they poll them: let them stop first. */
static void
wait_for_disconnect(double end)
{
	struct pollfd pfd = {.fd = ff_memif_fd(peer.m), .events = POLLIN};

	while (!stopped && now() < end && ff_memif_process(peer.m) == 0)
		poll(&pfd, 1, 100);
}

static int
open_socket(const struct sockaddr_un *sun, int lsock)
{
	int fd;

	if (lsock >= 0)
		return accept(lsock, NULL, NULL);
	fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);
	if (fd >= 0 && connect(fd, (const struct sockaddr *)sun, sizeof(*sun)) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

/* A stock server refuses until its port is started, and a socket may be there before or after. */
static int
attach(const struct sockaddr_un *sun, int lsock, double end)
{
	const struct ff_memif_conf conf = {
		.role = opt.listen ? FF_MEMIF_SERVER : FF_MEMIF_CLIENT,
		.name = "memif_peer",
		.num_s2m_rings = 1,
		.num_m2s_rings = 1,
		.log2_ring_size = (uint8_t)opt.log2,
		.buffer_size = opt.buffer,
	};

	while (now() < end && !stopped) {
		int fd = open_socket(sun, lsock), err;

		if (fd >= 0) {
			err = ff_memif_create(&peer.m, fd, &conf);
			if (!err)
				err = ff_memif_wait_connected(peer.m, 5000);
			if (!err)
				return 0;
			fprintf(stderr, "not connected: %s (%s)\n", strerror(-err),
				peer.m ? ff_memif_reason(peer.m) : "");
			ff_memif_destroy(peer.m);
			peer.m = NULL;
		}
		poll(NULL, 0, 50);
	}
	return -ETIMEDOUT;
}

static int
listen_on(struct sockaddr_un *sun)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);

	unlink(opt.path);
	if (fd < 0 || bind(fd, (struct sockaddr *)sun, sizeof(*sun)) < 0 || listen(fd, 1) < 0) {
		perror(opt.path);
		exit(2);
	}
	return fd;
}

static void
parse(int argc, char **argv)
{
	static const char *const modes[] = {"source", "echo", "sink"};
	int c, m = -1;

	while ((c = getopt(argc, argv, "l:c:m:n:s:b:r:w:t:pk")) != -1) {
		switch (c) {
		case 'l':
		case 'c':
			opt.listen = c == 'l';
			opt.path = optarg;
			break;
		case 'm':
			for (int i = 0; i < 3; i++)
				if (!strcmp(optarg, modes[i]))
					m = i;
			break;
		case 'n':
			opt.frames = strtoull(optarg, NULL, 0);
			break;
		case 's':
			opt.size = (uint32_t)strtoul(optarg, NULL, 0);
			break;
		case 'b':
			opt.buffer = (uint32_t)strtoul(optarg, NULL, 0);
			break;
		case 'r':
			opt.log2 = (unsigned)strtoul(optarg, NULL, 0);
			break;
		case 'w':
			opt.window = (uint32_t)strtoul(optarg, NULL, 0);
			break;
		case 't':
			opt.seconds = atoi(optarg);
			break;
		case 'p':
			opt.poll_only = true;
			break;
		case 'k':
			opt.keep = true;
			break;
		default:
			m = -1;
			opt.path = NULL;
		}
	}
	if (!opt.path || m < 0 || opt.size < HEADER + 8 || opt.size > FRAME_MAX || !opt.buffer) {
		fprintf(stderr,
			"usage: %s -l|-c PATH -m source|echo|sink [-n frames] [-s size] "
			"[-b buffer] [-r log2] [-w window] [-t seconds] [-p] [-k]\n",
			argv[0]);
		exit(2);
	}
	opt.mode = (enum mode)m;
}

int
main(int argc, char **argv)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	struct sigaction sa = {.sa_handler = on_signal};
	double begin, end = now(), took;
	int lsock = -1, err;

	parse(argc, argv);
	end += opt.seconds;
	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", opt.path);
	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGALRM, &sa, NULL);
	alarm((unsigned)opt.seconds); /* ends an accept() that nobody answers */
	if (opt.listen)
		lsock = listen_on(&sun);
	err = attach(&sun, lsock, end);
	begin = now();
	if (!err)
		err = run_rings(end);
	took = now() - begin;
	printf("%s sent=%llu received=%llu bad=%llu sleeps=%llu signals=%llu seconds=%.2f",
	       err ? "FAILED" : "PASSED", (unsigned long long)peer.sent,
	       (unsigned long long)peer.received, (unsigned long long)peer.bad,
	       (unsigned long long)peer.sleeps, (unsigned long long)peer.signals, took);
	printf(" reason=%s%s%s\n", err ? strerror(-err) : "none",
	       peer.broken ? ", ring broken" : "", peer.m ? ff_memif_reason(peer.m) : "");
	fflush(stdout);
	if (!err && opt.keep)
		wait_for_disconnect(end);
	ff_memif_destroy(peer.m);
	if (opt.listen)
		unlink(opt.path);
	return err ? 1 : 0;
}
