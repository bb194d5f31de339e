/* SPDX-License-Identifier: MIT */
/*
 * Open files of the uverbs device: birth, death, queues, and the choice between the fast and the
 * slow way of a write(). Any thread; forked children run it on their copies of the same files.
 */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "debug.h"
#include "fork.h"
#include "real.h"
#include "uverbs.h"

#define ANNEX_MAP 4096u /* bytes of a queue that our own mapping covers */
static_assert(FF_QUEUE_ANNEX_OFF + sizeof(uint32_t) <= ANNEX_MAP, "annex is in the first page");

static struct uverbs_shared *
shared_new(void)
{
	struct uverbs_shared *s;
	pthread_mutexattr_t attr;

	s = ff_real.mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
			 0);
	if (s == MAP_FAILED)
		return NULL;
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	/* A signal handler that writes to the device inside a command gets EDEADLK, no hang. */
	pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_ERRORCHECK);
	pthread_mutex_init(&s->lock, &attr);
	pthread_mutexattr_destroy(&attr);
	return s;
}

static void
annexes_free(struct uverbs_annexes *t)
{
	for (unsigned int i = 0; i < UVERBS_DIR; i++) {
		struct uverbs_annex *leaf = atomic_load(&t->dir[i]);

		for (unsigned int k = 0; leaf && k < UVERBS_LEAF; k++) {
			uint8_t *word = (uint8_t *)atomic_load(&leaf[k].word);

			if (word)
				ff_real.munmap(word - FF_QUEUE_ANNEX_OFF, ANNEX_MAP);
		}
		free(leaf);
	}
}

static void
pending_close(struct uverbs_pending *p)
{
	if (!atomic_exchange(&p->size, 0))
		return;
	fdtab_clear(p->fd);
	ff_real.close(p->fd);
}

/* No reference is left: no fd, no call in progress. */
static void
file_free(struct uverbs_file *f)
{
	while (f->pending) {
		struct uverbs_pending *p = f->pending;

		f->pending = p->next;
		pending_close(p);
		free(p);
	}
	annexes_free(&f->sq);
	annexes_free(&f->cq);
	channel_put(f->channel);
	if (f->shared)
		ff_real.munmap(f->shared, sizeof(*f->shared));
	free(f);
}

static void
file_destroy(struct fdobj *o)
{
	file_free(o->priv);
}

static int
open_locked(int flags)
{
	static _Atomic uint64_t last_number;
	struct uverbs_file *f;
	struct fdobj *o = NULL;
	int fd = -ENOMEM, err;

	f = calloc(1, sizeof(*f));
	if (!f)
		return -ENOMEM;
	f->shared = shared_new();
	if (f->shared)
		o = fdobj_new(FDOBJ_UVERBS, f, file_destroy);
	if (!o)
		goto fail;
	f->number = atomic_fetch_add(&last_number, 1) + 1;
	f->shared->seq = 1; /* of FF_MSG_CONTEXT */
	fd = channel_open_context(flags & O_CLOEXEC ? SOCK_CLOEXEC : 0, &f->channel);
	if (fd < 0)
		goto fail;
	err = fdtab_set(fd, o);
	if (err) {
		ff_real.close(fd);
		fd = err;
	}
fail:
	if (o)
		fdobj_put(o); /* the table's reference is what is left, if any */
	else
		file_free(f);
	return fd;
}

int
uverbs_open(int flags)
{
	int err = fork_init();
	int cancel, fd;

	if (err)
		return err;
	(void)fork_generation();
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
	fd = open_locked(flags);
	pthread_setcancelstate(cancel, NULL);
	debug("open " FF_UVERBS_PATH ": %s %d", fd < 0 ? strerror(-fd) : "fd", fd < 0 ? 0 : fd);
	return fd;
}

void
uverbs_stat(struct stat *st)
{
	memset(st, 0, sizeof(*st));
	st->st_mode = S_IFCHR | 0666;
	st->st_rdev = makedev(FF_UVERBS_MAJOR, FF_UVERBS_MINOR);
	st->st_nlink = 1;
	st->st_ino = FF_UVERBS_MINOR;
	st->st_blksize = 4096;
}

void
uverbs_statx(struct statx *stx)
{
	memset(stx, 0, sizeof(*stx));
	stx->stx_mask = STATX_BASIC_STATS;
	stx->stx_mode = S_IFCHR | 0666;
	stx->stx_rdev_major = FF_UVERBS_MAJOR;
	stx->stx_rdev_minor = FF_UVERBS_MINOR;
	stx->stx_nlink = 1;
	stx->stx_ino = FF_UVERBS_MINOR;
	stx->stx_blksize = 4096;
}

int
uverbs_lock(struct uverbs_file *f)
{
	int err = pthread_mutex_lock(&f->shared->lock);

	/* Its holder died in a call: the late reply is dropped by its sequence number. */
	if (err == EOWNERDEAD)
		err = pthread_mutex_consistent(&f->shared->lock);
	if (err)
		return -err;
	if (!f->shared->broken)
		return 0;
	pthread_mutex_unlock(&f->shared->lock);
	return -EIO;
}

void
uverbs_unlock(struct uverbs_file *f)
{
	pthread_mutex_unlock(&f->shared->lock);
}

void
uverbs_break(struct uverbs_file *f, int fd, const char *why)
{
	f->shared->broken = true;
	shutdown(fd, SHUT_RDWR);
	debug("fd %d: connection broken: %s", fd, why);
}

/* ---- queues ---- */

/* Must hold the lock. NULL: handle too big, or no memory. */
static struct uverbs_annex *
annex_slot(struct uverbs_annexes *t, uint32_t handle)
{
	struct uverbs_annex *leaf;

	if (handle >= UVERBS_LEAF * UVERBS_DIR)
		return NULL;
	if (!atomic_load(&t->dir[handle / UVERBS_LEAF])) {
		leaf = calloc(UVERBS_LEAF, sizeof(*leaf));
		if (!leaf)
			return NULL;
		atomic_store_explicit(&t->dir[handle / UVERBS_LEAF], leaf, memory_order_release);
	}
	return uverbs_annex_find(t, handle);
}

/*
 * Must hold the lock. A queue that replaces another (resize) takes its place in one step: another
 * thread may be writing the word at this moment, and writes the old or the new one.
 */
static void
annex_set(struct uverbs_annexes *t, const struct ff_fd_desc *d, int fd)
{
	struct uverbs_annex *a = annex_slot(t, d->handle);
	uint8_t *old, *base;

	if (!a)
		return;
	old = (uint8_t *)atomic_load(&a->word);
	base = ff_real.mmap(old ? old - FF_QUEUE_ANNEX_OFF : NULL, ANNEX_MAP,
			    PROT_READ | PROT_WRITE, MAP_SHARED | (old ? MAP_FIXED : 0), fd, 0);
	if (base == MAP_FAILED) {
		/* The slow way serves. What is mapped at old stays so, for racing writers. */
		atomic_store(&a->word, NULL);
		return;
	}
	a->qpn = d->qpn;
	atomic_store_explicit(&a->word, (_Atomic uint32_t *)(base + FF_QUEUE_ANNEX_OFF),
			      memory_order_release);
}

static void
annex_clear(struct uverbs_annexes *t, uint32_t handle)
{
	struct uverbs_annex *a = uverbs_annex_find(t, handle);
	uint8_t *word = a ? (uint8_t *)atomic_exchange(&a->word, NULL) : NULL;

	if (word)
		ff_real.munmap(word - FF_QUEUE_ANNEX_OFF, ANNEX_MAP);
}

/* Must hold the lock. One that is free, or a new one. */
static struct uverbs_pending *
pending_get(struct uverbs_file *f)
{
	struct uverbs_pending *p;

	for (p = f->pending; p; p = p->next)
		if (!atomic_load(&p->size))
			return p;
	p = calloc(1, sizeof(*p));
	if (!p)
		return NULL;
	p->next = f->pending;
	f->pending = p;
	return p;
}

void
uverbs_queue_add(struct uverbs_file *f, const struct ff_fd_desc *d, int fd)
{
	struct uverbs_pending *p = pending_get(f);

	if (d->role == FF_QUEUE_SQ)
		annex_set(&f->sq, d, fd);
	else if (d->role == FF_QUEUE_CQ)
		annex_set(&f->cq, d, fd);
	if (!p || !d->size || fdtab_hide(fd)) {
		ff_real.close(fd); /* the program's mmap() fails then */
		return;
	}
	p->mmap_off = d->mmap_off;
	p->role = d->role;
	p->handle = d->handle;
	p->fd = fd;
	atomic_store_explicit(&p->size, d->size, memory_order_release);
}

void
uverbs_queue_del(struct uverbs_file *f, enum ff_queue_role role, uint32_t handle)
{
	if (role == FF_QUEUE_SQ)
		annex_clear(&f->sq, handle);
	else if (role == FF_QUEUE_CQ)
		annex_clear(&f->cq, handle);
	for (struct uverbs_pending *p = f->pending; p; p = p->next)
		if (p->role == role && p->handle == handle)
			pending_close(p);
}

static void *
mmap_locked(struct uverbs_file *f, void *addr, size_t len, int prot, int flags, off_t off)
{
	struct uverbs_pending *p;
	void *at;

	for (p = f->pending; p; p = p->next)
		if (atomic_load(&p->size) && p->mmap_off == (uint64_t)off)
			break;
	if (!p || !len || len > atomic_load(&p->size)) {
		errno = EINVAL;
		return MAP_FAILED;
	}
	at = ff_real.mmap(addr, len, prot, flags, p->fd, 0);
	/* As in the kernel's rxe: a queue is mapped once. */
	if (at != MAP_FAILED)
		pending_close(p);
	return at;
}

void *
uverbs_mmap(struct uverbs_file *f, void *addr, size_t len, int prot, int flags, off_t off)
{
	void *at = MAP_FAILED;
	int cancel, err;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
	err = uverbs_lock(f);
	if (err) {
		errno = -err;
	} else {
		at = mmap_locked(f, addr, len, prot, flags, off);
		uverbs_unlock(f);
	}
	pthread_setcancelstate(cancel, NULL);
	return at;
}

/* Commands as the program writes them: a header, then the struct of the command. */
#define COMMAND_SIZE(type)	    (sizeof(struct ib_uverbs_cmd_hdr) + sizeof(type))
#define COMMAND_OFFSET(type, field) (sizeof(struct ib_uverbs_cmd_hdr) + offsetof(type, field))

static inline uint32_t
command_word(const void *buf, size_t off)
{
	uint32_t v;

	memcpy(&v, (const char *)buf + off, sizeof(v));
	return v;
}

ssize_t
uverbs_write(struct uverbs_file *f, int fd, const void *buf, size_t len)
{
	int rc = DOORBELL_SLOW;

	if (len == COMMAND_SIZE(struct ib_uverbs_post_send) &&
	    command_word(buf, 0) == IB_USER_VERBS_CMD_POST_SEND &&
	    command_word(buf, COMMAND_OFFSET(struct ib_uverbs_post_send, wr_count)) == 0) {
		rc = doorbell_send(f, command_word(buf, COMMAND_OFFSET(struct ib_uverbs_post_send,
								       qp_handle)));
	} else if (len == COMMAND_SIZE(struct ib_uverbs_req_notify_cq) &&
		   command_word(buf, 0) == IB_USER_VERBS_CMD_REQ_NOTIFY_CQ) {
		rc = doorbell_arm(f,
				  command_word(buf, COMMAND_OFFSET(struct ib_uverbs_req_notify_cq,
								   cq_handle)),
				  command_word(buf, COMMAND_OFFSET(struct ib_uverbs_req_notify_cq,
								   solicited_only)));
	}
	if (rc == DOORBELL_SLOW)
		return uverbs_command(f, fd, buf, len);
	return rc ? rc : (ssize_t)len;
}
