/* SPDX-License-Identifier: MIT */
/* libFuzzer: a datagram as the udp port gets it from the network, or one of a train of them. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../dataplane/net/vxlan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t mac[6];
	uint8_t *copy = malloc(size ? size : 1); /* exact: a read beyond it is seen */
	uint8_t again[FF_ENCAP_LEN];
	uint32_t vni, len;

	if (!copy)
		abort();
	memcpy(copy, data, size);
	if (ff_vxlan_decap(copy, (uint32_t)size, &vni, &len) == 0) {
		if (len < 20 || size < FF_ENCAP_LEN || len > size - FF_ENCAP_LEN)
			abort();
		/* What got in could have been sent by us: same VNI, same type. */
		if (ff_vxlan_encap(again, vni, mac, mac, copy[FF_ENCAP_LEN]) ||
		    memcmp(again + 4, copy + 4, 3) || memcmp(again + 20, copy + 20, 2))
			abort();
	}
	free(copy);
	return 0;
}
