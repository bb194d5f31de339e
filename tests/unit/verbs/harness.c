/* SPDX-License-Identifier: MIT */
/* See harness.h: commands as bytes, and the objects that they make. */
#include "harness.h"

#include <CUnit/Basic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

int async_fd = -1;

void
world_open(void)
{
	struct ib_uverbs_get_context req = {0};

	world_begin();
	if (command(IB_USER_VERBS_CMD_GET_CONTEXT, &req, sizeof(req),
		    sizeof(struct ib_uverbs_get_context_resp)) < 0)
		abort();
	async_fd = w.rep.fd[0];
}

void
world_close(void)
{
	for (uint32_t i = 0; i < w.rep.num_fds; i++) {
		if (w.rep.fds[i].kind == FF_FD_QUEUE)
			close(w.rep.fd[i]);
	}
	CU_ASSERT_EQUAL(world_end(), 0);
	close(async_fd);
}

int
command_raw(const void *buf, uint32_t len)
{
	void *copy = malloc(len ? len : 1); /* exact: sanitizers see what is read behind it */
	int rc;

	for (uint32_t i = 0; i < w.rep.num_fds; i++) {
		if (w.rep.fds[i].kind == FF_FD_QUEUE)
			close(w.rep.fd[i]);
	}
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
	struct ib_uverbs_reg_mr req = {.start = addr,
				       .hca_va = addr,
				       .length = len,
				       .pd_handle = pd,
				       .access_flags = access};
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
	struct ib_uverbs_create_ah req = {.pd_handle = pd, .attr = {.is_global = 1, .port_num = 1}};
	struct rxe_create_ah_resp drv;
	uint32_t handle;

	memcpy(req.attr.grh.dgid, w.other.gids[0].raw, 16);
	CU_ASSERT_FATAL(command(IB_USER_VERBS_CMD_CREATE_AH, &req, sizeof(req),
				sizeof(handle) + sizeof(drv)) > 0);
	CU_ASSERT_EQUAL(w.rep.out_len, sizeof(handle) + sizeof(drv));
	memcpy(&handle, w.out, sizeof(handle));
	memcpy(&drv, w.out + sizeof(handle), sizeof(drv));
	*ah_num = drv.ah_num;
	return handle;
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

	memcpy(m.dest.dgid, w.other.gids[0].raw, 16);
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
