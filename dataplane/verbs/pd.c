/* SPDX-License-Identifier: MIT */
/* Protection domains. Control thread. */
#include <stdlib.h>

#include "verbs_priv.h"

/*
 * ids: 24 bits that are unique among the living, and 8 bits that change each time, so that what
 * still carries the id of a dead PD (an operation in flight) does not fit a new one.
 */
static struct ff_idtab ids;
static uint32_t generation;

void
pds_init(void)
{
	ff_idtab_init(&ids, 1);
}

void
pds_fini(void)
{
	ff_idtab_fini(&ids);
}

void
pd_release(struct ff_pd *pd)
{
	struct ff_container *c = pd->obj.uc->container;

	verbs_handle_del(&pd->obj, FF_OBJ_PD);
	ff_idtab_remove(&ids, pd->id & ((1u << FF_IDTAB_BITS) - 1));
	free(pd);
	ff_quota_give(c, FF_QUOTA_PDS, 1);
}

int
cmd_alloc_pd(struct verbs_cmd *cmd)
{
	struct ff_container *c = cmd->uc->container;
	struct ib_uverbs_alloc_pd_resp resp;
	struct ib_uverbs_alloc_pd req;
	struct ff_pd *pd;
	uint32_t id;
	int rc = verbs_request(cmd, &req, sizeof(req));

	if (rc)
		return rc;
	rc = ff_quota_take(c, FF_QUOTA_PDS, 1);
	if (rc)
		return rc;
	rc = -ENOMEM;
	pd = calloc(1, sizeof(*pd));
	if (!pd)
		goto err_quota;
	rc = ff_idtab_insert(&ids, pd, &id);
	if (rc)
		goto err_free;
	pd->id = id | ++generation << FF_IDTAB_BITS;
	rc = verbs_handle_add(cmd->uc, FF_OBJ_PD, &pd->obj);
	if (rc)
		goto err_id;
	resp.pd_handle = pd->obj.handle;
	return verbs_response(cmd, &resp, sizeof(resp));

err_id:
	ff_idtab_remove(&ids, id);
err_free:
	free(pd);
err_quota:
	ff_quota_give(c, FF_QUOTA_PDS, 1);
	return rc;
}

int
cmd_dealloc_pd(struct verbs_cmd *cmd)
{
	struct ib_uverbs_dealloc_pd req;
	struct ff_pd *pd;
	int rc = verbs_request(cmd, &req, sizeof(req));

	if (rc)
		return rc;
	pd = verbs_handle_get(cmd->uc, FF_OBJ_PD, req.pd_handle);
	if (!pd)
		return -ENOENT;
	if (pd->obj.refs)
		return -EBUSY;
	pd_release(pd);
	return 0;
}
