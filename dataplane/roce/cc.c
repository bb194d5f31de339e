/* SPDX-License-Identifier: MIT */
/*
 * How many packets may be on their way: a window that grows by what is acknowledged and is halved
 * by loss, once per round trip, as TCP's (RFC 5681). The thread that owns the QP.
 */
#include "roce_priv.h"

#define CWND_FIRST 32u
#define CWND_MIN   2u
#define CWND_MAX   1024u

void
roce_cc_init(struct roce_qp *q)
{
	q->cwnd = CWND_FIRST;
	q->ssthresh = CWND_MAX;
	q->cwnd_acked = 0;
	q->cut = false;
}

void
roce_cc_acked(struct roce_qp *q, uint32_t packets)
{
	if (q->cut && roce_psn_diff(q->una_psn, q->cut_psn) >= 0)
		q->cut = false;
	if (q->cwnd < q->ssthresh) {
		q->cwnd += packets < q->cwnd ? packets : q->cwnd;
	} else {
		q->cwnd_acked += packets;
		if (q->cwnd_acked >= q->cwnd) {
			q->cwnd_acked = 0;
			q->cwnd++;
		}
	}
	if (q->cwnd > CWND_MAX)
		q->cwnd = CWND_MAX;
}

void
roce_cc_lost(struct roce_qp *q, bool timeout)
{
	if (q->cut && !timeout)
		return;
	q->cut = true;
	q->cut_psn = q->sent_psn;
	q->ssthresh = q->cwnd / 2 > CWND_MIN ? q->cwnd / 2 : CWND_MIN;
	q->cwnd = timeout ? CWND_MIN : q->ssthresh;
	q->cwnd_acked = 0;
}
