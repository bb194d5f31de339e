/* SPDX-License-Identifier: MIT */
/* How the files that ask the kernel put their questions together. kernel_nl.c; control thread. */
#ifndef FF_OVERLAY_KERNEL_NL_H
#define FF_OVERLAY_KERNEL_NL_H

#include <libmnl/libmnl.h>

#include "kernel_priv.h"

/* A message for a question: NL_REQUEST_MAX bytes of buf; *header: len bytes, all zeroes. */
#define NL_REQUEST_MAX 256u
struct nlmsghdr *nl_request(void *buf, uint16_t type, size_t len, void **header);
/*
 * Sends it and calls cb for each message of the answer, which is one, or with NLM_F_DUMP as many as
 * there are. 0 or -errno, which may be the kernel's; -EINTR: the dump is not of one moment.
 */
int nl_query(struct netspace *ns, struct nlmsghdr *nlh, mnl_cb_t cb, void *arg);

/* Addresses of 4 or 16 bytes; IPv4 as ::ffff:a.b.c.d. */
bool nl_is_v4(const uint8_t addr[16]);
void nl_put_addr(struct nlmsghdr *nlh, uint16_t type, const uint8_t addr[16]);
bool nl_addr(const void *bytes, size_t len, uint8_t addr[16]);
/* False, and out as it was, for one of another length. */
bool nl_attr_addr(const struct nlattr *attr, uint8_t addr[16]);
bool nl_attr_mac(const struct nlattr *attr, uint8_t mac[6]);
bool nl_attr_u32(const struct nlattr *attr, uint32_t *out);

#endif
