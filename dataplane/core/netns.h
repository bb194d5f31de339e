/* SPDX-License-Identifier: MIT */
/* Sockets in other network namespaces. Any thread that may wait. */
#ifndef FF_CORE_NETNS_H
#define FF_CORE_NETNS_H

#include <stdbool.h>

/* The file of a namespace, opened with the powers that entering it needs; fd or -errno. */
int ff_netns_open(const char *path);
/*
 * Runs fn(arg) inside the namespace of fd (-1: our own) and returns its value, or -errno if it
 * cannot be entered. A short-lived thread does it: the caller stays where it is.
 */
int ff_netns_run(int fd, int (*fn)(void *arg), void *arg);
/* An rtnetlink socket of the current namespace; groups: as in sockaddr_nl. fd or -errno. */
int ff_netlink_open(unsigned groups, bool nonblock);

#endif
