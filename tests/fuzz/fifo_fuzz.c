/* SPDX-License-Identifier: MIT */
/*
 * libFuzzer: the other side of two FIFOs writes anything: indices, flags, the rings, the socket, at
 * any moment between two calls of ours. The bytes are a script of that and of calls, whose results
 * must be possible; what they touch is allocated to the byte.
 */
#include "../../shim/fifo.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_LEN (2 * FF_FIFO_SIZE)

struct script {
	const uint8_t *data;
	size_t left;
};

static struct {
	struct ff_fifo out, in;
	uint8_t *out_ring, *in_ring;
	struct fifo_tx tx;
	struct fifo_rx rx;
	int peer;
} f;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint32_t
take(struct script *s, unsigned bytes)
{
	uint32_t v = 0;

	while (bytes--) {
		v <<= 8;
		if (s->left) {
			v |= *s->data++;
			s->left--;
		}
	}
	return v;
}

static void
check(bool ok)
{
	if (!ok)
		abort();
}

/* Small, about as much as the ring holds, or anything. */
static size_t
take_len(struct script *s)
{
	uint32_t how = take(s, 1);

	if (how & 1)
		return how >> 1;
	if (how & 2)
		return FF_FIFO_SIZE - 16 + (how >> 2) % 32;
	return take(s, 3) % (MAX_LEN + 1);
}

/* An index: near one that is right, or anything. */
static uint32_t
take_index(struct script *s, uint32_t near)
{
	uint32_t how = take(s, 1);

	if (how & 1)
		return near + (uint32_t)(int32_t)(int8_t)how;
	if (how & 2)
		return near + FF_FIFO_SIZE / 2 * (how >> 2 & 3) + (how >> 4);
	return take(s, 4);
}

static void
op_store(struct script *s)
{
	const uint32_t off = take(s, 3);

	switch (take(s, 1) % 7) {
	case 0:
		atomic_store(&f.out.head, take_index(s, f.tx.head));
		break;
	case 1:
		atomic_store(&f.out.tail, take_index(s, f.tx.tail));
		break;
	case 2:
		atomic_store(&f.in.tail, take_index(s, f.rx.tail));
		break;
	case 3:
		atomic_store(&f.in.head, take_index(s, f.rx.head));
		break;
	case 4:
		atomic_store(off & 1 ? &f.out.readable : &f.in.readable, take(s, 1));
		break;
	case 5:
		atomic_store(off & 1 ? &f.out.fillers : &f.in.fillers,
			     off & 2 ? take(s, 4) : take(s, 1));
		break;
	default:
		(off & 1 ? f.out_ring : f.in_ring)[(off >> 1) % FF_FIFO_SIZE] = (uint8_t)off;
		break;
	}
}

static void
op_socket(struct script *s)
{
	char bytes[256] = {0};
	const uint32_t what = take(s, 2);

	if (what & 1)
		(void)!send(f.peer, bytes, what >> 8, MSG_DONTWAIT | MSG_NOSIGNAL);
	else if (what & 2)
		(void)!recv(f.peer, bytes, what >> 8, MSG_DONTWAIT);
	else if (what & 4)
		shutdown(f.peer, (int)(what >> 8) % 3);
}

static size_t
vector(struct script *s, struct iovec v[2], size_t *skip)
{
	size_t len = take_len(s), first = len ? take(s, 2) % (len + 1) : 0;

	v[0] = (struct iovec){calloc(1, first), first};
	v[1] = (struct iovec){calloc(1, len - first), len - first};
	*skip = take(s, 1) & 1 ? take_len(s) : 0;
	return len > *skip ? len - *skip : 0;
}

static void
op_put(struct script *s)
{
	struct iovec v[2];
	size_t skip, want = vector(s, v, &skip), done;
	uint32_t tail = f.tx.tail;

	done = fifo_put(&f.tx, v, 2, skip, take(s, 1) & 1);
	check(done <= want && f.tx.tail - tail == (uint32_t)done);
	check(f.tx.tail - f.tx.head <= FF_FIFO_SIZE);
	check(fifo_room(&f.tx) <= FF_FIFO_SIZE);
	free(v[0].iov_base);
	free(v[1].iov_base);
}

static void
op_get(struct script *s)
{
	struct iovec v[2];
	size_t skip, want = vector(s, v, &skip), done;
	bool peek = take(s, 1) & 1;
	uint32_t head = f.rx.head;

	done = fifo_get(&f.rx, v, 2, skip, peek);
	check(done <= want && done <= FF_FIFO_SIZE);
	check(f.rx.head - head == (peek ? 0 : (uint32_t)done));
	if (peek) {
		/* The other side goes on between the two. */
		op_store(s);
		fifo_bytes(&f.rx);
		fifo_drop(&f.rx, done);
	}
	free(v[0].iov_base);
	free(v[1].iov_base);
}

static void
run(struct script *s)
{
	while (s->left) {
		switch (take(s, 1) % 6) {
		case 0:
		case 1:
			op_store(s);
			break;
		case 2:
			op_socket(s);
			break;
		case 3:
			op_put(s);
			break;
		case 4:
			op_get(s);
			break;
		default:
			fifo_rx_rest(&f.rx);
			break;
		}
		check(f.rx.tail - f.rx.head <= FF_FIFO_SIZE && fifo_bytes(&f.rx) <= FF_FIFO_SIZE);
		/* Nonsense is final. */
		check(!f.rx.broken || fifo_bytes(&f.rx) == 0);
		check(!f.tx.broken || fifo_room(&f.tx) == 0);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct script s = {.data = data, .left = size};
	const int sndbuf = FIFO_SNDBUF;
	uint32_t start;
	int sv[2];

	if (!f.out_ring) {
		f.out_ring = calloc(1, FF_FIFO_SIZE);
		f.in_ring = calloc(1, FF_FIFO_SIZE);
	}
	check(socketpair(AF_UNIX, SOCK_STREAM, 0, sv) == 0);
	setsockopt(sv[0], SOL_SOCKET, SO_SNDBUF, &sndbuf, sizeof(sndbuf));
	f.peer = sv[1];
	fifo_init(&f.out);
	fifo_init(&f.in);
	fifo_tx_init(&f.tx, &f.out, f.out_ring, sv[0]);
	fifo_rx_init(&f.rx, &f.in, f.in_ring, sv[0]);
	start = take(&s, 1) & 1 ? 0u - take(&s, 3) : 0;
	f.tx.tail = f.tx.head = f.rx.tail = f.rx.head = start;
	atomic_store(&f.out.head, start);
	atomic_store(&f.in.tail, start);
	run(&s);
	close(sv[0]);
	close(sv[1]);
	return 0;
}
