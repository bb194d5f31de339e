/* SPDX-License-Identifier: MIT */
/* Headers between bytes and struct roce_pkt. Any thread. */
#include "wire.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#define START	ROCE_F_START
#define END	ROCE_F_END
#define ONLY	(ROCE_F_START | ROCE_F_END)
#define SEND	(ROCE_F_KNOWN | ROCE_F_SEND | ROCE_F_PAYLOAD)
#define WRITE	(ROCE_F_KNOWN | ROCE_F_WRITE | ROCE_F_PAYLOAD)
#define ATOMIC	(ROCE_F_KNOWN | ROCE_F_ATOMIC | ROCE_F_ATOMICETH | ONLY)
#define RESP	(ROCE_F_KNOWN | ROCE_F_RESPONSE)
#define READING (RESP | ROCE_F_PAYLOAD)

/* RC; UC has the same numbers for what it has (IBTA table 38). */
static const uint32_t rc_flags[] = {
	[ROCE_SEND_FIRST] = SEND | START,
	[ROCE_SEND_MIDDLE] = SEND,
	[ROCE_SEND_LAST] = SEND | END,
	[ROCE_SEND_LAST_IMM] = SEND | END | ROCE_F_IMM,
	[ROCE_SEND_ONLY] = SEND | ONLY,
	[ROCE_SEND_ONLY_IMM] = SEND | ONLY | ROCE_F_IMM,
	[ROCE_WRITE_FIRST] = WRITE | START | ROCE_F_RETH,
	[ROCE_WRITE_MIDDLE] = WRITE,
	[ROCE_WRITE_LAST] = WRITE | END,
	[ROCE_WRITE_LAST_IMM] = WRITE | END | ROCE_F_IMM,
	[ROCE_WRITE_ONLY] = WRITE | ONLY | ROCE_F_RETH,
	[ROCE_WRITE_ONLY_IMM] = WRITE | ONLY | ROCE_F_RETH | ROCE_F_IMM,
	[ROCE_READ_REQUEST] = ROCE_F_KNOWN | ROCE_F_READ | ROCE_F_RETH | ONLY,
	[ROCE_READ_RESP_FIRST] = READING | START | ROCE_F_AETH,
	[ROCE_READ_RESP_MIDDLE] = READING,
	[ROCE_READ_RESP_LAST] = READING | END | ROCE_F_AETH,
	[ROCE_READ_RESP_ONLY] = READING | ONLY | ROCE_F_AETH,
	[ROCE_ACK] = RESP | ROCE_F_AETH,
	[ROCE_ATOMIC_ACK] = RESP | ROCE_F_AETH | ROCE_F_ATOMICACK,
	[ROCE_CMP_SWAP] = ATOMIC,
	[ROCE_FETCH_ADD] = ATOMIC,
	[ROCE_SEND_LAST_INV] = SEND | END | ROCE_F_IETH,
	[ROCE_SEND_ONLY_INV] = SEND | ONLY | ROCE_F_IETH,
};

uint32_t
roce_opcode_flags(uint8_t opcode)
{
	uint8_t low = opcode & ~ROCE_TRANSPORT;

	switch (opcode) {
	case ROCE_UD_SEND_ONLY:
		return SEND | ONLY | ROCE_F_DETH;
	case ROCE_UD_SEND_ONLY_IMM:
		return SEND | ONLY | ROCE_F_DETH | ROCE_F_IMM;
	case ROCE_CNP:
		return ROCE_F_KNOWN | ROCE_F_CNP;
	default:
		break;
	}
	if ((opcode & ROCE_TRANSPORT) == ROCE_UC)
		return low <= ROCE_WRITE_ONLY_IMM ? rc_flags[low] : 0;
	if ((opcode & ROCE_TRANSPORT) != ROCE_RC || low >= sizeof(rc_flags) / sizeof(rc_flags[0]))
		return 0;
	return rc_flags[low];
}

static unsigned
headers_len(uint32_t f)
{
	return ROCE_BTH + (f & ROCE_F_RETH ? ROCE_RETH : 0) + (f & ROCE_F_AETH ? ROCE_AETH : 0) +
	       (f & ROCE_F_ATOMICETH ? ROCE_ATOMICETH : 0) +
	       (f & ROCE_F_ATOMICACK ? ROCE_ATOMICACKETH : 0) + (f & ROCE_F_IMM ? ROCE_IMMDT : 0) +
	       (f & ROCE_F_IETH ? ROCE_IETH : 0) + (f & ROCE_F_DETH ? ROCE_DETH : 0) +
	       (f & ROCE_F_CNP ? ROCE_CNP_PAYLOAD : 0);
}

unsigned
roce_headers_len(uint8_t opcode)
{
	uint32_t f = roce_opcode_flags(opcode);

	return f ? headers_len(f) : 0;
}

static uint32_t
take32(const uint8_t **at)
{
	uint32_t v;

	memcpy(&v, *at, sizeof(v));
	*at += sizeof(v);
	return be32toh(v);
}

static uint64_t
take64(const uint8_t **at)
{
	uint64_t v;

	memcpy(&v, *at, sizeof(v));
	*at += sizeof(v);
	return be64toh(v);
}

static void
parse_extended(struct roce_pkt *p, const uint8_t *at)
{
	uint32_t f = p->flags, word;

	if (f & ROCE_F_DETH) {
		p->qkey = take32(&at);
		p->src_qpn = take32(&at) & 0xffffff;
	}
	if (f & ROCE_F_RETH) {
		p->va = take64(&at);
		p->rkey = take32(&at);
		p->dma_len = take32(&at);
	}
	if (f & ROCE_F_ATOMICETH) {
		p->va = take64(&at);
		p->rkey = take32(&at);
		p->swap_add = take64(&at);
		p->compare = take64(&at);
	}
	if (f & ROCE_F_AETH) {
		word = take32(&at);
		p->syndrome = (uint8_t)(word >> 24);
		p->msn = word & 0xffffff;
	}
	if (f & ROCE_F_ATOMICACK)
		p->atomic_old = take64(&at);
	if (f & ROCE_F_IMM)
		memcpy(&p->imm, at, sizeof(p->imm));
	if (f & ROCE_F_IETH)
		p->ieth = take32(&at);
}

int
roce_parse(struct roce_pkt *p, const uint8_t *bytes, size_t len)
{
	uint32_t word;
	unsigned head;

	memset(p, 0, sizeof(*p));
	if (len < ROCE_BTH)
		return -EPROTO;
	p->opcode = bytes[0];
	p->flags = roce_opcode_flags(p->opcode);
	head = headers_len(p->flags);
	p->pad = bytes[1] >> 4 & 3;
	if (!p->flags || (bytes[1] & 0xf) || len < head + p->pad)
		return -EPROTO;
	p->solicited = bytes[1] >> 7;
	p->migrated = bytes[1] >> 6 & 1;
	p->pkey = (uint16_t)(bytes[2] << 8 | bytes[3]);
	memcpy(&word, bytes + 4, sizeof(word));
	p->qpn = be32toh(word) & 0xffffff;
	p->fecn = bytes[4] >> 7;
	p->becn = bytes[4] >> 6 & 1;
	memcpy(&word, bytes + 8, sizeof(word));
	p->psn = be32toh(word) & ROCE_PSN_MASK;
	p->ack_req = bytes[8] >> 7;
	p->payload = bytes + head;
	p->len = (uint32_t)(len - head - p->pad);
	if ((!(p->flags & ROCE_F_PAYLOAD) && (p->len || p->pad)) || p->len > ROCE_MTU_MAX)
		return -EPROTO;
	parse_extended(p, bytes + ROCE_BTH);
	return 0;
}

static void
put32(uint8_t **at, uint32_t v)
{
	v = htobe32(v);
	memcpy(*at, &v, sizeof(v));
	*at += sizeof(v);
}

static void
put64(uint8_t **at, uint64_t v)
{
	v = htobe64(v);
	memcpy(*at, &v, sizeof(v));
	*at += sizeof(v);
}

unsigned
roce_build(const struct roce_pkt *p, uint8_t *out)
{
	uint32_t f = roce_opcode_flags(p->opcode);
	uint8_t *at = out;

	put32(&at, (uint32_t)p->opcode << 24 | (uint32_t)p->solicited << 23 | 1u << 22 |
			   roce_pad(p->len) << 20 | p->pkey);
	put32(&at, (uint32_t)p->fecn << 31 | (uint32_t)p->becn << 30 | (p->qpn & 0xffffff));
	put32(&at, (uint32_t)p->ack_req << 31 | (p->psn & ROCE_PSN_MASK));
	if (f & ROCE_F_DETH) {
		put32(&at, p->qkey);
		put32(&at, p->src_qpn & 0xffffff);
	}
	if (f & ROCE_F_RETH) {
		put64(&at, p->va);
		put32(&at, p->rkey);
		put32(&at, p->dma_len);
	}
	if (f & ROCE_F_ATOMICETH) {
		put64(&at, p->va);
		put32(&at, p->rkey);
		put64(&at, p->swap_add);
		put64(&at, p->compare);
	}
	if (f & ROCE_F_AETH)
		put32(&at, (uint32_t)p->syndrome << 24 | (p->msn & 0xffffff));
	if (f & ROCE_F_ATOMICACK)
		put64(&at, p->atomic_old);
	if (f & ROCE_F_IMM) {
		memcpy(at, &p->imm, sizeof(p->imm));
		at += sizeof(p->imm);
	}
	if (f & ROCE_F_IETH)
		put32(&at, p->ieth);
	if (f & ROCE_F_CNP) {
		memset(at, 0, ROCE_CNP_PAYLOAD);
		at += ROCE_CNP_PAYLOAD;
	}
	return (unsigned)(at - out);
}
