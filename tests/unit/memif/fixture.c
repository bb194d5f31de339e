/* SPDX-License-Identifier: MIT */
/* The memif tests' fixture: pairs, raw peers, messages, the frame of a CUnit program. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <CUnit/Basic.h>

#include "fixture.h"

struct ff_memif_conf
conf_of(enum ff_memif_role role)
{
	return (struct ff_memif_conf){
		.role = role,
		.id = 7,
		.name = "unit",
		.num_s2m_rings = 2,
		.num_m2s_rings = 1,
		.log2_ring_size = 3,
		.buffer_size = 256,
	};
}

static void
socket_pair(int sv[2])
{
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv) < 0) {
		perror("socketpair");
		abort();
	}
}

void
pair_open(struct pair *p, const struct ff_memif_conf *srv, const struct ff_memif_conf *cli)
{
	const struct ff_memif_conf s = conf_of(FF_MEMIF_SERVER), c = conf_of(FF_MEMIF_CLIENT);
	int sv[2];

	socket_pair(sv);
	CU_ASSERT_EQUAL_FATAL(ff_memif_create(&p->srv, sv[0], srv ? srv : &s), 0);
	CU_ASSERT_EQUAL_FATAL(ff_memif_create(&p->cli, sv[1], cli ? cli : &c), 0);
	pair_pump(p);
}

/* Each message is answered at once, so the dialogue of the largest set-up fits in this many turns.
 */
void
pair_pump(struct pair *p)
{
	for (int i = 0; i < 100; i++) {
		if (p->cli)
			ff_memif_process(p->cli);
		if (p->srv)
			ff_memif_process(p->srv);
	}
}

void
pair_close(struct pair *p)
{
	ff_memif_destroy(p->cli);
	ff_memif_destroy(p->srv);
}

void
raw_open(struct raw *r, const struct ff_memif_conf *conf)
{
	int sv[2];

	socket_pair(sv);
	r->sock = sv[1];
	CU_ASSERT_EQUAL_FATAL(ff_memif_create(&r->m, sv[0], conf), 0);
}

void
raw_close(struct raw *r)
{
	ff_memif_destroy(r->m);
	close(r->sock);
}

void
raw_send(struct raw *r, const struct memif_msg *msg, int fd)
{
	union {
		char buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} ctl = {0};
	struct iovec iov = {.iov_base = (void *)(uintptr_t)msg, .iov_len = sizeof(*msg)};
	struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};

	if (fd >= 0) {
		ctl.align.cmsg_level = SOL_SOCKET;
		ctl.align.cmsg_type = SCM_RIGHTS;
		ctl.align.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&ctl.align), &fd, sizeof(fd));
		mh.msg_control = ctl.buf;
		mh.msg_controllen = sizeof(ctl.buf);
	}
	CU_ASSERT_EQUAL_FATAL(sendmsg(r->sock, &mh, MSG_NOSIGNAL), sizeof(*msg));
}

int
raw_recv(struct raw *r, struct memif_msg *msg)
{
	struct memif_msg m;
	ssize_t n = recv(r->sock, &m, sizeof(m), MSG_DONTWAIT);

	if (n <= 0)
		return -1;
	CU_ASSERT_EQUAL_FATAL(n, sizeof(m));
	if (msg)
		*msg = m;
	return m.type;
}

int
raw_ask(struct raw *r, const struct memif_msg *msg, int fd)
{
	raw_send(r, msg, fd);
	ff_memif_process(r->m);
	return raw_recv(r, NULL);
}

void
raw_expect_refused(struct raw *r, const struct memif_msg *msg, int fd, const char *text)
{
	struct memif_msg answer = {0};
	const char *reason;

	raw_send(r, msg, fd);
	CU_ASSERT(ff_memif_process(r->m) < 0);
	CU_ASSERT_EQUAL(ff_memif_state(r->m), FF_MEMIF_CLOSED);
	CU_ASSERT_EQUAL(raw_recv(r, &answer), MEMIF_MSG_TYPE_DISCONNECT);
	CU_ASSERT(memchr(answer.disconnect.string, 0, MEMIF_DISC_STRING_SZ) != NULL);
	reason = ff_memif_reason(r->m);
	if (!strstr(reason, text)) {
		fputs("\n    the reason is: ", stdout);
		fputs(reason, stdout);
		CU_FAIL("wrong reason");
	}
	CU_ASSERT(strstr((char *)answer.disconnect.string, text) != NULL);
	/* And so it stays. */
	CU_ASSERT(ff_memif_process(r->m) < 0);
	CU_ASSERT_PTR_NULL(ff_memif_ring_get(r->m, true, 0));
}

struct memif_msg
msg_init(void)
{
	struct memif_msg msg = {.type = MEMIF_MSG_TYPE_INIT};

	msg.init.version = MEMIF_VERSION;
	msg.init.id = 7;
	msg.init.mode = MEMIF_INTERFACE_MODE_ETHERNET;
	return msg;
}

struct memif_msg
msg_region(unsigned index, uint64_t size)
{
	struct memif_msg msg = {.type = MEMIF_MSG_TYPE_ADD_REGION};

	msg.add_region.index = (uint16_t)index;
	msg.add_region.size = size;
	return msg;
}

struct memif_msg
msg_ring(bool s2m, unsigned index, uint32_t offset, unsigned log2)
{
	struct memif_msg msg = {.type = MEMIF_MSG_TYPE_ADD_RING};

	msg.add_ring.flags = s2m ? MEMIF_MSG_ADD_RING_FLAG_S2M : 0;
	msg.add_ring.index = (uint16_t)index;
	msg.add_ring.offset = offset;
	msg.add_ring.log2_ring_size = (uint8_t)log2;
	return msg;
}

struct memif_msg
msg_connect(void)
{
	return (struct memif_msg){.type = MEMIF_MSG_TYPE_CONNECT};
}

int
make_memfd(uint64_t size, int seals, void **map)
{
	int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	CU_ASSERT_FATAL(fd >= 0);
	CU_ASSERT_EQUAL_FATAL(ftruncate(fd, (off_t)size), 0);
	if (map) {
		*map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		CU_ASSERT_FATAL(*map != MAP_FAILED);
	}
	CU_ASSERT_EQUAL_FATAL(fcntl(fd, F_ADD_SEALS, seals), 0);
	return fd;
}

unsigned
count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	CU_ASSERT_PTR_NOT_NULL_FATAL(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

int
run_tests(const char *suite, const struct test *tests, unsigned num)
{
	CU_pSuite s;
	unsigned failed;

	if (CU_initialize_registry() != CUE_SUCCESS)
		return 1;
	s = CU_add_suite(suite, NULL, NULL);
	for (unsigned i = 0; i < num; i++)
		if (!s || !CU_add_test(s, tests[i].name, tests[i].fn))
			return 1;
	CU_basic_set_mode(CU_BRM_VERBOSE);
	CU_basic_run_tests();
	failed = CU_get_number_of_tests_failed() + (CU_get_number_of_tests_run() != num);
	CU_cleanup_registry();
	return failed != 0;
}
