/* SPDX-License-Identifier: MIT */
/*
 * Packet sockets. The sender at the other end of a veth may have left the checksum to us, as to a
 * network card: the virtio header in front of each frame says so, and we do it. Frames that it has
 * not cut into segments cannot be impaired one by one; ff-lab has the kernel cut them (net.py).
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "port.h"

/* As much as arrives while the wire does not get its CPU. */
#define READ_BUFFER (32 << 20)

static int
socket_set_up(int fd, unsigned index, const char **what)
{
	struct sockaddr_ll address = {.sll_family = AF_PACKET,
				      .sll_protocol = htons(ETH_P_ALL),
				      .sll_ifindex = (int)index};
	int one = 1, size = READ_BUFFER;

	*what = "PACKET_VNET_HDR";
	if (setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &one, sizeof(one)))
		return -errno;
	*what = "PACKET_IGNORE_OUTGOING";
	if (setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof(one)))
		return -errno;
	*what = "SO_RCVBUFFORCE";
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)))
		return -errno;
	*what = "bind";
	return bind(fd, (struct sockaddr *)&address, sizeof(address)) ? -errno : 0;
}

int
wire_socket_open(struct wire_socket *sock, const char *interface, const char **what)
{
	unsigned index = if_nametoindex(interface);
	int rc;

	*what = "interface";
	if (!index)
		return -ENODEV;
	*what = "packet socket";
	sock->count = 0;
	/* Protocol 0: nothing comes in before it is bound. */
	sock->fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (sock->fd < 0)
		return -errno;
	rc = socket_set_up(sock->fd, index, what);
	if (rc)
		close(sock->fd);
	return rc;
}

/* True when it is a frame as on a wire; otherwise it is counted. */
static bool
frame_complete(struct wire_frame *frame, const struct virtio_net_hdr *header, bool truncated,
	       struct wire_from *from)
{
	if (header->gso_type != VIRTIO_NET_HDR_GSO_NONE || truncated) {
		from->received++;
		from->offloaded++;
		return false;
	}
	if (header->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)
		wire_frame_checksum(frame, header->csum_start, header->csum_offset);
	return true;
}

/* Room for a batch. Fewer frames than that when the pool is nearly used up. */
static unsigned
batch_prepare(struct wire_pool *pool, struct wire_frame **frames, struct virtio_net_hdr *headers,
	      struct iovec (*iovs)[2], struct mmsghdr *messages)
{
	unsigned i;

	memset(messages, 0, WIRE_BATCH * sizeof(*messages));
	for (i = 0; i < WIRE_BATCH; i++) {
		frames[i] = wire_pool_get(pool);
		if (!frames[i])
			break;
		iovs[i][0] = (struct iovec){&headers[i], sizeof(headers[i])};
		iovs[i][1] = (struct iovec){frames[i]->bytes, sizeof(frames[i]->bytes)};
		messages[i].msg_hdr.msg_iov = iovs[i];
		messages[i].msg_hdr.msg_iovlen = 2;
	}
	return i;
}

/* Every frame that waits must leave before there is room for another: this one is lost. */
static void
read_away(int fd, struct wire_from *from)
{
	struct virtio_net_hdr header;
	unsigned i;

	for (i = 0; i < WIRE_BATCH && recv(fd, &header, sizeof(header), 0) >= 0; i++) {
		from->received++;
		from->full++;
	}
}

void
wire_socket_read(struct wire_socket *sock, unsigned port, struct wire_hub *hub, uint64_t now)
{
	struct wire_from *from = &hub->ports[port].from;
	struct virtio_net_hdr headers[WIRE_BATCH];
	struct wire_frame *frames[WIRE_BATCH];
	struct mmsghdr messages[WIRE_BATCH];
	struct iovec iovs[WIRE_BATCH][2];
	unsigned i, room, count;
	int got;

	room = batch_prepare(&hub->pool, frames, headers, iovs, messages);
	if (!room) {
		read_away(sock->fd, from);
		return;
	}
	got = recvmmsg(sock->fd, messages, room, MSG_DONTWAIT, NULL);
	count = got < 0 ? 0 : (unsigned)got;
	/* What was not needed goes back first: a flood needs frames of its own. */
	for (i = count; i < room; i++)
		wire_pool_put(&hub->pool, frames[i]);
	for (i = 0; i < count; i++) {
		bool short_read = messages[i].msg_len < sizeof(headers[i]);

		frames[i]->len =
			short_read ? 0 : (uint32_t)(messages[i].msg_len - sizeof(headers[i]));
		if (frame_complete(frames[i], &headers[i],
				   short_read || messages[i].msg_hdr.msg_flags & MSG_TRUNC, from))
			wire_hub_input(hub, port, frames[i], now);
		else
			wire_pool_put(&hub->pool, frames[i]);
	}
}

void
wire_socket_put(struct wire_socket *sock, unsigned port, struct wire_hub *hub,
		struct wire_frame *frame)
{
	if (sock->count == WIRE_BATCH)
		wire_socket_flush(sock, port, hub);
	sock->out[sock->count++] = frame;
}

void
wire_socket_flush(struct wire_socket *sock, unsigned port, struct wire_hub *hub)
{
	struct virtio_net_hdr header = {.gso_type = VIRTIO_NET_HDR_GSO_NONE};
	struct mmsghdr messages[WIRE_BATCH] = {0};
	struct iovec iovs[WIRE_BATCH][2];
	struct wire_to *to = &hub->ports[port].to;
	unsigned i, done = 0;

	for (i = 0; i < sock->count; i++) {
		iovs[i][0] = (struct iovec){&header, sizeof(header)};
		iovs[i][1] = (struct iovec){sock->out[i]->bytes, sock->out[i]->len};
		messages[i].msg_hdr.msg_iov = iovs[i];
		messages[i].msg_hdr.msg_iovlen = 2;
	}
	while (done < sock->count) {
		int sent = sendmmsg(sock->fd, messages + done, sock->count - done, MSG_DONTWAIT);

		/* It tells the error of the first frame alone. That one is gone. */
		if (sent <= 0 && errno != EINTR) {
			to->sent--;
			to->unsent++;
			done++;
		}
		done += sent > 0 ? (unsigned)sent : 0;
	}
	for (i = 0; i < sock->count; i++)
		wire_pool_put(&hub->pool, sock->out[i]);
	sock->count = 0;
}

void
wire_socket_count(struct wire_socket *sock, unsigned port, struct wire_hub *hub)
{
	struct tpacket_stats stats;
	socklen_t size = sizeof(stats);

	/* Reading it sets it back to 0. */
	if (!getsockopt(sock->fd, SOL_PACKET, PACKET_STATISTICS, &stats, &size))
		hub->ports[port].from.missed += stats.tp_drops;
}
