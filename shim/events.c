/* SPDX-License-Identifier: MIT */
/*
 * Event files: async events and completion channels, pipes that the router writes. When it has
 * died their readers are told what a kernel says of a device that was removed: DEVICE_FATAL, once,
 * and then EIO. Any thread.
 */
#include <errno.h>
#include <string.h>

#include "real.h"
#include "uverbs.h"

#define EVENT_DEVICE_FATAL 8u /* enum ibv_event_type */

/* The program has read len bytes of async events. */
static void
async_seen(struct fdobj *o, const void *buf, size_t len)
{
	struct ib_uverbs_async_event_desc rec;

	for (; len >= sizeof(rec); len -= sizeof(rec)) {
		memcpy(&rec, buf, sizeof(rec));
		if (rec.event_type == EVENT_DEVICE_FATAL)
			atomic_store(&o->fatal, true);
		buf = (const char *)buf + sizeof(rec);
	}
}

/* The router is gone and so are its events. */
static ssize_t
events_end(struct fdobj *o, void *buf, size_t len)
{
	struct ib_uverbs_async_event_desc rec = {.event_type = EVENT_DEVICE_FATAL};

	if (o->kind == FDOBJ_ASYNC && len >= sizeof(rec) && !atomic_exchange(&o->fatal, true)) {
		memcpy(buf, &rec, sizeof(rec));
		return sizeof(rec);
	}
	errno = EIO;
	return -1;
}

static ssize_t
events_filter(int fd, void *buf, size_t len, ssize_t n)
{
	struct fdobj *o;

	if (n < 0 || !len || !fdtab_peek(fd))
		return n;
	o = fdtab_get(fd);
	if (o && n == 0 && (o->kind == FDOBJ_ASYNC || o->kind == FDOBJ_COMP))
		n = events_end(o, buf, len);
	else if (o && n > 0 && o->kind == FDOBJ_ASYNC)
		async_seen(o, buf, (size_t)n);
	fdobj_put(o);
	return n;
}

int
events_watch(struct uverbs_file *f, int fd, bool comp, uint32_t handle)
{
	struct fdobj *o = fdobj_new(comp ? FDOBJ_COMP : FDOBJ_ASYNC, NULL, NULL);
	int err;

	if (!o)
		return -ENOMEM;
	o->handle = handle;
	o->owner = f->number;
	err = fdtab_set(fd, o);
	fdobj_put(o);
	if (!err)
		atomic_store_explicit(&ff_read_filter, events_filter, memory_order_release);
	return err;
}
