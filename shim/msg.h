/* SPDX-License-Identifier: MIT */
/* One request and its reply on a command socket (freeflow/abi.h). The caller serialises. */
#ifndef FF_SHIM_MSG_H
#define FF_SHIM_MSG_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include <freeflow/abi.h>

struct msg_reply {
	int32_t status;
	uint32_t len;	      /* bytes of body */
	uint8_t *body;	      /* in the caller's buffer */
	unsigned int num_fds; /* the caller's to close */
	int fds[FF_MSG_FDS_MAX];
	int truncated; /* the process was out of descriptors: some were lost */
};

/* A connection to dir/name, SOCK_CLOEXEC or 0 in flags. fd or -errno. */
int msg_connect(const char *name, int flags);
/*
 * Sends type, seq and the body of count parts (at most MSG_PARTS), and waits for the reply with
 * that seq; older ones (of a process that died in a call) are dropped. buf: FF_MSG_MAX bytes for
 * the reply. Returns 0 with *rep filled in, or -errno after which the connection is of no more
 * use: -EIO (gone), -ETIMEDOUT, -EPROTO.
 */
#define MSG_PARTS 4u
int msg_call(int sock, uint32_t type, uint32_t seq, const struct iovec *body, unsigned int count,
	     uint8_t *buf, int timeout_ms, struct msg_reply *rep);
void msg_reply_close(struct msg_reply *rep); /* closes what is left in fds */

#endif
