/* SPDX-License-Identifier: MIT */
/* Descriptors of the shim itself, out of the program's way. Any thread. */
#ifndef FF_SHIM_FDHIDE_H
#define FF_SHIM_FDHIDE_H

/*
 * The smallest number for them: out of the way of programs that expect small ones, but no higher
 * than select() and a usual limit allow, since a big number makes the kernel's table big.
 */
int fd_hide_min(void);
/* Takes over fd: moved up, close-on-exec, and not the program's to close. fd or -errno. */
int fd_hide(int fd);

#endif
