/* SPDX-License-Identifier: MIT */
/*
 * What the kernel's TCP socket of a stream says: how far it goes either way, and what it still
 * holds. Nothing here takes a byte out of it but stream_kernel_drop(). Any thread that holds the
 * stream's lock.
 */
#include <fcntl.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "real.h"
#include "stream.h"

/* include/net/tcp_states.h; netinet/tcp.h does not go together with linux/tcp.h. */
#define TCP_STATE_ESTABLISHED 1
#define TCP_STATE_CLOSE	      7

/*
 * What has been sent, in two ways: a segment whose retransmission failed is counted as repeated,
 * but not as sent. The SYN of whom connected counts as acknowledged.
 */
static bool
sent_get(int fd, const struct tcp_info *info, uint64_t *sent)
{
	int unacked = 0;
	uint64_t written;

	*sent = info->tcpi_bytes_sent - info->tcpi_bytes_retrans + info->tcpi_notsent_bytes;
	if (!info->tcpi_bytes_retrans)
		return true;
	if (ff_real.ioctl(fd, SIOCOUTQ, &unacked))
		return false;
	written = info->tcpi_bytes_acked + (uint64_t)unacked;
	return written - *sent <= 1;
}

static bool
info_get(int fd, struct tcp_info *info)
{
	socklen_t len = sizeof(*info);

	memset(info, 0, sizeof(*info));
	return !FF_REAL(getsockopt)(fd, IPPROTO_TCP, TCP_INFO, info, &len) &&
	       len >= offsetof(struct tcp_info, tcpi_bytes_retrans) +
			       sizeof(info->tcpi_bytes_retrans);
}

/* Urgent bytes are counted, but not read with the others. */
static bool
is_urgent(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLPRI};

	return FF_REAL(poll)(&p, 1, 0) > 0 && (p.revents & POLLPRI);
}

bool
stream_kernel_extent(int fd, struct stream_extent *e)
{
	struct tcp_info info, again;
	int unread = 0;

	if (!info_get(fd, &again))
		return false;
	/* Two calls that fit together: nothing has arrived between them. */
	do {
		info = again;
		if (ff_real.ioctl(fd, SIOCINQ, &unread) || !info_get(fd, &again))
			return false;
	} while (info.tcpi_bytes_received != again.tcpi_bytes_received);
	e->taken = info.tcpi_bytes_received - (uint64_t)unread;
	e->whole = again.tcpi_state == TCP_STATE_ESTABLISHED && !is_urgent(fd);
	e->unsent = again.tcpi_notsent_bytes != 0;
	return sent_get(fd, &again, &e->sent);
}

bool
stream_kernel_is_closed(int fd)
{
	struct tcp_info info;

	return info_get(fd, &info) && info.tcpi_state == TCP_STATE_CLOSE;
}

static int
option_get(int fd, int name)
{
	socklen_t len = sizeof(int);
	int value = 0;

	return FF_REAL(getsockopt)(fd, IPPROTO_TCP, name, &value, &len) ? 0 : value;
}

static void
option_set(int fd, int name, int value)
{
	(void)FF_REAL(setsockopt)(fd, IPPROTO_TCP, name, &value, sizeof(value));
}

void
stream_kernel_push(int fd)
{
	int cork = option_get(fd, TCP_CORK), nodelay = option_get(fd, TCP_NODELAY);

	if (cork)
		option_set(fd, TCP_CORK, 0);
	option_set(fd, TCP_NODELAY, 1); /* pushes, also where it is set */
	if (!nodelay)
		option_set(fd, TCP_NODELAY, 0);
	if (cork)
		option_set(fd, TCP_CORK, 1);
}

bool
stream_kernel_has(int fd, uint64_t len)
{
	int unread = 0;

	return !ff_real.ioctl(fd, SIOCINQ, &unread) && unread >= 0 && (uint64_t)unread >= len;
}

/* A low-water mark that is greater than the receive buffer makes that grow; the mark goes again. */
void
stream_kernel_make_room(int fd, uint64_t len)
{
	int mark = len < INT32_MAX ? (int)len : INT32_MAX, one = 1;
	char byte = 0;

	(void)FF_REAL(setsockopt)(fd, SOL_SOCKET, SO_RCVLOWAT, &mark, sizeof(mark));
	(void)FF_REAL(setsockopt)(fd, SOL_SOCKET, SO_RCVLOWAT, &one, sizeof(one));
	/* Who has looked tells the other end of the room that there is. */
	(void)FF_REAL(recv)(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
}

bool
stream_kernel_peek(int fd, uint8_t *buf, uint64_t len)
{
	return FF_REAL(recv)(fd, buf, len, MSG_PEEK | MSG_DONTWAIT) == (ssize_t)len;
}

void
stream_kernel_drop(int fd, uint64_t len)
{
	/* TCP throws away what is not to be copied. */
	if (len)
		(void)FF_REAL(recv)(fd, NULL, len, MSG_TRUNC | MSG_DONTWAIT);
}

/* The peer's process is gone, as far as its socket tells. */
bool
stream_kernel_is_dead(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLRDHUP};

	return FF_REAL(poll)(&p, 1, 0) > 0 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR));
}

/* ---- what an exchange would change ---- */

/* Time-outs and marks are the kernel's to keep; the rest changes the path of the bytes. */
static const struct {
	int level, name, plain;
} simple_options[] = {
	{SOL_SOCKET, SO_RCVLOWAT, 1},	     {SOL_SOCKET, SO_OOBINLINE, 0},
	{SOL_SOCKET, SO_PEEK_OFF, -1},	     {SOL_SOCKET, SO_ZEROCOPY, 0},
	{SOL_SOCKET, SO_TIMESTAMP, 0},	     {SOL_SOCKET, SO_TIMESTAMPNS, 0},
	{SOL_SOCKET, SO_TIMESTAMPING, 0},    {SOL_SOCKET, SO_TIMESTAMP_NEW, 0},
	{SOL_SOCKET, SO_TIMESTAMPNS_NEW, 0}, {SOL_SOCKET, SO_TIMESTAMPING_NEW, 0},
	{IPPROTO_TCP, TCP_REPAIR, 0},	     {IPPROTO_TCP, TCP_INQ, 0},
};

static bool
has_timeout(int fd, int name)
{
	struct timeval t = {0};
	socklen_t len = sizeof(t);

	return FF_REAL(getsockopt)(fd, SOL_SOCKET, name, &t, &len) || t.tv_sec || t.tv_usec;
}

/* A filter sees the segments; a ULP, as TLS, makes others of them. */
static bool
has_program(int fd)
{
	char name[16];
	socklen_t ulp_len = sizeof(name), filter_len = 0;

	return FF_REAL(getsockopt)(fd, SOL_SOCKET, SO_GET_FILTER, NULL, &filter_len) ||
	       filter_len || FF_REAL(getsockopt)(fd, IPPROTO_TCP, TCP_ULP, name, &ulp_len) ||
	       ulp_len;
}

bool
stream_kernel_is_simple(int fd)
{
	socklen_t len;
	int value;

	for (size_t i = 0; i < sizeof(simple_options) / sizeof(simple_options[0]); i++) {
		value = simple_options[i].plain;
		len = sizeof(value);
		/* What this kernel does not know nobody has set. */
		if (!FF_REAL(getsockopt)(fd, simple_options[i].level, simple_options[i].name,
					 &value, &len) &&
		    value != simple_options[i].plain)
			return false;
	}
	return !has_timeout(fd, SO_RCVTIMEO) && !has_timeout(fd, SO_SNDTIMEO) && !has_program(fd) &&
	       ff_real.fcntl(fd, F_GETOWN) == 0;
}

bool
stream_kernel_is_simple_option(int level, int name)
{
	if (level != SOL_SOCKET && level != IPPROTO_TCP)
		return level != SOL_TLS;
	if (level == SOL_SOCKET &&
	    (name == SO_ATTACH_FILTER || name == SO_ATTACH_BPF || name == SO_DETACH_FILTER ||
	     name == SO_LOCK_FILTER || name == SO_RCVTIMEO || name == SO_SNDTIMEO ||
	     name == SO_RCVTIMEO_NEW || name == SO_SNDTIMEO_NEW || name == SO_TXTIME))
		return false;
	if (level == IPPROTO_TCP && (name == TCP_ULP || name == TCP_ZEROCOPY_RECEIVE))
		return false;
	for (size_t i = 0; i < sizeof(simple_options) / sizeof(simple_options[0]); i++)
		if (level == simple_options[i].level && name == simple_options[i].name)
			return false;
	return true;
}
