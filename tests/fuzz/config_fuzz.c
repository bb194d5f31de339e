/* SPDX-License-Identifier: MIT */
/* libFuzzer target of the configuration parser, and of a container as the admin socket takes it. */
#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_container(const struct ff_container_conf *c)
{
	unsigned i;

	/* What the rest relies on, for it makes file names of them. */
	if (!c->id[0] || c->id[0] == '.' || strchr(c->id, '/') || !c->tenant[0] ||
	    c->num_addresses > FF_CONF_ADDRS || (!c->num_addresses && c->netns[0] != '/'))
		abort();
	for (i = 0; i < c->num_addresses; i++)
		if (!memchr(c->addresses[i], '\0', sizeof(c->addresses[i])))
			abort();
}

static void
fuzz_file(const char *text, size_t size, FILE *err)
{
	struct ff_config c;
	unsigned i;

	if (ff_config_parse(text, size, &c, err))
		return;
	if (!c.num_workers || c.num_workers > FF_WORKERS_MAX || c.run_dir[0] != '/' ||
	    strlen(c.run_dir) > FF_RUN_DIR_MAX)
		abort();
	for (i = 0; i < c.num_containers; i++)
		check_container(&c.containers[i]);
	ff_config_free(&c);
}

static void
fuzz_container(const char *text, size_t size, FILE *err)
{
	struct ff_container_conf c;
	json_t *json = json_loadb(text, size, JSON_REJECT_DUPLICATES, NULL);

	if (json && ff_config_container_parse(json, "container", &c, err) == 0)
		check_container(&c);
	json_decref(json);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static FILE *err;
	char *text = malloc(size + 1);

	if (!err)
		err = fopen("/dev/null", "w");
	if (!text || !err)
		abort();
	memcpy(text, data, size);
	text[size] = '\0';
	fuzz_file(text, size, err);
	fuzz_container(text, size, err);
	free(text);
	return 0;
}
