/* SPDX-License-Identifier: MIT */
/*
 * Ports: what carries the RoCEv2 engine's packets between hosts. One interface, several kinds:
 *   udp     a kernel UDP socket that carries VXLAN (RFC 7348): the default, needs no set-up
 *   ethdev  a DPDK port: af_packet, or af_xdp with a program that leaves the rest to the kernel,
 *           beside the kernel; memif, tap, or a NIC given whole
 *
 * The engine hands over and gets *inner* packets: an IPv4 or IPv6 header, UDP, BTH ... iCRC. What
 * is in front of them (Ethernet, VXLAN, outer headers) is the port's. Lengths count bytes from the
 * first byte of the IP header to the last byte of the iCRC.
 *
 * Threads: open and close on the control thread, before workers start and after they have ended;
 * a queue belongs to one worker, and its functions run there alone. They never block.
 */
#ifndef FF_NET_PORT_H
#define FF_NET_PORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FF_PORT_BURST	 64u
/*
 * Bytes in front of each packet to send, where the port may write what goes in front of it: so a
 * batch is one piece of memory. VXLAN and inner Ethernet (vxlan.h), which the udp kind puts there.
 */
#define FF_PORT_HEADROOM 22u

enum ff_encap {
	FF_ENCAP_NONE,	/* container addresses straight on the underlay */
	FF_ENCAP_VXLAN, /* inner Ethernet in RFC 7348 */
};

/*
 * Where a packet goes, as the overlay resolver found it (overlay.h).
 *
 * next_mac is for the ethdev kind alone, which makes its own outermost Ethernet header: the next
 * hop's on the underlay. Beside the kernel (ff_port_wants_mac()), the caller takes it from the
 * resolver, which follows the kernel's routes and neighbours. All zeroes: ff_port_conf.next_mac.
 */
struct ff_path {
	uint8_t host[16]; /* outer destination; IPv4 as ::ffff:a.b.c.d. encap none: the inner one */
	uint8_t dst_mac[6]; /* inner Ethernet: VXLAN only */
	uint8_t src_mac[6];
	uint8_t next_mac[6]; /* outer Ethernet */
	uint32_t vni;	     /* 24 bits */
	uint16_t mtu;	     /* longest inner packet that goes through */
	enum ff_encap encap;
};

/*
 * Packets to one destination, one behind the other in one buffer, each behind its headroom: all of
 * seg_len bytes but the last, which may be shorter. The bytes are the caller's again when
 * ff_port_tx() returns; those in the headrooms have changed.
 */
struct ff_port_tx {
	const struct ff_path *path;
	uint8_t *bytes;	   /* the first headroom */
	uint32_t len;	   /* with all headrooms */
	uint16_t seg_len;  /* without; <= path->mtu */
	uint16_t src_port; /* outer UDP source port: flow hash of the inner packet (RFC 7348, 5) */
	uint8_t tos;	   /* outer DSCP and ECN: as inside (RFC 6040) */
};

/* One inner packet that came in. Valid until the queue's next ff_port_rx(). */
struct ff_port_rx {
	uint8_t *bytes; /* 16-byte alignment is not promised */
	uint32_t len;
	uint32_t vni;	   /* encap none: ff_port_conf.vni */
	uint8_t outer_tos; /* its ECN bits are the network's word: CE there counts as CE inside */
	uint8_t host[16];  /* outer source */
};

/* From one packet's headroom to the next one's. */
static inline uint32_t
ff_port_tx_stride(const struct ff_port_tx *tx)
{
	return FF_PORT_HEADROOM + tx->seg_len;
}

static inline uint32_t
ff_port_tx_packets(const struct ff_port_tx *tx)
{
	return (tx->len + ff_port_tx_stride(tx) - 1) / ff_port_tx_stride(tx);
}

struct ff_port; /* one per underlay */
struct ff_port_queue;

struct ff_port_conf {
	const char *kind;    /* "udp", or "ethdev" */
	uint8_t address[16]; /* own underlay address to bind to; all zeroes: any */
	uint16_t udp_port;   /* VXLAN: where we listen and what we send to */
	uint16_t num_queues; /* one per worker */
	/* ethdev only. */
	const char *devargs; /* as EAL's --vdev, or a PCI address */
	enum ff_encap encap;
	uint32_t vni;	     /* encap none: what its packets count as */
	uint8_t next_mac[6]; /* next hop of paths without one; all zeroes: broadcast */
};

enum ff_port_counter {
	FF_PC_TX_PACKETS,
	FF_PC_TX_BYTES,
	FF_PC_TX_CALLS,	  /* system calls, or bursts */
	FF_PC_TX_DROPPED, /* no room: the wire lost it, as far as the engine knows */
	FF_PC_RX_PACKETS,
	FF_PC_RX_BYTES,
	FF_PC_RX_CALLS,
	FF_PC_RX_BAD,	  /* not what the encapsulation says: short, wrong flags, wrong type */
	FF_PC_RX_DROPPED, /* no room in our queue. udp: seen late, a GRO train counts once */
	FF_PC_MAX,
};

/* NULL and -errno in *err: -EINVAL also for a kind that is not there. */
struct ff_port *ff_port_open(const struct ff_port_conf *conf, int *err);
void ff_port_close(struct ff_port *p); /* NULL is allowed */
struct ff_port_queue *ff_port_queue_get(struct ff_port *p, unsigned queue);
/*
 * Sends n of them in order. Returns how many elements left whole; of the others, some or all
 * packets were dropped and counted, as by a full NIC ring: the engine retransmits. A full queue
 * takes the rest of the call with it; an element that is too long, or that has no route, is lost
 * alone.
 */
unsigned ff_port_tx(struct ff_port_queue *q, const struct ff_port_tx *tx, unsigned n);
/*
 * Up to n <= FF_PORT_BURST inner packets. When fewer than n came, all that was there when it was
 * called has been taken, and of what has come since, the fd tells, or ff_port_arm(); with n of
 * them, there may be others that the fd does not know of.
 */
unsigned ff_port_rx(struct ff_port_queue *q, struct ff_port_rx *rx, unsigned n);
/*
 * For a worker that sleeps: readable when packets are there, level-triggered, once ff_port_arm()
 * has returned false. Else:
 */
#define FF_PORT_POLLED -1 /* nothing tells: look often */
#define FF_PORT_NO_RX  -2 /* nothing arrives: another queue receives for this one */
int ff_port_queue_fd(const struct ff_port_queue *q);
/* About to sleep, and awake again. arm: true: packets may be there, do not sleep. */
bool ff_port_arm(struct ff_port_queue *q);
void ff_port_disarm(struct ff_port_queue *q);
/*
 * Control thread. encap none: a container of this host has, or has no more, an address for which
 * the kernel drops what goes to UDP port 4791 (guard.h): what the port has got of that, the kernel
 * may drop at once.
 */
void ff_port_address(struct ff_port *p, const uint8_t address[16], bool here);
/* Bytes that the inner packet may have for the underlay's MTU, as it was when the port opened. */
uint16_t ff_port_mtu(const struct ff_port *p);
/* Are paths to have a next_mac? */
bool ff_port_wants_mac(const struct ff_port *p);
/* The kernel's interface beside which the port is; 0: there is none. */
unsigned ff_port_ifindex(const struct ff_port *p);
/* Flows whose ff_port_tx.src_port agree in these bits may share an element. */
uint16_t ff_port_src_mask(const struct ff_port *p);
/* Any thread. */
void ff_port_counters(const struct ff_port_queue *q, uint64_t out[FF_PC_MAX]);

#endif
