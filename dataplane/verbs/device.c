/* SPDX-License-Identifier: MIT */
/*
 * What the device says of itself: query_device, query_port. Control thread.
 *
 * Capabilities are those that the engine has, not all that rxe claims: no path migration (the
 * kernel refuses it on RoCE too), no timestamps, no on-demand paging.
 */
#include <infiniband/verbs.h>

#include "verbs_priv.h"

#define DEVICE_FW_VER	       (0ull << 32 | 1ull << 16 | 0ull) /* 0.1.0 */
#define DEVICE_PART_ID	       1u
#define DEVICE_PAGE_SIZES      0xfffff000ull
#define DEVICE_ACK_DELAY       15u /* 4.096 us * 2^15: what a busy worker may take */
#define DEVICE_MAX_RES_RD_ATOM 0x3f000u
#define DEVICE_MAX_OBJECTS     (1u << 20)

#define DEVICE_CAPS                                                                 \
	(IB_UVERBS_DEVICE_UD_AV_PORT_ENFORCE | IB_UVERBS_DEVICE_CURR_QP_STATE_MOD | \
	 IB_UVERBS_DEVICE_RC_RNR_NAK_GEN | IB_UVERBS_DEVICE_SRQ_RESIZE |            \
	 IB_UVERBS_DEVICE_MEM_WINDOW | IB_UVERBS_DEVICE_MEM_WINDOW_TYPE_2B |        \
	 IB_UVERBS_DEVICE_MEM_MGT_EXTENSIONS)

static uint32_t
most(const struct ff_container *c, enum ff_quota q)
{
	return c->limits[q] && c->limits[q] < DEVICE_MAX_OBJECTS ? (uint32_t)c->limits[q]
								 : DEVICE_MAX_OBJECTS;
}

static void
fill_device(const struct ff_container *c, struct ib_uverbs_query_device_resp *r)
{
	r->fw_ver = DEVICE_FW_VER;
	memcpy(&r->node_guid, c->guid, sizeof(r->node_guid));
	r->sys_image_guid = r->node_guid;
	r->max_mr_size = UINT64_MAX;
	r->page_size_cap = DEVICE_PAGE_SIZES;
	r->vendor_id = FF_VENDOR_ID;
	r->vendor_part_id = DEVICE_PART_ID;
	r->max_qp = most(c, FF_QUOTA_QPS);
	r->max_qp_wr = verbs_limit_wr(c, FF_MAX_QP_WR);
	r->device_cap_flags = DEVICE_CAPS;
	r->max_sge = verbs_limit_sge(c, FF_MAX_SGE);
	r->max_sge_rd = r->max_sge;
	r->max_cq = most(c, FF_QUOTA_CQS);
	r->max_cqe = verbs_limit_cqe(c, FF_MAX_CQE);
	r->max_mr = most(c, FF_QUOTA_MRS);
	r->max_pd = most(c, FF_QUOTA_PDS);
	r->max_qp_rd_atom = FF_MAX_RD_ATOMIC;
	r->max_res_rd_atom = DEVICE_MAX_RES_RD_ATOM;
	r->max_qp_init_rd_atom = FF_MAX_RD_ATOMIC;
	r->atomic_cap = IBV_ATOMIC_HCA;
	r->max_mw = most(c, FF_QUOTA_MWS);
	r->max_mcast_grp = most(c, FF_QUOTA_MCAST);
	r->max_mcast_qp_attach = r->max_mcast_grp;
	r->max_total_mcast_qp_attach = r->max_mcast_grp;
	r->max_ah = most(c, FF_QUOTA_AHS);
	r->max_srq = most(c, FF_QUOTA_SRQS);
	r->max_srq_wr = verbs_limit_wr(c, FF_MAX_SRQ_WR);
	r->max_srq_sge = verbs_limit_sge(c, FF_MAX_SRQ_SGE);
	r->max_pkeys = 1;
	r->local_ca_ack_delay = DEVICE_ACK_DELAY;
	r->phys_port_cnt = 1;
}

int
cmd_query_device(struct verbs_cmd *cmd)
{
	struct ib_uverbs_query_device_resp resp = {0};
	struct ib_uverbs_query_device req;
	int rc = verbs_request(cmd, &req, sizeof(req));

	if (rc)
		return rc;
	fill_device(cmd->uc->container, &resp);
	return verbs_response(cmd, &resp, sizeof(resp));
}

int
cmd_query_device_ex(struct verbs_cmd *cmd)
{
	struct ib_uverbs_ex_query_device_resp resp = {0};
	struct ib_uverbs_ex_query_device req;
	int rc = verbs_request(cmd, &req, sizeof(req));

	if (rc)
		return rc;
	if (req.comp_mask || req.reserved || cmd->drv_in_len || cmd->drv_out_cap)
		return -EINVAL;
	fill_device(cmd->uc->container, &resp.base);
	resp.device_cap_flags_ex = resp.base.device_cap_flags;
	resp.response_length = verbs_response_length(cmd, sizeof(resp));
	return verbs_response(cmd, &resp, sizeof(resp));
}

static uint8_t
active_mtu(const struct ff_container *c)
{
	uint8_t mtu = ff_nic->mtu ? ff_nic->mtu(c) : 0;

	return mtu ? mtu : IBV_MTU_4096;
}

int
cmd_query_port(struct verbs_cmd *cmd)
{
	struct ib_uverbs_query_port_resp resp = {
		.port_cap_flags = IB_UVERBS_PCF_CM_SUP | IB_UVERBS_PCF_IP_BASED_GIDS,
		.max_msg_sz = FF_MAX_MSG,
		.gid_tbl_len = FF_GIDS_MAX,
		.pkey_tbl_len = 1,
		.state = IBV_PORT_ACTIVE,
		.max_mtu = IBV_MTU_4096,
		.active_mtu = active_mtu(cmd->uc->container),
		.max_vl_num = 1,
		.active_width = 2,  /* 4X */
		.active_speed = 32, /* EDR: 4X is 100 Gb/s */
		.phys_state = 5,    /* LinkUp */
		.link_layer = IBV_LINK_LAYER_ETHERNET,
	};
	struct ib_uverbs_query_port req;
	int rc = verbs_request(cmd, &req, sizeof(req));

	if (rc)
		return rc;
	if (req.port_num != FF_PORT_NUM)
		return -EINVAL;
	return verbs_response(cmd, &resp, sizeof(resp));
}
