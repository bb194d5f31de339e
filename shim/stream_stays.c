/* SPDX-License-Identifier: MIT */
/*
 * Streams that stay where they are: what is done to them, or by whom they are shared, an exchange
 * must not meet. Any thread.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>

#include "real.h"
#include "stream.h"
#include "stream_end.h"

static _Atomic uint32_t forks; /* that are under way */

/* arg: not NULL: others get it as well. */
static void
stays(struct stream *s, void *arg)
{
	if (stream_is_exchanged(s) && arg)
		atomic_store(&s->shared, true);
	if (stream_is_exchanged(s) || stream_is_native(s))
		return;
	stream_lock(s);
	if (!stream_is_exchanged(s) && !stream_is_native(s)) {
		stream_forget(s);
		stream_offer_drop(s);
		atomic_store(&s->state, STREAM_STAYS);
	} else if (arg) {
		atomic_store(&s->shared, true);
	}
	stream_unlock(s);
}

#define PASSED ((void *)1)

void
stream_stays(int fd)
{
	struct stream *s = stream_get(fd);

	if (!s)
		return;
	stays(s, NULL);
	fdobj_put(s->obj);
}

void
stream_passed(int fd)
{
	struct stream *s = stream_get(fd);

	if (!s)
		return;
	stays(s, PASSED);
	fdobj_put(s->obj);
}

void
stream_forked(void)
{
	stream_foreach(stays, PASSED);
}

void
stream_fork_begin(void)
{
	atomic_fetch_add(&forks, 1); /* seq_cst: before the locks that stays() takes */
	stream_forked();
}

void
stream_fork_end(void)
{
	stream_forked();
	atomic_fetch_sub(&forks, 1);
}

bool
stream_forks(void)
{
	return atomic_load(&forks) != 0;
}

/* Also of those that are new since stream_fork_begin(). */
static void
child_reset(struct stream *s, void *arg)
{
	atomic_store(&s->lock.word, 0);
	atomic_store(&s->shut, false);
	atomic_store(&s->inside, 0);
	if (stream_is_exchanged(s))
		atomic_store(&s->shared, true);
	else if (!stream_is_native(s))
		atomic_store(&s->state, STREAM_STAYS);
}

/* Threads that were in the middle of something are not here. */
void
stream_fork_child(void)
{
	atomic_store(&forks, 0);
	stream_list_fork_child();
	stream_foreach(child_reset, NULL);
	stream_router_fork_child();
	stream_wait_fork_child();
	stream_end_fork_child();
}

/* ---- descriptors in messages ---- */

static void
message_fds(const struct msghdr *m, void (*fn)(int fd, void *arg), void *arg)
{
	struct cmsghdr *c = m->msg_control ? CMSG_FIRSTHDR(m) : NULL;
	int fd;

	for (; c; c = CMSG_NXTHDR((struct msghdr *)m, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; CMSG_LEN((i + 1) * sizeof(fd)) <= c->cmsg_len; i++) {
			memcpy(&fd, CMSG_DATA(c) + i * sizeof(fd), sizeof(fd));
			fn(fd, arg);
		}
	}
}

static void
fd_passes(int fd, void *arg)
{
	bool *good = arg;

	stream_passed(fd);
	if (stream_is_fifo(fd))
		*good = false;
}

bool
stream_message_passes(const struct msghdr *m)
{
	bool good = true;

	message_fds(m, fd_passes, &good);
	return good;
}

struct known {
	int fd;
	uint64_t inode;
};

static void
known_set(struct stream *s, void *arg)
{
	const struct known *k = arg;
	struct fdobj *o = s->obj;

	if (!stream_is_exchanged(s) || s->inode != k->inode || !o || !fdobj_ref(o))
		return;
	/* It may have been another one's by then. */
	if (o->kind == FDOBJ_STREAM && o->priv == s && stream_is_exchanged(s) &&
	    s->inode == k->inode)
		(void)fdtab_set(k->fd, o);
	fdobj_put(o);
}

/* What is not exchanged yet, and was passed, stays: only an end of a pair needs to be known. */
static void
fd_comes(int fd, void *arg)
{
	struct known k = {.fd = fdtab_fresh(fd)};
	struct stat st;

	if (ff_real.fstat(fd, &st) || !S_ISSOCK(st.st_mode))
		return;
	k.inode = st.st_ino;
	stream_foreach(known_set, &k);
}

void
stream_message_brings(const struct msghdr *m)
{
	int saved = errno;

	message_fds(m, fd_comes, NULL);
	errno = saved;
}

/* ---- rings of io_uring ---- */

#define RING_LINK  "anon_inode:[io_uring]"
#define RING_LOOKS 1 /* seconds between two */

static _Atomic bool ring_seen;
static _Atomic time_t ring_looked;

/* What a ring does with a descriptor nobody sees: no stream of this process is exchanged any more.
 */
void
stream_ring_seen(void)
{
	if (!atomic_exchange(&ring_seen, true))
		stream_forked();
}

/* An entry of /proc/self/fd. */
static bool
is_ring(int dir, const char *name)
{
	char link[sizeof(RING_LINK)] = {0};
	ssize_t n = ff_real.readlinkat(dir, name, link, sizeof(link));

	return n == sizeof(RING_LINK) - 1 && !memcmp(link, RING_LINK, (size_t)n);
}

static bool
rings_find(int dir)
{
	_Alignas(struct dirent64) uint8_t buf[2048] = {0};
	const struct dirent64 *e;
	bool found = false;
	long n;

	while (!found && (n = ff_sys(SYS_getdents64, dir, buf, sizeof(buf), 0, 0, 0)) > 0)
		for (long off = 0; off < n && !found; off += e->d_reclen) {
			e = (const struct dirent64 *)(buf + off);
			found = e->d_name[0] != '.' && is_ring(dir, e->d_name);
		}
	return found;
}

bool
stream_ring_is_there(void)
{
	struct timespec now;
	int dir;

	if (atomic_load(&ring_seen))
		return true;
	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	if (now.tv_sec < atomic_load(&ring_looked) + RING_LOOKS)
		return false;
	atomic_store(&ring_looked, now.tv_sec);
	dir = ff_sys_openat(AT_FDCWD, "/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return false;
	if (rings_find(dir))
		atomic_store(&ring_seen, true);
	ff_sys_close(dir);
	return atomic_load(&ring_seen);
}
