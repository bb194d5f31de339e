/* SPDX-License-Identifier: MIT */
/* What two shims are offered: a socket pair, marked as theirs, and a page. Control thread. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tcp_priv.h"

void
tcp_offer_close(struct tcp_offer *o)
{
	for (unsigned i = 0; i < 2; i++)
		if (o->ends[i] >= 0)
			close(o->ends[i]);
	if (o->page >= 0)
		close(o->page);
}

static int
page_make(void)
{
	int fd = memfd_create("freeflow-tcp", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0)
		return -errno;
	if (!ftruncate(fd, FF_TCP_MEMORY) &&
	    !fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
		return fd;
	close(fd);
	return -EIO;
}

static int
end_prepare(int fd, const struct tcp_mark *m)
{
	static const int size = FF_TCP_END_BUFFER;

	/* As much as we can get; the shims look how much it is. */
	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)))
		(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	/* A stream of bytes carries no descriptors; nobody is to be surprised by one. */
	ff_rights_refuse(fd);
	return tcp_mark_set(fd, m);
}

int
tcp_offer_make(struct tcp_offer *o, const struct ff_container *a, const struct ff_container *b)
{
	struct tcp_mark m = {0};
	int rc;

	memcpy(m.guid[0], a->guid, sizeof(m.guid[0]));
	memcpy(m.guid[1], b->guid, sizeof(m.guid[1]));
	*o = (struct tcp_offer){{-1, -1}, -1};
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, o->ends))
		return -errno;
	rc = end_prepare(o->ends[0], &m);
	if (!rc)
		rc = end_prepare(o->ends[1], &m);
	if (!rc)
		o->page = page_make();
	if (!rc && o->page < 0)
		rc = o->page;
	if (rc)
		tcp_offer_close(o);
	return rc;
}
