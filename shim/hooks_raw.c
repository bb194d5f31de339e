/* SPDX-License-Identifier: MIT */
/*
 * Ways to a descriptor that the other hooks do not see: stdio, which makes its system calls inside
 * libc; syscall(); rings of io_uring. Where a stream may be used by one, it stays with the kernel.
 * And calls that make descriptors: what the table says of theirs is stale. Any thread.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "fork.h"
#include "real.h"
#include "stream.h"

/* ---- stdio ---- */

static ssize_t
file_read(void *cookie, char *buf, size_t len)
{
	return read((int)(intptr_t)cookie, buf, len);
}

/* 0 for an error. */
static ssize_t
file_write(void *cookie, const char *buf, size_t len)
{
	ssize_t n = write((int)(intptr_t)cookie, buf, len);

	return n < 0 ? 0 : n;
}

static int
file_close(void *cookie)
{
	return close((int)(intptr_t)cookie);
}

/* Of a stream with FIFOs: by the hooks. fileno() is told which it is. */
static FILE *
fifo_fdopen(int fd, const char *mode)
{
	static const cookie_io_functions_t functions = {
		.read = file_read, .write = file_write, .close = file_close};
	FILE *f = fopencookie((void *)(intptr_t)fd, mode, functions);

	if (f)
		f->_fileno = fd;
	return f;
}

FF_HOOK FILE *
fdopen(int fd, const char *mode)
{
	stream_stays(fd);
	if (stream_is_fifo(fd))
		return fifo_fdopen(fd, mode);
	return FF_REAL(fdopen)(fd, mode);
}

/* libc closes the descriptor; a stream by cookie does it by the hook. */
FF_HOOK int
fclose(FILE *f)
{
	int saved = errno, fd = f && atomic_load(&ff_io_gate) ? fileno_unlocked(f) : -1, rc;
	struct stream *s;

	errno = saved;
	if (fd < 0 || stream_is_fifo(fd))
		return FF_REAL(fclose)(f);
	s = stream_hold(fd);
	if (s)
		fdtab_clear(fd);
	rc = FF_REAL(fclose)(f);
	stream_release(s);
	return rc;
}

/* ---- syscall() ---- */

/* The descriptor that it moves bytes of, closes or watches; -1: none. */
static int
syscall_fd(long nr, const long *arg)
{
	switch (nr) {
	case SYS_read:
	case SYS_write:
	case SYS_readv:
	case SYS_writev:
	case SYS_preadv2:
	case SYS_pwritev2:
	case SYS_sendto:
	case SYS_recvfrom:
	case SYS_sendmsg:
	case SYS_recvmsg:
	case SYS_sendmmsg:
	case SYS_recvmmsg:
	case SYS_sendfile:
	case SYS_splice:
	case SYS_shutdown:
	case SYS_setsockopt:
	case SYS_close:
	case SYS_dup:
	case SYS_fcntl:
	case SYS_ioctl:
		return (int)arg[0];
	case SYS_epoll_ctl:
		return (int)arg[2];
	default:
		return -1;
	}
}

static bool
syscall_forks(long nr, const long *arg)
{
	switch (nr) {
#ifdef SYS_fork
	case SYS_fork:
	case SYS_vfork:
		return true;
#endif
	case SYS_clone:
		return !(arg[0] & CLONE_FILES);
	case SYS_clone3: /* struct clone_args: flags come first */
		return !(*(const uint64_t *)arg[0] & CLONE_FILES);
	default:
		return false;
	}
}

/* Not what is a number of another kind there. */
static void
syscall_ends(long nr, const long *arg)
{
	int fd = nr == SYS_close ? (int)arg[0] : nr == SYS_dup3 ? (int)arg[1] : -1;
	const struct fdobj *o = fdtab_peek(fd);

#ifdef SYS_dup2
	if (nr == SYS_dup2)
		o = fdtab_peek(fd = (int)arg[1]);
#endif
	if (o && o->kind == FDOBJ_STREAM && !fork_shares_memory())
		fdtab_clear(fd);
}

/* For the hook; the function that it goes on to. */
typedef long (*syscall_fn)(long nr, ...);
__attribute__((used, visibility("hidden"))) syscall_fn ff_syscall_look(long nr, long a, long b,
								       long c);
syscall_fn
ff_syscall_look(long nr, long a, long b, long c)
{
	const long arg[] = {a, b, c};
	int saved = errno, fd;

	if (__builtin_expect(nr == SYS_io_uring_setup, 0))
		stream_ring_seen();
	if (__builtin_expect(!atomic_load_explicit(&ff_io_gate, memory_order_acquire), 1))
		return FF_REAL(syscall);
	fd = syscall_fd(nr, arg);
	if (fd >= 0)
		stream_stays(fd);
	if (syscall_forks(nr, arg))
		stream_forked();
	syscall_ends(nr, arg);
	errno = saved;
	return FF_REAL(syscall);
}

/* No frame of its own is left when the call is made: it may be a vfork. */
#if defined(__x86_64__)
__asm__(".pushsection .text\n"
	".globl syscall\n"
	".type syscall, @function\n"
	"syscall:\n"
	"	pushq %rdi\n"
	"	pushq %rsi\n"
	"	pushq %rdx\n"
	"	pushq %rcx\n"
	"	pushq %r8\n"
	"	pushq %r9\n"
	"	subq $8, %rsp\n"
	"	call ff_syscall_look\n"
	"	movq %rax, %r11\n"
	"	addq $8, %rsp\n"
	"	popq %r9\n"
	"	popq %r8\n"
	"	popq %rcx\n"
	"	popq %rdx\n"
	"	popq %rsi\n"
	"	popq %rdi\n"
	"	xorl %eax, %eax\n"
	"	jmp *%r11\n"
	".size syscall, .-syscall\n"
	".popsection\n");
#else
__asm__(".pushsection .text\n"
	".globl syscall\n"
	".type syscall, %function\n"
	"syscall:\n"
	"	stp x29, x30, [sp, #-80]!\n"
	"	stp x0, x1, [sp, #16]\n"
	"	stp x2, x3, [sp, #32]\n"
	"	stp x4, x5, [sp, #48]\n"
	"	str x6, [sp, #64]\n"
	"	bl ff_syscall_look\n"
	"	mov x16, x0\n"
	"	ldp x0, x1, [sp, #16]\n"
	"	ldp x2, x3, [sp, #32]\n"
	"	ldp x4, x5, [sp, #48]\n"
	"	ldr x6, [sp, #64]\n"
	"	ldp x29, x30, [sp], #80\n"
	"	br x16\n"
	".size syscall, .-syscall\n"
	".popsection\n");
#endif

/* ---- calls that make descriptors ---- */

static int
pair_fresh(int rc, const int fds[2])
{
	for (unsigned i = 0; i < 2 && rc == 0; i++)
		(void)fdtab_fresh(fds[i]);
	return rc;
}

FF_HOOK int
socketpair(int domain, int type, int protocol, int fds[2])
{
	return pair_fresh(FF_REAL(socketpair)(domain, type, protocol, fds), fds);
}

FF_HOOK int
pipe(int fds[2])
{
	return pair_fresh(FF_REAL(pipe)(fds), fds);
}

FF_HOOK int
pipe2(int fds[2], int flags)
{
	return pair_fresh(FF_REAL(pipe2)(fds, flags), fds);
}

FF_HOOK int
eventfd(unsigned int value, int flags)
{
	return fdtab_fresh(FF_REAL(eventfd)(value, flags));
}

FF_HOOK int
epoll_create(int size)
{
	return fdtab_fresh(FF_REAL(epoll_create)(size));
}

FF_HOOK int
epoll_create1(int flags)
{
	return fdtab_fresh(FF_REAL(epoll_create1)(flags));
}

FF_HOOK int
timerfd_create(clockid_t clock, int flags)
{
	return fdtab_fresh(FF_REAL(timerfd_create)(clock, flags));
}

FF_HOOK int
memfd_create(const char *name, unsigned int flags)
{
	return fdtab_fresh(FF_REAL(memfd_create)(name, flags));
}
