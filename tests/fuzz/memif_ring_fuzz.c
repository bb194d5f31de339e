/* SPDX-License-Identifier: MIT */
/*
 * libFuzzer: a memif peer that says and writes anything. The bytes are a script: control messages
 * (raw, or well-formed with one field changed, with or without a descriptor), stores into the
 * shared region, and calls of our side's ring functions, whose results must stay within the
 * mapped regions; all that they hand out is read and written.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "memif.h"
#include "memif_priv.h"
#include "proto.h"

#define REGION_SIZE 16384u
#define LOG2	    5u
#define RING_BYTES  (128u + (16u << LOG2))

struct script {
	const uint8_t *data;
	size_t left;
};

static struct {
	struct ff_memif *m;
	int sock, region, plain, event;
	uint8_t *shm; /* what the peer can write: its region, or ours when we are the client */
	size_t shm_size;
	bool server; /* our role */
} f;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint32_t
take(struct script *s, unsigned bytes)
{
	uint32_t v = 0;

	while (bytes--) {
		v <<= 8;
		if (s->left) {
			v |= *s->data++;
			s->left--;
		}
	}
	return v;
}

static void
take_bytes(struct script *s, void *to, size_t len)
{
	size_t n = len < s->left ? len : s->left;

	memcpy(to, s->data, n);
	s->data += n;
	s->left -= n;
}

static void
check(bool ok)
{
	if (!ok)
		abort();
}

/* Reads and writes all of it: the sanitizer, or the kernel, says if it is not ours. */
static void
touch(const void *addr, uint32_t len)
{
	uint8_t *p = (uint8_t *)(uintptr_t)addr;
	volatile uint8_t sink;
	bool inside = false;

	for (unsigned i = 0; i < f.m->num_regions; i++) {
		const struct memif_region *r = &f.m->regions[i];

		inside |= p >= r->base && p + len <= r->base + r->size;
	}
	check(inside);
	sink = p[0];
	sink = p[len - 1];
	p[len / 2] = sink;
}

static void
send_msg(const void *msg, size_t len, int fd)
{
	union {
		char buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} ctl = {{0}};
	struct iovec iov = {.iov_base = (void *)(uintptr_t)msg, .iov_len = len};
	struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};

	if (fd >= 0) {
		ctl.align.cmsg_level = SOL_SOCKET;
		ctl.align.cmsg_type = SCM_RIGHTS;
		ctl.align.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&ctl.align), &fd, sizeof(fd));
		mh.msg_control = ctl.buf;
		mh.msg_controllen = sizeof(ctl.buf);
	}
	sendmsg(f.sock, &mh, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static int
take_fd(struct script *s)
{
	const int fds[] = {-1, f.region, f.event, f.plain, f.sock};

	return fds[take(s, 1) % (sizeof(fds) / sizeof(fds[0]))];
}

/* A message of any bytes and nearly any size. */
static void
op_raw(struct script *s)
{
	uint8_t buf[160] = {0};
	uint8_t cut = (uint8_t)take(s, 1);
	int fd = take_fd(s);

	take_bytes(s, buf, sizeof(struct memif_msg));
	send_msg(buf, cut < 16 ? 120u + cut : sizeof(struct memif_msg), fd);
}

/* A well-formed one, of which a byte may be changed. */
static void
op_message(struct script *s)
{
	struct memif_msg msg = {.type = (uint16_t)(take(s, 1) % 9)};
	uint8_t flip = (uint8_t)take(s, 1), value = (uint8_t)take(s, 1), bytes[sizeof(msg)];
	int fd = -1;

	switch (msg.type) {
	case MEMIF_MSG_TYPE_HELLO:
		msg.hello.min_version = msg.hello.max_version = MEMIF_VERSION;
		msg.hello.max_s2m_ring = msg.hello.max_m2s_ring = 1;
		msg.hello.max_log2_ring_size = LOG2;
		break;
	case MEMIF_MSG_TYPE_INIT:
		msg.init.version = MEMIF_VERSION;
		break;
	case MEMIF_MSG_TYPE_ADD_REGION:
		msg.add_region.index = (uint16_t)f.m->num_regions;
		msg.add_region.size = REGION_SIZE;
		fd = f.region;
		break;
	case MEMIF_MSG_TYPE_ADD_RING:
		msg.add_ring.flags = value & 1;
		msg.add_ring.index = (uint16_t)f.m->num_rings[value & 1];
		msg.add_ring.offset = (value >> 1) * 64u;
		msg.add_ring.log2_ring_size = LOG2;
		fd = f.event;
		break;
	default:
		break;
	}
	memcpy(bytes, &msg, sizeof(msg));
	if (flip < sizeof(bytes) / 2)
		bytes[flip] = value;
	send_msg(bytes, sizeof(bytes), fd);
}

/* The whole set-up, so that most scripts reach the rings. */
static void
op_setup(struct script *s)
{
	static const uint8_t client[] = {MEMIF_MSG_TYPE_INIT, MEMIF_MSG_TYPE_ADD_REGION,
					 MEMIF_MSG_TYPE_ADD_RING, MEMIF_MSG_TYPE_ADD_RING,
					 MEMIF_MSG_TYPE_CONNECT};
	static const uint8_t server[] = {MEMIF_MSG_TYPE_HELLO, MEMIF_MSG_TYPE_ACK,
					 MEMIF_MSG_TYPE_ACK,   MEMIF_MSG_TYPE_ACK,
					 MEMIF_MSG_TYPE_ACK,   MEMIF_MSG_TYPE_CONNECTED};
	const uint8_t *seq = f.server ? client : server;
	const unsigned n = f.server ? sizeof(client) : sizeof(server);
	uint8_t rings = (uint8_t)take(s, 1);

	if (f.server)
		for (uint32_t off = 0; off + RING_BYTES < REGION_SIZE; off += 64) {
			const uint32_t cookie = MEMIF_COOKIE;

			memcpy(f.shm + off, &cookie, sizeof(cookie));
		}
	for (unsigned i = 0; i < n; i++) {
		uint8_t bytes[] = {seq[i], 0xff, (uint8_t)(i == 2 ? rings | 1 : rings & ~1)};
		struct script one = {.data = bytes, .left = sizeof(bytes)};

		op_message(&one);
		ff_memif_process(f.m);
	}
}

/* Our own client's region becomes the peer's as soon as it is there. */
static void
find_shm(void)
{
	if (!f.server && f.m->num_regions) {
		f.shm = f.m->regions[0].base;
		f.shm_size = f.m->regions[0].size;
	}
}

static void
op_store(struct script *s)
{
	uint32_t off = take(s, 2), len = take(s, 1);

	find_shm();
	if (!f.shm_size)
		return;
	off %= (uint32_t)f.shm_size;
	if (len > f.shm_size - off)
		len = (uint32_t)f.shm_size - off;
	take_bytes(s, f.shm + off, len);
}

/* The same, aimed at a ring: its index, flags or a descriptor. */
static void
op_store_ring(struct script *s)
{
	const uint8_t which = (uint8_t)take(s, 1);
	struct ff_memif_ring *r = ff_memif_ring_get(f.m, which & 1, 0);

	if (!r)
		return;
	if (which & 2)
		atomic_store(r->peer, (uint16_t)(r->pos + (int8_t)take(s, 1)));
	else if (which & 4)
		atomic_store(r->peer, (uint16_t)take(s, 2));
	else
		take_bytes(s, &r->shm->desc[which >> 3 & r->mask], sizeof(struct memif_desc));
}

static void
op_consume(struct script *s)
{
	const uint8_t which = (uint8_t)take(s, 1);
	struct ff_memif_ring *r = ff_memif_ring_get(f.m, f.server, which & 1);
	struct ff_memif_desc d[128];
	unsigned held;
	int n;

	if (!r)
		return;
	ff_memif_ring_pending(r);
	ff_memif_ring_mask(r, which & 2);
	n = ff_memif_ring_consume(r, d, which >> 2);
	check(n == -EPROTO || (n >= 0 && n <= which >> 2 && n <= r->mask + 1));
	for (int i = 0; i < n; i++) {
		check((d[i].length == 0) == (d[i].addr == NULL));
		if (d[i].length)
			touch(d[i].addr, d[i].length);
	}
	held = (uint16_t)(r->pos - r->released);
	check(held <= (unsigned)r->mask + 1);
	ff_memif_ring_release(r, take(s, 1) % (held + 1));
	ff_memif_ring_drain(r);
}

static void
op_produce(struct script *s)
{
	const uint8_t which = (uint8_t)take(s, 1);
	struct ff_memif_ring *r = ff_memif_ring_get(f.m, !f.server, which & 1);
	const unsigned want = which >> 2;
	struct ff_memif_desc d[64] = {{0}};
	unsigned room;

	if (!r)
		return;
	room = ff_memif_ring_free(r);
	check(room <= (unsigned)r->mask + 1);
	for (unsigned i = 0; i < want; i++) {
		uint32_t cap;
		void *buf;

		if (ff_memif_ring_buffer(r, i, &buf, &cap) == 0) {
			check(cap);
			touch(buf, cap);
			d[i].length = cap;
		}
	}
	check(ff_memif_ring_produce(r, d, want, which & 2) <= want);
	if (ff_memif_ring_should_notify(r))
		ff_memif_ring_notify(r);
}

static void
run(struct script *s)
{
	while (s->left) {
		switch (take(s, 1) % 8) {
		case 0:
			op_raw(s);
			break;
		case 1:
			op_message(s);
			break;
		case 2:
			op_setup(s);
			break;
		case 3:
			op_store(s);
			break;
		case 4:
		case 5:
			op_store_ring(s);
			break;
		case 6:
			op_consume(s);
			break;
		default:
			op_produce(s);
			break;
		}
		if (ff_memif_process(f.m) < 0)
			check(ff_memif_state(f.m) == FF_MEMIF_CLOSED && *ff_memif_reason(f.m));
	}
}

/* Refuses every secret that begins with 0xff. */
static int
on_init(void *arg, struct ff_memif *m, uint32_t id, const uint8_t *secret)
{
	return secret[0] == 0xff ? -EACCES : 0;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct script s = {.data = data, .left = size};
	struct ff_memif_conf conf = {
		.name = "fuzz",
		.num_s2m_rings = 2,
		.num_m2s_rings = 2,
		.log2_ring_size = LOG2,
		.buffer_size = 64,
		.max_memory = 3 * REGION_SIZE,
		.on_init = on_init,
	};
	const uint8_t choice = (uint8_t)take(&s, 1);
	int sv[2];

	f.server = choice & 1;
	conf.role = f.server ? FF_MEMIF_SERVER : FF_MEMIF_CLIENT;
	check(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sv) == 0);
	check(ff_memif_create(&f.m, sv[0], &conf) == 0);
	f.sock = sv[1];
	f.region = memfd_create("region", MFD_ALLOW_SEALING);
	f.plain = memfd_create("plain", 0);
	f.event = eventfd(0, 0);
	check(f.region >= 0 && f.plain >= 0 && f.event >= 0);
	check(ftruncate(f.region, REGION_SIZE) == 0);
	check(fcntl(f.region, F_ADD_SEALS, F_SEAL_SHRINK) == 0);
	f.shm = NULL;
	f.shm_size = 0;
	if (f.server) {
		f.shm = mmap(NULL, REGION_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, f.region, 0);
		check(f.shm != MAP_FAILED);
		f.shm_size = REGION_SIZE;
	}
	if (choice & 2)
		op_setup(&s);
	run(&s);
	ff_memif_destroy(f.m);
	if (f.server)
		munmap(f.shm, REGION_SIZE);
	close(f.sock);
	close(f.region);
	close(f.plain);
	close(f.event);
	return 0;
}
