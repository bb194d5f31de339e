/* SPDX-License-Identifier: MIT */
/*
 * Event pipes: records for the program, kept and written later when the pipe is full, and taken
 * back from it when their object dies. Control thread, but for event_pipe_write.
 *
 * libibverbs counts the events that it read of an object against the number that destroy returns,
 * and waits until they are equal. So that number must be what the program has read or will read:
 * records that are still in the pipe are read here through a second reader and the others are
 * written back in their order.
 */
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "../core/loop.h"
#include "verbs_priv.h"

#define EVENT_PENDING_MAX 65536u     /* records; what comes after is dropped and counted */
#define EVENT_PIPE_MAX	  (1u << 20) /* bytes; what an unprivileged process may have */
#define EVENT_RETRY_MS	  20u

static TAILQ_HEAD(, ff_event_pipe) retry_list = TAILQ_HEAD_INITIALIZER(retry_list);
static struct ff_timer retry_timer;
static bool retry_running;

int
event_pipe_open(struct ff_event_pipe *p, uint32_t rec_size, int *read_fd)
{
	int fds[2], rc;

	if (pipe2(fds, O_CLOEXEC))
		return -errno;
	/* The read end blocks, as a file of the kernel's would; it is another open file. */
	if (fcntl(fds[1], F_SETFL, O_WRONLY | O_NONBLOCK)) {
		rc = -errno;
		close(fds[0]);
		close(fds[1]);
		return rc;
	}
	p->fd = fds[1];
	p->rec_size = rec_size;
	p->pending = NULL;
	p->pend_len = p->pend_cap = 0;
	p->dropped = 0;
	p->retrying = false;
	*read_fd = fds[0];
	return 0;
}

static void
retry_del(struct ff_event_pipe *p)
{
	if (!p->retrying)
		return;
	TAILQ_REMOVE(&retry_list, p, retry_link);
	p->retrying = false;
	if (retry_running && TAILQ_EMPTY(&retry_list)) {
		ff_loop_timer_stop(&retry_timer);
		retry_running = false;
	}
}

static void
on_retry_timer(void *arg)
{
	event_pipes_retry();
}

static void
retry_add(struct ff_event_pipe *p)
{
	if (p->retrying)
		return;
	TAILQ_INSERT_TAIL(&retry_list, p, retry_link);
	p->retrying = true;
	if (!retry_running)
		retry_running =
			!ff_loop_timer_start(&retry_timer, EVENT_RETRY_MS, on_retry_timer, NULL);
}

void
event_pipe_close(struct ff_event_pipe *p)
{
	if (p->fd < 0)
		return;
	retry_del(p);
	close(p->fd);
	p->fd = -1;
	free(p->pending);
	p->pending = NULL;
	p->pend_len = p->pend_cap = 0;
}

static int
write_bytes(int fd, const void *buf, uint32_t len)
{
	ssize_t n;

	/* Up to PIPE_BUF bytes go in whole or not at all. */
	do {
		n = write(fd, buf, len);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

int
event_pipe_write(const struct ff_event_pipe *p, const void *rec)
{
	return write_bytes(p->fd, rec, p->rec_size);
}

/* Doubles the pipe. False if it is as large as it gets. */
static bool
pipe_grow(const struct ff_event_pipe *p)
{
	int size = fcntl(p->fd, F_GETPIPE_SZ);

	if (size < 0 || (unsigned)size >= EVENT_PIPE_MAX)
		return false;
	return fcntl(p->fd, F_SETPIPE_SZ, size * 2) > size;
}

/* Drops what a program that went away will never read. */
static void
pending_drop(struct ff_event_pipe *p)
{
	p->dropped += p->pend_len / p->rec_size;
	p->pend_len = 0;
	retry_del(p);
}

static void
pending_flush(struct ff_event_pipe *p)
{
	uint32_t done = 0;

	while (done < p->pend_len) {
		/* The first record may be the rest of one that was read in part. */
		uint32_t left = p->pend_len - done;
		uint32_t rec = left % p->rec_size ? left % p->rec_size : p->rec_size;
		uint32_t len = left % p->rec_size ? rec : left < PIPE_BUF ? left : PIPE_BUF;
		int rc = write_bytes(p->fd, p->pending + done, len);

		if (rc == -EAGAIN && len > rec) {
			len = rec;
			rc = write_bytes(p->fd, p->pending + done, len);
		}
		if (rc == -EAGAIN && pipe_grow(p))
			continue;
		if (rc == -EAGAIN)
			break;
		if (rc) {
			pending_drop(p);
			return;
		}
		done += len;
	}
	memmove(p->pending, p->pending + done, p->pend_len - done);
	p->pend_len -= done;
	if (p->pend_len)
		retry_add(p);
	else
		retry_del(p);
}

static int
pending_reserve(struct ff_event_pipe *p, uint32_t len)
{
	uint32_t cap = p->pend_cap ? p->pend_cap : PIPE_BUF;
	uint8_t *buf;

	while (cap < len)
		cap *= 2;
	if (cap == p->pend_cap)
		return 0;
	buf = realloc(p->pending, cap);
	if (!buf)
		return -ENOMEM;
	p->pending = buf;
	p->pend_cap = cap;
	return 0;
}

int
event_pipe_send(struct ff_event_pipe *p, const void *rec)
{
	int rc;

	if (p->fd < 0)
		return -EPIPE;
	if (!p->pend_len) {
		rc = event_pipe_write(p, rec);
		if (rc != -EAGAIN)
			return rc;
	}
	if (p->pend_len / p->rec_size >= EVENT_PENDING_MAX ||
	    pending_reserve(p, p->pend_len + p->rec_size)) {
		p->dropped++;
		return -ENOSPC;
	}
	memcpy(p->pending + p->pend_len, rec, p->rec_size);
	p->pend_len += p->rec_size;
	pending_flush(p);
	return 0;
}

void
event_pipes_retry(void)
{
	struct ff_event_pipe *p = TAILQ_FIRST(&retry_list);

	while (p) {
		struct ff_event_pipe *next = TAILQ_NEXT(p, retry_link);

		pending_flush(p);
		p = next;
	}
}

/* Takes the matching records out of buf (first lead bytes are none). Returns how many. */
static uint32_t
filter(uint8_t *buf, uint32_t *len, uint32_t lead, uint32_t rec,
       bool (*match)(const void *rec, void *arg), void *arg)
{
	uint32_t to = lead, removed = 0;

	for (uint32_t at = lead; at < *len; at += rec) {
		if (match(buf + at, arg)) {
			removed++;
			continue;
		}
		memmove(buf + to, buf + at, rec);
		to += rec;
	}
	*len = to;
	return removed;
}

/* Reads what is in the pipe now. Returns the bytes, at most len. */
static uint32_t
drain(int fd, uint8_t *buf, uint32_t len)
{
	uint32_t got = 0;

	while (got < len) {
		ssize_t n = read(fd, buf + got, len - got);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		got += (uint32_t)n;
	}
	return got;
}

/*
 * The pipe's contents and the pending records become one buffer, pending records last. Workers
 * may write records of other objects meanwhile: those overtake, which no program can see.
 */
static int
take_contents(struct ff_event_pipe *p, uint8_t **buf, uint32_t *len)
{
	char path[32];
	uint32_t got = 0;
	int fd, n = 0;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", p->fd);
	fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd >= 0 && ioctl(fd, FIONREAD, &n))
		n = 0;
	*buf = malloc((size_t)n + p->pend_len + p->rec_size);
	if (*buf && n > 0)
		got = drain(fd, *buf, (uint32_t)n);
	if (fd >= 0)
		close(fd);
	if (!*buf)
		return -ENOMEM;
	if (p->pend_len)
		memcpy(*buf + got, p->pending, p->pend_len);
	*len = got + p->pend_len;
	return 0;
}

uint32_t
event_pipe_remove(struct ff_event_pipe *p, bool (*match)(const void *rec, void *arg), void *arg)
{
	uint32_t len, removed;
	uint8_t *buf;

	if (p->fd < 0 || take_contents(p, &buf, &len))
		return 0;
	removed = filter(buf, &len, len % p->rec_size, p->rec_size, match, arg);
	if (!len) {
		free(buf);
		p->pend_len = 0;
		retry_del(p);
		return removed;
	}
	free(p->pending);
	p->pending = buf;
	p->pend_len = p->pend_cap = len;
	pending_flush(p);
	return removed;
}

bool
event_pipe_orphan(const struct ff_event_pipe *p)
{
	struct pollfd pfd = {.fd = p->fd};

	return poll(&pfd, 1, 0) == 1 && (pfd.revents & POLLERR);
}
