/* SPDX-License-Identifier: MIT */
/* See wire.h: fakes of dataplane/net, dataplane/overlay and of what else soft_roce calls. */
#include "wire.h"

#include <stdlib.h>
#include <string.h>

#include <CUnit/CUnit.h>

#include "../../../dataplane/net/guard.h"
#include "harness_priv.h"

#define ADDRESSES 16u

/* Places in w_packets, or in `strangers`. */
struct ff_port_queue {
	unsigned index;
	struct w_packet *in[W_PACKETS];
	unsigned head, tail;
};

struct ff_port {
	struct ff_port_queue queues[H_WORKERS];
};

static struct ff_port port = {.queues = {{.index = 0}, {.index = 1}}};
static struct w_packet strangers[W_PACKETS];
static unsigned num_strangers;

static struct {
	uint32_t tenant;
	uint8_t gid[16];
	struct ff_overlay_entry e;
} addresses[ADDRESSES];
static unsigned num_addresses;

struct w_packet w_packets[W_PACKETS];
struct w_element w_elements[W_ELEMENTS];
unsigned w_num_packets, w_num_elements;
bool w_cut, w_astray, w_wants_mac, w_resting;
unsigned w_ifindex;
uint8_t w_outer_ecn, w_inner_ecn;
unsigned w_asked;
struct ff_config ff_config = {.num_workers = H_WORKERS, .wire = {.udp_port = 4790}};

/* ---- net ---- */

struct ff_port *
ff_port_open(const struct ff_port_conf *conf, int *err)
{
	*err = 0;
	return &port;
}

void
ff_port_close(struct ff_port *p)
{
}

struct ff_port_queue *
ff_port_queue_get(struct ff_port *p, unsigned queue)
{
	return &p->queues[queue];
}

static void
deliver(struct ff_port_queue *q, struct w_packet *k)
{
	CU_ASSERT_FATAL(q->tail - q->head < W_PACKETS);
	q->in[q->tail++ % W_PACKETS] = k;
}

static void
element_send(struct ff_port_queue *q, const struct ff_port_tx *tx)
{
	struct w_element *e = &w_elements[w_num_elements++];
	uint32_t at = 0, left;

	CU_ASSERT_FATAL(w_num_elements <= W_ELEMENTS);
	*e = (struct w_element){.path = *tx->path,
				.first = w_num_packets,
				.num = ff_port_tx_packets(tx),
				.seg_len = tx->seg_len,
				.src_port = tx->src_port,
				.tos = tx->tos};
	for (unsigned i = 0; i < e->num; i++, at += ff_port_tx_stride(tx)) {
		struct w_packet *k = &w_packets[w_num_packets++];

		CU_ASSERT_FATAL(w_num_packets <= W_PACKETS);
		left = tx->len - at - FF_PORT_HEADROOM;
		k->len = left < tx->seg_len ? left : tx->seg_len;
		k->vni = tx->path->vni;
		k->outer_tos = tx->tos | w_outer_ecn;
		memcpy(k->bytes, tx->bytes + at + FF_PORT_HEADROOM, k->len);
		if (k->bytes[0] >> 4 == 4)
			k->bytes[1] |= w_inner_ecn;
		if (!w_cut)
			deliver(&port.queues[w_astray ? q->index : !q->index], k);
	}
}

unsigned
ff_port_tx(struct ff_port_queue *q, const struct ff_port_tx *tx, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		element_send(q, &tx[i]);
	return n;
}

unsigned
ff_port_rx(struct ff_port_queue *q, struct ff_port_rx *rx, unsigned n)
{
	unsigned i;

	for (i = 0; i < n && q->head != q->tail; i++) {
		struct w_packet *k = q->in[q->head++ % W_PACKETS];

		rx[i] = (struct ff_port_rx){
			.bytes = k->bytes, .len = k->len, .vni = k->vni, .outer_tos = k->outer_tos};
	}
	return i;
}

int
ff_port_queue_fd(const struct ff_port_queue *q)
{
	return FF_PORT_POLLED;
}

bool
ff_port_arm(struct ff_port_queue *q)
{
	return q->head != q->tail;
}

void
ff_port_disarm(struct ff_port_queue *q)
{
}

uint16_t
ff_port_mtu(const struct ff_port *p)
{
	return 9000;
}

bool
ff_port_wants_mac(const struct ff_port *p)
{
	return w_wants_mac;
}

unsigned
ff_port_ifindex(const struct ff_port *p)
{
	return w_ifindex;
}

uint16_t
ff_port_src_mask(const struct ff_port *p)
{
	return 0;
}

void
ff_port_counters(const struct ff_port_queue *q, uint64_t out[FF_PC_MAX])
{
	memset(out, 0, FF_PC_MAX * sizeof(*out));
}

void
ff_port_address(struct ff_port *p, const uint8_t address[16], bool here)
{
	abort();
}

int
ff_guard_open(int netns_fd, uint16_t udp_port)
{
	abort();
}

/* ---- overlay ---- */

struct ff_overlay_entry *
w_entry(uint32_t tenant, const uint8_t gid[16])
{
	for (unsigned i = 0; i < num_addresses; i++)
		if (addresses[i].tenant == tenant && !memcmp(addresses[i].gid, gid, 16))
			return &addresses[i].e;
	CU_ASSERT_FATAL(num_addresses < ADDRESSES);
	addresses[num_addresses].tenant = tenant;
	memcpy(addresses[num_addresses].gid, gid, 16);
	addresses[num_addresses].e = (struct ff_overlay_entry){0};
	return &addresses[num_addresses++].e;
}

int
ff_overlay_start(const struct ff_overlay_conf *conf)
{
	return 0;
}

void
ff_overlay_stop(void)
{
}

int
ff_overlay_follow_hosts(void)
{
	return 0;
}

void
ff_overlay_lookup(uint32_t tenant, const uint8_t gid[16], struct ff_overlay_entry *out)
{
	*out = *w_entry(tenant, gid);
}

int
ff_overlay_ask(const struct ff_overlay_scope *scope, const uint8_t gid[16])
{
	w_asked++;
	return 0;
}

void
ff_overlay_answer(uint32_t tenant, const uint8_t gid[16], const struct ff_overlay_entry *e)
{
	*w_entry(tenant, gid) = e ? *e : (struct ff_overlay_entry){0};
}

void
ff_overlay_flush(uint32_t tenant)
{
}

/* ---- core and channel ---- */

int
ff_worker_wake_socket_add(struct ff_worker *w, int fd)
{
	return 0;
}

int
ff_worker_wake_socket_rest(struct ff_worker *w, int fd, bool on)
{
	w_resting = on;
	return 0;
}

struct ff_container *
ff_container_find(const char *id)
{
	for (unsigned i = 0; i < H_WORKERS; i++)
		if (!strcmp(h_container[i].id, id))
			return &h_container[i];
	return NULL;
}

struct ff_container *
ff_container_by_gid(const struct ff_tenant *t, const uint8_t gid[16])
{
	return NULL; /* on this host */
}

int
ff_container_netns(const struct ff_container *c)
{
	return -1;
}

/* ---- for tests ---- */

const uint8_t *
w_gid(unsigned container, enum w_gid which)
{
	return h_container[container].gids[which].raw;
}

void
w_init(void)
{
	static const uint8_t gids[W_GIDS][16] = {
		[W_V4] = {[10] = 0xff, [11] = 0xff, [12] = 10, [13] = 32},
		[W_V6] = {0xfd, [12] = 10, [13] = 32},
		[W_V4_MORE] = {[10] = 0xff, [11] = 0xff, [12] = 10, [13] = 33},
	};

	for (unsigned c = 0; c < 2; c++) {
		h_container[c].id[0] = (char)('a' + c);
		for (unsigned g = 0; g < W_GIDS; g++) {
			memcpy(h_container[c].gids[g].raw, gids[g], 16);
			h_container[c].gids[g].raw[15] = (uint8_t)(1 + c);
			h_container[c].gids[g].valid = true;
		}
	}
}

void
w_reset(void)
{
	struct ff_tenant *t = h_container[0].tenant;

	for (unsigned i = 0; i < H_WORKERS; i++) {
		struct sworker *sw = sroce_worker(ff_worker_get(i));

		memset(sw->drops, 0, sizeof(sw->drops));
		sw->handed_over = 0;
		sw->src_mask = 0;
		port.queues[i].head = port.queues[i].tail = 0;
	}
	w_num_packets = w_num_elements = num_strangers = num_addresses = w_asked = 0;
	w_cut = w_astray = w_wants_mac = h_hold_jobs = h_control_full = h_worker_full = false;
	w_outer_ecn = w_inner_ecn = 0;
	t->vni = W_VNI;
	for (unsigned c = 0; c < 2; c++)
		for (unsigned g = 0; g < W_GIDS; g++)
			*w_entry(t->index, w_gid(c, g)) = (struct ff_overlay_entry){
				.state = FF_OVERLAY_REMOTE,
				.host = {[10] = 0xff, 0xff, 192, 168, 1, (uint8_t)(1 + c)},
				.mac = {2, 9, [5] = (uint8_t)(1 + c)},
				.vxlan = true};
}

struct h_qp *
w_qp(uint8_t type, unsigned c)
{
	return h_qp_new(type, c, c);
}

struct ff_qp_attr
w_attr(const struct h_qp *peer, enum w_gid which)
{
	struct ff_qp_attr a = h_attr(peer);

	a.path_mtu = 3; /* 1024 */
	a.ah.away = true;
	a.ah.sgid_index = which;
	memcpy(a.ah.dgid, peer->container->gids[which].raw, 16);
	return a;
}

void
w_connect(struct h_qp *a, struct h_qp *b, enum w_gid which)
{
	struct ff_qp_attr to_b = w_attr(b, which), to_a = w_attr(a, which);

	h_to_rts(a, &to_b);
	h_to_rts(b, &to_a);
}

struct sqp *
w_sqp(const struct h_qp *q)
{
	return ((struct lqp *)q->qp.nic)->wire;
}

uint64_t
w_drops(unsigned worker, enum sroce_drop why)
{
	return sroce_worker(ff_worker_get(worker))->drops[why];
}

void
w_ah(struct ff_ah *ah, struct h_qp *q, const struct ff_ah_attr *attr)
{
	*ah = (struct ff_ah){.pd = &q->pd, .attr = *attr};
	h_idtab_insert(&ff_ahs, ah, &ah->ah_num);
}

void
w_ah_free(struct ff_ah *ah)
{
	h_idtab_remove(&ff_ahs, ah->ah_num);
}

void
w_settle(void)
{
	for (unsigned i = 0; i < 200; i++) {
		h_now += 3000;
		h_drain();
	}
}

void
w_arrives(unsigned worker, const struct w_packet *k)
{
	struct w_packet *copy = &strangers[num_strangers++];

	CU_ASSERT_FATAL(num_strangers <= W_PACKETS);
	*copy = *k;
	deliver(&port.queues[worker], copy);
}
