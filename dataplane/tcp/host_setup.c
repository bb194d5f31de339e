/* SPDX-License-Identifier: MIT */
/* Whether there are streams between hosts: cage, secret, the routers' port. Control thread. */
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include <bpf/libbpf.h>

#include "../core/config.h"
#include "../core/log.h"
#include "host.h"
#include "host_priv.h"
#include "tcp.h"

static struct tcp_cage cage;
static struct tcp_peer_secret secret;
static bool is_on;

static int
off(const char *what, int rc)
{
	ff_err("tcp", "no streams between hosts: %s: %s", what, strerror(-rc));
	return rc;
}

/* Of the run directory, which no other freeflowd has: a former one's is found again. */
static void
cage_name(char *out, size_t size)
{
	snprintf(out, size, "freeflow%s", ff_config.run_dir);
	for (char *c = out; *c; c++)
		if (*c == '/')
			*c = '-';
}

static const uint8_t *
own_address(uint8_t raw[16])
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

	if (inet_pton(AF_INET, ff_config.wire.address, raw + 12) == 1) {
		memcpy(raw, mapped, sizeof(mapped));
		return raw;
	}
	return inet_pton(AF_INET6, ff_config.wire.address, raw) == 1 ? raw : NULL;
}

static int
quiet(enum libbpf_print_level level, const char *format, va_list args)
{
	return 0;
}

static int
start(void)
{
	struct tcp_peers_conf conf = {.cage = &cage,
				      .secret = &secret,
				      .events = &tcp_host_events,
				      .port = (uint16_t)ff_config.tcp_port};
	uint8_t address[16];
	char name[256];
	int rc;

	rc = tcp_peer_secret_load(ff_config.tcp_secret, &secret);
	if (rc == -EPERM)
		ff_err("tcp", "%s: others than its owner may read it", ff_config.tcp_secret);
	if (rc)
		return off(ff_config.tcp_secret, rc);
	/* What it complains about, the cage says in its own words. */
	libbpf_set_print(quiet);
	cage_name(name, sizeof(name));
	rc = tcp_cage_make(&cage, name);
	if (rc)
		return off("the cage", rc);
	conf.address = own_address(address);
	rc = tcp_peers_init(&conf);
	if (!rc)
		return 0;
	tcp_cage_destroy(&cage);
	return off("tcp.port", rc);
}

void
ff_tcp_host_init(void)
{
	if (ff_config.streams != FF_STREAMS_HOST)
		return;
	if (!ff_config.wire.udp_port && ff_config.wire.port == FF_WIRE_UDP) {
		(void)off("wire.udp_port is not set, so nobody knows where addresses are",
			  -EDESTADDRREQ);
		return;
	}
	is_on = start() == 0;
	if (is_on)
		ff_info("tcp", "streams between hosts: routers on port %u", ff_config.tcp_port);
}

void
ff_tcp_host_fini(void)
{
	if (!is_on)
		return;
	is_on = false;
	tcp_host_stop();
	tcp_peers_fini();
	tcp_cage_destroy(&cage);
	explicit_bzero(&secret, sizeof(secret));
}

bool
tcp_host_is_on(void)
{
	return is_on;
}
