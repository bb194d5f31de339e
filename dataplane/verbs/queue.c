/* SPDX-License-Identifier: MIT */
/*
 * Makes and unmakes the shared queues: a sealed memfd, mapped here and by the container's process.
 * Control thread.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "queue.h"

#define QUEUE_PAGE	   4096u
#define QUEUE_ELEM_MIN	   64u /* a cache line, as rxe has it */
#define QUEUE_ELEM_MAX	   65536u
#define QUEUE_ELEMS_MAX	   (1u << 20)
#define QUEUE_POPULATE_MAX (256u * 1024) /* up to here the worker shall meet no page fault */

static uint32_t
log2_up(uint32_t n)
{
	return n <= 1 ? 0 : 32u - (uint32_t)__builtin_clz(n - 1);
}

int
ff_queue_create(struct ff_queue *q, uint32_t min_elems, uint32_t elem_size, uint64_t mmap_off)
{
	uint32_t log2_elem = log2_up(elem_size < QUEUE_ELEM_MIN ? QUEUE_ELEM_MIN : elem_size);
	uint32_t slots;
	size_t size;
	void *p;
	int fd, rc;

	memset(q, 0, sizeof(*q));
	q->memfd = -1;
	if (min_elems > QUEUE_ELEMS_MAX || elem_size > QUEUE_ELEM_MAX)
		return -EINVAL;
	slots = 1u << log2_up(min_elems + 1); /* one stays free */
	size = sizeof(struct rxe_queue_buf) + ((size_t)slots << log2_elem);
	size = (size + QUEUE_PAGE - 1) & ~(size_t)(QUEUE_PAGE - 1);

	fd = memfd_create("freeflow-queue", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)size) ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)) {
		rc = -errno;
		goto err;
	}
	p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		 MAP_SHARED | (size <= QUEUE_POPULATE_MAX ? MAP_POPULATE : 0), fd, 0);
	if (p == MAP_FAILED) {
		rc = -errno;
		goto err;
	}
	q->buf = p;
	q->data = q->buf->data;
	q->mask = slots - 1;
	q->log2_elem = log2_elem;
	q->size = size;
	q->memfd = fd;
	q->mmap_off = mmap_off;
	q->buf->log2_elem_size = log2_elem;
	q->buf->index_mask = q->mask;
	return 0;
err:
	close(fd);
	return rc;
}

void
ff_queue_destroy(struct ff_queue *q)
{
	if (!q->buf)
		return;
	munmap(q->buf, q->size);
	if (q->memfd >= 0)
		close(q->memfd);
	memset(q, 0, sizeof(*q));
	q->memfd = -1;
}
