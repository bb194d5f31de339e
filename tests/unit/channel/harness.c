/* SPDX-License-Identifier: MIT */
/* See harness.h. */
#include "harness.h"

#include <CUnit/Basic.h>
#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/worker_priv.h"

#define PATIENCE_MS 10000

static char run_dir[] = "/tmp/ff-channel-XXXXXX";
static char shim_path[sizeof(run_dir) + 16];
static unsigned failures;

const char *
harness_run_dir(void)
{
	return run_dir;
}

const char *
harness_path(const char *id, const char *name)
{
	static char buf[4][512];
	static unsigned next;
	char *b = buf[next++ % 4];

	snprintf(b, sizeof(buf[0]), "%s/containers/%s/%s", run_dir, id, name);
	return b;
}

void
harness_control(void (*fn)(void *arg), void *arg)
{
	if (ff_loop_call(fn, arg))
		abort();
}

struct add_call {
	struct ff_container_conf conf;
	char err[256];
	int rc;
};

static void
add_on_control(void *arg)
{
	struct add_call *c = arg;

	c->rc = ff_container_add(&c->conf, c->err, sizeof(c->err));
}

int
harness_add(const char *id, const char *address)
{
	struct add_call c = {.rc = 0};

	snprintf(c.conf.id, sizeof(c.conf.id), "%s", id);
	snprintf(c.conf.tenant, sizeof(c.conf.tenant), "t");
	if (address) {
		snprintf(c.conf.addresses[0], sizeof(c.conf.addresses[0]), "%s", address);
		c.conf.num_addresses = 1;
	}
	harness_control(add_on_control, &c);
	return c.rc;
}

struct del_call {
	const char *id;
	int rc;
};

static void
del_on_control(void *arg)
{
	struct del_call *c = arg;

	c->rc = ff_container_del(c->id);
}

int
harness_del(const char *id)
{
	struct del_call c = {.id = id};

	harness_control(del_on_control, &c);
	return c.rc;
}

struct ff_container *
harness_container(const char *id)
{
	return ff_container_find(id);
}

struct pass_call {
	unsigned n, work;
};

static void
passes_on_control(void *arg)
{
	struct pass_call *p = arg;

	while (p->n--)
		p->work += ff_worker_pass(ff_worker_get(0), ff_now_ns());
}

unsigned
harness_passes(unsigned n)
{
	struct pass_call p = {n, 0};

	harness_control(passes_on_control, &p);
	return p.work;
}

struct read_call {
	const uint64_t *value;
	uint64_t seen;
};

static void
read_on_control(void *arg)
{
	struct read_call *r = arg;

	r->seen = *r->value;
}

uint64_t
harness_u64(const uint64_t *value)
{
	struct read_call r = {value, 0};

	harness_control(read_on_control, &r);
	return r.seen;
}

bool
harness_wait_u64(const uint64_t *value, uint64_t want)
{
	for (int i = 0; i < PATIENCE_MS; i++) {
		if (harness_u64(value) == want)
			return true;
		usleep(1000);
	}
	return false;
}

unsigned
harness_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

int
client_connect(const char *id, const char *sock)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", harness_path(id, sock));
	if (connect(fd, (struct sockaddr *)&sa, sizeof(sa))) {
		close(fd);
		return -1;
	}
	return fd;
}

int
client_send_raw(int fd, const void *msg, size_t len, const int *fds, unsigned num_fds)
{
	char control[CMSG_SPACE(16 * sizeof(int))] = {0};
	struct iovec iov = {(void *)msg, len};
	struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};
	struct cmsghdr *c = (struct cmsghdr *)control;

	if (num_fds) {
		mh.msg_control = control;
		mh.msg_controllen = CMSG_SPACE(num_fds * sizeof(int));
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(num_fds * sizeof(int));
		memcpy(CMSG_DATA(c), fds, num_fds * sizeof(int));
	}
	return sendmsg(fd, &mh, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

int
client_send(int fd, uint32_t type, uint32_t seq, const void *body, uint32_t len)
{
	struct ff_msg_hdr h = {.type = type, .seq = seq, .len = len};
	uint8_t msg[FF_MSG_MAX];

	memcpy(msg, &h, sizeof(h));
	if (len)
		memcpy(msg + sizeof(h), body, len);
	return client_send_raw(fd, msg, sizeof(h) + len, NULL, 0);
}

int
client_recv(int fd, struct ff_msg_hdr *h, void *body, size_t cap)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	uint8_t msg[FF_MSG_MAX];
	ssize_t n;

	if (poll(&p, 1, PATIENCE_MS) != 1)
		return -ETIMEDOUT;
	n = recv(fd, msg, sizeof(msg), 0);
	if (n <= 0)
		return n ? -errno : -ECONNRESET;
	if ((size_t)n < sizeof(*h))
		return -EPROTO;
	memcpy(h, msg, sizeof(*h));
	n -= (ssize_t)sizeof(*h);
	if ((uint32_t)n != h->len)
		return -EPROTO;
	if (cap)
		memcpy(body, msg + sizeof(*h), (size_t)n < cap ? (size_t)n : cap);
	return (int)n;
}

int
client_attach(int fd, struct ff_msg_attach_reply *rep)
{
	struct ff_msg_attach a = {.abi_version = FF_ABI_VERSION};
	struct ff_msg_hdr h;
	int n;

	client_send(fd, FF_MSG_ATTACH, 1, &a, sizeof(a));
	n = client_recv(fd, &h, rep, sizeof(*rep));
	if (n < 0)
		return n;
	return h.status ? h.status : n == sizeof(*rep) ? 0 : -EPROTO;
}

int
client_context(int fd, const uint8_t token[FF_TOKEN_LEN])
{
	struct ff_msg_context c = {.abi_version = FF_ABI_VERSION};
	struct ff_msg_hdr h;
	int n;

	memcpy(c.token, token, FF_TOKEN_LEN);
	client_send(fd, FF_MSG_CONTEXT, 2, &c, sizeof(c));
	n = client_recv(fd, &h, NULL, 0);
	return n < 0 ? n : h.status;
}

bool
client_closed(int fd)
{
	struct ff_msg_hdr h;
	uint8_t body[FF_MSG_MAX];
	int n;

	do {
		n = client_recv(fd, &h, body, sizeof(body));
	} while (n >= 0);
	return n == -ECONNRESET || n == -EPIPE;
}

struct ff_container *c1;

void
attach_setup(void)
{
	CU_ASSERT_EQUAL(harness_add("c1", "10.32.0.1"), 0);
	CU_ASSERT_EQUAL(harness_add("c2", "10.32.0.2"), 0);
	CU_ASSERT_EQUAL(harness_add("c3", "10.32.0.3"), 0);
	c1 = harness_container("c1");
}

void
expect_nothing_left(void)
{
	CU_ASSERT_TRUE(harness_wait_u64(&c1->used[FF_QUOTA_PROCESSES], 0));
	CU_ASSERT_TRUE(harness_wait_u64(&c1->used[FF_QUOTA_CONTEXTS], 0));
	CU_ASSERT_TRUE(TAILQ_EMPTY(&c1->channels));
}

/* The control thread's own. */
static void
detached_copy(void *arg)
{
	memcpy(arg, ff_channel_detached, sizeof(ff_channel_detached));
}

void
expect_detached(const uint64_t before[FF_DETACH_MAX], enum ff_detach_reason why)
{
	uint64_t now[FF_DETACH_MAX];

	CU_ASSERT_TRUE(harness_wait_u64(&ff_channel_detached[why], before[why] + 1));
	harness_control(detached_copy, now);
	for (unsigned i = 0; i < FF_DETACH_MAX; i++)
		CU_ASSERT_EQUAL(now[i], before[i] + (i == why));
}

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

static void
stop_on_control(void *arg)
{
	ff_loop_stop();
}

static void *
tests_thread(void *arg)
{
	CU_basic_set_mode(CU_BRM_VERBOSE);
	CU_basic_run_tests();
	failures = CU_get_number_of_failures();
	harness_control(stop_on_control, NULL);
	return NULL;
}

static int
config_make(void)
{
	FILE *f;

	ff_config_defaults(&ff_config);
	if (!mkdtemp(run_dir))
		return -errno;
	snprintf(shim_path, sizeof(shim_path), "%s/shim.so", run_dir);
	f = fopen(shim_path, "w");
	if (!f || fputs("not really a library", f) < 0 || fclose(f))
		return -EIO;
	snprintf(ff_config.run_dir, sizeof(ff_config.run_dir), "%s", run_dir);
	snprintf(ff_config.shim_path, sizeof(ff_config.shim_path), "%s", shim_path);
	ff_config.idle = FF_IDLE_INTERRUPT;
	ff_log_level_set(NULL, FF_LOG_ERR);
	return 0;
}

static int
up(void)
{
	struct ff_worker *w = ff_worker_get(0);
	int rc = config_make();

	if (!rc)
		rc = ff_loop_init();
	if (!rc)
		rc = ff_verbs_init();
	if (!rc)
		rc = ff_channels_init();
	if (!rc)
		rc = ff_worker_create(w, 0);
	if (!rc)
		rc = ff_worker_enter(w);
	if (!rc)
		rc = ff_containers_init();
	return rc;
}

static void
down(void)
{
	struct ff_worker *w = ff_worker_get(0);

	ff_containers_fini();
	ff_worker_leave(w);
	ff_channels_fini();
	ff_verbs_fini();
	ff_loop_fini();
	ff_worker_destroy(w);
	ff_config_free(&ff_config);
	nftw(run_dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

int
harness_main(const char *suite, const struct harness_test *tests, unsigned n)
{
	CU_pSuite s;
	pthread_t t;
	int rc;

	signal(SIGPIPE, SIG_IGN);
	rc = up();
	if (rc) {
		fprintf(stderr, "%s: set-up: %s\n", suite, strerror(-rc));
		return 1;
	}
	if (CU_initialize_registry())
		return 1;
	s = CU_add_suite(suite, NULL, NULL);
	for (unsigned i = 0; i < n; i++)
		CU_add_test(s, tests[i].name, tests[i].fn);
	if (pthread_create(&t, NULL, tests_thread, NULL))
		return 1;
	ff_loop_run();
	pthread_join(t, NULL);
	CU_cleanup_registry();
	down();
	return failures ? 1 : 0;
}
