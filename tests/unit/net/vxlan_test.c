/* SPDX-License-Identifier: MIT */
/* Tests dataplane/net/vxlan.c: the headers byte by byte, and what is no VXLAN. */
#include <CUnit/Basic.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "net/vxlan.h"

static const uint8_t dst[6] = {2, 0, 0, 0, 0, 1}, src[6] = {2, 0, 0, 0, 0, 2};

/* An encapsulated packet of the version, as long as the header that it has. */
static uint32_t
make(uint8_t out[128], unsigned version)
{
	uint32_t len = version == 4 ? 20 : 40;

	memset(out, 0, 128);
	out[FF_ENCAP_LEN] = (uint8_t)(version << 4);
	if (version == 4)
		out[FF_ENCAP_LEN + 3] = 20;
	CU_ASSERT_EQUAL(ff_vxlan_encap(out, 0x123456, dst, src, out[FF_ENCAP_LEN]), 0);
	return FF_ENCAP_LEN + len;
}

/* From memory of exactly that size, so that a sanitizer sees a read beyond it. */
static int
decap(const uint8_t *bytes, uint32_t len, uint32_t *vni, uint32_t *inner)
{
	uint8_t *copy = malloc(len ? len : 1);
	int rc;

	memcpy(copy, bytes, len);
	rc = ff_vxlan_decap(copy, len, vni, inner);
	free(copy);
	return rc;
}

static int
decap_rc(const uint8_t *bytes, uint32_t len)
{
	uint32_t vni, inner;

	return decap(bytes, len, &vni, &inner);
}

static void
test_headers(void)
{
	static const uint8_t want[FF_ENCAP_LEN] = {0x08, 0, 0, 0, 0x12, 0x34, 0x56, 0, 2, 0,	0,
						   0,	 0, 1, 2, 0,	0,    0,    0, 2, 0x08, 0};
	uint8_t b[128];

	make(b, 4);
	CU_ASSERT_EQUAL(memcmp(b, want, sizeof(want)), 0);
	make(b, 6);
	CU_ASSERT_EQUAL(memcmp(b, want, 20), 0);
	CU_ASSERT(b[20] == 0x86 && b[21] == 0xdd);
	CU_ASSERT_EQUAL(ff_vxlan_encap(b, 0x1000000, dst, src, 0x45), -EINVAL);
	CU_ASSERT_EQUAL(ff_vxlan_encap(b, 1, dst, src, 0x55), -EINVAL);
	CU_ASSERT_EQUAL(ff_vxlan_encap(b, 1, dst, src, 0), -EINVAL);
}

static void
test_back(void)
{
	uint32_t vni, inner;
	uint8_t b[128];

	for (unsigned version = 4; version <= 6; version += 2) {
		uint32_t len = make(b, version);

		CU_ASSERT_EQUAL(decap(b, len, &vni, &inner), 0);
		CU_ASSERT(vni == 0x123456 && inner == len - FF_ENCAP_LEN);
		/* What Ethernet padded. */
		CU_ASSERT_EQUAL(decap(b, len + 17, &vni, &inner), 0);
		CU_ASSERT_EQUAL(inner, len - FF_ENCAP_LEN);
		/* Reserved bits. */
		b[0] = 0xff;
		b[1] = b[2] = b[3] = b[7] = 0xff;
		CU_ASSERT_EQUAL(decap(b, len, &vni, &inner), 0);
		CU_ASSERT_EQUAL(vni, 0x123456);
	}
}

static void
test_refused(void)
{
	uint8_t b[128];

	for (unsigned version = 4; version <= 6; version += 2) {
		uint32_t len = make(b, version);

		for (uint32_t cut = 0; cut < len; cut++)
			CU_ASSERT_EQUAL(decap_rc(b, cut), -EBADMSG);
		b[0] = (uint8_t)~0x08u;
		CU_ASSERT_EQUAL(decap_rc(b, len), -EBADMSG);
		make(b, version);
		b[20] ^= 0x80; /* each type claims the other version, or nothing */
		CU_ASSERT_EQUAL(decap_rc(b, len), -EBADMSG);
		make(b, version);
		b[21]++;
		CU_ASSERT_EQUAL(decap_rc(b, len), -EBADMSG);
		make(b, version);
		b[FF_ENCAP_LEN] ^= 0x20; /* 4 <-> 6 */
		CU_ASSERT_EQUAL(decap_rc(b, 128), -EBADMSG);
		make(b, version);
		b[FF_ENCAP_LEN + (version == 4 ? 3 : 5)]++; /* one byte more than there is */
		CU_ASSERT_EQUAL(decap_rc(b, len), -EBADMSG);
		CU_ASSERT_EQUAL(decap_rc(b, len + 1), 0);
		b[FF_ENCAP_LEN + (version == 4 ? 2 : 4)] = 0xff;
		CU_ASSERT_EQUAL(decap_rc(b, 128), -EBADMSG);
	}
	make(b, 4);
	b[FF_ENCAP_LEN + 3] = 19; /* shorter than its own header */
	CU_ASSERT_EQUAL(decap_rc(b, 128), -EBADMSG);
}

int
main(void)
{
	unsigned failed;
	CU_pSuite s;

	CU_initialize_registry();
	s = CU_add_suite("net/vxlan", NULL, NULL);
	CU_add_test(s, "headers", test_headers);
	CU_add_test(s, "there and back", test_back);
	CU_add_test(s, "refused", test_refused);
	CU_basic_set_mode(CU_BRM_VERBOSE);
	CU_basic_run_tests();
	failed = CU_get_number_of_failures();
	CU_cleanup_registry();
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
