/* SPDX-License-Identifier: MIT */
/*
 * Mode srq: two QPs of the server take from one shared receive queue, which is empty now and then:
 * the client is told to come again (RNR NAK), and does, or gives up. For a wire that loses nothing.
 */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "peer.h"

#define LINKS  2u
#define SLOTS  8u
#define LEN    3000u /* three packets */
#define NAP_US 20000 /* many times what min_rnr_timer says */
#define WAITS  200000u
#define LIMIT  3u

static struct ibv_mr *mr;
static struct ibv_srq *srq; /* server */
static struct peer_link links[LINKS];

static uint8_t *
slot(unsigned i)
{
	return (uint8_t *)mr->addr + (size_t)i * LEN;
}

static void
recv_post(unsigned i)
{
	struct ibv_sge sge = {(uintptr_t)slot(i), LEN, mr->lkey};
	struct ibv_recv_wr wr = {.wr_id = i, .sg_list = &sge, .num_sge = 1}, *bad;

	PEER_MUST(!ibv_post_srq_recv(srq, &wr, &bad));
}

/* What a link sends says which one it is. */
static void
send_post(unsigned link)
{
	struct ibv_sge sge = {(uintptr_t)slot(link), LEN, mr->lkey};
	struct ibv_send_wr wr = {.sg_list = &sge,
				 .num_sge = 1,
				 .opcode = IBV_WR_SEND,
				 .send_flags = IBV_SEND_SIGNALED},
			   *bad;

	peer_fill(slot(link), LEN, link);
	PEER_MUST(!ibv_post_send(links[link].qp, &wr, &bad));
}

static void
sent(unsigned link, enum ibv_wc_status want)
{
	struct ibv_wc wc;

	peer_wait(&links[link], &wc);
	if (wc.status != want)
		peer_fail("link %u: %s", link, ibv_wc_status_str(wc.status));
}

static void
took(unsigned link)
{
	struct ibv_wc wc;

	peer_wait(&links[link], &wc);
	if (wc.status != IBV_WC_SUCCESS || wc.opcode != IBV_WC_RECV || wc.byte_len != LEN ||
	    wc.wr_id >= SLOTS)
		peer_fail("link %u: server: %s, %u bytes", link, ibv_wc_status_str(wc.status),
			  wc.byte_len);
	if (peer_check(slot((unsigned)wc.wr_id), LEN, link) != LEN)
		peer_fail("link %u: server: wrong data", link);
}

/* The one link whose message is sent. */
static unsigned
first_of_both(void)
{
	struct ibv_wc wc[LINKS];
	int n[LINKS] = {0};

	for (unsigned t = 0; t < WAITS && !n[0] && !n[1]; t++) {
		usleep(100);
		for (unsigned i = 0; i < LINKS; i++)
			n[i] = ibv_poll_cq(links[i].cq, 1, &wc[i]);
	}
	if (n[0] + n[1] != 1 || wc[!n[0]].status != IBV_WC_SUCCESS)
		peer_fail("two messages, one receive: %d and %d completions", n[0], n[1]);
	return !n[0];
}

static void
nothing_comes(unsigned link)
{
	struct ibv_wc wc;

	usleep(NAP_US);
	if (ibv_poll_cq(links[link].cq, 1, &wc))
		peer_fail("link %u: %s, and there is no receive", link,
			  ibv_wc_status_str(wc.status));
}

/* ---- the queue is empty, and filled later ---- */

static void
client_empty(void)
{
	for (unsigned i = 0; i < LINKS; i++)
		send_post(i);
	for (unsigned i = 0; i < LINKS; i++)
		nothing_comes(i);
	peer_swap(0);
	for (unsigned i = 0; i < LINKS; i++)
		sent(i, IBV_WC_SUCCESS);
}

static void
server_empty(void)
{
	peer_swap(0);
	for (unsigned i = 0; i < LINKS; i++)
		recv_post(i);
	for (unsigned i = 0; i < LINKS; i++)
		took(i);
}

/* ---- one receive for two messages, then another ---- */

static void
client_shared(void)
{
	unsigned link;

	peer_swap(0);
	for (unsigned i = 0; i < LINKS; i++)
		send_post(i);
	link = first_of_both();
	nothing_comes(!link);
	peer_swap(link);
	sent(!link, IBV_WC_SUCCESS);
}

static void
server_shared(void)
{
	unsigned link;

	recv_post(0);
	peer_swap(0);
	link = peer_swap(0);
	took(link);
	nothing_comes(!link);
	recv_post(1);
	took(!link);
}

/* ---- the client does not come again: the other QP is not hurt ---- */

static void
client_gives_up(void)
{
	send_post(0);
	sent(0, IBV_WC_RNR_RETRY_EXC_ERR);
	peer_swap(0);
	peer_swap(0);
	send_post(1);
	sent(1, IBV_WC_SUCCESS);
}

static void
server_gives_up(void)
{
	peer_swap(0);
	nothing_comes(0);
	recv_post(0);
	peer_swap(0);
	took(1);
}

/* ---- the limit ---- */

static unsigned
limits_reached(void)
{
	struct ibv_async_event ev;
	unsigned n = 0;

	while (!ibv_get_async_event(peer.ctx, &ev)) {
		n += ev.event_type == IBV_EVENT_SRQ_LIMIT_REACHED && ev.element.srq == srq;
		ibv_ack_async_event(&ev);
	}
	return n;
}

static void
client_limit(void)
{
	for (unsigned i = 0; i < LIMIT + 1; i++) {
		peer_swap(0);
		send_post(i % LINKS);
		sent(i % LINKS, IBV_WC_SUCCESS);
	}
}

static void
server_limit(void)
{
	struct ibv_srq_attr a = {.srq_limit = LIMIT};
	unsigned seen = 0;

	for (unsigned i = 0; i < LIMIT + 1; i++)
		recv_post(i);
	PEER_MUST(!ibv_modify_srq(srq, &a, IBV_SRQ_LIMIT));
	for (unsigned i = 0; i < LIMIT + 1; i++) {
		peer_swap(0);
		took(i % LINKS);
		/* Fewer than the limit are left from the second on; it is told of once. */
		for (unsigned t = 0; i == 1 && !seen && t < 1000; t++) {
			usleep(NAP_US);
			seen += limits_reached();
		}
		seen += limits_reached();
		if (seen != (i > 0))
			peer_fail("%u limit events after %u messages", seen, i + 1);
	}
	PEER_MUST(!ibv_query_srq(srq, &a));
	if (a.srq_limit)
		peer_fail("a limit of %u is left", a.srq_limit);
}

static const struct {
	const char *name;
	void (*client)(void), (*server)(void);
	bool no_rnr_retry;
} scenes[] = {
	{"empty, filled later", client_empty, server_empty, false},
	{"one receive for two", client_shared, server_shared, false},
	{"no retries", client_gives_up, server_gives_up, true},
	{"limit", client_limit, server_limit, false},
};

void
peer_srq(void)
{
	struct ibv_srq_init_attr init = {.attr = {.max_wr = SLOTS, .max_sge = 1}};

	mr = peer_memory((size_t)SLOTS * LEN);
	PEER_MUST(!fcntl(peer.ctx->async_fd, F_SETFL, O_NONBLOCK));
	for (unsigned i = 0; i < sizeof(scenes) / sizeof(scenes[0]); i++) {
		if (!peer.client)
			srq = ibv_create_srq(peer.pd, &init);
		PEER_MUST(peer.client || srq);
		for (unsigned l = 0; l < LINKS; l++)
			peer_link_open(&links[l],
				       &(struct peer_opts){.type = IBV_QPT_RC,
							   .depth = SLOTS,
							   .no_rnr_retry = scenes[i].no_rnr_retry,
							   .srq = srq,
							   .mr = mr});
		if (peer.client)
			scenes[i].client();
		else
			scenes[i].server();
		peer_swap(0);
		for (unsigned l = 0; l < LINKS; l++)
			peer_link_close(&links[l]);
		if (srq)
			PEER_MUST(!ibv_destroy_srq(srq));
		printf("%s\n", scenes[i].name);
	}
	printf("done\n");
}
