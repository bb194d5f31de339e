/* SPDX-License-Identifier: MIT */
/*
 * A program that depends on the router, seen from outside. Under the shim:
 *   service_client watch [once]  traffic until the device fails; says what it was told, closes,
 *                                and, but for once, opens the device again when it is back
 *   service_client spin          posts a receive and polls, nothing else; says what comes
 *   service_client loop          traffic until the end of stdin; a line on stdin asks for its count
 *   service_client qps N         makes N QPs, says how many there are, waits for the end of stdin
 *   service_client pin N BYTES   the same with N regions of BYTES
 */
#include <errno.h>
#include <infiniband/verbs.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "loopback.h"

#define HALF	   65536u
#define PATIENCE_S 60
#define OBJECTS	   4096u

static volatile int stop; /* traffic gives up */
static atomic_ulong rounds;

static int
fail(const char *what)
{
	printf("failed: %s: %s\n", what, strerror(errno));
	return 1;
}

/* ---- watch ---- */

static void *
async_watch(void *arg)
{
	struct ibv_async_event e;

	/* A GID may come or go meanwhile. */
	do {
		errno = 0;
		if (ibv_get_async_event(arg, &e)) {
			printf("async: %s\n", strerror(errno));
			stop = 1;
			return NULL;
		}
		ibv_ack_async_event(&e);
	} while (e.event_type != IBV_EVENT_DEVICE_FATAL);
	puts("async: DEVICE_FATAL");
	stop = 1;
	return NULL;
}

static void *
comp_watch(void *arg)
{
	struct ibv_cq *cq;
	void *context;

	/* Nothing is armed: it returns when the device is no more. */
	printf("comp: %d\n", ibv_get_cq_event(arg, &cq, &context));
	return NULL;
}

/* Traffic on l until the device fails, then each kind of thing that a program does. */
static int
watch_failure(struct loopback *l)
{
	const char *why = NULL;
	unsigned seed = 0;
	struct ibv_pd *pd;

	while (!why && !stop) {
		why = loopback_round(l, ++seed, &stop);
		if (seed == 1)
			puts("ready");
	}
	printf("traffic: %s\n", why ? why : "stopped");
	errno = 0;
	pd = ibv_alloc_pd(l->ctx);
	printf("command: %s\n", pd ? "works" : errno == EIO ? "EIO" : strerror(errno));
	return why && strcmp(why, "wrong data") == 0;
}

static struct ibv_context *
device_again(void)
{
	static const struct timespec nap = {.tv_nsec = 5000000};
	time_t end = time(NULL) + PATIENCE_S;
	struct ibv_context *ctx;

	while (!(ctx = loopback_device()) && time(NULL) < end)
		nanosleep(&nap, NULL);
	return ctx;
}

static int
watch(bool once)
{
	struct ibv_context *ctx = loopback_device();
	struct ibv_comp_channel *ch;
	pthread_t async, comp;
	struct loopback l;
	int bad;

	if (!ctx || loopback_open(&l, ctx, HALF) || !(ch = ibv_create_comp_channel(ctx)))
		return fail("start");
	if (pthread_create(&async, NULL, async_watch, ctx) ||
	    pthread_create(&comp, NULL, comp_watch, ch))
		return fail("threads");
	bad = watch_failure(&l);
	pthread_join(async, NULL);
	pthread_join(comp, NULL);
	ibv_destroy_comp_channel(ch);
	loopback_close(&l);
	ibv_close_device(ctx);
	puts("closed");
	if (once)
		return bad;
	ctx = device_again();
	if (!ctx || loopback_open(&l, ctx, HALF))
		return fail("the device again");
	for (unsigned i = 0; i < 100 && !bad; i++)
		bad = loopback_round(&l, i, NULL) != NULL;
	loopback_close(&l);
	ibv_close_device(ctx);
	puts(bad ? "failed: traffic" : "works again");
	return bad;
}

/* ---- spin ---- */

static int
spin(void)
{
	struct ibv_context *ctx = loopback_device();
	struct ibv_recv_wr wr = {.wr_id = 7}, *bad;
	struct loopback l;
	struct ibv_wc wc;
	int n;

	if (!ctx || loopback_open(&l, ctx, HALF) || ibv_post_recv(l.qp[0], &wr, &bad))
		return fail("start");
	puts("ready");
	while (!(n = ibv_poll_cq(l.cq, 1, &wc)))
		;
	printf("poll: %s\n", n < 0 ? "failed" : ibv_wc_status_str(wc.status));
	loopback_close(&l);
	ibv_close_device(ctx);
	return n < 0 || wc.wr_id != 7;
}

/* ---- loop ---- */

static void *
asked(void *arg)
{
	char line[80];

	while (fgets(line, sizeof(line), stdin))
		printf("%lu\n", atomic_load(&rounds));
	stop = 1;
	return NULL;
}

static int
loop(void)
{
	struct ibv_context *ctx = loopback_device();
	const char *why = NULL;
	struct loopback l;
	pthread_t thread;

	if (!ctx || loopback_open(&l, ctx, HALF) || pthread_create(&thread, NULL, asked, NULL))
		return fail("start");
	while (!stop && !why) {
		why = loopback_round(&l, (uint32_t)atomic_load(&rounds), NULL);
		if (!why && atomic_fetch_add(&rounds, 1) == 0)
			puts("ready");
	}
	if (why) {
		printf("failed: %s\n", why);
		return 1;
	}
	pthread_join(thread, NULL);
	loopback_close(&l);
	ibv_close_device(ctx);
	puts("done");
	return 0;
}

/* ---- qps, pin ---- */

/* What loopback_open() makes is enough to hold the rest; returns how many there are. */
static unsigned
qps_make(struct ibv_pd *pd, struct ibv_cq *cq, unsigned n, struct ibv_qp **qps)
{
	struct ibv_qp_init_attr i = {.qp_type = IBV_QPT_RC, .cap = {1, 1, 1, 1, 0}};
	unsigned made = 0;

	i.send_cq = i.recv_cq = cq;
	while (made < n && (qps[made] = ibv_create_qp(pd, &i)))
		made++;
	return made;
}

static unsigned
mrs_make(struct ibv_pd *pd, unsigned n, size_t len, struct ibv_mr **mrs)
{
	unsigned made = 0;

	while (made < n) {
		void *at =
			mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (at == MAP_FAILED ||
		    !(mrs[made] = ibv_reg_mr(pd, at, len, IBV_ACCESS_LOCAL_WRITE)))
			break;
		made++;
	}
	return made;
}

static int
hold(unsigned n, size_t len)
{
	static void *objects[OBJECTS];
	struct ibv_context *ctx = loopback_device();
	struct ibv_pd *pd = ctx ? ibv_alloc_pd(ctx) : NULL;
	struct ibv_cq *cq = pd ? ibv_create_cq(ctx, 16, NULL, NULL, 0) : NULL;
	unsigned made;

	if (!cq || n > OBJECTS)
		return fail("start");
	errno = 0;
	made = len ? mrs_make(pd, n, len, (struct ibv_mr **)objects)
		   : qps_make(pd, cq, n, (struct ibv_qp **)objects);
	printf("%u %s\n", made, errno == ENOMEM ? "ENOMEM" : strerror(errno));
	while (getchar() != EOF)
		;
	while (made--) {
		if (len ? ibv_dereg_mr(objects[made]) : ibv_destroy_qp(objects[made]))
			return fail("destroy");
	}
	ibv_destroy_cq(cq);
	ibv_dealloc_pd(pd);
	ibv_close_device(ctx);
	return 0;
}

int
main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc >= 2 && strcmp(argv[1], "watch") == 0)
		return watch(argc > 2);
	if (argc == 2 && strcmp(argv[1], "spin") == 0)
		return spin();
	if (argc == 2 && strcmp(argv[1], "loop") == 0)
		return loop();
	if (argc == 3 && strcmp(argv[1], "qps") == 0)
		return hold((unsigned)atoi(argv[2]), 0);
	if (argc == 4 && strcmp(argv[1], "pin") == 0)
		return hold((unsigned)atoi(argv[2]), strtoul(argv[3], NULL, 0));
	fputs("Usage: service_client watch [once] | spin | loop | qps N | pin N BYTES\n", stderr);
	return 2;
}
