/* SPDX-License-Identifier: MIT */
/*
 * RoCEv2 on the wire: opcodes, and a packet taken apart. IBTA vol. 1, ch. 9 (base and extended
 * transport headers), annexes 16 and 17 (RoCE, RoCEv2). Any thread; no state.
 */
#ifndef FF_ROCE_WIRE_H
#define FF_ROCE_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ROCE_UDP_PORT	  4791u
#define ROCE_PSN_MASK	  0xffffffu
#define ROCE_PKEY_DEFAULT 0xffffu
#define ROCE_BTH	  12u
#define ROCE_RETH	  16u
#define ROCE_ATOMICETH	  28u
#define ROCE_AETH	  4u
#define ROCE_ATOMICACKETH 8u
#define ROCE_IMMDT	  4u
#define ROCE_IETH	  4u
#define ROCE_DETH	  8u
#define ROCE_CNP_PAYLOAD  16u
#define ROCE_ICRC	  4u
/* The longest headers in front of a payload: BTH, DETH, ImmDt; or BTH, RETH, ImmDt. */
#define ROCE_HEADERS_MAX  (ROCE_BTH + ROCE_ATOMICETH)
#define ROCE_MTU_MAX	  4096u

/* IBTA table 38. The upper three bits are the transport: RC, UC, UD; CNP is annex 17. */
enum roce_opcode {
	ROCE_SEND_FIRST = 0x00,
	ROCE_SEND_MIDDLE,
	ROCE_SEND_LAST,
	ROCE_SEND_LAST_IMM,
	ROCE_SEND_ONLY,
	ROCE_SEND_ONLY_IMM,
	ROCE_WRITE_FIRST,
	ROCE_WRITE_MIDDLE,
	ROCE_WRITE_LAST,
	ROCE_WRITE_LAST_IMM,
	ROCE_WRITE_ONLY,
	ROCE_WRITE_ONLY_IMM,
	ROCE_READ_REQUEST,
	ROCE_READ_RESP_FIRST,
	ROCE_READ_RESP_MIDDLE,
	ROCE_READ_RESP_LAST,
	ROCE_READ_RESP_ONLY,
	ROCE_ACK,
	ROCE_ATOMIC_ACK,
	ROCE_CMP_SWAP,
	ROCE_FETCH_ADD,
	ROCE_SEND_LAST_INV = 0x16,
	ROCE_SEND_ONLY_INV,
	ROCE_UD_SEND_ONLY = 0x64,
	ROCE_UD_SEND_ONLY_IMM,
	ROCE_CNP = 0x81,
};
#define ROCE_RC	       0x00u
#define ROCE_UC	       0x20u
#define ROCE_UD	       0x60u
#define ROCE_TRANSPORT 0xe0u

/* What an opcode is; roce_opcode_flags(). 0: there is no such opcode. */
enum roce_flags {
	ROCE_F_KNOWN = 1 << 0,
	ROCE_F_START = 1 << 1, /* first or only packet of a message */
	ROCE_F_END = 1 << 2,   /* last or only */
	ROCE_F_SEND = 1 << 3,
	ROCE_F_WRITE = 1 << 4,
	ROCE_F_READ = 1 << 5,	/* request */
	ROCE_F_ATOMIC = 1 << 6, /* request */
	ROCE_F_RESPONSE = 1 << 7,
	ROCE_F_PAYLOAD = 1 << 8,
	ROCE_F_RETH = 1 << 9,
	ROCE_F_AETH = 1 << 10,
	ROCE_F_ATOMICETH = 1 << 11,
	ROCE_F_ATOMICACK = 1 << 12,
	ROCE_F_IMM = 1 << 13,
	ROCE_F_IETH = 1 << 14,
	ROCE_F_DETH = 1 << 15,
	ROCE_F_CNP = 1 << 16,
};
#define ROCE_F_REQUEST (ROCE_F_SEND | ROCE_F_WRITE | ROCE_F_READ | ROCE_F_ATOMIC)

/* AETH syndromes: the upper three bits say which kind (IBTA 9.7.5.2.1). */
#define ROCE_SYN_KIND 0xe0u
#define ROCE_SYN_ACK  0x00u /* credits in the lower bits; 31: not used */
#define ROCE_SYN_RNR  0x20u /* timer in the lower bits */
#define ROCE_SYN_NAK  0x60u
enum roce_nak {
	ROCE_NAK_SEQUENCE,
	ROCE_NAK_INVALID,
	ROCE_NAK_ACCESS,
	ROCE_NAK_OPERATION,
	ROCE_NAK_RD,
};

/* A packet from BTH to pad, in host byte order. Fields of headers that it lacks are 0. */
struct roce_pkt {
	uint8_t opcode;
	uint32_t flags; /* roce_opcode_flags(opcode) */
	bool solicited, ack_req, fecn, becn, migrated;
	uint8_t pad;
	uint16_t pkey;
	uint32_t qpn, psn;
	uint64_t va; /* RETH, AtomicETH */
	uint32_t rkey, dma_len;
	uint64_t swap_add, compare;
	uint8_t syndrome;
	uint32_t msn;
	uint64_t atomic_old;
	uint32_t imm;  /* network byte order, as the program gave it */
	uint32_t ieth; /* rkey to invalidate */
	uint32_t qkey, src_qpn;
	const uint8_t *payload; /* into the packet */
	uint32_t len;		/* of it, without pad */
};

uint32_t roce_opcode_flags(uint8_t opcode);
/* Bytes of the headers that packets of this opcode begin with, BTH included; 0: no such opcode. */
unsigned roce_headers_len(uint8_t opcode);
/*
 * bytes: from BTH to the last byte before the iCRC. 0; -EPROTO: not a packet that the spec knows
 * (version, opcode, length). Says nothing about whether it fits a QP.
 */
int roce_parse(struct roce_pkt *p, const uint8_t *bytes, size_t len);
/*
 * Writes the headers of p (opcode, and what that opcode has) at out. p->len says how long the
 * payload will be; sets the pad count from it. Returns the bytes written.
 */
unsigned roce_build(const struct roce_pkt *p, uint8_t *out);

static inline unsigned
roce_pad(uint32_t len)
{
	return -len & 3;
}

/* a - b on the circle of 24 bits: negative when a comes before b. */
static inline int32_t
roce_psn_diff(uint32_t a, uint32_t b)
{
	return (int32_t)((a - b) << 8) >> 8;
}

static inline uint32_t
roce_psn_add(uint32_t psn, uint32_t n)
{
	return (psn + n) & ROCE_PSN_MASK;
}

/*
 * icrc.c. The iCRC of an inner packet that begins with its IP header (v4 or v6, without options or
 * extension headers): annex 17. len counts up to the last byte before the iCRC. Returned as the
 * four bytes stand on the wire when stored little-endian.
 */
uint32_t roce_icrc(const uint8_t *ip, size_t len);
/*
 * Before threads are there that use it: takes the faster one of ISA-L's CRC (carry-less multiply,
 * where the CPU has it) and zlib's (tables). A processor that is emulated has the instruction, and
 * is ten times slower with it. Returns the name of the library; without this call, ISA-L's it is.
 */
const char *roce_icrc_choose(uint64_t (*now_ns)(void));

#endif
