/* SPDX-License-Identifier: MIT */
/* See suite.h. */
#include "suite.h"

#include <CUnit/Basic.h>

int
suite_main(const char *name, const struct suite_test *tests, unsigned n)
{
	CU_pSuite s;
	unsigned failures;

	if (CU_initialize_registry() || !(s = CU_add_suite(name, NULL, NULL)))
		return 1;
	for (unsigned i = 0; i < n; i++)
		CU_add_test(s, tests[i].name, tests[i].fn);
	CU_basic_set_mode(CU_BRM_VERBOSE);
	CU_basic_run_tests();
	failures = CU_get_number_of_failures();
	CU_cleanup_registry();
	return failures != 0;
}
