/* SPDX-License-Identifier: MIT */
/* The TCX program: a drop. Any thread. */
#include "tcx_prog.h"

int
ff_tcx_prog(const struct frame_conf *c, struct frame_prog *out)
{
	struct maker m = {.p = out, .c = c, .skb = true, .key = c->encap == FF_ENCAP_NONE};
	int rc = maker_ours(&m);

	if (rc)
		return rc;
	if (m.key) {
		maker_map(&m);
		maker_emit(&m, BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_2, BPF_REG_10, 0, 0);
		maker_emit(&m, BPF_ALU64 | BPF_ADD | BPF_K, BPF_REG_2, 0, 0, MAKER_KEY);
		maker_emit(&m, BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_map_lookup_elem);
		maker_pass(&m, maker_emit(&m, BPF_JMP | BPF_JEQ | BPF_K, BPF_REG_0, 0, 0, 0));
	}
	maker_emit(&m, BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, FF_TCX_DROP);
	maker_end(&m, FF_TCX_NEXT);
	return 0;
}
