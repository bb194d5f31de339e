/* SPDX-License-Identifier: MIT */
/* The cage: its cgroup, its table, and the sockets that are made in it. One thread. */
#include "cage.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "../core/log.h"

#define STACK_BYTES 65536u
#define PATH_BYTES  4096u

static int
failed(const char *what, int rc)
{
	ff_warn("tcp", "no cage for sockets: %s: %s", what, strerror(-rc));
	return rc;
}

/* ---- the cgroup ---- */

/* A mount of our own, that is seen nowhere: what is mounted where people look may be read-only. */
static int
hierarchy_open(void)
{
	int fs = fsopen("cgroup2", FSOPEN_CLOEXEC), fd = -1, rc = 0;

	if (fs < 0)
		return -errno;
	if (fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) ||
	    (fd = fsmount(fs, FSMOUNT_CLOEXEC, 0)) < 0)
		rc = -errno;
	close(fs);
	return rc ? rc : fd;
}

/* The cgroup that we are in, from the hierarchy's root. */
static int
own_path(char *out, size_t size)
{
	FILE *f = fopen("/proc/self/cgroup", "re");
	char line[PATH_BYTES];
	int rc = -ENOENT;

	if (!f)
		return -errno;
	while (rc && fgets(line, sizeof(line), f)) {
		if (strncmp(line, "0::/", 4))
			continue;
		line[strcspn(line, "\n")] = 0;
		rc = snprintf(out, size, ".%s", line + 3) < (int)size ? 0 : -ENAMETOOLONG;
	}
	fclose(f);
	return rc;
}

static int
cgroup_make(struct tcp_cage *c)
{
	char path[PATH_BYTES];
	int rc;

	c->root = hierarchy_open();
	if (c->root < 0)
		return failed("cgroup2", c->root);
	rc = own_path(path, sizeof(path));
	if (rc)
		return failed("own cgroup", rc);
	c->own = openat(c->root, path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (c->own < 0)
		return failed("own cgroup", -errno);
	/* Programs of a former freeflowd stay with its sockets. */
	if (unlinkat(c->own, c->name, AT_REMOVEDIR) && errno != ENOENT)
		return failed("cgroup of a former freeflowd", -errno);
	if (mkdirat(c->own, c->name, 0755))
		return failed("cgroup", -errno);
	c->dir = openat(c->own, c->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return c->dir < 0 ? failed("cgroup", -errno) : 0;
}

/* ---- programs ---- */

static int
table_make(struct tcp_cage *c)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = BPF_F_MMAPABLE);
	void *p;

	c->map = bpf_map_create(BPF_MAP_TYPE_ARRAY, "ff_open", sizeof(uint32_t), sizeof(uint64_t),
				TCP_CAGE_OPEN, &opts);
	if (c->map < 0)
		return failed("table", c->map);
	p = mmap(NULL, TCP_CAGE_OPEN * sizeof(uint64_t), PROT_READ | PROT_WRITE, MAP_SHARED, c->map,
		 0);
	if (p == MAP_FAILED)
		return failed("table", -errno);
	c->open = p;
	return 0;
}

static int
programs_attach(struct tcp_cage *c)
{
	LIBBPF_OPTS(bpf_prog_load_opts, opts);
	struct tcp_cage_prog p;
	int rc;

	for (unsigned i = 0; i < TCP_CAGE_PROGS; i++) {
		tcp_cage_prog(i, c->map, &p);
		opts.expected_attach_type = p.attach;
		c->progs[i] = bpf_prog_load(p.type, p.name, "GPL", p.insn, p.num, &opts);
		if (c->progs[i] < 0)
			return failed(p.name, c->progs[i]);
		rc = bpf_prog_attach(c->progs[i], c->dir, p.attach, BPF_F_ALLOW_MULTI);
		if (rc)
			return failed(p.name, rc);
	}
	return 0;
}

/* ---- sockets ---- */

struct making {
	int dir, family;
	unsigned num;
	int fds[TCP_CAGE_STOCK];
	int rc;
};

/*
 * In a process that shares memory and descriptors with us, while the caller waits: it goes into the
 * cgroup, and its sockets with it.
 */
static int
make_in_cgroup(void *arg)
{
	struct making *m = arg;
	int procs = openat(m->dir, "cgroup.procs", O_WRONLY | O_CLOEXEC);

	if (procs < 0 || write(procs, "0", 1) != 1)
		m->rc = -errno;
	if (procs >= 0)
		close(procs);
	while (!m->rc && m->num < TCP_CAGE_STOCK) {
		m->fds[m->num] =
			socket(m->family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_TCP);
		if (m->fds[m->num] < 0)
			break;
		m->num++;
	}
	if (!m->rc && !m->num)
		m->rc = -errno;
	return 0;
}

static int
stock_fill(struct tcp_cage *c, int family)
{
	struct making m = {.dir = c->dir, .family = family};
	unsigned kind = family == AF_INET6;
	sigset_t all, old;
	uint8_t *stack;
	pid_t pid;

	stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
	if (stack == MAP_FAILED)
		return -errno;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	pid = clone(make_in_cgroup, stack + STACK_BYTES, CLONE_VM | CLONE_FILES | CLONE_VFORK, &m);
	if (pid < 0)
		m.rc = -errno;
	while (pid > 0 && waitpid(pid, NULL, __WALL) < 0 && errno == EINTR)
		;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	munmap(stack, STACK_BYTES);
	if (m.rc)
		return m.rc;
	memcpy(c->stock[kind], m.fds, sizeof(m.fds));
	c->num_stock[kind] = m.num;
	return 0;
}

static uint64_t
cookie_of(int fd)
{
	uint64_t cookie = 0;
	socklen_t len = sizeof(cookie);

	return getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &len) ? 0 : cookie;
}

int
tcp_cage_socket(struct tcp_cage *c, int family)
{
	unsigned kind = family == AF_INET6;
	uint64_t cookie, none = 0;
	int fd, rc;

	if (!c->num_stock[kind]) {
		rc = stock_fill(c, family);
		if (rc)
			return rc;
	}
	fd = c->stock[kind][--c->num_stock[kind]];
	cookie = cookie_of(fd);
	if (cookie &&
	    atomic_compare_exchange_strong(&c->open[cookie % TCP_CAGE_OPEN], &none, cookie))
		return fd;
	close(fd);
	return -EBUSY;
}

void
tcp_cage_seal(struct tcp_cage *c, int fd)
{
	uint64_t cookie = cookie_of(fd);

	if (cookie)
		(void)atomic_compare_exchange_strong(&c->open[cookie % TCP_CAGE_OPEN], &cookie, 0);
}

/* ---- does it hold? ---- */

static int
refused(int rc, const char *what)
{
	if (rc && errno == EPERM)
		return 0;
	ff_warn("tcp", "no cage for sockets: %s of a sealed one is not refused", what);
	return -ENOTSUP;
}

/* Nothing that is sealed may be connected to. */
static int
listen_try(int sealed, int open)
{
	struct sockaddr_in sa = {.sin_family = AF_INET};
	socklen_t len = sizeof(sa);

	if (listen(sealed, 1) || getsockname(sealed, (struct sockaddr *)&sa, &len))
		return failed("listen", -errno);
	sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	/* Over loopback the answer, if any, is there when the call returns. */
	if (connect(open, (struct sockaddr *)&sa, len) == 0 || errno != EINPROGRESS)
		return failed("listen: an answer", -ENOTSUP);
	len = sizeof(sa);
	if (getpeername(open, (struct sockaddr *)&sa, &len) == 0)
		return failed("listen: a connection", -ENOTSUP);
	return 0;
}

static int
try_all(int sealed, int open)
{
	static const uint8_t route[] = {131, 7, 4, 127, 0, 0, 1, 0}; /* RFC 791: source route */
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(1)};
	int rc;

	sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	rc = refused(connect(sealed, (struct sockaddr *)&sa, sizeof(sa)), "connect");
	sa.sin_port = 0;
	if (!rc)
		rc = refused(bind(sealed, (struct sockaddr *)&sa, sizeof(sa)), "bind");
	if (!rc)
		rc = refused(setsockopt(sealed, IPPROTO_IP, IP_OPTIONS, route, sizeof(route)),
			     "setsockopt");
	if (!rc && bind(open, (struct sockaddr *)&sa, sizeof(sa)))
		rc = failed("bind", -errno);
	return rc ? rc : listen_try(sealed, open);
}

static int
holds(struct tcp_cage *c)
{
	int sealed = tcp_cage_socket(c, AF_INET), open = tcp_cage_socket(c, AF_INET), rc;

	if (sealed < 0 || open < 0) {
		rc = failed("socket", sealed < 0 ? sealed : open);
	} else {
		tcp_cage_seal(c, sealed);
		rc = try_all(sealed, open);
		tcp_cage_seal(c, open);
	}
	if (sealed >= 0)
		close(sealed);
	if (open >= 0)
		close(open);
	return rc;
}

int
tcp_cage_make(struct tcp_cage *c, const char *name)
{
	int rc;

	memset(c, 0, sizeof(*c));
	c->root = c->own = c->dir = c->map = -1;
	for (unsigned i = 0; i < TCP_CAGE_PROGS; i++)
		c->progs[i] = -1;
	snprintf(c->name, sizeof(c->name), "%s", name);
	rc = cgroup_make(c);
	if (!rc)
		rc = table_make(c);
	if (!rc)
		rc = programs_attach(c);
	if (!rc)
		rc = holds(c);
	if (rc)
		tcp_cage_destroy(c);
	return rc;
}

static void
fd_drop(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void
tcp_cage_destroy(struct tcp_cage *c)
{
	for (unsigned kind = 0; kind < 2; kind++)
		while (c->num_stock[kind])
			close(c->stock[kind][--c->num_stock[kind]]);
	for (unsigned i = 0; i < TCP_CAGE_PROGS; i++)
		fd_drop(&c->progs[i]);
	if (c->open)
		munmap(c->open, TCP_CAGE_OPEN * sizeof(uint64_t));
	c->open = NULL;
	fd_drop(&c->map);
	if (c->dir >= 0)
		(void)unlinkat(c->own, c->name, AT_REMOVEDIR);
	fd_drop(&c->dir);
	fd_drop(&c->own);
	fd_drop(&c->root);
}
