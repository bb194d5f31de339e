/* SPDX-License-Identifier: MIT */
/*
 * Signalling a hostile peer's eventfd. A write() could block for ever: whoever holds the other copy
 * of the descriptor can clear O_NONBLOCK and fill the counter at any time. The kernel's own
 * eventfd_signal(), which asynchronous I/O calls when a request completes, never does; so a signal
 * is a poll request that is complete from the start. Servers only. Any thread; the kernel locks.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>

#include "memif_priv.h"
#include "sys.h"

#define REAP_BURST 64
#define MAX_TRIES  64

/*
 * One for the process, and for its life: taking a context down waits for an RCU grace period,
 * which a control thread that detaches a client cannot afford. Constant once it is open.
 */
static struct {
	pthread_once_t once;
	aio_context_t id;
	int ready_fd; /* an eventfd that is always readable */
	int err;
} context = {.once = PTHREAD_ONCE_INIT};

/*
 * Says what fd is without calling into the file: on a file of a FUSE mount even fstat() waits for
 * its owner. No path can look like this name, as every path begins with a slash.
 */
bool
memif_kick_is_eventfd(int fd)
{
	static const char want[] = "anon_inode:[eventfd]";
	char link[32], name[sizeof(want) + 1];

	if (fd < 0)
		return false;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	return readlink(link, name, sizeof(name)) == (ssize_t)sizeof(want) - 1 &&
	       !memcmp(name, want, sizeof(want) - 1);
}

static void
open_context(void)
{
	context.ready_fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
	if (context.ready_fd < 0 || syscall(SYS_io_setup, 1, &context.id) < 0) {
		context.err = -errno;
		if (context.ready_fd >= 0)
			memif_sys_close(context.ready_fd);
	}
}

int
memif_kick_init(void)
{
	pthread_once(&context.once, open_context);
	return context.err;
}

/* 0 or -errno: the request and the signal are over when this returns. */
static int
submit(int efd)
{
	struct iocb cb = {
		.aio_lio_opcode = IOCB_CMD_POLL,
		.aio_fildes = (uint32_t)context.ready_fd,
		.aio_buf = POLLIN,
		.aio_flags = IOCB_FLAG_RESFD,
		.aio_resfd = (uint32_t)efd,
	};
	struct iocb *list[] = {&cb};

	return syscall(SYS_io_submit, context.id, 1L, list) < 0 ? -errno : 0;
}

void
memif_kick_signal(int efd)
{
	static const struct timespec now;
	struct io_event done[REAP_BURST];

	/* EAGAIN: completions that nobody has collected fill the queue. Others may do it with us.
	 */
	for (int i = 0; i < MAX_TRIES && submit(efd) == -EAGAIN; i++)
		syscall(SYS_io_getevents, context.id, 0L, (long)REAP_BURST, done, &now);
}
