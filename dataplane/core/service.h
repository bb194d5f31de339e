/* SPDX-License-Identifier: MIT */
/* freeflowd as a service: its directory and lock, signals, readiness. Control thread. */
#ifndef FF_CORE_SERVICE_H
#define FF_CORE_SERVICE_H

/*
 * Makes run_dir, takes the lock on <run_dir>/freeflowd.pid. 0; -EEXIST: another freeflowd has it;
 * -errno. The reason is in the log.
 */
int ff_service_lock(void);
/* Removes what lock and publish made. */
void ff_service_unlock(void);
/* <run_dir>/info.json: name, pid, version and sockets, for ffctl. 0 or -errno. */
int ff_service_publish(const char *telemetry);

/* Before the first thread: SIGTERM, SIGINT, SIGHUP come by the loop alone; SIGPIPE is ignored. */
int ff_service_signals_block(void);
/* SIGTERM and SIGINT stop the loop; SIGHUP calls reload. */
int ff_service_signals_add(void (*reload)(void));
void ff_service_signals_del(void);

/* sd_notify(3); nothing happens when no service manager asked for it. */
void ff_service_notify(const char *state);
/* "RELOADING=1" with the time stamp that goes with it. */
void ff_service_notify_reloading(void);

#endif
