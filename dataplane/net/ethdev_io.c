/* SPDX-License-Identifier: MIT */
/*
 * The ethdev kind of port: sending and receiving. The queue's worker.
 *
 * Out: each packet is copied once, behind its headers, into an mbuf; mbufs leave in bursts. What
 * the device does not take at once is dropped and counted. af_packet takes all, and waits for room
 * in its ring if there is none; on a link that drains, that is shorter than to retransmit. As it
 * copies packets into that ring, they are lent to it where they are.
 * In: frames that are not ours are let go of at once, and not counted.
 */
#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <string.h>

#include <rte_ethdev.h>
#include <rte_mbuf.h>

#include "ethdev_priv.h"

/* ---- out ---- */

static void
tx_lost(struct ethdev_queue *q, unsigned element, unsigned packets)
{
	ff_port_count(&q->base, FF_PC_TX_DROPPED, packets);
	if (q->last_lost != element)
		q->lost++;
	q->last_lost = element;
}

static unsigned
tx_burst(struct ethdev_queue *q)
{
	struct ethdev_txq *t = &q->d->tx[q->txq];
	unsigned sent;

	if (t->shared)
		rte_spinlock_lock(&t->lock);
	sent = rte_eth_tx_burst(q->d->id, q->txq, q->out, (uint16_t)q->out_num);
	if (t->shared)
		rte_spinlock_unlock(&t->lock);
	return sent;
}

static void
tx_flush(struct ethdev_queue *q)
{
	unsigned sent = q->out_num ? tx_burst(q) : 0;
	uint64_t bytes = 0;

	if (!q->out_num)
		return;
	for (unsigned i = 0; i < sent; i++)
		bytes += q->out_len[i];
	ff_port_count(&q->base, FF_PC_TX_CALLS, 1);
	ff_port_count(&q->base, FF_PC_TX_PACKETS, sent);
	ff_port_count(&q->base, FF_PC_TX_BYTES, bytes);
	for (unsigned i = sent; i < q->out_num; i++) {
		rte_pktmbuf_free(q->out[i]);
		tx_lost(q, q->out_element[i], 1);
		q->full = true;
	}
	q->out_num = 0;
	/* Nobody has the caller's bytes any more. */
	assert(rte_mbuf_ext_refcnt_read(&q->lent) == 1);
}

static struct rte_mbuf *
mbuf_copied(struct ethdev_queue *q, const struct frame_head *h, const uint8_t *packet, uint16_t len)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(q->d->pool);
	uint8_t *at;

	if (!m)
		return NULL;
	at = rte_pktmbuf_mtod(m, uint8_t *);
	memcpy(at, h->bytes, h->len);
	memcpy(at + h->len, packet, len);
	m->data_len = (uint16_t)(h->len + len);
	m->pkt_len = m->data_len;
	return m;
}

static struct rte_mbuf *
mbuf_lent(struct ethdev_queue *q, uint8_t *bytes, uint32_t len)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(q->d->pool);

	if (!m)
		return NULL;
	rte_mbuf_ext_refcnt_update(&q->lent, 1);
	rte_pktmbuf_attach_extbuf(m, bytes, RTE_BAD_IOVA, (uint16_t)len, &q->lent);
	m->data_len = (uint16_t)len;
	m->pkt_len = len;
	return m;
}

/* In two mbufs where the headers do not fit into the headroom. */
static struct rte_mbuf *
mbuf_make(struct ethdev_queue *q, const struct frame_head *h, uint8_t *packet, uint16_t len)
{
	struct rte_mbuf *first, *second;

	if (!q->d->lend)
		return mbuf_copied(q, h, packet, len);
	if (h->len <= FF_PORT_HEADROOM) {
		memcpy(packet - h->len, h->bytes, h->len);
		return mbuf_lent(q, packet - h->len, h->len + len);
	}
	first = mbuf_copied(q, h, packet, 0);
	second = first ? mbuf_lent(q, packet, len) : NULL;
	if (!second) {
		rte_pktmbuf_free(first);
		return NULL;
	}
	first->next = second;
	first->nb_segs = 2;
	first->pkt_len += len;
	return first;
}

/* One packet joins the burst; false: there is no room. */
static bool
tx_packet(struct ethdev_queue *q, const struct frame_head *h, uint8_t *packet, uint16_t len,
	  unsigned element)
{
	struct rte_mbuf *m;

	if (q->out_num == FF_PORT_BURST)
		tx_flush(q);
	m = q->full ? NULL : mbuf_make(q, h, packet, len);
	if (!m)
		return false;
	q->out_len[q->out_num] = len;
	q->out_element[q->out_num] = element;
	q->out[q->out_num++] = m;
	return true;
}

/* Makes the element's headers; false: it cannot be sent. */
static bool
tx_prepare(const struct ethdev_queue *q, const struct ff_port_tx *tx, struct frame_head *h)
{
	static const uint8_t unknown[6];
	const struct ff_path *p = tx->path;
	const uint8_t *mac = memcmp(p->next_mac, unknown, 6) ? p->next_mac : q->d->next_mac;

	return tx->seg_len && tx->seg_len <= p->mtu &&
	       !ff_frame_head(&q->d->frame, tx, mac, tx->bytes[FF_PORT_HEADROOM], h) &&
	       h->len + tx->seg_len <= q->d->frame_max;
}

static void
tx_element(struct ethdev_queue *q, const struct ff_port_tx *tx, unsigned element)
{
	struct frame_head h;
	uint32_t stride = ff_port_tx_stride(tx), off;
	uint16_t len, fitted = 0;

	if (!tx->len)
		return;
	if (!tx_prepare(q, tx, &h)) {
		tx_lost(q, element, tx->seg_len ? ff_port_tx_packets(tx) : 1);
		return;
	}
	for (off = 0; off < tx->len; off += stride) {
		len = (uint16_t)((tx->len - off < stride ? tx->len - off : stride) -
				 FF_PORT_HEADROOM);
		if (len != fitted)
			ff_frame_head_fit(&h, len);
		fitted = len;
		if (!tx_packet(q, &h, tx->bytes + off + FF_PORT_HEADROOM, len, element)) {
			q->full = true;
			tx_lost(q, element, 1);
		}
	}
}

unsigned
ethdev_tx(struct ff_port_queue *base, const struct ff_port_tx *tx, unsigned n)
{
	struct ethdev_queue *q = ethdev_queue_of(base);

	q->full = false;
	q->lost = 0;
	q->last_lost = UINT_MAX;
	for (unsigned i = 0; i < n; i++)
		tx_element(q, &tx[i], i);
	tx_flush(q);
	return n - q->lost;
}

/* ---- in ---- */

/* False: no packet for us, and m may go. */
static bool
rx_frame(struct ethdev_queue *q, struct rte_mbuf *m, struct ff_port_rx *out)
{
	struct ethdev *d = q->d;
	enum frame_verdict verdict;
	struct frame_in in;

	/* Drivers with small buffers chain them: memif. */
	if (m->nb_segs > 1 && rte_pktmbuf_linearize(m)) {
		ff_port_count(&q->base, FF_PC_RX_BAD, 1);
		return false;
	}
	verdict = ff_frame_parse(&d->frame, rte_pktmbuf_mtod(m, uint8_t *), m->data_len, &in);
	if (verdict != FRAME_OURS) {
		ff_port_count(&q->base, FF_PC_RX_BAD, verdict == FRAME_BAD);
		return false;
	}
	out->bytes = rte_pktmbuf_mtod_offset(m, uint8_t *, in.off);
	out->len = in.len;
	out->vni = d->frame.encap == FF_ENCAP_NONE ? d->vni : in.vni;
	out->outer_tos = in.tos;
	memcpy(out->host, in.host, sizeof(out->host));
	ff_port_count(&q->base, FF_PC_RX_PACKETS, 1);
	ff_port_count(&q->base, FF_PC_RX_BYTES, out->len);
	return true;
}

static bool
rx_fill(struct ethdev_queue *q)
{
	q->in_next = 0;
	q->in_num = rte_eth_rx_burst(q->d->id, q->index, q->in, FF_PORT_BURST);
	ff_port_count(&q->base, FF_PC_RX_CALLS, 1);
	return q->in_num != 0;
}

/*
 * Looks at no more frames than the device can have held when it was called: so all that was there
 * has been seen, and a flood of foreign frames does not keep us here.
 */
unsigned
ethdev_rx(struct ff_port_queue *base, struct ff_port_rx *rx, unsigned n)
{
	struct ethdev_queue *q = ethdev_queue_of(base);
	unsigned got = 0, seen = 0;

	if (!q->has_rx)
		return 0;
	rte_pktmbuf_free_bulk(q->held, q->num_held);
	q->num_held = 0;
	q->more = true;
	while (got < n) {
		struct rte_mbuf *m;

		if (q->in_next == q->in_num) {
			if (seen >= q->d->rx_frames)
				break;
			if (!rx_fill(q)) {
				q->more = false;
				break;
			}
			seen += q->in_num;
		}
		m = q->in[q->in_next++];
		if (rx_frame(q, m, &rx[got])) {
			q->held[q->num_held++] = m;
			got++;
		} else {
			rte_pktmbuf_free(m);
		}
	}
	return got;
}

/* ---- sleep ---- */

bool
ethdev_arm(struct ff_port_queue *base)
{
	struct ethdev_queue *q = ethdev_queue_of(base);

	if (!q->has_rx)
		return false;
	if (q->more || !q->intr)
		return q->more;
	/* Some devices tell of what comes from now on only: a look at what is there. */
	rte_eth_dev_rx_intr_enable(q->d->id, q->index);
	q->more = rx_fill(q);
	return q->more;
}

void
ethdev_disarm(struct ff_port_queue *base)
{
	struct ethdev_queue *q = ethdev_queue_of(base);

	if (q->intr)
		rte_eth_dev_rx_intr_disable(q->d->id, q->index);
}

/* Never called: refcnt does not go below 1. */
static void
lent_free(void *addr, void *opaque)
{
}

void
ethdev_io_begin(struct ethdev_queue *q)
{
	q->lent.free_cb = lent_free;
	rte_mbuf_ext_refcnt_set(&q->lent, 1);
}

void
ethdev_io_end(struct ethdev_queue *q)
{
	rte_pktmbuf_free_bulk(q->held, q->num_held);
	while (q->in_next < q->in_num)
		rte_pktmbuf_free(q->in[q->in_next++]);
	q->num_held = 0;
}
