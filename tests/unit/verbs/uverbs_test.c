/* SPDX-License-Identifier: MIT */
/* Headers, lengths and unknown commands of the write() ABI; contexts, device and port. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "harness.h"

static struct ib_uverbs_cmd_hdr
header(uint32_t cmd, uint32_t bytes, uint32_t out)
{
	return (struct ib_uverbs_cmd_hdr){cmd, (uint16_t)(bytes / 4), (uint16_t)(out / 4)};
}

static void
test_short_and_foreign(void)
{
	struct ib_uverbs_cmd_hdr h = header(IB_USER_VERBS_CMD_ALLOC_PD, sizeof(h), 4);
	uint8_t zero[8] = {0};

	world_open();
	for (uint32_t len = 0; len < sizeof(h); len++)
		CU_ASSERT_EQUAL(command_raw(zero, len), -EINVAL);
	/* Bits that are neither the number nor the flag. */
	h = header(IB_USER_VERBS_CMD_ALLOC_PD | 0x100, sizeof(h), 4);
	CU_ASSERT_EQUAL(command_raw(&h, sizeof(h)), -EINVAL);
	h = header(IB_USER_VERBS_CMD_ALLOC_PD | 0x40000000, sizeof(h), 4);
	CU_ASSERT_EQUAL(command_raw(&h, sizeof(h)), -EINVAL);
	/* Behind the end of the table, and in it, but not supported. */
	h = header(IB_USER_VERBS_CMD_OPEN_QP + 1, sizeof(h), 0);
	CU_ASSERT_EQUAL(command_raw(&h, sizeof(h)), -EINVAL);
	h = header(0xff, sizeof(h), 0);
	CU_ASSERT_EQUAL(command_raw(&h, sizeof(h)), -EINVAL);
	static const uint8_t unsupported[] = {
		IB_USER_VERBS_CMD_MODIFY_AH, IB_USER_VERBS_CMD_QUERY_AH,
		IB_USER_VERBS_CMD_REG_SMR,   IB_USER_VERBS_CMD_QUERY_MR,
		IB_USER_VERBS_CMD_BIND_MW,   IB_USER_VERBS_CMD_PEEK_CQ,
		IB_USER_VERBS_CMD_OPEN_XRCD, IB_USER_VERBS_CMD_CLOSE_XRCD,
		IB_USER_VERBS_CMD_OPEN_QP,
	};
	for (unsigned i = 0; i < COUNT_OF(unsupported); i++) {
		h = header(unsupported[i], sizeof(h), 0);
		CU_ASSERT_EQUAL(command_raw(&h, sizeof(h)), -EOPNOTSUPP);
	}
	world_close();
}

static void
test_legacy_lengths(void)
{
	struct {
		struct ib_uverbs_cmd_hdr hdr;
		struct ib_uverbs_query_device req;
		uint32_t more[2];
	} c = {0};
	const uint32_t full = sizeof(c.hdr) + sizeof(c.req);

	world_open();
	/* in_words that says more or less than what was written. */
	c.hdr = header(IB_USER_VERBS_CMD_QUERY_DEVICE, full + 4,
		       sizeof(struct ib_uverbs_query_device_resp));
	CU_ASSERT_EQUAL(command_raw(&c, full), -EINVAL);
	c.hdr.in_words -= 2;
	CU_ASSERT_EQUAL(command_raw(&c, full), -EINVAL);
	/* Too short for the request, and for the response. */
	c.hdr = header(IB_USER_VERBS_CMD_QUERY_DEVICE, sizeof(c.hdr),
		       sizeof(struct ib_uverbs_query_device_resp));
	CU_ASSERT_EQUAL(command_raw(&c, sizeof(c.hdr)), -ENOSPC);
	c.hdr = header(IB_USER_VERBS_CMD_QUERY_DEVICE, full,
		       sizeof(struct ib_uverbs_query_device_resp) - 4);
	CU_ASSERT_EQUAL(command_raw(&c, full), -ENOSPC);
	/* Longer than we know: zeroes pass, all else is a future that we do not support. */
	c.hdr = header(IB_USER_VERBS_CMD_QUERY_DEVICE, sizeof(c),
		       sizeof(struct ib_uverbs_query_device_resp) + 16);
	CU_ASSERT_EQUAL(command_raw(&c, sizeof(c)), sizeof(c));
	CU_ASSERT_EQUAL(w.rep.out_len, sizeof(struct ib_uverbs_query_device_resp) + 16);
	for (unsigned i = 0; i < 16; i++)
		CU_ASSERT_EQUAL(w.out[sizeof(struct ib_uverbs_query_device_resp) + i], 0);
	c.more[1] = 1;
	CU_ASSERT_EQUAL(command_raw(&c, sizeof(c)), -EOPNOTSUPP);
	CU_ASSERT_EQUAL(w.rep.out_len, 0);
	CU_ASSERT_EQUAL(w.rep.num_fds, 0);
	world_close();
}

struct ex {
	struct ib_uverbs_cmd_hdr hdr;
	struct ib_uverbs_ex_cmd_hdr ex;
	struct ib_uverbs_ex_query_device req;
};

static struct ex
good_ex(void)
{
	struct ex c = {.ex = {.response = 1}};

	c.hdr.command = IB_USER_VERBS_EX_CMD_QUERY_DEVICE | IB_USER_VERBS_CMD_FLAG_EXTENDED;
	c.hdr.in_words = sizeof(c.req) / 8;
	c.hdr.out_words = sizeof(struct ib_uverbs_ex_query_device_resp) / 8;
	return c;
}

static void
test_extended_headers(void)
{
	struct ex c = good_ex();

	world_open();
	CU_ASSERT_EQUAL(command_raw(&c, sizeof(c)), sizeof(c));
	CU_ASSERT_EQUAL(command_raw(&c, sizeof(c.hdr)), -EINVAL);
	CU_ASSERT_EQUAL(command_raw(&c, sizeof(c) - 8), -EINVAL);
	c.hdr.in_words = 0;
	CU_ASSERT_EQUAL(command_raw(&c, sizeof(c)), -EINVAL);
	c.ex.provider_in_words = sizeof(c.req) / 8;
	CU_ASSERT_EQUAL(command_raw(&c, sizeof(c)), -ENOSPC);
	c = good_ex();
	c.ex.cmd_hdr_reserved = 1;
	CU_ASSERT_EQUAL(command_raw(&c, sizeof(c)), -EINVAL);
	c = good_ex();
	c.hdr.out_words = 0;
	CU_ASSERT_EQUAL(command_raw(&c, sizeof(c)), -EINVAL);
	c.hdr.out_words = 2;
	CU_ASSERT_EQUAL(command_raw(&c, sizeof(c)), -ENOSPC);
	c = good_ex();
	c.ex.response = 0;
	CU_ASSERT_EQUAL(command_raw(&c, sizeof(c)), -EINVAL);
	/* Reserved words of the request. */
	c = good_ex();
	c.req.comp_mask = 1;
	CU_ASSERT_EQUAL(command_raw(&c, sizeof(c)), -EINVAL);
	c = good_ex();
	c.req.reserved = 1;
	CU_ASSERT_EQUAL(command_raw(&c, sizeof(c)), -EINVAL);
	/* Commands that the device does not have. */
	for (uint32_t n = 0; n < 256; n++) {
		if (n == IB_USER_VERBS_EX_CMD_QUERY_DEVICE || n == IB_USER_VERBS_EX_CMD_CREATE_CQ ||
		    n == IB_USER_VERBS_EX_CMD_CREATE_QP || n == IB_USER_VERBS_EX_CMD_MODIFY_QP)
			continue;
		c = good_ex();
		c.hdr.command = n | IB_USER_VERBS_CMD_FLAG_EXTENDED;
		CU_ASSERT_EQUAL(command_raw(&c, sizeof(c)), -EOPNOTSUPP);
	}
	world_close();
}

/* A response that is longer than a message may be: cut, and no room for the provider's. */
static void
test_huge_response(void)
{
	struct ib_uverbs_ex_create_cq req = {.cqe = 4, .comp_channel = -1};
	struct ib_uverbs_query_device q = {0};

	world_open();
	CU_ASSERT_EQUAL(command_ex(IB_USER_VERBS_EX_CMD_CREATE_CQ, &req, sizeof(req), NULL, 0,
				   65535 * 8, sizeof(struct rxe_create_cq_resp)),
			-EINVAL);
	CU_ASSERT(command(IB_USER_VERBS_CMD_QUERY_DEVICE, &q, sizeof(q), 65535 * 4) > 0);
	CU_ASSERT_EQUAL(w.rep.out_len, sizeof(w.out));
	world_close();
}

static void
test_before_context(void)
{
	struct ib_uverbs_query_device q = {0};
	struct ib_uverbs_ex_query_device qx = {0};
	struct ib_uverbs_get_context g = {0};
	struct ff_ucontext *first;

	world_open();
	first = w.uc;
	w.uc = ff_ucontext_create(&w.channel);
	CU_ASSERT_PTR_NOT_NULL_FATAL(w.uc);
	CU_ASSERT_EQUAL(command(IB_USER_VERBS_CMD_QUERY_DEVICE, &q, sizeof(q), 256), -EINVAL);
	CU_ASSERT_EQUAL(
		command_ex(IB_USER_VERBS_EX_CMD_QUERY_DEVICE, &qx, sizeof(qx), NULL, 0, 512, 0),
		-EINVAL);
	CU_ASSERT(command(IB_USER_VERBS_CMD_GET_CONTEXT, &g, sizeof(g), 8) > 0);
	CU_ASSERT_EQUAL(w.rep.num_fds, 1);
	CU_ASSERT_EQUAL(w.rep.fds[0].kind, FF_FD_PATCH);
	CU_ASSERT_EQUAL(w.rep.fds[0].patch_off, 0);
	CU_ASSERT_TRUE(w.rep.close_fd[0]);
	CU_ASSERT_EQUAL(fcntl(w.rep.fd[0], F_GETFL) & O_NONBLOCK, 0);
	CU_ASSERT_EQUAL(w.out[4], 1); /* num_comp_vectors */
	close(w.rep.fd[0]);
	/* Once per file. */
	CU_ASSERT_EQUAL(command(IB_USER_VERBS_CMD_GET_CONTEXT, &g, sizeof(g), 8), -EINVAL);
	ff_ucontext_destroy(w.uc);
	w.uc = first;
	world_close();
}

static void
test_context_quota(void)
{
	world_open();
	w.c.limits[FF_QUOTA_CONTEXTS] = 1;
	errno = 0;
	CU_ASSERT_PTR_NULL(ff_ucontext_create(&w.channel));
	CU_ASSERT_EQUAL(errno, ENOMEM);
	world_close();
}

static void
test_device(void)
{
	struct ib_uverbs_ex_query_device_resp x;
	struct ib_uverbs_query_device_resp r;
	struct ib_uverbs_ex_query_device qx = {0};
	struct ib_uverbs_query_device q = {0};

	world_open();
	memcpy(w.c.guid, "\2\3\4\5\6\7\10\11", 8);
	w.c.limits[FF_QUOTA_QPS] = 77;
	w.c.conf.limits.qp_wr = 1000;
	ff_config.limits.qp_wr = 5;
	CU_ASSERT(command(IB_USER_VERBS_CMD_QUERY_DEVICE, &q, sizeof(q), sizeof(r)) > 0);
	memcpy(&r, w.out, sizeof(r));
	CU_ASSERT_EQUAL(memcmp(&r.node_guid, w.c.guid, 8), 0);
	CU_ASSERT_EQUAL(r.vendor_id, FF_VENDOR_ID);
	CU_ASSERT_EQUAL(r.max_qp, 77);
	CU_ASSERT_EQUAL(r.max_qp_wr, 1000);
	CU_ASSERT_EQUAL(r.max_sge, FF_MAX_SGE);
	CU_ASSERT_EQUAL(r.phys_port_cnt, 1);
	CU_ASSERT_EQUAL(r.atomic_cap, IBV_ATOMIC_HCA);
	w.c.conf.limits.qp_wr = 0;
	CU_ASSERT(command(IB_USER_VERBS_CMD_QUERY_DEVICE, &q, sizeof(q), sizeof(r)) > 0);
	memcpy(&r, w.out, sizeof(r));
	CU_ASSERT_EQUAL(r.max_qp_wr, 5);
	ff_config.limits.qp_wr = 0;

	CU_ASSERT(command_ex(IB_USER_VERBS_EX_CMD_QUERY_DEVICE, &qx, sizeof(qx), NULL, 0, sizeof(x),
			     0) > 0);
	memcpy(&x, w.out, sizeof(x));
	CU_ASSERT_EQUAL(x.response_length, sizeof(x));
	CU_ASSERT_EQUAL(x.base.max_cqe, FF_MAX_CQE);
	CU_ASSERT_EQUAL(x.device_cap_flags_ex, x.base.device_cap_flags);
	CU_ASSERT_EQUAL(x.timestamp_mask, 0);
	CU_ASSERT_EQUAL(x.odp_caps.general_caps, 0);
	/* An older library has a shorter response. */
	CU_ASSERT(command_ex(IB_USER_VERBS_EX_CMD_QUERY_DEVICE, &qx, sizeof(qx), NULL, 0,
			     sizeof(r) + 8, 0) > 0);
	CU_ASSERT_EQUAL(w.rep.out_len, sizeof(r) + 8);
	memcpy(&x, w.out, sizeof(r) + 8);
	CU_ASSERT_EQUAL(x.response_length, sizeof(r) + 8);
	world_close();
}

static void
test_port(void)
{
	struct ib_uverbs_query_port q = {.port_num = 1};
	struct ib_uverbs_query_port_resp r;

	world_open();
	CU_ASSERT(command(IB_USER_VERBS_CMD_QUERY_PORT, &q, sizeof(q), sizeof(r)) > 0);
	memcpy(&r, w.out, sizeof(r));
	CU_ASSERT_EQUAL(r.state, IBV_PORT_ACTIVE);
	CU_ASSERT_EQUAL(r.link_layer, IBV_LINK_LAYER_ETHERNET);
	CU_ASSERT_EQUAL(r.active_mtu, IBV_MTU_4096);
	CU_ASSERT_EQUAL(r.gid_tbl_len, FF_GIDS_MAX);
	CU_ASSERT_EQUAL(r.pkey_tbl_len, 1);
	CU_ASSERT_EQUAL(r.max_msg_sz, 1u << 31);
	q.port_num = 0;
	CU_ASSERT_EQUAL(command(IB_USER_VERBS_CMD_QUERY_PORT, &q, sizeof(q), sizeof(r)), -EINVAL);
	q.port_num = 2;
	CU_ASSERT_EQUAL(command(IB_USER_VERBS_CMD_QUERY_PORT, &q, sizeof(q), sizeof(r)), -EINVAL);
	world_close();
}

int
main(void)
{
	static const struct test_case cases[] = {
		{"short and foreign", test_short_and_foreign},
		{"legacy lengths", test_legacy_lengths},
		{"extended headers", test_extended_headers},
		{"huge response", test_huge_response},
		{"before GET_CONTEXT", test_before_context},
		{"context quota", test_context_quota},
		{"device", test_device},
		{"port", test_port},
	};

	return run_suite("uverbs", cases, COUNT_OF(cases));
}
