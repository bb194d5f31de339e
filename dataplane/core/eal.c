/* SPDX-License-Identifier: MIT */
/* The arguments of rte_eal_init(), its log and its end. Control thread. */
#include "eal.h"

#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_lcore.h>
#include <rte_log.h>

#include "config.h"
#include "log.h"

#define ARGS_MAX   16
/* "(0,1,...)" of all CPUs: four digits each. */
#define LCORES_LEN (FF_WORKERS_MAX * 16 + 2 * 4 * RTE_MAX_LCORE + 64)

static struct {
	char *argv[ARGS_MAX + 1];
	int argc;
	bool up;
	char telemetry[256];
} eal;

static int __attribute__((format(printf, 1, 2))) arg_add(const char *fmt, ...)
{
	va_list ap;
	int rc;

	if (eal.argc == ARGS_MAX)
		return -E2BIG;
	va_start(ap, fmt);
	rc = vasprintf(&eal.argv[eal.argc], fmt, ap);
	va_end(ap);
	if (rc < 0)
		return -ENOMEM;
	eal.argc++;
	return 0;
}

/* EAL's lines, by level, as ours. */
static ssize_t
log_write(void *cookie, const char *buf, size_t size)
{
	int level = rte_log_cur_msg_loglevel();
	size_t len = size;

	while (len && (buf[len - 1] == '\n' || buf[len - 1] == ' '))
		len--;
	if (len)
		ff_log(level <= (int)RTE_LOG_ERR       ? FF_LOG_ERR
		       : level == (int)RTE_LOG_WARNING ? FF_LOG_WARN
						       : FF_LOG_DEBUG,
		       "eal", "%.*s", (int)len, buf);
	return (ssize_t)size;
}

static int
log_redirect(void)
{
	static const cookie_io_functions_t io = {.write = log_write};
	FILE *f = fopencookie(NULL, "w", io);

	if (!f)
		return -errno;
	setvbuf(f, NULL, _IOLBF, 1024);
	return rte_openlog_stream(f);
}

/*
 * Lcores are numbered by us, whatever the CPUs are: 0 is the control thread, i + 1 is worker i.
 * So there can be more workers than CPUs.
 */
static int
lcores_format(char *out, size_t size)
{
	char all[4 * RTE_MAX_LCORE + 4] = "";
	size_t n = 0;
	cpu_set_t allowed;
	unsigned i;
	int cpu;

	if (sched_getaffinity(0, sizeof(allowed), &allowed))
		return -errno;
	for (cpu = 0; cpu < RTE_MAX_LCORE; cpu++)
		if (CPU_ISSET(cpu, &allowed))
			n += (size_t)snprintf(all + n, sizeof(all) - n, "%s%d", n ? "," : "", cpu);
	n = (size_t)snprintf(out, size, "0@(%s)", all);
	for (i = 0; i < ff_config.num_workers; i++) {
		cpu = ff_config.cores[i];
		if (cpu >= 0 && (cpu >= RTE_MAX_LCORE || !CPU_ISSET(cpu, &allowed))) {
			ff_err("eal",
			       "workers.cores[%u]: CPU %d is not one that this process may "
			       "use (%s)",
			       i, cpu, all);
			return -EINVAL;
		}
		if (cpu >= 0)
			n += (size_t)snprintf(out + n, size - n, ",%u@%d", i + 1, cpu);
	}
	/* Those without a CPU of their own share one set: "(1-3)@(0,1)" would pin them one each. */
	for (i = 0; i < ff_config.num_workers; i++)
		if (ff_config.cores[i] < 0)
			n += (size_t)snprintf(out + n, size - n, ",%u@(%s)", i + 1, all);
	return n < size ? 0 : -E2BIG;
}

static bool
hugepages_free(uint64_t need)
{
	static const char dir[] = "/sys/kernel/mm/hugepages";
	DIR *d = opendir(dir);
	struct dirent *e;
	uint64_t bytes = 0;

	if (!d)
		return false;
	while ((e = readdir(d))) {
		unsigned long long kb, pages;
		char path[512];
		FILE *f;

		if (sscanf(e->d_name, "hugepages-%llukB", &kb) != 1)
			continue;
		snprintf(path, sizeof(path), "%s/%s/free_hugepages", dir, e->d_name);
		f = fopen(path, "re");
		if (!f)
			continue;
		if (fscanf(f, "%llu", &pages) == 1)
			bytes += pages * kb * 1024;
		fclose(f);
	}
	closedir(d);
	return bytes >= need;
}

/* Whether to use hugepages. rte_eal_init() cannot be tried twice, so this must be right. */
static int
hugepages_decide(bool *use)
{
	uint64_t need = (uint64_t)ff_config.memory_mb << 20;

	*use = ff_config.hugepages != FF_HUGE_NEVER && hugepages_free(need);
	if (*use || ff_config.hugepages == FF_HUGE_NEVER)
		return 0;
	if (ff_config.hugepages == FF_HUGE_REQUIRE) {
		ff_err("eal",
		       "memory.hugepages is \"require\", but fewer than %u MB of hugepages "
		       "are free (see /proc/sys/vm/nr_hugepages)",
		       ff_config.memory_mb);
		return -ENOMEM;
	}
	ff_info("eal", "fewer than %u MB of hugepages are free: normal pages are used",
		ff_config.memory_mb);
	return 0;
}

/* "0000:03:00.0,key=value" or "03:00.0": of all PCI devices, only that one is looked at. */
static bool
device_is_pci(const char *device)
{
	unsigned domain, bus, slot, function;

	return sscanf(device, "%x:%x:%x.%u", &domain, &bus, &slot, &function) == 4 ||
	       sscanf(device, "%x:%x.%u", &bus, &slot, &function) == 3;
}

static int
args_make(void)
{
	char lcores[LCORES_LEN];
	bool huge;
	int rc;

	rc = hugepages_decide(&huge);
	if (!rc)
		rc = lcores_format(lcores, sizeof(lcores));
	if (rc)
		return rc;
	rc |= arg_add("freeflowd");
	if (device_is_pci(ff_config.wire.device))
		rc |= arg_add("--allow=%s", ff_config.wire.device);
	else
		rc |= arg_add("--no-pci");
	rc |= arg_add("--iova-mode=va");
	rc |= arg_add("--file-prefix=ff");
	rc |= arg_add("--lcores=%s", lcores);
	rc |= arg_add("--main-lcore=0");
	rc |= arg_add("-m");
	rc |= arg_add("%u", ff_config.memory_mb);
	/* Private memory, whatever it is made of; EAL does not take both names for it at once. */
	if (huge)
		rc |= arg_add("--in-memory");
	if (!huge)
		rc |= arg_add("--no-huge");
	if (!huge)
		rc |= arg_add("--no-shconf");
	rc |= arg_add("--log-level=%d",
		      (int)(ff_config.log_level == FF_LOG_DEBUG ? RTE_LOG_INFO : RTE_LOG_ERR));
	/* It warns that it has no socket of the old protocol, which nobody wants. */
	rc |= arg_add("--log-level=lib.telemetry:%d", (int)RTE_LOG_ERR);
	return rc ? -ENOMEM : 0;
}

/* rte_eal_init() moves the pointers of its argv around: it gets copies of them. */
static int
eal_start(void)
{
	char *argv[ARGS_MAX + 1] = {NULL};

	memcpy(argv, eal.argv, (size_t)eal.argc * sizeof(argv[0]));
	if (rte_eal_init(eal.argc, argv) >= 0)
		return 0;
	ff_err("eal", "DPDK does not start: %s", rte_strerror(rte_errno));
	return rte_errno ? -rte_errno : -EIO;
}

int
ff_eal_init(void)
{
	int rc = args_make();

	if (rc)
		return rc;
	/*
	 * The run-time directory is what systemd calls $RUNTIME_DIRECTORY; EAL makes dpdk/<prefix>
	 * in it. Ours alone, so that instances never meet.
	 */
	if (setenv("RUNTIME_DIRECTORY", ff_config.run_dir, 1))
		return -errno;
	rc = log_redirect();
	if (rc)
		return rc;
	rte_log_set_global_level(RTE_LOG_WARNING);
	rc = eal_start();
	if (rc)
		return rc;
	eal.up = true;
	snprintf(eal.telemetry, sizeof(eal.telemetry), "%s/dpdk_telemetry.v2",
		 rte_eal_get_runtime_dir());
	return 0;
}

void
ff_eal_fini(void)
{
	char dir[256];
	int i;

	if (!eal.up)
		return;
	eal.up = false;
	snprintf(dir, sizeof(dir), "%s", rte_eal_get_runtime_dir());
	rte_eal_cleanup();
	/* run_dir/dpdk/ff and run_dir/dpdk, once empty (the socket goes when the process ends). */
	unlink(eal.telemetry);
	for (i = 0; i < 2 && rmdir(dir) == 0; i++)
		*strrchr(dir, '/') = '\0';
	while (eal.argc > 0)
		free(eal.argv[--eal.argc]);
}

const char *
ff_eal_telemetry_path(void)
{
	return eal.telemetry;
}
