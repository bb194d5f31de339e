/* SPDX-License-Identifier: MIT */
/* Address handles, and the checks of addresses that QPs share. Control thread. */
#include <netinet/in.h>
#include <stdlib.h>

#include "verbs_priv.h"

#define AH_SL_MAX 15u

bool
ah_is_multicast(const uint8_t gid[16])
{
	struct in6_addr a;

	memcpy(&a, gid, sizeof(a));
	return IN6_IS_ADDR_MULTICAST(&a) || (IN6_IS_ADDR_V4MAPPED(&a) && gid[12] >> 4 == 0xe);
}

int
ah_attr_check(const struct ff_container *c, const struct ff_ah_attr *a)
{
	static const uint8_t none[16];

	/* RoCE has no addresses but global ones. */
	if (a->port_num != FF_PORT_NUM || !a->is_global || a->sl > AH_SL_MAX)
		return -EINVAL;
	if (a->sgid_index >= FF_GIDS_MAX || !memcmp(a->dgid, none, sizeof(none)))
		return -EINVAL;
	return c->gids[a->sgid_index].valid ? 0 : -ENODATA;
}

bool
ah_is_away(const struct ff_container *c, const uint8_t dgid[16])
{
	return !ah_is_multicast(dgid) && !ff_container_by_gid(c->tenant, dgid);
}

int
ah_policy_check(struct ff_container *c, const uint8_t dgid[16])
{
	const struct ff_container *to;
	int rc = 0;

	if (ah_is_multicast(dgid))
		return 0; /* groups are the tenant's own */
	to = ff_container_by_gid(c->tenant, dgid);
	/* Not on this host: the router there decides, if there is a way to it. */
	if (to)
		rc = ff_policy_allows(c, to) ? 0 : -EACCES;
	else if (ff_nic->ask)
		rc = ff_nic->ask(c, dgid);
	if (rc)
		ff_container_count(c, FF_CC_POLICY_REFUSED, 1);
	return rc;
}

void
ah_unpublish(struct ff_ah *ah)
{
	ff_idtab_remove(&ff_ahs, ah->ah_num);
}

void
ah_release(struct ff_ah *ah)
{
	struct ff_ucontext *uc = ah->obj.uc;

	verbs_handle_del(&ah->obj, FF_OBJ_AH);
	ah->pd->obj.refs--;
	free(ah);
	ff_quota_give(uc->container, FF_QUOTA_AHS, 1);
}

static struct ff_ah_attr
attr_of(const struct ib_uverbs_ah_attr *u)
{
	struct ff_ah_attr a = {
		.sgid_index = u->grh.sgid_index,
		.hop_limit = u->grh.hop_limit,
		.traffic_class = u->grh.traffic_class,
		.sl = u->sl,
		.port_num = u->port_num,
		.flow_label = u->grh.flow_label & 0xfffff,
		.is_global = u->is_global,
	};

	memcpy(a.dgid, u->grh.dgid, sizeof(a.dgid));
	return a;
}

/* Handle and number. 0 or -errno. */
static int
ah_publish(struct ff_ucontext *uc, struct ff_ah *ah)
{
	int rc = verbs_handle_add(uc, FF_OBJ_AH, &ah->obj);

	if (rc)
		return rc;
	rc = ff_idtab_insert(&ff_ahs, ah, &ah->ah_num);
	if (rc)
		verbs_handle_del(&ah->obj, FF_OBJ_AH);
	return rc;
}

int
cmd_create_ah(struct verbs_cmd *cmd)
{
	struct ff_ucontext *uc = cmd->uc;
	struct rxe_create_ah_resp drv = {0};
	struct ib_uverbs_create_ah_resp resp;
	struct ib_uverbs_create_ah req;
	struct ff_ah_attr attr;
	struct ff_pd *pd;
	struct ff_ah *ah;
	int rc = verbs_request(cmd, &req, sizeof(req));

	if (rc)
		return rc;
	attr = attr_of(&req.attr);
	pd = verbs_handle_get(uc, FF_OBJ_PD, req.pd_handle);
	rc = pd ? ah_attr_check(uc->container, &attr) : -EINVAL;
	if (!rc)
		rc = ah_policy_check(uc->container, attr.dgid);
	if (!rc)
		rc = ff_quota_take(uc->container, FF_QUOTA_AHS, 1);
	if (rc)
		return rc;
	rc = -ENOMEM;
	ah = calloc(1, sizeof(*ah));
	if (!ah)
		goto err_quota;
	ah->pd = pd;
	ah->attr = attr;
	ah->obj.user_handle = req.user_handle;
	rc = ah_publish(uc, ah);
	if (rc)
		goto err_free;
	pd->obj.refs++;
	resp.ah_handle = ah->obj.handle;
	drv.ah_num = ah->ah_num;
	/* Providers of before rdma-core 41 have no room for it: their WQEs hold the address. */
	if (cmd->drv_out_cap >= sizeof(drv))
		verbs_response_drv(cmd, &drv, sizeof(drv));
	return verbs_response(cmd, &resp, sizeof(resp));

err_free:
	free(ah);
err_quota:
	ff_quota_give(uc->container, FF_QUOTA_AHS, 1);
	return rc;
}

int
cmd_destroy_ah(struct verbs_cmd *cmd)
{
	struct ib_uverbs_destroy_ah req;
	struct ff_ah *ah;
	int rc = verbs_request(cmd, &req, sizeof(req));

	if (rc)
		return rc;
	ah = verbs_handle_get(cmd->uc, FF_OBJ_AH, req.ah_handle);
	if (!ah)
		return -ENOENT;
	ah_unpublish(ah);
	verbs_synchronize();
	ah_release(ah);
	return 0;
}
