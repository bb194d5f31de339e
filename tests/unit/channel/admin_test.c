/* SPDX-License-Identifier: MIT */
/* The admin socket, and what it made after a restart. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"

static int
admin_connect(void)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/admin.sock", harness_run_dir());
	if (connect(fd, (struct sockaddr *)&sa, sizeof(sa))) {
		close(fd);
		return -1;
	}
	return fd;
}

/* The reply, in a static buffer. */
static const char *
ask(int fd, const char *req)
{
	static char rep[4096];
	struct pollfd p = {.fd = fd, .events = POLLIN};
	ssize_t n;

	if (send(fd, req, strlen(req), MSG_NOSIGNAL) < 0 || poll(&p, 1, 10000) != 1)
		return "(none)";
	n = recv(fd, rep, sizeof(rep) - 1, 0);
	rep[n > 0 ? n : 0] = 0;
	return rep;
}

#define OK(fd, req) CU_ASSERT_STRING_EQUAL(ask(fd, req), "{\"ok\":true}")
#define FAILS(fd, req, text)                                             \
	do {                                                             \
		const char *rep_ = ask(fd, req);                         \
		CU_ASSERT_EQUAL(strncmp(rep_, "{\"ok\":false,", 12), 0); \
		CU_ASSERT_PTR_NOT_NULL(strstr(rep_, text));              \
	} while (0)

#define C1 "{\"id\":\"c1\",\"tenant\":\"t\",\"addresses\":[\"10.32.0.1\"]}"

static void
test_requests(void)
{
	int fd = admin_connect();

	CU_ASSERT_PTR_NOT_NULL(strstr(ask(fd, "{\"op\":\"ping\"}"), "\"ok\":true"));
	OK(fd, "{\"op\":\"container_add\",\"container\":" C1 "}");
	OK(fd, "{\"op\":\"container_add\",\"container\":" C1 "}");
	CU_ASSERT_PTR_NOT_NULL(harness_container("c1"));
	CU_ASSERT_EQUAL(access(harness_path("c1", "router.sock"), F_OK), 0);
	FAILS(fd,
	      "{\"op\":\"container_add\",\"container\":{\"id\":\"c1\",\"tenant\":\"t\","
	      "\"addresses\":[\"10.32.0.9\"]}}",
	      "other settings");
	FAILS(fd,
	      "{\"op\":\"container_add\",\"container\":{\"id\":\"c2\",\"tenant\":\"t\","
	      "\"addresses\":[\"10.32.0.1\"]}}",
	      "10.32.0.1");
	OK(fd, "{\"op\":\"container_del\",\"id\":\"c1\"}");
	CU_ASSERT_PTR_NULL(harness_container("c1"));
	FAILS(fd, "{\"op\":\"container_del\",\"id\":\"c1\"}", "c1");
	close(fd);
}

static void
test_bad(void)
{
	static const char *const bad[] = {
		"{}",
		"[]",
		"3",
		"nonsense",
		"{\"op\":7}",
		"{\"op\":\"fly\"}",
		"",
		"{\"op\":\"container_add\"}",
		"{\"op\":\"container_add\",\"container\":[]}",
		"{\"op\":\"container_add\",\"container\":{\"id\":\"../x\"}}",
		"{\"op\":\"container_add\",\"container\":{\"id\":\"..\"}}",
		"{\"op\":\"container_add\",\"container\":{\"id\":\"x\",\"nets\":1}}",
		"{\"op\":\"container_add\",\"container\":{\"id\":\"x\",\"netns\":\"/nowhere\"}}",
		"{\"op\":\"container_del\"}",
		"{\"op\":\"ping\",\"op\":\"ping\"}",
	};

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		int fd = admin_connect();

		if (!bad[i][0]) { /* an empty message is the end of the connection */
			CU_ASSERT_EQUAL(send(fd, "", 0, 0), 0);
			CU_ASSERT_TRUE(client_closed(fd));
		} else {
			CU_ASSERT_EQUAL(strncmp(ask(fd, bad[i]), "{\"ok\":false,", 12), 0);
		}
		close(fd);
	}
	CU_ASSERT_PTR_NULL(harness_container("x"));
}

/* For root alone, by mode and by credentials. */
static void
test_identity(void)
{
	char path[256];
	struct stat st;
	int status;
	pid_t pid;

	snprintf(path, sizeof(path), "%s/admin.sock", harness_run_dir());
	CU_ASSERT_EQUAL(stat(path, &st), 0);
	CU_ASSERT_EQUAL(st.st_mode & 0777, 0600);
	if (geteuid())
		return; /* then ours is the only user that can be tried */
	chmod(harness_run_dir(), 0755);
	chmod(path, 0666); /* as if: the credentials still count */
	pid = fork();
	if (!pid) {
		int fd;

		if (setgid(65534) || setuid(65534))
			_exit(3);
		fd = admin_connect();
		_exit(fd >= 0 && client_closed(fd) ? 0 : 1);
	}
	waitpid(pid, &status, 0);
	CU_ASSERT_EQUAL(status, 0);
	chmod(path, 0600);
}

static void
restart(void *arg)
{
	ff_containers_fini();
	CU_ASSERT_EQUAL(ff_containers_init(), 0);
}

/* What was added is there again, in the same directory; what was removed is not. */
static void
test_restart(void)
{
	struct stat before, after;
	int fd = admin_connect();

	OK(fd, "{\"op\":\"container_add\",\"container\":" C1 "}");
	OK(fd, "{\"op\":\"container_add\",\"container\":{\"id\":\"gone\","
	       "\"addresses\":[\"10.32.0.9\"]}}");
	OK(fd, "{\"op\":\"container_del\",\"id\":\"gone\"}");
	CU_ASSERT_EQUAL(stat(harness_path("c1", ""), &before), 0);
	harness_control(restart, NULL);
	CU_ASSERT_TRUE(client_closed(fd));
	close(fd);
	CU_ASSERT_PTR_NOT_NULL(harness_container("c1"));
	CU_ASSERT_PTR_NULL(harness_container("gone"));
	CU_ASSERT_EQUAL(stat(harness_path("c1", ""), &after), 0);
	CU_ASSERT_EQUAL(before.st_ino, after.st_ino);
	fd = admin_connect();
	OK(fd, "{\"op\":\"container_del\",\"id\":\"c1\"}");
	close(fd);
	harness_control(restart, NULL);
	CU_ASSERT_PTR_NULL(harness_container("c1"));
}

int
main(void)
{
	static const struct harness_test tests[] = {
		{"requests", test_requests},
		{"bad requests", test_bad},
		{"identity", test_identity},
		{"restart", test_restart},
	};

	return harness_main("admin", tests, sizeof(tests) / sizeof(tests[0]));
}
