/* SPDX-License-Identifier: MIT */
/*
 * The client's side of the set-up: one region with all rings and buffers, announced message by
 * message as the server acknowledges them. Control side of a connection.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "memif_priv.h"
#include "sys.h"

static unsigned
least(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

static uint32_t
ring_offset(const struct ff_memif *m, bool s2m, unsigned idx)
{
	return (idx + (s2m ? 0 : m->num_rings[true])) * m->ring_bytes;
}

static int
add_ring(struct ff_memif *m, bool s2m, uint32_t buf_offset)
{
	const unsigned idx = m->num_rings[s2m];
	struct ff_memif_ring *r = &m->rings[s2m][idx];
	struct memif_ring *shm;
	int efd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

	if (efd < 0)
		return -errno;
	shm = (void *)(m->regions[0].base + buf_offset);
	memif_ring_attach(m, r, s2m, shm, m->log2_ring_size, efd);
	m->num_rings[s2m]++;
	return 0;
}

/* Region 0: S2M rings, M2S rings, then the buffers of each ring in the same order. */
static int
build(struct ff_memif *m, unsigned num_s2m, unsigned num_m2s)
{
	const unsigned num = num_s2m + num_m2s;
	const uint64_t ring_bufs = (uint64_t)m->conf.buffer_size << m->log2_ring_size;
	uint64_t rings, total;
	int err;

	m->ring_bytes = (uint32_t)(MEMIF_RING_BYTES(m->log2_ring_size) + MEMIF_CACHE_LINE - 1) &
			~(MEMIF_CACHE_LINE - 1);
	rings = (uint64_t)num * m->ring_bytes;
	if (ring_bufs > (UINT32_MAX - rings) / num)
		return -E2BIG;
	total = rings + num * ring_bufs;
	err = memif_region_create(m, total);
	for (unsigned i = 0; i < num && !err; i++) {
		const bool s2m = i < num_s2m;
		struct ff_memif_ring *r = &m->rings[s2m][m->num_rings[s2m]];

		r->buf_size = m->conf.buffer_size;
		r->buf_offset = (uint32_t)(rings + i * ring_bufs);
		err = add_ring(m, s2m, i * m->ring_bytes);
		if (!err)
			atomic_store_explicit(&r->shm->cookie, MEMIF_COOKIE, memory_order_relaxed);
	}
	return err;
}

static int
handle_hello(struct ff_memif *m, const struct memif_msg_hello *hello)
{
	struct memif_msg msg = {.type = MEMIF_MSG_TYPE_INIT};
	int err;

	if (hello->min_version > MEMIF_VERSION || hello->max_version < MEMIF_VERSION)
		return memif_ctl_close(m, EPROTONOSUPPORT, true, "unsupported protocol version");
	m->log2_ring_size = (uint8_t)least(m->conf.log2_ring_size, hello->max_log2_ring_size);
	err = build(m, least(m->conf.num_s2m_rings, hello->max_s2m_ring + 1u),
		    least(m->conf.num_m2s_rings, hello->max_m2s_ring + 1u));
	if (err)
		return memif_ctl_close(m, -err, true, "cannot make the rings: %s",
				       strerrordesc_np(-err));
	msg.init.version = MEMIF_VERSION;
	msg.init.id = m->conf.id;
	msg.init.mode = MEMIF_INTERFACE_MODE_ETHERNET;
	memcpy(msg.init.secret, m->conf.secret, sizeof(msg.init.secret));
	memif_ctl_name(msg.init.name, m->conf.name);
	m->step = MEMIF_STEP_ACK;
	return memif_ctl_send(m, &msg, -1);
}

static int
send_region(struct ff_memif *m)
{
	struct memif_msg msg = {.type = MEMIF_MSG_TYPE_ADD_REGION};
	int err;

	msg.add_region.index = 0;
	msg.add_region.size = m->regions[0].size;
	err = memif_ctl_send(m, &msg, m->region_fd);
	/* The mapping is enough for us: one descriptor less in the program's table. */
	memif_sys_close(m->region_fd);
	m->region_fd = -1;
	return err;
}

static int
send_ring(struct ff_memif *m, bool s2m, unsigned idx)
{
	struct memif_msg msg = {.type = MEMIF_MSG_TYPE_ADD_RING};

	msg.add_ring.flags = s2m ? MEMIF_MSG_ADD_RING_FLAG_S2M : 0;
	msg.add_ring.index = (uint16_t)idx;
	msg.add_ring.region = 0;
	msg.add_ring.offset = ring_offset(m, s2m, idx);
	msg.add_ring.log2_ring_size = m->log2_ring_size;
	return memif_ctl_send(m, &msg, m->rings[s2m][idx].efd);
}

/* The next message of the sequence region, S2M rings, M2S rings, CONNECT. */
static int
handle_ack(struct ff_memif *m)
{
	const unsigned n = m->sent++;
	struct memif_msg msg = {.type = MEMIF_MSG_TYPE_CONNECT};

	if (n == 0)
		return send_region(m);
	if (n <= m->num_rings[true])
		return send_ring(m, true, n - 1);
	if (n <= m->num_rings[true] + m->num_rings[false])
		return send_ring(m, false, n - 1 - m->num_rings[true]);
	memif_ctl_name(msg.connect.if_name, m->conf.name);
	m->step = MEMIF_STEP_CONNECTED;
	return memif_ctl_send(m, &msg, -1);
}

/* Stock servers zero both indices before they say CONNECTED: only now may anything be published. */
static int
handle_connected(struct ff_memif *m)
{
	for (unsigned i = 0; i < m->num_rings[false]; i++)
		memif_ring_fill(&m->rings[false][i]);
	m->step = MEMIF_STEP_IDLE;
	m->state = FF_MEMIF_CONNECTED;
	return 0;
}

int
memif_client_handle(struct ff_memif *m, const struct memif_msg *msg, int *fd)
{
	if (*fd < 0) {
		if (m->step == MEMIF_STEP_HELLO && msg->type == MEMIF_MSG_TYPE_HELLO)
			return handle_hello(m, &msg->hello);
		if (m->step == MEMIF_STEP_ACK && msg->type == MEMIF_MSG_TYPE_ACK)
			return handle_ack(m);
		if (m->step == MEMIF_STEP_CONNECTED && msg->type == MEMIF_MSG_TYPE_CONNECTED)
			return handle_connected(m);
	}
	return memif_ctl_close(m, EPROTO, true, "unexpected message (type %u)", msg->type);
}
