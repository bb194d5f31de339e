/* SPDX-License-Identifier: MIT */
/* Requests of ff-lab. Runs between frames, on the wire's only thread. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "control.h"

#define REQUEST_MAX 2048
/* An answer is one message, and must fit: some 800 bytes for each port. */
#define SEND_BUFFER (1 << 20)

int
wire_control_open(struct wire_control *control, const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	unsigned i;
	int fd, rc;

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	strcpy(address.sun_path, path);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) || listen(fd, 16)) {
		rc = -errno;
		close(fd);
		return rc;
	}
	control->fds[0] = fd;
	for (i = 1; i < WIRE_CONTROL_FDS; i++)
		control->fds[i] = -1;
	return 0;
}

static int *
client_slot(struct wire_control *control)
{
	unsigned i;

	for (i = 1; i < WIRE_CONTROL_FDS; i++)
		if (control->fds[i] < 0)
			return &control->fds[i];
	return NULL;
}

void
wire_control_poll(const struct wire_control *control, struct pollfd *polls)
{
	bool room = false;
	unsigned i;

	for (i = 1; i < WIRE_CONTROL_FDS; i++) {
		polls[i] = (struct pollfd){.fd = control->fds[i], .events = POLLIN};
		room = room || control->fds[i] < 0;
	}
	polls[0] = (struct pollfd){.fd = room ? control->fds[0] : -1, .events = POLLIN};
}

static void
client_accept(struct wire_control *control)
{
	int *slot = client_slot(control), size = SEND_BUFFER;
	int fd = slot ? accept4(control->fds[0], NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK) : -1;

	if (fd < 0)
		return;
	setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));
	*slot = fd;
}

/* The errors hold what the user has typed. */
static void
error_print(const char *error, FILE *out)
{
	fprintf(out, "{\"error\": \"");
	for (; *error; error++) {
		if ((unsigned char)*error < ' ' || *error == '"' || *error == '\\')
			fprintf(out, "\\u%04x", (unsigned char)*error);
		else
			fputc(*error, out);
	}
	fprintf(out, "\"}\n");
}

static void
request_answer(const char *request, struct wire_hub *hub, FILE *out)
{
	char error[512];

	if (!strncmp(request, "set ", 4)) {
		if (wire_hub_set(hub, request + 4, error, sizeof(error))) {
			error_print(error, out);
			return;
		}
	} else if (strcmp(request, "show")) {
		error_print("no such request", out);
		return;
	}
	wire_hub_print(hub, out);
}

/* False when it has left, or does not take its answer. */
static bool
client_serve(int fd, struct wire_hub *hub)
{
	char request[REQUEST_MAX], *answer = NULL;
	ssize_t len = recv(fd, request, sizeof(request) - 1, 0);
	size_t size = 0;
	FILE *out;
	bool ok;

	if (len <= 0)
		return len < 0 && (errno == EAGAIN || errno == EINTR);
	request[len] = '\0';
	out = open_memstream(&answer, &size);
	if (!out)
		return false;
	request_answer(request, hub, out);
	ok = fclose(out) == 0 && send(fd, answer, size, MSG_NOSIGNAL) == (ssize_t)size;
	free(answer);
	return ok;
}

void
wire_control_serve(struct wire_control *control, const struct pollfd *polls, struct wire_hub *hub)
{
	unsigned i;

	for (i = 1; i < WIRE_CONTROL_FDS; i++) {
		if (polls[i].fd < 0 || !polls[i].revents || client_serve(polls[i].fd, hub))
			continue;
		close(polls[i].fd);
		control->fds[i] = -1;
	}
	if (polls[0].fd >= 0 && polls[0].revents)
		client_accept(control);
}
