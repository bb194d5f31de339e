/* SPDX-License-Identifier: MIT */
/* modify_qp: every transition of every type with every attribute; values; query. */
#include <errno.h>
#include <string.h>

#include "harness.h"

#define STATES 7
#define ATTRS  21 /* bits of the standard mask */

/* The bits of enum ibv_qp_attr_mask by a letter each. */
static const struct {
	char letter;
	uint32_t bit;
} letters[] = {
	{'c', IBV_QP_CUR_STATE},
	{'n', IBV_QP_EN_SQD_ASYNC_NOTIFY},
	{'x', IBV_QP_ACCESS_FLAGS},
	{'p', IBV_QP_PKEY_INDEX},
	{'o', IBV_QP_PORT},
	{'q', IBV_QP_QKEY},
	{'v', IBV_QP_AV},
	{'m', IBV_QP_PATH_MTU},
	{'t', IBV_QP_TIMEOUT},
	{'y', IBV_QP_RETRY_CNT},
	{'r', IBV_QP_RNR_RETRY},
	{'R', IBV_QP_RQ_PSN},
	{'a', IBV_QP_MAX_QP_RD_ATOMIC},
	{'l', IBV_QP_ALT_PATH},
	{'w', IBV_QP_MIN_RNR_TIMER},
	{'S', IBV_QP_SQ_PSN},
	{'A', IBV_QP_MAX_DEST_RD_ATOMIC},
	{'g', IBV_QP_PATH_MIG_STATE},
	{'d', IBV_QP_DEST_QPN},
};

/*
 * The spec's table 91 by type, from, to: required and optional attributes. What is not here is
 * forbidden; RESET, and ERR from all but RESET, are allowed with nothing.
 */
static const struct {
	uint8_t type, from, to;
	const char *req, *opt;
} spec[] = {
	{IBV_QPT_RC, IBV_QPS_RESET, IBV_QPS_INIT, "pox", ""},
	{IBV_QPT_RC, IBV_QPS_INIT, IBV_QPS_INIT, "", "pox"},
	{IBV_QPT_RC, IBV_QPS_INIT, IBV_QPS_RTR, "vmdRAw", "lxp"},
	{IBV_QPT_RC, IBV_QPS_RTR, IBV_QPS_RTS, "tyrSa", "clxwg"},
	{IBV_QPT_RC, IBV_QPS_RTS, IBV_QPS_RTS, "", "clxwg"},
	{IBV_QPT_RC, IBV_QPS_RTS, IBV_QPS_SQD, "", "n"},
	{IBV_QPT_RC, IBV_QPS_SQD, IBV_QPS_SQD, "", "ovtyraAlxpwg"},
	{IBV_QPT_RC, IBV_QPS_SQD, IBV_QPS_RTS, "", "clxwg"},
	{IBV_QPT_UC, IBV_QPS_RESET, IBV_QPS_INIT, "pox", ""},
	{IBV_QPT_UC, IBV_QPS_INIT, IBV_QPS_INIT, "", "pox"},
	{IBV_QPT_UC, IBV_QPS_INIT, IBV_QPS_RTR, "vmdR", "lxp"},
	{IBV_QPT_UC, IBV_QPS_RTR, IBV_QPS_RTS, "S", "clxg"},
	{IBV_QPT_UC, IBV_QPS_RTS, IBV_QPS_RTS, "", "clxg"},
	{IBV_QPT_UC, IBV_QPS_RTS, IBV_QPS_SQD, "", "n"},
	{IBV_QPT_UC, IBV_QPS_SQD, IBV_QPS_SQD, "", "vlxpg"},
	{IBV_QPT_UC, IBV_QPS_SQD, IBV_QPS_RTS, "", "clxg"},
	{IBV_QPT_UC, IBV_QPS_SQE, IBV_QPS_RTS, "", "cx"},
	{IBV_QPT_UD, IBV_QPS_RESET, IBV_QPS_INIT, "poq", ""},
	{IBV_QPT_UD, IBV_QPS_INIT, IBV_QPS_INIT, "", "poq"},
	{IBV_QPT_UD, IBV_QPS_INIT, IBV_QPS_RTR, "", "pq"},
	{IBV_QPT_UD, IBV_QPS_RTR, IBV_QPS_RTS, "S", "cq"},
	{IBV_QPT_UD, IBV_QPS_RTS, IBV_QPS_RTS, "", "cq"},
	{IBV_QPT_UD, IBV_QPS_RTS, IBV_QPS_SQD, "", "n"},
	{IBV_QPT_UD, IBV_QPS_SQD, IBV_QPS_SQD, "", "pq"},
	{IBV_QPT_UD, IBV_QPS_SQD, IBV_QPS_RTS, "", "cq"},
	{IBV_QPT_UD, IBV_QPS_SQE, IBV_QPS_RTS, "", "cq"},
};

static uint32_t
bits(const char *s)
{
	uint32_t mask = 0;

	for (; *s; s++) {
		for (unsigned i = 0; i < COUNT_OF(letters); i++) {
			if (letters[i].letter == *s)
				mask |= letters[i].bit;
		}
	}
	return mask;
}

/* What the spec says. */
static bool
find(uint8_t type, uint32_t from, uint32_t to, uint32_t *req, uint32_t *opt)
{
	*req = *opt = 0;
	if (to == IBV_QPS_RESET || (to == IBV_QPS_ERR && from != IBV_QPS_RESET))
		return true;
	for (unsigned i = 0; i < COUNT_OF(spec); i++) {
		if (spec[i].type == type && spec[i].from == from && spec[i].to == to) {
			*req = bits(spec[i].req);
			*opt = bits(spec[i].opt);
			return true;
		}
	}
	return false;
}

static const uint8_t types[] = {IBV_QPT_RC, IBV_QPT_UC, IBV_QPT_UD};
static uint32_t pd, cq;

static uint32_t
open_with_qp(uint8_t type)
{
	world_open();
	pd = make_pd();
	cq = make_cq(4, -1);
	return make_qp(pd, cq, type).qp_handle;
}

/* As after INIT, whatever the state is said to be. */
static void
force(struct ff_qp *qp, uint32_t state)
{
	memset(&qp->attr, 0, sizeof(qp->attr));
	qp->attr.state = qp->attr.cur_state = (enum ff_qp_state)state;
	qp->attr.port_num = 1;
}

/* ok, unless the device refuses the attribute everywhere (no path migration). */
static void
try_one(uint32_t h, uint32_t from, uint32_t to, uint32_t mask, bool ok)
{
	struct ff_qp *qp = qp_of(h);
	struct ib_uverbs_modify_qp m = good_attr(to);
	unsigned before = w.modifies;
	int rc;

	if (mask & IBV_QP_ALT_PATH)
		ok = false;
	if (from == to && !(mask & IBV_QP_STATE))
		m.qp_state = 0;
	m.cur_qp_state = (uint8_t)from;
	force(qp, from);
	rc = modify(h, &m, mask);
	CU_ASSERT_EQUAL(rc > 0, ok);
	CU_ASSERT(ok || rc == -EINVAL);
	CU_ASSERT_EQUAL(w.modifies - before, ok);
	CU_ASSERT_EQUAL(qp->attr.state, ok ? to : from);
}

static void
try_transition(uint32_t h, uint8_t type, uint32_t from, uint32_t to)
{
	uint32_t req, opt;
	bool valid = find(type, from, to, &req, &opt);

	try_one(h, from, to, IBV_QP_STATE | req, valid);
	if (!valid)
		return;
	if (from == to && to != IBV_QPS_RESET && to != IBV_QPS_ERR)
		try_one(h, from, to, req, true); /* without the state */
	try_one(h, from, to, IBV_QP_STATE | req | (opt & ~(uint32_t)IBV_QP_ALT_PATH), true);
	for (unsigned b = 1; b < ATTRS; b++) {
		uint32_t bit = 1u << b;

		if (req & bit)
			try_one(h, from, to, IBV_QP_STATE | (req & ~bit), false);
		else
			try_one(h, from, to, IBV_QP_STATE | req | bit, opt & bit);
	}
}

static void
test_all_transitions(void)
{
	for (unsigned t = 0; t < COUNT_OF(types); t++) {
		uint32_t h = open_with_qp(types[t]);

		for (uint32_t from = 0; from < STATES; from++) {
			for (uint32_t to = 0; to < STATES; to++)
				try_transition(h, types[t], from, to);
			try_one(h, from, STATES, IBV_QP_STATE, false);
		}
		world_close();
	}
}

static void
test_current_state(void)
{
	uint32_t h = open_with_qp(IBV_QPT_RC);
	struct ib_uverbs_modify_qp m = good_attr(IBV_QPS_RTS);

	/* A claim that is not so: the way around the table. */
	m.cur_qp_state = IBV_QPS_RTR;
	CU_ASSERT_EQUAL(modify(h, &m,
			       IBV_QP_STATE | IBV_QP_CUR_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT |
				       IBV_QP_RNR_RETRY | IBV_QP_SQ_PSN | IBV_QP_MAX_QP_RD_ATOMIC),
			-EINVAL);
	CU_ASSERT_EQUAL(qp_of(h)->attr.state, FF_QPS_RESET);
	/* While it drains there is no way but to give up. */
	qp_to_rts(h);
	m = good_attr(IBV_QPS_SQD);
	CU_ASSERT(modify(h, &m, IBV_QP_STATE) > 0);
	qp_of(h)->attr.sq_draining = 1;
	m = good_attr(IBV_QPS_RTS);
	CU_ASSERT_EQUAL(modify(h, &m, IBV_QP_STATE), -EINVAL);
	qp_of(h)->attr.sq_draining = 0;
	CU_ASSERT(modify(h, &m, IBV_QP_STATE) > 0);
	m = good_attr(IBV_QPS_SQD);
	CU_ASSERT(modify(h, &m, IBV_QP_STATE) > 0);
	qp_of(h)->attr.sq_draining = 1;
	m = good_attr(IBV_QPS_ERR);
	CU_ASSERT(modify(h, &m, IBV_QP_STATE) > 0);
	world_close();
}

/* One attribute wrong in an else sound INIT to RTR to RTS. */
static void
test_values(void)
{
	const uint32_t init = IBV_QP_STATE | bits("pox"), rtr = IBV_QP_STATE | bits("vmdRAw"),
		       rts = IBV_QP_STATE | bits("tyrSa");
	uint32_t h = open_with_qp(IBV_QPT_RC);
	struct ib_uverbs_modify_qp m;

#define BAD(state, mask, rc, field, value)                \
	do {                                              \
		m = good_attr(state);                     \
		m.field = (value);                        \
		CU_ASSERT_EQUAL(modify(h, &m, mask), rc); \
	} while (0)
	BAD(IBV_QPS_INIT, init, -EINVAL, port_num, 0);
	BAD(IBV_QPS_INIT, init, -EINVAL, port_num, 2);
	BAD(IBV_QPS_INIT, init, -EINVAL, pkey_index, 1);
	m = good_attr(IBV_QPS_INIT);
	CU_ASSERT(modify(h, &m, init) > 0);
	BAD(IBV_QPS_RTR, rtr, -EINVAL, path_mtu, 0);
	BAD(IBV_QPS_RTR, rtr, -EINVAL, path_mtu, 6);
	BAD(IBV_QPS_RTR, rtr, -EINVAL, dest_qp_num, 1u << 24);
	BAD(IBV_QPS_RTR, rtr, -EINVAL, max_dest_rd_atomic, FF_MAX_RD_ATOMIC + 1);
	BAD(IBV_QPS_RTR, rtr, -EINVAL, min_rnr_timer, 32);
	BAD(IBV_QPS_RTR, rtr, -EINVAL, dest.port_num, 0);
	BAD(IBV_QPS_RTR, rtr, -EINVAL, dest.is_global, 0);
	BAD(IBV_QPS_RTR, rtr, -EINVAL, dest.sgid_index, FF_GIDS_MAX);
	BAD(IBV_QPS_RTR, rtr, -ENODATA, dest.sgid_index, 1);
	BAD(IBV_QPS_RTR, rtr, -EINVAL, dest.dgid[0], 0xff); /* multicast */
	BAD(IBV_QPS_RTR, rtr, -EINVAL, dest.sl, 16);
	m = good_attr(IBV_QPS_RTR);
	memset(m.dest.dgid, 0, 16);
	CU_ASSERT_EQUAL(modify(h, &m, rtr), -EINVAL);
	m = good_attr(IBV_QPS_RTR);
	w.other_allowed = false;
	CU_ASSERT_EQUAL(modify(h, &m, rtr), -EACCES);
	CU_ASSERT_EQUAL(w.c.counters[FF_CC_POLICY_REFUSED], 1);
	w.other_allowed = true;
	/* To another host, to which its tenant has no way. */
	memset(m.dest.dgid, 0x20, 16);
	w.ask_rc = -ENETUNREACH;
	CU_ASSERT_EQUAL(modify(h, &m, rtr), -ENETUNREACH);
	CU_ASSERT_EQUAL(w.c.counters[FF_CC_POLICY_REFUSED], 2);
	w.ask_rc = 0;
	m = good_attr(IBV_QPS_RTR);
	CU_ASSERT_EQUAL(w.modifies, 1);
	m.rq_psn = 0xff000123;
	CU_ASSERT(modify(h, &m, rtr) > 0);
	CU_ASSERT_EQUAL(w.last_attr.rq_psn, 0x123);
	BAD(IBV_QPS_RTS, rts, -EINVAL, timeout, 32);
	BAD(IBV_QPS_RTS, rts, -EINVAL, retry_cnt, 8);
	BAD(IBV_QPS_RTS, rts, -EINVAL, rnr_retry, 8);
	BAD(IBV_QPS_RTS, rts, -EINVAL, max_rd_atomic, FF_MAX_RD_ATOMIC + 1);
	m = good_attr(IBV_QPS_RTS);
	CU_ASSERT_EQUAL(modify(h, &m, rts | IBV_QP_STATE << 21), -EOPNOTSUPP);
	w.nic_modify_rc = -ENOMEM;
	CU_ASSERT_EQUAL(modify(h, &m, rts), -ENOMEM);
	w.nic_modify_rc = 0;
	CU_ASSERT(modify(h, &m, rts) > 0);
	BAD(IBV_QPS_RTS, IBV_QP_PATH_MIG_STATE, -EINVAL, path_mig_state, IBV_MIG_ARMED);
#undef BAD
	CU_ASSERT_EQUAL(modify(h + 1, &m, rts), -EINVAL);
	world_close();
}

/* An address on no container of this host is another router's business. */
static void
test_remote_address(void)
{
	uint32_t h = open_with_qp(IBV_QPT_UC);
	struct ib_uverbs_modify_qp m = good_attr(IBV_QPS_INIT);

	CU_ASSERT(modify(h, &m, IBV_QP_STATE | bits("pox")) > 0);
	m = good_attr(IBV_QPS_RTR);
	m.dest.dgid[15] = 99;
	w.other_allowed = false;
	CU_ASSERT(modify(h, &m, IBV_QP_STATE | bits("vmdR")) > 0);
	CU_ASSERT_EQUAL(w.last_attr.ah.dgid[15], 99);
	world_close();
}

static void
test_modify_ex(void)
{
	uint32_t h = open_with_qp(IBV_QPT_RC);
	struct ib_uverbs_ex_modify_qp x = {.base = good_attr(IBV_QPS_INIT)};
	struct ib_uverbs_ex_modify_qp_resp resp;

	x.base.qp_handle = h;
	x.base.attr_mask = IBV_QP_STATE | bits("pox");
#define EX() command_ex(IB_USER_VERBS_EX_CMD_MODIFY_QP, &x, sizeof(x), NULL, 0, sizeof(resp), 0)
	CU_ASSERT(EX() > 0);
	memcpy(&resp, w.out, sizeof(resp));
	CU_ASSERT_EQUAL(resp.response_length, sizeof(resp));
	CU_ASSERT_EQUAL(qp_of(h)->attr.state, FF_QPS_INIT);
	x.base.attr_mask |= IBV_QP_RATE_LIMIT;
	CU_ASSERT_EQUAL(EX(), -EOPNOTSUPP);
	x.base.attr_mask = 1u << 30;
	CU_ASSERT_EQUAL(EX(), -EOPNOTSUPP);
#undef EX
	world_close();
}

static void
test_query(void)
{
	uint32_t h = open_with_qp(IBV_QPT_RC);
	struct ib_uverbs_query_qp q = {.qp_handle = h, .attr_mask = ~0u};
	struct ib_uverbs_query_qp_resp r;
	struct ib_uverbs_modify_qp good = good_attr(0);

	qp_to_rts(h);
	CU_ASSERT(command(IB_USER_VERBS_CMD_QUERY_QP, &q, sizeof(q), sizeof(r)) > 0);
	memcpy(&r, w.out, sizeof(r));
	CU_ASSERT_EQUAL(r.qp_state, IBV_QPS_RTS);
	CU_ASSERT_EQUAL(r.cur_qp_state, IBV_QPS_RTS);
	CU_ASSERT_EQUAL(r.rq_psn, good.rq_psn);
	CU_ASSERT_EQUAL(r.sq_psn, good.sq_psn);
	CU_ASSERT_EQUAL(r.dest_qp_num, good.dest_qp_num);
	CU_ASSERT_EQUAL(r.path_mtu, good.path_mtu);
	CU_ASSERT_EQUAL(r.timeout, good.timeout);
	CU_ASSERT_EQUAL(r.retry_cnt, good.retry_cnt);
	CU_ASSERT_EQUAL(r.rnr_retry, good.rnr_retry);
	CU_ASSERT_EQUAL(r.min_rnr_timer, good.min_rnr_timer);
	CU_ASSERT_EQUAL(r.max_rd_atomic, good.max_rd_atomic);
	CU_ASSERT_EQUAL(r.max_dest_rd_atomic, good.max_dest_rd_atomic);
	CU_ASSERT_EQUAL(r.qp_access_flags, good.qp_access_flags);
	CU_ASSERT_EQUAL(r.port_num, 1);
	CU_ASSERT_EQUAL(memcmp(r.dest.dgid, good.dest.dgid, 16), 0);
	CU_ASSERT_EQUAL(r.dest.hop_limit, 64);
	CU_ASSERT_EQUAL(r.dest.is_global, 1);
	CU_ASSERT_EQUAL(r.max_send_wr, 7);
	CU_ASSERT_EQUAL(r.max_recv_sge, 1);
	q.qp_handle++;
	CU_ASSERT_EQUAL(command(IB_USER_VERBS_CMD_QUERY_QP, &q, sizeof(q), sizeof(r)), -EINVAL);
	world_close();
}

int
main(void)
{
	static const struct test_case cases[] = {
		{"all transitions", test_all_transitions},
		{"current state", test_current_state},
		{"values", test_values},
		{"remote address", test_remote_address},
		{"modify_qp_ex", test_modify_ex},
		{"query", test_query},
	};

	return run_suite("verbs modify_qp", cases, COUNT_OF(cases));
}
