// SPDX-License-Identifier: MIT
/* shim/mem_signal.c: the guards below the program's own signal handlers and masks. */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <unistd.h>

#include "mem_util.h"

/* ---- signals ---- */

static void *volatile low_page = (void *)8; /* the compiler shall not see that it is bad */
static sigjmp_buf env;
static void *volatile fault_addr;
static volatile int faults;

static void
on_segv(int sig, siginfo_t *info, void *uc)
{
	fault_addr = info->si_addr;
	faults++;
	siglongjmp(env, 1);
}

static void
on_segv_plain(int sig)
{
	faults++;
	siglongjmp(env, 1);
}

static void
poke(uint8_t *p)
{
	if (sigsetjmp(env, 1) == 0)
		*(volatile uint8_t *)p = 1;
}

static void
test_own_handler(void)
{
	struct sigaction act = {.sa_sigaction = on_segv, .sa_flags = SA_SIGINFO}, old;
	uint8_t *p = converted(MB);

	sigaddset(&act.sa_mask, SIGUSR1);
	CU_ASSERT_EQUAL(sigaction(SIGSEGV, &act, NULL), 0);
	CU_ASSERT_EQUAL(sigaction(SIGSEGV, NULL, &old), 0);
	CU_ASSERT_EQUAL(old.sa_sigaction, on_segv);
	CU_ASSERT_EQUAL(old.sa_flags & SA_SIGINFO, SA_SIGINFO);
	CU_ASSERT_EQUAL(sigismember(&old.sa_mask, SIGUSR1), 1);
	faults = 0;
	mprotect(p, PAGE, PROT_READ);
	poke(p + 17);
	CU_ASSERT_EQUAL(faults, 1);
	CU_ASSERT_EQUAL(fault_addr, p + 17);
	poke(low_page);
	CU_ASSERT_EQUAL(faults, 2);
	/* By signal(), with SA_RESETHAND, and back. */
	CU_ASSERT_EQUAL((void *)signal(SIGSEGV, on_segv_plain), (void *)on_segv);
	poke(p);
	poke(p);
	CU_ASSERT_EQUAL(faults, 4);
	act.sa_flags |= SA_RESETHAND;
	sigaction(SIGSEGV, &act, NULL);
	poke(p);
	CU_ASSERT_EQUAL(faults, 5);
	sigaction(SIGSEGV, NULL, &old);
	CU_ASSERT_EQUAL((void *)old.sa_handler, (void *)SIG_DFL);
	munmap(p, MB);
}

static int
dies(void (*how)(void))
{
	pid_t pid = fork();

	if (pid == 0) {
		how();
		_exit(0);
	}
	return child_status(pid);
}

static uint8_t *victim;

static void
die_write(void)
{
	*(volatile uint8_t *)victim = 1;
}

static void
die_null(void)
{
	*(volatile uint8_t *)low_page = 1;
}

static void
die_ignored(void)
{
	signal(SIGSEGV, SIG_IGN);
	die_null();
}

static void
die_blocked(void)
{
	struct sigaction act = {.sa_sigaction = on_segv, .sa_flags = SA_SIGINFO};
	sigset_t set;

	sigaction(SIGSEGV, &act, NULL);
	sigfillset(&set);
	sigprocmask(SIG_BLOCK, &set, NULL);
	die_null();
}

static void
die_raise(void)
{
	raise(SIGSEGV);
}

static void
live_raise_ignored(void)
{
	signal(SIGSEGV, SIG_IGN);
	raise(SIGSEGV);
	_exit(44);
}

static void
die_general_protection(void)
{
	*(volatile uint8_t *)(uintptr_t)0xdead000000000000ull = 1;
}

static void
die_sys(void)
{
	raise(SIGSYS);
}

/* As without us: a program dies by the signal that it would die by. */
static void
test_default_action(void)
{
	victim = converted(PAGE);
	mprotect(victim, PAGE, PROT_READ);
	signal(SIGSEGV, SIG_DFL);
	CU_ASSERT_EQUAL(dies(die_write), 1000 + SIGSEGV);
	CU_ASSERT_EQUAL(dies(die_null), 1000 + SIGSEGV);
	CU_ASSERT_EQUAL(dies(die_ignored), 1000 + SIGSEGV);
	CU_ASSERT_EQUAL(dies(die_blocked), 1000 + SIGSEGV);
	CU_ASSERT_EQUAL(dies(die_raise), 1000 + SIGSEGV);
	CU_ASSERT_EQUAL(dies(die_general_protection), 1000 + SIGSEGV);
	CU_ASSERT_EQUAL(dies(live_raise_ignored), 44);
	CU_ASSERT_EQUAL(dies(die_sys), 1000 + SIGSYS);
	munmap(victim, PAGE);
}

static void
test_mask_view(void)
{
	struct sigaction act = {.sa_handler = SIG_DFL}, old;
	sigset_t full, none, now;

	sigfillset(&full);
	sigemptyset(&none);
	CU_ASSERT_EQUAL(sigprocmask(SIG_SETMASK, &full, NULL), 0);
	CU_ASSERT_EQUAL(sigprocmask(SIG_SETMASK, NULL, &now), 0);
	CU_ASSERT_EQUAL(sigismember(&now, SIGSEGV), 1);
	CU_ASSERT_EQUAL(sigismember(&now, SIGTERM), 1);
	CU_ASSERT_EQUAL(pthread_sigmask(SIG_SETMASK, &none, &now), 0);
	CU_ASSERT_EQUAL(sigismember(&now, SIGSEGV), 1);
	CU_ASSERT_EQUAL(pthread_sigmask(SIG_BLOCK, &none, &now), 0);
	CU_ASSERT_EQUAL(sigismember(&now, SIGSEGV), 0);
	act.sa_mask = full;
	CU_ASSERT_EQUAL(sigaction(SIGUSR2, &act, NULL), 0);
	CU_ASSERT_EQUAL(sigaction(SIGUSR2, NULL, &old), 0);
	CU_ASSERT_EQUAL(sigismember(&old.sa_mask, SIGSEGV), 1);
	act.sa_mask = none;
	CU_ASSERT_EQUAL(sigaction(SIGUSR2, &act, &old), 0);
	CU_ASSERT_EQUAL(sigismember(&old.sa_mask, SIGSEGV), 1);
	CU_ASSERT_EQUAL(sigaction(SIGUSR2, NULL, &old), 0);
	CU_ASSERT_EQUAL(sigismember(&old.sa_mask, SIGSEGV), 0);
}

/* A vfork child that puts all signals back to default, as launchers do, leaves its parent's. */
static void
test_vfork_handlers(void)
{
	struct sigaction old;
	uint8_t *p = converted(PAGE);
	pid_t pid;

	signal(SIGSEGV, on_segv_plain);
	pid = vfork();
	if (pid == 0) {
		signal(SIGSEGV, SIG_DFL);
		_exit(0);
	}
	CU_ASSERT_EQUAL(child_status(pid), 0);
	sigaction(SIGSEGV, NULL, &old);
	CU_ASSERT_EQUAL((void *)old.sa_handler, (void *)on_segv_plain);
	mprotect(p, PAGE, PROT_READ);
	faults = 0;
	poke(p);
	CU_ASSERT_EQUAL(faults, 1);
	signal(SIGSEGV, SIG_DFL);
	munmap(p, PAGE);
}

/* A handler that runs with everything blocked writes to memory that is being converted. */
static _Atomic(_Atomic uint64_t *) alarm_words;
static _Atomic unsigned alarm_active;

static void
on_alarm(int sig)
{
	_Atomic uint64_t *words;
	unsigned i;

	atomic_fetch_add(&alarm_active, 1);
	words = atomic_load(&alarm_words);
	for (i = 0; words && i < 256; i++)
		atomic_fetch_add(&words[i * 512], 1);
	atomic_fetch_sub(&alarm_active, 1);
}

static void *
spin_main(void *arg)
{
	_Atomic bool *stop = arg;

	while (!atomic_load(stop))
		;
	return NULL;
}

static void
test_handler_writes(void)
{
	struct itimerval every = {{0, 200}, {0, 200}}, off = {0};
	struct sigaction act = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
	_Atomic bool stop = false;
	_Atomic uint64_t *words;
	pthread_t thread;
	unsigned i, k, bad = 0;

	sigfillset(&act.sa_mask);
	sigaction(SIGALRM, &act, NULL);
	pthread_create(&thread, NULL, spin_main, &stop);
	setitimer(ITIMER_REAL, &every, NULL);
	for (i = 0; i < 30; i++) {
		words = (_Atomic uint64_t *)anon(MB);
		atomic_store(&alarm_words, words);
		usleep(1000);
		ff_mem_prepare((void *)words, MB);
		usleep(1000);
		atomic_store(&alarm_words, NULL);
		while (atomic_load(&alarm_active))
			;
		for (k = 0; k < 256; k++)
			bad += words[k * 512] != words[0];
		munmap((void *)words, MB);
	}
	setitimer(ITIMER_REAL, &off, NULL);
	atomic_store(&stop, true);
	pthread_join(thread, NULL);
	CU_ASSERT_EQUAL(bad, 0);
	signal(SIGALRM, SIG_DFL);
}

int
main(void)
{
	CU_TestInfo tests[] = {
		{"own SIGSEGV handler", test_own_handler},
		{"default action", test_default_action},
		{"signal masks", test_mask_view},
		{"vfork child's own handlers", test_vfork_handlers},
		{"handlers that write", test_handler_writes},
		CU_TEST_INFO_NULL,
	};

	return run_tests("shim/mem_signal", tests);
}
