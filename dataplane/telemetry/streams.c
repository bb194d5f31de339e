/* SPDX-License-Identifier: MIT */
/* Records of TCP streams: one for each container that has a tcp.sock. Control thread. */
#include <stdio.h>

#include "../tcp/tcp.h"
#include "telemetry_priv.h"

static uint64_t
counter(const struct ff_container *c, enum ff_container_counter n)
{
	return atomic_load_explicit(&c->counters[n], memory_order_relaxed);
}

static void
streams_record(struct ff_container *c, void *arg)
{
	const struct ff_tcp_stats *s = ff_tcp_stats(c);
	struct tel_page *p = arg;
	struct tel_obj o;

	if (!s || !tel_page_wants(p, c) || !tel_page_next(p))
		return;
	o = tel_obj_new();
	tel_str(&o, "container", c->id);
	tel_num(&o, "processes", s->conns);
	tel_num(&o, "streams", s->streams);
	tel_num(&o, "offers", s->offers);
	tel_num(&o, "delayed", s->delayed);
	tel_num(&o, "asked", counter(c, FF_CC_TCP_ASKED));
	tel_num(&o, "offered", counter(c, FF_CC_TCP_OFFERED));
	tel_counters(&o, "refused", ff_tcp_refusal_names, s->refused, FF_TCP_REFUSAL_MAX);
	tel_page_add(p, &o);
}

void
tel_streams(struct tel_page *p)
{
	ff_container_foreach(streams_record, p);
}
