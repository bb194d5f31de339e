/* SPDX-License-Identifier: MIT */
/* The streams' bytes, and waiting until all of them are there; see differ.h. */
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "differ.h"

#define SETTLE_S   3
#define QUIET_NAPS 500u

static uint8_t
stream_byte(unsigned role, uint64_t at)
{
	uint64_t x = (at + 1) * 0x9e3779b97f4a7c15u + d.seed * 0xd1342543de82ef95u + role;

	return (uint8_t)(x >> 29 ^ x >> 51);
}

void
stream_fill(unsigned role, uint64_t at, uint8_t *buf, size_t len)
{
	for (size_t i = 0; i < len; i++)
		buf[i] = stream_byte(role, at + i);
}

const char *
stream_check(uint64_t at, const uint8_t *buf, size_t len)
{
	static char bad[64];

	for (size_t i = 0; i < len; i++) {
		if (buf[i] == stream_byte(1 - d.role, at + i))
			continue;
		snprintf(bad, sizeof(bad), " BAD AT %llu", (unsigned long long)(at + i));
		return bad;
	}
	return "";
}

/* By a system call that the shim does not see. */
bool
is_exchanged(int fd)
{
	int domain = 0;
	socklen_t len = sizeof(domain);

	MUST(syscall(SYS_getsockopt, fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0);
	return domain == AF_UNIX;
}

static bool
is_settled(void)
{
	struct pollfd p = {.fd = d.fd, .events = POLLIN | POLLRDHUP};
	int bytes = -1;

	if (ioctl(d.fd, FIONREAD, &bytes) || (uint64_t)bytes != unread())
		return false;
	if (!other()->fin && !other()->broken)
		return true;
	if (poll(&p, 1, 0) < 1)
		return false;
	return p.revents & (other()->reset || other()->broken ? POLLHUP : POLLRDHUP);
}

/* Whether the other end has it is for its acknowledgement to say; so is whether all is over. */
static bool
fin_is_on_its_way(void)
{
	struct tcp_info info = {0};
	socklen_t len = sizeof(info);

	return !getsockopt(d.fd, IPPROTO_TCP, TCP_INFO, &info, &len) &&
	       (info.tcpi_state == TCP_FIN_WAIT1 || info.tcpi_state == TCP_CLOSING ||
		info.tcpi_state == TCP_LAST_ACK);
}

void
quiet(void)
{
	struct timespec nap = {.tv_nsec = 200000};
	int bytes = 0;

	for (unsigned i = 0; i < QUIET_NAPS && !own()->broken; i++) {
		if ((is_gone(other()) || ioctl(d.fd, SIOCOUTQ, &bytes) || !bytes) &&
		    !(own()->fin && fin_is_on_its_way()))
			return;
		nanosleep(&nap, NULL);
	}
}

void
settle(const struct step *st)
{
	struct timespec began, now, nap = {.tv_nsec = 50000};
	unsigned looks = 0;
	int bytes = -1;

	if (own()->closed)
		return;
	clock_gettime(CLOCK_MONOTONIC, &began);
	while (!is_settled()) {
		clock_gettime(CLOCK_MONOTONIC, &now);
		if (now.tv_sec - began.tv_sec > SETTLE_S) {
			(void)ioctl(d.fd, FIONREAD, &bytes);
			say(st, "UNSETTLED: %d bytes for %llu", bytes,
			    (unsigned long long)unread());
			/* So that what follows does not wait for them again. */
			own()->taken = other()->sent - (bytes > 0 ? (unsigned)bytes : 0);
			return;
		}
		if (++looks > 20)
			nanosleep(&nap, NULL);
	}
}

bool
nonblock(bool on)
{
	int flags = fcntl(d.fd, F_GETFL);

	MUST(flags >= 0);
	if (on != !!(flags & O_NONBLOCK))
		MUST(fcntl(d.fd, F_SETFL, flags ^ O_NONBLOCK) == 0);
	return flags & O_NONBLOCK;
}

void
send_whole(size_t len)
{
	size_t done;
	ssize_t n;

	stream_fill(d.role, own()->sent, d.buf, len);
	for (done = 0; done < len; done += (size_t)n) {
		n = write(d.fd, d.buf + done, len - done);
		MUST(n > 0);
	}
	own()->sent += len;
}

void
recv_whole(const struct step *st, size_t len)
{
	const char *bad;
	size_t done;
	ssize_t n;

	for (done = 0; done < len; done += (size_t)n) {
		n = read(d.fd, d.buf, len - done);
		MUST(n > 0);
		bad = stream_check(own()->taken + done, d.buf, (size_t)n);
		if (*bad)
			say(st, "%s", bad);
	}
	own()->taken += len;
}
