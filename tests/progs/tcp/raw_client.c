/* SPDX-License-Identifier: MIT */
/*
 * raw_client ADDRESS PORT BYTES: as a Go program would, talks to an echo server by system calls of
 * its own, on a non-blocking socket in an edge-triggered epoll set: no library in between sees any
 * of it. All must come back, byte for byte. Prints the bytes both ways.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#define PIECE 20000u
#define AHEAD (128u << 10) /* bytes under way at most */

struct raw_args {
	long a, b, c, d, e;
};

#if defined(__x86_64__)
static long
raw(long number, struct raw_args args)
{
	register long r10 __asm__("r10") = args.d;
	register long r8 __asm__("r8") = args.e;
	register long r9 __asm__("r9") = 0;
	long rc;

	__asm__ volatile("syscall"
			 : "=a"(rc)
			 : "0"(number), "D"(args.a), "S"(args.b), "d"(args.c), "r"(r10), "r"(r8),
			   "r"(r9)
			 : "rcx", "r11", "memory");
	return rc;
}
#elif defined(__aarch64__)
static long
raw(long number, struct raw_args args)
{
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = args.a;
	register long x1 __asm__("x1") = args.b;
	register long x2 __asm__("x2") = args.c;
	register long x3 __asm__("x3") = args.d;
	register long x4 __asm__("x4") = args.e;
	register long x5 __asm__("x5") = 0;

	__asm__ volatile("svc 0"
			 : "+r"(x0)
			 : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
			 : "memory");
	return x0;
}
#else
#error "no system call of its own on this machine"
#endif
#define RAW(number, ...) raw((number), (struct raw_args){__VA_ARGS__})

static void
fail(const char *what, long rc)
{
	fprintf(stderr, "%s: %s\n", what, rc < 0 ? strerror((int)-rc) : "wrong");
	exit(1);
}

static uint8_t
byte_at(uint64_t n)
{
	return (uint8_t)(n ^ (n >> 8) ^ (n >> 17));
}

static int
connect_raw(const char *address, const char *port)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
	long fd = RAW(SYS_socket, AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), rc;

	if (fd < 0)
		fail("socket", fd);
	if (inet_pton(AF_INET, address, &to.sin_addr) != 1)
		fail(address, 0);
	rc = RAW(SYS_connect, fd, (long)&to, sizeof(to));
	if (rc && rc != -EINPROGRESS)
		fail("connect", rc);
	return (int)fd;
}

/* As much as it takes. */
static void
send_more(int fd, uint64_t *sent, uint64_t received, uint64_t total)
{
	static uint8_t buf[PIECE];
	long rc;

	while (*sent < total && *sent - received < AHEAD) {
		uint64_t n = total - *sent < PIECE ? total - *sent : PIECE;

		for (uint64_t i = 0; i < n; i++)
			buf[i] = byte_at(*sent + i);
		rc = RAW(SYS_write, fd, (long)buf, (long)n);
		if (rc == -EAGAIN)
			return;
		if (rc < 0)
			fail("write", rc);
		*sent += (uint64_t)rc;
	}
}

/* As much as there is. False: that was the end. */
static bool
receive_more(int fd, uint64_t *received)
{
	static uint8_t buf[PIECE];
	long rc;

	while ((rc = RAW(SYS_read, fd, (long)buf, sizeof(buf))) > 0) {
		for (long i = 0; i < rc; i++)
			if (buf[i] != byte_at(*received + (uint64_t)i))
				fail("a byte that came back", 0);
		*received += (uint64_t)rc;
	}
	if (rc && rc != -EAGAIN)
		fail("read", rc);
	return rc != 0;
}

int
main(int argc, char **argv)
{
	struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET};
	uint64_t sent = 0, received = 0, before, total = argc == 4 ? strtoull(argv[3], NULL, 0) : 0;
	bool told = false;
	int fd, epfd;
	long rc;

	if (!total)
		return 2;
	fd = connect_raw(argv[1], argv[2]);
	epfd = (int)RAW(SYS_epoll_create1, EPOLL_CLOEXEC);
	rc = RAW(SYS_epoll_ctl, epfd, EPOLL_CTL_ADD, fd, (long)&event);
	if (epfd < 0 || rc)
		fail("epoll", epfd < 0 ? epfd : rc);
	for (;;) {
		rc = RAW(SYS_epoll_pwait, epfd, (long)&event, 1, 60000, 0);
		if (rc <= 0)
			fail("nothing comes for a minute", rc);
		/* Edges: until neither goes on. */
		do {
			before = sent + received;
			send_more(fd, &sent, received, total);
			if (sent == total && !told)
				told = !RAW(SYS_shutdown, fd, SHUT_WR);
			if (!receive_more(fd, &received))
				goto out;
		} while (sent + received != before);
	}
out:
	if (received != total)
		fail("an end before all came back", 0);
	printf("%llu\n", 2 * (unsigned long long)total);
	return 0;
}
