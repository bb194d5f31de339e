/* SPDX-License-Identifier: MIT */
/* Counters by name, for telemetry. Control thread; the workers go on counting meanwhile. */
#include <string.h>

#include "sroce_priv.h"

#define READ(field) __atomic_load_n(&(field), __ATOMIC_RELAXED)

static const char *const port_names[FF_PC_MAX] = {
	[FF_PC_TX_PACKETS] = "tx_packets", [FF_PC_TX_BYTES] = "tx_bytes",
	[FF_PC_TX_CALLS] = "tx_calls",	   [FF_PC_TX_DROPPED] = "tx_dropped",
	[FF_PC_RX_PACKETS] = "rx_packets", [FF_PC_RX_BYTES] = "rx_bytes",
	[FF_PC_RX_CALLS] = "rx_calls",	   [FF_PC_RX_BAD] = "rx_bad_encapsulation",
	[FF_PC_RX_DROPPED] = "rx_dropped",
};

static const char *const drop_names[SROCE_DROP_MAX] = {
	[SROCE_DROP_HEADERS] = "rx_bad_headers",   [SROCE_DROP_ICRC] = "rx_bad_icrc",
	[SROCE_DROP_BTH] = "rx_bad_bth",	   [SROCE_DROP_QPN] = "rx_no_qp",
	[SROCE_DROP_TENANT] = "rx_other_tenant",   [SROCE_DROP_ADDRESS] = "rx_other_address",
	[SROCE_DROP_BUSY] = "rx_handover_dropped", [SROCE_DROP_PATH] = "tx_no_path",
	[SROCE_DROP_LINK] = "tx_other_interface",  [SROCE_DROP_SOURCE] = "tx_not_own_address",
	[SROCE_DROP_MTU] = "tx_too_long",
};

static const char *const qp_names[ROCE_C_MAX] = {
	[ROCE_C_TX_PACKETS] = "tx_packets",
	[ROCE_C_RX_PACKETS] = "rx_packets",
	[ROCE_C_TX_AGAIN] = "retransmitted",
	[ROCE_C_TIMEOUT] = "timeouts",
	[ROCE_C_NAK_SEQ_SENT] = "nak_sequence_sent",
	[ROCE_C_NAK_SEQ_GOT] = "nak_sequence_received",
	[ROCE_C_RNR_SENT] = "rnr_sent",
	[ROCE_C_RNR_GOT] = "rnr_received",
	[ROCE_C_PROBE] = "probes",
	[ROCE_C_IMPLIED_NAK] = "implied_nak",
	[ROCE_C_DUPLICATE] = "duplicates",
	[ROCE_C_AHEAD] = "ahead_of_sequence",
	[ROCE_C_REFUSED] = "refused",
	[ROCE_C_RX_BAD] = "rx_bad",
	[ROCE_C_RX_BUSY] = "rx_busy",
	[ROCE_C_CNP_SENT] = "cnp_sent",
	[ROCE_C_CNP_GOT] = "cnp_received",
	[ROCE_C_ECN_MARKED] = "ecn_marked",
};

_Static_assert(FF_PC_MAX + SROCE_DROP_MAX + 1 <= FF_NIC_COUNTERS_MAX &&
		       ROCE_C_MAX + 3 <= FF_NIC_COUNTERS_MAX,
	       "room");

static void
add(struct ff_nic_counters *out, const char *name, uint64_t value)
{
	if (!name)
		return;
	out->names[out->num] = name;
	out->values[out->num++] = value;
}

void
sroce_port_counters(unsigned worker, struct ff_nic_counters *out)
{
	uint64_t port[FF_PC_MAX];
	const struct sworker *sw;

	out->num = 0;
	if (!sroce_enabled())
		return;
	sw = sroce_worker(ff_worker_get(worker));
	if (!sw)
		return;
	ff_port_counters(sw->port, port);
	for (unsigned i = 0; i < FF_PC_MAX; i++)
		add(out, port_names[i], port[i]);
	for (unsigned i = 0; i < SROCE_DROP_MAX; i++)
		add(out, drop_names[i], READ(sw->drops[i]));
	add(out, "rx_handed_over", READ(sw->handed_over));
}

void
sroce_qp_counters(const struct ff_qp *qp, struct ff_nic_counters *out)
{
	const struct lqp *l = qp->nic;

	out->num = 0;
	if (!l || !l->wire)
		return;
	for (unsigned i = 0; i < ROCE_C_MAX; i++)
		add(out, qp_names[i], READ(l->wire->q.counters[i]));
	if (!l->away)
		return;
	add(out, "window", READ(l->wire->q.cwnd));
	add(out, "rtt_ns", READ(l->wire->q.srtt_ns));
	add(out, "rate_bps", READ(l->wire->q.rate.now) * 8);
}

void
sroce_counters_retire(struct sqp *s)
{
	for (unsigned i = 0; i < ROCE_C_MAX; i++) {
		s->sw->gone[i] += s->q.counters[i];
		s->q.counters[i] = 0;
	}
}

void
sroce_transport_counters(unsigned worker, struct ff_nic_counters *out)
{
	uint64_t sum[ROCE_C_MAX];
	const struct sworker *sw;
	const struct sqp *s;

	out->num = 0;
	sw = sroce_enabled() ? sroce_worker(ff_worker_get(worker)) : NULL;
	if (!sw)
		return;
	memcpy(sum, sw->gone, sizeof(sum));
	TAILQ_FOREACH (s, &sw->all, all_link)
		for (unsigned i = 0; i < ROCE_C_MAX; i++)
			sum[i] += READ(s->q.counters[i]);
	for (unsigned i = 0; i < ROCE_C_MAX; i++)
		add(out, qp_names[i], sum[i]);
}

bool
sroce_qp_peer(const struct ff_qp *qp, struct ff_nic_peer *out)
{
	const struct lqp *l = qp->nic;
	const struct roce_qp *q;

	if (!l || !l->wire || !l->away)
		return false;
	q = &l->wire->q;
	*out = (struct ff_nic_peer){
		.tx_packets = READ(q->counters[ROCE_C_TX_PACKETS]),
		.rx_packets = READ(q->counters[ROCE_C_RX_PACKETS]),
		.retransmitted = READ(q->counters[ROCE_C_TX_AGAIN]),
		.timeouts = READ(q->counters[ROCE_C_TIMEOUT]),
		.cnp_sent = READ(q->counters[ROCE_C_CNP_SENT]),
		.cnp_received = READ(q->counters[ROCE_C_CNP_GOT]),
		.window = READ(q->cwnd),
		.rtt_ns = READ(q->srtt_ns),
		.rate_bps = READ(q->rate.now) * 8,
	};
	memcpy(out->gid, qp->attr.ah.dgid, sizeof(out->gid));
	return true;
}
