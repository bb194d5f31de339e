/* SPDX-License-Identifier: MIT */
/*
 * Which transitions a QP may make, with which attributes (IBTA 11.2.5.2, table 91). Any thread.
 */
#include <infiniband/verbs.h>

#include "verbs_priv.h"

#define RC	(1u << IBV_QPT_RC)
#define UC	(1u << IBV_QPT_UC)
#define UD	(1u << IBV_QPT_UD)
#define FROM(s) (1u << FF_QPS_##s)

/* Attributes that come in groups. */
#define INIT_CONNECTED (IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS)
#define INIT_UD	       (IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_QKEY)
#define PATH	       (IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN)
#define RTS_RC	       (IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY | IBV_QP_MAX_QP_RD_ATOMIC)
#define LIVE_UC	       (IBV_QP_CUR_STATE | IBV_QP_ALT_PATH | IBV_QP_ACCESS_FLAGS | IBV_QP_PATH_MIG_STATE)
#define LIVE_RC	       (LIVE_UC | IBV_QP_MIN_RNR_TIMER)
#define LIVE_UD	       (IBV_QP_CUR_STATE | IBV_QP_QKEY)
#define SQD_UC                                                                   \
	(IBV_QP_AV | IBV_QP_ALT_PATH | IBV_QP_ACCESS_FLAGS | IBV_QP_PKEY_INDEX | \
	 IBV_QP_PATH_MIG_STATE)

/* The first row that fits decides. Transitions to RESET and ERR are not in here. */
static const struct transition {
	uint8_t from; /* FROM() bits */
	uint8_t to;
	uint16_t types; /* RC, UC, UD */
	uint32_t required, optional;
} transitions[] = {
	{FROM(RESET), FF_QPS_INIT, RC | UC, INIT_CONNECTED, 0},
	{FROM(RESET), FF_QPS_INIT, UD, INIT_UD, 0},
	{FROM(INIT), FF_QPS_INIT, RC | UC, 0, INIT_CONNECTED},
	{FROM(INIT), FF_QPS_INIT, UD, 0, INIT_UD},
	{FROM(INIT), FF_QPS_RTR, RC, PATH | IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER,
	 IBV_QP_ALT_PATH | IBV_QP_ACCESS_FLAGS | IBV_QP_PKEY_INDEX},
	{FROM(INIT), FF_QPS_RTR, UC, PATH,
	 IBV_QP_ALT_PATH | IBV_QP_ACCESS_FLAGS | IBV_QP_PKEY_INDEX},
	{FROM(INIT), FF_QPS_RTR, UD, 0, IBV_QP_PKEY_INDEX | IBV_QP_QKEY},
	{FROM(RTR), FF_QPS_RTS, RC, RTS_RC | IBV_QP_SQ_PSN, LIVE_RC},
	{FROM(RTR), FF_QPS_RTS, UC, IBV_QP_SQ_PSN, LIVE_UC},
	{FROM(RTR), FF_QPS_RTS, UD, IBV_QP_SQ_PSN, LIVE_UD},
	{FROM(RTS) | FROM(SQD), FF_QPS_RTS, RC, 0, LIVE_RC},
	{FROM(RTS) | FROM(SQD), FF_QPS_RTS, UC, 0, LIVE_UC},
	{FROM(RTS) | FROM(SQD), FF_QPS_RTS, UD, 0, LIVE_UD},
	{FROM(RTS), FF_QPS_SQD, RC | UC | UD, 0, IBV_QP_EN_SQD_ASYNC_NOTIFY},
	{FROM(SQD), FF_QPS_SQD, RC, 0,
	 SQD_UC | RTS_RC | IBV_QP_PORT | IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER},
	{FROM(SQD), FF_QPS_SQD, UC, 0, SQD_UC},
	{FROM(SQD), FF_QPS_SQD, UD, 0, IBV_QP_PKEY_INDEX | IBV_QP_QKEY},
	/* SQE is for the types whose errors do not break a connection (IBTA 10.3.1.6). */
	{FROM(SQE), FF_QPS_RTS, UC, 0, IBV_QP_CUR_STATE | IBV_QP_ACCESS_FLAGS},
	{FROM(SQE), FF_QPS_RTS, UD, 0, LIVE_UD},
};

bool
qp_transition_ok(uint8_t type, enum ff_qp_state cur, enum ff_qp_state next, uint32_t mask)
{
	mask &= ~(uint32_t)IBV_QP_STATE;
	/* From everywhere, with nothing; but a QP in reset has nothing to flush. */
	if (next == FF_QPS_RESET || (next == FF_QPS_ERR && cur != FF_QPS_RESET))
		return !mask;
	for (unsigned i = 0; i < sizeof(transitions) / sizeof(transitions[0]); i++) {
		const struct transition *t = &transitions[i];

		if ((t->from & 1u << cur) && t->to == next && (t->types & 1u << type))
			return (mask & t->required) == t->required &&
			       !(mask & ~(t->required | t->optional));
	}
	return false;
}
