/* SPDX-License-Identifier: MIT */
/* Memory registration, the program's side: makes ranges shareable with the router (design.md 6). */
#ifndef FF_SHIM_MEM_H
#define FF_SHIM_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Before REG_MR and REREG_MR go to the router: turns the private anonymous pages of
 * [addr, addr + len), whole pages, into a mapping of a sealed memfd, in place; no write of any
 * thread is lost. Ranges that cannot be turned (stacks, file mappings, ...) are left alone: the
 * router reaches them by process_vm. Never fails towards the caller. Any thread; serialised inside.
 *
 * FREEFLOW_MR=auto|convert|process_vm: process_vm converts nothing; nor does a machine that has no
 * syscall user dispatch (mem_fork.c). FREEFLOW_UFFD=0: writers are held off by mprotect also where
 * userfaultfd may be used.
 */
void ff_mem_prepare(void *addr, size_t len);

/*
 * Converted memory is read-only for the moment of a fork, and so is a range while it is converted:
 * who looks at the process's mappings from outside may find it so. moment: from before they were
 * looked at. ff_mem_was_held() waits for the end of what is going on; true: look again. Any thread.
 */
uint32_t ff_mem_moment(void);
bool ff_mem_was_held(uint32_t moment);

/* Lazy: the first call installs the SIGSEGV guard and the fork handlers. */

#endif
