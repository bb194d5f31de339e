/* SPDX-License-Identifier: MIT */
/* See stream_util.h. */
#include "stream_util.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../../../shim/mem_priv.h"
#include "router.h"

#define SCENE_MS    20000 /* takes a fraction of a second: only a hang reaches it */
#define TURNS_AFTER 20u	  /* of the other end, while one is stopped */

struct end_report *reports;
int own_end;

static struct {
	int listener;
	int sock[ENDS];	   /* by the order in which they came; -1 */
	uint32_t id[ENDS]; /* asked for; 0 */
	bool held_back;	   /* the second one gets its offer when the first one waits */
	int ends[2], page;
} fake;

/* mem_kio.c is the shim's; there is no memory to hold here. */
_Atomic uint32_t ff_hold_seq;

bool
ff_hold_wait(uint32_t seq)
{
	return false;
}

/* ---- the router ---- */

static void
router_send(unsigned to, uint32_t type, uint32_t value, const int *fds, unsigned n)
{
	struct ff_tcp_msg m = {.type = type, .stream = fake.id[to], .value = value};
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(FF_TCP_OFFER_FDS * sizeof(int))] = {0};
	struct iovec iov = {&m, sizeof(m)};
	struct msghdr h = {.msg_iov = &iov, .msg_iovlen = 1};
	struct cmsghdr *c = (struct cmsghdr *)control;

	if (n) {
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(n * sizeof(int));
		memcpy(CMSG_DATA(c), fds, n * sizeof(int));
		h.msg_control = control;
		h.msg_controllen = CMSG_SPACE(n * sizeof(int));
	}
	(void)!sendmsg(fake.sock[to], &h, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void
offer_send(unsigned to, unsigned side)
{
	const int fds[] = {fake.ends[side], fake.ends[1 - side], fake.page};

	router_send(to, FF_TCP_OFFER, side, fds, FF_TCP_OFFER_FDS);
}

static void
offer_make(void)
{
	int size = FF_TCP_END_BUFFER;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fake.ends))
		abort();
	for (unsigned i = 0; i < 2; i++)
		if (setsockopt(fake.ends[i], SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)))
			setsockopt(fake.ends[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	fake.page = memfd_create("page", MFD_CLOEXEC);
	if (fake.page < 0 || ftruncate(fake.page, FF_TCP_MEMORY))
		abort();
}

static void
offer_drop(void)
{
	for (unsigned i = 0; i < 2; i++) {
		if (fake.ends[i] >= 0)
			close(fake.ends[i]);
		fake.ends[i] = -1;
	}
	if (fake.page >= 0)
		close(fake.page);
	fake.page = -1;
	fake.held_back = false;
}

/* Which of the connections is the victim's process, that comes first to the page. */
static unsigned
first_of(const pid_t pids[ENDS], int end)
{
	struct ucred cred = {0};
	socklen_t len = sizeof(cred);

	getsockopt(fake.sock[0], SOL_SOCKET, SO_PEERCRED, &cred, &len);
	return cred.pid == pids[end] ? 0 : 1;
}

static void
router_release(unsigned first)
{
	if (fake.held_back)
		offer_send(1 - first, 1);
	if (fake.held_back)
		offer_drop();
}

static void
router_message(unsigned from, unsigned first, const struct ff_tcp_msg *m)
{
	if (m->type == FF_TCP_FORGET)
		fake.id[from] = 0;
	if (m->type == FF_TCP_POKE && !fake.held_back && fake.id[1 - from])
		router_send(1 - from, FF_TCP_POKE, 0, NULL, 0);
	if (m->type == FF_TCP_POKE && from == first)
		router_release(first);
	if (m->type != FF_TCP_ASK)
		return;
	fake.id[from] = m->stream;
	if (!fake.id[0] || !fake.id[1])
		return;
	offer_drop();
	offer_make();
	offer_send(first, 0);
	fake.held_back = true;
}

static void
router_receive(unsigned from, unsigned first)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))];
	struct ff_tcp_msg m = {0};
	struct iovec iov = {&m, sizeof(m)};
	struct msghdr h = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = control,
			   .msg_controllen = sizeof(control)};
	ssize_t n = recvmsg(fake.sock[from], &h, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	struct cmsghdr *c = n > 0 ? CMSG_FIRSTHDR(&h) : NULL;
	int fd;

	if (c) {
		memcpy(&fd, CMSG_DATA(c), sizeof(fd));
		close(fd);
	}
	if (n == (ssize_t)sizeof(m)) {
		router_message(from, first, &m);
	} else if (n >= 0 || errno != EAGAIN) {
		close(fake.sock[from]);
		fake.sock[from] = -1;
		fake.id[from] = 0;
	}
}

static void
router_turn(const pid_t pids[ENDS], int victim)
{
	struct pollfd p[1 + ENDS] = {{.fd = fake.listener, .events = POLLIN}};
	unsigned first = fake.sock[0] >= 0 ? first_of(pids, victim) : 0;

	for (unsigned i = 0; i < ENDS; i++)
		p[1 + i] = (struct pollfd){.fd = fake.sock[i], .events = POLLIN};
	if (poll(p, 1 + ENDS, 5) <= 0)
		return;
	if (p[0].revents) {
		unsigned i = fake.sock[0] < 0 ? 0 : 1;

		/* Not a connection that the shim of this process is to look at. */
		fake.sock[i] = (int)syscall(SYS_accept4, fake.listener, NULL, NULL, SOCK_CLOEXEC);
	}
	for (unsigned i = 0; i < ENDS; i++)
		if (p[1 + i].revents)
			router_receive(i, first);
}

static void
router_open(void)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};

	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s/%s", router.dir, FF_TCP_SOCK);
	fake.listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	fake.sock[0] = fake.sock[1] = fake.ends[0] = fake.ends[1] = fake.page = -1;
	fake.id[0] = fake.id[1] = 0;
	fake.held_back = false;
	unlink(sun.sun_path);
	if (bind(fake.listener, (struct sockaddr *)&sun, sizeof(sun)) || listen(fake.listener, 8))
		abort();
}

static void
router_close(void)
{
	char path[128];

	offer_drop();
	for (unsigned i = 0; i < ENDS; i++)
		if (fake.sock[i] >= 0)
			close(fake.sock[i]);
	close(fake.listener);
	snprintf(path, sizeof(path), "%s/%s", router.dir, FF_TCP_SOCK);
	unlink(path);
}

/* ---- the ends ---- */

bool
is_unix(int fd)
{
	int domain = 0;
	socklen_t len = sizeof(domain);

	return !syscall(SYS_getsockopt, fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) &&
	       domain == AF_UNIX;
}

uint8_t
byte_at(int end, uint64_t offset)
{
	return (uint8_t)(offset * 131 + (offset >> 8) * 7 + (uint64_t)end * 97);
}

static ssize_t
part_send(int fd, uint64_t left, size_t max, int flags)
{
	struct end_report *r = &reports[own_end];
	static uint8_t buf[128 << 10];
	size_t len = left < max ? left : max;
	ssize_t n;

	for (size_t i = 0; i < len; i++)
		buf[i] = byte_at(own_end, r->sent + i);
	r->sent_begun = r->sent + len;
	n = send(fd, buf, len, flags | MSG_NOSIGNAL);
	if (n > 0)
		r->sent += (uint64_t)n;
	r->turns++;
	return n;
}

static ssize_t
part_receive(int fd, size_t max, int flags)
{
	struct end_report *r = &reports[own_end];
	static uint8_t buf[128 << 10];
	ssize_t n = recv(fd, buf, max, flags);

	for (ssize_t i = 0; i < n; i++)
		if (buf[i] != byte_at(1 - own_end, r->received + (uint64_t)i))
			r->wrong = true;
	if (n > 0)
		r->received += (uint64_t)n;
	r->turns++;
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		r->ended = true;
	return n;
}

void
exchange_bytes(int fd, uint64_t total)
{
	struct end_report *r = &reports[own_end];
	static const struct timespec moment = {.tv_nsec = 300000};
	bool said = false, gone = false;
	struct pollfd p = {.fd = fd};

	while (!r->ended || !(said || gone)) {
		if (!said && r->sent == total) {
			said = true;
			shutdown(fd, SHUT_WR);
		}
		p.events = (short)(said || gone ? POLLIN : POLLIN | POLLOUT);
		(void)poll(&p, 1, 50);
		if (!said && !gone && (p.revents & (POLLOUT | POLLERR)) &&
		    part_send(fd, total - r->sent, 1 + r->turns % 3000, MSG_DONTWAIT) < 0)
			gone = errno != EAGAIN;
		(void)part_receive(fd, 4096, MSG_DONTWAIT);
		/* The router's process wants to run, too. */
		if (!is_unix(fd))
			nanosleep(&moment, NULL);
	}
}

/* The socket may be a non-blocking one by now. */
static bool
may_go_on(int fd, ssize_t n, short events)
{
	struct pollfd p = {.fd = fd, .events = events};

	return n > 0 || (n < 0 && errno == EAGAIN && poll(&p, 1, SCENE_MS) == 1);
}

void
all_send(int fd, size_t len)
{
	uint64_t until = reports[own_end].sent + len;

	while (reports[own_end].sent < until &&
	       may_go_on(fd, part_send(fd, until - reports[own_end].sent, len, 0), POLLOUT))
		;
}

void
all_receive(int fd, size_t len)
{
	uint64_t until = reports[own_end].received + len;

	while (reports[own_end].received < until &&
	       may_go_on(fd, part_receive(fd, until - reports[own_end].received, 0), POLLIN))
		;
}

void
ping_pong(int fd, unsigned rounds, size_t size)
{
	static const struct timespec moment = {.tv_nsec = 300000};
	struct end_report *r = &reports[own_end];

	for (unsigned i = 0; i < rounds && !r->ended; i++) {
		if (own_end == CLIENT)
			all_send(fd, size);
		all_receive(fd, size);
		if (own_end == SERVER)
			all_send(fd, size);
		if (!is_unix(fd))
			nanosleep(&moment, NULL);
	}
}

static const struct scene *scene;

static void
strike(enum stream_fault at)
{
	if (at != scene->at || reports[own_end].hit)
		return;
	reports[own_end].hit = true;
	kill(getpid(), scene->signal);
}

static int
end_open(int listener, const struct sockaddr_in *to)
{
	int fd;

	if (own_end == SERVER)
		return accept(listener, NULL, NULL);
	fd = socket(AF_INET, SOCK_STREAM, 0);
	if (connect(fd, (const struct sockaddr *)to, sizeof(*to)))
		abort();
	return fd;
}

static _Noreturn void
end_run(int listener, const struct sockaddr_in *to)
{
	int fd;

	close(fake.listener);
	setenv("FREEFLOW_TCP", scene->mode, 1);
	setenv("VNET_PREFIX", "127.0.0.0/8", 1);
	if (scene->signal && own_end == scene->victim)
		stream_fault = strike;
	fd = end_open(listener, to);
	close(listener);
	scene->play[own_end](fd);
	reports[own_end].exchanged = is_unix(fd);
	close(fd);
	_exit(0);
}

/* ---- the scene ---- */

/* A process has been stopped: the other one goes on without it for a while. */
static void
stopped_continue(const struct scene *s, pid_t pid, uint64_t turns_then)
{
	if (reports[1 - s->victim].turns >= turns_then + TURNS_AFTER ||
	    reports[1 - s->victim].ended)
		kill(pid, SIGCONT);
}

static bool
scene_watch(const struct scene *s, pid_t pids[ENDS])
{
	bool stopped = false;
	uint64_t turns = 0;
	int left = ENDS, status;

	for (int i = 0; i < SCENE_MS / 5 && left; i++) {
		router_turn(pids, s->victim);
		for (int end = 0; end < ENDS; end++) {
			if (pids[end] <= 0 || waitpid(pids[end], &status, WNOHANG | WUNTRACED) <= 0)
				continue;
			if (WIFSTOPPED(status)) {
				stopped = true;
				turns = reports[1 - end].turns;
				router_release(fake.sock[0] >= 0 ? first_of(pids, end) : 0);
				continue;
			}
			pids[end] = 0;
			left--;
		}
		if (stopped && pids[s->victim] > 0)
			stopped_continue(s, pids[s->victim], turns);
		if (!pids[s->victim])
			router_release(0);
	}
	return !left;
}

bool
scene_play(const struct scene *s)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof(sin);
	pid_t pids[ENDS];
	bool done;

	scene = s;
	if (!reports)
		reports = mmap(NULL, ENDS * sizeof(*reports), PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	memset(reports, 0, ENDS * sizeof(*reports));
	if (bind(listener, (struct sockaddr *)&sin, len) || listen(listener, 1) ||
	    getsockname(listener, (struct sockaddr *)&sin, &len))
		abort();
	router_open();
	for (own_end = 0; own_end < ENDS; own_end++) {
		pids[own_end] = fork();
		if (!pids[own_end])
			end_run(listener, &sin);
	}
	close(listener);
	done = scene_watch(s, pids);
	for (int end = 0; end < ENDS; end++)
		if (pids[end] > 0) {
			kill(pids[end], SIGKILL);
			waitpid(pids[end], NULL, 0);
		}
	router_close();
	return done;
}

/* ---- what most scenes come to ---- */

const char *const modes[] = {"unix", "fifo"};

void
one_scene(const struct scene *s)
{
	bool done = scene_play(s);

	for (int end = 0; end < ENDS; end++) {
		CU_ASSERT_FALSE(reports[end].wrong);
		CU_ASSERT_EQUAL(reports[end].failed, 0);
	}
	CU_ASSERT_TRUE(done);
	if (done && !reports[0].wrong && !reports[1].wrong && !reports[0].failed &&
	    !reports[1].failed)
		return;
	printf("\n%s: %s is hit by %d at %d%s; server: line %u, client: line %u", s->mode,
	       s->victim == SERVER ? "server" : "client", s->signal, s->at,
	       done ? "" : ", and it hangs", reports[SERVER].failed, reports[CLIENT].failed);
}

void
all_arrived(uint64_t total)
{
	for (int end = 0; end < ENDS; end++) {
		CU_ASSERT_EQUAL(reports[end].sent, total);
		CU_ASSERT_EQUAL(reports[end].received, total);
	}
}

void
other_plays(int fd)
{
	ping_pong(fd, EXCHANGE_ROUNDS + 2, 100);
}
