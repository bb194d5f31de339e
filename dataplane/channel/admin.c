/* SPDX-License-Identifier: MIT */
/*
 * The admin socket, <run_dir>/admin.sock, for root: one JSON object in each SEQPACKET message, one
 * in each reply. Control thread.
 *
 *   {"op": "ping"}                                  {"ok": true, "name": ..., "containers": N}
 *   {"op": "container_add", "container": {...}}     {"ok": true} or {"ok": false, "error": "..."}
 *   {"op": "container_del", "id": "c1"}
 *
 * What it adds is kept in <run_dir>/admin/<id>.json until container_del: containers outlive
 * freeflowd, and so does what freeflowd knows of them.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "channel_priv.h"

#define ADMIN_SOCK	"admin.sock"
#define STATE_DIR	"admin"
#define ADMIN_MSG_MAX	65536u
#define ADMIN_CONNS_MAX 16u

struct admin_conn {
	struct ff_source src;
	int fd;
	LIST_ENTRY(admin_conn) link;
};

static LIST_HEAD(, admin_conn) conns = LIST_HEAD_INITIALIZER(conns);
static unsigned num_conns;
static struct ff_source listen_src;
static int listen_fd = -1, run_fd = -1, state_fd = -1;
static char msg[ADMIN_MSG_MAX + 1];

static void
admin_close(struct admin_conn *a)
{
	ff_loop_del(&a->src);
	close(a->fd);
	LIST_REMOVE(a, link);
	num_conns--;
	free(a);
}

static void
state_name(const char *id, char *name, size_t len)
{
	snprintf(name, len, "%s.json", id);
}

static int
state_save(const char *id, const json_t *container)
{
	char name[FF_ID_LEN + 8], *text = json_dumps(container, JSON_INDENT(2));
	int rc;

	if (!text)
		return -ENOMEM;
	state_name(id, name, sizeof(name));
	rc = rundir_write(state_fd, name, text, strlen(text), 0600);
	free(text);
	return rc;
}

static void
state_forget(const char *id)
{
	char name[FF_ID_LEN + 8];

	state_name(id, name, sizeof(name));
	(void)unlinkat(state_fd, name, 0);
}

/* err gets one line; faults of the JSON object come one on each line. */
static int
container_add(const json_t *container, struct ff_container_conf *conf, char *err, size_t err_len)
{
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);
	int rc;

	if (!f)
		return -ENOMEM;
	rc = ff_config_container_parse(container, "container", conf, f);
	fclose(f);
	if (rc) {
		snprintf(err, err_len, "%s", text ? text : strerror(-rc));
		err[strcspn(err, "\n")] = 0;
	}
	free(text);
	return rc ? rc : ff_container_add(conf, err, err_len);
}

static int
op_add(const json_t *req, char *err, size_t err_len)
{
	const json_t *container = json_object_get(req, "container");
	struct ff_container_conf *conf = calloc(1, sizeof(*conf));
	int rc = -ENOMEM;

	if (!conf)
		return rc;
	rc = container_add(container, conf, err, err_len);
	if (!rc) {
		rc = state_save(conf->id, container);
		if (rc) {
			snprintf(err, err_len, "cannot save it: %s", strerror(-rc));
			(void)ff_container_del(conf->id);
		}
	}
	free(conf);
	return rc;
}

static int
op_del(const json_t *req, char *err, size_t err_len)
{
	const char *id = json_string_value(json_object_get(req, "id"));
	int rc;

	if (!id) {
		snprintf(err, err_len, "id: a string is needed");
		return -EINVAL;
	}
	rc = ff_container_del(id);
	if (rc)
		snprintf(err, err_len, "no container %.64s", id);
	else
		state_forget(id);
	return rc;
}

static void
count_one(struct ff_container *c, void *arg)
{
	(*(int *)arg)++;
}

static json_t *
admin_execute(const json_t *req)
{
	const char *op = json_string_value(json_object_get(req, "op"));
	char err[256] = "";
	int rc, n = 0;

	if (!op) {
		snprintf(err, sizeof(err), "op: a string is needed");
		rc = -EINVAL;
	} else if (!strcmp(op, "ping")) {
		ff_container_foreach(count_one, &n);
		return json_pack("{s:b,s:s,s:i}", "ok", 1, "name", ff_config.name, "containers", n);
	} else if (!strcmp(op, "container_add")) {
		rc = op_add(req, err, sizeof(err));
	} else if (!strcmp(op, "container_del")) {
		rc = op_del(req, err, sizeof(err));
	} else {
		snprintf(err, sizeof(err), "op: \"%.32s\" is not known", op);
		rc = -EINVAL;
	}
	if (!rc)
		return json_pack("{s:b}", "ok", 1);
	return json_pack("{s:b,s:s,s:i}", "ok", 0, "error", err[0] ? err : strerror(-rc), "errno",
			 -rc);
}

static void
admin_reply(struct admin_conn *a, json_t *rep)
{
	char *text = rep ? json_dumps(rep, JSON_COMPACT) : NULL;

	if (!text || send(a->fd, text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		admin_close(a);
	free(text);
}

static void
admin_event(struct ff_source *s, uint32_t events)
{
	struct admin_conn *a = s->arg;
	ssize_t n = recv(a->fd, msg, ADMIN_MSG_MAX, MSG_DONTWAIT | MSG_TRUNC);
	json_t *req, *rep;
	json_error_t je;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		admin_close(a);
		return;
	}
	if ((size_t)n > ADMIN_MSG_MAX) {
		rep = json_pack("{s:b,s:s}", "ok", 0, "error", "the message is too long");
	} else {
		req = json_loadb(msg, (size_t)n, JSON_REJECT_DUPLICATES, &je);
		rep = req ? admin_execute(req) : json_pack("{s:b,s:s}", "ok", 0, "error", je.text);
		json_decref(req);
	}
	admin_reply(a, rep);
	json_decref(rep);
}

static void
admin_accept(struct ff_source *s, uint32_t events)
{
	int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct admin_conn *a;
	struct ucred cr;
	socklen_t len = sizeof(cr);

	if (fd < 0)
		return;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cr, &len) || cr.uid != 0 ||
	    num_conns >= ADMIN_CONNS_MAX)
		goto refuse;
	a = calloc(1, sizeof(*a));
	if (!a)
		goto refuse;
	a->fd = fd;
	if (ff_loop_add(&a->src, fd, EPOLLIN, admin_event, a)) {
		free(a);
		goto refuse;
	}
	LIST_INSERT_HEAD(&conns, a, link);
	num_conns++;
	return;
refuse:
	close(fd);
}

static int
state_open(void)
{
	if (run_fd < 0)
		run_fd = open(ff_config.run_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (run_fd < 0 || (mkdirat(run_fd, STATE_DIR, 0700) && errno != EEXIST))
		return -errno;
	if (state_fd < 0)
		state_fd =
			openat(run_fd, STATE_DIR, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return state_fd < 0 ? -errno : 0;
}

bool
admin_state_has(const char *id)
{
	char name[FF_ID_LEN + 8];

	if (strlen(id) >= FF_ID_LEN || state_open())
		return false;
	state_name(id, name, sizeof(name));
	return !faccessat(state_fd, name, F_OK, 0);
}

/* One whose namespace is gone, or whose settings are no longer accepted, is forgotten. */
static void
state_load_one(const char *name)
{
	struct ff_container_conf *conf = calloc(1, sizeof(*conf));
	int fd = openat(state_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	json_t *container = fd < 0 ? NULL : json_loadfd(fd, JSON_REJECT_DUPLICATES, NULL);
	char id[FF_ID_LEN], err[256] = "it cannot be read";
	int rc = -EINVAL;

	if (fd >= 0)
		close(fd);
	if (conf && container)
		rc = container_add(container, conf, err, sizeof(err));
	if (rc) {
		snprintf(id, sizeof(id), "%.*s", (int)(strlen(name) - strlen(".json")), name);
		ff_warn("channel", "container %s of a former run: %s", id, err);
	}
	if (rc == -ENODEV || rc == -EINVAL || rc == -EEXIST) {
		(void)unlinkat(state_fd, name, 0);
		if (!ff_container_find(id))
			rundir_remove(id);
	}
	json_decref(container);
	free(conf);
}

static void
state_load(void)
{
	int fd = openat(state_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	if (!d) {
		if (fd >= 0)
			close(fd);
		return;
	}
	while ((e = readdir(d))) {
		size_t len = strlen(e->d_name);

		if (e->d_name[0] != '.' && len > 5 && len < FF_ID_LEN + 5 &&
		    !strcmp(e->d_name + len - 5, ".json"))
			state_load_one(e->d_name);
	}
	closedir(d);
}

int
admin_init(void)
{
	int rc = state_open();

	if (rc)
		return rc;
	state_load();
	listen_fd = rundir_listen(run_fd, ADMIN_SOCK, 0600);
	if (listen_fd < 0)
		return listen_fd;
	return ff_loop_add(&listen_src, listen_fd, EPOLLIN, admin_accept, NULL);
}

static void
fd_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void
admin_fini(void)
{
	while (!LIST_EMPTY(&conns))
		admin_close(LIST_FIRST(&conns));
	ff_loop_del(&listen_src);
	if (listen_fd >= 0)
		(void)unlinkat(run_fd, ADMIN_SOCK, 0);
	fd_close(&listen_fd);
	fd_close(&state_fd);
	fd_close(&run_fd);
}
