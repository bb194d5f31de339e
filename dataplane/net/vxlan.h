/* SPDX-License-Identifier: MIT */
/* VXLAN (RFC 7348): the VXLAN and the inner Ethernet header. Pure functions, any thread. */
#ifndef FF_NET_VXLAN_H
#define FF_NET_VXLAN_H

#include <stdint.h>

#define FF_VXLAN_LEN	 8u
#define FF_ETHER_LEN	 14u
#define FF_ENCAP_LEN	 (FF_VXLAN_LEN + FF_ETHER_LEN) /* between outer UDP and inner IP */
#define FF_VXLAN_VNI_MAX 0xffffffu

/*
 * Writes both headers. first: the inner packet's first byte, whose version chooses the Ethernet
 * type. 0, or -EINVAL: neither IPv4 nor IPv6, or no VNI of 24 bits.
 */
int ff_vxlan_encap(uint8_t out[FF_ENCAP_LEN], uint32_t vni, const uint8_t dst_mac[6],
		   const uint8_t src_mac[6], uint8_t first);
/*
 * Checks a datagram's payload. Returns 0: the inner packet is the *inner_len bytes at
 * bytes + FF_ENCAP_LEN (what Ethernet padded is cut off). -EBADMSG: it is none, or not whole.
 * Nothing else of the inner packet is checked than version and length.
 */
int ff_vxlan_decap(const uint8_t *bytes, uint32_t len, uint32_t *vni, uint32_t *inner_len);

#endif
