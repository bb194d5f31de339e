/* SPDX-License-Identifier: MIT */
/*
 * The write() ABI of the device file: headers, the table of commands, requests and responses.
 * Control thread.
 *
 * Source: rdma/ib_user_verbs.h; errors as Linux's uverbs_main.c gives them: a malformed header is
 * EINVAL, a command or response that is too short ENOSPC, an unknown extended command EOPNOTSUPP,
 * anything but GET_CONTEXT in a file without a context EINVAL.
 */
#include "verbs_priv.h"

/* One command. Sizes are without headers and without the provider's part. */
struct command {
	verbs_handler *fn;
	uint16_t req, resp; /* least sizes; resp 0: the command has no response */
	bool udata;	    /* legacy: what follows req and resp is the provider's */
};

#define SIZE_OF(member_of)   ((uint16_t)sizeof(member_of))
#define END_OF(type, member) ((uint16_t)(offsetof(type, member) + sizeof(((type *)0)->member)))
#define IN(name)                                                       \
	{                                                              \
		cmd_##name, SIZE_OF(struct ib_uverbs_##name), 0, false \
	}
#define IN_UDATA(name)                                                \
	{                                                             \
		cmd_##name, SIZE_OF(struct ib_uverbs_##name), 0, true \
	}
#define IN_OUT(name)                                                   \
	{                                                              \
		cmd_##name, SIZE_OF(struct ib_uverbs_##name),          \
			SIZE_OF(struct ib_uverbs_##name##_resp), false \
	}
#define IN_OUT_UDATA(name)                                            \
	{                                                             \
		cmd_##name, SIZE_OF(struct ib_uverbs_##name),         \
			SIZE_OF(struct ib_uverbs_##name##_resp), true \
	}

static const struct command legacy[] = {
	[IB_USER_VERBS_CMD_GET_CONTEXT] = IN_OUT_UDATA(get_context),
	[IB_USER_VERBS_CMD_QUERY_DEVICE] = IN_OUT(query_device),
	[IB_USER_VERBS_CMD_QUERY_PORT] = IN_OUT(query_port),
	[IB_USER_VERBS_CMD_ALLOC_PD] = IN_OUT_UDATA(alloc_pd),
	[IB_USER_VERBS_CMD_DEALLOC_PD] = IN(dealloc_pd),
	[IB_USER_VERBS_CMD_CREATE_AH] = IN_OUT_UDATA(create_ah),
	[IB_USER_VERBS_CMD_DESTROY_AH] = IN(destroy_ah),
	[IB_USER_VERBS_CMD_REG_MR] = IN_OUT_UDATA(reg_mr),
	[IB_USER_VERBS_CMD_REREG_MR] = IN_OUT_UDATA(rereg_mr),
	[IB_USER_VERBS_CMD_DEREG_MR] = IN(dereg_mr),
	[IB_USER_VERBS_CMD_ALLOC_MW] = IN_OUT_UDATA(alloc_mw),
	[IB_USER_VERBS_CMD_DEALLOC_MW] = IN(dealloc_mw),
	[IB_USER_VERBS_CMD_CREATE_COMP_CHANNEL] = IN_OUT(create_comp_channel),
	[IB_USER_VERBS_CMD_CREATE_CQ] = IN_OUT_UDATA(create_cq),
	[IB_USER_VERBS_CMD_RESIZE_CQ] = IN_OUT_UDATA(resize_cq),
	[IB_USER_VERBS_CMD_DESTROY_CQ] = IN_OUT(destroy_cq),
	[IB_USER_VERBS_CMD_POLL_CQ] = IN_OUT(poll_cq),
	[IB_USER_VERBS_CMD_REQ_NOTIFY_CQ] = IN(req_notify_cq),
	[IB_USER_VERBS_CMD_CREATE_QP] = IN_OUT_UDATA(create_qp),
	[IB_USER_VERBS_CMD_QUERY_QP] = IN_OUT(query_qp),
	[IB_USER_VERBS_CMD_MODIFY_QP] = IN(modify_qp),
	[IB_USER_VERBS_CMD_DESTROY_QP] = IN_OUT(destroy_qp),
	[IB_USER_VERBS_CMD_POST_SEND] = IN_OUT(post_send),
	[IB_USER_VERBS_CMD_POST_RECV] = IN_OUT(post_recv),
	[IB_USER_VERBS_CMD_ATTACH_MCAST] = IN(attach_mcast),
	[IB_USER_VERBS_CMD_DETACH_MCAST] = IN(detach_mcast),
	[IB_USER_VERBS_CMD_CREATE_SRQ] = IN_OUT_UDATA(create_srq),
	[IB_USER_VERBS_CMD_MODIFY_SRQ] = IN_UDATA(modify_srq),
	[IB_USER_VERBS_CMD_QUERY_SRQ] = IN_OUT(query_srq),
	[IB_USER_VERBS_CMD_DESTROY_SRQ] = IN_OUT(destroy_srq),
	[IB_USER_VERBS_CMD_POST_SRQ_RECV] = IN_OUT(post_srq_recv),
	[IB_USER_VERBS_CMD_CREATE_XSRQ] = {cmd_create_xsrq, SIZE_OF(struct ib_uverbs_create_xsrq),
					   SIZE_OF(struct ib_uverbs_create_srq_resp), true},
	/* Known to the kernel, not to this device: fn stays NULL. */
	[IB_USER_VERBS_CMD_OPEN_QP] = {NULL, 0, 0, false},
};

static const struct command extended[] = {
	[IB_USER_VERBS_EX_CMD_QUERY_DEVICE] =
		{cmd_query_device_ex, END_OF(struct ib_uverbs_ex_query_device, reserved),
		 END_OF(struct ib_uverbs_ex_query_device_resp, response_length), true},
	[IB_USER_VERBS_EX_CMD_CREATE_CQ] =
		{cmd_create_cq_ex, END_OF(struct ib_uverbs_ex_create_cq, reserved),
		 END_OF(struct ib_uverbs_ex_create_cq_resp, response_length), true},
	[IB_USER_VERBS_EX_CMD_CREATE_QP] =
		{cmd_create_qp_ex, END_OF(struct ib_uverbs_ex_create_qp, comp_mask),
		 END_OF(struct ib_uverbs_ex_create_qp_resp, response_length), true},
	[IB_USER_VERBS_EX_CMD_MODIFY_QP] =
		{cmd_modify_qp_ex, END_OF(struct ib_uverbs_ex_modify_qp, base),
		 END_OF(struct ib_uverbs_ex_modify_qp_resp, response_length), true},
};

#define COUNT_OF(a) (sizeof(a) / sizeof((a)[0]))

static uint32_t
min_u32(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

int
verbs_request(const struct verbs_cmd *cmd, void *req, uint32_t len)
{
	uint32_t n = min_u32(cmd->in_len, len);

	memcpy(req, cmd->in, n);
	memset((uint8_t *)req + n, 0, len - n);
	for (uint32_t i = n; i < cmd->in_len; i++) {
		if (cmd->in[i])
			return -EOPNOTSUPP;
	}
	return 0;
}

int
verbs_response(struct verbs_cmd *cmd, const void *resp, uint32_t len)
{
	memcpy(cmd->out, resp, min_u32(len, cmd->out_cap));
	return 0;
}

uint32_t
verbs_response_length(const struct verbs_cmd *cmd, uint32_t len)
{
	return min_u32(len, cmd->out_cap);
}

void
verbs_response_drv(struct verbs_cmd *cmd, const void *resp, uint32_t len)
{
	cmd->drv_out_len = min_u32(len, cmd->drv_out_cap);
	memcpy(cmd->drv_out, resp, cmd->drv_out_len);
}

void
verbs_reply_fd(struct verbs_cmd *cmd, int fd, uint32_t patch_off, uint32_t handle)
{
	struct ff_uverbs_reply *rep = cmd->rep;
	uint32_t i = rep->num_fds++;

	rep->fds[i] =
		(struct ff_fd_desc){.kind = FF_FD_PATCH, .patch_off = patch_off, .handle = handle};
	rep->fd[i] = fd;
	rep->close_fd[i] = true;
}

void
verbs_reply_queue(struct verbs_cmd *cmd, struct ff_queue *q, enum ff_queue_role role,
		  uint32_t handle, uint32_t qpn)
{
	struct ff_uverbs_reply *rep = cmd->rep;
	uint32_t i = rep->num_fds++;

	rep->fds[i] = (struct ff_fd_desc){
		.kind = FF_FD_QUEUE,
		.mmap_off = q->mmap_off,
		.size = q->size,
		.role = role,
		.handle = handle,
		.qpn = qpn,
	};
	/* Our mapping keeps the memory: no fd per queue for its whole life. */
	rep->fd[i] = q->memfd;
	rep->close_fd[i] = true;
	q->memfd = -1;
}

struct mminfo
verbs_mminfo(const struct ff_queue *q)
{
	return (struct mminfo){.offset = q->mmap_off, .size = (uint32_t)q->size};
}

/* The provider's response lies behind the core's whole buffer. */
static void
set_output(struct verbs_cmd *cmd, uint32_t core, uint32_t drv)
{
	struct ff_uverbs_reply *rep = cmd->rep;

	cmd->out = rep->out;
	cmd->out_cap = min_u32(core, rep->out_cap);
	cmd->drv_out = rep->out + cmd->out_cap;
	/* Cut off when the core part is longer than a message: then the handler sees no room. */
	cmd->drv_out_cap = core <= rep->out_cap ? min_u32(drv, rep->out_cap - core) : 0;
	memset(cmd->out, 0, cmd->out_cap);
}

static int
parse_legacy(const struct ib_uverbs_cmd_hdr *hdr, const uint8_t *buf, uint32_t len,
	     const struct command **which, struct verbs_cmd *cmd)
{
	uint32_t num = hdr->command & IB_USER_VERBS_CMD_COMMAND_MASK;
	uint32_t out_len = hdr->out_words * 4u;
	const struct command *c;

	if (num >= COUNT_OF(legacy))
		return -EINVAL;
	c = &legacy[num];
	if (hdr->in_words * 4u != len)
		return -EINVAL;
	if (!c->fn)
		return -EOPNOTSUPP;
	if (len - sizeof(*hdr) < c->req || out_len < c->resp)
		return -ENOSPC;
	cmd->in = buf + sizeof(*hdr);
	cmd->in_len = len - (uint32_t)sizeof(*hdr);
	if (c->udata) {
		cmd->drv_in = cmd->in + c->req;
		cmd->drv_in_len = cmd->in_len - c->req;
		cmd->in_len = c->req;
	}
	if (!c->resp)
		set_output(cmd, 0, 0);
	else if (c->udata)
		set_output(cmd, c->resp, out_len - c->resp);
	else
		set_output(cmd, out_len, 0);
	*which = c;
	return 0;
}

static int
parse_extended(const struct ib_uverbs_cmd_hdr *hdr, const uint8_t *buf, uint32_t len,
	       const struct command **which, struct verbs_cmd *cmd)
{
	uint32_t num = hdr->command & IB_USER_VERBS_CMD_COMMAND_MASK;
	struct ib_uverbs_ex_cmd_hdr ex;
	const struct command *c;

	if (num >= COUNT_OF(extended) || !extended[num].fn)
		return -EOPNOTSUPP;
	c = &extended[num];
	if (len < sizeof(*hdr) + sizeof(ex))
		return -EINVAL;
	memcpy(&ex, buf + sizeof(*hdr), sizeof(ex));
	len -= (uint32_t)(sizeof(*hdr) + sizeof(ex));
	if ((hdr->in_words + (uint32_t)ex.provider_in_words) * 8u != len)
		return -EINVAL;
	if (hdr->in_words * 8u < c->req)
		return -ENOSPC;
	if (ex.cmd_hdr_reserved)
		return -EINVAL;
	if (ex.response) {
		if (!hdr->out_words && !ex.provider_out_words)
			return -EINVAL;
		if (hdr->out_words * 8u < c->resp)
			return -ENOSPC;
	} else if (hdr->out_words || ex.provider_out_words) {
		return -EINVAL;
	}
	cmd->in = buf + sizeof(*hdr) + sizeof(ex);
	cmd->in_len = hdr->in_words * 8u;
	cmd->drv_in = cmd->in + cmd->in_len;
	cmd->drv_in_len = ex.provider_in_words * 8u;
	set_output(cmd, hdr->out_words * 8u, ex.provider_out_words * 8u);
	*which = c;
	return 0;
}

static int
execute(struct verbs_cmd *cmd, const uint8_t *buf, uint32_t len)
{
	struct ib_uverbs_cmd_hdr hdr;
	const struct command *c;
	int rc;

	if (len < sizeof(hdr))
		return -EINVAL;
	memcpy(&hdr, buf, sizeof(hdr));
	if (hdr.command & ~(IB_USER_VERBS_CMD_FLAG_EXTENDED | IB_USER_VERBS_CMD_COMMAND_MASK))
		return -EINVAL;
	if (hdr.command & IB_USER_VERBS_CMD_FLAG_EXTENDED)
		rc = parse_extended(&hdr, buf, len, &c, cmd);
	else
		rc = parse_legacy(&hdr, buf, len, &c, cmd);
	if (rc)
		return rc;
	if (!cmd->uc->got_context && c->fn != cmd_get_context)
		return -EINVAL;
	return c->fn(cmd);
}

int
ff_uverbs_command(struct ff_ucontext *uc, const void *buf, uint32_t len,
		  struct ff_uverbs_reply *rep)
{
	struct verbs_cmd cmd = {.uc = uc, .rep = rep};
	int rc;

	rep->out_len = 0;
	rep->num_fds = 0;
	rc = execute(&cmd, buf, len);
	if (rc) {
		rep->num_fds = 0;
		return rc;
	}
	rep->out_len = cmd.out_cap + cmd.drv_out_len;
	return (int)len;
}
