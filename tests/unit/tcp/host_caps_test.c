/* SPDX-License-Identifier: MIT */
/* Tests dataplane/tcp/host_caps.c: processes in another network namespace. Needs root. */
#include <CUnit/Basic.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tcp/host.h"

#define SKIP 77 /* what meson takes for a skipped test */

static int netns;

/* Which of its sets a process in there has not emptied. */
enum keeps { NONE, BOUNDING, OWN, OWN_OF_THREAD };

static void
own_drop(void)
{
	struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct none[2] = {{0}};

	(void)syscall(SYS_capset, &head, none);
}

static void *
wait_for_ever(void *arg)
{
	for (;;)
		pause();
	return arg;
}

static pid_t
process(enum keeps keeps)
{
	pthread_t thread;
	int ready[2];
	char c;
	pid_t pid;

	CU_ASSERT_EQUAL_FATAL(pipe(ready), 0);
	/* Each is the first one of a PID namespace of its own. */
	pid = (pid_t)syscall(SYS_clone, CLONE_NEWPID | SIGCHLD, 0, 0, 0, 0);
	CU_ASSERT_FATAL(pid >= 0);
	if (!pid) {
		(void)setns(netns, CLONE_NEWNET);
		for (int cap = 0; cap <= CAP_LAST_CAP; cap++)
			if (keeps != BOUNDING || cap != CAP_NET_ADMIN)
				(void)prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);
		if (keeps == OWN_OF_THREAD)
			(void)pthread_create(&thread, NULL, wait_for_ever, NULL);
		if (keeps != OWN)
			own_drop();
		(void)!write(ready[1], "x", 1);
		for (;;)
			pause();
	}
	CU_ASSERT_EQUAL(read(ready[0], &c, 1), 1);
	close(ready[0]);
	close(ready[1]);
	return pid;
}

static void
end(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static void
test_confined(void)
{
	pid_t plain, other;

	plain = process(NONE);
	CU_ASSERT(tcp_host_is_confined(netns));
	for (enum keeps k = BOUNDING; k <= OWN_OF_THREAD; k++) {
		other = process(k);
		CU_ASSERT_FALSE(tcp_host_is_confined(netns));
		end(other);
		CU_ASSERT(tcp_host_is_confined(netns));
	}
	end(plain);
}

static void
test_unknown(void)
{
	CU_ASSERT_FALSE(tcp_host_is_confined(-1));
}

int
main(void)
{
	CU_TestInfo tests[] = {
		{"confined", test_confined}, {"unknown", test_unknown}, CU_TEST_INFO_NULL};
	CU_SuiteInfo suites[] = {{"tcp/host_caps", NULL, NULL, NULL, NULL, tests},
				 CU_SUITE_INFO_NULL};
	int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	unsigned failed;

	if (geteuid() || unshare(CLONE_NEWNET)) {
		puts("needs root: namespaces");
		return SKIP;
	}
	netns = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	/* This process, which keeps all, is not in there. */
	if (setns(home, CLONE_NEWNET))
		return 1;
	if (CU_initialize_registry() != CUE_SUCCESS || CU_register_suites(suites) != CUE_SUCCESS)
		return 1;
	CU_basic_set_mode(CU_BRM_VERBOSE);
	CU_basic_run_tests();
	failed = CU_get_number_of_failures();
	CU_cleanup_registry();
	close(home);
	return failed != 0;
}
