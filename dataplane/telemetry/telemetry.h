/* SPDX-License-Identifier: MIT */
/* The commands /freeflow/... of DPDK's telemetry socket; usertools/ffctl reads them. */
#ifndef FF_TELEMETRY_TELEMETRY_H
#define FF_TELEMETRY_TELEMETRY_H

/*
 * Control thread, with EAL and the loop up. Commands are answered while the loop runs, on
 * telemetry's own threads, from what the control thread collects for them.
 */
int ff_telemetry_init(void);

#endif
