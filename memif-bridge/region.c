/* SPDX-License-Identifier: MIT */
/*
 * Regions: checking and mapping a client's memory, making our own. Control side of a connection.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "memif_priv.h"
#include "sys.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008u
#endif

#define REGION_MEMFD_NAME "freeflow-memif"

/*
 * The seals come first: a file without them could shrink after its size was looked at, and
 * F_GET_SEALS fails on all but memory files without calling into their file system. Files of
 * hugetlbfs are refused, as a hole punched into one makes an access fail when the pool is empty.
 */
static int
region_check(int fd, uint64_t size, const char **why)
{
	struct statfs sfs;
	struct stat st;
	int seals = fcntl(fd, F_GET_SEALS);

	if (seals < 0) {
		*why = "region is not a memfd";
		return -EINVAL;
	}
	if (!(seals & F_SEAL_SHRINK)) {
		*why = "region is not sealed against shrinking";
		return -EPERM;
	}
	if (fstatfs(fd, &sfs) < 0 || sfs.f_type != TMPFS_MAGIC) {
		*why = "region is not in plain memory";
		return -EINVAL;
	}
	if (fstat(fd, &st) < 0 || st.st_size < 0 || (uint64_t)st.st_size < size) {
		*why = "region is smaller than announced";
		return -EINVAL;
	}
	return 0;
}

int
memif_region_map(struct ff_memif *m, int fd, uint64_t size, const char **why)
{
	struct memif_region *r = &m->regions[m->num_regions];
	int err;

	if (!size || size > m->conf.max_memory - m->mapped) {
		*why = "region is empty or too large";
		return -EINVAL;
	}
	err = region_check(fd, size, why);
	if (err)
		return err;
	r->base = memif_sys_map(fd, size);
	if (!r->base) {
		err = -errno;
		*why = "region cannot be mapped";
		return err;
	}
	r->size = size;
	m->mapped += size;
	m->num_regions++;
	return 0;
}

/* Makes region 0, zeroed; its fd stays in m->region_fd until the server has it. */
int
memif_region_create(struct ff_memif *m, uint64_t size)
{
	const unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
	struct memif_region *r = &m->regions[0];
	int err, fd;

	/* Where vm.memfd_noexec is set, only this is allowed; kernels before 6.3 do not know it. */
	fd = memfd_create(REGION_MEMFD_NAME, flags | MFD_NOEXEC_SEAL);
	if (fd < 0 && errno == EINVAL)
		fd = memfd_create(REGION_MEMFD_NAME, flags);
	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)size) < 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		goto fail;
	r->base = memif_sys_map(fd, size);
	if (!r->base)
		goto fail;
	r->size = size;
	m->mapped = size;
	m->num_regions = 1;
	m->region_fd = fd;
	return 0;
fail:
	err = -errno;
	memif_sys_close(fd);
	return err;
}

void
memif_region_unmap_all(struct ff_memif *m)
{
	while (m->num_regions) {
		struct memif_region *r = &m->regions[--m->num_regions];

		memif_sys_unmap(r->base, r->size);
	}
	m->mapped = 0;
}
