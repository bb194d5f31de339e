/* SPDX-License-Identifier: MIT */
/* shim/stream_prefix.c: what the program was started with counts. meson.build sets it. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../../shim/stream_prefix.h"
#include "router.h"

static bool
wanted(int type, const char *address)
{
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
	struct sockaddr_in v4 = {.sin_family = AF_INET};
	bool is_v4 = inet_pton(AF_INET, address, &v4.sin_addr) == 1;
	bool is_wanted;
	int fd;

	if (!is_v4 && inet_pton(AF_INET6, address, &v6.sin6_addr) != 1)
		abort();
	fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
	CU_ASSERT_FATAL(fd >= 0);
	is_wanted = stream_prefix_wanted(fd, is_v4 ? (const struct sockaddr *)&v4
						   : (const struct sockaddr *)&v6);
	close(fd);
	return is_wanted;
}

/* nginx does so in its workers, which are the ones that accept. */
static void
test_environment_gone(void)
{
	unsetenv("FREEFLOW_TCP");
	unsetenv("VNET_PREFIX");
	CU_ASSERT_TRUE(wanted(SOCK_STREAM, "10.32.0.1"));
	CU_ASSERT_TRUE(stream_fifo_wanted());
}

static void
test_prefixes(void)
{
	CU_ASSERT_TRUE(wanted(SOCK_STREAM, "10.47.255.255"));
	CU_ASSERT_TRUE(wanted(SOCK_STREAM, "::ffff:10.32.0.1"));
	CU_ASSERT_TRUE(wanted(SOCK_STREAM, "fd32::1"));
	CU_ASSERT_FALSE(wanted(SOCK_STREAM, "10.48.0.1"));
	CU_ASSERT_FALSE(wanted(SOCK_STREAM, "::ffff:10.48.0.1"));
	CU_ASSERT_FALSE(wanted(SOCK_STREAM, "fd33::1"));
	CU_ASSERT_FALSE(wanted(SOCK_STREAM, "127.0.0.1"));
	CU_ASSERT_FALSE(wanted(SOCK_DGRAM, "10.32.0.1"));
}

int
main(void)
{
	static const struct test tests[] = {
		{"the environment is gone when it is asked", test_environment_gone},
		{"addresses inside and outside of the prefixes", test_prefixes},
	};
	int status;

	router_dir_make();
	status = RUN("stream prefix", tests);
	router_dir_remove();
	return status;
}
