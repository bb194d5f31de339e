/* SPDX-License-Identifier: MIT */
/*
 * Memory regions: register, re-register, deregister. Control thread.
 *
 * A region does not change while it is in the key table, since any worker may be reading it:
 * re-registration makes a new one with a new key, as IBTA 10.6.5.3 allows, and the old one ends.
 */
#include <stdlib.h>

#include "verbs_priv.h"

#define ACCESS_RW_REMOTE (FF_ACCESS_REMOTE_WRITE | FF_ACCESS_REMOTE_ATOMIC)
#define ACCESS_ON_DEMAND (1u << 6)
#define ACCESS_HUGETLB	 (1u << 7)   /* a hint */
#define ACCESS_OPTIONAL	 0x3ff00000u /* relaxed ordering and its kin: hints by definition */
#define ACCESS_KEPT                                                               \
	(FF_ACCESS_LOCAL_WRITE | FF_ACCESS_REMOTE_WRITE | FF_ACCESS_REMOTE_READ | \
	 FF_ACCESS_REMOTE_ATOMIC | FF_ACCESS_MW_BIND | FF_ACCESS_ZERO_BASED)

/* enum ib_uverbs_rereg_mr_flags of rdma/ib_user_ioctl_verbs.h is not in all headers. */
#define REREG_TRANS  1u
#define REREG_PD     2u
#define REREG_ACCESS 4u

/* What a registration asks for. */
struct mr_spec {
	struct ff_pd *pd;
	uint64_t start, length, iova;
	uint32_t access;
};

static int
check_access(uint32_t access)
{
	if ((access & ACCESS_RW_REMOTE) && !(access & FF_ACCESS_LOCAL_WRITE))
		return -EINVAL;
	if (access & ACCESS_ON_DEMAND)
		return -EOPNOTSUPP;
	if (access & ~(ACCESS_KEPT | ACCESS_HUGETLB | ACCESS_OPTIONAL))
		return -EINVAL;
	return 0;
}

/* As ib_umem_get: no wrap, not empty; plus that the keys' addresses do not wrap either. */
static int
check_range(uint64_t start, uint64_t length, uint64_t iova)
{
	if ((start ^ iova) & (VERBS_PAGE - 1))
		return -EINVAL;
	if (start + length < start || start + length > UINT64_MAX - VERBS_PAGE ||
	    iova + length < iova)
		return -EINVAL;
	return length ? 0 : -EINVAL;
}

static uint64_t
pinned(const struct ff_umem *m)
{
	uint64_t first = m->va & ~(uint64_t)(VERBS_PAGE - 1);

	return (m->va + m->length - first + VERBS_PAGE - 1) & ~(uint64_t)(VERBS_PAGE - 1);
}

static bool
needs_write(uint32_t access)
{
	return access & (FF_ACCESS_LOCAL_WRITE | ACCESS_RW_REMOTE);
}

static int
umem_get(struct ff_ucontext *uc, struct ff_umem *m, const struct mr_spec *spec)
{
	struct ff_umem range = {.va = spec->start, .length = spec->length};
	int rc = ff_quota_take(uc->container, FF_QUOTA_PINNED, pinned(&range));

	if (rc)
		return rc;
	rc = ff_umem_get(m, uc->container, uc->channel->proc, spec->start, spec->length,
			 needs_write(spec->access));
	if (rc)
		ff_quota_give(uc->container, FF_QUOTA_PINNED, pinned(&range));
	return rc;
}

static void
umem_put(struct ff_ucontext *uc, struct ff_umem *m)
{
	uint64_t bytes = pinned(m);

	ff_umem_put(m);
	ff_quota_give(uc->container, FF_QUOTA_PINNED, bytes);
}

/* Into the key table: from here on workers find it. All of mr is set. 0 or -errno. */
static int
mr_publish(struct ff_mr *mr)
{
	int rc;

	mr->ent = (struct ff_key){.kind = FF_KEY_MR, .mr = mr};
	mr->key = 0; /* index 0 is no key's */
	rc = ff_idtab_insert(&ff_keys, &mr->ent, &mr->key_id);
	if (rc)
		return rc;
	__atomic_store_n(&mr->key, key_make(mr->key_id), __ATOMIC_RELEASE);
	if (ff_nic->mr_reg) {
		rc = ff_nic->mr_reg(mr);
		if (rc) {
			/* A key that nobody was told of, but a worker may be looking at it. */
			ff_idtab_remove(&ff_keys, mr->key_id);
			ff_workers_synchronize();
		}
	}
	return rc;
}

static void
mr_fill(struct ff_mr *mr, const struct mr_spec *spec)
{
	mr->pd = spec->pd;
	mr->pd_id = spec->pd->id;
	mr->access = spec->access & ACCESS_KEPT;
	/* ibv_reg_mr(3): with ZERO_BASED, addresses are offsets from the region's start. */
	mr->iova = spec->access & FF_ACCESS_ZERO_BASED ? 0 : spec->iova;
	mr->length = spec->length;
	spec->pd->obj.refs++;
}

void
mr_unpublish(struct ff_mr *mr)
{
	ff_idtab_remove(&ff_keys, mr->key_id);
}

/* All but the handle and the quota. */
static void
mr_free(struct ff_mr *mr)
{
	if (ff_nic->mr_dereg)
		ff_nic->mr_dereg(mr);
	mr->pd->obj.refs--;
	free(mr);
}

void
mr_release(struct ff_mr *mr)
{
	struct ff_ucontext *uc = mr->obj.uc;

	verbs_handle_del(&mr->obj, FF_OBJ_MR);
	umem_put(uc, &mr->umem);
	mr_free(mr);
	ff_quota_give(uc->container, FF_QUOTA_MRS, 1);
}

int
cmd_reg_mr(struct verbs_cmd *cmd)
{
	struct ff_ucontext *uc = cmd->uc;
	struct ib_uverbs_reg_mr_resp resp;
	struct ib_uverbs_reg_mr req;
	struct mr_spec spec;
	struct ff_mr *mr;
	int rc = verbs_request(cmd, &req, sizeof(req));

	if (rc)
		return rc;
	spec = (struct mr_spec){.start = req.start,
				.length = req.length,
				.iova = req.hca_va,
				.access = req.access_flags};
	rc = check_range(spec.start, spec.length, spec.iova);
	if (!rc)
		rc = check_access(spec.access);
	if (rc)
		return rc;
	spec.pd = verbs_handle_get(uc, FF_OBJ_PD, req.pd_handle);
	if (!spec.pd)
		return -EINVAL;
	rc = ff_quota_take(uc->container, FF_QUOTA_MRS, 1);
	if (rc)
		return rc;
	rc = -ENOMEM;
	mr = calloc(1, sizeof(*mr));
	if (!mr)
		goto err_quota;
	rc = umem_get(uc, &mr->umem, &spec);
	if (rc)
		goto err_free;
	mr_fill(mr, &spec);
	rc = verbs_handle_add(uc, FF_OBJ_MR, &mr->obj);
	if (rc)
		goto err_umem;
	rc = mr_publish(mr);
	if (rc)
		goto err_handle;
	resp.mr_handle = mr->obj.handle;
	resp.lkey = resp.rkey = mr->key;
	return verbs_response(cmd, &resp, sizeof(resp));

err_handle:
	verbs_handle_del(&mr->obj, FF_OBJ_MR);
err_umem:
	spec.pd->obj.refs--;
	umem_put(uc, &mr->umem);
err_free:
	free(mr);
err_quota:
	ff_quota_give(uc->container, FF_QUOTA_MRS, 1);
	return rc;
}

struct retire {
	struct ff_mr *mr;
	bool busy;
};

/* Owner worker: no window may be bound between the look and the removal (IBTA 10.6.7.2.6). */
static void
retire_unless_bound(void *arg)
{
	struct retire *r = arg;

	r->busy = r->mr->mws != 0;
	if (!r->busy)
		mr_unpublish(r->mr);
}

/* 0, or -EBUSY: windows are bound to it. Then nobody finds it any more. */
static int
mr_retire(struct ff_mr *mr)
{
	struct retire r = {.mr = mr};

	ff_worker_call(mr->obj.uc->worker, retire_unless_bound, &r);
	if (r.busy)
		return -EBUSY;
	verbs_synchronize();
	return 0;
}

int
cmd_dereg_mr(struct verbs_cmd *cmd)
{
	struct ib_uverbs_dereg_mr req;
	struct ff_mr *mr;
	int rc = verbs_request(cmd, &req, sizeof(req));

	if (rc)
		return rc;
	mr = verbs_handle_get(cmd->uc, FF_OBJ_MR, req.mr_handle);
	if (!mr)
		return -ENOENT;
	rc = mr_retire(mr);
	if (rc)
		return rc;
	mr_release(mr);
	return 0;
}

/* The new registration: what the flags do not name stays as it is. */
static int
rereg_spec(struct verbs_cmd *cmd, const struct ib_uverbs_rereg_mr *req, const struct ff_mr *old,
	   struct mr_spec *spec)
{
	int rc = 0;

	*spec = (struct mr_spec){.pd = old->pd,
				 .start = old->umem.va,
				 .length = old->length,
				 .iova = old->iova,
				 .access = old->access};
	if (old->access & FF_ACCESS_ZERO_BASED)
		spec->iova = old->umem.va;
	if (req->flags & REREG_TRANS) {
		rc = check_range(req->start, req->length, req->hca_va);
		spec->start = req->start;
		spec->length = req->length;
		spec->iova = req->hca_va;
	}
	if (!rc && (req->flags & REREG_ACCESS)) {
		rc = check_access(req->access_flags);
		spec->access = req->access_flags;
	}
	if (!rc && (req->flags & REREG_PD)) {
		spec->pd = verbs_handle_get(cmd->uc, FF_OBJ_PD, req->pd_handle);
		rc = spec->pd ? 0 : -EINVAL;
	}
	return rc;
}

/*
 * Puts a new region in the place of the old one, which is freed. On error the old one is as it
 * was. The memory is looked up anew, unless only the PD or the rights that need no look change.
 */
static int
mr_replace(struct ff_mr *old, const struct mr_spec *spec, bool same_memory, struct ff_mr **out)
{
	struct ff_ucontext *uc = old->obj.uc;
	struct ff_mr *mr = calloc(1, sizeof(*mr));
	int rc;

	if (!mr)
		return -ENOMEM;
	if (same_memory)
		mr->umem = old->umem; /* two owners, until the old one goes without it */
	else
		rc = umem_get(uc, &mr->umem, spec);
	if (!same_memory && rc)
		goto err_free;
	mr_fill(mr, spec);
	mr->obj = old->obj;
	rc = mr_publish(mr);
	if (rc)
		goto err_umem;
	rc = mr_retire(old);
	if (rc)
		goto err_unpublish;
	uc->tables[FF_OBJ_MR].slots[mr->obj.handle] = &mr->obj;
	if (!same_memory)
		umem_put(uc, &old->umem);
	mr_free(old);
	*out = mr;
	return 0;

err_unpublish:
	mr_unpublish(mr);
	ff_workers_synchronize();
	if (ff_nic->mr_dereg)
		ff_nic->mr_dereg(mr);
err_umem:
	mr->pd->obj.refs--;
	if (!same_memory)
		umem_put(uc, &mr->umem);
err_free:
	free(mr);
	return rc;
}

int
cmd_rereg_mr(struct verbs_cmd *cmd)
{
	struct ib_uverbs_rereg_mr_resp resp;
	struct ib_uverbs_rereg_mr req;
	struct mr_spec spec;
	struct ff_mr *mr;
	bool same;
	int rc = verbs_request(cmd, &req, sizeof(req));

	if (rc)
		return rc;
	if (!req.flags)
		return -EINVAL;
	if (req.flags & ~(REREG_TRANS | REREG_PD | REREG_ACCESS))
		return -EOPNOTSUPP;
	mr = verbs_handle_get(cmd->uc, FF_OBJ_MR, req.mr_handle);
	if (!mr)
		return -ENOENT;
	rc = rereg_spec(cmd, &req, mr, &spec);
	if (rc)
		return rc;
	/* Memory that was looked up for reading only may not be writable. */
	same = !(req.flags & REREG_TRANS) && (needs_write(mr->access) || !needs_write(spec.access));
	rc = mr_replace(mr, &spec, same, &mr);
	if (rc)
		return rc;
	resp.lkey = resp.rkey = mr->key;
	return verbs_response(cmd, &resp, sizeof(resp));
}
