/* SPDX-License-Identifier: MIT */
/*
 * Copies between mappings of container memory that survive SIGBUS: no page can be had (hole in an
 * exhausted pool, hardware poison), or an unsealed file was cut. Any thread.
 */
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <ucontext.h>

#include "umem.h"

static struct sigaction chained;

/* Not ours: what was there before the handler. A fault comes again by itself. */
static void
sigbus_pass(int sig, siginfo_t *info, void *ucontext)
{
	if ((chained.sa_flags & SA_SIGINFO) && chained.sa_sigaction)
		chained.sa_sigaction(sig, info, ucontext);
	else if (chained.sa_handler != SIG_DFL && chained.sa_handler != SIG_IGN)
		chained.sa_handler(sig);
	else
		signal(sig, SIG_DFL);
}

#if defined(__x86_64__)
#include <cpuid.h>

/* From here on rep movsb is at least as fast as a loop, where the CPU says that it is fast. */
#define REP_MIN 1024u

extern const char copy_text_start[], copy_text_end[], copy_fault[];
int copy_cmp_swap(uint64_t *p, uint64_t compare, uint64_t swap, uint64_t *old);
int copy_fetch_add(uint64_t *p, uint64_t add, uint64_t *old);

/* Read by copy_x86_64.S; constant after init. */
extern uint64_t copy_rep_min __attribute__((visibility("hidden")));
uint64_t copy_rep_min = UINT64_MAX;

static void
sigbus(int sig, siginfo_t *info, void *ucontext)
{
	ucontext_t *uc = ucontext;
	greg_t *ip = &uc->uc_mcontext.gregs[REG_RIP];

	if (info->si_code > 0 && *ip >= (greg_t)copy_text_start && *ip < (greg_t)copy_text_end)
		*ip = (greg_t)copy_fault;
	else
		sigbus_pass(sig, info, ucontext);
}

static void
copy_cpu_init(void)
{
	unsigned a, b, c, d;

	if (__get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & (1u << 9))) /* ERMS */
		copy_rep_min = REP_MIN;
}

int
ff_umem_atomic(enum ff_umem_atomic op, uint64_t *p, uint64_t compare_add, uint64_t swap,
	       uint64_t *old)
{
	if (op == FF_ATOMIC_CMP_SWAP)
		return copy_cmp_swap(p, compare_add, swap, old);
	return copy_fetch_add(p, compare_add, old);
}
#else
#include <setjmp.h>

/* Where this thread's copy goes when it faults; NULL: it is not copying. */
static __thread sigjmp_buf *volatile recover;

static void
sigbus(int sig, siginfo_t *info, void *ucontext)
{
	if (info->si_code > 0 && recover)
		siglongjmp(*recover, 1);
	sigbus_pass(sig, info, ucontext);
}

static void
copy_cpu_init(void)
{
}

/* The end is stored last: programs poll it. */
static void
copy_in_order(uint8_t *to, const uint8_t *from, size_t len)
{
	size_t head = len > 8 ? len - 8 : 0;

	memcpy(to, from, head);
	atomic_thread_fence(memory_order_release);
	memcpy(to + head, from + head, len - head);
}

int
ff_umem_copy(void *dst, const void *src, size_t len)
{
	sigjmp_buf env;

	if (sigsetjmp(env, 0)) {
		recover = NULL;
		return -EFAULT;
	}
	recover = &env;
	atomic_signal_fence(memory_order_seq_cst);
	copy_in_order(dst, src, len);
	atomic_signal_fence(memory_order_seq_cst);
	recover = NULL;
	return 0;
}

int
ff_umem_atomic(enum ff_umem_atomic op, uint64_t *p, uint64_t compare_add, uint64_t swap,
	       uint64_t *old)
{
	_Atomic uint64_t *word = (_Atomic uint64_t *)p;
	sigjmp_buf env;

	if (sigsetjmp(env, 0)) {
		recover = NULL;
		return -EFAULT;
	}
	recover = &env;
	atomic_signal_fence(memory_order_seq_cst);
	if (op == FF_ATOMIC_CMP_SWAP) {
		atomic_compare_exchange_strong(word, &compare_add, swap);
		*old = compare_add;
	} else {
		*old = atomic_fetch_add(word, compare_add);
	}
	atomic_signal_fence(memory_order_seq_cst);
	recover = NULL;
	return 0;
}
#endif

int
ff_umem_copy_init(void)
{
	/* SA_NODEFER: siglongjmp() leaves the mask alone. */
	struct sigaction act = {.sa_sigaction = sigbus, .sa_flags = SA_SIGINFO | SA_NODEFER}, old;

	copy_cpu_init();
	if (sigaction(SIGBUS, &act, &old) < 0)
		return -errno;
	if (!(old.sa_flags & SA_SIGINFO) || old.sa_sigaction != sigbus)
		chained = old;
	return 0;
}
