/* SPDX-License-Identifier: MIT */
/* Records of QPs, CQs and MRs, found through the handle tables. Control thread. */
#include <stdio.h>
#include <string.h>

#include "telemetry_priv.h"

struct walk {
	struct tel_page *page;
	enum ff_obj_type type;
	void (*fill)(struct tel_obj *o, const struct ff_obj *obj);
};

static void
channel_walk(struct ff_channel *ch, void *arg)
{
	const struct walk *w = arg;
	struct ff_ucontext *uc;
	struct tel_obj o;
	uint32_t i;

	if (!tel_page_wants(w->page, ch->container))
		return;
	TAILQ_FOREACH (uc, &ch->contexts, link) {
		const struct ff_handle_table *t = &uc->tables[w->type];

		for (i = 0; i < t->size; i++) {
			if (!t->slots[i] || !tel_page_next(w->page))
				continue;
			o = tel_obj_new();
			tel_str(&o, "container", ch->container->id);
			tel_num(&o, "pid", (uint64_t)ch->proc->pid);
			tel_str(&o, "comm", ch->comm);
			tel_num(&o, "handle", t->slots[i]->handle);
			w->fill(&o, t->slots[i]);
			tel_page_add(w->page, &o);
		}
	}
}

static void
walk(struct tel_page *p, enum ff_obj_type type,
     void (*fill)(struct tel_obj *o, const struct ff_obj *obj))
{
	struct walk w = {p, type, fill};

	ff_channel_foreach(channel_walk, &w);
}

static const char *
qp_type_name(uint8_t type)
{
	switch (type) {
	case IB_UVERBS_QPT_RC:
		return "RC";
	case IB_UVERBS_QPT_UC:
		return "UC";
	case IB_UVERBS_QPT_UD:
		return "UD";
	default:
		return "other";
	}
}

static const char *
qp_state_name(enum ff_qp_state state)
{
	static const char *const names[] = {"RESET", "INIT", "RTR", "RTS", "SQD", "SQE", "ERR"};

	return (unsigned)state < sizeof(names) / sizeof(names[0]) ? names[state] : "?";
}

static void
qp_fill(struct tel_obj *o, const struct ff_obj *obj)
{
	const struct ff_qp *qp = (const struct ff_qp *)obj;
	uint64_t counters[FF_QC_MAX];
	unsigned i;

	tel_num(o, "qpn", qp->qpn);
	tel_str(o, "type", qp_type_name(qp->type));
	tel_str(o, "state", qp_state_name(READ(qp->attr.state)));
	tel_num(o, "dest_qpn", READ(qp->attr.dest_qpn));
	if (qp->type != IB_UVERBS_QPT_UD && READ(qp->attr.dest_qpn))
		tel_address(o, "peer", qp->attr.ah.dgid);
	tel_num(o, "worker", ff_worker_index(qp->worker));
	tel_num(o, "pd", qp->pd->obj.handle);
	tel_num(o, "send_cq", qp->scq->obj.handle);
	tel_num(o, "recv_cq", qp->rcq->obj.handle);
	if (qp->srq)
		tel_num(o, "srq", qp->srq->obj.handle);
	tel_num(o, "max_send_wr", qp->max_send_wr);
	tel_num(o, "max_recv_wr", qp->max_recv_wr);
	for (i = 0; i < FF_QC_MAX; i++)
		counters[i] = READ(qp->counters[i]);
	tel_counters(o, "counters", ff_qp_counter_names, counters, FF_QC_MAX);
	if (ff_nic->qp_counters) {
		struct ff_nic_counters wire = {0};

		ff_nic->qp_counters(qp, &wire);
		if (wire.num)
			tel_counters(o, "wire", wire.names, wire.values, wire.num);
	}
}

static void
cq_fill(struct tel_obj *o, const struct ff_obj *obj)
{
	const struct ff_cq *cq = (const struct ff_cq *)obj;

	tel_num(o, "cqe", READ(cq->cqe));
	tel_num(o, "completions", READ(cq->completions));
	tel_num(o, "events", READ(cq->events_sent));
	tel_num(o, "channel", cq->comp != NULL);
	tel_num(o, "overrun", READ(cq->overrun));
	tel_num(o, "users", cq->obj.refs);
}

static void
access_text(uint32_t access, char out[64])
{
	static const char *const names[] = {"local_write",   "remote_write", "remote_read",
					    "remote_atomic", "mw_bind",	     "zero_based"};
	unsigned i, n = 0;

	out[0] = '\0';
	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (access & 1u << i)
			n += (unsigned)snprintf(out + n, 64 - n, "%s%s", n ? " " : "", names[i]);
}

static void
mr_fill(struct tel_obj *o, const struct ff_obj *obj)
{
	const struct ff_mr *mr = (const struct ff_mr *)obj;
	uint64_t mapped = 0, copied = 0;
	char text[64];
	unsigned i;

	for (i = 0; i < mr->umem.num_segs; i++)
		*(mr->umem.segs[i].ptr ? &mapped : &copied) += mr->umem.segs[i].len;
	snprintf(text, sizeof(text), "0x%08x", mr->key);
	tel_str(o, "key", text);
	tel_num(o, "pd", mr->pd->obj.handle);
	snprintf(text, sizeof(text), "0x%llx", (unsigned long long)mr->iova);
	tel_str(o, "iova", text);
	tel_num(o, "length", mr->length);
	access_text(mr->access, text);
	tel_str(o, "access", text);
	tel_num(o, "segments", mr->umem.num_segs);
	tel_num(o, "mapped_bytes", mapped);
	tel_num(o, "process_vm_bytes", copied);
	tel_num(o, "windows", READ(mr->mws));
}

void
tel_qps(struct tel_page *p)
{
	walk(p, FF_OBJ_QP, qp_fill);
}

void
tel_cqs(struct tel_page *p)
{
	walk(p, FF_OBJ_CQ, cq_fill);
}

void
tel_mrs(struct tel_page *p)
{
	walk(p, FF_OBJ_MR, mr_fill);
}
