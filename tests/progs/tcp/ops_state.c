/* SPDX-License-Identifier: MIT */
/* Steps that end the connection, or look at what it is; see differ.h. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "differ.h"

/* ---- ends ---- */

static void
op_shutdown(const struct step *st)
{
	static const int hows[] = {SHUT_WR, SHUT_WR, SHUT_WR, SHUT_RDWR, SHUT_RD};
	int how = hows[st->arg[0] % 5];

	say(st, "how %d%s", how, result(shutdown(d.fd, how)));
	if (how != SHUT_RD)
		own()->fin = 1;
	if (how != SHUT_WR)
		own()->deaf = 1;
}

/* RST instead of FIN, RFC 1122 §4.2.2.13, unless both directions have ended. */
static void
op_close(const struct step *st)
{
	struct linger linger = {.l_onoff = 1};
	bool hard = st->arg[0] % 3 == 0,
	     whole = !(own()->fin && other()->fin) && !own()->broken && !other()->broken;

	if (hard)
		say(st, "linger%s",
		    result(setsockopt(d.fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger))));
	data_close();
	say(st, "hard %d unread %llu", hard, (unsigned long long)unread());
	own()->closed = own()->fin = 1;
	own()->reset = whole && (hard || unread());
}

/* ---- names and options ---- */

static void
op_names(const struct step *st)
{
	quiet();
	for (unsigned i = 0; i < 2; i++) {
		struct sockaddr_storage sa = {0};
		const struct sockaddr_in *in = (const struct sockaddr_in *)&sa;
		socklen_t len = st->arg[0] % 4 ? sizeof(sa) : 4;
		int rc = i ? getpeername(d.fd, (struct sockaddr *)&sa, &len)
			   : getsockname(d.fd, (struct sockaddr *)&sa, &len);

		say(st, "%s%s family %d len %u %s", i ? "peer" : "own", result(rc), sa.ss_family,
		    len, in->sin_port == d.port[i ? 1 - d.role : d.role] ? "same" : "other");
	}
}

struct option {
	const char *name;
	int level, option;
	bool settable;
};

static const struct option options[] = {
	{"SO_TYPE", SOL_SOCKET, SO_TYPE, false},
	{"SO_DOMAIN", SOL_SOCKET, SO_DOMAIN, false},
	{"SO_PROTOCOL", SOL_SOCKET, SO_PROTOCOL, false},
	{"SO_ACCEPTCONN", SOL_SOCKET, SO_ACCEPTCONN, false},
	{"SO_ERROR", SOL_SOCKET, SO_ERROR, false},
	{"SO_KEEPALIVE", SOL_SOCKET, SO_KEEPALIVE, true},
	{"SO_REUSEADDR", SOL_SOCKET, SO_REUSEADDR, true},
	{"SO_PRIORITY", SOL_SOCKET, SO_PRIORITY, true},
	{"TCP_NODELAY", IPPROTO_TCP, TCP_NODELAY, false},
	{"TCP_KEEPIDLE", IPPROTO_TCP, TCP_KEEPIDLE, true},
	{"TCP_MAXSEG", IPPROTO_TCP, TCP_MAXSEG, false},
	{"TCP_QUICKACK", IPPROTO_TCP, TCP_QUICKACK, false},
	{"IP_TOS", IPPROTO_IP, IP_TOS, true},
	{"SO_PEERCRED", SOL_SOCKET, SO_PEERCRED, false},
};
#define NUM_OPTIONS (sizeof(options) / sizeof(options[0]))

static void
op_option(const struct step *st)
{
	const struct option *o = &options[st->arg[0] % NUM_OPTIONS];
	int value = 1 + (int)(st->arg[1] % 4), rc;
	socklen_t len = sizeof(value);

	if (o->settable)
		say(st, "set %s %d%s", o->name, value,
		    result(setsockopt(d.fd, o->level, o->option, &value, sizeof(value))));
	value = 0;
	rc = getsockopt(d.fd, o->level, o->option, &value, &len);
	if (o->level == IPPROTO_TCP && (o->option == TCP_QUICKACK || o->option == TCP_MAXSEG))
		value = 0;
	say(st, "get %s%s value %d len %u", o->name, result(rc), value, len);
}

/* What the kernel says of the connection is of the connection. */
static void
op_info(const struct step *st)
{
	struct tcp_info info;
	socklen_t len = sizeof(info);
	int rc;

	quiet();
	memset(&info, 0, sizeof(info));
	rc = getsockopt(d.fd, IPPROTO_TCP, TCP_INFO, &info, &len);
	say(st, "TCP_INFO%s state %u", result(rc), info.tcpi_state);
}

static void
op_inq(const struct step *st)
{
	int bytes = -1, rc = ioctl(d.fd, FIONREAD, &bytes);

	say(st, "FIONREAD%s %d", result(rc), bytes);
}

static void
op_mark(const struct step *st)
{
	int mark = -1, rc = ioctl(d.fd, SIOCATMARK, &mark);

	say(st, "SIOCATMARK%s %d", result(rc), mark);
}

static void
op_stat(const struct step *st)
{
	struct stat s;
	int rc = fstat(d.fd, &s);

	say(st, "fstat%s socket %d", result(rc), S_ISSOCK(s.st_mode));
	say(st, "lseek%s", result(lseek(d.fd, 0, SEEK_CUR)));
	say(st, "listen%s", result(listen(d.fd, 1)));
}

/* What a connected socket refuses. */
static void
op_again(const struct step *st)
{
	struct sockaddr_in sa = {0};
	socklen_t len = sizeof(sa);

	MUST(getpeername(d.fd, (struct sockaddr *)&sa, &len) == 0);
	say(st, "connect%s", result(connect(d.fd, (struct sockaddr *)&sa, sizeof(sa))));
	MUST(getsockname(d.fd, (struct sockaddr *)&sa, &len) == 0);
	say(st, "bind%s", result(bind(d.fd, (struct sockaddr *)&sa, sizeof(sa))));
	say(st, "accept%s", result(accept(d.fd, NULL, NULL)));
}

/* ---- flags of descriptors ---- */

static void
op_flags(const struct step *st)
{
	int on = (int)(st->arg[1] % 2), flags;

	switch (st->arg[0] % 4) {
	case 0:
		say(st, "FIONBIO %d%s", on, result(ioctl(d.fd, FIONBIO, &on)));
		break;
	case 1:
		say(st, "O_NONBLOCK %d was %d", on, nonblock(on));
		break;
	case 2:
		say(st, "FD_CLOEXEC %d%s", on, result(fcntl(d.fd, F_SETFD, on ? FD_CLOEXEC : 0)));
		break;
	default:
		break;
	}
	flags = fcntl(d.fd, F_GETFL);
	say(st, "F_GETFL %x F_GETFD %x", flags & ~O_LARGEFILE, fcntl(d.fd, F_GETFD));
}

const struct op ops_state[] = {
	{"shutdown", op_shutdown, false, WHEN_OPEN, 3},
	{"close", op_close, false, WHEN_OPEN, 1},
	{"names", op_names, false, WHEN_OPEN, 3},
	{"option", op_option, false, WHEN_OPEN, 6},
	{"info", op_info, false, WHEN_OPEN, 1},
	{"inq", op_inq, false, WHEN_OPEN, 3},
	{"mark", op_mark, false, WHEN_OPEN, 1},
	{"stat", op_stat, false, WHEN_OPEN, 1},
	{"flags", op_flags, false, WHEN_OPEN, 4},
	{"again", op_again, false, WHEN_ALIVE, 2},
	{0},
};
