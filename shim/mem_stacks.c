/* SPDX-License-Identifier: MIT */
/*
 * What must never be write-protected: memory that the kernel itself writes on a thread's behalf
 * (signal frames on stacks, restartable sequences and thread ids next to the thread pointer). And
 * what /proc/self/smaps alone can tell. Under ff_mem.lock.
 */
#include <fcntl.h>
#include <signal.h>
#include <string.h>

#include "mem_priv.h"

/*
 * libc keeps the robust list's head in the thread's control block, which lies above its stack, in
 * the same mapping. Around the main thread's block, whose stack is [stack], only static TLS and
 * what the kernel writes to is left alone.
 */
#define TCB_BELOW (64ul << 10)
#define TCB_ABOVE (16ul << 10)

struct linux_dirent64 {
	uint64_t d_ino;
	int64_t d_off;
	uint16_t d_reclen;
	uint8_t d_type;
	char d_name[];
};

static char dents[4096];
static struct ff_maps smaps_reader;

static void
keep_add(const struct ff_vma *v, uint64_t from, uint64_t start, uint64_t end,
	 struct ff_stacks_range *keep)
{
	start &= ~(FF_PAGE - 1);
	end = (end + FF_PAGE - 1) & ~(FF_PAGE - 1);
	if (start < v->start)
		start = v->start;
	if (end > v->end)
		end = v->end;
	if (end <= from || start >= end || start >= keep->start)
		return;
	keep->start = start;
	keep->end = end;
}

static void
keep_thread(const struct ff_vma *v, uint64_t from, int tid, struct ff_stacks_range *keep)
{
	uint64_t tcb = 0, len = 0;

	if (ff_sys(SYS_get_robust_list, tid, &tcb, &len, 0, 0, 0) < 0)
		return;
	if (tcb < v->start || tcb >= v->end)
		return;
	if (tid == ff_sys_getpid())
		keep_add(v, from, tcb - v->start > TCB_BELOW ? tcb - TCB_BELOW : v->start,
			 tcb + TCB_ABOVE, keep);
	else
		keep_add(v, from, v->start, tcb + TCB_ABOVE, keep);
}

static void
keep_threads(const struct ff_vma *v, uint64_t from, struct ff_stacks_range *keep)
{
	int fd = ff_sys_openat(AT_FDCWD, "/proc/self/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	const struct linux_dirent64 *d;
	const char *p;
	long n, off;
	int tid;

	if (fd < 0) { /* nobody can tell: leave the whole mapping alone */
		keep_add(v, from, v->start, v->end, keep);
		return;
	}
	while ((n = ff_sys(SYS_getdents64, fd, dents, sizeof(dents), 0, 0, 0)) > 0) {
		for (off = 0; off < n; off += d->d_reclen) {
			d = (const struct linux_dirent64 *)(dents + off);
			for (tid = 0, p = d->d_name; *p >= '0' && *p <= '9'; p++)
				tid = tid * 10 + (*p - '0');
			if (tid)
				keep_thread(v, from, tid, keep);
		}
	}
	ff_sys_close(fd);
}

bool
ff_stacks_next(const struct ff_vma *v, uint64_t from, uint64_t to, struct ff_stacks_range *keep)
{
	uint64_t here = (uintptr_t)__builtin_frame_address(0);
	stack_t alt = {0};

	keep->start = keep->end = UINT64_MAX;
	if (here >= v->start && here < v->end)
		keep_add(v, from, v->start, v->end, keep);
	ff_sys(SYS_sigaltstack, NULL, &alt, 0, 0, 0, 0);
	if (!(alt.ss_flags & SS_DISABLE) && alt.ss_size && (uintptr_t)alt.ss_sp < v->end &&
	    (uintptr_t)alt.ss_sp + alt.ss_size > v->start)
		keep_add(v, from, (uintptr_t)alt.ss_sp, (uintptr_t)alt.ss_sp + alt.ss_size, keep);
	keep_threads(v, from, keep);
	return keep->start < to;
}

int
ff_smaps_open(void)
{
	return ff_maps_open(&smaps_reader, AT_FDCWD, "/proc/self/smaps");
}

void
ff_smaps_close(void)
{
	ff_maps_close(&smaps_reader);
}

bool
ff_smaps_dontfork(uint64_t start)
{
	static const char flags[] = "VmFlags:";
	const char *line;
	struct ff_vma v;
	bool here = false;
	size_t len;

	while (ff_maps_line(&smaps_reader, &line, &len) == 0) {
		if (ff_maps_parse(line, len, &v) == 0)
			here = v.start <= start && start < v.end;
		else if (here && len >= sizeof(flags) &&
			 memcmp(line, flags, sizeof(flags) - 1) == 0)
			return memmem(line, len, " dc", 3) != NULL;
	}
	return false;
}
