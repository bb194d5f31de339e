/* SPDX-License-Identifier: MIT */
/*
 * SIGSEGV and SIGSYS have a guard of ours below the program's own handler, and SIGSEGV is never
 * blocked; what the program asks for and reads back is its own view. Hooks: any thread.
 */
#include <pthread.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

#include "mem_priv.h"
#include "real.h"

#define NSIG_MAX 65

/* The program's disposition of a guarded signal. */
struct guarded {
	_Atomic(ff_guard_fn) fn; /* NULL: not yet guarded */
	struct sigaction prog;	 /* under view_lock */
};

static struct guarded guards[NSIG_MAX];
static struct ff_lock view_lock;
/* The program's sa_mask of signal n had SIGSEGV; the kernel's has not. */
static _Atomic uint64_t mask_had_segv;
/* This thread believes that it blocks SIGSEGV. */
static __thread bool segv_blocked __attribute__((tls_model("initial-exec")));

static void
view_lock_take(uint64_t *mask)
{
	const uint64_t all = FF_SIG_ALL_ASYNC;

	ff_sys_sigmask(SIG_BLOCK, &all, mask);
	ff_mem_is_vfork();
	ff_lock_acquire(&view_lock);
}

static void
view_lock_drop(const uint64_t *mask)
{
	ff_lock_release(&view_lock);
	ff_sys_sigmask(SIG_SETMASK, mask, NULL);
}

void
ff_signal_child(void)
{
	atomic_store(&view_lock.word, 0);
}

/* ---- the guards ---- */

/* What the kernel does by itself with a signal that nobody handles; as of the fault's registers. */
static void
die_by(int sig, siginfo_t *info)
{
	struct sigaction dfl = {.sa_handler = SIG_DFL};
	uint64_t bit = FF_SIGBIT(sig);

	FF_REAL(sigaction)(sig, &dfl, NULL);
	/* A page fault comes again when the handler returns. All else is sent again, until then
	 * blocked. */
	if (sig == SIGSEGV && info->si_code > 0 && info->si_code != SI_KERNEL)
		return;
	ff_sys_sigmask(SIG_BLOCK, &bit, NULL);
	ff_sys(SYS_rt_tgsigqueueinfo, ff_sys_getpid(), ff_sys_gettid(), sig, info, 0, 0);
}

static void
chain_call(int sig, const struct sigaction *prog, siginfo_t *info, ucontext_t *uc)
{
	uint64_t mask, extra;

	memcpy(&mask, &uc->uc_sigmask, sizeof(mask));
	memcpy(&extra, &prog->sa_mask, sizeof(extra));
	mask |= extra;
	if (!(prog->sa_flags & SA_NODEFER) && sig != SIGSEGV)
		mask |= FF_SIGBIT(sig);
	mask &= ~FF_SIGBIT(SIGSEGV);
	ff_sys_sigmask(SIG_SETMASK, &mask, NULL);
	if (prog->sa_flags & SA_SIGINFO)
		prog->sa_sigaction(sig, info, uc);
	else
		prog->sa_handler(sig);
}

static void
chain(int sig, siginfo_t *info, ucontext_t *uc)
{
	struct guarded *g = &guards[sig];
	bool fault = info->si_code > 0;
	struct sigaction prog;
	uint64_t mask;

	view_lock_take(&mask);
	prog = g->prog;
	if ((prog.sa_flags & SA_RESETHAND) && prog.sa_handler != SIG_IGN)
		g->prog.sa_handler = SIG_DFL;
	view_lock_drop(&mask);
	if (prog.sa_handler == SIG_IGN && !fault)
		return;
	/* A fault can be neither ignored nor blocked. */
	if (prog.sa_handler == SIG_DFL || prog.sa_handler == SIG_IGN ||
	    (fault && sig == SIGSEGV && segv_blocked)) {
		die_by(sig, info);
		return;
	}
	chain_call(sig, &prog, info, uc);
}

static void
guard_entry(int sig, siginfo_t *info, void *ucontext)
{
	ff_guard_fn fn = atomic_load_explicit(&guards[sig].fn, memory_order_acquire);

	if (!fn || !fn(info, ucontext))
		chain(sig, info, ucontext);
}

#if defined(__x86_64__)
/*
 * The way back from a guard must not be a system call of libc's text: syscall user dispatch
 * (mem_fork.c) would send it to the guard again.
 */
__asm__(".text\n"
	".p2align 4\n"
	".type ff_signal_restore, @function\n"
	".hidden ff_signal_restore\n"
	".globl ff_signal_restore\n"
	"	nop\n" /* unwinders look at the byte before */
	"ff_signal_restore:\n"
	"	mov $15, %eax\n" /* rt_sigreturn */
	"	syscall\n"
	".size ff_signal_restore, . - ff_signal_restore\n");
void ff_signal_restore(void) __attribute__((visibility("hidden")));

struct kernel_sigaction {
	void (*handler)(int, siginfo_t *, void *);
	unsigned long flags;
	void (*restorer)(void);
	uint64_t mask;
};

static int
guard_install(int sig)
{
	const struct kernel_sigaction act = {
		.handler = guard_entry,
		.flags = SA_SIGINFO | SA_ONSTACK | 0x04000000 /* SA_RESTORER */,
		.restorer = ff_signal_restore,
		.mask = FF_SIG_ALL_ASYNC,
	};

	return (int)ff_sys(SYS_rt_sigaction, sig, &act, NULL, sizeof(uint64_t), 0, 0);
}
#else
static int
guard_install(int sig)
{
	struct sigaction act = {
		.sa_sigaction = guard_entry,
		.sa_flags = SA_SIGINFO | SA_ONSTACK,
	};
	const uint64_t mask = FF_SIG_ALL_ASYNC;

	memcpy(&act.sa_mask, &mask, sizeof(mask));
	return FF_REAL(sigaction)(sig, &act, NULL);
}
#endif

void
ff_signal_guard(int sig, ff_guard_fn fn)
{
	struct guarded *g = &guards[sig];
	const uint64_t bit = FF_SIGBIT(SIGSEGV);
	uint64_t mask;

	ff_real_init();
	view_lock_take(&mask);
	if (!atomic_load_explicit(&g->fn, memory_order_relaxed)) {
		FF_REAL(sigaction)(sig, NULL, &g->prog);
		atomic_store_explicit(&g->fn, fn, memory_order_release);
		guard_install(sig);
	}
	view_lock_drop(&mask);
	ff_sys_sigmask(SIG_UNBLOCK, &bit, NULL);
}

/* ---- the program's view ---- */

/* True if sig is guarded, and done with. */
static bool
view_swap(int sig, const struct sigaction *act, struct sigaction *old)
{
	struct guarded *g = &guards[sig];
	struct sigaction new, was;
	uint64_t mask;
	bool done;

	if (act)
		new = *act; /* may fault: not under the lock */
	view_lock_take(&mask);
	done = atomic_load_explicit(&g->fn, memory_order_relaxed) != NULL;
	if (done) {
		was = g->prog;
		if (act)
			g->prog = new;
	}
	view_lock_drop(&mask);
	if (done && old)
		*old = was;
	return done;
}

static void
interrupts_note(const struct sigaction *act, uint64_t bit)
{
	if (act->sa_handler != SIG_DFL && act->sa_handler != SIG_IGN &&
	    !(act->sa_flags & SA_RESTART))
		atomic_fetch_or_explicit(&ff_signal_interrupts, bit, memory_order_relaxed);
	else
		atomic_fetch_and_explicit(&ff_signal_interrupts, ~bit, memory_order_relaxed);
}

FF_HOOK int
sigaction(int sig, const struct sigaction *act, struct sigaction *old)
{
	uint64_t bit = sig > 0 && sig < NSIG_MAX ? FF_SIGBIT(sig) : 0;
	bool had = atomic_load(&mask_had_segv) & bit, has = false;
	struct sigaction copy;
	int rc;

	/* A vfork child sets its own handlers, not its parent's. */
	if ((sig == SIGSEGV || sig == SIGSYS) && !ff_mem_is_vfork() && view_swap(sig, act, old))
		return 0;
	if (act && sigismember(&act->sa_mask, SIGSEGV) == 1 && sig != SIGSEGV) {
		copy = *act;
		sigdelset(&copy.sa_mask, SIGSEGV);
		act = &copy;
		has = true;
	}
	rc = FF_REAL(sigaction)(sig, act, old);
	if (rc == 0 && act)
		interrupts_note(act, bit);
	if (rc == 0 && act && has)
		atomic_fetch_or(&mask_had_segv, bit);
	else if (rc == 0 && act && had)
		atomic_fetch_and(&mask_had_segv, ~bit);
	if (rc == 0 && old && had)
		sigaddset(&old->sa_mask, SIGSEGV);
	return rc;
}

static sighandler_t
signal_flags(int sig, sighandler_t handler, int flags)
{
	struct sigaction act = {.sa_handler = handler, .sa_flags = flags}, old;

	if (handler == SIG_ERR) {
		errno = EINVAL;
		return SIG_ERR;
	}
	if (!(flags & SA_NODEFER))
		sigaddset(&act.sa_mask, sig);
	return sigaction(sig, &act, &old) < 0 ? SIG_ERR : old.sa_handler;
}

/* libc's own versions do not come by sigaction() above. */
FF_HOOK sighandler_t
signal(int sig, sighandler_t handler)
{
	return signal_flags(sig, handler, SA_RESTART);
}

sighandler_t bsd_signal(int sig, sighandler_t handler);
FF_HOOK sighandler_t
bsd_signal(int sig, sighandler_t handler)
{
	return signal_flags(sig, handler, SA_RESTART);
}

FF_HOOK sighandler_t
sysv_signal(int sig, sighandler_t handler)
{
	return signal_flags(sig, handler, SA_RESETHAND | SA_NODEFER);
}

FF_HOOK sighandler_t
__sysv_signal(int sig, sighandler_t handler)
{
	return signal_flags(sig, handler, SA_RESETHAND | SA_NODEFER);
}

typedef int (*mask_fn)(int, const sigset_t *, sigset_t *);

static int
view_mask(mask_fn fn, int how, const sigset_t *set, sigset_t *old)
{
	bool in_set = set && sigismember(set, SIGSEGV) == 1;
	bool was = segv_blocked;
	sigset_t copy;
	int rc;

	if (in_set && how != SIG_UNBLOCK) {
		copy = *set;
		sigdelset(&copy, SIGSEGV);
		rc = fn(how, &copy, old);
	} else {
		rc = fn(how, set, old);
	}
	if (rc)
		return rc;
	if (set && how == SIG_SETMASK)
		segv_blocked = in_set;
	else if (in_set)
		segv_blocked = how == SIG_BLOCK;
	if (old && was)
		sigaddset(old, SIGSEGV);
	return 0;
}

FF_HOOK int
sigprocmask(int how, const sigset_t *set, sigset_t *old)
{
	return view_mask(FF_REAL(sigprocmask), how, set, old);
}

FF_HOOK int
pthread_sigmask(int how, const sigset_t *set, sigset_t *old)
{
	return view_mask(FF_REAL(pthread_sigmask), how, set, old);
}
