/* SPDX-License-Identifier: MIT */
/*
 * libc's calls that give descriptors to another program: streams (stream.h) that would not be the
 * same there stay with the kernel. Any thread.
 */
#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>

#include "real.h"
#include "stream.h"

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
