/* SPDX-License-Identifier: MIT */
/* VXLAN headers, made and checked. Workers, on the fast path. */
#include <errno.h>
#include <linux/if_ether.h>
#include <string.h>

#include "vxlan.h"

#define FLAG_VNI 0x08u /* "I" */
#define IPV4_LEN 20u
#define IPV6_LEN 40u

static uint16_t
get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

int
ff_vxlan_encap(uint8_t out[FF_ENCAP_LEN], uint32_t vni, const uint8_t dst_mac[6],
	       const uint8_t src_mac[6], uint8_t first)
{
	unsigned version = first >> 4;
	unsigned type = version == 4 ? ETH_P_IP : ETH_P_IPV6;

	if ((version != 4 && version != 6) || vni > FF_VXLAN_VNI_MAX)
		return -EINVAL;
	memset(out, 0, FF_VXLAN_LEN);
	out[0] = FLAG_VNI;
	out[4] = (uint8_t)(vni >> 16);
	out[5] = (uint8_t)(vni >> 8);
	out[6] = (uint8_t)vni;
	memcpy(out + 8, dst_mac, 6);
	memcpy(out + 14, src_mac, 6);
	out[20] = (uint8_t)(type >> 8);
	out[21] = (uint8_t)type;
	return 0;
}

/* Length that the IP header claims, 0 when it is not of the version that Ethernet says. */
static uint32_t
claimed_length(const uint8_t *ip, uint32_t room, unsigned type)
{
	if (type == ETH_P_IP && room >= IPV4_LEN && ip[0] >> 4 == 4)
		return get16(ip + 2);
	if (type == ETH_P_IPV6 && room >= IPV6_LEN && ip[0] >> 4 == 6)
		return IPV6_LEN + get16(ip + 4);
	return 0;
}

int
ff_vxlan_decap(const uint8_t *bytes, uint32_t len, uint32_t *vni, uint32_t *inner_len)
{
	uint32_t room, claimed;

	if (len < FF_ENCAP_LEN + IPV4_LEN)
		return -EBADMSG;
	/* RFC 7348 §5: reserved bits are ignored. §6.1: an inner VLAN tag is a reason to discard,
	 * and to us it is just a type that is not IP. */
	if (!(bytes[0] & FLAG_VNI))
		return -EBADMSG;
	room = len - FF_ENCAP_LEN;
	claimed = claimed_length(bytes + FF_ENCAP_LEN, room, get16(bytes + 20));
	if (claimed < IPV4_LEN || claimed > room)
		return -EBADMSG;
	*vni = (uint32_t)bytes[4] << 16 | (uint32_t)bytes[5] << 8 | bytes[6];
	*inner_len = claimed;
	return 0;
}
