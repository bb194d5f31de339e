/* SPDX-License-Identifier: MIT */
/* freeflowd: command line, start and end of all parts, in order. Main thread = control thread. */
#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "channel/channel.h"
#include "core/build_conf.h"
#include "core/caps.h"
#include "core/config.h"
#include "core/eal.h"
#include "core/log.h"
#include "core/loop.h"
#include "core/service.h"
#include "core/worker_priv.h"
#include "nic/nic.h"
#include "reload.h"
#include "tcp/tcp.h"
#include "telemetry/telemetry.h"
#include "verbs/verbs.h"

/* Exit status; freeflowd(8) lists them. */
enum { EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_CONFIG, EXIT_RUNNING };

struct options {
	const char *conf; /* NULL: the default one, which may be missing */
	const char *run_dir;
	const char *log_level;
	bool check;
};

static const char usage_text[] =
	"Usage: freeflowd [OPTION]...\n"
	"The router of Freeflow: virtual RDMA devices for the containers of this host.\n"
	"\n"
	"  -c, --config FILE       configuration (default " FF_CONF_PATH ", if it exists)\n"
	"      --check-config      check it, say what is wrong, and exit\n"
	"      --run-dir DIR       directory of sockets, over the configuration's run_dir\n"
	"      --log-level LEVEL   error, warning, info or debug, over the configuration's\n"
	"      --version           print the version and exit\n"
	"      --help              print this and exit\n"
	"\n"
	"SIGHUP rereads the configuration, SIGTERM ends it. See freeflowd(8), freeflowd.json(5).\n";

/* Returns -1 to go on, or an exit status. */
static int
options_parse(int argc, char **argv, struct options *o)
{
	enum { OPT_CHECK = 256, OPT_RUN_DIR, OPT_LOG_LEVEL, OPT_VERSION, OPT_HELP };
	static const struct option longs[] = {
		{"config", required_argument, NULL, 'c'},
		{"check-config", no_argument, NULL, OPT_CHECK},
		{"run-dir", required_argument, NULL, OPT_RUN_DIR},
		{"log-level", required_argument, NULL, OPT_LOG_LEVEL},
		{"version", no_argument, NULL, OPT_VERSION},
		{"help", no_argument, NULL, OPT_HELP},
		{NULL, 0, NULL, 0},
	};
	int opt;

	while ((opt = getopt_long(argc, argv, "c:", longs, NULL)) != -1) {
		switch (opt) {
		case 'c':
			o->conf = optarg;
			break;
		case OPT_CHECK:
			o->check = true;
			break;
		case OPT_RUN_DIR:
			o->run_dir = optarg;
			break;
		case OPT_LOG_LEVEL:
			o->log_level = optarg;
			break;
		case OPT_VERSION:
			puts("freeflowd " FF_VERSION);
			return EXIT_OK;
		case OPT_HELP:
			fputs(usage_text, stdout);
			return EXIT_OK;
		default:
			fputs("Try 'freeflowd --help'.\n", stderr);
			return EXIT_USAGE;
		}
	}
	if (optind == argc)
		return -1;
	fprintf(stderr, "freeflowd: unexpected argument '%s'\n", argv[optind]);
	return EXIT_USAGE;
}

/* The file, then what the command line says over it. Returns -1 to go on, or an exit status. */
static int
config_read(const struct options *o)
{
	const char *path = o->conf ? o->conf : FF_CONF_PATH;
	enum ff_log_level level;
	int rc;

	if (!o->conf && access(path, F_OK) && errno == ENOENT) {
		ff_config_defaults(&ff_config);
		path = NULL;
	} else {
		rc = ff_config_load(path, &ff_config, stderr);
		if (rc) {
			fprintf(stderr, "freeflowd: %s: not a valid configuration\n", path);
			return EXIT_CONFIG;
		}
	}
	if (o->run_dir) {
		if (o->run_dir[0] != '/' || strlen(o->run_dir) > FF_RUN_DIR_MAX) {
			fprintf(stderr,
				"freeflowd: --run-dir must be an absolute path of at most "
				"%u bytes\n",
				FF_RUN_DIR_MAX);
			return EXIT_USAGE;
		}
		strcpy(ff_config.run_dir, o->run_dir);
	}
	if (o->log_level) {
		if (ff_log_level_parse(o->log_level, &level)) {
			fprintf(stderr, "freeflowd: --log-level: error, warning, info or debug\n");
			return EXIT_USAGE;
		}
		ff_config.log_level = level;
	}
	if (o->check) {
		printf("%s: valid\n", path ? path : "(defaults)");
		return EXIT_OK;
	}
	ff_reload_init(path, o->log_level != NULL, o->run_dir != NULL);
	return -1;
}

/* ---- the parts, in the order of their start ---- */

static int
nic_start(void)
{
	return ff_nic->probe();
}

static void
nic_stop(void)
{
	ff_nic->fini();
}

static int
telemetry_start(void)
{
	int rc = ff_telemetry_init();

	return rc ? rc : ff_service_publish(ff_eal_telemetry_path());
}

static void
nothing(void)
{
}

static int
host_streams_start(void)
{
	ff_tcp_host_init();
	return 0;
}

static int
streams_start(void)
{
	ff_tcp_init();
	return 0;
}

static int
signals_start(void)
{
	return ff_service_signals_add(ff_reload);
}

/*
 * Each start undoes itself when it fails. The stages of a worker's pass are polled in the order of
 * their registration: the NIC's after the channels' doorbells.
 */
static const struct part {
	const char *name;
	int (*start)(void);
	void (*stop)(void);
} parts[] = {
	{"run directory", ff_service_lock, ff_service_unlock},
	{"control loop", ff_loop_init, ff_loop_fini},
	{"DPDK", ff_eal_init, ff_eal_fini},
	{"memory access", ff_umem_copy_init, nothing},
	{"verbs", ff_verbs_init, ff_verbs_fini},
	{"channels", ff_channels_init, ff_channels_fini},
	{"NIC", nic_start, nic_stop},
	{"workers", ff_workers_start, ff_workers_stop},
	{"streams between hosts", host_streams_start, ff_tcp_host_fini},
	{"capabilities", ff_caps_drop, nothing},
	{"streams", streams_start, nothing},
	{"containers", ff_containers_init, ff_containers_fini},
	{"telemetry", telemetry_start, nothing},
	{"signals", signals_start, ff_service_signals_del},
};
#define NUM_PARTS (sizeof(parts) / sizeof(parts[0]))

static int
parts_run(void)
{
	unsigned i;
	int rc = 0, status = EXIT_OK;

	for (i = 0; i < NUM_PARTS; i++) {
		rc = parts[i].start();
		if (rc) {
			status = rc == -EEXIST && i == 0 ? EXIT_RUNNING : EXIT_FAILED;
			if (status == EXIT_FAILED)
				ff_err("main", "%s: %s", parts[i].name,
				       strerror(rc < 0 ? -rc : EIO));
			break;
		}
	}
	if (!rc) {
		ff_info("main", "freeflowd " FF_VERSION " \"%s\" is ready on %s", ff_config.name,
			ff_config.run_dir);
		ff_service_notify("READY=1");
		if (ff_loop_run())
			status = EXIT_FAILED;
		ff_service_notify("STOPPING=1");
	}
	while (i-- > 0)
		parts[i].stop();
	return status;
}

int
main(int argc, char **argv)
{
	struct options options = {0};
	int status;

	status = options_parse(argc, argv, &options);
	if (status < 0)
		status = config_read(&options);
	if (status >= 0)
		return status;
	ff_clock_start();
	ff_config_log_apply(&ff_config);
	/* Before there are threads, which inherit both. */
	status = ff_service_signals_block();
	if (!status)
		status = ff_caps_init();
	if (status) {
		ff_err("main", "%s", strerror(-status));
		return EXIT_FAILED;
	}
	status = parts_run();
	ff_config_free(&ff_config);
	return status;
}
