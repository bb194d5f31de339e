/* SPDX-License-Identifier: MIT */
/* Paths that the program sees otherwise than the kernel does: sysfs of the device, its node. */
#ifndef FF_SHIM_PATH_H
#define FF_SHIM_PATH_H

#include <stdbool.h>

#define PATH_BUF 1024u

/* The container's directory: $FREEFLOW_DIR or FF_MOUNT. */
const char *path_dir(void);
/* True if it is there: else the shim changes nothing that the program sees. Keeps errno. */
bool path_active(void);
/* True for the device's node, by either of its names. NULL is allowed. */
bool path_is_uverbs(const char *path);
/*
 * /sys/class/infiniband* becomes path_dir()/sys/class/infiniband*, in buf; any other path, and any
 * while the shim is not active, is returned as it is. Also NULL. Keeps errno.
 */
const char *path_map(const char *path, char buf[PATH_BUF]);

#endif
