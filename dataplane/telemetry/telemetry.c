/* SPDX-License-Identifier: MIT */
/* The commands and their way from telemetry's threads to the control thread and back. */
#include "telemetry.h"

#include <errno.h>
#include <string.h>

#include "../core/loop.h"
#include "telemetry_priv.h"

static const struct command {
	const char *name;
	void (*fill)(struct tel_page *p);
	const char *help;
} commands[] = {
	{"/freeflow/containers", tel_containers,
	 "Containers: addresses, quotas, counters. Parameters: start,count,container"},
	{"/freeflow/processes", tel_processes,
	 "Processes that use the shim. Parameters: start,count,container"},
	{"/freeflow/qps", tel_qps, "QPs and their counters. Parameters: start,count,container"},
	{"/freeflow/cqs", tel_cqs, "Completion queues. Parameters: start,count,container"},
	{"/freeflow/mrs", tel_mrs, "Memory regions. Parameters: start,count,container"},
	{"/freeflow/stats", tel_stats,
	 "Sums: the router first, then each container. Parameters: start,count,container"},
	{"/freeflow/workers", tel_workers, "Workers. Parameters: start,count"},
	{"/freeflow/streams", tel_streams,
	 "TCP streams that wait or are being handed over, and refusals by reason. Parameters: "
	 "start,count,container"},
	{"/freeflow/peers", tel_peers,
	 "Addresses that were asked for: where they are, and how QPs with them do. Parameters: "
	 "start,count,container"},
	{"/freeflow/ports", tel_ports,
	 "Queues of the port to other hosts, and why packets were dropped. Parameters: "
	 "start,count"},
};
#define NUM_COMMANDS (sizeof(commands) / sizeof(commands[0]))

struct request {
	const struct command *command;
	struct tel_page page;
	struct rte_tel_data *d;
};

/* Control thread. */
static void
answer(void *arg)
{
	struct request *r = arg;

	r->page.items = tel_obj_new();
	r->command->fill(&r->page);
	tel_page_finish(&r->page, r->d);
}

/* A telemetry thread; it waits for the control thread. A negative value is answered with null. */
static int
command_run(const char *cmd, const char *params, struct rte_tel_data *d)
{
	struct request r = {.d = d};
	unsigned i;
	int rc;

	for (i = 0; i < NUM_COMMANDS; i++)
		if (strcmp(commands[i].name, cmd) == 0)
			r.command = &commands[i];
	if (!r.command)
		return -ENOENT;
	rc = tel_page_parse(&r.page, params);
	return rc ? rc : ff_loop_call(answer, &r);
}

int
ff_telemetry_init(void)
{
	unsigned i;
	int rc = 0;

	for (i = 0; i < NUM_COMMANDS && !rc; i++)
		rc = rte_telemetry_register_cmd(commands[i].name, command_run, commands[i].help);
	return rc;
}
