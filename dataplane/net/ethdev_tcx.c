/* SPDX-License-Identifier: MIT */
/*
 * The ethdev kind of port on net_af_packet: a TCX program (tcx_prog.h) lets the kernel's stack have
 * nothing of what we have got, which would go all the way to a guard that drops it (guard.h). It
 * saves time alone: where the kernel has no TCX, or we lack capabilities, all works without.
 * Control thread.
 *
 * The link goes with the process, and so does the program. The map of addresses changes when
 * capabilities have been given up: to update it by its file needs none.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "../core/log.h"
#include "ethdev_priv.h"
#include "tcx_prog.h"

#define ADDRESSES_MAX 65536u /* of what is more, the kernel's stack goes on to have a copy */

static int
map_make(void)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = BPF_F_NO_PREALLOC);

	return bpf_map_create(BPF_MAP_TYPE_HASH, "ff_addresses", 16, 1, ADDRESSES_MAX, &opts);
}

int
ethdev_tcx_load(const struct frame_conf *c, int *map)
{
	struct frame_prog p;
	int rc = ff_tcx_prog(c, &p);

	*map = -1;
	if (rc)
		return rc;
	if (p.map) {
		*map = map_make();
		if (*map < 0)
			return *map;
		p.insn[p.map].src_reg = BPF_PSEUDO_MAP_FD;
		p.insn[p.map].imm = *map;
	}
	rc = bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "ff_tcx", "MIT", p.insn, p.num, NULL);
	if (rc < 0 && *map >= 0) {
		close(*map);
		*map = -1;
	}
	return rc;
}

void
ethdev_tcx_open(struct ethdev *d)
{
	int index = (int)if_nametoindex(d->iface), prog;

	prog = d->tcx.link = ethdev_tcx_load(&d->frame, &d->tcx.map);
	if (prog >= 0) {
		d->tcx.link =
			bpf_link_create(prog, index, (enum bpf_attach_type)FF_TCX_INGRESS, NULL);
		close(prog);
	}
	if (d->tcx.link >= 0) {
		ff_info("net", "%s: a TCX program keeps our packets from the kernel's stack",
			d->iface);
		return;
	}
	ff_info("net", "%s: no TCX program, the kernel's stack drops our packets: %s", d->iface,
		strerror(-d->tcx.link));
	ethdev_tcx_close(d);
}

void
ethdev_tcx_close(struct ethdev *d)
{
	if (d->tcx.link >= 0)
		close(d->tcx.link);
	if (d->tcx.map >= 0)
		close(d->tcx.map);
	d->tcx = (struct ethdev_tcx){-1, -1};
}

void
ethdev_address(struct ff_port *p, const uint8_t address[16], bool here)
{
	static const uint8_t value;
	const struct ethdev *d = p->priv;
	int rc;

	if (d->tcx.map < 0)
		return;
	rc = here ? bpf_map_update_elem(d->tcx.map, address, &value, BPF_ANY)
		  : bpf_map_delete_elem(d->tcx.map, address);
	if (rc && rc != -ENOENT)
		ff_warn("net", "%s: an address of a container, for TCX: %s", d->iface,
			strerror(-rc));
}
