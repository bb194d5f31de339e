/* SPDX-License-Identifier: MIT */
/*
 * fork() with converted memory: the child has its own copy, exact as of fork, before either side
 * goes on. Runs on the forking thread.
 *
 * Writers must be held off around the clone system call and no longer: before it, fork() takes
 * locks (malloc's, the program's) whose owners may be among those writers. The last moment before
 * clone is the clone itself: from our atfork handler on, the thread's system calls come to a
 * SIGSYS guard (syscall user dispatch, Linux 5.11), which passes them on, and does clone between
 * snapshot and release. Where there is no such dispatch, nothing is converted in the first place.
 * clone() called directly as a system call, without CLONE_VM, is not covered.
 */
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <ucontext.h>

#include "mem_priv.h"
#include "mem_snapshot.h"
#include "real.h"

#define ALT_STACK	 (64ul << 10)
#define DISPATCH_SI_CODE 2  /* SYS_USER_DISPATCH */
#define PRCTL_DISPATCH	 59 /* PR_SET_SYSCALL_USER_DISPATCH */

/* First byte and end of this library's code: its own system calls are not dispatched. */
extern const char __ehdr_start[] __attribute__((visibility("hidden")));
extern const char etext[] __attribute__((visibility("hidden")));

/* This thread's fork. */
static __thread struct {
	bool begun;		  /* between our prepare and our parent or child handler */
	bool dispatch;		  /* system calls come to the guard */
	struct ff_snapshot *snap; /* made without dispatch; the child handler installs it */
	bool failed;		  /* it could not be made */
	uint64_t mask;
	void *alt; /* signal stack that we gave the thread */
} this_fork __attribute__((tls_model("initial-exec")));

static _Atomic bool armed;	   /* our atfork handlers are in */
static _Atomic uint32_t unguarded; /* calls of fork() that began before */

bool
ff_fork_unguarded(void)
{
	return atomic_load(&unguarded) != 0;
}

static void
dispatch_set(bool on)
{
	if (on)
		this_fork.dispatch = ff_sys(SYS_prctl, PRCTL_DISPATCH, 1, __ehdr_start,
					    (uintptr_t)etext - (uintptr_t)__ehdr_start, 0, 0) == 0;
	else if (this_fork.dispatch)
		ff_sys(SYS_prctl, PRCTL_DISPATCH, 0, 0, 0, 0, 0);
	if (!on)
		this_fork.dispatch = false;
}

/*
 * Made before clone, without holding anyone, and put in place by the child's handler: what other
 * threads write in between may be missing. For what cannot be dispatched.
 */
static void
snapshot_early(void)
{
	uint64_t mask;

	ff_mem_lock(&mask);
	this_fork.failed = ff_snapshot_take(&this_fork.snap, false) != 0;
	ff_mem_unlock(&mask);
}

/* ---- clone between snapshot and release ---- */

static long
section_enter(struct ff_snapshot **s, uint64_t *mask)
{
	int rc;

	ff_mem_lock(mask);
	rc = ff_snapshot_take(s, true);
	if (rc)
		ff_mem_unlock(mask);
	return rc;
}

static void
section_leave(struct ff_snapshot *s, bool child, const uint64_t *mask)
{
	if (child)
		ff_snapshot_install(s);
	else
		ff_snapshot_drop(s);
	ff_mem_unlock(mask);
}

#if defined(__x86_64__)
static bool
is_fork(long nr, const long *arg)
{
	if (nr == SYS_fork)
		return true;
	if (nr == SYS_clone)
		return !(arg[0] & CLONE_VM);
	/* struct clone_args: flags come first. */
	return nr == SYS_clone3 && !(*(const uint64_t *)arg[0] & CLONE_VM);
}

static bool
is_special(long nr)
{
	return nr == SYS_rt_sigreturn || nr == SYS_vfork || nr == SYS_clone || nr == SYS_clone3;
}

static long
emulate_sigmask(ucontext_t *uc, const long *arg)
{
	uint64_t *now = (uint64_t *)&uc->uc_sigmask, was = *now, set;

	if (arg[3] != sizeof(uint64_t))
		return -EINVAL;
	if (arg[1]) {
		set = *(const uint64_t *)arg[1];
		if (arg[0] == SIG_BLOCK)
			*now |= set;
		else if (arg[0] == SIG_UNBLOCK)
			*now &= ~set;
		else if (arg[0] == SIG_SETMASK)
			*now = set;
		else
			return -EINVAL;
		*now &= FF_SIG_ALL_ASYNC;
	}
	if (arg[2])
		*(uint64_t *)arg[2] = was;
	return 0;
}

static long
dispatched_clone(long nr, const long *arg)
{
	struct ff_snapshot *s;
	uint64_t mask;
	long ret;

	dispatch_set(false);
	ret = section_enter(&s, &mask);
	if (ret)
		return ret;
	ret = ff_sys6(nr, arg[0], arg[1], arg[2], arg[3], arg[4], arg[5]);
	section_leave(s, ret == 0, &mask);
	return ret;
}

static bool
guard_sys(siginfo_t *info, void *ucontext)
{
	ucontext_t *uc = ucontext;
	greg_t *r = uc->uc_mcontext.gregs;
	const long arg[6] = {r[REG_RDI], r[REG_RSI], r[REG_RDX], r[REG_R10], r[REG_R8], r[REG_R9]};
	long nr = info->si_syscall;

	if (info->si_code != DISPATCH_SI_CODE || !this_fork.dispatch)
		return false;
	if (is_fork(nr, arg)) {
		r[REG_RAX] = dispatched_clone(nr, arg);
	} else if (is_special(nr)) {
		/* An atfork handler does what only the thread itself can: let it. */
		dispatch_set(false);
		snapshot_early();
		r[REG_RAX] = nr;
		r[REG_RIP] -= 2;
	} else if (nr == SYS_rt_sigprocmask) {
		r[REG_RAX] = emulate_sigmask(uc, arg);
	} else {
		r[REG_RAX] = ff_sys6(nr, arg[0], arg[1], arg[2], arg[3], arg[4], arg[5]);
	}
	return true;
}
#else
static bool
guard_sys(siginfo_t *info, void *ucontext)
{
	return false;
}
#endif

/* ---- atfork ---- */

/*
 * The thread's stack may lie in converted memory, and would change under the section's feet:
 * the guard runs on a stack of its own.
 */
static void
alt_stack_set(void)
{
	stack_t old = {0}, new = {.ss_size = ALT_STACK};

	ff_sys(SYS_sigaltstack, NULL, &old, 0, 0, 0, 0);
	if (!(old.ss_flags & SS_DISABLE))
		return;
	new.ss_sp = ff_sys_mmap(NULL, ALT_STACK, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (ff_sys_bad(new.ss_sp))
		return;
	if (ff_sys(SYS_sigaltstack, &new, NULL, 0, 0, 0, 0) == 0)
		this_fork.alt = new.ss_sp;
	else
		ff_sys_munmap(new.ss_sp, ALT_STACK);
}

static void
alt_stack_reset(void)
{
	stack_t none = {.ss_flags = SS_DISABLE};

	if (!this_fork.alt)
		return;
	ff_sys(SYS_sigaltstack, &none, NULL, 0, 0, 0, 0);
	ff_sys_munmap(this_fork.alt, ALT_STACK);
	this_fork.alt = NULL;
}

static void
fork_prepare(void)
{
	const uint64_t all = FF_SIG_ALL_ASYNC;
	const uint64_t faults = FF_SIGBIT(SIGSEGV) | FF_SIGBIT(SIGSYS);

	/* Begun: a child registered these handlers a second time (mem_use). */
	if (!atomic_load(&ff_mem.active) || this_fork.begun)
		return;
	this_fork.begun = true;
	ff_sys_sigmask(SIG_BLOCK, &all, &this_fork.mask);
	ff_sys_sigmask(SIG_UNBLOCK, &faults, NULL);
	alt_stack_set();
	dispatch_set(true);
	if (!this_fork.dispatch) /* a filter forbids it since ff_fork_init() */
		snapshot_early();
}

static void
fork_done(void)
{
	if (!this_fork.begun)
		return;
	dispatch_set(false);
	alt_stack_reset();
	this_fork.begun = false;
	ff_sys_sigmask(SIG_SETMASK, &this_fork.mask, NULL);
}

static void
fork_parent(void)
{
	if (this_fork.snap)
		ff_snapshot_drop(this_fork.snap);
	this_fork.snap = NULL;
	this_fork.failed = false;
	fork_done();
}

static void
fork_child(void)
{
	/* Better no child than one that shares its parent's heap. */
	if (this_fork.failed)
		ff_sys(SYS_exit_group, 127, 0, 0, 0, 0, 0);
	if (this_fork.snap)
		ff_snapshot_install(this_fork.snap);
	this_fork.snap = NULL;
	fork_done();
}

/* Signals are blocked: no handler's system calls may be dispatched yet. */
static bool
dispatch_usable(void)
{
#if defined(__x86_64__)
	const uint64_t all = FF_SIG_ALL_ASYNC;
	uint64_t mask;
	bool usable;

	ff_sys_sigmask(SIG_BLOCK, &all, &mask);
	dispatch_set(true);
	usable = this_fork.dispatch;
	dispatch_set(false);
	ff_sys_sigmask(SIG_SETMASK, &mask, NULL);
	return usable;
#else
	return false;
#endif
}

bool
ff_fork_init(void)
{
	if (!dispatch_usable())
		return false;
	ff_signal_guard(SIGSYS, guard_sys);
	if (pthread_atfork(fork_prepare, fork_parent, fork_child))
		return false;
	atomic_store(&armed, true);
	return true;
}

/* ---- hooks ---- */

FF_HOOK pid_t
fork(void)
{
	bool counted;
	pid_t pid;

	/* First this, then armed; ff_fork_unguarded() the other way round. */
	atomic_fetch_add(&unguarded, 1);
	counted = !atomic_load(&armed);
	if (!counted)
		atomic_fetch_sub(&unguarded, 1);
	pid = FF_REAL(fork)();
	if (pid == 0)
		atomic_store(&unguarded, 0);
	else if (counted)
		atomic_fetch_sub(&unguarded, 1);
	return pid;
}

/* Streams (real.h) are to know of forks that have no handlers. */
static void
forked(void)
{
	const struct ff_io_gate *gate = atomic_load_explicit(&ff_io_gate, memory_order_acquire);

	if (gate)
		gate->forked();
}

/* No atfork handlers, no locks: async-signal-safe, and so is this. */
FF_HOOK pid_t
_Fork(void)
{
	struct ff_snapshot *s;
	uint64_t mask;
	pid_t pid;

	forked();
	if (!atomic_load(&ff_mem.active))
		return FF_REAL(_Fork)();
	if (section_enter(&s, &mask)) {
		errno = ENOMEM;
		return -1;
	}
	pid = FF_REAL(_Fork)();
	section_leave(s, pid == 0, &mask);
	return pid;
}

struct clone_start {
	int (*fn)(void *);
	void *arg;
	struct ff_snapshot *snap;
	uint64_t mask;
};

static int
clone_child(void *arg)
{
	struct clone_start *start = arg;

	section_leave(start->snap, true, &start->mask);
	return start->fn(start->arg);
}

FF_HOOK int
clone(int (*fn)(void *), void *stack, int flags, void *arg, ...)
{
	struct clone_start start = {.fn = fn, .arg = arg};
	void *ptid, *tls, *ctid;
	va_list ap;
	int pid;

	/* The caller may have passed fewer; which ones the kernel looks at, flags say. */
	va_start(ap, arg);
	ptid = va_arg(ap, void *);
	tls = va_arg(ap, void *);
	ctid = va_arg(ap, void *);
	va_end(ap);
	if (!(flags & CLONE_FILES))
		forked();
	if ((flags & CLONE_VM) || !fn || !stack || !atomic_load(&ff_mem.active))
		return FF_REAL(clone)(fn, stack, flags, arg, ptid, tls, ctid);
	if (section_enter(&start.snap, &start.mask)) {
		errno = ENOMEM;
		return -1;
	}
	pid = FF_REAL(clone)(clone_child, stack, flags, &start, ptid, tls, ctid);
	section_leave(start.snap, false, &start.mask);
	return pid;
}
