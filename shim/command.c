/* SPDX-License-Identifier: MIT */
/*
 * Commands that the router executes: what is done before one is sent and after its reply. Any
 * thread; one command of a file at a time, under its lock.
 */
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "debug.h"
#include "mem.h"
#include "msg.h"
#include "real.h"
#include "uverbs.h"

#define COMMAND_TIMEOUT_MS 60000

/* IB_ACCESS_*: what a registration may ask for; bits of the optional range do not matter here. */
#define ACCESS_LOCAL_WRITE   0x01u
#define ACCESS_REMOTE_WRITE  0x02u
#define ACCESS_REMOTE_ATOMIC 0x08u
#define ACCESS_ON_DEMAND     0x40u
#define ACCESS_KNOWN	     0xffu
#define ACCESS_OPTIONAL	     0x3ff00000u
#define REREG_TRANS	     0x1u

/* One write(), taken apart. buf is the program's; each field is read from it once. */
struct command {
	const uint8_t *buf;
	size_t len;
	uint32_t op; /* enum ib_uverbs_write_cmds */
	bool extended;
	size_t body; /* offset of the op's own struct; legacy: response is its first field */
	uint64_t response;
	size_t out_cap;	 /* bytes that the program has at response */
	uint32_t handle; /* of the object that the op destroys or resizes */
};

/* Copies len bytes at off, or zeroes if they are not all there. */
static void
command_get(const struct command *c, size_t off, void *out, size_t len)
{
	if (len > c->len || off > c->len - len)
		memset(out, 0, len);
	else
		memcpy(out, c->buf + off, len);
}

static int
command_parse(struct command *c, const void *buf, size_t len)
{
	struct ib_uverbs_cmd_hdr hdr;
	struct ib_uverbs_ex_cmd_hdr ex;

	memset(c, 0, sizeof(*c));
	c->buf = buf;
	c->len = len;
	if (len < sizeof(hdr) ||
	    len > FF_MSG_MAX - sizeof(struct ff_msg_hdr) - sizeof(struct ff_msg_uverbs))
		return -EINVAL;
	memcpy(&hdr, buf, sizeof(hdr));
	c->op = hdr.command & IB_USER_VERBS_CMD_COMMAND_MASK;
	c->extended = !!(hdr.command & IB_USER_VERBS_CMD_FLAG_EXTENDED);
	c->body = sizeof(hdr);
	if (c->extended) {
		command_get(c, sizeof(hdr), &ex, sizeof(ex));
		c->body += sizeof(ex);
		c->response = ex.response;
		c->out_cap = ((size_t)hdr.out_words + ex.provider_out_words) * 8;
	} else if (hdr.out_words) {
		command_get(c, c->body, &c->response, sizeof(c->response));
		c->out_cap = (size_t)hdr.out_words * 4;
	}
	return 0;
}

/* ---- before the command is sent ---- */

/* The kernel would refuse it, or it means no memory: then nothing is converted for it. */
static bool
registration_is_sane(uint64_t start, uint64_t len, uint64_t iova, uint32_t access)
{
	if (!len || start + len < start || ((start ^ iova) & 0xfff))
		return false;
	if ((access & ~(ACCESS_KNOWN | ACCESS_OPTIONAL)) || (access & ACCESS_ON_DEMAND))
		return false;
	return !(access & (ACCESS_REMOTE_WRITE | ACCESS_REMOTE_ATOMIC)) ||
	       (access & ACCESS_LOCAL_WRITE);
}

/* Without the file's lock: it may take a while, and registers nothing by itself. */
static void
command_prepare_memory(const struct command *c)
{
	struct ib_uverbs_reg_mr reg;
	struct ib_uverbs_rereg_mr rereg;

	if (c->extended)
		return;
	if (c->op == IB_USER_VERBS_CMD_REG_MR) {
		command_get(c, c->body, &reg, sizeof(reg));
		if (registration_is_sane(reg.start, reg.length, reg.hca_va, reg.access_flags))
			ff_mem_prepare((void *)(uintptr_t)reg.start, reg.length);
	} else if (c->op == IB_USER_VERBS_CMD_REREG_MR) {
		command_get(c, c->body, &rereg, sizeof(rereg));
		if ((rereg.flags & REREG_TRANS) &&
		    registration_is_sane(rereg.start, rereg.length, rereg.hca_va, 0))
			ff_mem_prepare((void *)(uintptr_t)rereg.start, rereg.length);
	}
}

/* Where CREATE_CQ has its comp_channel; 0: another command. */
static size_t
comp_channel_offset(const struct command *c)
{
	if (c->op != IB_USER_VERBS_CMD_CREATE_CQ)
		return 0;
	return c->body + (c->extended ? offsetof(struct ib_uverbs_ex_create_cq, comp_channel)
				      : offsetof(struct ib_uverbs_create_cq, comp_channel));
}

/* The program's fd of a completion channel to the router's handle. 0 or -errno. */
static int
comp_channel_translate(const struct uverbs_file *f, int32_t fd, int32_t *handle)
{
	struct fdobj *o;
	int err = -EBADF;

	*handle = -1;
	if (fd == -1)
		return 0;
	o = fd < 0 ? NULL : fdtab_get(fd);
	if (o && o->kind == FDOBJ_COMP && o->owner == f->number) {
		*handle = o->handle;
		err = 0;
	}
	fdobj_put(o);
	return err;
}

static int
command_send(struct uverbs_file *f, int fd, const struct command *c, struct msg_reply *rep)
{
	struct ff_msg_uverbs head = {.cmd_len = c->len};
	struct iovec iov[MSG_PARTS] = {{.iov_base = &head, .iov_len = sizeof(head)}};
	size_t off = comp_channel_offset(c);
	unsigned int n = 1;
	int32_t comp, handle;
	int err;

	if (off && off + sizeof(handle) <= c->len) {
		memcpy(&comp, c->buf + off, sizeof(comp));
		err = comp_channel_translate(f, comp, &handle);
		if (err)
			return err;
		iov[n++] = (struct iovec){.iov_base = (void *)c->buf, .iov_len = off};
		iov[n++] = (struct iovec){.iov_base = &handle, .iov_len = sizeof(handle)};
		off += sizeof(handle);
	} else {
		off = 0;
	}
	iov[n++] = (struct iovec){.iov_base = (void *)(c->buf + off), .iov_len = c->len - off};
	err = msg_call(fd, FF_MSG_UVERBS, ++f->shared->seq, iov, n, f->shared->buf,
		       COMMAND_TIMEOUT_MS, rep);
	if (err) {
		uverbs_break(f, fd, strerror(-err));
		return -EIO;
	}
	return 0;
}

/* ---- after the reply ---- */

/* The descriptors did not all arrive: the object that they belong to must not stay. */
static void
command_undo(struct uverbs_file *f, int fd, enum ff_queue_role role, uint32_t handle)
{
	/* The three structs are alike: response, handle, reserved. */
	struct {
		struct ib_uverbs_cmd_hdr hdr;
		struct ib_uverbs_destroy_qp body;
	} cmd = {.hdr.in_words = sizeof(cmd) / 4, .body.qp_handle = handle};
	struct command c = {.buf = (const uint8_t *)&cmd, .len = sizeof(cmd)};
	struct msg_reply rep;

	switch (role) {
	case FF_QUEUE_CQ:
		cmd.hdr.command = IB_USER_VERBS_CMD_DESTROY_CQ;
		break;
	case FF_QUEUE_SQ:
	case FF_QUEUE_RQ:
		cmd.hdr.command = IB_USER_VERBS_CMD_DESTROY_QP;
		break;
	case FF_QUEUE_SRQ:
		cmd.hdr.command = IB_USER_VERBS_CMD_DESTROY_SRQ;
		break;
	default:
		return;
	}
	c.op = cmd.hdr.command;
	if (command_send(f, fd, &c, &rep) == 0)
		msg_reply_close(&rep);
}

/* Takes the fixed part of a reply. 0, -EPROTO, or -EMFILE when descriptors are missing. */
static int
reply_parse(struct msg_reply *rep, struct ff_msg_uverbs_reply *head, uint8_t **out)
{
	memset(head, 0, sizeof(*head));
	*out = NULL;
	if (!rep->len && !rep->num_fds && !rep->truncated)
		return 0;
	if (rep->len < sizeof(*head))
		return -EPROTO;
	memcpy(head, rep->body, sizeof(*head));
	*out = rep->body + sizeof(*head);
	if (head->out_len > rep->len - sizeof(*head) || head->num_fds > FF_MSG_FDS_MAX)
		return -EPROTO;
	if (rep->num_fds < head->num_fds && rep->truncated)
		return -EMFILE;
	return rep->num_fds == head->num_fds ? 0 : -EPROTO;
}

/* An event fd: its number goes to where the program looks for it. 0, -EPROTO or -ENOMEM. */
static int
reply_patch(struct uverbs_file *f, const struct command *c, const struct ff_fd_desc *d,
	    uint8_t *out, uint32_t out_len, int fd)
{
	bool comp = !c->extended && c->op == IB_USER_VERBS_CMD_CREATE_COMP_CHANNEL;
	uint32_t number = fd;

	if (out_len < sizeof(number) || d->patch_off > out_len - sizeof(number))
		return -EPROTO;
	memcpy(out + d->patch_off, &number, sizeof(number));
	return events_watch(f, fd, comp, d->handle);
}

/* Gives every descriptor of the reply its place; each is taken out of rep. 0 or -errno. */
static int
reply_take_fds(struct uverbs_file *f, const struct command *c, struct msg_reply *rep,
	       const struct ff_msg_uverbs_reply *head, uint8_t *out)
{
	int err = 0;

	for (unsigned int i = 0; i < head->num_fds && !err; i++) {
		const struct ff_fd_desc *d = &head->fds[i];

		if (d->kind == FF_FD_QUEUE) {
			uverbs_queue_add(f, d, rep->fds[i]);
			rep->fds[i] = -1;
		} else if (d->kind == FF_FD_PATCH) {
			err = reply_patch(f, c, d, out, head->out_len, rep->fds[i]);
			if (!err)
				rep->fds[i] = -1;
		} else {
			err = -EPROTO;
		}
	}
	return err;
}

/* MODIFY_SRQ says where the new queue is in a struct of its own (rxe_modify_srq_cmd). */
static void
reply_srq_mminfo(const struct command *c, const struct ff_msg_uverbs_reply *head)
{
	struct rxe_modify_srq_cmd drv;
	struct mminfo mi = {0};

	command_get(c, c->body + sizeof(struct ib_uverbs_modify_srq), &drv, sizeof(drv));
	if (!drv.mmap_info_addr)
		return;
	for (unsigned int i = 0; i < head->num_fds; i++) {
		if (head->fds[i].kind != FF_FD_QUEUE || head->fds[i].role != FF_QUEUE_SRQ)
			continue;
		mi.offset = head->fds[i].mmap_off;
		mi.size = head->fds[i].size;
		memcpy((void *)(uintptr_t)drv.mmap_info_addr, &mi, sizeof(mi));
	}
}

/* Forgets the queues of what the router has just destroyed. */
static void
reply_forget(struct uverbs_file *f, const struct command *c)
{
	if (c->extended)
		return;
	switch (c->op) {
	case IB_USER_VERBS_CMD_DESTROY_QP:
		uverbs_queue_del(f, FF_QUEUE_SQ, c->handle);
		uverbs_queue_del(f, FF_QUEUE_RQ, c->handle);
		break;
	case IB_USER_VERBS_CMD_DESTROY_CQ:
		uverbs_queue_del(f, FF_QUEUE_CQ, c->handle);
		break;
	case IB_USER_VERBS_CMD_DESTROY_SRQ:
		uverbs_queue_del(f, FF_QUEUE_SRQ, c->handle);
		break;
	default:
		break;
	}
}

static ssize_t
reply_handle(struct uverbs_file *f, int fd, const struct command *c, struct msg_reply *rep)
{
	struct ff_msg_uverbs_reply head;
	uint8_t *out;
	int err;

	if (rep->status < 0)
		return rep->status;
	err = reply_parse(rep, &head, &out);
	if (!err)
		err = reply_take_fds(f, c, rep, &head, out);
	if (err == -EPROTO) {
		uverbs_break(f, fd, "bad reply");
		return -EIO;
	}
	if (err) {
		struct ff_fd_desc d = head.fds[0];

		msg_reply_close(rep);
		if (c->op != IB_USER_VERBS_CMD_RESIZE_CQ && d.kind == FF_FD_QUEUE)
			command_undo(f, fd, d.role, d.handle);
		return err;
	}
	if (head.out_len > c->out_cap)
		head.out_len = c->out_cap;
	if (head.out_len && c->response)
		memcpy((void *)(uintptr_t)c->response, out, head.out_len);
	if (!c->extended && c->op == IB_USER_VERBS_CMD_MODIFY_SRQ)
		reply_srq_mminfo(c, &head);
	reply_forget(f, c);
	return rep->status;
}

/* The handle in DESTROY_{CQ,QP,SRQ} and RESIZE_CQ: the field after response. */
static uint32_t
command_handle(const struct command *c)
{
	uint32_t handle;

	command_get(c, c->body + offsetof(struct ib_uverbs_destroy_qp, qp_handle), &handle,
		    sizeof(handle));
	return handle;
}
static_assert(offsetof(struct ib_uverbs_destroy_qp, qp_handle) ==
			      offsetof(struct ib_uverbs_destroy_cq, cq_handle) &&
		      offsetof(struct ib_uverbs_destroy_qp, qp_handle) ==
			      offsetof(struct ib_uverbs_destroy_srq, srq_handle) &&
		      offsetof(struct ib_uverbs_destroy_qp, qp_handle) ==
			      offsetof(struct ib_uverbs_resize_cq, cq_handle),
	      "uverbs ABI");

static ssize_t
command_locked(struct uverbs_file *f, int fd, struct command *c)
{
	struct uverbs_annex *resized = NULL;
	struct msg_reply rep;
	ssize_t ret;
	int err;

	c->handle = command_handle(c);
	if (c->op == IB_USER_VERBS_CMD_RESIZE_CQ && !c->extended)
		resized = uverbs_annex_find(&f->cq, c->handle);
	/* doorbell_arm() keeps off the annex while resizing is odd, or starts over. */
	if (resized)
		atomic_fetch_add(&resized->resizing, 1);
	err = command_send(f, fd, c, &rep);
	if (!err) {
		ret = reply_handle(f, fd, c, &rep);
		msg_reply_close(&rep);
	} else {
		ret = err;
	}
	if (resized)
		atomic_fetch_add(&resized->resizing, 1);
	return ret;
}

/* The router may find memory to register that is being held for another thread's fork. */
static ssize_t
command_run(struct uverbs_file *f, int fd, struct command *c)
{
	uint32_t moment;
	ssize_t ret;

	do {
		moment = ff_mem_moment();
		ret = uverbs_lock(f);
		if (ret)
			return ret;
		ret = command_locked(f, fd, c);
		uverbs_unlock(f);
	} while (ret == -EFAULT && ff_mem_was_held(moment));
	return ret;
}

ssize_t
uverbs_command(struct uverbs_file *f, int fd, const void *buf, size_t len)
{
	struct fdobj *o = fdtab_get(fd);
	struct command c;
	int saved = errno, cancel;
	ssize_t ret;

	if (!o || o->priv != f) {
		fdobj_put(o);
		return -EBADF;
	}
	ret = command_parse(&c, buf, len);
	if (ret)
		goto out;
	command_prepare_memory(&c);
	/* Its calls would be cancellation points, with the lock held. */
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
	ret = command_run(f, fd, &c);
	pthread_setcancelstate(cancel, NULL);
	debug("fd %d: command %u%s: %zd", fd, c.op, c.extended ? " (extended)" : "", ret);
out:
	fdobj_put(o);
	errno = saved;
	return ret;
}
