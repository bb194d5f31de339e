/* SPDX-License-Identifier: MIT */
/*
 * churn PORT: an echo server.
 * churn ADDRESS PORT CONNECTIONS: so many connections to it, one after another. Each says a few
 * words and closes; one in EVERY talks long enough to be worth a faster way. Words are checked.
 */
#include <errno.h>
#include <netdb.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define EVERY 10u
#define LONG  200u /* round trips */
#define SHORT 1u
#define WORD  64u

static int
fail(const char *what)
{
	perror(what);
	return 1;
}

/* A socket that listens on port, or is connected to it at address. -1 and errno. */
static int
open_socket(const char *address, const char *port)
{
	struct addrinfo hints = {.ai_family = AF_INET,
				 .ai_socktype = SOCK_STREAM,
				 .ai_flags = AI_PASSIVE | AI_NUMERICHOST | AI_NUMERICSERV},
			*at;
	int fd, rc, on = 1;

	if (getaddrinfo(address, port, &hints, &at))
		return -1;
	fd = socket(at->ai_family, at->ai_socktype, 0);
	if (address)
		rc = connect(fd, at->ai_addr, at->ai_addrlen);
	else
		rc = setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) ||
		     bind(fd, at->ai_addr, at->ai_addrlen) || listen(fd, 128);
	freeaddrinfo(at);
	return rc ? -1 : fd;
}

/* False: it is at its end. */
static bool
echo(int fd)
{
	uint8_t buf[4096];
	ssize_t n = read(fd, buf, sizeof(buf));

	return n > 0 && write(fd, buf, (size_t)n) == n;
}

static int
serve(const char *port)
{
	struct epoll_event event = {.events = EPOLLIN}, got;
	int listener = open_socket(NULL, port), epfd = epoll_create1(0);

	event.data.fd = listener;
	if (listener < 0 || epoll_ctl(epfd, EPOLL_CTL_ADD, listener, &event))
		return fail("listen");
	while (epoll_wait(epfd, &got, 1, -1) >= 0 || errno == EINTR) {
		if (got.data.fd == listener) {
			event.data.fd = accept(listener, NULL, NULL);
			if (event.data.fd < 0 ||
			    epoll_ctl(epfd, EPOLL_CTL_ADD, event.data.fd, &event))
				return fail("accept");
		} else if (!echo(got.data.fd)) {
			close(got.data.fd);
		}
	}
	return fail("epoll_wait");
}

static bool
round_trip(int fd, uint32_t number)
{
	uint32_t word[WORD / sizeof(uint32_t)], back[WORD / sizeof(uint32_t)];
	size_t got = 0;
	ssize_t n = 0;

	for (unsigned i = 0; i < WORD / sizeof(uint32_t); i++)
		word[i] = number * 2654435761u + i;
	if (write(fd, word, sizeof(word)) != (ssize_t)sizeof(word))
		return false;
	while (got < sizeof(back) && (n = read(fd, (uint8_t *)back + got, sizeof(back) - got)) > 0)
		got += (size_t)n;
	return got == sizeof(back) && !memcmp(word, back, sizeof(back));
}

int
main(int argc, char **argv)
{
	unsigned connections = argc == 4 ? (unsigned)atoi(argv[3]) : 0;
	int fd;

	if (argc == 2)
		return serve(argv[1]);
	for (unsigned i = 0; i < connections; i++) {
		unsigned rounds = i % EVERY ? SHORT : LONG;

		fd = open_socket(argv[1], argv[2]);
		if (fd < 0)
			return fail("connect");
		for (unsigned n = 0; n < rounds; n++)
			if (!round_trip(fd, i + n))
				return fail("a word that should come back");
		close(fd);
	}
	return connections ? 0 : 2;
}
