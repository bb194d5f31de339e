/* SPDX-License-Identifier: MIT */
/*
 * Options of a stream that is HOST. The kernel's socket behind it keeps them for the program to
 * ask; those that matter to the bytes are the new one's, too. Any thread.
 */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "real.h"
#include "stream_host.h"
#include "stream_meet.h"

/* Of both; the cage of the new one takes no others (dataplane/tcp/cage_prog.c). */
static const struct {
	int level, name;
} shared[] = {
	{SOL_SOCKET, SO_KEEPALIVE},   {IPPROTO_TCP, TCP_KEEPIDLE},
	{IPPROTO_TCP, TCP_KEEPINTVL}, {IPPROTO_TCP, TCP_KEEPCNT},
	{IPPROTO_TCP, TCP_NODELAY},   {IPPROTO_TCP, TCP_USER_TIMEOUT},
	{IPPROTO_TCP, TCP_CORK},      {IPPROTO_TCP, TCP_NOTSENT_LOWAT},
	{IPPROTO_TCP, TCP_LINGER2},
};
#define NUM_SHARED (sizeof(shared) / sizeof(shared[0]))

static bool
is_shared(int level, int name)
{
	if (level == SOL_SOCKET && (name == SO_LINGER || name == SO_OOBINLINE))
		return true;
	if (level == IPPROTO_TCP && name == TCP_QUICKACK)
		return true;
	for (unsigned i = 0; i < NUM_SHARED; i++)
		if (level == shared[i].level && name == shared[i].name)
			return true;
	return false;
}

static bool
is_of_bytes(int level, int name)
{
	if (level == IPPROTO_TCP)
		return name == TCP_INFO || name == TCP_ZEROCOPY_RECEIVE || name == TCP_INQ;
	return level == SOL_SOCKET &&
	       (name == SO_RCVTIMEO || name == SO_SNDTIMEO || name == SO_RCVTIMEO_NEW ||
		name == SO_SNDTIMEO_NEW || name == SO_RCVLOWAT || name == SO_ERROR ||
		name == SO_PEEK_OFF);
}

void
stream_host_adopt(struct stream *s)
{
	struct linger linger = {0};
	socklen_t len = sizeof(linger);
	int value = 0, unlocked = 0;

	if (!FF_REAL(getsockopt)(s->anchor, SOL_SOCKET, SO_LINGER, &linger, &len))
		(void)FF_REAL(setsockopt)(s->end, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	for (unsigned i = 0; i < NUM_SHARED; i++) {
		len = sizeof(value);
		if (!FF_REAL(getsockopt)(s->anchor, shared[i].level, shared[i].name, &value, &len))
			(void)FF_REAL(setsockopt)(s->end, shared[i].level, shared[i].name, &value,
						  sizeof(value));
	}
	/* Room for the exchange was taken; from here on the kernel finds what is good. */
	(void)FF_REAL(setsockopt)(s->end, SOL_SOCKET, SO_BUF_LOCK, &unlocked, sizeof(unlocked));
}

int
stream_host_set(int fd, int level, int name, const void *value, socklen_t len)
{
	int rc;

	if (is_of_bytes(level, name))
		return FF_REAL(setsockopt)(fd, level, name, value, len);
	rc = FF_REAL(setsockopt)(stream_anchor(fd), level, name, value, len);
	if (rc == 0 && is_shared(level, name))
		(void)FF_REAL(setsockopt)(fd, level, name, value, len);
	return rc;
}

int
stream_host_get(int fd, int level, int name, void *value, socklen_t *len)
{
	if (is_of_bytes(level, name))
		return FF_REAL(getsockopt)(fd, level, name, value, len);
	return FF_REAL(getsockopt)(stream_anchor(fd), level, name, value, len);
}
