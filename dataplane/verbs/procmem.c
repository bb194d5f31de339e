/* SPDX-License-Identifier: MIT */
/*
 * The copier thread of a container (procmem.h). Workers put jobs into its queue; the thread alone
 * takes them out, but for the control thread when it ends the copier.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "../channel/container.h"
#include "procmem.h"
#include "umem.h"

#define RING	     1024u
#define STOP_WAIT_MS 50

/* A slot is free for position pos when seq == pos, full when seq == pos + 1. */
struct slot {
	_Atomic uint32_t seq; /* writers: producer that won pos, then the consumer */
	struct ff_procmem_job *job;
};

struct ff_procmem {
	struct ff_container *c; /* NULL once stopped. Under take_lock */
	pthread_t thread;
	int wake;	       /* eventfd */
	_Atomic uint32_t refs; /* the container and the thread */
	_Atomic bool stop;     /* writer: control */
	/* Writer: copier; producers read it after a full fence, the copier reads the ring. */
	_Atomic bool asleep;
	_Atomic uint32_t tail;	   /* writers: producers */
	uint32_t head;		   /* under take_lock */
	pthread_mutex_t take_lock; /* copier and control; workers never take it */
	struct slot slots[RING];
};

/* ---- the queue ---- */

int
ff_procmem_submit(struct ff_procmem *p, struct ff_procmem_job *job)
{
	uint32_t pos = atomic_load_explicit(&p->tail, memory_order_relaxed);
	const uint64_t one = 1;
	struct slot *s;
	int32_t ahead;

	for (;;) {
		s = &p->slots[pos % RING];
		ahead = (int32_t)(atomic_load_explicit(&s->seq, memory_order_acquire) - pos);
		if (ahead < 0)
			return -ENOSPC;
		if (ahead > 0)
			pos = atomic_load_explicit(&p->tail, memory_order_relaxed);
		else if (atomic_compare_exchange_weak_explicit(&p->tail, &pos, pos + 1,
							       memory_order_relaxed,
							       memory_order_relaxed))
			break;
	}
	s->job = job;
	atomic_store_explicit(&s->seq, pos + 1, memory_order_release);
	atomic_thread_fence(memory_order_seq_cst);
	if (atomic_load_explicit(&p->asleep, memory_order_relaxed) &&
	    write(p->wake, &one, sizeof(one)) < 0)
		return 0; /* full: it is awake already */
	return 0;
}

static struct ff_procmem_job *
queue_take(struct ff_procmem *p)
{
	struct ff_procmem_job *job = NULL;
	struct slot *s;

	pthread_mutex_lock(&p->take_lock);
	s = &p->slots[p->head % RING];
	if (atomic_load_explicit(&s->seq, memory_order_acquire) == p->head + 1) {
		job = s->job;
		atomic_store_explicit(&s->seq, p->head + RING, memory_order_release);
		p->head++;
	}
	pthread_mutex_unlock(&p->take_lock);
	return job;
}

static bool
queue_empty(struct ff_procmem *p)
{
	bool empty;

	pthread_mutex_lock(&p->take_lock);
	empty = atomic_load_explicit(&p->slots[p->head % RING].seq, memory_order_acquire) !=
		p->head + 1;
	pthread_mutex_unlock(&p->take_lock);
	return empty;
}

/* ---- jobs ---- */

static bool
proc_alive(const struct ff_proc *proc)
{
	struct pollfd pfd = {.fd = proc->pidfd, .events = POLLIN};

	return poll(&pfd, 1, 0) == 0;
}

/* The whole length: a call that ends early is made again from there, and says why then. */
static int
transfer(const struct ff_proc *proc, bool write_it, uint64_t va, void *buf, size_t len)
{
	struct iovec local, remote;
	size_t done = 0;
	ssize_t n;

	while (done < len) {
		local = (struct iovec){(uint8_t *)buf + done, len - done};
		remote = (struct iovec){(void *)(uintptr_t)(va + done), len - done};
		if (!proc_alive(proc))
			return -ESRCH;
		n = write_it ? process_vm_writev(proc->pid, &local, 1, &remote, 1, 0)
			     : process_vm_readv(proc->pid, &local, 1, &remote, 1, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -EFAULT;
		done += (size_t)n;
	}
	return proc_alive(proc) ? 0 : -ESRCH;
}

/*
 * Atomic among the operations that come by the network, as IBV_ATOMIC_HCA says: they all come by
 * this thread.
 */
static int
job_atomic(struct ff_procmem_job *job)
{
	uint64_t old, new;
	int rc;

	rc = transfer(job->proc, false, job->va, &old, sizeof(old));
	if (rc)
		return rc;
	memcpy(job->buf, &old, sizeof(old));
	if (job->op == FF_PROCMEM_FETCH_ADD)
		new = old + job->compare_add;
	else if (old == job->compare_add)
		new = job->swap;
	else
		return 0;
	return transfer(job->proc, true, job->va, &new, sizeof(new));
}

static int
job_run(struct ff_procmem_job *job)
{
	switch (job->op) {
	case FF_PROCMEM_READ:
		return transfer(job->proc, false, job->va, job->buf, job->len);
	case FF_PROCMEM_WRITE:
		return transfer(job->proc, true, job->va, job->buf, job->len);
	case FF_PROCMEM_CMP_SWAP:
	case FF_PROCMEM_FETCH_ADD:
		return job_atomic(job);
	}
	return -EINVAL;
}

/* Never lost: the worker's queue empties as long as the worker runs. */
static void
job_reply(struct ff_procmem_job *job, int status)
{
	const struct timespec pause = {.tv_nsec = 50000};
	unsigned tries = 0;

	job->status = status;
	while (ff_worker_post(job->reply_to, &job->msg) == -ENOSPC)
		if (tries++ < 16)
			sched_yield();
		else
			nanosleep(&pause, NULL);
}

static void
job_count(struct ff_procmem *p, uint32_t len, int status)
{
	pthread_mutex_lock(&p->take_lock);
	if (p->c) {
		ff_container_count(p->c, FF_CC_PROCESS_VM_CALLS, 1);
		if (status)
			ff_container_count(p->c, FF_CC_PROCESS_VM_ERRORS, 1);
		else
			ff_container_count(p->c, FF_CC_PROCESS_VM_BYTES, len);
	}
	pthread_mutex_unlock(&p->take_lock);
}

/* ---- the thread ---- */

static void
procmem_unref(struct ff_procmem *p)
{
	if (atomic_fetch_sub(&p->refs, 1) != 1)
		return;
	pthread_mutex_destroy(&p->take_lock);
	close(p->wake);
	free(p);
}

static void
copier_sleep(struct ff_procmem *p)
{
	uint64_t count;

	atomic_store_explicit(&p->asleep, true, memory_order_relaxed);
	atomic_thread_fence(memory_order_seq_cst);
	if (queue_empty(p) && !atomic_load(&p->stop) && read(p->wake, &count, sizeof(count)) < 0 &&
	    errno != EINTR)
		sched_yield();
	atomic_store_explicit(&p->asleep, false, memory_order_relaxed);
}

static void *
copier_main(void *arg)
{
	struct ff_procmem *p = arg;
	struct ff_procmem_job *job;
	int status;

	pthread_setname_np(pthread_self(), "ff-procmem");
	while (!atomic_load(&p->stop)) {
		job = queue_take(p);
		if (!job) {
			copier_sleep(p);
			continue;
		}
		status = job_run(job);
		job_count(p, job->len, status);
		job_reply(job, status);
	}
	procmem_unref(p);
	return NULL;
}

/* ---- control ---- */

static int
copier_start(struct ff_procmem *p)
{
	sigset_t all, old;
	int rc;

	/* Signals are the control thread's. */
	sigfillset(&all);
	sigdelset(&all, SIGBUS);
	sigdelset(&all, SIGSEGV);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = pthread_create(&p->thread, NULL, copier_main, p);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return -rc;
}

int
ff_procmem_get(struct ff_container *c)
{
	struct ff_procmem *p;
	uint32_t i;
	int rc;

	if (c->procmem)
		return 0;
	p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	p->c = c;
	for (i = 0; i < RING; i++)
		atomic_init(&p->slots[i].seq, i);
	atomic_init(&p->refs, 2);
	pthread_mutex_init(&p->take_lock, NULL);
	p->wake = eventfd(0, EFD_CLOEXEC);
	if (p->wake < 0) {
		rc = -errno;
		goto err_free;
	}
	rc = copier_start(p);
	if (rc)
		goto err_wake;
	c->procmem = p;
	return 0;

err_wake:
	close(p->wake);
err_free:
	pthread_mutex_destroy(&p->take_lock);
	free(p);
	return rc;
}

void
ff_procmem_stop(struct ff_container *c)
{
	struct ff_procmem *p = c->procmem;
	struct ff_procmem_job *job;
	struct timespec until;
	const uint64_t one = 1;

	if (!p)
		return;
	c->procmem = NULL;
	ff_workers_synchronize(); /* nobody is in submit any more */
	atomic_store(&p->stop, true);
	if (write(p->wake, &one, sizeof(one)) < 0)
		sched_yield(); /* its count is not zero, so it wakes anyway */
	while ((job = queue_take(p)) != NULL)
		job_reply(job, -ECANCELED);
	pthread_mutex_lock(&p->take_lock);
	p->c = NULL;
	pthread_mutex_unlock(&p->take_lock);
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += STOP_WAIT_MS * 1000000L;
	if (until.tv_nsec >= 1000000000L) {
		until.tv_nsec -= 1000000000L;
		until.tv_sec++;
	}
	if (pthread_timedjoin_np(p->thread, NULL, &until))
		pthread_detach(p->thread);
	procmem_unref(p);
}
