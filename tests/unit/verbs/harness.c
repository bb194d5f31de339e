/* SPDX-License-Identifier: MIT */
/* See harness.h. */
#include "harness.h"

#include <CUnit/Basic.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "../../../dataplane/core/loop.h"

struct world w;
int async_fd = -1;
struct ff_config ff_config;

static const uint8_t gid_own[16] = {[10] = 0xff, 0xff, 10, 32, 0, 1};
static const uint8_t gid_other[16] = {[10] = 0xff, 0xff, 10, 32, 0, 2};

/* ---- channel ---- */

int
ff_quota_take(struct ff_container *c, enum ff_quota q, uint64_t amount)
{
	if (amount > c->limits[q] || c->used[q] > c->limits[q] - amount)
		return -ENOMEM;
	c->used[q] += amount;
	return 0;
}

void
ff_quota_give(struct ff_container *c, enum ff_quota q, uint64_t amount)
{
	if (c->used[q] < amount)
		abort();
	c->used[q] -= amount;
}

struct ff_container *
ff_container_by_gid(const struct ff_tenant *t, const uint8_t gid[16])
{
	return t == &w.tenant && !memcmp(gid, gid_other, 16) ? &w.other : NULL;
}

bool
ff_policy_allows(const struct ff_container *a, const struct ff_container *b)
{
	return w.other_allowed;
}

void
ff_container_qp_retired(struct ff_container *c, const struct ff_qp *qp)
{
	w.retired++;
}

/* ---- core ---- */

void
ff_worker_call(struct ff_worker *worker, void (*fn)(void *arg), void *arg)
{
	w.calls++;
	fn(arg);
}

void
ff_workers_synchronize(void)
{
	w.syncs++;
}

struct ff_worker *
ff_worker_self(void)
{
	return w.on_worker ? (struct ff_worker *)&w : NULL;
}

int
ff_control_post(struct ff_msg *m)
{
	if (w.control_full) {
		w.control_full--;
		return -ENOSPC;
	}
	w.control_msg = m;
	return 0;
}

int
ff_loop_timer_start(struct ff_timer *t, unsigned period_ms, void (*fn)(void *), void *arg)
{
	return 0;
}

void
ff_loop_timer_stop(struct ff_timer *t)
{
}

/* ---- memory ---- */

int
ff_umem_get(struct ff_umem *m, struct ff_container *c, struct ff_proc *proc, uint64_t va,
	    uint64_t length, bool need_write)
{
	if (w.umem_rc)
		return w.umem_rc;
	*m = (struct ff_umem){.proc = proc, .va = va, .length = length};
	w.umems++;
	w.umem_write = need_write;
	return 0;
}

void
ff_umem_put(struct ff_umem *m)
{
	w.umems--;
}

/* ---- the backend ---- */

static int
fake_mr_reg(struct ff_mr *mr)
{
	if (w.mr_reg_rc)
		return w.mr_reg_rc;
	w.mrs++;
	return 0;
}

static void
fake_mr_dereg(struct ff_mr *mr)
{
	w.mrs--;
}

static int
fake_qp_create(struct ff_qp *qp)
{
	if (w.nic_create_rc)
		return w.nic_create_rc;
	qp->nic = qp;
	w.qps++;
	return 0;
}

static int
fake_qp_modify(struct ff_qp *qp, const struct ff_qp_attr *new, uint32_t mask)
{
	w.modifies++;
	w.last_mask = mask;
	w.last_attr = *new;
	if (w.nic_modify_rc)
		return w.nic_modify_rc;
	qp->attr = *new;
	return 0;
}

static void
fake_qp_detach(struct ff_qp *qp)
{
	CU_ASSERT_PTR_NULL(ff_idtab_get(&ff_qps, qp->qpn));
	w.detached++;
}

static void
fake_qp_destroy(struct ff_qp *qp)
{
	CU_ASSERT_PTR_EQUAL(qp->nic, qp);
	qp->nic = NULL;
	w.qps--;
}

static void
fake_post(struct ff_qp *qp)
{
	w.posts++;
}

static void
fake_srq_changed(struct ff_srq *srq)
{
	w.srq_changes++;
}

static const struct ff_nic_ops fake_nic = {
	.name = "fake",
	.mr_reg = fake_mr_reg,
	.mr_dereg = fake_mr_dereg,
	.qp_create = fake_qp_create,
	.qp_modify = fake_qp_modify,
	.qp_detach = fake_qp_detach,
	.qp_destroy = fake_qp_destroy,
	.post = fake_post,
	.srq_changed = fake_srq_changed,
};
const struct ff_nic_ops *ff_nic = &fake_nic;

/* ---- the world ---- */

static void
container_init(struct ff_container *c, const char *id, const uint8_t gid[16])
{
	snprintf(c->id, sizeof(c->id), "%s", id);
	c->tenant = &w.tenant;
	for (unsigned i = 0; i < FF_QUOTA_MAX; i++)
		c->limits[i] = 100000;
	c->limits[FF_QUOTA_PINNED] = 1ull << 40;
	memcpy(c->gids[0].raw, gid, 16);
	c->gids[0].valid = true;
	TAILQ_INIT(&c->channels);
}

void
world_open(void)
{
	struct ib_uverbs_get_context req = {0};

	memset(&w, 0, sizeof(w));
	container_init(&w.c, "c1", gid_own);
	container_init(&w.other, "c2", gid_other);
	w.other_allowed = true;
	w.channel.container = &w.c;
	w.channel.proc = &w.proc;
	TAILQ_INIT(&w.channel.contexts);
	TAILQ_INSERT_TAIL(&w.c.channels, &w.channel, link);
	if (ff_verbs_init())
		abort();
	w.uc = ff_ucontext_create(&w.channel);
	if (!w.uc || command(IB_USER_VERBS_CMD_GET_CONTEXT, &req, sizeof(req),
			     sizeof(struct ib_uverbs_get_context_resp)) < 0)
		abort();
	async_fd = w.rep.fd[0];
}

void
world_close(void)
{
	ff_ucontext_destroy(w.uc);
	close(async_fd);
	CU_ASSERT_TRUE(TAILQ_EMPTY(&w.channel.contexts));
	for (unsigned i = 0; i < FF_QUOTA_MAX; i++)
		CU_ASSERT_EQUAL(w.c.used[i], 0);
	CU_ASSERT_EQUAL(w.qps, 0);
	CU_ASSERT_EQUAL(w.mrs, 0);
	CU_ASSERT_EQUAL(w.umems, 0);
	CU_ASSERT_EQUAL(ff_qps.count, 0);
	CU_ASSERT_EQUAL(ff_keys.count, 0);
	CU_ASSERT_EQUAL(ff_ahs.count, 0);
	ff_verbs_fini();
}

/* ---- commands ---- */

int
command_raw(const void *buf, uint32_t len)
{
	void *copy = malloc(len ? len : 1); /* exact: sanitizers see what is read behind it */
	int rc;

	memcpy(copy, buf, len);
	memset(w.out, 0xee, sizeof(w.out));
	w.rep = (struct ff_uverbs_reply){.out = w.out, .out_cap = sizeof(w.out)};
	rc = ff_uverbs_command(w.uc, copy, len, &w.rep);
	free(copy);
	return rc;
}

int
command(uint32_t num, const void *req, uint32_t len, uint32_t out)
{
	struct ib_uverbs_cmd_hdr hdr = {num, (uint16_t)((sizeof(hdr) + len) / 4),
					(uint16_t)(out / 4)};
	uint8_t buf[1024];

	memcpy(buf, &hdr, sizeof(hdr));
	memcpy(buf + sizeof(hdr), req, len);
	return command_raw(buf, (uint32_t)sizeof(hdr) + len);
}

int
command_ex(uint32_t num, const void *req, uint32_t len, const void *drv, uint32_t drv_len,
	   uint32_t out, uint32_t drv_out)
{
	struct {
		struct ib_uverbs_cmd_hdr hdr;
		struct ib_uverbs_ex_cmd_hdr ex;
		uint8_t body[960];
	} c = {0};

	c.hdr.command = num | IB_USER_VERBS_CMD_FLAG_EXTENDED;
	c.hdr.in_words = (uint16_t)(len / 8);
	c.hdr.out_words = (uint16_t)(out / 8);
	c.ex.response = 1;
	c.ex.provider_in_words = (uint16_t)(drv_len / 8);
	c.ex.provider_out_words = (uint16_t)(drv_out / 8);
	memcpy(c.body, req, len);
	if (drv_len)
		memcpy(c.body + len, drv, drv_len);
	return command_raw(&c, (uint32_t)(sizeof(c.hdr) + sizeof(c.ex)) + len + drv_len);
}

uint32_t
make_pd(void)
{
	struct ib_uverbs_alloc_pd req = {0};
	struct ib_uverbs_alloc_pd_resp resp;

	CU_ASSERT_FATAL(command(IB_USER_VERBS_CMD_ALLOC_PD, &req, sizeof(req), sizeof(resp)) > 0);
	memcpy(&resp, w.out, sizeof(resp));
	return resp.pd_handle;
}

uint32_t
make_cq(uint32_t cqe, int32_t channel)
{
	struct ib_uverbs_create_cq req = {
		.user_handle = 0x1000 + cqe, .cqe = cqe, .comp_channel = channel};
	struct ib_uverbs_create_cq_resp resp;

	CU_ASSERT_FATAL(command(IB_USER_VERBS_CMD_CREATE_CQ, &req, sizeof(req),
				sizeof(resp) + sizeof(struct rxe_create_cq_resp)) > 0);
	memcpy(&resp, w.out, sizeof(resp));
	return resp.cq_handle;
}

int
make_channel(uint32_t *handle)
{
	struct ib_uverbs_create_comp_channel req = {0};

	CU_ASSERT_FATAL(command(IB_USER_VERBS_CMD_CREATE_COMP_CHANNEL, &req, sizeof(req),
				sizeof(struct ib_uverbs_create_comp_channel_resp)) > 0);
	CU_ASSERT_EQUAL_FATAL(w.rep.num_fds, 1);
	CU_ASSERT_TRUE(w.rep.close_fd[0]);
	*handle = w.rep.fds[0].handle;
	return w.rep.fd[0];
}

uint32_t
make_mr(uint32_t pd, uint64_t addr, uint64_t len, uint32_t access, uint32_t *key)
{
	struct ib_uverbs_reg_mr req = {.start = addr, .hca_va = addr, .length = len,
				       .pd_handle = pd, .access_flags = access};
	struct ib_uverbs_reg_mr_resp resp;

	CU_ASSERT_FATAL(command(IB_USER_VERBS_CMD_REG_MR, &req, sizeof(req), sizeof(resp)) > 0);
	memcpy(&resp, w.out, sizeof(resp));
	CU_ASSERT_EQUAL(resp.lkey, resp.rkey);
	*key = resp.lkey;
	return resp.mr_handle;
}

uint32_t
make_mw(uint32_t pd, uint8_t type, uint32_t *rkey)
{
	struct ib_uverbs_alloc_mw req = {.pd_handle = pd, .mw_type = type};
	struct ib_uverbs_alloc_mw_resp resp;

	CU_ASSERT_FATAL(command(IB_USER_VERBS_CMD_ALLOC_MW, &req, sizeof(req), sizeof(resp)) > 0);
	memcpy(&resp, w.out, sizeof(resp));
	*rkey = resp.rkey;
	return resp.mw_handle;
}

uint32_t
make_srq(uint32_t pd, uint32_t wr, uint32_t sge)
{
	struct ib_uverbs_create_srq req = {
		.user_handle = 0x3000, .pd_handle = pd, .max_wr = wr, .max_sge = sge};
	struct ib_uverbs_create_srq_resp resp;

	CU_ASSERT_FATAL(command(IB_USER_VERBS_CMD_CREATE_SRQ, &req, sizeof(req),
				sizeof(resp) + sizeof(struct rxe_create_srq_resp)) > 0);
	memcpy(&resp, w.out, sizeof(resp));
	return resp.srq_handle;
}

struct ib_uverbs_create_qp_resp
make_qp(uint32_t pd, uint32_t cq, uint8_t type)
{
	struct ib_uverbs_create_qp req = {
		.user_handle = 0x2000,
		.pd_handle = pd,
		.send_cq_handle = cq,
		.recv_cq_handle = cq,
		.max_send_wr = 4,
		.max_recv_wr = 4,
		.max_send_sge = 1,
		.max_recv_sge = 1,
		.qp_type = type,
	};
	struct ib_uverbs_create_qp_resp resp;

	CU_ASSERT_FATAL(command(IB_USER_VERBS_CMD_CREATE_QP, &req, sizeof(req),
				sizeof(resp) + sizeof(struct rxe_create_qp_resp)) > 0);
	memcpy(&resp, w.out, sizeof(resp));
	return resp;
}

uint32_t
make_ah(uint32_t pd, uint32_t *ah_num)
{
	struct ib_uverbs_create_ah req = {
		.pd_handle = pd, .attr = {.is_global = 1, .port_num = 1}};
	struct {
		struct ib_uverbs_create_ah_resp core;
		struct rxe_create_ah_resp drv;
	} resp;

	memcpy(req.attr.grh.dgid, gid_other, 16);
	CU_ASSERT_FATAL(command(IB_USER_VERBS_CMD_CREATE_AH, &req, sizeof(req), sizeof(resp)) > 0);
	CU_ASSERT_EQUAL(w.rep.out_len, sizeof(resp));
	memcpy(&resp, w.out, sizeof(resp));
	*ah_num = resp.drv.ah_num;
	return resp.core.ah_handle;
}

int
destroy(uint32_t num, uint32_t handle)
{
	return command(num, &handle, sizeof(handle), 0);
}

int
dealloc_pd(uint32_t h)
{
	return destroy(IB_USER_VERBS_CMD_DEALLOC_PD, h);
}

int
destroy_qp(uint32_t h, uint32_t *events)
{
	struct ib_uverbs_destroy_qp req = {.qp_handle = h};
	int rc = command(IB_USER_VERBS_CMD_DESTROY_QP, &req, sizeof(req),
			 sizeof(struct ib_uverbs_destroy_qp_resp));

	if (events && rc > 0)
		memcpy(events, w.out, sizeof(*events));
	return rc;
}

int
destroy_srq(uint32_t h, uint32_t *events)
{
	struct ib_uverbs_destroy_srq req = {.srq_handle = h};
	int rc = command(IB_USER_VERBS_CMD_DESTROY_SRQ, &req, sizeof(req),
			 sizeof(struct ib_uverbs_destroy_srq_resp));

	if (events && rc > 0)
		memcpy(events, w.out, sizeof(*events));
	return rc;
}

int
destroy_cq(uint32_t h, uint32_t *comp, uint32_t *async)
{
	struct ib_uverbs_destroy_cq req = {.cq_handle = h};
	struct ib_uverbs_destroy_cq_resp resp;
	int rc = command(IB_USER_VERBS_CMD_DESTROY_CQ, &req, sizeof(req), sizeof(resp));

	memcpy(&resp, w.out, sizeof(resp));
	if (comp && rc > 0)
		*comp = resp.comp_events_reported;
	if (async && rc > 0)
		*async = resp.async_events_reported;
	return rc;
}

static void *
object(enum ff_obj_type type, uint32_t h)
{
	CU_ASSERT_FATAL(h < w.uc->tables[type].size);
	return w.uc->tables[type].slots[h];
}

struct ff_qp *
qp_of(uint32_t h)
{
	return object(FF_OBJ_QP, h);
}

struct ff_cq *
cq_of(uint32_t h)
{
	return object(FF_OBJ_CQ, h);
}

struct ff_srq *
srq_of(uint32_t h)
{
	return object(FF_OBJ_SRQ, h);
}

struct ff_mr *
mr_of(uint32_t h)
{
	return object(FF_OBJ_MR, h);
}

struct ff_mw *
mw_of(uint32_t h)
{
	return object(FF_OBJ_MW, h);
}

struct ib_uverbs_modify_qp
good_attr(uint32_t state)
{
	struct ib_uverbs_modify_qp m = {
		.dest = {.is_global = 1, .port_num = 1, .hop_limit = 64},
		.qkey = 0x11111111,
		.rq_psn = 0x123456,
		.sq_psn = 0x654321,
		.dest_qp_num = 0x4711,
		.qp_access_flags = IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE,
		.qp_state = (uint8_t)state,
		.path_mtu = IBV_MTU_1024,
		.max_rd_atomic = 4,
		.max_dest_rd_atomic = 8,
		.min_rnr_timer = 12,
		.port_num = 1,
		.timeout = 14,
		.retry_cnt = 7,
		.rnr_retry = 6,
	};

	memcpy(m.dest.dgid, gid_other, 16);
	return m;
}

int
modify(uint32_t h, const struct ib_uverbs_modify_qp *attr, uint32_t mask)
{
	struct ib_uverbs_modify_qp m = *attr;

	m.qp_handle = h;
	m.attr_mask = mask;
	return command(IB_USER_VERBS_CMD_MODIFY_QP, &m, sizeof(m), 0);
}

void
qp_to_rts(uint32_t h)
{
	uint8_t type = qp_of(h)->type;
	uint32_t init = IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT;
	uint32_t rtr = IBV_QP_STATE, rts = IBV_QP_STATE | IBV_QP_SQ_PSN;
	struct ib_uverbs_modify_qp m;

	init |= type == IBV_QPT_UD ? IBV_QP_QKEY : IBV_QP_ACCESS_FLAGS;
	if (type != IBV_QPT_UD)
		rtr |= IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN;
	if (type == IBV_QPT_RC) {
		rtr |= IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER;
		rts |= IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY |
		       IBV_QP_MAX_QP_RD_ATOMIC;
	}
	m = good_attr(IBV_QPS_INIT);
	CU_ASSERT_FATAL(modify(h, &m, init) > 0);
	m = good_attr(IBV_QPS_RTR);
	CU_ASSERT_FATAL(modify(h, &m, rtr) > 0);
	m = good_attr(IBV_QPS_RTS);
	CU_ASSERT_FATAL(modify(h, &m, rts) > 0);
}

unsigned
readable(int fd, uint32_t rec_size)
{
	int n = 0;

	CU_ASSERT_EQUAL(ioctl(fd, FIONREAD, &n), 0);
	CU_ASSERT_EQUAL((uint32_t)n % rec_size, 0);
	return (uint32_t)n / rec_size;
}

int
run_suite(const char *name, const struct test_case *cases, unsigned num)
{
	CU_pSuite suite;
	unsigned failed;

	if (CU_initialize_registry() != CUE_SUCCESS)
		return 1;
	suite = CU_add_suite(name, NULL, NULL);
	for (unsigned i = 0; i < num; i++) {
		if (!suite || !CU_add_test(suite, cases[i].name, cases[i].fn))
			return 1;
	}
	CU_basic_set_mode(CU_BRM_NORMAL);
	CU_basic_run_tests();
	failed = CU_get_number_of_failures() || CU_get_number_of_tests_run() != num;
	CU_cleanup_registry();
	return failed ? 1 : 0;
}
