/* SPDX-License-Identifier: MIT */
/*
 * Processes that fork, exec and thread around an open device; data checked throughout. Under the
 * shim: threads_fork before | after | children | exec | threads N | storm N | child
 */
#include <errno.h>
#include <pthread.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "loopback.h"

#define HALF   20000u
#define ROUNDS 20u
#define CYCLES 4u  /* opens of each thread */
#define FORKS  10u /* of a storm */

extern char **environ;

static const char *self;
static atomic_int bad;

/* Every thread may call it: the first word of what is wrong is enough. */
static void
check(const char *what, const char *why)
{
	if (!why)
		return;
	fprintf(stderr, "%s (process %d): %s\n", what, (int)getpid(), why);
	atomic_store(&bad, 1);
}

static void
await_child(const char *what, pid_t pid)
{
	char text[64];
	int status;

	if (pid < 0 || waitpid(pid, &status, 0) != pid) {
		check(what, strerror(errno));
		return;
	}
	snprintf(text, sizeof(text), "its status is %#x", status);
	check(what, status ? text : NULL);
}

/* A child that uses a device of its own. */
static pid_t
fork_user(uint32_t seed)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	check("child", loopback_run(ROUNDS, HALF, seed));
	_exit(atomic_load(&bad));
}

static pid_t
spawn_user(void)
{
	char *argv[] = {(char *)self, (char *)"child", NULL};
	pid_t pid;
	int err = posix_spawn(&pid, self, NULL, NULL, argv, environ);

	if (!err)
		return pid;
	errno = err;
	return -1;
}

static pid_t
fork_exec_user(void)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	execl(self, self, "child", (char *)NULL);
	_exit(127);
}

static pid_t
vfork_exec_user(void)
{
	pid_t pid = vfork();

	if (pid)
		return pid;
	execl(self, self, "child", (char *)NULL);
	_exit(127);
}

static int
system_user(void)
{
	char command[4096];

	snprintf(command, sizeof(command), "exec '%s' child", self);
	return system(command);
}

/* ---- one thread ---- */

/* fork before the device is open in either. */
static void
fork_before(void)
{
	pid_t pid = fork_user(1);

	check("parent", loopback_run(ROUNDS, HALF, 2));
	await_child("child", pid);
}

/* What a child finds of its parent's memory: its own copy, whatever the device does to it. */
static pid_t
fork_reader(const struct loopback *l)
{
	uint8_t *was = malloc(2 * l->half);
	pid_t pid;

	if (!was)
		return -1;
	memcpy(was, l->buf, 2 * l->half);
	pid = fork();
	if (pid) {
		free(was);
		return pid;
	}
	for (int i = 0; i < 200; i++) {
		if (memcmp(was, l->buf, 2 * l->half))
			_exit(3);
		sched_yield();
	}
	memset(l->buf, 0xee, 2 * l->half);
	_exit(0);
}

/* fork with a device in use: children have devices of their own, the parent's goes on. */
static void
fork_after(void)
{
	struct ibv_context *ctx = loopback_device();
	struct loopback l;
	uint32_t seed = 0;

	if (!ctx || loopback_open(&l, ctx, HALF)) {
		check("start", strerror(errno));
		return;
	}
	for (int i = 0; i < 3; i++) {
		pid_t reader, user;

		check("parent before", loopback_round(&l, seed++, NULL));
		reader = fork_reader(&l);
		check("parent with a reader", loopback_round(&l, seed++, NULL));
		user = fork_user(seed);
		for (unsigned k = 0; k < ROUNDS; k++)
			check("parent", loopback_round(&l, seed++, NULL));
		await_child("reader", reader);
		await_child("child", user);
		check("parent after", loopback_round(&l, seed++, NULL));
	}
	loopback_close(&l);
	check("close", ibv_close_device(ctx) ? strerror(errno) : NULL);
}

static void
with_device(void (*fn)(void))
{
	struct ibv_context *ctx = loopback_device();
	struct loopback l;

	if (!ctx || loopback_open(&l, ctx, HALF)) {
		check("start", strerror(errno));
		return;
	}
	check("before", loopback_round(&l, 1, NULL));
	fn();
	check("after", loopback_round(&l, 2, NULL));
	loopback_close(&l);
	check("close", ibv_close_device(ctx) ? strerror(errno) : NULL);
}

static void
execs(void)
{
	await_child("fork and exec", fork_exec_user());
	await_child("posix_spawn", spawn_user());
	await_child("vfork and exec", vfork_exec_user());
	check("system", system_user() ? "not 0" : NULL);
}

/* exec of the process that has the device open: what it becomes opens it anew. */
static void
exec_self(void)
{
	execl(self, self, "child", (char *)NULL);
	check("exec", strerror(errno));
}

/* ---- many threads ---- */

static void *
thread_main(void *arg)
{
	uint32_t seed = (uint32_t)(uintptr_t)arg * 1000;

	for (unsigned i = 0; i < CYCLES; i++)
		check("thread", loopback_run(ROUNDS, HALF, seed + i));
	return NULL;
}

/* All post to QPs of one context, each to its own. */
static void *
sharer_main(void *arg)
{
	struct loopback l;

	if (loopback_open(&l, arg, HALF))
		check("sharer", strerror(errno));
	for (unsigned i = 0; i < ROUNDS && !atomic_load(&bad); i++)
		check("sharer", loopback_round(&l, i * 13, NULL));
	loopback_close(&l);
	return NULL;
}

/* Threads that open and close, threads that share a device, and forks among them. */
static void
threads(unsigned n, unsigned forks)
{
	struct ibv_context *ctx = loopback_device();
	pthread_t *t = calloc(2 * n, sizeof(*t));

	if (!ctx || !t) {
		check("start", strerror(errno));
		return;
	}
	for (unsigned i = 0; i < n; i++)
		if (pthread_create(&t[2 * i], NULL, thread_main, (void *)(uintptr_t)i) ||
		    pthread_create(&t[2 * i + 1], NULL, sharer_main, ctx))
			abort();
	for (unsigned i = 0; i < forks; i++) {
		await_child("fork", i & 1 ? fork_user(i) : fork_exec_user());
		if (i % 5 == 0)
			check("system", system("true") ? "not 0" : NULL);
	}
	for (unsigned i = 0; i < 2 * n; i++)
		pthread_join(t[i], NULL);
	check("close", ibv_close_device(ctx) ? strerror(errno) : NULL);
	free(t);
}

int
main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "";
	unsigned n = argc > 2 ? (unsigned)atoi(argv[2]) : 0;

	self = argv[0];
	if (strcmp(mode, "child") == 0)
		check("child", loopback_run(ROUNDS, HALF, 5));
	else if (strcmp(mode, "before") == 0)
		fork_before();
	else if (strcmp(mode, "after") == 0)
		fork_after();
	else if (strcmp(mode, "children") == 0)
		with_device(execs);
	else if (strcmp(mode, "exec") == 0)
		with_device(exec_self);
	else if (strcmp(mode, "threads") == 0 && n)
		threads(n, 0);
	else if (strcmp(mode, "storm") == 0 && n)
		threads(n, FORKS);
	else
		return 2;
	if (!atomic_load(&bad))
		puts("done");
	return atomic_load(&bad);
}
