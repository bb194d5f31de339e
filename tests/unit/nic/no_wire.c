/* SPDX-License-Identifier: MIT */
/* In place of nic/soft_roce, for the tests of the local backend alone: there is no other host. */
#include <stdlib.h>

#include "../../../dataplane/nic/local/local_priv.h"
#include "../../../dataplane/nic/soft_roce/soft_roce.h"

bool
sroce_enabled(void)
{
	return false;
}

uint8_t
sroce_mtu(const struct ff_container *c)
{
	return 0;
}

int
sroce_init(void)
{
	return 0;
}

void
sroce_fini(void)
{
}

int
sroce_ask(struct ff_container *c, const uint8_t gid[16])
{
	return 0;
}

void
sroce_address(const struct ff_container *c, const uint8_t gid[16], bool here)
{
}

void
sroce_transport_counters(unsigned worker, struct ff_nic_counters *out)
{
}

bool
sroce_qp_peer(const struct ff_qp *qp, struct ff_nic_peer *out)
{
	return false;
}

void
sroce_tenant_gone(uint32_t index)
{
}

void
sroce_port_counters(unsigned worker, struct ff_nic_counters *out)
{
}

void
sroce_qp_counters(const struct ff_qp *qp, struct ff_nic_counters *out)
{
}

int
sroce_modify(struct lqp *l)
{
	return 0;
}

void
sroce_post(struct lqp *l, struct lop *op)
{
	abort();
}

void
sroce_stop(struct lqp *l)
{
}

bool
sroce_is_remote(const struct lqp *l, const uint8_t gid[16])
{
	return false;
}

void
sroce_free(struct lqp *l)
{
}
