/* SPDX-License-Identifier: MIT */
/*
 * The registry of containers: made from the configuration and the admin socket, removed with all
 * that they hold. Control thread.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../verbs/procmem.h"
#include "channel_priv.h"

static TAILQ_HEAD(, ff_container) containers = TAILQ_HEAD_INITIALIZER(containers);
#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71 /* Linux 5.14, asm-generic/socket.h */
#endif

static struct ff_timer tick_timer;
static const struct ff_container_service *service; /* NULL: none */

void
ff_container_service_set(const struct ff_container_service *s)
{
	service = s;
}

struct ff_container *
ff_container_find(const char *id)
{
	struct ff_container *c;

	TAILQ_FOREACH (c, &containers, link) {
		if (!strcmp(c->id, id))
			return c;
	}
	return NULL;
}

void
ff_container_foreach(void (*fn)(struct ff_container *c, void *arg), void *arg)
{
	struct ff_container *c, *next;

	for (c = TAILQ_FIRST(&containers); c; c = next) {
		next = TAILQ_NEXT(c, link);
		fn(c, arg);
	}
}

bool
ff_container_has_gid(const struct ff_container *c, const uint8_t gid[16])
{
	(void)atomic_load_explicit(&c->gid_gen, memory_order_acquire);
	for (unsigned i = 0; i < FF_GIDS_MAX; i++)
		if (__atomic_load_n(&c->gids[i].valid, __ATOMIC_ACQUIRE) &&
		    !memcmp(c->gids[i].raw, gid, 16))
			return true;
	return false;
}

struct ff_container *
ff_container_by_gid(const struct ff_tenant *t, const uint8_t gid[16])
{
	struct ff_container *c;

	TAILQ_FOREACH (c, &containers, link) {
		if (c->tenant == t && !c->removing && ff_container_has_gid(c, gid))
			return c;
	}
	return NULL;
}

int
ff_container_netns(const struct ff_container *c)
{
	return ((const struct container_priv *)c->priv)->netns.ns_fd;
}

uint64_t
ff_container_netns_cookie(const struct ff_container *c)
{
	int fd = ((const struct container_priv *)c->priv)->netns.notify_fd;
	uint64_t cookie = 0;
	socklen_t len = sizeof(cookie);

	return fd < 0 || getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &len) ? 0 : cookie;
}

bool
ff_policy_allows(const struct ff_container *a, const struct ff_container *b)
{
	return a->tenant == b->tenant;
}

static bool
same_limits(const struct ff_limits *a, const struct ff_limits *b)
{
	return a->processes == b->processes && a->contexts == b->contexts && a->pds == b->pds &&
	       a->mrs == b->mrs && a->mws == b->mws && a->cqs == b->cqs && a->qps == b->qps &&
	       a->srqs == b->srqs && a->ahs == b->ahs && a->mcast == b->mcast &&
	       a->streams == b->streams && a->qp_wr == b->qp_wr && a->cq_entries == b->cq_entries &&
	       a->sge == b->sge && a->pinned_bytes == b->pinned_bytes;
}

static bool
same_conf(const struct ff_container_conf *a, const struct ff_container_conf *b)
{
	if (strcmp(a->id, b->id) || strcmp(a->tenant, b->tenant) || strcmp(a->netns, b->netns) ||
	    a->num_addresses != b->num_addresses || !same_limits(&a->limits, &b->limits))
		return false;
	for (unsigned i = 0; i < a->num_addresses; i++)
		if (strcmp(a->addresses[i], b->addresses[i]))
			return false;
	return true;
}

/* The same device after a restart, another one on another host: EUI-64, locally administered. */
static void
make_guid(struct ff_container *c)
{
	char host[256] = "";
	const char *parts[] = {host, ff_config.name, c->id};
	uint64_t h = 0xcbf29ce484222325ull; /* FNV-1a */

	(void)gethostname(host, sizeof(host) - 1);
	for (unsigned i = 0; i < 3; i++)
		for (size_t k = 0; k <= strlen(parts[i]); k++)
			h = (h ^ (uint8_t)parts[i][k]) * 0x100000001b3ull;
	for (unsigned i = 0; i < 8; i++)
		c->guid[i] = (uint8_t)(h >> (56 - 8 * i));
	c->guid[0] = (uint8_t)((c->guid[0] & ~1u) | 2u);
}

static struct container_priv *
container_alloc(const struct ff_container_conf *conf)
{
	struct container_priv *p = calloc(1, sizeof(*p));
	struct ff_container *c;

	if (!p)
		return NULL;
	c = &p->c;
	c->priv = p;
	p->asked = *conf;
	c->conf = *conf;
	snprintf(c->id, sizeof(c->id), "%s", conf->id);
	c->tenant = ff_tenant_get(conf->tenant[0] ? conf->tenant : "default");
	if (!c->tenant) {
		free(p);
		return NULL;
	}
	quota_limits(c);
	make_guid(c);
	TAILQ_INIT(&c->channels);
	TAILQ_INIT(&p->conns);
	TAILQ_INIT(&p->memifs);
	p->dirfd = p->router.fd = p->memif.fd = -1;
	p->netns.notify_fd = p->netns.dump_fd = p->netns.ns_fd = -1;
	return p;
}

static void
container_free(struct container_priv *p)
{
	if (p->dirfd >= 0)
		close(p->dirfd);
	ff_tenant_put(p->c.tenant);
	free(p);
}

/* "." and ".." are names that the configuration allows and a directory does not. */
static bool
id_usable(const char *id)
{
	return id[0] && id[0] != '.' && !strchr(id, '/');
}

static int
service_start(struct ff_container *c)
{
	int fd = rundir_listen(container_priv(c)->dirfd, service->socket, 0666);

	return fd < 0 ? fd : service->start(c, fd);
}

static int
container_start(struct ff_container *c, char *err, size_t err_len)
{
	struct container_priv *p = container_priv(c);
	int rc = rundir_make(c->id, &p->dirfd, &p->dir_is_new, err, err_len);

	if (rc)
		return rc;
	rc = sysfs_create(c);
	if (rc) {
		snprintf(err, err_len, "cannot write its view of /sys: %s", strerror(-rc));
		return rc;
	}
	rc = addr_start(c, err, err_len);
	if (rc)
		return rc;
	rc = listener_open(&p->memif, c, FF_MEMIF_SOCK, memif_accepted);
	if (!rc)
		rc = listener_open(&p->router, c, FF_ROUTER_SOCK, conn_accepted);
	/* A socket that is sent there, closed unseen, could block us for as long as it lingers. */
	if (!rc)
		ff_rights_refuse(p->router.fd);
	if (!rc && service)
		rc = service_start(c);
	if (rc)
		snprintf(err, err_len, "cannot listen: %s", strerror(-rc));
	return rc;
}

/* Everything but the directory. Other threads may hold c until the next quiescent pass. */
static void
container_stop(struct ff_container *c, enum ff_detach_reason why)
{
	struct container_priv *p = container_priv(c);

	c->removing = true;
	listener_close(&p->router, FF_ROUTER_SOCK);
	listener_close(&p->memif, FF_MEMIF_SOCK);
	if (service) {
		(void)unlinkat(p->dirfd, service->socket, 0);
		service->stop(c, why == FF_DETACH_REMOVED);
	}
	while (!TAILQ_EMPTY(&c->channels))
		ff_channel_detach(TAILQ_FIRST(&c->channels), why, NULL);
	while (!TAILQ_EMPTY(&p->conns))
		conn_close(TAILQ_FIRST(&p->conns));
	while (!TAILQ_EMPTY(&p->memifs))
		memif_close(TAILQ_FIRST(&p->memifs));
	addr_stop(c);
	TAILQ_REMOVE(&containers, c, link);
	ff_workers_synchronize();
	ff_procmem_stop(c);
	addr_released(c);
}

int
ff_container_add(const struct ff_container_conf *conf, char *err, size_t err_len)
{
	struct ff_container *c = ff_container_find(conf->id);
	struct container_priv *p;
	int rc;

	if (c && same_conf(&container_priv(c)->asked, conf))
		return addr_refresh(c, err, err_len);
	if (c) {
		snprintf(err, err_len, "container %s is there with other settings", conf->id);
		return -EEXIST;
	}
	if (!id_usable(conf->id)) {
		snprintf(err, err_len, "\"%s\" cannot be a container's name", conf->id);
		return -EINVAL;
	}
	p = container_alloc(conf);
	if (!p) {
		snprintf(err, err_len, "no memory, or too many tenants");
		return -ENOMEM;
	}
	c = &p->c;
	TAILQ_INSERT_TAIL(&containers, c, link);
	rc = container_start(c, err, err_len);
	if (rc) {
		container_stop(c, FF_DETACH_REMOVED);
		/* One that was there may be mounted: it works again when the fault is gone. */
		if (p->dir_is_new)
			rundir_remove(c->id);
		container_free(p);
		return rc;
	}
	ff_info("channel", "container %s of tenant %s is there", c->id, c->tenant->name);
	return 0;
}

int
ff_container_del(const char *id)
{
	struct ff_container *c = ff_container_find(id);

	if (!c)
		return -ENOENT;
	container_stop(c, FF_DETACH_REMOVED);
	rundir_remove(c->id);
	ff_info("channel", "container %s is gone", c->id);
	container_free(container_priv(c));
	return 0;
}

static void
container_tick(struct ff_container *c, void *arg)
{
	struct container_priv *p = container_priv(c);
	uint64_t now_ns = ff_now_ns();

	listener_tick(&p->router);
	listener_tick(&p->memif);
	conn_tick(c, now_ns);
	memif_tick(c, now_ns);
	sysfs_tick(c);
}

static void
containers_tick(void *arg)
{
	ff_container_foreach(container_tick, NULL);
}

static bool
wanted(const char *id)
{
	for (unsigned i = 0; i < ff_config.num_containers; i++)
		if (!strcmp(ff_config.containers[i].id, id))
			return true;
	return admin_state_has(id);
}

int
ff_containers_init(void)
{
	char err[256];
	int rc = rundir_init();

	if (rc) {
		ff_err("channel", "cannot make %s/containers: %s", ff_config.run_dir,
		       strerror(-rc));
		return rc;
	}
	rundir_clean(wanted);
	for (unsigned i = 0; i < ff_config.num_containers; i++) {
		rc = ff_container_add(&ff_config.containers[i], err, sizeof(err));
		if (rc)
			ff_err("channel", "container %s: %s", ff_config.containers[i].id, err);
		/* A container that does not run (yet) does not keep the others waiting. */
		if (rc && rc != -ENODEV)
			goto fail;
	}
	rc = ff_loop_timer_start(&tick_timer, TICK_MS, containers_tick, NULL);
	if (rc)
		goto fail;
	rc = admin_init();
	if (!rc)
		return 0;
	ff_err("channel", "cannot open the admin socket: %s", strerror(-rc));
fail:
	ff_containers_fini();
	return rc;
}

/* The directories stay: running containers have them mounted, and freeflowd may come back. */
void
ff_containers_fini(void)
{
	struct ff_container *c;

	admin_fini();
	ff_loop_timer_stop(&tick_timer);
	while ((c = TAILQ_FIRST(&containers))) {
		container_stop(c, FF_DETACH_SHUTDOWN);
		container_free(container_priv(c));
	}
	rundir_fini();
}
