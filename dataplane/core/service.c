/* SPDX-License-Identifier: MIT */
/* freeflowd as a service: run_dir and its lock, info.json, signals, sd_notify. Control thread. */
#include "service.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>

#include "config.h"
#include "core/build_conf.h"
#include "log.h"
#include "loop.h"

#define PATH_LEN (sizeof(ff_config.run_dir) + 32)

static int lock_fd = -1;
static struct ff_source signals;
static void (*reload_fn)(void);

static void
path_make(char out[PATH_LEN], const char *name)
{
	snprintf(out, PATH_LEN, "%s/%s", ff_config.run_dir, name);
}

/* mkdir -p. The parents may be anybody's to read; what is below decides for itself. */
static int
dirs_make(const char *path)
{
	char part[sizeof(ff_config.run_dir)];
	char *slash;

	snprintf(part, sizeof(part), "%s", path);
	for (slash = strchr(part + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		if (mkdir(part, 0755) && errno != EEXIST)
			return -errno;
		*slash = '/';
	}
	return mkdir(part, 0755) && errno != EEXIST ? -errno : 0;
}

static void
lock_refused(const char *path, int fd)
{
	char pid[16] = "";
	ssize_t n = pread(fd, pid, sizeof(pid) - 1, 0);

	pid[n > 0 ? strcspn(pid, "\n") : 0] = '\0';
	ff_err("main",
	       "another freeflowd (process %s) runs on %s (%s is locked); give this one a "
	       "run_dir of its own",
	       pid[0] ? pid : "unknown", ff_config.run_dir, path);
}

int
ff_service_lock(void)
{
	char path[PATH_LEN], pid[16];
	int fd, rc, len;

	rc = dirs_make(ff_config.run_dir);
	if (rc) {
		ff_err("main", "run_dir %s: %s", ff_config.run_dir, strerror(-rc));
		return rc;
	}
	path_make(path, "freeflowd.pid");
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (fd < 0) {
		rc = -errno;
		ff_err("main", "%s: %s", path, strerror(-rc));
		return rc;
	}
	if (flock(fd, LOCK_EX | LOCK_NB)) {
		rc = errno == EWOULDBLOCK ? -EEXIST : -errno;
		if (rc == -EEXIST)
			lock_refused(path, fd);
		close(fd);
		return rc;
	}
	len = snprintf(pid, sizeof(pid), "%d\n", (int)getpid());
	if (ftruncate(fd, 0) || pwrite(fd, pid, (size_t)len, 0) != len)
		ff_warn("main", "%s: %s", path, strerror(errno));
	lock_fd = fd;
	return 0;
}

void
ff_service_unlock(void)
{
	char path[PATH_LEN];

	if (lock_fd < 0)
		return;
	path_make(path, "info.json");
	unlink(path);
	/* The lock file stays: an instance that has it open must meet those that come after it. */
	if (ftruncate(lock_fd, 0))
		ff_debug("main", "freeflowd.pid: %s", strerror(errno));
	close(lock_fd);
	lock_fd = -1;
}

int
ff_service_publish(const char *telemetry)
{
	char path[PATH_LEN], tmp[PATH_LEN], admin[PATH_LEN];
	json_t *info;
	int rc = 0;

	path_make(path, "info.json");
	path_make(tmp, "info.json.new");
	path_make(admin, "admin.sock");
	info = json_pack("{s:s, s:i, s:s, s:s, s:s}", "name", ff_config.name, "pid", (int)getpid(),
			 "version", FF_VERSION, "telemetry", telemetry, "admin", admin);
	if (!info)
		return -ENOMEM;
	if (json_dump_file(info, tmp, JSON_INDENT(2)) || rename(tmp, path)) {
		rc = errno ? -errno : -EIO;
		ff_err("main", "%s: %s", path, strerror(-rc));
	}
	json_decref(info);
	return rc;
}

static void
signal_set(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGHUP);
}

int
ff_service_signals_block(void)
{
	sigset_t set;

	signal_set(&set);
	signal(SIGPIPE, SIG_IGN);
	return -pthread_sigmask(SIG_BLOCK, &set, NULL);
}

static void
signal_ready(struct ff_source *s, uint32_t events)
{
	struct signalfd_siginfo info;

	while (read(s->fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		if (info.ssi_signo == SIGHUP) {
			reload_fn();
			continue;
		}
		ff_info("main", "%s from process %u: leaving",
			info.ssi_signo == SIGTERM ? "SIGTERM" : "SIGINT", info.ssi_pid);
		ff_loop_stop();
	}
}

int
ff_service_signals_add(void (*reload)(void))
{
	sigset_t set;
	int fd, rc;

	signal_set(&set);
	fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (fd < 0)
		return -errno;
	reload_fn = reload;
	rc = ff_loop_add(&signals, fd, EPOLLIN, signal_ready, NULL);
	if (rc)
		close(fd);
	return rc;
}

void
ff_service_signals_del(void)
{
	if (!signals.added)
		return;
	ff_loop_del(&signals);
	close(signals.fd);
}

void
ff_service_notify(const char *state)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	size_t len;
	int fd;

	if (!path || (path[0] != '/' && path[0] != '@'))
		return;
	len = strlen(path);
	if (len >= sizeof(sun.sun_path))
		return;
	memcpy(sun.sun_path, path, len);
	if (path[0] == '@')
		sun.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	if (sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&sun,
		   (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) < 0)
		ff_warn("main", "NOTIFY_SOCKET: %s", strerror(errno));
	close(fd);
}

void
ff_service_notify_reloading(void)
{
	struct timespec now;
	char state[64];

	clock_gettime(CLOCK_MONOTONIC, &now);
	snprintf(state, sizeof(state), "RELOADING=1\nMONOTONIC_USEC=%lld",
		 (long long)now.tv_sec * 1000000 + now.tv_nsec / 1000);
	ff_service_notify(state);
}
