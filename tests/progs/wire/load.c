/* SPDX-License-Identifier: MIT */
/*
 * Mode load: both sides send without a pause, SENDs and READs of several packets, and check each
 * byte that they get. `ready`, then, on stdin: a line asks for the number of messages that have
 * come; `stop` or the end of it stops both sides. At the end `done`, or `error STATUS` of the first
 * work request that failed by itself, or `fatal` when the device is gone.
 */
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "peer.h"

#define SENDS	8u
#define RECVS	32u
#define BYE	IBV_WR_SEND_WITH_IMM
#define READ_AT 8u /* one in so many is a READ */
#define CONST	77u

static struct ibv_mr *mr;
static struct peer_link conn;
static struct ibv_comp_channel *channel;
/* Slots of peer.size: SENDS, RECVS, and what the other side reads. */
static uint64_t seq_sent, seq_got, messages;
static uint32_t sends_out, recvs_out;
static bool is_read[SENDS], bye_out, bye_acked, bye_got, stopping;
static int first_error; /* enum ibv_wc_status; -1: none */

static uint8_t *
slot(unsigned i)
{
	return (uint8_t *)mr->addr + (size_t)i * peer.size;
}

static void
recv_post(unsigned i)
{
	peer_recv(&conn, SENDS + i, slot(SENDS + i), peer.size, mr->lkey);
	recvs_out++;
}

static void
send_post(unsigned i, enum ibv_wr_opcode op)
{
	struct ibv_sge sge = {(uintptr_t)slot(i), op == BYE ? 1 : peer.size, mr->lkey};
	struct ibv_send_wr wr = {.wr_id = i,
				 .sg_list = &sge,
				 .num_sge = 1,
				 .opcode = op,
				 .send_flags = IBV_SEND_SIGNALED},
			   *bad;

	if (op == IBV_WR_SEND)
		peer_fill(slot(i), peer.size, (unsigned)seq_sent++);
	is_read[i] = op == IBV_WR_RDMA_READ;
	wr.wr.rdma.remote_addr = conn.theirs.va + (uint64_t)(SENDS + RECVS) * peer.size;
	wr.wr.rdma.rkey = conn.theirs.rkey;
	PEER_MUST(!ibv_post_send(conn.qp, &wr, &bad));
	sends_out++;
}

static void
send_next(unsigned i)
{
	static uint64_t n;

	if (first_error >= 0)
		return;
	if (stopping) {
		/* Behind all others; who has seen it all need not wait for more. */
		if (!bye_out)
			send_post(i, BYE);
		bye_out = true;
		return;
	}
	send_post(i, n++ % READ_AT == READ_AT - 1 ? IBV_WR_RDMA_READ : IBV_WR_SEND);
}

static void
sent(const struct ibv_wc *wc)
{
	unsigned i = (unsigned)wc->wr_id;

	sends_out--;
	if (wc->status != IBV_WC_SUCCESS)
		return;
	if (is_read[i]) {
		if (peer_check(slot(i), peer.size, CONST) != peer.size)
			peer_fail("wrong data in a READ");
		messages++;
	}
	if (bye_out && !sends_out)
		bye_acked = true;
	send_next(i);
}

static void
received(const struct ibv_wc *wc)
{
	unsigned i = (unsigned)wc->wr_id;

	recvs_out--;
	if (wc->status != IBV_WC_SUCCESS)
		return;
	if (wc->wc_flags & IBV_WC_WITH_IMM) {
		bye_got = stopping = true;
		return;
	}
	if (wc->byte_len != peer.size ||
	    peer_check(slot(i), peer.size, (unsigned)seq_got++) != peer.size)
		peer_fail("wrong data in message %lu, %u bytes", seq_got, wc->byte_len);
	messages++;
	if (first_error < 0)
		recv_post(i - SENDS);
}

static void
completions(void)
{
	struct ibv_wc wc;
	int n;

	while ((n = ibv_poll_cq(conn.cq, 1, &wc)) > 0) {
		/* Flushed receives may come before the send that has failed: no order between. */
		if (wc.status != IBV_WC_SUCCESS &&
		    (first_error < 0 || first_error == IBV_WC_WR_FLUSH_ERR))
			first_error = (int)wc.status;
		if (wc.wr_id < SENDS)
			sent(&wc);
		else
			received(&wc);
	}
	PEER_MUST(n == 0);
}

/* False: the device is gone. */
static bool
events(void)
{
	struct ibv_async_event ev;
	bool fatal = false;

	while (!ibv_get_async_event(peer.ctx, &ev)) {
		fatal |= ev.event_type == IBV_EVENT_DEVICE_FATAL;
		ibv_ack_async_event(&ev);
	}
	return !fatal;
}

static void
asked(void)
{
	char line[64];
	ssize_t n = read(STDIN_FILENO, line, sizeof(line));

	if (n <= 0 || !strncmp(line, "stop", 4))
		stopping = true;
	else
		printf("%lu\n", messages);
}

/* Sleeps until something happens; arming comes before the last look. False: the device is gone. */
static bool
turn(void)
{
	struct pollfd p[] = {{.fd = channel->fd, .events = POLLIN},
			     {.fd = peer.ctx->async_fd, .events = POLLIN},
			     {.fd = stopping ? -1 : STDIN_FILENO, .events = POLLIN}};
	struct ibv_cq *cq;
	void *ctx;

	if (peer.pause_ms)
		usleep(peer.pause_ms * 1000);
	if (poll(p, 3, -1) < 0)
		return true;
	if (p[1].revents && !events())
		return false;
	if (p[0].revents && !ibv_get_cq_event(channel, &cq, &ctx)) {
		ibv_ack_cq_events(cq, 1);
		if (ibv_req_notify_cq(cq, 0))
			return events(); /* it fails when the device is gone */
	}
	if (p[2].revents)
		asked();
	completions();
	return true;
}

static void
start(void)
{
	mr = peer_memory((size_t)(SENDS + RECVS + 1) * peer.size);
	peer_fill(slot(SENDS + RECVS), peer.size, CONST);
	channel = ibv_create_comp_channel(peer.ctx);
	PEER_MUST(channel);
	PEER_MUST(!fcntl(peer.ctx->async_fd, F_SETFL, O_NONBLOCK));
	peer_link_open(&conn, &(struct peer_opts){.type = IBV_QPT_RC,
						  .depth = SENDS + RECVS,
						  .channel = channel,
						  .mr = mr});
	PEER_MUST(!ibv_req_notify_cq(conn.cq, 0));
	for (unsigned i = 0; i < RECVS; i++)
		recv_post(i);
	peer_swap(0);
	printf("ready\n");
	first_error = -1;
	for (unsigned i = 0; i < SENDS; i++)
		send_next(i);
}

/* Each work request has ended once, the QP is in error. */
static void
error_check(void)
{
	struct ibv_qp_init_attr init;
	struct ibv_qp_attr attr;
	struct ibv_wc wc;

	PEER_MUST(!ibv_query_qp(conn.qp, &attr, IBV_QP_STATE, &init));
	if (attr.qp_state != IBV_QPS_ERR)
		peer_fail("QP state %d after an error", attr.qp_state);
	if (ibv_poll_cq(conn.cq, 1, &wc))
		peer_fail("a completion too many");
}

void
peer_load(void)
{
	start();
	while (!(bye_acked && bye_got)) {
		if (first_error >= 0 && !sends_out && !recvs_out)
			break;
		if (!turn()) {
			printf("fatal\n");
			_exit(0);
		}
	}
	/* The other side may leave before it has acknowledged our last. */
	if (first_error >= 0 && !(bye_got && bye_out)) {
		error_check();
		printf("error %d\n", first_error);
	} else {
		printf("done %lu\n", messages);
	}
	peer_link_close(&conn);
	ibv_destroy_comp_channel(channel);
}
