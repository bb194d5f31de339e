/* SPDX-License-Identifier: MIT */
/* Log lines on stderr: formats, filters by component, limits the rate. Any thread; no lock. */
#include "log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_LEN	 1024
/* What one component may say in a second: a hostile container must not be able to fill a disk. */
#define LINES_PER_SECOND 200u
#define LEVEL_UNSET	 (-1)

struct component {
	const char *name;
	_Atomic int level;	 /* LEVEL_UNSET: the general one */
	_Atomic uint64_t second; /* the one that lines counts */
	_Atomic uint32_t lines;
	_Atomic uint32_t suppressed;
};

/* The last one stands for every name that is not in the table. */
static struct component components[] = {
	{"main", LEVEL_UNSET},	  {"config", LEVEL_UNSET},    {"eal", LEVEL_UNSET},
	{"loop", LEVEL_UNSET},	  {"worker", LEVEL_UNSET},    {"memif", LEVEL_UNSET},
	{"channel", LEVEL_UNSET}, {"container", LEVEL_UNSET}, {"verbs", LEVEL_UNSET},
	{"umem", LEVEL_UNSET},	  {"nic", LEVEL_UNSET},	      {"telemetry", LEVEL_UNSET},
	{"net", LEVEL_UNSET},	  {"overlay", LEVEL_UNSET},   {"admin", LEVEL_UNSET},
	{"tcp", LEVEL_UNSET},	  {"other", LEVEL_UNSET},
};
#define NUM_COMPONENTS (sizeof(components) / sizeof(components[0]))

static _Atomic int general_level = FF_LOG_INFO;
static const char *const level_names[] = {"error", "warning", "info", "debug"};
static const char level_priority[] = {'3', '4', '6', '7'}; /* sd-daemon(3), SD_ERR and so on */

static struct component *
component_find(const char *name)
{
	unsigned i;

	for (i = 0; i < NUM_COMPONENTS - 1; i++)
		if (strcmp(components[i].name, name) == 0)
			break;
	return &components[i];
}

void
ff_log_level_set(const char *component, enum ff_log_level level)
{
	unsigned i;

	if (component) {
		atomic_store_explicit(&component_find(component)->level, (int)level,
				      memory_order_relaxed);
		return;
	}
	atomic_store_explicit(&general_level, (int)level, memory_order_relaxed);
	for (i = 0; i < NUM_COMPONENTS; i++)
		atomic_store_explicit(&components[i].level, LEVEL_UNSET, memory_order_relaxed);
}

int
ff_log_level_parse(const char *text, enum ff_log_level *level)
{
	unsigned i;

	for (i = 0; i < sizeof(level_names) / sizeof(level_names[0]); i++) {
		if (strcmp(text, level_names[i]) == 0) {
			*level = (enum ff_log_level)i;
			return 0;
		}
	}
	return -EINVAL;
}

bool
ff_log_component_known(const char *component)
{
	return component_find(component) != &components[NUM_COMPONENTS - 1];
}

/* True if the line may be written; *suppressed: lines left out in the second that has ended. */
static bool
component_admit(struct component *c, uint64_t second, uint32_t *suppressed)
{
	uint64_t old = atomic_load_explicit(&c->second, memory_order_relaxed);

	*suppressed = 0;
	if (old != second &&
	    atomic_compare_exchange_strong_explicit(&c->second, &old, second, memory_order_relaxed,
						    memory_order_relaxed)) {
		atomic_store_explicit(&c->lines, 0, memory_order_relaxed);
		*suppressed = atomic_exchange_explicit(&c->suppressed, 0, memory_order_relaxed);
	}
	if (atomic_fetch_add_explicit(&c->lines, 1, memory_order_relaxed) < LINES_PER_SECOND)
		return true;
	atomic_fetch_add_explicit(&c->suppressed, 1, memory_order_relaxed);
	return false;
}

/* journald takes the level from "<N>" and has its own time stamps; a person needs both in words. */
static int
prefix_format(char *buf, size_t size, enum ff_log_level level, const char *component,
	      const struct timespec *now)
{
	struct tm tm;

	if (getenv("JOURNAL_STREAM"))
		return snprintf(buf, size, "<%c>%s: ", level_priority[level], component);
	localtime_r(&now->tv_sec, &tm);
	return snprintf(buf, size, "%02d:%02d:%02d.%03ld %-7s %s: ", tm.tm_hour, tm.tm_min,
			tm.tm_sec, now->tv_nsec / 1000000, level_names[level], component);
}

/* A container chooses some of the text (its process names): nothing of it may steer a terminal. */
static void
line_clean(char *text, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++)
		if ((unsigned char)text[i] < ' ' || text[i] == 0x7f)
			text[i] = '?';
}

static void
line_write(enum ff_log_level level, const char *component, const struct timespec *now,
	   const char *text)
{
	char buf[LINE_MAX_LEN + 64];
	int start = prefix_format(buf, sizeof(buf), level, component, now);
	int n = snprintf(buf + start, sizeof(buf) - (size_t)start - 1, "%s", text);
	size_t len = strlen(buf);

	line_clean(buf + start, (size_t)n < len ? (size_t)n : len - (size_t)start);
	buf[len++] = '\n';
	/* One write, so lines of several threads never mix. A log that fails is nobody's concern.
	 */
	if (write(STDERR_FILENO, buf, len) < 0)
		return;
}

void
ff_log(enum ff_log_level level, const char *component, const char *fmt, ...)
{
	struct component *c = component_find(component);
	int limit = atomic_load_explicit(&c->level, memory_order_relaxed);
	int saved_errno = errno;
	char text[LINE_MAX_LEN];
	struct timespec now;
	uint32_t suppressed;
	va_list ap;

	if (limit == LEVEL_UNSET)
		limit = atomic_load_explicit(&general_level, memory_order_relaxed);
	if ((int)level > limit)
		return;
	clock_gettime(CLOCK_REALTIME, &now);
	if (component_admit(c, (uint64_t)now.tv_sec, &suppressed)) {
		if (suppressed) {
			snprintf(text, sizeof(text), "%u lines left out", suppressed);
			line_write(FF_LOG_WARN, component, &now, text);
		}
		va_start(ap, fmt);
		vsnprintf(text, sizeof(text), fmt, ap);
		va_end(ap);
		line_write(level, component, &now, text);
	}
	errno = saved_errno;
}
