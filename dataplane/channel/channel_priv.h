/* SPDX-License-Identifier: MIT */
/*
 * What the files of dataplane/channel share: private state of containers, connections, channels.
 * Control thread, but for struct doorbell_chan, which the channel's worker has from doorbell_add()
 * to doorbell_remove().
 */
#ifndef FF_CHANNEL_PRIV_H
#define FF_CHANNEL_PRIV_H

#include <net/if.h>
#include <stddef.h>
#include <sys/queue.h>
#include <sys/types.h>

#include "../../memif-bridge/memif.h"
#include "../core/loop.h"
#include "../core/worker.h"
#include "../verbs/verbs.h"
#include "channel.h"
#include "container.h"

/* A connection that has said nothing, or reads nothing, for so long is closed. */
#define CONN_PATIENCE_NS (10ull * 1000 * 1000 * 1000)
/* Connections of one container, per socket, that have not said yet what they are. */
#define CONN_NEW_MAX	 64u
#define TICK_MS		 1000u

#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

/* ---- addresses (address.c: slots; netns.c: where they come from) ---- */

/* The most addresses of a container that are looked at: twice the GID table. */
#define ADDR_MAX 32u
enum addr_kind { ADDR_IPV4, ADDR_IPV6, ADDR_LINK_LOCAL }; /* in the order of preference */
struct addr {
	uint8_t raw[16];
	char ndev[IF_NAMESIZE];
	uint32_t mtu; /* of ndev; 0: not known */
	enum addr_kind kind;
};
struct addr_list {
	unsigned num;
	struct addr a[ADDR_MAX];
};

/* IPv4 or IPv6 text to a GID and its kind. 0 or -EINVAL, also for what no interface can have. */
int addr_parse(const char *text, struct addr *out);
/* Adds it unless it is there or the list is full. */
void addr_list_add(struct addr_list *l, const struct addr *a);
/* Best kind first, order kept inside a kind; link-local ones only if nothing else is there. */
void addr_list_order(struct addr_list *l);
/*
 * The slots that want[] gives: an address that is in old stays where it is, a new one takes the
 * first free slot. Returns true if old and out differ.
 */
bool addr_slots(const struct ff_gid_entry old[FF_GIDS_MAX], const struct addr_list *want,
		struct ff_gid_entry out[FF_GIDS_MAX]);
/*
 * Makes l the container's addresses: GID table, sysfs view, GID_CHANGE event. An address that
 * another container of the tenant has stays with that one.
 */
void addr_apply(struct ff_container *c, const struct addr_list *l);
/*
 * Reads the configured addresses, or starts to follow those of conf.netns. 0 or -errno and err;
 * -ENODEV: there is no such namespace.
 */
int addr_start(struct ff_container *c, char *err, size_t err_len);
void addr_stop(struct ff_container *c);
/* c is off the list: others of its tenant may have wanted its addresses. */
void addr_released(struct ff_container *c);
/* The container's namespace may be another one under the same path: follow that one. */
int addr_refresh(struct ff_container *c, char *err, size_t err_len);

/* Sockets in a network namespace; -1: none. */
struct netns {
	int notify_fd; /* rtnetlink, addresses and links, non-blocking */
	int dump_fd;
	int ns_fd; /* the namespace itself */
	struct ff_source src;
	dev_t dev; /* which namespace it is */
	ino_t ino;
	uint32_t seq;
	void (*changed)(void *arg);
	void *arg;
};
/* changed is called on the control thread after each change. 0 or -errno. */
int netns_open(struct netns *n, const char *path, void (*changed)(void *arg), void *arg);
void netns_close(struct netns *n);
/* The usable addresses as they are now. 0 or -errno. */
int netns_addresses(struct netns *n, struct addr_list *out);

/* ---- the directory (rundir.c) and the view of /sys (sysfs.c) ---- */

/* Makes run_dir and run_dir/containers. 0 or -errno. */
int rundir_init(void);
void rundir_fini(void);
/*
 * The container's directory with the shim's copy; what a former run left inside is removed, the
 * directory itself stays the same. *dirfd is the caller's; *is_new is set also when it fails.
 * 0 or -errno and err.
 */
int rundir_make(const char *id, int *dirfd, bool *is_new, char *err, size_t err_len);
void rundir_remove(const char *id);
/* Removes the directories that keep() does not want. */
void rundir_clean(bool (*keep)(const char *id));
/* A listening SEQPACKET socket name in dirfd, for everybody in the container. fd or -errno. */
int rundir_listen(int dirfd, const char *name, mode_t mode);
/* Writes text to name under dirfd at once (a reader sees the old or the new). 0 or -errno. */
int rundir_write(int dirfd, const char *name, const char *text, size_t len, mode_t mode);
/* rm -r, never through a symbolic link. */
void rundir_remove_tree(int dirfd, const char *name);

/* Totals of the port, from QP counters. */
struct port_totals {
	uint64_t q[FF_QC_MAX];
};
int sysfs_create(struct ff_container *c);
/* Rewrites the GID slots that differ from before. */
int sysfs_gids(struct ff_container *c, const struct ff_gid_entry *before);
/* Counter files, when they have changed. */
void sysfs_tick(struct ff_container *c);

/* ---- connections ---- */

/*
 * One connection on router.sock.
 *   NEW      has said nothing yet
 *   ATTACH   a process's channel hangs on it; nothing more is to come
 *   CONTEXT  an open device file: FF_MSG_UVERBS only
 */
enum conn_state { CONN_NEW, CONN_ATTACH, CONN_CONTEXT };
struct conn {
	struct ff_source src;
	int fd;
	enum conn_state state;
	struct ff_container *container;
	struct ff_channel *channel; /* ATTACH, CONTEXT */
	struct ff_ucontext *uc;	    /* CONTEXT */
	uint64_t since_ns;	    /* NEW: accepted; stalled: since when */
	bool stalled;		    /* its last reply is unread: not listened to */
	TAILQ_ENTRY(conn) link;	    /* container_priv.conns */
	TAILQ_ENTRY(conn) stall_link;
};
TAILQ_HEAD(conn_list, conn);

/* One connection on memif.sock. */
struct memif_conn {
	struct ff_source src;
	struct ff_memif *m;
	struct ff_container *container;
	struct ff_channel *ch; /* since its INIT message */
	bool live;	       /* the worker has its rings */
	uint64_t since_ns;
	TAILQ_ENTRY(memif_conn) link; /* container_priv.memifs */
};
TAILQ_HEAD(memif_list, memif_conn);

struct listener {
	int fd;
	struct ff_source src;
	bool paused; /* out of fds; tried again at the next tick */
	struct ff_container *container;
	void (*accepted)(struct ff_container *c, int fd); /* takes over fd */
};
int listener_open(struct listener *l, struct ff_container *c, const char *name,
		  void (*accepted)(struct ff_container *c, int fd));
void listener_close(struct listener *l, const char *name);
void listener_tick(struct listener *l);

void conn_accepted(struct ff_container *c, int fd);
/* Takes it off the loop, closes and frees it; touches no channel or ucontext. */
void conn_close(struct conn *cn);
void conn_tick(struct ff_container *c, uint64_t now_ns);
void conns_fini(void);

void memif_accepted(struct ff_container *c, int fd);
/* Takes the rings from the worker, closes and frees it. */
void memif_close(struct memif_conn *mc);
void memif_tick(struct ff_container *c, uint64_t now_ns);

/* A message, parsed: all of it points into the caller's private copy. */
struct command {
	struct ff_msg_hdr hdr;
	union {
		struct ff_msg_attach attach;
		struct ff_msg_context context;
		struct ff_msg_uverbs uverbs;
	};
	const uint8_t *payload; /* UVERBS: cmd_len bytes, 8-byte aligned if msg is */
	uint32_t payload_len;
};
/*
 * 0, or what the sender is told: -EMSGSIZE (len > FF_MSG_MAX), -EPROTONOSUPPORT (another
 * abi_version), -EINVAL (a type nobody knows, flags, reserved), -EPROTO (lengths that contradict
 * each other). hdr is set whenever len has room for it.
 */
int command_parse(const uint8_t *msg, size_t len, struct command *out);
/* Sends a reply without waiting. 0 or -errno. */
int command_reply(int fd, const struct ff_msg_hdr *req, int32_t status, const void *body,
		  uint32_t len);
/* Executes a CONTEXT connection's command and replies. 0 or -errno of the reply. */
int command_uverbs(struct conn *cn, const struct command *cmd);

/* ---- who is there (peer.c) ---- */
struct peer {
	pid_t pid;
	uid_t uid;
	int pidfd; /* the caller's */
	char comm[16];
};
/* The process that made the connection, as the kernel says. 0 or -errno (-ESRCH: gone). */
int peer_get(int fd, const struct ff_container *c, struct peer *out);

/* ---- channels ---- */

/* A channel's rings, as its worker sees them. */
struct doorbell_chan {
	struct ff_channel *ch;
	struct ff_memif_ring *rings[FF_CHANNEL_RINGS];
	unsigned num_rings;
	/* Owner worker: */
	uint32_t idle; /* passes without a descriptor */
	uint32_t busy; /* passes with some, since the worker slept */
	bool hot, broken, masked;
	TAILQ_ENTRY(doorbell_chan) link;
};
int doorbell_init(void); /* registers the stage */
/* Control thread. rings and ch are set. 0 or -errno. */
int doorbell_add(struct doorbell_chan *db);
void doorbell_remove(struct doorbell_chan *db);

struct channel_priv {
	struct ff_channel ch;
	struct conn *attach; /* NULL: closed; the channel lives on its contexts */
	unsigned num_contexts;
	struct memif_conn *memif; /* NULL: none (any more) */
	bool memif_bound;	  /* the token was used on memif.sock: once */
	struct doorbell_chan db;
	bool db_added;
	/*
	 * ff_channel_detach_async: posted (any worker, 0 -> 1), then due (on the control thread's
	 * list), then detached. Writer of why: who posts.
	 */
	struct ff_msg detach_msg;
	_Atomic int detach_posted;
	enum ff_detach_reason detach_why;
	bool detach_due;
	bool dead; /* detached otherwise; lives until detach_msg is back */
	TAILQ_ENTRY(channel_priv) due_link;
};
static inline struct channel_priv *
channel_priv(struct ff_channel *ch)
{
	return ch->priv;
}

/* A channel for the peer of cn. NULL and errno. Takes over p->pidfd, also when it fails. */
struct ff_channel *channel_create(struct ff_container *c, const struct peer *p);
/* Constant time per channel; NULL if no channel of c has that token. */
struct ff_channel *channel_by_token(struct ff_container *c, const uint8_t token[FF_TOKEN_LEN]);
/* Ends it if neither its process's connection nor a context is left. */
void channel_release(struct ff_channel *ch);

struct container_priv {
	struct ff_container c;
	struct ff_container_conf asked; /* conf before defaults: what "identical" is about */
	int dirfd;			/* its directory */
	bool dir_is_new;		/* made by this run */
	struct listener router, memif;
	struct conn_list conns;
	struct memif_list memifs;
	unsigned new_conns;  /* conns in CONN_NEW */
	unsigned new_memifs; /* memifs that are not live */
	struct netns netns;
	struct addr_list addrs;	    /* as last applied */
	bool addr_conflict;	    /* one of them is another container's */
	struct port_totals retired; /* of QPs that are gone */
	struct port_totals shown;
	bool shown_valid;
};
static inline struct container_priv *
container_priv(struct ff_container *c)
{
	return c->priv;
}

/* Fills in conf.limits and limits[]. */
void quota_limits(struct ff_container *c);

int admin_init(void);
void admin_fini(void);
/* Containers that the admin socket made in a former run. */
bool admin_state_has(const char *id);

/* Values of enum ibv_event_type. */
#define EVENT_GID_CHANGE 18u

#endif
