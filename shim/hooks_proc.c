/* SPDX-License-Identifier: MIT */
/*
 * libc's calls that give descriptors to another program: streams (stream.h) that would not be the
 * same there stay with the kernel. Those whose bytes go by FIFOs already are closed to it: better
 * no descriptor than one that carries something else. Any thread, and children of vfork().
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "fork.h"
#include "real.h"
#include "stream.h"

/* ---- fork and exec in one ---- */

FF_HOOK int
posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
	    const posix_spawnattr_t *attr, char *const argv[], char *const env[])
{
	int rc;

	stream_fork_begin();
	rc = FF_REAL(posix_spawn)(pid, path, actions, attr, argv, env);
	stream_fork_end();
	return rc;
}

FF_HOOK int
posix_spawnp(pid_t *pid, const char *file, const posix_spawn_file_actions_t *actions,
	     const posix_spawnattr_t *attr, char *const argv[], char *const env[])
{
	int rc;

	stream_fork_begin();
	rc = FF_REAL(posix_spawnp)(pid, file, actions, attr, argv, env);
	stream_fork_end();
	return rc;
}

FF_HOOK int
posix_spawn_file_actions_adddup2(posix_spawn_file_actions_t *actions, int fd, int to)
{
	if (stream_is_fifo(fd))
		return EBADF;
	stream_passed(fd);
	return FF_REAL(posix_spawn_file_actions_adddup2)(actions, fd, to);
}

/* It waits: what is new meanwhile the shell does not have. */
FF_HOOK int
system(const char *command)
{
	stream_forked();
	return FF_REAL(system)(command);
}

FF_HOOK FILE *
popen(const char *command, const char *mode)
{
	FILE *f;

	stream_fork_begin();
	f = FF_REAL(popen)(command, mode);
	stream_fork_end();
	return f;
}

/* ---- vfork ---- */

/* For the hook, which must not have a frame of its own when the child returns. */
__attribute__((used, visibility("hidden"))) pid_t (*ff_vfork_prepare(void))(void);
pid_t (*ff_vfork_prepare(void))(void)
{
	stream_forked();
	return FF_REAL(vfork);
}

#if defined(__x86_64__)
__asm__(".pushsection .text\n"
	".globl vfork\n"
	".type vfork, @function\n"
	"vfork:\n"
	"	subq $8, %rsp\n"
	"	call ff_vfork_prepare\n"
	"	addq $8, %rsp\n"
	"	jmp *%rax\n"
	".size vfork, .-vfork\n"
	".popsection\n");
#else
__asm__(".pushsection .text\n"
	".globl vfork\n"
	".type vfork, %function\n"
	"vfork:\n"
	"	stp x29, x30, [sp, #-16]!\n"
	"	bl ff_vfork_prepare\n"
	"	mov x16, x0\n"
	"	ldp x29, x30, [sp], #16\n"
	"	br x16\n"
	".size vfork, .-vfork\n"
	".popsection\n");
#endif

/* ---- exec ---- */

/* The new program would take the bytes that say whether there are any for the bytes. */
static void
fifo_close_on_exec(void)
{
	for (int fd = fdtab_next(0); fd >= 0; fd = fdtab_next((unsigned)fd + 1))
		if (stream_is_fifo(fd))
			(void)ff_real.fcntl(fd, F_SETFD, FD_CLOEXEC);
}

/*
 * Ends other threads wherever they are: not in the middle of an exchange. A child of vfork() ends
 * none.
 */
static bool
exec_begin(void)
{
	bool alone = fork_shares_memory();

	if (!alone)
		stream_fork_begin();
	fifo_close_on_exec();
	return alone;
}

static int
exec_failed(bool alone)
{
	int saved = errno;

	if (!alone)
		stream_fork_end();
	errno = saved;
	return -1;
}

#define EXEC(name, params, args)           \
	FF_HOOK int name params            \
	{                                  \
		bool alone = exec_begin(); \
                                           \
		(void)FF_REAL(name) args;  \
		return exec_failed(alone); \
	}

EXEC(execve, (const char *path, char *const argv[], char *const env[]), (path, argv, env))
EXEC(execv, (const char *path, char *const argv[]), (path, argv))
EXEC(execvp, (const char *file, char *const argv[]), (file, argv))
EXEC(execvpe, (const char *file, char *const argv[], char *const env[]), (file, argv, env))
EXEC(fexecve, (int fd, char *const argv[], char *const env[]), (fd, argv, env))
EXEC(execveat, (int dirfd, const char *path, char *const argv[], char *const env[], int flags),
     (dirfd, path, argv, env, flags))

/* Arguments up to the NULL, which counts. */
static size_t
args_count(va_list ap)
{
	size_t n = 2; /* the first one is named */
	va_list copy;

	va_copy(copy, ap);
	while (va_arg(copy, char *))
		n++;
	va_end(copy);
	return n;
}

#define TAKE_ARGS(arg, n, argv)          \
	argv[0] = (char *)(arg);         \
	for (size_t i = 1; i < (n); i++) \
	(argv)[i] = va_arg(ap, char *)

FF_HOOK int
execl(const char *path, const char *arg, ...)
{
	va_list ap;
	size_t n;

	va_start(ap, arg);
	n = args_count(ap);
	char *argv[n];
	TAKE_ARGS(arg, n, argv);
	va_end(ap);
	return execv(path, argv);
}

FF_HOOK int
execlp(const char *file, const char *arg, ...)
{
	va_list ap;
	size_t n;

	va_start(ap, arg);
	n = args_count(ap);
	char *argv[n];
	TAKE_ARGS(arg, n, argv);
	va_end(ap);
	return execvp(file, argv);
}

FF_HOOK int
execle(const char *path, const char *arg, ...)
{
	char *const *env;
	va_list ap;
	size_t n;

	va_start(ap, arg);
	n = args_count(ap);
	char *argv[n];
	TAKE_ARGS(arg, n, argv);
	env = va_arg(ap, char *const *);
	va_end(ap);
	return execve(path, argv, env);
}
