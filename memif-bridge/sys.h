/* SPDX-License-Identifier: MIT */
/*
 * System calls that libfreeflow.so hooks, made past the hooks: this library is linked into it and
 * its own descriptors and mappings are no business of theirs.
 */
#ifndef FF_MEMIF_SYS_H
#define FF_MEMIF_SYS_H

#include <stddef.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static inline int
memif_sys_close(int fd)
{
	return (int)syscall(SYS_close, fd);
}

static inline ssize_t
memif_sys_write(int fd, const void *buf, size_t len)
{
	return syscall(SYS_write, fd, buf, len);
}

/* A shared, writable mapping of the first len bytes; NULL and errno. */
static inline void *
memif_sys_map(int fd, size_t len)
{
	long p = syscall(SYS_mmap, NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0L);

	return p == -1 ? NULL : (void *)p;
}

static inline void
memif_sys_unmap(void *p, size_t len)
{
	syscall(SYS_munmap, p, len);
}

#endif
