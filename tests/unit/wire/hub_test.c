/* SPDX-License-Identifier: MIT */
/* Tests usertools/wire/hub.c: where frames go, what befalls them, and that each is counted once. */
#include <errno.h>
#include <stdlib.h>

#include "hub.h"
#include "wire_util.h"

#define PORTS 3u
#define SEEN  40000u
#define MS    1000000ull

static const char *const names[PORTS] = {"host1", "host2", "host3"};
static struct wire_hub hub;
/* Number in the payload and port of each frame that has come out. */
static struct {
	uint32_t number;
	unsigned port;
} seen[SEEN];
static unsigned num_seen;

static void
output(void *arg, unsigned port, struct wire_frame *frame)
{
	CU_ASSERT_PTR_EQUAL(arg, &hub);
	CU_ASSERT_FATAL(num_seen < SEEN);
	memcpy(&seen[num_seen].number, frame->bytes + 42, sizeof(uint32_t));
	seen[num_seen++].port = port;
	wire_pool_put(&hub.pool, frame);
}

static void
hub_start(const char *spec)
{
	char error[256];

	num_seen = 0;
	CU_ASSERT_EQUAL_FATAL(wire_hub_init(&hub, names, PORTS, output, &hub), 0);
	CU_ASSERT_EQUAL_FATAL(wire_hub_set(&hub, spec, error, sizeof(error)), 0);
}

static void
set(const char *spec)
{
	char error[256];

	CU_ASSERT_EQUAL_FATAL(wire_hub_set(&hub, spec, error, sizeof(error)), 0);
}

/* From the host behind port in to the one behind out, or to all with out == PORTS. */
static void
send_typed(unsigned in, unsigned out, uint32_t number, unsigned type, uint64_t now)
{
	struct wire_frame *frame = wire_pool_get(&hub.pool);

	CU_ASSERT_PTR_NOT_NULL_FATAL(frame);
	udp4_make(frame, 20, true);
	if (out == PORTS)
		memset(frame->bytes, 0xff, 6);
	else
		frame->bytes[5] = (uint8_t)out;
	frame->bytes[11] = (uint8_t)in;
	frame->bytes[12] = (uint8_t)(type >> 8);
	frame->bytes[13] = (uint8_t)type;
	memcpy(frame->bytes + 42, &number, sizeof(number));
	wire_hub_input(&hub, in, frame, now);
}

static void
send_ip(unsigned in, unsigned out, uint32_t number, uint64_t now)
{
	send_typed(in, out, number, 0x0800, now);
}

static void
learn_all(void)
{
	unsigned i;

	for (i = 0; i < PORTS; i++)
		send_typed(i, PORTS, 0, 0x0806, 0);
	wire_hub_run(&hub, 0);
	num_seen = 0;
}

static void
expect_seen(unsigned at, unsigned port, uint32_t number)
{
	CU_ASSERT_FATAL(at < num_seen);
	CU_ASSERT_EQUAL(seen[at].port, port);
	CU_ASSERT_EQUAL(seen[at].number, number);
}

static void
test_switching(void)
{
	hub_start("none");
	/* Nobody has been heard yet. */
	send_ip(0, 1, 1, 0);
	CU_ASSERT_EQUAL(wire_hub_run(&hub, 0), WIRE_NEVER);
	CU_ASSERT_EQUAL(num_seen, 2);
	expect_seen(0, 1, 1);
	expect_seen(1, 2, 1);
	/* Port 0 has. */
	send_ip(1, 0, 2, 0);
	wire_hub_run(&hub, 0);
	CU_ASSERT_EQUAL(num_seen, 3);
	expect_seen(2, 0, 2);
	/* A host that has moved. */
	send_typed(2, PORTS, 3, 0x0806, 0);
	send_ip(0, 0, 4, 0);
	CU_ASSERT_EQUAL(hub.ports[0].from.local, 1);
	wire_hub_run(&hub, 0);
	CU_ASSERT_EQUAL(num_seen, 5);
	wire_hub_fini(&hub);
	CU_ASSERT_EQUAL(wire_hub_init(&hub, names, 0, output, &hub), -EINVAL);
	CU_ASSERT_EQUAL(wire_hub_init(&hub, names, WIRE_PORTS_MAX + 1, output, &hub), -EINVAL);
}

static void
round_run(unsigned frames)
{
	unsigned i;

	num_seen = 0;
	for (i = 0; i < frames; i++) {
		send_ip(0, 1, i, i * MS);
		/* The other direction is another stream; ARP takes no dice. */
		if (i % 3 == 0)
			send_ip(1, 0, i, i * MS);
		if (i % 7 == 0)
			send_typed(0, PORTS, i, 0x0806, i * MS);
		wire_hub_run(&hub, i * MS);
	}
	wire_hub_run(&hub, WIRE_NEVER - 1);
}

/* Which numbers have come out of port 1, how often. */
static void
tally(uint8_t *times, unsigned frames)
{
	unsigned i;

	memset(times, 0, frames);
	for (i = 0; i < num_seen; i++)
		if (seen[i].port == 1)
			times[seen[i].number]++;
}

static void
test_seed_repeats(void)
{
	static uint8_t first[4000], again[4000], other[4000];
	unsigned lost;

	hub_start("loss=5,dup=1,seed=7");
	learn_all();
	set("seed=7");
	round_run(4000);
	tally(first, 4000);
	lost = (unsigned)hub.ports[0].from.lost;
	CU_ASSERT(lost > 130 && lost < 270);
	set("seed=7");
	round_run(4000);
	tally(again, 4000);
	CU_ASSERT(!memcmp(first, again, sizeof(first)));
	CU_ASSERT_EQUAL(hub.ports[0].from.lost, 2 * lost);
	round_run(4000);
	tally(other, 4000);
	CU_ASSERT(memcmp(first, other, sizeof(first)) != 0);
	wire_hub_fini(&hub);
}

/* Nothing vanishes: what comes in goes out or has a counter. */
static void
test_accounts(void)
{
	const struct wire_from *from;
	unsigned i, to_1 = 0;

	hub_start("none");
	learn_all();
	set("loss=5,dup=5,reorder=5,corrupt=5,delay=3ms,jitter=2ms,seed=9,rate=100mbit");
	from = &hub.ports[0].from;
	for (i = 0; i < 5000; i++) {
		send_ip(0, 1, i, 10 * MS + i * 100000);
		wire_hub_run(&hub, 10 * MS + i * 100000);
	}
	CU_ASSERT(hub.ports[0].line.count > 0);
	/* Not WIRE_NEVER: a time in the far future counts as over. */
	wire_hub_run(&hub, 1000 * 1000 * MS);
	CU_ASSERT_EQUAL(hub.ports[0].line.count + hub.ports[1].queue.count, 0);
	for (i = 0; i < num_seen; i++)
		to_1 += seen[i].port == 1;
	CU_ASSERT_EQUAL(num_seen, to_1);
	CU_ASSERT(from->lost > 150 && from->duplicated > 150 && from->reordered > 150 &&
		  from->corrupted > 150);
	CU_ASSERT_EQUAL(to_1, 5000 - from->lost + from->duplicated);
	wire_hub_fini(&hub);
}

static void
test_reorder_and_duplicate(void)
{
	hub_start("none");
	learn_all();
	set("host1.reorder=100");
	send_ip(0, 1, 1, 0);
	set("none,host1.dup=100");
	send_ip(0, 1, 2, 0);
	send_ip(0, 1, 3, 0);
	send_ip(0, 1, 4, 0);
	wire_hub_run(&hub, 0);
	CU_ASSERT_EQUAL(num_seen, 7);
	CU_ASSERT_EQUAL(seen[0].number, 2);
	CU_ASSERT_EQUAL(seen[1].number, 2);
	CU_ASSERT_EQUAL(hub.ports[0].from.reordered, 1);
	CU_ASSERT_EQUAL(hub.ports[0].from.duplicated, 3);
	/* A broadcast, twice to each. */
	num_seen = 0;
	send_ip(0, PORTS, 5, 0);
	wire_hub_run(&hub, 0);
	CU_ASSERT_EQUAL(num_seen, 4);
	wire_hub_fini(&hub);
}

static void
test_mtu(void)
{
	hub_start("host1.mtu=48");
	learn_all();
	send_ip(0, 1, 1, 0); /* 20 + 8 + 20 */
	set("host1.mtu=47");
	send_ip(0, 1, 2, 0);
	send_ip(1, 0, 3, 0);
	wire_hub_run(&hub, 0);
	CU_ASSERT_EQUAL(num_seen, 2);
	CU_ASSERT_EQUAL(hub.ports[0].from.mtu, 1);
	wire_hub_fini(&hub);
}

static void
test_link(void)
{
	hub_start("delay=1ms");
	learn_all();
	set("host2.link=down");
	wire_hub_run(&hub, 2 * MS);
	num_seen = 0;
	send_ip(0, 1, 1, 2 * MS);
	send_ip(1, 0, 2, 2 * MS);
	send_ip(0, 2, 3, 2 * MS);
	CU_ASSERT_EQUAL(wire_hub_run(&hub, 2 * MS), 3 * MS);
	CU_ASSERT_EQUAL(wire_hub_run(&hub, 3 * MS), WIRE_NEVER);
	CU_ASSERT_EQUAL(hub.ports[1].from.down, 1);
	set("host2.link=up");
	send_ip(0, 1, 4, 3 * MS);
	/* Pulled while a frame is under way. */
	send_ip(0, 1, 5, 4 * MS);
	wire_hub_run(&hub, 4 * MS);
	set("link=down");
	wire_hub_run(&hub, 9 * MS);
	CU_ASSERT_EQUAL(num_seen, 2);
	CU_ASSERT_EQUAL(seen[1].number, 4);
	wire_hub_fini(&hub);
}

/* The bottleneck is the way out: two senders share that of their receiver. */
static void
test_bottleneck(void)
{
	unsigned i;

	hub_start("none");
	learn_all();
	set("host3.rate=8mbit,host3.limit=620,host3.ecn=1");
	for (i = 0; i < 10; i++) {
		send_ip(0, 2, i, 0);
		send_ip(1, 2, i, 0);
		send_ip(2, 1, i, 0);
	}
	CU_ASSERT_EQUAL(wire_hub_run(&hub, 0), 62000);
	CU_ASSERT_EQUAL(hub.ports[2].to.queue, 10);
	CU_ASSERT_EQUAL(hub.ports[2].to.marked, 0);
	CU_ASSERT_EQUAL(hub.ports[1].to.sent, 3 + 10 - 1);
	wire_hub_run(&hub, 62000 * 10);
	CU_ASSERT_EQUAL(num_seen, 20);
	wire_hub_fini(&hub);
}

static void
test_pool_runs_out(void)
{
	unsigned i;

	hub_start("delay=1ms");
	for (i = 0; i < WIRE_FRAMES_WAITING; i++)
		send_ip(0, PORTS, i, 0);
	CU_ASSERT_PTR_NULL(wire_pool_get(&hub.pool));
	/* Two copies of each are wanted. Only the frames before it have left room, for one. */
	CU_ASSERT_EQUAL(wire_hub_run(&hub, 1 * MS), WIRE_NEVER);
	CU_ASSERT_EQUAL(num_seen, WIRE_FRAMES_WAITING - 1);
	CU_ASSERT_EQUAL(hub.ports[0].from.full, WIRE_FRAMES_WAITING + 1);
	CU_ASSERT_EQUAL(hub.pool.made, WIRE_FRAMES_WAITING);
	wire_hub_fini(&hub);
}

static void
test_print(void)
{
	char *text = NULL;
	size_t size = 0;
	FILE *out;

	hub_start("loss=1");
	out = open_memstream(&text, &size);
	CU_ASSERT_PTR_NOT_NULL_FATAL(out);
	wire_hub_print(&hub, out);
	fclose(out);
	CU_ASSERT_PTR_NOT_NULL(
		strstr(text, "{\"ports\": [{\"name\": \"host1\", \"settings\": {\"loss\": 1,"));
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "\"waiting\": 0}, {\"name\": \"host2\""));
	free(text);
	wire_hub_fini(&hub);
}

int
main(void)
{
	unsigned failures;
	CU_pSuite suite;

	CU_initialize_registry();
	suite = CU_add_suite("wire/hub", NULL, NULL);
	CU_add_test(suite, "switching", test_switching);
	CU_add_test(suite, "a seed repeats", test_seed_repeats);
	CU_add_test(suite, "accounts", test_accounts);
	CU_add_test(suite, "reorder and duplicate", test_reorder_and_duplicate);
	CU_add_test(suite, "mtu", test_mtu);
	CU_add_test(suite, "link", test_link);
	CU_add_test(suite, "bottleneck", test_bottleneck);
	CU_add_test(suite, "the pool runs out", test_pool_runs_out);
	CU_add_test(suite, "print", test_print);
	CU_basic_run_tests();
	failures = CU_get_number_of_failures();
	CU_cleanup_registry();
	return failures != 0;
}
