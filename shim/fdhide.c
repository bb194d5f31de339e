/* SPDX-License-Identifier: MIT */
/* Moves the shim's own descriptors up and marks them. Any thread. */
#include "fdhide.h"

#include <fcntl.h>
#include <sys/resource.h>

#include "fdtab.h"
#include "real.h"

int
fd_hide_min(void)
{
	struct rlimit rl;
	rlim_t limit = 1024;

	if (getrlimit(RLIMIT_NOFILE, &rl) == 0 && rl.rlim_cur < limit)
		limit = rl.rlim_cur;
	return limit > 128 ? (int)limit - 64 : 3;
}

int
fd_hide(int fd)
{
	int high = ff_real.fcntl(fd, F_DUPFD_CLOEXEC, fd_hide_min());
	int err;

	if (high >= 0) {
		ff_real.close(fd);
		fd = high;
	}
	err = fdtab_hide(fd);
	if (err) {
		ff_real.close(fd);
		return err;
	}
	return fd;
}
