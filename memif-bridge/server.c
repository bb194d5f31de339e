/* SPDX-License-Identifier: MIT */
/*
 * The server's side of the set-up: what a client may announce, and the checks. All that is kept
 * of a message is a validated copy. Control side of a connection.
 */
#include <errno.h>
#include <string.h>

#include "memif_priv.h"

static int
refuse(struct ff_memif *m, int err, const char *why)
{
	return memif_ctl_close(m, err, true, "%s", why);
}

static int
send_ack(struct ff_memif *m)
{
	const struct memif_msg msg = {.type = MEMIF_MSG_TYPE_ACK};

	return memif_ctl_send(m, &msg, -1);
}

/* The protocol cannot say "no ring": a limit of 0 is announced as one, and refused later. */
static uint16_t
highest(unsigned count)
{
	return (uint16_t)(count ? count - 1 : 0);
}

int
memif_server_start(struct ff_memif *m)
{
	struct memif_msg msg = {.type = MEMIF_MSG_TYPE_HELLO};

	memif_ctl_name(msg.hello.name, m->conf.name);
	msg.hello.min_version = MEMIF_VERSION;
	msg.hello.max_version = MEMIF_VERSION;
	msg.hello.max_region = FF_MEMIF_MAX_REGIONS - 1;
	msg.hello.max_s2m_ring = highest(m->conf.num_s2m_rings);
	msg.hello.max_m2s_ring = highest(m->conf.num_m2s_rings);
	msg.hello.max_log2_ring_size = m->conf.log2_ring_size;
	return memif_ctl_send(m, &msg, -1);
}

static int
handle_init(struct ff_memif *m, const struct memif_msg_init *init)
{
	int err;

	if (init->version != MEMIF_VERSION)
		return refuse(m, EPROTONOSUPPORT, "unsupported protocol version");
	if (init->mode != MEMIF_INTERFACE_MODE_ETHERNET)
		return refuse(m, EPROTONOSUPPORT, "unsupported interface mode");
	if (m->conf.on_init) {
		uint8_t secret[FF_MEMIF_SECRET_LEN];

		memcpy(secret, init->secret, sizeof(secret));
		err = m->conf.on_init(m->conf.arg, m, init->id, secret);
		if (err) {
			const char *text = strerrordesc_np(-err);

			return refuse(m, -err, text ? text : "refused");
		}
	}
	m->conf.id = init->id;
	m->step = MEMIF_STEP_SETUP;
	return send_ack(m);
}

static int
handle_add_region(struct ff_memif *m, const struct memif_msg_add_region *ar, int fd)
{
	const char *why = "";
	int err;

	if (ar->index != m->num_regions || ar->index >= FF_MEMIF_MAX_REGIONS)
		return refuse(m, EPROTO, "bad region index");
	if (fd < 0)
		return refuse(m, EPROTO, "region without descriptor");
	err = memif_region_map(m, fd, ar->size, &why);
	if (err)
		return refuse(m, -err, why);
	return send_ack(m);
}

/*
 * Rings may overlap each other, or buffers. It hurts nobody but the client: all that we write are
 * tail, flags and descriptors, inside its region, and nothing that we read there is believed.
 */
static int
handle_add_ring(struct ff_memif *m, const struct memif_msg_add_ring *ar, int *fd)
{
	const bool s2m = ar->flags & MEMIF_MSG_ADD_RING_FLAG_S2M;
	const unsigned most = s2m ? m->conf.num_s2m_rings : m->conf.num_m2s_rings;
	const struct memif_region *reg;
	size_t bytes;
	int err;

	if (ar->flags & ~MEMIF_MSG_ADD_RING_FLAG_S2M)
		return refuse(m, EPROTO, "unknown ring flags");
	if (ar->index != m->num_rings[s2m] || ar->index >= most)
		return refuse(m, EPROTO, "bad ring index");
	if (ar->log2_ring_size > m->conf.log2_ring_size)
		return refuse(m, EPROTO, "ring is too large");
	if (ar->region >= m->num_regions)
		return refuse(m, EPROTO, "ring in an unknown region");
	reg = &m->regions[ar->region];
	bytes = MEMIF_RING_BYTES(ar->log2_ring_size);
	if (bytes > reg->size || ar->offset > reg->size - bytes)
		return refuse(m, EPROTO, "ring is not inside its region");
	if (ar->offset % MEMIF_RING_ALIGN)
		return refuse(m, EPROTO, "ring is not aligned");
	if (!memif_kick_is_eventfd(*fd))
		return refuse(m, EPROTO, "ring without an eventfd");
	if (!s2m) {
		err = memif_kick_init();
		if (err)
			return refuse(m, -err, "out of resources to signal with");
	}
	memif_ring_attach(m, &m->rings[s2m][ar->index], s2m,
			  (struct memif_ring *)(void *)(reg->base + ar->offset), ar->log2_ring_size,
			  *fd);
	m->num_rings[s2m]++;
	*fd = -1;
	return send_ack(m);
}

/*
 * Stock clients zero both indices when CONNECTED arrives, so a tail other than 0 would be lost;
 * nothing can be published before, as an M2S ring has no slots until its client fills it.
 */
static int
handle_connect(struct ff_memif *m)
{
	struct memif_msg msg = {.type = MEMIF_MSG_TYPE_CONNECTED};

	if (!m->num_rings[0] && !m->num_rings[1])
		return refuse(m, EPROTO, "no rings");
	for (int s2m = 0; s2m < 2; s2m++) {
		for (unsigned i = 0; i < m->num_rings[s2m]; i++) {
			struct ff_memif_ring *r = &m->rings[s2m][i];

			if (atomic_load_explicit(&r->shm->cookie, memory_order_relaxed) !=
			    MEMIF_COOKIE)
				return refuse(m, EPROTO, "ring without cookie");
			/* Regions may have come after the ring. */
			r->num_regions = (uint16_t)m->num_regions;
			atomic_store_explicit(r->own, 0, memory_order_relaxed);
		}
	}
	memif_ctl_name(msg.connect.if_name, m->conf.name);
	m->step = MEMIF_STEP_IDLE;
	m->state = FF_MEMIF_CONNECTED;
	return memif_ctl_send(m, &msg, -1);
}

int
memif_server_handle(struct ff_memif *m, const struct memif_msg *msg, int *fd)
{
	if (m->step == MEMIF_STEP_INIT && msg->type == MEMIF_MSG_TYPE_INIT)
		return handle_init(m, &msg->init);
	if (m->step == MEMIF_STEP_SETUP) {
		switch (msg->type) {
		case MEMIF_MSG_TYPE_ADD_REGION:
			return handle_add_region(m, &msg->add_region, *fd);
		case MEMIF_MSG_TYPE_ADD_RING:
			return handle_add_ring(m, &msg->add_ring, fd);
		case MEMIF_MSG_TYPE_CONNECT:
			return handle_connect(m);
		default:
			break;
		}
	}
	return memif_ctl_close(m, EPROTO, true, "unexpected message (type %u)", msg->type);
}
