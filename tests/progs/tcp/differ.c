/* SPDX-License-Identifier: MIT */
/*
 * Main program: draws scripts, plays them; see differ.h. Runs inside a container.
 *
 *     differ SEED COUNT PORT          the server
 *     differ SEED COUNT PORT ADDRESS  the client
 *
 * DIFFER_STEPS=3,17,18 in the environment of both leaves the other steps out: to find the few that
 * make a difference. Its last line, "exchanged N of COUNT", is not part of what is compared.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "differ.h"

#define SCRIPT_S  30 /* takes milliseconds: only a hang reaches it */
#define STEPS_MIN 8u
#define STEPS_MAX 40u

struct differ d = {.ctl = -1, .fd = -1, .ep = {-1, -1}};
static struct sockaddr_in server_addr;
static int listener = -1;
static uint64_t rng_state;

/* ---- output ---- */

void
fail(const char *format, ...)
{
	int err = errno;
	va_list args;

	printf("%llu.%u failed: ", (unsigned long long)d.seed, d.number);
	va_start(args, format);
	errno = err;
	vprintf(format, args);
	va_end(args);
	printf(" [%s]\n", strerrorname_np(err));
	exit(1);
}

void
say(const struct step *st, const char *format, ...)
{
	va_list args;

	printf("%llu.%u %s ", (unsigned long long)d.seed, d.number, st->op->name);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
}

const char *
result(int64_t rc)
{
	static char texts[4][64];
	static unsigned turn;
	char *text = texts[turn++ % 4];

	if (rc < 0)
		snprintf(text, sizeof(texts[0]), " = %lld %s", (long long)rc,
			 strerrorname_np(errno));
	else
		snprintf(text, sizeof(texts[0]), " = %lld", (long long)rc);
	return text;
}

static void
on_alarm(int sig)
{
	static const char text[] = "a script hangs\n";

	/* What has been said names it. */
	(void)!write(STDOUT_FILENO, text, sizeof(text) - 1);
	_exit(1);
}

/* ---- the connection between the ends ---- */

static void
ctl_put(const void *buf, size_t len)
{
	MUST(send(d.ctl, buf, len, MSG_NOSIGNAL) == (ssize_t)len);
}

static void
ctl_get(void *buf, size_t len)
{
	ssize_t n;

	do
		n = recv(d.ctl, buf, len, MSG_WAITALL);
	while (n < 0 && errno == EINTR);
	MUST(n == (ssize_t)len);
}

void
tell(void)
{
	ctl_put(own(), sizeof(*own()));
}

void
hear(void)
{
	struct side was = *other();

	ctl_get(other(), sizeof(*other()));
	if (was.sent != other()->sent || was.fin != other()->fin || was.reset != other()->reset)
		d.news = true;
}

/* System calls: the shim never knows of it. */
static void
ctl_open(void)
{
	int one = 1;

	if (d.role == 0) {
		d.ctl = (int)syscall(SYS_accept4, listener, NULL, NULL, SOCK_CLOEXEC);
	} else {
		d.ctl = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		MUST(syscall(SYS_connect, d.ctl, &server_addr, sizeof(server_addr)) == 0);
	}
	MUST(d.ctl >= 0);
	MUST(setsockopt(d.ctl, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) == 0);
}

/* ---- the connection under test ---- */

static uint32_t
draw(void)
{
	uint64_t x = rng_state += 0x9e3779b97f4a7c15u;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return (uint32_t)(x >> 32);
}

static void
data_connect(bool at_once, int flags)
{
	struct pollfd p = {.events = POLLOUT};
	int err = -1, rc;
	socklen_t len = sizeof(err);

	p.fd = d.fd = socket(AF_INET, SOCK_STREAM | flags | (at_once ? 0 : SOCK_NONBLOCK), 0);
	rc = connect(d.fd, (struct sockaddr *)&server_addr, sizeof(server_addr));
	printf("%llu connect%s", (unsigned long long)d.seed, result(rc));
	rc = poll(&p, 1, -1);
	(void)getsockopt(d.fd, SOL_SOCKET, SO_ERROR, &err, &len);
	printf(" poll%s %x error %d", result(rc), p.revents, err);
	rc = connect(d.fd, (struct sockaddr *)&server_addr, sizeof(server_addr));
	printf(" again%s\n", result(rc));
}

static void
data_accept(bool plain, int flags)
{
	struct sockaddr_in sa = {0};
	socklen_t len = sizeof(sa);

	d.fd = plain ? accept(listener, (struct sockaddr *)&sa, &len)
		     : accept4(listener, (struct sockaddr *)&sa, &len, flags);
	MUST(d.fd >= 0);
	printf("%llu accept family %d len %u\n", (unsigned long long)d.seed, sa.sin_family, len);
}

static void
data_open(void)
{
	static const int kinds[] = {0, SOCK_NONBLOCK, SOCK_CLOEXEC, SOCK_CLOEXEC | SOCK_NONBLOCK};
	uint32_t client = draw(), server = draw();
	struct sockaddr_in sa = {0};
	socklen_t len = sizeof(sa);
	int one = 1;

	if (d.role)
		data_connect(client % 2, kinds[client / 2 % 4] & SOCK_CLOEXEC);
	else
		data_accept(server % 3 == 0, kinds[server / 3 % 4]);
	MUST(getsockname(d.fd, (struct sockaddr *)&sa, &len) == 0);
	d.port[d.role] = sa.sin_port;
	MUST(getpeername(d.fd, (struct sockaddr *)&sa, &len) == 0);
	d.port[1 - d.role] = sa.sin_port;
	/* Else small writes wait for the other end's delayed acknowledgements. */
	MUST(setsockopt(d.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) == 0);
	tell();
	hear();
}

void
data_close(void)
{
	for (unsigned i = 0; i < d.num_extra; i++)
		close(d.extra[i]);
	d.num_extra = 0;
	if (d.fd >= 0)
		close(d.fd);
	d.fd = -1;
	for (unsigned i = 0; i < 2; i++) {
		if (d.ep[i] >= 0)
			close(d.ep[i]);
		d.ep[i] = -1;
		d.in_ep[i] = false;
	}
}

/* ---- scripts ---- */

/* $DIFFER_STEPS has it, or is not there. */
static bool
is_wanted(unsigned number)
{
	const char *at = getenv("DIFFER_STEPS");
	char *end;

	if (!at)
		return true;
	for (; *at; at = *end ? end + 1 : end)
		if (strtoul(at, &end, 10) == number)
			return true;
	return false;
}

static bool
is_playable(const struct step *st)
{
	const struct side *a = &d.side[st->actor], *b = &d.side[1 - st->actor];
	unsigned when = st->op->when;
	bool whole = !a->fin && !b->fin && !a->deaf && !b->deaf && !a->broken && !b->broken;

	if (a->closed || (when & WHEN_ALIVE && !whole) || (when & WHEN_GONE && !is_gone(b)))
		return false;
	return !(when & WHEN_EMPTY) || b->sent == a->taken;
}

static const struct op *
op_draw(uint32_t at)
{
	static const struct op *const tables[] = {ops_data, ops_state, ops_wait, ops_process};
	unsigned sum = 0;

	for (unsigned i = 0; i < 4; i++)
		for (const struct op *op = tables[i]; op->name; op++)
			sum += op->weight;
	at %= sum;
	for (unsigned i = 0; i < 4; i++)
		for (const struct op *op = tables[i]; op->name; op++) {
			if (at < op->weight)
				return op;
			at -= op->weight;
		}
	abort();
}

static void
step_play(const struct step *st)
{
	if (is_actor(st)) {
		st->op->play(st);
		tell();
		hear();
		/* Alone it has changed nothing for itself, and the other end may play already. */
		if (st->op->both) {
			settle(st);
			tell();
		}
		return;
	}
	if (st->op->both)
		st->op->play(st);
	hear();
	settle(st);
	tell();
	if (st->op->both)
		hear();
}

/* True: it ran at least in part by something else than the kernel's connection. */
static bool
script_play(void)
{
	unsigned steps;
	struct step st;
	bool exchanged = false;

	rng_state = d.seed * 0x2545f4914f6cdd1du;
	memset(d.side, 0, sizeof(d.side));
	d.news = true;
	data_open();
	steps = STEPS_MIN + draw() % (STEPS_MAX - STEPS_MIN);
	for (d.number = 1; d.number <= steps; d.number++) {
		st.op = op_draw(draw());
		st.actor = draw() % 2;
		for (unsigned i = 0; i < ARGS; i++)
			st.arg[i] = draw();
		if (!is_wanted(d.number) || !is_playable(&st))
			continue;
		step_play(&st);
		exchanged = exchanged || (d.fd >= 0 && is_exchanged(d.fd));
	}
	/* Nobody begins anew while the other one still plays. */
	tell();
	hear();
	data_close();
	return exchanged;
}

static void
setup(uint16_t port, const char *address)
{
	int one = 1;

	d.role = address ? 1 : 0;
	server_addr.sin_family = AF_INET;
	server_addr.sin_port = htons(port);
	if (address) {
		MUST(inet_pton(AF_INET, address, &server_addr.sin_addr) == 1);
	} else {
		listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		MUST(setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) == 0);
		MUST(bind(listener, (struct sockaddr *)&server_addr, sizeof(server_addr)) == 0);
		MUST(listen(listener, 8) == 0);
	}
	d.buf = mmap(NULL, BLOCK_MAX, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	MUST(d.buf != MAP_FAILED);
	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGALRM, on_alarm);
}

int
main(int argc, char **argv)
{
	unsigned exchanged = 0;
	unsigned long count;

	if (argc < 4) {
		fprintf(stderr, "usage: differ SEED COUNT PORT [ADDRESS]\n");
		return 2;
	}
	d.seed = strtoull(argv[1], NULL, 10);
	count = strtoul(argv[2], NULL, 10);
	setup((uint16_t)strtoul(argv[3], NULL, 10), argv[4]);
	ctl_open();
	for (unsigned long i = 0; i < count; i++, d.seed++) {
		alarm(SCRIPT_S);
		exchanged += script_play();
	}
	printf("exchanged %u of %lu\n", exchanged, count);
	return 0;
}
