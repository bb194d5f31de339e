/* SPDX-License-Identifier: MIT */
/*
 * Mode victim: QPs that are connected and silent, for others to shoot at. It says where they and
 * their memory are, and obeys stdin:
 *   look      `clean`: no byte of the memory has changed, nothing has come
 *   send I    link I sends a message: its status
 *   take I    waits for that message: its status; puts everything back as it was
 *   state I   the state of link I's QP
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "peer.h"

#define RC    12u
#define LINKS (RC + 2)
#define RECVS 4u
#define SLOT  4160u
#define SIZE  64u

static struct peer_link links[LINKS];
static struct ibv_mr *mr;
static uint8_t *buf;
static size_t len;

static uint8_t *
slot(unsigned i, unsigned recv)
{
	return buf + (size_t)(i * RECVS + recv) * SLOT;
}

static void
say(void)
{
	static const char *const names[] = {
		[IBV_QPT_RC] = "rc", [IBV_QPT_UC] = "uc", [IBV_QPT_UD] = "ud"};

	printf("memory %lu %u %zu\n", (unsigned long)(uintptr_t)mr->addr, mr->rkey, len);
	for (unsigned i = 0; i < LINKS; i++) {
		const struct peer_link *l = &links[i];

		/* QPNs; the first PSN that each will get. */
		printf("link %s %u %u %u %u\n", names[l->type], l->mine.qpn, l->theirs.qpn,
		       l->theirs.psn, l->mine.psn);
	}
	printf("ready\n");
}

static void
look(void)
{
	size_t at = peer_check(buf, len, 3);
	struct ibv_wc wc;

	for (unsigned i = 0; i < LINKS; i++) {
		/* One that is in error flushes. */
		if (ibv_poll_cq(links[i].cq, 1, &wc) && wc.status != IBV_WC_WR_FLUSH_ERR) {
			printf("link %u: %s\n", i, ibv_wc_status_str(wc.status));
			return;
		}
	}
	if (at != len)
		printf("changed at %zu\n", at);
	else
		printf("clean\n");
}

static void
send_one(unsigned i)
{
	struct peer_link *l = &links[i];
	struct ibv_sge sge = {(uintptr_t)slot(i, 0), SIZE, mr->lkey};
	struct ibv_send_wr wr = {.sg_list = &sge,
				 .num_sge = 1,
				 .opcode = IBV_WR_SEND,
				 .send_flags = IBV_SEND_SIGNALED},
			   *bad;
	struct ibv_wc wc;

	if (l->type == IBV_QPT_UD) {
		wr.wr.ud.ah = l->ah;
		wr.wr.ud.remote_qpn = l->theirs.qpn;
		wr.wr.ud.remote_qkey = PEER_QKEY;
	}
	PEER_MUST(!ibv_post_send(l->qp, &wr, &bad));
	peer_wait(l, &wc);
	printf("sent %d\n", wc.status);
}

static void
take_one(unsigned i)
{
	uint32_t grh = links[i].type == IBV_QPT_UD ? 40 : 0;
	struct peer_link *l = &links[i];
	uint8_t got[SIZE];
	struct ibv_wc wc;

	peer_wait(l, &wc);
	if (wc.status == IBV_WC_SUCCESS && wc.byte_len != SIZE + grh)
		peer_fail("link %u: %u bytes", i, wc.byte_len);
	memcpy(got, slot(i, (unsigned)wc.wr_id) + grh, SIZE);
	peer_fill(buf, len, 3);
	/* Both sides have the same memory: the sender's first slot. */
	if (wc.status == IBV_WC_SUCCESS && memcmp(got, slot(i, 0), SIZE))
		peer_fail("link %u: wrong data", i);
	if (wc.status == IBV_WC_SUCCESS)
		peer_recv(l, wc.wr_id, slot(i, (unsigned)wc.wr_id), SLOT, mr->lkey);
	printf("took %d\n", wc.status);
}

static void
state(unsigned i)
{
	struct ibv_qp_init_attr init;
	struct ibv_qp_attr attr;

	PEER_MUST(!ibv_query_qp(links[i].qp, &attr, IBV_QP_STATE, &init));
	printf("state %d\n", attr.qp_state);
}

static void
obey(const char *line)
{
	unsigned i;

	if (!strncmp(line, "look", 4))
		look();
	else if (sscanf(line, "send %u", &i) == 1 && i < LINKS)
		send_one(i);
	else if (sscanf(line, "take %u", &i) == 1 && i < LINKS)
		take_one(i);
	else if (sscanf(line, "state %u", &i) == 1 && i < LINKS)
		state(i);
	else
		peer_fail("%s", line);
}

void
peer_victim(void)
{
	char line[64];

	len = (size_t)LINKS * RECVS * SLOT;
	mr = peer_memory(len);
	buf = mr->addr;
	peer_fill(buf, len, 3);
	for (unsigned i = 0; i < LINKS; i++) {
		enum ibv_qp_type type = i < RC ? IBV_QPT_RC : i == RC ? IBV_QPT_UC : IBV_QPT_UD;

		peer_link_open(&links[i],
			       &(struct peer_opts){.type = type, .depth = RECVS, .mr = mr});
		for (unsigned r = 0; r < RECVS; r++)
			peer_recv(&links[i], r, slot(i, r), SLOT, mr->lkey);
	}
	peer_swap(0);
	say();
	while (fgets(line, sizeof(line), stdin))
		obey(line);
	for (unsigned i = 0; i < LINKS; i++)
		peer_link_close(&links[i]);
}
