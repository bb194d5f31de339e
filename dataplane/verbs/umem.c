/* SPDX-License-Identifier: MIT */
/*
 * Resolves a range of a process's memory into segments. Control thread.
 *
 * The process can change its mappings at any moment, so what its maps say only tells where to
 * look. What counts is the file that was opened: an inode of the kernel's own tmpfs or hugetlbfs
 * mount (no file system whose calls can block or be a container's), sealed against shrinking, and
 * long enough. Whatever the process made of it, it is memory that it could map itself.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <linux/magic.h>

#include "../../memif-bridge/procmaps.h"
#include "../channel/container.h"
#include "umem.h"

#define DEVS_MAX 9u /* tmpfs, and one for each size of large pages */

/* ---- processes ---- */

struct ff_proc *
ff_proc_new(pid_t pid, int pidfd)
{
	struct ff_proc *p = calloc(1, sizeof(*p));

	if (!p) {
		close(pidfd);
		errno = ENOMEM;
		return NULL;
	}
	atomic_init(&p->refs, 1);
	p->pid = pid;
	p->pidfd = pidfd;
	return p;
}

struct ff_proc *
ff_proc_ref(struct ff_proc *p)
{
	atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
	return p;
}

void
ff_proc_unref(struct ff_proc *p)
{
	if (atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) != 1)
		return;
	close(p->pidfd);
	free(p);
}

/* ---- which files ---- */

static dev_t devs[DEVS_MAX];
static unsigned num_devs;

static void
dev_learn(unsigned flags)
{
	struct stat st;
	int fd;

	if (num_devs == DEVS_MAX)
		return;
	fd = memfd_create("freeflow-probe", MFD_CLOEXEC | flags);
	if (fd < 0)
		return;
	if (fstat(fd, &st) == 0)
		devs[num_devs++] = st.st_dev;
	close(fd);
}

/* The kernel's internal mounts, where memfds live. */
static void
devs_learn(void)
{
	unsigned log2_size;

	if (num_devs)
		return;
	dev_learn(0);
	for (log2_size = 14; log2_size <= 34; log2_size++)
		dev_learn(MFD_HUGETLB | log2_size << MAP_HUGE_SHIFT);
}

static bool
dev_known(const struct ff_vma *v)
{
	dev_t dev = makedev(v->dev_major, v->dev_minor);
	unsigned i;

	for (i = 0; i < num_devs; i++)
		if (devs[i] == dev)
			return true;
	return false;
}

/* ---- runs: adjacent mappings of one file, or of no file that can be mapped ---- */

struct run {
	uint64_t start, end; /* in the process; start == end: no run */
	bool file;	     /* a mapping of a file on a known mount */
	struct ff_vma vma;   /* the first one of the run */
	uint64_t offset;     /* of start in the file */
};

struct resolver {
	struct ff_umem *m;
	struct ff_container *c;
	int proc; /* /proc/<pid> of the process that pidfd names */
	struct run run;
	unsigned segs_cap, maps_cap;
};

struct umem_map {
	void *addr;
	size_t len;
};

/* Room for one more of size in an array of n; doubles. */
static int
array_room(void **array, unsigned n, unsigned *cap, size_t size)
{
	unsigned want = *cap ? *cap * 2 : 4;
	void *p;

	if (n < *cap)
		return 0;
	p = realloc(*array, want * size);
	if (!p)
		return -ENOMEM;
	*array = p;
	*cap = want;
	return 0;
}

static int
seg_add(struct resolver *r, const struct run *run, uint8_t *ptr)
{
	struct ff_umem *m = r->m;
	struct ff_umem_seg *last = m->num_segs ? &m->segs[m->num_segs - 1] : NULL;
	uint64_t len = run->end - run->start;
	int rc;

	if (!ptr && last && !last->ptr) {
		last->len += len;
		return 0;
	}
	rc = array_room((void **)&m->segs, m->num_segs, &r->segs_cap, sizeof(*m->segs));
	if (rc)
		return rc;
	m->segs[m->num_segs++] = (struct ff_umem_seg){
		.off = run->start - m->va,
		.len = len,
		.ptr = ptr,
		.writable = ptr && run->vma.w,
	};
	ff_container_count(r->c,
			   !ptr				       ? FF_CC_MR_PROCESS_VM
			   : run->vma.name == FF_VMA_CONVERTED ? FF_CC_MR_CONVERTED
							       : FF_CC_MR_SHARED,
			   1);
	return 0;
}

/* The run's file, checked; -errno: it cannot be mapped. *gran: granularity of mappings. */
static int
run_open(struct resolver *r, const struct run *run, size_t *gran)
{
	const struct ff_vma *v = &run->vma;
	uint64_t len = run->end - run->start;
	struct statfs fs;
	struct stat st;
	char name[64];
	int fd, seals;

	snprintf(name, sizeof(name), "map_files/%llx-%llx", (unsigned long long)v->start,
		 (unsigned long long)v->end);
	fd = openat(r->proc, name, (v->w ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return -errno;
	seals = fcntl(fd, F_GET_SEALS);
	if (fstat(fd, &st) < 0 || fstatfs(fd, &fs) < 0 || !S_ISREG(st.st_mode) ||
	    st.st_dev != makedev(v->dev_major, v->dev_minor) || st.st_ino != v->ino ||
	    (fs.f_type != TMPFS_MAGIC && fs.f_type != HUGETLBFS_MAGIC) || seals < 0 ||
	    !(seals & F_SEAL_SHRINK) || len > (uint64_t)st.st_size ||
	    run->offset > (uint64_t)st.st_size - len) {
		close(fd);
		return -EINVAL;
	}
	*gran = fs.f_type == HUGETLBFS_MAGIC ? (size_t)fs.f_bsize : (size_t)sysconf(_SC_PAGESIZE);
	return fd;
}

/* Maps the run here and returns the address of its first byte; NULL and errno. */
static uint8_t *
run_map(struct resolver *r, const struct run *run)
{
	struct ff_umem *m = r->m;
	struct umem_map *map;
	size_t gran = 0, len;
	uint64_t from;
	void *p;
	int fd;

	fd = run_open(r, run, &gran);
	if (fd < 0) {
		errno = -fd;
		return NULL;
	}
	from = run->offset & ~(uint64_t)(gran - 1);
	len = (run->offset - from + (run->end - run->start) + gran - 1) & ~(gran - 1);
	p = mmap(NULL, len, PROT_READ | (run->vma.w ? PROT_WRITE : 0), MAP_SHARED | MAP_NORESERVE,
		 fd, (off_t)from);
	close(fd);
	if (p == MAP_FAILED)
		return NULL;
	if (array_room(&m->maps, m->num_maps, &r->maps_cap, sizeof(*map))) {
		munmap(p, len);
		errno = ENOMEM;
		return NULL;
	}
	map = (struct umem_map *)m->maps + m->num_maps++;
	map->addr = p;
	map->len = len;
	return (uint8_t *)p + (run->offset - from);
}

static int
run_end(struct resolver *r)
{
	struct run *run = &r->run;
	uint8_t *ptr = NULL;
	int rc;

	if (run->start == run->end)
		return 0;
	if (run->file)
		ptr = run_map(r, run);
	rc = seg_add(r, run, ptr);
	run->start = run->end;
	return rc;
}

/* Part [start, end) of mapping v comes next. */
static int
run_take(struct resolver *r, const struct ff_vma *v, uint64_t start, uint64_t end)
{
	uint64_t offset = v->offset + (start - v->start);
	bool file = v->shared && v->ino && dev_known(v);
	struct run *run = &r->run;
	int rc;

	if (run->start != run->end && run->file == file &&
	    (!file || (run->vma.ino == v->ino && run->vma.dev_major == v->dev_major &&
		       run->vma.dev_minor == v->dev_minor && run->vma.w == v->w &&
		       run->offset + (run->end - run->start) == offset))) {
		run->end = end;
		return 0;
	}
	rc = run_end(r);
	if (rc)
		return rc;
	*run = (struct run){
		.start = start,
		.end = end,
		.file = file,
		.vma = *v,
		.offset = offset,
	};
	return 0;
}

/* ---- ranges ---- */

/* A pid names the process as long as the pidfd has not become readable. */
static bool
proc_alive(const struct ff_proc *proc)
{
	struct pollfd p = {.fd = proc->pidfd, .events = POLLIN};

	return poll(&p, 1, 0) == 0;
}

static int
proc_open(const struct ff_proc *proc)
{
	char path[32];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d", (int)proc->pid);
	fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? -ESRCH : -errno;
	if (!proc_alive(proc)) {
		close(fd);
		return -ESRCH;
	}
	return fd;
}

static int
range_resolve(struct resolver *r, struct ff_maps *maps, bool need_write)
{
	uint64_t at = r->m->va, end = at + r->m->length, to;
	struct ff_vma v;
	int rc;

	while (at < end) {
		rc = ff_maps_find(maps, at, &v);
		if (rc == -ENOENT)
			return -EFAULT;
		if (rc)
			return rc;
		if (v.start > at || v.end <= at || !v.r || (need_write && !v.w))
			return -EFAULT;
		to = v.end < end ? v.end : end;
		rc = run_take(r, &v, at, to);
		if (rc)
			return rc;
		at = to;
	}
	return run_end(r);
}

int
ff_umem_get(struct ff_umem *m, struct ff_container *c, struct ff_proc *proc, uint64_t va,
	    uint64_t length, bool need_write)
{
	struct resolver r = {.m = m, .c = c};
	struct ff_maps maps;
	int rc;

	*m = (struct ff_umem){.va = va, .length = length};
	if (length > UINT64_MAX - va)
		return -EINVAL;
	m->proc = ff_proc_ref(proc);
	if (!length)
		return 0;
	devs_learn();
	rc = proc_open(proc);
	if (rc < 0)
		goto err_put;
	r.proc = rc;
	rc = ff_maps_open(&maps, r.proc, "maps");
	if (rc)
		goto err_proc;
	rc = range_resolve(&r, &maps, need_write);
	ff_maps_close(&maps);
	if (rc)
		goto err_proc;
	close(r.proc);
	return 0;

err_proc:
	close(r.proc);
err_put:
	ff_umem_put(m);
	return rc;
}

void
ff_umem_put(struct ff_umem *m)
{
	struct umem_map *maps = m->maps;
	unsigned i;

	for (i = 0; i < m->num_maps; i++)
		munmap(maps[i].addr, maps[i].len);
	free(m->maps);
	free(m->segs);
	if (m->proc)
		ff_proc_unref(m->proc);
	*m = (struct ff_umem){0};
}

const struct ff_umem_seg *
ff_umem_seg_at(const struct ff_umem *m, uint64_t off)
{
	unsigned low = 0, high = m->num_segs;

	while (high - low > 1) {
		unsigned mid = (low + high) / 2;

		if (m->segs[mid].off <= off)
			low = mid;
		else
			high = mid;
	}
	return &m->segs[low];
}
