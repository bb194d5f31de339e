/* SPDX-License-Identifier: MIT */
/* Steps that move bytes; see differ.h. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "differ.h"

#define PIPE_MAX (32u << 10) /* less than it takes */
#define PIECES	 3u

/* The buffer in pieces, one of them empty. */
static int
pieces(struct iovec *iov, size_t len, uint32_t at)
{
	size_t first = len ? at % len : 0;

	iov[0] = (struct iovec){d.buf, first};
	iov[1] = (struct iovec){d.buf + first, 0};
	iov[2] = (struct iovec){d.buf + first, len - first};
	return PIECES;
}

/* Mostly small. */
static size_t
size_of(uint32_t arg)
{
	static const uint32_t max[] = {0, 1, 16, 200, 200, 1400, 4097, 16384};
	uint32_t top = max[arg % 8];

	return top ? 1 + arg / 8 % top : 0;
}

/* ---- one write ---- */

static volatile sig_atomic_t pipes;

static void
on_pipe(int sig)
{
	pipes++;
}

static ssize_t
put_file(size_t len)
{
	int file = memfd_create("differ", MFD_CLOEXEC);
	off_t at = 0;
	ssize_t rc;

	MUST(file >= 0 && write(file, d.buf, len) == (ssize_t)len);
	rc = sendfile(d.fd, file, &at, len);
	if (rc >= 0 && at != rc)
		fail("sendfile moved the offset to %ld", (long)at);
	close(file);
	return rc;
}

/* How much goes at a time is nobody's promise. */
static ssize_t
put_pipe(size_t len)
{
	size_t moved = 0;
	ssize_t rc = 0;
	int ends[2];

	len = len < PIPE_MAX ? len : PIPE_MAX;
	MUST(!pipe2(ends, O_CLOEXEC) && write(ends[1], d.buf, len) == (ssize_t)len);
	while (moved < len && (rc = splice(ends[0], NULL, d.fd, NULL, len - moved, 0)) > 0)
		moved += (size_t)rc;
	close(ends[0]);
	close(ends[1]);
	return moved ? (ssize_t)moved : rc;
}

static ssize_t
put_messages(const struct iovec *iov, int n, int flags)
{
	struct mmsghdr m = {.msg_hdr = {.msg_iov = (struct iovec *)iov, .msg_iovlen = (size_t)n}};
	int rc = sendmmsg(d.fd, &m, 1, flags);

	return rc < 0 ? rc : (ssize_t)m.msg_len;
}

static ssize_t
put_to(size_t len, int flags)
{
	struct sockaddr_in nobody = {.sin_family = AF_INET, .sin_port = 1};

	return sendto(d.fd, d.buf, len, flags, (struct sockaddr *)&nobody, sizeof(nobody));
}

static ssize_t
put(uint32_t kind, size_t len, uint32_t at, int flags)
{
	struct iovec iov[PIECES];
	int n = pieces(iov, len, at);
	struct msghdr m = {.msg_iov = iov, .msg_iovlen = (size_t)n};

	switch (kind) {
	case 0:
		return write(d.fd, d.buf, len);
	case 1:
		return writev(d.fd, iov, n);
	case 2:
		return pwritev2(d.fd, iov, n, -1, 0);
	case 3:
		return put_file(len);
	case 4:
		return sendmsg(d.fd, &m, flags);
	case 5:
		return put_messages(iov, n, flags);
	case 6:
		return put_to(len, flags);
	case 7:
		return put_pipe(len);
	default:
		return send(d.fd, d.buf, len, flags);
	}
}

static void
op_write(const struct step *st)
{
	uint32_t kind = st->arg[0] % 9;
	size_t len = size_of(st->arg[1]), room = ROOM_MAX - (own()->sent - other()->taken);
	int flags = (st->arg[2] & 1 ? MSG_NOSIGNAL : 0) | (st->arg[2] & 2 ? MSG_DONTWAIT : 0);
	ssize_t rc;

	if (is_gone(other()) || own()->broken)
		return; /* op_write_gone */
	len = len < room ? len : room;
	stream_fill(d.role, own()->sent, d.buf, len);
	pipes = 0;
	signal(SIGPIPE, on_pipe);
	rc = put(kind, len, st->arg[3], flags);
	say(st, "kind %u len %zu flags %x%s pipes %d", kind, len, flags, result(rc), (int)pipes);
	if (rc > 0)
		own()->sent += (size_t)rc;
}

/* Until the other end's RST is here; then there is the error, for good. */
static void
op_write_gone(const struct step *st)
{
	struct pollfd p = {.fd = d.fd, .events = POLLOUT};
	uint32_t kind = st->arg[0] % 9;
	int flags = st->arg[2] & 1 ? MSG_NOSIGNAL : 0;
	ssize_t rc;

	pipes = 0;
	signal(SIGPIPE, on_pipe);
	stream_fill(d.role, own()->sent, d.buf, 1);
	for (unsigned i = 0; (rc = put(kind, 1, 0, flags)) > 0 && i < 5000; i++)
		usleep(200);
	say(st, "kind %u%s pipes %d", kind, result(rc), (int)pipes);
	rc = put(kind, 1, 0, flags);
	say(st, "again%s pipes %d", result(rc), (int)pipes);
	rc = poll(&p, 1, 0);
	say(st, "poll%s %x", result(rc), p.revents);
	own()->broken = 1;
}

/* ---- one read ---- */

static ssize_t
get_message(const struct step *st, struct iovec *iov, int n, int flags)
{
	struct sockaddr_storage sa;
	uint8_t control[128];
	struct msghdr m = {&sa, sizeof(sa), iov, (size_t)n, control, sizeof(control), 0};
	ssize_t rc = recvmsg(d.fd, &m, flags);
	int err = errno;

	if (rc >= 0)
		say(st, "name %u control %zu flags %x", m.msg_namelen, m.msg_controllen,
		    m.msg_flags);
	errno = err;
	return rc;
}

static ssize_t
get_messages(struct iovec *iov, int n, int flags)
{
	struct mmsghdr m = {.msg_hdr = {.msg_iov = iov, .msg_iovlen = (size_t)n}};
	int rc = recvmmsg(d.fd, &m, 1, flags, NULL);

	return rc < 0 ? rc : (ssize_t)m.msg_len;
}

static ssize_t
get_from(const struct step *st, size_t len, int flags)
{
	struct sockaddr_storage sa;
	socklen_t sa_len = sizeof(sa);
	ssize_t rc = recvfrom(d.fd, d.buf, len, flags, (struct sockaddr *)&sa, &sa_len);
	int err = errno;

	if (rc > 0)
		say(st, "name %u", sa_len);
	errno = err;
	return rc;
}

static ssize_t
get(const struct step *st, uint32_t kind, size_t len, int flags)
{
	struct iovec iov[PIECES];
	int n = pieces(iov, len, st->arg[3]);

	switch (kind) {
	case 0:
		return read(d.fd, d.buf, len);
	case 1:
		return readv(d.fd, iov, n);
	case 2:
		return preadv2(d.fd, iov, n, -1, 0);
	case 3:
		return get_message(st, iov, n, flags);
	case 4:
		return get_messages(iov, n, flags);
	case 5:
		return get_from(st, len, flags);
	case 6:
		/* TCP's own: away with them, unseen. */
		if (!(flags & MSG_PEEK))
			return recv(d.fd, NULL, len, flags | MSG_TRUNC);
		/* fall through */
	default:
		return recv(d.fd, d.buf, len, flags);
	}
}

static void
op_read(const struct step *st)
{
	static const int extra[] = {0,
				    MSG_PEEK,
				    MSG_DONTWAIT,
				    MSG_WAITALL,
				    0,
				    MSG_PEEK | MSG_WAITALL,
				    MSG_PEEK | MSG_DONTWAIT,
				    MSG_WAITALL | MSG_DONTWAIT};
	uint32_t kind = st->arg[0] % 9;
	size_t len = size_of(st->arg[1]);
	int flags = extra[st->arg[2] % 8];
	const char *bad = "";
	ssize_t rc;

	/* Nothing here may wait for the other end. */
	if (!has_answer() || (flags & MSG_WAITALL && len > unread() && !other()->fin)) {
		kind = kind < 3 ? 8 : kind;
		flags |= MSG_DONTWAIT;
	}
	/* With SO_RCVLOWAT no larger than that a read of nothing waits for a byte. */
	len = len ? len : (size_t)(unread() > 0 || kind < 3);
	rc = get(st, kind, len, flags);
	flags = kind < 3 ? 0 : flags;
	if (rc > 0 && kind != 6)
		bad = stream_check(own()->taken, d.buf, (size_t)rc);
	say(st, "kind %u len %zu flags %x%s%s", kind, len, flags, result(rc), bad);
	if (rc > 0 && !(flags & MSG_PEEK))
		own()->taken += (size_t)rc;
}

/* ---- both ends at once ---- */

/* Small messages to and fro, behind what is under way: here sockets get exchanged. */
static void
op_ping(const struct step *st)
{
	unsigned rounds = 20 + st->arg[0] % 300;
	size_t len = 1 + st->arg[1] % 64;
	bool was = nonblock(false);

	for (unsigned i = 0; i < rounds; i++) {
		if (is_actor(st))
			send_whole(len);
		recv_whole(st, len);
		if (!is_actor(st))
			send_whole(len);
	}
	nonblock(was);
	/* In every step the other end's figures come from itself. */
	if (is_actor(st))
		say(st, "rounds %u len %zu", rounds, len);
}

/* The reader waits before there is anything to read. */
static void
op_late(const struct step *st)
{
	size_t len = 1 + st->arg[0] % 1000;
	int flags = st->arg[1] & 1 ? MSG_WAITALL : 0;
	bool was;
	ssize_t rc;

	if (!is_actor(st)) {
		hear();
		usleep(st->arg[2] % 3 * 500);
		send_whole(len);
		return;
	}
	was = nonblock(false);
	tell();
	rc = st->arg[1] & 2 ? recv(d.fd, d.buf, len, flags) : read(d.fd, d.buf, len);
	say(st, "len %zu flags %x%s%s", len, flags, result(rc),
	    rc > 0 ? stream_check(own()->taken, d.buf, (size_t)rc) : "");
	own()->taken += rc > 0 ? (size_t)rc : 0;
	nonblock(was);
}

/* More than fits: the writer waits for the reader. */
static void
op_block(const struct step *st)
{
	size_t len = 1 + st->arg[0] % BLOCK_MAX, step = 1 + st->arg[1] % 200000, left = 0;
	bool was = nonblock(false);
	ssize_t rc;

	if (is_actor(st)) {
		stream_fill(d.role, own()->sent, d.buf, len);
		rc = st->arg[2] & 1 ? write(d.fd, d.buf, len) : send(d.fd, d.buf, len, 0);
		say(st, "len %zu%s", len, result(rc));
		own()->sent += rc > 0 ? (size_t)rc : 0;
	} else {
		for (left = len + unread(); left; left -= step) {
			step = step < left ? step : left;
			recv_whole(st, step);
		}
	}
	nonblock(was);
}

/* Until there is no more room; the other end reads it all, then there is room again. */
static void
op_full(const struct step *st)
{
	size_t len = 1 + st->arg[0] % 65536;
	struct pollfd p = {.fd = d.fd, .events = POLLOUT};
	bool was = nonblock(st->actor == d.role);
	ssize_t rc;

	if (is_actor(st)) {
		do {
			stream_fill(d.role, own()->sent, d.buf, len);
			rc = write(d.fd, d.buf, len);
			own()->sent += rc > 0 ? (size_t)rc : 0;
		} while (rc > 0);
		say(st, "len %zu%s", len, result(rc));
		tell();
		rc = poll(&p, 1, -1);
		say(st, "poll%s %x", result(rc), p.revents);
	} else {
		hear();
		while (unread())
			recv_whole(st, unread() < BLOCK_MAX ? unread() : BLOCK_MAX);
	}
	nonblock(was);
}

const struct op ops_data[] = {
	{"write", op_write, false, WHEN_OPEN, 22},
	{"read", op_read, false, WHEN_OPEN, 22},
	{"gone", op_write_gone, false, WHEN_GONE, 6},
	{"ping", op_ping, true, WHEN_ALIVE, 8},
	{"late", op_late, true, WHEN_ALIVE | WHEN_EMPTY, 5},
	{"block", op_block, true, WHEN_ALIVE, 1},
	{"full", op_full, true, WHEN_ALIVE, 1},
	{0},
};
