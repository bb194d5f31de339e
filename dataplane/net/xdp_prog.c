/* SPDX-License-Identifier: MIT */
/* The XDP program: to the socket of the queue. Any thread. */
#include "xdp_prog.h"

#include <stddef.h>

/* return bpf_redirect_map(map, ctx->rx_queue_index, XDP_PASS); */
int
ff_xdp_prog(const struct frame_conf *c, struct frame_prog *out)
{
	struct maker m = {.p = out, .c = c};
	int rc = maker_ours(&m);

	if (rc)
		return rc;
	maker_emit(&m, BPF_LDX | BPF_MEM | BPF_W, BPF_REG_2, BPF_REG_6,
		   offsetof(struct xdp_md, rx_queue_index), 0);
	maker_map(&m);
	maker_emit(&m, BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_3, 0, 0, XDP_PASS);
	maker_emit(&m, BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_redirect_map);
	maker_end(&m, XDP_PASS);
	return 0;
}
