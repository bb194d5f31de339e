/* SPDX-License-Identifier: MIT */
/*
 * Spans: bytes of an operation by key, address and length. Keys are looked up at each use, so a
 * registration may go away between two. The worker that executes the operation.
 */
#include <errno.h>

#include "local_priv.h"

static uint64_t
min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

int
lspan_check(const struct lspan *s)
{
	struct ff_mr *mr;
	uint64_t off;
	int rc;

	if (s->kind == LSPAN_BYTES)
		return 0;
	if (s->kind == LSPAN_REMOTE)
		return ff_key_check_remote(s->pd_id, s->qpn, s->rkey, s->addr, s->length, s->want,
					   &mr, &off);
	for (uint32_t i = 0; i < s->num; i++) {
		const struct rxe_sge *e = &s->sge[i];

		rc = ff_key_check_local(s->pd_id, e->lkey, e->addr, e->length, s->want, &mr, &off);
		if (rc)
			return rc;
	}
	return 0;
}

static int
mr_chunk(struct ff_mr *mr, uint64_t off, uint64_t len, bool write, struct lchunk *c)
{
	const struct ff_umem *m = &mr->umem;
	const struct ff_umem_seg *seg;
	uint64_t in;

	seg = m->num_segs == 1 ? &m->segs[0] : ff_umem_seg_at(m, off);
	if (!seg)
		return -EFAULT;
	in = off - seg->off;
	if (seg->ptr && write && !seg->writable)
		return -EFAULT;
	c->mr = mr;
	c->ptr = seg->ptr ? seg->ptr + in : NULL;
	c->len = min_u64(len, seg->len - in);
	c->va = m->va + off;
	return 0;
}

int
lspan_chunk(struct lspan *s, struct lchunk *c)
{
	struct ff_mr *mr;
	uint64_t off, len, va;
	uint32_t key;
	int rc;

	switch (s->kind) {
	case LSPAN_BYTES:
		*c = (struct lchunk){.ptr = s->bytes + s->off, .len = s->length - s->off};
		return 0;
	case LSPAN_REMOTE:
		len = s->length - s->off;
		rc = ff_key_check_remote(s->pd_id, s->qpn, s->rkey, s->addr + s->off, len, s->want,
					 &mr, &off);
		break;
	default:
		while (s->idx < s->num && s->off >= s->sge[s->idx].length) {
			s->idx++;
			s->off = 0;
		}
		if (s->idx >= s->num)
			return -EFAULT;
		len = s->sge[s->idx].length - s->off;
		va = s->sge[s->idx].addr + s->off;
		key = s->sge[s->idx].lkey;
		rc = ff_key_check_local(s->pd_id, key, va, len, s->want, &mr, &off);
		break;
	}
	if (rc)
		return -EFAULT;
	return mr_chunk(mr, off, len, s->want != 0 && s->want != FF_ACCESS_REMOTE_READ, c);
}

int
lspan_seek(struct lspan *s, uint64_t off)
{
	s->idx = 0;
	s->off = off;
	if (s->kind != LSPAN_SGL)
		return off <= s->length ? 0 : -EFAULT;
	while (s->idx < s->num && s->off >= s->sge[s->idx].length)
		s->off -= s->sge[s->idx++].length;
	return s->idx < s->num || !s->off ? 0 : -EFAULT;
}
