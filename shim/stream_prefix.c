/* SPDX-License-Identifier: MIT */
/* Reads $VNET_PREFIX and $FREEFLOW_TCP early, and compares addresses. Any thread. */
#include "stream_prefix.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "debug.h"
#include "path.h"
#include "real.h"

#define PREFIXES_MAX 16u

static const uint8_t v4_prefix[12] = {[10] = 0xff, [11] = 0xff};

struct prefix {
	uint8_t address[16]; /* IPv4 as ::ffff:a.b.c.d */
	unsigned bits;
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
/* What the program was started with: nginx clears its environment before its workers accept. */
static char *mode_at_start, *prefixes_at_start;
static bool off, fifo, host;
static bool any = true;
static unsigned num_prefixes;
static struct prefix prefixes[PREFIXES_MAX];

/* "address" or "address/bits". */
static bool
prefix_parse(const char *text, size_t len, struct prefix *out)
{
	char buf[INET6_ADDRSTRLEN + 4], *slash, *end;
	unsigned long max = 128, bits;

	if (len >= sizeof(buf))
		return false;
	memcpy(buf, text, len);
	buf[len] = 0;
	slash = strchr(buf, '/');
	if (slash)
		*slash = 0;
	if (inet_pton(AF_INET, buf, out->address + 12) == 1) {
		memcpy(out->address, v4_prefix, sizeof(v4_prefix));
		max = 32;
	} else if (inet_pton(AF_INET6, buf, out->address) != 1) {
		return false;
	}
	bits = max;
	if (slash) {
		bits = strtoul(slash + 1, &end, 10);
		if (end == slash + 1 || *end || bits > max)
			return false;
	}
	out->bits = (unsigned)(bits + 128 - max);
	return true;
}

static char *
copy_of(const char *name)
{
	const char *value = secure_getenv(name);

	return value ? strdup(value) : NULL;
}

/* Programs without one of them pay for the look alone. */
__attribute__((constructor(103))) static void
environment_copy(void)
{
	mode_at_start = copy_of("FREEFLOW_TCP");
	prefixes_at_start = copy_of("VNET_PREFIX");
	if (secure_getenv("FREEFLOW_DIR"))
		(void)path_dir();
}

static void
prefixes_read(void)
{
	const char *mode = mode_at_start ? mode_at_start : secure_getenv("FREEFLOW_TCP");
	const char *text = prefixes_at_start ? prefixes_at_start : secure_getenv("VNET_PREFIX");
	size_t len;

	/* Each with what comes before it. */
	host = mode && !strcmp(mode, "host");
	fifo = host || (mode && !strcmp(mode, "fifo"));
	off = !mode || (strcmp(mode, "unix") && !fifo) || !path_active();
	if (mode && strcmp(mode, "off") && strcmp(mode, "unix") && !fifo)
		debug("FREEFLOW_TCP=%s: not one of off, unix, fifo, host", mode);
	any = !text;
	while (text && *text) {
		len = strcspn(text, ", ");
		if (len && num_prefixes < PREFIXES_MAX &&
		    prefix_parse(text, len, &prefixes[num_prefixes]))
			num_prefixes++;
		else if (len)
			debug("VNET_PREFIX: \"%.*s\" is not a prefix", (int)len, text);
		text += len + strspn(text + len, ", ");
	}
}

static bool
prefix_has(const struct prefix *p, const uint8_t address[16])
{
	unsigned bytes = p->bits / 8, rest = p->bits % 8;

	if (memcmp(p->address, address, bytes))
		return false;
	return !rest || !((p->address[bytes] ^ address[bytes]) >> (8 - rest));
}

static bool
is_loopback(const uint8_t a[16])
{
	static const uint8_t v6[16] = {[15] = 1};

	return !memcmp(a, v6, 16) || (!memcmp(a, v4_prefix, sizeof(v4_prefix)) && a[12] == 127);
}

static bool
address_wanted(const struct sockaddr *sa)
{
	uint8_t a[16];

	if (sa->sa_family == AF_INET) {
		memcpy(a, v4_prefix, sizeof(v4_prefix));
		memcpy(a + 12, &((const struct sockaddr_in *)sa)->sin_addr, 4);
	} else if (sa->sa_family == AF_INET6) {
		memcpy(a, &((const struct sockaddr_in6 *)sa)->sin6_addr, 16);
	} else {
		return false;
	}
	if (any)
		return !is_loopback(a);
	for (unsigned i = 0; i < num_prefixes; i++)
		if (prefix_has(&prefixes[i], a))
			return true;
	return false;
}

static bool
is_tcp(int fd)
{
	int type = 0, protocol = 0;
	socklen_t len = sizeof(type);

	if (FF_REAL(getsockopt)(fd, SOL_SOCKET, SO_TYPE, &type, &len) || type != SOCK_STREAM)
		return false;
	len = sizeof(protocol);
	return !FF_REAL(getsockopt)(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &len) &&
	       protocol == IPPROTO_TCP;
}

bool
stream_host_wanted(void)
{
	return host;
}

bool
stream_fifo_wanted(void)
{
	return fifo;
}

bool
stream_prefix_wanted(int fd, const struct sockaddr *peer)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	int saved = errno;
	bool wanted;

	pthread_once(&once, prefixes_read);
	if (off)
		return false;
	if (!peer) {
		memset(&sa, 0, sizeof(sa));
		if (FF_REAL(getpeername)(fd, (struct sockaddr *)&sa, &len) == 0)
			peer = (struct sockaddr *)&sa;
	}
	wanted = peer && address_wanted(peer) && is_tcp(fd);
	errno = saved;
	return wanted;
}
