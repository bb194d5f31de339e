/* SPDX-License-Identifier: MIT */
/*
 * The view of /sys that a container's verbs libraries read: <dir>/sys/class/infiniband{,_verbs}.
 * Control thread. A file is replaced at once, never rewritten. Nothing is added to
 * class/infiniband/rxe0 itself after sysfs_create(): libibverbs takes another time of modification
 * for another device.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "channel_priv.h"

#define IB_DIR	  "class/infiniband/" FF_IBDEV_NAME
#define VERBS_DIR "class/infiniband_verbs"
#define PORT_DIR  IB_DIR "/ports/1"

static const char *const dirs[] = {
	"class",
	"class/infiniband",
	IB_DIR,
	IB_DIR "/device",
	IB_DIR "/ports",
	PORT_DIR,
	PORT_DIR "/gids",
	PORT_DIR "/gid_attrs",
	PORT_DIR "/gid_attrs/types",
	PORT_DIR "/gid_attrs/ndevs",
	PORT_DIR "/pkeys",
	PORT_DIR "/counters",
	PORT_DIR "/hw_counters",
	VERBS_DIR,
	VERBS_DIR "/" FF_UVERBS_NAME,
	VERBS_DIR "/" FF_UVERBS_NAME "/device",
};

/* Values as drivers/infiniband/core/sysfs.c prints them; the port's as query_port answers. */
static const struct {
	const char *name, *text;
} files[] = {
	{VERBS_DIR "/abi_version", "6"}, /* IB_USER_VERBS_ABI_VERSION */
	{VERBS_DIR "/" FF_UVERBS_NAME "/ibdev", FF_IBDEV_NAME},
	{VERBS_DIR "/" FF_UVERBS_NAME "/device/numa_node", "-1"},
	{IB_DIR "/device/numa_node", "-1"},
	{IB_DIR "/node_type", "1: CA"},
	{IB_DIR "/fw_ver", "0.1.0"},
	{IB_DIR "/hw_rev", "0"},
	{IB_DIR "/board_id", "freeflow"},
	{IB_DIR "/hca_type", "freeflow"},
	{PORT_DIR "/state", "4: ACTIVE"},
	{PORT_DIR "/phys_state", "5: LinkUp"},
	{PORT_DIR "/rate", "100 Gb/sec (4X EDR)"},
	{PORT_DIR "/lid", "0x0"},
	{PORT_DIR "/lid_mask_count", "0"},
	{PORT_DIR "/sm_lid", "0x0"},
	{PORT_DIR "/sm_sl", "0"},
	{PORT_DIR "/cap_mask", "0x04010000"}, /* CM_SUP, IP_BASED_GIDS */
	{PORT_DIR "/link_layer", "Ethernet"},
	{PORT_DIR "/pkeys/0", "0xffff"},
};

/* The port's counters, each the sum of up to three of the QPs', divided. */
struct counter_file {
	const char *name;
	unsigned div;
	int from[4]; /* enum ff_qp_counter + 1; 0 ends */
};
#define Q(c)	   ((int)(c) + 1)
#define QE(status) Q(FF_QC_ERR_BASE + (status))
static const struct counter_file counters[] = {
	/* IBTA 16.1.3.5: data in words of four bytes. */
	{"counters/port_xmit_data", 4, {Q(FF_QC_TX_BYTES)}},
	{"counters/port_rcv_data", 4, {Q(FF_QC_RX_BYTES)}},
	{"counters/port_xmit_packets",
	 1,
	 {Q(FF_QC_SEND), Q(FF_QC_WRITE), Q(FF_QC_READ), Q(FF_QC_ATOMIC)}},
	{"counters/port_rcv_packets", 1, {Q(FF_QC_RECV)}},
	{"counters/port_xmit_discards", 1, {Q(FF_QC_DROPPED)}},
	{"hw_counters/rdma_sends", 1, {Q(FF_QC_SEND)}},
	{"hw_counters/rdma_recvs", 1, {Q(FF_QC_RECV)}},
	{"hw_counters/rdma_writes", 1, {Q(FF_QC_WRITE)}},
	{"hw_counters/rdma_reads", 1, {Q(FF_QC_READ)}},
	{"hw_counters/rdma_atomics", 1, {Q(FF_QC_ATOMIC)}},
	{"hw_counters/rcvd_rnr_err", 1, {Q(FF_QC_RNR)}},
	{"hw_counters/completer_retry_err", 1, {Q(FF_QC_RETRY)}},
	{"hw_counters/retry_exceeded_err", 1, {QE(FF_WC_RETRY_EXC_ERR)}},
	{"hw_counters/retry_rnr_exceeded_err", 1, {QE(FF_WC_RNR_RETRY_EXC_ERR)}},
	{"hw_counters/send_err",
	 1,
	 {QE(FF_WC_LOC_PROT_ERR), QE(FF_WC_REM_ACCESS_ERR), QE(FF_WC_REM_OP_ERR),
	  QE(FF_WC_REM_INV_REQ_ERR)}},
};
#define NUM_COUNTERS (sizeof(counters) / sizeof(counters[0]))

static int sysfs_write(int fd, const char *name, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static int
sysfs_write(int fd, const char *name, const char *fmt, ...)
{
	char text[128];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= sizeof(text) - 1)
		return -EINVAL;
	text[n++] = '\n';
	return rundir_write(fd, name, text, (size_t)n, 0444);
}

static int
sysfs_open(struct ff_container *c)
{
	int fd = openat(container_priv(c)->dirfd, FF_SYSFS_DIR,
			O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	return fd;
}

static int
sysfs_slot(int fd, unsigned i, const struct ff_gid_entry *e)
{
	static const uint8_t zero[16];
	const uint8_t *g = e->valid ? e->raw : zero;
	char name[64];
	int rc;

	/* The GID is what readers look at first: it goes last when it comes, first when it goes. */
	snprintf(name, sizeof(name), PORT_DIR "/gid_attrs/ndevs/%u", i);
	if (e->valid && e->ndev[0])
		rc = sysfs_write(fd, name, "%s", e->ndev);
	else
		rc = unlinkat(fd, name, 0) && errno != ENOENT ? -errno : 0;
	if (rc)
		return rc;
	/*
	 * The kernel answers EINVAL for an empty slot's type, which libibverbs takes for v1. No
	 * file can do that, and without one libibverbs fails the whole table.
	 */
	snprintf(name, sizeof(name), PORT_DIR "/gid_attrs/types/%u", i);
	rc = sysfs_write(fd, name, "%s", e->valid ? "RoCE v2" : "IB/RoCE v1");
	if (rc)
		return rc;
	snprintf(name, sizeof(name), PORT_DIR "/gids/%u", i);
	return sysfs_write(fd, name,
			   "%02x%02x:%02x%02x:%02x%02x:%02x%02x:"
			   "%02x%02x:%02x%02x:%02x%02x:%02x%02x",
			   g[0], g[1], g[2], g[3], g[4], g[5], g[6], g[7], g[8], g[9], g[10], g[11],
			   g[12], g[13], g[14], g[15]);
}

int
sysfs_gids(struct ff_container *c, const struct ff_gid_entry *before)
{
	int fd = sysfs_open(c), rc = 0;

	if (fd < 0)
		return fd;
	for (unsigned i = 0; !rc && i < FF_GIDS_MAX; i++)
		if (c->gids[i].valid != before[i].valid ||
		    memcmp(c->gids[i].raw, before[i].raw, 16) ||
		    strcmp(c->gids[i].ndev, before[i].ndev))
			rc = sysfs_slot(fd, i, &c->gids[i]);
	close(fd);
	return rc;
}

static uint64_t
counter_value(const struct counter_file *f, const struct port_totals *t)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < 4 && f->from[i]; i++)
		v += t->q[f->from[i] - 1];
	return v / f->div;
}

static int
sysfs_counters(struct ff_container *c, int fd, const struct port_totals *t)
{
	struct container_priv *cp = container_priv(c);
	int rc = 0;

	for (unsigned i = 0; !rc && i < NUM_COUNTERS; i++) {
		uint64_t v = counter_value(&counters[i], t);
		char name[96];

		if (cp->shown_valid && v == counter_value(&counters[i], &cp->shown))
			continue;
		snprintf(name, sizeof(name), PORT_DIR "/%s", counters[i].name);
		rc = sysfs_write(fd, name, "%llu", (unsigned long long)v);
	}
	cp->shown = *t;
	cp->shown_valid = !rc;
	return rc;
}

static int
sysfs_fill(struct ff_container *c, int fd)
{
	static const struct port_totals zero;
	const uint8_t *g = c->guid;
	int rc = 0;

	for (unsigned i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++)
		if (mkdirat(fd, dirs[i], 0755) || fchmodat(fd, dirs[i], 0755, 0))
			return -errno;
	for (unsigned i = 0; !rc && i < sizeof(files) / sizeof(files[0]); i++)
		rc = sysfs_write(fd, files[i].name, "%s", files[i].text);
	if (!rc)
		rc = sysfs_write(fd, VERBS_DIR "/" FF_UVERBS_NAME "/dev", "%u:%u", FF_UVERBS_MAJOR,
				 FF_UVERBS_MINOR);
	if (!rc)
		rc = sysfs_write(fd, VERBS_DIR "/" FF_UVERBS_NAME "/abi_version", "%u",
				 FF_UVERBS_ABI);
	for (unsigned i = 0; !rc && i < 2; i++)
		rc = sysfs_write(fd, i ? IB_DIR "/sys_image_guid" : IB_DIR "/node_guid",
				 "%02x%02x:%02x%02x:%02x%02x:%02x%02x", g[0], g[1], g[2], g[3],
				 g[4], g[5], g[6], g[7]);
	if (!rc)
		rc = sysfs_write(fd, IB_DIR "/node_desc", "%s", FF_IBDEV_NAME);
	if (!rc)
		rc = sysfs_write(fd, PORT_DIR "/hw_counters/lifespan", "%u", TICK_MS);
	for (unsigned i = 0; !rc && i < FF_GIDS_MAX; i++)
		rc = sysfs_slot(fd, i, &c->gids[i]);
	return rc ? rc : sysfs_counters(c, fd, &zero);
}

int
sysfs_create(struct ff_container *c)
{
	int at = container_priv(c)->dirfd, fd, rc;

	if (mkdirat(at, FF_SYSFS_DIR, 0755) || fchmodat(at, FF_SYSFS_DIR, 0755, 0))
		return -errno;
	fd = sysfs_open(c);
	if (fd < 0)
		return fd;
	rc = sysfs_fill(c, fd);
	close(fd);
	return rc;
}

static void
totals_add(struct port_totals *t, const struct ff_qp *qp)
{
	for (unsigned i = 0; i < FF_QC_MAX; i++)
		t->q[i] += __atomic_load_n(&qp->counters[i], __ATOMIC_RELAXED);
}

void
ff_container_qp_retired(struct ff_container *c, const struct ff_qp *qp)
{
	totals_add(&container_priv(c)->retired, qp);
}

static void
totals_add_all(struct port_totals *t, const struct ff_handle_table *qps)
{
	for (uint32_t i = 0; i < qps->size; i++)
		if (qps->slots[i])
			totals_add(t, (const struct ff_qp *)qps->slots[i]);
}

static void
totals_of(struct ff_container *c, struct port_totals *t)
{
	struct ff_channel *ch;
	struct ff_ucontext *uc;

	*t = container_priv(c)->retired;
	TAILQ_FOREACH (ch, &c->channels, link) {
		TAILQ_FOREACH (uc, &ch->contexts, link)
			totals_add_all(t, &uc->tables[FF_OBJ_QP]);
	}
}

void
ff_container_qp_totals(struct ff_container *c, uint64_t *totals)
{
	struct port_totals t;

	totals_of(c, &t);
	memcpy(totals, t.q, sizeof(t.q));
}

void
sysfs_tick(struct ff_container *c)
{
	struct container_priv *cp = container_priv(c);
	struct port_totals t;
	int fd, rc;

	if (TAILQ_EMPTY(&c->channels) &&
	    (!cp->shown_valid || !memcmp(&cp->shown, &cp->retired, sizeof(cp->shown))))
		return;
	totals_of(c, &t);
	if (cp->shown_valid && !memcmp(&t, &cp->shown, sizeof(t)))
		return;
	fd = sysfs_open(c);
	if (fd < 0)
		return;
	rc = sysfs_counters(c, fd, &t);
	close(fd);
	if (rc)
		ff_debug("channel", "container %s: cannot write its counters: %s", c->id,
			 strerror(-rc));
}
