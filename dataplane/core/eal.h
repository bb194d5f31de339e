/* SPDX-License-Identifier: MIT */
/* DPDK's environment, made from the configuration. Control thread, once per process. */
#ifndef FF_CORE_EAL_H
#define FF_CORE_EAL_H

/*
 * rte_eal_init() with one lcore for the control thread and one for each worker, all memory private
 * to this process, logs through log.h, the telemetry socket under run_dir. 0 or -errno; the reason
 * is in the log.
 */
int ff_eal_init(void);
void ff_eal_fini(void);
/* Path of the telemetry socket, as clients connect to it. */
const char *ff_eal_telemetry_path(void);

#endif
