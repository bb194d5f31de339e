/* SPDX-License-Identifier: MIT */
/* The control thread of the tests of the kernel provider, and questions to it. */
#include "resolver.h"

#include <CUnit/Basic.h>
#include <arpa/inet.h>
#include <net/if.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/loop.h"
#include "core/worker.h"

#define PATIENCE_NS (90ull * 1000 * 1000 * 1000)
#define TENANT	    3u

/* ---- the control thread ---- */

static pthread_t control;
static _Atomic int control_up; /* 1: runs, -1: did not start */

static void *
control_main(void *arg)
{
	static const struct ff_overlay_provider *const providers[] = {&ff_overlay_kernel};

	if (ff_loop_init() || ff_overlay_init(providers, 1) || ff_overlay_kernel.init(NULL)) {
		atomic_store(&control_up, -1);
		return NULL;
	}
	atomic_store(&control_up, 1);
	ff_loop_run();
	ff_overlay_fini();
	ff_overlay_kernel.fini();
	ff_loop_fini();
	return NULL;
}

static void
loop_end(void *arg)
{
	ff_loop_stop();
}

static void
flush_call(void *arg)
{
	ff_overlay_flush(FF_OVERLAY_ALL);
}

bool
resolver_start(void)
{
	if (pthread_create(&control, NULL, control_main, NULL))
		return false;
	while (!atomic_load(&control_up))
		usleep(1000);
	return atomic_load(&control_up) > 0;
}

void
resolver_end(void)
{
	(void)ff_loop_call(loop_end, NULL);
	pthread_join(control, NULL);
}

void
resolver_flush(void)
{
	CU_ASSERT_EQUAL(ff_loop_call(flush_call, NULL), 0);
}

/* ---- questions ---- */

struct question
question(struct netns from, const char *address)
{
	struct question q = {.scope = {TENANT, "t", from.fd}};

	if (from.fd == RESOLVER_UNDERLAY)
		q.scope = (struct ff_overlay_scope){FF_OVERLAY_UNDERLAY, NULL, -1};

	if (inet_pton(AF_INET, address, q.gid + 12) == 1)
		q.gid[10] = q.gid[11] = 0xff;
	else
		CU_ASSERT_EQUAL(inet_pton(AF_INET6, address, q.gid), 1);
	return q;
}

static void
ask_call(void *arg)
{
	struct question *q = arg;

	q->rc = ff_overlay_ask(&q->scope, q->gid);
	ff_overlay_lookup(q->scope.tenant, q->gid, &q->e);
}

static void
look_call(void *arg)
{
	struct question *q = arg;

	ff_overlay_lookup(q->scope.tenant, q->gid, &q->e);
}

void
question_ask(struct question *q)
{
	CU_ASSERT_EQUAL_FATAL(ff_loop_call(ask_call, q), 0);
}

struct ff_overlay_entry
ask(struct netns from, const char *address)
{
	struct question q = question(from, address);

	question_ask(&q);
	CU_ASSERT_EQUAL(q.rc, 0);
	return q.e;
}

/* " by NAME"; nothing where there is no interface to name. */
static void
interface_text(uint32_t ifindex, char out[IF_NAMESIZE + 4])
{
	char name[IF_NAMESIZE] = "any";

	out[0] = '\0';
	if (!ifindex)
		return;
	if (ifindex != FF_OVERLAY_IFINDEX_ANY && !if_indextoname(ifindex, name))
		strcpy(name, "gone");
	snprintf(out, IF_NAMESIZE + 4, " by %s", name);
}

static void
entry_text(const struct ff_overlay_entry *e, char out[160])
{
	static const char *const states[] = {"unknown", "local", "remote", "none"};
	char host[INET6_ADDRSTRLEN], by[IF_NAMESIZE + 4];

	interface_text(e->ifindex, by);
	inet_ntop(AF_INET6, e->host, host, sizeof(host));
	if (e->state != FF_OVERLAY_REMOTE)
		snprintf(out, 160, "%s", states[e->state]);
	else
		snprintf(out, 160, "%s %s vni %u mac %02x:%02x:%02x:%02x:%02x:%02x mtu %u%s",
			 e->vxlan ? "vxlan" : "plain", host, e->vni, e->mac[0], e->mac[1],
			 e->mac[2], e->mac[3], e->mac[4], e->mac[5], e->mtu, by);
}

bool
says(struct netns from, const char *address, const char *wanted, bool ask_again)
{
	struct question q = question(from, address);
	uint64_t end = ff_now_ns() + PATIENCE_NS;
	char is[160];

	do {
		CU_ASSERT_EQUAL_FATAL(ff_loop_call(ask_again ? ask_call : look_call, &q), 0);
		entry_text(&q.e, is);
		if (!strcmp(is, wanted))
			return true;
		usleep(10000);
	} while (ff_now_ns() < end);
	printf("\n%s: %s, not %s\n", address, is, wanted);
	return false;
}
