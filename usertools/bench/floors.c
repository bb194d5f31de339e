/* SPDX-License-Identifier: MIT */
/*
 * What this machine can do at best: cache line from core to core, a copy between two processes'
 * memory, bytes through a ring that two processes share, a wake-up through an eventfd. Each floor
 * is measured by processes of its own.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <emmintrin.h>
#endif

#define LINE	      64
#define BATCHES	      21
#define LINE_TURNS    20000
#define WAKE_TURNS    2000
#define COPY_NS	      20000000ull
/* A FIFO of the shims (freeflow/fifo.h), and what programs give to it at a time. */
#define RING	      (256u << 10)
#define PIECE	      (64u << 10)
#define RING_NS	      2000000ull
#define RING_BATCHES  200
/* As freeflowd's workers by default. */
#define WAKE_PRIORITY 10

struct shared {
	_Alignas(LINE) _Atomic uint32_t ping;
	_Alignas(LINE) _Atomic uint32_t pong;
	_Alignas(LINE) _Atomic uint32_t done;
};

static uint64_t
now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

static void
die(const char *what)
{
	fprintf(stderr, "ff-floors: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void *
share(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		die("mmap");
	return p;
}

/* The n-th CPU that this process may use, from 0; the last one if there are fewer. */
static int
nth_cpu(int n)
{
	cpu_set_t set;
	int cpu, last = 0;

	if (sched_getaffinity(0, sizeof(set), &set))
		die("sched_getaffinity");
	for (cpu = 0; cpu < CPU_SETSIZE && n >= 0; cpu++) {
		if (!CPU_ISSET(cpu, &set))
			continue;
		last = cpu;
		n--;
	}
	return last;
}

static void
pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		die("sched_setaffinity");
}

static pid_t
spawn(void)
{
	pid_t pid = fork();

	if (pid < 0)
		die("fork");
	if (pid == 0)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	return pid;
}

static void
reap(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static int
compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double
median(double *values, unsigned n)
{
	qsort(values, n, sizeof(*values), compare);
	return values[n / 2];
}

static void
await(_Atomic uint32_t *word, uint32_t value)
{
	while (atomic_load_explicit(word, memory_order_acquire) != value)
		;
}

/* ---- a cache line from one core to another ---- */

static void
measure_line(void)
{
	struct shared *s = share(sizeof(*s));
	int cpus[2] = {nth_cpu(0), nth_cpu(1)};
	double us[BATCHES];
	uint32_t turn = 0;
	uint64_t start;
	unsigned i;
	pid_t echo;

	echo = spawn();
	if (echo == 0) {
		pin(cpus[1]);
		for (turn = 1;; turn++) {
			await(&s->ping, turn);
			atomic_store_explicit(&s->pong, turn, memory_order_release);
		}
	}
	pin(cpus[0]);
	for (i = 0; i < BATCHES; i++) {
		uint32_t end = turn + LINE_TURNS;

		start = now_ns();
		while (turn != end) {
			atomic_store_explicit(&s->ping, ++turn, memory_order_release);
			await(&s->pong, turn);
		}
		us[i] = (double)(now_ns() - start) / LINE_TURNS / 2 / 1000;
	}
	reap(echo);
	printf("{\"line_us\": %.4f}\n", median(us, BATCHES));
}

/* ---- a wake-up: eventfd, real-time thread, shared memory ---- */

static void
waker_run(int efd, _Atomic uint32_t *word)
{
	uint32_t turn = 0;
	uint64_t n;

	for (;;) {
		if (read(efd, &n, sizeof(n)) != sizeof(n))
			exit(1);
		atomic_store_explicit(word, ++turn, memory_order_release);
	}
}

static pid_t
waker_spawn(int efd, _Atomic uint32_t *word)
{
	struct sched_param param = {.sched_priority = WAKE_PRIORITY};
	pid_t pid = spawn();

	if (pid == 0)
		waker_run(efd, word);
	if (sched_setscheduler(pid, SCHED_FIFO, &param)) {
		int saved = errno;

		reap(pid);
		errno = saved;
		die("SCHED_FIFO");
	}
	return pid;
}

static void
wake(int efd)
{
	uint64_t one = 1;

	if (write(efd, &one, sizeof(one)) != sizeof(one))
		die("eventfd");
}

/*
 * Both directions go through a waker, as both of ib_write_lat's do: half of the round trip is the
 * time of one. Two wakers, of which one runs at a time.
 */
static void
measure_wake(void)
{
	struct shared *s = share(sizeof(*s));
	int there = eventfd(0, EFD_CLOEXEC), back = eventfd(0, EFD_CLOEXEC);
	int cpus[2] = {nth_cpu(0), nth_cpu(1)};
	double us[BATCHES];
	uint32_t turn = 0;
	pid_t wakers[2], echo;
	uint64_t start;
	unsigned i;

	if (there < 0 || back < 0)
		die("eventfd");
	wakers[0] = waker_spawn(there, &s->ping);
	wakers[1] = waker_spawn(back, &s->pong);
	echo = spawn();
	if (echo == 0) {
		pin(cpus[1]);
		for (turn = 1;; turn++) {
			await(&s->ping, turn);
			wake(back);
		}
	}
	pin(cpus[0]);
	for (i = 0; i < BATCHES; i++) {
		uint32_t end = turn + WAKE_TURNS;

		start = now_ns();
		while (turn != end) {
			wake(there);
			await(&s->pong, ++turn);
		}
		us[i] = (double)(now_ns() - start) / WAKE_TURNS / 2 / 1000;
	}
	reap(echo);
	reap(wakers[0]);
	reap(wakers[1]);
	printf("{\"wake_us\": %.4f}\n", median(us, BATCHES));
}

/* ---- a copy between two processes' memory, on one core ---- */

static void
copy_libc(void *dst, const void *src, size_t size)
{
	memcpy(dst, src, size);
}

#if defined(__x86_64__)
static void
copy_movsb(void *dst, const void *src, size_t size)
{
	__asm__ volatile("rep movsb" : "+D"(dst), "+S"(src), "+c"(size) : : "memory");
}

static void
copy_stream(void *dst, const void *src, size_t size)
{
	const __m128i *s = src;
	__m128i *d = dst;
	size_t i;

	for (i = 0; i + 4 <= size / sizeof(*s); i += 4) {
		__m128i a = _mm_load_si128(s + i), b = _mm_load_si128(s + i + 1);
		__m128i c = _mm_load_si128(s + i + 2), e = _mm_load_si128(s + i + 3);

		_mm_stream_si128(d + i, a);
		_mm_stream_si128(d + i + 1, b);
		_mm_stream_si128(d + i + 2, c);
		_mm_stream_si128(d + i + 3, e);
	}
	memcpy(d + i, s + i, size - i * sizeof(*s));
	_mm_sfence();
}
#endif

static const struct {
	const char *name;
	void (*copy)(void *dst, const void *src, size_t size);
} methods[] = {
	{"memcpy", copy_libc},
#if defined(__x86_64__)
	{"rep movsb", copy_movsb},
	{"non-temporal", copy_stream},
#endif
};
#define NUM_METHODS (sizeof(methods) / sizeof(methods[0]))

/* The other process, which has its side of the memory mapped and has written all of it. */
static pid_t
owner_spawn(uint8_t *memory, size_t size, struct shared *s)
{
	pid_t pid = spawn();

	if (pid == 0) {
		memset(memory, 0x5a, size);
		atomic_store_explicit(&s->done, 1, memory_order_release);
		for (;;)
			pause();
	}
	while (!atomic_load_explicit(&s->done, memory_order_acquire))
		sched_yield();
	atomic_store(&s->done, 0);
	return pid;
}

static double
copy_rate(unsigned method, uint8_t *dst, const uint8_t *src, size_t size)
{
	uint64_t start = now_ns(), end, bytes = 0;

	do {
		unsigned i;

		for (i = 0; i < 16; i++)
			methods[method].copy(dst, src, size);
		bytes += 16 * size;
		end = now_ns();
	} while (end - start < COPY_NS);
	return (double)bytes / (double)(end - start);
}

static void
measure_copy(size_t size)
{
	struct shared *s = share(sizeof(*s));
	uint8_t *src = share(size), *dst = share(size);
	pid_t owners[2] = {owner_spawn(src, size, s), owner_spawn(dst, size, s)};
	double rates[NUM_METHODS][BATCHES], best = 0;
	const char *name = "";
	unsigned m, i;

	/* Interleaved: all methods meet the same disturbances. */
	for (i = 0; i < BATCHES; i++)
		for (m = 0; m < NUM_METHODS; m++)
			rates[m][i] = copy_rate(m, dst, src, size);
	for (m = 0; m < NUM_METHODS; m++) {
		double rate = median(rates[m], BATCHES);

		if (rate > best) {
			best = rate;
			name = methods[m].name;
		}
	}
	reap(owners[0]);
	reap(owners[1]);
	printf("{\"copy_gbytes\": %.4f, \"method\": \"%s\"}\n", best, name);
}

/* ---- bytes through a ring, from one process on one core to another on another ---- */

struct ring {
	_Alignas(LINE) _Atomic uint32_t tail; /* writer: the writing process; modulo 2^32 */
	_Alignas(LINE) _Atomic uint32_t head; /* writer: the reading process */
	_Atomic uint32_t method;	      /* the same: how the other one is to copy */
	_Alignas(LINE) uint8_t bytes[RING];
};

/* Each piece begins with its place in the stream. */
static void
ring_write(struct ring *r)
{
	uint8_t *piece = share(PIECE);
	uint32_t tail, method;

	memset(piece, 0x5a, PIECE);
	for (tail = 0;; tail += PIECE) {
		memcpy(piece, &tail, sizeof(tail));
		while (tail - atomic_load_explicit(&r->head, memory_order_acquire) > RING - PIECE)
			;
		method = atomic_load_explicit(&r->method, memory_order_relaxed);
		methods[method].copy(r->bytes + tail % RING, piece, PIECE);
		atomic_store_explicit(&r->tail, tail + PIECE, memory_order_release);
	}
}

static void
ring_read(struct ring *r, uint8_t *piece)
{
	uint32_t head = atomic_load_explicit(&r->head, memory_order_relaxed);

	while (atomic_load_explicit(&r->tail, memory_order_acquire) == head)
		;
	memcpy(piece, r->bytes + head % RING, PIECE);
	atomic_store_explicit(&r->head, head + PIECE, memory_order_release);
	if (memcmp(piece, &head, sizeof(head))) {
		errno = EIO;
		die("fifo");
	}
}

static double
ring_rate(struct ring *r, uint8_t *piece)
{
	uint64_t start = now_ns(), end, bytes = 0;

	do {
		unsigned i;

		for (i = 0; i < 16; i++)
			ring_read(r, piece);
		bytes += 16 * PIECE;
		end = now_ns();
	} while (end - start < RING_NS);
	return (double)bytes / (double)(end - start);
}

/*
 * The best of many short batches: two processes that spin make next to nothing while either has
 * lost its CPU to somebody else, and what is measured against this floor would look good for it.
 */
static void
measure_fifo(void)
{
	int cpus[2] = {nth_cpu(0), nth_cpu(1)};
	struct ring *r = share(sizeof(*r));
	uint8_t *piece = share(PIECE);
	const char *name = "";
	double rate, best = 0;
	pid_t writer;
	unsigned m, i;

	writer = spawn();
	if (writer == 0) {
		pin(cpus[1]);
		ring_write(r);
	}
	pin(cpus[0]);
	for (i = 0; i < RING_BATCHES; i++) {
		for (m = 0; m < NUM_METHODS; m++) {
			atomic_store(&r->method, m);
			rate = ring_rate(r, piece);
			if (rate > best) {
				best = rate;
				name = methods[m].name;
			}
		}
	}
	reap(writer);
	printf("{\"fifo_gbytes\": %.4f, \"method\": \"%s\"}\n", best, name);
}

int
main(int argc, char **argv)
{
	unsigned long size;
	char *end;

	if (argc == 2 && !strcmp(argv[1], "line")) {
		measure_line();
		return 0;
	}
	if (argc == 2 && !strcmp(argv[1], "wake")) {
		measure_wake();
		return 0;
	}
	if (argc == 2 && !strcmp(argv[1], "fifo")) {
		measure_fifo();
		return 0;
	}
	if (argc == 3 && !strcmp(argv[1], "copy")) {
		size = strtoul(argv[2], &end, 10);
		if (!*end && size >= 64 && size <= (1ul << 30)) {
			measure_copy(size);
			return 0;
		}
	}
	fprintf(stderr, "Usage: ff-floors line | wake | fifo | copy BYTES\n");
	return 2;
}
