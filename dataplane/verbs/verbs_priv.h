/* SPDX-License-Identifier: MIT */
/*
 * Inside of the verbs room: a command being executed, handle tables, event pipes, and what one
 * object's file asks of another's. Control thread, unless said otherwise.
 *
 * Destroying has two phases. unpublish: out of the tables, detached by the worker; nothing finds
 * it any more. verbs_synchronize(). release: frees, gives quotas and references back. A ucontext
 * does each phase for all of its objects, so that it waits for the workers once.
 */
#ifndef FF_VERBS_PRIV_H
#define FF_VERBS_PRIV_H

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "../nic/nic.h"
#include "verbs.h"

#define VERBS_PAGE		4096u
#define VERBS_NUM_COMP_VECTORS	1u
#define VERBS_COMP_CHANNELS_MAX 4096u /* per ucontext, of which the program holds the read end */

/* A command being executed (uverbs.c). in and drv_in are the router's private copy. */
struct verbs_cmd {
	struct ff_ucontext *uc;
	const uint8_t *in;
	uint32_t in_len;
	const uint8_t *drv_in; /* the provider's part */
	uint32_t drv_in_len;
	uint8_t *out; /* core response; zeroed */
	uint32_t out_cap;
	uint8_t *drv_out;
	uint32_t drv_out_cap, drv_out_len;
	struct ff_uverbs_reply *rep;
};

/*
 * The request, zero-extended. -EOPNOTSUPP if the program gave more than we know and it is not
 * zero, as the kernel does.
 */
int verbs_request(const struct verbs_cmd *cmd, void *req, uint32_t len);
/* The response, cut to what the program has room for. Returns 0: handlers end with it. */
int verbs_response(struct verbs_cmd *cmd, const void *resp, uint32_t len);
/* The provider's response: the caller has checked drv_out_cap. */
void verbs_response_drv(struct verbs_cmd *cmd, const void *resp, uint32_t len);
/* response_length of the extended responses. */
uint32_t verbs_response_length(const struct verbs_cmd *cmd, uint32_t len);
/* An fd that goes with the reply. There are never more than FF_MSG_FDS_MAX. */
void verbs_reply_fd(struct verbs_cmd *cmd, int fd, uint32_t patch_off, uint32_t handle);
/* Gives the queue's memfd away: once per queue. */
void verbs_reply_queue(struct verbs_cmd *cmd, struct ff_queue *q, enum ff_queue_role role,
		       uint32_t handle, uint32_t qpn);
struct mminfo verbs_mminfo(const struct ff_queue *q);

/* ---- ucontext.c ---- */
/* Gives obj a handle and the ucontext. 0 or -ENOMEM. */
int verbs_handle_add(struct ff_ucontext *uc, enum ff_obj_type type, struct ff_obj *obj);
void verbs_handle_del(struct ff_obj *obj, enum ff_obj_type type);
/* NULL if there is none. */
void *verbs_handle_get(const struct ff_ucontext *uc, enum ff_obj_type type, uint32_t handle);
/* The next object at or after *pos; moves *pos behind it. NULL at the end. */
void *verbs_handle_next(const struct ff_ucontext *uc, enum ff_obj_type type, uint32_t *pos);
/* Waits for the workers, then delivers the events that they left behind. */
void verbs_synchronize(void);
/* Queue memory counts as pinned. 0 or -errno. */
int verbs_queue_create(struct ff_ucontext *uc, struct ff_queue *q, uint32_t elems,
		       uint32_t elem_size);
void verbs_queue_destroy(struct ff_ucontext *uc, struct ff_queue *q);
/* The lesser of the device's limit and the container's. */
uint32_t verbs_limit_wr(const struct ff_container *c, uint32_t device);
uint32_t verbs_limit_cqe(const struct ff_container *c, uint32_t device);
uint32_t verbs_limit_sge(const struct ff_container *c, uint32_t device);

/* ---- events.c ---- */
/* rec_size: bytes of one record. *read_fd becomes the caller's. 0 or -errno. */
int event_pipe_open(struct ff_event_pipe *p, uint32_t rec_size, int *read_fd);
void event_pipe_close(struct ff_event_pipe *p);
/* Any one thread per call: one record, no waiting. 0, -EAGAIN (full) or -errno (reader gone). */
int event_pipe_write(const struct ff_event_pipe *p, const void *rec);
/* As above, but what does not fit is kept and written later. 0, or -errno: it is lost. */
int event_pipe_send(struct ff_event_pipe *p, const void *rec);
/* Takes back the records that match and were not read. Returns how many. */
uint32_t event_pipe_remove(struct ff_event_pipe *p, bool (*match)(const void *rec, void *arg),
			   void *arg);
/* True when nobody holds the read end any more. */
bool event_pipe_orphan(const struct ff_event_pipe *p);
/* The retry timer's work; also for tests. */
void event_pipes_retry(void);

/* ---- async.c ---- */
enum async_kind { ASYNC_QP, ASYNC_CQ, ASYNC_SRQ, ASYNC_UCONTEXT };
void async_src_init(struct ff_async_src *s, enum async_kind kind);
/* Any worker: CQ's comp_due was raised. */
void async_comp_due(struct ff_cq *cq);
/* Delivers everything that workers have left. */
void async_drain(void);
/* Takes back the unread events of an object. Returns how many there were. */
uint32_t async_forget(struct ff_ucontext *uc, uint64_t user_handle, enum async_kind kind);
int async_init(void);
void async_fini(void);

/* ---- comp_channel.c ---- */
struct ff_event_pipe *comp_channel_get(struct ff_ucontext *uc, int32_t handle); /* takes a ref */
void comp_channel_put(struct ff_ucontext *uc, struct ff_event_pipe *p);
void comp_channels_close(struct ff_ucontext *uc);

/* ---- key.c ---- */
/* A key with that index and a random variant. Control thread. */
uint32_t key_make(uint32_t id);

/* ---- objects ---- */
void pd_release(struct ff_pd *pd);
void pds_init(void);
void pds_fini(void);
void mr_unpublish(struct ff_mr *mr);
void mr_release(struct ff_mr *mr);
void mw_unpublish(struct ff_mw *mw);
void mw_release(struct ff_mw *mw);
void cq_release(struct ff_cq *cq);
void srq_release(struct ff_srq *srq);
void ah_unpublish(struct ff_ah *ah);
void ah_release(struct ff_ah *ah);
void qp_unpublish(struct ff_qp *qp);
/* Owner worker, or the control thread while the worker waits. */
void qp_detach(struct ff_qp *qp);
void qp_release(struct ff_qp *qp);
/* Owner worker: windows of type 2 that are bound to qp become free (IBTA 10.6.7.2.3). */
void mws_unbind_qp(struct ff_qp *qp);
/* Control: the QPs of cq, which was overrun (IBTA 10.6.10), or all (NULL) go to error. */
void qps_to_error(struct ff_ucontext *uc, const struct ff_cq *cq);

/* ---- qp_table.c ---- */
/* IBTA 11.2.5.2, table 91: may a QP of this type go from cur to next with these attributes? */
bool qp_transition_ok(uint8_t type, enum ff_qp_state cur, enum ff_qp_state next, uint32_t mask);

/* ---- ah.c ---- */
/* Port, source GID, destination GID. 0, -EINVAL, or -ENODATA (empty slot of the GID table). */
int ah_attr_check(const struct ff_container *c, const struct ff_ah_attr *a);
bool ah_is_multicast(const uint8_t gid[16]);
/* May c talk to that address? 0, or -EACCES and a counter. */
int ah_policy_check(struct ff_container *c, const uint8_t dgid[16]);
/* Control: no container of this host has it. */
bool ah_is_away(const struct ff_container *c, const uint8_t dgid[16]);

/* ---- mcast.c ---- */
void mcast_forget(struct ff_qp *qp); /* leaves all groups */
void mcast_reap(void);		     /* after ff_workers_synchronize() */

/* ---- handlers: 0 or -errno ---- */
typedef int verbs_handler(struct verbs_cmd *cmd);
verbs_handler cmd_get_context, cmd_query_device, cmd_query_device_ex, cmd_query_port;
verbs_handler cmd_alloc_pd, cmd_dealloc_pd;
verbs_handler cmd_reg_mr, cmd_rereg_mr, cmd_dereg_mr, cmd_alloc_mw, cmd_dealloc_mw;
verbs_handler cmd_create_comp_channel;
verbs_handler cmd_create_cq, cmd_create_cq_ex, cmd_resize_cq, cmd_destroy_cq, cmd_poll_cq;
verbs_handler cmd_req_notify_cq;
verbs_handler cmd_create_qp, cmd_create_qp_ex, cmd_query_qp, cmd_destroy_qp;
verbs_handler cmd_modify_qp, cmd_modify_qp_ex;
verbs_handler cmd_post_send, cmd_post_recv, cmd_post_srq_recv;
verbs_handler cmd_create_srq, cmd_create_xsrq, cmd_modify_srq, cmd_query_srq, cmd_destroy_srq;
verbs_handler cmd_create_ah, cmd_destroy_ah, cmd_attach_mcast, cmd_detach_mcast;

#endif
