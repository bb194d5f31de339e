/* SPDX-License-Identifier: MIT */
/*
 * Channels: made by ATTACH, ended when neither the process's connection nor a context is left, or
 * cut off. Control thread, but for ff_channel_detach_async().
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <unistd.h>

#include "channel_priv.h"

const char *const ff_detach_reason_names[FF_DETACH_MAX] = {
	[FF_DETACH_CLOSED] = "closed",	   [FF_DETACH_REMOVED] = "container_removed",
	[FF_DETACH_SHUTDOWN] = "shutdown", [FF_DETACH_PROTOCOL] = "protocol",
	[FF_DETACH_MEMIF] = "memif",	   [FF_DETACH_RING] = "ring",
};
uint64_t ff_channel_detached[FF_DETACH_MAX];

static uint32_t next_id = 1;
static unsigned worker_channels[FF_WORKERS_MAX];

/*
 * Channels that a worker wants to be detached. Its message may come in the middle of something
 * (ff_control_drain), so it only puts them here; the loop itself then detaches them.
 */
static TAILQ_HEAD(, channel_priv) due = TAILQ_HEAD_INITIALIZER(due);
static struct ff_source due_src;
static int due_fd = -1;

static void
due_event(struct ff_source *s, uint32_t events)
{
	struct channel_priv *p;
	uint64_t n;

	if (read(due_fd, &n, sizeof(n)) < 0)
		return;
	while ((p = TAILQ_FIRST(&due)))
		ff_channel_detach(&p->ch, p->detach_why, NULL);
}

int
ff_channels_init(void)
{
	int rc;

	due_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (due_fd < 0)
		return -errno;
	rc = ff_loop_add(&due_src, due_fd, EPOLLIN, due_event, NULL);
	if (!rc)
		rc = doorbell_init();
	if (rc)
		ff_channels_fini();
	return rc;
}

static void
channel_detach_all(struct ff_channel *ch, void *arg)
{
	ff_channel_detach(ch, FF_DETACH_SHUTDOWN, NULL);
}

void
ff_channels_fini(void)
{
	ff_channel_foreach(channel_detach_all, NULL);
	conns_fini();
	ff_loop_del(&due_src);
	if (due_fd >= 0)
		close(due_fd);
	due_fd = -1;
}

/* The worker with the fewest channels. */
static struct ff_worker *
channel_worker(void)
{
	unsigned best = 0;

	for (unsigned i = 1; i < ff_worker_count(); i++)
		if (worker_channels[i] < worker_channels[best])
			best = i;
	return ff_worker_get(best);
}

static void
channel_detach_message(struct ff_msg *m)
{
	struct channel_priv *p = container_of(m, struct channel_priv, detach_msg);

	static const uint64_t one = 1;

	if (p->dead) {
		free(p);
		return;
	}
	p->detach_due = true;
	TAILQ_INSERT_TAIL(&due, p, due_link);
	if (write(due_fd, &one, sizeof(one)) < 0)
		return; /* EAGAIN: it is as readable as it can be */
}

void
ff_channel_detach_async(struct ff_channel *ch, enum ff_detach_reason why)
{
	struct channel_priv *p = channel_priv(ch);

	if (atomic_load_explicit(&p->detach_posted, memory_order_relaxed) ||
	    atomic_exchange(&p->detach_posted, 1))
		return;
	p->detach_why = why;
	if (ff_control_post(&p->detach_msg))
		atomic_store(&p->detach_posted, 0); /* full: its next fault asks again */
}

struct ff_channel *
channel_create(struct ff_container *c, const struct peer *peer)
{
	struct ff_worker *w = channel_worker();
	struct channel_priv *p;
	struct ff_channel *ch;
	int rc = -ff_quota_take(c, FF_QUOTA_PROCESSES, 1);

	if (rc) {
		close(peer->pidfd);
		errno = rc;
		return NULL;
	}
	rc = ENOMEM;
	p = calloc(1, sizeof(*p));
	if (!p) {
		close(peer->pidfd);
		goto out_quota;
	}
	ch = &p->ch;
	ch->proc = ff_proc_new(peer->pid, peer->pidfd);
	if (!ch->proc)
		goto out_free;
	if (getrandom(ch->token, FF_TOKEN_LEN, 0) != FF_TOKEN_LEN) {
		rc = EAGAIN;
		goto out_proc;
	}
	ch->id = next_id++;
	ch->container = c;
	ch->worker = w;
	ch->uid = peer->uid;
	memcpy(ch->comm, peer->comm, sizeof(ch->comm));
	ch->priv = p;
	p->detach_msg.fn = channel_detach_message;
	TAILQ_INIT(&ch->contexts);
	TAILQ_INSERT_TAIL(&c->channels, ch, link);
	worker_channels[ff_worker_index(w)]++;
	ff_debug("channel", "container %s: process %d (%s) attached as channel %u", c->id,
		 (int)peer->pid, ch->comm, ch->id);
	return ch;
out_proc:
	ff_proc_unref(ch->proc);
out_free:
	free(p);
out_quota:
	ff_quota_give(c, FF_QUOTA_PROCESSES, 1);
	errno = rc;
	return NULL;
}

static void
channel_destroy(struct ff_channel *ch)
{
	struct channel_priv *p = channel_priv(ch);

	TAILQ_REMOVE(&ch->container->channels, ch, link);
	worker_channels[ff_worker_index(ch->worker)]--;
	ff_quota_give(ch->container, FF_QUOTA_PROCESSES, 1);
	/* After this no worker has it, nor posts detach_msg. */
	ff_workers_synchronize();
	ff_proc_unref(ch->proc);
	if (p->detach_due)
		TAILQ_REMOVE(&due, p, due_link);
	else if (atomic_load(&p->detach_posted))
		p->dead = true; /* freed by its message */
	if (!p->dead)
		free(p);
}

void
channel_release(struct ff_channel *ch)
{
	struct channel_priv *p = channel_priv(ch);

	if (p->attach || p->num_contexts)
		return;
	ff_debug("channel", "container %s: channel %u (%s) has closed", ch->container->id, ch->id,
		 ch->comm);
	ff_channel_detached[FF_DETACH_CLOSED]++;
	if (p->memif)
		memif_close(p->memif);
	channel_destroy(ch);
}

static void
channel_close_conns(struct ff_channel *ch)
{
	struct conn *cn, *next;

	for (cn = TAILQ_FIRST(&container_priv(ch->container)->conns); cn; cn = next) {
		next = TAILQ_NEXT(cn, link);
		if (cn->channel != ch)
			continue;
		if (cn->state == CONN_CONTEXT) {
			ff_ucontext_fatal(cn->uc);
			ff_ucontext_destroy(cn->uc);
		}
		conn_close(cn);
	}
}

void
ff_channel_detach(struct ff_channel *ch, enum ff_detach_reason why, const char *text)
{
	struct ff_container *c = ch->container;
	bool fault = why >= FF_DETACH_PROTOCOL;

	ff_channel_detached[why]++;
	if (fault)
		ff_container_count(c, FF_CC_DETACHED, 1);
	ff_log(fault ? FF_LOG_WARN : FF_LOG_DEBUG, "channel",
	       "container %s: channel %u (process %d, %s) detached: %s%s%s", c->id, ch->id,
	       (int)ch->proc->pid, ch->comm, ff_detach_reason_names[why], text ? ": " : "",
	       text ? text : "");
	/* The rings first: from then on only this thread touches what it holds. */
	if (channel_priv(ch)->memif)
		memif_close(channel_priv(ch)->memif);
	channel_close_conns(ch);
	channel_destroy(ch);
}

/* The time it takes does not tell how much of a guess was right. */
static bool
token_equal(const uint8_t *a, const uint8_t *b)
{
	unsigned diff = 0;

	for (unsigned i = 0; i < FF_TOKEN_LEN; i++)
		diff |= a[i] ^ b[i];
	return !diff;
}

struct ff_channel *
channel_by_token(struct ff_container *c, const uint8_t token[FF_TOKEN_LEN])
{
	struct ff_channel *ch;

	TAILQ_FOREACH (ch, &c->channels, link) {
		if (token_equal(ch->token, token))
			return ch;
	}
	return NULL;
}

struct foreach_call {
	void (*fn)(struct ff_channel *ch, void *arg);
	void *arg;
};

static void
foreach_in_container(struct ff_container *c, void *arg)
{
	struct foreach_call *call = arg;
	struct ff_channel *ch, *next;

	for (ch = TAILQ_FIRST(&c->channels); ch; ch = next) {
		next = TAILQ_NEXT(ch, link);
		call->fn(ch, call->arg);
	}
}

void
ff_channel_foreach(void (*fn)(struct ff_channel *ch, void *arg), void *arg)
{
	struct foreach_call call = {fn, arg};

	ff_container_foreach(foreach_in_container, &call);
}
