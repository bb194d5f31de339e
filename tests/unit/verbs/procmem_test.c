/* SPDX-License-Identifier: MIT */
/* dataplane/verbs/procmem.c: jobs on another process's memory. Worker and control are fakes. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CUnit/Basic.h>

#include "../../../dataplane/channel/container.h"
#include "../../../dataplane/verbs/procmem.h"
#include "../../../dataplane/verbs/umem.h"

#define PAGE   4096ul
#define WORKER ((struct ff_worker *)0x1000) /* only ever compared */

static struct ff_container container;
static _Atomic int post_fails; /* that many posts find the queue full */
static _Atomic unsigned came_back;

int
ff_worker_post(struct ff_worker *w, struct ff_msg *m)
{
	if (atomic_load(&post_fails) > 0) {
		atomic_fetch_sub(&post_fails, 1);
		return -ENOSPC;
	}
	CU_ASSERT_PTR_EQUAL(w, WORKER);
	m->fn(m);
	return 0;
}

void
ff_workers_synchronize(void)
{
}

static void
job_done(struct ff_msg *m)
{
	atomic_fetch_add(&came_back, 1);
}

/* A process that maps the same shared page as the test, and sleeps. */
struct victim {
	pid_t pid;
	struct ff_proc *proc;
	uint8_t *shared; /* 64 pages, same address on both sides */
};

static void
victim_start(struct victim *v)
{
	v->shared =
		mmap(NULL, 64 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CU_ASSERT_FATAL(v->shared != MAP_FAILED);
	v->pid = fork();
	if (v->pid == 0) {
		for (;;)
			pause();
	}
	v->proc = ff_proc_new(v->pid, (int)syscall(SYS_pidfd_open, v->pid, 0));
	CU_ASSERT_PTR_NOT_NULL_FATAL(v->proc);
}

static void
victim_end(struct victim *v)
{
	kill(v->pid, SIGKILL);
	waitpid(v->pid, NULL, 0);
	ff_proc_unref(v->proc);
	munmap(v->shared, 64 * PAGE);
}

static void
job_init(struct ff_procmem_job *j, struct victim *v, enum ff_procmem_op op, size_t off,
	 uint32_t len, void *buf)
{
	*j = (struct ff_procmem_job){
		.msg = {.fn = job_done},
		.op = op,
		.proc = v->proc,
		.va = (uintptr_t)v->shared + off,
		.len = len,
		.buf = buf,
		.reply_to = WORKER,
		.status = 1234,
	};
}

static int
job_do(struct ff_procmem_job *j)
{
	unsigned before = atomic_load(&came_back);

	CU_ASSERT_EQUAL_FATAL(ff_procmem_submit(container.procmem, j), 0);
	while (atomic_load(&came_back) == before)
		usleep(10);
	return j->status;
}

static void
test_copies(void)
{
	static uint8_t buf[FF_PROCMEM_MAX];
	struct ff_procmem_job j;
	struct victim v;
	size_t i;

	victim_start(&v);
	CU_ASSERT_EQUAL_FATAL(ff_procmem_get(&container), 0);
	for (i = 0; i < 64 * PAGE; i++)
		v.shared[i] = (uint8_t)(i * 3);
	job_init(&j, &v, FF_PROCMEM_READ, 77, FF_PROCMEM_MAX, buf);
	CU_ASSERT_EQUAL(job_do(&j), 0);
	CU_ASSERT_EQUAL(memcmp(buf, v.shared + 77, FF_PROCMEM_MAX), 0);
	memset(buf, 9, 100);
	job_init(&j, &v, FF_PROCMEM_WRITE, 4090, 100, buf);
	CU_ASSERT_EQUAL(job_do(&j), 0);
	CU_ASSERT_EQUAL(memcmp(v.shared + 4090, buf, 100), 0);
	CU_ASSERT_EQUAL(v.shared[4089], (uint8_t)(4089 * 3));
	CU_ASSERT_EQUAL(v.shared[4190], (uint8_t)(4190 * 3));
	/* The whole length or an error. */
	job_init(&j, &v, FF_PROCMEM_READ, 64 * PAGE, 1, buf);
	j.va = 4096;
	CU_ASSERT_EQUAL(job_do(&j), -EFAULT);
	ff_procmem_stop(&container);
	CU_ASSERT_PTR_NULL(container.procmem);
	victim_end(&v);
}

static void
test_atomics(void)
{
	struct ff_procmem_job j;
	uint64_t *word, old = 0;
	struct victim v;

	victim_start(&v);
	CU_ASSERT_EQUAL_FATAL(ff_procmem_get(&container), 0);
	word = (uint64_t *)(v.shared + 64);
	*word = 10;
	job_init(&j, &v, FF_PROCMEM_FETCH_ADD, 64, 8, &old);
	j.compare_add = 5;
	CU_ASSERT_EQUAL(job_do(&j), 0);
	CU_ASSERT(*word == 15 && old == 10);
	job_init(&j, &v, FF_PROCMEM_CMP_SWAP, 64, 8, &old);
	j.compare_add = 15;
	j.swap = 100;
	CU_ASSERT_EQUAL(job_do(&j), 0);
	CU_ASSERT(*word == 100 && old == 15);
	CU_ASSERT_EQUAL(job_do(&j), 0);
	CU_ASSERT(*word == 100 && old == 100);
	ff_procmem_stop(&container);
	victim_end(&v);
}

static void
test_dead(void)
{
	struct ff_procmem_job j;
	uint8_t buf[8];
	struct victim v;

	victim_start(&v);
	CU_ASSERT_EQUAL_FATAL(ff_procmem_get(&container), 0);
	kill(v.pid, SIGKILL);
	job_init(&j, &v, FF_PROCMEM_READ, 0, 8, buf);
	waitpid(v.pid, NULL, 0);
	CU_ASSERT_EQUAL(job_do(&j), -ESRCH);
	ff_procmem_stop(&container);
	victim_end(&v);
}

/* A full reply queue loses nothing. */
static void
test_reply_full(void)
{
	struct ff_procmem_job j;
	uint8_t buf[8];
	struct victim v;

	victim_start(&v);
	CU_ASSERT_EQUAL_FATAL(ff_procmem_get(&container), 0);
	atomic_store(&post_fails, 40);
	job_init(&j, &v, FF_PROCMEM_READ, 0, 8, buf);
	CU_ASSERT_EQUAL(job_do(&j), 0);
	CU_ASSERT_EQUAL(atomic_load(&post_fails), 0);
	ff_procmem_stop(&container);
	victim_end(&v);
}

/* ---- several workers, a full queue, and an end in the middle ---- */

#define JOBS 20000
struct producer {
	pthread_t thread;
	struct ff_procmem_job *jobs;
	struct ff_procmem *p;
	unsigned full;
};

static void *
producer_main(void *arg)
{
	struct producer *pr = arg;
	unsigned i;

	for (i = 0; i < JOBS; i++)
		while (ff_procmem_submit(pr->p, &pr->jobs[i]) == -ENOSPC) {
			pr->full++;
			usleep(5);
		}
	return NULL;
}

static void
test_many(void)
{
	static uint8_t buf[2][8];
	struct producer pr[2] = {0};
	struct victim v;
	unsigned t, i, bad = 0;

	victim_start(&v);
	CU_ASSERT_EQUAL_FATAL(ff_procmem_get(&container), 0);
	atomic_store(&came_back, 0);
	for (t = 0; t < 2; t++) {
		pr[t].p = container.procmem;
		pr[t].jobs = calloc(JOBS, sizeof(*pr[t].jobs));
		for (i = 0; i < JOBS; i++) {
			job_init(&pr[t].jobs[i], &v, FF_PROCMEM_FETCH_ADD, 0, 8, buf[t]);
			pr[t].jobs[i].compare_add = 1;
		}
		pthread_create(&pr[t].thread, NULL, producer_main, &pr[t]);
	}
	for (t = 0; t < 2; t++)
		pthread_join(pr[t].thread, NULL);
	while (atomic_load(&came_back) < 2 * JOBS)
		usleep(100);
	for (t = 0; t < 2; t++) {
		for (i = 0; i < JOBS; i++)
			bad += pr[t].jobs[i].status != 0;
		free(pr[t].jobs);
	}
	CU_ASSERT_EQUAL(bad, 0);
	CU_ASSERT_EQUAL(*(uint64_t *)v.shared, 2 * JOBS);
	ff_procmem_stop(&container);
	victim_end(&v);
}

/* A full queue says so; what is in it when the copier ends comes back. */
static void
test_stop(void)
{
	struct ff_procmem_job *jobs = calloc(3000, sizeof(*jobs));
	static uint8_t buf[FF_PROCMEM_MAX];
	unsigned i, queued = 0, cancelled = 0, other = 0;
	struct victim v;

	victim_start(&v);
	CU_ASSERT_EQUAL_FATAL(ff_procmem_get(&container), 0);
	atomic_store(&came_back, 0);
	atomic_store(&post_fails, 1000000); /* the copier cannot go on after its first job */
	for (i = 0; i < 3000; i++) {
		job_init(&jobs[i], &v, FF_PROCMEM_READ, 0, FF_PROCMEM_MAX, buf);
		if (ff_procmem_submit(container.procmem, &jobs[i]))
			break;
		queued++;
	}
	CU_ASSERT(queued >= 512 && queued < 3000);
	atomic_store(&post_fails, 0);
	ff_procmem_stop(&container);
	for (i = 0; i < 1000 && atomic_load(&came_back) < queued; i++)
		usleep(1000);
	CU_ASSERT_EQUAL(atomic_load(&came_back), queued);
	for (i = 0; i < queued; i++) {
		cancelled += jobs[i].status == -ECANCELED;
		other += jobs[i].status != -ECANCELED && jobs[i].status != 0;
	}
	CU_ASSERT_EQUAL(other, 0);
	ff_procmem_stop(&container);
	victim_end(&v);
	free(jobs);
	printf("(%u queued, %u cancelled) ", queued, cancelled);
}

int
main(void)
{
	CU_TestInfo tests[] = {
		{"copies", test_copies},
		{"atomics", test_atomics},
		{"dead process", test_dead},
		{"full reply queue", test_reply_full},
		{"many jobs of two workers", test_many},
		{"stop", test_stop},
		CU_TEST_INFO_NULL,
	};
	CU_SuiteInfo suites[] = {{"verbs/procmem", NULL, NULL, NULL, NULL, tests},
				 CU_SUITE_INFO_NULL};
	unsigned failed;

	if (CU_initialize_registry() != CUE_SUCCESS || CU_register_suites(suites) != CUE_SUCCESS)
		return 1;
	CU_basic_set_mode(CU_BRM_VERBOSE);
	CU_basic_run_tests();
	failed = CU_get_number_of_failures();
	CU_cleanup_registry();
	return failed != 0;
}
