/* SPDX-License-Identifier: MIT */
/* Messages of the command socket: parsing of hostile input, replies with fds. Control thread. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "channel_priv.h"

/* abi_version is the first word of both: a newer peer's message may be longer. */
static int
parse_versioned(const uint8_t *body, uint32_t len, void *out, size_t want)
{
	uint32_t version;

	if (len < sizeof(version))
		return -EPROTO;
	memcpy(&version, body, sizeof(version));
	if (version != FF_ABI_VERSION)
		return -EPROTONOSUPPORT;
	if (len != want)
		return -EPROTO;
	memcpy(out, body, want);
	return 0;
}

int
command_parse(const uint8_t *msg, size_t len, struct command *out)
{
	const uint8_t *body = msg + sizeof(out->hdr);
	uint32_t body_len;
	int rc;

	memset(out, 0, sizeof(*out));
	if (len < sizeof(out->hdr))
		return -EPROTO;
	memcpy(&out->hdr, msg, sizeof(out->hdr));
	if (len > FF_MSG_MAX)
		return -EMSGSIZE;
	body_len = (uint32_t)(len - sizeof(out->hdr));
	if (out->hdr.len != body_len)
		return -EPROTO;
	switch (out->hdr.type) {
	case FF_MSG_ATTACH:
		rc = parse_versioned(body, body_len, &out->attach, sizeof(out->attach));
		return rc ? rc : out->attach.flags ? -EINVAL : 0;
	case FF_MSG_CONTEXT:
		rc = parse_versioned(body, body_len, &out->context, sizeof(out->context));
		return rc ? rc : out->context.flags ? -EINVAL : 0;
	case FF_MSG_UVERBS:
		if (body_len < sizeof(out->uverbs))
			return -EPROTO;
		memcpy(&out->uverbs, body, sizeof(out->uverbs));
		if (out->uverbs.cmd_len != body_len - sizeof(out->uverbs))
			return -EPROTO;
		if (out->uverbs.reserved)
			return -EINVAL;
		out->payload = body + sizeof(out->uverbs);
		out->payload_len = out->uverbs.cmd_len;
		return 0;
	default:
		return -EINVAL;
	}
}

static int
send_parts(int fd, struct iovec *iov, size_t n, const int *fds, unsigned num_fds)
{
	union {
		struct cmsghdr hdr;
		uint8_t space[CMSG_SPACE(sizeof(int) * FF_MSG_FDS_MAX)];
	} control;
	struct msghdr mh = {.msg_iov = iov, .msg_iovlen = n};

	if (num_fds) {
		memset(&control, 0, sizeof(control));
		mh.msg_control = &control;
		mh.msg_controllen = CMSG_SPACE(sizeof(int) * num_fds);
		control.hdr.cmsg_level = SOL_SOCKET;
		control.hdr.cmsg_type = SCM_RIGHTS;
		control.hdr.cmsg_len = CMSG_LEN(sizeof(int) * num_fds);
		memcpy(CMSG_DATA(&control.hdr), fds, sizeof(int) * num_fds);
	}
	while (sendmsg(fd, &mh, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		if (errno != EINTR)
			return -errno;
	return 0;
}

int
command_reply(int fd, const struct ff_msg_hdr *req, int32_t status, const void *body, uint32_t len)
{
	struct ff_msg_hdr h = {.type = req->type, .seq = req->seq, .status = status, .len = len};
	struct iovec iov[2] = {{&h, sizeof(h)}, {(void *)body, len}};

	return send_parts(fd, iov, len ? 2 : 1, NULL, 0);
}

int
command_uverbs(struct conn *cn, const struct command *cmd)
{
	static uint8_t out[FF_MSG_MAX - sizeof(struct ff_msg_hdr) -
			   sizeof(struct ff_msg_uverbs_reply)] __attribute__((aligned(8)));
	struct ff_uverbs_reply rep = {.out = out, .out_cap = sizeof(out)};
	struct ff_msg_hdr h = {.type = cmd->hdr.type, .seq = cmd->hdr.seq};
	struct ff_msg_uverbs_reply ur = {0};
	struct iovec iov[3] = {{&h, sizeof(h)}, {&ur, sizeof(ur)}, {out, 0}};
	int rc;

	ff_container_count(cn->container, FF_CC_COMMANDS, 1);
	h.status = ff_uverbs_command(cn->uc, cmd->payload, cmd->payload_len, &rep);
	if (h.status < 0)
		ff_container_count(cn->container, FF_CC_COMMAND_ERRORS, 1);
	ur.out_len = rep.out_len;
	ur.num_fds = rep.num_fds;
	memcpy(ur.fds, rep.fds, rep.num_fds * sizeof(rep.fds[0]));
	iov[2].iov_len = rep.out_len;
	h.len = (uint32_t)sizeof(ur) + rep.out_len;
	rc = send_parts(cn->fd, iov, rep.out_len ? 3 : 2, rep.fd, rep.num_fds);
	for (unsigned i = 0; i < rep.num_fds; i++)
		if (rep.close_fd[i])
			close(rep.fd[i]);
	return rc;
}
