/* SPDX-License-Identifier: MIT */
/* Between the files of this folder. Worker unless said otherwise. */
#ifndef FF_NIC_SOFT_ROCE_PRIV_H
#define FF_NIC_SOFT_ROCE_PRIV_H

#include <netinet/in.h>

#include "../../net/port.h"
#include "../../roce/roce.h"
#include "../local/local_priv.h"
#include "inner.h"
#include "soft_roce.h"

#define SROCE_PACKET_MAX    (SROCE_HEAD_MAX + ROCE_HEADERS_MAX + ROCE_MTU_MAX + 4 + ROCE_ICRC)
#define SROCE_TX_BYTES	    (128u * 1024)
#define SROCE_TX_MAX	    64u /* runs of packets in one call of the port */
/* The same pool has jobs of the copiers. */
#define SROCE_HANDOVERS	    1023u /* packets on their way from one worker to another */
#define SROCE_HANDOVER_SIZE (SROCE_PACKET_MAX + 128u)
#define SROCE_HELD_MAX	    64u
#define SROCE_TENANT_MAX    128u
#define SROCE_BOUNCES	    64u /* pieces of one packet: 32 SGEs, some in two mappings */
#define SROCE_TX_TURN	    64u /* packets of one QP in a turn */

struct packet;
struct sbounce;

struct sqp {
	struct roce_qp q;
	struct lqp *l;
	struct sworker *sw;
	bool started, active, timed;
	uint64_t deadline;
	TAILQ_ENTRY(sqp) active_link, timer_link;
	TAILQ_ENTRY(sqp) all_link; /* sw->all */
	struct ff_path path;
	enum sroce_drop why; /* there is no path: what the packet counts as */
	uint64_t ud_path_ns; /* UD: path is that of ud_path_gid, as found then; 0: it is not */
	uint8_t ud_path_gid[16];
	uint64_t wait_ns; /* since then the resolver looks for wait_gid */
	uint8_t wait_gid[16];
	uint64_t ask_ns; /* the resolver may be asked again */
	bool own;	 /* own_gid is the container's, at own_gen */
	uint32_t own_gen;
	uint8_t own_gid[16];
	uint16_t sport;		    /* UDP source port */
	const struct srx *rx;	    /* while roce_rx() runs */
	struct lop_list ud;	    /* UD: messages to send */
	STAILQ_HEAD(, packet) held; /* rx.c: packets that wait for memory */
	uint32_t num_held;
	uint64_t again_ns; /* no room for a job: look again then; 0: no */
	struct sbounce *fetch[SROCE_BOUNCES], *store[SROCE_BOUNCES]; /* memory.c */
	struct lop recv; /* the receive WQE that is under way */
};
TAILQ_HEAD(sqp_list, sqp);

struct rte_mempool;

struct sworker {
	struct ff_worker *w;
	struct ff_port_queue *port;
	struct sqp_list active; /* may have something to send */
	struct sqp_list timed;
	uint64_t next_deadline; /* the earliest among timed, or earlier */
	uint64_t now;
	struct rte_mempool *handovers;
	/* How many elements of it wait for the memory of each tenant's processes, which may keep
	 * them waiting for ever: SROCE_TENANT_MAX. */
	uint16_t waiting[FF_TENANTS_MAX];
	bool rx_look;	  /* in the next pass, whatever the time */
	uint64_t rx_ns;	  /* last look at the port */
	bool rx_polled;	  /* no fd tells a sleeping worker of packets */
	bool rx_full;	  /* the last look at the port found as much as it could take */
	bool rx_more;	  /* the last packet was amid a message, and wants no answer */
	int rx_fd;	  /* ff_port_queue_fd() */
	bool resting;	  /* rx_fd does not wake the worker (stage.c) */
	uint64_t nap_end; /* of the nap under way; 0: none */
	unsigned nap_packets, nap_credit, nap_probe;
	uint64_t drops[SROCE_DROP_MAX];
	uint64_t handed_over; /* packets that came in here for another worker's QP */
	/* Control thread, or the worker while that waits for it. */
	struct sqp_list all;
	uint64_t gone[ROCE_C_MAX]; /* counters of QPs that are gone */
	/* What is being put together for one call of the port. */
	uint16_t src_mask; /* ff_port_src_mask() */
	uint32_t tx_used, tx_runs;
	struct ff_path tx_paths[SROCE_TX_MAX];
	struct ff_port_tx tx[SROCE_TX_MAX];
	uint8_t tx_bytes[SROCE_TX_BYTES];
};

/* soft_roce.c */
struct ff_port *sroce_port(void);
/* port.c. Control thread: *port stays NULL when there is none to be, or on an error. */
int sroce_port_open(struct ff_port **port);
/* Control thread: c has got, or lost, an address. */
void sroce_guard(const struct ff_container *c, const uint8_t address[16], bool here);
void sroce_guards_close(void);
/*
 * Owner worker: what e says, as the port wants it. 0; -EAGAIN: not known yet; -EHOSTUNREACH, with
 * *why set.
 */
struct ff_overlay_entry;
int sroce_path(const struct ff_container *c, const struct ff_overlay_entry *e, struct ff_path *path,
	       enum sroce_drop *why);
/* Only ever later: messages of a pass come with a time after that with which it began. */
static inline void
sroce_now_set(struct sworker *sw, uint64_t now)
{
	if (now > sw->now)
		sw->now = now;
}
/* stage.c */
int sroce_stage_register(void);
struct sworker *sroce_worker(struct ff_worker *w);
uint32_t sroce_vni(const struct ff_container *c); /* 0: its tenant has no wire */
void sroce_activate(struct sqp *s);
void sroce_deactivate(struct sqp *s); /* also of one that is not: an error may have stopped it */
void sroce_deadline_set(struct sqp *s);
/* counters.c: s counts from zero again, or is gone; the sums keep what it had. */
void sroce_counters_retire(struct sqp *s);
/* ops.c */
extern const struct roce_ops sroce_ops;
/*
 * memory.c. From where span is: in: from bytes into it; else out of it. -EFAULT; -EAGAIN: not
 * mapped, and on its way. */
int smem_copy(struct sqp *s, struct lspan *span, void *bytes, uint64_t len, bool in);
int smem_atomic(struct sqp *s, struct lspan *span, bool cas, uint64_t compare_add, uint64_t swap,
		uint64_t *old);
bool smem_wait_begin(struct sqp *s); /* counts in sw->waiting; false: too many */
void smem_wait_end(struct sworker *sw, uint32_t tenant);
void smem_release(struct sqp *s); /* forgets what is under way */
/* tx.c: what the QP has to send; returns how many packets. */
unsigned sroce_tx_qp(struct sworker *sw, struct sqp *s);
void sroce_tx_flush(struct sworker *sw);
/* The resolver does not know dgid (any more): it is asked, at most once a second. */
void sroce_ask_again(struct sqp *s, const uint8_t dgid[16]);
/* rx.c */
unsigned sroce_rx_poll(struct sworker *sw);
void sroce_rx_again(struct sqp *s); /* memory is there: packets that waited for it */
void sroce_rx_forget(struct sqp *s);

#endif
