/* SPDX-License-Identifier: MIT */
/* Doorbells: from a process's memif ring to the backend; rings that lie; cold ones, sleeping. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/worker_priv.h"
#include "harness.h"
#include "nic/nic.h"

static unsigned posts;
static struct ff_qp *posted;

static void
fake_post(struct ff_qp *qp)
{
	posts++;
	posted = qp;
}

static struct ff_nic_ops fake_nic;

/* A process with its memif connection. */
struct proc {
	int attach;
	struct ff_msg_attach_reply rep;
	struct ff_memif *m;
	struct ff_memif_ring *ring;
	struct ff_channel *ch;
};

static int
memif_open(struct proc *p, const uint8_t token[FF_TOKEN_LEN])
{
	struct ff_memif_conf conf = {
		.role = FF_MEMIF_CLIENT,
		.name = "test",
		.num_s2m_rings = 1,
		.log2_ring_size = 6,
	};
	int rc;

	memcpy(conf.secret, token, FF_TOKEN_LEN);
	rc = ff_memif_create(&p->m, client_connect("c1", FF_MEMIF_SOCK), &conf);
	return rc ? rc : ff_memif_wait_connected(p->m, 10000);
}

static void
proc_open(struct proc *p)
{
	struct ff_channel *ch;

	memset(p, 0, sizeof(*p));
	p->attach = client_connect("c1", FF_ROUTER_SOCK);
	CU_ASSERT_EQUAL_FATAL(client_attach(p->attach, &p->rep), 0);
	CU_ASSERT_EQUAL_FATAL(memif_open(p, p->rep.token), 0);
	p->ring = ff_memif_ring_get(p->m, true, 0);
	CU_ASSERT_PTR_NOT_NULL_FATAL(p->ring);
	harness_passes(1); /* the rings go to the worker before CONNECTED is answered to */
	TAILQ_FOREACH (ch, &harness_container("c1")->channels, link) {
		if (ch->id == p->rep.channel_id)
			p->ch = ch;
	}
	CU_ASSERT_PTR_NOT_NULL_FATAL(p->ch);
}

static void
proc_close(struct proc *p)
{
	uint64_t procs = harness_u64(&harness_container("c1")->used[FF_QUOTA_PROCESSES]);

	ff_memif_destroy(p->m);
	close(p->attach);
	CU_ASSERT_TRUE(
		harness_wait_u64(&harness_container("c1")->used[FF_QUOTA_PROCESSES], procs - 1));
}

static void
ring(struct proc *p, uint32_t qpn)
{
	struct ff_memif_desc d = {.region = FF_DOORBELL_REGION, .metadata = qpn};

	CU_ASSERT_EQUAL(ff_memif_ring_produce(p->ring, &d, 1, false), 1);
}

/* A QP of that channel, as far as a doorbell looks at it. */
struct fake_qp {
	struct ff_ucontext uc;
	struct ff_qp qp;
	int rc;
};

static void
qp_add(void *arg)
{
	struct fake_qp *f = arg;

	f->qp.obj.uc = &f->uc;
	f->rc = ff_idtab_insert(&ff_qps, &f->qp, &f->qp.qpn);
}

static void
qp_del(void *arg)
{
	struct fake_qp *f = arg;

	ff_idtab_remove(&ff_qps, f->qp.qpn);
}

static struct fake_qp *
qp_of(struct proc *p)
{
	struct fake_qp *f = calloc(1, sizeof(*f));

	f->uc.channel = p->ch;
	harness_control(qp_add, f);
	CU_ASSERT_EQUAL(f->rc, 0);
	return f;
}

static void
qp_free(struct fake_qp *f)
{
	harness_control(qp_del, f);
	free(f);
}

static void
test_doorbell(void)
{
	struct fake_qp *f;
	struct proc p;

	proc_open(&p);
	f = qp_of(&p);
	posts = 0;
	ring(&p, f->qp.qpn);
	CU_ASSERT_EQUAL(harness_passes(1), 1);
	CU_ASSERT_EQUAL(posts, 1);
	CU_ASSERT_PTR_EQUAL(posted, &f->qp);
	for (unsigned i = 0; i < 64; i++)
		ring(&p, f->qp.qpn);
	CU_ASSERT_EQUAL(harness_passes(4), 64);
	CU_ASSERT_EQUAL(posts, 65);
	CU_ASSERT_EQUAL(p.ch->doorbells, 65);
	CU_ASSERT_EQUAL(p.ch->bad_doorbells, 0);
	qp_free(f);
	proc_close(&p);
}

/* Doorbells that are not this channel's to ring are counted and dropped. */
static void
test_bad_doorbells(void)
{
	struct ff_memif_desc d = {.region = 0, .length = 16};
	struct fake_qp *f, *g;
	struct proc p, q;

	proc_open(&p);
	proc_open(&q);
	f = qp_of(&p);
	g = qp_of(&q);
	posts = 0;
	ring(&p, g->qp.qpn); /* another process's */
	ring(&p, f->qp.qpn ^ 0x800000);
	ring(&p, 0);
	ring(&p, UINT32_MAX);
	d.metadata = f->qp.qpn;
	CU_ASSERT_EQUAL(ff_memif_ring_produce(p.ring, &d, 1, false), 1); /* a payload */
	d = (struct ff_memif_desc){.region = 0, .metadata = f->qp.qpn};
	CU_ASSERT_EQUAL(ff_memif_ring_produce(p.ring, &d, 1, false), 1); /* another region */
	d = (struct ff_memif_desc){
		.region = FF_DOORBELL_REGION, .offset = 1, .metadata = f->qp.qpn};
	CU_ASSERT_EQUAL(ff_memif_ring_produce(p.ring, &d, 1, false), 1);
	CU_ASSERT_EQUAL(harness_passes(1), 7);
	CU_ASSERT_EQUAL(posts, 0);
	CU_ASSERT_EQUAL(p.ch->bad_doorbells, 7);
	ring(&p, f->qp.qpn);
	harness_passes(1);
	CU_ASSERT_EQUAL(posts, 1);
	qp_free(f);
	qp_free(g);
	proc_close(&p);
	proc_close(&q);
}

/* A descriptor outside of its region breaks the ring: this channel is cut off, no other. */
static void
test_broken_ring(void)
{
	struct ff_memif_desc d = {.region = 7, .length = 1u << 30};
	uint64_t before = ff_channel_detached[FF_DETACH_RING];
	struct fake_qp *f;
	struct proc p, q;

	proc_open(&p);
	proc_open(&q);
	f = qp_of(&q);
	CU_ASSERT_EQUAL(ff_memif_ring_produce(p.ring, &d, 1, false), 1);
	harness_passes(3);
	CU_ASSERT_TRUE(harness_wait_u64(&ff_channel_detached[FF_DETACH_RING], before + 1));
	CU_ASSERT_TRUE(client_closed(p.attach));
	posts = 0;
	ring(&q, f->qp.qpn);
	CU_ASSERT_EQUAL(harness_passes(1), 1);
	CU_ASSERT_EQUAL(posts, 1);
	ff_memif_destroy(p.m);
	close(p.attach);
	qp_free(f);
	proc_close(&q);
}

static bool
masked(struct proc *p)
{
	return !ff_memif_ring_should_notify(p->ring);
}

/* Only what rings again and again while the worker is awake is masked. */
static void
ring_masked(struct proc *p)
{
	for (unsigned i = 0; i < 8; i++) {
		ring(p, 0);
		CU_ASSERT_EQUAL(harness_passes(1), 1);
		if (!i)
			CU_ASSERT_FALSE(masked(p));
	}
	CU_ASSERT_TRUE(masked(p));
}

/* A channel that goes cold asks for interrupts, and is still looked at in every 16th pass. */
static void
test_cold(void)
{
	struct fake_qp *f;
	struct proc p;

	proc_open(&p);
	f = qp_of(&p);
	ring_masked(&p);
	harness_passes(1100);
	CU_ASSERT_FALSE(masked(&p));
	posts = 0;
	ring(&p, f->qp.qpn);
	CU_ASSERT_EQUAL(harness_passes(16), 1);
	CU_ASSERT_EQUAL(posts, 1);
	ring(&p, f->qp.qpn); /* hot again */
	CU_ASSERT_EQUAL(harness_passes(1), 1);
	qp_free(f);
	proc_close(&p);
}

struct sleep_call {
	bool work;
	unsigned found, passes;
};

static const struct ff_worker_stage *
stage(void)
{
	for (unsigned i = 0; i < ff_num_stages; i++)
		if (!strcmp(ff_stages[i]->name, "doorbell"))
			return ff_stages[i];
	return NULL;
}

static void
sleep_once(void *arg)
{
	struct sleep_call *s = arg;
	struct ff_worker *w = ff_worker_get(0);

	s->work = stage()->sleep_prepare(w);
	stage()->sleep_done(w);
	s->found = 0;
	for (unsigned i = 0; i < s->passes; i++)
		s->found += stage()->poll(w, ff_now_ns());
}

/* Sleeping arms the hot ones, refuses when something is there; waking finds a cold one. */
static void
test_sleep(void)
{
	struct sleep_call s = {.passes = 1};
	struct proc hot, cold[20];
	struct fake_qp *f;

	for (unsigned i = 0; i < 20; i++)
		proc_open(&cold[i]);
	harness_passes(1100);
	proc_open(&hot);
	f = qp_of(&cold[13]);
	ring_masked(&hot);
	harness_control(sleep_once, &s);
	CU_ASSERT_FALSE(s.work);
	CU_ASSERT_FALSE(masked(&hot));
	CU_ASSERT_EQUAL(s.found, 0);

	ring(&hot, 1);
	harness_control(sleep_once, &s);
	CU_ASSERT_TRUE(s.work);
	CU_ASSERT_EQUAL(s.found, 1);

	posts = 0;
	ring(&cold[13], f->qp.qpn);
	CU_ASSERT_FALSE(masked(&cold[13])); /* so it writes its eventfd: that ends the sleep */
	harness_control(sleep_once, &s);
	CU_ASSERT_EQUAL(s.found, 1);
	CU_ASSERT_EQUAL(posts, 1);

	/* Both: the hot one first, the other when it is quiet, not sixteen passes later. */
	harness_passes(1100);
	ring(&hot, 0);
	harness_passes(16);
	ring(&hot, 0);
	ring(&cold[13], f->qp.qpn);
	s.passes = 2;
	harness_control(sleep_once, &s);
	CU_ASSERT_EQUAL(s.found, 2);
	CU_ASSERT_EQUAL(posts, 2);
	qp_free(f);
	proc_close(&hot);
	for (unsigned i = 0; i < 20; i++)
		proc_close(&cold[i]);
}

/* The token binds one connection, of its own container, once. */
static void
test_tokens(void)
{
	uint8_t wrong[FF_TOKEN_LEN] = {0};
	struct proc p, q = {0};

	proc_open(&p);
	CU_ASSERT_NOT_EQUAL(memif_open(&q, wrong), 0);
	ff_memif_destroy(q.m);
	CU_ASSERT_NOT_EQUAL(memif_open(&q, p.rep.token), 0);
	ff_memif_destroy(q.m);
	CU_ASSERT_EQUAL(harness_u64(&harness_container("c1")->used[FF_QUOTA_PROCESSES]), 1);
	ring(&p, 0);
	CU_ASSERT_EQUAL(harness_passes(1), 1);
	proc_close(&p);
}

/* The rings go first, the process lives on; and what breaks the memif protocol is cut off. */
static void
test_memif_ends(void)
{
	uint64_t before = ff_channel_detached[FF_DETACH_MEMIF];
	char junk[17] = "not memif at all";
	struct proc p;

	proc_open(&p);
	ff_memif_destroy(p.m);
	harness_passes(2);
	CU_ASSERT_EQUAL(harness_u64(&harness_container("c1")->used[FF_QUOTA_PROCESSES]), 1);
	p.m = NULL;
	proc_close(&p);

	proc_open(&p);
	CU_ASSERT_EQUAL(client_send_raw(ff_memif_fd(p.m), junk, sizeof(junk), NULL, 0), 0);
	CU_ASSERT_TRUE(harness_wait_u64(&ff_channel_detached[FF_DETACH_MEMIF], before + 1));
	CU_ASSERT_TRUE(client_closed(p.attach));
	ff_memif_destroy(p.m);
	close(p.attach);
}

static void
test_setup(void)
{
	CU_ASSERT_EQUAL(harness_add("c1", "10.32.0.1"), 0);
	fake_nic = *ff_nic;
	fake_nic.post = fake_post;
	ff_nic = &fake_nic;
}

int
main(void)
{
	static const struct harness_test tests[] = {
		{"container", test_setup},
		{"doorbell", test_doorbell},
		{"bad doorbells", test_bad_doorbells},
		{"broken ring", test_broken_ring},
		{"cold", test_cold},
		{"sleep", test_sleep},
		{"tokens", test_tokens},
		{"memif ends", test_memif_ends},
	};

	return harness_main("doorbell", tests, sizeof(tests) / sizeof(tests[0]));
}
