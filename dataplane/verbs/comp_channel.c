/* SPDX-License-Identifier: MIT */
/*
 * Completion channels: event pipes that CQs share. The program ends one by closing its fd, which
 * the router is not told of: those without a reader and without CQs are collected when new ones
 * are made. Control thread.
 */
#include <stdlib.h>
#include <unistd.h>

#include "verbs_priv.h"

#define GC_FIRST 16u

static void
channel_free(struct ff_ucontext *uc, struct ff_event_pipe *p)
{
	TAILQ_REMOVE(&uc->comp_channels, p, link);
	uc->num_comp_channels--;
	event_pipe_close(p);
	free(p);
}

static void
collect(struct ff_ucontext *uc)
{
	struct ff_event_pipe *p = TAILQ_FIRST(&uc->comp_channels);

	while (p) {
		struct ff_event_pipe *next = TAILQ_NEXT(p, link);

		if (p->refs == 1 && event_pipe_orphan(p))
			channel_free(uc, p);
		p = next;
	}
	uc->gc_at = uc->num_comp_channels * 2;
	if (uc->gc_at < GC_FIRST)
		uc->gc_at = GC_FIRST;
}

struct ff_event_pipe *
comp_channel_get(struct ff_ucontext *uc, int32_t handle)
{
	struct ff_event_pipe *p;

	TAILQ_FOREACH (p, &uc->comp_channels, link) {
		if (p->handle == (uint32_t)handle) {
			p->refs++;
			return p;
		}
	}
	return NULL;
}

void
comp_channel_put(struct ff_ucontext *uc, struct ff_event_pipe *p)
{
	p->refs--; /* the list's stays until the reader is gone */
}

void
comp_channels_close(struct ff_ucontext *uc)
{
	struct ff_event_pipe *p;

	while ((p = TAILQ_FIRST(&uc->comp_channels)))
		channel_free(uc, p); /* NOLINT(clang-analyzer-unix.Malloc): it leaves the list */
}

int
cmd_create_comp_channel(struct verbs_cmd *cmd)
{
	struct ib_uverbs_create_comp_channel_resp resp = {0};
	struct ib_uverbs_create_comp_channel req;
	struct ff_ucontext *uc = cmd->uc;
	struct ff_event_pipe *p;
	int rfd;
	int rc = verbs_request(cmd, &req, sizeof(req));

	if (rc)
		return rc;
	if (uc->num_comp_channels >= uc->gc_at)
		collect(uc);
	if (uc->num_comp_channels >= VERBS_COMP_CHANNELS_MAX)
		return -EMFILE;
	p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	rc = event_pipe_open(p, sizeof(struct ib_uverbs_comp_event_desc), &rfd);
	if (rc) {
		free(p);
		return rc;
	}
	p->refs = 1;
	p->handle = uc->next_channel++ & INT32_MAX;
	TAILQ_INSERT_TAIL(&uc->comp_channels, p, link);
	uc->num_comp_channels++;
	verbs_reply_fd(cmd, rfd, offsetof(struct ib_uverbs_create_comp_channel_resp, fd),
		       p->handle);
	return verbs_response(cmd, &resp, sizeof(resp));
}
