/* SPDX-License-Identifier: MIT */
/*
 * Tests dataplane/telemetry/peers.c with fakes of the resolver, the channels and the page: each
 * record becomes a line of text.
 */
#include <CUnit/Basic.h>
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "overlay/overlay.h"
#include "telemetry/telemetry_priv.h"

/* ---- the page ---- */

static char line[512]; /* of the record in the making */
static char text[8192];

struct tel_obj
tel_obj_new(void)
{
	line[0] = '\0';
	return (struct tel_obj){0};
}

static void
say(const char *name, const char *value)
{
	size_t n = strlen(line);

	snprintf(line + n, sizeof(line) - n, "%s%s=%s", n ? " " : "", name, value);
}

void
tel_str(struct tel_obj *o, const char *name, const char *value)
{
	say(name, value);
}

void
tel_num(struct tel_obj *o, const char *name, uint64_t value)
{
	char digits[24];

	snprintf(digits, sizeof(digits), "%llu", (unsigned long long)value);
	say(name, digits);
}

void
tel_address(struct tel_obj *o, const char *name, const uint8_t raw[16])
{
	char address[INET_ADDRSTRLEN];

	inet_ntop(AF_INET, raw + 12, address, sizeof(address));
	say(name, address);
}

void
tel_counters(struct tel_obj *o, const char *name, const char *const *names, const uint64_t *values,
	     unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (values[i])
			tel_num(o, names[i], values[i]);
}

bool
tel_page_wants(const struct tel_page *p, const struct ff_container *c)
{
	return !p->container[0] || !strcmp(p->container, c->id);
}

bool
tel_page_next(struct tel_page *p)
{
	uint32_t n = p->seen++;

	return n >= p->start && p->used < p->count;
}

void
tel_page_add(struct tel_page *p, struct tel_obj *record)
{
	p->used++;
	strcat(strcat(text, line), "\n");
}

/* ---- tenants, containers, QPs ---- */

static struct ff_tenant tenants[] = {{.name = "a", .index = 4, .vni = 70},
				     {.name = "b", .index = 2, .vni = 80}};
static struct ff_container containers[] = {{.id = "c1", .tenant = &tenants[0]},
					   {.id = "c2", .tenant = &tenants[1]}};

const struct ff_tenant *
ff_tenant_by_index(uint32_t index)
{
	return tenants[0].index == index   ? &tenants[0]
	       : tenants[1].index == index ? &tenants[1]
					   : NULL;
}

#define GID(last)                                                \
	{                                                        \
		[10] = 0xff, [11] = 0xff, [12] = 10, [15] = last \
	}

/* By QPN; the last one has no peer elsewhere. */
static const struct ff_nic_peer measured[] = {
	{.gid = GID(9), .tx_packets = 1, .timeouts = 2, .window = 10, .rtt_ns = 100},
	{.gid = GID(9), .tx_packets = 5, .retransmitted = 3, .window = 20, .rtt_ns = 300},
	{.gid = GID(9), .cnp_sent = 6, .rx_packets = 4, .cnp_received = 7, .rate_bps = 8000},
	{.gid = GID(8), .window = 1},
};
#define NUM_PEERS (sizeof(measured) / sizeof(measured[0]))

static bool
fake_qp_peer(const struct ff_qp *qp, struct ff_nic_peer *out)
{
	if (qp->qpn >= NUM_PEERS)
		return false;
	*out = measured[qp->qpn];
	return true;
}

static const struct ff_nic_ops fake_nic = {.qp_peer = fake_qp_peer};
const struct ff_nic_ops *ff_nic = &fake_nic;

static struct ff_qp qps[NUM_PEERS + 1];

/* c1 has QPs 0, 1, 4 and a hole in its table; c2 the others. */
void
ff_channel_foreach(void (*fn)(struct ff_channel *ch, void *arg), void *arg)
{
	struct ff_obj *slots[2][4] = {{&qps[0].obj, NULL, &qps[1].obj, &qps[4].obj},
				      {&qps[2].obj, &qps[3].obj, NULL, NULL}};

	for (unsigned i = 0; i < 2; i++) {
		struct ff_channel ch = {.container = &containers[i]};
		struct ff_ucontext uc = {.container = &containers[i]};

		for (unsigned k = 0; k < 4; k++)
			if (slots[i][k])
				((struct ff_qp *)slots[i][k])->container = &containers[i];
		uc.tables[FF_OBJ_QP].slots = slots[i];
		uc.tables[FF_OBJ_QP].size = 4;
		TAILQ_INIT(&ch.contexts);
		TAILQ_INSERT_TAIL(&ch.contexts, &uc, link);
		fn(&ch, arg);
	}
}

/* ---- the resolver ---- */

static bool resolver_is_empty;

void
ff_overlay_foreach(ff_overlay_visit *fn, void *arg)
{
	static const uint8_t gid[3][16] = {GID(9), GID(1), GID(2)};
	const struct ff_overlay_entry local = {.state = FF_OVERLAY_LOCAL},
				      none = {.state = FF_OVERLAY_NONE},
				      remote = {.state = FF_OVERLAY_REMOTE,
						.host = GID(200),
						.mac = {2, 0, 0, 0, 0, 0xab},
						.vxlan = true,
						.vni = 1,
						.mtu = 1450},
				      plain = {.state = FF_OVERLAY_REMOTE, .host = GID(100)};

	if (resolver_is_empty)
		return;
	fn(4, gid[0], &remote, 1234, arg);
	fn(2, gid[1], &local, 5, arg);
	fn(2, gid[2], &plain, 6, arg);
	fn(7, gid[2], &none, 7, arg);
	fn(FF_OVERLAY_UNDERLAY, gid[1], &plain, 8, arg);
}

/* ---- tests ---- */

static void
show(uint32_t start, uint32_t count, const char *container, uint32_t total, const char *wanted)
{
	struct tel_page p = {.start = start, .count = count};

	for (unsigned i = 0; i < NUM_PEERS + 1; i++)
		qps[i].qpn = i;
	strcpy(p.container, container);
	text[0] = '\0';
	tel_peers(&p);
	CU_ASSERT_STRING_EQUAL(text, wanted);
	if (strcmp(text, wanted))
		printf("\n%snot\n%s", text, wanted);
	CU_ASSERT_EQUAL(p.seen, total);
}

#define QPS_OF_C1                                                                              \
	"tenant=a address=10.0.0.9 state=remote age_ms=1234 host=10.0.0.200 encap=vxlan "      \
	"vni=70 mtu=1450 mac=02:00:00:00:00:ab qps=2 tx_packets=6 retransmitted=3 timeouts=2 " \
	"window=30 rtt_ns=200\n"
#define UNKNOWN_OF_C2                                                            \
	"tenant=b address=10.0.0.8 state=unknown qps=1 window=1\n"               \
	"tenant=b address=10.0.0.9 state=unknown qps=1 rx_packets=4 cnp_sent=6 " \
	"cnp_received=7 window=0 rate_bps=8000\n"
#define LOCAL "tenant=b address=10.0.0.1 state=local age_ms=5 qps=0\n"
#define NONE  "tenant= address=10.0.0.2 state=none age_ms=7 qps=0\n"
#define PLAIN "tenant=b address=10.0.0.2 state=remote age_ms=6 host=10.0.0.100 encap=none qps=0\n"

/* One line for each tenant's address, those of one host together; sums and means are right. */
static void
test_all(void)
{
	show(0, 100, "", 6, LOCAL UNKNOWN_OF_C2 NONE PLAIN QPS_OF_C1);
}

static void
test_pages(void)
{
	show(0, 1, "", 6, LOCAL);
	show(3, 2, "", 6, NONE PLAIN);
	show(6, 2, "", 6, "");
}

static void
test_container(void)
{
	show(0, 100, "c1", 1, QPS_OF_C1);
	show(0, 100, "c2", 2, UNKNOWN_OF_C2);
	show(0, 100, "c3", 0, "");
}

static void
test_empty(void)
{
	resolver_is_empty = true;
	show(0, 100, "c3", 0, "");
	show(0, 100, "c2", 2, UNKNOWN_OF_C2);
	resolver_is_empty = false;
}

int
main(void)
{
	unsigned failed;
	CU_pSuite s;

	if (CU_initialize_registry() != CUE_SUCCESS)
		return EXIT_FAILURE;
	s = CU_add_suite("peers", NULL, NULL);
	CU_add_test(s, "all", test_all);
	CU_add_test(s, "pages", test_pages);
	CU_add_test(s, "of a container", test_container);
	CU_add_test(s, "nothing is known", test_empty);
	CU_basic_set_mode(CU_BRM_VERBOSE);
	CU_basic_run_tests();
	failed = CU_get_number_of_failures();
	CU_cleanup_registry();
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
