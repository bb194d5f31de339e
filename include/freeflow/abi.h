/* SPDX-License-Identifier: MIT */
/*
 * The contract between libfreeflow.so (a container's process) and freeflowd: names in the
 * container's mount, messages on the command socket. No logic. Everything that the shim sends is
 * hostile input to the router; everything that the router sends is trusted by the shim.
 */
#ifndef FREEFLOW_ABI_H
#define FREEFLOW_ABI_H

#include <assert.h>
#include <stdint.h>

#define FF_ABI_VERSION 1u

/*
 * The container's directory: <run_dir>/containers/<id> on the host, bind-mounted read-only on
 * FF_MOUNT in the container ($FREEFLOW_DIR overrides it, for tests and for several mounts).
 *
 *   router.sock   SOCK_SEQPACKET, the messages below; its path is the container's identity
 *   memif.sock    SOCK_SEQPACKET, memif v2 control protocol; the router is the server ("master")
 *   sys/          what /sys shows of the RDMA device: class/infiniband, class/infiniband_verbs
 *   lib/libfreeflow.so
 */
#define FF_MOUNT       "/freeflow"
#define FF_ROUTER_SOCK "router.sock"
#define FF_MEMIF_SOCK  "memif.sock"
#define FF_SYSFS_DIR   "sys"

/* The emulated device. The name selects rdma-core's rxe provider ("rxe" prefix). */
#define FF_IBDEV_NAME	"rxe0"
#define FF_UVERBS_NAME	"uverbs0"
#define FF_UVERBS_PATH	"/dev/infiniband/" FF_UVERBS_NAME
#define FF_UVERBS_MAJOR 231u	    /* IB_UVERBS_MAJOR, drivers/infiniband/core/uverbs_main.c */
#define FF_UVERBS_MINOR 192u	    /* IB_UVERBS_BASE_MINOR */
#define FF_UVERBS_ABI	2u	    /* RXE_UVERBS_ABI_VERSION, of this provider */
#define FF_VENDOR_ID	0x00ff1f1fu /* not zero: programs special-case rxe's zero */

/* One SEQPACKET message, header included. Longer ones are refused with EMSGSIZE. */
#define FF_MSG_MAX     16384u
#define FF_MSG_FDS_MAX 4u

/*
 * Request and reply share the header. A reply repeats type and seq; its status is 0 or a byte
 * count where the type says so, or -errno. One request is outstanding per connection.
 */
enum ff_msg_type {
	/*
	 * First message of a process: opens its channel, which lives as long as this connection.
	 * Body: struct ff_msg_attach; reply body: struct ff_msg_attach_reply.
	 */
	FF_MSG_ATTACH = 1,
	/*
	 * First message of a uverbs file: binds the connection, as one ucontext, to a channel.
	 * Body: struct ff_msg_context; no reply body. From then on only FF_MSG_UVERBS follows.
	 * The last close of the socket is the last close of the device file.
	 */
	FF_MSG_CONTEXT = 2,
	/*
	 * One write() to the device: struct ff_msg_uverbs, then the bytes that the program wrote
	 * (ib_user_verbs.h). Reply: struct ff_msg_uverbs_reply, then out_len bytes for the address
	 * in the command's response field. status: the value of write(), or -errno.
	 */
	FF_MSG_UVERBS = 3,
};

struct ff_msg_hdr {
	uint32_t type;	/* enum ff_msg_type */
	uint32_t seq;	/* chosen by the requester */
	int32_t status; /* replies only */
	uint32_t len;	/* bytes that follow this header in the message */
};
static_assert(sizeof(struct ff_msg_hdr) == 16, "ABI");

#define FF_TOKEN_LEN 16u

struct ff_msg_attach {
	uint32_t abi_version; /* FF_ABI_VERSION; else EPROTONOSUPPORT */
	uint32_t flags;	      /* 0 */
};
static_assert(sizeof(struct ff_msg_attach) == 8, "ABI");

struct ff_msg_attach_reply {
	uint32_t abi_version;
	uint32_t channel_id;
	/*
	 * Names the channel: first FF_TOKEN_LEN bytes of the memif INIT message's secret, and in
	 * struct ff_msg_context. From the router's CSPRNG.
	 */
	uint8_t token[FF_TOKEN_LEN];
	uint32_t num_rings; /* shim-to-router memif rings that the router wants at most */
	uint32_t log2_ring_size;
};
static_assert(sizeof(struct ff_msg_attach_reply) == 32, "ABI");

struct ff_msg_context {
	uint32_t abi_version;
	uint32_t flags; /* 0 */
	uint8_t token[FF_TOKEN_LEN];
};
static_assert(sizeof(struct ff_msg_context) == 24, "ABI");

struct ff_msg_uverbs {
	uint32_t cmd_len; /* bytes of the command that follow */
	uint32_t reserved;
};
static_assert(sizeof(struct ff_msg_uverbs) == 8, "ABI");

/* What an fd that comes with a reply is (SCM_RIGHTS, in the order of fds[]). */
enum ff_fd_kind {
	/*
	 * The shim stores the fd's number as a u32 at out bytes + patch_off (async_fd, comp fd).
	 * A completion channel also has a handle here: in CREATE_CQ and its extended form the shim
	 * puts it in the place of the program's comp_channel (fd to handle; -1 stays -1), since
	 * the router cannot know the program's fd numbers.
	 */
	FF_FD_PATCH = 1,
	/* A queue: mmap(uverbs fd, mmap_off, size) maps this memfd at offset 0. */
	FF_FD_QUEUE = 2,
};

/* What the shim must know of a queue's annex words (uverbs.h). */
enum ff_queue_role {
	FF_QUEUE_NONE = 0,
	FF_QUEUE_CQ = 1, /* handle: cq_handle */
	FF_QUEUE_SQ = 2, /* handle: qp_handle; qpn: the QPN that doorbells carry */
	FF_QUEUE_RQ = 3,
	FF_QUEUE_SRQ = 4,
};

struct ff_fd_desc {
	uint32_t kind;	    /* enum ff_fd_kind */
	uint32_t patch_off; /* FF_FD_PATCH */
	uint64_t mmap_off;  /* FF_FD_QUEUE: page-aligned, unique in the ucontext's life */
	uint64_t size;	    /* FF_FD_QUEUE: bytes, page-aligned */
	uint32_t role;	    /* FF_FD_QUEUE: enum ff_queue_role */
	uint32_t handle;    /* FF_FD_QUEUE: of the object; FF_FD_PATCH: comp channel's, else 0 */
	uint32_t qpn;
	uint32_t reserved;
};
static_assert(sizeof(struct ff_fd_desc) == 40, "ABI");

struct ff_msg_uverbs_reply {
	uint32_t out_len; /* bytes for the program, after this struct */
	uint32_t num_fds;
	struct ff_fd_desc fds[FF_MSG_FDS_MAX];
};
static_assert(sizeof(struct ff_msg_uverbs_reply) == 168, "ABI");

/*
 * A doorbell on the channel's memif ring is a descriptor without a buffer:
 * flags = 0, region = FF_DOORBELL_REGION, length = 0, offset = 0, metadata = QPN.
 */
#define FF_DOORBELL_REGION 0xffffu

/* The name of the memfds that the shim makes for converted memory; also in /proc/<pid>/maps. */
#define FF_MR_MEMFD_NAME "freeflow-mr"

#endif
