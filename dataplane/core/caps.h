/* SPDX-License-Identifier: MIT */
/* What freeflowd may do once it runs. Control thread, at start. */
#ifndef FF_CORE_CAPS_H
#define FF_CORE_CAPS_H

/*
 * Early: no new privileges by exec, no core dumps, no tracing by others, as many open files as
 * allowed; then names each capability that is missing and what will not work without it.
 */
int ff_caps_init(void);
/*
 * After start: the control thread, and the helper threads that it will make, keep CAP_SYS_PTRACE,
 * CAP_SYS_ADMIN and CAP_CHECKPOINT_RESTORE; every other thread keeps none. 0 or -errno.
 */
int ff_caps_drop(void);

#endif
