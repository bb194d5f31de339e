/* SPDX-License-Identifier: MIT */
/* Namespaces between containers and the host: found, and let go of. Control thread. */
#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "../core/log.h"
#include "../core/worker.h"
#include "kernel_priv.h"

#define DOCKER_NETNS "/run/docker/netns"
#define ENTRIES_MAX  4096u
/* Between two looks into the directory for a container whose veth ends nowhere that is known. */
#define SCAN_NS	     1000000000ull

static const char *transit_dir = DOCKER_NETNS;
static TAILQ_HEAD(, netspace) transits = TAILQ_HEAD_INITIALIZER(transits);

void
transit_dir_set(const char *dir)
{
	transit_dir = dir ? dir : DOCKER_NETNS;
}

static struct netspace *
known(struct netspace *from, int nsid)
{
	struct netspace *ns;
	int n;

	TAILQ_FOREACH (ns, &transits, transit_link) {
		if (!nl_nsid(from, ns->ns_fd, &n) && n == nsid)
			return ns;
	}
	return NULL;
}

/* A network's, and not a container's, which are hexadecimal. */
static bool
is_network(const char *name)
{
	size_t digits = strspn(name, "0123456789");

	return digits && name[digits] == '-';
}

/* Of that name in the directory, if it is the one. */
static struct netspace *
candidate(int dirfd, const char *name, struct netspace *from, int nsid)
{
	int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK), n;
	struct netspace *ns = NULL;

	if (fd < 0)
		return NULL;
	if (!nl_nsid(from, fd, &n) && n == nsid)
		ns = netspace_transit(fd);
	close(fd);
	if (ns) {
		TAILQ_INSERT_TAIL(&transits, ns, transit_link);
		ff_info("overlay", "%s/%s: the overlay's devices are there", transit_dir, name);
	}
	return ns;
}

static struct netspace *
scan(struct netspace *from, int nsid)
{
	DIR *dir = opendir(transit_dir);
	struct netspace *ns = NULL;
	struct dirent *entry;

	if (!dir)
		return NULL;
	for (unsigned i = 0; i < ENTRIES_MAX && !ns && (entry = readdir(dir)); i++)
		if (is_network(entry->d_name))
			ns = candidate(dirfd(dir), entry->d_name, from, nsid);
	closedir(dir);
	return ns;
}

struct netspace *
transit_find(struct netspace *from, int nsid)
{
	uint64_t now = ff_now_ns();
	struct netspace *ns = known(from, nsid);

	if (!ns && (!from->scanned_ns || now - from->scanned_ns > SCAN_NS)) {
		from->scanned_ns = now;
		ns = scan(from, nsid);
	}
	if (ns)
		ns->used_ns = now;
	return ns;
}

/* Its sockets keep the namespace alive, and with it devices that Docker has done with. */
void
transits_release(uint64_t idle_ns)
{
	struct netspace *ns, *next;
	uint64_t now = ff_now_ns();

	for (ns = TAILQ_FIRST(&transits); ns; ns = next) {
		next = TAILQ_NEXT(ns, transit_link);
		if (now - ns->used_ns < idle_ns)
			continue;
		TAILQ_REMOVE(&transits, ns, transit_link);
		netspace_transit_end(ns);
	}
}
