/* SPDX-License-Identifier: MIT */
/* Tests dataplane/core/idtab.c: ids, limits, lookups while another thread changes the table. */
#include <CUnit/Basic.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#include "core/idtab.h"

static struct ff_idtab tab;

static void
test_insert_get_remove(void)
{
	static int objects[1000];
	uint32_t ids[1000];
	int i, j, same = 0;

	ff_idtab_init(&tab, 2);
	for (i = 0; i < 1000; i++) {
		CU_ASSERT_EQUAL_FATAL(ff_idtab_insert(&tab, &objects[i], &ids[i]), 0);
		CU_ASSERT(ids[i] >= 2 && ids[i] < 1u << FF_IDTAB_BITS);
	}
	CU_ASSERT_EQUAL(tab.count, 1000);
	for (i = 0; i < 1000; i++) {
		CU_ASSERT_PTR_EQUAL(ff_idtab_get(&tab, ids[i]), &objects[i]);
		for (j = 0; j < i; j++)
			same += ids[i] == ids[j];
	}
	CU_ASSERT_EQUAL(same, 0);
	for (i = 0; i < 1000; i++) {
		ff_idtab_remove(&tab, ids[i]);
		CU_ASSERT_PTR_NULL(ff_idtab_get(&tab, ids[i]));
	}
	CU_ASSERT_EQUAL(tab.count, 0);
	ff_idtab_fini(&tab);
}

static void
test_any_id_may_be_asked_for(void)
{
	static const uint32_t ids[] = {0, 1, 0xffffff, 0x1000000, 0x7fffffff, 0xffffffff};
	unsigned i;

	ff_idtab_init(&tab, 0);
	for (i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
		CU_ASSERT_PTR_NULL(ff_idtab_get(&tab, ids[i]));
		ff_idtab_remove(&tab, ids[i]);
	}
	CU_ASSERT_EQUAL(tab.count, 0);
	ff_idtab_fini(&tab);
}

static void
test_min_id(void)
{
	uint32_t id, min = (1u << FF_IDTAB_BITS) - (1u << 20);
	int i, object;

	ff_idtab_init(&tab, min);
	for (i = 0; i < 200; i++) {
		int rc = ff_idtab_insert(&tab, &object, &id);

		/* A sixteenth of the ids is allowed: 64 draws may all miss it. */
		CU_ASSERT(rc == 0 || rc == -ENOSPC);
		if (!rc)
			CU_ASSERT(id >= min);
	}
	CU_ASSERT(tab.count > 100);
	ff_idtab_fini(&tab);
}

static void
test_half_full(void)
{
	uint32_t id;
	int object;

	ff_idtab_init(&tab, 0);
	tab.count = 1u << (FF_IDTAB_BITS - 1);
	CU_ASSERT_EQUAL(ff_idtab_insert(&tab, &object, &id), -ENOSPC);
	tab.count--;
	CU_ASSERT_EQUAL(ff_idtab_insert(&tab, &object, &id), 0);
	CU_ASSERT_EQUAL(tab.count, 1u << (FF_IDTAB_BITS - 1));
	ff_idtab_fini(&tab);
}

/* ---- a reader beside the writer: it sees nothing, or the whole object ---- */

struct object {
	uint32_t a, b;
};
static struct object pool[64];
static _Atomic uint32_t shared_id;
static _Atomic bool reader_stop;
static _Atomic unsigned torn, seen;

static void *
reader(void *arg)
{
	while (!atomic_load(&reader_stop)) {
		struct object *o = ff_idtab_get(&tab, atomic_load(&shared_id));

		if (!o)
			continue;
		atomic_fetch_add(&seen, 1);
		if (o->b != ~o->a)
			atomic_fetch_add(&torn, 1);
	}
	return NULL;
}

static void
test_reader_beside_writer(void)
{
	pthread_t thread;
	uint32_t ids[64];
	unsigned i, round;

	ff_idtab_init(&tab, 0);
	CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, reader, NULL), 0);
	for (i = 0; i < 64; i++) {
		pool[i] = (struct object){i, ~i};
		CU_ASSERT_EQUAL_FATAL(ff_idtab_insert(&tab, &pool[i], &ids[i]), 0);
		atomic_store(&shared_id, ids[i]);
	}
	for (round = 0; round < 2000 || !atomic_load(&seen); round++) {
		i = round % 64;
		ff_idtab_remove(&tab, ids[i]);
		CU_ASSERT_EQUAL_FATAL(ff_idtab_insert(&tab, &pool[i], &ids[i]), 0);
		atomic_store(&shared_id, ids[i]);
	}
	atomic_store(&reader_stop, true);
	pthread_join(thread, NULL);
	CU_ASSERT_EQUAL(atomic_load(&torn), 0);
	ff_idtab_fini(&tab);
}

int
main(void)
{
	unsigned failed;
	CU_pSuite s;

	CU_initialize_registry();
	s = CU_add_suite("idtab", NULL, NULL);
	CU_add_test(s, "insert, get, remove", test_insert_get_remove);
	CU_add_test(s, "any id may be asked for", test_any_id_may_be_asked_for);
	CU_add_test(s, "smallest id", test_min_id);
	CU_add_test(s, "half full", test_half_full);
	CU_add_test(s, "reader beside writer", test_reader_beside_writer);
	CU_basic_set_mode(CU_BRM_VERBOSE);
	CU_basic_run_tests();
	failed = CU_get_number_of_failures();
	CU_cleanup_registry();
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
