/* SPDX-License-Identifier: MIT */
/*
 * Checks of local and remote keys (IBTA 10.6.3, 9.7.4.1.5). Any worker, on the path of every
 * message: no lock, no call. The pass of the worker keeps what is found alive.
 */
#include <infiniband/verbs.h>
#include <sys/random.h>

#include "verbs_priv.h"

#define SEQ_TRIES 8u /* of a window that its owner binds again and again meanwhile */

#define likely(x) __builtin_expect(!!(x), 1)

uint32_t
key_make(uint32_t id)
{
	uint8_t variant = 0;

	/* Without entropy the index is still random: idtab.h. */
	(void)!getrandom(&variant, sizeof(variant), GRND_NONBLOCK);
	return id << 8 | variant;
}

static inline int
mr_range(const struct ff_mr *m, uint64_t va, uint64_t len, uint64_t *off)
{
	uint64_t o = va - m->iova;

	if (len > m->length || o > m->length - len)
		return -ERANGE;
	*off = o;
	return 0;
}

static inline const struct ff_key *
key_get(uint32_t key)
{
	return ff_idtab_get(&ff_keys, key >> 8);
}

int
ff_key_check_local(uint32_t pd_id, uint32_t lkey, uint64_t va, uint64_t len, uint32_t want,
		   struct ff_mr **mr, uint64_t *off)
{
	const struct ff_key *k;
	struct ff_mr *m;

	*mr = NULL;
	*off = 0;
	if (!len)
		return 0;
	k = key_get(lkey);
	if (!k || k->kind != FF_KEY_MR)
		return -EACCES;
	m = k->mr;
	if (m->key != lkey || m->pd_id != pd_id || (want & ~m->access))
		return -EACCES;
	*mr = m;
	return mr_range(m, va, len, off);
}

/* One consistent view of a window that its owner's worker may be changing. */
struct mw_view {
	uint32_t rkey, access, qpn;
	enum ff_mw_state state;
	uint64_t addr, length;
	struct ff_mr *mr;
};

#define LOAD(field) __atomic_load_n(&(field), __ATOMIC_RELAXED)

/* Pairs with mw_change_begin/end in mw.c. False: it did not hold still. */
static bool
mw_read(const struct ff_mw *w, struct mw_view *v)
{
	for (unsigned i = 0; i < SEQ_TRIES; i++) {
		uint32_t seq = atomic_load_explicit(&w->seq, memory_order_acquire);

		if (seq & 1)
			continue;
		v->rkey = LOAD(w->rkey);
		v->state = LOAD(w->state);
		v->access = LOAD(w->access);
		v->addr = LOAD(w->addr);
		v->length = LOAD(w->length);
		v->mr = LOAD(w->mr);
		v->qpn = LOAD(w->qpn);
		atomic_thread_fence(memory_order_acquire);
		if (atomic_load_explicit(&w->seq, memory_order_relaxed) == seq)
			return true;
	}
	return false;
}

static int
check_window(const struct ff_mw *w, uint32_t pd_id, uint32_t qpn, uint32_t rkey, uint64_t va,
	     uint64_t len, uint32_t want, struct ff_mr **mr, uint64_t *off)
{
	struct mw_view v;
	uint64_t o;

	if (w->pd_id != pd_id || !mw_read(w, &v))
		return -EACCES;
	if (v.rkey != rkey || v.state != FF_MW_VALID || !v.mr || (want & ~v.access) ||
	    (w->type == IBV_MW_TYPE_2 && v.qpn != qpn))
		return -EACCES;
	o = v.access & FF_ACCESS_ZERO_BASED ? va : va - v.addr;
	if (len > v.length || o > v.length - len)
		return -ERANGE;
	*mr = v.mr;
	return mr_range(v.mr, v.addr + o, len, off);
}

int
ff_key_check_remote(uint32_t pd_id, uint32_t qpn, uint32_t rkey, uint64_t va, uint64_t len,
		    uint32_t want, struct ff_mr **mr, uint64_t *off)
{
	const struct ff_key *k;
	struct ff_mr *m;

	*mr = NULL;
	*off = 0;
	if (!len)
		return 0;
	k = key_get(rkey);
	if (!k)
		return -EACCES;
	if (likely(k->kind == FF_KEY_MR)) {
		m = k->mr;
		if (m->key != rkey || m->pd_id != pd_id || (want & ~m->access))
			return -EACCES;
		*mr = m;
		return mr_range(m, va, len, off);
	}
	return check_window(k->mw, pd_id, qpn, rkey, va, len, want, mr, off);
}
